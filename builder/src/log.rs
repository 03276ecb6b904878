//! What a build says: line by line to whoever waits for it, and into a file that is kept.

use crate::limit::{LOG_LINE_BYTES_MAX, LOGS_KEPT_MAX};
use parking_lot::Mutex;
use std::{
    fs,
    io::Write,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};
use tokio::sync::mpsc;

/// Cheap to clone.
#[derive(Clone)]
pub struct Log {
    inner: Arc<Inner>,
}

struct Inner {
    lines: mpsc::Sender<String>,
    file: Mutex<Option<fs::File>>,
    bytes: AtomicUsize,
}

impl Log {
    pub fn new(lines: mpsc::Sender<String>) -> Log {
        Log { inner: Arc::new(Inner { lines, file: Mutex::new(None), bytes: AtomicUsize::new(0) }) }
    }

    /// From now on every line is kept in `dir` too, in a file whose name sorts by time.
    pub fn keep_in(&self, dir: &Path, name: &str) {
        let opened = fs::create_dir_all(dir).and_then(|()| {
            forget_old(dir)?;
            fs::File::create(dir.join(format!("{name}.log")))
        });
        match opened {
            Ok(file) => *self.inner.file.lock() = Some(file),
            // A push must not fail for its log.
            Err(error) => tracing::warn!(dir = %dir.display(), %error, "could not keep a build log"),
        }
    }

    /// Waits while the reader is slow. A reader that is gone is no error: whoever started the build ends it.
    pub async fn line(&self, text: &str) {
        let text = printable(text);
        self.inner.bytes.fetch_add(text.len() + 1, Ordering::Relaxed);
        if let Some(file) = &mut *self.inner.file.lock() {
            let _ = writeln!(file, "{text}");
        }
        let _ = self.inner.lines.send(text).await;
    }

    /// The head of a step.
    pub async fn step(&self, text: &str) {
        self.line(&format!("-----> {text}")).await;
    }

    /// Something that belongs to the step above.
    pub async fn detail(&self, text: &str) {
        for line in text.lines() {
            self.line(&format!("       {line}")).await;
        }
    }

    pub fn bytes(&self) -> usize {
        self.inner.bytes.load(Ordering::Relaxed)
    }
}

/// Without what would move the cursor of the pusher's terminal, and not longer than anybody reads.
fn printable(text: &str) -> String {
    let mut plain: String = text.chars().filter(|c| !c.is_control() || *c == '\t').collect();
    if plain.len() > LOG_LINE_BYTES_MAX {
        plain.truncate((0..=LOG_LINE_BYTES_MAX).rev().find(|at| plain.is_char_boundary(*at)).unwrap_or(0));
        plain.push_str(" …");
    }
    plain
}

fn forget_old(dir: &Path) -> std::io::Result<()> {
    let mut logs: Vec<_> = fs::read_dir(dir)?.filter_map(|entry| entry.ok().map(|e| e.path())).collect();
    logs.sort();
    for old in logs.iter().take((logs.len() + 1).saturating_sub(LOGS_KEPT_MAX)) {
        fs::remove_file(old)?;
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_build_can_not_write_to_the_terminal_of_the_pusher() {
        assert_eq!(printable("\u{1b}[2Jred\r\tx"), "[2Jred\tx");
        assert!(printable(&"é".repeat(LOG_LINE_BYTES_MAX)).len() < LOG_LINE_BYTES_MAX + 8);
    }

    #[tokio::test]
    async fn the_last_logs_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        for n in 0..LOGS_KEPT_MAX + 5 {
            let (lines, mut reader) = mpsc::channel(8);
            let log = Log::new(lines);
            log.keep_in(dir.path(), &format!("{n:03}"));
            log.step("Compiling").await;
            assert_eq!(reader.recv().await.unwrap(), "-----> Compiling");
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), LOGS_KEPT_MAX);
        assert_eq!(fs::read_to_string(dir.path().join("024.log")).unwrap(), "-----> Compiling\n");
    }
}
