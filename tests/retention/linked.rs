//! `since` the date of rows that hang on the rule's: the last booking's end.

use crate::company::{Company, POLICY};
use std::time::Duration;

const SCHEMA: &str = "
CREATE TABLE customer (id int PRIMARY KEY, member_no text UNIQUE NOT NULL);
CREATE TABLE account (id int PRIMARY KEY, opened_on date, customer int REFERENCES customer);
CREATE INDEX ON account (customer);
CREATE TABLE booking (id int PRIMARY KEY, account int REFERENCES account, paid_by int REFERENCES account, ends_at timestamptz);
CREATE INDEX ON booking (account);
CREATE INDEX ON booking (paid_by);
-- 200 of each: with old bookings, with young ones, with both, without a date, with none.
INSERT INTO account SELECT n, CASE WHEN n % 2 = 0 THEN current_date - n % 200 END FROM generate_series(1, 1000) n;
INSERT INTO booking SELECT n, n, NULL, now() - (n % 120) * interval '1 day' FROM generate_series(1, 600) n;
INSERT INTO booking SELECT 1000 + n, n, 1, now() - (n % 70) * interval '1 day' FROM generate_series(400, 600) n;
INSERT INTO booking SELECT 2000 + n, n, NULL, NULL FROM generate_series(601, 800) n;
INSERT INTO booking VALUES (5000, 5, NULL, 'infinity'), (5001, 70, NULL, '-infinity');
";

fn policy(since: &str) -> String {
    POLICY.split("[[table]]").next().unwrap().to_owned()
        + &format!(
            "[[table]]\nname = \"shop.public.customer\"\naction = \"delete\"\n\
             [[table]]\nname = \"shop.public.account\"\naction = \"delete\"\n\
             [[table]]\nname = \"shop.public.booking\"\nvia = \"booking_account_fkey\"\naction = \"delete\"\n\
             [[table]]\nname = \"shop.public.booking\"\nvia = \"booking_paid_by_fkey\"\naction = \"detach\"\n\
             [[retention]]\nname = \"accounts\"\ntable = \"shop.public.account\"\nsince = {since}\nkeep = \"60 days\"\n\
             action = \"delete\"\nbecause = \"nobody needs them\"\ntimezone = \"Asia/Tokyo\"\n"
        )
}

const LAST: &str =
    "{ table = \"shop.public.booking\", column = \"ends_at\", link = \"booking_account_fkey\" }";

fn ids(company: &Company) -> Vec<String> {
    let rows = company.server.query(
        &company.shop,
        "SELECT a.id::text FROM account a ORDER BY a.id",
    );
    rows.into_iter()
        .map(|row| row[0].clone().unwrap())
        .collect()
}

/// Written apart from `src/`: the accounts that stay.
fn stay(company: &Company, latest: &str) -> Vec<String> {
    let sql = format!(
        "SELECT a.id::text FROM account a WHERE NOT coalesce((SELECT {latest} + 60 < (now() AT TIME ZONE 'Asia/Tokyo')::date \
            AND bool_and(b.ends_at IS NULL OR isfinite(b.ends_at)) IS NOT FALSE \
           FROM booking b WHERE b.account = a.id), false) ORDER BY a.id"
    );
    let rows = company.server.query(&company.shop, &sql);
    rows.into_iter()
        .map(|row| row[0].clone().unwrap())
        .collect()
}

#[test]
fn the_last_of_what_hangs_on_a_row_counts() {
    let last =
        "max((b.ends_at AT TIME ZONE 'Asia/Tokyo')::date) FILTER (WHERE isfinite(b.ends_at))";
    for (since, latest) in [
        (LAST.to_owned(), last.to_owned()),
        (
            format!("[\"opened_on\", {LAST}]"),
            format!("greatest(a.opened_on, {last})"),
        ),
    ] {
        let company = Company::with(SCHEMA, &policy(&since));
        company.says(&["check"], 0);
        let expected = stay(&company, &latest);
        assert!((100..950).contains(&expected.len()), "{}", expected.len());
        let plan = company.json(&["retention", "plan", "accounts"]);
        assert_eq!(
            plan[0]["due"].as_u64(),
            Some(1000 - expected.len() as u64),
            "{plan}"
        );
        company.says(&["retention", "plan", "accounts", "--sql"], 0);
        let run = company.json(&["retention", "run", "accounts"]);
        assert!(run["set_aside"].as_array().unwrap().is_empty(), "{run}");
        assert_eq!(ids(&company), expected, "{since}");
    }
}

