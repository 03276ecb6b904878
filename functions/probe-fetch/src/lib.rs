//! Asks another server, with the method and the body it was asked with, and passes on what it says: `/?url=http://127.0.0.1:8080/`.

use tawi::ErrorKind;
use tawi::http::{self, Request, Response, StatusCode, Uri};

#[tawi::http]
fn serve(request: Request) -> tawi::Result<Response> {
    let Some(url) = http::query(request.uri(), "url") else {
        return Ok(http::status(StatusCode::BAD_REQUEST, "which `url`?\n"));
    };
    let (head, body) = request.into_parts();
    let mut outbound = Request::new(body);
    *outbound.method_mut() = head.method;
    *outbound.uri_mut() = url.parse::<Uri>()?;
    match http::fetch(outbound) {
        // The body is passed on while it arrives. Headers stay here: some are about that connection only.
        Ok(answer) => {
            let status = answer.status();
            let mut response = Response::new(answer.into_body());
            *response.status_mut() = status;
            Ok(response)
        }
        Err(error) if error.kind() == ErrorKind::Denied => Ok(http::status(StatusCode::FORBIDDEN, format!("{error}\n"))),
        Err(error) => Ok(http::status(StatusCode::BAD_GATEWAY, format!("{error}\n"))),
    }
}
