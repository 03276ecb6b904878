//! What of an event is indexed, what is kept of it, and how it is read back. `docs/formats/history.md` is the promise.

use super::query::{EVENTS, Field as Named, Indexed, Vocabulary};
use crate::model::{
    Event, Id, Kind, Micros, NewEvent, Seq, Subject, Tenant, Value,
    event::{Cause, Place},
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tantivy::{
    TantivyDocument,
    schema::{Field, IndexRecordOption, NumericOptions, STORED, Schema, TextFieldIndexing, TextOptions, Value as _},
};

/// In rising order; `level:>=warn` relies on it.
pub(super) const LEVELS: [&str; 6] = ["trace", "debug", "info", "warn", "error", "critical"];

#[derive(Debug, Clone)]
pub(super) struct Fields {
    pub schema: Schema,
    pub tenant: Field,
    pub kind: Field,
    pub device: Field,
    pub sensor: Field,
    pub subject: Field,
    pub app: Field,
    pub function: Field,
    pub call: Field,
    pub level: Field,
    pub text: Field,
    pub value: Field,
    pub measured: Field,
    pub received: Field,
    pub seq: Field,
    pub cause: Field,
    /// The one field that is stored.
    pub event: Field,
}

impl Fields {
    pub fn new() -> Fields {
        let mut builder = Schema::builder();
        // Nothing is ranked, so nobody needs the lengths of texts that field norms hold.
        let indexed = |tokenizer, record| {
            let indexing = TextFieldIndexing::default().set_tokenizer(tokenizer).set_fieldnorms(false).set_index_option(record);
            TextOptions::default().set_indexing_options(indexing)
        };
        let raw = indexed("raw", IndexRecordOption::Basic);
        // Numbers are columns only: a scan of a column is quick, and a term for each number ever measured is not cheap.
        let column = NumericOptions::default().set_fast();
        let mut name = |name| builder.add_text_field(name, raw.clone());
        let [tenant, kind, device, sensor, subject] = ["tenant", "kind", "device", "sensor", "subject"].map(&mut name);
        let [app, function, call, level] = ["app", "function", "call", "level"].map(name);
        let text = builder.add_text_field("text", indexed("default", IndexRecordOption::WithFreqsAndPositions));
        let value = builder.add_f64_field("value", column.clone());
        let measured = builder.add_i64_field("measured", column.clone());
        let received = builder.add_i64_field("received", column.clone());
        let seq = builder.add_u64_field("seq", column.clone());
        let cause = builder.add_u64_field("cause", column);
        let event = builder.add_text_field("event", STORED);
        let schema = builder.build();
        Fields {
            schema,
            tenant,
            kind,
            device,
            sensor,
            subject,
            app,
            function,
            call,
            level,
            text,
            value,
            measured,
            received,
            seq,
            cause,
            event,
        }
    }

    pub fn document(&self, event: &Event) -> TantivyDocument {
        let mut doc = TantivyDocument::default();
        doc.add_text(self.tenant, event.tenant.as_str());
        doc.add_text(self.kind, kind_name(event.kind));
        doc.add_text(self.subject, event.subject.as_str());
        doc.add_i64(self.measured, event.measured.0);
        doc.add_i64(self.received, event.received.0);
        doc.add_u64(self.seq, event.seq);
        if let Some(device) = &event.device {
            doc.add_text(self.device, device.as_str());
        }
        if let Some(sensor) = &event.sensor {
            doc.add_text(self.sensor, sensor.as_str());
        }
        if let Some(cause) = &event.cause {
            doc.add_text(self.app, cause.app.as_str());
            doc.add_text(self.function, cause.function.as_str());
            doc.add_text(self.call, &cause.call);
            doc.add_u64(self.cause, cause.seq);
        }
        match event.kind {
            Kind::Log => self.add_line(&mut doc, &event.value),
            // Found by what was sent, and by why it was taken out.
            Kind::Dropped => {
                self.add_value(&mut doc, &event.value);
                event.raw.iter().for_each(|raw| self.add_value(&mut doc, raw));
            }
            // What was made of other readings is found by how: beside its value stands that, and nothing that a device sent.
            Kind::Reading if event.cause.is_some() => {
                self.add_value(&mut doc, &event.value);
                event.raw.iter().for_each(|made| self.add_value(&mut doc, made));
            }
            _ => self.add_value(&mut doc, &event.value),
        }
        doc.add_text(self.event, Stored::of(event));
        doc
    }

    /// A log line is text, whatever it looks like.
    fn add_line(&self, doc: &mut TantivyDocument, value: &Value) {
        let line = Line::of(value);
        if let Some(level) = line.level {
            doc.add_text(self.level, level.to_lowercase());
        }
        for text in [line.message, line.context].into_iter().flatten() {
            doc.add_text(self.text, text);
        }
    }

    /// A number, quoted or not, is a number; every text inside anything else is a text.
    fn add_value(&self, doc: &mut TantivyDocument, value: &Value) {
        if let Some(number) = value.as_f64() {
            // Adding 0 makes -0 a 0: the column tells them apart, nobody who asks does.
            doc.add_f64(self.value, number + 0.0);
            return;
        }
        let Value::Json(json) = value else { return };
        if json.starts_with(['"', '[', '{', 't', 'f']) {
            self.add_texts(doc, &value.to_json());
        }
    }

    fn add_texts(&self, doc: &mut TantivyDocument, json: &serde_json::Value) {
        match json {
            serde_json::Value::String(text) => doc.add_text(self.text, text),
            serde_json::Value::Bool(yes) => doc.add_text(self.text, if *yes { "true" } else { "false" }),
            serde_json::Value::Array(items) => items.iter().for_each(|item| self.add_texts(doc, item)),
            serde_json::Value::Object(entries) => entries.values().for_each(|item| self.add_texts(doc, item)),
            serde_json::Value::Number(_) | serde_json::Value::Null => {}
        }
    }

    /// The hit that a stored document is. None: the document is not one of ours.
    pub fn hit(&self, doc: &TantivyDocument) -> Option<Hit> {
        let text = doc.get_first(self.event)?.as_str()?;
        serde_json::from_str::<Stored>(text).ok()?.into_hit()
    }
}

impl Indexed for Fields {
    fn vocabulary(&self) -> &'static Vocabulary {
        &EVENTS
    }

    fn of(&self, field: Named) -> Option<Field> {
        Some(match field {
            Named::Kind => self.kind,
            Named::Device => self.device,
            Named::Sensor => self.sensor,
            Named::Subject => self.subject,
            Named::App => self.app,
            Named::Function => self.function,
            Named::Call => self.call,
            Named::Level => self.level,
            Named::Text => self.text,
            Named::Value => self.value,
            Named::Measured => self.measured,
            Named::Received => self.received,
            Named::Seq => self.seq,
            Named::Cause => self.cause,
            _ => return None,
        })
    }
}

