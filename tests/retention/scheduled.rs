//! The daemon runs rules when their time has come.

use crate::company::{Company, DUE, POLICY};
use crate::support::{free_port, wait_until};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

pub(crate) const EVERY_SECOND: &str = "schedule = \"* * * * * *\"\ntimezone = \"Asia/Tokyo\"";

fn scheduled(more: &str) -> Company {
    let mut company = Company::with(crate::company::SCHEMA, &every_second(more));
    company.workspace.configure("[limits]\npoll = \"200 ms\"");
    company
}

/// The policy whose rule runs each second.
pub(crate) fn every_second(more: &str) -> String {
    let rule = format!("{more}\n{EVERY_SECOND}");
    POLICY.replace("timezone = \"Asia/Tokyo\"", &rule)
}

/// A daemon that ends with the test, however that ends.
pub(crate) struct Daemon(Child);

impl Daemon {
    pub(crate) fn start(company: &Company, failpoints: &str) -> Self {
        Self::spawn(company.workspace.process(["run"]), failpoints)
    }

    /// One that listens elsewhere.
    pub(crate) fn start_other(company: &Company, failpoints: &str) -> Self {
        let (config, http) = (company.workspace.config(), company.workspace.http());
        let text = std::fs::read_to_string(config).unwrap();
        assert!(text.contains(&http));
        let text = text.replace(&http, &format!("127.0.0.1:{}", free_port()));
        let text = text.replace("ledger-head", "other-ledger-head");
        let other = company.workspace.path().join("other.toml");
        std::fs::write(&other, text).unwrap();
        let mut command = company.workspace.process(["run"]);
        command.env("ERASURED_CONFIG", other);
        Self::spawn(command, failpoints)
    }

    fn spawn(mut command: Command, failpoints: &str) -> Self {
        let command = command.env("FAILPOINTS", failpoints);
        let command = command.stdout(Stdio::null()).stderr(Stdio::null());
        Self(command.spawn().unwrap())
    }

    fn signal(&self, name: &str) {
        let pid = self.0.id().to_string();
        let signal = Command::new("kill").args([name, &pid]).status();
        assert!(signal.unwrap().success());
    }

