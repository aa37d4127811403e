//! Every destructive statement tests its condition again under the lock that it holds.

mod beside;
mod holds;
mod limbo;

use crate::target::{Planned, Target, head, subject, totals};
use erasured::plan::ChangeKind;
use erasured::system::postgres::execute::{
    BeforeChange, Deferred, NotErased, Nothing, Outcome, Seen,
};
use futures_util::future::BoxFuture;
use std::time::{Duration, Instant};

const SCHEMA: &str = "
CREATE TABLE customer (id int PRIMARY KEY, email text);
CREATE TABLE invoice (id int PRIMARY KEY, customer_id int REFERENCES customer, issued date NOT NULL);
CREATE TABLE note (id int PRIMARY KEY, customer_id int REFERENCES customer, kind text, body text);
INSERT INTO customer VALUES (1, 'one@example.jp'), (2, 'two@example.jp');
INSERT INTO invoice SELECT n, n % 2 + 1, '2001-01-01' FROM generate_series(1, 10) n;
INSERT INTO note SELECT n, n % 2 + 1, 'own', 'x' FROM generate_series(1, 10) n;
";

fn policy() -> String {
    head("s.public.customer")
        + r#"
[[table]]
name = "s.public.customer"
action = "delete"
[[table]]
name = "s.public.invoice"
action = "retain"
until = { column = "issued", plus = "7 years" }
because = "books are kept"
then = "delete"
set = { customer_id = "null" }
[[table]]
name = "s.public.note"
action = "delete"
"#
}

/// Runs while another session holds a lock on a row that it then changes and commits.
async fn meanwhile(target: &Target, planned: &Planned, sql: &str) -> Result<Outcome, NotErased> {
    let mut other = target.client().await;
    let tx = other.transaction().await.unwrap();
    tx.batch_execute(sql).await.unwrap();
    let subjects = [subject(1)];
    let run = target.run(planned, &subjects);
    let release = async {
        let waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%erasured:%'";
        let database = &target.database;
        let sql = format!("{waits} AND datname = '{database}'");
        let end = Instant::now() + Duration::from_secs(10);
        while target.count(&sql) == 0 {
            assert!(Instant::now() < end, "the batch never waited for the row");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        tx.commit().await.unwrap();
    };
    tokio::join!(run, release).0
}

/// The two-session test of the lessons: a row put under the law's protection while the batch
/// waits for it survives, and the count is right.
#[tokio::test(flavor = "multi_thread")]
async fn lesson_05_conditions_are_tested_again_under_the_lock() {
    let target = Target::new(SCHEMA);
    let planned = target.plan(&policy()).await.unwrap();
    let sql = "UPDATE invoice SET issued = '2026-01-01' WHERE id = 4";
    let outcome = meanwhile(&target, &planned, sql).await.unwrap();
    assert_eq!(target.count("SELECT count(*) FROM invoice WHERE id = 4"), 1);
    assert_eq!(target.count("SELECT count(*) FROM invoice"), 6);
    let counted = totals(&outcome.counts);
    assert_eq!(counted[&("public.invoice".into(), ChangeKind::Deleted)], 4);
    assert_eq!(
        outcome.counts[0].kept.iter().map(|k| k.rows).sum::<i64>(),
        1
    );
}

/// A row given to somebody else while the batch waits for it is not the subject's any more.
#[tokio::test(flavor = "multi_thread")]
async fn lesson_05_a_row_given_away_meanwhile_stays() {
    for table in ["invoice", "note"] {
        let target = Target::new(SCHEMA);
        let planned = target.plan(&policy()).await.unwrap();
        let sql = format!("UPDATE {table} SET customer_id = 2 WHERE id = 4");
        let outcome = meanwhile(&target, &planned, &sql).await.unwrap();
        let left = format!("SELECT count(*) FROM {table} WHERE id = 4 AND customer_id = 2");
        assert_eq!(target.count(&left), 1, "{table}");
        let counted = totals(&outcome.counts);
        assert_eq!(
            counted[&(format!("public.{table}"), ChangeKind::Deleted)],
            4,
            "{table}"
        );
    }
}

/// The subject's row is locked first: nobody can add a child behind the erasure's back.
#[tokio::test(flavor = "multi_thread")]
async fn lesson_05_no_child_can_come_once_the_root_is_locked() {
    struct Add<'a>(&'a Target, bool);
    impl BeforeChange for Add<'_> {
        fn last_word(&mut self) -> BoxFuture<'_, Result<(), NotErased>> {
            Box::pin(std::future::ready(Ok(())))
        }

        fn ready(
            &mut self,
            _: Vec<Seen>,
            _: Vec<Deferred>,
        ) -> BoxFuture<'_, Result<(), NotErased>> {
            let sql = "SET lock_timeout = '300ms'; INSERT INTO note VALUES (90, 1, 'own', 'late')";
            let tried = crate::support::Server::shared().try_execute(&self.0.database, sql);
            self.1 = tried.is_err_and(|e| e.code().is_some_and(|c| c.code() == "55P03"));
            Box::pin(std::future::ready(Ok(())))
        }
    }
    let target = Target::new(SCHEMA);
    let planned = target.plan(&policy()).await.unwrap();
    let mut add = Add(&target, false);
    target
        .run_with(&planned, planned.part("s"), &[subject(1)], &mut add)
        .await
        .unwrap();
    assert!(add.1, "the child had to wait for the root's lock");
    assert_eq!(
        target.count("SELECT count(*) FROM note WHERE customer_id = 1"),
        0
    );
}

/// A condition that the policy adds to a link (`when`) is tested again too.
#[tokio::test(flavor = "multi_thread")]
async fn lesson_05_a_row_that_no_longer_fits_the_link_stays() {
    let target = Target::new(
        "CREATE TABLE customer (id int PRIMARY KEY, email text);
         CREATE TABLE activity (id int PRIMARY KEY, actor int, kind text);
         INSERT INTO customer VALUES (1, 'one@example.jp');
         INSERT INTO activity VALUES (1, 1, 'Customer'), (2, 1, 'Customer'), (3, 1, 'Staff');",
    );
    let policy = head("s.public.customer")
        + r#"
[[table]]
name = "s.public.customer"
action = "delete"
[[table]]
name = "s.public.activity"
link = { columns = ["actor"], to = "s.public.customer", when = { kind = "Customer" } }
action = "delete"
"#;
    let planned = target.plan(&policy).await.unwrap();
    let sql = "UPDATE activity SET kind = 'Staff' WHERE id = 1";
    meanwhile(&target, &planned, sql).await.unwrap();
    assert_eq!(
        target.value("SELECT string_agg(id::text, ',' ORDER BY id) FROM activity"),
        "1,3"
    );
}

/// One blocked subject ends in a lock timeout, which is worth another try, and changes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn lesson_05_a_held_lock_times_out_and_changes_nothing() {
    let target = Target::new(SCHEMA);
    let planned = target.plan(&policy()).await.unwrap();
    let before = target.rows();
    let mut other = target.client().await;
    let tx = other.transaction().await.unwrap();
    tx.batch_execute("SELECT FROM note WHERE id = 4 FOR UPDATE")
        .await
        .unwrap();
    let part = planned.part("s");
    let error = target
        .run_with(&planned, part, &[subject(1)], &mut Nothing)
        .await
        .err()
        .unwrap();
    use erasured::system::postgres::failure::Failure;
    assert!(
        matches!(
            error,
            NotErased::Database(_, Failure::Transient("lock_timeout"))
        ),
        "{error}"
    );
    assert_eq!(target.rows(), before);
}
