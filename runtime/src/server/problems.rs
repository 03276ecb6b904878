//! The errors of the rooms as problems: one place that says which fault is whose.

use super::Problem;
use crate::{
    deploy::StoreError,
    devices::{DevicesError, RegistryError},
    history::{HistoryError, HistoryErrorKind},
    identity::{AccountError, IdentityError, Refused},
    ingest::{BodyError, BodyErrorKind, IngestError},
    ledger::{ErrorKind, LedgerError},
    notify::NotifyError,
    records::RecordsError,
};

impl From<BodyError> for Problem {
    fn from(error: BodyError) -> Problem {
        let mut problem = match error.kind {
            BodyErrorKind::Malformed => Problem::bad_request(error.to_string()),
            BodyErrorKind::TooLarge => Problem::too_large(error.to_string()),
        };
        problem.line = error.line.and_then(|line| u32::try_from(line).ok());
        problem.field = error.field.map(Into::into);
        problem
    }
}

impl From<LedgerError> for Problem {
    fn from(error: LedgerError) -> Problem {
        match error.kind() {
            ErrorKind::Full => Problem::full(error.to_string()),
            ErrorKind::TooLarge => Problem::too_large(error.to_string()),
            ErrorKind::Busy | ErrorKind::Unavailable | ErrorKind::Closed | ErrorKind::Unknown => Problem::unavailable(error.to_string()),
            ErrorKind::Storage => Problem::internal(&error),
        }
    }
}

impl From<IngestError> for Problem {
    fn from(error: IngestError) -> Problem {
        match error {
            IngestError::UnknownDevice(_) => Problem::unknown("unknown-device", error.to_string()).field("device"),
            IngestError::UnknownSensor { .. } => Problem::unknown("unknown-sensor", error.to_string()).field("sensor"),
            IngestError::NoRoom(_) => Problem::conflict(error.to_string()).field("device"),
            IngestError::TooFarAhead(ahead) => Problem::bad_request(ahead.to_string()).field("timestamp"),
            IngestError::Ledger(error) => error.into(),
            IngestError::KeyReused | IngestError::KeyForgotten => Problem::key_reused(error.to_string())
                .field("idempotency-key")
                .hint("a new key for each new request, the same for each repeat of it"),
            IngestError::Undecoded(_) => {
                Problem::new(http::StatusCode::UNPROCESSABLE_ENTITY, "undecodable", "The uplink can't be decoded", error.to_string())
                    .hint("mend the codec, or set `meta.codec` of its device to another; the dead letter stays")
            }
            IngestError::NoLetter => Problem::unknown("unknown-dead-letter", error.to_string()),
            IngestError::Busy | IngestError::Stopped | IngestError::TakenOver => Problem::unavailable(error.to_string()),
        }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Problem {
        match &error {
            StoreError::NoApp(_) => Problem::unknown("unknown-app", error.to_string()),
            StoreError::NoRelease { .. } => Problem::unknown("unknown-release", error.to_string()),
            StoreError::Invalid(_) => Problem::bad_request(error.to_string()),
            _ if error.is_full() => Problem::full(error.to_string()),
            _ => Problem::internal(&error),
        }
    }
}

impl From<HistoryError> for Problem {
    fn from(error: HistoryError) -> Problem {
        match error.kind() {
            HistoryErrorKind::Query => Problem::bad_request(error.to_string()).field("q"),
            HistoryErrorKind::Busy => Problem::unavailable(error.to_string()),
            HistoryErrorKind::Slow => Problem::too_slow(error.to_string()).hint("narrow it with `from` and `to`, or name a device"),
            HistoryErrorKind::Storage => Problem::internal(&error),
        }
    }
}

impl From<DevicesError> for Problem {
    fn from(error: DevicesError) -> Problem {
        Problem::internal(&error)
    }
}

impl From<RegistryError> for Problem {
    fn from(error: RegistryError) -> Problem {
        match error {
            RegistryError::Unknown { what, .. } => Problem::unknown(unknown(what), error.to_string()).field(what),
            RegistryError::Exists { .. } => Problem::exists(error.to_string()).field("id"),
            RegistryError::Forbidden { .. } => Problem::forbidden(error.to_string()),
            RegistryError::Invalid { field, .. } => Problem::bad_request(error.to_string()).field(field),
            RegistryError::Full { .. } => Problem::conflict(error.to_string()),
            RegistryError::Share { .. } => {
                Problem::conflict(error.to_string()).hint("delete some that nobody needs, or let an administrator register them")
            }
            RegistryError::TooSlow => {
                let hint = "ask for fewer values in one condition, or put first the condition that the fewest devices meet";
                Problem::too_slow(error.to_string()).field("q").hint(hint)
            }
            RegistryError::Rule(error) => error.into(),
            RegistryError::Records(error) => error.into(),
            RegistryError::Devices(error) => error.into(),
        }
    }
}

fn unknown(what: &str) -> &'static str {
    match what {
        "device" => "unknown-device",
        "sensor" => "unknown-sensor",
        "actuator" => "unknown-actuator",
        "gateway" => "unknown-gateway",
        "project" => "unknown-project",
        _ => "unknown",
    }
}

