//! Who looks at a run sees how far it is, how it failed, and what it has left behind.

use crate::company::{Company, POLICY};
use crate::scheduled::{Daemon, due, every_second, get};
use crate::support::{Workspace, blocking, wait_until};
use std::time::Duration;

const LONG: Duration = Duration::from_secs(120);
const MORE: &str =
    "INSERT INTO call SELECT n, 1, now() - interval '1 year' FROM generate_series(10001, 13000) n";

/// The value of a metric of the rule, if it is there.
fn metric(company: &Company, name: &str) -> Option<f64> {
    let at = company.workspace.http();
    // It may still be starting.
    std::net::TcpStream::connect(&at).ok()?;
    let name = format!("{name}{{rule=\"calls\"}} ");
    let text = get(&at);
    let line = text.lines().find_map(|line| line.strip_prefix(&name))?;
    Some(line.parse().unwrap())
}

/// The session that deletes says so while it does, and no other afterwards.
#[test]
fn the_deleting_session_says_how_far_it_is() {
    let mut company = Company::with(crate::company::SCHEMA, &every_second(""));
    company.workspace.configure("[limits]\npoll = \"200 ms\"");
    company.execute(MORE);
    let all = due(&company);
    let daemon = Daemon::start(&company, "after-last-word=3*sleep(1000)->off");
    let said = "SELECT coalesce(max(application_name), '') FROM pg_stat_activity \
         WHERE datname = current_database() AND application_name LIKE 'erasured retention%'";
    let says = || company.server.value(&company.shop, said);
    wait_until("the first batch", LONG, || {
        says() == format!("erasured retention calls 0/{all}")
    });
    wait_until("the second", LONG, || {
        says() == format!("erasured retention calls 500/{all}")
    });
    let to_go = metric(&company, "erasured_retention_rows_to_go").unwrap();
    assert!(0.0 < to_go && to_go < all as f64, "{to_go} of {all}");
    wait_until("the end", LONG, || {
        metric(&company, "erasured_retention_rows_to_go") == Some(0.0)
    });
    assert_eq!(due(&company), 0);
    let idle = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
         AND state = 'idle' AND application_name LIKE 'erasured retention%'";
    assert_eq!(company.count(idle), 0);
    daemon.stop();
}

/// From some row on every batch takes too long: what was committed before is counted, the run has failed, and
/// whoever looks only at metrics sees it; when it is mended that is seen too.
#[test]
fn lesson_10_every_batch_times_out() {
    let mut company = Company::with(crate::company::SCHEMA, &every_second(""));
    company
        .workspace
        .configure("[limits]\npoll = \"200 ms\"\nstatement_timeout = \"1 s\"");
    company.execute(MORE);
    company.execute(
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
           IF OLD.id < 9000 THEN PERFORM pg_sleep(3); END IF; RETURN OLD; END $$; \
         CREATE TRIGGER slow BEFORE DELETE ON call FOR EACH ROW EXECUTE FUNCTION slow()",
    );
    let before = due(&company);
    let daemon = Daemon::start(&company, "");
    wait_until("it to fail", LONG, || {
        metric(&company, "erasured_retention_failures") >= Some(1.0)
    });
    assert_eq!(
        metric(
            &company,
            "erasured_retention_last_success_timestamp_seconds"
        ),
        None
    );
    let failed = "SELECT string_agg(DISTINCT state, ' ') FROM erasured.retention_run WHERE ended_at IS NOT NULL";
    assert_eq!(company.server.value(&company.control, failed), "failed");
    // Of the 3,000 that are quick all but those that stood in one small batch with a slow one.
    let counted = "SELECT sum(rows)::bigint FROM erasured.retention_run";
    let gone = before - due(&company);
    assert!((2990..=3000).contains(&gone), "{gone}");
    assert_eq!(company.server.count(&company.control, counted), gone);
    let metrics = get(&company.workspace.http());
    let told = format!("erasured_retention_rows_total{{rule=\"calls\"}} {gone}");
    assert!(metrics.contains(&told), "{metrics}");

    company.execute("DROP TRIGGER slow ON call");
    wait_until("the rest", LONG, || due(&company) == 0);
    wait_until("it to be seen", LONG, || {
        metric(&company, "erasured_retention_failures") == Some(0.0)
    });
    assert!(
        metric(
            &company,
            "erasured_retention_last_success_timestamp_seconds"
        )
        .is_some()
    );
    daemon.stop();
}

/// Where much went the table is vacuumed and analyzed by whoever may; somebody else is told who should; and a
/// lock that stands in the way is not waited for.
#[test]
fn what_is_left_behind_is_tidied_or_told() {
    let vacuumed = "SELECT (last_vacuum IS NOT NULL)::int + (last_analyze IS NOT NULL)::int + (n_dead_tup = 0)::int \
         FROM pg_stat_user_tables WHERE relname = 'call'";
    let company = Company::open();
    company.execute(MORE);
    let run = company.json(&["retention", "run", "calls"]);
    let of = |run: &serde_json::Value| {
        let all = run["tidied"].as_array().unwrap().clone();
        all.into_iter()
            .find(|t| t["table"] == "public.call")
            .unwrap()
    };
    assert_eq!(
        (&of(&run)["vacuumed"], &of(&run)["dead"]),
        (&true.into(), &0.into()),
        "{run}"
    );
    assert_eq!(company.count(vacuumed), 3);

    // Few: left to autovacuum.
    company.execute("INSERT INTO call SELECT n, 1, now() - interval '1 year' FROM generate_series(20001, 20010) n");
    let run = company.json(&["retention", "run", "calls"]);
    assert_eq!(
        (&of(&run)["vacuumed"], &of(&run)["note"]),
        (&false.into(), &serde_json::Value::Null)
    );

    // Somebody has a lock that bars a vacuum and no deletion.
    company.execute(MORE);
    let run = blocking(async {
        let client = company.server.connect(&company.shop).await;
        let lock = "BEGIN; LOCK TABLE call IN SHARE UPDATE EXCLUSIVE MODE";
        client.batch_execute(lock).await.unwrap();
        company.json(&["retention", "run", "calls"])
    });
    let note = of(&run)["note"].as_str().unwrap().to_owned();
    assert!(note.contains("SQLSTATE 55P03"), "{note}");

    // A role of the least rights.
    company.execute(MORE);
    let role = format!("purger_{}", company.shop);
    company.execute(&format!(
        "CREATE ROLE {role} LOGIN; GRANT USAGE ON SCHEMA public, erasured TO {role}; \
         GRANT SELECT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role}; \
         GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA erasured TO {role}"
    ));
    let (control, shop) = (
        company.server.url(&company.control),
        company.server.url_as(&company.shop, &role),
    );
    let workspace = Workspace::new(&control, &[("shop", shop)]);
    workspace.write_policy("customer.toml", POLICY);
    let run = || {
        let mut run = workspace.erasured(["retention", "run", "calls"]);
        let said = run.output().unwrap();
        String::from_utf8([said.stdout, said.stderr].concat()).unwrap()
    };
    let said = run();
    let wants = "public.call: much went: its owner should run VACUUM (ANALYZE) \"public\".\"call\"";
    assert!(said.contains(wants), "{said}");
    assert_eq!(due(&company), 0);
    if company.server.major() >= 17 {
        company.execute(MORE);
        company.execute(&format!("GRANT MAINTAIN ON call TO {role}"));
        let said = run();
        assert!(
            said.contains("public.call: vacuumed and analyzed"),
            "{said}"
        );
    }
}
