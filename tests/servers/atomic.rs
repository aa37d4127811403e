//! `atomic`: the parts of a ticket on two systems happen all or not at all, whoever dies when.

use crate::company::{Case, Company, QUICK, Running, people};
use crate::support::{Pooler, Proxy, Server, ServerOptions, Workspace, repository, wait_until};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// A server that prepares transactions; one for all, with connections for several daemons.
fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| {
        let settings = [
            ("max_prepared_transactions", "60"),
            ("max_connections", "1000"),
        ];
        Server::start_with(ServerOptions {
            settings: settings.map(|(k, v)| (k.into(), v.into())).to_vec(),
            ..ServerOptions::default()
        })
    })
}

/// Six tickets.
fn company() -> &'static Company<'static> {
    static COMPANY: OnceLock<Company> = OnceLock::new();
    COMPANY.get_or_init(|| Company::new(server(), 60, people(6)))
}

/// All tickets in one batch, and one worker: what happens, happens in one order.
const ONE_BATCH: &str = "[limits]\nlease = \"5 seconds\"\npoll = \"150ms\"\nbatch = 50\nworkers = 1\nlock_timeout = \"1 second\"\n\n[log]\nformat = \"json\"\n";

/// A daemon's files with the demo's policy, its two systems together.
fn host(case: &Case<'_>, limits: &str) -> Workspace {
    let host = case.another_host(limits);
    together(&host);
    host
}

fn together(host: &Workspace) {
    let file = host.path().join("policies/customer.toml");
    let policy = std::fs::read_to_string(&file).unwrap();
    std::fs::write(file, format!("atomic = [\"shop\", \"loyalty\"]\n{policy}")).unwrap();
}

fn start(host: &Workspace, failpoints: &str) -> Running {
    Running::start(host, &["run", "--until-idle"], failpoints)
}

/// Steps that have committed in shop and in loyalty.
fn applied(case: &Case<'_>) -> (i64, i64) {
    let steps = "SELECT count(*) FROM erasured.applied_step";
    (
        server().count(&case.shop, steps),
        server().count(&case.loyalty, steps),
    )
}

/// Transactions that wait in its databases.
fn prepared(case: &Case<'_>) -> i64 {
    let waiting = format!(
        "SELECT count(*) FROM pg_prepared_xacts WHERE database IN ('{}', '{}')",
        case.shop, case.loyalty
    );
    server().count("postgres", &waiting)
}

/// Nobody's work waits here for what only time does.
fn lease_is_over(case: &Case<'_>) {
    let over = "UPDATE erasured.lease SET until = now() - interval '1 second'";
    server().execute(&case.control, over);
}

/// What is begun of everybody stops, so that nothing that was rolled back is done again unseen.
fn hold_everybody(case: &Case<'_>) {
    for n in &company().people {
        let sql = format!(
            "SELECT set_config('erasured.actor', 'lead', true);
             SELECT erasured.place_hold('case-1', 'court-order', 'customer', jsonb_build_object('member_no', 'TM-{n:07}'))"
        );
        server().execute(&case.control, &sql);
    }
}

fn whole(case: &Case<'_>) {
    case.is_whole();
    assert_eq!(prepared(case), 0, "nothing is left prepared");
    let open = "SELECT count(*) FROM erasured.joint WHERE ended_at IS NULL";
    assert_eq!(server().count(&case.control, open), 0);
    // Each certificate says of each system when COMMIT PREPARED was answered, as far as anybody knows.
    let early = "SELECT count(*) FROM erasured.step s JOIN erasured.joint j ON j.id = s.joint_id
                  WHERE j.outcome <> 'committed' OR s.committed_at < j.decided_at
                     OR s.committed_at IS DISTINCT FROM (j.ended->>s.system)::timestamptz";
    assert_eq!(server().count(&case.control, early), 0);
}

#[test]
fn tickets_over_two_systems_that_go_together() {
    let case = company().copy();
    let host = host(&case, QUICK);
    start(&host, "").ends_well();
    whole(&case);
    let committed = "SELECT count(*) FROM erasured.joint WHERE outcome = 'committed'";
    assert!(server().count(&case.control, committed) > 0);
    let mut plan = host.erasured(["plan", "--subject", "member_no=TM-0000002"]);
    let plan = plan.output().unwrap();
    let shown = String::from_utf8_lossy(&plan.stdout);
    assert!(
        shown.contains("shop   one transaction, all or none with loyalty"),
        "{plan:?}"
    );
}

