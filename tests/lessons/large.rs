//! Many rows under one subject: trees that are deleted without being read, and tables whose rows go
//! in pieces because the policy says so.

use super::support::Server;
use super::target::{Target, by_keys, head, subject, totals};
use erasured::plan::{ChangeKind, show};
use erasured::system::postgres::execute::{BeforeChange, Deferred, NotErased, Seen, Subject};
use futures_util::future::BoxFuture;
use std::collections::BTreeMap;
use std::time::Duration;

/// A forum: messages that answer messages. Two people's trees, one of them deep.
const FORUM: &str = r#"
    CREATE TABLE customer (id int PRIMARY KEY, email text);
    CREATE TABLE "message" ("n" int, "k0" int, customer int REFERENCES customer, above int, "above n" int,
        body text, PRIMARY KEY ("k0", "n"),
        CONSTRAINT answers FOREIGN KEY ("above n", above) REFERENCES "message" ("n", "k0"),
        UNIQUE ("n", "k0"));
    CREATE INDEX ON "message" (customer);
    CREATE INDEX ON "message" (above, "above n");
    INSERT INTO customer VALUES (1, 'taro@example.jp'), (2, 'hanako@example.jp'), (3, 'jiro@example.jp');
    INSERT INTO "message" SELECT -1, i, CASE WHEN i = 0 THEN 1 END, CASE WHEN i > 0 THEN i - 1 END, CASE WHEN i > 0 THEN -1 END, 'deep' FROM generate_series(0, 2999) i;
    INSERT INTO "message" SELECT 2, i, CASE WHEN i = 0 THEN 2 END, CASE WHEN i > 0 THEN (i - 1) / 3 END, CASE WHEN i > 0 THEN 2 END, 'wide' FROM generate_series(0, 499) i;
    INSERT INTO "message" VALUES (3, 0, 3, NULL, NULL, 'alone');
    -- Answers itself.
    INSERT INTO "message" VALUES (1, 1, 1, 1, 1, 'to myself');
"#;

fn forum_policy() -> String {
    head("s.public.customer")
        + "[[table]]\nname = \"s.public.customer\"\naction = \"delete\"\n\
           [[table]]\nname = \"s.public.message\"\naction = \"delete\"\n\
           [[table]]\nname = \"s.public.message\"\nvia = \"answers\"\naction = \"delete\"\n"
}

fn deleted(table: &str, rows: i64) -> ((String, ChangeKind), i64) {
    ((format!("public.{table}"), ChangeKind::Deleted), rows)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tree_goes_without_being_read() {
    let target = Target::new(FORUM);
    let planned = target.plan(&forum_policy()).await.unwrap();
    let sets = &planned.part("s").sets;
    assert!(sets.iter().all(|s| s.table.table != "message"), "{sets:?}");
    let others = |rows: &[String]| -> Vec<String> {
        let others = rows
            .iter()
            .filter(|r| r.contains(",wide)") || r.contains(",alone)"));
        others.cloned().collect()
    };
    let before = target.rows();
    let foreseen = target.dry_run(&planned, &[subject(1)]).await.unwrap();
    let outcome = target.run(&planned, &[subject(1)]).await.unwrap();
    let expected = BTreeMap::from([deleted("customer", 1), deleted("message", 3001)]);
    assert_eq!(totals(&outcome.counts), expected);
    assert_eq!(totals(&foreseen), expected);
    let after = target.rows();
    assert_eq!(after["public.message"], others(&before["public.message"]));
}

/// A row under both of two tickets is one row, and so is a tree that hangs in another.
#[tokio::test(flavor = "multi_thread")]
async fn a_tree_under_two_tickets_is_counted_once() {
    let target = Target::new(FORUM);
    target.execute(
        "UPDATE \"message\" SET above = 7, \"above n\" = 2 WHERE \"n\" = -1 AND \"k0\" = 0",
    );
    let planned = target.plan(&forum_policy()).await.unwrap();
    let both = [subject(2), subject(1)];
    let outcome = target.run(&planned, &both).await.unwrap();
    let expected = BTreeMap::from([deleted("customer", 2), deleted("message", 3501)]);
    assert_eq!(totals(&outcome.counts), expected);
    let left = target.value("SELECT string_agg(body, ' ') FROM \"message\"");
    assert_eq!(left, "alone");
}

/// An answer that is written while its tree is being locked is found by the next walk; one that
/// comes later waits, and is refused.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_comes_to_hang_on_a_locked_tree() {
    let target = Target::new(FORUM);
    let planned = target.plan(&forum_policy()).await.unwrap();
    let late = Server::shared().connect(&target.database).await;
    late.batch_execute(
        "BEGIN; INSERT INTO \"message\" VALUES (9, 1, NULL, 2500, -1, 'deep'), (9, 2, NULL, 1, 9, 'deep')",
    )
    .await
    .unwrap();
    let erase = async { target.run(&planned, &[subject(1)]).await };
    let commit = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        late.batch_execute("COMMIT").await.unwrap();
    };
    let (outcome, ()) = tokio::join!(erase, commit);
    let outcome = outcome.unwrap();
    assert_eq!(totals(&outcome.counts)[&deleted("message", 0).0], 3003);
    assert_eq!(
        target.count("SELECT count(*) FROM \"message\" WHERE body = 'deep'"),
        0
    );
}

