//! From the text of `tawi.toml` to a checked manifest, or to everything that is wrong with it.

use super::{
    Auth, Build, CODEC_TIMEOUT_DEFAULT, CODEC_TIMEOUT_MAX, CONFIG_ENTRIES_MAX, Codec, FUNCTIONS_MAX, Function, GRANTS_MAX, Grant,
    MANIFEST_BYTES_MAX, Manifest, ManifestError, Order, REUSE_MAX, TIMEOUT_DEFAULT, TIMEOUT_MAX, Trigger, check_key,
    clean::{self, CheckRules},
    delivery, limits,
    section::{At, Problems, Section},
    source, timed,
};
use crate::model::{
    id::{AppId, Id},
    selector::Selector,
    subject::{Pattern, RESERVED},
    uplink::CODEC,
};
use std::collections::BTreeMap;
use toml::de::{DeTable, DeValue};

const TOP: &[&str] = &["app", "on", "codec", "source", "clean", "grant", "limits", "build", "config"];
const APP: &[&str] = &["name"];
/// `retry` is there to be told what it is called now.
const ON: &[&str] = &[
    "name",
    "subject",
    "select",
    "http",
    "schedule",
    "zone",
    "jitter",
    "missed",
    "batch",
    "window",
    "silence",
    "change",
    "threshold",
    "every",
    "order",
    "auth",
    "timeout",
    "delivery",
    "reuse",
    "publish",
    "retry",
];
const CODEC_KEYS: &[&str] = &["name", "timeout", "reuse"];
const GRANT: &[&str] = &["publish", "command", "state", "history", "config", "secrets", "http", "http-private"];
const BUILD: &[&str] = &["component", "package"];

impl Manifest {
    /// Reads and checks `tawi.toml`. The error holds every problem, with line, column and where possible a hint.
    pub fn parse(text: &str) -> Result<Manifest, ManifestError> {
        Manifest::parse_checking(text, &|_, _| Vec::new())
    }

    /// The same; what its rules of pre-processing say is checked by who knows.
    pub fn parse_checking(text: &str, rules: CheckRules<'_>) -> Result<Manifest, ManifestError> {
        let problems = Problems::new(text);
        if text.len() > MANIFEST_BYTES_MAX {
            problems.add(0..0, format!("the manifest has {} bytes, {MANIFEST_BYTES_MAX} are allowed", text.len()));
            return problems.or(None);
        }
        let (root, errors) = DeTable::parse_recoverable(text);
        if !errors.is_empty() {
            // After a syntax error the rest of the tree is a guess.
            for error in errors {
                problems.add(error.span().unwrap_or(0..0), error.message());
            }
            return problems.or(None);
        }
        let manifest = read(&problems, root.get_ref(), rules);
        problems.or(manifest)
    }
}

fn read(problems: &Problems<'_>, root: &DeTable<'_>, rules: CheckRules<'_>) -> Option<Manifest> {
    let top = Section::open(problems, "", TOP, 0..0, root);
    let app = read_app(problems, &top);
    let functions = read_functions(problems, &top);
    let codec = top.table("codec", "[codec]", CODEC_KEYS).and_then(|codec| read_codec(problems, &codec));
    let grant = top.table("grant", "[grant]", GRANT).map(|grant| read_grant(&grant)).unwrap_or_default();
    let sources = source::read_all(problems, &top, &grant);
    let clean = clean::read_all(problems, &top, app.as_ref(), rules);
    let limits = top.table("limits", "[limits]", limits::KEYS).map(|limits| limits::read(problems, &limits)).unwrap_or_default();
    let build = top.table("build", "[build]", BUILD).map(|build| read_build(problems, &build)).unwrap_or_default();
    let config = read_config(problems, &top);
    Some(Manifest { app: app?, functions, codec, sources, clean, grant, limits, build, config })
}

fn read_app(problems: &Problems<'_>, top: &Section<'_>) -> Option<Id> {
    if !top.has("app") {
        problems.add_with_hint(0..0, "there is no `[app]`", "add `[app]` and below it `name = \"my-app\"`");
    }
    let name = top.table("app", "[app]", APP)?.required("name", "name = \"my-app\"")?;
    AppId::check_name(name.value).map_err(|message| problems.add(name.span, message)).ok()
}

