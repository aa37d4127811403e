//! What goes wrong around the daemon while it works.

use super::company::{Case, Company, QUICK, Running, file, get, name_of, people, prepare};
use super::kills::{server, small};
use super::support::{Server, ServerOptions, Workspace, connect, load_demo, wait_until};
use std::process::Command;
use std::thread;
use std::time::Duration;

/// More than anything takes, on a busy machine too.
const LONG: Duration = Duration::from_secs(120);

#[test]
fn leases_locks_and_neighbours() {
    super::at_once(&[
        ("of_two_daemons_one_is_killed", of_two_daemons_one_is_killed),
        (
            "a_lease_is_lost_while_working",
            a_lease_is_lost_while_working,
        ),
        (
            "a_lock_on_one_row_holds_up_nobody_else",
            a_lock_on_one_row_holds_up_nobody_else,
        ),
        (
            "who_is_no_longer_held_is_not_erased_elsewhere",
            who_is_no_longer_held_is_not_erased_elsewhere,
        ),
        (
            "a_desk_files_in_its_own_transaction",
            a_desk_files_in_its_own_transaction,
        ),
    ]);
}

#[test]
fn twenty_random_kills_in_a_run_of_500_tickets() {
    let company = Company::new(server(), 1_100, people(500));
    let case = company.copy();
    let host = case.another_host(&QUICK.replace("batch = 5", "batch = 10"));
    let mut open = 0;
    for _ in 0..20 {
        let daemon = Running::start(&host, &["run"], "");
        wait_until("the daemon to begin", LONG, || {
            daemon.log().contains("\"ready\"")
        });
        let chance: u64 = rand::random_range(0..400);
        println!("killed after {chance} ms");
        thread::sleep(Duration::from_millis(chance));
        daemon.kill();
        let left =
            "SELECT count(*) FROM erasured.ticket WHERE state NOT IN ('completed', 'deferred')";
        open += i32::from(case.control(left) != "0");
    }
    assert!(
        open >= 15,
        "only {open} of the kills came while there was work"
    );
    Running::start(&host, &["run", "--until-idle"], "").ends_well();
    case.is_whole();
}

/// The one sleeps with its two batches until it is killed, so that some tickets are left for the
/// other however slowly that one starts.
fn of_two_daemons_one_is_killed() {
    let case = small().copy();
    let other = case.another_host(QUICK);
    let killed = Running::start(&other, &["run"], "before-commit=sleep(600000)");
    let at_work = "SELECT count(DISTINCT l.holder) FROM erasured.lease l JOIN erasured.ticket t ON t.id = l.ticket_id WHERE t.state = 'executing'";
    wait_until("the one to be at work", LONG, || {
        case.control(at_work) == "1"
    });
    let sleepy = "before-commit=1*sleep(2000)->sleep(300)";
    let left = Running::start(case.workspace(), &["run", "--until-idle"], sleepy);
    wait_until("both to be at work", LONG, || case.control(at_work) == "2");
    killed.kill();
    left.ends_well();
    case.is_whole();
}

/// The lease runs out while its holder sleeps before COMMIT: the other takes the tickets over,
/// and finds out that they are done.
fn a_lease_is_lost_while_working() {
    let case = small().copy();
    let other = case.another_host(QUICK);
    let slow = Running::start(&other, &["run"], "before-commit=1*sleep(8000)->off");
    let leased = "SELECT count(*) FROM erasured.ticket WHERE state = 'executing'";
    wait_until("the slow one to be at work", LONG, || {
        case.control(leased) != "0"
    });
    case.start().ends_well();
    case.is_whole();
    wait_until("the slow one to notice", LONG, || {
        slow.log().contains("the lease was lost while working")
    });
    slow.signal("TERM");
    slow.ends_well();
    case.is_whole();
}

