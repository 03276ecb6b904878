//! The chains of the node's own pre-processing, compiled for WebAssembly: logs what they come to for a seed, to every bit.

#[path = "../../../runtime/src/preprocess/chain/mod.rs"]
#[allow(dead_code, unreachable_pub)]
mod chain;
mod stream;

use tawi::{Event, log};

#[tawi::event]
fn seed(event: Event) -> tawi::Result {
    let seed: u64 = event.value()?;
    log::info!("{:016x}", stream::bits(seed));
    Ok(())
}
