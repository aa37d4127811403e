//! Production comes first: a run waits while somebody suffers, and goes on afterwards.

use crate::company::{Company, POLICY};
use crate::scheduled::{Daemon, due, every_second, get};
use crate::support::{blocking, connect, wait_until};
use erasured::system::postgres::libpq::Settings;
use erasured::system::postgres::pressure::{self, Wanted};
use std::process::Child;
use std::time::{Duration, Instant};

const LONG: Duration = Duration::from_secs(120);
/// Some batches that take long and so become small, then as fast as it goes.
const SLOW_AT_FIRST: &str = "after-last-word=8*sleep(400)->off";
const MORE: &str =
    "INSERT INTO call SELECT n, 1, now() - interval '1 year' FROM generate_series(10001, 14000) n";

fn throttled(company: &mut Company, keys: &str) {
    company.workspace.configure(&format!(
        "[limits]\npoll = \"200 ms\"\nlease = \"5 s\"\n[system.shop.throttle]\n{keys}"
    ));
}

fn running(company: &Company) -> i64 {
    company.server.count(
        &company.control,
        "SELECT count(*) FROM erasured.retention_run WHERE state = 'running' AND lease_until > now()",
    )
}

/// Nothing goes for so long, and the run lives.
#[track_caller]
fn stands_still(company: &Company, time: Duration) {
    wait_until("a run", LONG, || running(company) == 1);
    let before = due(company);
    assert!(before > 0, "there is something left to wait with");
    let end = Instant::now() + time;
    while Instant::now() < end {
        std::thread::sleep(Duration::from_millis(200));
        assert_eq!(due(company), before, "a batch went meanwhile");
        assert_eq!(running(company), 1, "a run that waits stays alive");
    }
}

fn run(company: &Company) -> Child {
    let mut command = company.workspace.process(["retention", "run", "calls"]);
    command.spawn().unwrap()
}

#[track_caller]
fn goes_to_its_end(company: &Company, mut run: Child) {
    wait_until("the run to go on", LONG, || due(company) == 0);
    assert!(run.wait().unwrap().success());
}

fn seconds(company: &Company, reason: &str) -> f64 {
    let name =
        format!("erasured_retention_throttle_seconds_total{{rule=\"calls\",reason=\"{reason}\"}} ");
    // It may still be starting.
    if std::net::TcpStream::connect(company.workspace.http()).is_err() {
        return 0.0;
    }
    let metrics = get(&company.workspace.http());
    let line = metrics.lines().find_map(|line| line.strip_prefix(&name));
    line.map_or(0.0, |seconds| seconds.parse().unwrap())
}

/// A real standby whose replay stands still while rows go: the run waits at the end of its batch for as long as
/// it takes, keeps its lease, and goes on; a standby of an idle system does not lag; one that is not there
/// counts as one that lags.
#[test]
fn lesson_09_a_standby_that_lags_is_waited_for() {
    let mut company = Company::alone(&every_second(""));
    company.execute(MORE);
    let standby = company.server.standby();
    let replayed = |sql: &str| standby.value("postgres", sql);
    throttled(
        &mut company,
        &format!(
            "standbys = [{:?}, \"walreceiver\"]\nlag = \"2 s\"",
            standby.url("postgres")
        ),
    );
    // For longer than the limit nothing was written.
    std::thread::sleep(Duration::from_secs(3));
    let before = due(&company);
    let daemon = Daemon::start(&company, SLOW_AT_FIRST);
    wait_until("the first batch", LONG, || due(&company) < before);
    replayed("SELECT pg_wal_replay_pause()::text");
    wait_until("it to wait", LONG, || seconds(&company, "lag") > 0.0);
    // Longer than its lease.
    stands_still(&company, Duration::from_secs(7));
    let reading = "erasured_retention_throttle_reading{system=\"shop\",reason=\"lag\"}";
    assert!(get(&company.workspace.http()).contains(reading));
    replayed("SELECT pg_wal_replay_resume()::text");
    wait_until("it to go on", LONG, || due(&company) == 0);
    wait_until("its end", LONG, || running(&company) == 0);
    daemon.stop();
    let first = "SELECT rows FROM erasured.retention_run ORDER BY started_at LIMIT 1";
    assert_eq!(company.server.count(&company.control, first), before);

    // By hand, the standby gone.
    company.execute("INSERT INTO call SELECT n, 1, now() - interval '1 year' FROM generate_series(20001, 20100) n");
    standby.stop_immediate();
    let waits = run(&company);
    stands_still(&company, Duration::from_secs(4));
    standby.start_again();
    goes_to_its_end(&company, waits);
}

