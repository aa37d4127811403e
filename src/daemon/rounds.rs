//! The shape of every loop.

use super::loops::Work;
use super::state::Shared;
use super::{DaemonError, loops};
use std::sync::Arc;
use std::time::Duration;

/// One loop: its name, how often it looks by itself, what it shares.
pub(super) struct Rounds {
    name: &'static str,
    every: Duration,
    shared: Arc<Shared>,
    place: usize,
}

/// Hindrances in a row after which `/readyz` tells of them.
const TRIES_UNTIL_TOLD: u32 = 3;
/// With `--until-idle`: hindrances in a row after which waiting has no end in sight (20 seconds).
const TRIES_UNTIL_IDLE: u32 = 8;

/// How a round went.
pub(super) enum Round {
    /// There was work; there may be more.
    Worked,
    /// Nothing to do.
    Nothing,
    /// Another daemon is at what there is to do.
    Elsewhere,
    /// Something is away or wrong for now.
    Hindered(String),
    /// The daemon must end.
    Fatal(DaemonError),
}

impl Rounds {
    pub(super) fn new(name: &'static str, every: Duration, shared: Arc<Shared>) -> Self {
        let place = shared.enter();
        Self {
            name,
            every,
            shared,
            place,
        }
    }

    /// Rounds until the daemon stops.
    pub(super) async fn run(self, work: Work) -> Result<(), DaemonError> {
        let mut pulses = self.shared.pulses();
        let mut stopping = self.shared.stopping();
        let mut hindered: u32 = 0;
        let mut worked = false;
        while !*stopping.borrow() {
            let pulse = *pulses.borrow_and_update();
            let mut patient = false;
            let wait = match loops::round(&self.shared, work).await {
                Round::Worked => {
                    self.goes_on(&mut hindered);
                    worked = true;
                    self.shared.pulse();
                    continue;
                }
                Round::Nothing => {
                    self.goes_on(&mut hindered);
                    if std::mem::take(&mut worked) {
                        // Buffers that identifiers went through are given back with the sessions.
                        loops::forget(&self.shared.context);
                    }
                    self.shared.found_nothing(self.place, pulse);
                    self.every
                }
                Round::Elsewhere => {
                    // It looks at all that is ready; others' successes give it nothing.
                    patient = matches!(work, Work::StandIn);
                    Duration::from_secs(1).min(self.every)
                }
                Round::Hindered(problem) => {
                    hindered += 1;
                    tracing::warn!(part = self.name, problem, "hindered; trying again later");
                    if hindered >= TRIES_UNTIL_TOLD {
                        self.shared.health.set(self.name, Err(problem.clone()));
                    }
                    if hindered >= TRIES_UNTIL_IDLE {
                        self.shared.found_hindrance(self.place, &problem);
                    }
                    Duration::from_millis(500 * u64::from(hindered.min(10)))
                }
                Round::Fatal(error) => return Err(error),
            };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                // Another loop's success must not make a hindered one spin.
                _ = pulses.changed(), if hindered == 0 && !patient => {}
                _ = stopping.changed() => {}
            }
        }
        Ok(())
    }

    fn goes_on(&self, hindered: &mut u32) {
        if std::mem::take(hindered) >= TRIES_UNTIL_TOLD {
            self.shared.health.set(self.name, Ok(()));
        }
    }
}