/// Where the daemon dies, and what each system must have in the end if a hold keeps the tickets from being
/// done again: nothing, or all.
const POINTS: &[(&str, bool)] = &[
    ("joint-begun=return", false),
    ("before-commit=return(abort)", false),
    ("before-commit=1*off->return(abort)", false),
    ("prepared=return", false),
    ("prepared=1*off->return", false),
    ("before-decision=return", false),
    ("after-decision=return", true),
    ("commit-prepared=return", true),
    ("commit-prepared=1*off->return", true),
    ("before-step-done=return", true),
    ("after-step-done=return", true),
    ("after-step-done=1*off->return", true),
];

/// A copy of the company for each, some at once: most of what they do is to wait.
fn at_each_point(run: impl Fn(&str, bool, &Case<'_>) + Sync) {
    let next = AtomicUsize::new(0);
    let work = || {
        while let Some((point, decided)) = POINTS.get(next.fetch_add(1, Ordering::Relaxed)) {
            run(point, *decided, &company().copy());
        }
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..4).map(|_| scope.spawn(work)).collect();
        for worker in workers {
            if let Err(panic) = worker.join() {
                std::panic::resume_unwind(panic);
            }
        }
    });
}

#[test]
fn whoever_dies_both_or_neither() {
    at_each_point(|point, decided, case| {
        let host = host(case, ONE_BATCH);
        start(&host, point).dies();
        lease_is_over(case);
        hold_everybody(case);
        start(&host, "").ends_well();
        let all = i64::try_from(company().people.len()).unwrap();
        let expected = if decided { (all, all) } else { (0, 0) };
        assert_eq!(applied(case), expected, "{point}");
        assert_eq!(prepared(case), 0, "{point}");
        // When the hold is released what was done counts, and what was not is done.
        let release = "SELECT set_config('erasured.actor', 'lead', true);
                               SELECT erasured.release_matter('case-1')";
        server().execute(&case.control, release);
        start(&host, "").ends_well();
        case.is_whole();
        assert_eq!(prepared(case), 0, "{point}");
    });
}

#[test]
fn whoever_dies_the_next_does_it_once() {
    at_each_point(|point, _, case| {
        let host = host(case, ONE_BATCH);
        start(&host, point).dies();
        lease_is_over(case);
        start(&host, "").ends_well();
        println!("{point}");
        whole(case);
    });
}

/// A pause waits for what is prepared: a daemon ends it as it was decided, and begins nothing.
#[test]
fn a_pause_leaves_nothing_prepared() {
    let case = company().copy();
    let host = host(&case, ONE_BATCH);
    start(&host, "after-decision=return").dies();
    assert!(prepared(&case) > 0);
    let says = |arguments: &[&str]| {
        let output = host.erasured(arguments.iter().copied()).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    };
    says(&["system", "pause", "shop", "--reason", "disk change"]);
    says(&["system", "pause", "loyalty", "--reason", "disk change"]);
    lease_is_over(&case);
    let daemon = Running::start(&host, &["run"], "");
    wait_until("what was prepared to end", Duration::from_secs(60), || {
        prepared(&case) == 0
    });
    let all = i64::try_from(company().people.len()).unwrap();
    assert_eq!(applied(&case), (all, all), "as it was decided");
    daemon.kill();
    lease_is_over(&case);
    says(&["system", "resume", "shop"]);
    says(&["system", "resume", "loyalty"]);
    start(&host, "").ends_well();
    whole(&case);
}

