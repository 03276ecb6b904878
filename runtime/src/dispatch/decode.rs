//! Has the codec of an app decode an uplink, before there is an event. Commits nothing: what was found goes into the log by the door.

use super::{App, Dispatch, Settings, outgoing::Origin};
use crate::{
    clock,
    engine::{Decoding, Failure},
    host::{HistoryPage, HistoryQuery, Seen, World},
    model::{AppId, Decoded, FunctionId, Id, Uplink, uplink::CODEC},
};
use bytes::Bytes;
use futures::future::BoxFuture;
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// How long an uplink waits for an instance: with the time of its codec, less than who sends it waits for an answer.
const INSTANCE_WAIT: Duration = Duration::from_secs(4);
/// Log lines that an uplink keeps which could not be decoded.
const LOG_TAIL_LINES: usize = 20;

impl Dispatch {
    /// What a codec finds in an uplink. `name`: the one that the device asks for, where it asks for more than an app. None: every
    /// instance that it could have is busy.
    pub async fn decode(&self, app: &AppId, name: Option<&Id>, uplink: &Uplink) -> Option<Decoded> {
        let Some(live) = self.app(app) else {
            return Some(Decoded::silently(Err(format!("there is no app `{}` that could decode it", app.app))));
        };
        let loaded = live.loaded.load_full();
        let release = loaded.release.clone();
        let known = release.manifest.codec.as_ref().filter(|codec| name.is_none_or(|name| *name == codec.name));
        if known.is_none() {
            let asked = name.map(|name| format!(" called `{name}`")).unwrap_or_default();
            let why = format!("release {} of `{}` has no [codec]{asked}", release.number, app.app);
            return Some(Decoded { release: release.number, ..Decoded::silently(Err(why)) });
        }
        let world = Arc::new(CodecWorld(live.settings.load_full()));
        // Whatever is decoded twice is so with the same randomness.
        let call: Arc<str> = format!("{}-{}-{CODEC}", uplink.device, uplink.received.0).into();
        let now = clock::now();
        let decoding = {
            let places = self.places(&live);
            let (_of_app, _of_node, permit) = tokio::time::timeout(INSTANCE_WAIT, places).await.ok()??;
            self.context.engine.decode(&permit, &loaded, uplink, call.clone(), now, world).await
        };
        let function = FunctionId { app: app.clone(), function: Id::new(CODEC).ok()? };
        let origin = Origin { function: &function, event: None, call: &call, attempt: 1, now };
        Some(told(decoding, &origin, release.number))
    }

    /// As many as requests have: a codec is asked by a door as well.
    async fn places(
        &self,
        app: &App,
    ) -> Option<(tokio::sync::OwnedSemaphorePermit, tokio::sync::OwnedSemaphorePermit, crate::engine::Permit)> {
        let of_app = app.http_calls.clone().acquire_owned().await.ok()?;
        let of_node = self.context.http_calls.clone().acquire_owned().await.ok()?;
        Some((of_app, of_node, self.context.engine.permit().await))
    }
}

fn told(decoding: Decoding, origin: &Origin<'_>, release: u64) -> Decoded {
    let Decoding { result, logs, logs_dropped, .. } = decoding;
    let result = result.map_err(|failure| match failure {
        Failure::Reject(why) => why,
        other => format!("the codec {other}"),
    });
    let log_tail = logs.iter().rev().take(LOG_TAIL_LINES).rev().map(|line| line.message.clone()).collect();
    let failure = result.as_ref().err().map(|why| format!("an uplink can't be decoded, to the dead letters: {why}"));
    Decoded { result, said: origin.logs(logs, logs_dropped, failure.as_deref()), log_tail, release }
}

/// What a codec sees of the node: its settings. Whatever else it knew, the same bytes could mean something else tomorrow.
struct CodecWorld(Arc<Settings>);

const NO_STATE: &str = "a codec has no state: it sees an uplink and its app's configuration";

impl World for CodecWorld {
    fn state(&self, _: &str) -> Result<Seen<Option<Bytes>>, String> {
        Err(NO_STATE.to_owned())
    }

    fn state_entries(&self, _: &str, _: Option<&str>, _: usize) -> Result<Seen<Vec<(String, Bytes)>>, String> {
        Err(NO_STATE.to_owned())
    }

    fn history(&self, _: HistoryQuery) -> BoxFuture<'static, Result<HistoryPage, String>> {
        Box::pin(async { Err("a codec has no history: it sees an uplink and its app's configuration".to_owned()) })
    }

    fn may_command(&self, _: &Id) -> bool {
        false
    }

    fn config(&self) -> Arc<BTreeMap<String, String>> {
        self.0.config.clone()
    }

    fn secrets(&self) -> Arc<BTreeMap<String, String>> {
        self.0.secrets.clone()
    }
}
