//! Opening sessions and pools, with the errors that a DBA can act on.

use std::error::Error as _;
use std::future::poll_fn;
use std::io;
use std::ops::{Deref, DerefMut};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use rand::seq::SliceRandom;
use rustls::CertificateError;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_postgres::config::Host;
use tokio_postgres::{AsyncMessage, Config, Connection, NoTls, Notification, Socket};

use super::failure::describe;
use super::libpq::{Endpoint, Settings, SslMode};
use super::tls;

/// Why there is no session. No variant holds a password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// The settings make no sense, or name a file that cannot be used.
    #[error("connection settings: {what}; {help}")]
    BadSettings {
        /// What is wrong.
        what: String,
        /// What to do.
        help: String,
    },
    /// Nobody answers there.
    #[error(
        "cannot reach PostgreSQL at {at}: {cause}; check host, port and firewall, and that the server runs"
    )]
    Unreachable {
        /// The host, or the folder of the socket.
        host: String,
        /// The port.
        port: u16,
        /// `host:port/database`.
        at: String,
        /// What the system said.
        cause: String,
    },
    /// The server answers, but not in a way that may be trusted.
    #[error("TLS with {at} failed: {problem}")]
    Tls {
        /// `host:port/database`.
        at: String,
        /// What was wrong.
        problem: TlsProblem,
    },
    /// The server does not let this user in.
    #[error("{at} does not let user `{user}` in: {problem}")]
    Auth {
        /// `host:port/database`.
        at: String,
        /// The role that tried.
        user: String,
        /// What was wrong.
        problem: AuthProblem,
    },
    /// All connections of the server, the database or the role are taken.
    #[error(
        "{at} has no connection free ({message}); raise max_connections or the role's limit, or lower [limits] workers"
    )]
    TooManyConnections {
        /// `host:port/database`.
        at: String,
        /// What the server said.
        message: String,
    },
    /// The server is starting, stopping or recovering.
    #[error("{at} is starting up or shutting down; trying again is all there is to do")]
    StartingUp {
        /// `host:port/database`.
        at: String,
    },
    /// The server is reached, but `target_session_attrs` asks for another kind.
    #[error("{at} is not the kind of server that target_session_attrs asks for: {what}")]
    WrongServer {
        /// `host:port/database`.
        at: String,
        /// What was found.
        what: String,
    },
    /// All sessions of our own pool stayed in use for the time that may be waited.
    #[error("all sessions of the pool to {at} are in use")]
    PoolBusy {
        /// `host:port/database`.
        at: String,
    },
    /// Anything else the server said.
    #[error("{at}: {what}")]
    Other {
        /// `host:port/database`.
        at: String,
        /// A description without values.
        what: String,
    },
}

impl ConnectError {
    /// Whether trying again later, with nothing changed, may succeed.
    pub fn is_transient(&self) -> bool {
        matches!(
            self,
            Self::Unreachable { .. }
                | Self::TooManyConnections { .. }
                | Self::StartingUp { .. }
                | Self::WrongServer { .. }
                | Self::PoolBusy { .. }
        )
    }
}

/// What was wrong with TLS.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TlsProblem {
    /// The certificate comes from another authority than the trusted ones.
    #[error(
        "its certificate comes from an authority that is not trusted; set sslrootcert (tls.ca_file) to the CA that signed it"
    )]
    UnknownCa,
    /// The certificate is for another host.
    #[error(
        "its certificate is not for this host name; connect by a name in its subjectAltName (the common name does not count), or have it reissued"
    )]
    WrongHostName,
    /// The certificate is past its end or before its beginning.
    #[error("its certificate has expired or is not valid yet; renew it, and check the clocks")]
    Expired,
    /// The server has no TLS.
    #[error(
        "the server does not offer TLS; set ssl = on there (or sslmode=disable here, if the way is safe)"
    )]
    NotOffered,
    /// The server did not like our certificate.
    #[error(
        "the server refused our certificate ({0}); check sslcert and sslkey (tls.client_cert, tls.client_key_file) and the server's ssl_ca_file"
    )]
    ClientCertificate(String),
    /// Anything else.
    #[error("{0}")]
    Other(String),
}

