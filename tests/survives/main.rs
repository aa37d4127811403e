//! What must survive: the real binary, killed wherever it may die, restarted, and every ticket
//! once and whole.

// A test may unwrap, and exports nothing.
#![allow(clippy::unwrap_used, unreachable_pub, dead_code)]

#[path = "../support/mod.rs"]
mod support;

mod around;
mod company;
mod kills;
mod lifecycle;
mod steps;
mod truth;

/// Runs scenarios at once, since most of what they do is to wait; says which failed.
fn at_once(scenarios: &[(&str, fn())]) {
    let failed: Vec<&str> = std::thread::scope(|scope| {
        let running: Vec<_> = scenarios
            .iter()
            .map(|(name, run)| {
                let thread = std::thread::Builder::new().name((*name).to_owned());
                (*name, thread.spawn_scoped(scope, run).unwrap())
            })
            .collect();
        let ended = running
            .into_iter()
            .map(|(name, thread)| (name, thread.join()));
        ended
            .filter_map(|(name, end)| end.is_err().then_some(name))
            .collect()
    });
    assert!(failed.is_empty(), "failed: {failed:?}");
}