/// Sessions that wait for a lock, sessions at work, WAL: each by itself makes a run wait, until it is over.
#[test]
fn lesson_09_locks_sessions_and_wal_are_waited_for() {
    let mut company = Company::alone(POLICY);
    throttled(&mut company, "lock_waits = 0");
    let (server, shop) = (company.server, company.shop.clone());
    let waits = blocking(async {
        let (holds, waits) = (server.connect(&shop).await, server.connect(&shop).await);
        holds
            .batch_execute("BEGIN; SELECT pg_advisory_xact_lock(1)")
            .await
            .unwrap();
        let waiting = waits.batch_execute("SELECT pg_advisory_xact_lock(1)");
        let look = async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            let run = run(&company);
            stands_still(&company, Duration::from_secs(3));
            holds.batch_execute("COMMIT").await.unwrap();
            run
        };
        let (waited, run) = futures_util::future::join(waiting, look).await;
        waited.unwrap();
        run
    });
    goes_to_its_end(&company, waits);

    for (keys, work) in [
        ("active_sessions = 0", "SELECT pg_sleep(5)"),
        (
            "wal = \"100 kB/s\"",
            "DO $$ BEGIN FOR n IN 1..100 LOOP INSERT INTO noise SELECT repeat('x', 1000) FROM generate_series(1, 100); COMMIT; PERFORM pg_sleep(0.05); END LOOP; END $$",
        ),
    ] {
        let mut company = Company::alone(POLICY);
        company.execute("CREATE TABLE noise (x text)");
        throttled(&mut company, keys);
        let url = company.server.url(&company.shop);
        let waits = std::thread::scope(|scope| {
            scope.spawn(|| {
                blocking(async { connect(&url).await.batch_execute(work).await.unwrap() })
            });
            std::thread::sleep(Duration::from_millis(500));
            let run = run(&company);
            stands_still(&company, Duration::from_secs(2));
            run
        });
        goes_to_its_end(&company, waits);
    }
}

/// A file that is not there, or says too much, makes a run wait; when it says less it goes on.
#[test]
fn lesson_09_a_load_that_is_high_or_unknown_is_waited_for() {
    let mut company = Company::with(crate::company::SCHEMA, &every_second(""));
    let file = company.workspace.path().join("load");
    throttled(
        &mut company,
        &format!(
            "load = {{ file = {:?}, above = 4, fresh = \"1 h\" }}",
            file.to_str().unwrap()
        ),
    );
    let daemon = Daemon::start(&company, "");
    wait_until("it to wait", LONG, || seconds(&company, "unknown") > 0.0);
    std::fs::write(&file, "4.01 of something\n").unwrap();
    wait_until("it to say why", LONG, || seconds(&company, "load") > 0.0);
    stands_still(&company, Duration::from_secs(2));
    std::fs::write(&file, "4\n").unwrap();
    wait_until("it to go on", LONG, || due(&company) == 0);
    daemon.stop();
}

