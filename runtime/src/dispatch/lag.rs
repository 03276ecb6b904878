//! Functions that are so far behind that the log is kept for them no longer, and their way back.

use super::{Dispatch, outgoing::Origin};
use crate::{
    clock,
    ledger::{LedgerError, Lost, Op, Outcome, Position},
    model::{FunctionId, LogLevel, LogLine, Micros, NewEvent, Seq},
};

impl Dispatch {
    /// Pauses each function for whose sake alone the log keeps more than `bytes_max`: events before `below`, which nobody else needs.
    pub async fn pause_laggards(&self, below: Seq, bytes_max: u64) -> Result<Vec<FunctionId>, LedgerError> {
        let ledger = &self.context.ledger;
        // What is kept for outsiders is not kept for a function alone.
        let below = ledger.trimmable(below);
        let behind = ledger.reaches_back(below, bytes_max)?;
        let mut paused = Vec::new();
        for (function, position) in ledger.functions()? {
            if position.through + 1 < behind
                && self.known_through(&function) + 1 < behind
                && ledger.pause(&function)?.is_none()
                && self.pause(&function, &position, behind, below).await?
            {
                paused.push(function);
            }
        }
        Ok(paused)
    }

    /// How far a consumer has come that runs here, which it stores now and then; 0 for one that does not run.
    fn known_through(&self, function: &FunctionId) -> Seq {
        self.consumer(function).map_or(0, |consumer| consumer.tracker.lock().position(function, &[]).through)
    }

    /// False when it has caught up, or another node was first.
    async fn pause(&self, function: &FunctionId, position: &Position, behind: Seq, below: Seq) -> Result<bool, LedgerError> {
        let (ledger, now) = (&self.context.ledger, clock::now());
        let bytes = ledger.log_bytes(position.through + 1, below)?;
        // What makes its triggers of time is paused as the function is.
        let shown = function.shown();
        let why = format!(
            "paused: {bytes} bytes of the log were kept for it alone, from event {} on. They are dropped now, and counted as lost to it; \
             `tawi resume {} {}` lets it go on with what is there then",
            position.through + 1,
            shown.app.app,
            shown.function,
        );
        let said = said(&shown, LogLevel::Error, why, now);
        let op = Op::Pause { function: function.clone(), behind, now, said };
        let done = matches!(ledger.apply(op).await?, Outcome::Applied { .. });
        if done {
            tracing::warn!(%function, bytes, "a function is paused: it is so far behind that the log is kept for it no longer");
            self.tell(function);
        }
        Ok(done)
    }

    /// Lets a paused function go on with the oldest event that is there. False when it is not paused.
    pub async fn resume(&self, function: &FunctionId) -> Result<bool, LedgerError> {
        let evaluator = self.resume_one(&function.evaluator(), function).await?;
        Ok(self.resume_one(function, function).await? || evaluator)
    }

    /// Nobody sees what makes a rule's readings, and nobody could let it go on: it does so by itself, with what is there.
    pub(super) async fn resume_rule(&self, rule: &FunctionId) -> Result<bool, LedgerError> {
        self.resume_one(&rule.deriver(), rule).await
    }

    async fn resume_one(&self, function: &FunctionId, shown: &FunctionId) -> Result<bool, LedgerError> {
        let (ledger, now) = (&self.context.ledger, clock::now());
        let Some(pause) = ledger.pause(function)? else { return Ok(false) };
        let lost = ledger.lost(Some(&function.app))?.into_iter().filter(|(of, lost)| of == function && lost.paused == pause.since);
        let what = lost.map(|(_, lost)| lost_words(&lost)).next().unwrap_or_else(|| "nothing was lost".to_owned());
        let said = said(shown, LogLevel::Warn, format!("resumed: {what}"), now);
        let done = matches!(ledger.apply(Op::Resume { function: function.clone(), said }).await?, Outcome::Applied { .. });
        self.tell(function);
        Ok(done)
    }

    fn tell(&self, function: &FunctionId) {
        if let Some(consumer) = self.consumer(function) {
            consumer.moved();
        }
    }
}

fn lost_words(lost: &Lost) -> String {
    let Lost { from, to, events, bytes, received_from, received_to, .. } = lost;
    format!("{events} events ({bytes} bytes) from {from} to {to}, received from {received_from} to {received_to}, were dropped without it")
}

fn said(function: &FunctionId, level: LogLevel, message: String, now: Micros) -> Vec<NewEvent> {
    let origin = Origin { function, event: None, call: "lag", attempt: 0, now };
    origin.logs(vec![LogLine { time: now, level, context: "tawi".into(), message }], 0, None)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::{
        dispatch::HistorySource,
        engine::{Engine, EngineOptions},
        host::HistoryPage,
        ledger::{Append, Ledger, LedgerConfig, LedgerOptions},
        model::{AppId, Id, Value, id::default_tenant},
    };
    use std::sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    };

    #[tokio::test]
    async fn what_is_kept_for_outsiders_pauses_no_function() {
        let dir = tempfile::tempdir().unwrap();
        let config = LedgerConfig::Embedded { dir: dir.path().into(), options: LedgerOptions::default() };
        let relayed = Arc::new(AtomicU64::new(0));
        let ledger = Ledger::open(&config).await.unwrap().with_relayed(relayed.clone());
        let engine = Engine::open(&EngineOptions { instances_max: 2, ..EngineOptions::default() }).unwrap();
        let no_history: HistorySource = Arc::new(|_, _| Box::pin(async { Ok(HistoryPage::default()) }));
        let dispatch = Dispatch::new(engine, ledger.clone(), no_history);
        let (tenant, id) = (default_tenant(), |text| Id::new(text).unwrap());
        let reading = NewEvent::reading(&tenant, &id("d"), &id("s"), Micros(1), Micros(1), Value::Json("9".into()));
        let function = FunctionId { app: AppId::new(tenant.clone(), id("a")), function: id("slow") };
        ledger.apply(Op::Register { function: function.clone(), start: 0 }).await.unwrap();
        ledger.apply(Op::Append(Append { tenant, events: vec![reading; 9], dedup: None, intake: None })).await.unwrap();
        assert_eq!(dispatch.pause_laggards(10, 0).await.unwrap(), [], "the log would be as long without it");
        relayed.store(9, Ordering::Release);
        assert_eq!(dispatch.pause_laggards(10, 0).await.unwrap(), [function]);
    }
}
