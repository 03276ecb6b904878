//! Tokens.

use super::{Context, text};
use crate::{
    args::{Role, Tokens},
    client::segment,
    failure::{Done, Failure},
    login::Logins,
    out::{self, Table},
    when,
};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
struct Token {
    id: String,
    name: String,
    role: String,
    app: Option<String>,
    created: String,
}

pub fn run(context: &Context, command: Tokens) -> Done {
    let client = context.client()?;
    match command {
        Tokens::List => context.show(client.get("/api/v1/tokens")?, |tokens: Vec<Token>| {
            let mut table = Table::new(["ID", "ROLE", "APP", "CREATED", "NAME"]);
            for token in tokens {
                table.row([token.id, token.role, text(token.app.as_deref()), when::short(&token.created), token.name]);
            }
            Ok(table.print("no tokens")?)
        }),
        Tokens::Create { name, role } => {
            let body = json!({ "name": name, "role": word(&role), "app": role.deploy });
            let answer: Value = client.ask("POST", "/api/v1/tokens", Some(&body))?;
            if context.global.json {
                return Ok(out::json(&answer)?);
            }
            // The secret alone on standard output: `TAWI_TOKEN=$(tawi tokens create …)`.
            out::line(answer["secret"].as_str().unwrap_or_default())?;
            eprintln!("this is the only time it is shown; its id is {}", answer["id"].as_str().unwrap_or_default());
            Ok(())
        }
        Tokens::Show => {
            let login = Logins::load()?.choose(context.global.url.as_deref(), context.token.as_deref());
            let hint = "`tawi login URL` saves one";
            let token = login.token.ok_or_else(|| Failure::new(format!("no token is known for the node at {}", login.url)).hint(hint))?;
            Ok(out::line(&token)?)
        }
        Tokens::Revoke { id } => {
            client.tell("DELETE", &format!("/api/v1/tokens/{}", segment(&id)), None)?;
            eprintln!("revoked {id}");
            Ok(())
        }
    }
}

fn word(role: &Role) -> &'static str {
    match role {
        Role { admin: true, .. } => "admin",
        Role { deploy: Some(_), .. } => "deploy",
        Role { read: true, .. } => "read",
        _ => "send",
    }
}
