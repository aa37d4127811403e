//! Scopes that ask for less than everything: what is outside stays byte for byte, and so does what
//! only a row outside would lead to.

use crate::parts::{blocks, policy as whole};
use crate::support::Server;
use crate::target::{Planned, Target, head, plan_on, subject, told};
use erasured::system::postgres::execute::{BeforeChange, Deferred, NotErased, Seen, Subject};
use futures_util::future::BoxFuture;
use std::collections::{BTreeMap, BTreeSet};

/// A policy with a scope `narrow` of these tables.
fn policy(tables: &[&str], rules: &str) -> String {
    let listed: Vec<String> = tables.iter().map(|t| format!("\"s.public.{t}\"")).collect();
    let scope = format!(
        "[scope.narrow]\ntables = [{}]\nverify = {{ at_least = \"basic\" }}\nsla = \"jp-appi\"\n",
        listed.join(", ")
    );
    head("s.public.customer") + &scope + rules
}

fn rule(table: &str, rest: &str) -> String {
    format!("[[table]]\nname = \"s.public.{table}\"\n{rest}\n")
}

async fn narrow(target: &Target, policy: &str) -> Planned {
    let planned = plan_on(&[target], policy, "narrow").await;
    planned.unwrap_or_else(|e| panic!("{}", told(&e)))
}

/// A shop in which people point at people: a friend who brought them, a booking that names them.
const SHOP: &str = "
    CREATE TABLE customer (id int PRIMARY KEY, email text, referred_by int REFERENCES customer);
    CREATE TABLE booking (id int PRIMARY KEY, customer_id int NOT NULL REFERENCES customer, mentions int REFERENCES customer);
    CREATE TABLE item (id int PRIMARY KEY, booking_id int NOT NULL REFERENCES booking, what text);
    INSERT INTO customer VALUES (1, 'one@example.jp', NULL), (2, 'two@example.jp', 1), (3, 'three@example.jp', 2);
    INSERT INTO booking VALUES (1, 1, 2), (2, 2, 1), (3, 3, 1), (4, 2, NULL);
    INSERT INTO item SELECT n, 1 + n % 4, 'item ' || n FROM generate_series(1, 12) n";

fn shop() -> String {
    [
        rule("customer", "action = \"delete\""),
        rule(
            "customer",
            "via = \"customer_referred_by_fkey\"\naction = \"detach\"",
        ),
        rule("booking", "action = \"delete\""),
        rule(
            "booking",
            "via = \"booking_mentions_fkey\"\naction = \"detach\"",
        ),
        rule("item", "action = \"delete\""),
    ]
    .concat()
}

/// The scope does not name the table that points at the subject from somebody else's row: neither
/// that row nor what hangs off it is the subject's.
#[tokio::test(flavor = "multi_thread")]
async fn outside_a_scope_what_is_detached_leads_to_nobody() {
    let own_bookings = "1";
    let own_items = "4,8,12";
    for (listed, bookings, items) in [
        // The way to the items is through bookings, which are outside.
        (&["item"][..], "", own_items),
        // The way to both is through customers; 2 was brought by 1.
        (&["booking", "item"][..], own_bookings, own_items),
    ] {
        let target = Target::new(SHOP);
        let planned = narrow(&target, &policy(listed, &shop())).await;
        let mut expected = target.rows();
        let gone = |ids: &str| -> BTreeSet<i64> {
            let ids = ids.split(',').filter(|id| !id.is_empty());
            ids.map(|id| id.parse().unwrap()).collect()
        };
        let mut take = |table: &str, ids: BTreeSet<i64>| {
            let rows = expected.get_mut(&format!("public.{table}")).unwrap();
            rows.retain(|row| {
                let id = row.trim_start_matches('(').split(',').next().unwrap();
                !ids.contains(&id.parse().unwrap())
            });
        };
        take("booking", gone(bookings));
        take("item", gone(items));
        if listed.contains(&"booking") {
            // In scope the link is cut, and nothing else.
            for row in expected.get_mut("public.booking").unwrap() {
                *row = row
                    .replace("(2,2,1)", "(2,2,)")
                    .replace("(3,3,1)", "(3,3,)");
            }
        }
        let dry = target.dry_run(&planned, &[subject(1)]).await.unwrap();
        let outcome = target.run(&planned, &[subject(1)]).await.unwrap();
        assert_eq!(outcome.counts, dry);
        assert_eq!(target.rows(), expected, "{listed:?}");
    }
}

