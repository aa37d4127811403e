//! What rules may say of a schema, and what they may not.

use crate::company::{Company, POLICY, SCHEMA};

fn checked(policy: &str, code: i32) -> String {
    Company::with(SCHEMA, policy).says(&["check"], code)
}

#[test]
fn contradictions_are_told_before_anything_runs() {
    assert!(checked(POLICY, 0).contains("fit the databases"));
    for (from, to, code) in [
        ("since    = \"ended_at\"", "since = \"ended\"", "E0203"),
        ("since    = \"ended_at\"", "since = \"tag\"", "E0220"),
        (
            "table    = \"shop.public.call\"",
            "table = \"shop.public.calls\"",
            "E0202",
        ),
        (
            "table    = \"shop.public.call\"",
            "table = \"shop.public.customer\"",
            "E0256",
        ),
        (
            "table    = \"shop.public.call\"",
            "table = \"till.public.call\"",
            "E0226",
        ),
        (
            "name   = \"shop.public.call\"\naction = \"delete\"",
            "name = \"shop.public.call\"\naction = \"retain\"\nuntil = { column = \"ended_at\", plus = \"1 year\" }\nbecause = \"our own rule\"\nthen = \"delete\"",
            "E0255",
        ),
    ] {
        assert!(POLICY.contains(from), "{from}");
        let said = checked(&POLICY.replace(from, to), 1);
        assert!(said.contains(code), "{to}: {said}");
    }
    // A table that hangs on the calls and that no rule decides.
    let company = Company::with(
        &format!("{SCHEMA} CREATE TABLE trace (call int REFERENCES call);"),
        POLICY,
    );
    let said = company.says(&["retention", "run", "calls"], 1);
    assert!(said.contains("E0201") && said.contains("trace"), "{said}");
}

/// On a large table, with the statement that makes it, until it is there.
#[test]
fn a_date_without_an_index_is_told_and_mended_by_what_is_printed() {
    let company = Company::with(SCHEMA, POLICY);
    company.execute(
        "INSERT INTO call SELECT n, 1, now() FROM generate_series(20001, 32000) n; ANALYZE call",
    );
    for command in [&["check"][..], &["retention", "plan"]] {
        let said = company.says(command, 0);
        assert!(!said.contains("E0221"), "{said}");
    }
    company.execute("DROP INDEX call_ended_at_idx; CREATE INDEX ON call (id, ended_at)");
    let create = "CREATE INDEX CONCURRENTLY ON \"public\".\"call\" (\"ended_at\")";
    for command in [&["check"][..], &["retention", "plan"]] {
        let said = company.says(command, 0);
        assert!(said.contains("E0221") && said.contains(create), "{said}");
    }
    company.execute(create);
    assert!(!company.says(&["check"], 0).contains("E0221"));
}

/// What a rule would take that is not its own to take.
#[test]
fn what_hangs_on_the_rows_is_not_taken_before_its_time() {
    let more = |table: &str| format!("{POLICY}\n[[table]]\nname = \"shop.public.{table}\"\n");
    for (schema, policy, code) in [
        // Invoices stay seven years, and their link to the call is cut with the customer's.
        (
            "CREATE TABLE invoice (id int PRIMARY KEY, call int REFERENCES call, issued_on date NOT NULL);",
            more("invoice")
                + "action = \"retain\"\nuntil = { column = \"issued_on\", plus = \"7 years\" }\nbecause = \"the tax office\"\nset = { call = \"null\" }\nthen = \"delete\"",
            "E0255",
        ),
        // People hang on a table that is none of theirs.
        (
            "CREATE TABLE branch (id int PRIMARY KEY, closed_at timestamptz); ALTER TABLE customer ADD branch int REFERENCES branch;",
            POLICY.replace(
                "table    = \"shop.public.call\"\nsince    = \"ended_at\"",
                "table = \"shop.public.branch\"\nsince = \"closed_at\"",
            ),
            "E0256",
        ),
    ] {
        let company = Company::with(&format!("{SCHEMA} {schema}"), &policy);
        let before = company.rows("false");
        let said = company.says(&["check"], 1);
        assert!(said.contains(code), "{code}: {said}");
        let said = company.says(&["retention", "run", "calls"], 1);
        assert!(said.contains(code), "{code}: {said}");
        assert_eq!(company.rows("false"), before);
    }
}

