//! What has to be done so that what runs is what is desired. Pure.

use crate::model::AppId;
use std::collections::BTreeMap;

/// One app as it should be, or as it is: the release that serves and a fingerprint of its settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct State {
    pub release: u64,
    pub settings: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Load this release and make it serve.
    Serve {
        app: AppId,
        release: u64,
    },
    /// The release stays, its config or secrets are new.
    Settings {
        app: AppId,
    },
    Remove {
        app: AppId,
    },
}

/// Steps in the order of the apps' names; none when all is as desired.
pub fn plan(desired: &BTreeMap<AppId, State>, actual: &BTreeMap<AppId, State>) -> Vec<Step> {
    let remove = actual.keys().filter(|app| !desired.contains_key(app)).map(|app| Step::Remove { app: app.clone() });
    let change = desired.iter().filter_map(|(app, wanted)| match actual.get(app) {
        Some(is) if is == wanted => None,
        Some(is) if is.release == wanted.release => Some(Step::Settings { app: app.clone() }),
        _ => Some(Step::Serve { app: app.clone(), release: wanted.release }),
    });
    remove.chain(change).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::model::{Id, id::default_tenant};

    fn app(name: &str) -> AppId {
        AppId::new(default_tenant(), Id::new(name).unwrap())
    }

    fn states(list: &[(&str, u64, u64)]) -> BTreeMap<AppId, State> {
        list.iter().map(|(name, release, settings)| (app(name), State { release: *release, settings: *settings })).collect()
    }

    #[test]
    fn only_what_differs_is_touched() {
        let desired = states(&[("new", 1, 0), ("same", 3, 7), ("pushed", 2, 0), ("configured", 4, 9)]);
        let actual = states(&[("same", 3, 7), ("pushed", 1, 0), ("configured", 4, 8), ("gone", 1, 0)]);
        let steps = plan(&desired, &actual);
        assert_eq!(
            steps,
            [
                Step::Remove { app: app("gone") },
                Step::Settings { app: app("configured") },
                Step::Serve { app: app("new"), release: 1 },
                Step::Serve { app: app("pushed"), release: 2 },
            ]
        );
        assert!(plan(&desired, &desired).is_empty());
    }
}