/// Outside the scope a table is linked by an address; inside, rows hang off it.
const BY_ADDRESS: &str = "
    CREATE TABLE customer (id int PRIMARY KEY, email text);
    CREATE TABLE optin (id int PRIMARY KEY, email text);
    CREATE TABLE letter (id int PRIMARY KEY, optin int NOT NULL REFERENCES optin);
    CREATE TABLE visit (id int PRIMARY KEY, customer_id int NOT NULL REFERENCES customer);
    INSERT INTO customer VALUES (1, 'family@example.jp'), (2, 'family@example.jp');
    INSERT INTO optin VALUES (1, 'family@example.jp');
    INSERT INTO letter VALUES (1, 1);
    INSERT INTO visit VALUES (1, 1), (2, 2)";

/// What a statement looks for by an identifier is asked for beforehand (E0407), in whatever scope:
/// the executor takes what it is led to.
#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_leads_into_a_scope_is_known_to_the_plan() {
    let rules = [
        rule("customer", "action = \"delete\""),
        rule(
            "optin",
            "link = { columns = [\"email\"], identifier = \"email\" }\naction = \"delete\"",
        ),
        rule("letter", "action = \"delete\""),
        rule("visit", "action = \"delete\""),
    ]
    .concat();
    let target = Target::new(BY_ADDRESS);
    let email = BTreeSet::from(["email".to_owned()]);
    for (listed, asked) in [
        (&["letter"][..], &email),
        (&["optin", "letter"][..], &email),
        (&["visit"][..], &BTreeSet::new()),
    ] {
        let planned = narrow(&target, &policy(listed, &rules)).await;
        assert_eq!(planned.plan.identifiers(), *asked, "{listed:?}");
    }
    let planned = narrow(&target, &policy(&["letter"], &rules)).await;
    let family = [Subject {
        identifiers: BTreeMap::from([("email".into(), vec!["family@example.jp".into()])]),
        ..subject(1)
    }];
    target.run(&planned, &family).await.unwrap();
    assert_eq!(target.count("SELECT count(*) FROM letter"), 0);
    assert_eq!(target.count("SELECT count(*) FROM optin"), 1);
}

/// Nobody leaves a conversation under a scope without participants.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_shared_goes_by_no_scope_without_its_owners() {
    let target = Target::of("s", &Server::shared().fresh_database("core"));
    target.execute(
        "CREATE TABLE customer (id int PRIMARY KEY, email text);
         CREATE TABLE room (id int PRIMARY KEY, title text);
         CREATE TABLE member (customer_id int NOT NULL REFERENCES customer, room_id int NOT NULL REFERENCES room);
         INSERT INTO customer VALUES (1, 'one@example.jp'), (2, 'two@example.jp');
         INSERT INTO room VALUES (1, 'mine'), (2, 'ours');
         INSERT INTO member VALUES (1, 1), (1, 2), (2, 2)",
    );
    let rules = [
        rule("customer", "action = \"delete\""),
        rule("member", "action = \"delete\""),
        rule("room", "action = \"shared\"\nthrough = \"s.public.member\""),
    ]
    .concat();
    let refused = plan_on(&[&target], &policy(&["room"], &rules), "narrow").await;
    let said = told(&refused.err().unwrap());
    assert!(
        said.starts_with(
            "E0233 the scope narrow covers s.public.room, but not its owners in s.public.member"
        ),
        "{said}"
    );
    // The whole person still goes, and both together may be listed; the owners alone may, too.
    let policy = |listed: &[&str]| policy(listed, &rules);
    target.plan(&policy(&["member", "room"])).await.unwrap();
    narrow(&target, &policy(&["member"])).await;
    let planned = narrow(&target, &policy(&["member", "room"])).await;
    target.run(&planned, &[subject(1)]).await.unwrap();
    assert_eq!(
        target.value("SELECT string_agg(title, ',') FROM room"),
        "ours"
    );
}