/// Of several dates the latest counts; local times and days are read in the rule's zone; partitions go
/// like one table.
#[test]
fn the_latest_of_several_dates_counts() {
    let schema = "
        CREATE TABLE customer (id int PRIMARY KEY, member_no text UNIQUE NOT NULL);
        CREATE TABLE visit (id int, on_day date, seen timestamp, at timestamptz, PRIMARY KEY (id)) PARTITION BY RANGE (id);
        CREATE TABLE visit_1 PARTITION OF visit FOR VALUES FROM (0) TO (1000);
        CREATE TABLE visit_2 PARTITION OF visit FOR VALUES FROM (1000) TO (100000);
        INSERT INTO visit SELECT a * 400 + b * 20 + c,
               CASE WHEN a > 0 THEN (now() AT TIME ZONE 'America/New_York')::date - 25 - 4 * a END,
               CASE WHEN b > 0 THEN (now() AT TIME ZONE 'America/New_York') - (25 * 24 + b * 24) * interval '1 hour' END,
               CASE WHEN c > 0 THEN now() - (25 * 24 + c * 30) * interval '1 hour' END
          FROM generate_series(0, 3) a, generate_series(0, 9) b, generate_series(0, 9) c;";
    let policy = POLICY.split("[[table]]").next().unwrap().to_owned()
        + r#"
[[table]]
name = "shop.public.customer"
action = "delete"
[[retention]]
name     = "visits"
table    = "shop.public.visit"
since    = ["on_day", "seen", "at"]
keep     = "1 month"
action   = "delete"
because  = "nobody needs them"
timezone = "America/New_York"
"#;
    let company = Company::with(schema, &policy);
    let latest = "greatest(v.on_day, v.seen::date, (v.at AT TIME ZONE 'America/New_York')::date)";
    let due = format!(
        "({latest} + interval '1 month')::date < (now() AT TIME ZONE 'America/New_York')::date"
    );
    let expected = company.server.query(
        &company.shop,
        &format!("SELECT v::text FROM visit v WHERE NOT coalesce({due}, false) ORDER BY id"),
    );
    let all = company.count("SELECT count(*) FROM visit");
    let run = company.json(&["retention", "run", "visits"]);
    // By the hour and the length of the month more or less: all three must be over a month old, or be none.
    assert!(
        run["changed"]["public.visit"]["deleted"].as_i64() > Some(20),
        "{run}"
    );
    assert!(!expected.is_empty() && all > i64::try_from(expected.len()).unwrap());
    assert_eq!(
        company
            .server
            .query(&company.shop, "SELECT v::text FROM visit v ORDER BY id"),
        expected
    );
}

/// The law's minimum of another column holds too.
#[test]
fn what_the_policy_retains_stays_for_its_own_time() {
    let schema = format!(
        "{SCHEMA} ALTER TABLE call ADD closed_on date; UPDATE call SET closed_on = ended_at::date + 20 WHERE isfinite(ended_at);"
    );
    let retained = "name = \"shop.public.call\"\naction = \"retain\"\nuntil = { column = \"closed_on\", plus = \"80 days\" }\nbecause = \"our own rule\"\nthen = \"delete\"";
    let policy = POLICY
        .replace(
            "name   = \"shop.public.call\"\naction = \"delete\"",
            retained,
        )
        .replace(
            "name   = \"shop.public.note\"\naction = \"delete\"",
            "name = \"shop.public.note\"\naction = \"retain\"\nbecause = \"with its call\"",
        );
    let company = Company::with(&schema, &policy);
    let due = format!(
        "({}) AND c.closed_on + 80 < (now() AT TIME ZONE 'Asia/Tokyo')::date",
        crate::company::DUE
    );
    let left = company.count(&format!(
        "SELECT count(*) FROM call c WHERE NOT coalesce({due}, false)"
    ));
    company.says(&["retention", "run", "calls"], 0);
    assert_eq!(company.count("SELECT count(*) FROM call"), left);
}

