//! What a run leaves as its proof.

use crate::company::{Company, DUE, POLICY};
use crate::scheduled::Daemon;
use crate::support::{blocking, connect, wait_until};
use serde_json::Value;
use std::process::Stdio;
use std::time::Duration;

const DAYS: &str = "(ended_at AT TIME ZONE 'Asia/Tokyo')::date::text";

/// The certificate of a run, as it was signed.
fn shown(company: &Company, run: &str) -> Value {
    company.json(&["certificate", "show", run])
}

fn run_id(run: &Value) -> String {
    run["run"].as_str().unwrap().to_owned()
}

fn hold(company: &Company) {
    company.server.execute(
        &company.control,
        r#"SELECT erasured.place_row_hold('case-1', 'court-order', 'shop.public.call', '[{"column": "id", "op": "between", "values": ["2500", "2510"]}]')"#,
    );
    company.says(&["run", "--until-idle"], 0);
}

/// It says what went, of which days, what stays and why; it is believed offline, and stands in the ledger.
#[test]
fn a_run_is_certified() {
    let company = Company::open();
    hold(&company);
    let went = format!("FROM call c WHERE {DUE} AND c.id NOT BETWEEN 2500 AND 2510");
    let due = company.count(&format!("SELECT count(*) {went}"));
    let notes = company.count(&format!(
        "SELECT count(*) FROM note n WHERE n.call IN (SELECT c.id {went})"
    ));
    let surveys = company.count(&format!(
        "SELECT count(*) FROM survey s WHERE s.call IN (SELECT c.id {went})"
    ));
    let day = |which: &str| {
        company
            .server
            .value(&company.shop, &format!("SELECT {which}({DAYS}) {went}"))
    };
    let (first, last) = (day("min"), day("max"));
    assert_ne!(first, last);
    let run = run_id(&company.json(&["retention", "run", "calls"]));
    let certificate = shown(&company, &run);
    assert_eq!(
        certificate["tables"].as_array().unwrap().len(),
        3,
        "{certificate}"
    );
    for (at, table, kind, rows) in [
        (0, "public.call", "deleted", due),
        (1, "public.note", "deleted", notes),
        (2, "public.survey", "detached", surveys),
    ] {
        assert_eq!(certificate["tables"][at]["table"], table, "{certificate}");
        assert_eq!(
            certificate["tables"][at][kind].as_i64(),
            Some(rows),
            "{certificate}"
        );
    }
    assert_eq!(certificate["days"]["first"], first.as_str());
    assert_eq!(certificate["days"]["last"], last.as_str());
    assert_eq!(certificate["held"]["rows"], 11, "{certificate}");
    assert_eq!(certificate["held"]["grounds"][0]["reason"], "court-order");
    assert_eq!(certificate["remaining"]["rows"], 0, "{certificate}");
    let of = &certificate["run"];
    assert_eq!(
        (&of["rule"], &of["state"], &of["timezone"], &of["problem"]),
        (
            &"calls".into(),
            &"done".into(),
            &"Asia/Tokyo".into(),
            &Value::Null
        )
    );
    believed(&company, &run);
    // By its own id, in the list, as text and as a page.
    assert_eq!(
        shown(&company, certificate["id"].as_str().unwrap()),
        certificate
    );
    let listed = company.json(&["certificate", "list"]);
    assert_eq!(
        (&listed[0]["kind"], &listed[0]["rule"]),
        (&"retention".into(), &"calls".into())
    );
    let text = company.says(&["certificate", "show", &run], 0);
    assert!(
        text.contains("court-order") && text.contains(&first),
        "{text}"
    );
    let page = company.says(&["certificate", "show", &run, "--format", "html"], 0);
    assert!(
        page.contains("保全命令") && page.contains("By legal holds"),
        "{page}"
    );
    in_the_ledger(&company);
}

/// By the program, with nothing but the file and the key; a changed byte is not.
fn believed(company: &Company, run: &str) {
    let jws = company.says(&["certificate", "show", run, "--format", "jws"], 0);
    let file = company.workspace.path().join("run.jws");
    let key = company.workspace.public_key();
    std::fs::write(&file, &jws).unwrap();
    let verify = [
        "certificate",
        "verify",
        file.to_str().unwrap(),
        "--key",
        key.to_str().unwrap(),
    ];
    let said = company.says(&verify, 0);
    assert!(said.contains("genuine") && said.contains(run), "{said}");
    let middle = jws.find('.').unwrap() + 40;
    let other = if &jws[middle..=middle] == "A" {
        "B"
    } else {
        "A"
    };
    let changed = format!("{}{other}{}", &jws[..middle], &jws[middle + 1..]);
    std::fs::write(&file, changed).unwrap();
    assert!(company.says(&verify, 1).contains("E0613"));
}

/// Gone, it is missed.
fn in_the_ledger(company: &Company) {
    company.says(&["run", "--until-idle"], 0);
    let whole = company.says(&["ledger", "verify"], 0);
    assert!(whole.contains("its 1 certificates are there"), "{whole}");
    company.server.execute(
        &company.control,
        "ALTER TABLE erasured.run_certificate DISABLE TRIGGER append_only; DELETE FROM erasured.run_certificate",
    );
    assert!(company.says(&["ledger", "verify"], 1).contains("E0623"));
}

