//! One event of the past, run again.

use super::Context;
use crate::{
    client::{Client, path, segment},
    failure::{Done, Failure},
    out::{self, Style, Table},
    when,
};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeSet;

#[derive(Deserialize)]
struct Answer {
    event: Value,
    applied: bool,
    now: Run,
    then: Option<Run>,
    then_is_whole: bool,
    effects: Vec<Effect>,
    logs: Vec<Line>,
}

#[derive(Deserialize)]
struct Run {
    function: String,
    app: String,
    release: u64,
    outcome: String,
    error: Option<String>,
    start: String,
    duration_ms: f64,
}

#[derive(Deserialize)]
struct Effect {
    when: String,
    kind: String,
    name: String,
    bytes: u64,
    #[serde(default)]
    hash: String,
}

#[derive(Deserialize)]
struct Line {
    level: String,
    message: String,
}

#[derive(Deserialize)]
struct Page {
    hits: Vec<Value>,
}

pub fn run(context: &Context, event: &str, app: Option<String>, function: Option<String>, release: Option<u64>, apply: bool) -> Done {
    let client = context.client()?;
    let (app, function) = match app {
        Some(app) => (app, function),
        None => who(&client, event, function)?,
    };
    let body = json!({ "event": event, "function": function, "release": release, "apply": apply });
    let answer: Value = client.ask("POST", &format!("/api/v1/apps/{}/replay", segment(&app)), Some(&body))?;
    context.show(answer, |answer| show(&answer))
}

/// The one function that has run on the event, as far as that was recorded.
fn who(client: &Client, event: &str, function: Option<String>) -> Done<(String, Option<String>)> {
    let sequence = event.rsplit_once('-').map_or(event, |(_, sequence)| sequence);
    let query = match &function {
        Some(function) => format!("event:{sequence} AND function:\"{}\"", function.replace('"', "")),
        None => format!("event:{sequence}"),
    };
    let page: Page = client.get(&path("/api/v1/runs", &[("q", Some(query)), ("limit", Some("1000".into()))]))?;
    let name = |hit: &Value| Some((hit["app"].as_str()?.to_owned(), hit["function"].as_str()?.to_owned()));
    let ran: BTreeSet<(String, String)> = page.hits.iter().filter_map(name).collect();
    match ran.len() {
        1 => ran.into_iter().next().map(|(app, function)| (app, Some(function))).ok_or_else(|| Failure::new("no app")),
        0 => Err(Failure::new(format!("no call on event {event} is recorded")).hint("say which app is to run it with `--app`")),
        _ => {
            let names: Vec<String> = ran.into_iter().map(|(app, function)| format!("{app}/{function}")).collect();
            let hint = "say which one with `--app` and `--function`";
            Err(Failure::new(format!("several functions ran on event {event}: {}", names.join(", "))).hint(hint))
        }
    }
}

fn show(answer: &Answer) -> Done {
    let style = Style::for_stdout();
    let text = |name: &str| out::clean(answer.event[name].as_str().unwrap_or_default());
    out::line(&format!("event    {} {} measured {}", answer.event["sequence"], text("subject"), when::precise(&text("measured"))))?;
    if let Some(then) = &answer.then {
        out::line(&format!("then     {}", line(then, style)))?;
    }
    out::line(&format!("now      {}", line(&answer.now, style)))?;
    for said in &answer.logs {
        out::line(&format!("log      {} {}", said.level, out::clean(&said.message)))?;
    }
    let mut table = Table::new(["", "KIND", "NAME", "BYTES", "HASH"]).right(&[3]);
    for effect in &answer.effects {
        let sign = match effect.when.as_str() {
            "both" => "=",
            "now" => "+",
            _ => "-",
        };
        table.row([sign.into(), effect.kind.clone(), effect.name.clone(), effect.bytes.to_string(), effect.hash.clone()]);
    }
    table.print("no effects, neither then nor now")?;
    if !answer.then_is_whole {
        eprintln!("what the call wrote then into its state is not recorded: writes are shown as new");
    }
    let end = if answer.applied { "this is done now, out of order" } else { "nothing of it was done; `--apply` does it" };
    eprintln!("= then and now, + only now, - only then; {end}");
    Ok(())
}

fn line(run: &Run, style: Style) -> String {
    let outcome = if run.outcome == "done" { style.green(&run.outcome) } else { style.red(&run.outcome) };
    let error = run.error.as_deref().map(|error| format!(": {}", out::clean(error))).unwrap_or_default();
    let Run { app, function, release, duration_ms, .. } = run;
    format!(
        "{outcome} {} in release {release}, {duration_ms:.1} ms, at {}{error}",
        out::clean(&format!("{app}/{function}")),
        when::precise(&run.start)
    )
}
