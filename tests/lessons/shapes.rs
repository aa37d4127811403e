//! Shapes of schema that broke, or could have broken, an invariant: each was found by reading the
//! core as its enemy.

use crate::target::{Target, head, subject, totals};
use erasured::lineage;
use erasured::plan::{self, ChangeKind};
use erasured::system::postgres::execute::{BeforeChange, Deferred, NotErased, Seen, Subject};
use futures_util::future::BoxFuture;

fn rules(root: &str, rest: &str) -> String {
    head("s.public.customer") + &format!("[[table]]\nname = \"s.public.customer\"\n{root}\n{rest}")
}

const DELETE: &str = "action = \"delete\"";
const RETAIN: &str = "action = \"retain\"\nuntil = { column = \"day\", plus = \"7 years\" }\nbecause = \"books are kept\"\nthen = \"delete\"";

/// Keeps what the executor says of rows to come back for.
#[derive(Default)]
struct Keep(Vec<Deferred>, Vec<Seen>);

impl BeforeChange for Keep {
    fn last_word(&mut self) -> BoxFuture<'_, Result<(), NotErased>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn ready(
        &mut self,
        seen: Vec<Seen>,
        deferred: Vec<Deferred>,
    ) -> BoxFuture<'_, Result<(), NotErased>> {
        (self.0, self.1) = (deferred, seen);
        Box::pin(std::future::ready(Ok(())))
    }
}

/// A customer points at one of its own addresses: the ring is cut by detaching, in others' rows
/// and in the one that goes.
#[tokio::test(flavor = "multi_thread")]
async fn a_ring_is_cut_by_detach() {
    for on_delete in [
        "",
        "ON DELETE SET NULL",
        "DEFERRABLE INITIALLY DEFERRED",
        "ON DELETE RESTRICT",
    ] {
        let target = Target::new(&format!(
            "CREATE TABLE customer (id int PRIMARY KEY, email text, main int);
             CREATE TABLE address (id int PRIMARY KEY, customer_id int NOT NULL REFERENCES customer, street text);
             ALTER TABLE customer ADD CONSTRAINT main_fk FOREIGN KEY (main) REFERENCES address {on_delete};
             INSERT INTO customer VALUES (1, 'one@example.jp'), (2, 'two@example.jp'), (3, 'three@example.jp');
             INSERT INTO address SELECT n, n % 3 + 1, 'street' FROM generate_series(1, 6) n;
             UPDATE customer SET main = 3"
        ));
        let policy = rules(
            DELETE,
            "[[table]]\nname = \"s.public.customer\"\nvia = \"main_fk\"\naction = \"detach\"\n\
             [[table]]\nname = \"s.public.address\"\naction = \"delete\"\n",
        );
        let planned = target
            .plan(&policy)
            .await
            .unwrap_or_else(|e| panic!("{}", crate::target::told(&e)));
        let dry = target.dry_run(&planned, &[subject(1)]).await.unwrap();
        let outcome = target
            .run(&planned, &[subject(1)])
            .await
            .unwrap_or_else(|e| panic!("{on_delete}: {e}"));
        assert_eq!(outcome.counts, dry);
        // The customer who goes loses the link, too, but is counted as gone, once.
        let counts = totals(&outcome.counts);
        let of = |kind| counts[&("public.customer".to_owned(), kind)];
        assert_eq!(
            (of(ChangeKind::Deleted), of(ChangeKind::Detached)),
            (1, 2),
            "{on_delete}"
        );
        let left = "SELECT string_agg(c::text, ';' ORDER BY id) FROM customer c";
        assert_eq!(
            target.value(left),
            "(2,two@example.jp,);(3,three@example.jp,)"
        );
        assert_eq!(target.count("SELECT count(*) FROM address"), 4);
    }
}

/// Every key begins with the tenant, which stays: the rest of the link can be emptied although
/// other rows refer to the tenant's column as well.
#[tokio::test(flavor = "multi_thread")]
async fn a_link_within_a_tenant_is_detached() {
    let target = Target::new(
        "CREATE TABLE customer (id int PRIMARY KEY, email text);
         CREATE TABLE staff (tenant int, id int, customer int NOT NULL REFERENCES customer, PRIMARY KEY (tenant, id));
         CREATE TABLE job (tenant int, id int, made_by int, PRIMARY KEY (tenant, id),
             CONSTRAINT made_by_fk FOREIGN KEY (tenant, made_by) REFERENCES staff);
         CREATE TABLE step (tenant int, job int, FOREIGN KEY (tenant, job) REFERENCES job);
         INSERT INTO customer VALUES (1, 'one@example.jp'), (2, 'two@example.jp');
         INSERT INTO staff VALUES (7, 1, 1), (7, 2, 2), (8, 1, 2);
         INSERT INTO job VALUES (7, 1, 1), (7, 2, 2), (8, 1, 1);
         INSERT INTO step VALUES (7, 1), (8, 1)",
    );
    let policy = rules(
        DELETE,
        "[[table]]\nname = \"s.public.staff\"\naction = \"delete\"\n\
         [[table]]\nname = \"s.public.job\"\naction = \"detach\"\n",
    );
    let planned = target
        .plan(&policy)
        .await
        .unwrap_or_else(|e| panic!("{}", crate::target::told(&e)));
    target.run(&planned, &[subject(1)]).await.unwrap();
    let left = "SELECT string_agg(j::text, ';' ORDER BY tenant, id) FROM job j";
    assert_eq!(target.value(left), "(7,1,);(7,2,2);(8,1,1)");
    assert_eq!(target.count("SELECT count(*) FROM step"), 2);
}

