//! Uplinks: bytes of a device -> the codec that the device names -> readings, or a dead letter that can be decoded again.

use super::{
    Ingest, IngestError, RepeatKey, Stored, Turns,
    payload::{Builtin, NetworkUplink},
};
use crate::{
    devices::registry::Known,
    ledger::{Append, DeadLetter, Dedup, LedgerError, Op, Outcome, Undecoded},
    model::{
        AppId, Decoded, FunctionId, Id, Measurement, NewEvent, Seq, Tenant, Uplink,
        payload::{BodyError, fits},
        uplink::CODEC,
    },
    preprocess::{self, Envelope, Sample},
};
use futures::future::BoxFuture;
use std::sync::Arc;

/// Has an app decode an uplink: `dispatch::Dispatch::decode`.
pub type Codecs = Arc<dyn Fn(AppId, Option<Id>, Uplink) -> BoxFuture<'static, Option<Decoded>> + Send + Sync>;

/// Where no app decodes.
pub(super) fn no_codecs() -> Codecs {
    Arc::new(|_, _, _| Box::pin(async { Some(Decoded::silently(Err("no app decodes here".to_owned()))) }))
}

/// An uplink at the door.
#[derive(Debug, Clone)]
pub struct Arrival {
    pub tenant: Tenant,
    pub uplink: Uplink,
    pub repeat: Option<RepeatKey>,
    /// What is known of it where its device names no codec.
    pub otherwise: Otherwise,
}

#[derive(Debug, Clone)]
pub enum Otherwise {
    Nothing,
    /// By its content type.
    Builtin(Builtin),
    /// By the network server.
    Decoded(Result<Vec<Measurement>, BodyError>),
}

/// What became of an uplink. Either way it is durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    pub stored: Stored,
    pub undecoded: Option<Why>,
}

/// Why it is a dead letter, and under what name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Why {
    pub function: FunctionId,
    pub error: String,
}

/// Dead letters of devices that name no codec are under this app.
pub const NO_CODEC: &str = "uplink";

impl Ingest {
    pub fn with_codecs(self, codecs: Codecs) -> Ingest {
        Ingest { codecs, ..self }
    }

    /// Takes an uplink: readings of its device, or a dead letter. When it returns Ok either is synced.
    pub async fn uplink(&self, arrival: Arrival) -> Result<Taken, IngestError> {
        let Arrival { tenant, uplink, repeat, otherwise } = arrival;
        self.check_device(&tenant, &uplink.device)?;
        let named = self.named_codec(&tenant, &uplink.device);
        let codec = Codec::of(named.as_deref(), otherwise);
        let function = codec.function(&tenant);
        let decoded = self.decode(codec, &tenant, &uplink).await?;
        let dedup = repeat.map(|RepeatKey(key)| Dedup { key, now: uplink.received });
        let append = |events| Append { tenant: tenant.clone(), events, dedup: dedup.clone(), intake: None };
        let (error, said) = match self.readings(&tenant, &uplink, decoded.result) {
            Ok(readings) => {
                let count = readings.len();
                let mut cleaned = self.clean(&tenant, readings).await?;
                let events: Vec<NewEvent> = std::mem::take(&mut cleaned.events).into_iter().chain(decoded.said).collect();
                if events.is_empty() {
                    return Ok(Taken { stored: Stored { seqs: Vec::new(), duplicate: false }, undecoded: None });
                }
                let (op, turns) = cleaned.op(append(events), None);
                match self.applied(op, turns, count).await {
                    // No repeat of it would be smaller: it is kept as it came.
                    Err(IngestError::Ledger(error @ LedgerError::TooLarge { .. })) => (format!("what it decodes to: {error}"), Vec::new()),
                    stored => return Ok(Taken { stored: stored?, undecoded: None }),
                }
            }
            Err(error) => (error, decoded.said),
        };
        let events = [uplink.event(&tenant, &function)].into_iter().chain(said).collect();
        let stored = self
            .applied(
                Op::Undecoded(Undecoded {
                    append: append(events),
                    function: function.clone(),
                    error: error.clone(),
                    log_tail: decoded.log_tail,
                    time: uplink.received,
                    release: decoded.release,
                }),
                Turns::default(),
                1,
            )
            .await?;
        // A repeat has the answer of the first: whether that could be decoded is not known any more.
        let undecoded = (!stored.duplicate).then_some(Why { function, error });
        Ok(Taken { stored, undecoded })
    }

