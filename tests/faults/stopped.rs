//! A daemon is stopped, as by a hypervisor, for longer than its lease. Another does its work; it wakes in the
//! middle of what it was about to do, and may not.

use crate::company::{QUICK, Running};
use crate::support::wait_until;
use crate::{LEFT, LONG, small};
use std::time::{Duration, Instant};

/// Where it stands still, how that is seen in the control database, and in the shop.
const POINTS: &[(&str, &str, &str)] = &[
    // All is done and nothing committed: the server ends that transaction after `idle_timeout`.
    (
        "before-commit",
        "SELECT count(*) FROM erasured.ticket WHERE state = 'executing'",
        "SELECT count(*) FROM pg_stat_activity WHERE state = 'idle in transaction' AND datname = current_database()",
    ),
    // Committed in one system, and not written down.
    (
        "before-step-done",
        "SELECT count(*) FROM erasured.ticket WHERE state = 'executing'",
        "SELECT 1",
    ),
    // All is searched, nothing signed.
    (
        "before-sign",
        "SELECT count(*) FROM erasured.sweep s WHERE finished_at IS NULL AND EXISTS (SELECT FROM erasured.sweep_progress p WHERE p.sweep_id = s.id)",
        "SELECT 1",
    ),
    (
        "after-sign",
        "SELECT count(*) FROM erasured.sweep s WHERE finished_at IS NULL AND EXISTS (SELECT FROM erasured.sweep_progress p WHERE p.sweep_id = s.id)",
        "SELECT 1",
    ),
];

#[test]
fn a_daemon_that_sleeps_through_its_lease_wakes_and_does_no_harm() {
    small();
    let failed: Vec<&str> = std::thread::scope(|scope| {
        let running: Vec<_> = POINTS
            .iter()
            .map(|at| (at.0, scope.spawn(|| sleeps_at(at))))
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

fn sleeps_at((point, control, shop): &(&str, &str, &str)) {
    let case = small().copy();
    let quick = QUICK.replace(
        "batch = 5",
        "batch = 50\nworkers = 1\nidle_timeout = \"8 seconds\"",
    );
    let (sleeper, other) = (case.another_host(&quick), case.another_host(&quick));
    let daemon = Running::start(&sleeper, &["run"], &format!("{point}=1*sleep(7000)->off"));
    wait_until(point, LONG, || {
        case.control(control) != "0" && case.server().value(&case.shop, shop) != "0"
    });
    // It is on its way there, or has come there; what it does first it does now.
    std::thread::sleep(Duration::from_millis(800));
    daemon.signal("STOP");
    let stopped = Instant::now();
    // And one had been killed while it wrote the ledger's head down; another one does so now.
    let state = other.path().join("state");
    let left = [u32::MAX, std::process::id()].map(|pid| state.join(format!(".ledger-head.{pid}")));
    left.iter()
        .for_each(|file| std::fs::write(file, "1").unwrap());
    let awake = Running::start(&other, &["run"], "");
    // Who sleeps in the middle of a transaction holds its locks until the server ends it, after a minute.
    wait_until("the other to do its work", LONG, || {
        case.control(LEFT) == "0"
    });
    awake.signal("TERM");
    let log = awake.ends_well();
    assert_eq!([left[0].exists(), left[1].exists()], [false, true]);
    let before = case.history();
    assert!(
        stopped.elapsed() > Duration::from_secs(4),
        "{point}: it waited for the lease: {log}"
    );
    // All is done; but who sleeps while it moves events into the ledger keeps others from that, until the
    // server ends its session.
    assert_eq!(
        before.wrong(&other.verifying_key()),
        [""; 0],
        "{point}: {log}"
    );
    daemon.signal("CONT");
    wait_until("the sleeper to find that it is too late", LONG, || {
        // Or its session is not there any more.
        let log = daemon.log();
        log.contains("the lease was lost while") || log.contains("\"hindered")
    });
    // Nothing more comes of it.
    std::thread::sleep(Duration::from_millis(500));
    daemon.signal("TERM");
    let log = daemon.ends_well();
    case.is_whole();
    let after = case.history();
    assert_eq!(
        before.control.certificates.len(),
        after.control.certificates.len(),
        "{point}: {log}"
    );
    let of = |entries: &[crate::support::Link]| {
        entries.iter().map(|l| l.hash.clone()).collect::<Vec<_>>()
    };
    let (before, after) = (of(&before.control.ledger), of(&after.control.ledger));
    assert!(after.starts_with(&before), "{point}: the ledger only grew");
}

/// Where it stands still, and how that is seen; where the one that takes its work over does then, and how it is seen
/// that it has.
const TAKEN_OVER: &[(&str, &str, &str, &str)] = &[
    (
        "before-step-done",
        "SELECT count(*) FROM erasured.ticket WHERE state = 'executing'",
        "after-lease",
        "SELECT count(*) FROM erasured.lease WHERE holder LIKE '%:$pid'",
    ),
    (
        "after-sign",
        "SELECT count(*) FROM erasured.sweep s WHERE finished_at IS NULL AND EXISTS (SELECT FROM erasured.sweep_progress p WHERE p.sweep_id = s.id)",
        "before-sign",
        "SELECT count(*) FROM erasured.sweep WHERE finished_at IS NULL AND holder LIKE '%:$pid'",
    ),
];

/// It wakes while the other is at work with the same, and does not look by itself whether its lease still stands:
/// what keeps it from writing is the token alone.
#[test]
fn who_wakes_while_another_is_at_work_is_kept_out_by_its_token() {
    small();
    std::thread::scope(|scope| {
        for at in TAKEN_OVER {
            scope.spawn(|| is_kept_out(at));
        }
    });
}

fn is_kept_out((point, stands, then, taken): &(&str, &str, &str, &str)) {
    let case = small().copy();
    let quick = QUICK.replace("batch = 5", "batch = 50\nworkers = 1");
    let (sleeper, other) = (case.another_host(&quick), case.another_host(&quick));
    let blind = format!("{point}=1*sleep(7000)->off;lease-unwatched=return");
    let daemon = Running::start(&sleeper, &["run"], &blind);
    wait_until(point, LONG, || case.control(stands) != "0");
    std::thread::sleep(Duration::from_millis(800));
    daemon.signal("STOP");
    let awake = Running::start(&other, &["run"], &format!("{then}=1*sleep(9000)->off"));
    let taken = taken.replace("$pid", &awake.id().to_string());
    wait_until("the other to take it over", LONG, || {
        case.control(&taken) != "0"
    });
    daemon.signal("CONT");
    wait_until("the sleeper to be refused", Duration::from_secs(40), || {
        daemon.log().contains("the lease was lost while")
    });
    wait_until("the other to do its work", LONG, || {
        case.control(LEFT) == "0"
    });
    for daemon in [daemon, awake] {
        daemon.signal("TERM");
        daemon.ends_well();
    }
    case.is_whole();
}
