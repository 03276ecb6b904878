//! Where things are in this repository, and the programs built from it.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

/// The top of the checkout.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// Where cargo puts what it builds: beside the test binary that is running.
fn target_profile_dir() -> PathBuf {
    let exe = env::current_exe().unwrap();
    // target/PROFILE/deps/it-HASH
    let dir = exe.parent().unwrap();
    if dir.ends_with("deps") { dir.parent().unwrap().to_owned() } else { dir.to_owned() }
}

/// The `tawi` binary: `TAWI_BIN`, else the one of this checkout in the profile of the tests, built once when it is not fresh,
/// because a stale binary under test is worse than a slow start.
pub fn tawi() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| match env::var_os("TAWI_BIN") {
        Some(path) => {
            let path = PathBuf::from(path);
            assert!(path.is_file(), "TAWI_BIN names `{}`, which is no file", path.display());
            path.canonicalize().unwrap()
        }
        None => build_tawi(),
    })
}

fn build_tawi() -> PathBuf {
    let dir = target_profile_dir();
    let profile = match dir.file_name().and_then(|n| n.to_str()) {
        Some("debug") | None => "dev",
        Some(name) => name,
    };
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    // The whole workspace, so that features unify as they do for the tests: otherwise every dependency is built twice.
    let built = Command::new(cargo)
        .current_dir(root())
        .args(["build", "--workspace", "--bin", "tawi", "--profile", profile])
        .env_remove("CARGO_MANIFEST_DIR")
        .output()
        .unwrap();
    assert!(built.status.success(), "`tawi` does not build:\n{}", String::from_utf8_lossy(&built.stderr));
    dir.join("tawi")
}

/// Where the scripts of tools/ put the programs of others.
pub fn tools_dir() -> PathBuf {
    env::var_os("TAWI_TOOLS_DIR").map_or_else(|| root().join("target/tools"), PathBuf::from)
}

/// The nats-server to test with: `TAWI_NATS_SERVER`, else what tools/setup-nats put in place, else the one on the PATH.
pub fn nats_server() -> PathBuf {
    if let Some(path) = env::var_os("TAWI_NATS_SERVER") {
        return path.into();
    }
    let ours = tools_dir().join("nats-server");
    if ours.exists() { ours } else { "nats-server".into() }
}

/// A directory under functions/.
pub fn function_dir(name: &str) -> PathBuf {
    let dir = root().join("functions").join(name);
    assert!(dir.is_dir(), "there is no functions/{name}");
    dir
}

/// The component that functions/build made of functions/NAME.
pub fn component(name: &str) -> PathBuf {
    let path = root().join("functions/target/guests").join(name).with_extension("wasm");
    assert!(path.is_file(), "no component at `{}`: run functions/build", path.display());
    path
}

/// Every file under `dir`, sorted; what git would not keep and what cargo makes is left out.
pub fn files_under(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut todo = vec![dir.to_owned()];
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            let (path, name) = (entry.path(), entry.file_name());
            match entry.file_type() {
                Ok(kind) if kind.is_dir() && name != "target" && name != ".git" => todo.push(path),
                Ok(kind) if kind.is_file() => files.push(path),
                _ => {}
            }
        }
    }
    files.sort();
    files
}
