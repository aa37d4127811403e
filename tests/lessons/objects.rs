//! Large objects go with the last row that refers to them, in the same transaction, and nobody
//! else's do.

use crate::target::{Planned, Target, head, subject, told, totals};
use erasured::plan::ChangeKind;
use erasured::system::postgres::execute::NotErased;

/// Objects 101 to 199 are person 1's, 201 to 299 the neighbour's, from 301 on somebody's besides.
const SCHEMA: &str = "
    CREATE DOMAIN lo AS oid;
    CREATE TABLE customer (id int PRIMARY KEY, email text, photo oid);
    CREATE TABLE scan (id int PRIMARY KEY, customer_id int REFERENCES customer, front lo, back lo);
    CREATE TABLE page (customer_id int REFERENCES customer, image oid, day date) PARTITION BY RANGE (day);
    CREATE TABLE page_old PARTITION OF page FOR VALUES FROM (MINVALUE) TO ('2026-01-01');
    CREATE TABLE page_new PARTITION OF page FOR VALUES FROM ('2026-01-01') TO (MAXVALUE);
    CREATE TABLE letter (id int PRIMARY KEY, customer_id int REFERENCES customer, body oid, note text);
    CREATE TABLE memo (customer_id int, body oid); CREATE TABLE memo_heir () INHERITS (memo);
    CREATE TABLE pool (image oid); CREATE TABLE pool_heir () INHERITS (pool);
    SELECT lo_from_bytea(n::oid, convert_to('object ' || n, 'UTF8')) FROM unnest(
      ARRAY[101,102,103,104,105,106,107,108,109,201,202,203,204,301,302,303,304,401]) n;
    INSERT INTO customer VALUES (1, 'one@example.jp', 101), (2, 'two@example.jp', 201), (3, 'three@example.jp', NULL);
    INSERT INTO scan VALUES (1, 1, 102, 103), (2, 1, 102, NULL), (3, 1, 301, 99999), (4, 2, 301, 202), (5, 1, 104, 105);
    INSERT INTO page VALUES (1, 105, '2025-01-01'), (1, 106, '2026-02-01'), (1, 302, '2025-01-01'), (2, 203, '2025-01-01');
    INSERT INTO letter VALUES (1, 1, 107, 'x'), (2, 1, 303, 'x'), (3, 2, 204, 'x'), (4, 2, 303, 'x'), (5, 1, 108, 'x'), (6, 1, 304, 'x');
    INSERT INTO memo_heir VALUES (1, 109), (2, 401);
    INSERT INTO pool_heir VALUES (302); INSERT INTO pool VALUES (304)";

const RULES: &str = r#"
[[table]]
name = "s.public.customer"
action = "delete"
large_objects = ["photo"]
[[table]]
name = "s.public.scan"
action = "delete"
large_objects = ["front", "back"]
[[table]]
name = "s.public.page"
action = "delete"
large_objects = ["image"]
[[table]]
name = "s.public.memo"
link = { columns = ["customer_id"], to = "s.public.customer" }
action = "delete"
large_objects = ["body"]
[[table]]
name = "s.public.letter"
action = "anonymize"
set = { customer_id = "null", body = "null", note = "redact" }
large_objects = ["body"]
"#;

const OBJECTS: &str =
    "SELECT string_agg(m.oid::text, ',' ORDER BY m.oid) FROM pg_largeobject_metadata m";
const LEFT: &str = "201,202,203,204,301,302,303,304,401";