pub(super) const KINDS: [Kind; 5] = [Kind::Reading, Kind::Message, Kind::Command, Kind::Log, Kind::Dropped];

pub(super) fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Reading => "reading",
        Kind::Message => "message",
        Kind::Command => "command",
        Kind::Log => "log",
        Kind::Registry => "registry",
        Kind::Trigger => "trigger",
        Kind::Run => "run",
        Kind::Dropped => "dropped",
    }
}

/// One event that a query found.
#[derive(Debug, Clone, PartialEq)]
pub struct Hit {
    pub seq: Seq,
    pub kind: Kind,
    pub subject: String,
    pub device: Option<Id>,
    pub sensor: Option<Id>,
    /// The event's value, whole: for a log line the object with level, context, message, call and attempt.
    pub value: Value,
    /// What the device sent, where pre-processing changed it.
    pub raw: Option<Value>,
    pub measured: Micros,
    pub received: Micros,
    /// Who wrote it, for what an app wrote.
    pub app: Option<Id>,
    pub function: Option<Id>,
    pub call: Option<String>,
    /// The event whose handling wrote it; 0 for an HTTP call.
    pub cause: Option<Seq>,
    /// Of a log line.
    pub level: Option<String>,
    pub message: Option<String>,
    /// Of a reading that was taken out: the rule, the step, a code, and why in words.
    pub dropped: Option<serde_json::Value>,
    /// What order is kept for, where that is neither the device nor, without one, the subject.
    pub key: Option<String>,
    /// How many events led to this one.
    pub hops: u16,
}

fn key_of(device: Option<&Id>, subject: &str) -> String {
    device.map_or_else(|| subject.to_owned(), ToString::to_string)
}

impl Hit {
    /// What of it can be large.
    pub fn bytes(&self) -> usize {
        self.value.len_bytes() + self.raw.as_ref().map_or(0, Value::len_bytes) + self.message.as_ref().map_or(0, String::len)
    }

    /// The event that it was; of the call that wrote it, if one did, not its place among the effects. None: it is not one.
    pub fn into_event(self, tenant: &Tenant) -> Option<Event> {
        let subject = Subject::new(&self.subject).ok()?;
        let Hit { seq, kind, device, sensor, measured, received, value, raw, key, hops, .. } = self;
        let key = key.unwrap_or_else(|| key_of(device.as_ref(), subject.as_str()));
        let cause = match (self.app, self.function, self.call, self.cause) {
            (Some(app), Some(function), Some(call), Some(seq)) => Some(Cause { app, function, seq, call, place: Place { index: 0, hops } }),
            _ => None,
        };
        let tenant = tenant.clone();
        Some(Event {
            seq,
            body: NewEvent {
                tenant,
                kind,
                subject,
                key,
                device,
                sensor,
                measured,
                received,
                value,
                raw: raw.map(Box::new),
                cause: cause.map(Box::new),
            },
        })
    }
}