fn read_functions(problems: &Problems<'_>, top: &Section<'_>) -> Vec<Function> {
    let Some(entries) = top.tables("on", "[[on]]", ON) else { return Vec::new() };
    if entries.is_empty() && !top.has("codec") {
        let hint = "add `[[on]]` with `name = \"...\"` and `subject = \"reading.>\"`, `select = { ... }` or `http = \"/\"`";
        problems.add_with_hint(0..0, "there is no `[[on]]`: the app would never run", hint);
    } else if entries.len() > FUNCTIONS_MAX {
        problems.add(top.span_of("on"), format!("{} `[[on]]` entries, {FUNCTIONS_MAX} are allowed", entries.len()));
    }
    let mut functions: Vec<Function> = Vec::new();
    for entry in &entries {
        let Some(function) = read_function(problems, entry) else { continue };
        if functions.iter().any(|other| other.name == function.name) {
            problems.add(entry.span_of("name"), format!("two `[[on]]` entries are called `{}`", function.name));
        }
        if function.name.as_str() == CODEC {
            let what = "`codec` is the name under which uplinks are kept that `[codec]` could not decode";
            problems.add_with_hint(entry.span_of("name"), what, "call the function otherwise");
        }
        if let Trigger::Http { path, .. } = &function.trigger {
            let same = |other: &&Function| matches!(&other.trigger, Trigger::Http { path: taken, .. } if taken == path);
            if let Some(other) = functions.iter().find(same) {
                problems.add(entry.span_of("http"), format!("`{path}` is served by `{}` already", other.name));
            }
        }
        functions.push(function);
    }
    functions
}

fn read_function(problems: &Problems<'_>, entry: &Section<'_>) -> Option<Function> {
    let name = entry.required("name", "name = \"...\"");
    let name = name.and_then(|name| Id::new(name.value).map_err(|e| problems.add(name.span, e.to_string())).ok());
    let trigger = read_trigger(problems, entry);
    let timeout = entry.duration("timeout", TIMEOUT_MAX).unwrap_or(TIMEOUT_DEFAULT);
    let delivery = delivery::read(problems, entry);
    let reuse = entry.integer("reuse", 1..=REUSE_MAX).unwrap_or(1);
    let publish = entry.has("publish").then(|| entry.checked("publish", GRANTS_MAX, publish_pattern));
    Some(Function { name: name?, trigger: trigger?, timeout, delivery, reuse, publish })
}

fn read_codec(problems: &Problems<'_>, codec: &Section<'_>) -> Option<Codec> {
    let name = match codec.string("name") {
        Some(name) => Id::new(name.value).map_err(|e| problems.add(name.span, e.to_string())),
        None => Id::new(CODEC).map_err(|e| problems.add(codec.span(), e.to_string())),
    };
    let timeout = codec.duration("timeout", CODEC_TIMEOUT_MAX).unwrap_or(CODEC_TIMEOUT_DEFAULT);
    let reuse = codec.integer("reuse", 1..=REUSE_MAX).unwrap_or(1);
    Some(Codec { name: name.ok()?, timeout, reuse })
}

