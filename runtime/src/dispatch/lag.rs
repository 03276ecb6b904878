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
        let behind = ledger.reaches_back(below, bytes_max)?;
        let mut paused = Vec::new();
        for (function, position) in ledger.functions()? {
            if position.through + 1 < behind
                && ledger.pause(&function)?.is_none()
                && self.pause(&function, &position, behind, below).await?
            {
                paused.push(function);
            }
        }
        Ok(paused)
    }

    /// False when it has caught up, or another node was first.
    async fn pause(&self, function: &FunctionId, position: &Position, behind: Seq, below: Seq) -> Result<bool, LedgerError> {
        let (ledger, now) = (&self.context.ledger, clock::now());
        let bytes = ledger.log_bytes(position.through + 1, below)?;
        let why = format!(
            "paused: {bytes} bytes of the log were kept for it alone, from event {} on. They are dropped now, and counted as lost to it; \
             `tawi resume {} {}` lets it go on with what is there then",
            position.through + 1,
            function.app.app,
            function.function,
        );
        let said = said(function, LogLevel::Error, why, now);
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
        let (ledger, now) = (&self.context.ledger, clock::now());
        let Some(pause) = ledger.pause(function)? else { return Ok(false) };
        let lost = ledger.lost(Some(&function.app))?.into_iter().filter(|(of, lost)| of == function && lost.paused == pause.since);
        let what = lost.map(|(_, lost)| lost_words(&lost)).next().unwrap_or_else(|| "nothing was lost".to_owned());
        let said = said(function, LogLevel::Warn, format!("resumed: {what}"), now);
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