/// Two and three tables whose NOT NULL keys lead round: no order of statements would be allowed,
/// and a row far round the ring is the person's too.
#[tokio::test(flavor = "multi_thread")]
async fn a_ring_that_nothing_cuts_goes_by_one_statement() {
    for on_delete in ["", "ON DELETE RESTRICT", "ON DELETE CASCADE", "DEFERRABLE"] {
        for key in ["int PRIMARY KEY", "int UNIQUE"] {
            let target = Target::new(&format!(
                "CREATE TABLE customer (id int PRIMARY KEY, email text);
                 CREATE TABLE a (id {key}, customer_id int REFERENCES customer, c int NOT NULL);
                 CREATE TABLE b (id {key}, a int NOT NULL REFERENCES a (id) {on_delete});
                 CREATE TABLE c (id {key}, b int NOT NULL REFERENCES b (id) {on_delete}, self int NOT NULL REFERENCES c (id) {on_delete});
                 CREATE TABLE leaf (c int NOT NULL REFERENCES c (id) {on_delete});
                 INSERT INTO customer VALUES (1, 'one@example.jp'), (2, 'two@example.jp');
                 INSERT INTO a SELECT n, CASE WHEN n % 5 = 0 THEN 1 + n / 5 % 2 END, n - n % 5 + (n + 1) % 5 FROM generate_series(0, 19) n;
                 INSERT INTO b SELECT n, n FROM generate_series(0, 19) n;
                 INSERT INTO c SELECT n, n, n - n % 5 FROM generate_series(0, 19) n;
                 INSERT INTO leaf SELECT n FROM generate_series(0, 19) n;
                 ALTER TABLE a ADD FOREIGN KEY (c) REFERENCES c (id) {on_delete}"
            ));
            let delete = |table: &str| {
                format!("[[table]]\nname = \"s.public.{table}\"\naction = \"delete\"\n")
            };
            let policy = rules(
                DELETE,
                &format!(
                    "{}{}{}{}[[table]]\nname = \"s.public.c\"\nvia = \"c_self_fkey\"\naction = \"delete\"\n",
                    delete("a"),
                    delete("b"),
                    delete("c"),
                    delete("leaf")
                ),
            );
            let planned = target.plan(&policy).await.unwrap();
            let what = format!("{on_delete} {key}");
            let dry = target.dry_run(&planned, &[subject(1)]).await.unwrap();
            let outcome = target.run(&planned, &[subject(1)]).await;
            let outcome = outcome.unwrap_or_else(|e| panic!("{what}: {e}"));
            assert_eq!(outcome.counts, dry, "{what}");
            let left: i64 = ["a", "b", "c", "leaf"]
                .iter()
                .map(|t| target.count(&format!("SELECT count(*) FROM {t}")))
                .sum();
            assert_eq!(left, 40, "{what}");
            let theirs = "SELECT count(*) FROM a WHERE id / 5 % 2 = 0";
            assert_eq!(target.count(theirs), 0, "{what}");
        }
    }
}

/// One rule detaches by two keys: a row found by one of them keeps the other, which leads to
/// somebody else.
#[tokio::test(flavor = "multi_thread")]
async fn detaching_cuts_only_the_link_that_leads_to_the_subject() {
    let target = Target::new(
        "CREATE TABLE customer (id int PRIMARY KEY, email text);
         CREATE TABLE booking (id int PRIMARY KEY, customer_id int NOT NULL REFERENCES customer);
         CREATE TABLE review (id int PRIMARY KEY, customer_id int REFERENCES customer, booking_id int REFERENCES booking);
         INSERT INTO customer VALUES (1, 'one@example.jp'), (2, 'two@example.jp');
         INSERT INTO booking VALUES (1, 1), (2, 2);
         INSERT INTO review VALUES (1, 1, 1), (2, 2, 1), (3, 1, 2), (4, 2, 2)",
    );
    let policy = rules(
        DELETE,
        "[[table]]\nname = \"s.public.booking\"\naction = \"delete\"\n[[table]]\nname = \"s.public.review\"\naction = \"detach\"\n",
    );
    let planned = target.plan(&policy).await.unwrap();
    target.run(&planned, &[subject(1)]).await.unwrap();
    let left = "SELECT string_agg(r::text, ';' ORDER BY id) FROM review r";
    assert_eq!(target.value(left), "(1,,);(2,2,);(3,,2);(4,2,2)");
}