/// The example of docs/policies.md does what stands there.
#[tokio::test(flavor = "multi_thread")]
async fn the_documented_scopes_do_what_they_say() {
    let document = blocks(include_str!("../../docs/policies.md"));
    let block = |info: &str| {
        let found = document.iter().find(|b| b.info == info);
        found.unwrap_or_else(|| panic!("{info}")).body.clone()
    };
    let policy = whole(&block("toml part of a policy with scopes"));
    for scope in ["newsletter", "account"] {
        let database = Server::shared().fresh_database("core");
        let target = Target::of("shop", &database);
        target.execute(&block("sql scopes"));
        let planned = plan_on(&[&target], &policy, scope).await;
        let planned = planned.unwrap_or_else(|e| panic!("{}", told(&e)));
        target.run(&planned, &[subject(1)]).await.unwrap();
        let rows = target.rows().into_iter().flat_map(|(table, rows)| {
            let table = table.replace("public.", "");
            rows.into_iter().map(move |row| format!("{table} {row}"))
        });
        let left: Vec<String> = rows.collect();
        assert_eq!(left.join("\n"), block(&format!("left {scope}")), "{scope}");
    }
}

/// Tables, columns and rules by scope, as the next tests use them.
const LISTS: &str = "
    CREATE TABLE customer (id int PRIMARY KEY, email text, news text, phone text);
    CREATE TABLE message (id int PRIMARY KEY, customer_id int NOT NULL REFERENCES customer,
        answers int REFERENCES message, body text, device text);
    CREATE TABLE invoice (id int PRIMARY KEY, customer_id int REFERENCES customer, day date NOT NULL, note text, payer text);
    INSERT INTO customer SELECT n, n || '@example.jp', 'news ' || n, 'phone ' || n FROM generate_series(1, 3) n;
    INSERT INTO message SELECT n, 1 + n % 3, CASE WHEN n > 6 THEN n - 6 END, 'body ' || n, 'device ' || n FROM generate_series(1, 12) n;
    INSERT INTO invoice SELECT n, 1 + n % 3, date '2025-01-01', 'note ' || n, 'payer ' || n FROM generate_series(1, 6) n";

const KEPT: &str = "action = \"retain\"\nuntil = { column = \"day\", plus = \"7 years\" }\nbecause = \"books are kept\"\nthen = \"delete\"\nset = { note = \"null\", customer_id = \"null\" }";

fn lists(scope: &str, rules: &str) -> String {
    let scope = format!(
        "[scope.narrow]\n{scope}\nverify = {{ at_least = \"basic\" }}\nsla = \"jp-appi\"\n"
    );
    let rest = [
        rule("customer", "action = \"delete\""),
        rule("message", "action = \"delete\""),
        rule(
            "message",
            "via = \"message_answers_fkey\"\naction = \"detach\"",
        ),
        rule("invoice", KEPT),
    ];
    head("s.public.customer") + &scope + &rest.concat() + rules
}

/// Rows of one table as they must be: those that `mine` picks are changed by `how`.
fn changed(
    rows: &[String],
    mine: impl Fn(&str) -> bool,
    how: impl Fn(&str) -> String,
) -> Vec<String> {
    let mut rows: Vec<String> = rows
        .iter()
        .map(|row| if mine(row) { how(row) } else { row.clone() })
        .collect();
    rows.sort();
    rows
}

