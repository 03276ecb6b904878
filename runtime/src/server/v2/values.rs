//! The values of a sensor: sent, and asked for.

use super::{
    super::{
        AppState, Problem,
        auth::Asker,
        readings::{refused, store},
        request::{Params, Path},
    },
    answer::{Answer, done, fresh, read},
    datapoints::{self, CALIBRATED, FROM, SORT, TO, Wanted},
    input,
    sensors::unknown,
    shape::ValueShape,
    table::{LIMIT, OFFSET, Routes, Says},
};
use crate::{
    clock,
    devices::{RegistryError, registry::Known},
    identity::{Deed, Principal},
    ingest::{Format, IngestError, parse},
    model::{Device, Id, Micros, Owned, Visibility, limit::INGEST_BODY_BYTES_MAX},
    preprocess::{self, Envelope, Sample},
};
use axum::{body::Body, extract::State};
use http::{HeaderMap, header};

pub fn routes() -> Routes {
    Routes::of("Values")
        .post(
            "/devices/{device}/sensors/{sensor}/value",
            one,
            Says::new("A value: `{\"value\", \"timestamp\"}`, any other JSON, a text, or bytes").takes_value().done(),
        )
        .post(
            "/devices/{device}/sensors/{sensor}/values",
            many,
            Says::new("Values, stored all or none").takes_list::<input::NewValue>().done(),
        )
        .get(
            "/devices/{device}/sensors/{sensor}/values",
            list,
            Says::new("What a sensor said, by when it was measured")
                .query(&[LIMIT, OFFSET, SORT, FROM, TO, CALIBRATED])
                .list_or_csv::<ValueShape>(),
        )
}

/// `POST …/value`
async fn one(State(state): State<AppState>, Asker(who): Asker, path: Path, headers: HeaderMap, from: Body) -> Answer {
    let (device, sensor) = target(&state, &who, &path).await?;
    let (body, _share) = refused(&state, state.bodies.read(&headers, from, INGEST_BODY_BYTES_MAX).await)?;
    let format = Format::of(headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()));
    let (measured, value) = refused(&state, parse::value(format, &body))?;
    let samples = vec![Sample { device: device.clone(), sensor: sensor.clone(), measured, value }];
    register(&state, &who, &device, &samples).await?;
    store(&state, who.tenant(), &sender_name(&who), samples, &["value", device.as_str(), sensor.as_str()], &headers).await
}

/// `POST …/values`
async fn many(State(state): State<AppState>, Asker(who): Asker, path: Path, headers: HeaderMap, from: Body) -> Answer {
    let (device, sensor) = target(&state, &who, &path).await?;
    let (body, _share) = refused(&state, state.bodies.read(&headers, from, INGEST_BODY_BYTES_MAX).await)?;
    let values = refused(&state, parse::values(&body))?;
    if values.is_empty() {
        return done();
    }
    let sample = |(measured, value)| Sample { device: device.clone(), sensor: sensor.clone(), measured, value };
    let samples: Vec<Sample> = values.into_iter().map(sample).collect();
    register(&state, &who, &device, &samples).await?;
    store(&state, who.tenant(), &sender_name(&who), samples, &["values", device.as_str(), sensor.as_str()], &headers).await
}

/// Where somebody may send values to, before a body is read for it.
async fn target(state: &AppState, who: &Principal, path: &Path) -> Result<(Id, Id), Problem> {
    let (device, sensor) = refused(state, path.id("device").and_then(|device| Ok((device, path.id("sensor")?))))?;
    let allowed = may_send(state, who, &device).await;
    refused(state, allowed)?;
    let allowed = may_add(state, who, &device, &sensor).await;
    refused(state, allowed)?;
    Ok((device, sensor))
}

/// A guest sends to the sensors that somebody's device has, and adds none to it.
async fn may_add(state: &AppState, who: &Principal, device: &Id, sensor: &Id) -> Result<(), Problem> {
    let is_there = || state.registry.knows(device, sensor) == Known::Sensor;
    if !matches!(who, Principal::Guest { .. }) || is_there() || state.registry.owned(device).is_none_or(|owned| owned.owner.is_none()) {
        return Ok(());
    }
    // It may have been heard a moment ago.
    fresh(state).await?;
    if is_there() { Ok(()) } else { Err(unknown(device, sensor)) }
}

