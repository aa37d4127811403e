//! Real plans, robbed of one statement at a time, and rows planted behind a plan's back: the
//! probes inside the transaction must refuse, and nothing may commit.

use crate::support::{Server, load_demo, repository};
use crate::target::{Planned, Target, head, plan_on, subject, totals};
use erasured::plan::SystemPlan;
use erasured::system::postgres::execute::{BeforeChange, Deferred, NotErased, Seen, Subject};
use erasured::system::postgres::failure::Failure;
use futures_util::future::BoxFuture;
use std::collections::BTreeMap;

/// Composite keys, a table that refers to itself, a chain of five, every ON DELETE, links that
/// no foreign key knows, tables without any key.
pub(crate) const SCHEMA: &str = "
CREATE TABLE customer (id int PRIMARY KEY, email text, referred_by int REFERENCES customer);
CREATE TABLE account (tenant int, no int, customer_id int NOT NULL REFERENCES customer, PRIMARY KEY (tenant, no));
CREATE TABLE folder (tenant int, id int, account_no int, parent int, name text, PRIMARY KEY (tenant, id),
  CONSTRAINT folder_account FOREIGN KEY (tenant, account_no) REFERENCES account,
  CONSTRAINT folder_parent FOREIGN KEY (tenant, parent) REFERENCES folder);
CREATE TABLE file (tenant int, id int, folder int NOT NULL, body text, PRIMARY KEY (tenant, id),
  FOREIGN KEY (tenant, folder) REFERENCES folder ON DELETE CASCADE);
CREATE TABLE version (tenant int NOT NULL, file int NOT NULL, body text,
  FOREIGN KEY (tenant, file) REFERENCES file ON DELETE CASCADE);
CREATE TABLE tag (tenant int, file int, label text,
  FOREIGN KEY (tenant, file) REFERENCES file ON DELETE SET NULL);
CREATE TABLE share (id int PRIMARY KEY, tenant int, file int, guest int,
  CONSTRAINT share_file FOREIGN KEY (tenant, file) REFERENCES file DEFERRABLE INITIALLY DEFERRED,
  CONSTRAINT share_guest FOREIGN KEY (guest) REFERENCES customer ON DELETE SET NULL);
CREATE TABLE remark (id int PRIMARY KEY, customer_id int REFERENCES customer ON DELETE SET NULL, body text);
CREATE TABLE invoice (id int PRIMARY KEY, customer_id int REFERENCES customer, issued date NOT NULL, address text);
CREATE TABLE line (id int PRIMARY KEY, invoice_id int NOT NULL REFERENCES invoice ON DELETE CASCADE, body text);
CREATE TABLE event (id int PRIMARY KEY, who int, what text);
CREATE TABLE detail (event_id int, body text);
CREATE TABLE visit (who int, note text);
CREATE TABLE ward (id int PRIMARY KEY, customer_id int REFERENCES customer, head int NOT NULL);
CREATE TABLE nurse (id int PRIMARY KEY, ward int NOT NULL REFERENCES ward ON DELETE CASCADE);

INSERT INTO customer VALUES (1, 'one@example.jp', NULL), (2, 'two@example.jp', 1), (3, 'three@example.jp', 2);
INSERT INTO account VALUES (1, 1, 1), (2, 1, 1), (1, 2, 2), (2, 2, 3);
INSERT INTO folder VALUES (1, 1, 1, NULL, 'a'), (1, 2, NULL, 1, 'b'), (1, 3, NULL, 2, 'c'), (2, 1, 2, NULL, 'd'), (2, 2, NULL, 1, 'e'), (2, 3, 1, NULL, 'f');
INSERT INTO file VALUES (1, 1, 1, 'x'), (1, 2, 3, 'y'), (2, 1, 1, 'z'), (2, 2, 3, 'w');
INSERT INTO version SELECT tenant, id, body || n FROM file, generate_series(1, 2) n;
INSERT INTO tag SELECT tenant, id, 'tag ' || body FROM file;
INSERT INTO share VALUES (1, 1, 1, 2), (2, 2, 1, 1), (3, 2, 1, 2), (4, NULL, NULL, 1);
INSERT INTO remark VALUES (1, 1, 'hello'), (2, 2, 'hallo');
INSERT INTO invoice VALUES (1, 1, '2025-01-01', 'here'), (2, 1, '2001-01-01', 'there'), (3, 2, '2025-01-01', 'elsewhere'), (4, 2, '2001-01-01', 'far');
INSERT INTO line SELECT n, (n + 1) / 2, 'line ' || n FROM generate_series(1, 8) n;
INSERT INTO event SELECT n, n % 3 + 1, 'event ' || n FROM generate_series(1, 9) n;
INSERT INTO detail SELECT n, 'detail ' || n FROM generate_series(1, 9) n;
INSERT INTO ward SELECT n, n, n FROM generate_series(1, 3) n;
INSERT INTO ward VALUES (4, NULL, 4);
INSERT INTO nurse SELECT n, (n + 2) % 3 + 1 FROM generate_series(1, 7) n;
INSERT INTO nurse VALUES (8, 4);
ALTER TABLE ward ADD CONSTRAINT ward_head FOREIGN KEY (head) REFERENCES nurse;
INSERT INTO visit SELECT n % 3 + 1, 'visit ' || n FROM generate_series(1, 9) n;
";

