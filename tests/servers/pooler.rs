//! Through PgBouncer in transaction mode, the systems and the control database both.

use crate::calls;
use crate::company::{Company, QUICK, Running, people};
use crate::support::{Pooler, Server, Workspace, blocking, repository};
use erasured::system::postgres::connect::{Client, Timeouts, connect, through_pooler};
use erasured::system::postgres::libpq::Settings;
use std::sync::OnceLock;

fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(Server::start)
}

async fn session(url: &str) -> Client {
    let settings = Settings::resolve(url, &|_| None, &|_, _| {
        Err(std::io::ErrorKind::NotFound.into())
    });
    connect(&settings.unwrap(), "test", Timeouts::default())
        .await
        .unwrap()
}

/// Lesson 36: session state is stranded behind a pooler.
#[test]
fn a_pooler_is_recognised_and_nothing_is_left_in_its_sessions() {
    let server = server();
    let database = server.fresh_database("app");
    let pooler = Pooler::start(server, 1, &["postgres"]);
    blocking(async {
        let straight = session(&server.url(&database)).await;
        assert!(!through_pooler(&straight).await.unwrap());
        let url = pooler.url(&database, "postgres");
        let (one, other) = (session(&url).await, session(&url).await);
        assert!(through_pooler(&one).await.unwrap());
        // One session of the server for both: a statement with a name would be met by the other.
        let first = one.prepare("SELECT 1 + $1::int4").await.unwrap();
        let second = other.prepare("SELECT 2 + $1::int4").await.unwrap();
        for round in 0..3 {
            let sum: i32 = one.query_one(&first, &[&round]).await.unwrap().get(0);
            assert_eq!(sum, 1 + round);
            let sum: i32 = other.query_one(&second, &[&round]).await.unwrap().get(0);
            assert_eq!(sum, 2 + round);
            // An error is one of its own statement, and the next is answered as ever.
            assert!(one.query("SELECT 1 / $1::int4", &[&0]).await.is_err());
        }
        // Sent at once, and rows of more bytes than are read at a time.
        let long = one.prepare("SELECT repeat('x', $1)").await.unwrap();
        let (a, b, c) = tokio::join!(
            one.query_one(&long, &[&100_000]),
            one.query_one(&first, &[&1]),
            one.query_one(&long, &[&70_000]),
        );
        assert_eq!(a.unwrap().get::<_, String>(0).len(), 100_000);
        assert_eq!(b.unwrap().get::<_, i32>(0), 2);
        assert_eq!(c.unwrap().get::<_, String>(0).len(), 70_000);
        let left = "SELECT count(*) FROM pg_prepared_statements";
        let left: i64 = other.query_one(left, &[]).await.unwrap().get(0);
        assert_eq!(left, 0, "statements left in the server's session");
    });
}

/// Tickets, sweep, certificates, with fewer sessions of the servers than the daemon has of the poolers.
#[test]
fn tickets_run_through_poolers() {
    let server = server();
    let company = Company::new(server, 60, people(12));
    let case = company.copy();
    let systems = Pooler::start(server, 3, &["postgres"]);
    let control = Pooler::start(server, 4, &["postgres"]);
    let url = |database: &str| systems.url(database, "postgres");
    let host = || {
        let mut workspace = Workspace::new(
            &control.url(&case.control, "postgres"),
            &[("shop", url(&case.shop)), ("loyalty", url(&case.loyalty))],
        );
        workspace.copy_policies(&repository().join("policies/travel"));
        workspace.configure(QUICK);
        workspace
    };
    let (workspace, other) = (host(), host());
    for arguments in [&["migrate"][..], &["check"], &["plan", "--ticket", "CRM-1"]] {
        let output = workspace.erasured(arguments).output().unwrap();
        // `check` and `plan` have something to say about the demo's policy.
        assert!(
            matches!(output.status.code(), Some(0 | 1)),
            "{arguments:?}: {output:?}"
        );
    }
    let daemons = [&workspace, &other].map(|w| Running::start(w, &["run", "--until-idle"], ""));
    for daemon in daemons {
        let log = daemon.ends_well();
        assert!(log.contains("through a pooler"), "{log}");
    }
    case.is_whole();
    for pooler in [&systems, &control] {
        assert!(
            !pooler.log().contains("prepared statement"),
            "{}",
            pooler.log()
        );
    }
    no_session_keeps_anything(server);
}

