//! What the loops share besides the database: pulses, the stop flag, health.

use crate::erasure::context::Context;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{Notify, watch};

/// One daemon's shared state.
pub struct Shared {
    /// The work.
    pub context: Arc<Context>,
    /// What `/readyz` answers from.
    pub health: Health,
    pulse: watch::Sender<u64>,
    stop: watch::Sender<bool>,
    failed: AtomicU64,
    /// For each loop, the pulse at which it last found nothing to do.
    idle: Mutex<Vec<u64>>,
    idle_changed: Notify,
    waiting_for_retry: AtomicBool,
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
    pub fn new(context: Arc<Context>) -> Arc<Self> {
        let health = Health::default();
        health.set("control", Err("not reached yet".into()));
        Arc::new(Self {
            context,
            health,
            pulse: watch::Sender::new(1),
            stop: watch::Sender::new(false),
            failed: AtomicU64::new(0),
            idle: Mutex::new(Vec::new()),
            idle_changed: Notify::new(),
            waiting_for_retry: AtomicBool::new(false),
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

    pub(super) fn count_failed(&self, tickets: usize) {
        self.failed.fetch_add(tickets as u64, Ordering::Relaxed);
    }

    /// Tickets that failed since the start.
    pub fn failed_tickets(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// A loop enters the count of those that must be idle; its place in it.
    pub(super) fn enter(&self) -> usize {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.push(0);
        idle.len() - 1
    }

    /// A loop found nothing to do after it had seen this pulse.
    pub(super) fn found_nothing(&self, place: usize, pulse: u64) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)[place] = pulse;
        self.idle_changed.notify_waiters();
    }

    pub(super) fn retries_wait(&self, waiting: bool) {
        self.waiting_for_retry.store(waiting, Ordering::Relaxed);
        self.idle_changed.notify_waiters();
    }

    /// Ends when every loop has found nothing to do since the last pulse, and no ticket waits for
    /// another try.
    pub(super) async fn idle(&self) {
        loop {
            let changed = self.idle_changed.notified();
            let now = *self.pulse.borrow();
            let all = self
                .idle
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .iter()
                .all(|seen| *seen == now);
            if all && !self.waiting_for_retry.load(Ordering::Relaxed) {
                return;
            }
            changed.await;
        }
    }
}
