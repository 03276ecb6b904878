//! A trace that is being written: beside its place until it is whole.

use crate::{
    failure::{Done, Failure},
    trace::{Event, HEAD},
};
use std::{
    fs::{self, File, Permissions},
    io::{self, BufWriter, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};
use tempfile::NamedTempFile;

pub struct TraceFile {
    part: BufWriter<NamedTempFile>,
    path: PathBuf,
    dir: PathBuf,
    pub events: u64,
    /// How often events were missed that may have belonged into it.
    pub gaps: u64,
}

impl TraceFile {
    /// What is in its place already stays there until [`TraceFile::finish`].
    pub fn create(path: &Path) -> Done<TraceFile> {
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_owned();
        let wrong = |e: io::Error| Failure::because(format!("can't write `{}`", path.display()), &e);
        // A folder in its place would be found out when all is recorded.
        if path.is_dir() {
            return Err(Failure::new(format!("`{}` is a folder", path.display())).hint("`--into` names a file"));
        }
        fs::create_dir_all(&dir).map_err(wrong)?;
        // A temporary file is for its owner alone; a fixture is a file as any other.
        let rights = Permissions::from_mode(0o666);
        let part = tempfile::Builder::new().prefix(".tawi-record-").permissions(rights).tempfile_in(&dir).map_err(wrong)?;
        let mut part = BufWriter::new(part);
        writeln!(part, "{HEAD}").map_err(wrong)?;
        Ok(TraceFile { part, path: path.to_owned(), dir, events: 0, gaps: 0 })
    }

    fn wrong(&self) -> impl Fn(io::Error) -> Failure + use<> {
        let what = format!("can't write `{}`", self.path.display());
        move |e| Failure::because(what.clone(), &e)
    }

    pub fn add(&mut self, event: &Event) -> Done {
        if event.is_made {
            return Ok(());
        }
        let wrong = self.wrong();
        self.events += 1;
        writeln!(self.part, "{}", event.to_line()).map_err(wrong)
    }

    /// Hands over what there is, where it comes one by one.
    pub fn flush(&mut self) -> Done {
        let wrong = self.wrong();
        self.part.flush().map_err(wrong)
    }

    /// Puts it in its place, and says how large it is.
    pub fn finish(self) -> Done<u64> {
        let wrong = self.wrong();
        let part = self.part.into_inner().map_err(|e| wrong(e.into_error()))?;
        part.as_file().sync_all().map_err(&wrong)?;
        let bytes = part.as_file().metadata().map_err(&wrong)?.len();
        part.persist(&self.path).map_err(|e| wrong(e.error))?;
        File::open(&self.dir).and_then(|dir| dir.sync_all()).map_err(&wrong)?;
        Ok(bytes)
    }
}
