//! Functions that were too far behind.

use super::Context;
use crate::{client::segment, failure::Done, out::Table, when};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
pub struct Lost {
    from: u64,
    to: u64,
    pub events: u64,
    bytes: u64,
    received_from: String,
    received_to: String,
}

#[derive(Deserialize)]
struct Row {
    function: String,
    #[serde(flatten)]
    lost: Lost,
}

pub fn resume(context: &Context, app: &str, function: &str) -> Done {
    context.client()?.tell("POST", &format!("{}/resume", place(app, function)), None)?;
    eprintln!("{app}/{function} goes on; `tawi lost {app}` has what it missed");
    Ok(())
}

pub fn forget(context: &Context, app: &str, function: &str) -> Done {
    let client = context.client()?;
    let functions: Value = client.get(&format!("/api/v1/apps/{}/functions", segment(app)))?;
    let rows = rows(&functions, Some(function));
    // Shown before it is forgotten, and no more of it forgotten than that: more may be lost in this very moment.
    let Some(through) = through(&rows) else {
        eprintln!("nothing is noted as lost to {app}/{function}");
        return Ok(());
    };
    show(context, rows)?;
    client.tell("DELETE", &format!("{}/lost?through={through}", place(app, function)), None)?;
    eprintln!("what {app}/{function} lost up to event {through} is forgotten");
    Ok(())
}

pub fn lost(context: &Context, app: &str, function: Option<&str>) -> Done {
    let functions: Value = context.client()?.get(&format!("/api/v1/apps/{}/functions", segment(app)))?;
    show(context, rows(&functions, function))
}

fn show(context: &Context, rows: Value) -> Done {
    context.show(rows, |rows: Vec<Row>| {
        let mut table = Table::new(["FUNCTION", "FROM", "TO", "EVENTS", "BYTES", "RECEIVED FROM", "TO"]).right(&[1, 2, 3, 4]);
        for Row { function, lost } in rows {
            let [from, to, events, bytes] = [lost.from, lost.to, lost.events, lost.bytes].map(|n| n.to_string());
            table.row([function, from, to, events, bytes, when::short(&lost.received_from), when::short(&lost.received_to)]);
        }
        Ok(table.print("nothing was lost")?)
    })
}

/// The last event of the rows.
fn through(rows: &Value) -> Option<u64> {
    rows.as_array()?.iter().filter_map(|row| row["to"].as_u64()).max()
}

/// A row for each range, with its function.
fn rows(functions: &Value, only: Option<&str>) -> Value {
    let mut rows = Vec::new();
    for function in functions.as_array().into_iter().flatten() {
        let name = &function["function"];
        for lost in function["lost"].as_array().into_iter().flatten().filter(|_| only.is_none_or(|only| name == only)) {
            let mut row = json!({ "function": name });
            if let (Value::Object(row), Value::Object(lost)) = (&mut row, lost) {
                row.extend(lost.clone());
            }
            rows.push(row);
        }
    }
    rows.into()
}

fn place(app: &str, function: &str) -> String {
    format!("/api/v1/apps/{}/functions/{}", segment(app), segment(function))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_was_lost_is_told_by_function() {
        let range = |from: u64| json!({ "from": from, "to": from + 9, "events": 7, "bytes": 900, "received_from": "2026-01-31T08:30:00Z", "received_to": "2026-01-31T08:31:00Z", "paused": "2026-02-07T08:30:00Z" });
        let functions =
            json!([{ "function": "a", "lost": [range(1), range(20)] }, { "function": "b", "lost": [range(5)] }, { "function": "http" }]);
        let told = |only| -> Vec<(String, u64)> {
            let rows: Vec<Row> = serde_json::from_value(rows(&functions, only)).unwrap();
            rows.into_iter().map(|row| (row.function, row.lost.from)).collect()
        };
        assert_eq!(told(None), [("a".to_owned(), 1), ("a".to_owned(), 20), ("b".to_owned(), 5)]);
        assert_eq!(told(Some("b")), [("b".to_owned(), 5)]);
        assert_eq!(through(&rows(&functions, Some("a"))), Some(29), "and forgotten up to the last that was shown");
        assert_eq!(through(&rows(&functions, Some("http"))), None);
    }
}