/// Who dies between a run's end and its certificate leaves it to the next, and nobody issues two.
#[test]
fn a_run_whose_daemon_died_is_certified_later() {
    let company = Company::open();
    let due = company.count(&format!("SELECT count(*) FROM call c WHERE {DUE}"));
    let die = || {
        let mut killed = company.workspace.process(["retention", "run", "calls"]);
        killed.env("FAILPOINTS", "before-run-certificate=return(abort)");
        let ended = killed.output().unwrap();
        assert_eq!(
            ended.status.code(),
            None,
            "{}",
            String::from_utf8_lossy(&ended.stderr)
        );
        let runs = company.json(&["retention", "runs"]);
        assert_eq!(runs[0]["state"], "done");
        runs[0]["id"].as_str().unwrap().to_owned()
    };
    let first = die();
    company.says(&["certificate", "show", &first], 2);
    company.json(&["retention", "run", "calls"]);
    let certificate = shown(&company, &first);
    assert_eq!(
        certificate["tables"][0]["deleted"].as_i64(),
        Some(due),
        "{certificate}"
    );
    assert_eq!(certificate["remaining"]["rows"], 0, "{certificate}");
    // The policy is another one by then: nothing is said of what was left.
    let second = die();
    company
        .workspace
        .write_policy("customer.toml", &format!("{POLICY}\n# mended\n"));
    company.json(&["retention", "run", "calls"]);
    assert_eq!(shown(&company, &second)["remaining"], Value::Null);
    // A daemon makes up for it when it comes, without a run of its own.
    let third = die();
    let daemon = Daemon::start(&company, "");
    let certificates = "SELECT count(*) FROM erasured.run_certificate";
    wait_until("the certificate", Duration::from_secs(30), || {
        company.server.count(&company.control, certificates) == 5
    });
    daemon.stop();
    assert_eq!(shown(&company, &third)["run"]["state"], "done");
    let events = "SELECT count(DISTINCT body->>'run') FROM (SELECT body FROM erasured.event WHERE kind = 'certificate' \
         UNION ALL SELECT (entry::jsonb)->'body' FROM erasured.ledger WHERE (entry::jsonb)->>'kind' = 'certificate') e (body)";
    assert_eq!(company.server.count(&company.control, events), 5);
}

/// Rows that could not go are left, and it says so.
#[test]
fn what_is_left_is_on_the_certificate() {
    let company = Company::open();
    company.execute(
        "CREATE FUNCTION veto() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
           IF OLD.tag = 'veto' THEN RAISE EXCEPTION 'no'; END IF; RETURN OLD; END $$; \
         CREATE TRIGGER veto BEFORE DELETE ON call FOR EACH ROW EXECUTE FUNCTION veto(); \
         UPDATE call SET tag = 'veto' WHERE id IN (2400, 2401, 2800)",
    );
    company.says(&["retention", "run", "calls"], 1);
    let run = company.json(&["retention", "runs"])[0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let certificate = shown(&company, &run);
    assert_eq!(
        (
            certificate["set_aside"].as_i64(),
            certificate["remaining"]["rows"].as_i64()
        ),
        (Some(3), Some(3)),
        "{certificate}"
    );
}

/// The oldest row was made younger while the run waited for its lock, and is due still: the day that went is the
/// one that it had when it went.
#[test]
fn the_days_are_those_of_the_rows_that_went() {
    let company = Company::open();
    company.execute("UPDATE call SET ended_at = ended_at - interval '10 days' WHERE id = 2880");
    let (url, server, shop) = (
        company.server.url(&company.shop),
        company.server,
        &company.shop,
    );
    let run = blocking(async {
        let (mut client, other) = (connect(&url).await, connect(&url).await);
        let tx = client.transaction().await.unwrap();
        let younger = "UPDATE call SET ended_at = ended_at + interval '12 days' WHERE id = 2880";
        tx.execute(younger, &[]).await.unwrap();
        let process = company
            .workspace
            .process(["retention", "run", "calls", "--format", "json"])
            .stdout(Stdio::piped())
            .spawn();
        let waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
        while other.query_one(waits, &[]).await.unwrap().get::<_, i64>(0) == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        tx.commit().await.unwrap();
        let ended = process.unwrap().wait_with_output().unwrap();
        serde_json::from_slice::<Value>(&ended.stdout).unwrap()
    });
    let first = "SELECT ((now() - 2879 * interval '1 hour') AT TIME ZONE 'Asia/Tokyo')::date::text";
    let certificate = shown(&company, &run_id(&run));
    assert_eq!(
        certificate["days"]["first"],
        server.value(shop, first).as_str(),
        "{certificate}"
    );
    assert_eq!(
        company.count("SELECT count(*) FROM call WHERE id = 2880"),
        0
    );
}

/// A run that did nothing and did not come to its end proves nothing.
#[test]
fn a_run_that_stopped_before_the_first_row_has_none() {
    let company = Company::open();
    let policy = POLICY.replace(
        "keep     = \"90 days\"",
        "keep = \"90 days\"\nstop_above = 1",
    );
    company.workspace.write_policy("customer.toml", &policy);
    company.says(&["retention", "run", "calls"], 1);
    let certificates = "SELECT count(*) FROM erasured.run_certificate";
    assert_eq!(company.server.count(&company.control, certificates), 0);
}
