//! Rows that go a stretch at a time: where all that hangs on a table hangs on it directly and goes with it.
//! What may go and what may not is what it is everywhere else.

use crate::company::{Company, DUE, POLICY, SCHEMA};
use crate::support::{blocking, connect};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// As the policy of the other tests, but surveys go with their calls.
fn policy() -> String {
    let policy = POLICY.replace("action = \"detach\"", "action = \"delete\"");
    assert_ne!(policy, POLICY);
    policy
}

/// On keys with this ON DELETE.
fn company(on_delete: &str) -> Company {
    let schema = SCHEMA
        .replace(
            "REFERENCES call ON DELETE CASCADE",
            &format!("REFERENCES call {on_delete}"),
        )
        .replace(
            "call int REFERENCES call, score",
            &format!("call int REFERENCES call {on_delete}, score"),
        );
    Company::with(&schema, &policy())
}

/// Rows of all tables that stay.
fn staying(company: &Company, but: &str) -> Vec<String> {
    let gone = format!("SELECT c.id FROM call c WHERE coalesce({but}, false)");
    let sql = format!(
        "SELECT t FROM (SELECT 'customer ' || c::text FROM customer c \
           UNION ALL SELECT 'call ' || c::text FROM call c WHERE c.id NOT IN ({gone}) \
           UNION ALL SELECT 'note ' || n::text FROM note n WHERE n.call NOT IN ({gone}) \
           UNION ALL SELECT 'survey ' || s::text FROM survey s WHERE s.call IS NULL OR s.call NOT IN ({gone})) x (t) ORDER BY t"
    );
    let rows = company.server.query(&company.shop, &sql).into_iter();
    rows.map(|row| row[0].clone().unwrap()).collect()
}

/// The server writes down what the company's database is asked: of one company at a time.
fn listen(company: &Company) {
    let speak = format!("ALTER DATABASE {} SET log_statement = 'all'", company.shop);
    company.server.execute("postgres", &speak);
}

static LISTENING: Mutex<()> = Mutex::new(());

/// How often a stretch was locked, and how often rows were chosen to be told one from the other.
fn asked(company: &Company) -> (usize, usize) {
    let log = std::fs::read_to_string(company.server.log()).unwrap();
    let of = |what: &str| {
        let what = format!("/* erasured:{what} public.call */");
        // Not what another test's server says of its errors.
        let asked = log.lines().filter(|line| line.contains(" LOG: "));
        asked.filter(|line| line.contains(&what)).count()
    };
    (of("lock"), of("due"))
}

#[test]
fn all_that_is_due_goes_in_stretches_and_nothing_else() {
    let _alone = LISTENING.lock().unwrap_or_else(PoisonError::into_inner);
    for on_delete in [
        "",
        "ON DELETE RESTRICT",
        "ON DELETE CASCADE",
        "ON DELETE SET NULL",
    ] {
        let company = company(on_delete);
        listen(&company);
        let due = company.count(&format!("SELECT count(*) FROM call c WHERE {DUE}"));
        let of = |child: &str| {
            company.count(&format!(
                "SELECT count(*) FROM {child} h JOIN call c ON c.id = h.call WHERE {DUE}"
            ))
        };
        let (notes, surveys) = (of("note"), of("survey"));
        assert!(due > 600 && notes > 100 && surveys > 100);
        let expected = staying(&company, DUE);
        let before = asked(&company);
        let run = company.json(&["retention", "run", "calls"]);
        assert_eq!(staying(&company, "false"), expected, "{on_delete}");
        let changed = |table: &str| run["changed"][table]["deleted"].as_i64();
        assert_eq!(
            (
                changed("public.call"),
                changed("public.note"),
                changed("public.survey")
            ),
            (Some(due), Some(notes), Some(surveys)),
            "{on_delete}: {run}"
        );
        let after = asked(&company);
        assert!(after.0 > before.0, "{on_delete}: no stretch was locked");
        assert_eq!(
            after.1, before.1,
            "{on_delete}: rows were chosen one by one"
        );
    }
}

