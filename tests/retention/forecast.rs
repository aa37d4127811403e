//! What comes due when, against a count made row by row.

use crate::company::{Company, POLICY, SCHEMA};
use serde_json::Value;

/// How many rows come due now and in each of the coming weeks, by the last day on which each is kept.
fn expected(company: &Company, last_days: &str) -> Vec<i64> {
    let sql = format!(
        "SELECT greatest(0, ceil((l.day + 1 - (now() AT TIME ZONE 'Asia/Tokyo')::date) / 7.0))::int8::text FROM ({last_days}) l (day)"
    );
    let mut weeks = vec![0; 53];
    for row in company.server.query(&company.shop, &sql) {
        let week: usize = row[0].as_deref().unwrap().parse().unwrap();
        if let Some(rows) = weeks.get_mut(week) {
            *rows += 1;
        }
    }
    weeks
}

fn forecast(plan: &Value) -> Vec<i64> {
    let weeks = plan["forecast"]["weeks"].as_array().unwrap().iter();
    weeks.map(|week| week["rows"].as_i64().unwrap()).collect()
}

const CALLS: &str =
    "SELECT (ended_at AT TIME ZONE 'Asia/Tokyo')::date + 90 FROM call WHERE isfinite(ended_at)";

#[test]
fn what_comes_due_each_week_is_told_and_drawn() {
    let company = Company::open();
    company.execute("INSERT INTO call SELECT n, 1, now() + (n - 11000) * interval '3 hours' FROM generate_series(10001, 13000) n");
    let expected = expected(&company, CALLS);
    assert!(
        expected.iter().filter(|rows| **rows > 0).count() > 40,
        "{expected:?}"
    );
    let svg = company.workspace.path().join("calls.svg");
    let plan = company.json(&["retention", "plan", "calls", "--svg", svg.to_str().unwrap()]);
    let plan = &plan[0];
    assert_eq!(forecast(plan), expected);
    assert_eq!(plan["due"].as_i64(), Some(expected[0]));
    assert_eq!(plan["forecast"]["rows"], 5883);
    let oldest = company.server.value(
        &company.shop,
        "SELECT min((ended_at AT TIME ZONE 'Asia/Tokyo')::date)::text FROM call WHERE isfinite(ended_at)",
    );
    assert_eq!(plan["oldest"], oldest.as_str());
    // A share of what the server says of the table.
    let size = company.count("SELECT pg_total_relation_size('call')");
    assert_eq!(plan["forecast"]["table_bytes"].as_i64(), Some(size));
    assert_eq!(plan["bytes"].as_i64(), Some(size * expected[0] / 5883));
    assert_eq!(plan["seconds"], Value::Null);
    let drawn = std::fs::read_to_string(svg).unwrap();
    assert_eq!(drawn.matches("<title>").count(), 53, "{drawn}");
    let said = company.says(&["retention", "plan", "calls"], 0);
    assert!(said.contains("time:     not known"), "{said}");
    assert!(
        said.lines()
            .any(|l| l.starts_with("  now ") && l.ends_with(&format!("> {}", expected[0]))),
        "{said}"
    );

    company.says(&["retention", "run", "calls"], 0);
    company.execute("INSERT INTO call VALUES (20000, 1, now() - interval '1 year')");
    let said = company.says(&["retention", "plan", "calls"], 0);
    assert!(
        said.contains("a minute or less, as its last runs went"),
        "{said}"
    );
}