/// What `SET`, `LISTEN` and session locks would have left in the servers' sessions.
fn no_session_keeps_anything(server: &Server) {
    let locks = "SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a USING (pid)
                  WHERE l.locktype = 'advisory' AND a.state = 'idle'";
    assert_eq!(server.count("postgres", locks), 0);
}

#[test]
fn a_schema_is_made_through_a_pooler() {
    let server = server();
    let (shop, control) = (
        server.fresh_database("shop"),
        server.fresh_database("control"),
    );
    let pooler = Pooler::start(server, 2, &["postgres"]);
    let workspace = Workspace::new(
        &pooler.url(&control, "postgres"),
        &[("shop", pooler.url(&shop, "postgres"))],
    );
    for _ in 0..2 {
        let made = workspace.erasured(["migrate"]).output().unwrap();
        assert!(made.status.success(), "{made:?}");
    }
    no_session_keeps_anything(server);
}

/// A table in a partition of its own goes whole, though not concurrently; all other rows by their age.
#[test]
fn retention_runs_through_a_pooler() {
    const DAYS: &str = "
        CREATE TABLE visit (id bigint, at timestamptz NOT NULL, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
        CREATE TABLE visit_old PARTITION OF visit FOR VALUES FROM ('2000-01-01') TO ('2001-01-01');
        CREATE TABLE visit_rest PARTITION OF visit FOR VALUES FROM ('2001-01-01') TO ('2999-01-01');
        CREATE INDEX ON visit (at);
        INSERT INTO visit VALUES (1, '2000-06-01'), (2, '2010-06-01'), (3, now());";
    const RULE: &str = r#"
[[table]]
name = "shop.public.visit"
action = "delete"

[[retention]]
name       = "visits"
table      = "shop.public.visit"
since      = "at"
keep       = "90 days"
action     = "delete"
partitions = "drop"
because    = "nobody needs them"
timezone   = "Asia/Tokyo"
"#;
    let company = calls::Company::with(
        &format!("{}{DAYS}", calls::SCHEMA),
        &format!("{}{RULE}", calls::POLICY),
    );
    let expected = company.rows(calls::DUE);
    let due = company.count(&format!("SELECT count(*) FROM call c WHERE {}", calls::DUE));
    let systems = Pooler::start(company.server, 3, &["postgres"]);
    let control = Pooler::start(company.server, 4, &["postgres"]);
    let mut workspace = Workspace::new(
        &control.url(&company.control, "postgres"),
        &[("shop", systems.url(&company.shop, "postgres"))],
    );
    workspace.configure("[system.shop.throttle]\nlock_waits = 1000\n");
    workspace.write_policy("customer.toml", &format!("{}{RULE}", calls::POLICY));
    let run = |rule: &str| {
        let output = workspace
            .erasured(["retention", "run", rule, "--format", "json"])
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap()
    };
    let calls = run("calls");
    assert_eq!(
        calls["changed"]["public.call"]["deleted"].as_i64(),
        Some(due),
        "{calls}"
    );
    assert_eq!(company.rows("false"), expected);
    let visits = run("visits");
    assert_eq!(
        visits["changed"]["public.visit"]["deleted"].as_i64(),
        Some(2),
        "{visits}"
    );
    assert_eq!(company.count("SELECT count(*) FROM visit"), 1);
    let standing = "SELECT count(*) FROM pg_class WHERE relname LIKE 'visit\\_%' AND relkind = 'r'";
    assert_eq!(company.count(standing), 1, "the partition went whole");
    // Whoever gets these sessions next finds the server's own settings.
    let left = "SELECT current_setting('lock_timeout') || current_setting('statement_timeout') \
                || current_setting('vacuum_cost_delay') || (current_setting('search_path') = '\"$user\", public')";
    blocking(async {
        for pooler in [&systems, &control] {
            let database = if std::ptr::eq(pooler, &systems) {
                &company.shop
            } else {
                &company.control
            };
            let url = pooler.url(database, "postgres");
            let mut sessions = Vec::new();
            for _ in 0..3 {
                let client = session(&url).await;
                client.batch_execute("BEGIN").await.unwrap();
                let row = client.query_one(left, &[]).await.unwrap();
                assert_eq!(row.get::<_, String>(0), "000true");
                sessions.push(client);
            }
        }
    });
    no_session_keeps_anything(company.server);
}