/// A system that is away when the others are about to prepare leaves nothing in doubt, for as long as it is away.
#[test]
fn who_was_away_is_not_in_doubt() {
    let case = company().copy();
    let proxy = Proxy::before(server());
    let systems = [
        ("shop", server().url(&case.shop)),
        ("loyalty", proxy.url(&case.loyalty)),
    ];
    let mut host = Workspace::new(&server().url(&case.control), &systems);
    host.copy_policies(&repository().join("policies/travel"));
    host.configure(ONE_BATCH);
    together(&host);
    let daemon = Running::start(&host, &["run"], "joint-begun=1*sleep(3000)->off");
    let time = Duration::from_secs(60);
    wait_until("a decision to begin", time, || {
        case.control("SELECT count(*) FROM erasured.joint") != "0"
    });
    proxy.shut(true);
    let ended = format!(
        "SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity WHERE datname = '{}'",
        case.loyalty
    );
    server().value("postgres", &ended);
    wait_until("a try and its end", time, || {
        case.control("SELECT count(*) FROM erasured.ticket WHERE problem IS NOT NULL") == "6"
    });
    let open = "SELECT count(*) FROM erasured.joint WHERE ended_at IS NULL";
    wait_until("nothing to be in doubt", Duration::from_secs(20), || {
        case.control(open) == "0"
    });
    assert_eq!(applied(&case), (0, 0), "{}", daemon.log());
    daemon.kill();
    proxy.shut(false);
    lease_is_over(&case);
    start(&host, "").ends_well();
    whole(&case);
}

/// The decision's own COMMIT: it never was sent, or its answer never came.
#[test]
fn a_decision_whose_answer_is_lost_is_one_or_none() {
    for point in ["decision-unsent=1*return", "decision-unanswered=1*return"] {
        let case = company().copy();
        let host = host(&case, ONE_BATCH);
        start(&host, point).ends_well();
        whole(&case);
        let outcomes =
            case.control("SELECT string_agg(outcome, ', ' ORDER BY begun_at) FROM erasured.joint");
        let expected = match point.starts_with("decision-unsent") {
            true => "aborted, committed",
            false => "committed",
        };
        assert_eq!(outcomes, expected, "{point}");
    }
}

/// COMMIT PREPARED without an answer: the system says itself what stands. Where it does not for long, the tickets
/// wait.
#[test]
fn an_end_whose_answer_is_lost_is_asked_for() {
    for point in ["end-unanswered=1*return", "end-unanswered=9*return"] {
        let case = company().copy();
        let host = host(&case, ONE_BATCH);
        start(&host, point).ends_well();
        whole(&case);
        let joints = case.control("SELECT string_agg(outcome, ', ') FROM erasured.joint");
        assert_eq!(joints, "committed", "{point}");
    }
}

/// Whichever comes first.
#[test]
fn a_system_that_refuses_to_prepare_keeps_the_other_from_it() {
    for (system, table) in [("loyalty", "member"), ("shop", "customer")] {
        let case = company().copy();
        let host = host(&case, ONE_BATCH);
        let database = match system {
            "shop" => &case.shop,
            _ => &case.loyalty,
        };
        let loud = format!(
            "CREATE FUNCTION public.tell() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NOTIFY gone; RETURN NULL; END $$;
             CREATE TRIGGER tell AFTER DELETE ON {table} FOR EACH STATEMENT EXECUTE FUNCTION public.tell()"
        );
        server().execute(database, &loud);
        let (status, log) = start(&host, "").end(Duration::from_secs(120));
        assert_eq!(status.code(), Some(1), "{log}");
        let failed = case.control(
            "SELECT string_agg(DISTINCT state || ' ' || problem_code || ' ' || problem, '; ') FROM erasured.ticket",
        );
        let refused =
            format!("failed E0550 {system}: a trigger sends NOTIFY, which cannot be prepared");
        assert_eq!(failed, refused);
        // Who has nothing there that is deleted is erased in both.
        let failed = case.control("SELECT count(*) FROM erasured.ticket WHERE state = 'failed'");
        let failed: i64 = failed.parse().unwrap();
        assert!(failed > 0);
        assert_eq!(applied(&case), (6 - failed, 6 - failed), "{system}");
        assert_eq!(prepared(&case), 0, "{system}");
    }
}

#[test]
fn two_daemons_at_once() {
    let case = company().copy();
    let quick = QUICK.replace("batch = 5", "batch = 2");
    let hosts = [host(&case, &quick), host(&case, &quick)];
    let running = [start(&hosts[0], ""), start(&hosts[1], "")];
    for daemon in running {
        daemon.ends_well();
    }
    whole(&case);
}

