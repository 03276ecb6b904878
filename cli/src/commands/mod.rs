//! One file per subject; each command is a request and a way to show the answer.

mod apps;
mod archive;
mod clean;
mod credential;
mod data;
mod dead;
mod devices;
mod import;
mod lag;
mod live;
mod new;
mod play;
mod range;
mod record;
mod replay;
mod rerun;
mod runs;
mod settings;
mod tokens;
mod up;
mod users;

use crate::{
    args::{Args, Command, Global},
    client::Client,
    failure::{Done, Failure},
    login::{Login, Logins, plain},
    out,
};
use clap::CommandFactory;
use serde_json::Value;
use std::io::{IsTerminal, Write};

/// What every command is told.
#[derive(Clone)]
struct Context {
    global: Global,
    /// `TAWI_TOKEN`: never a flag, because every user of a machine sees the flags of all.
    token: Option<String>,
}

impl Context {
    fn client(&self) -> Done<Client> {
        Client::open(self.global.url.as_deref(), self.token.as_deref())
    }

    /// Prints the answer as it is with `--json`, else lets `show` make it readable.
    fn show<T: serde::de::DeserializeOwned>(&self, answer: Value, show: impl FnOnce(T) -> Done) -> Done {
        if self.global.json {
            return Ok(out::json(&answer)?);
        }
        let answer = serde_json::from_value(answer).map_err(|e| Failure::because("did not understand the node's answer", &e))?;
        show(answer)
    }
}

pub fn run(args: Args) -> Done {
    let token = std::env::var("TAWI_TOKEN").ok().filter(|token| !token.trim().is_empty());
    let context = Context { global: args.global, token };
    match args.command {
        Command::Up(up) => up::run(&context, up),
        Command::New { name, path } => new::run(&context, &name, path),
        Command::Login { url, user: None } => login(&context, &url),
        Command::Login { url, user: Some(user) } => users::login(&url, &user),
        Command::Whoami => users::whoami(&context),
        Command::Status => status(&context),
        Command::Apps(command) => apps::run(&context, command),
        Command::Releases { app } => apps::releases(&context, &app),
        Command::Rollback { app, to } => apps::rollback(&context, &app, to),
        Command::Redeploy { app } => apps::redeploy(&context, &app),
        Command::Functions { app } => apps::functions(&context, &app),
        Command::Resume { app, function } => lag::resume(&context, &app, &function),
        Command::Lost { app, function: Some(function), forget: true } => lag::forget(&context, &app, &function),
        Command::Lost { app, function, .. } => lag::lost(&context, &app, function.as_deref()),
        Command::Logs(logs) => live::logs(&context, logs),
        Command::Subscribe(subscribe) => live::subscribe(&context, subscribe),
        Command::History(history) => data::history(&context, history),
        Command::Runs(what) => runs::run(&context, what),
        Command::Dead(command) => dead::run(&context, command),
        Command::State(command) => data::state(&context, command),
        Command::Config(command) => settings::config(&context, command),
        Command::Secrets(command) => settings::secrets(&context, command),
        Command::Tokens(command) => tokens::run(&context, command),
        Command::Users(command) => users::run(&context, command),
        Command::Devices(command) => devices::run(&context, command),
        Command::Sensors { select, limit } => devices::sensors(&context, &select, limit),
        Command::Clean(command) => clean::run(&context, command),
        Command::Actuate { device, actuator, value } => devices::command(&context, &device, actuator.zip(value)),
        Command::Send { device, sensor, value, at } => devices::send(&context, &device, &sensor, &value, at),
        Command::Record(what) => record::run(&context, what),
        Command::Replay(replay) => replay::run(&context, replay),
        Command::Replays(command) => range::run(&context, command),
        Command::Backup { file } => archive::backup(&context, &file),
        Command::Restore { file, data } => archive::restore(&file, &data),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Args::command(), "tawi", &mut script);
            Ok(std::io::stdout().write_all(&script)?)
        }
        Command::Credential { operation } => credential::run(&context, &operation),
    }
}

/// Checks a token with the node before it is saved.
fn login(context: &Context, url: &str) -> Done {
    let url = node_url(url)?;
    let token = match &context.token {
        Some(token) => token.clone(),
        None => ask_secret("token: ")?,
    };
    let client = Client::new(Login { url: url.clone(), token: Some(token.clone()) });
    let status: Value = client.get("/api/v1/status")?;
    let mut logins = Logins::load()?;
    logins.save(&url, &token)?;
    let version = status["version"].as_str().unwrap_or_default();
    eprintln!("logged in to {url} (Tawi {version}); saved in {}", logins.path().display());
    Ok(())
}

fn node_url(text: &str) -> Done<String> {
    let url = plain(text);
    if !url.starts_with("http://") && !url.starts_with("https://") {
        return Err(Failure::new(format!("`{url}` is not the URL of a node")).hint("for example `tawi login http://127.0.0.1:8294`"));
    }
    Ok(url)
}

fn status(context: &Context) -> Done {
    let client = context.client()?;
    let status: Value = client.get("/api/v1/status")?;
    context.show(status, |status: serde_json::Map<String, Value>| {
        let width = status.keys().map(String::len).max().unwrap_or(0);
        for (name, value) in &status {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            out::line(&format!("{:<width$}  {}", name.replace('_', " "), out::clean(&text)))?;
        }
        Ok(())
    })
}

/// One line from standard input, asked for on a terminal.
fn ask(question: &str) -> Done<String> {
    if std::io::stdin().is_terminal() {
        eprint!("{question}");
        std::io::stderr().flush()?;
    }
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).map_err(|e| Failure::because("can't read standard input", &e))?;
    match line.trim() {
        "" => Err(Failure::new("nothing came on standard input")),
        line => Ok(line.to_owned()),
    }
}

/// A secret, which a terminal does not show while it is typed.
fn ask_secret(question: &str) -> Done<String> {
    if !std::io::stdin().is_terminal() {
        return ask(question);
    }
    match rpassword::prompt_password(question).map_err(|e| Failure::because("can't read from the terminal", &e))?.as_str() {
        "" => Err(Failure::new("nothing was typed")),
        typed => Ok(typed.to_owned()),
    }
}

/// A text of an answer, or nothing.
fn text(value: Option<&str>) -> String {
    value.unwrap_or_default().to_owned()
}
