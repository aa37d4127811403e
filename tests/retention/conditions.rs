//! `where`: which rows a rule is for.

use crate::company::{Company, DUE, POLICY, SCHEMA};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

/// The policy with a condition on its rule, as TOML writes it.
fn policy(condition: &str) -> String {
    POLICY.replace("keep     =", &format!("where = {condition}\nkeep     ="))
}

#[test]
fn only_rows_of_which_the_condition_holds_go() {
    let schema = format!(
        "{SCHEMA} ALTER TABLE call ADD \"Kind; --\" text; \
         UPDATE call SET \"Kind; --\" = (ARRAY['it''s', '\"; DROP TABLE call; --', NULL])[1 + id % 3]"
    );
    let company = Company::with(
        &schema,
        &policy("'''\"Kind; --\" IN ('it''s', 'x') AND tag = 'x' AND id <> 2877'''"),
    );
    company.says(&["check"], 0);
    let but = format!("({DUE}) AND c.id % 3 = 0 AND c.id <> 2877");
    assert!(
        company.count("SELECT count(*) FROM call c WHERE id = 2877 AND id % 3 = 0") == 1,
        "it would go but for its number"
    );
    let expected = company.rows(&but);
    let due = company.count(&format!("SELECT count(*) FROM call c WHERE {but}"));
    let plan = company.json(&["retention", "plan", "calls"]);
    assert_eq!(plan[0]["due"].as_i64(), Some(due), "{plan}");
    // Of the three without a date one is of this kind.
    assert_eq!(plan[0]["undated"].as_i64(), Some(1), "{plan}");
    let run = company.json(&["retention", "run", "calls"]);
    assert_eq!(
        run["changed"]["public.call"]["deleted"].as_i64(),
        Some(due),
        "{run}"
    );
    assert_eq!(company.rows("false"), expected);
    let said = company.says(&["retention", "list"], 0);
    assert!(said.contains("where"), "{said}");
}