/// A daemon that slept beyond its lease wakes and must not end what another has decided.
#[test]
fn who_comes_too_late_decides_nothing() {
    let case = company().copy();
    let host = host(&case, ONE_BATCH);
    let late = start(&host, "before-decision=1*sleep(9000)");
    wait_until("both prepared", Duration::from_secs(60), || {
        prepared(&case) == 2
    });
    late.signal("STOP");
    lease_is_over(&case);
    let other = self::host(&case, ONE_BATCH);
    start(&other, "").ends_well();
    late.signal("CONT");
    late.end(Duration::from_secs(60));
    whole(&case);
    let outcomes =
        case.control("SELECT string_agg(outcome, ', ' ORDER BY begun_at) FROM erasured.joint");
    assert_eq!(outcomes, "aborted, committed");
}

#[test]
fn what_others_have_prepared_is_left_alone() {
    let case = company().copy();
    let host = host(&case, ONE_BATCH);
    let installation = case.control("SELECT id FROM erasured.installation");
    let foreign =
        "erasured:00000000-0000-0000-0000-000000000001:00000000-0000-0000-0000-000000000002:shop";
    let orphan = format!("erasured:{installation}:00000000-0000-0000-0000-000000000002:shop");
    server().execute(
        &case.shop,
        "CREATE SCHEMA app; CREATE TABLE app.elsewhere (n int)",
    );
    for name in ["an application's", foreign, &orphan] {
        let sql = format!(
            "BEGIN; INSERT INTO app.elsewhere VALUES (1); PREPARE TRANSACTION '{}'",
            name.replace('\'', "''")
        );
        server().execute(&case.shop, &sql);
    }
    // Prepared by somebody who had been given up, when all that belonged to it had ended.
    let joint = case.control(
        "INSERT INTO erasured.joint (token, systems, outcome, decided_at, ended, ended_at)
         VALUES (gen_random_uuid(), ARRAY['shop', 'loyalty'], 'aborted', now(), '{\"shop\": \"2026-01-01\", \"loyalty\": \"2026-01-01\"}', now()) RETURNING id",
    );
    let stray = format!("erasured:{installation}:{joint}:shop");
    let sql = format!("BEGIN; INSERT INTO app.elsewhere VALUES (1); PREPARE TRANSACTION '{stray}'");
    server().execute(&case.shop, &sql);
    let log = start(&host, "").ends_well();
    case.is_whole();
    let left = format!(
        "SELECT string_agg(gid, ', ' ORDER BY gid) FROM pg_prepared_xacts WHERE database = '{}'",
        case.shop
    );
    assert_eq!(
        server().value("postgres", &left),
        format!("an application's, {foreign}, {orphan}").replace(
            &format!("{foreign}, {orphan}"),
            &{
                let mut both = [foreign.to_owned(), orphan.clone()];
                both.sort();
                both.join(", ")
            }
        )
    );
    assert!(log.contains("E0551") && log.contains(&orphan), "{log}");
    assert!(!log.contains(foreign), "{log}");
    for name in ["an application's", foreign, &orphan] {
        let sql = format!("ROLLBACK PREPARED '{}'", name.replace('\'', "''"));
        server().execute(&case.shop, &sql);
    }
}

/// One system is told what was decided, the other is away: what is done is done, and the rest waits for it.
#[test]
fn a_system_in_doubt_is_waited_for() {
    let case = company().copy();
    let host = host(&case, ONE_BATCH);
    start(&host, "after-decision=return").dies();
    lease_is_over(&case);
    assert_eq!((applied(&case), prepared(&case)), ((0, 0), 2));
    let allow = |yes: bool| {
        let sql = format!(
            "ALTER DATABASE \"{}\" ALLOW_CONNECTIONS {yes}",
            case.loyalty
        );
        server().execute("postgres", &sql);
    };
    allow(false);
    let daemon = Running::start(&host, &["run"], "");
    let steps = "SELECT count(*) FROM erasured.applied_step";
    wait_until("shop was told", Duration::from_secs(60), || {
        server().count(&case.shop, steps) == 6
    });
    wait_until("the tickets wait", Duration::from_secs(60), || {
        case.control("SELECT count(*) FROM erasured.ticket WHERE state = 'scheduled' AND problem = 'in_doubt'") != "0"
    });
    assert_eq!(prepared(&case), 1);
    allow(true);
    server().execute(
        &case.control,
        "UPDATE erasured.ticket SET next_attempt_at = now() WHERE next_attempt_at IS NOT NULL",
    );
    wait_until("loyalty was told", Duration::from_secs(60), || {
        prepared(&case) == 0
    });
    daemon.kill();
    lease_is_over(&case);
    server().execute(
        &case.control,
        "UPDATE erasured.ticket SET next_attempt_at = now() WHERE next_attempt_at IS NOT NULL",
    );
    start(&host, "").ends_well();
    whole(&case);
}

