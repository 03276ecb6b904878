//! Users, in the shape of the WAZIUP API.
//!
//! There, whoever asks sees everybody's mail and telephone. Here a user sees herself, an administrator everybody, and the others see names.

use super::input::Scalar;
use super::{
    super::{
        AppState, Problem,
        auth::Asker,
        request::{Params, Path, blocking, json},
    },
    answer::{end, window},
};
use crate::{
    clock,
    identity::{NewUser, Principal, Profile, Role, User},
    model::Id,
};
use axum::{Json, body::Body, extract::State};
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json as object};

/// What is sent to make a user: a user as it is shown, with a password.
#[derive(Deserialize)]
pub struct Wanted {
    username: Option<Id>,
    id: Option<Id>,
    password: Option<String>,
    admin: Option<bool>,
    sms_credit: Option<u32>,
    #[serde(flatten)]
    profile: Profile,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewPassword {
    password: String,
    /// The one so far, of who changes her own.
    old: Option<String>,
}

/// How much of others somebody sees.
#[derive(Clone, Copy, PartialEq)]
enum Sight {
    All,
    Names,
}

fn sight(who: &Principal) -> Result<Sight, Problem> {
    match who {
        _ if who.is_admin() => Ok(Sight::All),
        Principal::User { .. } => Ok(Sight::Names),
        Principal::Token(identity) if identity.role == Role::Read => Ok(Sight::Names),
        _ => Err(Problem::forbidden("only users see who the users are")),
    }
}

fn show(user: &User, who: &Principal, sight: Sight) -> Value {
    if sight == Sight::Names && who.user() != Some(&user.id) {
        return object!({ "id": user.id, "username": user.id });
    }
    let mut shown = object!({
        "id": user.id, "username": user.id, "admin": user.admin, "sms_credit": user.sms_credit,
        "email_confirmed": user.email_confirmed,
        "date_created": user.date_created.to_string(), "date_modified": user.date_modified.to_string(),
    });
    if let (Some(shown), Ok(Value::Object(profile))) = (shown.as_object_mut(), serde_json::to_value(&user.profile)) {
        shown.extend(profile);
    }
    shown
}

/// `GET /api/v2/users?limit&offset&username`: those whose name contains `username`.
pub async fn list(State(state): State<AppState>, Asker(who): Asker, mut params: Params) -> Result<Json<Value>, Problem> {
    let sight = sight(&who)?;
    let (limit, offset) = window(&mut params)?;
    let containing = params.text("username").unwrap_or_default();
    end(params)?;
    let found = blocking(&state, move |state| Ok(state.identify.users.list(&containing, limit, offset)?.0)).await?;
    Ok(Json(found.iter().map(|user| show(user, &who, sight)).collect()))
}

/// `POST /api/v2/users`: the name of the new user, as JSON. Who is no administrator makes one without role and credit.
pub async fn create(State(state): State<AppState>, Asker(who): Asker, headers: HeaderMap, from: Body) -> Result<Json<Value>, Problem> {
    let wanted: Wanted = json(&headers, from).await?;
    let id = wanted.username.or(wanted.id).ok_or_else(|| Problem::bad_request("`username` is missing").field("username"))?;
    let user = NewUser {
        id,
        admin: wanted.admin.unwrap_or_default(),
        profile: wanted.profile,
        sms_credit: wanted.sms_credit.unwrap_or_default(),
        password: wanted.password,
    };
    let made = match &who {
        _ if who.is_admin() => state.identify.users.create(user, clock::now()).await?,
        Principal::Guest { .. } | Principal::User { .. } => state.identify.users.register(user, clock::now()).await?,
        Principal::Token(_) | Principal::Device { .. } => return Err(Problem::forbidden("this token makes no users")),
    };
    tracing::info!(user = %made.id, admin = made.admin, "user created");
    Ok(Json(object!(made.id)))
}

/// `GET /api/v2/users/me`: who asks, whoever that is.
pub async fn me(State(state): State<AppState>, Asker(who): Asker) -> Result<Json<Value>, Problem> {
    Ok(Json(match &who {
        Principal::User { id, .. } => show(&user(&state, id)?, &who, Sight::All),
        Principal::Guest { .. } => object!({ "username": "guest", "first_name": "guest", "last_name": "guest", "admin": false }),
        Principal::Token(identity) => {
            object!({ "username": identity.name, "token": identity.token, "role": identity.role.name(), "admin": who.is_admin() })
        }
        Principal::Device { id, .. } => object!({ "username": id, "device": id, "admin": false }),
    }))
}

/// `GET /api/v2/users/{user}`
pub async fn show_one(State(state): State<AppState>, Asker(who): Asker, path: Path) -> Result<Json<Value>, Problem> {
    let sight = sight(&who)?;
    Ok(Json(show(&user(&state, &path.id("user")?)?, &who, sight)))
}

fn user(state: &AppState, id: &Id) -> Result<User, Problem> {
    Ok(state.identify.users.get(id)?.ok_or_else(|| crate::identity::AccountError::Unknown(id.clone()))?)
}

/// `PUT /api/v2/users/{user}/sms_credit`, a number
pub async fn set_sms_credit(
    State(state): State<AppState>,
    Asker(who): Asker,
    path: Path,
    headers: HeaderMap,
    from: Body,
) -> Result<StatusCode, Problem> {
    if !who.is_admin() {
        return Err(Problem::forbidden("only an administrator gives credit"));
    }
    let credit: u32 = json(&headers, from).await?;
    state.identify.users.set_sms_credit(&path.id("user")?, credit, clock::now()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `PUT /api/v2/users/{user}/email`, a JSON text, or `null` for none: from then on mail goes there.
pub async fn set_email(
    State(state): State<AppState>,
    Asker(who): Asker,
    path: Path,
    headers: HeaderMap,
    from: Body,
) -> Result<StatusCode, Problem> {
    if !who.is_admin() {
        return Err(Problem::forbidden("only an administrator says where a user gets mail"));
    }
    let email = Scalar::read(&headers, from).await?.text("email")?;
    state.identify.users.set_email(&path.id("user")?, email, clock::now()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `DELETE /api/v2/users/{user}`: by an administrator, or the user.
pub async fn delete(State(state): State<AppState>, Asker(who): Asker, path: Path) -> Result<StatusCode, Problem> {
    let id = path.id("user")?;
    if !who.is_admin() && who.user() != Some(&id) {
        return Err(Problem::forbidden("only an administrator deletes other users"));
    }
    state.identify.users.delete(&id, clock::now()).await?;
    tracing::info!(user = %id, "user deleted");
    Ok(StatusCode::NO_CONTENT)
}

/// `PUT /api/v2/users/{user}/password {"password", "old"}`: an administrator needs no old one but her own. Ends the user's sessions.
pub async fn set_password(
    State(state): State<AppState>,
    Asker(who): Asker,
    path: Path,
    headers: HeaderMap,
    from: Body,
) -> Result<StatusCode, Problem> {
    let (id, new): (Id, NewPassword) = (path.id("user")?, json(&headers, from).await?);
    let is_self = who.user() == Some(&id);
    if !is_self && !who.is_admin() {
        return Err(Problem::forbidden("only an administrator sets the passwords of others"));
    }
    if is_self {
        let old = new.old.ok_or_else(|| Problem::bad_request("`old`, the password so far, is missing").field("old"))?;
        state.identify.has_password(&id, &old, clock::now()).await?;
    }
    state.identify.users.set_password(&id, new.password, clock::now()).await?;
    tracing::info!(user = %id, "password set");
    Ok(StatusCode::NO_CONTENT)
}
