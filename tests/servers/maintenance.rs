//! A system that an operator has left alone, and people who are done in part meanwhile.

use crate::company::{Company, QUICK, Running, get, people};
use crate::support::{Server, Workspace, wait_until};
use std::time::Duration;

const LONG: Duration = Duration::from_secs(60);
const OPEN: &str =
    "SELECT count(*) FROM erasured.ticket WHERE state NOT IN ('completed', 'deferred')";

/// NaN while it is not shown.
fn metric(workspace: &Workspace, name: &str) -> f64 {
    let metrics = get(&workspace.http(), "/metrics", None).map_or_else(String::new, |got| got.1);
    let line = metrics.lines().find(|line| line.starts_with(name));
    line.map_or(f64::NAN, |line| {
        line.rsplit_once(' ').unwrap().1.parse().unwrap()
    })
}

fn says(workspace: &Workspace, arguments: &[&str]) -> String {
    let output = workspace
        .erasured(arguments.iter().copied())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_paused_system_is_left_alone_and_who_is_done_in_part_is_seen() {
    let server = Server::start();
    let company = Company::new(&server, 40, people(3));
    let case = company.copy();
    let limits = format!(
        "{}\npartial = \"1 ms\"\n",
        QUICK.split("\n\n").next().unwrap()
    );
    let workspace = case.another_host(&limits);
    let holds = format!(
        "SET application_name = 'holds {}'; SELECT count(*) FROM (SELECT FROM booking FOR UPDATE) b; SELECT pg_sleep(100)",
        case.shop
    );
    let gone = |table: &str, database: &str| {
        let among: Vec<String> = company.people.iter().map(ToString::to_string).collect();
        let sql = format!(
            "SELECT count(*) FROM {table} WHERE {}",
            match table {
                "customer" => format!("id IN ({})", among.join(", ")),
                _ => format!(
                    "member_no IN ({})",
                    company
                        .people
                        .iter()
                        .map(|n| format!("'TM-{n:07}'"))
                        .collect::<Vec<_>>()
                        .join(", ")
                ),
            }
        );
        case.server().count(database, &sql) == 0
    };
    std::thread::scope(|scope| {
        let locked = scope.spawn(|| {
            // Ended from outside.
            let _ = case.server().try_execute(&case.shop, &holds);
        });
        std::thread::sleep(Duration::from_millis(500));
        let daemon = Running::start(&workspace, &["run"], "");
        // Loyalty goes first; in the shop somebody holds the bookings.
        let partial = r#"erasured_partial_tickets{system="shop"}"#;
        wait_until("people done in part", LONG, || {
            metric(&workspace, partial) == 3.0
        });
        assert!(gone("member", &case.loyalty), "loyalty is done");
        assert!(!gone("customer", &case.shop));
        wait_until("they are late", LONG, || {
            metric(
                &workspace,
                r#"erasured_partial_overdue_tickets{system="shop"}"#,
            ) == 3.0
        });
        assert!(
            metric(
                &workspace,
                r#"erasured_partial_oldest_seconds{system="shop"}"#
            ) >= 0.0
        );
        assert_eq!(
            metric(&workspace, r#"erasured_partial_tickets{system="loyalty"}"#),
            0.0
        );

        let paused = says(
            &workspace,
            &["system", "pause", "shop", "--reason", "disk change"],
        );
        assert!(paused.contains("shop: daemons leave it alone"), "{paused}");
        let resting = r#"erasured_system_maintenance{system="shop"}"#;
        wait_until("the daemon to hear of it", LONG, || {
            metric(&workspace, resting) == 1.0
        });
        let list = says(&workspace, &["system", "list"]);
        let line = list.lines().find(|line| line.starts_with("shop")).unwrap();
        assert!(
            line.contains("disk change") && line.contains("3 tickets"),
            "{list}"
        );
        // What was under way there ends, and its session.
        let ours = format!(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = '{}' AND application_name LIKE 'erasured%'",
            case.shop
        );
        wait_until("no session of ours", LONG, || {
            case.server().count("postgres", &ours) == 0
        });
        case.server().execute(
            &case.shop,
            &format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'holds {}'", case.shop),
        );
        locked.join().unwrap();
        // Attempts come and go, and nobody looks in.
        let tried = "SELECT max(attempt) FROM erasured.ticket";
        let before: i64 = case.control(tried).parse().unwrap();
        for _ in 0..20 {
            case.server().execute(&case.control, "UPDATE erasured.ticket SET next_attempt_at = now() WHERE state = 'scheduled' AND next_attempt_at > now()");
            std::thread::sleep(Duration::from_millis(100));
            assert_eq!(case.server().count("postgres", &ours), 0);
        }
        assert!(!gone("customer", &case.shop));
        assert_eq!(case.control(OPEN), "3");
        let after: i64 = case.control(tried).parse().unwrap();
        assert!(
            before <= after && after <= 4,
            "half of eight are left: {after}"
        );
        assert!(
            daemon.log().contains("is in maintenance;") && !daemon.log().contains("disk change"),
            "{}",
            daemon.log()
        );

        assert!(says(&workspace, &["system", "resume", "shop"]).contains("goes on"));
        wait_until("the tickets to be done", LONG, || case.control(OPEN) == "0");
        assert!(gone("customer", &case.shop));
        wait_until("nobody is done in part", LONG, || {
            metric(&workspace, partial) == 0.0
        });
        assert_eq!(metric(&workspace, resting), 0.0);
        assert!(says(&workspace, &["system", "resume", "shop"]).contains("was not in maintenance"));
    });
    case.is_whole();
    // Whoever did it stands in the ledger.
    let kinds = "SELECT string_agg(entry::json ->> 'kind', ' ' ORDER BY seq) FROM erasured.ledger WHERE entry::json ->> 'kind' LIKE 'system_%'";
    wait_until("the ledger", LONG, || {
        let _ = workspace.erasured(["run", "--until-idle"]).output();
        case.control(kinds) == "system_paused system_resumed"
    });
}

const THREE: &str = r#"
subject = "customer"
root    = "a.public.customer"
identifier.member_no = { column = "member_no", find = true }
scope.account = { tables = "all", verify = { at_least = "basic" }, sla = "jp-appi" }

[[table]]
name   = "a.public.customer"
action = "delete"

[[table]]
name   = "b.public.visit"
link   = { columns = ["member_no"], identifier = "member_no" }
action = "delete"

[[table]]
name   = "c.public.visit"
link   = { columns = ["member_no"], identifier = "member_no" }
action = "delete"
"#;

/// What is away holds up neither the other systems nor, for longer than it is away, itself.
#[test]
fn others_go_on_while_one_system_is_away() {
    let server = Server::shared();
    let [a, b, c, control] = ["a", "b", "c", "control"].map(|stem| server.fresh_database(stem));
    server.execute(&a, "CREATE TABLE customer (id int PRIMARY KEY, member_no text UNIQUE NOT NULL); INSERT INTO customer SELECT n, 'M-' || n FROM generate_series(1, 9) n");
    for other in [&b, &c] {
        server.execute(other, "CREATE TABLE visit (id int PRIMARY KEY, member_no text NOT NULL); INSERT INTO visit SELECT n, 'M-' || n % 10 FROM generate_series(1, 40) n");
    }
    let systems = [
        ("a", server.url(&a)),
        ("b", server.url(&b)),
        ("c", server.url(&c)),
    ];
    let mut workspace = Workspace::new(&server.url(&control), &systems);
    workspace.write_policy("customer.toml", THREE);
    workspace.configure("[limits]\npoll = \"150 ms\"\n");
    crate::company::prepare(server, &workspace);
    let daemon = Running::start(&workspace, &["run"], "");
    // It has seen all of them once.
    wait_until("the daemon to be ready", LONG, || {
        get(&workspace.http(), "/readyz", None).is_some_and(|(status, _)| status == 200)
    });
    says(
        &workspace,
        &["system", "pause", "b", "--reason", "disk change"],
    );
    let resting = r#"erasured_system_maintenance{system="b"}"#;
    wait_until("the daemon to hear of it", LONG, || {
        metric(&workspace, resting) == 1.0
    });
    server.execute(&control, "DO $$ DECLARE t uuid; BEGIN
           t := erasured.submit_ticket('CRM-1', 'customer', jsonb_build_object('member_no', 'M-1'), 'account', 'policy');
           PERFORM set_config('erasured.actor', 'desk', true); PERFORM erasured.verify_ticket(t, 'login_reauth');
           PERFORM set_config('erasured.actor', 'lead', true); PERFORM erasured.approve_ticket(t);
         END $$");
    let visits = "SELECT count(*) FROM visit WHERE member_no = 'M-1'";
    let own = "SELECT count(*) FROM customer WHERE member_no = 'M-1'";
    wait_until("what lies in c to go", LONG, || {
        server.count(&c, visits) == 0
    });
    let waits = r#"erasured_partial_tickets{system="b"}"#;
    wait_until("who waits for b", LONG, || metric(&workspace, waits) == 1.0);
    assert_eq!(
        (server.count(&b, visits), server.count(&a, own)),
        (4, 1),
        "{}",
        daemon.log()
    );
    says(&workspace, &["system", "resume", "b"]);
    wait_until("the ticket to be done", LONG, || {
        server.count(&control, OPEN) == 0
    });
    assert_eq!((server.count(&b, visits), server.count(&a, own)), (0, 0));
    let steps = "SELECT count(*) FROM erasured.applied_step";
    assert_eq!([&a, &b, &c].map(|of| server.count(of, steps)), [1, 1, 1]);
}

/// A pause whose time is over is none; one without a reason or into the past is refused.
#[test]
fn a_pause_ends_by_itself() {
    let server = Server::shared();
    let control = server.fresh_database("control");
    let workspace = Workspace::new(&server.url(&control), &[("shop", server.url(&control))]);
    says(&workspace, &["migrate"]);
    let soon = (chrono::Utc::now() + chrono::Duration::seconds(3)).to_rfc3339();
    says(
        &workspace,
        &[
            "system", "pause", "shop", "--reason", "a reboot", "--until", &soon,
        ],
    );
    assert!(says(&workspace, &["system", "list"]).contains("a reboot until"));
    wait_until("its end", LONG, || {
        !says(&workspace, &["system", "list"]).contains("a reboot")
    });
    for refused in [["--reason", " "], ["--reason", "late"]] {
        let mut arguments = vec!["system", "pause", "shop"];
        arguments.extend(refused);
        if refused[1] == "late" {
            arguments.extend(["--until", "2020-01-01T00:00:00Z"]);
        }
        let output = workspace.erasured(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{output:?}");
    }
}
