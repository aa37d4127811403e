//! Signals, reload, the ledger's head, keys.

use super::company::{QUICK, Running, get};
use super::kills::small;
use super::support::{Workspace, wait_until};
use erasured::daemon::{self, DaemonError, Options};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// More than anything takes, on a busy machine too.
const LONG: Duration = Duration::from_secs(120);

#[test]
fn signals_ledger_keys_and_refusals() {
    super::at_once(&[
        (
            "sigterm_lets_the_batches_under_way_finish",
            sigterm_lets_the_batches_under_way_finish,
        ),
        (
            "sighup_with_a_broken_policy_keeps_the_old_one",
            sighup_with_a_broken_policy_keeps_the_old_one,
        ),
        (
            "a_ledger_that_has_come_back_older_stops_the_daemon",
            a_ledger_that_has_come_back_older_stops_the_daemon,
        ),
        (
            "with_the_wrong_hash_key_tickets_fail_and_with_the_right_one_go_on",
            with_the_wrong_hash_key_tickets_fail_and_with_the_right_one_go_on,
        ),
        (
            "what_kills_its_daemons_waits_for_a_person",
            what_kills_its_daemons_waits_for_a_person,
        ),
        (
            "a_refusal_at_commit_stops_one_ticket_alone",
            a_refusal_at_commit_stops_one_ticket_alone,
        ),
        (
            "a_row_that_breaks_every_connection_stops_one_ticket_alone",
            a_row_that_breaks_every_connection_stops_one_ticket_alone,
        ),
    ]);
}

fn is_ready(workspace: &Workspace) -> bool {
    get(&workspace.http(), "/readyz", None).is_some_and(|(status, _)| status == 200)
}

fn sigterm_lets_the_batches_under_way_finish() {
    let case = small().copy();
    let daemon = Running::start(case.workspace(), &["run"], "before-commit=sleep(1000)");
    let executing = "SELECT count(*) FROM erasured.ticket WHERE state = 'executing'";
    wait_until("work to begin", LONG, || case.control(executing) != "0");
    let told = Instant::now();
    daemon.signal("TERM");
    let log = daemon.ends_well();
    assert!(told.elapsed() < Duration::from_secs(20), "{log}");
    assert!(log.contains("told to stop"), "{log}");
    assert_eq!(case.control("SELECT count(*) FROM erasured.lease"), "0");
    assert_eq!(case.control(executing), "0", "no batch was cut off");
    assert_ne!(
        case.control("SELECT count(*) FROM erasured.ticket WHERE state = 'verifying'"),
        "0"
    );
    case.start().ends_well();
    case.is_whole();
}

fn sighup_with_a_broken_policy_keeps_the_old_one() {
    let case = small().copy();
    let workspace = case.workspace();
    let policy = workspace.path().join("policies/customer.toml");
    let good = std::fs::read_to_string(&policy).unwrap();
    let daemon = Running::start(workspace, &["run"], "before-commit=sleep(500)");
    wait_until("the daemon to be ready", LONG, || is_ready(workspace));
    std::fs::write(
        &policy,
        good.replace(
            "name   = \"shop.public.passport\"",
            "name   = \"shop.public.pasport\"",
        ),
    )
    .unwrap();
    daemon.signal("HUP");
    wait_until("the refusal", LONG, || {
        get(&workspace.http(), "/readyz", None)
            .is_some_and(|(status, body)| status == 503 && body.starts_with("policies: "))
    });
    let current = || {
        let metrics = get(&workspace.http(), "/metrics", None).unwrap().1;
        let line = metrics
            .lines()
            .find(|l| l.starts_with("erasured_policies_current "))
            .unwrap();
        line.rsplit_once(' ').unwrap().1.to_owned()
    };
    assert_eq!(current(), "0");
    assert!(
        daemon.log().contains("pasport"),
        "the log says what is wrong: {}",
        daemon.log()
    );
    // By the old policies the work goes on.
    let left = "SELECT count(*) FROM erasured.ticket WHERE state NOT IN ('completed', 'deferred')";
    wait_until("the tickets to be done", LONG, || case.control(left) == "0");
    std::fs::write(&policy, &good).unwrap();
    daemon.signal("HUP");
    wait_until("the new policies", LONG, || is_ready(workspace));
    assert_eq!(current(), "1");
    // A reload under way does not swallow what comes after it.
    daemon.signal("HUP");
    daemon.signal("TERM");
    daemon.ends_well();
    case.is_whole();
}

