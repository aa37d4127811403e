//! Sessions for reuse, opened as single ones are.

use std::error::Error as _;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::JoinHandle;
use tokio_postgres::{Config, NoTls};

use super::{ConnectError, Timeouts, open};
use crate::system::postgres::failure::describe;
use crate::system::postgres::libpq::Settings;

/// Sessions kept open for reuse, opened in the same way.
#[derive(Clone, Debug)]
pub struct Pool {
    inner: deadpool_postgres::Pool,
    at: String,
    rests: Arc<AtomicBool>,
}

impl Pool {
    /// A session of the pool, which goes back to it when dropped.
    ///
    /// # Errors
    /// As [`connect`](super::connect()); [`ConnectError::PoolBusy`] if none came free.
    pub async fn get(&self) -> Result<deadpool_postgres::Client, ConnectError> {
        self.is_open()?;
        let client = self.get_to_end().await?;
        // It may have been waited for.
        self.is_open()?;
        Ok(client)
    }

    fn is_open(&self) -> Result<(), ConnectError> {
        match self.rests() {
            false => Ok(()),
            true => Err(ConnectError::Maintenance {
                at: self.at.clone(),
            }),
        }
    }

    /// The same for ending what has begun, which a pause waits for.
    ///
    /// # Errors
    /// As [`Pool::get`].
    pub async fn get_to_end(&self) -> Result<deadpool_postgres::Client, ConnectError> {
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

    /// Lets no session out, or again; ends those that nobody uses.
    pub fn rest(&self, rests: bool) {
        self.rests.store(rests, Ordering::SeqCst);
        if rests {
            self.drop_idle();
        }
    }

    /// Whether it lets no session out.
    pub fn rests(&self) -> bool {
        self.rests.load(Ordering::SeqCst)
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
    Ok(Pool {
        inner,
        at,
        rests: Arc::default(),
    })
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

/// Why no session could be opened, from the error in which a pool hands it on.
pub(crate) fn carried(error: &tokio_postgres::Error) -> Option<ConnectError> {
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
