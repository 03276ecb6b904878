//! What an app may see of devices and do with them, where that is not everything.

use crate::model::{AppId, Event, Id, Kind, Seq, selector::Selector};
use std::sync::Arc;

/// The eyes of an app's owner, at this moment.
pub trait Eyes: Send + Sync {
    /// Waits for nothing, but knows all that was registered up to this event of the log, or says why not. Blocks for as long as that takes to read.
    fn reach(&self, seq: Seq) -> Result<(), String>;
    /// Whether it may know what a device said, or was told, in this event.
    fn sees(&self, event: &Event) -> bool;
    /// Whether it sees a reading, and the sensor fits.
    fn fits(&self, selector: &Selector, event: &Event) -> bool;
    /// Whether it may command a device.
    fn commands(&self, device: &Id) -> bool;
}

/// The eyes of an app; none: it sees all, as the node itself does. The node wires it to the registry.
pub type Sight = Arc<dyn Fn(&AppId) -> Option<Arc<dyn Eyes>> + Send + Sync>;

/// Whether an event may reach an app that sees with these eyes. What apps said to each other is nobody's device's.
pub(super) fn reaches(eyes: &dyn Eyes, event: &Event) -> bool {
    let is_of_device = matches!(event.kind, Kind::Reading | Kind::Command) || (event.kind == Kind::Trigger && event.device.is_some());
    !is_of_device || eyes.sees(event)
}