/// What the law keeps is found again on its date, by its key, and goes with what hangs off it; a
/// retained root row too. The keys given back are keys, and no identifiers.
#[tokio::test(flavor = "multi_thread")]
async fn retained_rows_are_found_again_on_their_date() {
    let schema = "
        CREATE TABLE customer (id int PRIMARY KEY, email text, day date DEFAULT '2026-01-01');
        CREATE TABLE invoice (tenant int, no int, customer_id int REFERENCES customer, day date, PRIMARY KEY (tenant, no));
        CREATE TABLE line (id int PRIMARY KEY, tenant int NOT NULL, no int NOT NULL, FOREIGN KEY (tenant, no) REFERENCES invoice);
        INSERT INTO customer VALUES (1, 'one@example.jp'), (2, 'two@example.jp');
        INSERT INTO invoice SELECT 1, n, n % 2 + 1, CASE WHEN n > 4 THEN '2001-01-01' ELSE '2025-01-01' END::date FROM generate_series(1, 6) n;
        INSERT INTO line SELECT n, 1, n FROM generate_series(1, 6) n";
    let lines = format!(
        "[[table]]\nname = \"s.public.invoice\"\n{RETAIN}\nset = {{ customer_id = \"null\" }}\n\
         [[table]]\nname = \"s.public.line\"\naction = \"retain\"\nbecause = \"books are kept\"\n"
    );
    for (root, table, keys, left) in [
        (
            DELETE,
            "invoice",
            vec![vec!["1", "2"], vec!["1", "4"]],
            "1,3,5",
        ),
        (RETAIN, "customer", vec![vec!["1"]], ""),
    ] {
        let target = Target::new(schema);
        let policy = rules(root, &lines);
        let planned = target
            .plan(&policy)
            .await
            .unwrap_or_else(|e| panic!("{}", crate::target::told(&e)));
        let mut keep = Keep::default();
        target
            .run_with(&planned, planned.part("s"), &[subject(1)], &mut keep)
            .await
            .unwrap();
        assert_eq!(keep.1[0].values["email"], "one@example.jp");
        let deferred = keep.0.iter().find(|d| d.table.table == table).unwrap();
        let mut found = deferred.keys.clone();
        found.sort();
        assert_eq!(found, keys);
        if table == "customer" {
            assert_eq!(target.count("SELECT count(*) FROM customer"), 2);
        }
        assert_eq!(
            target.value("SELECT string_agg(no::text, ',' ORDER BY no) FROM invoice"),
            "1,2,3,4,5"
        );

        // Before its date nothing of it goes; the row's own date says when that is.
        let name = erasured::name::TableName::new("public", table);
        let lineage = lineage::of_retained(&planned.lineage, "s", &name).unwrap();
        let mut later = planned.clone();
        later.plan = plan::build(&planned.policy, &lineage);
        let due = Subject {
            keys: deferred.keys.clone(),
            ..subject(0)
        };
        let early = target
            .dry_run(&later, std::slice::from_ref(&due))
            .await
            .unwrap();
        assert_eq!(
            totals(&early).get(&(format!("public.{table}"), ChangeKind::Deleted)),
            None
        );
        target.execute(&format!("UPDATE {table} SET day = '2001-01-01'"));
        let outcome = target
            .run(&later, &[due])
            .await
            .unwrap_or_else(|e| panic!("{table}: {e}"));
        let gone = totals(&outcome.counts)[&(format!("public.{table}"), ChangeKind::Deleted)];
        assert_eq!(gone, i64::try_from(keys.len()).unwrap());
        if table == "invoice" {
            let numbers = "SELECT string_agg(no::text, ',' ORDER BY no) FROM";
            assert_eq!(target.value(&format!("{numbers} invoice")), left);
            assert_eq!(target.value(&format!("{numbers} line")), left);
        } else {
            assert_eq!(
                target.value("SELECT string_agg(id::text, ',') FROM customer"),
                "2"
            );
        }
    }
}

/// Two rules keep one row until different dates: the later counts.
#[tokio::test(flavor = "multi_thread")]
async fn of_two_dates_the_later_counts() {
    let target = Target::new(
        "CREATE TABLE customer (id int PRIMARY KEY, email text);
         CREATE TABLE paper (id int PRIMARY KEY, buyer int CONSTRAINT buyer REFERENCES customer, payer int CONSTRAINT payer REFERENCES customer, day date);
         INSERT INTO customer VALUES (1, 'one@example.jp'); INSERT INTO paper VALUES (1, 1, 1, '2025-01-01')",
    );
    for years in [["5", "10"], ["10", "5"]] {
        let rule = |via: &str, years: &str| {
            format!(
                "[[table]]\nname = \"s.public.paper\"\nvia = \"{via}\"\n{}\nset = {{ buyer = \"null\", payer = \"null\" }}\n",
                RETAIN.replace('7', years)
            )
        };
        let policy = rules(
            "action = \"anonymize\"\nset = { email = \"null\" }",
            &(rule("buyer", years[0]) + &rule("payer", years[1])),
        );
        let planned = target.plan(&policy).await.unwrap();
        let mut keep = Keep::default();
        let mut stop = planned.part("s").clone();
        stop.changes.clear(); // looked at, not done
        let _ = target
            .run_with(&planned, &stop, &[subject(1)], &mut keep)
            .await;
        assert_eq!(keep.0.len(), 1);
        assert!(
            keep.0[0].until.to_rfc3339().starts_with("2035-01-01"),
            "{}",
            keep.0[0].until
        );
    }
}

/// Policies that the database, or their own other half, would overrule.
#[tokio::test(flavor = "multi_thread")]
async fn contradictions_are_refused_by_check() {
    let customer = "CREATE TABLE customer (id int PRIMARY KEY, email text, UNIQUE (email));";
    for (schema, rest, code, said) in [
        (
            // Kept by one key, taken along by the other's cascade; without a key of its own.
            "CREATE TABLE bag (id int PRIMARY KEY, customer_id int REFERENCES customer);
             CREATE TABLE paper (id int PRIMARY KEY, customer_id int CONSTRAINT mine REFERENCES customer, bag int CONSTRAINT in_bag REFERENCES bag ON DELETE CASCADE, day date);",
            format!(
                "[[table]]\nname = \"s.public.bag\"\naction = \"delete\"\n\
                 [[table]]\nname = \"s.public.paper\"\nvia = \"mine\"\n{RETAIN}\nset = {{ customer_id = \"null\" }}\n\
                 [[table]]\nname = \"s.public.paper\"\nvia = \"in_bag\"\naction = \"delete\"\n"
            ),
            "E0209",
            "in_bag",
        ),
        (
            "CREATE TABLE paper (customer_id int REFERENCES customer, day date);",
            format!("[[table]]\nname = \"s.public.paper\"\n{RETAIN}\nset = {{ customer_id = \"null\" }}\n"),
            "E0218",
            "s.public.paper",
        ),
        (
            "CREATE TABLE deed (id int PRIMARY KEY, customer_id int REFERENCES customer, day date);
             CREATE TABLE bill (id int PRIMARY KEY, customer_id int REFERENCES customer, day date);
             CREATE TABLE page (id int PRIMARY KEY, deed int REFERENCES deed, bill int REFERENCES bill);",
            format!(
                "[[table]]\nname = \"s.public.deed\"\n{RETAIN}\nset = {{ customer_id = \"null\" }}\n\
                 [[table]]\nname = \"s.public.bill\"\n{RETAIN}\nset = {{ customer_id = \"null\" }}\n\
                 [[table]]\nname = \"s.public.page\"\naction = \"retain\"\nbecause = \"books are kept\"\n"
            ),
            "E0227",
            "s.public.page",
        ),
        (
            "CREATE TABLE note (no int NOT NULL UNIQUE, code text NOT NULL UNIQUE, customer_id int UNIQUE REFERENCES customer);
             CREATE TABLE sub (note int REFERENCES note (customer_id) ON UPDATE CASCADE);",
            "[[table]]\nname = \"s.public.note\"\naction = \"detach\"\n".to_owned(),
            "E0224",
            "customer_id",
        ),
        (
            "CREATE TABLE note (code text NOT NULL UNIQUE, customer_id int REFERENCES customer);",
            "[[table]]\nname = \"s.public.note\"\naction = \"anonymize\"\nset = { code = \"hash\", customer_id = \"null\" }\n".to_owned(),
            "E0224",
            "code",
        ),
        (
            "CREATE TABLE note (id int PRIMARY KEY, a int CONSTRAINT a REFERENCES customer, b int CONSTRAINT b REFERENCES customer, body text);",
            "[[table]]\nname = \"s.public.note\"\nvia = \"a\"\naction = \"anonymize\"\nset = { a = \"null\", body = \"redact\" }\n\
             [[table]]\nname = \"s.public.note\"\nvia = \"b\"\naction = \"anonymize\"\nset = { b = \"null\", body = \"null\" }\n".to_owned(),
            "E0210",
            "s.public.note.body",
        ),
        (
            "CREATE TABLE shade (code text PRIMARY KEY);
             CREATE TABLE note (id int PRIMARY KEY, customer_id int REFERENCES customer, shade text REFERENCES shade);",
            "[[table]]\nname = \"s.public.note\"\naction = \"anonymize\"\nset = { customer_id = \"null\", shade = \"redact\" }\n".to_owned(),
            "E0228",
            "s.public.note.shade",
        ),
        (
            "CREATE TABLE note (id int PRIMARY KEY, half int, customer_id int GENERATED ALWAYS AS (half * 2) STORED REFERENCES customer);",
            "[[table]]\nname = \"s.public.note\"\naction = \"detach\"\n".to_owned(),
            "E0224",
            "customer_id",
        ),
    ] {
        let target = Target::new(&format!("{customer}{schema}"));
        let refusal = target.refusal(&rules(DELETE, &rest)).await;
        assert!(refusal.contains(code) && refusal.contains(said), "{schema}: {refusal}");
    }
}

