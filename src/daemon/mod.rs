//! The long-running parts: start, loops, reload, drain, watchdog.
//!
//! Every loop has the same shape (`rounds`): do a round; if it found work do another at once,
//! else wait for a pulse (a notification, another loop's progress) or the poll interval. No loop
//! knows another; the control database is all they share, so any number of daemons may run them.

mod census;
pub mod head_file;
mod listen;
mod logging;
mod loops;
mod policies;
mod rest;
mod rounds;
mod state;

pub use policies::offers;
pub use state::{Health, Shared};

use crate::drop_folder::DropFolder;
use crate::erasure::context::{Clock, Context};
use crate::ledger::Fault;
use crate::start::{self, StartError};
use crate::store::census::{Census, Closed};
use crate::store::{Store, StoreError};
use crate::{api, http, metrics};
use chrono::Utc;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::{JoinHandle, JoinSet};

/// How long a drain waits for batches under way; the unit's TimeoutStopSec is longer.
const DRAIN: Duration = Duration::from_secs(75);

/// Why the daemon ended.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// Configuration, policies or keys.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The control database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The ledger is not the one this daemon saw last.
    #[error(
        "{code}: {fault}. The control database looks restored from a backup or rewritten: see docs/operations.md before removing the file ledger-head",
        code = fault.code()
    )]
    Ledger {
        /// What differs.
        fault: Fault,
    },
    /// The state directory.
    #[error("the state directory: {0}")]
    State(std::io::Error),
    /// The listen address.
    #[error("{0} cannot be listened on: {1}")]
    Listen(std::net::SocketAddr, std::io::Error),
    /// The API's address, certificate or key.
    #[error("[api] cannot be served: {0}")]
    Api(std::io::Error),
    /// A loop died.
    #[error("a part of the daemon ended by itself: {0}")]
    Died(String),
    /// With `--until-idle`: something stands in the way, and went on standing there.
    #[error("there is work left that cannot be done: {0}")]
    Hindered(String),
    /// With `--until-idle`: tickets failed meanwhile.
    #[error(
        "{0} ticket(s) failed and wait for a person: see `erasured ticket list --state failed`"
    )]
    Found(u64),
}

impl DaemonError {
    /// See `docs/operations.md`.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Store(error) if error.is_transient() => 3,
            Self::Start(_) | Self::State(_) | Self::Listen(..) | Self::Api(_) => 2,
            Self::Store(StoreError::Version(_)) => 2,
            Self::Store(_)
            | Self::Ledger { .. }
            | Self::Died(_)
            | Self::Hindered(_)
            | Self::Found(_) => 1,
        }
    }
}

/// Is told what is open and what is closed.
pub type Progress = Arc<dyn Fn(&Census, &Closed) + Send + Sync>;

/// How the daemon is run.
#[derive(Clone)]
pub struct Options {
    /// End when nothing is left to do.
    pub until_idle: bool,
    /// Hears of progress at every census.
    pub progress: Option<Progress>,
    /// Tells the time.
    pub clock: Clock,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            until_idle: false,
            progress: None,
            clock: Arc::new(Utc::now),
        }
    }
}

