//! Events as they come.
//!
//! A thread reads the connection, so that whoever waits here hears of a signal and of the time as well. The log has what came while the connection was
//! broken: the next one begins behind the last event that was seen.

use super::{KINDS, TraceFile, Wanted};
use crate::{
    args::Record,
    client::{Client, path},
    failure::{Done, Failure},
    trace::Event,
};
use serde::Deserialize;
use serde_json::Value;
use std::{
    io::{BufRead, BufReader},
    sync::{
        Arc,
        mpsc::{self, SyncSender},
    },
    thread,
    time::{Duration, Instant},
};

/// Lines that wait for being written.
const LINES_MAX: usize = 1_024;
/// A node says a blank line every 15 s; who says nothing for four of them has gone without a word.
const SILENT_MAX: Duration = Duration::from_secs(60);
/// A node that is updated, or whose machine is started again, is back by then.
const AWAY_MAX: Duration = Duration::from_secs(600);
/// Between two attempts to reach it: so much more after each, up to the second.
const AGAIN: Duration = Duration::from_millis(200);
const AGAIN_MAX: Duration = Duration::from_secs(5);

/// What is heard, and on which connection.
enum Said {
    Open(u32),
    Line(u32, String),
    Ended(u32, Failure),
    /// Somebody wants it to end.
    Stop,
}

/// What a line is beside an event.
#[derive(Deserialize)]
struct Mark {
    kind: String,
    from: Option<u64>,
    to: Option<u64>,
}

/// The one connection that counts.
struct Ear {
    client: Arc<Client>,
    subject: String,
    /// The last event that was seen.
    after: Option<u64>,
    number: u32,
    tell: SyncSender<Said>,
}

/// Records until there is enough, the time is up, or somebody says stop. A failure in the answer ended it early: what came before it counts.
pub fn record(client: Client, what: &Record, wanted: &Wanted, file: &mut TraceFile) -> Done<Option<Failure>> {
    let status: Value = client.get("/api/v1/status")?;
    let (tell, said) = mpsc::sync_channel(LINES_MAX);
    stop_on_signal(tell.clone()).map_err(|e| Failure::because("can't listen for signals", &e))?;
    let subject = what.subject.clone();
    let mut ear = Ear { client: Arc::new(client), subject, after: status["events"].as_u64(), number: 0, tell };
    ear.listen()?;

    let begin = Instant::now();
    let end = what.lasts.and_then(|lasts| begin.checked_add(lasts));
    let (mut heard_at, mut lost_at, mut again_at, mut tries) = (begin, None, None, 0);
    loop {
        let now = Instant::now();
        if what.count.is_some_and(|count| file.events >= count) || end.is_some_and(|end| now >= end) {
            return Ok(None);
        }
        let silent_at = heard_at + SILENT_MAX;
        let wake = [end, again_at].into_iter().flatten().fold(silent_at, Instant::min);
        let heard = said.recv_timeout(wake.saturating_duration_since(now));
        match heard {
            Ok(Said::Stop) => return Ok(None),
            Ok(Said::Open(number)) if number == ear.number => {
                heard_at = Instant::now();
                eprintln!("{}", if lost_at.is_some() { "the connection is there again" } else { "recording; Ctrl-C ends it" });
            }
            Ok(Said::Line(number, line)) if number == ear.number => {
                // Only what is said on it shows that a connection is a good one: a node that is ending opens some, too.
                (heard_at, lost_at, tries) = (Instant::now(), None, 0);
                if !line.is_empty() {
                    ear.take(&line, wanted, file)?;
                }
            }
            Ok(Said::Ended(number, failure)) if number == ear.number => {
                let since = *lost_at.get_or_insert_with(Instant::now);
                let passes = failure.passes || failure.status.is_some_and(|status| status >= 500);
                if !passes || since.elapsed() > AWAY_MAX {
                    return Ok(Some(failure));
                }
                if tries == 0 {
                    eprintln!("{failure}; trying again");
                }
                tries += 1;
                heard_at = Instant::now();
                again_at = Some(heard_at + AGAIN_MAX.min(AGAIN * tries));
            }
            // Of a connection that was given up.
            Ok(_) => {}
            // The time of one of the three is up; that of the end is looked at above.
            Err(_) => {
                let now = Instant::now();
                if now >= silent_at {
                    lost_at.get_or_insert(now);
                }
                if now >= silent_at || again_at.is_some_and(|at| now >= at) {
                    (heard_at, again_at) = (now, None);
                    ear.listen()?;
                }
            }
        }
    }
}

