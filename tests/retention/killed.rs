//! Daemons die, rows are locked, somebody reads for an hour: what is due goes all the same, and is counted once.

use crate::company::{Company, DUE};
use crate::scheduled::{Daemon, due, every_second};
use crate::support::{blocking, wait_until};
use std::time::{Duration, Instant};

/// The process that is at a run of which something has gone.
const HOLDER: &str = "SELECT coalesce(max(substring(holder FROM '[0-9]+$')), '') FROM erasured.retention_run \
     WHERE state = 'running' AND rows > 0 AND lease_until > now()";
const LONG: Duration = Duration::from_secs(240);

/// Two daemons, one of them killed again and again at some moment or other: exactly the due rows go, and the runs,
/// the ledger and the target's own rows say the same of it.
#[test]
fn two_daemons_of_which_one_is_killed_take_exactly_what_is_due() {
    let mut company = Company::with(crate::company::SCHEMA, &every_second(""));
    company
        .workspace
        .configure("[limits]\npoll = \"200 ms\"\nlease = \"5 s\"");
    company.execute(
        "INSERT INTO call SELECT n, 1 + n % 20, now() - interval '1 year' FROM generate_series(10001, 14000) n; \
         INSERT INTO note SELECT n, n, 'note' FROM generate_series(10001, 14000) n",
    );
    let (before, expected) = (due(&company), company.rows(DUE));
    let slow = "after-last-word=sleep(200)";
    let start: [&dyn Fn() -> Daemon; 2] = [&|| Daemon::start(&company, slow), &|| {
        Daemon::start_other(&company, slow)
    }];
    let mut daemons = start.map(|start| start());
    let mut hits = 0;
    let end = Instant::now() + LONG;
    while due(&company) > 0 {
        assert!(Instant::now() < end, "{} left", due(&company));
        let time = rand::random_range(100..1500);
        std::thread::sleep(Duration::from_millis(time));
        // Whoever is at work, and later anybody.
        let holder = company.server.value(&company.control, HOLDER);
        let at_work = (0..2).find(|n| holder == daemons[*n].id().to_string());
        let which = match at_work {
            Some(at_work) if hits < 2 => at_work,
            _ if hits < 2 => continue,
            _ => rand::random_range(0..2),
        };
        hits += usize::from(at_work == Some(which));
        eprintln!(
            "after {time} ms daemon {which} is killed, {} left",
            due(&company)
        );
        daemons[which].kill();
        daemons[which] = start[which]();
    }
    let running =
        "SELECT count(*) FROM erasured.retention_run WHERE state = 'running' AND rows > 0";
    wait_until("the runs to end", LONG, || {
        company.server.count(&company.control, running) == 0
    });
    // One may not have come up yet.
    drop(daemons);
    assert!(hits > 1, "{hits}");
    assert_eq!(company.rows("false"), expected);
    let control = |sql: &str| company.server.count(&company.control, sql);
    assert_eq!(
        control("SELECT sum(rows)::bigint FROM erasured.retention_run"),
        before
    );
    let counts = "SELECT sum((counts->'public.call'->>'deleted')::bigint)::bigint FROM erasured.retention_run";
    assert_eq!(control(counts), before);
    let ledger = "SELECT sum((body->'counts'->'public.call'->>'deleted')::bigint)::bigint FROM \
         (SELECT kind, body FROM erasured.event UNION ALL \
          SELECT entry::jsonb->>'kind', entry::jsonb->'body' FROM erasured.ledger) e WHERE kind = 'retention_ended'";
    assert_eq!(control(ledger), before);
    let own = "SELECT sum((counts->'changed'->'public.call'->>'deleted')::bigint)::bigint FROM erasured.applied_step";
    assert_eq!(company.count(own), before);
}

/// One row is locked for as long as the run takes: it is set aside and named, soon, and no other stays with it.
#[test]
fn a_row_that_stays_locked_is_set_aside_and_taken_later() {
    let mut company = Company::open();
    company
        .workspace
        .configure("[limits]\nlock_timeout = \"200 ms\"");
    let but = format!("({DUE}) AND c.id <> 2500");
    let expected = company.rows(&but);
    blocking(async {
        let client = company.server.connect(&company.shop).await;
        let lock = "BEGIN; SELECT FROM call WHERE id = 2500 FOR UPDATE";
        client.batch_execute(lock).await.unwrap();
        let begun = Instant::now();
        let said = company.says(&["retention", "run", "calls"], 1);
        assert!(
            said.contains("set aside: shop.public.call with key 2500:"),
            "{said}"
        );
        let took = begun.elapsed();
        assert!(took < Duration::from_secs(25), "{took:?}");
        assert_eq!(company.rows("false"), expected);
    });
    company.says(&["retention", "run", "calls"], 0);
    assert_eq!(due(&company), 0);
}

/// A snapshot of before keeps dead rows from being removed, and no run from going on.
#[test]
fn a_long_reader_holds_nothing_up() {
    let company = Company::open();
    blocking(async {
        let client = company.server.connect(&company.shop).await;
        let look = "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM call";
        client.batch_execute(look).await.unwrap();
        let all = due(&company);
        let run = company.json(&["retention", "run", "calls"]);
        assert_eq!(run["changed"]["public.call"]["deleted"].as_i64(), Some(all));
        let call = run["tidied"].as_array().unwrap().iter();
        let call = call.clone().find(|t| t["table"] == "public.call").unwrap();
        assert_eq!(call["dead"].as_i64(), Some(all), "{run}");
        let seen = format!("SELECT count(*) FROM call c WHERE {DUE}");
        let seen: i64 = client.query_one(&seen, &[]).await.unwrap().get(0);
        assert_eq!(seen, all, "the reader sees what it saw");
    });
}
