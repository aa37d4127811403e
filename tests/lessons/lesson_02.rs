//! Verification that can fail: by keys captured before the first change, by a query path of its
//! own, and by the sweep where no key leads.

use crate::mutation::{SCHEMA, policy};
use crate::target::{Target, head, subject};
use erasured::system::postgres::execute::NotErased;

/// In each store one row that a plan can miss: under a deleted parent, behind a link that ON
/// DELETE SET NULL cuts, in a table nobody decided, in JSON. (The rest is in `mutation`.)
#[tokio::test(flavor = "multi_thread")]
async fn lesson_02_verification_can_fail() {
    let target = Target::new(SCHEMA);
    let planned = target.plan(&policy()).await.unwrap();
    let before = target.rows();
    for table in [
        "version", "tag", "detail", "event", "visit", "line", "folder",
    ] {
        let mut robbed = planned.part("s").clone();
        robbed.changes.retain(|c| c.table.table != table);
        robbed
            .sets
            .iter_mut()
            .filter(|s| s.table.table == table)
            .for_each(|s| s.captures.clear());
        let mut nothing = erasured::system::postgres::execute::Nothing;
        let result = target
            .run_with(&planned, &robbed, &[subject(1)], &mut nothing)
            .await;
        let error = result
            .err()
            .unwrap_or_else(|| panic!("{table}: committed with its rows left"));
        let named = error.to_string();
        assert!(
            matches!(
                &error,
                NotErased::Residual { .. } | NotErased::Mismatch { .. }
            ) || named.contains("23503"),
            "{table}: {named}"
        );
        assert_eq!(target.rows(), before, "{table}");
    }
}

/// What no key reaches is the sweep's to find, after COMMIT.
#[tokio::test(flavor = "multi_thread")]
async fn lesson_02_the_sweep_finds_what_no_key_reaches() {
    let target = Target::new(
        "CREATE TABLE customer (id int PRIMARY KEY, email text);
         CREATE TABLE queue (n int, payload jsonb);
         INSERT INTO customer VALUES (1, 'one@example.jp'), (2, 'two@example.jp');
         INSERT INTO queue VALUES (1, '{\"to\": [\"One@Example.JP\"]}'), (2, '{\"to\": \"two@example.jp\"}');",
    );
    let policy = head("s.public.customer")
        + "[[table]]\nname = \"s.public.customer\"\naction = \"delete\"\n";
    let planned = target.plan(&policy).await.unwrap();
    target.run(&planned, &[subject(1)]).await.unwrap();
    assert_eq!(
        target.sweep("one@example.jp").await,
        ["public.queue.payload"]
    );
    target.execute("DELETE FROM queue WHERE n = 1");
    assert!(target.sweep("one@example.jp").await.is_empty());
}