/// Runs the daemon until it is told to stop, or with `until_idle` until nothing is left to do.
///
/// # Errors
/// [`DaemonError`].
pub async fn run(config: PathBuf, options: Options) -> Result<(), DaemonError> {
    let until_idle = options.until_idle;
    let config = start::configuration(&config)?;
    logging::install(&config.log, options.progress.is_some());
    let metrics = metrics::install().map_err(|e| DaemonError::Died(e.to_string()))?;
    std::fs::create_dir_all(&config.state_dir).map_err(DaemonError::State)?;
    let token = config
        .http
        .token
        .as_ref()
        .map(crate::config::SecretSource::load)
        .transpose()
        .map_err(StartError::from)?;
    // Before anything that takes time: a signal that comes early is not lost, and kills nothing.
    let mut signals = Signals::listen().map_err(DaemonError::State)?;
    let context = Arc::new(start::context(config, options.clock.clone())?);
    let shared = Shared::new(context.clone(), drop_folder(&context)?);
    let listen = context.config.http.listen;
    let listener = tokio::net::TcpListener::bind(listen)
        .await
        .map_err(|e| DaemonError::Listen(listen, e))?;

    let mut tasks = JoinSet::new();
    // Served until the very end, so that a drain can be watched.
    let served = tokio::spawn(http::serve(
        listener,
        http::Served {
            shared: shared.clone(),
            metrics,
            token,
        },
    ));
    if !until_reached(&shared, until_idle, &mut signals).await? {
        served.abort();
        return Ok(());
    }
    head_file::check(&context).await?;
    // A run that only drains leaves the door to the daemon that stays.
    let api = if until_idle {
        None
    } else {
        serve_api(&context).await?
    };
    spawn_loops(&mut tasks, &shared, options.progress);
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        holder = context.holder,
        "ready"
    );

    let ended = supervise(&mut tasks, &shared, until_idle, &mut signals).await;
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
    if let Some(api) = api {
        api.abort();
    }
    drain(&mut tasks, &shared).await;
    if !shared.targets.is_empty() {
        context.store.leave_targets(shared.id).await.ok();
    }
    served.abort();
    ended?;
    match context.failures() {
        0 => Ok(()),
        n if until_idle => Err(DaemonError::Found(n)),
        _ => Ok(()),
    }
}

/// Files of requests, where the configuration names a folder.
fn drop_folder(context: &Context) -> Result<Option<DropFolder>, DaemonError> {
    let Some(config) = &context.config.drop_folder else {
        return Ok(None);
    };
    let store = Store::new(
        start::filing_pool(&config.control, "drop", 2)?
            .inner()
            .clone(),
    );
    Ok(Some(DropFolder::new(store, config.clone())))
}

/// The desk over HTTP, where the configuration asks for it.
async fn serve_api(context: &Arc<Context>) -> Result<Option<JoinHandle<()>>, DaemonError> {
    let Some(config) = &context.config.api else {
        return Ok(None);
    };
    let store = Store::new(
        start::filing_pool(&config.control, "api", 8)?
            .inner()
            .clone(),
    );
    let served = api::serve(config, api::Api::new(context.clone(), store, config));
    let served = served.await.map_err(DaemonError::Api)?;
    Ok(Some(tokio::spawn(served)))
}

