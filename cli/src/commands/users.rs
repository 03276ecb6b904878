//! Users: who they are, and who this command is.

use super::{Context, ask, ask_secret, node_url, text};
use crate::{
    args::Users,
    client::{Client, path, segment},
    failure::{Done, Failure},
    login::{Login, Logins},
    out::{self, Table},
    when,
};
use serde::Deserialize;
use serde_json::{Value, json};
use std::io::IsTerminal;

#[derive(Deserialize)]
struct User {
    username: String,
    #[serde(default)]
    admin: bool,
    email: Option<String>,
    phone: Option<String>,
    date_created: Option<String>,
}

/// What [`whoami`] is answered: a user, a guest, a token or a device.
#[derive(Deserialize)]
struct Me {
    id: Option<String>,
    username: String,
    role: Option<String>,
    device: Option<String>,
    #[serde(default)]
    admin: bool,
}

pub fn run(context: &Context, command: Users) -> Done {
    let client = context.client()?;
    match command {
        Users::List { name, limit, offset } => {
            let query = [("limit", Some(limit.to_string())), ("offset", Some(offset.to_string())), ("username", Some(name))];
            context.show(client.get(&path("/api/v2/users", &query))?, |users: Vec<User>| {
                let mut table = Table::new(["USER", "ROLE", "EMAIL", "PHONE", "CREATED"]);
                for user in users {
                    let created = user.date_created.as_deref().map(when::short).unwrap_or_default();
                    let (email, phone) = (text(user.email.as_deref()), text(user.phone.as_deref()));
                    table.row([user.username, role(user.admin).to_owned(), email, phone, created]);
                }
                Ok(table.print("no users")?)
            })
        }
        Users::Add { name, admin, email, phone } => {
            // The node passes it over when it comes from somebody else.
            if admin && !client.get::<Me>("/api/v2/users/me")?.admin {
                return Err(Failure::new("only an administrator makes administrators").hint("`tawi whoami` shows who asks"));
            }
            let password = new_password()?;
            let body = json!({ "username": name, "password": password, "admin": admin, "email": email, "phone": phone });
            client.tell("POST", "/api/v2/users", Some(&body))?;
            eprintln!("made the {} {name}", if admin { "administrator" } else { "user" });
            Ok(())
        }
        Users::Email { name, address } => {
            client.tell("PUT", &format!("/api/v2/users/{}/email", segment(&name)), Some(&Value::from(address.as_str())))?;
            eprintln!("{name} gets mail at {address}");
            Ok(())
        }
        Users::Remove { name, yes } => {
            if !yes {
                confirm(&name)?;
            }
            client.tell("DELETE", &format!("/api/v2/users/{}", segment(&name)), None)?;
            eprintln!("deleted {name}");
            Ok(())
        }
        Users::Passwd { name } => {
            let me: Me = client.get("/api/v2/users/me")?;
            let mut body = json!({});
            if me.id.as_deref() == Some(&name) {
                body["old"] = Value::from(ask_secret("password so far: ")?);
            }
            body["password"] = Value::from(new_password()?);
            client.tell("PUT", &format!("/api/v2/users/{}/password", segment(&name)), Some(&body))?;
            eprintln!("{name} has another password; sessions with the old one have ended");
            Ok(())
        }
    }
}

fn confirm(name: &str) -> Done {
    if !std::io::stdin().is_terminal() {
        return Err(Failure::new(format!("deleting `{name}` wants to be confirmed")).hint("say it with `--yes`"));
    }
    match ask(&format!("delete the user `{name}`? type the name: "))? == name {
        true => Ok(()),
        false => Err(Failure::new("that is not the name; nothing was deleted")),
    }
}

fn new_password() -> Done<String> {
    ask_secret("new password: ")
}

fn role(admin: bool) -> &'static str {
    if admin { "admin" } else { "user" }
}

pub fn whoami(context: &Context) -> Done {
    let client = context.client()?;
    context
        .show(client.get("/api/v2/users/me")?, |me: Me| Ok(out::line(&format!("{} at {}", out::clean(&describe(&me)), client.login.url))?))
}

fn describe(me: &Me) -> String {
    match (&me.id, &me.role, &me.device) {
        (Some(id), ..) => format!("{id} ({})", role(me.admin)),
        (None, Some(role), _) => format!("token `{}` ({role})", me.username),
        (None, None, Some(device)) => format!("device {device}"),
        (None, None, None) => me.username.clone(),
    }
}

/// Logs in with a password. An administrator gets a token, so that the login lasts; others a session, which lasts ten minutes.
pub fn login(url: &str, user: &str) -> Done {
    let url = node_url(url)?;
    let client = |token| Client::new(Login { url: url.clone(), token });
    let password = ask_secret(&format!("password of {user}: "))?;
    let body = json!({ "username": user, "password": password }).to_string();
    let headers = [("content-type", "application/json"), ("accept", "application/json")];
    let answer = client(None).call("POST", "/api/v2/auth/token", &headers, body.as_bytes())?;
    let session: String =
        answer.into_body().read_json().map_err(|e| Failure::because(format!("did not understand the answer of {url}"), &e))?;
    let client = client(Some(session.clone()));
    let me: Me = client.get("/api/v2/users/me")?;
    let mut logins = Logins::load()?;
    if me.admin {
        let wanted = json!({ "name": format!("login of {user}"), "role": "admin" });
        let made: Value = client.ask("POST", "/api/v1/tokens", Some(&wanted))?;
        logins.save(&url, made["secret"].as_str().unwrap_or_default())?;
        eprintln!(
            "logged in to {url} as {user} with a token of its own, which `tawi tokens list` shows; saved in {}",
            logins.path().display()
        );
    } else {
        logins.save(&url, &session)?;
        eprintln!("logged in to {url} as {user} for ten minutes; saved in {}", logins.path().display());
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn everybody_is_named_by_what_they_are() {
        let me = |answer: Value| describe(&serde_json::from_value(answer).unwrap());
        assert_eq!(me(json!({ "id": "ada", "username": "ada", "admin": true })), "ada (admin)");
        assert_eq!(me(json!({ "username": "ci", "token": "k7Qx2mPa", "role": "deploy", "admin": false })), "token `ci` (deploy)");
        assert_eq!(me(json!({ "username": "pump", "device": "pump", "admin": false })), "device pump");
        assert_eq!(me(json!({ "username": "guest", "admin": false })), "guest");
    }
}
