//! What triggers of time tell, made of events.
//! In: events of the fake host. Out: what a handler is told. Never: when it fires, which is the node's affair.

use super::{Host, time};
use crate::{
    Batch, Change, Crossing, Event, Silence, Tick, Timestamp, Window,
    trigger::{Delivery, Reading},
    window::{Aggregate, Percentile},
};
use std::fmt::Debug;

/// What a handler is called with: an [`Event`], or what a trigger of time tells.
pub trait Told {
    /// The id of the call.
    #[doc(hidden)]
    fn call(&self) -> &str;
}

impl Told for Event {
    fn call(&self) -> &str {
        self.id()
    }
}

macro_rules! told {
    ($($told:ty),*) => {$(
        impl Told for $told {
            fn call(&self) -> &str {
                &self.delivery.id
            }
        }

        /// Setters for tests; on a node it is as it is.
        impl $told {
            /// The same, for the `[[on]]` entry of this name.
            pub fn for_function(self, name: &str) -> Self {
                Self { delivery: Delivery { function: name.to_owned(), ..self.delivery }, ..self }
            }

            /// The same, tried for the `attempt`th time.
            pub fn on_attempt(self, attempt: u32) -> Self {
                Self { delivery: Delivery { attempt, ..self.delivery }, ..self }
            }
        }
    )*};
}
told!(Tick, Batch, Window, Silence, Change, Crossing);

impl Host {
    fn delivery(&self) -> Delivery {
        self.with(|world| world.delivery())
    }

    /// A moment of a [`schedule`](mod@crate::schedule), without missed ones before it.
    #[track_caller]
    pub fn tick<T: TryInto<Timestamp, Error: Debug>>(&self, scheduled: T) -> Tick {
        Tick { delivery: self.delivery(), scheduled: time(scheduled), missed: 0 }
    }

    /// A [`batch`](mod@crate::batch) of these.
    pub fn batch(&self, events: impl IntoIterator<Item = Event>) -> Batch {
        Batch { delivery: self.delivery(), readings: events.into_iter().map(Reading::from).collect() }
    }

    /// The first result of a [`window`](mod@crate::window) with these readings, of their device, and of their sensor where they are of
    /// one. What they add up to is in it, and they themselves as [`Window::with_readings`] has them. When they were measured decides what
    /// is first and last, and is not compared with the window.
    ///
    /// # Panics
    ///
    /// Without any reading: no window is empty.
    #[track_caller]
    pub fn window<T: TryInto<Timestamp, Error: Debug>>(&self, start: T, end: T, events: impl IntoIterator<Item = Event>) -> Window {
        let readings = by_time(events);
        let [first, others @ ..] = readings.as_slice() else { panic!("a window holds one reading at least") };
        let sensor = first.sensor.clone().filter(|_| others.iter().all(|other| other.sensor == first.sensor));
        Window {
            delivery: self.delivery(),
            device: first.device.clone(),
            sensor,
            start: time(start),
            end: time(end),
            revision: 0,
            replaces: Vec::new(),
            aggregate: aggregate(&readings),
            readings: None,
        }
    }

    /// A [`silence`](mod@crate::silence) of a sensor that has just begun to count as one.
    #[track_caller]
    pub fn silence<T: TryInto<Timestamp, Error: Debug>>(&self, device: &str, sensor: &str, since: T) -> Silence {
        let (device, sensor) = (Some(device.to_owned()), Some(sensor.to_owned()));
        Silence { delivery: self.delivery(), device, sensor, since: time(since), back: None }
    }

    /// A [`change`](mod@crate::change) that is the first reading of its sensor.
    pub fn change(&self, event: Event) -> Change {
        Change { delivery: self.delivery(), reading: event.into(), previous: None }
    }

    /// A [`threshold`](mod@crate::threshold) that this reading has gone beyond, just when it was measured.
    pub fn crossing(&self, event: Event) -> Crossing {
        Crossing { delivery: self.delivery(), since: event.measured(), reading: event.into(), beyond: true }
    }
}

/// Setters for tests; on a node it is as it is.
impl Tick {
    /// The same, after so many moments that were let go.
    pub fn with_missed(self, missed: u64) -> Tick {
        Tick { missed, ..self }
    }
}

/// Setters for tests; on a node it is as it is.
impl Window {
    /// The same, of all sensors of the device: `per = "device"`.
    pub fn of_device(self) -> Window {
        Window { sensor: None, ..self }
    }

    /// The same as a correction.
    pub fn revised(self, revision: u32) -> Window {
        Window { revision, ..self }
    }

    /// The same, in the place of sessions that began at these times.
    #[track_caller]
    pub fn replacing<T: TryInto<Timestamp, Error: Debug>>(self, starts: impl IntoIterator<Item = T>) -> Window {
        Window { replaces: starts.into_iter().map(time).collect(), ..self }
    }

    /// The same with readings: `readings = true`. What they add up to takes the place of what was there, but for percentiles.
    pub fn with_readings(self, events: impl IntoIterator<Item = Event>) -> Window {
        let readings = by_time(events);
        let aggregate = Aggregate { percentiles: self.aggregate.percentiles, ..aggregate(&readings) };
        Window { aggregate, readings: Some(readings), ..self }
    }

    /// The same with a percentile more, whatever the readings are.
    pub fn with_percentile(mut self, percent: f64, value: f64) -> Window {
        self.aggregate.percentiles.push(Percentile { percent, value });
        self
    }
}

/// Setters for tests; on a node it is as it is.
impl Silence {
    /// The same, when this reading has ended it.
    pub fn back_with(self, event: Event) -> Silence {
        Silence { back: Some(event.into()), ..self }
    }
}

/// Setters for tests; on a node it is as it is.
impl Change {
    /// The same, where the function was told of this one before.
    pub fn after(self, event: Event) -> Change {
        Change { previous: Some(event.into()), ..self }
    }
}

/// Setters for tests; on a node it is as it is.
impl Crossing {
    /// The same, where the value has come back.
    pub fn and_back(self) -> Crossing {
        Crossing { beyond: false, ..self }
    }

    /// The same, gone there earlier: `hold`.
    #[track_caller]
    pub fn crossed_at<T: TryInto<Timestamp, Error: Debug>>(self, since: T) -> Crossing {
        Crossing { since: time(since), ..self }
    }
}

fn by_time(events: impl IntoIterator<Item = Event>) -> Vec<Reading> {
    let mut readings: Vec<Reading> = events.into_iter().map(Reading::from).collect();
    readings.sort_by_key(|reading| (reading.measured, reading.sequence));
    readings
}

fn aggregate(readings: &[Reading]) -> Aggregate {
    let numbers: Vec<f64> = readings.iter().filter_map(Reading::number).collect();
    let count = numbers.len() as u64;
    let sum = (count > 0).then(|| numbers.iter().sum::<f64>());
    Aggregate {
        readings: readings.len() as u64,
        count,
        sum,
        mean: sum.map(|sum| sum / count as f64),
        min: numbers.iter().copied().reduce(f64::min),
        max: numbers.iter().copied().reduce(f64::max),
        first: numbers.first().copied(),
        last: numbers.last().copied(),
        percentiles: Vec::new(),
    }
}
