//! Pushes under way: what their hooks and their git process share.

use crate::pipeline::Timing;
use parking_lot::Mutex;
use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};
use tawi_runtime::model::AppId;
use tokio::sync::OwnedMutexGuard;

/// By the name that their hooks call them.
#[derive(Default)]
pub(crate) struct Sessions {
    open: Mutex<HashMap<String, Arc<Session>>>,
    next: AtomicU64,
}

pub(crate) struct Session {
    pub app: AppId,
    /// Held while a hook is answered.
    pub state: tokio::sync::Mutex<SessionState>,
}

#[derive(Default)]
pub(crate) struct SessionState {
    /// From the build on until git has ended.
    pub lock: Option<OwnedMutexGuard<()>>,
    pub timing: Option<Timing>,
}

impl Sessions {
    pub fn open(&self, app: &AppId) -> String {
        let name = self.next.fetch_add(1, Ordering::Relaxed).to_string();
        let session = Session { app: app.clone(), state: tokio::sync::Mutex::default() };
        self.open.lock().insert(name.clone(), Arc::new(session));
        name
    }

    pub fn find(&self, name: &str) -> Option<Arc<Session>> {
        self.open.lock().get(name).cloned()
    }

    pub fn close(&self, name: &str) -> Option<Arc<Session>> {
        self.open.lock().remove(name)
    }
}
