//! One run over what is due.

use crate::company::{Company, DUE};

/// The database afterwards is the one before without what the definition, written apart, calls due; the
/// dry run said so before; a second run finds nothing.
#[test]
fn what_is_due_goes_with_what_hangs_on_it_and_nothing_else() {
    let company = Company::open();
    let due = company.count(&format!("SELECT count(*) FROM call c WHERE {DUE}"));
    assert!(due > 600, "the fixture has rows on both sides: {due}");
    let expected = company.rows(DUE);
    let plan = company.json(&["retention", "plan", "calls"]);
    assert_eq!(
        (plan[0]["due"].as_i64(), plan[0]["undated"].as_i64()),
        (Some(due), Some(3)),
        "{plan}"
    );
    let dry = company.json(&["retention", "run", "calls", "--dry-run"]);
    assert_eq!(dry["due"].as_i64(), Some(due));
    let before = company.rows("false");

    let run = company.json(&["retention", "run", "calls"]);
    assert_ne!(before, company.rows("false"));
    assert_eq!(company.rows("false"), expected);
    assert_eq!(
        run["changed"]["public.call"]["deleted"].as_i64(),
        Some(due),
        "{run}"
    );
    assert!(run["batches"].as_i64() > Some(1), "{run}");
    assert_eq!(company.json(&["retention", "plan", "calls"])[0]["due"], 0);
    let again = company.json(&["retention", "run", "calls"]);
    assert_eq!(again["batches"], 0);

    // What the control database says of it, and the ledger.
    let runs = company.json(&["retention", "runs"]);
    assert_eq!(
        (runs[1]["rows"].as_i64(), &runs[1]["state"]),
        (Some(due), &"done".into()),
        "{runs}"
    );
    let events = "SELECT count(*) FROM erasured.event WHERE kind LIKE 'retention_%'";
    assert_eq!(company.server.count(&company.control, events), 4);
}

/// A row that the database will not let go stays and is named, and no other stays with it.
#[test]
fn a_row_that_cannot_go_is_set_aside_and_named() {
    let company = Company::open();
    company.execute(
        "CREATE FUNCTION veto() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
           IF OLD.tag = 'veto' THEN RAISE EXCEPTION 'no'; END IF; RETURN OLD; END $$; \
         CREATE TRIGGER veto BEFORE DELETE ON call FOR EACH ROW EXECUTE FUNCTION veto(); \
         UPDATE call SET tag = 'veto' WHERE id IN (2400, 2401, 2800)",
    );
    let but = format!("({DUE}) AND c.tag <> 'veto'");
    let expected = company.rows(&but);
    let said = company.says(&["retention", "run", "calls"], 1);
    for key in ["2400", "2401", "2800"] {
        assert!(
            said.contains(&format!("set aside: shop.public.call with key {key}:")),
            "{said}"
        );
    }
    assert_eq!(company.rows("false"), expected);
    assert_eq!(company.json(&["retention", "runs"])[0]["set_aside"], 3);
}

/// When it is not the rows: the run stops, and does not try each of them by itself.
#[test]
fn a_table_of_which_nothing_can_go_stops_the_run() {
    let company = Company::open();
    company.execute(
        "CREATE FUNCTION veto() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no'; END $$; \
         CREATE TRIGGER veto BEFORE DELETE ON call FOR EACH ROW EXECUTE FUNCTION veto()",
    );
    let before = company.rows("false");
    company.says(&["retention", "run", "calls"], 1);
    assert_eq!(company.rows("false"), before);
    let runs = company.json(&["retention", "runs"]);
    assert_eq!(
        (&runs[0]["state"], &runs[0]["set_aside"]),
        (&"failed".into(), &100.into()),
        "{runs}"
    );
}

/// `keep = "7 days"` in place of years.
#[test]
fn a_run_over_more_than_expected_stops_before_the_first_row() {
    let company = Company::open();
    let policy = crate::company::POLICY.replace(
        "keep     = \"90 days\"",
        "keep = \"7 days\"\nstop_above = 1000",
    );
    company.workspace.write_policy("customer.toml", &policy);
    let before = company.rows("false");
    let said = company.says(&["retention", "run", "calls"], 1);
    assert!(
        said.contains("E0530") && said.contains("stops above 1000"),
        "{said}"
    );
    assert_eq!(company.rows("false"), before);
    let mended = policy.replace("stop_above = 1000", "stop_above = 3000");
    company.workspace.write_policy("customer.toml", &mended);
    company.says(&["retention", "run", "calls"], 0);
}

