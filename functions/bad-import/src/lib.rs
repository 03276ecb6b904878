//! Wants what its manifest does not grant, and what nobody can be granted. A push of it is refused.

use std::net::TcpStream;
use tawi::{Event, state};

#[tawi::event]
fn event(event: Event) -> tawi::Result {
    state::set("last", &event.number())?;
    TcpStream::connect("192.0.2.1:80")?;
    Ok(())
}
