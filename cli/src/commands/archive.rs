//! A node in a file, and back.

use super::Context;
use crate::failure::{Done, Failure};
use std::{
    fs::File,
    io::{self, IsTerminal, Read, Write},
    path::Path,
};
use tawi_runtime::server::archive;

pub fn backup(context: &Context, file: &Path) -> Done {
    let client = context.client()?;
    let mut from = client.reader("/api/v1/backup")?;
    let name = file.display();
    if file.as_os_str() == "-" {
        if io::stdout().is_terminal() {
            return Err(Failure::new("a backup is no text for a terminal").hint("`tawi backup FILE`, or pipe it somewhere"));
        }
        return copy(&mut from, &mut io::stdout().lock()).map(drop);
    }
    let dir = file.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let wrong = |e: io::Error| Failure::because(format!("can't write `{name}`"), &e);
    let mut part = tempfile::Builder::new().prefix(".tawi-backup-").tempfile_in(dir).map_err(wrong)?;
    let bytes = copy(&mut from, part.as_file_mut())?;
    part.as_file().sync_all().map_err(wrong)?;
    archive::check(File::open(part.path()).map_err(wrong)?)
        .map_err(|e| Failure::because("the backup ended early; nothing was written", &e).hint("the node's log says why"))?;
    part.persist(file).map_err(|e| wrong(e.error))?;
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(wrong)?;
    eprintln!("{name}: {:.1} MB", bytes as f64 / 1e6);
    Ok(())
}

fn copy(from: &mut impl Read, to: &mut impl Write) -> Done<u64> {
    io::copy(from, to).map_err(|e| Failure::because("the backup broke off", &e))
}

pub fn restore(file: &Path, data: &Path) -> Done {
    let name = file.display();
    let from: Box<dyn Read> = if file.as_os_str() == "-" {
        Box::new(io::stdin().lock())
    } else {
        Box::new(File::open(file).map_err(|e| Failure::because(format!("can't read `{name}`"), &e))?)
    };
    archive::restore(from, data).map_err(|e| {
        Failure::because(format!("can't restore `{name}` into `{}`", data.display()), &e).hint("the folder must not exist, or be empty")
    })?;
    eprintln!("restored; start it with `tawi up --data {}`", data.display());
    Ok(())
}
