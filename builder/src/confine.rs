//! What a program loses before it runs code of an app: build scripts and macros are programs, and may be anybody's.
//!
//! By Landlock, which the kernel offers to processes without privileges: from Linux 5.13 for files, 6.7 for TCP, 6.12 for signals and
//! abstract sockets. Each kernel does what it can; one that can do nothing is named in the build's log. What is taken away is
//! taken from all that the program starts, and never comes back.

use landlock::{
    ABI, Access, AccessFs, AccessNet, LandlockStatus, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
    path_beneath_rules,
};
use std::{
    ffi::OsString,
    io::{self, Write},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

/// As shells say it: the program could not be run at all.
const NOT_RUN: u8 = 127;
/// Programs, and what compilers and linkers read, wherever the system has them.
const READ: [&str; 10] = ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/opt", "/nix", "/run/current-system", "/sys"];
/// What every program asks when it is loaded. Not the whole of `/etc`: passwords and keys of the machine are there too.
const ETC: [&str; 7] =
    ["/etc/group", "/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/localtime", "/etc/nsswitch.conf", "/etc/passwd"];
/// What they ask about the machine. Not the whole of `/proc`: what other processes were started with is there too.
const PROC: [&str; 5] = ["/proc/cpuinfo", "/proc/filesystems", "/proc/meminfo", "/proc/stat", "/proc/sys"];
/// Devices that are nobody's.
const DEVICES: [&str; 6] = ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty"];

/// Takes rights away from this process, then becomes a program. Its words: a directory to read and write, the node's data
/// folder around it, directories to read, `--`, a program and its arguments. It can then change nothing outside the first, read nothing
/// outside of that, of those to read and of the system's programs, and of the data folder nothing else even where that lies among those;
/// ask nobody over TCP, and send a signal to nobody who is not below it.
pub fn confine_main(mut words: impl Iterator<Item = OsString>) -> ExitCode {
    let (own, data) = (words.next(), words.next());
    let shared: Vec<PathBuf> = words.by_ref().take_while(|word| word != "--").map(PathBuf::from).collect();
    let (Some(own), Some(data), Some(program)) = (own, data, words.next()) else {
        return not_run("directories, `--` and a program are wanted; only the node runs this");
    };
    match confine(Path::new(&own), Path::new(&data), shared) {
        Ok(abi) => {
            if let Some(left) = what_is_left(abi) {
                let _ = writeln!(io::stderr(), "note: {left}");
            }
        }
        Err(error) => return not_run(&format!("its rights could not be taken away: {error}")),
    }
    let error = Command::new(&program).args(words).exec();
    not_run(&format!("can't run `{}`: {error}", program.display()))
}

fn not_run(why: &str) -> ExitCode {
    let _ = writeln!(io::stderr(), "error: the build could not be started: {why}");
    ExitCode::from(NOT_RUN)
}

/// What an older kernel can't take away, for who reads the log of the build.
fn what_is_left(abi: ABI) -> Option<&'static str> {
    match abi {
        ABI::Unsupported => Some("this kernel has no Landlock: the code of the build has all the rights of the node's user"),
        ABI::V1 | ABI::V2 | ABI::V3 => {
            Some("this kernel is older than 6.7: the code of the build may use TCP, and send signals to the node")
        }
        ABI::V4 | ABI::V5 => Some("this kernel is older than 6.12: the code of the build may send signals to the node"),
        _ => None,
    }
}

/// Says what the kernel can take away, all of which it then has.
fn confine(own: &Path, data: &Path, shared: Vec<PathBuf>) -> Result<ABI, RulesetError> {
    let abi = ABI::V6;
    let path = std::env::var_os("PATH").unwrap_or_default();
    let data = data.canonicalize().unwrap_or_else(|_| data.to_owned());
    let system = READ.iter().chain(&ETC).chain(&PROC).map(PathBuf::from).chain(std::env::split_paths(&path));
    let system = system.filter_map(|path| path.canonicalize().ok()).flat_map(|path| without(path, &data));
    let read = system.chain(shared);
    let write = DEVICES.iter().map(PathBuf::from).chain([own.to_owned()]);
    // What is not there needs no rule.
    let there = |paths: &mut dyn Iterator<Item = PathBuf>| paths.filter(|path| path.is_absolute() && path.exists()).collect::<Vec<_>>();
    let (read, write) = (there(&mut read.into_iter()), there(&mut write.into_iter()));
    let ruleset = Ruleset::default()
        .handle_access(AccessFs::from_all(abi))?
        .handle_access(AccessNet::from_all(abi))?
        .scope(Scope::from_all(abi))?
        .create()?
        .add_rules(path_beneath_rules(read, AccessFs::from_read(abi)))?
        .add_rules(path_beneath_rules(write, AccessFs::from_all(abi)))?;
    let status = ruleset.restrict_self()?;
    Ok(match (status.ruleset, status.landlock) {
        (RulesetStatus::NotEnforced, _) => ABI::Unsupported,
        (_, LandlockStatus::Available { effective_abi, .. }) => effective_abi,
        _ => ABI::Unsupported,
    })
}

/// A path, or what is in it around `closed`: Landlock gives rights to what is below a place and can't take back a part of it.
fn without(path: PathBuf, closed: &Path) -> Vec<PathBuf> {
    if path.starts_with(closed) {
        return Vec::new();
    }
    if !closed.starts_with(&path) {
        return vec![path];
    }
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    entries.flat_map(|entry| without(entry.path(), closed)).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_data_folder_among_the_systems_programs_stays_closed() {
        let dir = tempfile::tempdir().unwrap();
        let opt = dir.path();
        for folder in ["rust/bin", "tawi/bin", "tawi/data/apps"] {
            std::fs::create_dir_all(opt.join(folder)).unwrap();
        }
        let mut open = without(opt.to_owned(), &opt.join("tawi/data"));
        open.sort();
        assert_eq!(open, [opt.join("rust"), opt.join("tawi/bin")]);
        assert_eq!(without(opt.join("tawi/data/apps"), &opt.join("tawi/data")), [] as [PathBuf; 0]);
        assert_eq!(without(opt.join("rust"), &opt.join("tawi/data")), [opt.join("rust")]);
    }
}