fn read_trigger(problems: &Problems<'_>, entry: &Section<'_>) -> Option<Trigger> {
    let order = entry.word("order", &[("device", Order::Device), ("none", Order::None)]).unwrap_or(Order::Device);
    let auth = entry.word("auth", &[("token", Auth::Token), ("public", Auth::Public)]).unwrap_or(Auth::Token);
    if !entry.has("schedule") {
        refuse(problems, entry, timed::OF_A_SCHEDULE, "only a `schedule` has it");
    }
    let said: Vec<&str> = ["subject", "select", "http", "schedule"].into_iter().filter(|key| entry.has(key)).collect();
    match said.as_slice() {
        [] => {
            let hint = "add `subject = \"reading.>\"`, `select = { kind = \"Thermometer\" }`, `schedule = \"0 6 * * *\"` or `http = \"/\"`";
            problems.add_with_hint(entry.span(), "this `[[on]]` entry says not what it is called for", hint);
            None
        }
        [_, second, ..] => {
            let message = "an `[[on]]` entry has one of `subject`, `select`, `schedule` and `http`";
            problems.add_with_hint(entry.span_of(second), message, "make it two entries");
            None
        }
        ["subject"] => {
            refuse(problems, entry, &["auth"], "only requests (`http`) are authenticated");
            let subject = entry.string("subject")?;
            let subject = Pattern::new(subject.value).map_err(|e| problems.add(subject.span, e.to_string())).ok()?;
            Some(Trigger::Event { subject, order, select: None, rule: timed::read_rule(problems, entry).ok()? })
        }
        ["select"] => {
            refuse(problems, entry, &["auth"], "only requests (`http`) are authenticated");
            let subject = Pattern::new("reading.>").map_err(|e| problems.add(entry.span(), e.to_string())).ok()?;
            let select = Some(read_selector(problems, entry)?);
            Some(Trigger::Event { subject, order, select, rule: timed::read_rule(problems, entry).ok()? })
        }
        ["schedule"] => {
            refuse(problems, entry, &["auth", "order"], "a moment of a schedule is one call, of the node's own");
            refuse(problems, entry, timed::RULES, "a schedule has no readings");
            Some(Trigger::Schedule(timed::read_schedule(problems, entry)?))
        }
        _ => {
            refuse(problems, entry, timed::RULES, "a request is no reading");
            refuse(problems, entry, &["publish"], "nobody publishes a request, so that no circle leads through it");
            refuse(problems, entry, &["order", "delivery"], "a request is run once, at once; only events (`subject`, `select`) have");
            let path = entry.string("http")?;
            let path = http_path(path.value).map_err(|message| problems.add(path.span, message)).ok()?;
            Some(Trigger::Http { path, auth })
        }
    }
}

fn read_selector(problems: &Problems<'_>, entry: &Section<'_>) -> Option<Selector> {
    let (span, entries) = entry.free_table("select", "[on.select]")?;
    let table = entries.iter().map(|(key, value)| (key.get_ref().to_string(), plain(value.get_ref()))).collect();
    match Selector::from_toml(&table) {
        Ok(selector) if selector.is_empty() => {
            problems.add_with_hint(span, "`select` says nothing", "for every sensor there is `subject = \"reading.>\"`");
            None
        }
        Ok(selector) => Some(selector),
        Err(error) => {
            let key = error.key.split('.').next().unwrap_or_default();
            let place = entries.iter().find(|(known, _)| known.get_ref() == key).map_or(span, |(_, value)| value.span());
            problems.add(place, error.to_string());
            None
        }
    }
}

/// A value without the places of its parts. Dates are texts.
fn plain(value: &DeValue<'_>) -> toml::Value {
    match value {
        DeValue::String(text) => toml::Value::String(text.to_string()),
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => toml::Value::Integer(number),
            Err(_) => toml::Value::String(number.as_str().to_owned()),
        },
        DeValue::Float(number) => toml::Value::Float(number.as_str().parse().unwrap_or(f64::NAN)),
        DeValue::Boolean(yes) => toml::Value::Boolean(*yes),
        DeValue::Datetime(time) => toml::Value::String(time.to_string()),
        DeValue::Array(items) => toml::Value::Array(items.iter().map(|item| plain(item.get_ref())).collect()),
        DeValue::Table(entries) => {
            toml::Value::Table(entries.iter().map(|(key, value)| (key.get_ref().to_string(), plain(value.get_ref()))).collect())
        }
    }
}

fn refuse(problems: &Problems<'_>, entry: &Section<'_>, keys: &[&str], why: &str) {
    for key in keys.iter().filter(|key| entry.has(key)) {
        problems.add(entry.span_of(key), format!("{why}: `{key}` has no meaning here"));
    }
}

/// The path without a `/` at its end, so that one prefix has one name.
fn http_path(text: &str) -> Result<String, String> {
    if !text.starts_with('/') {
        return Err(format!("`{text}` is not a path: it starts with a `/`"));
    }
    let path = text.strip_suffix('/').unwrap_or(text);
    if path.is_empty() {
        return Ok("/".to_owned());
    }
    if let Some(c) = path.chars().find(|c| c.is_control() || c.is_whitespace() || "?#*%\\{}".contains(*c)) {
        return Err(format!("`{}` can't stand in `{text}`: a path is a plain prefix, without parameters or escapes", c.escape_default()));
    }
    match path[1..].split('/').find(|part| matches!(*part, "" | "." | "..")) {
        Some(part) => Err(format!("`{text}` is not a path: `/{part}/` leads nowhere")),
        None => Ok(path.to_owned()),
    }
}

