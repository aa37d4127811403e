//! At which times of its schedule a rule runs by itself: pure, so that every daemon says the same.

use super::read::{CODES, UNKNOWN_WORD};
use super::retention::RetentionRule;
use super::timetable::Timetable;
use crate::reading::{Table, amount, quoted};
use chrono::{DateTime, Duration, NaiveTime, Timelike, Utc};
use sha2::{Digest, Sha256};

/// How punctual a schedule is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slots {
    /// Each time comes later by less than this, by how much is the rule's and the time's own.
    pub jitter: Duration,
    /// What becomes of times that nobody kept.
    pub catch_up: CatchUp,
}

/// What becomes of times at which no daemon could run the rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CatchUp {
    /// One run for all of them, as soon as it can be.
    Once,
    /// None: what is later than an hour is passed over.
    Skip,
}

/// Later than this a time was missed. Not less: a daemon may be at another rule.
const LATE: Duration = Duration::hours(1);
/// The most that `jitter` may be.
const MOST: std::time::Duration = std::time::Duration::from_secs(6 * 3600);
const CATCH_UP_HELP: &str =
    "write \"once\": one run for all that was missed, or \"skip\": none, but at the next time";

impl Slots {
    /// `None` if something is wrong with it, which is told.
    pub(super) fn read(table: &Table<'_>, cron: Option<&cron::Schedule>) -> Option<Self> {
        let jitter = table.parsed("jitter", CODES.bad_value, amount::DURATION_HELP, |text| {
            let jitter = amount::duration(text)?;
            if jitter.as_secs() == 0 || jitter.subsec_nanos() > 0 || jitter > MOST {
                return Err("it must be whole seconds, and at most six hours".into());
            }
            let jitter = Duration::from_std(jitter).map_err(|_| "it is too long")?;
            match cron.and_then(nearest) {
                Some(apart) if apart < jitter => {
                    Err("two times of the schedule are nearer to each other".into())
                }
                _ => Ok(jitter),
            }
        });
        let catch_up = table.parsed("catch_up", UNKNOWN_WORD, CATCH_UP_HELP, |text| match text {
            "once" => Ok(CatchUp::Once),
            "skip" => Ok(CatchUp::Skip),
            "all" => Err(
                "one run takes all that is due, and a second would find nothing: write \"once\""
                    .into(),
            ),
            other => Err(format!("it cannot be {}", quoted(other))),
        });
        Some(Self {
            jitter: match table.has("jitter") {
                true => jitter?.0,
                false => Duration::zero(),
            },
            catch_up: match table.has("catch_up") {
                true => catch_up?.0,
                false => CatchUp::Once,
            },
        })
    }

    /// By how much the time comes later: whole seconds, less than `jitter`.
    fn delay(&self, subject: &str, rule: &str, slot: DateTime<Utc>) -> Duration {
        let Ok(jitter @ 1..) = u64::try_from(self.jitter.num_seconds()) else {
            return Duration::zero();
        };
        let text = format!("{subject}\0{rule}\0{}", slot.timestamp());
        let hash = Sha256::digest(text.as_bytes());
        let mut first = [0; 8];
        first.copy_from_slice(&hash[..8]);
        let seconds = u64::from_be_bytes(first) % jitter;
        Duration::seconds(i64::try_from(seconds).unwrap_or(0))
    }
}

/// How near to each other two times of a schedule are, as far as some of them say.
fn nearest(cron: &cron::Schedule) -> Option<Duration> {
    let times: Vec<DateTime<Utc>> = cron.after(&DateTime::UNIX_EPOCH).take(50).collect();
    times.windows(2).map(|two| two[1] - two[0]).min()
}

impl RetentionRule {
    /// The time of its schedule for which it is to run now, if it has not yet: the latest that has come. `None`
    /// outside its window, and for a time that was missed and is passed over.
    pub fn slot(&self, subject: &str, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let timetable = self.schedule.as_ref()?;
        if !self.is_open(now) {
            return None;
        }
        let mut slot = timetable.latest(now)?;
        loop {
            let at = self.begins(subject, slot);
            if at <= now {
                let missed = now - at.max(self.opened(now).unwrap_or(at)) > LATE;
                return (self.slots.catch_up == CatchUp::Once || !missed).then_some(slot);
            }
            slot = timetable.latest(slot - Duration::seconds(1))?;
        }
    }

    /// When the run of a time begins.
    pub fn begins(&self, subject: &str, slot: DateTime<Utc>) -> DateTime<Utc> {
        slot + self.slots.delay(subject, &self.name, slot)
    }

    /// When it runs next by itself, if nothing stops it; `None` without a schedule. In its window, or when that opens.
    pub fn next_run(&self, subject: &str, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let slot = self.schedule.as_ref()?.next(now)?;
        let at = self.begins(subject, slot);
        if self.is_open(at) {
            return Some(at);
        }
        self.opening()?.next(at)
    }

    /// When its window opened last.
    fn opened(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        self.opening()?.latest(now)
    }

    /// When its window opens, each day.
    fn opening(&self) -> Option<Timetable> {
        let from: NaiveTime = self.window?.from;
        let daily = format!("0 {} {} * * *", from.minute(), from.hour());
        Some(Timetable {
            cron: Box::new(daily.parse().ok()?),
            zone: self.zone,
        })
    }
}

#[cfg(test)]
mod tests;
