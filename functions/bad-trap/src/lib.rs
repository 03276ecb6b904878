//! Traps. Only the log lines before it may be left of the call.

use tawi::http::{Request, Response};
use tawi::{Event, log};

#[tawi::event]
fn event(_event: Event) {
    log::info!("about to trap");
    panic!("a reading too many");
}

#[tawi::http]
fn serve(_request: Request) -> Response {
    log::info!("about to trap");
    panic!("a request too many");
}
