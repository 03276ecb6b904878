//! Windows of event time: what is kept of them, and what their function is told.
//!
//! A window is told when the watermark, the largest event time of its series, has reached its end; or when its end has passed by our
//! clock and nothing was received for `idle`. It is kept until the watermark is `lateness` beyond its end: a late reading corrects it.
//! That is told when the next reading of the series does not belong to it, or a second later.

mod content;
mod panes;
mod sessions;
mod summary;

pub(super) use panes::Panes;
pub(super) use sessions::Sessions;

use super::{
    desk::Desk,
    name,
    span::{self, later},
};
use crate::model::{
    Event, Micros,
    event::Seq,
    manifest::{Per, Window},
    trigger::{Fired, WindowResult},
};
use content::{Record, Stock};
use serde::{Deserialize, Serialize};
use summary::Summary;

/// What windows of every shape have in common.
pub(super) struct Terms {
    per: Per,
    lateness: i64,
    ahead: i64,
    idle: i64,
    readings: bool,
    percentiles: Vec<f64>,
}

/// What is known of the readings of a window, or of a part of one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
struct Content {
    summary: Summary,
    stock: Stock,
    hops: u16,
}

impl Content {
    fn merge(&mut self, other: &Content) {
        self.summary.merge(&other.summary);
        self.stock.merge(&other.stock);
        self.hops = self.hops.max(other.hops);
    }
}

/// A result on its way.
struct Told {
    start: Micros,
    end: Micros,
    revision: u32,
    replaces: Vec<Micros>,
    source: Seq,
}

impl Terms {
    pub fn of(window: &Window) -> Terms {
        Terms {
            per: window.per,
            lateness: span::of(window.lateness),
            ahead: span::of(window.ahead),
            idle: span::of(window.idle),
            readings: window.readings,
            percentiles: window.percentiles.clone(),
        }
    }

    fn event_time(&self, event: &Event) -> Micros {
        span::event_time_of(event, self.ahead)
    }

    /// Whether the readings of a window are kept one by one.
    fn keeps(&self) -> bool {
        self.readings || !self.percentiles.is_empty()
    }

    /// Whether a window that ends there takes no more readings.
    fn is_past(&self, end: Micros, watermark: Micros) -> bool {
        later(end, self.lateness) <= watermark
    }

    fn add(&self, content: &mut Content, bucket: Micros, event: &Event, desk: &mut Desk<'_>) {
        let (time, number) = (self.event_time(event), event.value.as_f64());
        content.summary.add(time, number);
        content.hops = content.hops.max(event.hops());
        if let Some(record) = self.record(&mut content.stock, time, number, event) {
            desk.store_in('r', bucket, event.seq, &record);
        }
    }

    fn tell(&self, told: Told, content: &Content, records: Vec<Record>, desk: &mut Desk<'_>) {
        let (device, sensor) = name::ids(desk.name);
        let mut aggregate = content.summary.aggregate();
        let (readings, percentiles) = self.show(aggregate.count, records);
        aggregate.percentiles = percentiles;
        let Told { start, end, revision, replaces, source } = told;
        let result = WindowResult { device, sensor, start, end, revision, replaces, aggregate, readings };
        desk.fire(Fired::Window(result), end, source, content.hops);
    }
}
