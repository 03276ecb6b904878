//! Takes all the memory there is.

use tawi::Event;
use tawi::http::{Request, Response};

#[tawi::event]
fn event(_event: Event) {
    eat()
}

#[tawi::http]
fn serve(_request: Request) -> Response {
    eat()
}

fn eat() -> ! {
    let mut eaten = Vec::new();
    loop {
        // Ones, not zeros: memory that nobody wrote to is not taken yet.
        eaten.push(vec![1_u8; 1 << 20]);
    }
}
