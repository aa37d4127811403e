//! Opening sessions and pools, with the errors that a DBA can act on.

mod error;
mod pool;
mod pooler;
mod socket;
mod wire;

use std::error::Error as _;
use std::future::poll_fn;
use std::io;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Duration;

use rand::seq::SliceRandom;
use rustls::CertificateError;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_postgres::config::TargetSessionAttrs;
use tokio_postgres::tls::NoTlsStream;
use tokio_postgres::{AsyncMessage, Connection, NoTls, Notification};

use super::failure::describe;
use super::libpq::{Endpoint, Settings};
use super::patroni;

pub use error::{AuthProblem, ConnectError, TlsProblem};
pub(crate) use pool::carried;
pub use pool::{Pool, pool};
pub(crate) use pooler::own_process;
pub use pooler::through_pooler;
use wire::{Known, Wire};

/// How long things may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// For one server, from the first packet to a session ready for use. `connect_timeout` in
    /// the settings goes before it.
    pub connect: Duration,
    /// How long a server that owes an answer may say nothing before the session is given up; `None`
    /// where what is asked has no bound of its own. Longer than what the server itself is told.
    pub silence: Option<Duration>,
}

/// What the way may take, on top of the time that the server has.
pub(crate) const ON_THE_WAY: Duration = Duration::from_secs(10);

impl Timeouts {
    /// For sessions whose longest statement the server ends after this.
    pub fn of_statements(longest: Duration) -> Self {
        Self {
            connect: Duration::from_secs(10),
            silence: Some(Self::silence(longest)),
        }
    }

    fn silence(longest: Duration) -> Duration {
        // So that tests need not wait.
        fail::fail_point!("silence", |millis: Option<String>| {
            let millis = millis.and_then(|m| m.parse().ok());
            Duration::from_millis(millis.unwrap_or_default())
        });
        longest + ON_THE_WAY
    }

    /// For sessions in which a statement may take as long as it takes.
    pub fn patient() -> Self {
        Self {
            silence: None,
            ..Self::default()
        }
    }
}

/// For sessions whose longest statement takes a minute.
impl Default for Timeouts {
    fn default() -> Self {
        Self::of_statements(Duration::from_secs(60))
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
    if order.len() > 1
        && let Some(leader) = patroni::leader(&settings.patroni).await
    {
        order.sort_by_key(|endpoint| !leader.is(endpoint));
    }
    let limit = settings.connect_timeout.unwrap_or(timeouts.connect);
    let mut last = None;
    for endpoint in order {
        let attempt = tokio::time::timeout(
            limit,
            open_one(settings, endpoint, role, timeouts, notifications.clone()),
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
    timeouts: Timeouts,
    notifications: Notifications,
) -> Result<(tokio_postgres::Client, JoinHandle<()>), ConnectError> {
    let stream = socket::open(settings, endpoint, settings.ssl_mode(endpoint)).await;
    let stream = stream.map_err(|failed| no_way(settings, endpoint, failed))?;
    let mut config = settings.session.clone();
    config
        .user(&settings.user)
        .dbname(&settings.dbname)
        .application_name(format!("erasured/{role}"))
        // TLS is under it already.
        .ssl_mode(tokio_postgres::config::SslMode::Disable);
    if let Some(password) = settings.password(endpoint)? {
        config.password(password.as_str());
    }
    let failed = |error| explain(settings, endpoint, &error);
    let known = Arc::new(Known::default());
    let wire = Wire::new(stream, Arc::clone(&known), timeouts.silence);
    let (client, connection) = config.connect_raw(wire, NoTls).await.map_err(failed)?;
    // Ends with the client.
    let task = tokio::spawn(drive(connection, notifications));
    let found = pooler::look(&client).await.map_err(failed)?;
    let unfit = match settings.session.get_target_session_attrs() {
        TargetSessionAttrs::ReadWrite if found.read_only => Some("database does not allow writes"),
        TargetSessionAttrs::ReadOnly if !found.read_only => Some("database is not read only"),
        _ => None,
    };
    if let Some(what) = unfit {
        return Err(ConnectError::WrongServer {
            at: settings.place(endpoint),
            what: what.into(),
        });
    }
    // Nothing is on its way at this moment, so both directions stand between two messages.
    if found.pooled {
        known.pooled();
    }
    known.open();
    Ok((client, task))
}

/// Moves the session's messages. Notices are dropped: a function's author may have put a row
/// into one, and tokio-postgres would log it.
async fn drive(
    mut connection: Connection<Wire<socket::Stream>, NoTlsStream>,
    notifications: Notifications,
) {
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

/// Why there is no way to the server.
fn no_way(settings: &Settings, endpoint: &Endpoint, failed: socket::Failed) -> ConnectError {
    let at = settings.place(endpoint);
    let problem = match failed {
        socket::Failed::Settings(error) => return error,
        socket::Failed::Io(error) => {
            return unreachable_at(settings, endpoint, error.to_string());
        }
        socket::Failed::NoTls => TlsProblem::NotOffered,
        socket::Failed::Tls(error) => match in_tls(&error) {
            Some(error) => tls_problem(error),
            // The server hung up in the middle of it; that may be a dying server as well.
            None => return unreachable_at(settings, endpoint, error.to_string()),
        },
    };
    ConnectError::Tls { at, problem }
}

fn in_tls(error: &io::Error) -> Option<&rustls::Error> {
    error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>())
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
    if let Some(error) = io.and_then(in_tls) {
        return ConnectError::Tls {
            at,
            problem: tls_problem(error),
        };
    }
    match (kind.as_str(), io) {
        ("invalid configuration", _) if cause == "password missing" => {
            auth(AuthProblem::NoPassword)
        }
        ("authentication error", _) => auth(AuthProblem::Protocol(cause)),
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