/// Where a stretch ends is told by values: as texts 999 would be behind 1000.
#[test]
fn rows_of_one_moment_go_in_the_order_of_their_numbers() {
    let _alone = LISTENING.lock().unwrap_or_else(PoisonError::into_inner);
    let schema = format!(
        "{SCHEMA} INSERT INTO call (id, customer, ended_at) SELECT n, 1, '2020-01-01 00:00:00+00' FROM generate_series(900000, 1100000, 50) n;"
    );
    let company = Company::with(&schema, &policy());
    listen(&company);
    let before = asked(&company);
    let run = company.json(&["retention", "run", "calls"]);
    let due = format!("SELECT count(*) FROM call c WHERE {DUE}");
    assert_eq!(company.count(&due), 0, "{run}");
    assert_eq!(run["set_aside"], serde_json::json!([]), "{run}");
    let after = asked(&company);
    assert!(
        after.0 - before.0 <= 5 && after.1 == before.1,
        "{before:?} {after:?}"
    );
}

/// Some other key, a link, a row that is another's: then rows are told one from the other.
#[test]
fn what_must_be_told_row_by_row_is() {
    let _alone = LISTENING.lock().unwrap_or_else(PoisonError::into_inner);
    for (schema, policy) in [
        // What hangs on it stays without its link.
        (SCHEMA.to_owned(), POLICY.to_owned()),
        // Something hangs on what hangs on it.
        (
            format!(
                "{SCHEMA} CREATE TABLE line (id int PRIMARY KEY, note int NOT NULL REFERENCES note); INSERT INTO line SELECT id, id FROM note;"
            ),
            format!(
                "{}\n[[table]]\nname = \"shop.public.line\"\naction = \"delete\"\n",
                policy()
            ),
        ),
    ] {
        let company = Company::with(&schema, &policy);
        listen(&company);
        let before = asked(&company);
        company.says(&["retention", "run", "calls"], 0);
        assert_eq!(
            company.count(&format!("SELECT count(*) FROM call c WHERE {DUE}")),
            0
        );
        let after = asked(&company);
        assert!(
            after.1 > before.1 && after.0 == before.0,
            "{before:?} {after:?}"
        );
    }
}

#[test]
fn rows_under_a_hold_stay_and_rows_of_a_held_person() {
    for (hold, but) in [
        (
            r#"SELECT erasured.place_row_hold('c', 'court-order', 'shop.public.call', '[{"column": "id", "op": "between", "values": ["2500", "2510"]}]')"#,
            "c.id NOT BETWEEN 2500 AND 2510",
        ),
        // What hangs on the row: the row stays with it.
        (
            r#"SELECT erasured.place_row_hold('c', 'court-order', 'shop.public.note', '[{"column": "call", "op": "=", "values": ["2600"]}]')"#,
            "c.id <> 2600",
        ),
        (
            r#"SELECT erasured.place_hold('c', 'court-order', 'customer', '{"member_no": "M-3"}')"#,
            "c.customer <> 3",
        ),
    ] {
        let company = company("ON DELETE CASCADE");
        company.execute("INSERT INTO note VALUES (9000, 2600, 'evidence')");
        company.says(&["run", "--until-idle"], 0);
        company.server.execute(&company.control, hold);
        company.says(&["run", "--until-idle"], 0);
        let expected = staying(&company, &format!("({DUE}) AND {but}"));
        company
            .workspace
            .erasured(["retention", "run", "calls"])
            .output()
            .unwrap();
        assert_eq!(staying(&company, "false"), expected, "{but}");
    }
}

