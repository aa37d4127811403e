//! The clock of the daemon's host jumps while it works: nothing is done by a clock that is wrong, not even
//! what was begun by the right one, and nothing waits for years afterwards.

use crate::company::{Case, QUICK};
use crate::small;
use erasured::daemon::{self, DaemonError, Options};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

/// A daemon in this process, whose clock is so many days ahead.
fn start(
    case: &Case<'_>,
    days: &Arc<AtomicI64>,
) -> tokio::task::JoinHandle<Result<(), DaemonError>> {
    let days = days.clone();
    let options = Options {
        until_idle: true,
        progress: None,
        clock: Arc::new(move || {
            chrono::Utc::now() + chrono::Duration::days(days.load(Ordering::Relaxed))
        }),
    };
    tokio::spawn(daemon::run(case.workspace().config(), options))
}

async fn until(what: &str, mut done: impl FnMut() -> bool) {
    for _ in 0..2400 {
        if tokio::task::block_in_place(&mut done) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("waited for: {what}");
}

/// It is set in the middle of a batch, before the COMMIT, and nobody compares clocks for a while. What the
/// law keeps would be past its date by this clock.
// A failpoint sleeps in a worker: others must be left.
#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn a_clock_that_jumps_in_the_middle_of_a_batch() {
    fail::cfg("before-commit", "sleep(1500)").unwrap();
    // Each by itself: what one waits for must not keep the other from turning its clock in time.
    let (ahead, back) = (tokio::spawn(jumps(3000)), tokio::spawn(jumps(-400)));
    ahead.await.unwrap();
    back.await.unwrap();
    fail::remove("before-commit");
}

async fn jumps(jump: i64) {
    let case = tokio::task::spawn_blocking(|| small().copy())
        .await
        .unwrap();
    let host = QUICK.replace("batch = 5", "batch = 50\nworkers = 1");
    let workspace = case.another_host(&host.replace("150ms", "6 seconds"));
    let case = case.on(workspace);
    let days = Arc::new(AtomicI64::new(0));
    let daemon = start(&case, &days);
    let begun = "SELECT count(*) FROM erasured.ticket WHERE state = 'executing'";
    until("a batch", || case.control(begun) == "6").await;
    days.store(jump, Ordering::Relaxed);
    let put_off =
        "SELECT count(*) FROM erasured.ticket WHERE state = 'scheduled' AND problem = 'clock'";
    until("it to be put off", || case.control(put_off) == "6").await;
    // By the database's clock, however far ahead ours is.
    let soon =
        "SELECT count(*) FROM erasured.ticket WHERE next_attempt_at > now() + interval '1 minute'";
    let applied = "SELECT count(*) FROM erasured.applied_step";
    tokio::task::block_in_place(|| {
        assert_eq!(case.control(soon), "0");
        for database in [&case.shop, &case.loyalty] {
            assert_eq!(case.server().value(database, applied), "0");
        }
    });
    days.store(0, Ordering::Relaxed);
    daemon.await.unwrap().unwrap();
    tokio::task::block_in_place(|| case.is_whole());
}