async fn planned(target: &Target, rules: &str) -> Planned {
    let planned = target.plan(&(head("s.public.customer") + rules)).await;
    planned.unwrap_or_else(|e| panic!("{}", told(&e)))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_goes_with_the_last_row_that_refers_to_it() {
    let target = Target::new(SCHEMA);
    let planned = planned(&target, RULES).await;
    let bytes =
        |object: u32| target.value(&format!("SELECT convert_from(lo_get({object}), 'UTF8')"));
    let dry = target.dry_run(&planned, &[subject(1)]).await.unwrap();
    let outcome = target.run(&planned, &[subject(1)]).await;
    let outcome = outcome.unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(outcome.counts, dry);
    assert_eq!(target.value(OBJECTS), LEFT);
    for neighbours in [201, 202, 203, 204, 301, 302, 303, 304] {
        assert_eq!(bytes(neighbours), format!("object {neighbours}"));
    }
    // 105 stands in two tables and is counted in one; 102 in two rows.
    let counted = totals(&outcome.counts);
    let of = |table: &str| counted[&(format!("public.{table}"), ChangeKind::Unlinked)];
    assert_eq!(of("customer") + of("scan") + of("page") + of("letter"), 8);
    assert_eq!((of("customer"), of("letter"), of("memo")), (1, 2, 1));
    // With its second owner the shared one goes as well.
    target.run(&planned, &[subject(2)]).await.unwrap();
    assert_eq!(target.value(OBJECTS), "302,304");
    // Once more, for somebody who is gone: nothing is left to do.
    let again = target.run(&planned, &[subject(1)]).await.unwrap();
    assert!(totals(&again.counts).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn two_people_of_one_batch_share_an_object() {
    let target = Target::new(SCHEMA);
    let planned = planned(&target, RULES).await;
    let both = [subject(2), subject(1)];
    let dry = target.dry_run(&planned, &both).await.unwrap();
    let outcome = target.run(&planned, &both).await.unwrap();
    assert_eq!(outcome.counts, dry);
    assert_eq!(target.value(OBJECTS), "302,304");
}

/// Two tickets at once each take one of the two rows that share an object: neither must leave it to
/// the other.
#[tokio::test(flavor = "multi_thread")]
async fn two_tickets_at_once_share_an_object() {
    let target = Target::new(SCHEMA);
    // Both are held up before they commit, so that neither sees the other's row as gone.
    target.execute(
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.7); RETURN NULL; END $$;
         CREATE CONSTRAINT TRIGGER slow AFTER DELETE ON customer DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION slow()",
    );
    let planned = planned(&target, RULES).await;
    let (one, two) = ([subject(1)], [subject(2)]);
    let (a, b) = tokio::join!(target.run(&planned, &one), target.run(&planned, &two));
    a.unwrap_or_else(|e| panic!("{e}"));
    b.unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(target.value(OBJECTS), "302,304");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_that_leaves_an_object_is_refused() {
    let target = Target::new(SCHEMA);
    let planned = planned(&target, RULES).await;
    let part = planned.part("s");
    let unlinks = |c: &erasured::plan::Change| c.kind == ChangeKind::Unlinked;
    assert_eq!(part.changes.iter().filter(|c| unlinks(c)).count(), 6);
    for at in 0..part.changes.len() {
        if !unlinks(&part.changes[at]) {
            continue;
        }
        let mut robbed = part.clone();
        let gone = robbed.changes.remove(at);
        let mut nothing = erasured::system::postgres::execute::Nothing;
        let result = target
            .run_with(&planned, &robbed, &[subject(1)], &mut nothing)
            .await;
        // 105 is in two columns: whichever comes first may go by the other.
        match result.err() {
            Some(NotErased::Residual { label, .. }) => assert!(label.contains("large objects")),
            other => panic!("without {}: {other:?}", gone.label),
        }
        assert_eq!(
            target.count("SELECT count(*) FROM pg_largeobject_metadata"),
            18
        );
    }
}

/// The extension's own trigger removes them already; then nothing is left to us.
#[tokio::test(flavor = "multi_thread")]
async fn the_trigger_of_extension_lo_may_come_first() {
    let target = Target::new(
        "CREATE EXTENSION lo;
         CREATE TABLE customer (id int PRIMARY KEY, email text);
         CREATE TABLE scan (id int PRIMARY KEY, customer_id int REFERENCES customer, front lo);
         CREATE TRIGGER manage BEFORE UPDATE OR DELETE ON scan FOR EACH ROW EXECUTE FUNCTION lo_manage(front);
         SELECT lo_from_bytea(n::oid, '\\x00') FROM generate_series(101, 102) n;
         INSERT INTO customer VALUES (1, 'one@example.jp'), (2, 'two@example.jp');
         INSERT INTO scan VALUES (1, 1, 101), (2, 2, 102)",
    );
    let rules = "[[table]]\nname = \"s.public.customer\"\naction = \"delete\"\n\
                 [[table]]\nname = \"s.public.scan\"\naction = \"delete\"\nlarge_objects = [\"front\"]\n";
    let planned = planned(&target, rules).await;
    target.run(&planned, &[subject(1)]).await.unwrap();
    assert_eq!(target.value(OBJECTS), "102");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_kept_keeps_its_object() {
    let target = Target::new(SCHEMA);
    target.execute("ALTER TABLE letter ADD day date DEFAULT '2025-01-01'; UPDATE letter SET day = '2001-01-01' WHERE id = 5");
    let keep = "action = \"retain\"\nuntil = { column = \"day\", plus = \"7 years\" }\nbecause = \"books are kept\"\nthen = \"delete\"\n";
    let rules = RULES.replace(
        "action = \"anonymize\"\nset = { customer_id = \"null\", body = \"null\", note = \"redact\" }\n",
        &format!("{keep}set = {{ customer_id = \"null\" }}\n"),
    );
    assert_ne!(rules, RULES);
    let planned = planned(&target, &rules).await;
    let dry = target.dry_run(&planned, &[subject(1)]).await.unwrap();
    let outcome = target.run(&planned, &[subject(1)]).await.unwrap();
    assert_eq!(outcome.counts, dry);
    assert_eq!(
        target.value(OBJECTS),
        format!("107,{LEFT}"),
        "108's day is over"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn large_objects_must_be_decided() {
    let target = Target::new(SCHEMA);
    for (from, to, says) in [
        (
            "large_objects = [\"photo\"]\n",
            "",
            "E0237 s.public.customer: photo may be numbers of large objects",
        ),
        (
            "large_objects = [\"body\"]\n",
            "",
            "E0237 s.public.letter: body",
        ),
        (
            "large_objects = [\"front\", \"back\"]",
            "large_objects = []",
            "",
        ),
        (
            "[\"front\", \"back\"]",
            "[\"front\", \"gone\"]",
            "E0203 large_objects names column \"gone\"",
        ),
        (
            "[\"front\", \"back\"]",
            "[\"front\", \"id\"]",
            "E0238 s.public.scan.id is integer",
        ),
        ("body = \"null\", ", "", "E0240 s.public.letter.body"),
        (
            "action = \"anonymize\"\nset = { customer_id = \"null\", body = \"null\", note = \"redact\" }",
            "action = \"detach\"",
            "E0109 `large_objects` in the rule for s.public.letter does not go with action \"detach\"",
        ),
    ] {
        let rules = RULES.replace(from, to);
        assert_ne!(rules, RULES);
        let said = target.refusal(&(head("s.public.customer") + &rules)).await;
        assert!(
            said.contains(says) && said.is_empty() == says.is_empty(),
            "{says}: {said}"
        );
    }
}

/// Whoever may not remove an object does not erase its row either, and `check` has said so.
#[tokio::test(flavor = "multi_thread")]
async fn an_object_of_another_role_stops_the_ticket() {
    let owner = Target::new(SCHEMA);
    owner.execute(
        "DROP ROLE IF EXISTS daemon_objects; CREATE ROLE daemon_objects LOGIN;
         GRANT USAGE ON SCHEMA erasured, public TO daemon_objects;
         GRANT SELECT, INSERT ON erasured.applied_step, erasured.applied_piece TO daemon_objects;
         GRANT SELECT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO daemon_objects;
         REVOKE ALL ON pool FROM daemon_objects",
    );
    let target = Target::as_role("s", &owner.database, "daemon_objects");
    let policy = head("s.public.customer") + RULES;
    let said = target.refusal(&policy).await;
    assert!(
        said.contains("E0214 the daemon's role does not see all rows of public.pool, which"),
        "{said}"
    );
    owner.execute("GRANT SELECT ON pool TO daemon_objects");
    let warned = target.warnings(&policy).await;
    assert!(warned.contains("E0239 s has large objects"), "{warned}");
    let planned = planned(&target, RULES).await;
    let before = owner.rows();
    let error = target.run(&planned, &[subject(1)]).await.err().unwrap();
    assert!(matches!(error, NotErased::Database(..)), "{error}");
    assert_eq!(owner.rows(), before);
    assert_eq!(
        owner.count("SELECT count(*) FROM pg_largeobject_metadata"),
        18
    );

    owner.execute(
        "DO $$ DECLARE o oid; BEGIN FOR o IN SELECT oid FROM pg_largeobject_metadata LOOP
           EXECUTE format('ALTER LARGE OBJECT %s OWNER TO daemon_objects', o); END LOOP; END $$",
    );
    assert_eq!(target.warnings(&policy).await, "");
    target.run(&planned, &[subject(1)]).await.unwrap();
    assert_eq!(owner.value(OBJECTS), LEFT);
    owner.execute("DROP OWNED BY daemon_objects; DROP ROLE daemon_objects");
}
