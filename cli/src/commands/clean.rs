//! Rules of pre-processing.

use super::Context;
use crate::{
    args::Clean,
    client::segment,
    failure::{Done, Failure},
    out::{self, Table},
};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use tawi_runtime::model::manifest::toml_to_json;

#[derive(Deserialize)]
struct Rule {
    name: String,
    #[serde(default)]
    device: String,
    #[serde(default)]
    sensor: String,
    select: Option<Value>,
    #[serde(default)]
    steps: Vec<serde_json::Map<String, Value>>,
    into: Option<String>,
    fill: Option<Value>,
    aggregate: Option<Value>,
    /// Whose manifest says it.
    app: Option<String>,
    /// For how many sensors it is; none where that takes too long to count.
    sensors: Option<u64>,
    /// Rules that go before it, and at how many sensors.
    #[serde(default)]
    behind: BTreeMap<String, u64>,
}

pub fn run(context: &Context, command: Clean) -> Done {
    let client = context.client()?;
    match command {
        Clean::List { name: None } => context.show(client.get("/api/v1/clean")?, table),
        Clean::List { name: Some(name) } => Ok(out::json(&client.get::<Value>(&place(&name))?)?),
        Clean::Set { file } => {
            let shown = file.display();
            let text = std::fs::read_to_string(&file).map_err(|e| Failure::because(format!("can't read `{shown}`"), &e))?;
            let rule = toml_to_json(&text).map_err(|why| Failure::new(format!("`{shown}` is no TOML: {why}")))?;
            let Some(name) = rule.get("name").and_then(Value::as_str) else {
                return Err(Failure::new(format!("`{shown}` says no `name`")).hint("begin with a line as in `name = \"pond-temperature\"`"));
            };
            client.tell("PUT", &place(name), Some(&rule))
        }
        Clean::Remove { name } => client.tell("DELETE", &place(&name), None),
    }
}

fn table(rules: Vec<Rule>) -> Done {
    let mut table = Table::new(["RULE", "FROM", "OF", "SENSORS", "DOES"]);
    for rule in rules {
        let from = rule.app.as_ref().map_or_else(|| "set by hand".to_owned(), |app| format!("tawi.toml of {app}"));
        let sensors = sensors(&rule);
        let of = match &rule.select {
            Some(Value::String(select)) => select.clone(),
            Some(select) => select.to_string(),
            None => format!("{}/{}", rule.device, rule.sensor),
        };
        let does = does(&rule);
        table.row([rule.name, from, of, sensors, does]);
    }
    Ok(table.print("no rules")?)
}

/// Its steps, or what it makes: `makes moisture.filled: fill every 1h method linear`.
fn does(rule: &Rule) -> String {
    let Some(into) = &rule.into else {
        let steps: Vec<&str> = rule.steps.iter().flat_map(|step| step.keys().map(String::as_str)).collect();
        return steps.join(", ");
    };
    let (how, fields) = match (&rule.fill, &rule.aggregate) {
        (Some(fill), _) => ("fill", fill),
        (_, aggregate) => ("aggregate", aggregate.as_ref().unwrap_or(&Value::Null)),
    };
    let fields = fields.as_object().into_iter().flatten().map(|(key, value)| format!(" {key} {}", value.as_str().unwrap_or_default()));
    format!("makes {into}: {how}{}", fields.collect::<String>())
}

fn sensors(rule: &Rule) -> String {
    let count = rule.sensors.map_or_else(|| "-".to_owned(), |count| count.to_string());
    let behind: Vec<String> = rule.behind.iter().map(|(name, sensors)| format!("{sensors} behind {name}")).collect();
    if behind.is_empty() { count } else { format!("{count} ({})", behind.join(", ")) }
}

fn place(name: &str) -> String {
    format!("/api/v1/clean/{}", segment(name))
}
