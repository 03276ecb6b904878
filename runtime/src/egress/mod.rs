//! In: a host that somebody may ask, and how far its name may lead; a request. Out: a connection to an address that was checked, the answer.
//! Never: knows who asks, follows a redirect, looks a name up twice.
//!
//! Whoever owns a name can point it at any address, at the node itself among others. So a name is looked up once, every address
//! it has is checked, and the connection goes to one of those: a name that changes its mind in between changes nothing.

mod address;
mod grant;
mod request;

pub use address::is_public;
pub use grant::{Reach, bare, default_port, reach};
pub use request::{Answer, Ask, ask, url};

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, LazyLock},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::{
    TlsConnector,
    rustls::{ClientConfig, RootCertStore, crypto, pki_types::ServerName},
};

/// Where a request goes.
#[derive(Debug)]
pub struct Target {
    /// All of them checked; the first that answers is taken.
    pub addresses: Vec<SocketAddr>,
    /// The name or the address that was asked for, without brackets. With TLS the server must prove that it is this one.
    pub host: String,
    pub tls: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum EgressError {
    #[error("`{0}` is not a URL that can be asked: `http://` or `https://`, a host, and a path")]
    Url(String),
    #[error("`{0}` is not granted")]
    NotGranted(String),
    #[error("can't look up `{host}`")]
    Lookup { host: String, source: io::Error },
    #[error("`{0}` has no address")]
    NoAddress(String),
    #[error("`{0}` leads to an address that is not of the internet, and nothing says that this is meant")]
    Private(String),
    #[error("can't connect to `{host}`")]
    Connect { host: String, source: io::Error },
    #[error("can't speak TLS with `{host}`")]
    Tls { host: String, source: io::Error },
    #[error("the request to `{host}` failed")]
    Http { host: String, source: hyper::Error },
    #[error("`{host}` did not answer within {seconds} s")]
    Slow { host: String, seconds: u64 },
    #[error("the answer of `{host}` has more than {max} bytes")]
    TooLarge {
        host: String,
        max: usize,
        /// What it had answered by then.
        status: http::StatusCode,
    },
}

impl Target {
    /// The only time that the name is looked up. One address that may not be asked is enough to refuse: which one is
    /// taken must not be a matter of luck.
    pub async fn find(host: String, port: u16, tls: bool, reach: Reach) -> Result<Target, EgressError> {
        let addresses: Vec<SocketAddr> = match host.parse::<IpAddr>() {
            Ok(address) => vec![SocketAddr::new(address, port)],
            Err(_) => {
                let found = tokio::net::lookup_host((host.as_str(), port)).await.map(Iterator::collect);
                found.map_err(|source| EgressError::Lookup { host: host.clone(), source })?
            }
        };
        if addresses.is_empty() {
            return Err(EgressError::NoAddress(host));
        }
        if reach == Reach::Public && !addresses.iter().all(|address| is_public(address.ip())) {
            tracing::debug!(host, ?addresses, "this host may not be asked: not an address of the internet");
            return Err(EgressError::Private(host));
        }
        Ok(Target { addresses, host, tls })
    }

    /// A connection, with TLS where that is spoken.
    pub async fn connect(&self) -> Result<Box<dyn Stream>, EgressError> {
        let host = || self.host.clone();
        let stream = TcpStream::connect(&self.addresses[..]).await.map_err(|source| EgressError::Connect { host: host(), source })?;
        if !self.tls {
            return Ok(Box::new(stream));
        }
        let failed = |source| EgressError::Tls { host: host(), source };
        let name = ServerName::try_from(self.host.clone()).map_err(|e| failed(io::Error::other(e)))?;
        let config = TLS.clone().ok_or_else(|| failed(io::Error::other("no version of TLS can be spoken")))?;
        Ok(Box::new(TlsConnector::from(config).connect(name, stream).await.map_err(failed)?))
    }
}

/// What is spoken over.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Made once: it holds the roots that browsers trust.
static TLS: LazyLock<Option<Arc<ClientConfig>>> = LazyLock::new(|| {
    let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.into() };
    let config =
        ClientConfig::builder_with_provider(Arc::new(crypto::ring::default_provider())).with_safe_default_protocol_versions().ok()?;
    Some(Arc::new(config.with_root_certificates(roots).with_no_client_auth()))
});

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_a_name_means_is_checked_after_it_was_looked_up() {
        // The first is an old way to write 127.0.0.1, which no list of texts would recognise.
        for host in ["127.1", "localhost", "::ffff:127.0.0.1"] {
            let found = Target::find(host.to_owned(), 80, false, Reach::Public).await;
            assert!(matches!(found, Err(EgressError::Private(_))), "{host}");
        }
        let target = Target::find("127.1".to_owned(), 80, false, Reach::Anywhere).await.unwrap();
        assert_eq!(target.addresses, ["127.0.0.1:80".parse().unwrap()]);
    }
}