/// Waits for the control database; a drain does not wait for ever. False if told to stop.
async fn until_reached(
    shared: &Arc<Shared>,
    until_idle: bool,
    signals: &mut Signals,
) -> Result<bool, DaemonError> {
    let mut tries: u32 = 0;
    loop {
        match loops::first_contact(shared).await {
            Ok(()) => {
                shared.health.set("control", Ok(()));
                return Ok(true);
            }
            Err(error) if error.is_transient() && !(until_idle && tries >= 3) => {
                tries += 1;
                tracing::warn!(%error, "the control database cannot be reached yet");
                shared.health.set("control", Err(error.to_string()));
                tokio::select! {
                    () = tokio::time::sleep(Duration::from_secs(u64::from(tries.min(15)))) => {}
                    () = signals.terminated() => return Ok(false),
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
}

fn spawn_loops(
    tasks: &mut JoinSet<Result<(), DaemonError>>,
    shared: &Arc<Shared>,
    progress: Option<Progress>,
) {
    let limits = shared.context.config.limits;
    let mut spawn = |name: &'static str, every: Duration, work: loops::Work| {
        let rounds = rounds::Rounds::new(name, every, shared.clone());
        tasks.spawn(rounds.run(work));
    };
    spawn("intake", limits.poll, loops::Work::Intake);
    for _ in 0..limits.workers.get() {
        spawn("worker", limits.poll, loops::Work::Batch);
    }
    for _ in 0..shared.context.config.stand_ins() {
        spawn("stand-in", limits.poll, loops::Work::StandIn);
    }
    spawn("sweep", limits.poll, loops::Work::Sweep);
    spawn("deferral", limits.poll, loops::Work::Deferral);
    spawn("recheck", limits.poll, loops::Work::Recheck);
    spawn("retention", limits.poll, loops::Work::Retention);
    spawn("in-doubt", limits.poll, loops::Work::InDoubt);
    spawn("ledger", limits.poll, loops::Work::Ledger);
    if shared.drop_folder.is_some() {
        spawn("drop", limits.poll, loops::Work::Drop);
    }
    for target in 0..shared.targets.len() {
        spawn("outbox", limits.poll, loops::Work::Outbox(target));
    }
    let shared_census = shared.clone();
    tasks.spawn(async move { census::census(&shared_census, progress).await });
    let shared_retention = shared.clone();
    tasks.spawn(async move { loops::measure_retention(&shared_retention).await });
    let shared_prepared = shared.clone();
    tasks.spawn(async move { loops::look_for_prepared(&shared_prepared).await });
    let shared_listen = shared.clone();
    tasks.spawn(async move { listen::listen(&shared_listen).await });
}

/// Until a signal, a death, or idleness.
async fn supervise(
    tasks: &mut JoinSet<Result<(), DaemonError>>,
    shared: &Arc<Shared>,
    until_idle: bool,
    signals: &mut Signals,
) -> Result<(), DaemonError> {
    let watchdog = watchdog_interval();
    let mut ping = tokio::time::interval(watchdog.unwrap_or(Duration::from_secs(3600)));
    loop {
        tokio::select! {
            told = signals.next() => match told {
                Told::Stop => {
                    tracing::info!("told to stop: no new batches; those under way are finished");
                    return Ok(());
                }
                // Beside the watchdog's pings and the next signal: a database may be slow to answer.
                Told::Reload => {
                    let shared = shared.clone();
                    tasks.spawn(async move {
                        policies::reload(&shared).await;
                        Ok(())
                    });
                }
            },
            _ = ping.tick(), if watchdog.is_some() => {
                let _ = sd_notify::notify(&[sd_notify::NotifyState::Watchdog]);
            }
            done = shared.idle(), if until_idle => {
                done.map_err(DaemonError::Hindered)?;
                tracing::info!("{}", rest::told(&shared.context.store.census().await?));
                return Ok(());
            }
            Some(ended) = tasks.join_next() => match ended {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return Err(error),
                Err(panic) => return Err(DaemonError::Died(panic.to_string())),
            },
        }
    }
}

/// Half of what systemd allows; `None` if it does not watch.
fn watchdog_interval() -> Option<Duration> {
    let micros: u64 = std::env::var("WATCHDOG_USEC").ok()?.parse().ok()?;
    Some(Duration::from_micros(micros / 2))
}

/// What a signal asks for.
enum Told {
    Stop,
    Reload,
}

/// One listener for the daemon's whole life: a signal that came while nobody waited is still
/// there for the next who does.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Told {
        tokio::select! {
            _ = self.terminate.recv() => Told::Stop,
            _ = self.interrupt.recv() => Told::Stop,
            _ = self.hangup.recv() => Told::Reload,
        }
    }

    async fn terminated(&mut self) {
        tokio::select! { _ = self.terminate.recv() => {}, _ = self.interrupt.recv() => {} }
    }
}

/// Loops end after their round; what takes too long is dropped, which rolls back.
async fn drain(tasks: &mut JoinSet<Result<(), DaemonError>>, shared: &Arc<Shared>) {
    shared.stop();
    let all = async { while tasks.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN, all).await.is_err() {
        tracing::warn!(
            "not everything ended in time; what is unfinished is rolled back and taken up again"
        );
        tasks.abort_all();
    }
    last_words(&shared.context).await;
    tracing::info!("stopped");
}

/// What the loops recorded last goes into the ledger too.
async fn last_words(context: &Context) {
    while let Ok(true) = loops::append(context).await {}
}
