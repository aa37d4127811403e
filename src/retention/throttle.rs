//! Whether production bears another batch. Pure: what was read of it goes in, a decision comes out.
//!
//! What could not be read, or was read too long ago, counts as above its limit: whoever cannot see
//! whether somebody suffers waits.

use crate::config::Throttle;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::time::{Duration, Instant};

/// Older than this a reading says nothing any more.
const FRESH: Duration = Duration::from_secs(10);
/// Over so long the rate of WAL is taken.
const RATE: (Duration, Duration) = (Duration::from_millis(500), FRESH);
/// A trail's samples are this part of the limit apart, so that their number is bounded.
const STEPS: u32 = 100;

/// What of production is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Seconds that the standby which is furthest behind lags.
    Lag,
    /// Sessions that wait for a lock.
    LockWaits,
    /// Sessions at work.
    ActiveSessions,
    /// Bytes of WAL a second.
    Wal,
    /// A number that something else measures.
    Load,
}

/// Why a run waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// This is above its limit.
    Above(Kind),
    /// This could not be read.
    Unknown(Kind),
    /// An operator slows it down, or has stopped it.
    Operator,
}

/// What comes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The next batch may go.
    Go,
    /// It may go when there was a rest for the one before, see [`Share::rest`].
    Slow(Share),
    /// Not now.
    Wait(Reason),
}

/// What an operator leaves of the speed, in per cent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Share(u8);

/// What was read of one thing.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    /// When.
    pub at: Instant,
    /// `None` if it could not be.
    pub value: Option<f64>,
}

/// The latest of each.
pub type Readings = BTreeMap<Kind, Reading>;

/// What the configuration wants looked at, and above what a run waits.
#[allow(clippy::cast_precision_loss)] // limits that people write
pub fn limits(of: &Throttle) -> Vec<(Kind, f64)> {
    let all = [
        (Kind::Lag, of.lag.map(|lag| lag.as_secs_f64())),
        (Kind::LockWaits, of.lock_waits.map(|n| n as f64)),
        (Kind::ActiveSessions, of.active_sessions.map(|n| n as f64)),
        (Kind::Wal, of.wal.map(|n| n as f64)),
        (Kind::Load, of.load.as_ref().map(|load| load.above)),
    ];
    all.into_iter()
        .filter_map(|(kind, limit)| Some((kind, limit?)))
        .collect()
}

/// Whether another batch may go.
pub fn decide(
    limits: &[(Kind, f64)],
    readings: &Readings,
    operator: Share,
    now: Instant,
) -> Decision {
    if operator == Share::NONE {
        return Decision::Wait(Reason::Operator);
    }
    let mut unknown = None;
    for &(kind, limit) in limits {
        let reading = readings.get(&kind);
        let fresh = reading.filter(|r| now.saturating_duration_since(r.at) <= FRESH);
        match fresh.and_then(|r| r.value) {
            Some(value) if value <= limit => {}
            Some(value) if value > limit => return Decision::Wait(Reason::Above(kind)),
            // Not a number neither.
            _ => unknown = unknown.or(Some(kind)),
        }
    }
    match unknown {
        Some(kind) => Decision::Wait(Reason::Unknown(kind)),
        None if operator < Share::WHOLE => Decision::Slow(operator),
        None => Decision::Go,
    }
}

impl Share {
    /// Nobody slows it down.
    pub const WHOLE: Self = Self(100);
    /// Nothing goes.
    pub const NONE: Self = Self(0);

    /// So many per cent; `None` above a hundred.
    pub fn new(percent: u8) -> Option<Self> {
        (percent <= 100).then_some(Self(percent))
    }

    /// In per cent.
    pub fn percent(self) -> u8 {
        self.0
    }

    /// How long to rest for a batch that took so long: at 50 % as long again.
    pub fn rest(self, took: Duration) -> Duration {
        match u32::from(self.0) {
            0 => Duration::MAX,
            share => took.saturating_mul(100 - share) / share,
        }
    }
}

