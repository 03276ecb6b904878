//! A command in a process group of its own, with limits. The group never outlives the future that runs it.

use crate::{
    limit::{BuildLimits, LOG_LINE_BYTES_MAX},
    log::Log,
};
use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use std::{
    io,
    path::Path,
    process::{ExitStatus, Stdio},
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, BufReader},
    process::{Child, Command},
    time::{Instant, MissedTickBehavior, interval_at, sleep_until, timeout},
};

/// How often the processes of a build are counted and weighed.
const SAMPLE_EVERY: Duration = Duration::from_millis(200);
/// A process that left its group may hold the pipe open for ever; what it says after this is lost.
const DRAIN_MAX: Duration = Duration::from_secs(1);

/// What a shell does before it becomes the program that a build runs. Limits: no core dumps, files of so many blocks. And a leash: [`run`]
/// holds the other end of standard input, so when the node dies, even by `kill -9`, reading ends and the group with it.
const LEASHED: &str = "ulimit -c 0; ulimit -f BLOCKS; exec 3<&0 </dev/null; (read -r _ <&3; kill -9 0) >/dev/null 2>&1 & exec \"$@\" 3<&-";
/// POSIX counts the size of files in these.
const BLOCK_BYTES: u64 = 512;

/// A command for code that is not ours: limited, and gone with the node. The program's arguments follow.
pub fn leashed(program: &Path, limits: &BuildLimits) -> Command {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", &LEASHED.replace("BLOCKS", &(limits.file_bytes / BLOCK_BYTES).to_string()), "sh"]).arg(program);
    command
}

/// Kills every process of a group when it is dropped.
pub struct Group(Option<Pid>);

