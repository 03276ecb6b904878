//! History and state.

use super::{Context, text};
use crate::{
    args::{History, State},
    client::{Client, path, segment},
    failure::Done,
    out::{self, Table},
    when,
};
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
struct Page {
    total: u64,
    hits: Vec<Hit>,
}

#[derive(Deserialize)]
struct Hit {
    sequence: u64,
    kind: String,
    subject: String,
    #[serde(default)]
    value: Value,
    /// What the device sent, where that is not the value.
    raw: Option<Value>,
    measured: String,
    message: Option<String>,
    level: Option<String>,
    dropped: Option<Dropped>,
}

/// Why a reading was taken out, and by which rule.
#[derive(Deserialize)]
struct Dropped {
    rule: String,
    reason: String,
}

#[derive(Deserialize)]
struct Entry {
    key: String,
    value: Value,
}

pub fn history(context: &Context, what: History) -> Done {
    let client = context.client()?;
    let time = |t: Option<tawi_runtime::model::Micros>| t.map(|t| t.to_string());
    let mut query = vec![("q", Some(what.query)), ("from", time(what.from)), ("to", time(what.to))];
    if what.count {
        let answer: Value = client.get(&path("/api/v1/history/count", &query))?;
        return if context.global.json { Ok(out::json(&answer)?) } else { Ok(out::line(&answer["total"].to_string())?) };
    }
    query.extend([("limit", Some(what.limit.to_string())), ("offset", Some(what.offset.to_string()))]);
    let mut answer: Value = client.get(&path("/api/v1/history", &query))?;
    if context.global.json {
        return Ok(out::json(&answer["hits"].take())?);
    }
    context.show(answer, |page: Page| {
        let shown = page.hits.len();
        let mut table = Table::new(["MEASURED", "KIND", "SEQUENCE", "SUBJECT", "VALUE"]).right(&[2]);
        for hit in page.hits {
            let value = match (hit.message, hit.dropped, hit.raw) {
                (Some(message), ..) => format!("{} {message}", text(hit.level.as_deref()).to_uppercase()),
                (None, Some(why), _) => format!("{} ({}: {})", hit.value, why.rule, why.reason),
                (None, None, Some(raw)) => format!("{} ({})", hit.value, beside(&raw)),
                (None, None, None) => hit.value.to_string(),
            };
            table.row([when::short(&hit.measured), hit.kind, hit.sequence.to_string(), hit.subject, value]);
        }
        table.print("nothing found")?;
        if page.total > shown as u64 {
            eprintln!("{shown} of {}; `--offset {}` goes on", page.total, what.offset as usize + shown);
        }
        Ok(())
    })
}

/// What stands beside a value: what a device sent, or how a rule made it.
fn beside(raw: &Value) -> String {
    match raw.get("made").and_then(Value::as_str) {
        Some("filled") => format!("filled: {}", text(raw["method"].as_str())),
        Some(what) => format!("{what} of {}", raw["readings"]),
        None => format!("sent as {raw}"),
    }
}

pub fn state(context: &Context, command: State) -> Done {
    let client = context.client()?;
    match command {
        State::Get { app, key } => {
            let answer = client.get(&path(&format!("/api/v1/apps/{}/state/{}", segment(&app), segment(&key)), &[]))?;
            context.show(answer, |entry: Entry| Ok(out::line(&readable(&entry.value))?))
        }
        State::List { app, prefix, after, limit } => {
            let entries = pages(&client, &app, &prefix, after, limit as usize)?;
            let full = entries.len() >= limit as usize;
            context.show(Value::Array(entries), |entries: Vec<Entry>| {
                let mut table = Table::new(["KEY", "VALUE"]);
                let last = entries.last().map(|e| e.key.clone());
                for entry in entries {
                    table.row([entry.key, readable(&entry.value)]);
                }
                table.print("no state")?;
                if let (true, Some(last)) = (full, last) {
                    eprintln!("there may be more; `--after '{}'` goes on", out::clean(&last));
                }
                Ok(())
            })
        }
    }
}

/// As many entries as are wanted, in pages that the node is willing to give.
fn pages(client: &Client, app: &str, prefix: &str, mut after: Option<String>, limit: usize) -> Done<Vec<Value>> {
    let mut entries: Vec<Value> = Vec::new();
    while entries.len() < limit {
        let left = (limit - entries.len()).to_string();
        let query = [("prefix", Some(prefix.to_owned())), ("after", after.clone()), ("limit", Some(left))];
        let page: Vec<Value> = client.get(&path(&format!("/api/v1/apps/{}/state", segment(app)), &query))?;
        let Some(last) = page.last().and_then(|entry| entry["key"].as_str()) else { break };
        after = Some(last.to_owned());
        entries.extend(page);
    }
    Ok(entries)
}

/// A text as it is, anything else as JSON.
fn readable(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), out::clean)
}