/// What was wrong with the login.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthProblem {
    /// Wrong, or expired: the server does not say which to a client.
    #[error(
        "the password is wrong or has expired (VALID UNTIL); compare it, and see \\du or rolvaliduntil in pg_roles"
    )]
    Password,
    /// The server wants a password and there is none.
    #[error(
        "the server asks for a password and none was found; give password_file, PGPASSWORD or a line in .pgpass (mode 0600)"
    )]
    NoPassword,
    /// `pg_hba.conf`, a client certificate, or a role that may not log in.
    #[error("{0}; see pg_hba.conf on the server")]
    Refused(String),
    /// The exchange itself failed.
    #[error("authentication failed: {0}")]
    Protocol(String),
}

/// How long things may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// For one server, from the first packet to a session ready for use. `connect_timeout` in
    /// the settings goes before it.
    pub connect: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
        }
    }
}

/// A session. It ends when this is dropped.
#[derive(Debug)]
pub struct Client {
    client: tokio_postgres::Client,
    task: JoinHandle<()>,
}

impl Deref for Client {
    type Target = tokio_postgres::Client;

    fn deref(&self) -> &tokio_postgres::Client {
        &self.client
    }
}

impl DerefMut for Client {
    fn deref_mut(&mut self) -> &mut tokio_postgres::Client {
        &mut self.client
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Opens a session; `role` says in `pg_stat_activity` what it is for: `erasured/<role>`.
///
/// # Errors
/// What the last server tried had to say. A refused login or certificate ends the list: the
/// next server would be asked with the same secrets.
pub async fn connect(
    settings: &Settings,
    role: &str,
    timeouts: Timeouts,
) -> Result<Client, ConnectError> {
    let (client, task) = open(settings, role, timeouts, None).await?;
    Ok(Client { client, task })
}

/// [`connect`], with the notifications that `LISTEN` brings. The receiver ends with the session.
///
/// # Errors
/// As `connect`.
pub async fn connect_listening(
    settings: &Settings,
    role: &str,
    timeouts: Timeouts,
) -> Result<(Client, mpsc::UnboundedReceiver<Notification>), ConnectError> {
    let (sender, receiver) = mpsc::unbounded_channel();
    let (client, task) = open(settings, role, timeouts, Some(sender)).await?;
    Ok((Client { client, task }, receiver))
}

type Notifications = Option<mpsc::UnboundedSender<Notification>>;

async fn open(
    settings: &Settings,
    role: &str,
    timeouts: Timeouts,
    notifications: Notifications,
) -> Result<(tokio_postgres::Client, JoinHandle<()>), ConnectError> {
    let mut order: Vec<&Endpoint> = settings.endpoints.iter().collect();
    if settings.load_balance {
        order.shuffle(&mut rand::rng());
    }
    let limit = settings.connect_timeout.unwrap_or(timeouts.connect);
    let mut last = None;
    for endpoint in order {
        let attempt = tokio::time::timeout(
            limit,
            open_one(settings, endpoint, role, notifications.clone()),
        );
        let error = match attempt.await {
            Ok(Ok(session)) => return Ok(session),
            Ok(Err(error)) => error,
            Err(_) => unreachable_at(
                settings,
                endpoint,
                format!("no answer within {} s", limit.as_secs_f32()),
            ),
        };
        if !error.is_transient() {
            return Err(error);
        }
        last = Some(error);
    }
    Err(last.unwrap_or_else(|| ConnectError::BadSettings {
        what: "no host is named".into(),
        help: "add host=…".into(),
    }))
}

async fn open_one(
    settings: &Settings,
    endpoint: &Endpoint,
    role: &str,
    notifications: Notifications,
) -> Result<(tokio_postgres::Client, JoinHandle<()>), ConnectError> {
    let mode = settings.ssl_mode(endpoint);
    let mut config = settings.session.clone();
    config
        .user(&settings.user)
        .dbname(&settings.dbname)
        .application_name(format!("erasured/{role}"))
        .port(endpoint.port)
        .ssl_mode(match mode {
            SslMode::Disable => tokio_postgres::config::SslMode::Disable,
            SslMode::Prefer => tokio_postgres::config::SslMode::Prefer,
            _ => tokio_postgres::config::SslMode::Require,
        });
    match &endpoint.host {
        Host::Tcp(name) => config.host(name),
        Host::Unix(folder) => config.host_path(folder),
    };
    if let Some(address) = endpoint.address {
        config.hostaddr(address);
    }
    if let Some(password) = &endpoint.password {
        config.password(password.as_str());
    }
    let failed = |error| explain(settings, endpoint, &error);
    if mode == SslMode::Disable {
        let (client, connection) = config.connect(NoTls).await.map_err(failed)?;
        Ok((client, tokio::spawn(drive(connection, notifications))))
    } else {
        let connector = tls::connector(mode, &settings.tls)?;
        let (client, connection) = config.connect(connector).await.map_err(failed)?;
        Ok((
            client,
            tokio::spawn(drive::<tls::Stream>(connection, notifications)),
        ))
    }
}

/// Moves the session's messages. Notices are dropped: a function's author may have put a row
/// into one, and tokio-postgres would log it.
async fn drive<T>(mut connection: Connection<Socket, T>, notifications: Notifications)
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    while let Some(message) = poll_fn(|context| connection.poll_message(context)).await {
        match message {
            Ok(AsyncMessage::Notification(notification)) => {
                if let Some(sender) = &notifications {
                    // Nobody listening any more is no reason to end the session.
                    let _ = sender.send(notification);
                }
            }
            Ok(_) => {}
            Err(error) => {
                tracing::debug!(cause = %describe(&error), "a session ended");
                break;
            }
        }
    }
}

fn unreachable_at(settings: &Settings, endpoint: &Endpoint, cause: String) -> ConnectError {
    ConnectError::Unreachable {
        host: endpoint.host(),
        port: endpoint.port,
        at: settings.place(endpoint),
        cause,
    }
}

fn explain(
    settings: &Settings,
    endpoint: &Endpoint,
    error: &tokio_postgres::Error,
) -> ConnectError {
    let at = settings.place(endpoint);
    let auth = |problem| ConnectError::Auth {
        at: at.clone(),
        user: settings.user.clone(),
        problem,
    };
    if let Some(db) = error.as_db_error() {
        let code = db.code().code();
        return match code {
            "28P01" => auth(AuthProblem::Password),
            // Written by the server about addresses, roles and certificates.
            _ if code.starts_with("28") => auth(AuthProblem::Refused(db.message().to_owned())),
            "53300" => ConnectError::TooManyConnections {
                at,
                message: db.message().to_owned(),
            },
            "57P01" | "57P02" | "57P03" => ConnectError::StartingUp { at },
            _ => ConnectError::Other {
                at,
                what: describe(error),
            },
        };
    }
    // tokio-postgres says the kind of its error only in words; its causes hold no values yet,
    // as nothing but the login has been sent.
    let kind = error.to_string();
    let cause = error.source().map(ToString::to_string).unwrap_or_default();
    let io = error
        .source()
        .and_then(|source| source.downcast_ref::<io::Error>());
    let in_tls = io
        .and_then(|io| io.get_ref())
        .and_then(|inner| inner.downcast_ref::<rustls::Error>());
    if let Some(error) = in_tls {
        return ConnectError::Tls {
            at,
            problem: tls_problem(error),
        };
    }
    match (kind.as_str(), io) {
        ("error performing TLS handshake", None) if cause.contains("does not support TLS") => {
            ConnectError::Tls {
                at,
                problem: TlsProblem::NotOffered,
            }
        }
        // The server hung up in the middle of it; that may be a dying server as well.
        ("error performing TLS handshake", Some(_)) => unreachable_at(settings, endpoint, cause),
        ("error performing TLS handshake", None) => ConnectError::Tls {
            at,
            problem: TlsProblem::Other(cause),
        },
        ("invalid configuration", _) if cause == "password missing" => {
            auth(AuthProblem::NoPassword)
        }
        ("authentication error", _) => auth(AuthProblem::Protocol(cause)),
        (_, Some(io))
            if io.kind() == io::ErrorKind::PermissionDenied && cause.starts_with("database ") =>
        {
            ConnectError::WrongServer { at, what: cause }
        }
        (_, Some(_)) => unreachable_at(settings, endpoint, cause),
        _ if error.is_closed() => unreachable_at(settings, endpoint, kind),
        _ => ConnectError::Other { at, what: kind },
    }
}

fn tls_problem(error: &rustls::Error) -> TlsProblem {
    use rustls::Error;
    match error {
        Error::InvalidCertificate(certificate) => match certificate {
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                TlsProblem::UnknownCa
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                TlsProblem::WrongHostName
            }
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. } => TlsProblem::Expired,
            other => {
                let text = format!("{other:?}");
                TlsProblem::Other(if text.contains("CaUsedAsEndEntity") {
                    "the server shows a CA's own certificate; have that CA sign one for the server (CA:FALSE, with a subjectAltName)".into()
                } else {
                    format!("its certificate is not valid ({error})")
                })
            }
        },
        Error::AlertReceived(alert) => TlsProblem::ClientCertificate(format!("{alert:?}")),
        other => TlsProblem::Other(other.to_string()),
    }
}

