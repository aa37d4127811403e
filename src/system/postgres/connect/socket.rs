//! From an endpoint to bytes that go there and back: TCP or a Unix socket, and TLS over it.

use super::super::libpq::{Endpoint, Settings, SslMode};
use super::super::tls;
use super::ConnectError;
use socket2::{SockRef, TcpKeepalive};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio_postgres::config::{Host, SslNegotiation};
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};

/// Bytes in both directions.
pub(super) trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Duplex for T {}

/// A way to a server, encrypted or not.
pub(super) type Stream = Box<dyn Duplex>;

/// Why there is none.
pub(super) enum Failed {
    /// The way there.
    Io(io::Error),
    /// TLS was wanted and is not offered.
    NoTls,
    /// The handshake.
    Tls(io::Error),
    /// The settings.
    Settings(ConnectError),
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Where the settings say nothing: a peer that is gone is noticed within a minute, not within the two
/// hours that Linux takes.
const IDLE: Duration = Duration::from_secs(30);
const INTERVAL: Duration = Duration::from_secs(10);
const RETRIES: u32 = 3;
const UNACKNOWLEDGED: Duration = Duration::from_secs(60);

/// tokio-postgres' own default, which says that nobody has asked for another.
const UNSAID: Duration = Duration::from_secs(2 * 60 * 60);

/// Opens the way, TLS included.
pub(super) async fn open(
    settings: &Settings,
    endpoint: &Endpoint,
    mode: SslMode,
) -> Result<Stream, Failed> {
    let stream = reach(settings, endpoint).await?;
    match mode {
        SslMode::Disable => Ok(stream),
        _ => encrypt(settings, endpoint, mode, stream).await,
    }
}

async fn reach(settings: &Settings, endpoint: &Endpoint) -> Result<Stream, Failed> {
    let addresses: Vec<SocketAddr> = match (&endpoint.host, endpoint.address) {
        (_, Some(address)) => vec![SocketAddr::new(address, endpoint.port)],
        (Host::Unix(folder), None) => {
            let path = folder.join(format!(".s.PGSQL.{}", endpoint.port));
            return Ok(Box::new(UnixStream::connect(path).await?));
        }
        (Host::Tcp(name), None) => tokio::net::lookup_host((name.as_str(), endpoint.port))
            .await?
            .collect(),
    };
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in addresses {
        match tcp(&settings.session, address).await {
            Ok(stream) => return Ok(Box::new(stream)),
            Err(error) => last = error,
        }
    }
    Err(last.into())
}

async fn tcp(asked: &tokio_postgres::Config, address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let socket = SockRef::from(&stream);
    let unacknowledged = asked.get_tcp_user_timeout().copied();
    socket.set_tcp_user_timeout(Some(unacknowledged.unwrap_or(UNACKNOWLEDGED)))?;
    if asked.get_keepalives() {
        let idle = Some(asked.get_keepalives_idle()).filter(|idle| *idle != UNSAID);
        let keepalive = TcpKeepalive::new()
            .with_time(idle.unwrap_or(IDLE))
            .with_interval(asked.get_keepalives_interval().unwrap_or(INTERVAL))
            .with_retries(asked.get_keepalives_retries().unwrap_or(RETRIES));
        socket.set_tcp_keepalive(&keepalive)?;
    }
    Ok(stream)
}

/// What a client sends that would like TLS: its length, and a number that is no version.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];

async fn encrypt(
    settings: &Settings,
    endpoint: &Endpoint,
    mode: SslMode,
    mut stream: Stream,
) -> Result<Stream, Failed> {
    let mut connector = tls::connector(mode, &settings.tls).map_err(Failed::Settings)?;
    if settings.session.get_ssl_negotiation() == SslNegotiation::Postgres {
        stream.write_all(&SSL_REQUEST).await?;
        match (stream.read_u8().await?, mode) {
            (b'S', _) => {}
            (_, SslMode::Prefer) => return Ok(stream),
            _ => return Err(Failed::NoTls),
        }
    }
    let name = endpoint.host();
    let connect = MakeTlsConnect::<Stream>::make_tls_connect(&mut connector, &name);
    let connect = connect.map_err(|error| Failed::Tls(io::Error::other(error)))?;
    Ok(Box::new(
        connect.connect(stream).await.map_err(Failed::Tls)?,
    ))
}