fn a_lock_on_one_row_holds_up_nobody_else() {
    let case = small().copy();
    let blocked = small().people[3];
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let session = runtime.block_on(async {
        let session = connect(&case.server().url(&case.shop)).await;
        session
            .batch_execute(&format!(
                "BEGIN; SELECT FROM customer WHERE id = {blocked} FOR UPDATE"
            ))
            .await
            .unwrap();
        session
    });
    let daemon = case.start();
    let closed = "SELECT string_agg(reference, ' ') FROM erasured.ticket WHERE state NOT IN ('completed', 'deferred')";
    wait_until("the others to be done", LONG, || {
        case.control(closed) == format!("CRM-{blocked}")
    });
    wait_until("the one to be put off", LONG, || {
        case.control(&format!(
            "SELECT problem FROM erasured.ticket WHERE reference = 'CRM-{blocked}'"
        )) == "lock_timeout"
    });
    runtime.block_on(session.batch_execute("COMMIT")).unwrap();
    daemon.ends_well();
    case.is_whole();
}

/// While loyalty is erased a session in shop, where the root is, holds who the people are. It is
/// ended before loyalty's COMMIT: that must not come.
fn who_is_no_longer_held_is_not_erased_elsewhere() {
    let case = small().copy();
    let host = case.another_host(&QUICK.replace("batch = 5", "batch = 1\nworkers = 1"));
    let slow = "before-commit=1*sleep(4000)->off";
    let daemon = Running::start(&host, &["run", "--until-idle"], slow);
    let ended = format!(
        "SELECT coalesce(bool_or(pg_terminate_backend(pid)), false) FROM pg_stat_activity \
          WHERE datname = '{}' AND state = 'idle in transaction' AND application_name = 'erasured/worker' \
            AND state_change < clock_timestamp() - interval '1 second'",
        case.shop
    );
    wait_until("the holding session to be ended", LONG, || {
        case.server().value("postgres", &ended) == "t"
    });
    let log = daemon.ends_well();
    // The server's last word is read before the question is asked, or as the answer to it.
    let causes = ["connection", "shutting_down"].map(|cause| format!("\"cause\":\"{cause}\""));
    assert!(
        log.contains("\"put off\"") && causes.iter().any(|cause| log.contains(cause)),
        "{log}"
    );
    case.is_whole();
}

/// Seconds of processor time that a process has used.
fn cpu(id: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap();
    let after_name = stat.rsplit_once(')').unwrap().1;
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    let ticks: f64 = fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap();
    ticks / 100.0
}

/// For some seconds the daemon lives, says that it is not ready, and does next to nothing.
fn waits_quietly(daemon: &mut Running, workspace: &Workspace, why: &str) {
    wait_until("the daemon to say that it is not ready", LONG, || {
        get(&workspace.http(), "/readyz", None)
            .is_some_and(|(status, body)| status == 503 && body.contains("control"))
    });
    assert_eq!(
        get(&workspace.http(), "/healthz", None).unwrap().0,
        200,
        "{why}"
    );
    let (lines, used) = (daemon.log().lines().count(), cpu(daemon.id()));
    thread::sleep(Duration::from_secs(4));
    assert!(!daemon.has_ended(), "{why}: {}", daemon.log());
    let (lines, used) = (
        daemon.log().lines().count() - lines,
        cpu(daemon.id()) - used,
    );
    assert!(lines < 60, "{why}: {lines} lines in 4 seconds");
    assert!(used < 0.5, "{why}: {used} s of processor time in 4 seconds");
}

/// One daemon, never restarted: no server, no connections left, the server crashes at work.
#[test]
fn the_server_goes_away_and_comes_back() {
    let server = Server::start_with(ServerOptions {
        durable: true,
        settings: vec![("max_connections".into(), "30".into())],
        ..ServerOptions::default()
    });
    let company = Company::new(&server, 40, people(12));
    let case = company.copy();
    let host = case.another_host(&QUICK.replace("batch = 5", "batch = 2"));
    server.stop_immediate();
    let mut daemon = Running::start(&host, &["run"], "before-commit=sleep(300)");
    waits_quietly(&mut daemon, &host, "no server at the start");
    full(&server, &case, || {
        waits_quietly(&mut daemon, &host, "no connection is to be had");
    });
    let at_work = "SELECT count(*) FROM erasured.applied_step";
    wait_until("the work to begin", LONG, || {
        server.count(&case.shop, at_work) > 1
    });
    server.stop_immediate();
    waits_quietly(&mut daemon, &host, "the server has crashed");
    server.start_again();
    let left = "SELECT count(*) FROM erasured.ticket WHERE state NOT IN ('completed', 'deferred')";
    wait_until("the rest to be done", LONG, || case.control(left) == "0");
    wait_until("the daemon to be ready again", LONG, || {
        get(&host.http(), "/readyz", None).is_some_and(|(status, _)| status == 200)
    });
    daemon.signal("TERM");
    daemon.ends_well();
    case.is_whole();
}