/// Before the last word it stops both; behind it, it waits, and comes too late for both.
#[test]
fn a_hold_in_between_is_before_both_or_behind_both() {
    let case = company().copy();
    let host = host(&case, ONE_BATCH);
    let daemon = start(&host, "prepared=1*off->1*sleep(3000)");
    wait_until("both prepared", Duration::from_secs(60), || {
        prepared(&case) == 2
    });
    hold_everybody(&case);
    daemon.ends_well();
    assert_eq!((applied(&case), prepared(&case)), ((0, 0), 0));
    let held =
        "SELECT count(*) FROM erasured.ticket WHERE state = 'on_hold' AND problem_code = 'E0521'";
    assert_eq!(server().count(&case.control, held), 6);

    let case = company().copy();
    let host = self::host(&case, ONE_BATCH);
    let daemon = start(&host, "commit-prepared=1*sleep(3000)");
    wait_until("one committed", Duration::from_secs(60), || {
        applied(&case) == (0, 6)
    });
    // It waits for as long as not both are.
    hold_everybody(&case);
    assert_eq!(applied(&case), (6, 6));
    daemon.ends_well();
}

/// The server must be told that it may.
#[test]
fn a_server_that_prepares_nothing_is_refused_beforehand() {
    let unable = Server::start();
    let company = Company::new(&unable, 60, people(1));
    let case = company.copy();
    let host = host(&case, ONE_BATCH);
    let check = host.erasured(["check"]).output().unwrap();
    let told = String::from_utf8_lossy(&check.stdout);
    assert_eq!(check.status.code(), Some(1), "{told}");
    assert!(
        told.contains("E0281") && told.contains("max_prepared_transactions is 0"),
        "{told}"
    );
    let (status, log) = start(&host, "").end(Duration::from_secs(60));
    assert_eq!(status.code(), Some(1), "{log}");
    let state = case.control("SELECT state || ' ' || problem_code FROM erasured.ticket");
    assert_eq!(state, "failed E0281", "{log}");
    let steps = "SELECT count(*) FROM erasured.applied_step";
    assert_eq!(unable.count(&case.shop, steps), 0);
}

#[test]
fn through_poolers() {
    let server = server();
    let case = company().copy();
    let systems = Pooler::start(server, 3, &["postgres"]);
    let url = |database: &str| systems.url(database, "postgres");
    let control = server.url(&case.control);
    let mut workspace = Workspace::new(
        &control,
        &[("shop", url(&case.shop)), ("loyalty", url(&case.loyalty))],
    );
    workspace.copy_policies(&repository().join("policies/travel"));
    workspace.configure(QUICK);
    together(&workspace);
    let log = start(&workspace, "").ends_well();
    println!("{log}");
    whole(&case);
    // And what one daemon leaves another ends, through whichever session.
    let case = company().copy();
    let mut workspace = Workspace::new(
        &server.url(&case.control),
        &[("shop", url(&case.shop)), ("loyalty", url(&case.loyalty))],
    );
    workspace.copy_policies(&repository().join("policies/travel"));
    workspace.configure(ONE_BATCH);
    together(&workspace);
    start(&workspace, "after-decision=return").dies();
    lease_is_over(&case);
    start(&workspace, "").ends_well();
    whole(&case);
}