/// A rule that only keeps, counted from the same column or another, for some rows or all.
fn keeper(since: &str, keep: &str, more: &str) -> String {
    format!(
        "\n[[retention]]\nname = \"evidence\"\ntable = \"shop.public.call\"\nsince = \"{since}\"\nkeep = \"{keep}\"\n{more}\n\
         action = \"keep\"\nbecause = \"the regulator asks\"\ntimezone = \"Asia/Tokyo\"\n"
    )
}

/// Tickets clean the calls and leave them.
fn cleaning() -> String {
    let cleaned = |table: &str, column: &str, how: &str| {
        format!(
            "name = \"shop.public.{table}\"\naction = \"anonymize\"\nset = {{ {column} = \"{how}\" }}"
        )
    };
    let as_it_was = |table: &str| format!("name   = \"shop.public.{table}\"\naction = \"delete\"");
    POLICY
        .replace(&as_it_was("call"), &cleaned("call", "tag", "redact"))
        .replace(
            &as_it_was("customer"),
            &cleaned("customer", "member_no", "hash"),
        )
}

/// The precedence is: hold, minimum, ticket, rule. What is said against it is refused.
#[test]
fn a_minimum_stands_above_tickets_and_rules() {
    for (policy, words) in [
        // A rule by which they go sooner.
        (cleaning() + &keeper("ended_at", "1 year", ""), "go before the rule evidence"),
        // A ticket by which they would.
        (POLICY.to_owned() + &keeper("ended_at", "30 days", ""), "by a ticket they would go before"),
        (
            POLICY.replace(
                "name   = \"shop.public.call\"\naction = \"delete\"",
                "name = \"shop.public.call\"\naction = \"retain\"\nuntil = { column = \"ended_at\", plus = \"10 days\" }\nbecause = \"our own rule\"\nthen = \"delete\"",
            ) + &keeper("ended_at", "30 days", ""),
            "by a ticket they would go before",
        ),
    ] {
        let said = checked(&policy, 1);
        let said: Vec<&str> = said.split_whitespace().filter(|w| *w != "│").collect();
        let said = said.join(" ");
        assert!(said.contains("E0255") && said.contains(words), "{said}");
    }
    // No ticket runs against it either.
    let company = Company::with(
        SCHEMA,
        &(POLICY.to_owned() + &keeper("ended_at", "30 days", "")),
    );
    let said = company.says(&["plan", "--subject", "member_no=M-1"], 1);
    assert!(said.contains("E0255"), "{said}");
    assert!(checked(&(cleaning() + &keeper("ended_at", "90 days", "")), 0).contains("fit"));
    let said = checked(
        &(cleaning() + &keeper("ended_at", "90 days", "schedule = \"0 0 2 * * *\"")),
        2,
    );
    assert!(said.contains("E0109"), "{said}");
}

/// Of rows that it is for, and of those of which that cannot be told, both times must be over.
#[test]
fn a_minimum_of_another_column_holds_too() {
    let schema = format!(
        "{SCHEMA} ALTER TABLE call ADD closed_on date, ADD kind text; \
         UPDATE call SET closed_on = ended_at::date + 20, kind = (ARRAY['complaint', 'order', NULL])[1 + id % 3] WHERE isfinite(ended_at);"
    );
    let company = Company::with(
        &schema,
        &(cleaning() + &keeper("closed_on", "80 days", "where = \"kind = 'complaint'\"")),
    );
    company.says(&["check"], 0);
    let due = format!(
        "({}) AND (c.kind = 'order' OR c.closed_on + 80 < (now() AT TIME ZONE 'Asia/Tokyo')::date)",
        crate::company::DUE
    );
    let count = |what: &str| company.count(&format!("SELECT count(*) FROM call c WHERE {what}"));
    let goes = count(&due);
    assert!(
        goes < count(crate::company::DUE) && goes > count(&format!("({due}) AND kind = 'order'"))
    );
    let expected = company.rows(&due);
    let said = company.says(&["retention", "run", "evidence"], 0);
    assert!(said.contains("none goes by it"), "{said}");
    company.says(&["retention", "run", "calls"], 0);
    assert_eq!(company.rows("false"), expected);
}