    /// What a network server has passed on, for the device that its DevEUI stands for.
    pub async fn network_uplink(&self, tenant: Tenant, network: &str, passed_on: NetworkUplink) -> Result<Taken, IngestError> {
        let NetworkUplink { dev_eui, id, mut uplink, decoded } = passed_on;
        if let Some(device) = dev_eui.filter(|_| self.is_ours(&tenant)).and_then(|eui| self.registry.device_of_eui(&eui)) {
            uplink.device = device;
        }
        let repeat = id.map(|id| RepeatKey::uplink(network, &uplink, &id));
        let otherwise = decoded.map_or(Otherwise::Nothing, Otherwise::Decoded);
        self.uplink(Arrival { tenant, uplink, repeat, otherwise }).await
    }

    /// Tries a dead letter again that is one of an uplink. The readings come into the log once, in its place, as received then.
    pub async fn decode_again(&self, letter: &DeadLetter, uplink: Uplink) -> Result<Vec<Seq>, IngestError> {
        let (tenant, function) = (&letter.function.app.tenant, &letter.function);
        let named = self.named_codec(tenant, &uplink.device);
        let codec = Codec::of(named.as_deref().or(Some(function.app.app.as_str()).filter(|app| *app != NO_CODEC)), Otherwise::Nothing);
        let decoded = self.decode(codec, tenant, &uplink).await?;
        let readings = self.readings(tenant, &uplink, decoded.result).map_err(IngestError::Undecoded)?;
        let count = readings.len();
        // They are long past: judged by what their sensors said since, they are nothing by which the next reading should be judged.
        let cleaned = self.clean(tenant, readings).await?;
        // Lines are of now, and say nothing that a reading does.
        let events = cleaned.events.into_iter().chain(decoded.said).collect();
        match self.apply(Op::Decoded { function: function.clone(), seq: letter.seq, events }).await? {
            Outcome::Applied { seqs, .. } => {
                self.metrics.readings.inc_by(count as u64);
                Ok(seqs)
            }
            _ => Err(IngestError::NoLetter),
        }
    }

    fn is_ours(&self, tenant: &Tenant) -> bool {
        tenant == self.registry.tenant()
    }

    /// The `meta.codec` of a device.
    fn named_codec(&self, tenant: &Tenant, device: &Id) -> Option<String> {
        let device = self.registry.device(device).filter(|_| self.is_ours(tenant))?;
        Some(device.meta.get("codec")?.as_str()?.to_owned())
    }

    /// A device that nobody knows may be one from now on; its sensors come with what is decoded.
    fn check_device(&self, tenant: &Tenant, device: &Id) -> Result<(), IngestError> {
        match self.is_ours(tenant) && self.registry.device(device).is_some() {
            true => Ok(()),
            false if self.auto_register => self.registry.has_room(device).map_err(|full| IngestError::NoRoom(full.to_string())),
            false => Err(IngestError::UnknownDevice(device.clone())),
        }
    }

    /// As readings of the device, or why they are none.
    fn readings(&self, tenant: &Tenant, uplink: &Uplink, found: Result<Vec<Measurement>, String>) -> Result<Vec<NewEvent>, String> {
        let sample = |one: Measurement| {
            fits(one.value.len_bytes()).map_err(|e| e.to_string())?;
            // Who registered a device and its codec wants what the codec finds in it.
            if self.registry.knows(&uplink.device, &one.sensor) != Known::Sensor {
                self.registry.has_room(&uplink.device).map_err(|full| format!("`{}` would be a new sensor: {full}", one.sensor))?;
            }
            let measured = one.measured.or(uplink.measured);
            Ok(Sample { device: uplink.device.clone(), sensor: one.sensor, measured, value: one.value })
        };
        let samples = found?.into_iter().map(sample).collect::<Result<_, String>>()?;
        preprocess::readings(Envelope { tenant: tenant.clone(), received: uplink.received, samples }).map_err(|e| e.to_string())
    }

