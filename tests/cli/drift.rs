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
