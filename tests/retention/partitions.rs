//! Partitions all of whose rows are due go whole.

use crate::company::{Company, POLICY};
use crate::support::{blocking, connect, wait_until};
use std::time::Duration;

/// The first instant that is not due: a midnight in Japan, which is three in the afternoon before in UTC.
const END: &str =
    "((now() AT TIME ZONE 'Asia/Tokyo')::date - 90)::timestamp AT TIME ZONE 'Asia/Tokyo'";
/// Written apart from `src/`.
const DUE: &str =
    "(v.at AT TIME ZONE 'Asia/Tokyo')::date + 90 < (now() AT TIME ZONE 'Asia/Tokyo')::date";

/// Partitions by their days from [`END`]: two are over, the next ends at the UTC midnight nine hours behind
/// it, so some of its rows are due and it is not; one is open below.
const PARTS: [(&str, &str, &str); 5] = [
    ("visit_0", "MINVALUE", "-120 days"),
    ("visit_1", "-120 days", "-60 days"),
    ("visit_2", "-60 days", "-20 days"),
    ("visit_3", "-20 days", "9 hours"),
    ("visit_4", "9 hours", "200 days"),
];
const WHOLE: [&str; 2] = ["public.visit_1", "public.visit_2"];

fn schema() -> String {
    let mut schema = "CREATE TABLE customer (id int PRIMARY KEY, member_no text UNIQUE NOT NULL);
        INSERT INTO customer SELECT n, 'M-' || n FROM generate_series(1, 20) n;
        CREATE TABLE visit (id bigint, customer int NOT NULL REFERENCES customer, at timestamptz NOT NULL,
            PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
        CREATE INDEX ON visit (at);"
        .to_owned();
    for (name, from, to) in PARTS {
        schema += &partition(name, from, to);
    }
    // Every seven hours, far into the past, and one on each bound.
    schema
        + &format!(
            "INSERT INTO visit SELECT n, 1 + abs(n) % 20, {END} + interval '3 hours' - n * interval '7 hours' FROM generate_series(-80, 500) n;
             INSERT INTO visit SELECT 1000 + n, 1, {END} - n * interval '20 days' FROM generate_series(0, 6) n;"
        )
}

fn partition(name: &str, from: &str, to: &str) -> String {
    let bound = |text: &str| match text {
        "MINVALUE" => "'MINVALUE'".to_owned(),
        text => format!("quote_literal({END} + interval '{text}')"),
    };
    format!(
        "DO $$ BEGIN EXECUTE format('CREATE TABLE {name} PARTITION OF visit FOR VALUES FROM (%s) TO (%s)', {}, {}); END $$;",
        bound(from),
        bound(to)
    )
}

fn policy(how: &str) -> String {
    POLICY.split("[[table]]").next().unwrap().to_owned()
        + &format!(
            r#"
[[table]]
name = "shop.public.customer"
action = "delete"
[[table]]
name = "shop.public.visit"
action = "delete"
[[retention]]
name       = "visits"
table      = "shop.public.visit"
since      = "at"
keep       = "90 days"
action     = "delete"
partitions = "{how}"
because    = "nobody needs them"
timezone   = "Asia/Tokyo"
"#
        )
}

fn open(more: &str) -> Company {
    let mut company = Company::with(&format!("{}{more}", schema()), &policy("drop"));
    company.workspace.configure("[limits]\nlease = \"5 s\"");
    company
}

/// Which of the partitions are there, as partitions or as tables.
fn partitions(company: &Company) -> String {
    let sql = "SELECT coalesce(string_agg(c.relname || CASE WHEN c.relispartition THEN '' ELSE '!' END, ' ' ORDER BY c.relname), '')
                 FROM pg_class c WHERE c.relkind = 'r' AND c.relname LIKE 'visit\\__'";
    company.server.query(&company.shop, sql)[0][0]
        .clone()
        .unwrap()
}

fn visits(company: &Company, which: &str) -> Vec<String> {
    let sql = format!("SELECT v::text FROM visit v WHERE {which} ORDER BY v.id, v.at");
    let rows = company.server.query(&company.shop, &sql).into_iter();
    rows.map(|row| row[0].clone().unwrap()).collect()
}

fn notes(company: &Company) -> i64 {
    company.count("SELECT count(*) FROM erasured.leaving_partition")
}

/// Of the rows: all that are not due are left, none that is; the two went whole and were counted.
fn is_done(company: &Company, expected: &[String], due: i64, run: &serde_json::Value) {
    assert_eq!(visits(company, "true"), expected);
    assert_eq!(partitions(company), "visit_0 visit_3 visit_4", "{run}");
    assert_eq!(
        run["changed"]["public.visit"]["deleted"].as_i64(),
        Some(due),
        "{run}"
    );
    let whole: Vec<&String> = run["partitions"].as_object().unwrap().keys().collect();
    assert_eq!(whole, WHOLE, "{run}");
    assert_eq!(notes(company), 0);
}

fn in_whole(company: &Company) -> Vec<i64> {
    let of = |name: &&str| company.count(&format!("SELECT count(*) FROM {name}"));
    WHOLE.iter().map(of).collect()
}

#[test]
fn partitions_whose_whole_range_is_due_go_whole_and_the_other_rows_one_by_one() {
    let company = open("");
    let (expected, due) = (
        visits(&company, &format!("NOT {DUE}")),
        visits(&company, DUE),
    );
    let due = i64::try_from(due.len()).unwrap();
    let whole = in_whole(&company);
    assert!(whole.iter().all(|rows| *rows > 50) && whole.iter().sum::<i64>() < due);
    let half = format!(
        "SELECT count(*) FILTER (WHERE {DUE}) * count(*) FILTER (WHERE NOT {DUE}) FROM visit_3 v"
    );
    assert!(company.count(&half) > 0);
    let said = company.says(&["check"], 0);
    assert!(!said.contains("E026"), "{said}");
    planned(&company, due);

    let run = company.json(&["retention", "run", "visits"]);
    is_done(&company, &expected, due, &run);
    let rows: Vec<i64> = (run["partitions"].as_object().unwrap().values())
        .map(|rows| rows.as_i64().unwrap())
        .collect();
    assert_eq!(rows, whole);
    let told = "SELECT count(*) FROM erasured.retention_run WHERE state = 'done' AND (SELECT sum(value::int8) FROM jsonb_each_text(partitions)) = ";
    let told = format!("{told}{}", whole.iter().sum::<i64>());
    assert_eq!(company.server.count(&company.control, &told), 1);
    let event = "SELECT count(*) FROM erasured.event WHERE kind = 'retention_ended' AND body->'partitions' ? 'public.visit_1'";
    assert_eq!(company.server.count(&company.control, event), 1);
    certified(&company, &run, &whole);
    let again = company.json(&["retention", "run", "visits"]);
    assert_eq!(again["batches"], 0);
}

/// The plan names them, with the days of their ranges and their sizes.
fn planned(company: &Company, due: i64) {
    let plan = company.json(&["retention", "plan", "visits"]);
    assert_eq!(plan[0]["due"].as_i64(), Some(due));
    let parts = plan[0]["partitions"].as_array().unwrap();
    let names: Vec<&str> = parts
        .iter()
        .map(|p| p["partition"].as_str().unwrap())
        .collect();
    assert_eq!(names, WHOLE);
    for part in parts {
        let size = format!(
            "SELECT pg_total_relation_size('{}')",
            part["partition"].as_str().unwrap()
        );
        assert_eq!(part["bytes"].as_i64(), Some(company.count(&size)), "{plan}");
    }
    let said = company.says(&["retention", "plan", "visits"], 0);
    let (first, last) = (&parts[0]["first"], &parts[0]["last"]);
    let line = format!(
        "whole:    public.visit_1 ({} – {}, ",
        first.as_str().unwrap(),
        last.as_str().unwrap()
    );
    assert!(said.contains(&line), "{said}");
}

/// Its certificate names them, with their rows and the days of their ranges, and counts the days of their rows.
fn certified(company: &Company, run: &serde_json::Value, rows: &[i64]) {
    let id = run["run"].as_str().unwrap();
    let certificate = company.json(&["certificate", "show", id]);
    let day = |days: i64| {
        let day = format!("SELECT ((now() AT TIME ZONE 'Asia/Tokyo')::date - 90 - {days})::text");
        company.server.value(&company.shop, &day)
    };
    // A range ends with the day before its upper bound.
    let expected = serde_json::json!([
        { "partition": "public.visit_1", "fate": "dropped", "rows": rows[0], "range": { "first": day(120), "last": day(61) } },
        { "partition": "public.visit_2", "fate": "dropped", "rows": rows[1], "range": { "first": day(60), "last": day(21) } },
    ]);
    assert_eq!(certificate["partitions"], expected, "{certificate}");
    let text = company.says(&["certificate", "show", id], 0);
    let said = format!(
        "public.visit_1 dropped, {} rows ({} – {})",
        rows[0],
        day(120),
        day(61)
    );
    assert!(text.contains(&said), "{text}");
    let text = company.says(&["certificate", "show", id, "--lang", "ja"], 0);
    assert!(text.contains("public.visit_2 削除"), "{text}");
}

/// The oldest rows go with a partition, the youngest one by one: the certificate has the days of all.
#[test]
fn the_days_of_a_certificate_are_those_of_partitions_too() {
    let company = open("DELETE FROM visit_0;");
    let day = |which: &str| {
        let sql = format!(
            "SELECT {which}((v.at AT TIME ZONE 'Asia/Tokyo')::date)::text FROM visit v WHERE {DUE}"
        );
        company.server.value(&company.shop, &sql)
    };
    let days = serde_json::json!({ "first": day("min"), "last": day("max") });
    let run = company.json(&["retention", "run", "visits"]);
    assert_eq!(run["partitions"].as_object().unwrap().len(), 2, "{run}");
    let id = run["run"].as_str().unwrap();
    let certificate = company.json(&["certificate", "show", id]);
    assert_eq!(certificate["days"], days, "{certificate}");
}

/// With a DEFAULT partition the server detaches none concurrently.
#[test]
fn beside_a_default_partition_they_go_whole_too() {
    let company = open(
        "CREATE TABLE visit_d PARTITION OF visit DEFAULT; INSERT INTO visit VALUES (5000, 1, now() + interval '900 days');",
    );
    let (expected, due) = (
        visits(&company, &format!("NOT {DUE}")),
        visits(&company, DUE),
    );
    let run = company.json(&["retention", "run", "visits"]);
    assert_eq!(visits(&company, "true"), expected);
    assert_eq!(partitions(&company), "visit_0 visit_3 visit_4 visit_d");
    assert_eq!(run["partitions"].as_object().unwrap().len(), 2, "{run}");
    assert_eq!(
        run["changed"]["public.visit"]["deleted"].as_u64(),
        Some(due.len() as u64)
    );
}

#[test]
fn detached_ones_stay_as_tables() {
    let company = open("");
    company
        .workspace
        .write_policy("customer.toml", &policy("detach"));
    assert!(company.says(&["check"], 0).contains("E0262"));
    let (whole, all) = (in_whole(&company), visits(&company, DUE).len() as i64);
    let expected = visits(&company, &format!("NOT {DUE}"));
    let run = company.json(&["retention", "run", "visits"]);
    let changed = &run["changed"]["public.visit"];
    let detached = whole.iter().sum::<i64>();
    assert_eq!(
        (changed["detached"].as_i64(), changed["deleted"].as_i64()),
        (Some(detached), Some(all - detached)),
        "{run}"
    );
    assert_eq!(
        partitions(&company),
        "visit_0 visit_1! visit_2! visit_3 visit_4"
    );
    assert_eq!(
        (in_whole(&company), visits(&company, "true")),
        (whole, expected)
    );
    assert_eq!(notes(&company), 0);
    let certificate = company.json(&["certificate", "show", run["run"].as_str().unwrap()]);
    assert_eq!(
        certificate["partitions"][1]["fate"], "detached",
        "{certificate}"
    );
    // What is nobody's partition any more is nobody's to drop.
    company
        .workspace
        .write_policy("customer.toml", &policy("drop"));
    company.says(&["retention", "run", "visits"], 0);
    assert_eq!(
        partitions(&company),
        "visit_0 visit_1! visit_2! visit_3 visit_4"
    );
}

/// What stands against it, and each time the rows go one by one.
/// In place of the two that are over one that is partitioned itself.
fn divided() -> String {
    let divided = partition("visit_1", "-120 days", "-20 days")
        .replace("TO (%s)'", "TO (%s) PARTITION BY LIST (id)'");
    format!(
        "DROP TABLE visit_1, visit_2; {divided} CREATE TABLE visit_1_all PARTITION OF visit_1 DEFAULT;
         INSERT INTO visit SELECT 3000 + n, 1, {END} - n * interval '1 day' FROM generate_series(30, 100) n;"
    )
}

#[test]
fn where_something_else_must_be_done_for_its_rows_they_go_one_by_one() {
    for (more, rules, why) in [
        (
            "CREATE TABLE bill (id int PRIMARY KEY, visit bigint, at timestamptz, FOREIGN KEY (visit, at) REFERENCES visit);
             INSERT INTO bill SELECT row_number() OVER (), id, at FROM visit WHERE id % 9 = 0;",
            "[[table]]\nname = \"shop.public.bill\"\naction = \"delete\"\n",
            "rows of public.bill hang on its rows",
        ),
        (
            "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN OLD; END $$;
             CREATE TRIGGER watch AFTER DELETE ON visit FOR EACH ROW EXECUTE FUNCTION f();",
            "",
            "its trigger watch fires",
        ),
        ("CREATE VIEW early AS SELECT * FROM visit_1; CREATE VIEW late AS SELECT * FROM visit_2;", "", ""),
        ("CREATE PUBLICATION p FOR TABLE visit;", "", ""),
        (&divided(), "", ""),
    ] {
        let company = open(more);
        let policy = policy("drop").replace("[[retention]]", &format!("{rules}[[retention]]"));
        company.workspace.write_policy("customer.toml", &policy);
        let expected = visits(&company, &format!("NOT {DUE}"));
        let before = partitions(&company);
        if !why.is_empty() {
            let said = company.says(&["check"], 0);
            assert!(said.contains("E0261"), "{said}");
            let said = company.says(&["retention", "plan", "visits"], 0);
            assert!(said.contains(why), "{said}");
        }
        let run = company.json(&["retention", "run", "visits"]);
        assert_eq!(run["partitions"], serde_json::json!({}), "{more} {run}");
        assert_eq!(partitions(&company), before, "{more}");
        assert_eq!(visits(&company, "true"), expected, "{more}");
    }
}

/// What is archived goes row by row.
#[test]
fn no_partition_goes_that_is_to_be_archived() {
    let company = open("");
    let archive = "archive = { to = \"/nowhere\", keep = \"1 year\" }\nbecause";
    let policy = policy("drop").replace("because", archive);
    company.workspace.write_policy("customer.toml", &policy);
    let said = company.says(&["retention", "plan", "visits"], 0);
    assert!(
        said.contains("its rows are archived before they go"),
        "{said}"
    );
    company.says(&["retention", "run", "visits"], 1);
    assert_eq!(partitions(&company).split(' ').count(), 5);
}

#[test]
fn other_tables_have_no_partitions_to_speak_of() {
    let policy = policy("drop");
    for (schema, policy) in [
        (
            crate::company::SCHEMA,
            POLICY.replace(
                "action   = \"delete\"\nbecause",
                "action = \"delete\"\npartitions = \"drop\"\nbecause",
            ),
        ),
        (
            "CREATE TABLE customer (id int PRIMARY KEY, member_no text UNIQUE NOT NULL);
             CREATE TABLE visit (id int PRIMARY KEY, at timestamptz) PARTITION BY RANGE (id);",
            policy.replace(
                "[[table]]\nname = \"shop.public.visit\"\naction = \"delete\"\n",
                "",
            ),
        ),
    ] {
        let said = Company::with(schema, &policy).says(&["check"], 1);
        assert!(said.contains("E0260"), "{said}");
    }
    let company = open("");
    company.workspace.write_policy(
        "customer.toml",
        &policy.replace("action     = \"delete\"", "action = \"report\""),
    );
    assert!(
        company
            .says(&["check"], 2)
            .contains("says what becomes of rows that are deleted")
    );
}

/// A role that owns nothing: `check` says what is missing, and the rows go one by one.
#[test]
fn whoever_does_not_own_the_table_takes_its_rows_one_by_one() {
    let company = open(
        "DROP ROLE IF EXISTS no_owner; CREATE ROLE no_owner LOGIN; GRANT pg_read_all_data TO no_owner;
         GRANT UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO no_owner;",
    );
    company.execute("GRANT USAGE ON SCHEMA erasured TO no_owner; GRANT SELECT, INSERT ON erasured.applied_step, erasured.applied_piece TO no_owner; \
                     GRANT SELECT, INSERT, DELETE ON erasured.leaving_partition TO no_owner");
    let expected = visits(&company, &format!("NOT {DUE}"));
    let config = company.workspace.config();
    let text = std::fs::read_to_string(&config).unwrap();
    let (owner, other) = (
        company.server.url(&company.shop),
        company.server.url_as(&company.shop, "no_owner"),
    );
    assert!(text.contains(&owner));
    std::fs::write(config, text.replace(&owner, &other)).unwrap();
    let said = company.says(&["check"], 0);
    assert!(
        said.contains("E0261") && said.contains("GRANT that role"),
        "{said}"
    );
    let run = company.json(&["retention", "run", "visits"]);
    assert_eq!(run["partitions"], serde_json::json!({}), "{run}");
    assert_eq!(visits(&company, "true"), expected);
}

/// Dead at any place, whoever comes next ends with the same tables, rows and counts.
#[test]
fn a_crash_anywhere_is_finished_by_the_next_run() {
    let died = |failpoint: &'static str, default: &'static str| {
        let company = open(default);
        let (expected, due) = (
            visits(&company, &format!("NOT {DUE}")),
            visits(&company, DUE),
        );
        let mut killed = company.workspace.process(["retention", "run", "visits"]);
        let killed = killed
            .env("FAILPOINTS", format!("{failpoint}=return(abort)"))
            .output()
            .unwrap();
        assert_eq!(killed.status.code(), None, "{failpoint} {killed:?}");
        if failpoint == "partition-detached" {
            assert_eq!(partitions(&company).split(' ').next_back(), Some("visit_4"));
            assert!(partitions(&company).contains("visit_1!"));
            let said = company.says(&["check"], 1);
            assert!(said.contains("E0265"), "{said}");
        }
        std::thread::sleep(Duration::from_millis(5500));
        let run = company.json(&["retention", "run", "visits"]);
        assert_eq!(run["resumed"], true, "{failpoint}");
        if default.is_empty() {
            is_done(&company, &expected, due.len() as i64, &run);
        }
        assert_eq!(visits(&company, "true"), expected);
        assert_eq!(run["partitions"].as_object().unwrap().len(), 2, "{run}");
        assert_eq!(
            run["changed"]["public.visit"]["deleted"].as_i64(),
            Some(due.len() as i64),
            "{failpoint} {run}"
        );
    };
    let default = "CREATE TABLE other_visits PARTITION OF visit DEFAULT;";
    std::thread::scope(|scope| {
        for (failpoint, more) in [
            ("partition-noted", ""),
            ("partition-detached", ""),
            ("partition-before-commit", ""),
            ("partition-before-commit", default),
            ("partition-gone", ""),
            ("partition-gone", default),
        ] {
            scope.spawn(move || died(failpoint, more));
        }
    });
}

/// The answer to the COMMIT never comes: it is counted once.
#[test]
fn a_lost_answer_is_asked_for() {
    let company = open("");
    let (expected, due) = (
        visits(&company, &format!("NOT {DUE}")),
        visits(&company, DUE),
    );
    let mut run = company
        .workspace
        .process(["retention", "run", "visits", "--format", "json"]);
    let run = run
        .env("FAILPOINTS", "partition-gone=return")
        .output()
        .unwrap();
    let run: serde_json::Value = serde_json::from_slice(&run.stdout).unwrap();
    is_done(&company, &expected, due.len() as i64, &run);
}

/// A long reader: what was detached in part is said, stays so, and is ended by the next run.
#[test]
fn requirement_12_a_detach_that_was_cut_off_is_finished() {
    let company = open("");
    let (expected, due) = (
        visits(&company, &format!("NOT {DUE}")),
        visits(&company, DUE),
    );
    let url = company.server.url(&company.shop);
    blocking(async {
        let client = connect(&url).await;
        client
            .batch_execute("BEGIN; SELECT count(*) FROM visit")
            .await
            .unwrap();
        let said = company.says(&["retention", "run", "visits"], 1);
        assert!(
            said.contains("partition public.visit_1: detached in part"),
            "{said}"
        );
        let pending = "SELECT count(*) FROM pg_inherits WHERE inhdetachpending";
        assert_eq!((company.count(pending), notes(&company)), (1, 1));
        client.batch_execute("ROLLBACK").await.unwrap();
    });
    let gone = "SELECT sum((counts->'changed'->'public.visit'->>'deleted')::int8)::int8 FROM erasured.applied_step";
    company.says(&["retention", "run", "visits"], 0);
    assert_eq!(company.count(gone), due.len() as i64);
    assert_eq!(visits(&company, "true"), expected);
    assert_eq!(
        (partitions(&company).as_str(), notes(&company)),
        ("visit_0 visit_3 visit_4", 0)
    );
}

/// A daemon that is killed while it waits for a reader: the server still waits for it, and would detach.
#[test]
fn a_session_that_outlives_its_daemon_is_ended() {
    let company = open("");
    let (expected, due) = (
        visits(&company, &format!("NOT {DUE}")),
        visits(&company, DUE),
    );
    let url = company.server.url(&company.shop);
    let at_it = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '/* erasured:detach */%' AND state = 'active' AND datname = current_database()";
    let pending = "SELECT count(*) FROM pg_inherits WHERE inhdetachpending";
    blocking(async {
        let client = connect(&url).await;
        client
            .batch_execute("BEGIN; SELECT count(*) FROM visit")
            .await
            .unwrap();
        let mut run = company
            .workspace
            .process(["retention", "run", "visits"])
            .spawn()
            .unwrap();
        wait_until("a pending detach", Duration::from_secs(20), || {
            company.count(pending) == 1
        });
        run.kill().unwrap();
        run.wait().unwrap();
        std::thread::sleep(Duration::from_millis(5500));
        assert_eq!(company.count(at_it), 1, "the server does not know yet");
        company.says(&["retention", "run", "visits"], 1);
        assert_eq!((company.count(at_it), company.count(pending)), (0, 1));
        client.batch_execute("ROLLBACK").await.unwrap();
    });
    company.says(&["retention", "run", "visits"], 0);
    let gone = "SELECT sum((counts->'changed'->'public.visit'->>'deleted')::int8)::int8 FROM erasured.applied_step";
    assert_eq!(company.count(gone), due.len() as i64);
    assert_eq!(visits(&company, "true"), expected);
    assert_eq!(notes(&company), 0);
}

fn hold(company: &Company, what: &str) {
    company.server.execute(&company.control, what);
    company.says(&["run", "--until-idle"], 0);
}

const HOLD_ROW: &str = r#"SELECT erasured.place_row_hold('case-1', 'court-order', 'shop.public.visit', '[{"column": "customer", "op": "=", "values": ["3"]}]')"#;

/// A hold in force: the rows are looked at one by one, and those it covers stay where they are.
#[test]
fn rows_under_a_hold_keep_their_partition() {
    for sql in [
        HOLD_ROW,
        r#"SELECT erasured.place_hold('case-1', 'court-order', 'customer', '{"member_no": "M-3"}')"#,
    ] {
        let company = open("");
        company.says(&["run", "--until-idle"], 0);
        hold(&company, sql);
        let expected = visits(&company, &format!("NOT {DUE} OR v.customer = 3"));
        let run = company.json(&["retention", "run", "visits"]);
        assert_eq!(run["partitions"], serde_json::json!({}), "{run}");
        assert_eq!(visits(&company, "true"), expected);
        company
            .server
            .execute(&company.control, "SELECT erasured.release_matter('case-1')");
        company.says(&["retention", "run", "visits"], 0);
        assert_eq!(partitions(&company), "visit_0 visit_3 visit_4");
    }
}

/// A run that rests behind a failpoint while something else is done.
fn meanwhile(
    company: &Company,
    failpoint: &str,
    ready: &str,
    then: impl FnOnce(),
) -> (i32, String) {
    let mut run = company.workspace.process(["retention", "run", "visits"]);
    let run = run
        .env("FAILPOINTS", format!("{failpoint}=1*sleep(4000)"))
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    wait_until(ready, Duration::from_secs(20), || company.count(ready) > 0);
    then();
    let run = run.wait_with_output().unwrap();
    let said = [run.stdout, run.stderr].concat();
    (run.status.code().unwrap(), String::from_utf8(said).unwrap())
}

const DETACHED: &str =
    "SELECT count(*) FROM pg_class WHERE relname = 'visit_1' AND NOT relispartition";

/// Placed between DETACH and DROP, or just before the COMMIT: the partition is attached again, or was never
/// detached, and its held rows are where they were.
#[test]
fn a_hold_placed_at_the_last_moment_brings_a_partition_back() {
    let counting = "SELECT count(*) FROM pg_locks WHERE relation = 'visit_1'::regclass AND mode IN ('ShareLock', 'AccessExclusiveLock') AND granted";
    let default = "CREATE TABLE other_visits PARTITION OF visit DEFAULT;";
    for (more, failpoint, ready) in [
        ("", "partition-detached", DETACHED),
        ("", "partition-before-commit", counting),
        (default, "partition-before-commit", counting),
    ] {
        let company = open(more);
        let expected = visits(&company, &format!("NOT {DUE} OR v.customer = 3"));
        let said = meanwhile(&company, failpoint, ready, || hold(&company, HOLD_ROW));
        assert_eq!(visits(&company, "true"), expected, "{said:?}");
        assert_eq!(
            partitions(&company),
            "visit_0 visit_1 visit_2 visit_3 visit_4"
        );
        assert_eq!((said.0, notes(&company)), (0, 0), "{said:?}");
    }
}

/// A rule that was mistyped, a run that died, the rule mended: what was detached comes back.
#[test]
fn what_the_rule_does_not_want_any_more_is_attached_again() {
    for mended in [
        policy("drop").replace("90 days", "90 years"),
        policy("drop").replace("partitions = \"drop\"\n", ""),
    ] {
        let company = open("");
        let kept = if mended.contains("years") {
            "true".to_owned()
        } else {
            format!("NOT {DUE}")
        };
        let expected = visits(&company, &kept);
        let mut killed = company.workspace.process(["retention", "run", "visits"]);
        killed
            .env("FAILPOINTS", "partition-detached=return(abort)")
            .output()
            .unwrap();
        assert!(partitions(&company).contains("visit_1!"));
        company.workspace.write_policy("customer.toml", &mended);
        std::thread::sleep(Duration::from_millis(5500));
        company.says(&["retention", "run", "visits"], 0);
        assert_eq!(visits(&company, "true"), expected);
        assert_eq!(
            partitions(&company),
            "visit_0 visit_1 visit_2 visit_3 visit_4"
        );
        assert_eq!(notes(&company), 0);
    }
}

/// Written to the table after it was detached: counted. Renamed by somebody: theirs, and said.
#[test]
fn a_detached_table_is_what_it_was_or_stays() {
    let company = open("");
    let rows = in_whole(&company)[0];
    let said = meanwhile(&company, "partition-detached", DETACHED, || {
        company.execute("INSERT INTO visit_1 SELECT 7000, 1, min(at) FROM visit_1");
    });
    assert_eq!(said.0, 0, "{said:?}");
    let counted = "SELECT (counts->'partitions'->'public.visit_1'->>'rows')::int8 FROM erasured.applied_step WHERE counts->'partitions' ? 'public.visit_1'";
    assert_eq!(company.count(counted), rows + 1);

    let company = open("");
    let said = meanwhile(&company, "partition-detached", DETACHED, || {
        company.execute("ALTER TABLE visit_1 RENAME TO mine; CREATE TABLE visit_1 (x int)");
    });
    assert!(
        said.0 == 1 && said.1.contains("renamed or dropped"),
        "{said:?}"
    );
    assert_eq!(company.count("SELECT count(*) FROM mine"), rows);
    assert_eq!(partitions(&company), "visit_0 visit_1! visit_3 visit_4");
}

/// What pg_partman has made and keeps making.
#[test]
fn beside_pg_partman() {
    let there = "SELECT count(*) FROM pg_available_extensions WHERE name = 'pg_partman'";
    if crate::support::Server::shared().count("postgres", there) == 0 {
        let fifteen = "SELECT count(*) WHERE current_setting('server_version_num') LIKE '15%'";
        let fifteen = crate::support::Server::shared().count("postgres", fifteen);
        assert_eq!(fifteen, 0, "scripts/install.sh test");
        return;
    }
    let company = Company::with(
        "CREATE TABLE customer (id int PRIMARY KEY, member_no text UNIQUE NOT NULL);
         INSERT INTO customer VALUES (1, 'M-1');
         CREATE SCHEMA partman; CREATE EXTENSION pg_partman SCHEMA partman;
         CREATE TABLE visit (id bigint, customer int NOT NULL REFERENCES customer, at timestamptz NOT NULL, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
         SELECT partman.create_parent('public.visit', 'at', 'native', 'monthly', p_start_partition := (now() - interval '8 months')::text);
         INSERT INTO visit SELECT n, 1, now() - n * interval '11 hours' FROM generate_series(0, 480) n;",
        &policy("drop"),
    );
    let expected = visits(&company, &format!("NOT {DUE}"));
    let before =
        company.count("SELECT count(*) FROM pg_inherits i WHERE i.inhparent = 'visit'::regclass");
    let run = company.json(&["retention", "run", "visits"]);
    let whole = run["partitions"].as_object().unwrap().len() as i64;
    assert!((4..=6).contains(&whole), "{run}");
    company.execute("SELECT partman.run_maintenance()");
    company.execute("UPDATE partman.part_config SET premake = 6; SELECT partman.run_maintenance('public.visit')");
    assert_eq!(visits(&company, "true"), expected);
    let after =
        company.count("SELECT count(*) FROM pg_inherits i WHERE i.inhparent = 'visit'::regclass");
    assert_eq!(after, before - whole + 2);
    let again = company.json(&["retention", "run", "visits"]);
    assert_eq!(again["batches"], 0, "{again}");
}