/// Columns of several tables: rows stay, the law's among them, and nothing but these columns
/// changes, although the rules set more; others' rows stay byte for byte.
#[tokio::test(flavor = "multi_thread")]
async fn a_scope_of_columns_changes_nothing_else() {
    let target = Target::new(LISTS);
    let policy = lists(
        "columns = [\"s.public.customer.news\", \"s.public.message.device\", \"s.public.invoice.note\"]",
        &(rule(
            "customer",
            "scopes = [\"narrow\"]\naction = \"anonymize\"\nset = { news = \"null\", phone = \"redact\" }",
        ) + &rule(
            "message",
            "scopes = [\"narrow\"]\naction = \"anonymize\"\nset = { device = \"redact\", body = \"redact\" }",
        )),
    );
    let planned = narrow(&target, &policy).await;
    let covers = planned.plan.covers.as_ref().unwrap();
    assert_eq!(
        covers.columns,
        [
            "s.public.customer.news",
            "s.public.invoice.note",
            "s.public.message.device"
        ]
    );
    assert!(covers.tables.is_empty() && covers.categories.is_empty());
    let before = target.rows();
    let dry = target.dry_run(&planned, &[subject(1)]).await.unwrap();
    let outcome = target.run(&planned, &[subject(1)]).await.unwrap();
    assert_eq!(outcome.counts, dry);
    let mut expected = before.clone();
    let of = |table: &str| &before[&format!("public.{table}")];
    let second = |row: &str| row.split(',').nth(1) == Some("1");
    expected.insert(
        "public.customer".into(),
        changed(
            of("customer"),
            |r| r.starts_with("(1,"),
            |r| r.replace("\"news 1\"", ""),
        ),
    );
    expected.insert(
        "public.message".into(),
        changed(of("message"), second, |r| {
            let (rest, _) = r.rsplit_once(',').unwrap();
            format!("{rest},[erased])")
        }),
    );
    expected.insert(
        "public.invoice".into(),
        changed(of("invoice"), second, |r| {
            let parts: Vec<&str> = r.split(',').collect();
            format!("{},{},{},,{}", parts[0], parts[1], parts[2], parts[4])
        }),
    );
    assert_eq!(target.rows(), expected);
    // Nothing is promised for later: what the law keeps was left alone.
    assert!(outcome.counts.iter().all(|c| c.kept.is_empty()));
    let again = target.run(&planned, &[subject(1)]).await.unwrap();
    assert_eq!((target.rows(), again.counts), (expected, dry));
}

/// What a scope of columns cannot do is refused, and says for which column.
#[tokio::test(flavor = "multi_thread")]
async fn a_covered_column_needs_a_value() {
    let target = Target::new(LISTS);
    let set = |table: &str, column: &str| {
        rule(
            table,
            &format!(
                "scopes = [\"narrow\"]\naction = \"anonymize\"\nset = {{ {column} = \"null\" }}"
            ),
        )
    };
    let via = "via = \"message_answers_fkey\"\n";
    for (column, rules, code) in [
        // The rows would go, and nobody says what becomes of the column if they stay.
        ("customer.news", String::new(), "E0234"),
        ("customer.news", set("customer", "phone"), "E0234"),
        ("customer.news", set("customer", "news"), ""),
        // The law keeps it.
        ("invoice.payer", String::new(), "E0234"),
        ("invoice.note", String::new(), ""),
        // By one way its rows would keep it; rows of others have no say.
        ("message.body", set("message", "body"), ""),
        (
            "message.body",
            set("message", "body")
                + &rule(
                    "message",
                    &format!("{via}scopes = [\"narrow\"]\naction = \"delete\""),
                ),
            "E0234",
        ),
        ("customer.nwes", set("customer", "news"), "E0203"),
        ("visit.place", String::new(), "E0219"),
        // Keys stay.
        (
            "invoice.id",
            rule(
                "invoice",
                "scopes = [\"narrow\"]\naction = \"anonymize\"\nset = { id = { constant = \"0\" } }",
            ),
            "E0224",
        ),
    ] {
        let policy = lists(&format!("columns = [\"s.public.{column}\"]"), &rules);
        let refused = plan_on(&[&target], &policy, "narrow").await.err();
        let said = refused.map_or_else(String::new, |found| told(&found));
        let codes: BTreeSet<&str> = said.lines().filter_map(|l| l.split(' ').next()).collect();
        assert!(
            codes.contains(code) || code.is_empty() && codes.is_empty(),
            "{column}: {said}"
        );
        if code == "E0234" {
            assert!(said.contains(&format!("s.public.{column}, and")), "{said}");
            // A policy that is wrong for one scope does not run for another.
            assert!(target.refusal(&policy).await.contains("E0234"));
        }
    }
}

