//! Whether a component fits its manifest: imports against grants, exports against triggers. By name, before anything runs.

use super::wasi::HANDLER_P3;
use crate::model::{
    Manifest,
    manifest::{Function, Grant, Rule, Trigger},
};
use wasmtime::{Engine, component::Component};

/// What a component handles.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Exports {
    pub event: bool,
    pub http: bool,
    pub codec: bool,
    pub schedule: bool,
    pub batch: bool,
    pub window: bool,
    pub silence: bool,
    pub change: bool,
    pub threshold: bool,
}

const EVENT: &str = "tawi:app/event-handler@";
const CODEC: &str = "tawi:app/codec@";
const SCHEDULE: &str = "tawi:app/schedule-handler@";
const BATCH: &str = "tawi:app/batch-handler@";
const WINDOW: &str = "tawi:app/window-handler@";
const SILENCE: &str = "tawi:app/silence-handler@";
const CHANGE: &str = "tawi:app/change-handler@";
const THRESHOLD: &str = "tawi:app/threshold-handler@";
const HTTP: &str = "wasi:http/incoming-handler@0.2.";

pub(super) fn exports(engine: &Engine, component: &Component) -> Exports {
    let ty = component.component_type();
    let has = |prefix: &str| ty.exports(engine).any(|(name, _)| name.starts_with(prefix));
    Exports {
        event: has(EVENT),
        http: has(HTTP) || has(HANDLER_P3),
        codec: has(CODEC),
        schedule: has(SCHEDULE),
        batch: has(BATCH),
        window: has(WINDOW),
        silence: has(SILENCE),
        change: has(CHANGE),
        threshold: has(THRESHOLD),
    }
}

/// Every complaint, one a line.
pub(super) fn fits(engine: &Engine, component: &Component, manifest: &Manifest) -> Result<Exports, Vec<String>> {
    let ty = component.component_type();
    let imports = ty.imports(engine).filter_map(|(name, _)| refusal(name, &manifest.grant));
    let mut complaints: Vec<String> = imports.collect();
    let exports = exports(engine, component);
    complaints.extend(manifest.functions.iter().filter_map(|function| missing(function, &exports)));
    if manifest.codec.is_some() && !exports.codec {
        complaints.push("[codec] needs the component to export tawi:app/codec (in Rust: a function with `#[tawi::codec]`)".to_owned());
    }
    match complaints.is_empty() {
        true => Ok(exports),
        false => Err(complaints),
    }
}

/// The export that a function's trigger asks for, where the component lacks it.
fn missing(function: &Function, exports: &Exports) -> Option<String> {
    let (has, interface, attribute) = match &function.trigger {
        Trigger::Http { .. } => (exports.http, "wasi:http/incoming-handler@0.2 or wasi:http/handler@0.3", "http"),
        Trigger::Schedule(_) => (exports.schedule, "tawi:app/schedule-handler", "schedule"),
        Trigger::Event { rule, .. } => match rule {
            None | Some(Rule::Every { .. } | Rule::Fill(_)) => (exports.event, "tawi:app/event-handler", "event"),
            Some(Rule::Batch { .. }) => (exports.batch, "tawi:app/batch-handler", "batch"),
            Some(Rule::Window(_)) => (exports.window, "tawi:app/window-handler", "window"),
            Some(Rule::Silence { .. }) => (exports.silence, "tawi:app/silence-handler", "silence"),
            Some(Rule::Change(_)) => (exports.change, "tawi:app/change-handler", "change"),
            Some(Rule::Threshold(_)) => (exports.threshold, "tawi:app/threshold-handler", "threshold"),
        },
    };
    let name = &function.name;
    (!has).then(|| format!("[[on]] `{name}` needs the component to export {interface} (in Rust: a function with `#[tawi::{attribute}]`)"))
}

