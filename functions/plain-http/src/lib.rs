//! A component that knows nothing of Tawi: plain `wasi:http`, as any other host would run it.

use wasip2::http::types::{Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam};

struct Plain;

impl wasip2::exports::http::incoming_handler::Guest for Plain {
    fn handle(request: IncomingRequest, answer: ResponseOutparam) {
        let text = format!("{} from elsewhere\n", request.path_with_query().unwrap_or_default());
        let headers = Fields::new();
        headers.append("content-type", b"text/plain").expect("a plain header is taken");
        let response = OutgoingResponse::new(headers);
        let body = response.body().expect("a new response has a body");
        ResponseOutparam::set(answer, Ok(response));
        let stream = body.write().expect("a new body can be written");
        stream.blocking_write_and_flush(text.as_bytes()).expect("somebody reads");
        drop(stream);
        OutgoingBody::finish(body, None).expect("a body can be ended");
    }
}

wasip2::http::proxy::export!(Plain);
