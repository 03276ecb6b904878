//! Silence: a sensor from which nothing was received for a while, and its return.

use super::{
    desk::Desk,
    series::Follow,
    span::{self, later},
};
use crate::model::{
    Event, Micros,
    event::Seq,
    trigger::{Fired, Sampled, Silence as Told},
};
use serde::{Deserialize, Serialize};
use std::time::Duration;

pub(super) struct Silence {
    after: i64,
}

#[derive(Default, Serialize, Deserialize)]
pub(super) struct State {
    silent: bool,
    source: Seq,
    hops: u16,
}

impl Silence {
    pub fn new(after: Duration) -> Silence {
        Silence { after: span::of(after) }
    }

    fn tell(&self, back: Option<Sampled>, desk: &mut Desk<'_>, state: &State) {
        let (device, sensor) = super::name::ids(desk.name);
        let measured = back.as_ref().map_or(later(desk.last, self.after), |reading| reading.measured);
        let told = Told { device, sensor, since: desk.last, back };
        desk.fire(Fired::Silence(told), measured, state.source, state.hops);
    }
}

impl Follow for Silence {
    type State = State;
    const PATIENT: bool = true;

    fn take(&self, state: &mut State, event: &Event, desk: &mut Desk<'_>) -> bool {
        let was = std::mem::replace(state, State { silent: false, source: event.seq, hops: event.hops() });
        if was.silent {
            self.tell(Some(Sampled::of(event)), desk, state);
        }
        true
    }

    fn deadline(&self, state: &State, last: Micros) -> Option<Micros> {
        (!state.silent).then(|| later(last, self.after))
    }

    fn due(&self, state: &mut State, _at: Micros, desk: &mut Desk<'_>) {
        state.silent = true;
        self.tell(None, desk, state);
    }
}
