//! What a commit may hold, and what it is: checked before a single file is written.

use crate::{
    error::BuildError,
    limit::{FILES_MAX, SOURCE_BYTES_MAX},
    repo::{Entry, Kind, is_named},
};
use std::{
    io,
    path::{Component, Path, PathBuf},
};
use tawi_runtime::model::{Manifest, manifest};

/// How a component is made of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Language {
    /// There is nothing to make: the file at this path is it.
    Prebuilt(PathBuf),
    Rust,
}

/// Files that tell of a language that Tawi knows but can't build.
const OTHERS: [(&str, &str); 6] = [
    ("package.json", "JavaScript"),
    ("go.mod", "Go"),
    ("pyproject.toml", "Python"),
    ("requirements.txt", "Python"),
    ("Makefile", "C"),
    ("CMakeLists.txt", "C"),
];

/// Refuses what can't or must not be built.
pub fn check(entries: &[Entry]) -> Result<(), BuildError> {
    if entries.len() > FILES_MAX {
        return Err(BuildError::new(format!("the commit has {} files, {FILES_MAX} are allowed", entries.len())));
    }
    let bytes: u64 = entries.iter().map(|entry| entry.size_bytes).sum();
    if bytes > SOURCE_BYTES_MAX {
        let (mib, max) = (bytes >> 20, SOURCE_BYTES_MAX >> 20);
        return Err(BuildError::new(format!("the files of the commit have {mib} MiB, {max} MiB are allowed"))
            .hint("data does not belong into the repository of a function; send it as readings"));
    }
    entries.iter().try_for_each(check_entry)
}

fn check_entry(entry: &Entry) -> Result<(), BuildError> {
    let path = entry.path.display();
    if entry.kind == Kind::Submodule {
        return Err(BuildError::new(format!("`{path}` is a submodule, and only what is in the commit itself is built"))
            .hint("copy its files into the repository (`git subtree`), or depend on it in `Cargo.toml`"));
    }
    let names: Vec<_> = entry.path.iter().collect();
    let (name, parent) = (names.last(), names.len().checked_sub(2).and_then(|at| names.get(at)));
    let named = |wanted: &[&str]| name.is_some_and(|name| wanted.iter().any(|wanted| is_named(name, wanted)));
    let in_cargo_dir = parent.is_some_and(|parent| is_named(parent, ".cargo")) && named(&["config", "config.toml"]);
    // A link could lead to a directory that has such a file under another name.
    let is_cargo_link = entry.kind == Kind::Symlink && named(&[".cargo"]);
    if in_cargo_dir || is_cargo_link {
        return Err(BuildError::new(format!("`{path}` is refused: a configuration of cargo can run programs of its choice on the node"))
            .hint("the node builds with settings of its own; keep the file out of the repository (`git rm --cached`, `.gitignore`)"));
    }
    if named(&["rust-toolchain", "rust-toolchain.toml"]) {
        return Err(BuildError::new(format!("`{path}` is refused: a toolchain file can name programs that the node would run"))
            .hint("the node builds with a toolchain of its own; keep the file out of the repository (`git rm --cached`, `.gitignore`)"));
    }
    Ok(())
}

/// Refuses links that lead out of `root`, by way of other links too. One that leads nowhere is harmless.
pub fn check_links(entries: &[Entry], root: &Path) -> Result<(), BuildError> {
    let root = root.canonicalize().map_err(|e| BuildError::node("find the build directory", e))?;
    for entry in entries.iter().filter(|entry| entry.kind == Kind::Symlink) {
        let inside = match root.join(&entry.path).canonicalize() {
            Ok(target) => target.starts_with(&root),
            Err(e) if e.kind() == io::ErrorKind::NotFound => leads_inside(&root, &entry.path),
            Err(_) => false,
        };
        if !inside {
            let path = entry.path.display();
            return Err(BuildError::new(format!("`{path}` is a link that leads out of the repository"))
                .hint("link to a file of the repository by a relative path, or copy the file"));
        }
    }
    Ok(())
}

fn leads_inside(root: &Path, link: &Path) -> bool {
    let Ok(target) = std::fs::read_link(root.join(link)) else { return false };
    let mut depth = link.components().count().saturating_sub(1);
    for part in target.components() {
        match part {
            Component::Normal(_) => depth += 1,
            Component::ParentDir if depth > 0 => depth -= 1,
            Component::CurDir => {}
            _ => return false,
        }
    }
    true
}

fn has(entries: &[Entry], path: &str) -> bool {
    entries.iter().any(|entry| entry.path == Path::new(path))
}

/// The manifest must be a plain file, and not larger than anybody writes by hand.
pub fn check_manifest_file(entries: &[Entry]) -> Result<(), BuildError> {
    let file = entries.iter().find(|entry| entry.path == Path::new(manifest::MANIFEST_FILE));
    match file {
        None => Err(BuildError::new("there is no `tawi.toml` in the root of the repository")
            .hint("it says what the app handles; `tawi new` writes one to start from, and then `git add tawi.toml`")),
        Some(file) if file.kind != Kind::File => Err(BuildError::new("`tawi.toml` must be a plain file")),
        Some(file) if file.size_bytes > manifest::MANIFEST_BYTES_MAX as u64 => {
            let max = manifest::MANIFEST_BYTES_MAX;
            Err(BuildError::new(format!("`tawi.toml` has {} bytes, {max} are allowed", file.size_bytes)))
        }
        Some(_) => Ok(()),
    }
}