/// Types that are not the plain ones, as keys and as links: domains, enums, citext, numeric,
/// values out of line.
#[tokio::test(flavor = "multi_thread")]
async fn keys_of_any_type_are_carried_unharmed() {
    let target = Target::new(
        "CREATE SCHEMA ext; CREATE EXTENSION citext SCHEMA ext;
         CREATE DOMAIN ext.number AS numeric(12, 3); CREATE TYPE ext.kind AS ENUM ('a', 'B c');
         CREATE TABLE customer (id ext.number, kind ext.kind, email text, PRIMARY KEY (id, kind));
         CREATE TABLE login (name ext.citext PRIMARY KEY, customer ext.number, kind ext.kind, big text, FOREIGN KEY (customer, kind) REFERENCES customer);
         CREATE TABLE session (at timestamptz, ip inet, who ext.citext REFERENCES login, span tstzrange, PRIMARY KEY (at, ip));
         CREATE TABLE click (at timestamptz, ip inet, bits bytea, FOREIGN KEY (at, ip) REFERENCES session);
         INSERT INTO customer VALUES (1.5, 'a', 'one@example.jp'), (1.5, 'B c', 'two@example.jp'), (2, 'a', 'three@example.jp');
         INSERT INTO login SELECT 'Login' || row_number() OVER (), id, kind, repeat(md5(email), 100000) FROM customer;
         INSERT INTO session SELECT 'epoch'::timestamptz + n * interval '1 us', '::1', 'lOGIN' || n % 3 + 1, '[2020-01-01,)' FROM generate_series(1, 9) n;
         INSERT INTO click SELECT at, ip, '\\x00ff' FROM session",
    );
    let policy = rules(
        DELETE,
        "[[table]]\nname = \"s.public.login\"\naction = \"anonymize\"\nset = { customer = \"null\", kind = \"null\", big = \"hash\" }\n\
         [[table]]\nname = \"s.public.session\"\naction = \"delete\"\n\
         [[table]]\nname = \"s.public.click\"\naction = \"delete\"\n",
    );
    let planned = target.plan(&policy).await.unwrap();
    let one = crate::target::by_keys(&["1.500".into(), "B c".into()]);
    let outcome = target.run(&planned, &[one]).await.unwrap();
    assert_eq!(
        totals(&outcome.counts)
            .values()
            .copied()
            .collect::<Vec<_>>(),
        [3, 1, 1, 3]
    );
    assert_eq!(
        target.value("SELECT string_agg(email, ',' ORDER BY email) FROM customer"),
        "one@example.jp,three@example.jp"
    );
    assert_eq!(target.count("SELECT count(*) FROM session"), 6);
    assert_eq!(
        target.count("SELECT count(*) FROM login WHERE length(big) > 1000000"),
        2
    );
}

/// A subject already gone is a success with nothing done.
#[tokio::test(flavor = "multi_thread")]
async fn a_subject_already_gone_is_done() {
    let target = Target::new(crate::mutation::SCHEMA);
    let planned = target.plan(&crate::mutation::policy()).await.unwrap();
    let before = target.rows();
    let outcome = target.run(&planned, &[subject(99)]).await.unwrap();
    assert!(totals(&outcome.counts).is_empty());
    assert_eq!(target.rows(), before);
}

/// Sessions are reused and keep their prepared statements: a column that changed its type must
/// not make the next batch on them fail.
#[tokio::test(flavor = "multi_thread")]
async fn a_reused_session_survives_a_changed_type() {
    let target = Target::new(crate::mutation::SCHEMA);
    let planned = target.plan(&crate::mutation::policy()).await.unwrap();
    target.run(&planned, &[subject(3)]).await.unwrap();
    target.execute(
        "ALTER TABLE invoice ALTER id TYPE bigint; ALTER TABLE event ALTER id TYPE bigint;
         ALTER TABLE customer ALTER email TYPE varchar(80); ALTER TABLE folder ALTER id TYPE bigint",
    );
    let planned = target.plan(&crate::mutation::policy()).await.unwrap();
    let dry = target.dry_run(&planned, &[subject(1)]).await.unwrap();
    let outcome = target.run(&planned, &[subject(1)]).await.unwrap();
    assert_eq!(outcome.counts, dry);
}

