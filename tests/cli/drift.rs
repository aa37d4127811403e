//! The schema changes while the daemon runs.

use crate::desk::Desk;
use crate::http::{Daemon, get};
use crate::support::wait_until;
use std::time::Duration;

/// The server refuses statements prepared for a column that has another type now; a ticket must
/// not fail of it.
#[test]
fn a_column_may_change_its_type_between_two_tickets() {
    let desk = Desk::open(120);
    let _daemon = Daemon::start(&desk);
    // Customers with reviews, whose keys are captured.
    for (at, kind) in ["integer", "bigint", "integer"].iter().enumerate() {
        let reference = format!("D-{at}");
        desk.file(&reference, &format!("member_no=TM-{:07}", 30 + at));
        wait_until("the ticket to end", Duration::from_secs(60), || {
            ["completed", "deferred", "failed"].contains(&desk.ticket(&reference, "state").as_str())
        });
        let problem = desk.ticket(&reference, "problem");
        assert!(problem.is_empty(), "{problem}");
        let alter = format!("ALTER TABLE review ALTER COLUMN id TYPE {kind}");
        desk.server.execute(&desk.demo.shop, &alter);
    }
}

/// A new table within reach is told before any ticket meets it, and by name; a table that nothing
/// leads to is nobody's business.
#[test]
fn a_migration_is_told_before_a_ticket_meets_it() {
    let mut desk = Desk::open(60);
    desk.workspace.configure("[limits]\npoll = \"200ms\"\n");
    let _daemon = Daemon::start(&desk);
    let http = desk.workspace.http();
    let minute = Duration::from_secs(60);
    let fits = |value: &str| {
        let line = format!("erasured_policy_fits{{subject=\"customer\"}} {value}");
        get(&http, "/metrics", None).is_some_and(|(_, said)| said.lines().any(|l| l == line))
    };
    wait_until("the policy to fit", minute, || fits("1"));
    let shop = &desk.demo.shop;
    desk.server
        .execute(shop, "CREATE TABLE weather (day date, rain int)");
    let stray =
        "CREATE TABLE wishlist (id int PRIMARY KEY, customer_id bigint REFERENCES customer)";
    desk.server.execute(shop, stray);
    wait_until("the migration to be seen", minute, || fits("0"));
    let (status, said) = get(&http, "/readyz", None).unwrap();
    assert_eq!(status, 503);
    assert!(
        said.contains("policy customer: E0201")
            && said.contains("public.wishlist")
            && !said.contains("weather"),
        "{said}"
    );
    desk.file("D-1", "member_no=TM-0000031");
    desk.server.execute(shop, "DROP TABLE wishlist");
    wait_until("the policy to fit again", minute, || fits("1"));
    wait_until("the ticket to be done", minute, || {
        ["completed", "deferred"].contains(&desk.ticket("D-1", "state").as_str())
    });
}

/// What `check` says, and whether it ended well.
fn check(desk: &Desk, arguments: &[&str]) -> (bool, String) {
    let arguments = [&["check"], arguments].concat();
    let output = desk.erasured(arguments).output().unwrap();
    (
        output.status.success(),
        String::from_utf8(output.stdout).unwrap(),
    )
}

/// The difference is against what was there when the plan last ran; what is out of reach is in
/// nobody's way.
#[test]
fn check_shows_what_changed_as_a_diff() {
    let desk = Desk::open(60);
    let shop = &desk.demo.shop;
    let unrelated = "CREATE TABLE weather (day date, rain int); CREATE TABLE rain (id int PRIMARY KEY); \
         ALTER TABLE weather ADD COLUMN station int REFERENCES rain ON DELETE CASCADE; \
         ANALYZE customer; CREATE INDEX ON review (written_at)";
    desk.server.execute(shop, unrelated);
    let (well, said) = check(&desk, &[]);
    assert!(well && !said.contains("changed since"), "{said}");
    desk.file("D-1", "member_no=TM-0000031");
    desk.run_until_idle().assert().success();

    desk.server.execute(
        shop,
        "CREATE FUNCTION quiet() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$; \
         CREATE TRIGGER loud AFTER DELETE ON review FOR EACH ROW EXECUTE FUNCTION quiet(); \
         ALTER TABLE customer ADD COLUMN fax text; \
         ALTER TABLE review ALTER COLUMN body TYPE varchar(4000); \
         ALTER TABLE review DROP COLUMN written_at; \
         ALTER TABLE review DROP CONSTRAINT review_customer_id_fkey, \
           ADD CONSTRAINT review_customer_id_fkey FOREIGN KEY (customer_id) REFERENCES customer; \
         CREATE TABLE wishlist (id int PRIMARY KEY, customer_id bigint REFERENCES customer)",
    );
    let (_, said) = check(&desk, &[]);
    let lines = [
        "within reach of policy customer (account",
        "+ trigger loud of public.review on DELETE runs public.quiet source ",
        "+ column public.customer.fax text",
        "~ column public.review.body text NOT NULL → character varying(4000) NOT NULL",
        "- column public.review.written_at ",
        "~ foreign key review_customer_id_fkey of public.review (customer_id) to public.customer (id) ON DELETE SET NULL → NO ACTION",
        "+ table public.wishlist",
        "+ foreign key wishlist_customer_id_fkey of public.wishlist (customer_id) to public.customer (id) ON DELETE NO ACTION",
        "E0201",
    ];
    for line in lines {
        assert!(said.contains(line), "no {line:?} in\n{said}");
    }
    assert!(
        !said.contains("weather") && !said.contains('\u{1b}'),
        "{said}"
    );
    let (_, json) = check(&desk, &["--format", "json"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let found = json.as_array().unwrap();
    let drift = found.iter().find(|d| d["code"] == "E0245").unwrap();
    assert_eq!(drift["severity"], "warning");
    assert!(
        drift["message"]
            .as_str()
            .unwrap()
            .contains("\n  + table public.wishlist")
    );
    what_waits_fails_and_says_where_to_look(&desk);
}

/// Fail closed, with the policy's name where anybody may look; once mended and retried, what was
/// accepted is what is there now.
fn what_waits_fails_and_says_where_to_look(desk: &Desk) {
    let shop = &desk.demo.shop;
    desk.file("D-2", "member_no=TM-0000032");
    desk.run_until_idle().assert().code(1);
    assert_eq!(desk.ticket("D-2", "problem_code"), "E0201");
    let problem = desk.ticket("D-2", "problem");
    assert!(
        problem.contains("public.wishlist") && problem.contains("`erasured check`"),
        "{problem}"
    );
    let (well, said) = check(desk, &[]);
    assert!(
        !well && said.contains("customer.toml") && said.contains("+ table public.wishlist"),
        "{said}"
    );
    desk.server.execute(shop, "DROP TABLE wishlist");
    desk.as_person("hana", ["ticket", "retry", "--code", "E0201"])
        .assert()
        .success();
    desk.run_until_idle().assert().success();
    let (well, said) = check(desk, &[]);
    assert!(well && !said.contains("wishlist"), "{said}");
    // One scope's plan has run on the rest of it; the other's has not yet.
    assert!(
        said.contains("policy customer (marketing) in shop, changed since"),
        "{said}"
    );
}