/// What the commit is made of, and that all is there that its build needs.
pub fn detect(entries: &[Entry], manifest: &Manifest) -> Result<Language, BuildError> {
    if let Some(component) = &manifest.build.component {
        let wanted = Path::new(component).components().filter(|part| !matches!(part, Component::CurDir)).collect::<PathBuf>();
        return match entries.iter().find(|entry| entry.path == wanted) {
            Some(entry) if entry.kind == Kind::File => Ok(Language::Prebuilt(wanted)),
            Some(_) => Err(BuildError::new(format!("`{component}`, the component that `tawi.toml` names, is not a plain file"))),
            None => Err(BuildError::new(format!("there is no `{component}`, which `tawi.toml` names as its component"))
                .hint("was it left out by `.gitignore`? `git add -f` adds it")),
        };
    }
    if !has(entries, "Cargo.toml") {
        let seen = OTHERS.iter().find(|(file, _)| has(entries, file));
        let message = match seen {
            Some((file, language)) => format!("`{file}` looks like {language}, which this version can't build"),
            None => "there is nothing to build: neither `Cargo.toml` nor `[build] component` in `tawi.toml`".to_owned(),
        };
        return Err(BuildError::new(message)
            .hint("built are: Rust (`Cargo.toml` in the root), and a component built elsewhere (`[build] component = \"app.wasm\"` in `tawi.toml`)"));
    }
    if !has(entries, "Cargo.lock") {
        return Err(BuildError::new("there is no `Cargo.lock`, so nobody can tell which versions would be built")
            .hint("`cargo generate-lockfile && git add -f Cargo.lock`, then commit and push again"));
    }
    Ok(Language::Rust)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn file(path: &str) -> Entry {
        Entry { kind: Kind::File, size_bytes: 1, path: path.into() }
    }

    fn link(path: &str) -> Entry {
        Entry { kind: Kind::Symlink, ..file(path) }
    }

    fn manifest(build: &str) -> Manifest {
        Manifest::parse(&format!("[app]\nname='a'\n[[on]]\nname='f'\nsubject='x'\n[build]\n{build}")).unwrap()
    }

    #[test]
    fn files_that_would_run_programs_are_refused_wherever_they_are() {
        for path in [".cargo/config.toml", "a/b/.cargo/config", ".CARGO/Config.toml", "rust-toolchain", "x/rust-toolchain.toml"] {
            let error = check(&[file("src/lib.rs"), file(path)]).unwrap_err();
            assert!(error.message.contains(path) && error.message.contains("refused"), "{error}");
        }
        assert!(check(&[link(".cargo")]).is_err());
        check(&[file("cargo/config.toml"), file(".cargo/README"), file("config.toml")]).unwrap();
    }

    #[test]
    fn submodules_and_masses_are_refused() {
        let submodule = Entry { kind: Kind::Submodule, ..file("vendor/x") };
        assert!(check(&[submodule]).unwrap_err().message.contains("`vendor/x` is a submodule"));
        assert!(check(&vec![file("a"); FILES_MAX + 1]).unwrap_err().message.contains("20000 are allowed"));
        let large = Entry { size_bytes: SOURCE_BYTES_MAX + 1, ..file("data.csv") };
        assert!(check(&[large]).unwrap_err().message.contains("MiB are allowed"));
    }

    #[test]
    fn links_may_point_about_inside_but_not_out_not_even_in_two_steps() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        std::fs::create_dir_all(root.join("a/b")).unwrap();
        std::fs::write(dir.path().join("outside"), "").unwrap();
        let make = |target: &str, path: &str| std::os::unix::fs::symlink(target, root.join(path)).unwrap();
        make("../a", "a/same");
        make("nowhere", "a/nothing");
        check_links(&[link("a/same"), link("a/nothing")], &root).unwrap();
        make("../../..", "a/b/up");
        make("/etc/passwd", "absolute");
        make("a/../../outside", "out");
        make("../../nowhere", "a/nowhere-out");
        // Read as text this stays inside; `a/b/top` is the root itself, so it does not.
        make("../..", "a/b/top");
        make("a/b/top/../outside", "two-steps");
        for path in ["a/b/up", "absolute", "out", "a/nowhere-out", "two-steps"] {
            assert!(check_links(&[link(path)], &root).is_err(), "{path}");
        }
    }

    #[test]
    fn what_is_missing_is_named_with_the_command_that_helps() {
        let none = manifest("");
        assert!(detect(&[], &none).unwrap_err().message.contains("nothing to build"));
        assert!(detect(&[file("package.json")], &none).unwrap_err().message.contains("looks like JavaScript"));
        let error = detect(&[file("Cargo.toml")], &none).unwrap_err();
        assert!(error.hint.unwrap().contains("cargo generate-lockfile"));
        assert_eq!(detect(&[file("Cargo.toml"), file("Cargo.lock")], &none), Ok(Language::Rust));
        assert!(check_manifest_file(&[]).unwrap_err().message.contains("no `tawi.toml`"));
    }

    #[test]
    fn a_component_built_elsewhere_is_found_by_its_path() {
        let prebuilt = manifest("component = './out/app.wasm'");
        assert_eq!(detect(&[file("out/app.wasm")], &prebuilt), Ok(Language::Prebuilt("out/app.wasm".into())));
        assert!(detect(&[link("out/app.wasm")], &prebuilt).unwrap_err().message.contains("not a plain file"));
        assert!(detect(&[], &prebuilt).unwrap_err().hint.unwrap().contains(".gitignore"));
    }
}
