//! Scopes that ask for less than everything: what is outside stays byte for byte, and so does what
//! only a row outside would lead to.

use crate::support::Server;
use crate::target::{Planned, Target, head, plan_on, subject, told};
use erasured::system::postgres::execute::Subject;
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
