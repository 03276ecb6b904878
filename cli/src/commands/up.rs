//! `tawi up`: a node with a builder in it, on this machine.

use super::Context;
use crate::{
    args::Up,
    failure::{Done, Failure},
    login::Logins,
    node::{self, Started},
    out::{self, Style},
};
use std::{
    io::{IsTerminal, Write},
    path::{Path, PathBuf},
};
use tawi_runtime::{
    config::{self, Draft, DraftMqtt, NodeConfig},
    telemetry,
};

pub fn run(context: &Context, up: Up) -> Done {
    let config = config(&up)?;
    telemetry::init_log(up.log_json, "warn,tawi_runtime=info,tawi_builder=info,tawi_cli=info");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::because("can't start the threads of the node", &e))?;
    let context = context.clone();
    runtime.block_on(node::run(config, move |started| announce(&context, &up, &started)))
}

/// Flags before the file before the defaults; every mistake at once.
fn config(up: &Up) -> Done<NodeConfig> {
    let file = match &up.config {
        Some(path) => read(path)?,
        None => Draft::default(),
    };
    let flags = Draft {
        data: up.data.clone(),
        listen: up.listen.clone(),
        public_url: up.public_url.clone(),
        ledger: up.ledger.clone(),
        mqtt: DraftMqtt { listen: up.no_mqtt.then(|| "off".to_owned()).or(up.mqtt.clone()), ..DraftMqtt::default() },
        auto_register: up.no_auto_register.then_some(false),
        identity: config::DraftIdentity { guests: up.no_guests.then_some(false) },
        new_admin_token: up.new_admin_token,
        ..Draft::default()
    };
    let defaults = Draft { data: default_data(), ..Draft::default() };
    config::check(flags.or(file).or(defaults)).map_err(|errors| match errors.0.as_slice() {
        [one] => Failure::new(format!("the config is wrong: {one}")),
        all => Failure::new(format!("the config has {} mistakes: {errors}", all.len())),
    })
}

fn read(path: &Path) -> Done<Draft> {
    let name = path.display();
    let text = std::fs::read_to_string(path).map_err(|e| Failure::because(format!("can't read the config file `{name}`"), &e))?;
    Draft::from_toml(&text).map_err(|e| Failure::because(format!("the config file `{name}` is wrong"), &e))
}

fn default_data() -> Option<PathBuf> {
    let var = |name| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    var("XDG_DATA_HOME").or_else(|| var("HOME").map(|home| home.join(".local/share"))).map(|dir| dir.join("tawi"))
}

/// Saves the token, tells programs by the file and people by words.
fn announce(context: &Context, up: &Up, started: &Started) -> Done {
    let mut saved = None;
    let mut known = context.token.is_some();
    match Logins::load() {
        Ok(mut logins) => match &started.admin_token {
            Some(token) => match logins.save(&started.url, token) {
                Ok(()) => saved = Some(logins.path().display().to_string()),
                Err(failure) => eprintln!("{failure}"),
            },
            // A home that can't be written to is no reason not to serve.
            None => known |= logins.turn_to(&started.url).unwrap_or(true),
        },
        Err(failure) => eprintln!("{failure}"),
    }
    if let Some(path) = &up.ready_file {
        ready(path, started).map_err(|e| Failure::because(format!("can't write `{}`", path.display()), &e))?;
    }
    let style = Style::for_stdout();
    out::line(&format!("{} {}", style.bold("Tawi serves at"), style.cyan(&started.url)))?;
    if let Some(addr) = started.mqtt {
        out::line(&format!("MQTT           {}", style.cyan(&addr.to_string())))?;
    }
    let told = Told { token: started.admin_token.as_deref(), saved: saved.as_deref(), ready_file: up.ready_file.as_deref(), known };
    let is_terminal = std::io::stdout().is_terminal();
    let about_user = started.admin_user.as_ref().map(|(name, password)| about_user(name, password, is_terminal));
    for line in about_token(&told, is_terminal).into_iter().chain(about_user) {
        out::line(&line)?;
    }
    Ok(out::line(&format!("next           {}", style.bold("tawi new fridge-alert && cd fridge-alert && git push tawi main")))?)
}