/// What a log event's value holds.
#[derive(Debug, Default, Deserialize)]
struct Line {
    level: Option<String>,
    context: Option<String>,
    message: Option<String>,
}

impl Line {
    fn of(value: &Value) -> Line {
        match value {
            Value::Json(text) => serde_json::from_str(text).unwrap_or_default(),
            Value::Bytes(_) => Line::default(),
        }
    }
}

/// The stored form, JSON with short names: one of these for every event there ever was.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Stored<'a> {
    q: Seq,
    k: &'a str,
    s: std::borrow::Cow<'a, str>,
    m: i64,
    r: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    d: Option<Id>,
    #[serde(skip_serializing_if = "Option::is_none")]
    n: Option<Id>,
    #[serde(borrow, skip_serializing_if = "Content::is_none")]
    v: Content<'a>,
    #[serde(borrow, skip_serializing_if = "Content::is_none")]
    w: Content<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    a: Option<Id>,
    #[serde(skip_serializing_if = "Option::is_none")]
    f: Option<Id>,
    #[serde(skip_serializing_if = "Option::is_none")]
    c: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    e: Option<Seq>,
    #[serde(skip_serializing_if = "Option::is_none")]
    y: Option<String>,
    #[serde(skip_serializing_if = "is_none")]
    h: u16,
}

fn is_none(hops: &u16) -> bool {
    *hops == 0
}

/// A value: `j` its JSON, or `b` its bytes in hex.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Content<'a> {
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    j: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    b: Option<String>,
}

impl<'a> Content<'a> {
    fn is_none(&self) -> bool {
        self.j.is_none() && self.b.is_none()
    }

    fn of(value: &'a Value) -> Content<'a> {
        match value {
            Value::Json(text) => Content { j: serde_json::from_str(text).ok(), b: None },
            Value::Bytes(bytes) => Content { j: None, b: Some(hex(bytes)) },
        }
    }

    fn into_value(self) -> Option<Value> {
        match (self.j, self.b) {
            (Some(json), _) => Some(Value::Json(json.get().into())),
            (None, Some(hex)) => Some(Value::Bytes(unhex(&hex)?.into())),
            (None, None) => None,
        }
    }
}

impl Stored<'_> {
    fn of(event: &Event) -> String {
        let cause = event.cause.as_ref();
        let stored = Stored {
            q: event.seq,
            k: kind_name(event.kind),
            s: event.subject.as_str().into(),
            m: event.measured.0,
            r: event.received.0,
            d: event.device.clone(),
            n: event.sensor.clone(),
            v: Content::of(&event.value),
            w: event.raw.as_deref().map(Content::of).unwrap_or_default(),
            a: cause.map(|cause| cause.app.clone()),
            f: cause.map(|cause| cause.function.clone()),
            c: cause.map(|cause| cause.call.clone()),
            e: cause.map(|cause| cause.seq),
            y: Some(&event.key).filter(|key| **key != key_of(event.device.as_ref(), event.subject.as_str())).cloned(),
            h: event.hops(),
        };
        serde_json::to_string(&stored).unwrap_or_else(|e| unreachable!("names and values are JSON: {e}"))
    }

    fn into_hit(self) -> Option<Hit> {
        let kind = KINDS.into_iter().find(|kind| kind_name(*kind) == self.k)?;
        let mut value = self.v.into_value().unwrap_or_else(|| Value::Json("null".into()));
        let (mut raw, mut dropped) = (self.w.into_value(), None);
        // What a device sent is the value of a hit, whatever became of it.
        if kind == Kind::Dropped
            && let Some(sent) = raw.take()
        {
            dropped = Some(std::mem::replace(&mut value, sent).to_json());
        }
        let line = if kind == Kind::Log { Line::of(&value) } else { Line::default() };
        Some(Hit {
            seq: self.q,
            kind,
            subject: self.s.into_owned(),
            device: self.d,
            sensor: self.n,
            value,
            raw,
            measured: Micros(self.m),
            received: Micros(self.r),
            app: self.a,
            function: self.f,
            call: self.c,
            cause: self.e,
            level: line.level,
            message: line.message,
            dropped,
            key: self.y,
            hops: self.h,
        })
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

fn unhex(hex: &str) -> Option<Vec<u8>> {
    let pairs = hex.as_bytes().chunks(2);
    pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

/// Whose events, and for what: the tenant is a term of every document, and a condition of every query.
pub(super) fn tenant_term(fields: &Fields, tenant: &Tenant) -> tantivy::Term {
    tantivy::Term::from_field_text(fields.tenant, tenant.as_str())
}
