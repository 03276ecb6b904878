//! One state write and one message for each reading, so that a benchmark sees what effects cost.
//!
//! As `own` it writes a key of the device; as `hot` it counts in one key that every call reads and writes.

use tawi::{Event, publish, state};

#[tawi::event]
fn effects(event: Event) -> tawi::Result {
    let count = match event.function() {
        "hot" => {
            let count = state::get::<u64>("hot")?.unwrap_or(0) + 1;
            state::set("hot", &count)?;
            count
        }
        _ => {
            state::set(event.device().unwrap_or("none"), &event.number())?;
            event.sequence()
        }
    };
    publish("seen", &count)
}
