//! One of every N readings of a sensor.

use super::{desk::Desk, series::Follow};
use crate::model::{
    Event,
    trigger::{Fired, Sampled},
};

pub(super) struct Every {
    pub n: u32,
}

impl Follow for Every {
    /// Readings since the last one that was told.
    type State = u32;
    const PATIENT: bool = false;

    fn take(&self, since: &mut u32, event: &Event, desk: &mut Desk<'_>) -> bool {
        *since += 1;
        if *since >= self.n {
            *since = 0;
            desk.fire(Fired::Every(Sampled::of(event)), event.measured, event.seq, event.hops());
        }
        true
    }
}