impl From<IdentityError> for Problem {
    fn from(error: IdentityError) -> Problem {
        match error {
            IdentityError::Name => Problem::bad_request(error.to_string()).field("name"),
            IdentityError::TooMany | IdentityError::LastAdmin(..) => Problem::conflict(error.to_string()),
            _ => Problem::internal(&error),
        }
    }
}

impl From<RecordsError> for Problem {
    fn from(error: RecordsError) -> Problem {
        match error {
            RecordsError::Ledger(error) => error.into(),
            RecordsError::Busy => Problem::unavailable(error.to_string()),
            RecordsError::TooMany => Problem::too_large(error.to_string()),
            RecordsError::Format { .. } => Problem::internal(&error),
        }
    }
}

impl From<AccountError> for Problem {
    fn from(error: AccountError) -> Problem {
        use AccountError as E;
        match error {
            E::Unknown(_) => Problem::unknown("unknown-user", error.to_string()).field("user"),
            E::Exists(_) | E::Gone(_) => Problem::exists(error.to_string()).field("username"),
            E::Invalid { field, .. } => Problem::bad_request(error.to_string()).field(field),
            E::LastAdmin(_) | E::TooManyUsers | E::TooManySecrets(_) | E::TooManyClaims => Problem::conflict(error.to_string()),
            E::TooManyRegistrations(seconds) => Problem::too_often(error.to_string(), seconds),
            E::UnknownClaim => Problem::unknown("unknown-claim", error.to_string()).field("code"),
            E::Busy => Problem::unavailable(error.to_string()),
            E::Records(error) => error.into(),
            E::Random(_) | E::Hash(_) | E::Sign(_) => Problem::internal(&error),
        }
    }
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Problem {
        match refused {
            Refused::NoGuests => Problem::no_token(),
            Refused::Wrong => Problem::bad_token(),
            Refused::Ended => Problem::bad_token().hint("log in with name and password again"),
            Refused::TooOften(seconds) => Problem::too_often(refused.to_string(), seconds),
            Refused::Failed(error) => error.into(),
        }
    }
}

impl From<NotifyError> for Problem {
    fn from(error: NotifyError) -> Problem {
        match error {
            NotifyError::Unknown { what: "message", .. } => Problem::unknown("unknown-message", error.to_string()).field("social"),
            NotifyError::Unknown { .. } => Problem::unknown("unknown-notification", error.to_string()).field("notification"),
            NotifyError::Forbidden(why) => Problem::forbidden(why),
            NotifyError::Invalid { field, .. } => Problem::bad_request(error.to_string()).field(field),
            NotifyError::Full { .. } => Problem::conflict(error.to_string()),
            NotifyError::Records(error) => error.into(),
            NotifyError::Ledger(error) => error.into(),
            NotifyError::Random(_) | NotifyError::Task(_) => Problem::internal(&error),
        }
    }
}

impl From<tokio::task::JoinError> for Problem {
    /// A blocking piece of a request panicked, or the node is stopping.
    fn from(error: tokio::task::JoinError) -> Problem {
        Problem::internal(&error)
    }
}
