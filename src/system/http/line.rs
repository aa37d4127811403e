//! Who may ask next: how many at the same time, how fast, and whether the service is to be left alone.

use crate::config::place::http::Http;
use crate::system::place::Failed;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, sleep_until};

/// So many failures in a row, and a service is left alone.
const IN_A_ROW: u32 = 5;
/// How long it is left alone then, before one request tries again.
const ALONE: Duration = Duration::from_secs(30);
/// A service that asks for more than this is asked again then.
const LONGEST: Duration = Duration::from_secs(3600);

/// All requests to one service.
pub(super) struct Line {
    places: Semaphore,
    pause: Duration,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    next: Option<Instant>,
    alone_until: Option<Instant>,
    failed: u32,
}

/// One request's turn.
pub(super) struct Turn<'l> {
    line: &'l Line,
    _place: SemaphorePermit<'l>,
}

impl Line {
    pub(super) fn new(settings: &Http) -> Self {
        Self {
            places: Semaphore::new(settings.at_once.get()),
            pause: settings.pause,
            state: Mutex::default(),
        }
    }

    /// Waits for a turn.
    ///
    /// # Errors
    /// The service is to be left alone.
    pub(super) async fn turn(&self) -> Result<Turn<'_>, Failed> {
        let place = self.places.acquire().await;
        let place = place.expect("the line is never closed");
        self.left_alone()?;
        let begins = {
            let mut state = self.state();
            let now = Instant::now();
            let begins = state.next.map_or(now, |next| next.max(now));
            state.next = Some(begins + self.pause);
            begins
        };
        sleep_until(begins).await;
        // It may have fallen silent while this one waited.
        self.left_alone()?;
        Ok(Turn {
            line: self,
            _place: place,
        })
    }

    fn left_alone(&self) -> Result<(), Failed> {
        let (until, failed) = {
            let state = self.state();
            (state.alone_until, state.failed)
        };
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        match left {
            Some(left) if !left.is_zero() => Err(Failed::later(format!(
                "it is left alone for {} s more, after {failed} failures in a row",
                left.as_secs() + 1
            ))),
            _ => Ok(()),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Each change is one assignment: there is nothing half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn<'_> {
    /// The service is there, whatever it said.
    pub(super) fn answered(self) {
        let mut state = self.line.state();
        state.failed = 0;
        state.alone_until = None;
    }

    /// It is not there, or asks to be left alone, perhaps for so long.
    pub(super) fn failed(self, asked: Option<Duration>) {
        let mut state = self.line.state();
        state.failed = state.failed.saturating_add(1);
        let alone = (state.failed >= IN_A_ROW).then_some(ALONE);
        if let Some(alone) = alone.max(asked.map(|asked| asked.min(LONGEST))) {
            let until = Instant::now() + alone;
            state.alone_until = state.alone_until.max(Some(until));
        }
    }
}
