//! What is around the bytes of MQTT: nothing, TLS, or WebSocket.

use super::io::Stream;
use crate::model::limit::MQTT_WEBSOCKET_BYTES_MAX;
use futures::{Sink, Stream as _};
use http::{HeaderValue, header::SEC_WEBSOCKET_PROTOCOL};
use std::{
    io,
    path::{Path, PathBuf},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        self, ServerConfig,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    },
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        self, Message,
        handshake::server::{ErrorResponse, Request, Response},
        protocol::WebSocketConfig,
    },
};

/// Read at a time; each connection has a buffer of it.
const READ_BYTES: usize = 4 * 1024;

/// A listener, and what it speaks.
pub struct Gate {
    pub listener: TcpListener,
    pub around: Around,
}

#[derive(Clone)]
pub enum Around {
    Nothing,
    WebSocket,
    Tls(TlsAcceptor),
}

#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("can't read the {what} `{path}`")]
    File { what: &'static str, path: PathBuf, source: rustls::pki_types::pem::Error },
    #[error("the certificate and the key for MQTT do not go together")]
    Pair(#[source] rustls::Error),
}

impl Around {
    /// TLS with a certificate and its key, both in PEM files.
    pub fn tls(certificate: &Path, key: &Path) -> Result<Around, TlsError> {
        let file = |what, path: &Path| {
            let path = path.to_owned();
            move |source| TlsError::File { what, path, source }
        };
        let chain = CertificateDer::pem_file_iter(certificate).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        let chain = chain.map_err(file("certificate", certificate))?;
        let key = PrivateKeyDer::from_pem_file(key).map_err(file("key", key))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().map_err(TlsError::Pair)?;
        let config = config.with_no_client_auth().with_single_cert(chain, key).map_err(TlsError::Pair)?;
        Ok(Around::Tls(TlsAcceptor::from(Arc::new(config))))
    }

    /// The stream inside, once both ends agree on what is around it.
    pub async fn open(self, stream: TcpStream) -> io::Result<Box<dyn Stream>> {
        Ok(match self {
            Around::Nothing => Box::new(stream),
            Around::Tls(acceptor) => Box::new(acceptor.accept(stream).await?),
            Around::WebSocket => {
                let config = WebSocketConfig::default()
                    .read_buffer_size(READ_BYTES)
                    .write_buffer_size(0)
                    .max_message_size(Some(MQTT_WEBSOCKET_BYTES_MAX))
                    .max_frame_size(Some(MQTT_WEBSOCKET_BYTES_MAX));
                let opened = tokio_tungstenite::accept_hdr_async_with_config(stream, greet, Some(config)).await;
                Box::new(WebSocket { inner: opened.map_err(broken)?, read: Vec::new(), at: 0 })
            }
        })
    }
}

/// A browser offers `mqtt`, and wants to hear it.
#[allow(clippy::result_large_err)]
fn greet(request: &Request, mut response: Response) -> Result<Response, ErrorResponse> {
    let offered = request.headers().get_all(SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    let chosen = offered.flat_map(|value| value.split(',')).map(str::trim).find(|name| ["mqtt", "mqttv3.1"].contains(name));
    if let Some(Ok(name)) = chosen.map(HeaderValue::from_str) {
        response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, name);
    }
    Ok(response)
}

/// Binary messages as one stream of bytes: packets may begin and end anywhere in them.
struct WebSocket {
    inner: WebSocketStream<TcpStream>,
    read: Vec<u8>,
    at: usize,
}

impl AsyncRead for WebSocket {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        while self.at == self.read.len() {
            match ready!(Pin::new(&mut self.inner).poll_next(context)) {
                Some(Ok(Message::Binary(bytes))) => (self.read, self.at) = (bytes.into(), 0),
                Some(Ok(Message::Close(_))) | None => return Poll::Ready(Ok(())),
                Some(Ok(Message::Text(_))) => return Poll::Ready(Err(io::ErrorKind::InvalidData.into())),
                // It answers pings by itself.
                Some(Ok(_)) => {}
                Some(Err(error)) => return Poll::Ready(Err(broken(error))),
            }
        }
        let rest = self.read.get(self.at..).unwrap_or_default();
        let taken = rest.len().min(to.remaining());
        to.put_slice(&rest[..taken]);
        self.at += taken;
        if self.at == self.read.len() {
            (self.read, self.at) = (Vec::new(), 0);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for WebSocket {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(Pin::new(&mut self.inner).poll_ready(context)).map_err(broken)?;
        Pin::new(&mut self.inner).start_send(Message::binary(bytes.to_vec())).map_err(broken)?;
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context).map_err(broken)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_close(context).map_err(broken)
    }
}

fn broken(error: tungstenite::Error) -> io::Error {
    match error {
        tungstenite::Error::Io(error) => error,
        error => io::Error::new(io::ErrorKind::InvalidData, error),
    }
}
