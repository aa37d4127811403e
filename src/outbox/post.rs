//! One POST: a connection of its own, no redirects, no proxies, and a time limit for all of it.

use super::{Signed, Undelivered};
use crate::config::outbox::Endpoint;
use axum::http::{HeaderName, HeaderValue, Method, Request, header};
use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Posts; 200 to 299 means that the other side has the message. What else it says is not read.
pub(super) async fn post(
    endpoint: &Endpoint,
    headers: &[(HeaderName, String)],
    signed: &Signed,
    timeout: Duration,
) -> Result<(), Undelivered> {
    let request = request(endpoint, headers, signed)?;
    let all = async {
        let stream = TcpStream::connect((endpoint.host.as_str(), endpoint.port))
            .await
            .map_err(|_| Undelivered::new("connect"))?;
        if endpoint.tls {
            let name =
                ServerName::try_from(endpoint.host.clone()).map_err(|_| Undelivered::new("tls"))?;
            let stream = TlsConnector::from(client(endpoint.ca_file.as_deref())?)
                .connect(name, stream)
                .await
                .map_err(|_| Undelivered::new("tls"))?;
            send(stream, request).await
        } else {
            send(stream, request).await
        }
    };
    tokio::time::timeout(timeout, all)
        .await
        .unwrap_or(Err(Undelivered::new("timeout")))
}

fn request(
    endpoint: &Endpoint,
    headers: &[(HeaderName, String)],
    signed: &Signed,
) -> Result<Request<Full<Bytes>>, Undelivered> {
    let bad = |_| Undelivered::new("request");
    let host = match endpoint.host.contains(':') {
        true => format!("[{}]", endpoint.host),
        false => endpoint.host.clone(),
    };
    let mut request = Request::builder()
        .method(Method::POST)
        .uri(&endpoint.path)
        .header(header::HOST, format!("{host}:{}", endpoint.port))
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::CONNECTION, "close")
        .header(
            header::USER_AGENT,
            concat!("erasured/", env!("CARGO_PKG_VERSION")),
        );
    for (name, value) in headers {
        let value = HeaderValue::from_str(value).map_err(|_| Undelivered::new("request"))?;
        request = request.header(name, value);
    }
    request
        .body(Full::new(Bytes::copy_from_slice(&signed.body)))
        .map_err(bad)
}

async fn send<S>(stream: S, request: Request<Full<Bytes>>) -> Result<(), Undelivered>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let lost = |_| Undelivered::new("connection_lost");
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(64 << 10)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(lost)?;
    let mut answered = std::pin::pin!(async { sender.send_request(request).await.map_err(lost) });
    // The connection is driven here and nowhere else: it ends with this future. Where it ends first
    // the answer may have come with its last bytes.
    let answer = tokio::select! {
        answer = &mut answered => answer?,
        _ = connection => answered.await?,
    };
    let status = answer.status();
    match status.is_success() {
        true => Ok(()),
        false => Err(Undelivered::new(format!("status_{}", status.as_u16()))),
    }
}

/// Read anew for each connection, so that a renewed file needs no restart.
fn client(ca_file: Option<&Path>) -> Result<Arc<ClientConfig>, Undelivered> {
    let mut roots = RootCertStore::empty();
    match ca_file {
        None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Some(path) => {
            let pem = std::fs::read(path).map_err(|_| Undelivered::new("ca_file"))?;
            let found: Vec<CertificateDer<'_>> = rustls_pemfile::certs(&mut pem.as_slice())
                .collect::<Result<_, _>>()
                .map_err(|_| Undelivered::new("ca_file"))?;
            roots.add_parsable_certificates(found);
            if roots.is_empty() {
                return Err(Undelivered::new("ca_file"));
            }
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|_| Undelivered::new("tls"))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}