/// An operator's pause holds from the end of a batch on, for the next daemon too, and ends when it is said to. A
/// daemon that waits ends when it is told to.
#[test]
fn lesson_09_an_operator_stops_a_run_for_a_while() {
    let mut company = Company::with(crate::company::SCHEMA, &every_second(""));
    company.execute(MORE);
    throttled(&mut company, "");
    let before = due(&company);
    let daemon = Daemon::start(&company, SLOW_AT_FIRST);
    wait_until("the first batch", LONG, || due(&company) < before);
    company.says(&["retention", "throttle", "0%", "--rule", "calls"], 0);
    wait_until("it to wait", LONG, || seconds(&company, "operator") > 0.0);
    stands_still(&company, Duration::from_secs(6));
    let told = Instant::now();
    daemon.stop();
    assert!(
        told.elapsed() < Duration::from_secs(5),
        "{:?}",
        told.elapsed()
    );
    let state = "SELECT string_agg(state, ' ') FROM erasured.retention_run";
    assert_eq!(company.server.value(&company.control, state), "running");

    let daemon = Daemon::start(&company, "");
    stands_still(&company, Duration::from_secs(2));
    let said = company.says(&["retention", "throttle"], 0);
    assert!(
        said.contains("calls") && said.contains("0% (paused)"),
        "{said}"
    );
    company.says(&["retention", "throttle", "off", "--rule", "calls"], 0);
    wait_until("it to go on", LONG, || due(&company) == 0);
    wait_until("its end", LONG, || running(&company) == 0);
    daemon.stop();
    let first = "SELECT rows FROM erasured.retention_run ORDER BY started_at LIMIT 1";
    assert_eq!(company.server.count(&company.control, first), before);
    let events = "SELECT string_agg(substring(e from '\"share\": ?([0-9]+)'), ' ' ORDER BY length(substring(e from '\"share\": ?([0-9]+)'))) FROM \
         (SELECT body::text || kind FROM erasured.event UNION ALL SELECT entry FROM erasured.ledger) x (e) \
         WHERE e LIKE '%retention_throttled%'";
    assert_eq!(company.server.value(&company.control, events), "0 100");
}

/// Half the speed is as long asleep as at work; whoever misspells a rule is told.
#[test]
fn half_the_speed_is_as_long_asleep_as_at_work() {
    let company = Company::open();
    company.execute(MORE);
    let said = company.says(&["retention", "throttle", "50%"], 0);
    assert!(said.contains("(all)") && said.contains("50%"), "{said}");
    let said = company.says(&["retention", "throttle", "70%", "--rule", "cals"], 0);
    assert!(
        said.contains("no run and no schedule of a rule \"cals\""),
        "{said}"
    );
    company.says(&["retention", "throttle", "101%"], 2);
    company.says(&["retention", "throttle", "50"], 2);
    let begun = Instant::now();
    let mut run = company.workspace.process(["retention", "run", "calls"]);
    let run = run.env("FAILPOINTS", "after-last-word=4*sleep(1000)->off");
    assert!(run.status().unwrap().success());
    let took = begun.elapsed();
    assert!(took > Duration::from_secs(8), "{took:?}");
}

/// Who may not see the others' sessions does not take them for none.
#[test]
fn what_a_role_may_not_see_is_not_known() {
    let company = Company::alone(POLICY);
    let standby = company.server.standby();
    company.execute("CREATE ROLE blind LOGIN; CREATE ROLE seeing LOGIN IN ROLE pg_monitor");
    let wanted = Wanted {
        lock_waits: true,
        active_sessions: true,
        standbys: vec!["walreceiver".into(), "nobody".into()],
    };
    for (role, sees) in [("blind", false), ("seeing", true)] {
        let url = company.server.url_as(&company.shop, role);
        let said = blocking(async {
            let settings = Settings::from_process(&url).unwrap();
            let session = pressure::session(&settings).await.unwrap();
            pressure::of_system(&session, &wanted).await.unwrap()
        });
        assert_eq!(said.lock_waits, Some(0), "{role}: everybody may see these");
        assert_eq!(said.active_sessions.is_some(), sees, "{role}");
        let known: Vec<bool> = said.replayed.iter().map(Option::is_some).collect();
        assert_eq!(known, [sees, false], "{role}");
    }
    // A primary is no standby of itself.
    let replay = blocking(async {
        let settings = Settings::from_process(&company.server.url("postgres")).unwrap();
        let session = pressure::session(&settings).await.unwrap();
        pressure::of_standby(&session).await.unwrap()
    });
    assert_eq!(replay.replayed, None);
    drop(standby);
}

