//! The daemon dies; the next one goes on.

use super::company::{Case, Company, QUICK, Running, people};
use super::support::{Server, ServerOptions};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

/// One server for the kills; with connections for several daemons at once.
pub fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| {
        Server::start_with(ServerOptions {
            settings: vec![("max_connections".into(), "600".into())],
            ..ServerOptions::default()
        })
    })
}

/// Twelve tickets: three batches.
pub fn small() -> &'static Company<'static> {
    static COMPANY: OnceLock<Company> = OnceLock::new();
    COMPANY.get_or_init(|| Company::new(server(), 60, people(12)))
}

/// Where the daemon dies. `1*off->` lets the first passing by go.
const POINTS: &[&str] = &[
    "before-resolve=return",
    "after-resolve=return",
    "after-lease=return",
    "before-begin=return",
    "after-begin=return",
    "before-commit=return(abort)",
    "after-commit=return(abort)",
    "before-step-done=return",
    // The first system is done, the second not begun; then its own commit.
    "after-step-done=return",
    "1*off->before-commit=return(abort)",
    "1*off->after-commit=return(abort)",
    "1*off->before-step-done=return",
    "1*off->after-step-done=return",
    "before-verifying=return",
    "after-verifying=return",
    "during-sweep=return",
    "7*off->during-sweep=return",
    "before-sign=return",
    "after-sign=return",
    "after-close=return",
    "before-head=return",
    "2*off->before-head=return",
    "after-head=return",
];

fn dies_at(point: &str) {
    let case = small().copy();
    // The crate writes name=count*off->action.
    let failpoints = match point.split_once("->") {
        Some((count, rest)) => {
            let (name, action) = rest.split_once('=').unwrap();
            format!("{name}={count}->{action}")
        }
        None => point.to_owned(),
    };
    case.start_to_die(&failpoints).dies();
    no_certificate_is_early(&case);
    case.start().ends_well();
    case.is_whole();
}

/// Whatever has a certificate has all its steps done and counted.
fn no_certificate_is_early(case: &Case<'_>) {
    let early = case.control(
        "SELECT count(*) FROM erasured.certificate c JOIN erasured.ticket t ON t.id = c.ticket_id
          WHERE t.state NOT IN ('completed', 'deferred')
             OR 2 <> (SELECT count(*) FROM erasured.step s WHERE s.ticket_id = t.id AND s.state = 'done')",
    );
    assert_eq!(early, "0");
}

#[test]
fn lesson_01_every_step_is_counted_before_done() {
    let next = AtomicUsize::new(0);
    small();
    thread::scope(|scope| {
        let workers: Vec<_> = (0..12)
            .map(|_| {
                scope.spawn(|| {
                    while let Some(point) = POINTS.get(next.fetch_add(1, Ordering::Relaxed)) {
                        println!("dies at {point}");
                        dies_at(point);
                    }
                })
            })
            .collect();
        for worker in workers {
            if let Err(panic) = worker.join() {
                std::panic::resume_unwind(panic);
            }
        }
    });
}

