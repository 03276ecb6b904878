//! How calls went.

use super::Context;
use crate::{
    args::Runs,
    client::{Client, path},
    failure::{Done, Failure},
    out::{self, Style, Table},
    when,
};
use serde::Deserialize;
use serde_json::Value;
use std::time::Duration;

/// How often what has come is asked for: history has it within a second.
const EVERY: Duration = Duration::from_secs(1);
/// What one answer holds at most.
const PAGE: usize = 1_000;

#[derive(Deserialize)]
struct Run {
    app: String,
    function: String,
    release: u64,
    event: u64,
    device: Option<String>,
    start: String,
    duration_ms: f64,
    outcome: String,
    error: Option<String>,
    #[serde(default)]
    writes: u64,
    #[serde(default)]
    messages: u64,
    #[serde(default)]
    commands: u64,
    request: Option<Request>,
    #[serde(default)]
    skipped: u64,
}

#[derive(Deserialize)]
struct Request {
    method: String,
    path: String,
}

#[derive(Deserialize)]
struct Page {
    hits: Vec<Value>,
    more: bool,
}

pub fn run(context: &Context, what: Runs) -> Done {
    let client = context.client()?;
    if what.follow {
        return follow(context, &client, &what);
    }
    let mut query = question(&what);
    if what.count {
        let answer: Value = client.get(&path("/api/v1/runs/count", &query))?;
        return if context.global.json { Ok(out::json(&answer)?) } else { Ok(out::line(&answer["total"].to_string())?) };
    }
    query.extend([("limit", Some(what.limit.to_string())), ("offset", Some(what.offset.to_string()))]);
    let page: Page = client.get(&path("/api/v1/runs", &query))?;
    if context.global.json {
        return Ok(out::json(&page.hits)?);
    }
    let shown = page.hits.len();
    let mut table = Table::new(["START", "FUNCTION", "RELEASE", "EVENT", "OF", "MS", "OUTCOME", "WHAT"]).right(&[2, 3, 5]);
    for hit in page.hits {
        let run = decode(hit)?;
        let function = format!("{}/{}", run.app, run.function);
        let (release, event, outcome, did) = (run.release.to_string(), run.event.to_string(), run.outcome.clone(), run.did());
        table.row([when::short(&run.start), function, release, event, run.of(), format!("{:.1}", run.duration_ms), outcome, did]);
    }
    table.print("no calls found")?;
    if page.more {
        eprintln!("there are more; `--offset {}` goes on", what.offset as usize + shown);
    }
    Ok(())
}

fn question(what: &Runs) -> Vec<(&'static str, Option<String>)> {
    let time = |t: Option<tawi_runtime::model::Micros>| t.map(|t| t.to_string());
    vec![("q", Some(what.query.clone())), ("from", time(what.from)), ("to", time(what.to))]
}

/// The last few, then each second what has come since.
fn follow(context: &Context, client: &Client, what: &Runs) -> Done {
    let first: Page = {
        let mut query = question(what);
        query.push(("limit", Some(what.limit.to_string())));
        client.get(&path("/api/v1/runs", &query))?
    };
    let mut after = show(context, first.hits)?.unwrap_or(0);
    loop {
        std::thread::sleep(EVERY);
        after = show(context, since(client, what, after)?)?.unwrap_or(after);
    }
}

/// All that was recorded after this one, newest first.
fn since(client: &Client, what: &Runs, after: u64) -> Done<Vec<Value>> {
    let mut hits = Vec::new();
    loop {
        let mut query = question(what);
        // What comes between two pages moves the second on: better once more than never. It is shown once.
        query.extend([("after", Some(after.to_string())), ("limit", Some(PAGE.to_string())), ("offset", Some(hits.len().to_string()))]);
        let page: Page = client.get(&path("/api/v1/runs", &query))?;
        hits.extend(page.hits);
        if !page.more {
            return Ok(hits);
        }
    }
}

/// Prints them oldest first; the last one's sequence.
fn show(context: &Context, mut hits: Vec<Value>) -> Done<Option<u64>> {
    let sequence = |hit: &Value| hit["sequence"].as_u64().unwrap_or(0);
    hits.sort_by_key(sequence);
    hits.dedup_by_key(|hit| sequence(hit));
    let last = hits.last().map(sequence);
    for hit in hits {
        match context.global.json {
            true => out::line(&hit.to_string())?,
            false => out::line(&line(&decode(hit)?))?,
        }
    }
    Ok(last)
}

fn decode(hit: Value) -> Done<Run> {
    serde_json::from_value(hit).map_err(|e| Failure::because("did not understand the node's answer", &e))
}

fn line(run: &Run) -> String {
    let style = Style::for_stdout();
    let outcome = if run.outcome == "done" { style.green(&run.outcome) } else { style.red(&run.outcome) };
    let function = style.cyan(&out::clean(&format!("{}/{}", run.app, run.function)));
    let text = out::clean(&format!("{} {:.1} ms {}", run.of(), run.duration_ms, run.did()));
    format!("{}  {function}  {outcome}  {text}", style.dim(&when::precise(&run.start)))
}

impl Run {
    /// What it handled.
    fn of(&self) -> String {
        match (&self.request, &self.device) {
            (Some(request), _) => format!("{} {}", request.method, request.path),
            (None, Some(device)) => device.clone(),
            (None, None) => String::new(),
        }
    }

    /// Why it failed, or how much it did.
    fn did(&self) -> String {
        if let Some(error) = &self.error {
            // The places of a trap are for who debugs it, with `--json`.
            let short = error.split_once("error while executing at wasm backtrace:").and_then(|(before, places)| {
                let (_, trap) = places.rsplit_once("wasm trap: ")?;
                Some(format!("{before}{trap}"))
            });
            return short.unwrap_or_else(|| error.clone());
        }
        let counts = [(self.writes, "write"), (self.messages, "message"), (self.commands, "command")];
        let plural = |(n, what): (u64, &str)| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
        let mut did: Vec<String> = counts.into_iter().filter(|(n, _)| *n > 0).map(plural).collect();
        if self.skipped > 0 {
            did.push(format!("and {} calls before it that are not recorded", self.skipped));
        }
        did.join(", ")
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_run_is_a_line_that_says_what_it_did_or_why_it_failed() {
        let run = |more: Value| {
            let mut run = json!({
                "app": "shop", "function": "alert", "release": 1, "event": 7, "device": "fridge1", "start": "2026-01-31T08:30:00Z",
                "duration_ms": 1.25, "outcome": "done", "writes": 2, "messages": 1,
            });
            run.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            decode(run).unwrap()
        };
        assert_eq!(run(json!({})).did(), "2 writes, 1 message");
        assert_eq!(run(json!({ "error": "rejected: no", "outcome": "dead" })).did(), "rejected: no");
        let trap =
            "trapped: error while executing at wasm backtrace:\n    0: 0x1ad75 - <unknown>!<wasm function 279>: wasm trap: unreachable";
        assert_eq!(run(json!({ "error": trap, "outcome": "dead" })).did(), "trapped: unreachable");
        assert_eq!(run(json!({ "request": { "method": "GET", "path": "/a" } })).of(), "GET /a");
        assert_eq!(run(json!({ "skipped": 5, "writes": 0, "messages": 0 })).did(), "and 5 calls before it that are not recorded");
    }
}
