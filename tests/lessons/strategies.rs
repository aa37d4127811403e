//! Every way in which a column loses the person, on a real server.

use crate::target::{Target, head, subject};
use erasured::system::postgres::execute::Subject;
use std::collections::BTreeMap;

const CUSTOMERS: &str = "CREATE TABLE customer (id int PRIMARY KEY, email text, phone text);
     INSERT INTO customer SELECT n, 'c' || n || '@example.jp', '090-0000-' || lpad(n::text, 4, '0') FROM generate_series(1, 9) n;";

fn policy(set: &str) -> String {
    head("s.public.customer")
        + "[identifier.phone]\ncolumn = \"phone\"\ntype = \"phone\"\nregion = \"JP\"\nresidual = true\n"
        + &format!(
            "[[table]]\nname = \"s.public.customer\"\naction = \"anonymize\"\nset = {{ {set} }}\n"
        )
}

fn known(id: i32) -> Subject {
    Subject {
        identifiers: BTreeMap::from([("email".into(), vec![format!("c{id}@example.jp")])]),
        ..subject(id)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_value_is_what_it_says_and_neighbours_keep_theirs() {
    let target = Target::new(&format!(
        "{CUSTOMERS}
         ALTER TABLE customer ADD login varchar(40) UNIQUE, ADD nick text, ADD card char(12), ADD age smallint,
           ADD debt numeric(8,2), ADD city varchar(10), ADD note text, ADD remark varchar(30),
           ADD CHECK (email ~ '^[^@]+@[^@]+[.][a-z]+$'), ADD CHECK (phone ~ '^[0-9]{{3}}-[0-9]{{4}}-[0-9]{{4}}$');
         UPDATE customer SET login = 'login' || id, nick = 'néko' || id, card = '12345678901' || id % 10, age = 37, debt = -12.5,
           city = 'Osaka', note = 'ＣＡＬＬ 090 0000 000' || id || ' or C' || id || '@Example.JP; room 12', remark = 'c' || id || '@example.jp!';
         UPDATE customer SET nick = 'ab', age = -3, city = NULL WHERE id = 2;"
    ));
    let planned = target
        .plan(&policy(
            "email = { hash = \"email\" }, phone = { hash = \"phone\" }, login = { template = \"gone-{key}@example.invalid\" },
             nick = { mask = 2 }, card = { mask = 4, keep = \"last\" }, age = { bucket = 10 }, debt = { bucket = 10 },
             city = { choose = [\"Nara\", \"Kobe\"] }, note = { redact = \"identifiers\" }, remark = { redact = \"identifiers\" }"
                .replace('\n', " ")
                .as_str(),
        ))
        .await
        .unwrap();
    let neighbours = "SELECT string_agg(t::text, ' ' ORDER BY id) FROM customer t WHERE id > 3";
    let before = target.value(neighbours);
    // 1 and 2 in one batch; 2 is known by the root row alone; then 3, whose ticket knows them too.
    let first = known(1);
    target
        .run(&planned, &[first.clone(), subject(2)])
        .await
        .unwrap();
    target.run(&planned, &[known(3)]).await.unwrap();
    let row = |id: i32| {
        target.value(&format!(
            "SELECT concat_ws('|', login, nick, card, age, debt, note, remark) FROM customer WHERE id = {id}"
        ))
    };
    assert_eq!(
        row(1).trim(),
        "gone-1@example.invalid|né***|********9011|30|-20.00|ＣＡＬＬ [erased] or [erased]; room 12|[erased]!"
    );
    assert_eq!(
        row(2).trim(),
        "gone-2@example.invalid|**|********9012|-10|-20.00|ＣＡＬＬ [erased] or [erased]; room 12|[erased]!"
    );
    let good = "SELECT count(DISTINCT (email, phone)) FROM customer WHERE id <= 3 AND email ~ '^[0-9a-f]{32}@example.invalid$'
        AND phone ~ '^000-[0-9]{4}-[0-9]{4}$' AND phone NOT LIKE '%-0000-%' AND (id = 2) = (city IS NULL)
        AND coalesce(city, 'Nara') IN ('Nara', 'Kobe')";
    assert_eq!(target.count(good), 3);
    assert_eq!(target.value(neighbours), before);
    // The sweep finds nobody who was erased.
    for (id, places) in [(1, 0), (2, 0), (3, 0), (4, 3)] {
        assert_eq!(
            target.sweep(&format!("c{id}@example.jp")).await.len(),
            places
        );
    }
    // The same people again: no constraint breaks, and what is not hashed stays as it is.
    let then = row(1);
    target
        .run(&planned, &[subject(1), subject(3)])
        .await
        .unwrap();
    assert_eq!(row(1), then);
    assert_eq!(target.count(good), 3);
}

/// A value that is not there afterwards, because a trigger changed it, refuses the batch.
#[tokio::test(flavor = "multi_thread")]
async fn the_probe_looks_for_the_new_value() {
    for (set, keeps) in [
        ("note = { redact = \"identifiers\" }", "note"),
        ("phone = { hash = \"phone\" }", "phone"),
        ("note = { mask = 2 }", "note"),
        ("note = { template = \"x{key}\" }", "note"),
        ("note = { choose = [\"a\", \"b\"] }", "note"),
        ("age = { bucket = 10 }", "age"),
    ] {
        let target = Target::new(&format!(
            "{CUSTOMERS} ALTER TABLE customer ADD note text, ADD age int; UPDATE customer SET note = email, age = 37;
             CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.{keeps} := OLD.{keeps}; RETURN NEW; END $$;
             CREATE TRIGGER keep BEFORE UPDATE ON customer FOR EACH ROW EXECUTE FUNCTION keep();"
        ));
        let planned = target.plan(&policy(set)).await.unwrap();
        let refused = target.run(&planned, &[known(1)]).await;
        assert!(refused.is_err(), "{set}");
        assert_eq!(
            target.count("SELECT count(*) FROM customer WHERE age = 37 AND note = email"),
            9
        );
    }
}

/// Ten thousand rows of one person, each under UNIQUE constraints, and again.
#[tokio::test(flavor = "multi_thread")]
async fn lesson_07_unique_holds_over_ten_thousand_rows() {
    let target = Target::new(&format!(
        "{CUSTOMERS}
         CREATE TABLE address (tenant int, n int, customer_id int REFERENCES customer, email varchar(32) UNIQUE, login varchar(30) UNIQUE,
           code text UNIQUE, UNIQUE (tenant, login), PRIMARY KEY (tenant, n));
         CREATE INDEX ON address (customer_id);
         INSERT INTO address SELECT n % 7, n, 1 + n / 5000, 'a' || n || '@example.jp', 'l' || n, 'c' || n FROM generate_series(0, 14999) n;"
    ));
    let text = policy("phone = \"null\"")
        + "[[table]]\nname = \"s.public.address\"\naction = \"anonymize\"\n\
           set = { email = { hash = \"email\" }, login = { template = \"x-{key}\" }, code = \"hash\" }\n";
    let planned = target.plan(&text).await.unwrap();
    target.run(&planned, &[known(1), known(2)]).await.unwrap();
    let masked = "SELECT count(DISTINCT (email, login, code)) FROM address WHERE email LIKE '%@example.invalid'
        AND login = concat('x-', tenant, '-', n) AND length(code) = 64";
    assert_eq!(target.count(masked), 10_000);
    target.run(&planned, &[subject(2)]).await.unwrap();
    assert_eq!(target.count(masked), 10_000);
    assert_eq!(
        target.count(
            "SELECT count(*) FROM address WHERE email LIKE 'a%@example.jp' AND customer_id = 3"
        ),
        5_000
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_right_is_refused_with_its_reason() {
    let target = Target::new(&format!(
        "{CUSTOMERS}
         ALTER TABLE customer ADD login varchar(10) UNIQUE, ADD note varchar(5), ADD age int, ADD born date, ADD boss int REFERENCES customer;
         CREATE TABLE visit (email text, n text, customer_id int REFERENCES customer, label text UNIQUE, PRIMARY KEY (email, n));
         CREATE INDEX ON visit (customer_id); CREATE INDEX ON customer (boss);"
    ));
    for (set, code, word) in [
        ("login = { mask = 1 }", "E0207", "UNIQUE"),
        ("login = { hash = \"phone\" }", "E0207", "UNIQUE"),
        ("login = { choose = [\"a\", \"b\"] }", "E0207", "UNIQUE"),
        ("login = { template = \"gone\" }", "E0207", "UNIQUE"),
        ("login = { redact = \"identifiers\" }", "E0207", "UNIQUE"),
        (
            "login = { template = \"deleted-{key}-x\" }",
            "E0205",
            "longer",
        ),
        ("login = { template = \"gone-{key}\" }", "", ""),
        ("login = { hash = \"email\" }", "E0222", "too few"),
        ("note = { redact = \"identifiers\" }", "E0205", "too few"),
        ("note = { choose = [\"a\", \"abcdef\"] }", "E0205", "longer"),
        ("note = { bucket = 5 }", "E0205", "integers"),
        ("age = { mask = 1 }", "E0205", "only text"),
        ("born = { template = \"{key}\" }", "E0205", "only text"),
        ("boss = { bucket = 10 }", "E0228", "would not stand there"),
        ("phone = { mask = 5, keep = \"last\" }", "E0232", "guessed"),
        ("phone = { mask = 4 }", "E0232", "guessed"),
        ("phone = { mask = 4, keep = \"last\" }", "", ""),
        ("email = { mask = 3 }", "E0232", "guessed"),
        ("email = { mask = 2 }", "", ""),
    ] {
        let text = policy(set)
            + "[[table]]\nname = \"s.public.visit\"\naction = \"delete\"\n"
            + "[[table]]\nname = \"s.public.customer\"\nvia = \"customer_boss_fkey\"\naction = \"detach\"\n";
        let said = target.refusal(&text).await;
        if code.is_empty() {
            assert_eq!(said, "", "{set}");
        } else {
            let fits = |line: &str| line.starts_with(code) && line.contains(word);
            assert!(said.lines().any(fits), "{set}: {said}");
        }
    }
    // The key itself says who it is, or its parts may be joined to the same text in two ways.
    let visit = policy("age = \"null\"")
        + "[[table]]\nname = \"s.public.customer\"\nvia = \"customer_boss_fkey\"\naction = \"detach\"\n\
           [[table]]\nname = \"s.public.visit\"\naction = \"anonymize\"\nset = { label = { template = \"v-{key}\" } }\n";
    let said = target.refusal(&visit).await;
    assert!(said.contains("E0207"), "{said}");
    let linked = visit
        + "[[table]]\nname = \"s.public.visit\"\nlink = { columns = [\"email\"], identifier = \"email\" }\naction = \"delete\"\n";
    let said = target.refusal(&linked).await;
    assert!(said.contains("E0232"), "{said}");
    // What is no strategy at all.
    for (set, word) in [
        ("note = { template = \"{id}\" }", "braces"),
        ("note = { mask = 1, bucket = 2 }", "exactly one"),
        ("note = { bucket = 2, keep = \"last\" }", "belongs to"),
        ("note = { choose = [\"a\", \"a\"] }", "fewer than two"),
        ("note = { hash = \"sha256\" }", "sha256"),
    ] {
        let said = target.refusal(&policy(set)).await;
        assert!(said.contains(word), "{set}: {said}");
    }
}