/// Years later the law keeps nothing any more: what it kept goes, once, with a certificate of its
/// own, though the daemon dies between the deed and its record. A deferral that cannot be ended
/// holds up none of those behind it.
#[test]
fn what_the_law_kept_goes_on_its_date_though_the_daemon_dies() {
    let case = small().copy();
    case.start().ends_well();
    case.is_whole();
    // A date that the deferral alone believes in takes nothing: the rows' own dates decide.
    case.server().execute(
        &case.control,
        "UPDATE erasured.deferral SET due_at = now() - interval '1 day'",
    );
    case.start().ends_well();
    case.is_whole();
    assert_ne!(case.control("SELECT count(*) FROM erasured.deferral"), "0");
    assert_eq!(
        case.control(
            "SELECT count(*) FROM erasured.deferral WHERE state <> 'waiting' OR due_at < now()"
        ),
        "0"
    );
    let invoices = case.truth().kept("invoice").join(",");
    case.server().execute(
        &case.shop,
        &format!(
            "UPDATE invoice SET issued_on = issued_on - interval '8 years' WHERE id IN ({invoices})"
        ),
    );
    case.server().execute(
        &case.control,
        "UPDATE erasured.deferral SET due_at = now() - interval '1 day';
         CREATE TABLE public.spoilt AS SELECT id, sealed FROM erasured.deferral ORDER BY due_at, id LIMIT 1;
         UPDATE erasured.deferral d SET sealed = '\\x00', due_at = now() - interval '2 days' FROM public.spoilt s WHERE s.id = d.id",
    );
    case.start_to_die("before-deferral-done=1*off->return")
        .dies();
    case.server().execute(
        &case.control,
        "UPDATE erasured.deferral SET lease_until = NULL WHERE lease_token IS NULL AND state = 'waiting'",
    );
    let (status, log) = case.start().end(Duration::from_secs(120));
    assert_eq!(
        status.code(),
        Some(1),
        "the spoilt one needs a person: {log}"
    );
    let waiting = "SELECT count(*) FROM erasured.deferral WHERE state = 'waiting'";
    assert_eq!(case.control(waiting), "1", "all but the spoilt one");
    case.server().execute(
        &case.control,
        "UPDATE erasured.deferral d SET sealed = s.sealed, lease_token = NULL, lease_until = NULL FROM public.spoilt s WHERE s.id = d.id",
    );
    case.start().ends_well();
    assert_eq!(case.control(waiting), "0");
    assert_eq!(
        case.control("SELECT count(*) FROM erasured.ticket WHERE state <> 'completed'"),
        "0"
    );
    assert_eq!(
        case.control("SELECT count(*) FROM erasured.certificate WHERE kind = 'supplement'"),
        case.control("SELECT count(*) FROM erasured.deferral"),
    );
    case.truth()
        .in_the_end()
        .holds(case.server(), &case.shop, &case.loyalty);
}

/// A sweep goes on where it stopped; but not on the word of another policy, under which other
/// columns may have been exempt.
#[test]
fn a_sweep_goes_on_under_the_policy_that_began_it() {
    for (changed, sweeps) in [(false, "1"), (true, "2")] {
        let case = small().copy();
        let host = case.another_host(&QUICK.replace("batch = 5", "batch = 50\nworkers = 1"));
        let run = |failpoints| Running::start(&host, &["run", "--until-idle"], failpoints);
        run("during-sweep=7*off->return").dies();
        let read = "SELECT count(*) FROM erasured.sweep_progress GROUP BY sweep_id";
        let before: u32 = case.control(read).parse().unwrap();
        assert!(before >= 5, "{before} tables were read");
        if changed {
            let file = host.path().join("policies/customer.toml");
            let policy = std::fs::read_to_string(&file).unwrap();
            std::fs::write(file, format!("{policy}\n# Other words.\n")).unwrap();
        }
        run("").ends_well();
        assert_eq!(case.control("SELECT count(*) FROM erasured.sweep"), sweeps);
        let whole = "SELECT count(*) = (SELECT max(count) FROM (SELECT count(*) FROM erasured.sweep_progress GROUP BY sweep_id) c) \
                     FROM erasured.sweep_progress WHERE sweep_id = (SELECT id FROM erasured.sweep ORDER BY started_at DESC LIMIT 1)";
        assert_eq!(case.control(whole), "t");
        case.is_whole();
    }
}

/// A ticket that failed and was retried has written since the sweep that failed it read: that
/// sweep, taken over with all tables read, says nothing about it.
#[test]
fn a_sweep_proves_nothing_about_a_later_generation() {
    let case = small().copy();
    let host = case.another_host(&QUICK.replace("batch = 5", "batch = 50\nworkers = 1"));
    let run = |failpoints| Running::start(&host, &["run", "--until-idle"], failpoints);
    let who = small().people[3];
    case.server().execute(
        &case.shop,
        &format!("CREATE TABLE stray AS SELECT email AS t FROM customer WHERE id = {who}"),
    );
    run("after-sign=return").dies();
    let failed = "SELECT string_agg(reference || ' ' || problem_code || ' ' || generation, ' ') FROM erasured.ticket WHERE state = 'failed'";
    assert_eq!(case.control(failed), format!("CRM-{who} E0510 1"));
    let retry = "SELECT erasured.retry_ticket(id) FROM erasured.ticket WHERE state = 'failed'";
    case.server().execute(&case.control, retry);
    let (status, log) = run("").end(Duration::from_secs(120));
    assert_eq!(status.code(), Some(1), "{log}");
    assert_eq!(
        case.control(failed),
        format!("CRM-{who} E0510 2"),
        "it is still there: {log}"
    );
    case.server().execute(&case.shop, "DROP TABLE stray");
    case.server().execute(&case.control, retry);
    run("").ends_well();
    case.is_whole();
}
