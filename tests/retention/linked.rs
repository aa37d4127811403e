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
                let waiting: i64 = client.query_one(waits, &[]).await.unwrap().get(0);
                if waiting > 0 {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            client.batch_execute("COMMIT").await.unwrap();
            assert!(run.wait().unwrap().success(), "{meanwhile}");
        });
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