impl Ear {
    /// A new connection instead of the one there was.
    fn listen(&mut self) -> Done {
        self.number += 1;
        let (client, tell, number) = (self.client.clone(), self.tell.clone(), self.number);
        let query = [
            ("subject", Some(self.subject.clone())),
            ("kind", Some(KINDS.join(","))),
            ("after", self.after.map(|sequence| sequence.to_string())),
        ];
        let path = path("/api/v1/subscribe", &query);
        let thread = thread::Builder::new().name("record".to_owned());
        // It ends with its connection, or when nobody listens to it any more.
        let follow = move || _ = follow(&client, &path, number, &tell);
        thread.spawn(follow).map_err(|e| Failure::because("can't start a thread", &e))?;
        Ok(())
    }

    fn take(&mut self, line: &str, wanted: &Wanted, file: &mut TraceFile) -> Done {
        let strange = |what: &dyn std::fmt::Display| {
            Failure::new(format!("did not understand the node's answer: {what}")).hint("is it a Tawi node of this version?")
        };
        let mark: Mark = serde_json::from_str(line).map_err(|e| strange(&e))?;
        if let ("gap", Some(from), Some(to)) = (mark.kind.as_str(), mark.from, mark.to) {
            eprintln!("events {from} to {to} are not in the log any more: what of them was wanted is missing");
            file.gaps += 1;
            self.after = Some(to);
            return Ok(());
        }
        let event = Event::parse(line).map_err(|e| strange(&e))?;
        // What a connection begins with was not seen before; a node that thinks otherwise does no harm.
        if event.sequence <= self.after && self.after.is_some() {
            return Ok(());
        }
        self.after = event.sequence;
        if wanted.takes(&event) {
            file.add(&event)?;
            file.flush()?;
        }
        Ok(())
    }
}

/// Tells line by line until the connection ends. None: nobody listens any more.
fn follow(client: &Client, path: &str, number: u32, tell: &SyncSender<Said>) -> Option<()> {
    let lost = |why: &dyn std::fmt::Display| Failure::new(format!("the connection to {} is lost: {why}", client.login.url)).passing();
    let ended = match client.reader(path) {
        Err(failure) => failure,
        Ok(reader) => {
            tell.send(Said::Open(number)).ok()?;
            let (mut reader, mut ended) = (BufReader::new(reader), lost(&"the node ended it"));
            loop {
                let mut line = String::new();
                match reader.read_line(&mut line) {
                    // What ends without the end of a line has lost it, and comes again on the next connection.
                    Ok(_) if !line.ends_with('\n') => break,
                    Ok(_) => tell.send(Said::Line(number, line.trim_end().to_owned())).ok()?,
                    Err(error) => {
                        ended = lost(&error);
                        break;
                    }
                }
            }
            ended
        }
    };
    tell.send(Said::Ended(number, ended)).ok()
}

/// Instead of dying at once, so that what was recorded is written to its place.
fn stop_on_signal(tell: SyncSender<Said>) -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut int, mut term) = {
        let _inside = runtime.enter();
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
    };
    let wait = move || {
        runtime.block_on(async {
            tokio::select! {
                _ = int.recv() => {}
                _ = term.recv() => {}
            }
        });
        drop(tell.send(Said::Stop));
    };
    thread::Builder::new().name("signals".to_owned()).spawn(wait).map(drop)
}
