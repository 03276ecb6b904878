//! One request over a connection of its own, to an address that was checked: nothing in here knows a name, but for TLS to prove it.

use crate::egress::Target;
use bytes::Bytes;
use futures::future::{FusedFuture, FutureExt};
use http::{Request, Response, Uri};
use http_body_util::BodyExt;
use hyper::{
    body::{Body, Frame, Incoming},
    client::conn::http1,
};
use hyper_util::rt::TokioIo;
use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::time::{Instant, Sleep, sleep, timeout};
use wasmtime_wasi_http::{Error, RequestOptions, Result, WasiBody};

/// Of each wait for which the guest sets no limit; the call's own time is over long before.
const WAIT_MAX: Duration = Duration::from_secs(600);

/// The answer, and what moves its body.
pub type Sent = (Response<WasiBody>, Box<dyn Future<Output = Result<()>> + Send>);

pub async fn send(target: Target, mut request: Request<WasiBody>, options: Option<RequestOptions>) -> Result<Sent> {
    let wait = |of: fn(&RequestOptions) -> Option<Duration>| options.as_ref().and_then(of).unwrap_or(WAIT_MAX);
    let connected = timeout(wait(|o| o.connect_timeout), target.connect()).await;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(connected.map_err(|_| Error::ConnectionTimeout)?.map_err(super::refusal)?)).await?;
    // The server is not a proxy: it gets the path alone.
    let path = request.uri().path_and_query().cloned().ok_or(Error::HttpRequestUriInvalid)?;
    *request.uri_mut() = Uri::from(path);
    let mut connection = Box::pin(connection).fuse();
    let mut answer = Box::pin(timeout(wait(|o| o.first_byte_timeout), sender.send_request(request)));
    let response = loop {
        tokio::select! {
            biased;
            answer = &mut answer => break answer.map_err(|_| Error::ConnectionReadTimeout)??,
            ended = &mut connection, if !connection.is_terminated() => ended?,
        }
    };
    let silence_max = wait(|o| o.between_bytes_timeout);
    let response = response.map(|body| Paced { body, silence: Box::pin(sleep(silence_max)), silence_max }.boxed_unsync());
    let rest = async move { if connection.is_terminated() { Ok(()) } else { connection.await.map_err(Error::from) } };
    Ok((response, Box::new(rest)))
}

/// The body of an answer, given up when nothing comes for too long.
struct Paced {
    body: Incoming,
    silence: Pin<Box<Sleep>>,
    silence_max: Duration,
}

impl Body for Paced {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>>>> {
        match Pin::new(&mut self.body).poll_frame(context) {
            Poll::Ready(frame) => {
                let until = Instant::now() + self.silence_max;
                self.silence.as_mut().reset(until);
                Poll::Ready(frame.map(|frame| frame.map_err(Error::from)))
            }
            Poll::Pending => {
                ready!(self.silence.as_mut().poll(context));
                Poll::Ready(Some(Err(Error::ConnectionReadTimeout)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        self.body.size_hint()
    }
}