fn a_ledger_that_has_come_back_older_stops_the_daemon() {
    let (case, backup) = (small().copy(), small().copy());
    case.start().ends_well();
    case.is_whole();
    // Before the erasures were made, the control database was copied; now that copy is served.
    let host = backup.another_host(QUICK);
    std::fs::copy(
        case.workspace().path().join("state/ledger-head"),
        host.path().join("state/ledger-head"),
    )
    .unwrap();
    let (status, log) = Running::start(&host, &["run"], "").end(LONG);
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.contains("E0622"), "{log}");
    // While it runs, too: and before a longer ledger can hide what was lost.
    let daemon = Running::start(case.workspace(), &["run"], "");
    wait_until("the daemon to be ready", LONG, || {
        is_ready(case.workspace())
    });
    case.server().execute(
        &case.control,
        "BEGIN; ALTER TABLE erasured.ledger DISABLE TRIGGER append_only;
         DELETE FROM erasured.ledger WHERE seq > 3;
         ALTER TABLE erasured.ledger ENABLE ALWAYS TRIGGER append_only; COMMIT",
    );
    let (status, log) = daemon.end(LONG);
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.contains("E0622"), "{log}");
}

fn with_the_wrong_hash_key_tickets_fail_and_with_the_right_one_go_on() {
    let case = small().copy();
    // Some are in `verifying` then, some may be at work.
    case.start_to_die("before-sign=return").dies();
    let key = case.workspace().path().join("keys/hash.key");
    let right = std::fs::read(&key).unwrap();
    std::fs::write(&key, "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=").unwrap();
    let (status, log) = case.start().end(LONG);
    assert_eq!(status.code(), Some(1), "{log}");
    let failed = case.control(
        "SELECT count(*) FROM erasured.ticket WHERE state = 'failed' AND problem_code = 'E0507'",
    );
    assert_eq!(failed, small().people.len().to_string(), "{log}");
    assert_eq!(
        case.control("SELECT count(*) FROM erasured.certificate"),
        "0"
    );
    std::fs::write(&key, right).unwrap();
    case.server().execute(
        &case.control,
        "SELECT erasured.retry_ticket(id) FROM erasured.ticket WHERE state = 'failed'",
    );
    case.start().ends_well();
    case.certificates_say_the_truth();
}

/// Dates decide what the law keeps: with a clock that is wrong nothing is done, and nothing lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_clock_set_back_or_forward_stops_the_work() {
    let case = tokio::task::spawn_blocking(|| small().copy())
        .await
        .unwrap();
    let another = case.another_host(QUICK);
    let with_clock = |config, days| {
        let options = Options {
            until_idle: true,
            progress: None,
            clock: Arc::new(move || chrono::Utc::now() + chrono::Duration::days(days)),
        };
        daemon::run(config, options)
    };
    let back = with_clock(case.workspace().config(), -400);
    let forward = with_clock(another.config(), 3000);
    for ended in <[_; 2]>::from(tokio::join!(back, forward)) {
        let Err(DaemonError::Hindered(problem)) = ended else {
            panic!("{ended:?}");
        };
        assert!(problem.starts_with("E0512"), "{problem}");
    }
    tokio::task::block_in_place(|| {
        assert_eq!(case.control("SELECT count(*) FROM erasured.step"), "0");
        case.start().ends_well();
        case.is_whole();
    });
}

