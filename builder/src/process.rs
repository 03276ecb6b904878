//! A command with everything it starts, within limits. Nothing of it outlives the future that runs it.

use crate::{
    limit::{BuildLimits, KEEPER_END_MAX, LOG_LINE_BYTES_MAX},
    log::Log,
    options::Program,
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

/// How the processes of a command are held together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// By their group: for programs that don't leave it.
    Group,
    /// By a keeper ([`kept`]), which finds them wherever they went. It lives as long as its standard input is open, and is
    /// never killed while it works: what it holds would be free then.
    Keeper,
}

/// A command for code that is not ours: limited, and gone with the node. The program's arguments follow.
pub fn kept(keeper: &Program, program: &Path, limits: &BuildLimits) -> Command {
    let mut command = Command::new(&keeper.program);
    command.args(&keeper.arguments).arg(limits.file_bytes.to_string()).arg(program);
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

/// Runs `command` to its end or to a limit. Dropping the future ends it, with all that it started.
pub async fn run(
    command: &mut Command,
    hold: Hold,
    limits: &BuildLimits,
    deadline: Instant,
    log: &Log,
    mut out: Stdout<'_>,
    mut err: Stderr<'_>,
) -> io::Result<Ended> {
    command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(hold == Hold::Group);
    let mut child = command.spawn()?;
    let mut group = Group::of(&child);
    let leader = group.0;
    if hold == Hold::Keeper {
        group.0 = None;
    }
    // Its other end is what a keeper listens to: closed here by a drop, or by the system when the node is no more.
    let leash = child.stdin.take();
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
            _ = sample.tick() => if let Some(limit) = leader.and_then(|leader| over(leader, limits)) {
                break Ended::Killed(limit);
            },
        }
    };
    drop(leash);
    if hold == Hold::Keeper && timeout(KEEPER_END_MAX, child.wait()).await.is_err() {
        tracing::warn!(pid = ?child.id(), "the processes of a build do not end; giving up on them");
    }
    // What the command has left running ends with it; and with a keeper that was killed, those that it kept.
    group.0 = leader;
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

/// The limit that the processes of a command are over, as far as this system can tell.
fn over(leader: Pid, limits: &BuildLimits) -> Option<Limit> {
    let family = family(leader);
    if family.iter().any(|stat| stat.name.starts_with("build-script-") && written(stat.pid) > limits.script_bytes) {
        return Some(Limit::ScriptOutput);
    }
    match family.iter().map(|stat| stat.resident_bytes).sum::<u64>() {
        memory if memory > limits.memory_bytes => Some(Limit::Memory),
        _ if family.len() > limits.processes => Some(Limit::Processes),
        _ => None,
    }
}

/// The processes of a leader's group and all that descend from it, itself included. Where there is no `/proc`, none.
pub fn family(leader: Pid) -> Vec<Stat> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().filter_map(Result::ok);
    // A process that ends while we look is no longer our concern.
    let mut others: Vec<Stat> = entries
        .filter(|entry| entry.file_name().as_encoded_bytes().iter().all(u8::is_ascii_digit))
        .filter_map(|entry| Stat::parse(&std::fs::read_to_string(entry.path().join("stat")).ok()?))
        .collect();
    let mut family: Vec<Stat> = others.extract_if(.., |stat| stat.pid == leader.as_raw() || stat.group == leader.as_raw()).collect();
    let mut seen = 0;
    while seen < family.len() {
        let parent = family[seen].pid;
        family.extend(others.extract_if(.., |stat| stat.parent == parent));
        seen += 1;
    }
    family
}

pub struct Stat {
    pub pid: i32,
    name: String,
    parent: i32,
    group: i32,
    resident_bytes: u64,
}

impl Stat {
    /// proc(5): the name is in parentheses and may hold some itself; after it come state, parent and group, resident pages are the 24th field.
    fn parse(stat: &str) -> Option<Stat> {
        let (head, rest) = stat.rsplit_once(") ")?;
        let (pid, name) = head.split_once(" (")?;
        let fields: Vec<&str> = rest.split(' ').collect();
        let number = |at: usize| fields.get(at)?.parse::<i32>().ok();
        let pages: u64 = fields.get(21)?.parse().ok()?;
        Some(Stat {
            pid: pid.parse().ok()?,
            name: name.to_owned(),
            parent: number(1)?,
            group: number(2)?,
            resident_bytes: pages * page_bytes(),
        })
    }
}

fn page_bytes() -> u64 {
    nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).ok().flatten().and_then(|n| u64::try_from(n).ok()).unwrap_or(4096)
}

fn written(pid: i32) -> u64 {
    let io = std::fs::read_to_string(format!("/proc/{pid}/io")).unwrap_or_default();
    io.lines().find_map(|line| line.strip_prefix("wchar: ")).and_then(|n| n.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
#[path = "process_tests.rs"]
mod tests;