/// Runs the rule while this is under way, and commits it when the run has come to wait for it.
fn run_while(company: &Company, meanwhile: &str) {
    let url = company.server.url(&company.shop);
    crate::support::blocking(async {
        let client = crate::support::connect(&url).await;
        let begin = format!("BEGIN; {meanwhile}");
        client.batch_execute(&begin).await.unwrap();
        let mut run = company
            .workspace
            .process(["retention", "run", "accounts"])
            .spawn()
            .unwrap();
        let waits = "SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE NOT l.granted AND a.datname = current_database()";
        for _ in 0..400 {
            let waiting = company.count(waits);
            if waiting > 0 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        client.batch_execute("COMMIT").await.unwrap();
        assert!(run.wait().unwrap().success(), "{meanwhile}");
    });
}

/// A booking that is made, moved on, or lost meanwhile is seen before its account goes.
#[test]
fn what_comes_to_hang_on_it_meanwhile_counts() {
    for meanwhile in [
        "INSERT INTO booking VALUES (9999, 100, NULL, now())",
        "UPDATE booking SET ends_at = now() WHERE id = 100",
        "DELETE FROM booking WHERE id = 100",
    ] {
        let company = Company::with(SCHEMA, &policy(LAST));
        assert_eq!(
            company.count("SELECT count(*) FROM booking WHERE account = 100 AND id = 100 AND ends_at < now() - interval '70 days'"),
            1
        );
        run_while(&company, meanwhile);
        let there = company.count("SELECT count(*) FROM account WHERE id = 100");
        assert_eq!(there, 1, "{meanwhile}");
        assert_eq!(
            company.json(&["retention", "plan", "accounts"])[0]["due"],
            0,
            "{meanwhile}"
        );
    }
}

#[test]
fn which_rows_those_are_must_be_told() {
    let company = Company::with(SCHEMA, &policy(LAST));
    let of =
        |text: &str| format!("{{ table = \"shop.public.booking\", column = \"ends_at\"{text} }}");
    for (since, code, words) in [
        (of(""), "E0258", "booking_account_fkey"),
        (
            of(", link = \"booking_acount_fkey\""),
            "E0258",
            "did you mean",
        ),
        (
            of("")
                .replace("booking", "customer")
                .replace("ends_at", "id"),
            "E0220",
            "not a date",
        ),
        (
            of("").replace("booking", "bookings"),
            "E0258",
            "not in the database",
        ),
        (
            of("").replace("ends_at", "end_at"),
            "E0203",
            "did you mean `ends_at`",
        ),
        (
            "{ table = \"shop.public.booking\" }".into(),
            "E0104",
            "date column",
        ),
        ("[]".into(), "E0106", "names no column"),
        ("[3]".into(), "E0105", "a string"),
    ] {
        company
            .workspace
            .write_policy("customer.toml", &policy(&since));
        let said = company.says(&["check"], if code < "E0200" { 2 } else { 1 });
        let said: Vec<&str> = said.split_whitespace().filter(|w| *w != "│").collect();
        let said = said.join(" ");
        assert!(
            said.contains(code) && said.contains(words),
            "{since}: {said}"
        );
    }
}

/// What has happened to an account, in a table of events: only some of them count.
const EVENTS: &str = "
CREATE TABLE event (id int PRIMARY KEY, account int NOT NULL REFERENCES account, kind text, at date);
CREATE INDEX ON event (account);
INSERT INTO event SELECT n, n, 'contract_ended', current_date - n % 120 FROM generate_series(1, 600) n;
INSERT INTO event SELECT 1000 + n, n, 'contract_ended', current_date - 300 FROM generate_series(500, 700) n;
INSERT INTO event SELECT 2000 + n, n, 'call', current_date FROM generate_series(1, 800) n;
INSERT INTO event SELECT 3000 + n, n, NULL, 'infinity' FROM generate_series(1, 1000, 3) n;
";

fn of_events(since: &str) -> Company {
    let table = "[[table]]\nname = \"shop.public.event\"\naction = \"delete\"\n";
    Company::with(&format!("{SCHEMA}{EVENTS}"), &(policy(since) + table))
}

const ENDED: &str =
    "{ table = \"shop.public.event\", column = \"at\", where = \"kind = 'contract_ended'\" }";

#[test]
fn the_last_event_of_a_kind_counts() {
    let company = of_events(ENDED);
    company.says(&["check"], 0);
    let rows = company.server.query(
        &company.shop,
        "SELECT a.id::text FROM account a WHERE NOT coalesce((SELECT max(e.at) + 60 < (now() AT TIME ZONE 'Asia/Tokyo')::date \
           FROM event e WHERE e.account = a.id AND e.kind = 'contract_ended'), false) ORDER BY a.id",
    );
    let expected: Vec<String> = rows.into_iter().map(|r| r[0].clone().unwrap()).collect();
    assert!((400..800).contains(&expected.len()), "{}", expected.len());
    let due = 1000 - expected.len() as u64;
    let plan = company.json(&["retention", "plan", "accounts"]);
    assert_eq!(plan[0]["due"].as_u64(), Some(due), "{plan}");
    assert_eq!(plan[0]["undated"].as_u64(), Some(300), "{plan}");
    let weeks = plan[0]["forecast"]["weeks"].as_array().unwrap();
    assert_eq!(weeks[0]["rows"].as_u64(), Some(due), "{plan}");
    let coming: u64 = weeks.iter().map(|w| w["rows"].as_u64().unwrap()).sum();
    assert_eq!(coming, 700, "{plan}");
    assert!(plan[0]["oldest"].is_string(), "{plan}");
    let said = company.says(&["retention", "list"], 0);
    assert!(said.contains("where kind = 'contract_ended'"), "{said}");
    company.says(&["retention", "verify"], 1);
    company.json(&["retention", "run", "accounts"]);
    assert_eq!(ids(&company), expected);
    company.says(&["retention", "verify"], 0);
}

/// An event that is written, comes to be one, or is none after all, while its account waits for its lock.
#[test]
fn an_event_that_happens_meanwhile_counts() {
    for meanwhile in [
        "INSERT INTO event VALUES (9999, 100, 'contract_ended', current_date)",
        "UPDATE event SET kind = 'contract_ended' WHERE account = 100 AND kind = 'call'",
        "UPDATE event SET kind = 'mistaken' WHERE account = 100 AND kind = 'contract_ended'",
    ] {
        let company = of_events(ENDED);
        run_while(&company, meanwhile);
        let there = company.count("SELECT count(*) FROM account WHERE id = 100");
        assert_eq!(there, 1, "{meanwhile}");
        let plan = company.json(&["retention", "plan", "accounts"]);
        assert_eq!(plan[0]["due"], 0, "{meanwhile}");
    }
}

#[test]
fn which_events_count_must_be_a_condition_on_them() {
    let company = of_events(ENDED);
    let table = "[[table]]\nname = \"shop.public.event\"\naction = \"delete\"\n";
    for (condition, code, words) in [
        ("kinds = 'x'", "E0203", "did you mean `kind`"),
        ("kind = 3", "E0257", "in single quotes"),
        ("opened_on IS NULL", "E0203", "public.event lacks"),
        ("lower(kind) = 'x'", "E0141", "no function"),
    ] {
        let since = ENDED.replace("kind = 'contract_ended'", condition);
        company
            .workspace
            .write_policy("customer.toml", &(policy(&since) + table));
        let said = company.says(&["check"], if code < "E0200" { 2 } else { 1 });
        let said: Vec<&str> = said.split_whitespace().filter(|w| *w != "│").collect();
        let said = said.join(" ");
        assert!(
            said.contains(code) && said.contains(words),
            "{condition}: {said}"
        );
    }
}
