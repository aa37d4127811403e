//! The executor on the demo company: what the plan says is what happens, to nobody else.

#![allow(clippy::unwrap_used)] // a test may

mod support;

use chrono::Utc;
use erasured::lineage;
use erasured::plan::{self, Counts, SystemPlan};
use erasured::policy::read;
use erasured::system::postgres::{catalog, execute};
use std::collections::BTreeMap;
use std::time::Duration;
use support::{Server, load_demo, repository};

fn pool(url: &str) -> deadpool_postgres::Pool {
    let mut config = deadpool_postgres::Config::new();
    config.url = Some(url.to_owned());
    config
        .create_pool(
            Some(deadpool_postgres::Runtime::Tokio1),
            tokio_postgres::NoTls,
        )
        .expect("a test URL is a URL")
}

#[tokio::test(flavor = "multi_thread")]
async fn one_customer_goes_and_nobody_else() {
    let server = Server::shared();
    let demo = load_demo(server, 200);
    for db in [&demo.shop, &demo.loyalty] {
        server.execute(db, "CREATE SCHEMA IF NOT EXISTS erasured; CREATE TABLE erasured.applied_step (ticket_id uuid, generation int, system text, batch uuid, committed_at timestamptz DEFAULT now(), counts jsonb, PRIMARY KEY (ticket_id, generation, system))");
    }
    let path = repository().join("policies/travel/customer.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let policy = read::read(path.to_str().unwrap(), &text).unwrap();
    let mut catalogs = BTreeMap::new();
    let mut pools = BTreeMap::new();
    let mut stamps = BTreeMap::new();
    for (system, db) in [("shop", &demo.shop), ("loyalty", &demo.loyalty)] {
        let pool = pool(&server.url(db));
        let client = pool.get().await.unwrap();
        client
            .batch_execute("SET search_path = pg_catalog")
            .await
            .unwrap();
        catalogs.insert(
            system.to_owned(),
            catalog::read(&client, system).await.unwrap(),
        );
        stamps.insert(system, catalog::stamp(&client).await.unwrap());
        pools.insert(system, pool);
    }
    let (lineage, warnings) =
        lineage::trace(&policy, "account", &catalogs).unwrap_or_else(|e| panic!("{e:#?}"));
    println!("{warnings:#?}");
    let plan = plan::build(&policy, &lineage);
    println!("{}", plan::show::statements(&plan));
    let mut shown = BTreeMap::new();
    let subjects: Vec<execute::Subject> = [(5, "TM-0000005"), (9, "TM-0000009")]
        .into_iter()
        .map(|(id, _)| {
            let row = server
                .query(
                    &demo.shop,
                    &format!("SELECT lower(member_no), lower(email) FROM customer WHERE id = {id}"),
                )
                .remove(0);
            execute::Subject {
                ticket: uuid::Uuid::new_v4(),
                generation: 1,
                keys: vec![vec![id.to_string()]],
                identifiers: BTreeMap::from([
                    ("member_no".into(), vec![row[0].clone().unwrap()]),
                    ("email".into(), vec![row[1].clone().unwrap()]),
                ]),
            }
        })
        .collect();
    for part in &plan.systems {
        let execution = execution(part, &subjects, &stamps[part.system.as_str()], true);
        let mut client = pools[part.system.as_str()].get().await.unwrap();
        let dry = execution.dry_run(&mut client).await.unwrap();
        let execution = execute::Execution {
            dry: false,
            ..execution
        };
        let outcome = execution
            .run(&mut client, &mut execute::Nothing)
            .await
            .unwrap();
        assert_eq!(dry, outcome.counts);
        let again = execution
            .run(&mut client, &mut execute::Nothing)
            .await
            .unwrap();
        assert_eq!(again.repeated, vec![0, 1]);
        assert_eq!(again.counts, outcome.counts);
        shown.insert(part.system.clone(), outcome.counts[0].clone());
    }
    println!("{}", plan::show::tree(&policy, &lineage, &plan, &shown));
    assert_eq!(
        server.count(&demo.shop, "SELECT count(*) FROM customer"),
        198
    );
    let _: &Counts = &shown["shop"];
}

fn execution<'a>(
    plan: &'a SystemPlan,
    subjects: &'a [execute::Subject],
    stamp: &'a str,
    dry: bool,
) -> execute::Execution<'a> {
    execute::Execution {
        plan,
        subjects,
        now: Utc::now(),
        timeouts: execute::Timeouts {
            lock: Duration::from_secs(5),
            statement: Duration::from_secs(30),
            idle: Duration::from_secs(30),
        },
        stamp,
        batch: uuid::Uuid::new_v4(),
        dry,
        hash: &|text| format!("{:x}", text.len()),
    }
}