/// What one call may have of the pool, so that the calls of one app leave the others theirs: every permit comes with as much.
pub(super) const CORE_INSTANCES_MAX: u32 = 50;
pub(super) const MEMORIES_MAX: u32 = 2;
pub(super) const TABLES_MAX: u32 = 8;

/// The bytes of memory that an instance begins with, where it keeps to a call's share of memories and tables.
pub(super) fn share(component: &Component) -> Result<usize, Vec<String>> {
    // Nothing is known of a component that wants core modules as imports; none of ours can have them, so it does not link.
    let Some(needs) = component.resources_required() else { return Ok(0) };
    let counts = [("memories", needs.num_memories, MEMORIES_MAX), ("tables", needs.num_tables, TABLES_MAX)];
    let over = counts.into_iter().filter(|(_, has, most)| has > most);
    let complaints: Vec<String> = over
        .map(|(what, has, most)| format!("the component has {has} {what}, a call has room for {most}: compose it of fewer modules"))
        .collect();
    let pages = u64::from(needs.num_memories).saturating_mul(needs.max_initial_memory_size.unwrap_or(0));
    match complaints.is_empty() {
        true => Ok(usize::try_from(pages.saturating_mul(64 << 10)).unwrap_or(usize::MAX)),
        false => Err(complaints),
    }
}

/// Why an import can't be had; none when it can.
fn refusal(import: &str, grant: &Grant) -> Option<String> {
    let interface = import.split('@').next().unwrap_or(import);
    let line = |line: &str| Some(format!("import `{import}` is not granted: add `{line}` under [grant] in tawi.toml"));
    match interface {
        "tawi:app/types" | "tawi:app/trigger" | "wasi:logging/logging" => None,
        "tawi:app/publish" if grant.publish.is_empty() => line("publish = [\"SUBJECT\"]"),
        "tawi:app/command" if grant.command.is_empty() => line("command = [\"DEVICE\"]"),
        "tawi:app/history" if !grant.history => line("history = true"),
        "tawi:app/secrets" if grant.secrets.is_empty() => line("secrets = [\"NAME\"]"),
        "tawi:app/state" if !grant.state => line("state = true"),
        "wasi:config/store" if !grant.config => line("config = true"),
        "wasi:keyvalue/store" | "wasi:keyvalue/atomics" | "wasi:keyvalue/batch" if !grant.state => line("state = true"),
        "tawi:app/publish" | "tawi:app/command" | "tawi:app/history" | "tawi:app/secrets" | "tawi:app/state" => None,
        "wasi:config/store" | "wasi:keyvalue/store" | "wasi:keyvalue/atomics" | "wasi:keyvalue/batch" => None,
        _ if interface.starts_with("wasi:sockets/") => {
            Some(format!("import `{import}` is never granted: functions speak HTTP (`http` under [grant]), not sockets"))
        }
        _ if ["wasi:cli/", "wasi:clocks/", "wasi:io/", "wasi:random/", "wasi:filesystem/", "wasi:http/"]
            .iter()
            .any(|p| interface.starts_with(p)) =>
        {
            None
        }
        _ => Some(format!("import `{import}` does not exist on this node")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_import_is_refused_by_name_with_the_line_that_grants_it() {
        let none = Grant::default();
        let all = Grant { state: true, ..Grant::default() };
        assert_eq!(refusal("wasi:io/streams@0.2.6", &none), None);
        assert_eq!(
            refusal("tawi:app/state@0.1.0", &none).as_deref(),
            Some("import `tawi:app/state@0.1.0` is not granted: add `state = true` under [grant] in tawi.toml")
        );
        assert_eq!(refusal("tawi:app/state@0.1.0", &all), None);
        assert_eq!(refusal("wasi:keyvalue/batch@0.2.0-draft", &all), None);
        assert!(refusal("wasi:sockets/tcp@0.2.0", &all).is_some_and(|text| text.contains("never granted")));
        assert!(refusal("acme:thing/x", &all).is_some_and(|text| text.contains("does not exist")));
    }
}
