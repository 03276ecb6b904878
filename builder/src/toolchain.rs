//! The Rust that compiles guests: which one, and how it is called.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::Command,
};

pub const TARGET: &str = "wasm32-wasip2";
/// Names a rustup toolchain or a directory with `bin/cargo`, where the choice is not to be left to us.
pub const TOOLCHAIN_VARIABLE: &str = "TAWI_WASM_TOOLCHAIN";
/// What `tools/setup-wasm` links where rustup's servers are out of reach.
const LINKED: &str = "tawi-wasm";

/// A compiler with the standard library for [`TARGET`]. Called by its own path, so that no toolchain file has a say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Toolchain {
    pub sysroot: PathBuf,
    /// What `rustc --version` says.
    pub version: String,
    /// The target that build scripts and macros are compiled for.
    pub host: String,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no Rust toolchain here can build {TARGET}; looked at {}", looked_at.join(", "))]
pub struct ToolchainError {
    pub looked_at: Vec<String>,
}

impl Toolchain {
    /// The one that the variable names, else the default one, the linked one or the system's, whichever is able first. Runs `rustc`.
    pub fn detect() -> Result<Toolchain, ToolchainError> {
        let mut looked_at = Vec::new();
        for (name, sysroot) in candidates() {
            match sysroot.and_then(|sysroot| Toolchain::at(&sysroot, verbose_version)) {
                Some(toolchain) => return Ok(toolchain),
                None => looked_at.push(format!("`{name}`")),
            }
        }
        Err(ToolchainError { looked_at })
    }

    fn at(sysroot: &Path, ask: impl Fn(&Path) -> Option<String>) -> Option<Toolchain> {
        let lib = sysroot.join("lib/rustlib").join(TARGET).join("lib");
        let has_std = std::fs::read_dir(&lib).ok()?.filter_map(Result::ok).any(|file| is_std(&file.file_name().to_string_lossy()));
        if !has_std || !sysroot.join("bin/cargo").is_file() {
            return None;
        }
        let verbose = ask(&sysroot.join("bin/rustc"))?;
        let version = verbose.lines().next()?.to_owned();
        let host = verbose.lines().find_map(|line| line.strip_prefix("host: "))?.to_owned();
        // A std that setup-wasm built fits one compiler only; after an upgrade of the compiler it must be built again.
        let built_by = std::fs::read_to_string(lib.join("built-by")).ok();
        (built_by.is_none_or(|built_by| built_by.trim() == version)).then(|| Toolchain { sysroot: sysroot.to_owned(), version, host })
    }

    pub fn cargo(&self) -> PathBuf {
        self.sysroot.join("bin/cargo")
    }

    pub fn rustc(&self) -> PathBuf {
        self.sysroot.join("bin/rustc")
    }

    /// The node's own path, for the linker of build scripts, with the toolchain's programs before any others of their name.
    pub fn path(&self) -> OsString {
        let ours = std::env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into());
        let all = std::iter::once(self.sysroot.join("bin")).chain(std::env::split_paths(&ours));
        std::env::join_paths(all).unwrap_or(ours)
    }
}

fn verbose_version(rustc: &Path) -> Option<String> {
    output(Command::new(rustc).arg("-vV"))
}

fn candidates() -> Vec<(String, Option<PathBuf>)> {
    if let Ok(named) = std::env::var(TOOLCHAIN_VARIABLE) {
        let sysroot = if Path::new(&named).is_dir() { Some(PathBuf::from(&named)) } else { sysroot_of(Some(&named)) };
        return vec![(named, sysroot)];
    }
    vec![
        ("rustc".to_owned(), sysroot_of(None)),
        (LINKED.to_owned(), sysroot_of(Some(LINKED))),
        ("/usr".to_owned(), Some(PathBuf::from("/usr"))),
    ]
}

/// Asked outside of any project, whose toolchain file would answer.
fn sysroot_of(toolchain: Option<&str>) -> Option<PathBuf> {
    let mut command = Command::new("rustc");
    command.args(toolchain.map(|name| format!("+{name}"))).args(["--print", "sysroot"]).current_dir("/");
    output(&mut command).map(PathBuf::from)
}

fn output(command: &mut Command) -> Option<String> {
    let output = command.stderr(std::process::Stdio::null()).output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}

fn is_std(file: &str) -> bool {
    file.starts_with("libstd-") && file.ends_with(".rlib")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_std_of_another_compiler_does_not_count() {
        let dir = tempfile::tempdir().unwrap();
        let lib = dir.path().join("lib/rustlib/wasm32-wasip2/lib");
        std::fs::create_dir_all(&lib).unwrap();
        std::fs::create_dir_all(dir.path().join("bin")).unwrap();
        std::fs::write(dir.path().join("bin/cargo"), "").unwrap();
        let found = || Toolchain::at(dir.path(), |_| Some("rustc of today\nhost: here\n".to_owned()));
        assert_eq!(found(), None);
        std::fs::write(lib.join("libstd-1.rlib"), "").unwrap();
        assert_eq!(found().unwrap().host, "here");
        std::fs::write(lib.join("built-by"), "rustc of yesterday").unwrap();
        assert_eq!(found(), None);
        std::fs::write(lib.join("built-by"), "rustc of today\n").unwrap();
        assert!(found().is_some());
    }
}