/// Killed in the middle, another goes on with the same run, and what it counts is what both did.
#[test]
fn a_run_that_died_is_taken_up_and_counted_whole() {
    let mut company = Company::open();
    company.workspace.configure("[limits]\nlease = \"5 s\"");
    let due = company.count(&format!("SELECT count(*) FROM call c WHERE {DUE}"));
    let expected = company.rows(DUE);
    let oldest = "SELECT min((ended_at AT TIME ZONE 'Asia/Tokyo')::date)::text FROM call WHERE isfinite(ended_at)";
    let oldest = company.server.value(&company.shop, oldest);
    let mut killed = company.workspace.process(["retention", "run", "calls"]);
    let ended = killed
        .env("FAILPOINTS", "after-commit=return(abort)")
        .output()
        .unwrap();
    assert_eq!(
        ended.status.code(),
        None,
        "{}",
        String::from_utf8_lossy(&ended.stderr)
    );
    let left = company.count(&format!("SELECT count(*) FROM call c WHERE {DUE}"));
    assert!(0 < left && left < due, "one batch went: {left} of {due}");
    // Alive for some seconds more, as far as anybody else can know.
    let said = company
        .workspace
        .erasured(["retention", "run", "calls"])
        .output()
        .unwrap();
    assert_eq!(said.status.code(), Some(1));
    std::thread::sleep(std::time::Duration::from_millis(5500));
    let run = company.json(&["retention", "run", "calls"]);
    assert_eq!(
        (
            &run["resumed"],
            run["changed"]["public.call"]["deleted"].as_i64()
        ),
        (&true.into(), Some(due)),
        "{run}"
    );
    assert_eq!(company.rows("false"), expected);
    // What the first one did is on the certificate too.
    let certificate = company.json(&["certificate", "show", run["run"].as_str().unwrap()]);
    assert_eq!(certificate["tables"][0]["deleted"].as_i64(), Some(due));
    assert_eq!(certificate["run"]["batches"], run["batches"]);
    assert_eq!(certificate["days"]["first"], oldest.as_str());
    assert_eq!(
        company
            .json(&["retention", "runs"])
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

/// A row that is made younger while its batch waits for it stays: the condition is asked again under the
/// lock.
#[test]
fn a_row_that_comes_to_be_kept_meanwhile_stays() {
    let company = Company::open();
    let url = company.server.url(&company.shop);
    crate::support::blocking(async {
        let client = crate::support::connect(&url).await;
        client
            .batch_execute("BEGIN; UPDATE call SET ended_at = now() WHERE id = 2880")
            .await
            .unwrap();
        let mut run = company
            .workspace
            .process(["retention", "run", "calls"])
            .spawn()
            .unwrap();
        // Until the run waits for the row.
        let waits = "SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE NOT l.granted AND a.datname = current_database()";
        for _ in 0..200 {
            let waiting = company.count(waits);
            if waiting > 0 {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        client.batch_execute("COMMIT").await.unwrap();
        assert!(run.wait().unwrap().success());
    });
    assert_eq!(
        company.count("SELECT count(*) FROM call WHERE id = 2880"),
        1
    );
    assert_eq!(
        company.count(&format!("SELECT count(*) FROM call c WHERE {DUE}")),
        0
    );
}

/// Ctrl-C ends a run with the batch under way; the next begins at once and takes the rest. At 10 % it waits behind every
/// batch, and says so once.
#[test]
fn a_run_is_ended_from_the_terminal() {
    let company = Company::open();
    company.execute("INSERT INTO call SELECT n, 1, now() - interval '1 year' FROM generate_series(10001, 13000) n");
    let left = || company.count(&format!("SELECT count(*) FROM call c WHERE {DUE}"));
    let before = left();
    company.says(&["retention", "throttle", "60%"], 0);
    let signalled = |failpoints: &str, signals: &[&str], moment: &dyn Fn() -> bool| {
        let mut run = company.workspace.process(["retention", "run", "calls"]);
        let run = run
            .env("FAILPOINTS", failpoints)
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        crate::support::wait_until("the run", std::time::Duration::from_secs(30), moment);
        for signal in signals {
            let pid = run.id().to_string();
            let sent = std::process::Command::new("kill")
                .args([signal, &pid.as_str()])
                .status();
            assert!(sent.unwrap().success());
            std::thread::sleep(std::time::Duration::from_millis(300));
        }
        let ended = run.wait_with_output().unwrap();
        (
            ended.status.code(),
            String::from_utf8(ended.stderr).unwrap(),
        )
    };
    let (code, said) = signalled("after-last-word=sleep(700)", &["-INT"], &|| {
        left() < before - 600
    });
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("the run ends with the batch under way")
            && said.contains("the next run takes what is left"),
        "{said}"
    );
    assert_eq!(said.matches("waits: an operator").count(), 1, "{said}");
    let some = left();
    assert!(some > 0 && some < before, "{some} of {before}");
    let runs = company.json(&["retention", "runs"]);
    assert_eq!(runs[0]["state"], "stopped", "{runs}");
    assert_eq!(runs[0]["rows"].as_i64(), Some(before - some), "{runs}");
    // The second ends it at once, which is as if it had been killed.
    let begun = || {
        let begun = "SELECT count(*) FROM erasured.retention_run WHERE state = 'running'";
        company.server.count(&company.control, begun) > 0
    };
    let (code, said) = signalled("after-last-word=sleep(20000)", &["-TERM", "-TERM"], &begun);
    assert_eq!(code, Some(143), "{said}");
    assert_eq!(left(), some);
    assert!(
        company
            .says(&["retention", "run", "calls"], 1)
            .contains("runs already")
    );
    company.server.execute(&company.control, "UPDATE erasured.retention_run SET lease_until = now() - interval '1 second' WHERE state = 'running'");
    company.says(&["retention", "throttle", "off"], 0);
    company.says(&["retention", "run", "calls"], 0);
    assert_eq!(left(), 0);
}

#[test]
fn runs_of_a_rule_that_nobody_knows_are_asked_about() {
    let company = Company::open();
    let said = company.says(&["retention", "runs", "nope"], 0);
    assert!(
        said.contains("no run of a rule \"nope\" is known"),
        "{said}"
    );
    company.says(&["retention", "run", "calls"], 0);
    assert!(
        !company
            .says(&["retention", "runs", "calls"], 0)
            .contains("warning")
    );
}