/// What was locked and what went are held against each other: here the lock counts one row more, as
/// if something had kept it.
#[tokio::test(flavor = "multi_thread")]
async fn a_tree_that_does_not_go_whole_does_not_go() {
    let target = Target::new(FORUM);
    let planned = target.plan(&forum_policy()).await.unwrap();
    let mut part = planned.part("s").clone();
    let change = part.changes.iter_mut().find(|c| c.lock.is_some()).unwrap();
    let lock = change.lock.as_mut().unwrap();
    lock.sql = lock.sql.replace("SELECT count(*)", "SELECT count(*) + 1");
    let before = target.rows();
    let outcome = target
        .run_with(
            &planned,
            &part,
            &[subject(1)],
            &mut erasured::system::postgres::execute::Nothing,
        )
        .await;
    let Err(NotErased::Mismatch {
        matched: 3002,
        affected: 3001,
        ..
    }) = outcome
    else {
        panic!("{:?}", outcome.err());
    };
    assert_eq!(target.rows(), before);
}

/// A shop whose events are many: 35 of the first customer, 12 of the second, 7 of the third.
const EVENTS: &str = r#"
    CREATE TABLE customer (tenant int, id int, email text, PRIMARY KEY (tenant, id));
    CREATE TABLE visit (id int PRIMARY KEY, tenant int, customer int, FOREIGN KEY (tenant, customer) REFERENCES customer);
    CREATE TABLE event (at timestamptz, place int, visit int REFERENCES visit, "part" int) PARTITION_CLAUSE;
    CREATE INDEX ON event (visit);
    PARTITIONS
    INSERT INTO customer SELECT 1, i, 'c' || i || '@example.jp' FROM generate_series(1, 3) i;
    INSERT INTO visit SELECT i, 1, i FROM generate_series(1, 3) i;
    INSERT INTO event SELECT '2026-01-01'::timestamptz + i * interval '20 days', i, CASE WHEN i < 35 THEN 1 WHEN i < 47 THEN 2 ELSE 3 END, i FROM generate_series(0, 53) i;
"#;

fn events(partitioned: bool) -> String {
    let (clause, partitions) = if partitioned {
        (
            "PARTITION BY RANGE (at)",
            "CREATE TABLE e1 PARTITION OF event FOR VALUES FROM (MINVALUE) TO ('2026-07-01');
             CREATE TABLE e2 PARTITION OF event FOR VALUES FROM ('2026-07-01') TO (MAXVALUE);",
        )
    } else {
        ("", "")
    };
    EVENTS
        .replace("PARTITION_CLAUSE", clause)
        .replace("PARTITIONS", partitions)
}