const TALK: &str = "
    CREATE TABLE customer (id int PRIMARY KEY, email text);
    CREATE TABLE talk (id int PRIMARY KEY, subject text, opened_by int REFERENCES customer);
    CREATE TABLE participant (OWNER, talk_id int NOT NULL REFERENCES talk ON_DELETE, customer_id int NOT NULL REFERENCES customer);
    CREATE TABLE message (id int PRIMARY KEY, talk_id int NOT NULL REFERENCES talk ON_DELETE, sender int REFERENCES customer, body text);
    INSERT INTO customer SELECT n, n || '@example.jp' FROM generate_series(1, 4) n;
    INSERT INTO talk VALUES (1, 'of one', 1), (2, 'of one and two', 1), (3, 'of one, two, three', 2), (4, 'of three and four', 3), (5, 'of nobody', NULL);
    INSERT INTO participant (talk_id, customer_id) VALUES (1, 1), (2, 1), (2, 2), (3, 1), (3, 2), (3, 3), (4, 3), (4, 4);
    INSERT INTO message SELECT row_number() OVER (), talk_id, customer_id, 'by ' || customer_id FROM participant;
    INSERT INTO message VALUES (9, 5, NULL, 'by nobody'), (10, 2, 4, 'by four, who left')";

const TALK_RULES: &str = r#"
[[table]]
name = "s.public.participant"
action = "delete"
[[table]]
name = "s.public.talk"
action = "shared"
through = "s.public.participant"
[[table]]
name = "s.public.talk"
via = "talk_opened_by_fkey"
action = "detach"
[[table]]
name = "s.public.message"
via = "message_talk_id_fkey"
action = "delete"
[[table]]
name = "s.public.message"
via = "message_sender_fkey"
action = "anonymize"
set = { sender = "null", body = "redact" }
"#;

fn talk(key: &str, on_delete: &str) -> Target {
    Target::new(&TALK.replace("OWNER", key).replace("ON_DELETE", on_delete))
}

const TALKS: &str = "SELECT concat_ws(' | ',
    (SELECT string_agg(concat_ws('/', id, opened_by), ' ' ORDER BY id) FROM talk),
    (SELECT string_agg(concat_ws('/', talk_id, customer_id), ' ' ORDER BY 1) FROM participant),
    (SELECT string_agg(concat_ws('/', id, talk_id, sender, body), ' ' ORDER BY id) FROM message))";

/// What several people share goes with the last of them, and with everything that hangs off it;
/// before that only what is the leaving person's.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_shared_goes_with_its_last_owner() {
    let one = "2 3/2 4/3 5 | 2/2 3/2 3/3 4/3 4/4 | 2/2/[erased] 3/2/2/by 2 4/3/[erased] 5/3/2/by 2 6/3/3/by 3 7/4/3/by 3 8/4/4/by 4 9/5/by nobody 10/2/4/by four, who left";
    let both = "3 4/3 5 | 3/3 4/3 4/4 | 4/3/[erased] 5/3/[erased] 6/3/3/by 3 7/4/3/by 3 8/4/4/by 4 9/5/by nobody";
    for key in [
        "id serial PRIMARY KEY",
        "note text",
        "tenant int DEFAULT 1, id serial, PRIMARY KEY (tenant, id)",
    ] {
        for on_delete in ["", "ON DELETE CASCADE", "ON DELETE RESTRICT"] {
            let what = format!("{key} {on_delete}");
            let (apart, together) = (talk(key, on_delete), talk(key, on_delete));
            let planned = apart
                .plan(&rules(DELETE, TALK_RULES))
                .await
                .unwrap_or_else(|e| panic!("{}", crate::target::told(&e)));
            let dry = apart.dry_run(&planned, &[subject(1)]).await.unwrap();
            let outcome = apart
                .run(&planned, &[subject(1)])
                .await
                .unwrap_or_else(|e| panic!("{what}: {e}"));
            assert_eq!(outcome.counts, dry, "{what}");
            assert_eq!(apart.value(TALKS), one, "{what}");
            apart.run(&planned, &[subject(2)]).await.unwrap();
            assert_eq!(apart.value(TALKS), both, "{what}");

            let planned = together.plan(&rules(DELETE, TALK_RULES)).await.unwrap();
            together
                .run(&planned, &[subject(2), subject(1)])
                .await
                .unwrap();
            assert_eq!(together.value(TALKS), both, "{what}");
        }
    }
}

/// Waits between the capture and the first change until it is told to go on.
struct Meet {
    here: Option<tokio::sync::oneshot::Sender<()>>,
    go: Option<tokio::sync::oneshot::Receiver<()>>,
}

impl BeforeChange for Meet {
    fn last_word(&mut self) -> BoxFuture<'_, Result<(), NotErased>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn ready(&mut self, _: Vec<Seen>, _: Vec<Deferred>) -> BoxFuture<'_, Result<(), NotErased>> {
        let (here, go) = (self.here.take().unwrap(), self.go.take().unwrap());
        Box::pin(async move {
            here.send(()).unwrap();
            go.await.unwrap();
            Ok(())
        })
    }
}

