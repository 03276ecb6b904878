//! Config and secrets of an app.

use super::{Context, ask_secret};
use crate::{
    args::{Config, Secrets},
    client::segment,
    failure::{Done, Failure},
    out::{self, Table},
};
use serde::Deserialize;
use serde_json::{Value, json};
use std::io::{IsTerminal, Read};

#[derive(Deserialize)]
struct Setting {
    key: String,
    #[serde(default)]
    value: String,
    /// `set`, or `manifest` for a default.
    #[serde(default)]
    source: String,
}

pub fn config(context: &Context, command: Config) -> Done {
    let client = context.client()?;
    match command {
        Config::Get { app, key } => {
            let settings: Vec<Setting> = client.get(&place(&app, "config", None))?;
            let Some(setting) = settings.into_iter().find(|s| s.key == key) else {
                return Err(
                    Failure::new(format!("`{app}` has no config `{key}`")).hint(format!("`tawi config list {app}` shows what it has"))
                );
            };
            if context.global.json {
                return Ok(out::json(&json!({ "key": key, "value": setting.value, "source": setting.source }))?);
            }
            Ok(out::line(&setting.value)?)
        }
        Config::List { app } => context.show(client.get(&place(&app, "config", None))?, |settings: Vec<Setting>| {
            let mut table = Table::new(["KEY", "FROM", "VALUE"]);
            for setting in settings {
                table.row([setting.key, setting.source, setting.value]);
            }
            Ok(table.print("no config")?)
        }),
        Config::Set { app, settings } => settings
            .iter()
            .try_for_each(|(key, value)| client.tell("PUT", &place(&app, "config", Some(key)), Some(&json!({ "value": value })))),
        Config::Unset { app, key } => client.tell("DELETE", &place(&app, "config", Some(&key)), None),
    }
}

pub fn secrets(context: &Context, command: Secrets) -> Done {
    let client = context.client()?;
    match command {
        Secrets::List { app } => context.show(client.get::<Value>(&place(&app, "secrets", None))?, |settings: Vec<Setting>| {
            let mut table = Table::new(["SECRET"]);
            for setting in settings {
                table.row([setting.key]);
            }
            Ok(table.print("no secrets")?)
        }),
        Secrets::Set { app, key, value } => {
            let value = match value {
                Some(value) => value,
                None if std::io::stdin().is_terminal() => ask_secret("secret: ")?,
                None => piped()?,
            };
            client.tell("PUT", &place(&app, "secrets", Some(&key)), Some(&json!({ "value": value })))
        }
        Secrets::Unset { app, key } => client.tell("DELETE", &place(&app, "secrets", Some(&key)), None),
    }
}

/// All of standard input but the line end that `echo` adds: a certificate has many lines.
fn piped() -> Done<String> {
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).map_err(|e| Failure::because("can't read the secret from standard input", &e))?;
    Ok(text.strip_suffix('\n').unwrap_or(&text).to_owned())
}

fn place(app: &str, what: &str, key: Option<&str>) -> String {
    let key = key.map(|key| format!("/{}", segment(key))).unwrap_or_default();
    format!("/api/v1/apps/{}/{what}{key}", segment(app))
}