async fn may_send(state: &AppState, who: &Principal, device: &Id) -> Result<(), Problem> {
    let registry = &state.registry;
    let mut allowed = registry.allows(who, Deed::CreateData, device);
    if allowed != Some(true) {
        // It may have been registered, or heard, a moment ago, on this node or another.
        fresh(state).await?;
        allowed = registry.allows(who, Deed::CreateData, device);
    }
    let auto_register = state.config.auto_register;
    match (allowed, who) {
        (Some(true), _) => Ok(()),
        (Some(false), _) => {
            registry.device_for(who, Deed::CreateData, device)?;
            Err(Problem::forbidden(format!("who asks may not send values to the device `{device}`")))
        }
        (None, Principal::Guest { .. }) => Err(nobodys(device)),
        (None, _) if !auto_register => Err(nobodys(device)),
        // Who may make it by sending.
        (None, Principal::User { .. }) => Ok(()),
        (None, who) => {
            let owned = Owned { owner: None, visibility: Visibility::Private };
            let of = crate::identity::Resource { kind: crate::identity::ResourceKind::Device, id: device, owned: &owned };
            match crate::identity::may(who, Deed::CreateData, of) {
                true => Ok(()),
                false => Err(Problem::forbidden(format!("who asks may not send values to the device `{device}`"))),
            }
        }
    }
}

fn nobodys(device: &Id) -> Problem {
    Problem::unknown("unknown-device", format!("there is no device `{device}`")).field("device")
}

/// A device that a user's first value makes is the user's: else it would belong to nobody, and the second value would be refused.
async fn register(state: &AppState, who: &Principal, device: &Id, samples: &[Sample]) -> Result<(), Problem> {
    if who.user().is_none() || who.is_admin() || state.registry.owned(device).is_some() {
        return Ok(());
    }
    let now = clock::now();
    // What is going to be refused makes no device.
    let envelope = Envelope { tenant: who.tenant().clone(), received: now, samples: samples.to_vec() };
    refused(state, preprocess::readings(envelope).map_err(IngestError::from))?;
    match state.registry.create_device(who, found(device.clone(), now), now).await {
        Ok(_) => Ok(()),
        // Somebody was faster: the same user, with another value, or not.
        Err(RegistryError::Exists { .. }) => state.registry.device_for(who, Deed::CreateData, device).map(drop).map_err(Problem::from),
        Err(error) => Err(error.into()),
    }
}

fn found(id: Id, now: Micros) -> Device {
    Device {
        id,
        name: None,
        gateway_id: None,
        domain: None,
        owned: Owned { owner: None, visibility: Visibility::Private },
        location: None,
        deployed: None,
        meta: Default::default(),
        sensors: Vec::new(),
        actuators: Vec::new(),
        date_created: now,
        date_modified: now,
    }
}

/// Who sends, for repeats of it: no token's id has a colon in it.
pub fn sender_name(who: &Principal) -> String {
    match who {
        Principal::Guest { .. } => "guest:".to_owned(),
        Principal::User { id, .. } => format!("user:{id}"),
        Principal::Device { id, .. } => format!("device:{id}"),
        Principal::Token(identity) => identity.token.clone(),
    }
}

/// `GET …/values?limit&offset&sort&date_from&date_to&calibrated`
async fn list(State(state): State<AppState>, Asker(who): Asker, path: Path, params: Params, headers: HeaderMap) -> Answer {
    let (device, sensor) = (path.id("device")?, path.id("sensor")?);
    let wanted = Wanted::of(params)?;
    let found = {
        let (who, device, sensor) = (who.clone(), device.clone(), sensor.clone());
        read(&state, move |state| {
            let found = state.registry.device_for(&who, Deed::ViewData, &device)?;
            match found.sensors.iter().any(|known| known.id == sensor) {
                true => Ok(found),
                false => Err(unknown(&device, &sensor)),
            }
        })
        .await?
    };
    datapoints::of_sensor(&state, &who, found, sensor, wanted, &headers).await
}
