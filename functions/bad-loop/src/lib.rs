//! Never ends.

use std::hint::black_box;
use tawi::Event;
use tawi::http::{Request, Response};

#[tawi::event]
fn event(_event: Event) {
    spin()
}

#[tawi::http]
fn serve(_request: Request) -> Response {
    spin()
}

fn spin() -> ! {
    let mut count = 0_u64;
    loop {
        // An empty loop might be optimised into a trap.
        count = black_box(count).wrapping_add(1);
    }
}