/// What kills every daemon that takes it up is given up in the end.
fn what_kills_its_daemons_waits_for_a_person() {
    let case = small().copy();
    let host =
        case.another_host(&QUICK.replace("batch = 5", "batch = 50\nworkers = 1\nattempts = 2"));
    for _ in 0..2 {
        Running::start(&host, &["run", "--until-idle"], "after-begin=return").dies();
    }
    // Taken over for the second time.
    let (status, log) = Running::start(&host, &["run", "--until-idle"], "").end(LONG);
    let failed = case.control(
        "SELECT count(*) FROM erasured.ticket WHERE state = 'failed' AND problem_code = 'E0501'",
    );
    assert_eq!(status.code(), Some(1), "{log}");
    assert_ne!(failed, "0", "{log}");
    let open = "SELECT count(*) FROM erasured.ticket WHERE state NOT IN ('completed', 'deferred', 'failed')";
    assert_eq!(case.control(open), "0");
    case.server().execute(
        &case.control,
        "SELECT erasured.retry_ticket(id) FROM erasured.ticket WHERE state = 'failed'",
    );
    case.start().ends_well();
    case.is_whole();
}

/// A constraint that speaks up at COMMIT is an answer: the ticket that breaks it is found, and the
/// others of its batch go on.
fn a_refusal_at_commit_stops_one_ticket_alone() {
    let case = small().copy();
    let blocked = small().people[2];
    case.server().execute(
        &case.shop,
        &format!(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
               IF OLD.id = {blocked} THEN RAISE EXCEPTION 'no: %', OLD.email; END IF; RETURN NULL; END $$;
             CREATE CONSTRAINT TRIGGER refuse AFTER DELETE ON customer DEFERRABLE INITIALLY DEFERRED
               FOR EACH ROW EXECUTE FUNCTION refuse()"
        ),
    );
    let (status, log) = case.start().end(LONG);
    assert_eq!(status.code(), Some(1), "{log}");
    let failed = "SELECT string_agg(reference || ' ' || problem_code, ' ') FROM erasured.ticket WHERE state NOT IN ('completed', 'deferred')";
    assert_eq!(
        case.control(failed),
        format!("CRM-{blocked} E0508"),
        "{log}"
    );
    assert!(!log.contains('@'), "no value of the error's text: {log}");
    case.server()
        .execute(&case.shop, "DROP FUNCTION refuse() CASCADE");
    case.server().execute(
        &case.control,
        "SELECT erasured.retry_ticket(id) FROM erasured.ticket WHERE state = 'failed'",
    );
    case.start().ends_well();
    case.is_whole();
}

/// One row that breaks the connection each time it is touched is found, and given up after so
/// many attempts; the others of its batch go on.
fn a_row_that_breaks_every_connection_stops_one_ticket_alone() {
    let case = small().copy();
    let poison = small().people[4];
    case.server().execute(
        &case.shop,
        &format!(
            "CREATE FUNCTION breaks() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
               IF OLD.id = {poison} THEN PERFORM pg_terminate_backend(pg_backend_pid()); PERFORM pg_sleep(5); END IF; RETURN NULL; END $$;
             CREATE TRIGGER breaks AFTER DELETE ON customer FOR EACH ROW EXECUTE FUNCTION breaks()"
        ),
    );
    let host = case.another_host(&QUICK.replace("batch = 5", "batch = 5\nattempts = 3"));
    let (status, log) = Running::start(&host, &["run", "--until-idle"], "").end(LONG);
    assert_eq!(status.code(), Some(1), "{log}");
    let failed = "SELECT string_agg(reference || ' ' || problem_code, ' ') FROM erasured.ticket WHERE state NOT IN ('completed', 'deferred')";
    assert_eq!(case.control(failed), format!("CRM-{poison} E0501"), "{log}");
    case.server()
        .execute(&case.shop, "DROP FUNCTION breaks() CASCADE");
    case.server().execute(
        &case.control,
        "SELECT erasured.retry_ticket(id) FROM erasured.ticket WHERE state = 'failed'",
    );
    case.start().ends_well();
    case.is_whole();
}
