//! In: what the rooms count. Out: one page for Prometheus, and the node's own log on standard error.
//! Never: decides anything, keeps what grows with the number of devices.

use parking_lot::Mutex;
use prometheus_client::{
    encoding::{
        EncodeLabelSet,
        text::{encode_eof, encode_registry},
    },
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};
use std::{fmt::Write, sync::Arc};
use tracing_subscriber::{EnvFilter, fmt::format::FmtSpan, layer::SubscriberExt, util::SubscriberInitExt};

/// Tells what to log: `info`, `debug`, or targets such as `tawi_runtime::dispatch=trace`.
pub const FILTER_VARIABLE: &str = "TAWI_LOG";

/// Sends the node's own log to standard error. A second call does nothing, so that tests may call it too.
pub fn init_log(json: bool, default: &str) {
    let filter = EnvFilter::try_from_env(FILTER_VARIABLE).unwrap_or_else(|_| EnvFilter::new(default));
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_span_events(FmtSpan::NONE);
    let registry = tracing_subscriber::registry().with(filter);
    let done = if json {
        registry.with(lines.json()).try_init()
    } else {
        let colours = std::io::IsTerminal::is_terminal(&std::io::stderr()) && std::env::var_os("NO_COLOR").is_none();
        registry.with(lines.with_ansi(colours)).try_init()
    };
    // The only error is that somebody else was first.
    drop(done);
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct FunctionLabels {
    pub app: String,
    pub function: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RequestLabels {
    pub method: &'static str,
    /// The route as written in the router, never the path: that would be a series per device.
    pub route: String,
    pub status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RouteLabels {
    pub route: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ReasonLabels {
    pub reason: &'static str,
}

type Seconds<L> = Family<L, Histogram, fn() -> Histogram>;

/// Every series of the node. Cheap to clone; rooms count into the fields they own.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// Readings acknowledged, by HTTP.
    pub readings: Counter,
    /// Deliveries refused, by problem.
    pub refused: Family<ReasonLabels, Counter>,
    /// From the parsed delivery to durable.
    pub append_seconds: Histogram,
    pub requests: Family<RequestLabels, Counter>,
    pub request_seconds: Seconds<RouteLabels>,
    /// Events that a consumer has not settled yet.
    pub function_lag: Family<FunctionLabels, Gauge>,
    /// Of those, the ones that wait for a retry, or behind one.
    pub function_parked: Family<FunctionLabels, Gauge>,
    /// Bytes of the log behind what a function has settled without a gap.
    pub function_behind: Family<FunctionLabels, Gauge>,
    /// 1 for a function that is paused, absent for the others.
    pub function_paused: Family<FunctionLabels, Gauge>,
    /// Events that were dropped from the log while it was paused, until somebody has taken note.
    pub function_lost: Family<FunctionLabels, Gauge>,
    pub dead_letters: Gauge,
    pub history_lag_events: Gauge,
    pub ledger_head: Gauge,
    pub ledger_first: Gauge,
    /// Calls running now, and how many may.
    pub pool_used: Gauge,
    pub pool_size: Gauge,
    /// Clients of MQTT that are connected.
    pub mqtt_clients: Gauge,
    /// Messages written to them.
    pub mqtt_delivered: Counter,
    registry: Arc<Registry>,
}

/// What `dispatch` counts by itself for one function, in its own atomics.
#[derive(Debug, Clone)]
pub struct CallFigures {
    pub labels: FunctionLabels,
    /// How calls ended, and how many did.
    pub outcomes: [(&'static str, u64); 4],
    pub bounds_micros: &'static [u64],
    /// How long calls ran.
    pub calls: DurationFigures,
    /// From an event's receipt to the durable commit of its effects.
    pub effects: DurationFigures,
}

#[derive(Debug, Clone)]
pub struct DurationFigures {
    /// All together.
    pub micros: u64,
    /// How many took up to each bound, and more than the last one.
    pub buckets: Vec<u64>,
}

/// Three families in the text format, as the registry would write them.
fn write_calls(page: &mut String, calls: &[CallFigures]) -> std::fmt::Result {
    writeln!(page, "# HELP tawi_calls Attempts of calls, by how they ended.\n# TYPE tawi_calls counter")?;
    for call in calls {
        for (outcome, count) in call.outcomes {
            writeln!(page, "tawi_calls_total{{{},outcome=\"{outcome}\"}} {count}", label_pairs(&call.labels))?;
        }
    }
    write_durations(page, calls, ("tawi_call_seconds", "How long calls ran."), |call| &call.calls)?;
    write_durations(page, calls, ("tawi_effect_seconds", "From an event's receipt to the commit of its effects."), |call| &call.effects)
}

fn write_durations(
    page: &mut String,
    calls: &[CallFigures],
    (family, help): (&str, &str),
    of: impl Fn(&CallFigures) -> &DurationFigures,
) -> std::fmt::Result {
    writeln!(page, "# HELP {family} {help}\n# TYPE {family} histogram")?;
    for call in calls {
        let (names, figures, mut sum) = (label_pairs(&call.labels), of(call), 0);
        let bounds = call.bounds_micros.iter().map(|micros| (*micros as f64 / 1e6).to_string()).chain(["+Inf".to_owned()]);
        for (bound, count) in bounds.zip(&figures.buckets) {
            sum += count;
            writeln!(page, "{family}_bucket{{{names},le=\"{bound}\"}} {sum}")?;
        }
        writeln!(page, "{family}_sum{{{names}}} {}\n{family}_count{{{names}}} {sum}", figures.micros as f64 / 1e6)?;
    }
    Ok(())
}

fn label_pairs(labels: &FunctionLabels) -> String {
    let plain = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    format!("app=\"{}\",function=\"{}\"", plain(&labels.app), plain(&labels.function))
}

impl Default for Metrics {
    fn default() -> Metrics {
        Metrics::new()
    }
}

/// 100 µs to 26 s, each twice the one before: the goals (2 ms, 10 ms, 1 s) fall between bounds that tell them apart.
fn seconds() -> Histogram {
    Histogram::new(std::iter::successors(Some(0.000_1), |bound| Some(bound * 2.0)).take(19))
}

impl Metrics {
    pub fn new() -> Metrics {
        let mut r = Registry::with_prefix("tawi");
        macro_rules! series {
            ($name:literal, $help:literal, $metric:expr) => {{
                let metric = $metric;
                r.register($name, $help, metric.clone());
                metric
            }};
        }
        Metrics {
            readings: series!("ingest_readings", "Readings stored and acknowledged", Counter::default()),
            refused: series!("ingest_refused", "Deliveries refused, by reason", Family::default()),
            append_seconds: series!("ingest_append_seconds", "From a parsed delivery to durable readings", seconds()),
            requests: series!("http_requests", "Requests answered", Family::default()),
            request_seconds: series!(
                "http_request_seconds",
                "From a request's head to the response's head",
                Seconds::<RouteLabels>::new_with_constructor(seconds)
            ),
            function_lag: series!("function_lag_events", "Events a function has yet to settle, parked ones included", Family::default()),
            function_parked: series!("function_parked_events", "Events that wait for a retry, or behind one", Family::default()),
            function_behind: series!("function_behind_bytes", "Bytes of the log that a function has yet to settle", Family::default()),
            function_paused: series!("function_paused", "Functions that are paused, being too far behind", Family::default()),
            function_lost: series!(
                "function_lost_events",
                "Events dropped while a function was paused, not taken note of",
                Family::default()
            ),
            dead_letters: series!("dead_letters", "Dead letters of all apps", Gauge::default()),
            history_lag_events: series!("history_lag_events", "Events not searchable yet", Gauge::default()),
            ledger_head: series!("ledger_head_sequence", "The newest event", Gauge::default()),
            ledger_first: series!("ledger_first_sequence", "The oldest event in the log", Gauge::default()),
            pool_used: series!("pool_calls_running", "Calls running now", Gauge::default()),
            pool_size: series!("pool_calls_max", "Calls that may run at once", Gauge::default()),
            mqtt_clients: series!("mqtt_clients", "Clients of MQTT that are connected", Gauge::default()),
            mqtt_delivered: series!("mqtt_delivered", "Messages written to clients of MQTT", Counter::default()),
            registry: Arc::new(r),
        }
    }

    /// The page for `/metrics`, with the figures of the functions' calls.
    pub fn page(&self, calls: &[CallFigures]) -> String {
        let mut page = String::new();
        // Writing to a string can't fail.
        let _ = encode_registry(&mut page, &self.registry);
        let _ = write_calls(&mut page, calls);
        let _ = encode_eof(&mut page);
        page
    }

    pub fn refuse(&self, reason: &'static str) {
        self.refused.get_or_create(&ReasonLabels { reason }).inc();
    }
}

/// What a part of the node is failing at, for whoever asks whether the node is ready. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Standing(Arc<Mutex<Option<String>>>);

impl Standing {
    pub fn fails(&self, at: String) {
        *self.0.lock() = Some(at);
    }

    pub fn is_well(&self) {
        *self.0.lock() = None;
    }

    pub fn trouble(&self) -> Option<String> {
        self.0.lock().clone()
    }
}

/// An error with its causes, on one line: how errors are shown at every edge.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let all: Vec<String> = std::iter::successors(Some(error), |error| error.source()).map(ToString::to_string).collect();
    all.join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_is_on_the_page() {
        let metrics = Metrics::new();
        metrics.readings.inc_by(3);
        metrics.refuse("unknown-device");
        metrics.append_seconds.observe(0.001);
        let labels = FunctionLabels { app: "fridge".into(), function: "on\"reading".into() };
        let figures = DurationFigures { micros: 2_500, buckets: vec![1, 1, 1] };
        let outcomes = [("settled", 3), ("retried", 0), ("failed", 0), ("rerun", 0)];
        let page = metrics.page(&[CallFigures { labels, outcomes, bounds_micros: &[50, 1_000], calls: figures.clone(), effects: figures }]);
        assert!(page.contains("tawi_ingest_readings_total 3"), "{page}");
        assert!(page.contains("tawi_ingest_refused_total{reason=\"unknown-device\"} 1"), "{page}");
        assert!(page.contains("tawi_ingest_append_seconds_count 1"), "{page}");
        assert!(page.contains(r#"tawi_calls_total{app="fridge",function="on\"reading",outcome="settled"} 3"#), "{page}");
        assert!(page.contains(r#"tawi_call_seconds_bucket{app="fridge",function="on\"reading",le="0.001"} 2"#), "{page}");
        assert!(page.contains(r#"tawi_call_seconds_sum{app="fridge",function="on\"reading"} 0.0025"#), "{page}");
        assert!(page.ends_with("# EOF\n"), "{page}");
    }
}
