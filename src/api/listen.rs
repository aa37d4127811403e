//! Connections: by TCP, by TLS, by a Unix socket; each bounded in time and number.

use crate::config::api::{Listen, ServerTls};
use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use zeroize::Zeroizing;

/// Connections at the same time; who comes after them waits.
const MOST: usize = 256;
/// For the handshake, and for the head of each request.
const PATIENCE: Duration = Duration::from_secs(10);

/// An open door.
pub(super) enum Door {
    Tcp(TcpListener, Option<TlsAcceptor>),
    Unix(UnixListener),
}

/// Opens it.
///
/// # Errors
/// What the system says of the address, or of certificate and key.
pub(super) async fn open(listen: &Listen, tls: Option<&ServerTls>) -> std::io::Result<Door> {
    match listen {
        Listen::Tcp(address) => {
            let tls = tls.map(acceptor).transpose()?;
            Ok(Door::Tcp(TcpListener::bind(address).await?, tls))
        }
        Listen::Unix(path) => Ok(Door::Unix(unix(path)?)),
    }
}

/// A socket that a daemon has left behind is nobody's; one that answers is somebody's. Group and
/// user may use it.
fn unix(path: &Path) -> std::io::Result<UnixListener> {
    use std::os::unix::fs::PermissionsExt;
    if std::os::unix::net::UnixStream::connect(path).is_err() {
        match std::fs::symlink_metadata(path) {
            Ok(file) if std::os::unix::fs::FileTypeExt::is_socket(&file.file_type()) => {
                std::fs::remove_file(path)?;
            }
            _ => {}
        }
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))?;
    Ok(listener)
}

fn acceptor(tls: &ServerTls) -> std::io::Result<TlsAcceptor> {
    let bad = |what: &str| std::io::Error::new(std::io::ErrorKind::InvalidData, what.to_owned());
    let pem = std::fs::read(&tls.certificate)?;
    let chain: Vec<_> = rustls_pemfile::certs(&mut pem.as_slice()).collect::<Result<_, _>>()?;
    let secret = tls.key.load().map_err(|error| bad(&error.to_string()))?;
    let key = Zeroizing::new(secret.expose().to_vec());
    let key = rustls_pemfile::private_key(&mut key.as_slice())?;
    let key = key.ok_or_else(|| bad("[api] key holds no private key in PEM"))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| bad(&error.to_string()))?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| bad(&format!("[api] certificate and key: {error}")))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Lets everybody in until the process ends.
pub(super) async fn serve(door: Door, router: Router) {
    let places = Arc::new(Semaphore::new(MOST));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else {
            return;
        };
        let router = router.clone();
        match &door {
            Door::Tcp(listener, tls) => match listener.accept().await {
                Ok((stream, _)) => {
                    let tls = tls.clone();
                    tokio::spawn(async move {
                        let _place = place;
                        match tls {
                            None => speak(stream, router).await,
                            Some(tls) => {
                                let shaken = tls.accept(stream);
                                if let Ok(Ok(stream)) = tokio::time::timeout(PATIENCE, shaken).await
                                {
                                    speak(stream, router).await;
                                }
                            }
                        }
                    });
                }
                Err(_) => pause().await,
            },
            Door::Unix(listener) => match listener.accept().await {
                Ok((stream, _)) => {
                    tokio::spawn(async move {
                        let _place = place;
                        speak(stream, router).await;
                    });
                }
                Err(_) => pause().await,
            },
        }
    }
}

/// No file descriptor is free, say: some will be.
async fn pause() {
    tokio::time::sleep(Duration::from_millis(200)).await;
}

async fn speak<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(stream: S, router: Router) {
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .max_buf_size(64 << 10)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    if let Err(error) = served.await {
        tracing::debug!(%error, "a connection to the API ended");
    }
}
