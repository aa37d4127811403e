//! Requests to one host that the configuration names, and to no other: whatever address is asked for, and whatever
//! an answer says. Without redirects and proxies.

use crate::config::outbox::Endpoint;
use async_trait::async_trait;
use axum::http::{HeaderValue, Request, header};
use http_body_util::BodyExt;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse,
    HttpResponseBody, HttpService,
};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// How long one answer may take to begin.
const ANSWER: Duration = Duration::from_secs(30);

/// The one host.
#[derive(Clone, Debug)]
pub(super) struct Only {
    host: String,
    port: u16,
    tls: Option<(ServerName<'static>, Arc<ClientConfig>)>,
}

impl Only {
    /// # Errors
    /// Its authorities cannot be read.
    pub(super) fn new(endpoint: &Endpoint) -> io::Result<Self> {
        let tls = match endpoint.tls {
            true => {
                let name = ServerName::try_from(endpoint.host.clone()).map_err(io::Error::other)?;
                Some((name, client(endpoint.ca_file.as_deref())?))
            }
            false => None,
        };
        Ok(Self {
            host: endpoint.host.clone(),
            port: endpoint.port,
            tls,
        })
    }
}

impl HttpConnector for Only {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.clone()))
    }
}

#[async_trait]
impl HttpService for Only {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let (mut parts, body) = request.into_parts();
        // Signed as if it stood in a header, which it does not yet.
        if let Some(authority) = parts.uri.authority() {
            let host = HeaderValue::from_str(authority.as_str());
            let host = host.map_err(|e| HttpError::new(HttpErrorKind::Unknown, e))?;
            parts.headers.insert(header::HOST, host);
        }
        if let Some(path) = parts.uri.path_and_query() {
            parts.uri = path.clone().into();
        }
        let request = Request::from_parts(parts, body);
        let all = async {
            let stream = TcpStream::connect((self.host.as_str(), self.port)).await;
            let stream = stream.map_err(|e| HttpError::new(HttpErrorKind::Connect, e))?;
            match &self.tls {
                Some((name, config)) => {
                    let tls = TlsConnector::from(config.clone()).connect(name.clone(), stream);
                    let stream = tls
                        .await
                        .map_err(|e| HttpError::new(HttpErrorKind::Connect, e))?;
                    send(stream, request).await
                }
                None => send(stream, request).await,
            }
        };
        let late = |e| Err(HttpError::new(HttpErrorKind::Timeout, e));
        tokio::time::timeout(ANSWER, all).await.unwrap_or_else(late)
    }
}

/// On a connection of its own, which ends with the answer.
async fn send<S>(stream: S, request: HttpRequest) -> Result<HttpResponse, HttpError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let lost = |e: hyper::Error| HttpError::new(HttpErrorKind::Interrupted, e);
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(lost)?;
    tokio::spawn(connection);
    let answer = sender.send_request(request).await.map_err(lost)?;
    Ok(answer.map(|body| HttpResponseBody::new(body.map_err(lost))))
}

/// Whom to believe.
fn client(ca_file: Option<&Path>) -> io::Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    match ca_file {
        None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Some(path) => {
            let told = |e: io::Error| io::Error::other(format!("{}: {e}", path.display()));
            let pem = std::fs::read(path).map_err(told)?;
            let found: Vec<CertificateDer<'_>> = rustls_pemfile::certs(&mut pem.as_slice())
                .collect::<Result<_, _>>()
                .map_err(told)?;
            if roots.add_parsable_certificates(found).0 == 0 {
                return Err(told(io::Error::other("it holds no certificate")));
            }
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}