/// Sessions kept open for reuse, opened in the same way.
#[derive(Clone, Debug)]
pub struct Pool {
    inner: deadpool_postgres::Pool,
    at: String,
}

impl Pool {
    /// A session of the pool, which goes back to it when dropped.
    ///
    /// # Errors
    /// As [`connect`]; [`ConnectError::PoolBusy`] if none came free.
    pub async fn get(&self) -> Result<deadpool_postgres::Client, ConnectError> {
        use deadpool_postgres::PoolError;
        self.inner.get().await.map_err(|error| match error {
            PoolError::Timeout(_) => ConnectError::PoolBusy {
                at: self.at.clone(),
            },
            PoolError::Backend(error) => carried(&error).unwrap_or_else(|| ConnectError::Other {
                at: self.at.clone(),
                what: describe(&error),
            }),
            _ => ConnectError::Other {
                at: self.at.clone(),
                what: "the pool is closed".into(),
            },
        })
    }

    /// How many sessions there are and wait.
    pub fn status(&self) -> deadpool_postgres::Status {
        self.inner.status()
    }

    /// Ends the sessions that nobody uses, and frees their buffers.
    pub fn drop_idle(&self) {
        self.inner.retain(|_, _| false);
    }

    /// The pool itself.
    pub fn inner(&self) -> &deadpool_postgres::Pool {
        &self.inner
    }

