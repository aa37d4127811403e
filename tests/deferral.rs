//! What the law keeps goes on its day, without anybody asking, and a second certificate says so.

#![allow(clippy::unwrap_used)] // a test may

mod support;

use erasured::certificate::{Certificate, verify};
use erasured::start;
use std::time::Duration;
use support::{Server, Workspace, repository};

const SCHEMA: &str = "
    CREATE TABLE customer (id bigint PRIMARY KEY, member_no text NOT NULL UNIQUE, email text);
    CREATE TABLE invoice (id bigint PRIMARY KEY, customer_id bigint REFERENCES customer, issued_at timestamptz);
    CREATE TABLE invoice_line (invoice_id bigint REFERENCES invoice, n int, PRIMARY KEY (invoice_id, n));
    INSERT INTO customer VALUES (1, 'M-0001', 'one@example.jp'), (2, 'M-0002', 'two@example.jp'), (3, 'M-0003', NULL);
    INSERT INTO invoice VALUES
        (10, 1, now() - interval '1 day' + interval '6 s'),  -- its day comes while the test looks on
        (11, 1, now()),                                      -- and this one's tomorrow
        (12, 1, now() - interval '2 days'),                  -- and this one's was yesterday
        (20, 2, now() - interval '2 days'),
        (30, 3, now() - interval '1 day' + interval '5 s'); -- its day comes first, and it will not go
    INSERT INTO invoice_line SELECT id, n FROM invoice, generate_series(1, 2) AS n;
    CREATE FUNCTION veto() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''no''; END';
    CREATE TRIGGER veto BEFORE DELETE ON invoice FOR EACH ROW WHEN (OLD.id = 30) EXECUTE FUNCTION veto()";

const POLICY: &str = r#"
    subject = "customer"
    root = "shop.public.customer"
    identifier.member_no = { column = "member_no", find = true, residual = true }
    identifier.email = { column = "email", type = "email", residual = true }
    scope.account = { tables = "all", verify = { at_least = "basic" }, sla = "jp-appi" }
    [[table]]
    name = "shop.public.customer"
    action = "delete"
    [[table]]
    name = "shop.public.invoice"
    action = "retain"
    until = { column = "issued_at", plus = "1 day" }
    because = "jp-ctax-7"
    then = "delete"
    set = { customer_id = "null" }
    [[table]]
    name = "shop.public.invoice_line"
    action = "retain"
    because = "jp-ctax-7"
"#;

fn certificates(server: &Server, control: &str, workspace: &Workspace) -> Vec<Certificate> {
    let ring = [start::public_key(&workspace.public_key()).unwrap()]
        .into_iter()
        .collect();
    server
        .query(
            control,
            "SELECT jws FROM erasured.certificate JOIN erasured.ticket t ON t.id = ticket_id
              WHERE t.reference = 'CRM-1' ORDER BY issued_at",
        )
        .into_iter()
        .map(|row| verify(row[0].as_ref().unwrap(), &ring).unwrap())
        .collect()
}

#[test]
fn retained_rows_go_on_their_day() {
    let server = Server::shared();
    let (control, shop) = (
        server.fresh_database("control"),
        server.fresh_database("shop"),
    );
    let workspace = Workspace::new(&server.url(&control), &[("shop", server.url(&shop))]);
    workspace.write_policy("customer.toml", POLICY);
    let run = || {
        workspace
            .erasured(["run", "--until-idle"])
            .assert()
            .success()
    };
    workspace.erasured(["migrate"]).assert().success();
    let roles = std::fs::read_to_string(repository().join("sql/roles/control.sql")).unwrap();
    server.execute(&control, &roles);
    run();
    server.execute(
        &control,
        "DO $$ DECLARE t uuid; BEGIN
           FOR n IN 1..3 BY 2 LOOP
             t := erasured.submit_ticket('CRM-' || n, 'customer', jsonb_build_object('member_no', 'M-000' || n), 'account', 'policy');
             PERFORM erasured.verify_ticket(t, 'callback', 'basic');
             PERFORM erasured.approve_ticket(t);
           END LOOP;
         END $$",
    );
    server.execute(&shop, SCHEMA);
    run();
    let state = || {
        server.value(
            &control,
            "SELECT state FROM erasured.ticket WHERE reference = 'CRM-1'",
        )
    };
    let left = || {
        server.value(
            &shop,
            "SELECT string_agg(id::text, ' ' ORDER BY id) FROM invoice",
        )
    };
    assert_eq!(
        (state().as_str(), left().as_str()),
        ("deferred", "10 11 20 30")
    );

    let wait = "SELECT pg_sleep(greatest(0, extract(epoch FROM (array_agg(due_at ORDER BY due_at))[2] - now()) + 0.5)) FROM erasured.deferral";
    server.query(&control, wait);
    std::thread::sleep(Duration::from_millis(100));
    run();
    assert_eq!(
        (state().as_str(), left().as_str()),
        ("deferred", "11 20 30")
    );
    assert_eq!(server.count(&shop, "SELECT count(*) FROM invoice_line"), 6);
    let issued = certificates(server, &control, &workspace);
    assert_eq!(issued.len(), 2);
    assert_eq!(issued[1].supplements, Some(issued[0].id));
    assert_eq!(issued[1].subject_hash, issued[0].subject_hash);
    assert_eq!(issued[1].totals().deleted, 3);
    assert_eq!(issued[0].deferrals.len(), 2);
}
