//! Asks before each batch whether production bears it, and waits until it does.

use super::gauges::{EVERY, Gauges};
use super::throttle::{self, Decision, Readings, Reason, Share};
use super::{Go, Progress, Stopped};
use crate::erasure::context::Context;
use crate::metrics as names;
use crate::store::retention::Run;
use std::collections::BTreeMap;
use std::pin::pin;
use std::time::{Duration, Instant};

/// While a run waits it is asked so often whether to go on.
const SLICE: Duration = Duration::from_millis(200);

/// Is asked whether to go on, and told how far it is.
pub(super) type On<'a> = &'a mut (dyn FnMut(Progress) -> Go + Send);

/// What keeps one run from harming others.
pub(super) struct Brake<'a> {
    context: &'a Context,
    rule: &'a str,
    system: &'a str,
    run: Run,
    gauges: Option<Gauges<'a>>,
    /// Waited and not yet told, less than a second of each.
    waited: BTreeMap<&'static str, Duration>,
    told: Option<Reason>,
}

impl<'a> Brake<'a> {
    pub(super) fn new(context: &'a Context, run: Run, rule: &'a str, system: &'a str) -> Self {
        let config = context.config.systems.get(system);
        Self {
            context,
            rule,
            system,
            run,
            gauges: config.map(|config| Gauges::new(system, config)),
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
                    let share = match self.context.systems.get(self.system) {
                        Some(system) if system.rests() => Share::NONE,
                        _ => self.context.store.throttle_of(self.rule).await?,
                    };
                    asked = Some((Instant::now(), share));
                    share
                }
            };
            if operator > Share::NONE {
                self.look(progress, on).await?;
            }
            let decision = self.decide(operator);
            let (reason, pause) = match decision {
                Decision::Go => break,
                Decision::Wait(reason) => (reason, SLICE),
                Decision::Slow(share) => match share.rest(took).saturating_sub(rested) {
                    Duration::ZERO => break,
                    left => (Reason::Operator, left.min(SLICE)),
                },
            };
            self.tell(matches!(decision, Decision::Wait(_)).then_some(reason))
                .await?;
            tokio::time::sleep(pause).await;
            self.count(reason, pause);
            rested += pause;
            progress.waits = Some(reason);
            goes_on(on, progress)?;
        }
        self.tell(None).await
    }

    fn decide(&self, operator: Share) -> Decision {
        let now = Instant::now();
        match &self.gauges {
            Some(gauges) => throttle::decide(gauges.limits(), gauges.readings(), operator, now),
            None => throttle::decide(&[], &Readings::new(), operator, now),
        }
    }

    /// Takes readings if the last ones are old enough.
    async fn look(&mut self, progress: Progress, on: On<'_>) -> Result<(), Stopped> {
        let Some(gauges) = self.gauges.as_mut().filter(|gauges| gauges.is_due()) else {
            return Ok(());
        };
        let mut looking = pin!(gauges.read());
        loop {
            tokio::select! {
                () = &mut looking => return Ok(()),
                () = tokio::time::sleep(SLICE) => goes_on(on, progress)?,
            }
        }
    }

    /// Says once that a run waits, and once that it goes on.
    async fn tell(&mut self, reason: Option<Reason>) -> Result<(), Stopped> {
        if self.told == reason {
            return Ok(());
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
        let waits = reason.map(Reason::as_str);
        Ok(self.context.store.run_waits(self.run, waits).await?)
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
