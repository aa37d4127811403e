//! Which boundaries there are, and which have been walked.

use super::company::Running;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// On which side of a request the program dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// The server never hears of it.
    Before,
    /// The server has done it, and the program never hears of that.
    After,
}

/// A request to a server, by what it is and what came before it on that connection.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Boundary {
    /// Which server.
    pub server: String,
    /// What was asked before.
    pub behind: String,
    /// What is asked.
    pub request: String,
    /// Where the program dies.
    pub side: Side,
}

impl fmt::Display for Boundary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = match self.side {
            Side::Before => "before",
            Side::After => "after",
        };
        write!(
            f,
            "{side} {}: {}, behind {}",
            self.server, self.request, self.behind
        )
    }
}

/// All that was walked, whoever walked it.
#[derive(Clone, Default)]
pub struct Walked(Arc<Mutex<BTreeSet<Boundary>>>);

impl Walked {
    fn all(&self) -> MutexGuard<'_, BTreeSet<Boundary>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this is a new one; then it is none any more.
    fn takes(&self, boundary: &Boundary) -> bool {
        self.all().insert(boundary.clone())
    }

    /// How many by server.
    pub fn by_server(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for boundary in &*self.all() {
            *counts.entry(boundary.server.clone()).or_default() += 1;
        }
        counts
    }

    /// One line each.
    pub fn list(&self) -> String {
        self.all().iter().map(|b| format!("{b}\n")).collect()
    }
}

/// The process that is to die at the next boundary that nobody has walked.
#[derive(Clone)]
pub struct Doomed {
    walked: Walked,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    process: Option<u32>,
    died: Option<Boundary>,
}

impl Doomed {
    pub fn new(walked: &Walked) -> Self {
        Self {
            walked: walked.clone(),
            state: Arc::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts the process that comes next: its first request waits until it is known by its number. One that is
    /// spared does not die.
    pub fn starts(&self, spared: bool, start: impl FnOnce() -> Running) -> Running {
        let mut state = self.state();
        let process = start();
        *state = State {
            process: (!spared).then(|| process.id()),
            died: None,
        };
        process
    }

    /// Where it died.
    pub fn died(&self) -> Option<Boundary> {
        self.state().died.clone()
    }

    /// Kills it if nobody has walked this boundary; whether nothing may pass any more.
    pub fn reaches(&self, boundary: &Boundary) -> bool {
        let mut state = self.state();
        if state.died.is_some() {
            return true;
        }
        let Some(process) = state.process else {
            return false;
        };
        // Of a service there are few, and MariaDB's COMMIT is but one.
        let all = boundary.server == super::place::NAME || boundary.request == "commit";
        if !(all || is_in_the_share(boundary)) || !self.walked.takes(boundary) {
            return false;
        }
        let killed = std::process::Command::new("kill")
            .args(["-KILL", &process.to_string()])
            .status();
        assert!(killed.unwrap().success());
        state.died = Some(boundary.clone());
        true
    }
}

/// `make test` walks one boundary of so many, always the same ones; `make walk` all.
pub fn one_in() -> u64 {
    std::env::var("WALK_ONE_IN").map_or(5, |of| of.parse().unwrap())
}

fn is_in_the_share(boundary: &Boundary) -> bool {
    // FNV-1a.
    let hash = boundary
        .to_string()
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
        });
    hash % one_in() == 0
}