/// Two daemons take the last two owners at the same moment: neither may think that the other's
/// is left.
#[tokio::test(flavor = "multi_thread")]
async fn the_last_two_owners_leave_at_the_same_moment() {
    let target = talk("id serial PRIMARY KEY", "");
    let planned = target.plan(&rules(DELETE, TALK_RULES)).await.unwrap();
    let (here, arrived) = tokio::sync::oneshot::channel();
    let (go_on, go) = tokio::sync::oneshot::channel();
    let (first, second) = ([subject(1)], [subject(2)]);
    let mut meet = Meet {
        here: Some(here),
        go: Some(go),
    };
    let first = target.run_with(&planned, planned.part("s"), &first, &mut meet);
    let second = async {
        arrived.await.unwrap();
        let waits = async {
            // It waits at once, or never.
            let waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted";
            for _ in 0..200 {
                if target.count(waiting) > 0 {
                    break;
                }
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
            go_on.send(()).unwrap();
        };
        tokio::join!(target.run(&planned, &second), waits).0
    };
    let (first, second) = tokio::join!(first, second);
    first.unwrap();
    second.unwrap();
    assert_eq!(
        target.count("SELECT count(*) FROM talk WHERE id IN (1, 2)"),
        0
    );
    assert_eq!(target.count("SELECT count(*) FROM talk"), 3);
}

/// What `shared` cannot mean is refused.
#[tokio::test(flavor = "multi_thread")]
async fn shared_without_owners_is_refused() {
    let target = talk("id serial PRIMARY KEY", "");
    let with = |from: &str, to: &str| rules(DELETE, &TALK_RULES.replace(from, to));
    let through = "through = \"s.public.participant\"";
    for (policy, code, says) in [
        (with(through, ""), "", "`through`"),
        (
            with(through, "through = \"s.public.customer\""),
            "E0229",
            "no foreign key of s.public.customer",
        ),
        (
            with(through, "through = \"other.public.participant\""),
            "E0118",
            "system",
        ),
        (
            with("via = \"talk_opened_by_fkey\"", "via = \"none\""),
            "E0201",
            "talk_opened_by_fkey from public.customer, and no policy decides it (the table's general rule, shared, speaks only of",
        ),
        (
            with(
                "via = \"talk_opened_by_fkey\"\naction = \"detach\"",
                "via = \"talk_opened_by_fkey\"\naction = \"anonymize\"\nset = { opened_by = \"null\" }",
            ),
            "E0229",
            "would count as theirs alone",
        ),
        (
            with(
                "participant\"\naction = \"delete\"",
                "participant\"\naction = \"anonymize\"\nset = { customer_id = { constant = \"4\" } }",
            ),
            "E0229",
            "would never go",
        ),
    ] {
        let said = target.refusal(&policy).await;
        assert!(said.contains(code) && said.contains(says), "{code}: {said}");
    }
}

/// Lists of references that no foreign key can hold: of an array and of a JSON list only the
/// leaving person's elements go, in their order the others stay, and what is no list is left alone.
#[tokio::test(flavor = "multi_thread")]
async fn an_element_is_taken_out_of_a_list() {
    for key in ["id int PRIMARY KEY", "id int"] {
        let target = Target::new(&format!(
            r#"CREATE TABLE customer (id int PRIMARY KEY, email text);
               CREATE TABLE team ({key}, members bigint[], names text[] DEFAULT '{{a,b}}');
               CREATE TABLE trip ({key}, doc jsonb);
               CREATE TABLE pick ({key}, doc jsonb);
               CREATE TABLE plan ({key}, owners int[]);
               INSERT INTO customer SELECT n, n || '@example.jp' FROM generate_series(1, 12) n;
               INSERT INTO team VALUES (1, '{{3,1,2,1,NULL}}'), (2, '{{2}}'), (3, '{{}}'), (4, NULL), (5, '{{1}}'), (6, '{{11,12}}');
               INSERT INTO trip VALUES
                 (1, '{{"a": {{"guests": [{{"id": 2, "n": "x"}}, {{"id": 1}}, {{"no": 1}}, 1, {{"id": "1"}}]}}, "b": 1}}'),
                 (2, '{{"a": {{"guests": {{"id": 1}}}}}}'), (3, '{{"a": 1}}'), (4, NULL), (5, '{{"a": {{"guests": [{{"id": 11}}]}}}}');
               INSERT INTO pick VALUES (1, '[1, "2", 3]'), (2, '[3]'), (3, '"1"');
               INSERT INTO plan VALUES (1, '{{1,2}}'), (2, '{{2}}')"#
        ));
        let to = "to = \"s.public.customer\"";
        let rule = |table: &str, link: &str, action: &str| {
            format!(
                "[[table]]\nname = \"s.public.{table}\"\nlink = {{ {link}, {to} }}\naction = \"{action}\"\n"
            )
        };
        let policy = rules(
            DELETE,
            &[
                rule("team", "elements = \"members\"", "detach"),
                rule(
                    "trip",
                    "json = { column = \"doc\", path = [\"a\", \"guests\", \"*\", \"id\"] }",
                    "detach",
                ),
                rule(
                    "pick",
                    "json = { column = \"doc\", path = [\"*\"] }",
                    "detach",
                ),
                rule("plan", "elements = \"owners\"", "delete"),
            ]
            .concat(),
        );
        let planned = target
            .plan(&policy)
            .await
            .unwrap_or_else(|e| panic!("{}", crate::target::told(&e)));
        let subjects = [subject(1), subject(12)];
        let dry = target.dry_run(&planned, &subjects).await.unwrap();
        let outcome = target
            .run(&planned, &subjects)
            .await
            .unwrap_or_else(|e| panic!("{key}: {e}"));
        assert_eq!(totals(&outcome.counts), totals(&dry), "{key}");
        let left = |table: &str| {
            target.value(&format!(
                "SELECT string_agg(t::text, ' ' ORDER BY id) FROM {table} t"
            ))
        };
        assert_eq!(
            left("team"),
            r#"(1,"{3,2,NULL}","{a,b}") (2,{2},"{a,b}") (3,{},"{a,b}") (4,,"{a,b}") (5,{},"{a,b}") (6,{11},"{a,b}")"#
        );
        let first = target.value("SELECT doc::text FROM trip WHERE id = 1");
        assert_eq!(
            first,
            r#"{"a": {"guests": [{"n": "x", "id": 2}, {"no": 1}, 1]}, "b": 1}"#
        );
        let others =
            target.value("SELECT string_agg(doc::text, ' ' ORDER BY id) FROM trip WHERE id > 1");
        assert_eq!(
            others,
            r#"{"a": {"guests": {"id": 1}}} {"a": 1} {"a": {"guests": [{"id": 11}]}}"#
        );
        assert_eq!(left("pick"), r#"(1,"[""2"", 3]") (2,[3]) (3,"""1""")"#);
        assert_eq!(left("plan"), "(2,{2})");
    }
}

/// From PostgreSQL 18 on: a key over periods, which a row may meet in several rows of the parent, and
/// one that is not enforced. What overlaps the leaving person's period goes, the rest stays.
#[tokio::test(flavor = "multi_thread")]
async fn a_temporal_key_and_one_that_is_not_enforced() {
    let server = crate::support::Server::shared();
    if server.count(
        "postgres",
        "SELECT current_setting('server_version_num')::int8",
    ) < 180_000
    {
        return;
    }
    let target = Target::new(
        "CREATE EXTENSION btree_gist; CREATE TABLE customer (id int PRIMARY KEY, email text);
         CREATE TABLE lease (room int, during daterange, customer_id int REFERENCES customer, PRIMARY KEY (room, during WITHOUT OVERLAPS));
         CREATE TABLE visit (id int PRIMARY KEY, room int, at daterange, FOREIGN KEY (room, PERIOD at) REFERENCES lease (room, PERIOD during));
         CREATE TABLE note (id int, customer_id int REFERENCES customer NOT ENFORCED, twice int GENERATED ALWAYS AS (id * 2) VIRTUAL);
         INSERT INTO customer VALUES (1, 'one@example.jp'), (2, 'two@example.jp');
         INSERT INTO lease VALUES (1, '[2026-01-01,2026-02-01)', 1), (1, '[2026-02-01,2026-03-01)', 2), (2, '[2026-01-01,2026-03-01)', 2);
         INSERT INTO visit VALUES (1, 1, '[2026-01-05,2026-01-06)'), (2, 1, '[2026-01-30,2026-02-03)'), (3, 1, '[2026-02-05,2026-02-06)'), (4, 2, '[2026-01-05,2026-01-06)');
         INSERT INTO note (id, customer_id) VALUES (1, 1), (2, 2), (3, 99)",
    );
    let delete =
        |table: &str| format!("[[table]]\nname = \"s.public.{table}\"\naction = \"delete\"\n");
    let policy = rules(DELETE, &["lease", "visit", "note"].map(delete).concat());
    let planned = target.plan(&policy).await;
    let planned = planned.unwrap_or_else(|e| panic!("{}", crate::target::told(&e)));
    let dry = target.dry_run(&planned, &[subject(1)]).await.unwrap();
    let outcome = target.run(&planned, &[subject(1)]).await;
    let outcome = outcome.unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(totals(&outcome.counts), totals(&dry));
    let left = |table: &str| {
        target.value(&format!(
            "SELECT string_agg(t::text, ' ' ORDER BY 1) FROM {table} t"
        ))
    };
    assert_eq!(
        target.value("SELECT string_agg(id::text, ',' ORDER BY id) FROM visit"),
        "3,4"
    );
    assert_eq!(target.count("SELECT count(*) FROM lease"), 2);
    assert!(!left("lease").contains(",1)"), "{}", left("lease"));
    assert_eq!(left("note"), "(2,2,4) (3,99,6)");
}

/// An object whose keys are people: `detach` takes the key out, `delete` the row; what is no object
/// has no keys, and a value that looks like one is none.
#[tokio::test(flavor = "multi_thread")]
async fn a_person_is_a_key_of_a_document() {
    for key in ["id int PRIMARY KEY", "id int"] {
        let target = Target::new(&format!(
            r#"CREATE TABLE customer (id int PRIMARY KEY, email text);
               CREATE TABLE poll ({key}, doc jsonb); CREATE TABLE likes ({key}, doc jsonb); CREATE TABLE draft ({key}, doc json);
               INSERT INTO customer SELECT n, n || '@example.jp' FROM generate_series(1, 12) n;
               INSERT INTO poll VALUES (1, '{{"a": {{"it''s": {{"1": "x", "2": {{"1": 1}}, "12": 3, "": 0}}}}, "1": 1}}'), (2, '{{"a": {{"it''s": ["1"]}}}}'),
                 (3, '{{"a": {{"it''s": {{"2": 1}}}}}}'), (4, '{{"a": 1}}'), (5, NULL), (6, 'null');
               INSERT INTO likes VALUES (1, '{{"1": true, "2": false}}'), (2, '{{"2": "1"}}'), (3, '["1"]'), (4, '"1"');
               INSERT INTO draft VALUES (1, '{{"1": true, "2": 1, "2": 2}}'), (2, '{{"2":  1}}'), (3, '1')"#
        ));
        let rule = |table: &str, keys: &str, action: &str| {
            format!(
                "[[table]]\nname = \"s.public.{table}\"\nlink = {{ json = {{ column = \"doc\", keys = {keys} }}, to = \"s.public.customer\" }}\naction = \"{action}\"\n"
            )
        };
        let policy = rules(
            DELETE,
            &[
                rule("poll", "[\"a\", \"it's\"]", "detach"),
                rule("likes", "[]", "detach"),
                rule("draft", "[]", "delete"),
            ]
            .concat(),
        );
        let planned = target.plan(&policy).await;
        let planned = planned.unwrap_or_else(|e| panic!("{}", crate::target::told(&e)));
        let subjects = [subject(1), subject(12)];
        let dry = target.dry_run(&planned, &subjects).await.unwrap();
        let outcome = target.run(&planned, &subjects).await;
        let outcome = outcome.unwrap_or_else(|e| panic!("{key}: {e}"));
        assert_eq!(totals(&outcome.counts), totals(&dry), "{key}");
        let left = |table: &str| {
            let doc = "coalesce(doc::text, '-')";
            target.value(&format!(
                "SELECT string_agg({doc}, ' ' ORDER BY id) FROM {table}"
            ))
        };
        assert_eq!(
            left("poll"),
            r#"{"1": 1, "a": {"it's": {"": 0, "2": {"1": 1}}}} {"a": {"it's": ["1"]}} {"a": {"it's": {"2": 1}}} {"a": 1} - null"#
        );
        assert_eq!(left("likes"), r#"{"2": false} {"2": "1"} ["1"] "1""#);
        assert_eq!(left("draft"), r#"{"2":  1} 1"#);
        // An element of `json` cannot go alone, nor can the text at a path be both.
        for (from, to, says) in [
            (
                "doc\", keys = [] }, to = \"s.public.customer\" }\naction = \"delete\"",
                "doc\", keys = [] }, to = \"s.public.customer\" }\naction = \"detach\"",
                "E0205 public.draft.doc is json",
            ),
            ("keys = []", "keys = [], path = [\"a\"]", "E0118"),
            ("keys = []", "keys = [\"*\"]", "E0118"),
        ] {
            let said = target.refusal(&policy.replace(from, to)).await;
            assert!(said.contains(says), "{to}: {said}");
        }
    }
}

/// The server refuses a MATCH FULL key that is NULL in part, so `check` does; and a key that names
/// the columns which ON DELETE empties is let loose by those alone.
#[tokio::test(flavor = "multi_thread")]
async fn a_link_of_several_columns_is_emptied_as_its_key_allows() {
    let schema = |tenant: &str, key: &str| {
        format!(
            "CREATE TABLE customer (id int PRIMARY KEY, email text);
             CREATE TABLE agent (tenant int, id int, customer_id int NOT NULL REFERENCES customer, PRIMARY KEY (tenant, id));
             CREATE TABLE job (id int PRIMARY KEY, tenant int {tenant}, agent int, what text, FOREIGN KEY (tenant, agent) REFERENCES agent {key});
             INSERT INTO customer VALUES (1, 'one@example.jp'), (2, 'two@example.jp');
             INSERT INTO agent VALUES (7, 1, 1), (8, 1, 2); INSERT INTO job VALUES (1, 7, 1, 'x'), (2, 8, 1, 'x')"
        )
    };
    let agent = "[[table]]\nname = \"s.public.agent\"\naction = \"delete\"\n";
    let job = "[[table]]\nname = \"s.public.job\"\naction = ";
    let full = "s.public.job: job_tenant_agent_fkey is MATCH FULL";
    for (tenant, key, action, left) in [
        ("", "", "\"detach\"", "(1,,,x)"),
        ("NOT NULL", "", "\"detach\"", "(1,7,,x)"),
        ("", "MATCH FULL", "\"detach\"", "(1,,,x)"),
        ("NOT NULL", "MATCH FULL", "\"detach\"", &full["s.".len()..]),
        (
            "",
            "MATCH FULL",
            "\"anonymize\"\nset = { agent = \"null\" }",
            full,
        ),
        (
            "",
            "MATCH FULL",
            "\"anonymize\"\nset = { agent = \"null\", tenant = \"null\" }",
            "(1,,,x)",
        ),
        (
            "",
            "",
            "\"anonymize\"\nset = { agent = \"null\" }",
            "(1,7,,x)",
        ),
        ("", "ON DELETE SET NULL", "\"detach\"", "(1,,,x)"),
        ("", "ON DELETE SET NULL (agent)", "\"detach\"", "(1,7,,x)"),
        (
            "NOT NULL",
            "ON DELETE SET NULL (agent)",
            "\"detach\"",
            "(1,7,,x)",
        ),
        ("", "ON DELETE SET DEFAULT (agent)", "\"detach\"", "(1,,,x)"),
        (
            "",
            "ON UPDATE CASCADE ON DELETE SET NULL (agent) DEFERRABLE INITIALLY DEFERRED",
            "\"detach\"",
            "(1,7,,x)",
        ),
    ] {
        let target = Target::new(&schema(tenant, key));
        let policy = rules(DELETE, &format!("{agent}{job}{action}\n"));
        let planned = match target.plan(&policy).await {
            Ok(planned) => planned,
            Err(found) => {
                let said = crate::target::told(&found);
                assert!(
                    said.starts_with("E0249") && said.contains(left),
                    "{key}: {said}"
                );
                continue;
            }
        };
        let outcome = target.run(&planned, &[subject(1)]).await;
        outcome.unwrap_or_else(|e| panic!("{tenant} {key}: {e}"));
        let jobs = target.value("SELECT string_agg(j::text, ' ' ORDER BY id) FROM job j");
        assert_eq!(jobs, format!("{left} (2,8,1,x)"), "{tenant} {key} {action}");
    }
}

/// A list that somebody wrote into a text is no list; an element of `json` cannot go alone.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_list_is_refused() {
    let target = Target::new(
        "CREATE TABLE customer (id int PRIMARY KEY, email text);
         CREATE TABLE team (id int PRIMARY KEY, members text, doc json, js jsonb)",
    );
    let refusal = async |link: &str| {
        let rule = format!(
            "[[table]]\nname = \"s.public.team\"\nlink = {{ {link}, to = \"s.public.customer\" }}\naction = \"detach\"\n"
        );
        target.refusal(&rules(DELETE, &rule)).await
    };
    for (link, says) in [
        (
            "elements = \"members\"",
            "E0217 s.public.team.members is text, not an array",
        ),
        (
            "json = { column = \"doc\", path = [\"*\", \"id\"] }",
            "E0205 public.team.doc is json, which keeps its very text",
        ),
        (
            "json = { column = \"js\", path = [\"*\", \"a\", \"*\"] }",
            "E0118",
        ),
        (
            "columns = [\"id\"], elements = \"members\"",
            "E0118 exactly one of",
        ),
    ] {
        let said = refusal(link).await;
        assert!(said.contains(says), "{link}: {said}");
    }
}
