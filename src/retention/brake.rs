//! Asks before each batch whether production bears it, and waits until it does.

use super::throttle::{self, Decision, Kind, Reading, Readings, Reason, Share, Trail};
use super::{Go, Progress, Stopped};
use crate::config::System;
use crate::config::throttle::Standby;
use crate::erasure::context::Context;
use crate::metrics as names;
use crate::start;
use crate::system::postgres::connect::Client;
use crate::system::postgres::pressure::{self, Pressure, Wanted};
use std::collections::BTreeMap;
use std::pin::pin;
use std::time::{Duration, Instant};

/// Readings are taken at most so often.
const EVERY: Duration = Duration::from_secs(1);
/// Longer than this nobody is waited for: it is not known then.
const PATIENCE: Duration = Duration::from_secs(3);
/// While a run waits it is asked so often whether to go on.
const SLICE: Duration = Duration::from_millis(200);

/// Is asked whether to go on, and told how far it is.
pub(super) type On<'a> = &'a mut (dyn FnMut(Progress) -> Go + Send);

/// What keeps one run from harming others.
pub(super) struct Brake<'a> {
    context: &'a Context,
    rule: &'a str,
    system: &'a str,
    config: Option<&'a System>,
    limits: Vec<(Kind, f64)>,
    readings: Readings,
    looked: Option<Instant>,
    trail: Trail,
    /// Where the WAL was at the look before.
    before: Option<(Instant, u64)>,
    session: Option<Client>,
    standbys: Vec<Option<Client>>,
    /// Waited and not yet told, less than a second of each.
    waited: BTreeMap<&'static str, Duration>,
    told: Option<Reason>,
}

impl<'a> Brake<'a> {
    pub(super) fn new(context: &'a Context, rule: &'a str, system: &'a str) -> Self {
        let config = context.config.systems.get(system);
        let limits = config.map_or_else(Vec::new, |system| throttle::limits(&system.throttle));
        Self {
            context,
            rule,
            system,
            config,
            limits,
            readings: Readings::new(),
            looked: None,
            trail: Trail::default(),
            before: None,
            session: None,
            standbys: Vec::new(),
            waited: BTreeMap::new(),
            told: None,
        }
    }

    /// Comes back when another batch may go; the last one took so long. Asks meanwhile whether to go on.
    pub(super) async fn release(
        &mut self,
        took: Duration,
        mut progress: Progress,
        on: On<'_>,
    ) -> Result<(), Stopped> {
        let mut rested = Duration::ZERO;
        let mut asked: Option<(Instant, Share)> = None;
        loop {
            let operator = match asked {
                Some((at, operator)) if at.elapsed() < EVERY => operator,
                _ => {
                    let share = self.context.store.throttle_of(self.rule).await?;
                    asked = Some((Instant::now(), share));
                    share
                }
            };
            if operator > Share::NONE {
                self.look(progress, on).await?;
            }
            let decision = throttle::decide(&self.limits, &self.readings, operator, Instant::now());
            let (reason, pause) = match decision {
                Decision::Go => break,
                Decision::Wait(reason) => (reason, SLICE),
                Decision::Slow(share) => match share.rest(took).saturating_sub(rested) {
                    Duration::ZERO => break,
                    left => (Reason::Operator, left.min(SLICE)),
                },
            };
            self.tell(matches!(decision, Decision::Wait(_)).then_some(reason));
            tokio::time::sleep(pause).await;
            self.count(reason, pause);
            rested += pause;
            progress.waits = Some(reason);
            goes_on(on, progress)?;
        }
        self.tell(None);
        Ok(())
    }

    /// Takes readings if the last ones are old enough.
    async fn look(&mut self, progress: Progress, on: On<'_>) -> Result<(), Stopped> {
        let recent = self.looked.is_some_and(|at| at.elapsed() < EVERY);
        if recent || self.limits.is_empty() {
            return Ok(());
        }
        let mut looking = pin!(self.read());
        loop {
            tokio::select! {
                () = &mut looking => return Ok(()),
                () = tokio::time::sleep(SLICE) => goes_on(on, progress)?,
            }
        }
    }

    async fn read(&mut self) {
        let Some(config) = self.config else { return };
        let throttle = &config.throttle;
        let wanted = Wanted {
            lock_waits: throttle.lock_waits.is_some(),
            active_sessions: throttle.active_sessions.is_some(),
            standbys: throttle.standbys.iter().filter_map(named).collect(),
        };
        // Only the load is not the system's to say.
        let ask = self.limits.iter().any(|(kind, _)| *kind != Kind::Load);
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
                pressure.as_ref(),
            ),
            load,
        )
        .await;
        let now = Instant::now();
        let wal = pressure.as_ref().map(|p| (now, p.wal));
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
            metrics::gauge!(names::THROTTLE_READING, "system" => self.system.to_owned(), "reason" => kind.as_str())
                .set(value.unwrap_or(f64::NAN));
            self.readings.insert(kind, Reading { at: now, value });
        }
        self.looked = Some(now);
    }

    /// Says once that a run waits, and once that it goes on.
    fn tell(&mut self, reason: Option<Reason>) {
        if self.told == reason {
            return;
        }
        match reason {
            Some(reason) => {
                tracing::info!(
                    rule = self.rule,
                    reason = reason.as_str(),
                    "a retention run waits: {reason}"
                );
            }
            None => tracing::info!(rule = self.rule, "a retention run goes on"),
        }
        self.told = reason;
    }

    fn count(&mut self, reason: Reason, waited: Duration) {
        let label = reason.as_str();
        let sum = self.waited.entry(label).or_default();
        *sum += waited;
        let whole = sum.as_secs();
        *sum -= Duration::from_secs(whole);
        metrics::counter!(names::THROTTLE_SECONDS, "rule" => self.rule.to_owned(), "reason" => label)
            .increment(whole);
    }
}

/// Whether to go on, as an error if not.
pub(super) fn goes_on(on: On<'_>, progress: Progress) -> Result<(), Stopped> {
    match on(progress) {
        Go::On => Ok(()),
        Go::Stop => Err(Stopped::Early),
        Go::Leave => Err(Stopped::Left),
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
    pressure: Option<&Pressure>,
) -> Option<Duration> {
    let (throttle, pressure) = (&config.throttle, pressure?);
    let limit = throttle.lag?;
    trail.note(Instant::now(), pressure.wal, limit);
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
    database: &crate::config::Database,
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