/// Starts the server with every connection taken before the daemon can have one.
fn full(server: &Server, case: &Case<'_>, meanwhile: impl FnOnce()) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    // The daemon knocks all the while; it is let in only when the others have gone.
    server.start_again();
    let held = runtime.block_on(async {
        let mut held = Vec::new();
        let until = std::time::Instant::now() + LONG;
        let url = server.url("postgres");
        while std::time::Instant::now() < until {
            match tokio_postgres::connect(&url, tokio_postgres::NoTls).await {
                Ok((client, connection)) => {
                    tokio::spawn(connection);
                    held.push(client);
                }
                Err(_) => {
                    let Some(client) = held.last() else { continue };
                    let theirs = client
                        .query(
                            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = ANY ($1)",
                            &[&vec![&case.control, &case.shop, &case.loyalty]],
                        )
                        .await
                        .unwrap();
                    if theirs.is_empty() {
                        break;
                    }
                }
            }
        }
        held
    });
    meanwhile();
    drop(held);
    drop(runtime);
}

/// A ticket of a transaction that is rolled back never was; one that commits wakes the daemon,
/// which would otherwise look again in an hour.
fn a_desk_files_in_its_own_transaction() {
    let demo = load_demo(server(), 60);
    let mut workspace = Workspace::of_demo(server(), &demo);
    workspace.configure("[limits]\npoll = \"1 hour\"\n");
    prepare(server(), &workspace);
    let control = name_of(workspace.control_url());
    let daemon = Running::start(&workspace, &["run"], "");
    wait_until("the daemon to be ready", LONG, || {
        daemon.log().contains("ready")
    });
    let submit = "SELECT erasured.submit_ticket('CRM-1', 'customer', '{\"member_no\": \"TM-0000001\"}', 'account', 'policy')";
    server().execute(&control, &format!("BEGIN; {submit}; ROLLBACK"));
    assert_eq!(
        server().count(&control, "SELECT count(*) FROM erasured.ticket"),
        0
    );
    file(server(), &control, &[1], "CRM");
    wait_until("the certificate", LONG, || {
        server().count(&control, "SELECT count(*) FROM erasured.certificate") == 1
    });
    // The same reference again erases nothing twice: the ticket is closed, and nobody can tell
    // any more whom it named.
    let again = server().try_execute(&control, submit).unwrap_err();
    assert_eq!(again.code().map(|c| c.code()), Some("ER003"));
    assert_eq!(
        server().count(&control, "SELECT count(*) FROM erasured.ticket"),
        1
    );
    daemon.signal("TERM");
    daemon.ends_well();
}

/// Not to be found in releases: a binary without the feature knows no failpoint.
#[test]
fn failpoints_are_a_feature_of_tests() {
    let manifest =
        std::fs::read_to_string(super::support::repository().join("Cargo.toml")).unwrap();
    assert!(manifest.contains("failpoints = [\"fail/failpoints\"]"));
    assert!(
        !manifest.contains("default = ["),
        "no feature is on by itself"
    );
    let tree = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--offline",
            "--edges",
            "normal,features",
            "--prefix",
            "none",
            "--package",
            "erasured",
        ])
        .current_dir(super::support::repository())
        .output()
        .unwrap();
    assert!(tree.status.success(), "{tree:?}");
    let tree = String::from_utf8(tree.stdout).unwrap();
    assert!(!tree.contains("fail feature \"failpoints\""), "{tree}");
}