impl Kind {
    /// What to look at where it cannot be read.
    pub fn help(self) -> &'static str {
        match self {
            Self::Lag => {
                "each standby must answer under its URL, replay and be of this system; one that is named must be connected \
                 under this application_name, and to see it takes GRANT pg_read_all_stats TO erasured_daemon"
            }
            Self::ActiveSessions => "GRANT pg_read_all_stats TO erasured_daemon, as a superuser",
            Self::LockWaits | Self::Wal => "the system must answer, and be no standby",
            Self::Load => {
                "the file or the program must be there for the daemon, be new enough, and say a number"
            }
        }
    }

    /// For labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Lag => "lag",
            Self::LockWaits => "lock_waits",
            Self::ActiveSessions => "active_sessions",
            Self::Wal => "wal",
            Self::Load => "load",
        }
    }
}

impl Reason {
    /// For labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Above(kind) => kind.as_str(),
            Self::Unknown(_) => "unknown",
            Self::Operator => "operator",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Above(Kind::Lag) => "a standby lags",
            Self::Above(Kind::LockWaits) => "sessions wait for locks",
            Self::Above(Kind::ActiveSessions) => "many sessions are at work",
            Self::Above(Kind::Wal) => "much WAL is written",
            Self::Above(Kind::Load) => "the load is high",
            Self::Unknown(Kind::Lag) => "how far a standby lags is not known",
            Self::Unknown(Kind::LockWaits) => "how many sessions wait for locks is not known",
            Self::Unknown(Kind::ActiveSessions) => "how many sessions are at work is not known",
            Self::Unknown(Kind::Wal) => "how much WAL is written is not known",
            Self::Unknown(Kind::Load) => "the load is not known",
            Self::Operator => "an operator wants it (erasured retention throttle)",
        })
    }
}

/// Where the system's WAL was when. By it a standby's lag is known without any clock but ours: timestamps of
/// what was replayed grow old on a standby of an idle system, though it is not behind, and the lag in
/// `pg_stat_replication` stands still where replay does.
#[derive(Clone, Debug, Default)]
pub struct Trail {
    /// Oldest first, positions never going back.
    samples: VecDeque<(Instant, u64)>,
    /// The latest, kept or not.
    last: Option<(Instant, u64)>,
}

impl Trail {
    /// Notes where the system is. Samples that are `limit` old are only kept as far as they are needed to say so.
    pub fn note(&mut self, now: Instant, position: u64, limit: Duration) {
        if self.last.is_some_and(|(_, last)| position < last) {
            // Another server, or one from before: what was known is of no use.
            self.samples.clear();
        }
        self.last = Some((now, position));
        let apart = limit / STEPS;
        let due = |&(at, _): &(Instant, u64)| now.saturating_duration_since(at) >= apart;
        if self.samples.back().is_none_or(due) {
            self.samples.push_back((now, position));
        }
        // One that is older than the limit is enough.
        while let Some(&(second, _)) = self.samples.get(1)
            && now.saturating_duration_since(second) > limit
        {
            self.samples.pop_front();
        }
    }

    /// At most so long ago the system was where a standby is now, or where all of it was before: at least so
    /// long ago. `None` if it is not known yet.
    pub fn behind(&self, now: Instant, replayed: u64, limit: Duration) -> Option<Duration> {
        let (_, last) = self.last?;
        if replayed >= last {
            return Some(Duration::ZERO);
        }
        let passed = self.samples.iter().rfind(|(_, at)| *at <= replayed);
        let since = |(at, _): &(Instant, u64)| now.saturating_duration_since(*at);
        match passed {
            Some(passed) => Some(since(passed)),
            None => self.samples.front().map(since).filter(|age| *age > limit),
        }
    }
}

/// Bytes of WAL a second between two looks; `None` if they are too near or too far apart.
pub fn rate(before: (Instant, u64), now: (Instant, u64)) -> Option<f64> {
    let apart = now.0.checked_duration_since(before.0)?;
    if apart < RATE.0 || apart > RATE.1 {
        return None;
    }
    let bytes = u32::try_from(now.1.checked_sub(before.1)? >> 10).unwrap_or(u32::MAX);
    Some(f64::from(bytes) * 1024.0 / apart.as_secs_f64())
}

#[cfg(test)]
mod tests;
