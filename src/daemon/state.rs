//! What the loops share besides the database: pulses, the stop flag, health.

use crate::drop_folder::DropFolder;
use crate::erasure::context::Context;
use crate::outbox;
use chrono::{DateTime, Utc};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use uuid::Uuid;

const A_SECOND: Duration = Duration::from_secs(1);

/// One daemon's shared state.
pub struct Shared {
    /// This process, as the control database knows it.
    pub id: Uuid,
    /// The work.
    pub context: Arc<Context>,
    /// What `/readyz` answers from.
    pub health: Health,
    /// One reload after the other: the last reads the newest files.
    pub(super) reloading: tokio::sync::Mutex<()>,
    /// Where files of requests are laid.
    pub drop_folder: Option<DropFolder>,
    /// Who is told of what becomes of tickets.
    pub targets: Vec<outbox::Target>,
    pulse: watch::Sender<u64>,
    stop: watch::Sender<bool>,
    idle: Mutex<Vec<Seen>>,
    idle_changed: Notify,
    /// A reload whose scopes are not yet published to the desk.
    unpublished: AtomicBool,
}

/// What a loop saw last.
enum Seen {
    /// Nothing to do, after this pulse.
    Nothing(u64),
    /// Work that it cannot do, for a good while now.
    Hindrance(String),
}

/// Named checks and what is wrong with them.
#[derive(Default)]
pub struct Health(Mutex<BTreeMap<String, Result<(), String>>>);

impl Health {
    /// Records how a check went; the reason must be free of personal data.
    pub fn set(&self, name: &str, result: Result<(), String>) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(name.to_owned(), result);
    }

    /// What is wrong, by name; empty when ready.
    pub fn problems(&self) -> Vec<(String, String)> {
        let checks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        checks
            .iter()
            .filter_map(|(name, r)| Some((name.clone(), r.as_ref().err()?.clone())))
            .collect()
    }
}

impl Shared {
    /// Fresh state around a context; not ready until the control database has answered.
    pub fn new(context: Arc<Context>, drop_folder: Option<DropFolder>) -> Arc<Self> {
        let health = Health::default();
        health.set("control", Err("not reached yet".into()));
        Arc::new(Self {
            id: Uuid::new_v4(),
            drop_folder,
            targets: outbox::targets(&context.config),
            context,
            health,
            reloading: tokio::sync::Mutex::new(()),
            pulse: watch::Sender::new(1),
            stop: watch::Sender::new(false),
            idle: Mutex::new(Vec::new()),
            idle_changed: Notify::new(),
            unpublished: AtomicBool::new(false),
        })
    }

    /// Something happened: every loop looks again.
    pub fn pulse(&self) {
        self.pulse.send_modify(|n| *n += 1);
    }

    /// To wait for the next pulse.
    pub(super) fn pulses(&self) -> watch::Receiver<u64> {
        self.pulse.subscribe()
    }

    /// No new work.
    pub(super) fn stop(&self) {
        self.stop.send_replace(true);
    }

    pub(super) fn stopping(&self) -> watch::Receiver<bool> {
        self.stop.subscribe()
    }

    /// A loop enters the count of those that must be idle; its place in it.
    pub(super) fn enter(&self) -> usize {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.push(Seen::Nothing(0));
        idle.len() - 1
    }

    /// A loop found nothing to do after it had seen this pulse.
    pub(super) fn found_nothing(&self, place: usize, pulse: u64) {
        self.saw(place, Seen::Nothing(pulse));
    }

    /// A loop has failed to do its work again and again.
    pub(super) fn found_hindrance(&self, place: usize, problem: &str) {
        self.saw(place, Seen::Hindrance(problem.to_owned()));
    }

    fn saw(&self, place: usize, seen: Seen) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)[place] = seen;
        self.idle_changed.notify_waiters();
    }

    /// Compares this host's clock with the control database's.
    pub(super) fn compare_clocks(&self, theirs: DateTime<Utc>) {
        let problem = self.context.compare_clocks(theirs);
        self.health.set("clock", problem.map_or(Ok(()), Err));
    }

    /// Marks, or clears, that the desk's functions do not know the policies in force yet.
    pub(super) fn set_unpublished(&self, yes: bool) {
        self.unpublished.store(yes, Ordering::Relaxed);
    }

    pub(super) fn is_unpublished(&self) -> bool {
        self.unpublished.load(Ordering::Relaxed)
    }

    /// Ends when every loop has found nothing to do since the last pulse and no ticket comes back
    /// by itself; with what stands in the way, when some loop cannot go on and the others are idle.
    pub(super) async fn idle(&self) -> Result<(), String> {
        let mut waited = false;
        loop {
            let changed = self.idle_changed.notified();
            let Some(problem) = self.all_rest() else {
                changed.await;
                continue;
            };
            // Asked now, not at the last census: what was put off since then counts.
            match self.context.store.census().await {
                Ok(census) if census.retrying == 0 && waited => {
                    // What came back, perhaps through another daemon, may need the next loop.
                    waited = false;
                    self.pulse();
                }
                Ok(census) if census.retrying == 0 || problem.is_some() => {
                    return problem.map_or(Ok(()), Err);
                }
                _ => {
                    waited = true;
                    tokio::time::sleep(self.context.config.limits.poll.min(A_SECOND)).await;
                }
            }
        }
    }

    /// Whether no loop has anything that it could do, and what hinders one of them.
    fn all_rest(&self) -> Option<Option<String>> {
        let now = *self.pulse.borrow();
        let mut problem = None;
        for seen in self
            .idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
        {
            match seen {
                Seen::Nothing(pulse) if *pulse == now => {}
                Seen::Nothing(_) => return None,
                Seen::Hindrance(what) => problem = Some(what.clone()),
            }
        }
        Some(problem)
    }
}
