//! Rows under a legal hold, in every shape in which a plan reaches rows: the ticket that reaches one
//! stops before the first change, and no other does.

use crate::target::{Target, head, subject};
use erasured::name::TableName;
use erasured::plan::{Comparison, Condition, HeldRows};
use erasured::system::postgres::execute::{NotErased, Subject};
use std::collections::BTreeSet;
use uuid::Uuid;

const SCHEMA: &str = "
CREATE TABLE customer (id int PRIMARY KEY, email text);
CREATE TABLE booking (id int PRIMARY KEY, customer_id int NOT NULL REFERENCES customer, note text);
CREATE TABLE leg (id int PRIMARY KEY, booking_id int NOT NULL REFERENCES booking, mark int);
CREATE TABLE mail (id int PRIMARY KEY, customer_id int REFERENCES customer, answers int REFERENCES mail, mark int);
CREATE TABLE log (customer_id int NOT NULL REFERENCES customer, mark int);
CREATE TABLE click (id int PRIMARY KEY, customer_id int NOT NULL REFERENCES customer, mark int);
CREATE TABLE profile (id int PRIMARY KEY, customer_id int NOT NULL, nick text);
CREATE TABLE review (id int PRIMARY KEY, customer_id int REFERENCES customer, body text);
CREATE TABLE a (id int PRIMARY KEY, customer_id int REFERENCES customer, b int, mark int);
CREATE TABLE b (id int PRIMARY KEY, a int REFERENCES a, mark int);
ALTER TABLE a ADD FOREIGN KEY (b) REFERENCES b;
INSERT INTO customer SELECT n, 'c' || n || '@example.jp' FROM generate_series(1, 4) n;
INSERT INTO booking SELECT n, n, 'x' FROM generate_series(1, 4) n;
INSERT INTO leg SELECT n, n, n FROM generate_series(1, 4) n;
INSERT INTO mail SELECT n, n, NULL, 0 FROM generate_series(1, 4) n;
INSERT INTO mail SELECT n + 10, NULL, n, n FROM generate_series(1, 4) n;
INSERT INTO log SELECT n, n FROM generate_series(1, 4) n;
INSERT INTO click SELECT n, 1 + n % 4, 1 + n % 4 FROM generate_series(1, 100) n;
INSERT INTO profile SELECT n, n, 'nick' FROM generate_series(1, 4) n;
INSERT INTO review SELECT n, n, 'r' FROM generate_series(1, 4) n;
INSERT INTO a SELECT n, n, NULL, 0 FROM generate_series(1, 4) n;
INSERT INTO b SELECT n, n, n FROM generate_series(1, 4) n;
UPDATE a SET b = id;
";

fn policy() -> String {
    let mut policy = head("s.public.customer");
    for table in ["customer", "booking", "leg", "mail", "log", "a", "b"] {
        policy += &format!("[[table]]\nname = \"s.public.{table}\"\naction = \"delete\"\n");
    }
    policy
        + r#"
[[table]]
name   = "s.public.mail"
via    = "mail_answers_fkey"
action = "delete"
[[table]]
name   = "s.public.click"
action = "delete"
large  = "batches"
[[table]]
name   = "s.public.profile"
link   = { columns = ["customer_id"], to = "s.public.customer" }
action = "anonymize"
set    = { nick = "null" }
[[table]]
name   = "s.public.review"
action = "detach"
"#
}

fn hold(table: &str, column: &str, sql_type: &str, value: &str) -> HeldRows {
    HeldRows {
        hold: Uuid::from_u128(7),
        table: TableName::new("public", table),
        conditions: vec![Condition {
            column: column.into(),
            sql_type: sql_type.into(),
            comparison: Comparison::Equal,
            values: vec![value.into()],
        }],
    }
}

/// Of three tickets the second reaches a covered row.
#[tokio::test(flavor = "multi_thread")]
async fn a_covered_row_is_found_in_every_shape() {
    for (table, column) in [
        ("customer", "id"),
        ("leg", "mark"),
        ("mail", "mark"),
        ("log", "mark"),
        ("click", "mark"),
        ("booking", "id"),
        ("profile", "id"),
        ("review", "id"),
        ("a", "id"),
        ("b", "mark"),
    ] {
        let mut target = Target::new(SCHEMA);
        let planned = target.plan(&policy()).await.unwrap();
        target.held = vec![hold(table, column, "int4", "2")];
        let subjects: Vec<Subject> = [1, 2, 3].map(subject).into();
        let before = target.rows();
        let error = target.run(&planned, &subjects).await.err();
        let Some(NotErased::HeldRows(found)) = error else {
            panic!("{table}: {error:?}");
        };
        let found: BTreeSet<Uuid> = found.into_iter().map(|row| row.ticket).collect();
        assert_eq!(found, BTreeSet::from([subjects[1].ticket]), "{table}");
        assert_eq!(target.rows(), before, "{table}: nothing has changed");
        // The others reach none, though the hold stands.
        let others = [subjects[0].clone(), subjects[2].clone()];
        target.run(&planned, &others).await.unwrap();
        assert_eq!(target.count("SELECT count(*) FROM customer"), 2, "{table}");
    }
}
