//! `[[source]]`: values that come from elsewhere, as readings of a device that is none.

use super::{
    Grant, check_key, quantity,
    section::{Problems, Section},
};
use crate::model::id::Id;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, time::Duration};
use toml::de::DeValue;

pub(super) const KEYS: &[&str] = &["name", "kind", "device", "values", "time", "url", "every", "headers", "secret", "verify", "header"];

/// Sources of an app.
pub const SOURCES_MAX: usize = 16;
/// Sensors of one source, and headers of one request.
const ENTRIES_MAX: usize = 64;
/// A JSON pointer, a header, and what stands in it.
const TEXT_BYTES_MAX: usize = 1_024;
/// Others' servers are not for polling in a loop.
pub const EVERY_MIN: Duration = Duration::from_secs(10);
pub const EVERY_MAX: Duration = Duration::from_secs(24 * 3600);

/// One `[[source]]` entry.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Source {
    pub name: Id,
    /// Whose readings the values become.
    pub device: Id,
    /// Sensors, and where in the JSON the value of each stands.
    pub values: BTreeMap<Id, String>,
    /// Where the time of the measurement stands, as RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
    #[serde(flatten)]
    pub kind: SourceKind,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum SourceKind {
    /// Asked every so often.
    Http {
        url: String,
        #[serde(rename = "every_ms", with = "quantity::millis")]
        every: Duration,
        /// `${NAME}` stands for a secret.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        headers: BTreeMap<String, String>,
    },
    /// Posted by somebody who knows a secret.
    Webhook {
        /// The secret's name.
        secret: String,
        verify: Verify,
        header: String,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verify {
    /// The header is the secret.
    Header,
    /// The header is the HMAC-SHA256 of the body in hex, `sha256=` before it or not.
    HmacSha256,
}

pub(super) fn read_all(problems: &Problems<'_>, top: &Section<'_>, grant: &Grant) -> Vec<Source> {
    let Some(entries) = top.tables("source", "[[source]]", KEYS) else { return Vec::new() };
    if entries.len() > SOURCES_MAX {
        problems.add(top.span_of("source"), format!("{} `[[source]]` entries, {SOURCES_MAX} are allowed", entries.len()));
    }
    let mut sources: Vec<Source> = Vec::new();
    for entry in &entries {
        let Some(source) = read(problems, entry, grant) else { continue };
        if sources.iter().any(|other| other.name == source.name) {
            problems.add(entry.span_of("name"), format!("two `[[source]]` entries are called `{}`", source.name));
        }
        sources.push(source);
    }
    sources
}

#[derive(Clone, Copy)]
enum Word {
    Http,
    Webhook,
}

fn read(problems: &Problems<'_>, entry: &Section<'_>, grant: &Grant) -> Option<Source> {
    let id = |key, example| {
        let text = entry.required(key, example)?;
        Id::new(text.value).map_err(|e| problems.add(text.span, e.to_string())).ok()
    };
    let (name, device) = (id("name", "name = \"weather\""), id("device", "device = \"weather\""));
    let values = read_values(problems, entry);
    let time = entry.string("time").and_then(|at| pointer(at.value).map_err(|why| problems.add(at.span, why)).ok());
    entry.required("kind", "kind = \"http\"")?;
    let kind = match entry.word("kind", &[("http", Word::Http), ("webhook", Word::Webhook)])? {
        Word::Http => {
            refuse(problems, entry, &["secret", "verify", "header"], "of kind `webhook`");
            read_http(problems, entry, grant)
        }
        Word::Webhook => {
            refuse(problems, entry, &["url", "every", "headers"], "of kind `http`");
            read_webhook(problems, entry, grant)
        }
    };
    Some(Source { name: name?, device: device?, values: values?, time, kind: kind? })
}

fn refuse(problems: &Problems<'_>, entry: &Section<'_>, keys: &[&str], whose: &str) {
    for key in keys.iter().filter(|key| entry.has(key)) {
        problems.add(entry.span_of(key), format!("`{key}` has no meaning here: it is for sources {whose}"));
    }
}

fn read_http(problems: &Problems<'_>, entry: &Section<'_>, grant: &Grant) -> Option<SourceKind> {
    let url = entry.required("url", "url = \"https://api.example.com/now\"")?;
    match host_of(url.value) {
        Err(why) => problems.add(url.span.clone(), why),
        Ok((host, port, tls)) if grant.reach(&host, port, tls).is_none() => {
            let shown = port.map_or(host.clone(), |port| format!("{host}:{port}"));
            problems.add_with_hint(
                url.span.clone(),
                format!("`{shown}` is not granted"),
                format!("add `http = [\"{shown}\"]` to `[grant]`"),
            );
        }
        Ok(_) => {}
    }
    entry.required("every", "every = \"5m\"")?;
    let every = entry.duration("every", EVERY_MAX)?;
    if every < EVERY_MIN {
        problems.add(entry.span_of("every"), format!("`every` is `{}` at least", quantity::duration_text(EVERY_MIN)));
    }
    Some(SourceKind::Http { url: url.value.to_owned(), every, headers: read_headers(problems, entry, grant) })
}

fn read_webhook(problems: &Problems<'_>, entry: &Section<'_>, grant: &Grant) -> Option<SourceKind> {
    let secret = entry.required("secret", "secret = \"HOOK_SECRET\"")?;
    granted(problems, secret.span, secret.value, grant);
    let verify = entry.word("verify", &[("header", Verify::Header), ("hmac-sha256", Verify::HmacSha256)]).unwrap_or(Verify::Header);
    let default = match verify {
        Verify::Header => "x-tawi-secret",
        Verify::HmacSha256 => "x-hub-signature-256",
    };
    let header = entry.string("header");
    if let Some(at) = header.as_ref().filter(|at| !is_header(at.value)) {
        problems.add(at.span.clone(), format!("`{}` is not the name of a header", at.value));
    }
    let header = header.map_or(default.to_owned(), |at| at.value.to_ascii_lowercase());
    Some(SourceKind::Webhook { secret: secret.value.to_owned(), verify, header })
}

fn granted(problems: &Problems<'_>, span: std::ops::Range<usize>, secret: &str, grant: &Grant) {
    if let Err(why) = check_key(secret) {
        problems.add(span, why);
    } else if !grant.secrets.iter().any(|known| known == secret) {
        problems.add_with_hint(
            span,
            format!("the secret `{secret}` is not granted"),
            format!("add `secrets = [\"{secret}\"]` to `[grant]`"),
        );
    }
}

fn read_values(problems: &Problems<'_>, entry: &Section<'_>) -> Option<BTreeMap<Id, String>> {
    if !entry.has("values") {
        problems.add_with_hint(
            entry.span(),
            "`[[source]]` has no `values`",
            "add `values = { temp = \"/main/temp\" }`: sensors, and JSON pointers to their values",
        );
    }
    let mut values = BTreeMap::new();
    for (sensor, pointer) in texts(problems, entry, "values", "values = { ... }") {
        match (Id::new(&sensor), self::pointer(&pointer)) {
            (Ok(sensor), Ok(pointer)) => drop(values.insert(sensor, pointer)),
            (Err(error), _) => problems.add(entry.span_of("values"), error.to_string()),
            (_, Err(why)) => problems.add(entry.span_of("values"), why),
        }
    }
    if entry.has("values") && values.is_empty() {
        problems.add(entry.span_of("values"), "`values` names no sensor");
    }
    Some(values).filter(|values| !values.is_empty())
}

fn read_headers(problems: &Problems<'_>, entry: &Section<'_>, grant: &Grant) -> BTreeMap<String, String> {
    let mut headers = BTreeMap::new();
    for (name, text) in texts(problems, entry, "headers", "headers = { ... }") {
        let plain = text.chars().all(|c| c == ' ' || c.is_ascii_graphic());
        if !is_header(&name)
            || !plain
            || ["host", "content-length", "transfer-encoding", "connection"].contains(&name.to_ascii_lowercase().as_str())
        {
            problems.add(entry.span_of("headers"), format!("the header `{name}` can't be sent"));
        }
        for secret in secrets_in(&text) {
            granted(problems, entry.span_of("headers"), secret, grant);
        }
        headers.insert(name.to_ascii_lowercase(), text);
    }
    headers
}

/// The strings of a table whose keys the author chooses.
fn texts(problems: &Problems<'_>, entry: &Section<'_>, key: &str, name: &str) -> Vec<(String, String)> {
    let Some((span, entries)) = entry.free_table(key, name) else { return Vec::new() };
    if entries.len() > ENTRIES_MAX {
        problems.add(span, format!("`{key}` has {} entries, {ENTRIES_MAX} are allowed", entries.len()));
    }
    let mut texts = Vec::new();
    for (inner, value) in entries {
        match value.get_ref() {
            DeValue::String(text) if text.len() <= TEXT_BYTES_MAX => texts.push((inner.get_ref().to_string(), text.to_string())),
            _ => problems.add(value.span(), format!("`{}` must be a string of at most {TEXT_BYTES_MAX} bytes", inner.get_ref())),
        }
    }
    texts
}

/// The names in the `${…}` of a text.
pub fn secrets_in(text: &str) -> Vec<&str> {
    text.split("${").skip(1).filter_map(|rest| rest.split_once('}')).map(|(name, _)| name).collect()
}

fn is_header(name: &str) -> bool {
    !name.is_empty() && name.len() <= 64 && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c))
}

