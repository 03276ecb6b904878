//! Puts together what `tawi new` writes: the template, and the SDK as a folder inside it.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
};

/// What a build or git leaves in a source folder.
const LEFT_OUT: [&str; 3] = ["target", ".git", ".DS_Store"];

fn main() -> io::Result<()> {
    let variable = |name: &str| env::var_os(name).map(PathBuf::from).ok_or_else(|| io::Error::other(format!("cargo did not set {name}")));
    let (here, out) = (variable("CARGO_MANIFEST_DIR")?, variable("OUT_DIR")?.join("new"));
    if out.exists() {
        fs::remove_dir_all(&out)?;
    }
    copy(&here.join("template"), &out)?;
    copy(&here.join("../sdk"), &out.join("tawi-sdk"))
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let name = entry.file_name();
        if LEFT_OUT.iter().any(|left_out| name == *left_out) {
            continue;
        }
        if entry.file_type()?.is_dir() {
            // Not the folder we began at: cargo would watch what is left out there too.
            println!("cargo::rerun-if-changed={}", entry.path().display());
            copy(&entry.path(), &to.join(&name))?;
        } else {
            println!("cargo::rerun-if-changed={}", entry.path().display());
            fs::copy(entry.path(), to.join(&name))?;
        }
    }
    Ok(())
}
