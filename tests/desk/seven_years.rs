//! "Why is my invoice still there?" The law keeps it for seven years. Eight simulated years with a clock
//! that the test turns: what the law keeps stays to its day and goes on it, each with a certificate of
//! its own, and meanwhile nothing of the person is kept but in the kept rows themselves.

use crate::desk::{Desk, stdout};
use erasured::daemon::{self, Options};
use std::sync::Arc;

/// The daemon's clock, and the control database's as the daemon asks for it, so many days ahead.
fn run_ahead(desk: &Desk, days: i64) {
    let control = desk.control();
    desk.server.execute(
        control,
        &format!(
            "CREATE SCHEMA IF NOT EXISTS turned;
             CREATE OR REPLACE FUNCTION turned.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE
               AS $$ SELECT pg_catalog.clock_timestamp() + make_interval(days => {days}) $$;
             GRANT USAGE ON SCHEMA turned TO PUBLIC;
             ALTER DATABASE {control} SET search_path = turned, pg_catalog"
        ),
    );
    let options = Options {
        until_idle: true,
        progress: None,
        clock: Arc::new(move || chrono::Utc::now() + chrono::Duration::days(days)),
    };
    tokio::runtime::Runtime::new()
        .unwrap()
        .block_on(daemon::run(desk.workspace.config(), options))
        .unwrap();
}

/// All that the control database holds, as text.
fn control_holds(desk: &Desk, needle: &str) -> Vec<String> {
    let tables = desk.server.query(
        desk.control(),
        "SELECT format('%I', c.relname) FROM pg_class c WHERE c.relnamespace = 'erasured'::regnamespace AND c.relkind = 'r'",
    );
    let names = tables.into_iter().map(|row| row[0].clone().unwrap());
    names
        .filter(|table| {
            let sql = format!(
                "SELECT count(*)::text FROM erasured.{table} t WHERE position('{needle}' IN lower(t::text)) > 0"
            );
            desk.server.value(desk.control(), &sql) != "0"
        })
        .collect()
}

#[test]
fn what_the_law_keeps_comes_back_by_itself_over_seven_years() {
    let desk = Desk::open(120);
    let shop = |sql: &str| desk.server.value(&desk.demo.shop, sql);
    let theirs = "customer_id = 5 OR booking_id IN (SELECT id FROM booking WHERE customer_id = 5)";
    let invoices = shop(&format!(
        "SELECT string_agg(id::text, ',') FROM invoice WHERE {theirs}"
    ));
    let many: usize = invoices.split(',').count();
    assert!(many >= 2, "{invoices}");
    let email = shop("SELECT lower(email) FROM customer WHERE id = 5");
    // One of today, the others of each of the years before.
    desk.server.execute(
        &desk.demo.shop,
        &format!(
            "UPDATE invoice i SET issued_on = current_date - make_interval(years => n.n - 1)
               FROM (SELECT id, row_number() OVER (ORDER BY id)::int AS n FROM invoice WHERE id IN ({invoices})) n WHERE i.id = n.id"
        ),
    );
    desk.file("R-1", "member_no=TM-0000005");
    assert!(
        !control_holds(&desk, "tm-0000005").is_empty(),
        "the search finds what is there"
    );
    let left = format!("SELECT count(*) FROM invoice WHERE id IN ({invoices})");
    let addenda = || {
        let sql = "SELECT count(*) FROM erasured.certificate WHERE kind = 'supplement'";
        desk.server
            .value(desk.control(), sql)
            .parse::<usize>()
            .unwrap()
    };
    for year in 0..=8_i64 {
        // A day into each year, which has leap days behind it.
        let days = year * 365 + year / 4 + i64::from(year > 0) * 3;
        run_ahead(&desk, days);
        let due = format!(
            "SELECT count(*) FROM (SELECT {many} - g AS age FROM generate_series(1, {many}) g) a WHERE 7 - age > {year}"
        );
        assert_eq!(shop(&left), shop(&due), "in year {year}");
        let gone = many - shop(&left).parse::<usize>().unwrap();
        assert_eq!(addenda(), gone, "an addendum for each, in year {year}");
        for needle in ["tm-0000005", email.as_str()] {
            let holds = control_holds(&desk, needle);
            assert!(holds.is_empty(), "in year {year} still in {holds:?}");
        }
        let open = shop(&left) != "0";
        let state = if open { "deferred" } else { "completed" };
        assert_eq!(desk.ticket("R-1", "state"), state, "in year {year}");
    }
    assert_eq!(shop(&left), "0");
    let sealed = "SELECT count(*) FROM erasured.deferral WHERE sealed IS NOT NULL";
    assert_eq!(desk.server.value(desk.control(), sealed), "0");
    stdout(desk.erasured(["ledger", "verify"]));
}
