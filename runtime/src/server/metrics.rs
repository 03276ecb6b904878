//! The page for Prometheus: what was counted as it happened, and what is looked up when it is asked for.

use super::{AppState, Problem, auth::Caller, request::blocking};
use crate::{
    dispatch::stats::Durations,
    identity::Action,
    model::FunctionId,
    telemetry::{CallFigures, DurationFigures, FunctionLabels},
};
use axum::{extract::State, response::IntoResponse};
use http::header;
use std::sync::atomic::{AtomicU64, Ordering};

/// `GET /metrics`
pub async fn page(State(state): State<AppState>, caller: Caller) -> Result<impl IntoResponse, Problem> {
    caller.may(Action::Read)?;
    let page = blocking(&state, |state| look_up(state).map(|calls| state.metrics.page(&calls))).await?;
    Ok(([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], page))
}

/// Events that a running function has not settled, parked ones apart; none for one that does not run.
pub fn lag(state: &AppState, function: &FunctionId) -> Option<u64> {
    let consumer = state.dispatch.consumer(function)?;
    // What comes after it in the log is told to no function.
    let told = *state.ledger.told().borrow();
    // What makes its triggers may be behind too.
    let scanned = state.dispatch.evaluated(function).map_or(consumer.scanned(), |evaluated| evaluated.min(consumer.scanned()));
    Some(told.saturating_sub(scanned) + consumer.open() as u64)
}

fn look_up(state: &AppState) -> Result<Vec<CallFigures>, Problem> {
    let (metrics, head) = (&state.metrics, *state.ledger.head().borrow());
    metrics.ledger_head.set(signed(head));
    metrics.ledger_first.set(signed(state.ledger.first()));
    metrics.history_lag_events.set(signed(head.saturating_sub(state.history.position())));
    metrics.dead_letters.set(signed(state.ledger.dead_count()?));
    let engine = &state.dispatch.context.engine;
    let size = engine.instances_max as usize;
    metrics.pool_size.set(signed(size as u64));
    metrics.pool_used.set(signed(size.saturating_sub(engine.permits_free()) as u64));
    // An app that was deleted leaves no series behind.
    metrics.function_lag.clear();
    metrics.function_parked.clear();
    metrics.function_behind.clear();
    metrics.function_paused.clear();
    metrics.function_lost.clear();
    for (function, position) in state.ledger.functions()? {
        let bytes = state.ledger.log_bytes(position.through + 1, head + 1)?;
        let behind = metrics.function_behind.get_or_create(&labels(&function)).clone();
        behind.set(behind.get().max(signed(bytes)));
    }
    for (function, _) in state.ledger.paused()? {
        metrics.function_paused.get_or_create(&labels(&function)).set(1);
    }
    for (function, lost) in state.ledger.lost(None)? {
        metrics.function_lost.get_or_create(&labels(&function)).inc_by(signed(lost.events));
    }
    let mut figures = Vec::new();
    for consumer in state.dispatch.consumers() {
        let labels = labels(&consumer.id);
        let parked = consumer.parked() as u64;
        let lag = lag(state, &consumer.id).unwrap_or(0) + parked;
        metrics.function_lag.get_or_create(&labels).set(signed(lag));
        metrics.function_parked.get_or_create(&labels).set(signed(parked));
        figures.push(CallFigures { labels, ..read(&consumer.stats) });
    }
    for app in state.dispatch.apps() {
        for (function, stats) in app.all_http_stats() {
            let labels = FunctionLabels { app: app.id.app.to_string(), function };
            figures.push(CallFigures { labels, ..read(&stats) });
        }
    }
    Ok(figures)
}

/// What makes a function's triggers counts as the function.
fn labels(id: &FunctionId) -> FunctionLabels {
    let id = id.shown();
    FunctionLabels { app: id.app.app.to_string(), function: id.function.to_string() }
}

fn read(stats: &crate::dispatch::stats::Stats) -> CallFigures {
    let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    CallFigures {
        labels: FunctionLabels { app: String::new(), function: String::new() },
        outcomes: [
            ("settled", get(&stats.settled)),
            ("retried", get(&stats.retried)),
            ("failed", get(&stats.failed)),
            ("rerun", get(&stats.reruns)),
        ],
        bounds_micros: &crate::dispatch::stats::BUCKETS_MICROS,
        calls: durations(&stats.calls),
        effects: durations(&stats.effects),
    }
}

fn durations(from: &Durations) -> DurationFigures {
    let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    DurationFigures { micros: get(&from.micros), buckets: from.buckets.iter().map(get).collect() }
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
