//! The schema changes while the daemon runs.

use crate::desk::Desk;
use crate::http::Daemon;
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
