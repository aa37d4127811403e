//! What each login may do, through the real binary: the daemon with the rights that
//! `sql/roles/target.sql` names, and auditors with theirs.

#![allow(clippy::unwrap_used)] // a test may

mod support;

use support::{Server, Workspace, connect, repository, told};

const SCHEMA: &str = "
    CREATE TABLE customer (id bigint PRIMARY KEY, member_no text NOT NULL UNIQUE);
    CREATE TABLE booking (id bigint PRIMARY KEY, customer_id bigint REFERENCES customer, who text);
    INSERT INTO customer VALUES (1, 'M-0001'), (2, 'M-0002');
    INSERT INTO booking VALUES (1, 1, 'one'), (2, 2, 'two')";

const POLICY: &str = r#"
    subject = "customer"
    root = "shop.public.customer"
    identifier.member_no = { column = "member_no", find = true, residual = true }
    scope.account = { tables = "all", verify = { at_least = "basic" }, sla = "jp-appi" }
    [[table]]
    name = "shop.public.customer"
    action = "delete"
    [[table]]
    name = "shop.public.booking"
    action = "anonymize"
    set = { customer_id = "null", who = "redact" }
"#;

async fn run(url: &str, sql: &str) {
    let client = connect(url).await;
    client
        .batch_execute(sql)
        .await
        .unwrap_or_else(|e| panic!("{}", told(&e)));
}

fn said(workspace: &Workspace, arguments: &[&str], code: i32) -> String {
    let output = workspace.erasured(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
    said
}

#[tokio::test(flavor = "multi_thread")]
async fn each_login_has_what_its_work_needs() {
    let server = Server::start();
    let (control, shop) = (
        server.fresh_database("control"),
        server.fresh_database("shop"),
    );
    let owner = Workspace::new(&server.url(&control), &[("shop", server.url(&shop))]);
    let of = |login: &str, database: &str| server.url_as(database, login);
    run(&server.url(&shop), SCHEMA).await;
    said(&owner, &["migrate"], 0);
    let roles = std::fs::read_to_string(repository().join("sql/roles/control.sql")).unwrap();
    run(&server.url(&control), &roles).await;
    run(
        &server.url(&shop),
        "CREATE ROLE daemon LOGIN IN ROLE erasured_daemon; CREATE ROLE audi LOGIN IN ROLE erasured_auditor;
         GRANT USAGE ON SCHEMA erasured TO erasured_daemon;
         GRANT SELECT, INSERT ON erasured.applied_step TO erasured_daemon;
         GRANT SELECT, DELETE, UPDATE (id) ON customer TO erasured_daemon;
         GRANT SELECT, UPDATE (customer_id, who) ON booking TO erasured_daemon",
    )
    .await;
    let daemon = Workspace::new(&of("daemon", &control), &[("shop", of("daemon", &shop))]);
    daemon.write_policy("customer.toml", POLICY);

    // LOCK TABLE does not count rights on columns: told by `check`, not by a failed ticket.
    let missing = said(&daemon, &["check"], 1);
    assert!(
        missing.contains("E0214") && missing.contains("GRANT UPDATE ON public.booking"),
        "{missing}"
    );
    run(
        &server.url(&shop),
        "GRANT UPDATE ON booking TO erasured_daemon",
    )
    .await;
    said(&daemon, &["check"], 0);

    said(&daemon, &["run", "--until-idle"], 0);
    run(
        &server.url(&control),
        "DO $$ DECLARE t uuid; BEGIN
           t := erasured.submit_ticket('CRM-1', 'customer', '{\"member_no\": \"m-0001\"}', 'account', 'policy');
           PERFORM erasured.verify_ticket(t, 'callback', 'basic');
           PERFORM erasured.approve_ticket(t);
         END $$",
    )
    .await;
    said(&daemon, &["run", "--until-idle"], 0);

    // An auditor sees no row keys of findings, and needs none to see the proof.
    let key = daemon.public_key();
    let key = key.to_str().unwrap();
    let auditor = of("audi", &control);
    let proof = [
        "certificate",
        "show",
        "CRM-1",
        "--key",
        key,
        "--control",
        &auditor,
    ];
    assert!(said(&daemon, &proof, 0).contains("public.booking"));
    said(&daemon, &["ledger", "verify", "--control", &auditor], 0);
}

#[test]
fn a_control_database_that_refuses_is_told_in_the_drivers_words() {
    let nowhere = "postgresql:///control?host=/nonexistent/folder&user=nobody";
    let workspace = Workspace::new(nowhere, &[("shop", nowhere.to_owned())]);
    workspace.write_policy("customer.toml", POLICY);
    let refused = said(&workspace, &["check"], 3);
    assert!(
        refused.contains("cannot reach PostgreSQL at /nonexistent/folder"),
        "{refused}"
    );
    assert_eq!(refused.matches("cannot be reached").count(), 1, "{refused}");
}
