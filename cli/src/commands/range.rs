//! A function over a range of the past: asked for, followed to its end, its lines written where told.

use super::Context;
use crate::{
    args::Replays,
    client::{Client, path, patiently, segment},
    failure::{Done, Failure},
    out::{self, Table},
    when,
};
use serde::Deserialize;
use serde_json::{Value, json};
use std::{
    fs,
    io::{self, IsTerminal, Read, Write},
    path::Path,
    time::Duration,
};
use tawi_runtime::model::Micros;

/// How often it is asked for more, where there is none yet.
const EVERY: Duration = Duration::from_millis(200);

pub struct Asked<'a> {
    pub app: Option<String>,
    /// With `@` and a release behind it, or without.
    pub function: &'a str,
    pub from: Option<Micros>,
    pub to: Option<Micros>,
    pub by_measured: bool,
}

#[derive(Debug, Clone, Deserialize)]
struct Replay {
    replay: u64,
    app: String,
    function: String,
    release: u64,
    from: Option<String>,
    to: Option<String>,
    state: String,
    error: Option<String>,
    created: String,
    through: u64,
    last: u64,
    lines: u64,
    failed: u64,
}

#[derive(Deserialize)]
struct App {
    app: String,
}

pub fn start(context: &Context, asked: Asked, into: Option<&Path>) -> Done {
    let client = context.client()?;
    let (function, release) = named(asked.function)?;
    let app = match asked.app {
        Some(app) => app,
        None => only(&client)?,
    };
    let time = |time: Option<Micros>| time.map(|time| time.to_string());
    let body = json!({
        "function": function, "release": release, "from": time(asked.from), "to": time(asked.to), "by_measured": asked.by_measured,
    });
    let replay: Replay = client.ask("POST", &format!("/api/v1/apps/{}/replays", segment(&app)), Some(&body))?;
    eprintln!("replay {} of {}/{} in release {}", replay.replay, out::clean(&app), out::clean(function), replay.release);
    fetch(context, &client, &app, replay.replay, into)
}

/// `alert@7` is the function `alert` of release 7.
fn named(text: &str) -> Done<(&str, Option<u64>)> {
    match text.rsplit_once('@') {
        None => Ok((text, None)),
        Some((function, release)) => match release.parse() {
            Ok(release) => Ok((function, Some(release))),
            Err(_) => Err(Failure::new(format!("`{release}` is not the number of a release")).hint("for example `--function alert@7`")),
        },
    }
}

/// The one app there is.
fn only(client: &Client) -> Done<String> {
    let mut apps: Vec<App> = client.get("/api/v1/apps")?;
    match (apps.pop(), apps.is_empty()) {
        (Some(only), true) => Ok(only.app),
        _ => Err(Failure::new("it is not said which app").hint("`--app APP`; `tawi apps list` shows what there is")),
    }
}

pub fn run(context: &Context, command: Replays) -> Done {
    let client = context.client()?;
    match command {
        Replays::List { app } => {
            let all: Value = client.get(&format!("/api/v1/apps/{}/replays", segment(&app)))?;
            context.show(all, |all: Vec<Replay>| list(&all))
        }
        Replays::Output { app, replay, into } => fetch(context, &client, &app, replay, into.as_deref()),
        Replays::Forget { app, replay } => client.tell("DELETE", &format!("/api/v1/apps/{}/replays/{replay}", segment(&app)), None),
    }
}

fn list(all: &[Replay]) -> Done {
    let mut table = Table::new(["REPLAY", "FUNCTION", "FROM", "TO", "CREATED", "STATE", "LINES", "FAILED"]).right(&[0, 6, 7]);
    for it in all {
        let time = |time: &Option<String>| time.as_deref().map_or("-".to_owned(), when::short);
        let state = match &it.error {
            Some(error) => format!("{}: {error}", it.state),
            None => it.state.clone(),
        };
        let function = format!("{}@{}", it.function, it.release);
        let (lines, failed) = (it.lines.to_string(), it.failed.to_string());
        table.row([it.replay.to_string(), function, time(&it.from), time(&it.to), when::short(&it.created), state, lines, failed]);
    }
    Ok(table.print("no replays")?)
}

