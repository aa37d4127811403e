//! Opening sessions and pools, with the errors that a DBA can act on.

mod error;
mod pool;

use std::error::Error as _;
use std::future::poll_fn;
use std::io;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use rand::seq::SliceRandom;
use rustls::CertificateError;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_postgres::config::Host;
use tokio_postgres::{AsyncMessage, Connection, NoTls, Notification, Socket};

use super::failure::describe;
use super::libpq::{Endpoint, Settings, SslMode};
use super::tls;

pub use error::{AuthProblem, ConnectError, TlsProblem};
pub(crate) use pool::carried;
pub use pool::{Pool, pool};

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
