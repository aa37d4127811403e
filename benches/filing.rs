//! Tickets by the thousand, and the daemon that is to work them off.

use crate::support::{Server, Workspace, repository, wait_until};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

/// Schemas and roles are made, and the daemon has published its scopes.
pub(crate) fn prepare(workspace: &Workspace) {
    workspace.erasured(["migrate"]).assert().success();
    workspace
        .erasured(["run", "--until-idle"])
        .assert()
        .success();
}

/// Name of the control database.
pub(crate) fn database(workspace: &Workspace) -> String {
    let url = workspace.control_url();
    let path = url.trim_start_matches("postgresql:///");
    path.split('?').next().unwrap_or(path).to_owned()
}

/// Puts the sweep off to next January.
pub(crate) fn postpone_sweep(workspace: &Workspace) {
    let file = workspace.path().join("policies/customer.toml");
    let policy = std::fs::read_to_string(&file).expect("the policy");
    let later = policy.replace(
        "when = \"at once\"",
        "schedule = \"0 0 3 1 1 *\"\ntimezone = \"Asia/Tokyo\"",
    );
    assert_ne!(policy, later, "the policy says when to sweep");
    std::fs::write(file, later).expect("the policy");
}

/// Files approved tickets as two people at the desk would have, all at once; ticket `n` is for the
/// customer whose number is `n` modulo ten thousand. They may run `after` now.
pub(crate) fn file(server: &Server, workspace: &Workspace, first: i64, last: i64, after: &str) {
    let sql = format!(
        "BEGIN;
         CREATE TEMPORARY TABLE filed ON COMMIT DROP AS
           SELECT gen_random_uuid() AS id, n, 'TM-' || lpad((1 + (n - 1) % 10000)::text, 7, '0') AS member_no
             FROM generate_series({first}, {last}) AS n;
         INSERT INTO erasured.ticket (id, reference, subject, scope, ground, requested_at, state, not_before, next_attempt_at)
           SELECT id, 'CRM-' || n, 'customer', 'account', 'appi-35', now(), 'approved',
                  now() + interval '{after}', now() + interval '{after}' FROM filed;
         INSERT INTO erasured.ticket_identifier (ticket_id, name, value) SELECT id, 'member_no', member_no FROM filed;
         INSERT INTO erasured.decision (ticket_id, kind, method, level, by_name, by_role)
           SELECT id, 'verify', 'callback', 3, 'desk', 'erasured_desk' FROM filed;
         INSERT INTO erasured.decision (ticket_id, kind, by_name, by_role)
           SELECT id, 'approve', 'lead', 'erasured_approver' FROM filed;
         COMMIT;
         VACUUM ANALYZE erasured.ticket;
         VACUUM ANALYZE erasured.ticket_identifier;"
    );
    let control = database(workspace);
    for statement in split_off_vacuum(&sql) {
        server.execute(&control, &statement);
    }
}

/// VACUUM does not run in a text of several statements.
fn split_off_vacuum(sql: &str) -> Vec<String> {
    let (transaction, vacuums) = sql.split_once("COMMIT;").expect("a transaction");
    let vacuums = vacuums.split(';').map(str::trim).filter(|s| !s.is_empty());
    std::iter::once(format!("{transaction}COMMIT;"))
        .chain(vacuums.map(str::to_owned))
        .collect()
}

/// A running daemon, killed if dropped.
pub(crate) struct Daemon {
    child: Child,
    log: PathBuf,
}

impl Daemon {
    pub(crate) fn start(workspace: &Workspace) -> Self {
        let log = workspace.path().join("daemon.log");
        let file = std::fs::File::create(&log).expect("daemon.log");
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_erasured"));
        command
            .current_dir(repository())
            .env("ERASURED_CONFIG", workspace.config())
            .env("NO_COLOR", "1")
            // As systemd/erasured.service starts it.
            .env("MALLOC_ARENA_MAX", "2")
            .arg("run")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(file);
        let child = command.spawn().expect("the daemon");
        Self { child, log }
    }

    /// One line of /proc/…/status that gives KiB, in MB.
    pub(crate) fn memory(&self, line: &str) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.unwrap_or_else(|_| panic!("the daemon has died: {}", self.said()));
        let kib: f64 = status
            .lines()
            .find_map(|l| l.strip_prefix(line)?.strip_prefix(':'))
            .and_then(|l| l.trim().strip_suffix(" kB")?.parse().ok())
            .expect("a size");
        kib * 1024.0 / 1e6
    }

    /// Processor time used so far.
    pub(crate) fn processor(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()));
        let stat = stat.unwrap_or_else(|_| panic!("the daemon has died: {}", self.said()));
        // Behind the name, which may hold anything: fields 3 and on; 14 and 15 are ours.
        let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or("").split(' ').collect();
        let ticks: u64 =
            fields[11].parse::<u64>().expect("utime") + fields[12].parse::<u64>().expect("stime");
        // Linux tells it in hundredths of a second, whatever the kernel's own tick is.
        Duration::from_millis(ticks * 10)
    }

    fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// SIGTERM, and its end.
    pub(crate) fn stop(mut self) {
        let id = self.child.id().to_string();
        let told = std::process::Command::new("kill")
            .args(["-TERM", &id])
            .status();
        assert!(
            told.is_ok_and(|s| s.success()),
            "the daemon can be told to stop"
        );
        let end = Instant::now() + Duration::from_secs(30);
        wait_until("the daemon to stop", end - Instant::now(), || {
            self.child.try_wait().is_ok_and(|ended| ended.is_some())
        });
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
