//! Dead letters.

use super::Context;
use crate::{
    args::Dead,
    client::{path, segment},
    failure::{Done, Failure},
    out::{self, Style, Table},
    when,
};
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
struct Letter {
    app: String,
    function: String,
    sequence: u64,
    attempts: u32,
    error: String,
    time: String,
    release: u64,
    #[serde(default)]
    log_tail: Vec<String>,
    #[serde(default)]
    event: Value,
}

pub fn run(context: &Context, command: Dead) -> Done {
    let client = context.client()?;
    match command {
        Dead::List { app, limit } => {
            let query = [("app", app), ("limit", Some(limit.to_string()))];
            context.show(client.get(&path("/api/v1/dead", &query))?, |letters: Vec<Letter>| {
                let mut table = Table::new(["LETTER", "TIME", "ATTEMPTS", "ERROR"]).right(&[2]);
                for letter in letters {
                    table.row([name(&letter), when::short(&letter.time), letter.attempts.to_string(), letter.error]);
                }
                Ok(table.print("no dead letters")?)
            })
        }
        Dead::Show { letter } => context.show(client.get(&place(&letter)?)?, |letter| show(&letter)),
        Dead::Replay { letter } => {
            client.tell("POST", &format!("{}/replay", place(&letter)?), None)?;
            eprintln!("{letter} is tried again");
            Ok(())
        }
        Dead::Drop { letter } => {
            client.tell("DELETE", &place(&letter)?, None)?;
            eprintln!("{letter} is forgotten");
            Ok(())
        }
    }
}

fn name(letter: &Letter) -> String {
    format!("{}/{}/{}", letter.app, letter.function, letter.sequence)
}

/// The path of `APP/FUNCTION/SEQUENCE`.
fn place(letter: &str) -> Done<String> {
    let parts: Vec<&str> = letter.split('/').collect();
    match parts.as_slice() {
        [app, function, seq] if seq.parse::<u64>().is_ok() => {
            Ok(format!("/api/v1/apps/{}/dead/{}/{seq}", segment(app), segment(function)))
        }
        _ => Err(Failure::new(format!("`{letter}` is not the name of a dead letter")).hint("it is APP/FUNCTION/SEQUENCE, as `tawi dead list` shows it")),
    }
}

fn show(letter: &Letter) -> Done {
    let style = Style::for_stdout();
    out::line(&style.bold(&name(letter)))?;
    out::line(&format!("died       {} after {} attempts on release {}", when::short(&letter.time), letter.attempts, letter.release))?;
    out::line(&format!("error      {}", style.red(&out::clean(&letter.error))))?;
    let event = &letter.event;
    out::line(&format!("subject    {}", event["subject"].as_str().unwrap_or_default()))?;
    out::line(&format!("measured   {}", event["measured"].as_str().unwrap_or_default()))?;
    out::line(&format!("value      {}", event["value"]))?;
    for line in &letter.log_tail {
        out::line(&format!("log        {}", out::clean(line)))?;
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_has_three_parts() {
        assert_eq!(place("fridge-alert/on-reading/17").unwrap(), "/api/v1/apps/fridge-alert/dead/on-reading/17");
        assert!(place("fridge-alert/17").is_err());
        assert!(place("a/b/c").is_err());
    }
}
