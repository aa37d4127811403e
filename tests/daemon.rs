//! The whole job in one process: a ticket filed by SQL, and the daemon until it is idle.

#![allow(clippy::unwrap_used)] // a test may

mod support;

use erasured::{daemon, start, store};
use support::{Server, Workspace, load_demo};

async fn migrate(workspace: &Workspace) {
    let config = start::configuration(&workspace.config()).unwrap();
    for (name, database) in config
        .systems
        .iter()
        .map(|(n, s)| (n.as_str(), &s.database))
        .chain([("control", &config.control)])
    {
        let settings = start::settings(database).unwrap();
        let mut client =
            erasured::system::postgres::connect::connect(&settings, "migrate", Default::default())
                .await
                .unwrap();
        if name == "control" {
            store::migrate(&mut client).await.unwrap();
        } else {
            store::migrate_target(&mut client).await.unwrap();
        }
    }
}

fn until_idle() -> daemon::Options {
    daemon::Options {
        until_idle: true,
        progress: None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_becomes_a_certificate() {
    let server = Server::shared();
    let demo = load_demo(server, 200);
    let workspace = Workspace::of_demo(server, &demo);
    migrate(&workspace).await;
    let roles =
        std::fs::read_to_string(support::repository().join("sql/roles/control.sql")).unwrap();
    support::connect(workspace.control_url())
        .await
        .batch_execute(&roles)
        .await
        .unwrap_or_else(|e| panic!("{}", support::told(&e)));
    daemon::run(workspace.config(), until_idle()).await.unwrap();
    let control = workspace.control_url().to_owned();
    let client = support::connect(&control).await;
    for (n, at) in [(5, "a"), (6, "b"), (7, "c"), (8, "d")] {
        client
            .batch_execute(&format!(
                "DO $$ DECLARE t uuid; BEGIN
                   t := erasured.submit_ticket('CRM-{n}', 'customer', jsonb_build_object('member_no', 'tm-000000{n}'), 'account', 'telephone');
                   PERFORM set_config('erasured.actor', 'desk-{at}', true);
                   PERFORM erasured.verify_ticket(t, 'callback', 'reasonably-high');
                   PERFORM set_config('erasured.actor', 'lead', true);
                   PERFORM erasured.approve_ticket(t);
                 END $$"
            ))
            .await
            .unwrap_or_else(|e| panic!("{}", support::told(&e)));
    }
    let ended = daemon::run(workspace.config(), until_idle()).await;
    let shown = client
        .query("SELECT reference, state, problem_code, problem FROM erasured.ticket_status ORDER BY reference", &[])
        .await
        .unwrap();
    for row in shown {
        println!(
            "{:?} {:?} {:?} {:?}",
            row.get::<_, String>(0),
            row.get::<_, String>(1),
            row.get::<_, Option<String>>(2),
            row.get::<_, Option<String>>(3)
        );
    }
    println!("{ended:?}");
    let findings = client.query("SELECT system, schema_name, table_name, column_name, identifier, row_key, rows FROM erasured.finding", &[]).await.unwrap();
    for row in &findings {
        println!(
            "{} {} {} {} {} {:?} {}",
            row.get::<_, String>(0),
            row.get::<_, String>(1),
            row.get::<_, String>(2),
            row.get::<_, String>(3),
            row.get::<_, String>(4),
            row.get::<_, Option<String>>(5),
            row.get::<_, i64>(6)
        );
    }
    let certificates = client
        .query("SELECT jws FROM erasured.certificate", &[])
        .await
        .unwrap();
    let ring = [start::public_key(&workspace.public_key()).unwrap()]
        .into_iter()
        .collect();
    for row in &certificates {
        let certificate = erasured::certificate::verify(row.get(0), &ring).unwrap();
        println!(
            "{}",
            erasured::certificate::show::text(&certificate, erasured::certificate::show::Lang::En)
        );
    }
    assert_eq!(certificates.len(), 3);
}
