//! Whoever was erased comes back, and it is said.

use crate::company::{Running, prepare};
use crate::support::{Server, Workspace};

const POLICY: &str = r#"recheck = ["1 hour", "1 day"]
subject = "customer"
root    = "shop.public.customer"
identifier.member_no = { column = "member_no", find = true, residual = true }
identifier.email     = { column = "email", type = "email", residual = true }
identifier.phone     = { column = "phone", residual = true }
scope.account = { tables = "all", verify = { at_least = "basic" }, sla = "jp-appi" }
scope.news    = { tables = ["shop.public.subscription"], verify = { at_least = "basic" }, sla = "jp-appi" }

[[table]]
name   = "shop.public.customer"
action = "delete"

[[table]]
name   = "shop.public.subscription"
link   = { columns = ["address"], identifier = "email" }
action = "delete"
"#;

const SCHEMA: &str = "
CREATE TABLE customer (id int PRIMARY KEY, member_no text NOT NULL, email text, phone text) PARTITION BY RANGE (id);
CREATE TABLE customer_low PARTITION OF customer FOR VALUES FROM (0) TO (100);
CREATE TABLE customer_high PARTITION OF customer FOR VALUES FROM (100) TO (1000000);
CREATE TABLE subscription (id int PRIMARY KEY, address text, memo text);
INSERT INTO customer SELECT n, 'M-' || n, 'person' || n || '@example.com' FROM generate_series(1, 40) n;
UPDATE customer SET phone = '03-1234-5678' WHERE id IN (8, 9);
INSERT INTO subscription SELECT n, 'person' || n || '@example.com' FROM generate_series(1, 40) n;";

struct Company {
    shop: String,
    control: String,
    workspace: Workspace,
}

impl Company {
    fn open() -> Company {
        let server = Server::shared();
        let (shop, control) = (
            server.fresh_database("shop"),
            server.fresh_database("control"),
        );
        server.execute(&shop, SCHEMA);
        let mut workspace = Workspace::new(&server.url(&control), &[("shop", server.url(&shop))]);
        workspace.write_policy("customer.toml", POLICY);
        workspace.configure("[limits]\npoll = \"150 ms\"\n");
        prepare(server, &workspace);
        Company {
            shop,
            control,
            workspace,
        }
    }

    fn file(&self, n: u32, scope: &str) {
        let sql = format!(
            "DO $$ DECLARE t uuid; BEGIN
               t := erasured.submit_ticket('CRM-{n}', 'customer', jsonb_build_object('member_no', 'M-{n}'), '{scope}', 'policy');
               PERFORM set_config('erasured.actor', 'desk', true); PERFORM erasured.verify_ticket(t, 'login_reauth');
               PERFORM set_config('erasured.actor', 'lead', true); PERFORM erasured.approve_ticket(t);
             END $$"
        );
        Server::shared().execute(&self.control, &sql);
    }

    fn run(&self) -> String {
        Running::start(&self.workspace, &["run", "--until-idle"], "").ends_well()
    }

    fn shop(&self, sql: &str) {
        Server::shared().execute(&self.shop, sql);
    }

    fn control(&self, sql: &str) -> i64 {
        Server::shared().count(&self.control, sql)
    }

    /// As if the tickets had been closed so much earlier.
    fn turn(&self, time: &str) {
        let sql =
            format!("UPDATE erasured.ticket SET finished_at = finished_at - interval '{time}'");
        Server::shared().execute(&self.control, &sql);
    }

    /// What `ticket show` says has come back, as places.
    fn come_back(&self, n: u32) -> Vec<String> {
        let reference = format!("CRM-{n}");
        let show = ["ticket", "show", &reference, "--format", "json"];
        let output = self.workspace.erasured(show).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let shown: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let text = |f: &serde_json::Value, key: &str| f[key].as_str().unwrap().to_owned();
        let findings = shown["open_findings"].as_array().unwrap();
        let place = |f: &serde_json::Value| {
            format!(
                "{}.{} {} {}",
                text(f, "table"),
                text(f, "column"),
                text(f, "identifier"),
                f["rows"]
            )
        };
        findings.iter().map(place).collect()
    }
}