/// A row that the database will not let go, loudly or in silence, stays and is named; all others of its stretch go.
#[test]
fn a_row_that_cannot_go_is_found_within_its_stretch() {
    for refusal in ["RAISE EXCEPTION 'no'", "RETURN NULL"] {
        let company = company("");
        company.execute(&format!(
            "CREATE FUNCTION veto() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
               IF OLD.tag = 'veto' THEN {refusal}; END IF; RETURN OLD; END $$; \
             CREATE TRIGGER veto BEFORE DELETE ON call FOR EACH ROW EXECUTE FUNCTION veto(); \
             UPDATE call SET tag = 'veto' WHERE id IN (2400, 2800)"
        ));
        let expected = staying(&company, &format!("({DUE}) AND c.tag <> 'veto'"));
        let said = company.says(&["retention", "run", "calls"], 1);
        for key in ["2400", "2800"] {
            assert!(said.contains(&format!("with key {key}:")), "{said}");
        }
        assert_eq!(staying(&company, "false"), expected, "{refusal}");
    }
}

/// What another session has under its hands while a stretch waits for it: a call that becomes young stays, a note
/// that comes to hang on a call goes with it and is counted, whatever the key does on deletion.
#[test]
fn what_changes_while_a_stretch_waits_is_seen() {
    for on_delete in ["", "ON DELETE CASCADE"] {
        let company = company(on_delete);
        let url = company.server.url(&company.shop);
        let notes = company.count(&format!(
            "SELECT count(*) FROM note h JOIN call c ON c.id = h.call WHERE {DUE} AND c.id <> 2880"
        ));
        let output = blocking(async {
            let client = connect(&url).await;
            let meanwhile = "BEGIN; UPDATE call SET ended_at = now() WHERE id = 2880; INSERT INTO note VALUES (9000, 2850, 'late')";
            client.batch_execute(meanwhile).await.unwrap();
            let mut run =
                company
                    .workspace
                    .process(["retention", "run", "calls", "--format", "json"]);
            let run = run.stdout(std::process::Stdio::piped()).spawn().unwrap();
            let waits = "SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE NOT l.granted AND a.datname = current_database()";
            let mut waited = false;
            for _ in 0..400 {
                let waiting = company.count(waits);
                if waiting > 0 {
                    waited = true;
                    break;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            assert!(waited, "the run waits for the row");
            client.batch_execute("COMMIT").await.unwrap();
            run.wait_with_output().unwrap()
        });
        assert!(output.status.success());
        let run: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(
            company.count("SELECT count(*) FROM call WHERE id = 2880"),
            1
        );
        assert_eq!(
            company.count(&format!("SELECT count(*) FROM call c WHERE {DUE}")),
            0
        );
        assert_eq!(
            company.count("SELECT count(*) FROM note WHERE id = 9000"),
            0
        );
        let gone = run["changed"]["public.note"]["deleted"].as_i64();
        assert_eq!(gone, Some(notes + 1), "{on_delete}: {run}");
    }
}

/// A COMMIT whose answer is lost, and a process that dies behind one: each row is counted once.
#[test]
fn a_stretch_is_counted_once_whatever_becomes_of_the_answer() {
    for failpoint in [
        "after-commit=1*return",
        "before-commit=1*return",
        "after-commit=return(abort)",
    ] {
        let mut company = company("");
        company.workspace.configure("[limits]\nlease = \"5 s\"");
        let due = company.count(&format!("SELECT count(*) FROM call c WHERE {DUE}"));
        let expected = staying(&company, DUE);
        let mut run = company.workspace.process(["retention", "run", "calls"]);
        run.env("FAILPOINTS", failpoint).output().unwrap();
        if failpoint.ends_with("(abort)") {
            // Until its lease is over.
            std::thread::sleep(Duration::from_millis(5500));
        }
        company.says(&["retention", "run", "calls"], 0);
        assert_eq!(staying(&company, "false"), expected, "{failpoint}");
        let counted = "SELECT sum(rows)::bigint FROM erasured.retention_run";
        assert_eq!(
            company.server.count(&company.control, counted),
            due,
            "{failpoint}"
        );
        let target = "SELECT sum((counts->'changed'->'public.call'->>'deleted')::bigint)::bigint FROM erasured.applied_step";
        assert_eq!(company.count(target), due, "{failpoint}");
    }
}
