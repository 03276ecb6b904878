//! Which life of a device a secret or a claim code belongs to. An id can be deleted and registered again, by somebody else; what the former
//! owner made for it is good no more then, also where it was not deleted with the device.

use super::AccountError;
use crate::{
    model::{Device, Id, Micros},
    records::{Records, Space},
};
use serde::Deserialize;

/// Looks up when devices were registered, in the documents themselves: an index could be behind them. Cheap to clone.
#[derive(Clone)]
pub(super) struct Registered {
    devices: Records,
}

/// What of a device's document is asked for.
#[derive(Deserialize)]
struct Life {
    date_created: Micros,
}

impl Registered {
    pub fn beside(records: &Records) -> Registered {
        Registered { devices: records.beside(Space::Devices) }
    }

    /// When the device was registered; none: it is not, and was found at most.
    pub fn at(&self, device: &Id) -> Result<Option<Micros>, AccountError> {
        let life: Option<Life> = self.devices.get(&format!("{}{device}", Device::RECORD))?;
        Ok(life.map(|life| life.date_created))
    }
}

/// Whether what was made at a time, for a device that was registered `then`, is of the device as it is registered `now`.
pub(super) fn is_same_life(then: Option<Micros>, made: Micros, now: Option<Micros>) -> bool {
    match (then, now) {
        (Some(_), now) => then == now,
        // It was for a device that was only found, or an earlier Tawi made it. Who changes a found device registers it as of when it was found.
        (None, Some(now)) => now <= made,
        (None, None) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_made_for_one_life_of_a_device_is_not_good_in_another() {
        let at = |time| Some(Micros(time));
        assert!(is_same_life(at(5), Micros(7), at(5)));
        assert!(!is_same_life(at(5), Micros(7), at(9)), "it was registered again");
        assert!(!is_same_life(at(5), Micros(7), at(3)), "the same by a clock that was set back");
        assert!(!is_same_life(at(5), Micros(7), None), "it was deleted");
        assert!(is_same_life(None, Micros(7), None) && is_same_life(None, Micros(7), at(5)), "it was found, and then named");
        assert!(!is_same_life(None, Micros(7), at(9)), "it was found, and then registered by somebody");
    }
}
