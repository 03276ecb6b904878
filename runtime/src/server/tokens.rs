//! Tokens, for who administers them.

use super::{
    AppState, Problem,
    auth::Caller,
    event::time,
    request::{Path, json},
};
use crate::{
    clock,
    identity::{Action, Role, Token},
    model::AppId,
};
use axum::{Json, body::Body, extract::State};
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json as object};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    name: String,
    /// `admin`, `deploy`, `read` or `send`.
    role: String,
    /// The app of a deploy token.
    #[serde(default)]
    app: Option<String>,
}

/// `GET /api/v1/tokens`: without their secrets, which nobody keeps.
pub async fn list(State(state): State<AppState>, caller: Caller) -> Result<Json<Value>, Problem> {
    caller.may(Action::Administer)?;
    Ok(Json(state.tokens.list(&caller.0.tenant).iter().map(show).collect()))
}

fn show(token: &Token) -> Value {
    let app = match &token.role {
        Role::Deploy { app } => Some(app),
        Role::Admin | Role::Read | Role::Send => None,
    };
    object!({ "id": token.id, "name": token.name, "role": token.role.name(), "app": app, "created": time(token.created) })
}

/// `POST /api/v1/tokens {"name": "ci", "role": "deploy", "app": "fridge-alert"}`
pub async fn create(
    State(state): State<AppState>,
    caller: Caller,
    headers: HeaderMap,
    from: Body,
) -> Result<(StatusCode, Json<Value>), Problem> {
    caller.may(Action::Administer)?;
    let wanted: Wanted = json(&headers, from).await?;
    let role = role(&wanted)?;
    let (tokens, tenant) = (state.tokens.clone(), caller.0.tenant);
    let created = tokio::task::spawn_blocking(move || tokens.create(&tenant, &wanted.name, role, clock::now())).await?;
    let (token, secret) = created?;
    tracing::info!(token = token.id, role = %token.role, by = caller.0.name, "token created");
    let mut shown = show(&token);
    // Here and nowhere else.
    shown["secret"] = secret.into();
    Ok((StatusCode::CREATED, Json(shown)))
}

fn role(wanted: &Wanted) -> Result<Role, Problem> {
    match (wanted.role.as_str(), &wanted.app) {
        ("deploy", Some(app)) => {
            let app = AppId::check_name(app).map_err(|why| Problem::bad_request(why).field("app"))?;
            Ok(Role::Deploy { app })
        }
        ("deploy", None) => Err(Problem::bad_request("a deploy token is for one app: `app` is missing").field("app")),
        (_, Some(_)) => Err(Problem::bad_request("only a deploy token is for one app").field("app")),
        ("admin", None) => Ok(Role::Admin),
        ("read", None) => Ok(Role::Read),
        ("send", None) => Ok(Role::Send),
        (other, None) => Err(Problem::bad_request(format!("`{other}` is none of admin, deploy, read, send")).field("role")),
    }
}

/// `DELETE /api/v1/tokens/{token}`
pub async fn revoke(State(state): State<AppState>, caller: Caller, path: Path) -> Result<StatusCode, Problem> {
    caller.may(Action::Administer)?;
    let (tokens, tenant, id) = (state.tokens.clone(), caller.0.tenant, path.text("token").to_owned());
    let asked = id.clone();
    if !tokio::task::spawn_blocking(move || tokens.revoke(&tenant, &asked)).await?? {
        return Err(Problem::unknown("unknown-token", format!("there is no token with the id `{id}`")).field("token"));
    }
    tracing::info!(token = id, by = caller.0.name, "token revoked");
    Ok(StatusCode::NO_CONTENT)
}