fn read_grant(grant: &Section<'_>) -> Grant {
    Grant {
        publish: grant.checked("publish", GRANTS_MAX, publish_pattern),
        command: grant.checked("command", GRANTS_MAX, command_target),
        state: grant.boolean("state"),
        history: grant.boolean("history"),
        config: grant.boolean("config"),
        secrets: grant.checked("secrets", GRANTS_MAX, |name| check_key(name).map(|()| name.to_owned())),
        http: grant.checked("http", GRANTS_MAX, check_host),
        http_private: grant.checked("http-private", GRANTS_MAX, check_host),
    }
}

/// Patterns that begin with a wildcard are fine: the host refuses a reserved subject whatever is granted.
fn publish_pattern(text: &str) -> Result<Pattern, String> {
    let first = text.split('.').next().unwrap_or_default();
    if RESERVED.contains(&first) {
        return Err(format!("`{text}` can't be granted: only the node itself publishes under `{first}`"));
    }
    Pattern::new(text).map_err(|e| e.to_string())
}

fn command_target(text: &str) -> Result<String, String> {
    if text != "*" {
        Id::new(text).map_err(|e| format!("{e}; name a device, or `*` for all"))?;
    }
    Ok(text.to_owned())
}

/// `api.example.com`, `*.example.com`, `[::1]`, each with a port or without.
pub fn check_host(text: &str) -> Result<String, String> {
    let wrong = |why: &str| Err(format!("`{text}` is not a host: {why}"));
    if text.contains("://") || text.contains('/') {
        return wrong("leave out scheme and path, as in `api.example.com`");
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (text, None),
    };
    if port.is_some_and(|port| !port.parse::<u16>().is_ok_and(|n| n > 0 && !port.starts_with('+'))) {
        return wrong("a port is a number from 1 to 65535");
    }
    if let Some(address) = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
        return if address.parse::<std::net::Ipv6Addr>().is_ok() { Ok(text.to_lowercase()) } else { wrong("not an IPv6 address") };
    }
    let bare = host.strip_prefix("*.").unwrap_or(host);
    let label = |l: &str| !l.is_empty() && l.len() <= 63 && l.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
    if bare.len() > 253 || !bare.split('.').all(label) {
        return wrong("letters, digits, hyphens and dots, `*.` only in front, as in `*.example.com:8443`");
    }
    Ok(text.to_lowercase())
}

fn read_build(problems: &Problems<'_>, build: &Section<'_>) -> Build {
    if build.has("component") && build.has("package") {
        problems.add(build.span_of("package"), "a `component` is deployed as it is: there is no `package` to build");
    }
    let inside = |path: At<&str>| {
        let leaves = path.value.is_empty() || path.value.starts_with('/') || path.value.split('/').any(|part| part == "..");
        if leaves {
            problems.add(path.span, format!("`{}` is not a file inside the repository", path.value));
        }
        (!leaves).then(|| path.value.to_owned())
    };
    Build { component: build.string("component").and_then(inside), package: build.string("package").map(|name| name.value.to_owned()) }
}

fn read_config(problems: &Problems<'_>, top: &Section<'_>) -> BTreeMap<String, String> {
    let Some((span, entries)) = top.free_table("config", "[config]") else { return BTreeMap::new() };
    if entries.len() > CONFIG_ENTRIES_MAX {
        problems.add(span, format!("`[config]` has {} entries, {CONFIG_ENTRIES_MAX} are allowed", entries.len()));
    }
    let mut config = BTreeMap::new();
    for (key, value) in entries {
        if let Err(message) = check_key(key.get_ref()) {
            problems.add(key.span(), message);
        }
        match value.get_ref() {
            DeValue::String(text) => {
                config.insert(key.get_ref().to_string(), text.to_string());
            }
            _ => problems.add_with_hint(value.span(), format!("`{}` must be a string", key.get_ref()), "put it in quotes"),
        }
    }
    config
}

#[cfg(test)]
#[path = "parse_tests.rs"]
mod tests;
