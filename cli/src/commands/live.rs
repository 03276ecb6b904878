//! What happens right now: events and log lines as they come.

use super::Context;
use crate::{
    args::{Logs, Subscribe},
    client::{path, segment},
    failure::{Done, Failure},
    out::{self, Style},
    when,
};
use serde::Deserialize;
use serde_json::Value;

/// One event of the API; a gap is where the log was trimmed before we came.
#[derive(Debug, Deserialize)]
struct Event {
    kind: String,
    #[serde(default)]
    subject: String,
    #[serde(default)]
    value: Value,
    #[serde(default)]
    received: String,
    function: Option<String>,
    call: Option<String>,
    level: Option<String>,
    message: Option<String>,
    from: Option<u64>,
    to: Option<u64>,
}

fn parse(line: &str) -> Done<Event> {
    serde_json::from_str(line).map_err(|e| Failure::because("did not understand the node's answer", &e))
}

pub fn subscribe(context: &Context, what: Subscribe) -> Done {
    let query = [("subject", Some(what.pattern)), ("after", what.after.map(|n| n.to_string()))];
    let client = context.client()?;
    let mut left = what.count.unwrap_or(u64::MAX);
    if left == 0 {
        return Ok(());
    }
    for line in client.lines("GET", &path("/api/v1/subscribe", &query))? {
        let line = line?;
        let event = parse(&line)?;
        if context.global.json {
            out::line(&line)?
        } else {
            out::line(&event_line(&event))?
        }
        if event.kind != "gap" {
            left -= 1;
        }
        if left == 0 {
            return Ok(());
        }
    }
    Err(Failure::new("the node ended the subscription").hint("run the command again"))
}

fn event_line(event: &Event) -> String {
    let style = Style::for_stdout();
    if let (Some(from), Some(to)) = (event.from, event.to) {
        return style.yellow(&format!("events {from} to {to} are not in the log any more"));
    }
    let value = out::clean(&event.value.to_string());
    format!("{}  {}  {value}", style.dim(&when::precise(&event.received)), style.cyan(&out::clean(&event.subject)))
}

pub fn logs(context: &Context, what: Logs) -> Done {
    let follow = what.follow.then(|| "true".to_owned());
    let query = [("limit", Some(what.limit.to_string())), ("follow", follow), ("function", what.function), ("call", what.call)];
    let client = context.client()?;
    for line in client.lines("GET", &path(&format!("/api/v1/apps/{}/logs", segment(&what.app)), &query))? {
        let line = line?;
        if context.global.json { out::line(&line)? } else { out::line(&log_line(&parse(&line)?))? }
    }
    if what.follow {
        return Err(Failure::new("the node ended the log").hint("run the command again"));
    }
    Ok(())
}

fn log_line(event: &Event) -> String {
    let style = Style::for_stdout();
    let level = event.level.clone().unwrap_or_default().to_uppercase();
    let padded = format!("{level:<8}");
    let is_error = matches!(level.as_str(), "ERROR" | "CRITICAL");
    let level = match level.as_str() {
        "ERROR" | "CRITICAL" => style.red(&padded),
        "WARN" => style.yellow(&padded),
        "TRACE" | "DEBUG" => style.dim(&padded),
        _ => style.green(&padded),
    };
    let function = event.function.as_deref().unwrap_or("-");
    let message = out::clean(event.message.as_deref().unwrap_or_default());
    // Where something is to be looked into, how to see the rest of it: `tawi logs APP --call ID`.
    let call =
        event.call.as_deref().filter(|_| is_error).map(|call| style.dim(&format!("  call {}", out::clean(call)))).unwrap_or_default();
    format!("{}  {level} {}  {message}{call}", style.dim(&when::precise(&event.received)), style.cyan(&out::clean(function)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_readable_without_a_terminal() {
        let alert =
            r#"{"kind":"message","sequence":7,"subject":"alerts.fridge1","value":{"temp":9.5},"received":"2026-01-01T00:00:00.5Z"}"#;
        assert_eq!(event_line(&parse(alert).unwrap()), "2026-01-01 00:00:00.500  alerts.fridge1  {\"temp\":9.5}");
        let gap = parse(r#"{"kind":"gap","from":3,"to":9}"#).unwrap();
        assert_eq!(event_line(&gap), "events 3 to 9 are not in the log any more");
        let log =
            r#"{"kind":"log","received":"2026-01-01T00:00:00Z","function":"on-reading","level":"warn","message":"too \u001b[31mwarm"}"#;
        assert_eq!(log_line(&parse(log).unwrap()), "2026-01-01 00:00:00.000  WARN     on-reading  too \u{fffd}[31mwarm");
        let error = log.replace("warn", "error").replace("{\"kind\"", "{\"call\":\"main-7-on-reading\",\"kind\"");
        assert!(log_line(&parse(&error).unwrap()).ends_with("  call main-7-on-reading"));
    }
}