fn events_policy(large: &str) -> String {
    head("s.public.customer")
        + "[[table]]\nname = \"s.public.customer\"\naction = \"delete\"\n\
           [[table]]\nname = \"s.public.visit\"\naction = \"delete\"\n"
        + &format!("[[table]]\nname = \"s.public.event\"\naction = \"delete\"\n{large}")
}

const IN_PIECES: &str = "large = \"batches\"\n";

fn tenant(id: i32) -> erasured::system::postgres::execute::Subject {
    by_keys(&["1".to_owned(), id.to_string()])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_table_goes_in_pieces_and_says_so() {
    for partitioned in [false, true] {
        let target = Target::new(&events(partitioned));
        let planned = target.plan(&events_policy(IN_PIECES)).await.unwrap();
        let others =
            "SELECT md5(string_agg(e::text, ' ' ORDER BY place)) FROM event e WHERE visit = 3";
        let before = target.value(others);
        let both = [tenant(1), tenant(2)];
        let outcome = target.run(&planned, &both).await.unwrap();
        let rows = BTreeMap::from([
            deleted("customer", 2),
            deleted("visit", 2),
            deleted("event", 47),
        ]);
        assert_eq!(totals(&outcome.counts), rows);
        let of = |at: usize| outcome.counts[at].changed["public.event"][&ChangeKind::Deleted];
        assert_eq!((of(0), of(1)), (35, 12));
        let pieces = |at: usize| outcome.counts[at].pieces["public.event"];
        assert!(pieces(0) >= 4, "{:?}", outcome.counts);
        let remembered = target.count("SELECT sum(rows)::int8 FROM erasured.applied_piece");
        assert_eq!(remembered, 47);
        assert_eq!(target.value(others), before, "partitioned: {partitioned}");
        assert_eq!(target.count("SELECT count(*) FROM event"), 7);
        // Run again, as after a lost answer: the counts of then, and nothing more.
        let again = target.run(&planned, &both).await.unwrap();
        assert_eq!(totals(&again.counts), rows);
    }
}

/// What one attempt took before it failed is counted by the attempt that gets through, be it under
/// another plan.
#[tokio::test(flavor = "multi_thread")]
async fn pieces_of_a_failed_attempt_are_counted_by_the_next() {
    let target = Target::new(&events(false));
    let planned = target.plan(&events_policy(IN_PIECES)).await.unwrap();
    target.execute(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no'; END $$;
         CREATE TRIGGER refuse AFTER DELETE ON customer FOR EACH STATEMENT EXECUTE FUNCTION refuse()",
    );
    let planned_then = target.plan(&events_policy(IN_PIECES)).await.unwrap();
    let mut one = tenant(1);
    one.generation = 1;
    target
        .run(&planned_then, std::slice::from_ref(&one))
        .await
        .err()
        .expect("refused");
    assert_eq!(
        target.count("SELECT count(*) FROM event WHERE visit = 1"),
        0
    );
    assert_eq!(target.count("SELECT count(*) FROM visit"), 3);
    target.execute("DROP FUNCTION refuse() CASCADE");
    drop(planned);
    let otherwise = target.plan(&events_policy("")).await.unwrap();
    one.generation = 2;
    let outcome = target
        .run(&otherwise, std::slice::from_ref(&one))
        .await
        .unwrap();
    let counts = &outcome.counts[0];
    assert_eq!(counts.changed["public.event"][&ChangeKind::Deleted], 35);
    assert!(counts.pieces["public.event"] >= 4);
    // A further generation finds nothing, and counts nothing twice.
    one.generation = 3;
    let outcome = target.run(&otherwise, &[one]).await.unwrap();
    assert!(totals(&outcome.counts).is_empty(), "{:?}", outcome.counts);
    assert!(outcome.counts[0].pieces.is_empty());
}

/// Two daemons at once, the one without knowing that it has lost its lease: the second is made to
/// wait at the person's row, in the middle of the first.
#[tokio::test(flavor = "multi_thread")]
async fn pieces_of_two_daemons_take_each_row_once() {
    let target = Target::new(&events(false));
    let planned = target.plan(&events_policy(IN_PIECES)).await.unwrap();
    let one = [tenant(1)];
    // Both have begun before either can take a piece.
    let gate = Server::shared().connect(&target.database).await;
    gate.batch_execute("BEGIN; SELECT FROM customer WHERE id = 1 FOR UPDATE")
        .await
        .unwrap();
    let open = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        gate.batch_execute("COMMIT").await.unwrap();
    };
    let both = async { tokio::join!(target.run(&planned, &one), target.run(&planned, &one)) };
    let ((a, b), ()) = tokio::join!(both, open);
    let done: Vec<_> = [a, b].into_iter().filter_map(Result::ok).collect();
    assert!(!done.is_empty());
    for outcome in done {
        let counts = &outcome.counts[0];
        assert_eq!(counts.changed["public.event"][&ChangeKind::Deleted], 35);
    }
    let remembered = target.count("SELECT sum(rows)::int8 FROM erasured.applied_piece");
    assert_eq!(remembered, 35);
}

