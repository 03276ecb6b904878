//! Many devices at once, from a file.
//!
//! All of the file is checked, its owners too, before anything is sent. What is there already is left as it is, or changed into what the file says, so that
//! a second run of the same file, or one after a run that broke off, does only what is left to do.

mod change;
mod device;
mod list;
mod table;

use self::{change::Change, device::Wanted};
use super::Context;
use crate::{
    args::ImportDevices,
    client::{Client, patiently, segment},
    failure::{Done, Failure},
    out,
    progress::Progress,
};
use serde_json::{Value, json};
use std::{
    collections::HashSet,
    io::Read,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

/// Devices that are asked about at a time: while one waits for the disk, others share its sync.
const AT_A_TIME: usize = 8;
/// Mistakes of a file that are told; who has made more mends those first.
const MISTAKES_SHOWN_MAX: usize = 20;

/// What became of the devices.
#[derive(Default)]
struct Tally {
    registered: AtomicUsize,
    changed: AtomicUsize,
    left: AtomicUsize,
}

impl Tally {
    fn all(&self) -> (usize, usize, usize) {
        let of = |count: &AtomicUsize| count.load(Ordering::Relaxed);
        (of(&self.registered), of(&self.changed), of(&self.left))
    }
}

pub fn run(context: &Context, what: &ImportDevices) -> Done {
    let name = what.file.display().to_string();
    let bytes = read(what).map_err(|e| Failure::because(format!("can't read `{name}`"), &e))?;
    let devices = parse(&bytes).map_err(|mistakes| refuse(&name, &mistakes))?;
    let tally = Tally::default();
    if !what.check {
        let client = context.client()?;
        let mistakes = strangers(&client, &devices)?;
        if !mistakes.is_empty() {
            return Err(refuse(&name, &mistakes));
        }
        send(&client, &devices, what.update, &tally)?;
    }
    report(context, devices.len(), what.check, tally.all())
}

fn report(context: &Context, many: usize, only_checked: bool, (registered, changed, left): (usize, usize, usize)) -> Done {
    if context.global.json {
        return Ok(out::json(&json!({ "devices": many, "registered": registered, "changed": changed, "left": left }))?);
    }
    let said = match only_checked {
        true => format!("{many} devices, and nothing is wrong with them"),
        false => format!("{many} devices: {registered} registered, {changed} changed, {left} left as they are"),
    };
    Ok(out::line(&said)?)
}

fn read(what: &ImportDevices) -> std::io::Result<Vec<u8>> {
    if what.file.as_os_str() == "-" {
        let mut bytes = Vec::new();
        std::io::stdin().read_to_end(&mut bytes)?;
        return Ok(bytes);
    }
    std::fs::read(&what.file)
}

/// All devices of the file, or all that is wrong with it. JSON begins with a bracket, which no header does.
fn parse(bytes: &[u8]) -> Result<Vec<Wanted>, Vec<String>> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    match bytes.trim_ascii_start().first() {
        Some(b'[' | b'{') => list::parse(bytes),
        _ => table::parse(bytes),
    }
}

/// Counts the lines of a text on from one place to the next.
struct Lines<'a> {
    text: &'a [u8],
    at: usize,
    line: u64,
}

impl Lines<'_> {
    fn of(text: &[u8]) -> Lines<'_> {
        Lines { text, at: 0, line: 1 }
    }

    /// The line of a place that is not before the last one.
    fn until(&mut self, place: usize) -> u64 {
        let passed = self.text.get(self.at..place).unwrap_or_default();
        self.line += passed.iter().filter(|byte| **byte == b'\n').count() as u64;
        self.at = self.at.max(place);
        self.line
    }

    /// The line of what comes after blank lines there.
    fn after_blank(&mut self, place: usize) -> u64 {
        let blank = self.text.get(place..).unwrap_or_default().iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        self.until(place + blank)
    }
}

fn refuse(name: &str, mistakes: &[String]) -> Failure {
    let shown: String = mistakes.iter().take(MISTAKES_SHOWN_MAX).map(|mistake| format!("\n  {mistake}")).collect();
    let more = match mistakes.len().saturating_sub(MISTAKES_SHOWN_MAX) {
        0 => String::new(),
        more => format!("\n  and {more} more"),
    };
    Failure::new(format!("`{name}` can't be imported:{shown}{more}")).hint("nothing was sent")
}

/// Owners that the node does not know: it would let an administrator register a device for one, and nobody could reach it.
fn strangers(client: &Client, devices: &[Wanted]) -> Done<Vec<String>> {
    let (mut asked, mut mistakes) = (HashSet::new(), Vec::new());
    let named = devices.iter().filter_map(|wanted| Some((wanted.line, wanted.device.owner.as_ref()?)));
    for (line, owner) in named {
        if !asked.insert(owner) {
            continue;
        }
        match patiently(|| client.get::<Value>(&format!("/api/v2/users/{}", segment(owner.as_str())))) {
            Ok(_) => {}
            Err(failure) if failure.status == Some(404) => mistakes.push(format!("line {line}: there is no user `{owner}`")),
            Err(failure) => return Err(failure),
        }
    }
    Ok(mistakes)
}

/// The first that fails ends it for all; what is done is done.
fn send(client: &Client, devices: &[Wanted], update: bool, tally: &Tally) -> Done {
    let (next, progress, failed) = (AtomicUsize::new(0), Progress::new(devices.len(), "devices"), Mutex::new(None));
    let work = || {
        while let Some(wanted) = devices.get(next.fetch_add(1, Ordering::Relaxed)) {
            if let Err(failure) = one(client, wanted, update, tally) {
                // Nobody takes another one.
                next.store(devices.len(), Ordering::Relaxed);
                let failure = failure.at(&format!("line {}: device `{}`", wanted.line, wanted.device.id));
                failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(failure);
                return;
            }
            progress.done(1);
        }
    };
    thread::scope(|scope| (0..AT_A_TIME.min(devices.len())).for_each(|_| drop(scope.spawn(work))));
    let Some(failure) = failed.into_inner().unwrap_or_else(PoisonError::into_inner) else {
        progress.finish();
        return Ok(());
    };
    progress.abandon();
    let (registered, changed, left) = tally.all();
    let done = registered + changed + left;
    Err(failure.hint(format!("{done} of {} devices are done; the same command does the others", devices.len())))
}

/// Registers a device. One that is there is looked at, if it is to be changed.
fn one(client: &Client, Wanted { device, .. }: &Wanted, update: bool, tally: &Tally) -> Done {
    let count = |of: &AtomicUsize| {
        of.fetch_add(1, Ordering::Relaxed);
    };
    match patiently(|| client.tell("POST", "/api/v2/devices", Some(&json!(device)))) {
        Ok(()) => {
            count(&tally.registered);
            return Ok(());
        }
        Err(failure) if failure.status != Some(EXISTS) => return Err(failure),
        Err(_) if !update => {
            count(&tally.left);
            return Ok(());
        }
        Err(_) => {}
    }
    let place = format!("/api/v2/devices/{}", segment(device.id.as_str()));
    let known: Value = patiently(|| client.get(&place))?;
    let changes = change::between(&known, device);
    for Change { method, path, body } in &changes {
        patiently(|| client.tell(method, &format!("{place}{path}"), Some(body)))?;
    }
    count(if changes.is_empty() { &tally.left } else { &tally.changed });
    Ok(())
}

/// What the API answers when the id is taken.
const EXISTS: u16 = 422;
