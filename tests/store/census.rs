//! What the metrics count, against a look at every ticket by itself.

use crate::offer;
use crate::server::Database;
use erasured::policy::Level;
use std::collections::BTreeMap;
use tokio_postgres::Client;

/// Tickets in every state, late and early, tried and not, found and lost, leased, let go of and never lent.
const ALL_KINDS: &str = "
    SET session_replication_role = replica;
    DO $$ DECLARE c record; BEGIN
      FOR c IN SELECT conname FROM pg_constraint WHERE conrelid = 'erasured.ticket'::regclass AND contype = 'c' LOOP
        EXECUTE format('ALTER TABLE erasured.ticket DROP CONSTRAINT %I', c.conname);
      END LOOP;
    END $$;
    INSERT INTO erasured.ticket (reference, subject, scope, ground, requested_at, due_at, state, clock, attempt, subject_hash,
                                 problem_code, acknowledge_by, acknowledged_at, escalated)
    SELECT 'R-' || n, 'customer', (ARRAY['account', 'newsletter'])[1 + n % 2], 'policy', now() - n * interval '1 hour',
           CASE WHEN n % 11 > 0 THEN now() + (n % 7 - 3) * interval '1 day' END,
           (ARRAY['received', 'verified', 'approved', 'scheduled', 'executing', 'verifying', 'failed', 'on_hold',
                  'completed', 'deferred', 'rejected'])[1 + n % 11],
           (ARRAY['running', 'paused', 'not_started'])[1 + n % 3], n % 4 / 2,
           CASE WHEN n % 5 > 1 THEN repeat('a', 64) END, CASE WHEN n % 6 > 3 THEN 'E0403' END,
           CASE WHEN n % 13 > 2 THEN now() + (n % 5 - 2) * interval '1 day' END, CASE WHEN n % 9 > 5 THEN now() END, n % 3
      FROM generate_series(1, 2000) n;
    INSERT INTO erasured.lease (ticket_id, token, until, holder)
    SELECT id, gen_random_uuid(), now() + (attempt * 2 - 1 + escalated) * interval '10 min', 'somebody'
      FROM erasured.ticket WHERE state IN ('scheduled', 'executing', 'verifying') AND substr(reference, 3)::int % 4 > 0;
    RESET session_replication_role";

async fn one(client: &Client, condition: &str) -> i64 {
    let sql = format!(
        "SELECT count(*) FROM erasured.ticket t LEFT JOIN erasured.lease l ON l.ticket_id = t.id \
          WHERE state NOT IN ('completed', 'deferred', 'rejected') AND ({condition})"
    );
    client.query_one(&sql, &[]).await.unwrap().get(0)
}

#[tokio::test]
async fn every_figure_is_that_of_a_plain_look() {
    let db = Database::new().await;
    let client = db.client("owner").await;
    let scopes = ["account", "newsletter"].map(|scope| offer(scope, false, Level::Basic));
    db.store("owner").publish_scopes(&scopes).await.unwrap();
    client.batch_execute(ALL_KINDS).await.unwrap();
    let census = db.daemon().await.census().await.unwrap();
    for (figure, condition) in [
        (census.overdue, "due_at < now() AND clock = 'running'"),
        (census.escalated, "escalated > 0 AND due_at >= now()"),
        (
            census.unconfirmed,
            "acknowledge_by < now() AND acknowledged_at IS NULL AND state IN ('received', 'verified')",
        ),
        (
            census.unresolvable,
            "subject_hash IS NULL AND problem_code IS NOT NULL",
        ),
        (
            census.retrying,
            "state = 'executing' OR state = 'scheduled' AND (attempt > 0 OR l.ticket_id IS NOT NULL)",
        ),
        (census.open_due, "due_at IS NOT NULL"),
        (census.leased, "l.until > now()"),
    ] {
        let expected = one(&client, condition).await;
        assert!(expected > 0, "none is there: {condition}");
        assert_eq!(figure, expected, "{condition}");
    }
    let mut by_state = BTreeMap::new();
    for state in [
        "received",
        "verified",
        "approved",
        "scheduled",
        "executing",
        "verifying",
        "failed",
        "on_hold",
    ] {
        by_state.insert(
            state.to_owned(),
            one(&client, &format!("state = '{state}'")).await,
        );
    }
    assert_eq!(census.by_state, by_state);
    let open: i64 = census
        .backlog
        .iter()
        .filter(|b| b.scope == "newsletter")
        .map(|b| b.open)
        .sum();
    assert_eq!(open, one(&client, "scope = 'newsletter'").await);
    let nearest = census.nearest_due_seconds.unwrap() / 86_400.0;
    assert!((-3.01..-2.99).contains(&nearest), "{nearest}");
}
