//! A logical subscriber has a person or a row until it has applied the deletion, and no certificate before.

use crate::calls;
use crate::company::{Running, prepare};
use crate::support::{Server, ServerOptions, Workspace, wait_until};
use std::time::Duration;

const LONG: Duration = Duration::from_secs(60);

fn erased_from(server: &Server, database: &str, n: u32) -> bool {
    let left = format!("SELECT count(*) FROM customer WHERE id = {n}");
    server.count(database, &left) == 0
}

#[test]
fn no_certificate_before_the_subscriber_has_applied_it() {
    let publisher = Server::start_with(ServerOptions {
        settings: vec![("wal_level".into(), "logical".into())],
        ..ServerOptions::default()
    });
    let shared = Server::shared();
    let (shop, copy) = (
        publisher.fresh_database("shop"),
        shared.fresh_database("copy"),
    );
    let control = shared.fresh_database("control");
    publisher.execute(&shop, calls::SCHEMA);
    shared.execute(&copy, calls::SCHEMA);
    shared.execute(&copy, "TRUNCATE customer CASCADE");
    publisher.execute(
        &shop,
        "CREATE PUBLICATION people FOR TABLES IN SCHEMA public",
    );
    publisher.execute(
        &shop,
        "CREATE PUBLICATION inserts_only FOR TABLE customer WITH (publish = 'insert')",
    );
    let slot = format!("analytics_{copy}");
    let subscribe = format!(
        "CREATE SUBSCRIPTION {slot} CONNECTION 'host={} port={} user=postgres dbname={shop}' PUBLICATION people",
        publisher.socket_dir().display(),
        publisher.port()
    );
    shared.execute(&copy, &subscribe);
    let _subscription = Subscription(&copy, &slot);
    wait_until("the copy", LONG, || {
        shared.count(&copy, "SELECT count(*) FROM customer") > 0 && !erased_from(shared, &copy, 1)
    });

    let mut workspace = Workspace::new(&shared.url(&control), &[("shop", publisher.url(&shop))]);
    workspace.write_policy("customer.toml", calls::POLICY);
    workspace.configure("[limits]\npoll = \"150 ms\"\n");
    prepare(shared, &workspace);
    let check = || {
        let output = workspace.erasured(["check"]).output().unwrap();
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    };
    let found = check();
    assert!(found.contains("E0306") && found.contains(&slot), "{found}");
    assert!(
        found.contains("E0307")
            && found.contains("inserts_only")
            && !found.contains("publication people"),
        "{found}"
    );
    let plain = std::fs::read_to_string(workspace.config()).unwrap();
    let names = |slots: &str| {
        let named = plain.replace(
            "[system.shop]\n",
            &format!("[system.shop]\nsubscribers = [{slots}]\n"),
        );
        assert_ne!(named, plain);
        std::fs::write(workspace.config(), named).unwrap();
    };
    names(&format!("{slot:?}"));
    assert!(!check().contains("E0306"));

    shared.execute(&copy, &format!("ALTER SUBSCRIPTION {slot} DISABLE"));
    let file = "DO $$ DECLARE t uuid; BEGIN
           t := erasured.submit_ticket('CRM-1', 'customer', jsonb_build_object('member_no', 'M-1'), 'account', 'policy');
           PERFORM set_config('erasured.actor', 'desk', true); PERFORM erasured.verify_ticket(t, 'login_reauth');
           PERFORM set_config('erasured.actor', 'lead', true); PERFORM erasured.approve_ticket(t);
         END $$";
    shared.execute(&control, file);
    let state = || shared.value(&control, "SELECT state FROM erasured.ticket");
    let daemon = Running::start(&workspace, &["run"], "");
    wait_until("the erasure", LONG, || state() == "verifying");
    assert!(erased_from(&publisher, &shop, 1) && !erased_from(shared, &copy, 1));
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(state(), "verifying", "{}", daemon.log());
    shared.execute(&copy, &format!("ALTER SUBSCRIPTION {slot} ENABLE"));
    wait_until("the certificate", LONG, || state() == "completed");
    assert!(
        erased_from(shared, &copy, 1),
        "certified, and the copy has the person"
    );
    let show = workspace
        .erasured(["certificate", "show", "CRM-1"])
        .output()
        .unwrap();
    let show = String::from_utf8(show.stdout).unwrap();
    assert!(
        show.contains("Applied by logical subscribers") && show.contains(&slot),
        "{show}"
    );
    daemon.kill();

    // What goes by its age is certified as late.
    shared.execute(&copy, &format!("ALTER SUBSCRIPTION {slot} DISABLE"));
    let certificates = || {
        let sql = "SELECT count(*) FROM erasured.run_certificate";
        shared.count(&control, sql)
    };
    let run = ["retention", "run", "calls"];
    assert!(workspace.erasured(run).output().unwrap().status.success());
    let runs = "SELECT count(*) FROM erasured.retention_run WHERE state = 'done' AND rows > 0";
    assert_eq!(shared.count(&control, runs), 1);
    assert_eq!(certificates(), 0);
    shared.execute(&copy, &format!("ALTER SUBSCRIPTION {slot} ENABLE"));
    let daemon = Running::start(&workspace, &["run"], "");
    wait_until("the run's certificate", LONG, || certificates() == 1);
    daemon.kill();
    let due = format!("SELECT count(*) FROM call c WHERE {}", calls::DUE);
    assert_eq!(
        shared.count(&copy, &due),
        0,
        "certified, and the copy has the rows"
    );
    let id = shared.value(
        &control,
        "SELECT run_id::text FROM erasured.run_certificate",
    );
    let show = workspace
        .erasured(["certificate", "show", &id])
        .output()
        .unwrap();
    let show = String::from_utf8(show.stdout).unwrap();
    assert!(
        show.contains("Applied by logical subscribers") && show.contains(&slot),
        "{show}"
    );

    names("\"nobody\"");
    shared.execute(
        &control,
        &file.replace("CRM-1", "CRM-2").replace("M-1", "M-2"),
    );
    let daemon = Running::start(&workspace, &["run"], "");
    wait_until("what is wrong to be said", LONG, || {
        daemon
            .log()
            .contains("shop has no logical replication slot nobody")
    });
    assert_eq!(
        shared.count(&control, "SELECT count(*) FROM erasured.certificate"),
        1
    );
}

/// Ends with the test, so that the publisher is not waited for.
struct Subscription<'a>(&'a str, &'a str);

impl Drop for Subscription<'_> {
    fn drop(&mut self) {
        let Self(copy, slot) = self;
        for sql in ["DISABLE", "SET (slot_name = NONE)"] {
            let _ = Server::shared().try_execute(copy, &format!("ALTER SUBSCRIPTION {slot} {sql}"));
        }
        let _ = Server::shared().try_execute(copy, &format!("DROP SUBSCRIPTION {slot}"));
    }
}
