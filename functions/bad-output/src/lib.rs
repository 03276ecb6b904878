//! Talks without end: log lines for a reading; for a request a body, log lines (`/log`) or standard output (`/print`).

use tawi::http::{Body, Request, Response};
use tawi::{Event, log};

#[tawi::event]
fn event(_event: Event) {
    chatter()
}

#[tawi::http]
fn serve(request: Request) -> Response {
    match request.uri().path() {
        "/log" => chatter(),
        "/print" => loop {
            println!("{}", "and on ".repeat(100));
        },
        _ => Response::new(Body::stream(|out| {
            loop {
                out.write_all(&[b'x'; 16 * 1024])?;
            }
        })),
    }
}

fn chatter() -> ! {
    loop {
        log::info!("{}", "and on ".repeat(100));
    }
}