/// A rule for other scopes decides nothing here.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_decided_for_other_scopes_is_undecided() {
    let target = Target::new(
        "CREATE TABLE customer (id int PRIMARY KEY, email text);
         CREATE TABLE note (customer_id int REFERENCES customer)",
    );
    let note = rule("note", "scopes = [\"narrow\"]\naction = \"delete\"");
    let policy = policy(
        &["note"],
        &(rule("customer", "action = \"delete\"") + &note),
    );
    narrow(&target, &policy).await;
    let refused = target.refusal(&policy).await;
    assert!(
        refused.starts_with("E0201 s.public.note is reached"),
        "{refused}"
    );
}

/// A narrow scope has put rows off; before their date a wider ticket anonymizes them, so that nothing
/// leads to them from the person any more. On their date they go all the same, by their keys: the
/// first certificate promised it. Where the wider ticket has deleted them, nothing is left to do.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_narrow_scope_put_off_goes_although_a_wider_one_anonymized_it() {
    for (wider, gone) in [
        (
            "action = \"anonymize\"\nset = { customer_id = \"null\", note = \"null\" }",
            2,
        ),
        ("action = \"delete\"", 0),
    ] {
        let target = Target::new(LISTS);
        let policy = lists(
            "tables = [\"s.public.invoice\"]",
            &rule("invoice", &format!("scopes = [\"all\"]\n{wider}")),
        );
        // Meanwhile the person's rows are known as such, so that the wider ticket finds them.
        let policy = policy.replace(", customer_id = \"null\" }\n[[table]]", " }\n[[table]]");
        let first = narrow(&target, &policy).await;
        let mut put_off = Keep::default();
        let part = first.part("s");
        target
            .run_with(&first, part, &[subject(1)], &mut put_off)
            .await
            .unwrap();
        assert_eq!(put_off.0[0].keys.len(), 2, "two invoices");
        let second = target.plan(&policy).await;
        let second = second.unwrap_or_else(|e| panic!("{}", told(&e)));
        let outcome = target.run(&second, &[subject(1)]).await.unwrap();
        let met = crate::target::totals(&outcome.counts).into_iter();
        let met = met.filter(|((table, _), _)| table == "public.invoice");
        assert_eq!(met.map(|(_, rows)| rows).sum::<i64>(), 2, "{wider}");
        // The date has come.
        target.execute("UPDATE invoice SET day = '2001-01-01' WHERE id IN (3, 6)");
        let mut expected = target.rows();
        let rows = expected.get_mut("public.invoice").unwrap();
        rows.retain(|row| !row.starts_with("(3,") && !row.starts_with("(6,"));
        let table = erasured::name::TableName::new("public", "invoice");
        let lineage = erasured::lineage::of_retained(&first.lineage, "s", &table).unwrap();
        let mut later = narrow(&target, &policy).await;
        later.plan = erasured::plan::build(&later.policy, &lineage);
        let keys = put_off.0[0].keys.clone();
        let due = Subject { keys, ..subject(1) };
        let outcome = target.run(&later, &[due]).await.unwrap();
        let counts = crate::target::totals(&outcome.counts);
        let went: i64 = counts.values().sum();
        assert_eq!((went, target.rows()), (gone, expected), "{wider}");
    }
}

/// Keeps what the executor says of rows to come back for.
#[derive(Default)]
struct Keep(Vec<Deferred>);

impl BeforeChange for Keep {
    fn last_word(&mut self) -> BoxFuture<'_, Result<(), NotErased>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn ready(
        &mut self,
        _: Vec<Seen>,
        deferred: Vec<Deferred>,
    ) -> BoxFuture<'_, Result<(), NotErased>> {
        self.0 = deferred;
        Box::pin(std::future::ready(Ok(())))
    }
}
