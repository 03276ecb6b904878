//! What of a call's record is indexed. The record itself is stored as it is in the log. `docs/formats/history.md` is the promise.

use super::query::{Field as Named, Indexed, RUNS, Vocabulary};
use crate::model::{Event, Run};
use tantivy::{
    TantivyDocument,
    schema::{Field, IndexRecordOption, NumericOptions, STORED, Schema, TextFieldIndexing, TextOptions, Value as _},
};

#[derive(Debug, Clone)]
pub(super) struct RunFields {
    pub schema: Schema,
    pub tenant: Field,
    app: Field,
    function: Field,
    outcome: Field,
    device: Field,
    sensor: Field,
    subject: Field,
    trigger: Field,
    call: Field,
    text: Field,
    release: Field,
    attempt: Field,
    duration: Field,
    cpu: Field,
    memory: Field,
    effects: Field,
    event: Field,
    pub start: Field,
    seq: Field,
    /// The one field that is stored.
    run: Field,
}

impl RunFields {
    pub fn new() -> RunFields {
        let mut builder = Schema::builder();
        let indexed = |tokenizer, record| {
            let indexing = TextFieldIndexing::default().set_tokenizer(tokenizer).set_fieldnorms(false).set_index_option(record);
            TextOptions::default().set_indexing_options(indexing)
        };
        let raw = indexed("raw", IndexRecordOption::Basic);
        let column = NumericOptions::default().set_fast();
        let mut name = |name| builder.add_text_field(name, raw.clone());
        let [tenant, app, function, outcome, device] = ["tenant", "app", "function", "outcome", "device"].map(&mut name);
        let [sensor, subject, trigger, call] = ["sensor", "subject", "trigger", "call"].map(name);
        let text = builder.add_text_field("text", indexed("default", IndexRecordOption::WithFreqsAndPositions));
        let mut count = |name| builder.add_u64_field(name, column.clone());
        let [release, attempt, memory, effects, event, seq] = ["release", "attempt", "memory", "effects", "event", "seq"].map(&mut count);
        let [duration, cpu] = ["duration", "cpu"].map(|name| builder.add_f64_field(name, column.clone()));
        let start = builder.add_i64_field("start", column);
        let run = builder.add_text_field("run", STORED);
        let schema = builder.build();
        RunFields {
            schema,
            tenant,
            app,
            function,
            outcome,
            device,
            sensor,
            subject,
            trigger,
            call,
            text,
            release,
            attempt,
            duration,
            cpu,
            memory,
            effects,
            event,
            start,
            seq,
            run,
        }
    }

    /// None: the event is no record that this version can read.
    pub fn document(&self, event: &Event) -> Option<TantivyDocument> {
        let run = Run::from_value(&event.value)?;
        let crate::model::Value::Json(stored) = &event.value else { return None };
        let mut doc = TantivyDocument::default();
        doc.add_text(self.tenant, event.tenant.as_str());
        doc.add_text(self.app, run.app.as_str());
        doc.add_text(self.function, run.function.as_str());
        doc.add_text(self.outcome, run.outcome.name());
        if run.outcome.is_error() {
            doc.add_text(self.outcome, "error");
        }
        for (field, id) in [(self.device, &run.device), (self.sensor, &run.sensor)] {
            if let Some(id) = id {
                doc.add_text(field, id.as_str());
            }
        }
        let path = run.request.as_ref().map(|request| request.path.as_str());
        for (field, text) in [(self.subject, run.subject.as_str()), (self.trigger, &run.trigger), (self.call, &run.call)] {
            if !text.is_empty() {
                doc.add_text(field, text);
            }
        }
        for text in [run.error.as_deref(), path].into_iter().flatten() {
            doc.add_text(self.text, text);
        }
        doc.add_u64(self.release, run.release);
        doc.add_u64(self.attempt, u64::from(run.attempt));
        doc.add_u64(self.memory, run.memory_bytes);
        doc.add_u64(self.effects, u64::from(run.writes) + u64::from(run.messages) + u64::from(run.commands));
        doc.add_u64(self.event, run.event);
        doc.add_f64(self.duration, millis(run.took_micros));
        doc.add_f64(self.cpu, millis(run.cpu_micros));
        doc.add_i64(self.start, run.start.0);
        doc.add_u64(self.seq, event.seq);
        doc.add_text(self.run, &**stored);
        Some(doc)
    }

    /// The record that a stored document is. None: the document is not one of ours.
    pub fn run(&self, doc: &TantivyDocument) -> Option<Run> {
        serde_json::from_str(doc.get_first(self.run)?.as_str()?).ok()
    }
}

/// As the columns have it, and as it is shown.
pub(super) fn millis(micros: u64) -> f64 {
    micros as f64 / 1_000.0
}

impl Indexed for RunFields {
    fn vocabulary(&self) -> &'static Vocabulary {
        &RUNS
    }

    fn of(&self, field: Named) -> Option<Field> {
        Some(match field {
            Named::App => self.app,
            Named::Function => self.function,
            Named::Outcome => self.outcome,
            Named::Device => self.device,
            Named::Sensor => self.sensor,
            Named::Subject => self.subject,
            Named::Trigger => self.trigger,
            Named::Call => self.call,
            Named::Text => self.text,
            Named::Release => self.release,
            Named::Attempt => self.attempt,
            Named::Duration => self.duration,
            Named::Cpu => self.cpu,
            Named::Memory => self.memory,
            Named::Effects => self.effects,
            Named::Event => self.event,
            Named::Start => self.start,
            Named::Seq => self.seq,
            Named::Kind | Named::Level | Named::Value | Named::Measured | Named::Received | Named::Cause => return None,
        })
    }
}
