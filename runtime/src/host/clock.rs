//! Time and randomness of a call: fixed by its id and the start of the attempt, so that it can be run again.

use crate::model::Micros;
use rand::{SeedableRng, rngs::StdRng};
use std::time::Duration;
use wasmtime_wasi::{HostWallClock, WasiCtxBuilder};

struct Fixed(Micros);

impl HostWallClock for Fixed {
    fn resolution(&self) -> Duration {
        Duration::from_micros(1)
    }

    fn now(&self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.0).unwrap_or(0))
    }
}

/// Fixes the wall clock at `now` and seeds every source of randomness with the call's id.
pub(super) fn fix(builder: &mut WasiCtxBuilder, now: Micros, call: &str) {
    use sha2::Digest as _;
    let seed: [u8; 32] = sha2::Sha256::digest(call.as_bytes()).into();
    builder.wall_clock(Fixed(now));
    builder.secure_random(StdRng::from_seed(seed));
    builder.insecure_random(StdRng::from_seed(seed));
    let (half, _) = seed.split_at(16);
    builder.insecure_random_seed(half.iter().fold(0, |sum, byte| sum << 8 | u128::from(*byte)));
}
