//! Does nothing, so that a benchmark sees what the platform does.

#[tawi::event]
fn noop(_event: tawi::Event) {}
