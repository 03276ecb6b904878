//! Apps, releases, functions.

use super::{Context, ask, lag::Lost, text};
use crate::{
    args::Apps,
    client::segment,
    failure::{Done, Failure},
    out::{self, Style, Table},
    when,
};
use serde::Deserialize;
use serde_json::{Value, json};
use std::io::IsTerminal;

#[derive(Deserialize)]
struct App {
    app: String,
    owner: Option<String>,
    release: Option<u64>,
    live: Option<u64>,
    failing: Option<String>,
    summary: Option<String>,
    created: Option<String>,
    url: Option<String>,
}

#[derive(Deserialize)]
struct Release {
    number: u64,
    commit: String,
    summary: String,
    created: String,
    rollback_of: Option<u64>,
    current: bool,
    live: bool,
}

#[derive(Deserialize)]
struct Function {
    function: String,
    trigger: String,
    blocks_at_most_ms: Option<u64>,
    lag: Option<u64>,
    parked: Option<u64>,
    dead: Option<u64>,
    paused: Option<Value>,
    #[serde(default)]
    lost: Vec<Lost>,
}

/// A line of a redeploy: something the build said, or how it ended.
#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Progress {
    Line(String),
    Release(u64),
    Error(String),
}

pub fn run(context: &Context, command: Apps) -> Done {
    match command {
        Apps::List => list(context),
        Apps::Owner { app, user, none: _ } => owner(context, &app, user.as_deref()),
        Apps::Delete { app, yes } => delete(context, &app, yes),
    }
}

fn list(context: &Context) -> Done {
    context.show(context.client()?.get("/api/v1/apps")?, |apps: Vec<App>| {
        let mut table = Table::new(["APP", "RELEASE", "OWNER", "CREATED", "URL", "SUMMARY"]).right(&[1]);
        for app in apps {
            let release = match (app.release, app.live) {
                (None, _) => "none".to_owned(),
                (Some(n), live) if live == Some(n) => n.to_string(),
                (Some(n), Some(live)) => format!("{n} ({live} serves)"),
                (Some(n), None) => format!("{n} (none serves)"),
            };
            if let Some(why) = &app.failing {
                eprintln!("{}: {}", app.app, out::clean(why));
            }
            let created = app.created.as_deref().map(when::short).unwrap_or_default();
            table.row([app.app, release, text(app.owner.as_deref()), created, text(app.url.as_deref()), text(app.summary.as_deref())]);
        }
        Ok(table.print("no apps yet: `tawi new NAME` makes one")?)
    })
}

fn owner(context: &Context, app: &str, user: Option<&str>) -> Done {
    context.client()?.tell("PUT", &format!("/api/v1/apps/{}/owner", segment(app)), Some(&json!({ "owner": user })))?;
    match user {
        Some(user) => eprintln!("{app} sees and does what {user} may"),
        None => eprintln!("{app} is the node's own and sees all"),
    }
    Ok(())
}

fn delete(context: &Context, app: &str, yes: bool) -> Done {
    if !yes {
        if !std::io::stdin().is_terminal() {
            return Err(Failure::new(format!("deleting `{app}` wants to be confirmed")).hint("say it with `--yes`"));
        }
        let answer = ask(&format!("delete `{app}` with its state, config, secrets and dead letters? type its name: "))?;
        if answer != app {
            return Err(Failure::new("that is not its name; nothing was deleted"));
        }
    }
    context.client()?.tell("DELETE", &format!("/api/v1/apps/{}", segment(app)), None)?;
    eprintln!("deleted {app}");
    Ok(())
}

pub fn releases(context: &Context, app: &str) -> Done {
    let answer = context.client()?.get(&format!("/api/v1/apps/{}/releases", segment(app)))?;
    context.show(answer, |releases: Vec<Release>| {
        let mut table = Table::new(["RELEASE", "", "COMMIT", "CREATED", "SUMMARY"]).right(&[0]);
        for release in releases {
            let commit = release.commit.chars().take(10).collect();
            let summary = match release.rollback_of {
                Some(of) => format!("{} (back to {of})", release.summary),
                None => release.summary,
            };
            let current = match (release.current, release.live) {
                (true, true) => "current",
                (true, false) => "does not serve",
                (false, true) => "serves",
                (false, false) => "",
            };
            table.row([release.number.to_string(), current.to_owned(), commit, when::short(&release.created), summary]);
        }
        Ok(table.print("no release yet: `git push tawi main` makes one")?)
    })
}

pub fn rollback(context: &Context, app: &str, to: Option<u64>) -> Done {
    let body = json!({ "to": to });
    let answer: Value = context.client()?.ask("POST", &format!("/api/v1/apps/{}/rollback", segment(app)), Some(&body))?;
    context.show(answer, |release: Release| {
        let of = release.rollback_of.unwrap_or_default();
        Ok(out::line(&format!("{app}: release {} is live, a copy of release {of} ({})", release.number, release.summary))?)
    })
}

pub fn redeploy(context: &Context, app: &str) -> Done {
    let client = context.client()?;
    for line in client.lines("POST", &format!("/api/v1/apps/{}/redeploy", segment(app)))? {
        let line = line?;
        match serde_json::from_str(&line) {
            Ok(Progress::Line(text)) => eprintln!("{}", out::clean(&text)),
            Ok(Progress::Release(number)) => {
                let style = Style::for_stdout();
                return Ok(out::line(&format!("{}: release {number} is live", style.green(app)))?);
            }
            Ok(Progress::Error(why)) => {
                return Err(Failure::new(format!("`{app}` was not deployed: {why}"))
                    .hint("the release before it still serves; `tawi releases` shows which"));
            }
            Err(error) => return Err(Failure::because("did not understand the node's answer", &error)),
        }
    }
    Err(Failure::new(format!("the node ended the build of `{app}` without a word")).hint("`tawi releases` shows what is live"))
}

pub fn functions(context: &Context, app: &str) -> Done {
    let answer = context.client()?.get(&format!("/api/v1/apps/{}/functions", segment(app)))?;
    context.show(answer, |functions: Vec<Function>| {
        let number = |n: Option<u64>| n.map_or("-".to_owned(), |n| n.to_string());
        let mut table = Table::new(["FUNCTION", "BEHIND", "PARKED", "DEAD", "BLOCKS AT MOST", "TRIGGER"]).right(&[1, 2, 3, 4]);
        for f in functions {
            if f.paused.is_some() {
                eprintln!("{}: paused, being too far behind; `tawi resume {app} {}` lets it go on", f.function, f.function);
            }
            let lost: u64 = f.lost.iter().map(|lost| lost.events).sum();
            if lost > 0 {
                eprintln!("{}: {lost} events were dropped without it; `tawi lost {app}` has which", f.function);
            }
            table.row([
                f.function,
                number(f.lag),
                number(f.parked),
                number(f.dead),
                f.blocks_at_most_ms.map_or("-".to_owned(), when::long),
                f.trigger,
            ]);
        }
        Ok(table.print("no functions: nothing is released yet")?)
    })
}
