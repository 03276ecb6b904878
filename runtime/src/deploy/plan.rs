//! What has to be done so that what runs is what is desired. Pure.

use crate::model::{AppId, Release, manifest::Trigger};
use std::collections::BTreeMap;

/// One app as it should be, or as it is: the release that serves, a fingerprint of its settings, and the pool of instances it is loaded
/// into, of which the engine may begin a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct State {
    pub release: u64,
    pub settings: u64,
    pub pool: u32,
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

impl Step {
    pub fn app(&self) -> &AppId {
        match self {
            Step::Serve { app, .. } | Step::Settings { app } | Step::Remove { app } => app,
        }
    }
}

/// Steps in the order of the apps' names; none when all is as desired.
pub fn plan(desired: &BTreeMap<AppId, State>, actual: &BTreeMap<AppId, State>) -> Vec<Step> {
    let remove = actual.keys().filter(|app| !desired.contains_key(app)).map(|app| Step::Remove { app: app.clone() });
    let change = desired.iter().filter_map(|(app, wanted)| match actual.get(app) {
        Some(is) if is == wanted => None,
        Some(is) if (is.release, is.pool) == (wanted.release, wanted.pool) => Some(Step::Settings { app: app.clone() }),
        _ => Some(Step::Serve { app: app.clone(), release: wanted.release }),
    });
    remove.chain(change).collect()
}

/// An older release may serve in the place of the current one where it handles the very same events: a function that it did not
/// have would be forgotten by the ledger, and begin after what it has not seen.
pub fn can_stand_in(older: &Release, current: &Release) -> bool {
    let events = |release: &Release| -> Vec<(String, Trigger)> {
        let functions = release.manifest.functions.iter().filter(|function| !matches!(function.trigger, Trigger::Http { .. }));
        let mut events: Vec<_> = functions.map(|function| (function.name.to_string(), function.trigger.clone())).collect();
        events.sort_by(|one, other| one.0.cmp(&other.0));
        events
    };
    let same_code = older.artifact == current.artifact && older.manifest.limits == current.manifest.limits;
    older.number < current.number && !same_code && events(older) == events(current)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::model::{Digest, Id, Manifest, Micros, id::default_tenant};

    fn app(name: &str) -> AppId {
        AppId::new(default_tenant(), Id::new(name).unwrap())
    }

    fn states(list: &[(&str, u64, u64)]) -> BTreeMap<AppId, State> {
        list.iter().map(|(name, release, settings)| (app(name), State { release: *release, settings: *settings, pool: 0 })).collect()
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

    fn release(number: u64, code: &str, functions: &[(&str, &str)]) -> Release {
        let functions: String = functions.iter().map(|(name, on)| format!("[[on]]\nname = \"{name}\"\n{on}\n")).collect();
        let manifest = Manifest::parse(&format!("[app]\nname = \"a\"\n{functions}")).unwrap();
        let artifact = Digest::of(code.as_bytes());
        Release { number, artifact, manifest, commit: String::new(), summary: String::new(), created: Micros(0), rollback_of: None }
    }

    /// A function that is not in the manifest that serves is forgotten, with its place in the log.
    #[test]
    fn only_a_release_that_handles_the_same_events_stands_in() {
        let (temp, hum) = ("subject = \"reading.*.temp\"", "subject = \"reading.*.hum\"");
        let current = release(3, "new", &[("t", temp), ("web", "http = \"/\"")]);
        for (older, yes) in [
            (release(2, "old", &[("t", temp)]), true),
            (release(2, "new", &[("t", temp)]), false),
            (release(4, "newer", &[("t", temp)]), false),
            (release(2, "old", &[("t", hum)]), false),
            (release(2, "old", &[("t", temp), ("h", hum)]), false),
            (release(2, "old", &[("web", "http = \"/\"")]), false),
        ] {
            assert_eq!(can_stand_in(&older, &current), yes, "{older:?}");
        }
    }
}