/// A window that closes ends a run after its batch, and one that waits at once; the next night takes what is left.
#[test]
fn lesson_09_a_run_stops_when_its_window_closes() {
    let wall = |minutes: i64| {
        let at = chrono::Utc::now().with_timezone(&chrono_tz::Asia::Tokyo)
            + chrono::Duration::minutes(minutes);
        at.format("%H:%M").to_string()
    };
    // Not in the last seconds of a minute.
    wait_until("some time before the window closes", LONG, || {
        chrono::Timelike::second(&chrono::Utc::now()) < 45
    });
    let window = format!("between = \"{}-{}\"", wall(-60), wall(1));
    let companies = [SLOW_AT_FIRST, ""].map(|failpoints| {
        let mut company = Company::with(crate::company::SCHEMA, &every_second(&window));
        company.execute(MORE);
        company.execute("INSERT INTO call SELECT n, 1, now() - interval '1 year' FROM generate_series(100001, 140000) n");
        throttled(&mut company, "");
        if failpoints.is_empty() {
            company.says(&["retention", "throttle", "0%"], 0);
        } else {
            company.says(&["retention", "throttle", "2%"], 0);
        }
        let daemon = Daemon::start(&company, failpoints);
        (company, daemon)
    });
    let stopped = "SELECT count(*) FROM erasured.retention_run WHERE state = 'stopped'";
    for (company, _) in &companies {
        wait_until("a run", LONG, || running(company) == 1);
        let said = company.says(&["retention", "runs"], 0);
        assert!(said.contains("running"), "{said}");
    }
    let paused = &companies[1].0;
    wait_until("it to say why it waits", LONG, || {
        paused
            .says(&["retention", "runs"], 0)
            .contains("running, waits: operator")
    });
    for (company, _) in &companies {
        wait_until("it to stop", Duration::from_secs(90), || {
            company.server.count(&company.control, stopped) == 1
        });
        let late = "SELECT extract(second FROM ended_at)::int8 FROM erasured.retention_run";
        let late = company.server.count(&company.control, late);
        assert!(late < 5, "{late} s after the window has closed");
        let left = due(company);
        assert!(left > 0);
        std::thread::sleep(Duration::from_secs(2));
        assert_eq!((due(company), running(company)), (left, 0));
    }
    for (company, daemon) in companies {
        daemon.stop();
        company
            .workspace
            .write_policy("customer.toml", &every_second(""));
        company.says(&["retention", "throttle", "off"], 0);
        let daemon = Daemon::start(&company, "");
        wait_until("the next night", LONG, || due(&company) == 0);
        daemon.stop();
    }
}

/// What cannot be read is told before the night.
#[test]
fn check_tells_what_a_run_could_not_read() {
    let mut company = Company::with(crate::company::SCHEMA, POLICY);
    company.says(&["check"], 0);
    let nowhere = format!("host={} dbname=shop", company.workspace.path().display());
    throttled(
        &mut company,
        &format!(
            "standbys = [{nowhere:?}]\nlag = \"10 s\"\nlock_waits = 5\nactive_sessions = 100\nwal = \"9 GB/s\"\nload = {{ file = \"load\", above = 4 }}"
        ),
    );
    let said = company.says(&["check"], 0);
    for missing in ["how far a standby lags", "the load"] {
        assert!(said.contains(&format!("{missing} is not known")), "{said}");
    }
    assert_eq!(said.matches("E0304").count(), 3, "two, and a hint: {said}");
}
