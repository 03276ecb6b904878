//! Logs the body of a request: POST to `/info` and the like, to `/stdout` and `/stderr`, or to `/fail`, which fails after it.

use tawi::http::{self, Request, Response, StatusCode};
use tawi::{Error, log};

#[tawi::http]
fn serve(request: Request) -> tawi::Result<Response> {
    let to = request.uri().path().to_owned();
    let text = request.into_body().text()?;
    match to.as_str() {
        "/trace" => log::trace!("{text}"),
        "/debug" => log::debug!("{text}"),
        "/info" => log::info!("{text}"),
        "/warn" => log::warn!("{text}"),
        "/error" => log::error!("{text}"),
        "/stdout" => println!("{text}"),
        "/stderr" => eprintln!("{text}"),
        "/fail" => {
            log::info!("{text}");
            return Err(Error::retry("as told"));
        }
        _ => return Ok(http::status(StatusCode::NOT_FOUND, "a level, stdout, stderr or fail\n")),
    }
    Ok(http::text("logged\n"))
}