    /// Its process.
    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }

    /// Kills it at once.
    pub(crate) fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    /// Asks it to end, and waits.
    pub(crate) fn stop(mut self) {
        self.signal("-TERM");
        assert!(self.0.wait().unwrap().success());
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

pub(crate) fn due(company: &Company) -> i64 {
    company.count(&format!("SELECT count(*) FROM call c WHERE {DUE}"))
}

/// Two daemons, one rule: each time of the schedule is one run at most, and all that is due goes once.
#[test]
fn two_daemons_run_each_time_once() {
    let company = scheduled("");
    let before = due(&company);
    let (one, other) = (
        Daemon::start(&company, ""),
        Daemon::start_other(&company, ""),
    );
    wait_until("the rule to run", Duration::from_secs(30), || {
        due(&company) == 0
    });
    wait_until("some more times", Duration::from_secs(30), || {
        company.server.count(
            &company.control,
            "SELECT count(*) FROM erasured.retention_run WHERE state = 'done'",
        ) > 3
    });
    let metrics = get(&company.workspace.http());
    one.stop();
    other.stop();
    let twice = "SELECT count(*) FROM (SELECT FROM erasured.retention_run GROUP BY slot HAVING count(*) > 1) x";
    assert_eq!(company.server.count(&company.control, twice), 0);
    let rows = "SELECT sum(rows)::bigint FROM erasured.retention_run";
    assert_eq!(company.server.count(&company.control, rows), before);
    assert!(
        metrics.contains("erasured_retention_lag_seconds{rule=\"calls\"}"),
        "{metrics}"
    );
}

pub(crate) fn get(at: &str) -> String {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(at).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

/// A daemon that is stopped in the middle ends after its batch, and the next goes on with the same run.
#[test]
fn a_run_in_the_middle_is_left_to_the_next_daemon() {
    let company = scheduled("");
    company.execute("INSERT INTO call SELECT n, 1, now() - interval '1 year' FROM generate_series(10001, 13000) n");
    let before = due(&company);
    let first = Daemon::start(&company, "after-last-word=sleep(700)");
    wait_until("the first batch", Duration::from_secs(30), || {
        due(&company) < before
    });
    first.stop();
    let left = due(&company);
    assert!(left > 0, "the first daemon was to be stopped in the middle");
    let state = "SELECT string_agg(state, ' ') FROM erasured.retention_run";
    assert_eq!(company.server.value(&company.control, state), "running");
    let second = Daemon::start(&company, "");
    wait_until("the rest", Duration::from_secs(30), || due(&company) == 0);
    wait_until("its end", Duration::from_secs(30), || {
        company.server.count(
            &company.control,
            "SELECT count(*) FROM erasured.retention_run WHERE state = 'done'",
        ) > 0
    });
    second.stop();
    let first_run = "SELECT rows FROM erasured.retention_run ORDER BY started_at LIMIT 1";
    assert_eq!(company.server.count(&company.control, first_run), before);
}

/// Outside its window a rule does not run by itself; a person may run it.
#[test]
fn outside_its_window_nothing_runs_by_itself() {
    let company = scheduled("");
    let hours = |n: i32| {
        let at = chrono::Utc::now().with_timezone(&chrono_tz::Asia::Tokyo)
            + chrono::Duration::hours(n.into());
        at.format("%H:%M").to_string()
    };
    let policy = POLICY.replace(
        "timezone = \"Asia/Tokyo\"",
        &format!("between = \"{}-{}\"\n{EVERY_SECOND}", hours(2), hours(3)),
    );
    company.workspace.write_policy("customer.toml", &policy);
    let before = due(&company);
    let daemon = Daemon::start(&company, "");
    std::thread::sleep(Duration::from_secs(4));
    daemon.stop();
    assert_eq!(due(&company), before);
    company.says(&["retention", "run", "calls"], 0);
    assert_eq!(due(&company), 0);
}

/// More than expected: one run, which failed and says so, and no other until a person has looked.
#[test]
fn a_scheduled_run_over_more_than_expected_waits_for_a_person() {
    let company = scheduled("stop_above = 10");
    let before = due(&company);
    let daemon = Daemon::start(&company, "");
    let stopped = "SELECT count(*) FROM erasured.retention_run WHERE problem_code = 'E0530'";
    wait_until("it to stop", Duration::from_secs(30), || {
        company.server.count(&company.control, stopped) > 0
    });
    // Many more times of its schedule.
    std::thread::sleep(Duration::from_secs(4));
    let runs = "SELECT count(*) FROM erasured.retention_run";
    assert_eq!(company.server.count(&company.control, runs), 1);
    daemon.stop();
    assert_eq!(due(&company), before);
    // Who has looked mends the rule.
    let policy = POLICY.replace(
        "timezone = \"Asia/Tokyo\"",
        &format!("stop_above = 5000\n{EVERY_SECOND}"),
    );
    company.workspace.write_policy("customer.toml", &policy);
    let daemon = Daemon::start(&company, "");
    wait_until("the mended rule to run", Duration::from_secs(30), || {
        due(&company) == 0
    });
    daemon.stop();
}

/// A rule that only reports deletes nothing, by schedule or by hand.
#[test]
fn what_is_only_reported_stays() {
    let company = scheduled("");
    let policy = POLICY.replace("timezone = \"Asia/Tokyo\"", EVERY_SECOND);
    let policy = policy.replace(
        "action   = \"delete\"\nbecause",
        "action = \"report\"\nbecause",
    );
    assert!(policy.contains("report"));
    company.workspace.write_policy("customer.toml", &policy);
    let before = due(&company);
    let daemon = Daemon::start(&company, "");
    std::thread::sleep(Duration::from_secs(4));
    daemon.stop();
    let said = company.says(&["retention", "run", "calls"], 0);
    assert!(said.contains(&format!("{before} row(s)")), "{said}");
    assert_eq!(due(&company), before);
}

/// Somebody sees that nine days were to be ninety years, mends the policy and reloads: the run ends after its
/// batch.
#[test]
fn a_rule_that_is_mended_ends_what_it_had_begun() {
    let company = scheduled("");
    company.execute("INSERT INTO call SELECT n, 1, now() - interval '1 year' FROM generate_series(10001, 13000) n");
    let before = due(&company);
    let daemon = Daemon::start(&company, "after-last-word=sleep(700)");
    wait_until("the first batch", Duration::from_secs(30), || {
        due(&company) < before
    });
    let mended = POLICY
        .replace("timezone = \"Asia/Tokyo\"", EVERY_SECOND)
        .replace("\"90 days\"", "\"90 years\"");
    company.workspace.write_policy("customer.toml", &mended);
    daemon.signal("-HUP");
    let stopped = "SELECT count(*) FROM erasured.retention_run WHERE state = 'stopped'";
    wait_until("it to stop", Duration::from_secs(30), || {
        company.server.count(&company.control, stopped) > 0
    });
    let left = due(&company);
    assert!(left > 0);
    std::thread::sleep(Duration::from_secs(3));
    daemon.stop();
    assert_eq!(due(&company), left);
}

/// The time of its schedule came in the night, and since a migration the rule does not fit: one run that failed, which is
/// counted and seen, and no other until ten minutes are over.
#[test]
fn a_rule_that_fits_no_more_fails_where_it_is_seen() {
    let mut company = Company::open();
    let nightly = "schedule = \"0 0 0 * * *\"\ntimezone = \"Asia/Tokyo\"";
    let policy = POLICY.replace("timezone = \"Asia/Tokyo\"", nightly);
    company.workspace.write_policy("customer.toml", &policy);
    company.workspace.configure("[limits]\npoll = \"200 ms\"");
    company.server.execute(
        &company.control,
        "INSERT INTO erasured.retention_schedule (subject, rule, known_since) VALUES ('customer', 'calls', now() - interval '2 days')",
    );
    let before = due(&company);
    company.execute("ALTER TABLE call RENAME ended_at TO finished_at");
    let failed = "SELECT count(*) FROM erasured.retention_run WHERE state = 'failed' AND problem_code = 'E0203' AND rows = 0";
    let runs = || {
        company.server.count(
            &company.control,
            "SELECT count(*) FROM erasured.retention_run",
        )
    };
    let daemon = Daemon::start(&company, "");
    wait_until("the rule to fail", Duration::from_secs(30), || {
        company.server.count(&company.control, failed) == 1
    });
    wait_until("it to be counted", Duration::from_secs(30), || {
        get(&company.workspace.http()).contains("erasured_retention_failures{rule=\"calls\"} 1")
    });
    assert!(
        get(&company.workspace.http()).contains("erasured_retention_lag_seconds{rule=\"calls\"}")
    );
    assert!(
        company
            .says(&["retention", "runs", "calls"], 0)
            .contains("E0203")
    );
    // Many rounds of looking for work.
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(runs(), 1);
    // Mended, and ten minutes later: the other way round a round in between fails again.
    company.execute("ALTER TABLE call RENAME finished_at TO ended_at");
    company.server.execute(
        &company.control,
        "ALTER TABLE erasured.retention_run DISABLE TRIGGER USER; UPDATE erasured.retention_run SET ended_at = ended_at - interval '10 minutes'; ALTER TABLE erasured.retention_run ENABLE TRIGGER USER",
    );
    wait_until("the rule to run", Duration::from_secs(30), || {
        due(&company) == 0
    });
    daemon.stop();
    let rows = "SELECT sum(rows)::bigint FROM erasured.retention_run WHERE state = 'done'";
    assert_eq!(company.server.count(&company.control, rows), before);
}

/// The daemon began before the window opened: the time that comes with the window is not missed.
#[test]
fn a_schedule_is_known_before_its_window_opens() {
    let company = scheduled("");
    let hours = |n: i32| {
        let at = chrono::Utc::now().with_timezone(&chrono_tz::Asia::Tokyo)
            + chrono::Duration::hours(n.into());
        at.format("%H:%M").to_string()
    };
    let policy = POLICY.replace(
        "timezone = \"Asia/Tokyo\"",
        &format!("between = \"{}-{}\"\n{EVERY_SECOND}", hours(2), hours(3)),
    );
    company.workspace.write_policy("customer.toml", &policy);
    let daemon = Daemon::start(&company, "");
    let known = "SELECT count(*) FROM erasured.retention_schedule WHERE rule = 'calls'";
    wait_until("the schedule to be known", Duration::from_secs(30), || {
        company.server.count(&company.control, known) == 1
    });
    daemon.stop();
}
