//! From what somebody shows at a door to who it is: the same for HTTP and MQTT.

use super::{
    AccountError, DeviceClaims, DeviceSecrets, Principal, Tokens, Users,
    attempts::Attempts,
    policy::{Identity, Role},
    remembered::Remembered,
    secret,
    session::{Claims, Sessions},
    user::User,
};
use crate::{
    model::{
        Id, Micros, Tenant,
        limit::{LOGIN_FAILURES_MAX, LOGIN_UNKNOWN_WINDOWS_MAX, LOGIN_WINDOW_SECONDS, PASSWORD_BYTES_MAX},
    },
    records::Records,
};
use std::{
    hash::{BuildHasher, RandomState},
    time::Duration,
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// How long changes gather before those who stay long are looked at again.
const GATHER: Duration = Duration::from_millis(100);

/// What somebody shows.
#[derive(Clone, Copy)]
pub enum Shown<'a> {
    Nothing,
    /// A session, or a token of the node.
    Bearer(&'a str),
    /// A user and a password or a session; a device and a secret of it; any name and a token of the node.
    Pair {
        name: &'a str,
        password: &'a str,
    },
}

/// Somebody who showed enough, and what it was, for who looks again later ([`Identify::is_still`]).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    pub who: Principal,
    proof: Proof,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Proof {
    Nothing,
    /// A token of the node: who it is says which one.
    Token,
    /// A password of this generation, or a session that came of it.
    Password(i64),
    /// The device's secret with this id.
    Secret(String),
}

/// Why somebody is not let in.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    #[error("guests are not allowed here; say who you are")]
    NoGuests,
    /// Whatever it is that is wrong.
    #[error("the token, or the name and password, is wrong")]
    Wrong,
    #[error("the password has to be shown again")]
    Ended,
    #[error("too many wrong passwords for this name; wait {0} s")]
    TooOften(u64),
    #[error(transparent)]
    Failed(#[from] AccountError),
}

/// Knows who may come in. Cheap to clone.
#[derive(Clone)]
pub struct Identify {
    pub users: Users,
    pub secrets: DeviceSecrets,
    pub claims: DeviceClaims,
    tokens: Tokens,
    sessions: Sessions,
    failures: Attempts,
    /// Which of their windows a name counts in that nobody has: nobody outside knows.
    unknown: RandomState,
    remembered: Remembered,
    tenant: Tenant,
    guests: bool,
}

impl Identify {
    /// `secret` is the node's: nodes of one log that share it take each other's sessions.
    pub fn new(records: Records, tokens: Tokens, secret: &[u8; 32], tenant: &Tenant, guests: bool) -> Result<Identify, AccountError> {
        let mut random = [0; 32];
        getrandom::fill(&mut random).map_err(AccountError::Random)?;
        Ok(Identify {
            users: Users::new(records.clone()),
            secrets: DeviceSecrets::new(records.clone()),
            claims: DeviceClaims::new(records),
            tokens,
            sessions: Sessions::new(secret, tenant)?,
            failures: Attempts::new(LOGIN_FAILURES_MAX, LOGIN_WINDOW_SECONDS),
            unknown: RandomState::new(),
            remembered: Remembered::new(&random),
            tenant: tenant.clone(),
            guests,
        })
    }

    /// Who it is. Hashes a password only where it has to.
    pub async fn who(&self, shown: Shown<'_>, now: Micros) -> Result<Known, Refused> {
        if let Some(known) = self.at_once(shown, now) {
            return known;
        }
        let Shown::Pair { name, password } = shown else { return Err(Refused::Wrong) };
        let user = self.login(name, password, now).await?;
        Ok(self.user(user))
    }

    /// The same for what takes no time. None: it is a name and a password.
    pub fn at_once(&self, shown: Shown<'_>, now: Micros) -> Option<Result<Known, Refused>> {
        match shown {
            Shown::Nothing => Some(self.guest()),
            Shown::Bearer(text) | Shown::Pair { password: text, .. } if secret::is_token(text) => Some(self.token(text)),
            Shown::Bearer(text) => Some(self.session(text, now)),
            Shown::Pair { name, password } if secret::is_device_secret(password) => Some(self.device(name, password)),
            Shown::Pair { name, password } if super::session::looks_like_one(password) => {
                let of_user =
                    |known: Known| known.who.user().is_some_and(|user| user.as_str() == name).then_some(known).ok_or(Refused::Wrong);
                Some(self.session(password, now).and_then(of_user))
            }
            Shown::Pair { .. } => None,
        }
    }

    /// Whether what somebody shows may open this node's door, so that it is nobody else's business: what is one of its credentials or has the form
    /// of one, and every password beside the name of a user or a device, right or wrong. Hashes nothing.
    pub fn is_for_us(&self, shown: Shown<'_>, now: Micros) -> bool {
        let is_ours = |text: &str| secret::is_token(text) || secret::is_device_secret(text) || self.sessions.check(text, now).is_some();
        match shown {
            Shown::Nothing => false,
            Shown::Bearer(text) => is_ours(text),
            // What can't be looked up is not handed on.
            Shown::Pair { name, password } => is_ours(password) || Id::new(name).is_ok_and(|name| self.has_name(&name).unwrap_or(true)),
        }
    }

    fn has_name(&self, name: &Id) -> Result<bool, AccountError> {
        Ok(self.users.get(name)?.is_some() || self.secrets.is_registered(name)?)
    }

    fn guest(&self) -> Result<Known, Refused> {
        let who = Principal::Guest { tenant: self.tenant.clone() };
        self.guests.then_some(Known { who, proof: Proof::Nothing }).ok_or(Refused::NoGuests)
    }

    fn token(&self, text: &str) -> Result<Known, Refused> {
        let identity = self.tokens.check(text).ok_or(Refused::Wrong)?;
        Ok(Known { who: Principal::Token(identity), proof: Proof::Token })
    }

    fn session(&self, text: &str, now: Micros) -> Result<Known, Refused> {
        self.claims_of(text, now).map(|(user, _)| self.user(user))
    }

    fn claims_of(&self, session: &str, now: Micros) -> Result<(User, Claims), Refused> {
        let claims = self.sessions.check(session, now).ok_or(Refused::Wrong)?;
        let user = self.users.get(&claims.sub)?.filter(|user| user.generation == claims.generation);
        user.map(|user| (user, claims)).ok_or(Refused::Wrong)
    }

    fn device(&self, name: &str, secret: &str) -> Result<Known, Refused> {
        let id = Id::new(name).map_err(|_| Refused::Wrong)?;
        let shown = self.secrets.check(&id, secret)?.ok_or(Refused::Wrong)?;
        Ok(Known { who: Principal::Device { tenant: self.tenant.clone(), id }, proof: Proof::Secret(shown) })
    }

    fn user(&self, user: User) -> Known {
        let who = Principal::User { tenant: self.tenant.clone(), id: user.id, admin: user.admin };
        Known { who, proof: Proof::Password(user.generation) }
    }

    /// The user with this name and password. A name that nobody has is refused as a wrong password is, and after as long.
    async fn login(&self, name: &str, password: &str, now: Micros) -> Result<User, Refused> {
        // What can't be a name is counted as one, so that it costs the same.
        let id = Id::new(name).unwrap_or_else(|_| super::user::nobody());
        // Nobody's, and nothing is hashed for it: counted, it would keep others out for nothing.
        if password.len() > PASSWORD_BYTES_MAX {
            return Err(Refused::Wrong);
        }
        let user = self.users.get(&id)?;
        let counted = if user.is_some() { id.to_string() } else { self.window_of_unknown(&id) };
        if let Some(user) = user.filter(|user| self.remembered.is_right(&id, password, user.generation, now)) {
            return Ok(user);
        }
        self.failures.begin(&counted, now).map_err(Refused::TooOften)?;
        match self.users.with_password(&id, password).await {
            Ok(Some(user)) => {
                self.failures.succeeded(&counted);
                self.remembered.remember(&id, password, user.generation, now);
                Ok(user)
            }
            Ok(None) => Err(Refused::Wrong),
            // Nothing was tried.
            Err(error) => {
                self.failures.undo(&counted);
                Err(error.into())
            }
        }
    }

    /// Names that nobody has share a number of windows, so that there is no end of the ones but of the others, and each name is still refused as
    /// often as one that somebody has.
    pub(super) fn window_of_unknown(&self, name: &Id) -> String {
        // No name has a slash in it.
        format!("/{}", self.unknown.hash_one(name) % LOGIN_UNKNOWN_WINDOWS_MAX)
    }

    /// A session for who shows a name and a password.
    pub async fn begin(&self, name: &str, password: &str, now: Micros) -> Result<String, Refused> {
        let user = self.login(name, password, now).await?;
        Ok(self.sessions.begin(&user.id, user.generation, now)?)
    }

    /// Another session for who shows one that is good.
    pub fn renew(&self, session: &str, now: Micros) -> Result<String, Refused> {
        let (_, claims) = self.claims_of(session, now)?;
        self.sessions.renew(&claims, now)?.ok_or(Refused::Ended)
    }

    /// Whether the password is the user's: before it is changed, say. Counted as a login is.
    pub async fn has_password(&self, user: &Id, password: &str, now: Micros) -> Result<(), Refused> {
        self.login(user.as_str(), password, now).await.map(drop)
    }

    /// Whether what somebody showed is still good, for who stays longer than a request. A ledger that can't be read changes nothing.
    pub fn is_still(&self, known: &Known) -> bool {
        match (&known.proof, &known.who) {
            (Proof::Nothing, _) => self.guests,
            (Proof::Token, Principal::Token(identity)) => self.tokens.is_valid(identity),
            (Proof::Password(generation), Principal::User { id, admin, .. }) => {
                self.users.get(id).map_or(true, |user| user.is_some_and(|user| user.generation == *generation && user.admin == *admin))
            }
            (Proof::Secret(secret), Principal::Device { id, .. }) => self.secrets.has(id, secret).unwrap_or(true),
            (Proof::Token | Proof::Password(_) | Proof::Secret(_), _) => false,
        }
    }

    /// Moves whenever somebody may have ceased to be who they were, on this node or another: then ask [`Identify::is_still`].
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.tokens.revocations()
    }

    /// Follows the log for [`Identify::changes`] until `stop`.
    pub async fn run(&self, stop: CancellationToken) {
        let (mut head, mut seen) = (self.users.records().head(), None);
        loop {
            let version = self.users.records().version().ok();
            if version.is_some() && version != seen {
                self.tokens.something_changed();
                seen = version;
            }
            let grown = async {
                // Gone: then nothing comes any more.
                if head.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
                tokio::time::sleep(GATHER).await;
            };
            tokio::select! {
                () = grown => {}
                () = stop.cancelled() => return,
            }
        }
    }
}

impl Known {
    /// As the bearer of a token: an administrator may what an admin token may.
    pub fn identity(&self) -> Option<Identity> {
        match &self.who {
            Principal::Token(identity) => Some(identity.clone()),
            Principal::User { tenant, id, admin: true } => {
                Some(Identity { tenant: tenant.clone(), token: format!("user:{id}"), name: id.to_string(), role: Role::Admin })
            }
            Principal::User { .. } | Principal::Guest { .. } | Principal::Device { .. } => None,
        }
    }
}