#[test]
fn lesson_03_whoever_comes_back_after_the_certificate_is_told_and_not_deleted() {
    let company = Company::open();
    for n in [3, 4, 5, 8] {
        company.file(n, "account");
    }
    company.file(6, "news");
    company.run();
    let closed = "SELECT count(*) FROM erasured.ticket WHERE state = 'completed'";
    assert_eq!(company.control(closed), 5);
    let watched = "SELECT count(*) FROM erasured.watched";
    // Two names each: not the family's telephone, and nothing of who has only ended a subscription.
    assert_eq!(company.control(watched), 8);

    // A late message writes one of them again, in another writing; another signs a letter only.
    company.shop(
        "INSERT INTO customer VALUES (500, 'M-3', NULL);
         INSERT INTO subscription VALUES (500, ' Person3@EXAMPLE.com', NULL), (501, 'x@example.com', 'person4@example.com');",
    );
    // It is not the time yet.
    company.run();
    assert_eq!(company.come_back(3), [""; 0]);
    company.turn("61 min");
    let log = company.run();
    assert!(
        log.contains("E0518") && !log.contains("M-3") && !log.to_lowercase().contains("person3"),
        "{log}"
    );
    let places = [
        "customer_high.member_no member_no 1",
        "subscription.address email 1",
    ];
    let mut found = company.come_back(3);
    found.sort();
    assert_eq!(found, places);
    for n in [4, 5, 6, 8] {
        assert_eq!(company.come_back(n), [""; 0], "CRM-{n}");
    }
    let rows = "SELECT count(*) FROM customer WHERE id = 500";
    assert_eq!(
        Server::shared().count(&company.shop, rows),
        1,
        "nothing is deleted"
    );
    let state = "SELECT count(*) FROM erasured.certificate";
    assert_eq!(company.control(state), 5);

    // Another comes back before the last look; what is known is not said again.
    company.shop("INSERT INTO customer VALUES (600, ' M-5', 'other@example.com');");
    company.turn("24 hours");
    company.run();
    assert_eq!(
        company.come_back(5),
        ["customer_high.member_no member_no 1"]
    );
    assert_eq!(company.come_back(3).len(), 2);
    assert_eq!(
        company.control(watched),
        0,
        "no hash outlives the last look"
    );
    let told = "SELECT count(*) FROM (SELECT kind FROM erasured.event UNION ALL SELECT entry::jsonb->>'kind' FROM erasured.ledger) e (kind) WHERE kind = 'came_back'";
    assert_eq!(company.control(told), 3);

    // And then never again.
    company.shop("INSERT INTO customer VALUES (700, 'M-4', NULL);");
    company.turn("10 days");
    company.run();
    assert_eq!(company.come_back(4), [""; 0]);
    let verify = company
        .workspace
        .erasured(["ledger", "verify"])
        .output()
        .unwrap();
    assert!(verify.status.success(), "{verify:?}");
}

/// A policy that no longer asks for it keeps no hashes.
#[test]
fn without_recheck_nothing_is_kept() {
    let company = Company::open();
    company.file(3, "account");
    company.run();
    let watched = "SELECT count(*) FROM erasured.watched";
    assert_eq!(company.control(watched), 2);
    let without = POLICY.split_once('\n').unwrap().1;
    company.workspace.write_policy("customer.toml", without);
    company.run();
    assert_eq!(company.control(watched), 0);
}

/// What was refused of a ticket rightly has the person's values: nobody is told that they came back.
#[test]
fn who_was_refused_a_part_is_not_watched() {
    let company = Company::open();
    company.shop(
        "CREATE TABLE wish (id int PRIMARY KEY, customer int REFERENCES customer);
         CREATE INDEX ON wish (customer); INSERT INTO wish SELECT n, n FROM generate_series(1, 40) n",
    );
    let wishes = "[[table]]\nname = \"shop.public.wish\"\naction = \"delete\"\n";
    let policy = format!("{POLICY}\n{wishes}");
    company.workspace.write_policy("customer.toml", &policy);
    // What may be refused is published by a daemon.
    company.run();
    let refuse = "DO $$ DECLARE t uuid; BEGIN
       t := erasured.submit_ticket('CRM-3', 'customer', '{\"member_no\": \"M-3\"}', 'account', 'policy');
       PERFORM set_config('erasured.actor', 'desk', true); PERFORM erasured.verify_ticket(t, 'login_reauth');
       PERFORM set_config('erasured.actor', 'lead', true);
       PERFORM erasured.refuse_part(t, 'shop.public.subscription', 'contract');
       PERFORM erasured.approve_ticket(t);
     END $$";
    Server::shared().execute(&company.control, refuse);
    company.file(4, "account");
    company.run();
    let closed = "SELECT count(*) FROM erasured.ticket WHERE state = 'completed'";
    assert_eq!(company.control(closed), 2);
    let of = |n: u32| {
        let sql = format!(
            "SELECT count(*) FROM erasured.watched w JOIN erasured.ticket t ON t.id = w.ticket_id WHERE t.reference = 'CRM-{n}'"
        );
        company.control(&sql)
    };
    assert_eq!((of(3), of(4)), (0, 2));
    company.turn("61 min");
    company.run();
    assert_eq!(company.come_back(3), [""; 0]);
}
