//! What a function is told by a trigger that time makes: read from its event, handed to the export of its kind.

use super::{
    Attempt, Exports, Failure,
    call::{later, plain},
};
use crate::{
    host::{
        Call, batch_handler, change_handler, event_handler, schedule_handler, silence_handler, threshold_handler, trigger, value_out,
        window_handler,
    },
    model::{
        Id, Micros,
        trigger::{Aggregate, Fired, Sampled, WindowResult},
    },
};
use wasmtime::{
    Result, Store,
    component::{Instance, InstancePre},
};

/// The handlers, by the name of their kind, which is that of their field in [`Exports`].
macro_rules! kinds {
    ($($kind:ident: $handler:ident),*) => {
        /// Where the handlers of a loaded component are.
        pub(super) struct Indices {
            $($kind: Option<$handler::GuestIndices>),*
        }

        /// Those of one instance.
        pub(super) struct Guests {
            $($kind: Option<$handler::Guest>),*
        }

        impl Indices {
            /// None: the component handles none of them.
            pub fn of(exports: &Exports, pre: &InstancePre<Call>) -> Result<Option<Indices>> {
                let indices = Indices { $($kind: exports.$kind.then(|| $handler::GuestIndices::new(pre)).transpose()?),* };
                let any = [$(exports.$kind),*].contains(&true);
                Ok(any.then_some(indices))
            }

            pub fn exports(&self) -> Exports {
                Exports { $($kind: self.$kind.is_some(),)* ..Exports::default() }
            }

            pub fn load(&self, store: &mut Store<Call>, instance: &Instance) -> Result<Guests> {
                Ok(Guests { $($kind: self.$kind.as_ref().map(|it| it.load(&mut *store, instance)).transpose()?),* })
            }
        }
    };
}

kinds! {
    schedule: schedule_handler,
    batch: batch_handler,
    window: window_handler,
    silence: silence_handler,
    change: change_handler,
    threshold: threshold_handler
}

/// What fired, or why nobody can tell.
pub(super) fn read(attempt: &Attempt<'_>) -> std::result::Result<Fired, Failure> {
    Fired::from_value(&attempt.event.value).ok_or_else(|| {
        let (id, function) = (attempt.event.id(), &attempt.function.name);
        let hint = "a node of another version may have written it";
        Failure::Reject(format!("what fired for `{function}` can't be read from the value of event `{id}`: {hint}"))
    })
}

/// What fired has no handler in the release: it was parked, or dead, since one that had.
pub(super) fn nobody(kind: &str) -> Failure {
    Failure::Reject(format!("the release has no {kind} handler any more (in Rust: a function with `#[tawi::{kind}]`)"))
}

/// Calls the handler that what fired is for. One of every N goes to the handler of plain events, as [`event_in`] has it.
pub(super) async fn call(
    guests: Option<&Guests>,
    store: &mut Store<Call>,
    attempt: &Attempt<'_>,
    fired: Fired,
) -> Result<std::result::Result<(), Failure>> {
    let delivery = delivery(attempt);
    macro_rules! hand {
        ($kind:ident, $told:expr) => {
            match guests.and_then(|guests| guests.$kind.as_ref()) {
                Some(guest) => guest.call_handle(store, &delivery, $told).await?.map_err(refused),
                None => Err(nobody(stringify!($kind))),
            }
        };
    }
    Ok(match fired {
        Fired::Schedule(tick) => hand!(schedule, schedule_handler::Tick { scheduled: tick.scheduled.0, missed: tick.missed }),
        Fired::Batch(batch) => hand!(batch, &batch_handler::Batch { readings: readings(batch.readings) }),
        Fired::Window(result) => hand!(window, &window(result)),
        Fired::Silence(silence) => hand!(
            silence,
            &silence_handler::Silence {
                device: text(silence.device),
                sensor: text(silence.sensor),
                since: silence.since.0,
                back: silence.back.map(reading),
            }
        ),
        Fired::Change(change) => {
            hand!(change, &change_handler::Change { reading: reading(change.reading), previous: change.previous.map(reading) })
        }
        Fired::Threshold(crossing) => hand!(
            threshold,
            &threshold_handler::Crossing { reading: reading(crossing.reading), beyond: crossing.beyond, since: crossing.since.0 }
        ),
        Fired::Every(_) => Err(nobody("event")),
        // It becomes a reading.
        Fired::Filled(_) => Err(nobody("reading")),
    })
}

/// One of every N, as the event that it is, under the id and the sequence of what fired.
pub(super) fn event_in(attempt: &Attempt<'_>, reading: Sampled) -> event_handler::Event {
    event_handler::Event {
        function: attempt.function.name.to_string(),
        id: attempt.event.id(),
        subject: reading.subject.to_string(),
        device: text(reading.device),
        sensor: text(reading.sensor),
        value: value_out(&reading.value),
        measured: reading.measured.0,
        received: reading.received.0,
        sequence: attempt.event.seq,
        attempt: attempt.number,
    }
}

fn delivery(attempt: &Attempt<'_>) -> trigger::Delivery {
    trigger::Delivery {
        function: attempt.function.name.to_string(),
        id: attempt.event.id(),
        sequence: attempt.event.seq,
        attempt: attempt.number,
    }
}

fn refused(failure: trigger::Failure) -> Failure {
    match failure {
        trigger::Failure::Retry(retry) => later(retry.after_ms, retry.reason),
        trigger::Failure::Reject(reason) => Failure::Reject(plain(reason)),
    }
}

fn text(id: Option<Id>) -> Option<String> {
    id.map(|id| id.to_string())
}

fn reading(sampled: Sampled) -> trigger::Reading {
    trigger::Reading {
        subject: sampled.subject.to_string(),
        device: text(sampled.device),
        sensor: text(sampled.sensor),
        value: value_out(&sampled.value),
        measured: sampled.measured.0,
        received: sampled.received.0,
        sequence: sampled.sequence,
    }
}

fn readings(sampled: Vec<Sampled>) -> Vec<trigger::Reading> {
    sampled.into_iter().map(reading).collect()
}

fn window(result: WindowResult) -> window_handler::Window {
    window_handler::Window {
        device: text(result.device),
        sensor: text(result.sensor),
        start: result.start.0,
        end: result.end.0,
        revision: result.revision,
        replaces: result.replaces.into_iter().map(|Micros(start)| start).collect(),
        aggregate: aggregate(result.aggregate),
        readings: result.readings.map(readings),
    }
}

fn aggregate(aggregate: Aggregate) -> window_handler::Aggregate {
    let Aggregate { readings, count, sum, mean, min, max, first, last, percentiles } = aggregate;
    let percentiles = percentiles.into_iter().map(|it| window_handler::Percentile { percent: it.percent, value: it.value });
    window_handler::Aggregate { readings, count, sum, mean, min, max, first, last, percentiles: percentiles.collect() }
}
