//! A small file that is either the old one or the new one, readable by its owner alone.

use std::{
    fs::File,
    io::{self, Write},
    os::unix::fs::PermissionsExt,
    path::Path,
};

/// Writes beside it, syncs, renames over it, syncs the directory: a power cut at any point leaves one whole file.
pub fn replace(path: &Path, contents: &[u8]) -> io::Result<()> {
    let dir = path.parent().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the file has no directory"))?;
    let mut file = tempfile::Builder::new().prefix(".new-").permissions(std::fs::Permissions::from_mode(0o600)).tempfile_in(dir)?;
    file.write_all(contents)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|e| e.error)?;
    File::open(dir)?.sync_all()
}