/// A row that comes to be another kind while the run waits for its lock stays.
#[test]
fn the_condition_is_asked_again_under_the_lock() {
    let company = Company::with(SCHEMA, &policy("\"tag = 'x'\""));
    let url = company.server.url(&company.shop);
    let expected = company.rows(&format!("({DUE}) AND c.id <> 2880"));
    crate::support::blocking(async {
        let client = crate::support::connect(&url).await;
        client
            .batch_execute("BEGIN; UPDATE call SET tag = 'evidence' WHERE id = 2880")
            .await
            .unwrap();
        let mut run = company
            .workspace
            .process(["retention", "run", "calls"])
            .spawn()
            .unwrap();
        let waits = "SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE NOT l.granted AND a.datname = current_database()";
        for _ in 0..400 {
            let waiting = company.count(waits);
            if waiting > 0 {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        client.batch_execute("COMMIT").await.unwrap();
        assert!(run.wait().unwrap().success());
    });
    let changed: Vec<String> = expected
        .iter()
        .map(|row| match row.starts_with("call (2880,") {
            true => row.replace(",x)", ",evidence)"),
            false => row.clone(),
        })
        .collect();
    assert_ne!(changed, expected);
    assert_eq!(company.rows("false"), changed);
}

/// What cannot be a condition of this table is told by `check`, in its own words and place.
#[test]
fn mistakes_are_told_by_check() {
    let schema = format!(
        "{SCHEMA} CREATE TYPE mood AS ENUM ('calm', 'angry'); \
         ALTER TABLE call ADD mood mood, ADD note jsonb, ADD lasted int, ADD on_day date, ADD sure boolean, ADD place inet"
    );
    let company = Company::with(&schema, POLICY);
    for (condition, code, words) in [
        ("\"lower(tag) = 'x'\"", "E0141", "it may have no function"),
        ("\"tag = 'x' AND call.id = 1\"", "E0141", "the table's own"),
        ("\"tag = 'x'; DROP TABLE call\"", "E0141", "too many"),
        ("\"tagg = 'x'\"", "E0203", "did you mean `tag`"),
        ("\"lasted = 'x'\"", "E0257", "write a whole number"),
        ("\"lasted > 3000000000\"", "E0257", "write a whole number"),
        ("\"on_day < 'today'\"", "E0257", "write a day"),
        ("\"ended_at < '2026-01-01'\"", "E0257", "with its offset"),
        ("\"note = '{}'\"", "E0257", "are not compared"),
        ("\"place = '10.0.0.1'\"", "E0257", "are not compared"),
        ("\"mood < 'calm'\"", "E0257", "name the labels"),
        (
            "\"mood IN ('calm', 'angy')\"",
            "E0257",
            "did you mean `angry`",
        ),
        ("\"mood <> 'merry'\"", "E0257", "its labels:"),
        ("\"lasted LIKE '1%'\"", "E0257", "LIKE is for texts"),
        ("\"tag IS TRUE\"", "E0257", "neither true nor false"),
        ("\"sure = 'yes'\"", "E0257", "write TRUE or FALSE"),
        ("3", "E0105", "a string"),
    ] {
        company
            .workspace
            .write_policy("customer.toml", &policy(condition));
        let said = company.says(&["check"], if code < "E0200" { 2 } else { 1 });
        // Long lines are folded.
        let said: Vec<&str> = said.split_whitespace().filter(|w| *w != "│").collect();
        let said = said.join(" ");
        assert!(
            said.contains(code) && said.contains(words),
            "{condition}: {said}"
        );
    }
    for condition in [
        "\"note IS NULL AND place IS NULL\"",
        "\"mood IN ('calm') OR lasted BETWEEN -1 AND 7 OR NOT sure\\n IS TRUE\"",
        "\"on_day >= '2026-01-31' AND ended_at > '2026-01-01T00:00:00+09:00'\"",
    ] {
        company
            .workspace
            .write_policy("customer.toml", &policy(condition));
        company.says(&["check"], 0);
        company.says(&["retention", "plan", "calls"], 0);
    }
    // A label that the database comes to know, or does not know any more.
    let before = company.rows("false");
    for (mood, code) in [("sad", 1), ("calm", 0)] {
        company
            .workspace
            .write_policy("customer.toml", &policy(&format!("\"mood = '{mood}'\"")));
        company.says(&["retention", "run", "calls"], code);
    }
    company.execute("ALTER TYPE mood RENAME VALUE 'calm' TO 'sad'");
    let said = company.says(&["retention", "run", "calls"], 1);
    assert!(said.contains("E0257"), "{said}");
    assert_eq!(company.rows("false"), before);
}

/// A condition of the test's own, and what SQL's three values make of it, written apart from `src/`.
#[derive(Clone, Debug)]
enum Asked {
    And(Box<Asked>, Box<Asked>),
    Or(Box<Asked>, Box<Asked>),
    Not(Box<Asked>),
    Number(&'static str, i32),
    Text(&'static str, &'static str),
    Like(&'static str),
    Among(Vec<i32>),
    Within(i32, i32),
    Empty(&'static str),
    Sure(bool),
}

#[derive(Clone, Debug)]
struct Row {
    n: Option<i32>,
    s: Option<&'static str>,
    b: Option<bool>,
}

const TEXTS: [&str; 5] = ["", "a", "ab", "B", "it's"];

impl Asked {
    fn holds(&self, row: &Row) -> Option<bool> {
        match self {
            Self::And(a, b) => match (a.holds(row), b.holds(row)) {
                (Some(false), _) | (_, Some(false)) => Some(false),
                (Some(true), Some(true)) => Some(true),
                _ => None,
            },
            Self::Or(a, b) => match (a.holds(row), b.holds(row)) {
                (Some(true), _) | (_, Some(true)) => Some(true),
                (Some(false), Some(false)) => Some(false),
                _ => None,
            },
            Self::Not(a) => a.holds(row).map(|holds| !holds),
            Self::Number(sign, with) => row.n.map(|n| compare(sign, n.cmp(with))),
            Self::Text(sign, with) => row.s.map(|s| compare(sign, s.cmp(with))),
            Self::Like(pattern) => row.s.map(|s| match *pattern {
                "%" => true,
                "a%" => s.starts_with('a'),
                "_" => s.chars().count() == 1,
                _ => s.contains('t'),
            }),
            Self::Among(list) => row.n.map(|n| list.contains(&n)),
            Self::Within(low, high) => row.n.map(|n| *low <= n && n <= *high),
            Self::Empty(column) => Some(match *column {
                "n" => row.n.is_none(),
                "s" => row.s.is_none(),
                _ => row.b.is_none(),
            }),
            Self::Sure(what) => Some(row.b == Some(*what)),
        }
    }

    fn sql(&self) -> String {
        let text = |text: &str| format!("'{}'", text.replace('\'', "''"));
        match self {
            Self::And(a, b) => format!("({} AND {})", a.sql(), b.sql()),
            Self::Or(a, b) => format!("({} OR {})", a.sql(), b.sql()),
            Self::Not(a) => format!("NOT {}", a.sql()),
            Self::Number(sign, with) => format!("n {sign} {with}"),
            Self::Text(sign, with) => format!("s {sign} {}", text(with)),
            Self::Like(pattern) => format!("s LIKE {}", text(pattern)),
            Self::Among(list) => {
                let list: Vec<String> = list.iter().map(ToString::to_string).collect();
                format!("n IN ({})", list.join(", "))
            }
            Self::Within(low, high) => format!("n BETWEEN {low} AND {high}"),
            Self::Empty(column) => format!("{column} IS NULL"),
            Self::Sure(what) => format!("b IS {what}"),
        }
    }
}

fn compare(sign: &str, order: std::cmp::Ordering) -> bool {
    match sign {
        "=" => order.is_eq(),
        "<>" => order.is_ne(),
        "<" => order.is_lt(),
        "<=" => order.is_le(),
        ">" => order.is_gt(),
        _ => order.is_ge(),
    }
}

fn asked() -> impl Strategy<Value = Asked> {
    let sign = || prop::sample::select(vec!["=", "<>", "<", "<=", ">", ">="]);
    let leaf = prop_oneof![
        (sign(), -3..4).prop_map(|(sign, n)| Asked::Number(sign, n)),
        (sign(), prop::sample::select(TEXTS.to_vec())).prop_map(|(sign, s)| Asked::Text(sign, s)),
        prop::sample::select(vec!["%", "a%", "_", "%t%"]).prop_map(Asked::Like),
        prop::collection::vec(-3..4, 1..4).prop_map(Asked::Among),
        (-3..4, -3..4).prop_map(|(low, high)| Asked::Within(low, high)),
        prop::sample::select(vec!["n", "s", "b"]).prop_map(Asked::Empty),
        any::<bool>().prop_map(Asked::Sure),
    ];
    leaf.prop_recursive(4, 16, 2, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(a, b)| Asked::And(a.into(), b.into())),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| Asked::Or(a.into(), b.into())),
            inner.prop_map(|a| Asked::Not(a.into())),
        ]
    })
}

fn every_row() -> Vec<Row> {
    let mut rows = Vec::new();
    for n in [None, Some(-2), Some(0), Some(3)] {
        for s in [None].into_iter().chain(TEXTS.map(Some)) {
            for b in [None, Some(true), Some(false)] {
                rows.push(Row { n, s, b });
            }
        }
    }
    rows
}

/// Of plain and of partitioned tables just the rows go of which the condition holds and whose time is
/// over: what cannot be told stays.
#[test]
fn rows_taken_are_those_that_an_evaluation_of_its_own_takes() {
    const TABLES: usize = 20;
    let mut runner = TestRunner::deterministic();
    let conditions: Vec<Asked> = (0..TABLES)
        .map(|_| asked().new_tree(&mut runner).unwrap().current())
        .collect();
    let rows = every_row();
    let mut schema =
        "CREATE TABLE customer (id int PRIMARY KEY, member_no text UNIQUE NOT NULL);".to_owned();
    let mut policy = POLICY.split("[[table]]").next().unwrap().to_owned()
        + "[[table]]\nname = \"shop.public.customer\"\naction = \"delete\"\n";
    let values: Vec<String> = rows
        .iter()
        .enumerate()
        .map(|(id, row)| {
            let or_null = |text: Option<String>| text.unwrap_or_else(|| "NULL".into());
            let age = if id % 5 == 0 { 3 } else { 200 };
            format!(
                "({id}, {}, {}, {}, now() - interval '{age} days')",
                or_null(row.n.map(|n| n.to_string())),
                or_null(row.s.map(|s| format!("'{}'", s.replace('\'', "''")))),
                or_null(row.b.map(|b| b.to_string())),
            )
        })
        .collect();
    for (at, condition) in conditions.iter().enumerate() {
        let partitioned = at % 2 == 1;
        schema += &format!(
            "CREATE TABLE t{at} (id int PRIMARY KEY, n int, s varchar(9) COLLATE \"C\", b boolean, at timestamptz){};",
            if partitioned {
                " PARTITION BY RANGE (id)"
            } else {
                ""
            }
        );
        if partitioned {
            schema += &format!(
                "CREATE TABLE t{at}a PARTITION OF t{at} FOR VALUES FROM (0) TO (40); \
                 CREATE TABLE t{at}b PARTITION OF t{at} DEFAULT;"
            );
        }
        schema += &format!("INSERT INTO t{at} VALUES {};", values.join(", "));
        policy += &format!(
            "[[retention]]\nname = \"r{at}\"\ntable = \"shop.public.t{at}\"\nsince = \"at\"\nkeep = \"90 days\"\n\
             where = \"{}\"\naction = \"delete\"\nbecause = \"a test\"\ntimezone = \"Asia/Tokyo\"\n",
            condition.sql()
        );
    }
    let company = Company::with(&schema, &policy);
    let (mut taken, mut unknown) = (0, 0);
    for (at, condition) in conditions.iter().enumerate() {
        company.says(&["retention", "run", &format!("r{at}")], 0);
        let left = company.server.query(
            &company.shop,
            &format!("SELECT id::text FROM t{at} t ORDER BY t.id"),
        );
        let left: Vec<String> = left
            .into_iter()
            .map(|row| row[0].clone().unwrap())
            .collect();
        let stays = |id: usize| id.is_multiple_of(5) || condition.holds(&rows[id]) != Some(true);
        let expected: Vec<String> = (0..rows.len())
            .filter(|id| stays(*id))
            .map(|id| id.to_string())
            .collect();
        assert_eq!(left, expected, "{}", condition.sql());
        taken += rows.len() - expected.len();
        unknown += rows
            .iter()
            .filter(|row| condition.holds(row).is_none())
            .count();
    }
    assert!(taken > 100 && unknown > 50, "{taken} {unknown}");
}
