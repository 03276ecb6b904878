//! Time and randomness of a call: fixed by its id and the start of the attempt, so that it can be run again.

use crate::model::Micros;
use rand::{SeedableRng, rngs::StdRng};
use std::{fmt, time::Duration};
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

/// What makes the randomness of this node's calls unknown to everybody else: the id of a call is no secret, and a client may choose it.
#[derive(Clone)]
pub struct NodeSecret([u8; 32]);

impl NodeSecret {
    pub fn new(bytes: [u8; 32]) -> NodeSecret {
        NodeSecret(bytes)
    }

    /// The hash of the id comes last and has one length, so nobody can go on from one answer to the next.
    fn seed(&self, what: &str, call: &str) -> [u8; 32] {
        use sha2::{Digest as _, Sha256};
        Sha256::new().chain_update(self.0).chain_update(Sha256::digest(what)).chain_update(Sha256::digest(call)).finalize().into()
    }
}

/// Another one for each engine that is not told one: what it runs can't be run again by the next.
impl Default for NodeSecret {
    fn default() -> NodeSecret {
        NodeSecret(rand::random())
    }
}

impl fmt::Debug for NodeSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NodeSecret(..)")
    }
}

/// Fixes the wall clock at `now` and seeds every source of randomness from the call's id, each in its own way: what one of them
/// gives away says nothing of the others.
pub(super) fn fix(builder: &mut WasiCtxBuilder, now: Micros, call: &str, secret: &NodeSecret) {
    builder.wall_clock(Fixed(now));
    builder.secure_random(StdRng::from_seed(secret.seed("secure", call)));
    builder.insecure_random(StdRng::from_seed(secret.seed("insecure", call)));
    let once = secret.seed("insecure seed", call);
    let (half, _) = once.split_at(16);
    builder.insecure_random_seed(half.iter().fold(0, |sum, byte| sum << 8 | u128::from(*byte)));
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use wasmtime_wasi::{
        WasiCtx,
        p2::bindings::random::{insecure, insecure_seed, random},
    };

    /// What a guest that is this call sees of the three sources.
    fn seen(secret: [u8; 32], call: &str) -> [Vec<u8>; 3] {
        let mut builder = WasiCtx::builder();
        fix(&mut builder, Micros(0), call, &NodeSecret::new(secret));
        let mut ctx = builder.build();
        let secure = random::Host::get_random_bytes(ctx.random(), 16).unwrap();
        let insecure = insecure::Host::get_insecure_random_bytes(ctx.random(), 16).unwrap();
        let (low, high) = insecure_seed::Host::insecure_seed(ctx.random()).unwrap();
        [secure, insecure, [high.to_be_bytes(), low.to_be_bytes()].concat()]
    }

    #[test]
    fn randomness_is_the_same_for_a_call_that_runs_again_and_for_nobody_else() {
        let once = seen([1; 32], "main/shop/app-pay-order-7");
        assert_eq!(seen([1; 32], "main/shop/app-pay-order-7"), once);
        for other in [seen([2; 32], "main/shop/app-pay-order-7"), seen([1; 32], "main/shop/app-pay-order-8")] {
            assert!(once.iter().zip(&other).all(|(one, other)| one != other), "a node's secret and the call's id both count");
        }
    }

    /// A guest shows the seed of its hash tables to anybody who measures them.
    #[test]
    fn no_source_of_randomness_gives_another_away() {
        use rand::Rng as _;
        let [secure, _, shown] = seen([1; 32], "call");
        let behind = NodeSecret::new([1; 32]).seed("insecure seed", "call");
        assert_eq!(shown, behind[..16], "one half of this seed is seen by everybody");
        let mut guess = [0; 16];
        StdRng::from_seed(behind).fill_bytes(&mut guess);
        assert_ne!(secure, guess);
    }
}
