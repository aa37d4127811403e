//! Takes readings of how a system and its standbys fare.

use super::throttle::{self, Kind, Reading, Readings, Trail};
use crate::config::throttle::Standby;
use crate::config::{Database, System};
use crate::metrics as names;
use crate::start;
use crate::system::postgres::connect::Client;
use crate::system::postgres::pressure::{self, Pressure, Wanted};
use std::time::{Duration, Instant};

/// Readings are taken at most so often.
pub(super) const EVERY: Duration = Duration::from_secs(1);
/// Longer than this nobody is waited for: it is not known then.
const PATIENCE: Duration = Duration::from_secs(3);

/// What is known of one system, in sessions of its own.
pub(super) struct Gauges<'a> {
    name: &'a str,
    config: &'a System,
    limits: Vec<(Kind, f64)>,
    readings: Readings,
    looked: Option<Instant>,
    trail: Trail,
    /// Where the WAL was at the look before.
    before: Option<(Instant, u64)>,
    session: Option<Client>,
    standbys: Vec<Option<Client>>,
}

impl<'a> Gauges<'a> {
    pub(super) fn new(name: &'a str, config: &'a System) -> Self {
        Self {
            name,
            config,
            limits: throttle::limits(&config.throttle),
            readings: Readings::new(),
            looked: None,
            trail: Trail::default(),
            before: None,
            session: None,
            standbys: Vec::new(),
        }
    }

    /// What is looked at, and above what a run waits.
    pub(super) fn limits(&self) -> &[(Kind, f64)] {
        &self.limits
    }

    /// The latest of each.
    pub(super) fn readings(&self) -> &Readings {
        &self.readings
    }

    /// Whether it is time for another look.
    pub(super) fn is_due(&self) -> bool {
        !self.limits.is_empty() && self.looked.is_none_or(|at| at.elapsed() >= EVERY)
    }

    /// Takes a reading of each.
    pub(super) async fn read(&mut self) {
        let config = self.config;
        let throttle = &config.throttle;
        let wanted = Wanted {
            lock_waits: throttle.lock_waits.is_some(),
            active_sessions: throttle.active_sessions.is_some(),
            standbys: throttle.standbys.iter().filter_map(named).collect(),
        };
        // Only the load is not the system's to say.
        let ask = self.limits.iter().any(|(kind, _)| *kind != Kind::Load);
        // Before, not behind: a position is never said to be younger than it is.
        let asked = Instant::now();
        let pressure = if ask {
            ask_system(&mut self.session, config, &wanted).await
        } else {
            None
        };
        let load = async {
            let load = throttle.load.as_ref()?;
            let read = tokio::time::timeout(PATIENCE, super::load::read(load)).await;
            read.ok().flatten()
        };
        let (lag, load) = futures_util::future::join(
            lag(
                &mut self.trail,
                &mut self.standbys,
                config,
                pressure.as_ref().map(|pressure| (asked, pressure)),
            ),
            load,
        )
        .await;
        let now = Instant::now();
        let wal = pressure.as_ref().map(|p| (asked, p.wal));
        let rate = self.before.zip(wal).and_then(|(b, n)| throttle::rate(b, n));
        self.before = wal;
        let number = |n: Option<i64>| n.and_then(|n| i32::try_from(n).ok()).map(f64::from);
        let pressure = pressure.as_ref();
        for &(kind, _) in &self.limits {
            let value = match kind {
                Kind::Lag => lag.map(|lag| lag.as_secs_f64()),
                Kind::LockWaits => number(pressure.and_then(|p| p.lock_waits)),
                Kind::ActiveSessions => number(pressure.and_then(|p| p.active_sessions)),
                Kind::Wal => rate,
                Kind::Load => load,
            };
            metrics::gauge!(names::THROTTLE_READING, "system" => self.name.to_owned(), "reason" => kind.as_str())
                .set(value.unwrap_or(f64::NAN));
            self.readings.insert(kind, Reading { at: now, value });
        }
        self.looked = Some(now);
    }
}

fn named(standby: &Standby) -> Option<String> {
    match standby {
        Standby::Named(name) => Some(name.clone()),
        Standby::At(_) => None,
    }
}

/// A session that did not answer is not asked again.
async fn ask_system(
    session: &mut Option<Client>,
    config: &System,
    wanted: &Wanted,
) -> Option<Pressure> {
    let asked = async {
        let client = match session.take() {
            Some(client) if !client.is_closed() => client,
            _ => {
                let settings = start::settings(&config.database).ok()?;
                pressure::session(&settings).await.ok()?
            }
        };
        let pressure = pressure::of_system(&client, wanted).await.ok()?;
        Some((client, pressure))
    };
    let (client, pressure) = tokio::time::timeout(PATIENCE, asked).await.ok()??;
    *session = Some(client);
    Some(pressure)
}

/// How far the standby that is furthest behind lags.
async fn lag(
    trail: &mut Trail,
    sessions: &mut Vec<Option<Client>>,
    config: &System,
    pressure: Option<(Instant, &Pressure)>,
) -> Option<Duration> {
    let (throttle, (asked, pressure)) = (&config.throttle, pressure?);
    let limit = throttle.lag?;
    trail.note(asked, pressure.wal, limit);
    sessions.resize_with(throttle.standbys.len(), || None);
    let mut by_name = pressure.replayed.iter();
    let asked = throttle
        .standbys
        .iter()
        .zip(sessions)
        .map(|(standby, session)| {
            let known = match standby {
                Standby::Named(_) => Some(by_name.next().copied().flatten()),
                Standby::At(_) => None,
            };
            async move {
                match (known, standby) {
                    (Some(replayed), _) => replayed,
                    (None, Standby::At(database)) => {
                        let ask = ask_standby(session, database, pressure.cluster);
                        tokio::time::timeout(PATIENCE, ask).await.ok().flatten()
                    }
                    (None, Standby::Named(_)) => None,
                }
            }
        });
    let replayed = futures_util::future::join_all(asked).await;
    let now = Instant::now();
    let lags: Option<Vec<Duration>> = replayed
        .into_iter()
        .map(|replayed| trail.behind(now, replayed?, limit))
        .collect();
    lags?.into_iter().max()
}

/// Up to where a standby of this cluster has replayed.
async fn ask_standby(
    session: &mut Option<Client>,
    database: &Database,
    cluster: i64,
) -> Option<u64> {
    let client = match session.take() {
        Some(client) if !client.is_closed() => client,
        _ => {
            let settings = start::settings(database).ok()?;
            pressure::session(&settings).await.ok()?
        }
    };
    let replay = pressure::of_standby(&client).await.ok()?;
    *session = Some(client);
    replay.replayed.filter(|_| replay.cluster == cluster)
}

/// What of a system's throttle cannot be read now, so that a run would wait. Some things take a second look.
pub async fn unreadable(name: &str, config: &System) -> Vec<Kind> {
    let mut gauges = Gauges::new(name, config);
    if gauges.is_due() {
        gauges.read().await;
        tokio::time::sleep(EVERY).await;
        gauges.read().await;
    }
    let unknown = gauges
        .readings
        .iter()
        .filter(|(_, reading)| reading.value.is_none());
    unknown.map(|(kind, _)| *kind).collect()
}
