//! `tawi new`: a repository that can be pushed as it is.

use super::Context;
use crate::{
    failure::{Done, Failure},
    login::Logins,
    out,
};
use include_dir::{Dir, DirEntry, include_dir};
use std::{
    path::{Path, PathBuf},
    process::Command,
};
use tawi_runtime::model::AppId;

/// The template and the SDK, put together by `build.rs`.
static FILES: Dir<'_> = include_dir!("$OUT_DIR/new");
/// Stands for the app's name in the template's files.
const NAME: &str = "{{name}}";

pub fn run(context: &Context, name: &str, path: Option<PathBuf>) -> Done {
    AppId::check_name(name).map_err(Failure::new)?;
    let dir = path.unwrap_or_else(|| PathBuf::from(name));
    let shown = dir.display();
    if dir.read_dir().is_ok_and(|mut entries| entries.next().is_some()) || dir.is_file() {
        return Err(Failure::new(format!("`{shown}` is there already")).hint("choose another name, or `--path`"));
    }
    write(&FILES, &dir, name).map_err(|e| Failure::because(format!("can't write `{shown}`"), &e))?;
    // Found out before anything is committed that a push needs a node, but an author may not have one yet.
    let login = Logins::load()?.choose(context.global.url.as_deref(), context.token.as_deref());

    git(&dir, &["init", "--quiet", "--initial-branch=main"])?;
    git(&dir, &["add", "--all"])?;
    commit(&dir, &format!("{name}: a new function"))?;
    git(&dir, &["remote", "add", "tawi", &format!("{}/git/{name}.git", login.url)])?;
    credential_helper(&dir, &login.url)?;

    out::line(&format!("{name} is in {shown}"))?;
    out::line("  src/lib.rs   the function and its test: `cargo test`")?;
    out::line("  tawi.toml    what it handles and what it may do")?;
    out::line(&format!("next: cd {shown} && git push tawi main"))?;
    Ok(())
}

fn write(from: &Dir<'_>, to: &Path, name: &str) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in from.entries() {
        let Some(file_name) = entry.path().file_name() else { continue };
        let path = to.join(file_name);
        match entry {
            DirEntry::Dir(dir) => write(dir, &path, name)?,
            DirEntry::File(file) => match file.contents_utf8() {
                Some(text) if text.contains(NAME) => std::fs::write(path, text.replace(NAME, name))?,
                _ => std::fs::write(path, file.contents())?,
            },
        }
    }
    Ok(())
}

/// With the author's own name where git knows it; a machine that has none still gets its first commit.
fn commit(dir: &Path, message: &str) -> Done {
    let knows = |key: &str| Command::new("git").arg("-C").arg(dir).args(["config", key]).output().is_ok_and(|o| o.status.success());
    let mut args = Vec::new();
    if !knows("user.name") {
        args.extend(["-c", "user.name=tawi new"]);
    }
    if !knows("user.email") {
        args.extend(["-c", "user.email=tawi@localhost"]);
    }
    args.extend(["-c", "commit.gpgsign=false", "commit", "--quiet", "--message", message]);
    git(dir, &args)
}

/// Lets this command answer when git asks for the node's password, and nobody else hear of it.
fn credential_helper(dir: &Path, url: &str) -> Done {
    let this = std::env::current_exe().ok().and_then(|path| path.to_str().map(str::to_owned)).unwrap_or_else(|| "tawi".to_owned());
    let key = format!("credential.{url}.helper");
    // The empty one makes git forget helpers of the user's config, which would store the token elsewhere.
    git(dir, &["config", "--add", &key, ""])?;
    git(dir, &["config", "--add", &key, &format!("!'{}' credential", this.replace('\'', r"'\''"))])
}

fn git(dir: &Path, args: &[&str]) -> Done {
    let what = || format!("`git {}` failed in `{}`", args.join(" "), dir.display());
    let output =
        Command::new("git").arg("-C").arg(dir).args(args).output().map_err(|e| Failure::because(what(), &e).hint("is git installed?"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(Failure::new(format!("{}: {}", what(), String::from_utf8_lossy(&output.stderr).trim())))
}
