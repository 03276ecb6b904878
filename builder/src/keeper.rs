//! The process between the node and a build, which ends with the build and takes everything along that the build has started.
//!
//! A process can leave its group and its parent, and a daemon does. It can't leave its keeper: whoever loses a parent is given to the
//! nearest ancestor that reaps, and that is this one. So the keeper finds them all below itself, and kills until nobody is there.
//! It does so when the program ends, and when its own standard input does: the node holds the other end, and lets go of it to stop
//! the build, or by dying, even by `kill -9`.

use crate::process::family;
use nix::{
    errno::Errno,
    sys::{
        resource::{Resource, setrlimit},
        signal::{Signal, kill},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};
use std::{
    ffi::OsString,
    io::{self, Read, Write},
    process::{Command, ExitCode, Stdio},
};

/// As shells say it: the program could not be run at all.
const NOT_RUN: u8 = 127;
/// As shells say it: a signal ended the program; its number is added.
const SIGNALLED: u8 = 128;

/// What a keeper process does. Its words: the largest file that a build may write, in bytes, then a program and its arguments.
pub fn keep_main(words: impl Iterator<Item = OsString>) -> ExitCode {
    keep(words).map_or_else(
        |error| {
            let _ = writeln!(io::stderr(), "error: the build could not be started: {error}");
            ExitCode::from(NOT_RUN)
        },
        ExitCode::from,
    )
}

fn keep(mut words: impl Iterator<Item = OsString>) -> io::Result<u8> {
    let file_bytes = words.next().and_then(|word| word.to_str()?.parse().ok());
    let (Some(file_bytes), Some(program)) = (file_bytes, words.next()) else {
        return Err(io::Error::other("a size and a program are wanted; only the node runs this"));
    };
    adopt()?;
    // No core dumps: they would be files of the node's user in the middle of a build.
    setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
    setrlimit(Resource::RLIMIT_FSIZE, file_bytes, file_bytes)?;
    let child = Command::new(&program).args(words).stdin(Stdio::null()).spawn();
    let child = child.map_err(|e| io::Error::other(format!("can't run `{}`: {e}", program.display())))?;
    // Ends with the process.
    std::thread::spawn(follow_leash);
    let code = wait_for(Pid::from_raw(child.id().cast_signed()))?;
    // Whom it can't end, the node can't either; what the program came to is true all the same.
    let _ = end_family();
    Ok(code)
}

/// Orphans below are ours from now on, and none of them becomes somebody whom we may not kill (by `sudo`, say).
fn adopt() -> nix::Result<()> {
    #[cfg(target_os = "linux")]
    {
        nix::sys::prctl::set_child_subreaper(true)?;
        nix::sys::prctl::set_no_new_privs()?;
    }
    Ok(())
}

/// Returns what the program ended with, having reaped the orphans that ended before it.
fn wait_for(program: Pid) -> nix::Result<u8> {
    loop {
        match waitpid(None, None) {
            Ok(WaitStatus::Exited(pid, code)) if pid == program => return Ok(u8::try_from(code).unwrap_or(u8::MAX)),
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == program => return Ok(SIGNALLED.saturating_add(signal as u8)),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error),
        }
    }
}

/// The program's end is noticed by who waits for it; the rest is done there.
fn follow_leash() {
    let mut byte = [0];
    while !matches!(io::stdin().read(&mut byte), Ok(0)) {}
    kill_family();
    // Elsewhere there is nothing but the group, ourselves included.
    #[cfg(not(target_os = "linux"))]
    let _ = nix::sys::signal::killpg(nix::unistd::getpgrp(), Signal::SIGKILL);
}

/// Everything below us, as it is now.
fn kill_family() -> Found {
    let this = nix::unistd::getpid();
    let others = family(this).into_iter().map(|stat| Pid::from_raw(stat.pid)).filter(|pid| *pid != this);
    others.map(|pid| kill(pid, Signal::SIGKILL)).fold(Found::Nobody, |found, killed| match killed {
        Ok(()) => Found::Killed,
        Err(Errno::EPERM) if found == Found::Nobody => Found::Untouchable,
        _ => found,
    })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Found {
    /// Or those whom we saw were gone when we came.
    Nobody,
    Killed,
    /// Somebody whom we may not kill, and nobody else.
    Untouchable,
}

/// Kills until nobody is left: while one is killed, another may have been born.
fn end_family() -> nix::Result<()> {
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Err(Errno::ECHILD) => return Ok(()),
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error),
            Ok(WaitStatus::StillAlive) => match kill_family() {
                // Of those that were killed one at least is our child, or becomes it, and ends.
                Found::Killed => drop(waitpid(None, None)),
                Found::Nobody => {}
                Found::Untouchable => return Err(Errno::EPERM),
            },
            Ok(_) => {}
        }
    }
}
