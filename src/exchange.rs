//! One request over HTTP and its answer: a connection of its own, no redirects, no proxies.
//!
//! Whom a request may reach is decided by the address that is connected to, never by a name: what a
//! name leads to is the name's owner's to change, between two looks too.

use crate::config::outbox::Endpoint;
use axum::http::{HeaderMap, HeaderValue, Request, StatusCode, header};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

mod addresses;

pub use addresses::Addresses;

/// What came back, whatever it says.
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body; empty if it was not to be read.
    pub body: Bytes,
}

/// Why no whole answer came. Nothing here holds an address, a header or a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// The file of the authorities to trust cannot be used.
    CaFile,
    /// The request is none that can be sent.
    Request,
    /// The name leads only to addresses that must not be reached.
    Address,
    /// Nobody answers there.
    Connect,
    /// Who answers is not whom the name says, or speaks no TLS.
    Tls,
    /// The connection ended before the answer did.
    Connection,
    /// The answer is longer than it may be.
    TooLong,
}

impl Lost {
    /// It as a word that is kept.
    pub fn word(self) -> &'static str {
        match self {
            Self::CaFile => "ca_file",
            Self::Request => "request",
            Self::Address => "address",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Connection => "connection_lost",
            Self::TooLong => "too_long",
        }
    }
}

/// Asks, and reads at most so many bytes of the answer's body; none if not said.
///
/// # Errors
/// [`Lost`]. The caller says how long all of it may take.
pub async fn exchange(
    endpoint: &Endpoint,
    addresses: Addresses,
    mut request: Request<Full<Bytes>>,
    read: Option<usize>,
) -> Result<Answer, Lost> {
    let host = match endpoint.host.contains(':') {
        true => format!("[{}]", endpoint.host),
        false => endpoint.host.clone(),
    };
    // Without the port that goes without saying, as it is signed where requests are.
    let host = match (endpoint.tls, endpoint.port) {
        (true, 443) | (false, 80) => host,
        (_, port) => format!("{host}:{port}"),
    };
    let headers = request.headers_mut();
    let host = HeaderValue::try_from(host).map_err(|_| Lost::Request)?;
    headers.insert(header::HOST, host);
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    let agent = concat!("erasured/", env!("CARGO_PKG_VERSION"));
    headers.insert(header::USER_AGENT, HeaderValue::from_static(agent));
    let stream = connect(endpoint, addresses).await?;
    if !endpoint.tls {
        return send(stream, request, read).await;
    }
    let name = ServerName::try_from(endpoint.host.clone()).map_err(|_| Lost::Tls)?;
    let stream = TlsConnector::from(client(endpoint.ca_file.as_deref())?)
        .connect(name, stream)
        .await
        .map_err(|_| Lost::Tls)?;
    send(stream, request, read).await
}

/// The name is looked up once, and what is connected to is what was judged.
async fn connect(endpoint: &Endpoint, addresses: Addresses) -> Result<TcpStream, Lost> {
    let known = tokio::net::lookup_host((endpoint.host.as_str(), endpoint.port)).await;
    let known: Vec<SocketAddr> = known.map_err(|_| Lost::Connect)?.collect();
    let mut lost = match known.is_empty() {
        true => Lost::Connect,
        false => Lost::Address,
    };
    for address in known.iter().filter(|known| addresses.take(known.ip())) {
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(_) => lost = Lost::Connect,
        }
    }
    Err(lost)
}

async fn send<S>(
    stream: S,
    request: Request<Full<Bytes>>,
    read: Option<usize>,
) -> Result<Answer, Lost>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let lost = |_| Lost::Connection;
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(64 << 10)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(lost)?;
    let mut answered = std::pin::pin!(async {
        let (parts, body) = sender
            .send_request(request)
            .await
            .map_err(lost)?
            .into_parts();
        let body = match read {
            None => Bytes::new(),
            Some(most) => whole(Limited::new(body, most)).await?,
        };
        Ok(Answer {
            status: parts.status,
            headers: parts.headers,
            body,
        })
    });
    // The connection is driven here and nowhere else: it ends with this future. Where it ends first
    // the answer may have come with its last bytes.
    tokio::select! {
        answer = &mut answered => answer,
        _ = connection => answered.await,
    }
}

async fn whole(body: Limited<hyper::body::Incoming>) -> Result<Bytes, Lost> {
    match body.collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Lost::TooLong),
        Err(_) => Err(Lost::Connection),
    }
}

/// Text as it stands in a path or a query: percent-encoded but for letters, digits, `-._~`, and the
/// bytes of `keep`.
pub fn encoded(text: &str, keep: &[u8]) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || keep.contains(&byte) {
            true => encoded.push(char::from(byte)),
            false => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

/// Read anew for each connection, so that a renewed file needs no restart.
pub(crate) fn client(ca_file: Option<&Path>) -> Result<Arc<ClientConfig>, Lost> {
    let mut roots = RootCertStore::empty();
    match ca_file {
        None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Some(path) => {
            let pem = std::fs::read(path).map_err(|_| Lost::CaFile)?;
            let found: Vec<CertificateDer<'_>> = rustls_pemfile::certs(&mut pem.as_slice())
                .collect::<Result<_, _>>()
                .map_err(|_| Lost::CaFile)?;
            roots.add_parsable_certificates(found);
            if roots.is_empty() {
                return Err(Lost::CaFile);
            }
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|_| Lost::Tls)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}
