//! Whether this host's clock is believed. Dates decide what the law keeps and what a certificate says, so
//! nothing is done by a clock that is wrong.
//!
//! It is compared with the control database's now and then. In between it is held against the machine's own
//! count of time, which nobody sets: a clock that jumps is noticed before anything is done by it.

use chrono::{DateTime, Duration, Utc};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

const MAY_DIFFER: Duration = Duration::minutes(5);

/// What came of the last comparison.
#[derive(Debug, Default)]
pub(super) struct Agreement(Mutex<Compared>);

#[derive(Debug, Default)]
enum Compared {
    /// There was none: a command of a moment, or a clock that a test turns.
    #[default]
    Never,
    /// What our clock said, and when that was.
    Agreed(DateTime<Utc>, Instant),
    Differs(String),
}

impl Agreement {
    /// Compares the two clocks; why ours is not believed from now on, if it is not.
    pub(super) fn compare(&self, ours: DateTime<Utc>, theirs: DateTime<Utc>) -> Option<String> {
        let skew = ours - theirs;
        let problem = (skew.abs() > MAY_DIFFER).then(|| {
            format!(
                "E0512: this host's clock and the control database's differ by {} seconds; nothing is erased until they agree",
                skew.num_seconds()
            )
        });
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = match &problem {
            Some(problem) => Compared::Differs(problem.clone()),
            None => Compared::Agreed(ours, Instant::now()),
        };
        problem
    }

    /// Why our clock, which says this now, is not believed.
    pub(super) fn problem(&self, ours: DateTime<Utc>) -> Option<String> {
        let (then, at) = match &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            Compared::Never => return None,
            Compared::Differs(problem) => return Some(problem.clone()),
            Compared::Agreed(then, at) => (*then, *at),
        };
        let passed = Duration::from_std(at.elapsed()).unwrap_or(Duration::MAX);
        let jumped = (ours - then) - passed;
        (jumped.abs() > MAY_DIFFER).then(|| {
            format!(
                "E0512: this host's clock has jumped by {} seconds since it agreed with the control database's; nothing is erased until they agree again",
                jumped.num_seconds()
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_jumps_is_not_believed_until_it_is_compared_again() {
        let (clock, now) = (Agreement::default(), Utc::now());
        let far = now + Duration::days(3000);
        assert_eq!(clock.problem(far), None, "nobody has compared");
        assert_eq!(clock.compare(now, now + Duration::minutes(4)), None);
        assert_eq!(clock.problem(now), None);
        assert_eq!(clock.problem(now - Duration::minutes(4)), None);
        for jumped in [far, now - Duration::days(400), now + Duration::minutes(6)] {
            let problem = clock.problem(jumped).unwrap_or_default();
            assert!(
                problem.contains("E0512") && problem.contains("jumped"),
                "{problem}"
            );
        }
        assert_eq!(clock.problem(now), None, "it was set right");
        assert!(clock.compare(now, far).is_some());
        assert!(clock.problem(now).is_some(), "for as long as they differ");
        assert_eq!(clock.compare(far, far), None);
        assert_eq!(clock.problem(far), None);
    }
}