/// All of its output: a file takes its name when it is whole.
fn fetch(context: &Context, client: &Client, app: &str, number: u64, into: Option<&Path>) -> Done {
    let over = match into {
        None => follow(client, app, number, &mut io::stdout().lock())?,
        Some(path) => {
            let failed = |e: io::Error| Failure::because(format!("can't write `{}`", path.display()), &e);
            let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
            fs::create_dir_all(dir).map_err(failed)?;
            let mut file = tempfile::NamedTempFile::new_in(dir).map_err(failed)?;
            let over = follow(client, app, number, &mut file)?;
            file.as_file().sync_all().map_err(failed)?;
            fs::set_permissions(file.path(), std::os::unix::fs::PermissionsExt::from_mode(0o644)).map_err(failed)?;
            file.persist(path).map_err(|e| failed(e.error))?;
            over
        }
    };
    let Replay { lines, failed, .. } = over;
    if context.global.json && into.is_some() {
        return Ok(out::json(&json!({ "replay": number, "lines": lines, "failed": failed }))?);
    }
    let failures = if failed > 0 { format!(", {failed} of them calls that failed") } else { String::new() };
    eprintln!("{lines} lines{failures}");
    Ok(())
}

/// Writes what there is until it is over. The node goes on whatever becomes of this.
fn follow(client: &Client, app: &str, number: u64, to: &mut impl Write) -> Done<Replay> {
    let base = format!("/api/v1/apps/{}/replays/{number}", segment(app));
    let again =
        |failure: Failure| failure.hint(format!("the replay goes on: `tawi replays output {} {number}` fetches it", out::clean(app)));
    let (mut offset, mut told) = (0_u64, None);
    loop {
        let page = patiently(|| {
            let response = client.call("GET", &path(&format!("{base}/output"), &[("offset", Some(offset.to_string()))]), &[], ())?;
            let state = response.headers().get("tawi-replay").and_then(|state| state.to_str().ok()).unwrap_or_default().to_owned();
            let mut bytes = Vec::new();
            let read = response.into_body().into_reader().read_to_end(&mut bytes);
            read.map_err(|e| Failure::because("lost the connection to the node", &e).passing())?;
            Ok((state, bytes))
        });
        let (state, bytes) = page.map_err(again)?;
        to.write_all(&bytes).map_err(|e| Failure::because("can't write what came of the replay", &e))?;
        offset += bytes.len() as u64;
        if !bytes.is_empty() {
            continue;
        }
        if state == "waiting" || state == "running" {
            tell(client, &base, &mut told);
            std::thread::sleep(EVERY);
            continue;
        }
        to.flush().map_err(|e| Failure::because("can't write what came of the replay", &e))?;
        let over: Replay = client.get(&base)?;
        return match over.error {
            Some(error) => Err(Failure::new(format!("replay {number} of {} failed: {}", out::clean(&over.app), out::clean(&error)))),
            None => Ok(over),
        };
    }
}

/// How far it is, for whoever watches.
fn tell(client: &Client, base: &str, told: &mut Option<u64>) {
    if !io::stderr().is_terminal() {
        return;
    }
    let Ok(now) = client.get::<Replay>(base) else { return };
    let percent = now.through.saturating_mul(100) / now.last.max(1);
    if told.replace(percent) != Some(percent) {
        eprint!("\r{percent} % of the log, {} lines\r", now.lines);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_function_is_named_with_its_release_or_without() {
        assert_eq!(named("alert").unwrap(), ("alert", None));
        assert_eq!(named("alert@7").unwrap(), ("alert", Some(7)));
        assert!(named("alert@latest").unwrap_err().to_string().contains("`latest`"));
    }
}