/// RFC 6901: empty for the whole, else it begins with a `/`.
fn pointer(text: &str) -> Result<String, String> {
    if text.len() <= TEXT_BYTES_MAX && (text.is_empty() || text.starts_with('/')) {
        return Ok(text.to_owned());
    }
    Err(format!("`{}` is not a JSON pointer such as `/main/temp`", text.chars().take(80).collect::<String>()))
}

/// Host, port if it is said, and whether it is TLS.
fn host_of(url: &str) -> Result<(String, Option<u16>, bool), String> {
    let wrong = |why: &str| format!("`{}` can't be asked: {why}", url.chars().take(80).collect::<String>());
    let (tls, rest) = match (url.strip_prefix("https://"), url.strip_prefix("http://")) {
        (Some(rest), _) => (true, rest),
        (_, Some(rest)) => (false, rest),
        _ => return Err(wrong("it begins with `https://` or `http://`")),
    };
    if url.len() > TEXT_BYTES_MAX || !url.chars().all(|c| c.is_ascii_graphic()) {
        return Err(wrong("a URL is plain and short; write other characters as `%..`"));
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.contains('@') {
        return Err(wrong("a name and password belong into a header, from a secret"));
    }
    let checked = super::check_host(authority).map_err(|why| wrong(&why))?;
    if checked.starts_with('*') {
        return Err(wrong("which host is it?"));
    }
    match checked.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => Ok((host.to_owned(), port.parse().ok(), tls)),
        _ => Ok((checked, None, tls)),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::model::Manifest;

    fn parse(source: &str, grant: &str) -> Result<Manifest, String> {
        let text = format!("[app]\nname = \"a\"\n[[on]]\nname = \"f\"\nsubject = \"reading.>\"\n[grant]\n{grant}\n[[source]]\n{source}\n");
        Manifest::parse(&text).map_err(|error| error.to_string())
    }

    const GRANT: &str = "http = [\"api.example.com\", \"10.0.0.7:8080\"]\nsecrets = [\"KEY\"]";

    #[test]
    fn a_source_says_whom_to_ask_how_often_and_where_the_values_stand() {
        let http = "name = \"w\"\nkind = \"http\"\nurl = \"https://api.example.com/now?q=1\"\nevery = \"5m\"\ndevice = \"weather\"
            headers = { Authorization = \"Bearer ${KEY}\" }\nvalues = { temp = \"/main/temp\" }\ntime = \"/at\"";
        let manifest = parse(http, GRANT).unwrap();
        let SourceKind::Http { every, headers, .. } = &manifest.sources[0].kind else { panic!("{manifest:?}") };
        assert_eq!((every.as_secs(), headers["authorization"].as_str()), (300, "Bearer ${KEY}"));
        let stored = serde_json::to_string(&manifest).unwrap();
        assert_eq!(serde_json::from_str::<Manifest>(&stored).unwrap(), manifest);
        let hook =
            "name = \"w\"\nkind = \"webhook\"\ndevice = \"weather\"\nsecret = \"KEY\"\nverify = \"hmac-sha256\"\nvalues = { temp = \"\" }";
        let SourceKind::Webhook { header, .. } = parse(hook, GRANT).unwrap().sources[0].kind.clone() else { panic!("a webhook") };
        assert_eq!(header, "x-hub-signature-256");
    }

    #[test]
    fn what_a_source_gets_wrong_is_named() {
        let http = |url: &str, every: &str, rest: &str| {
            format!("name = \"w\"\nkind = \"http\"\nurl = \"{url}\"\nevery = \"{every}\"\ndevice = \"weather\"\n{rest}")
        };
        let values = "values = { temp = \"/t\" }";
        for (source, what) in [
            (http("https://evil.example.com/", "5m", values), "`evil.example.com` is not granted"),
            (http("https://10.0.0.7/", "5m", values), "`10.0.0.7` is not granted"),
            (http("ftp://api.example.com/", "5m", values), "begins with `https://`"),
            (http("https://a:b@api.example.com/", "5m", values), "belong into a header"),
            (http("https://api.example.com/", "1s", values), "`every` is `10s` at least"),
            (http("https://api.example.com/", "48h", values), "at most `24h`"),
            (http("https://api.example.com/", "5m", ""), "has no `values`"),
            (http("https://api.example.com/", "5m", "values = { temp = \"t\" }"), "is not a JSON pointer"),
            (http("https://api.example.com/", "5m", "values = { \"a b\" = \"/t\" }"), "can't stand in an id"),
            (http("https://api.example.com/", "5m", &format!("{values}\nheaders = {{ x = \"${{OTHER}}\" }}")), "`OTHER` is not granted"),
            (http("https://api.example.com/", "5m", &format!("{values}\nheaders = {{ host = \"x\" }}")), "can't be sent"),
            (http("https://api.example.com/", "5m", &format!("{values}\nsecret = \"KEY\"")), "no meaning here"),
            (format!("name = \"w\"\nkind = \"webhook\"\ndevice = \"d\"\n{values}"), "has no `secret`"),
            (format!("name = \"w\"\nkind = \"webhook\"\ndevice = \"d\"\nsecret = \"OTHER\"\n{values}"), "`OTHER` is not granted"),
            (format!("name = \"w\"\nkind = \"ftp\"\ndevice = \"d\"\n{values}"), "can't be `ftp`"),
        ] {
            let error = parse(&source, GRANT).unwrap_err();
            assert!(error.contains(what), "{source}\n{error}");
        }
        let one = "[[source]]\nname = \"w\"\nkind = \"webhook\"\ndevice = \"d\"\nsecret = \"KEY\"\nvalues = { t = \"\" }\n";
        let many = one.repeat(SOURCES_MAX + 1).replacen("[[source]]\n", "", 1);
        let error = parse(&many, GRANT).unwrap_err();
        assert!(error.contains("16 are allowed") && error.contains("are called `w`"), "{error}");
    }
}
