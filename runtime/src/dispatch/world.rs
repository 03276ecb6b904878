//! What a call sees of the node: its app's state with pending writes over it, history, config, secrets.

use super::{App, Settings, Sight};
use crate::{
    host::{HistoryPage, HistoryQuery, Seen, World},
    model::{AppId, Id},
};
use bytes::Bytes;
use futures::future::BoxFuture;
use std::{collections::BTreeMap, sync::Arc};

/// Answers the history queries of an app's functions, as far as the app may see; the node wires it to the history room.
pub type HistorySource = Arc<dyn Fn(AppId, HistoryQuery) -> BoxFuture<'static, Result<HistoryPage, String>> + Send + Sync>;

pub(super) struct AppWorld {
    pub app: Arc<App>,
    pub settings: Arc<Settings>,
    pub history: HistorySource,
    pub sight: Sight,
}

impl World for AppWorld {
    fn state(&self, key: &str) -> Result<Seen<Option<Bytes>>, String> {
        self.app.lane.state(key).map_err(|e| e.to_string())
    }

    fn state_entries(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Seen<Vec<(String, Bytes)>>, String> {
        self.app.lane.state_entries(prefix, after, limit).map_err(|e| e.to_string())
    }

    fn history(&self, query: HistoryQuery) -> BoxFuture<'static, Result<HistoryPage, String>> {
        (self.history)(self.app.id.clone(), query)
    }

    fn may_command(&self, device: &Id) -> bool {
        (self.sight)(&self.app.id).is_none_or(|eyes| eyes.commands(device))
    }

    fn config(&self) -> Arc<BTreeMap<String, String>> {
        self.settings.config.clone()
    }

    fn secrets(&self) -> Arc<BTreeMap<String, String>> {
        self.settings.secrets.clone()
    }
}