impl Group {
    /// Of a child that was started with `process_group(0)`.
    pub fn of(child: &Child) -> Group {
        Group(child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw))
    }

    /// Once: later the number may be another group's.
    pub fn kill(&mut self) {
        if let Some(group) = self.0.take() {
            // No such process: all are gone already.
            let _ = killpg(group, Signal::SIGKILL);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    Exited(ExitStatus),
    /// Killed, because of this limit.
    Killed(Limit),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    Wall,
    Log,
    Memory,
    Processes,
    ScriptOutput,
    /// What we wanted to read of it was too much.
    Output,
}

/// What becomes of standard output.
pub enum Stdout<'a> {
    /// Kept whole, up to so many bytes.
    Capture(&'a mut Vec<u8>, usize),
    /// Given line by line; what comes back goes into the log. Longer lines are cut.
    Lines(&'a mut (dyn FnMut(String) -> Option<String> + Send), usize),
}

/// What becomes of standard error.
pub enum Stderr<'a> {
    Log,
    Capture(&'a mut Vec<u8>),
}

/// Runs `command` to its end or to a limit. Dropping the future kills the group.
pub async fn run(
    command: &mut Command,
    limits: &BuildLimits,
    deadline: Instant,
    log: &Log,
    mut out: Stdout<'_>,
    mut err: Stderr<'_>,
) -> io::Result<Ended> {
    command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn()?;
    let mut group = Group::of(&child);
    let _leash = child.stdin.take();
    let out_max = match &out {
        Stdout::Capture(_, _) => 64 * 1024,
        Stdout::Lines(_, max) => *max,
    };
    let mut stdout = Pieces::new(child.stdout.take(), out_max, matches!(out, Stdout::Capture(..)));
    let mut stderr = Pieces::new(child.stderr.take(), LOG_LINE_BYTES_MAX, false);
    let mut sample = interval_at(Instant::now() + SAMPLE_EVERY, SAMPLE_EVERY);
    sample.set_missed_tick_behavior(MissedTickBehavior::Delay);

    let pump = async {
        loop {
            tokio::select! {
                piece = stdout.next(), if !stdout.ended => match (&mut out, piece?) {
                    (_, None) => {}
                    (Stdout::Capture(bytes, max), Some(piece)) if bytes.len() + piece.len() > *max => return Ok(Some(Limit::Output)),
                    (Stdout::Capture(bytes, _), Some(piece)) => bytes.extend(piece),
                    (Stdout::Lines(take, _), Some(line)) => {
                        if let Some(text) = take(String::from_utf8_lossy(&line).into_owned()) {
                            log.detail(&text).await;
                        }
                    }
                },
                line = stderr.next(), if !stderr.ended => match (&mut err, line?) {
                    (_, None) => {}
                    (Stderr::Log, Some(line)) => log.detail(String::from_utf8_lossy(&line).trim_end()).await,
                    (Stderr::Capture(bytes), Some(line)) if bytes.len() < limits.log_bytes => bytes.extend(line),
                    (Stderr::Capture(_), Some(_)) => {}
                },
                else => return Ok::<_, io::Error>(None),
            }
            if log.bytes() > limits.log_bytes {
                return Ok(Some(Limit::Log));
            }
        }
    };
    tokio::pin!(pump);
    let mut pumped = false;
    let ended = loop {
        tokio::select! {
            exit = child.wait() => break Ended::Exited(exit?),
            limit = &mut pump, if !pumped => match limit? {
                Some(limit) => break Ended::Killed(limit),
                None => pumped = true,
            },
            () = sleep_until(deadline) => break Ended::Killed(Limit::Wall),
            _ = sample.tick() => if let Some(limit) = group.0.and_then(|group| over(group, limits)) {
                break Ended::Killed(limit);
            },
        }
    };
    // What the command has left running ends with it.
    group.kill();
    if let (Ended::Exited(_), false) = (ended, pumped) {
        match timeout(DRAIN_MAX, &mut pump).await {
            Ok(Ok(Some(limit))) => return Ok(Ended::Killed(limit)),
            Ok(failed) => drop(failed?),
            Err(_) => {}
        }
    }
    if matches!(ended, Ended::Killed(_)) {
        child.wait().await?;
    }
    Ok(ended)
}

/// Output in pieces that end at a line end, or where a line becomes too long: then the rest of it is left out.
struct Pieces<R> {
    reader: Option<BufReader<R>>,
    piece_max: usize,
    /// Every byte counts, so long lines come in several pieces.
    whole: bool,
    ended: bool,
    line: Vec<u8>,
}

impl<R: AsyncRead + Unpin> Pieces<R> {
    fn new(pipe: Option<R>, piece_max: usize, whole: bool) -> Pieces<R> {
        Pieces { ended: pipe.is_none(), reader: pipe.map(BufReader::new), piece_max, whole, line: Vec::new() }
    }

    /// Safe to cancel: what was read is kept in `self.line`.
    async fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        let Some(reader) = &mut self.reader else { return Ok(None) };
        loop {
            let chunk = reader.fill_buf().await?;
            if chunk.is_empty() {
                self.ended = true;
                let rest = std::mem::take(&mut self.line);
                return Ok((!rest.is_empty()).then_some(rest));
            }
            let line_end = chunk.iter().position(|byte| *byte == b'\n');
            let taken = line_end.map_or(chunk.len(), |at| at + 1);
            let room = if self.whole { taken } else { taken.min(self.piece_max.saturating_sub(self.line.len())) };
            self.line.extend_from_slice(&chunk[..room]);
            reader.consume(taken);
            if line_end.is_some() || (self.whole && self.line.len() >= self.piece_max) {
                return Ok(Some(std::mem::take(&mut self.line)));
            }
        }
    }
}

/// The limit that the processes of a group are over, as far as this system can tell.
fn over(group: Pid, limits: &BuildLimits) -> Option<Limit> {
    let (mut memory, mut processes) = (0, 0);
    for entry in std::fs::read_dir("/proc").ok()?.filter_map(Result::ok) {
        let name = entry.file_name();
        let Some(pid) = name.to_str().filter(|name| name.bytes().all(|byte| byte.is_ascii_digit())) else { continue };
        // A process that ends while we look is no longer our concern.
        let Some(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok().and_then(|stat| Stat::parse(&stat)) else { continue };
        if stat.group != group.as_raw() {
            continue;
        }
        processes += 1;
        memory += stat.resident_bytes;
        if stat.name.starts_with("build-script-") && written(pid) > limits.script_bytes {
            return Some(Limit::ScriptOutput);
        }
    }
    match () {
        () if memory > limits.memory_bytes => Some(Limit::Memory),
        () if processes > limits.processes => Some(Limit::Processes),
        () => None,
    }
}

struct Stat {
    name: String,
    group: i32,
    resident_bytes: u64,
}

impl Stat {
    /// proc(5): the name is in parentheses and may hold some itself; the group is the 5th field, resident pages the 24th.
    fn parse(stat: &str) -> Option<Stat> {
        let (head, rest) = stat.rsplit_once(") ")?;
        let fields: Vec<&str> = rest.split(' ').collect();
        let pages: u64 = fields.get(21)?.parse().ok()?;
        let name = head.split_once('(')?.1.to_owned();
        Some(Stat { name, group: fields.get(2)?.parse().ok()?, resident_bytes: pages * page_bytes() })
    }
}

fn page_bytes() -> u64 {
    nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).ok().flatten().and_then(|n| u64::try_from(n).ok()).unwrap_or(4096)
}

fn written(pid: &str) -> u64 {
    let io = std::fs::read_to_string(format!("/proc/{pid}/io")).unwrap_or_default();
    io.lines().find_map(|line| line.strip_prefix("wchar: ")).and_then(|n| n.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
#[path = "process_tests.rs"]
mod tests;
