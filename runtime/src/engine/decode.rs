//! One uplink, one instance, what was found in it.

use super::{
    Engine, Failure, Loaded, Permit, TICK,
    call::{Room, Seat, failure, plain, within},
};
use crate::{
    host::{CallStart, Collected, HostError, Metered, World, codec, value_in},
    model::{Id, LogLine, Measurement, Micros, Uplink, limit::UPLINK_READINGS_MAX, manifest::Codec},
};
use parking_lot::Mutex;
use std::{
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

/// How an uplink fared at a codec.
#[derive(Debug)]
pub struct Decoding {
    pub result: Result<Vec<Measurement>, Failure>,
    pub logs: Vec<LogLine>,
    pub logs_dropped: u64,
    pub took: Duration,
}

impl Engine {
    /// Has a release decode an uplink. `call`: its id, which is the same however often it is decoded. Never fails itself.
    pub async fn decode(
        &self,
        permit: &Permit,
        loaded: &Loaded,
        uplink: &Uplink,
        call: Arc<str>,
        now: Micros,
        world: Arc<dyn World>,
    ) -> Decoding {
        let _ = permit;
        let (release, begun) = (loaded.release.clone(), Instant::now());
        let Some(codec) = &release.manifest.codec else {
            let result = Err(Failure::Reject("the release has no [codec]".to_owned()));
            return Decoding { result, logs: Vec::new(), logs_dropped: 0, took: Duration::ZERO };
        };
        let collected = Arc::new(Mutex::new(Collected::without_effects(&release.manifest.limits)));
        let start = CallStart { id: call, now, world, end: begun + codec.timeout, collected: collected.clone() };
        let result = self.decode_in(loaded, codec, uplink, start).await;
        let taken = collected.lock().take();
        Decoding { result, logs: taken.logs, logs_dropped: taken.logs_dropped, took: begun.elapsed() }
    }

    async fn decode_in(&self, loaded: &Loaded, codec: &Codec, uplink: &Uplink, start: CallStart) -> Result<Vec<Measurement>, Failure> {
        let (seat, timeout) = (Seat { name: &codec.name, reuse: codec.reuse }, codec.timeout);
        // A device waits for memory no longer than for its answer.
        let room = tokio::time::timeout(timeout, self.room(loaded, &seat, start));
        let (mut room, _) = room.await.map_err(|_| Failure::Timeout(timeout))?;
        let meter = room.store.data().meter.clone();
        let ran = {
            let call = pin!(run(loaded, codec, uplink, &mut room));
            within(timeout + 2 * TICK, Metered { call, meter }).await
        };
        match ran {
            None => Err(Failure::Timeout(timeout)),
            Some(Err(trap)) => Err(failure(&trap, room.store.data(), timeout)),
            Some(Ok(answer)) => {
                loaded.keep(&seat, room, Instant::now());
                answer.map_err(|reason| Failure::Reject(plain(reason))).and_then(measurements)
            }
        }
    }
}

async fn run(loaded: &Loaded, codec: &Codec, uplink: &Uplink, room: &mut Room) -> wasmtime::Result<Result<Vec<codec::Sample>, String>> {
    let Room { store, handlers, .. } = room;
    if handlers.is_none() {
        let instance = loaded.pre.instantiate_async(&mut *store).await?;
        *handlers = Some(loaded.handlers(store, &instance)?);
    }
    let guest = handlers.as_ref().and_then(|handlers| handlers.codec.as_ref());
    let guest = guest.ok_or_else(|| wasmtime::Error::msg("the component exports no codec"))?;
    let uplink = codec::Uplink {
        codec: codec.name.to_string(),
        device: uplink.device.to_string(),
        port: uplink.port,
        payload: uplink.payload.to_vec(),
        measured: uplink.measured.map(|measured| measured.0),
        received: uplink.received.0,
    };
    guest.call_decode(store, &uplink).await
}

/// What a guest calls a sensor and a value has to be one.
fn measurements(samples: Vec<codec::Sample>) -> Result<Vec<Measurement>, Failure> {
    if samples.len() > UPLINK_READINGS_MAX {
        let text = format!("the codec found {} values, an uplink has at most {UPLINK_READINGS_MAX}", samples.len());
        return Err(Failure::Reject(text));
    }
    let one = |(index, sample): (usize, codec::Sample)| {
        let wrong = |what: String| Failure::Reject(plain(format!("sample {index} of the codec: {what}")));
        let sensor = Id::new(&sample.sensor).map_err(|e| wrong(e.to_string()))?;
        let value = value_in(sample.value).map_err(|error| match error {
            HostError::Denied(what) | HostError::Invalid(what) | HostError::Limit(what) | HostError::Unavailable(what) => wrong(what),
        })?;
        Ok(Measurement { sensor, measured: sample.measured.map(Micros), value })
    };
    samples.into_iter().enumerate().map(one).collect()
}