/// What has become of the admin token.
struct Told<'a> {
    /// On the first start only.
    token: Option<&'a str>,
    /// The file of logins.
    saved: Option<&'a str>,
    ready_file: Option<&'a Path>,
    /// Whether this user has a token for the node.
    known: bool,
}

/// A terminal is for a person's eyes; whatever else standard output is, a journal say, keeps what it gets, and others read it.
fn about_token(told: &Told<'_>, is_terminal: bool) -> Vec<String> {
    const EXPORT: &str = "for curl       export TAWI_TOKEN=$(tawi tokens show)";
    match (told.token, told.saved, told.ready_file) {
        (Some(token), Some(path), _) if is_terminal => {
            vec![format!("admin token    {token}  (shown once; saved for this command in {path})"), EXPORT.to_owned()]
        }
        (Some(token), None, _) if is_terminal => {
            vec![format!("admin token    {token}  (shown once)"), format!("for curl       export TAWI_TOKEN={token}")]
        }
        (Some(_), Some(path), _) => vec![format!("admin token    saved for this command in {path}; `tawi tokens show` prints it")],
        (Some(_), None, Some(path)) => vec![format!("admin token    in {}", path.display())],
        (Some(_), None, None) => {
            vec!["admin token    not saved, and not shown where it would stay; `tawi up --new-admin-token` on a terminal, or with --ready-file, makes one more".to_owned()]
        }
        (None, ..) if !told.known => {
            vec!["no token saved `tawi login` saves one; `tawi up --new-admin-token` makes one more".to_owned()]
        }
        (None, ..) => vec![],
    }
}

/// The same care: a journal gets no password. Who has the token needs none.
fn about_user(name: &str, password: &str, is_terminal: bool) -> String {
    match is_terminal {
        true => format!("admin user     {name}, password {password}  (shown once; `tawi users passwd {name}` sets another)"),
        false => format!("admin user     {name}; `tawi users passwd {name}` sets a password"),
    }
}

/// Written beside and renamed, so that whoever waits for the file never reads half of it.
fn ready(path: &Path, started: &Started) -> std::io::Result<()> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(dir)?;
    let mut body = serde_json::json!({ "url": started.url });
    if let Some(addr) = started.mqtt {
        body["mqtt"] = serde_json::Value::from(addr.to_string());
    }
    if let Some(token) = &started.admin_token {
        body["token"] = serde_json::Value::from(token.as_str());
    }
    if let Some((name, password)) = &started.admin_user {
        body["user"] = serde_json::json!({ "name": name, "password": password });
    }
    writeln!(file, "{body}")?;
    file.persist(path).map(drop).map_err(|e| e.error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_password_is_shown_to_a_person_and_never_to_a_journal() {
        assert!(about_user("admin", "Zt01bcQe", true).contains("Zt01bcQe"));
        let in_journal = about_user("admin", "Zt01bcQe", false);
        assert!(!in_journal.contains("Zt01bcQe") && in_journal.contains("tawi users passwd admin"), "{in_journal}");
    }

    #[test]
    fn a_token_is_shown_to_a_person_and_never_to_a_journal() {
        let ready = Path::new("/run/ready.json");
        for saved in [Some("/saved/logins.json"), None] {
            for ready_file in [Some(ready), None] {
                let told = Told { token: Some("tawi_secret"), saved, ready_file, known: false };
                let on_terminal = about_token(&told, true).join("\n");
                assert!(on_terminal.contains("tawi_secret") && on_terminal.contains("export TAWI_TOKEN="), "{on_terminal}");
                let in_journal = about_token(&told, false).join("\n");
                assert!(!in_journal.contains("tawi_secret"), "{in_journal}");
                let place = saved.or(ready_file.and(Some("/run/ready.json"))).unwrap_or("--new-admin-token");
                assert!(in_journal.contains(place), "{in_journal}");
            }
        }
    }
}
