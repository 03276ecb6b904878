//! A slice of events in a file: as they come, or out of the history.

mod file;
mod live;
mod past;

use self::file::TraceFile;
use super::Context;
use crate::{
    args::Record,
    failure::{Done, Failure},
    out,
    trace::Event,
};
use serde_json::json;
use tawi_runtime::model::{Id, Pattern};

/// What functions and subscribers get: log lines and what the node tells itself are nothing to play.
const KINDS: [&str; 3] = ["reading", "message", "command"];

/// Which events are recorded, of those that the node shows to who asks.
struct Wanted {
    pattern: Pattern,
    devices: Vec<Id>,
}

impl Wanted {
    fn of(what: &Record) -> Done<Wanted> {
        let wrong = |e: &(dyn std::error::Error + 'static)| Failure::new(e.to_string());
        let pattern = Pattern::new(&what.subject).map_err(|e| wrong(&e))?;
        let devices = what.devices.iter().map(|device| Id::new(device)).collect::<Result<_, _>>().map_err(|e| wrong(&e))?;
        Ok(Wanted { pattern, devices })
    }

    fn takes(&self, event: &Event) -> bool {
        let is_of = |device: &Id| self.devices.contains(device);
        (self.devices.is_empty() || event.device.as_ref().is_some_and(is_of)) && self.pattern.matches(event.subject.as_str())
    }
}

pub fn run(context: &Context, what: Record) -> Done {
    let wanted = Wanted::of(&what)?;
    let client = context.client()?;
    let mut file = TraceFile::create(&what.into)?;
    let broken = match what.from {
        Some(_) => past::record(&client, &what, &wanted, &mut file).map(|()| None)?,
        None => live::record(client, &what, &wanted, &mut file)?,
    };
    let (events, gaps) = (file.events, file.gaps);
    if events == 0 {
        return Err(broken.unwrap_or_else(|| {
            Failure::new("there was nothing to record; no file was written")
                .hint("`--subject '>'` takes more than readings, and no `--device` all")
        }));
    }
    let bytes = file.finish()?;
    let name = what.into.display();
    if let Some(failure) = broken {
        return Err(failure.hint(format!("the {events} events before that are in {name}")));
    }
    if context.global.json {
        return Ok(out::json(&json!({ "events": events, "gaps": gaps, "bytes": bytes, "file": name.to_string() }))?);
    }
    let gaps = if gaps > 0 { format!("; {gaps} times events were missed") } else { String::new() };
    Ok(out::line(&format!("{events} events in {name}{gaps}"))?)
}