/// Dates of all kinds in several columns, ends of fiscal years, and the policy's own minimum: of all conditions the
/// last one counts.
#[test]
fn several_columns_fiscal_years_and_a_minimum_are_brought_together() {
    let schema = format!(
        "{SCHEMA} CREATE TABLE paper (id int PRIMARY KEY, customer int REFERENCES customer, a date, b timestamp, c timestamptz, paid date);
         INSERT INTO paper SELECT n, 1, CASE WHEN n % 3 > 0 THEN current_date - n % 1200 END, CASE WHEN n % 5 > 0 THEN now()::timestamp - n % 1100 * interval '25 hours' END,
             CASE WHEN n % 7 > 1 THEN now() - n % 1000 * interval '1 day' END, current_date - n % 1300 FROM generate_series(1, 4000) n;
         INSERT INTO paper VALUES (9001, 1, NULL, NULL, NULL, '2020-01-01'), (9002, 1, '2020-01-01', NULL, '-infinity', '2020-01-01'), (9003, 1, '2020-01-01', NULL, NULL, NULL);"
    );
    let policy = format!(
        "{POLICY}
[[table]]
name    = \"shop.public.paper\"
action  = \"retain\"
until   = {{ column = \"paid\", plus = \"2 years\" }}
because = \"the tax office\"
set     = {{ customer = \"null\" }}
then    = \"delete\"

[[retention]]
name     = \"papers\"
table    = \"shop.public.paper\"
since    = [\"a\", \"b\", \"c\"]
keep     = {{ fiscal_year_ends = \"03-31\", plus = \"6 months\" }}
action   = \"delete\"
because  = \"the tax office\"
timezone = \"Asia/Tokyo\"
"
    );
    let company = Company::with(&schema, &policy);
    let last_days = "SELECT greatest((make_date(extract(year FROM d)::int + (d > make_date(extract(year FROM d)::int, 3, 31))::int, 3, 31) \
              + interval '6 months')::date, (paid + interval '2 years')::date) \
         FROM (SELECT greatest(a, b::date, (c AT TIME ZONE 'Asia/Tokyo')::date) d, paid FROM paper WHERE id < 9000) p WHERE d IS NOT NULL";
    let expected = expected(&company, last_days);
    assert!(
        expected.iter().filter(|rows| **rows > 0).count() > 25,
        "{expected:?}"
    );
    let plan = company.json(&["retention", "plan", "papers"]);
    assert_eq!(forecast(&plan[0]), expected);
    assert_eq!(plan[0]["due"].as_i64(), Some(expected[0]));
    // Counted in yet another way.
    let said = company.says(&["retention", "verify", "papers"], 1);
    assert!(
        said.contains(&format!("\n  {} row(s) of", expected[0])),
        "{said}"
    );
}

/// Of a table that is thought to be large some blocks are read, and it is said.
#[test]
fn a_large_table_is_read_in_part() {
    let company = Company::open();
    company.execute("UPDATE pg_class SET reltuples = 3000000 WHERE oid = 'call'::regclass");
    let part = company.json(&["retention", "plan", "calls"]);
    assert_eq!(part[0]["forecast"]["one_in"], 4);
    let read = forecast(&part[0]);
    assert!(read.iter().all(|rows| rows % 4 == 0), "{read:?}");
    assert!(read.iter().sum::<i64>() > 0);
    let said = company.says(&["retention", "plan", "calls"], 0);
    assert!(said.contains("one in 4 blocks"), "{said}");
    let exact = company.json(&["retention", "plan", "calls", "--exact"]);
    assert_eq!(forecast(&exact[0]), expected(&company, CALLS));
    assert_eq!(exact[0]["forecast"]["one_in"], Value::Null);
}

/// Partitions count together.
#[test]
fn partitions_are_one_table() {
    let schema = SCHEMA.replace("tag      text NOT NULL DEFAULT 'x');", "tag text NOT NULL DEFAULT 'x') PARTITION BY RANGE (id); \
        CREATE TABLE call_a PARTITION OF call FOR VALUES FROM (0) TO (1000); CREATE TABLE call_b PARTITION OF call DEFAULT;");
    assert_ne!(schema, SCHEMA);
    let company = Company::with(&schema, POLICY);
    let plan = company.json(&["retention", "plan", "calls"]);
    assert_eq!(forecast(&plan[0]), expected(&company, CALLS));
    let size =
        company.count("SELECT pg_total_relation_size('call_a') + pg_total_relation_size('call_b')");
    assert_eq!(plan[0]["forecast"]["table_bytes"].as_i64(), Some(size));
}
