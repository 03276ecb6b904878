//! A disk in memory that can stop at any step and forgets what was not synced.

use super::disk::Disk;
use parking_lot::Mutex;
use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
};

/// What a crash does to writes that were not synced.
#[derive(Debug, Clone, Copy)]
pub enum Crash {
    /// The machine lost power and nothing but synced writes is left.
    Forgets,
    /// The process was killed, or everything happened to reach the disk.
    Keeps,
    /// Each write that was not synced is there or not, by a seed; of the content of a file a part.
    Tears(u64),
}

type Names = BTreeMap<String, usize>;

#[derive(Clone)]
enum Node {
    File { now: Vec<u8>, synced: Vec<u8> },
    Dir { now: Names, synced: Names },
}

struct State {
    /// Number 0 is the root, which is always there.
    nodes: Vec<Node>,
    steps: usize,
    stop_at: Option<usize>,
    /// Syncs that had something to do.
    syncs: usize,
    skip_sync: Option<usize>,
}

pub struct Sim {
    root: PathBuf,
    state: Mutex<State>,
}

impl Sim {
    pub fn new(root: &Path) -> Sim {
        Sim::of(root, vec![Node::Dir { now: Names::new(), synced: Names::new() }])
    }

    fn of(root: &Path, nodes: Vec<Node>) -> Sim {
        Sim { root: root.to_owned(), state: Mutex::new(State { nodes, steps: 0, stop_at: None, syncs: 0, skip_sync: None }) }
    }

    /// Nothing works from this step on.
    pub fn stop_at(self, step: usize) -> Sim {
        self.state.lock().stop_at = Some(step);
        self
    }

    /// This sync does nothing and says it had.
    pub fn skip_sync(self, sync: Option<usize>) -> Sim {
        self.state.lock().skip_sync = sync;
        self
    }

    pub fn steps(&self) -> usize {
        self.state.lock().steps
    }

    pub fn syncs(&self) -> usize {
        self.state.lock().syncs
    }

    /// The disk as it is, for a process that was killed and started again.
    pub fn restarted(&self) -> Sim {
        Sim::of(&self.root, self.state.lock().nodes.clone())
    }

    /// The disk as the next start finds it.
    pub fn after(&self, crash: Crash) -> Sim {
        let mut dice = match crash {
            Crash::Tears(seed) => seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1,
            _ => 1,
        };
        let mut roll = || {
            dice ^= dice << 13;
            dice ^= dice >> 7;
            dice ^= dice << 17;
            dice
        };
        let mut left = |node: &Node| match node {
            Node::File { now, synced } => {
                let bytes = match crash {
                    Crash::Forgets => synced.clone(),
                    Crash::Keeps => now.clone(),
                    Crash::Tears(_) if now == synced => now.clone(),
                    Crash::Tears(_) => now[..roll() as usize % (now.len() + 1)].to_vec(),
                };
                Node::File { now: bytes.clone(), synced: bytes }
            }
            Node::Dir { now, synced } => {
                let mut names = synced.clone();
                for name in now.keys().chain(synced.keys()) {
                    let keeps = matches!(crash, Crash::Keeps) || matches!(crash, Crash::Tears(_)) && roll() % 2 == 0;
                    match now.get(name) {
                        Some(node) if keeps => names.insert(name.clone(), *node),
                        None if keeps => names.remove(name),
                        _ => None,
                    };
                }
                Node::Dir { now: names.clone(), synced: names }
            }
        };
        let nodes = self.state.lock().nodes.iter().map(&mut left).collect();
        Sim::of(&self.root, nodes)
    }

    fn place(path: &Path) -> (&Path, String) {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        (path.parent().unwrap_or(Path::new("")), name.unwrap_or_default())
    }
}

impl State {
    fn find(&self, root: &Path, path: &Path) -> io::Result<usize> {
        let mut at = 0;
        for name in path.strip_prefix(root).map_err(io::Error::other)?.components() {
            let name = name.as_os_str().to_string_lossy();
            let Node::Dir { now, .. } = &self.nodes[at] else { return Err(io::ErrorKind::NotADirectory.into()) };
            at = *now.get(name.as_ref()).ok_or(io::ErrorKind::NotFound)?;
        }
        Ok(at)
    }

    fn names(&mut self, root: &Path, dir: &Path) -> io::Result<&mut Names> {
        let at = self.find(root, dir)?;
        match &mut self.nodes[at] {
            Node::Dir { now, .. } => Ok(now),
            Node::File { .. } => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    fn step(&mut self) -> io::Result<()> {
        if self.stop_at.is_some_and(|stop| self.steps >= stop) {
            return Err(io::Error::other("the disk has stopped"));
        }
        self.steps += 1;
        Ok(())
    }

    fn sync(&mut self, at: usize) -> io::Result<()> {
        self.step()?;
        let skip = self.skip_sync == Some(self.syncs);
        let dirty = match &self.nodes[at] {
            Node::File { now, synced } => now != synced,
            Node::Dir { now, synced } => now != synced,
        };
        self.syncs += usize::from(dirty);
        if dirty && !skip {
            match &mut self.nodes[at] {
                Node::File { now, synced } => synced.clone_from(now),
                Node::Dir { now, synced } => synced.clone_from(now),
            }
        }
        Ok(())
    }

    /// As `remove_dir_all` does it: name by name, from below.
    fn remove(&mut self, root: &Path, path: &Path) -> io::Result<()> {
        let at = match self.find(root, path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            found => found?,
        };
        if let Node::Dir { now, .. } = &self.nodes[at] {
            for name in now.clone().keys() {
                self.remove(root, &path.join(name))?;
            }
        }
        self.step()?;
        let (dir, name) = Sim::place(path);
        self.names(root, dir)?.remove(&name);
        Ok(())
    }
}

impl Disk for Sim {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let state = self.state.lock();
        match &state.nodes[state.find(&self.root, path)?] {
            Node::File { now, .. } => Ok(now.clone()),
            Node::Dir { .. } => Err(io::ErrorKind::IsADirectory.into()),
        }
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        match self.state.lock().names(&self.root, dir) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            names => Ok(names?.keys().cloned().collect()),
        }
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        if state.find(&self.root, path).is_ok() {
            return Ok(());
        }
        state.step()?;
        let (dir, name) = Sim::place(path);
        let new = state.nodes.len();
        state.names(&self.root, dir)?.insert(name, new);
        state.nodes.push(Node::Dir { now: Names::new(), synced: Names::new() });
        Ok(())
    }

    fn write_synced(&self, path: &Path, bytes: &[u8], _private: bool) -> io::Result<()> {
        let mut state = self.state.lock();
        state.step()?;
        let at = match state.find(&self.root, path) {
            Ok(at) => at,
            Err(_) => {
                let (dir, name) = Sim::place(path);
                let new = state.nodes.len();
                state.names(&self.root, dir)?.insert(name, new);
                state.nodes.push(Node::File { now: Vec::new(), synced: Vec::new() });
                new
            }
        };
        for part in [&bytes[..bytes.len() / 2], bytes] {
            if let Node::File { now, .. } = &mut state.nodes[at] {
                *now = part.to_vec();
            }
            state.step()?;
        }
        state.sync(at)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.step()?;
        let ((from_dir, from_name), (to_dir, to_name)) = (Sim::place(from), Sim::place(to));
        let at = state.names(&self.root, from_dir)?.remove(&from_name).ok_or(io::ErrorKind::NotFound)?;
        state.names(&self.root, to_dir)?.insert(to_name, at);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.state.lock().remove(&self.root, path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        let at = state.find(&self.root, dir)?;
        state.sync(at)
    }
}