    async fn decode(&self, codec: Codec, tenant: &Tenant, uplink: &Uplink) -> Result<Decoded, IngestError> {
        match codec {
            // Pure and short: a payload is no longer than a value.
            Codec::Builtin(builtin) => Ok(Decoded::silently(builtin.decode(uplink).map_err(|error| said(&error)))),
            Codec::Decoded(decoded) => Ok(Decoded::silently(decoded.map_err(|error| said(&error)))),
            Codec::None(why) => Ok(Decoded::silently(Err(why))),
            Codec::App { app, name } => {
                let run = (self.codecs)(AppId::new(tenant.clone(), app), name, uplink.clone());
                run.await.ok_or(IngestError::Busy)
            }
        }
    }

    /// `count`: events of the operation that are of the device; the lines that its codec said come behind them.
    async fn applied(&self, op: Op, turns: Turns, count: usize) -> Result<Stored, IngestError> {
        let is_read = !matches!(op, Op::Undecoded(_));
        let (mut seqs, duplicate) = match self.apply_in_turn(op, (), turns).await? {
            Outcome::Applied { seqs, .. } => (seqs, false),
            // The key of an uplink has its bytes in it, so this is the same one.
            Outcome::Duplicate { seqs } => (seqs, true),
            other @ (Outcome::Conflict { .. } | Outcome::Missing) => unreachable!("an append came to {other:?}"),
        };
        seqs.truncate(count);
        if is_read && !duplicate {
            self.metrics.readings.inc_by(seqs.len() as u64);
        }
        Ok(Stored { seqs, duplicate })
    }
}

/// Who decodes.
enum Codec {
    Builtin(Builtin),
    App { app: Id, name: Option<Id> },
    Decoded(Result<Vec<Measurement>, BodyError>),
    None(String),
}

impl Codec {
    /// What the device names goes before what anybody else knows.
    fn of(named: Option<&str>, otherwise: Otherwise) -> Codec {
        match (named, otherwise) {
            (Some(named), _) => Codec::named(named),
            (None, Otherwise::Builtin(builtin)) => Codec::Builtin(builtin),
            (None, Otherwise::Decoded(decoded)) => Codec::Decoded(decoded),
            (None, Otherwise::Nothing) => Codec::None("its device names no codec: set `meta.codec`".to_owned()),
        }
    }

    /// `cayenne-lpp` and the like, `APP`, or `APP/NAME`.
    fn named(text: &str) -> Codec {
        if let Some(builtin) = Builtin::named(text) {
            return Codec::Builtin(builtin);
        }
        let (app, name) = text.split_once('/').map_or((text, None), |(app, name)| (app, Some(name)));
        let wrong = |why: String| Codec::None(format!("`meta.codec` of its device is neither a codec nor an app: {why}"));
        match (AppId::check_name(app), name.map(Id::new).transpose()) {
            (Ok(app), Ok(name)) => Codec::App { app, name },
            (Err(why), _) => wrong(why),
            (_, Err(why)) => wrong(why.to_string()),
        }
    }

    /// The name under which what it can't decode is kept.
    fn function(&self, tenant: &Tenant) -> FunctionId {
        let app = match self {
            Codec::Builtin(builtin) => builtin.name(),
            Codec::App { app, .. } => app.as_str(),
            Codec::Decoded(_) | Codec::None(_) => NO_CODEC,
        };
        // All of these are names that an app may have.
        let id = |text: &str| Id::new(text).unwrap_or_else(|e| unreachable!("{e}"));
        FunctionId { app: AppId::new(tenant.clone(), id(app)), function: id(CODEC) }
    }
}

fn said(error: &BodyError) -> String {
    match &error.field {
        Some(field) => format!("{field}: {error}"),
        None => error.to_string(),
    }
}

#[cfg(test)]
#[path = "uplink_tests.rs"]
mod tests;