pub(crate) fn policy() -> String {
    head("s.public.customer") + RULES
}

const RULES: &str = r#"
[[table]]
name = "s.public.customer"
action = "delete"
[[table]]
name = "s.public.customer"
via = "customer_referred_by_fkey"
action = "detach"
[[table]]
name = "s.public.account"
action = "delete"
[[table]]
name = "s.public.folder"
action = "delete"
[[table]]
name = "s.public.folder"
via = "folder_parent"
action = "delete"
[[table]]
name = "s.public.file"
action = "delete"
[[table]]
name = "s.public.version"
action = "delete"
[[table]]
name = "s.public.tag"
action = "delete"
[[table]]
name = "s.public.share"
action = "delete"
[[table]]
name = "s.public.share"
via = "share_guest"
action = "detach"
[[table]]
name = "s.public.remark"
action = "anonymize"
set = { customer_id = "null", body = "redact" }
[[table]]
name = "s.public.invoice"
action = "retain"
until = { column = "issued", plus = "7 years" }
because = "books are kept"
then = "delete"
set = { customer_id = "null", address = "hash" }
[[table]]
name = "s.public.line"
action = "retain"
because = "books are kept"
[[table]]
name = "s.public.event"
link = { columns = ["who"], to = "s.public.customer" }
action = "delete"
[[table]]
name = "s.public.detail"
link = { columns = ["event_id"], to = "s.public.event" }
action = "delete"
[[table]]
name = "s.public.ward"
action = "delete"
[[table]]
name = "s.public.nurse"
action = "delete"
[[table]]
name = "s.public.visit"
link = { columns = ["who"], to = "s.public.customer" }
action = "anonymize"
set = { note = "redact" }
"#;

/// Refused by a probe, by the count of rows, or by the database's own foreign key.
fn refused(error: &NotErased) -> bool {
    match error {
        NotErased::Residual { .. } | NotErased::Mismatch { .. } => true,
        NotErased::Database(said, Failure::Permanent) => said.contains("SQLSTATE 23503"),
        _ => false,
    }
}

/// Each change of a part taken out in turn; how many there were.
async fn without_each_change(target: &Target, planned: &Planned, subjects: &[Subject]) -> usize {
    let part = planned.part(&target.system);
    let before = target.rows();
    let dry = totals(&target.dry_run(planned, subjects).await.unwrap());
    for at in 0..part.changes.len() {
        let mut robbed = part.clone();
        let gone = robbed.changes.remove(at);
        let what = format!("{}: {:?} {}", gone.table, gone.kind, gone.label);
        assert!(
            dry.contains_key(&(gone.table.to_string(), gone.kind)),
            "the fixture has no rows for {what}, so leaving it out proves nothing"
        );
        must_refuse(target, planned, &robbed, subjects, &what).await;
        assert_eq!(target.rows(), before, "{what}: something was committed");
    }
    part.changes.len()
}