    /// Lets no more sessions out, and ends those that come back.
    pub fn close(&self) {
        self.inner.close();
    }
}

/// A pool of at most `max_size` sessions; none is opened before the first is asked for.
///
/// # Errors
/// [`ConnectError::BadSettings`] where the pool cannot be made.
pub fn pool(
    settings: &Settings,
    role: &str,
    max_size: usize,
    timeouts: Timeouts,
) -> Result<Pool, ConnectError> {
    let at = settings
        .endpoints
        .first()
        .map(|endpoint| settings.place(endpoint))
        .unwrap_or_default();
    let connector = Connector {
        settings: settings.clone(),
        role: role.to_owned(),
        timeouts,
    };
    let manager = deadpool_postgres::Manager::from_connect(
        Config::new(),
        connector,
        deadpool_postgres::ManagerConfig::default(),
    );
    let inner = deadpool_postgres::Pool::builder(manager)
        .max_size(max_size.max(1))
        .wait_timeout(Some(POOL_WAIT))
        .runtime(deadpool_postgres::Runtime::Tokio1)
        .build()
        .map_err(|error| ConnectError::BadSettings {
            what: format!("no pool: {error}"),
            help: "this is a fault of the build".into(),
        })?;
    Ok(Pool { inner, at })
}

/// Long enough for a batch to end, short enough to be told that none does.
const POOL_WAIT: Duration = Duration::from_secs(120);

struct Connector {
    settings: Settings,
    role: String,
    timeouts: Timeouts,
}

type Opened = Result<(tokio_postgres::Client, JoinHandle<()>), tokio_postgres::Error>;

impl deadpool_postgres::Connect for Connector {
    fn connect(&self, _: &Config) -> Pin<Box<dyn Future<Output = Opened> + Send + '_>> {
        Box::pin(async {
            match open(&self.settings, &self.role, self.timeouts, None).await {
                Ok(session) => Ok(session),
                Err(error) => Err(carry(error).await),
            }
        })
    }
}

/// Packs our error into the only kind that the pool can hand on: tokio-postgres makes its
/// errors itself, and keeps what a stream failed with.
async fn carry(error: ConnectError) -> tokio_postgres::Error {
    let mut config = Config::new();
    config
        .user("-")
        .ssl_mode(tokio_postgres::config::SslMode::Disable);
    match config.connect_raw(Failing(error), NoTls).await {
        Err(carrier) => carrier,
        Ok(_) => unreachable!("a stream that fails at every call cannot open a session"),
    }
}

fn carried(error: &tokio_postgres::Error) -> Option<ConnectError> {
    error
        .source()?
        .downcast_ref::<io::Error>()?
        .get_ref()?
        .downcast_ref::<ConnectError>()
        .cloned()
}

struct Failing(ConnectError);

impl Failing {
    fn fail<T>(&self) -> Poll<io::Result<T>> {
        Poll::Ready(Err(io::Error::other(self.0.clone())))
    }
}

impl AsyncRead for Failing {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        _: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.fail()
    }
}

impl AsyncWrite for Failing {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
        self.fail()
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.fail()
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.fail()
    }
}