/// An invoice that the law keeps, and its lines, of which there are more each year.
const INVOICES: &str = "
    CREATE TABLE customer (id int PRIMARY KEY, email text);
    CREATE TABLE invoice (id int PRIMARY KEY, customer int REFERENCES customer, day date NOT NULL);
    CREATE TABLE line (invoice int REFERENCES invoice, what text);
    CREATE INDEX ON line (invoice);
    INSERT INTO customer VALUES (1, 'one@example.jp'), (2, 'two@example.jp');
    INSERT INTO invoice VALUES (1, 1, '2026-01-01'), (2, 2, '2026-01-01');
    INSERT INTO line SELECT 1 + n % 2, 'line ' || n FROM generate_series(1, 50) n";

fn invoices_policy(large: &str) -> String {
    head("s.public.customer")
        + "[[table]]\nname = \"s.public.customer\"\naction = \"anonymize\"\nset = { email = \"null\" }\n\
           [[table]]\nname = \"s.public.invoice\"\naction = \"retain\"\nuntil = { column = \"day\", plus = \"7 years\" }\nbecause = \"books are kept\"\nthen = \"delete\"\n"
        + &format!("[[table]]\nname = \"s.public.line\"\naction = \"delete\"\n{large}")
}

/// Stops where anything stays, as a deferral does when its rows have a later date.
struct Later;

impl BeforeChange for Later {
    fn last_word(&mut self) -> BoxFuture<'_, Result<(), NotErased>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn ready(
        &mut self,
        _: Vec<Seen>,
        deferred: Vec<Deferred>,
    ) -> BoxFuture<'_, Result<(), NotErased>> {
        let stays = !deferred.is_empty();
        let answer = if stays {
            Err(NotErased::Hook("later".into()))
        } else {
            Ok(())
        };
        Box::pin(std::future::ready(answer))
    }
}