async fn must_refuse(
    target: &Target,
    planned: &Planned,
    part: &SystemPlan,
    subjects: &[Subject],
    what: &str,
) {
    let result = target
        .run_with(
            planned,
            part,
            subjects,
            &mut erasured::system::postgres::execute::Nothing,
        )
        .await;
    match result {
        Err(error) => assert!(refused(&error), "without {what}: {error}"),
        Ok(_) => panic!("without {what} it committed"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_without_any_one_of_its_changes_is_refused() {
    let target = Target::new(SCHEMA);
    let planned = target.plan(&policy()).await.unwrap();
    let subjects = [subject(1)];
    assert!(without_each_change(&target, &planned, &subjects).await >= 15);
    // The whole plan does pass: it was the missing statement that was refused.
    target.run(&planned, &subjects).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_company_without_any_one_of_its_changes_is_refused() {
    let server = Server::shared();
    let demo = load_demo(server, 200);
    let shop = Target::of("shop", &demo.shop);
    let loyalty = Target::of("loyalty", &demo.loyalty);
    let policy =
        std::fs::read_to_string(repository().join("policies/travel/customer.toml")).unwrap();
    let planned = plan_on(&[&shop, &loyalty], &policy, "account")
        .await
        .unwrap();
    let rows = server.query(
        &demo.shop,
        "SELECT id, lower(member_no), lower(email) FROM customer ORDER BY id LIMIT 60",
    );
    let subjects: Vec<Subject> = rows
        .into_iter()
        .map(|row| Subject {
            identifiers: BTreeMap::from([
                ("member_no".into(), row[1].iter().cloned().collect()),
                ("email".into(), row[2].iter().cloned().collect()),
            ]),
            ..subject(row[0].as_ref().unwrap())
        })
        .collect();
    let mut changes = 0;
    for target in [&loyalty, &shop] {
        changes += without_each_change(target, &planned, &subjects).await;
        target.run(&planned, &subjects).await.unwrap();
    }
    assert!(changes >= 20, "{changes}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_that_fails_to_look_along_one_way_is_refused() {
    let target = Target::new(SCHEMA);
    let planned = target.plan(&policy()).await.unwrap();
    let part = planned.part("s");
    let before = target.rows();
    let mut tried = 0;
    for set in 0..part.sets.len() {
        for capture in 0..part.sets[set].captures.len() {
            let mut robbed = part.clone();
            let gone = robbed.sets[set].captures.remove(capture);
            if gone.label == erasured::plan::GONE_BEFORE {
                continue; // of a subject who is there it finds nothing
            }
            if gone.parent.is_none() && gone.label == erasured::lineage::SUBJECT {
                continue; // see `only_the_sweep_sees_that_the_subject_was_never_looked_at`
            }
            let what = format!(
                "the search in {} by {} ({:?})",
                part.sets[set].table, gone.label, gone.fate
            );
            must_refuse(&target, &planned, &robbed, &[subject(1)], &what).await;
            assert_eq!(target.rows(), before, "{what}");
            tried += 1;
        }
    }
    assert!(tried >= 13, "{tried}");
}

/// A plan that finds nothing at the root has nothing to probe by, and looks like one for a
/// subject already gone, which is a success: this one mistake the transaction cannot see.
#[tokio::test(flavor = "multi_thread")]
async fn only_the_sweep_sees_that_the_subject_was_never_looked_at() {
    let target = Target::new(SCHEMA);
    let planned = target.plan(&policy()).await.unwrap();
    let mut robbed = planned.part("s").clone();
    let root = robbed
        .sets
        .iter_mut()
        .find(|s| s.table.table == "customer")
        .unwrap();
    root.captures
        .retain(|c| c.label != erasured::lineage::SUBJECT);
    let mut nothing = erasured::system::postgres::execute::Nothing;
    let outcome = target
        .run_with(&planned, &robbed, &[subject(1)], &mut nothing)
        .await
        .unwrap();
    assert!(totals(&outcome.counts).is_empty());
    let found = target.sweep("one@example.jp").await;
    assert_eq!(found, ["public.customer.email"]);
}

/// Rows that come in on another connection between capture and change, past the foreign keys.
struct Plant<'a> {
    target: &'a Target,
    sql: &'a str,
}

impl BeforeChange for Plant<'_> {
    fn last_word(&mut self) -> BoxFuture<'_, Result<(), NotErased>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn ready(&mut self, _: Vec<Seen>, _: Vec<Deferred>) -> BoxFuture<'_, Result<(), NotErased>> {
        let sql = format!(
            "SET session_replication_role = replica; SET lock_timeout = '1s'; {}",
            self.sql
        );
        self.target.execute(&sql);
        Box::pin(std::future::ready(Ok(())))
    }
}

/// Each hangs on a row of subject 1 that goes, most of them on one that is itself only a child.
const PLANTED: &[&str] = &[
    "INSERT INTO account VALUES (9, 9, 1)",
    "INSERT INTO folder VALUES (1, 90, 1, NULL, 'planted')",
    "INSERT INTO folder VALUES (1, 91, NULL, 3, 'planted')",
    "INSERT INTO file VALUES (1, 90, 3, 'planted')",
    "INSERT INTO version VALUES (1, 2, 'planted')",
    "INSERT INTO tag VALUES (1, 2, 'planted')",
    "INSERT INTO share VALUES (90, 1, 2, NULL)",
    "INSERT INTO share VALUES (91, NULL, NULL, 1)",
    "INSERT INTO remark VALUES (90, 1, 'planted')",
    "INSERT INTO invoice VALUES (90, 1, '2001-01-01', 'planted')",
    "INSERT INTO invoice VALUES (91, 1, '2025-01-01', 'planted')",
    "INSERT INTO line VALUES (90, 2, 'planted')",
    "INSERT INTO line VALUES (91, 1, 'planted')",
    "INSERT INTO event VALUES (90, 1, 'planted')",
    "INSERT INTO detail VALUES (3, 'planted')",
    "INSERT INTO visit VALUES (1, 'planted')",
    "INSERT INTO customer VALUES (90, 'planted@example.jp', 1)",
];

/// The row is refused, or it is gone with the others and counted.
#[tokio::test(flavor = "multi_thread")]
async fn a_row_planted_behind_the_plan_is_never_left() {
    let (mut refusals, mut taken) = (0, 0);
    for sql in PLANTED {
        let target = Target::new(SCHEMA);
        let planned = target.plan(&policy()).await.unwrap();
        let intact = totals(&target.dry_run(&planned, &[subject(1)]).await.unwrap());
        let mut plant = Plant {
            target: &target,
            sql,
        };
        let part = planned.part("s");
        let result = target
            .run_with(&planned, part, &[subject(1)], &mut plant)
            .await;
        match result {
            Err(error) => {
                assert!(refused(&error), "{sql}: {error}");
                assert_eq!(
                    target.count("SELECT count(*) FROM customer WHERE id = 1"),
                    1,
                    "{sql}"
                );
                refusals += 1;
            }
            Ok(outcome) => {
                let rows = format!("{:?}", target.rows());
                assert!(!rows.contains("planted"), "{sql}: left behind");
                let counted = totals(&outcome.counts);
                let more: i64 = counted.values().sum::<i64>() - intact.values().sum::<i64>();
                assert_eq!(more, 1, "{sql}: taken but not counted");
                taken += 1;
            }
        }
    }
    // Leaves are found again by their parents' keys; everything else is refused.
    assert_eq!((refusals, taken), (PLANTED.len() - 3, 3));
}

/// A trigger that undoes the change and reports it as done.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_a_trigger_undoes_is_refused() {
    for table in ["remark", "visit"] {
        let target = Target::new(SCHEMA);
        target.execute(&format!(
            "CREATE FUNCTION undo() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN OLD; END';
             CREATE TRIGGER undo BEFORE UPDATE ON {table} FOR EACH ROW EXECUTE FUNCTION undo()"
        ));
        let planned = target.plan(&policy()).await.unwrap();
        let error = target.run(&planned, &[subject(1)]).await.err().unwrap();
        assert!(
            matches!(&error, NotErased::Residual { table: t, .. } if t.table == table),
            "{error}"
        );
    }
}

/// A trigger that takes a changed row away: what stays must be there.
#[tokio::test(flavor = "multi_thread")]
async fn a_changed_row_that_a_trigger_takes_away_is_refused() {
    for (table, of) in [
        ("remark", "id"),
        ("share", "id"),
        ("invoice", "id"),
        ("visit", "ctid"),
    ] {
        let target = Target::new(SCHEMA);
        target.execute(&format!(
            "CREATE FUNCTION take() RETURNS trigger LANGUAGE plpgsql AS
               'BEGIN DELETE FROM {table} t WHERE t.{of} = NEW.{of}; RETURN NULL; END';
             CREATE TRIGGER take AFTER UPDATE ON {table} FOR EACH ROW EXECUTE FUNCTION take()"
        ));
        let before = target.rows();
        let refused = match target.plan(&policy()).await {
            Ok(planned) => target
                .run(&planned, &[subject(1)])
                .await
                .err()
                .unwrap()
                .to_string(),
            Err(found) => crate::target::told(&found),
        };
        assert!(refused.contains(table), "{table}: {refused}");
        assert_eq!(target.rows(), before, "{table}");
    }
}
