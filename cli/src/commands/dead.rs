//! Dead letters.

use super::Context;
use crate::{
    args::{self, Dead},
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
        Dead::List { app, limit, after } => {
            let query = [("app", app), ("after", after), ("limit", Some(limit.to_string()))];
            context.show(client.get(&path("/api/v1/dead", &query))?, |letters: Vec<Letter>| {
                let mut table = Table::new(["FUNCTION", "SEQUENCE", "TIME", "ATTEMPTS", "ERROR"]).right(&[1, 3]);
                for letter in letters {
                    let (sequence, attempts) = (letter.sequence.to_string(), letter.attempts.to_string());
                    table.row([format!("{}/{}", letter.app, letter.function), sequence, when::short(&letter.time), attempts, letter.error]);
                }
                Ok(table.print("no dead letters")?)
            })
        }
        Dead::Show(letter) => context.show(client.get(&place(&letter)?)?, |letter| show(&letter)),
        Dead::Replay(letter) => {
            client.tell("POST", &format!("{}/replay", place(&letter)?), None)?;
            eprintln!("{} {} is tried again", letter.function, letter.sequence);
            Ok(())
        }
        Dead::Drop(letter) => {
            client.tell("DELETE", &place(&letter)?, None)?;
            eprintln!("{} {} is forgotten", letter.function, letter.sequence);
            Ok(())
        }
    }
}

fn place(letter: &args::Letter) -> Done<String> {
    match letter.function.split_once('/') {
        Some((app, function)) if !app.is_empty() && !function.is_empty() && !function.contains('/') => {
            Ok(format!("/api/v1/apps/{}/dead/{}/{}", segment(app), segment(function), letter.sequence))
        }
        _ => Err(Failure::new(format!("`{}` is not a function", letter.function)).hint("it is APP/FUNCTION, as `tawi dead list` shows it")),
    }
}

fn show(letter: &Letter) -> Done {
    let style = Style::for_stdout();
    out::line(&style.bold(&format!("{}/{} {}", letter.app, letter.function, letter.sequence)))?;
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
    fn a_function_is_named_with_its_app() {
        let letter = |function: &str| args::Letter { function: function.to_owned(), sequence: 17 };
        assert_eq!(place(&letter("fridge-alert/on-reading")).unwrap(), "/api/v1/apps/fridge-alert/dead/on-reading/17");
        assert!(place(&letter("fridge-alert")).is_err());
        assert!(place(&letter("a/b/c")).is_err());
    }
}