/// What the law kept, with all that hangs off it, waits until its new date: nothing goes beforehand.
/// When it goes, pieces of an attempt that failed are counted, though the next plan has none.
#[tokio::test(flavor = "multi_thread")]
async fn on_their_date_pieces_go_with_what_was_kept() {
    let target = Target::new(INVOICES);
    let on_its_date = async |large: &str| {
        let mut planned = target.plan(&invoices_policy(large)).await.unwrap();
        let table = erasured::name::TableName::new("public", "invoice");
        let lineage = erasured::lineage::of_retained(&planned.lineage, "s", &table).unwrap();
        planned.plan = erasured::plan::build(&planned.policy, &lineage);
        planned
    };
    let planned = on_its_date(IN_PIECES).await;
    assert_eq!(planned.part("s").pieces.len(), 1);
    let due = [subject(1)];
    let before = target.rows();
    let stopped = target
        .run_with(&planned, planned.part("s"), &due, &mut Later)
        .await;
    assert!(matches!(stopped, Err(NotErased::Hook(_))));
    assert_eq!(target.rows(), before);

    target.execute(
        "UPDATE invoice SET day = '2001-01-01';
         CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no'; END $$;
         CREATE TRIGGER refuse AFTER DELETE ON invoice FOR EACH STATEMENT EXECUTE FUNCTION refuse()",
    );
    let planned = on_its_date(IN_PIECES).await;
    let part = planned.part("s");
    let refused = target.run_with(&planned, part, &due, &mut Later).await;
    assert!(refused.is_err());
    assert_eq!(target.count("SELECT count(*) FROM line"), 25);
    target.execute("DROP FUNCTION refuse() CASCADE");
    let planned = on_its_date("").await;
    let outcome = target.run(&planned, &due).await.unwrap();
    let rows = BTreeMap::from([deleted("invoice", 1), deleted("line", 25)]);
    assert_eq!(totals(&outcome.counts), rows);
    assert_eq!(target.count("SELECT count(*) FROM line"), 25);
}

/// The plan says beforehand of whom a table has more rows than go in one piece, and how they go.
#[tokio::test(flavor = "multi_thread")]
async fn the_plan_warns_of_what_is_large() {
    let said = async |target: &Target, policy: &str, who: &Subject| {
        let planned = target.plan(policy).await.unwrap();
        let counts = target.dry_run(&planned, std::slice::from_ref(who)).await;
        let counts = BTreeMap::from([("s".to_owned(), counts.unwrap().remove(0))]);
        show::large(&planned.plan, &counts, 12)
    };
    let target = Target::new(&events(false));
    let at_once = said(&target, &events_policy(""), &tenant(1)).await;
    assert_eq!(
        at_once,
        [
            "s: public.event: 35 rows go in one transaction, locked until its end; large = \"batches\" in the policy would take them in pieces"
        ]
    );
    let in_pieces = said(&target, &events_policy(IN_PIECES), &tenant(1)).await;
    assert_eq!(
        in_pieces,
        [
            "s: public.event: 35 rows go beforehand in pieces of 12, each a transaction of its own: what has gone stays gone"
        ]
    );
    // Twelve are one piece, and no reason for a word.
    let few = said(&target, &events_policy(""), &tenant(2)).await;
    assert!(few.is_empty(), "{few:?}");
    let forum = said(&Target::new(FORUM), &forum_policy(), &subject(1)).await;
    assert_eq!(
        forum,
        ["s: public.message: 3001 rows go in one transaction, locked until its end"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_go_in_pieces_is_refused() {
    let target = Target::new(&events(false));
    let refused = async |policy: String| {
        let said = target.refusal(&policy).await;
        assert!(said.contains("E0248"), "{said}");
        said
    };
    let leads = events_policy("").replace(
        "visit\"\naction = \"delete\"\n",
        "visit\"\naction = \"delete\"\nlarge = \"batches\"\n",
    );
    assert!(
        refused(leads)
            .await
            .contains("rows of public.event hang on its rows")
    );
    let root = events_policy("").replace(
        "customer\"\naction = \"delete\"\n",
        "customer\"\naction = \"delete\"\nlarge = \"batches\"\n",
    );
    refused(root).await;
    target.execute(
        "CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
         CREATE TRIGGER keep BEFORE DELETE ON event FOR EACH ROW EXECUTE FUNCTION keep()",
    );
    refused(events_policy(IN_PIECES)).await;
    let anonymized = events_policy("").replace(
        "event\"\naction = \"delete\"\n",
        "event\"\naction = \"anonymize\"\nset = { part = \"null\" }\nlarge = \"batches\"\n",
    );
    assert!(target.refusal(&anonymized).await.contains("large"));
    let forum = Target::new(FORUM);
    let tree = forum_policy().replace(
        "message\"\naction = \"delete\"\n",
        "message\"\naction = \"delete\"\nlarge = \"batches\"\n",
    );
    assert!(forum.refusal(&tree).await.contains("refer to each other"));
}