/// What goes together need not be the root's: then its rows are held meanwhile, as for each alone.
#[test]
fn the_persons_row_is_held_for_those_that_go_together() {
    let case = company().copy();
    let crm = server().fresh_database("crm");
    let people = "SELECT string_agg(format('(%L)', member_no), ',') FROM customer";
    let rows = server().value(&case.shop, people);
    let sql = format!(
        "CREATE TABLE contact (member_no text NOT NULL); INSERT INTO contact VALUES {rows}"
    );
    server().execute(&crm, &sql);
    let mut workspace = Workspace::new(
        &server().url(&case.control),
        &[
            ("shop", server().url(&case.shop)),
            ("loyalty", server().url(&case.loyalty)),
            ("crm", server().url(&crm)),
        ],
    );
    workspace.copy_policies(&repository().join("policies/travel"));
    workspace.configure(ONE_BATCH);
    let file = workspace.path().join("policies/customer.toml");
    let policy = std::fs::read_to_string(&file).unwrap();
    let rule = "[[table]]\nname = \"crm.public.contact\"\nlink = { columns = [\"member_no\"], identifier = \"member_no\" }\naction = \"delete\"\n";
    std::fs::write(
        file,
        format!("atomic = [[\"crm\", \"loyalty\"]]\n{policy}\n{rule}"),
    )
    .unwrap();
    let migrated = workspace.erasured(["migrate"]).output().unwrap();
    assert!(migrated.status.success(), "{migrated:?}");
    let daemon = start(&workspace, "before-decision=1*sleep(3000)");
    wait_until("both prepared", Duration::from_secs(60), || {
        let waiting = format!(
            "SELECT count(*) FROM pg_prepared_xacts WHERE database IN ('{crm}', '{}')",
            case.loyalty
        );
        server().count("postgres", &waiting) == 2
    });
    let first = company().people[0];
    let lock = format!("SELECT FROM customer WHERE id = {first} FOR UPDATE NOWAIT");
    let refused = server().try_execute(&case.shop, &lock).unwrap_err();
    assert_eq!(refused.code().unwrap().code(), "55P03");
    daemon.ends_well();
    let steps = "SELECT count(*) FROM erasured.applied_step";
    assert_eq!((applied(&case), server().count(&crm, steps)), ((6, 6), 6));
    let left = "SELECT count(*) FROM contact";
    assert_eq!(server().count(&crm, left), 54);
    // One transaction of shop's own, and one decision for the other two.
    let joints = case.control("SELECT string_agg(DISTINCT array_to_string(systems, ' '), ',') FROM erasured.joint WHERE outcome = 'committed'");
    assert!(
        joints == "crm loyalty" || joints == "loyalty crm",
        "{joints}"
    );
}

/// What hangs together with a held row stays in both; the rest goes in both or in none.
#[test]
fn the_rest_beside_a_held_row_goes_together() {
    let case = company().copy();
    let host = host(&case, ONE_BATCH);
    let member = "SELECT l.member_id FROM tier_history l JOIN member m ON m.id = l.member_id WHERE m.member_no = ANY ($people) LIMIT 1";
    let people = company().people.iter().map(|n| format!("'TM-{n:07}'"));
    let people = format!("ARRAY[{}]", people.collect::<Vec<_>>().join(","));
    let member = server().value(&case.loyalty, &member.replace("$people", &people));
    let hold = format!(
        "SELECT set_config('erasured.actor', 'lead', true);
         SELECT erasured.place_row_hold('case-2', 'court-order', 'loyalty.public.tier_history',
           '[{{\"column\": \"member_id\", \"op\": \"=\", \"values\": [\"{member}\"]}}]')"
    );
    server().execute(&case.control, &hold);
    start(&host, "").ends_well();
    let held =
        "SELECT count(*) FROM erasured.ticket WHERE state = 'on_hold' AND problem_code = 'E0521'";
    assert_eq!(server().count(&case.control, held), 1);
    assert_eq!(prepared(&case), 0);
    let left = "SELECT count(*) FROM erasured.applied_step WHERE counts->'left' IS NOT NULL";
    let (shop, loyalty) = (
        server().count(&case.shop, left),
        server().count(&case.loyalty, left),
    );
    assert_eq!((shop, loyalty), (1, 1), "the rest goes on, in both");
    assert_eq!(applied(&case), (6, 6));
    let release = "SELECT set_config('erasured.actor', 'lead', true);
                   SELECT erasured.release_matter('case-2')";
    server().execute(&case.control, release);
    start(&host, "").ends_well();
    case.is_whole();
    assert_eq!(prepared(&case), 0);
}
