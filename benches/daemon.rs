//! What the daemon itself takes: memory with 100,000 tickets waiting and a sweep under way, and
//! processor time when there is nothing to do.

use crate::filing::{self, Daemon};
use crate::report::{Must, Report, Setting};
use crate::support::{Server, Workspace, load_demo, wait_until};
use std::thread::sleep;
use std::time::Duration;

const CUSTOMERS: u32 = 10_000;
const WAITING: i64 = 100_000;
const ERASED: i64 = 2_000;
const IDLE: Duration = Duration::from_secs(20);
/// So slow that the sweep lasts some seconds.
const PACE: &str = "[limits]\nsweep_bytes_per_second = 8_000_000\n";

pub(crate) fn measure(report: &mut Report) {
    let server = Server::start();
    let demo = load_demo(&server, CUSTOMERS);
    let mut workspace = Workspace::of_demo(&server, &demo);
    workspace.mend_demo_policy();
    workspace.configure(PACE);
    filing::prepare(&workspace);
    let control = filing::database(&workspace);
    let count = |what: &str| server.count(&control, what).unsigned_abs();

    // These cool off for three days: found by the intake, then nothing but waiting.
    filing::file(&server, &workspace, 1, WAITING, "3 days");
    let daemon = Daemon::start(&workspace);
    let unknown = "SELECT count(*) FROM erasured.ticket WHERE subject_hash IS NULL";
    wait_until("all subjects to be found", Duration::from_secs(180), || {
        count(unknown) == 0
    });
    let found = daemon.memory("VmHWM");

    filing::file(
        &server,
        &workspace,
        WAITING + 1,
        WAITING + ERASED,
        "-1 second",
    );
    let open = "SELECT count(*) FROM erasured.sweep WHERE finished_at IS NULL";
    wait_until("a sweep to begin", Duration::from_secs(60), || {
        count(open) > 0
    });
    let mut sweeping: f64 = 0.0;
    let unfinished = "SELECT count(*) FROM erasured.ticket WHERE state <> 'approved' \
                      AND state NOT IN ('completed', 'deferred', 'failed') OR subject_hash IS NULL \
                      OR state = 'approved' AND next_attempt_at <= now()";
    wait_until("the sweep to end", Duration::from_secs(180), || {
        sweeping = sweeping.max(daemon.memory("VmRSS"));
        count(unfinished) == 0
    });
    let closed =
        count("SELECT count(*) FROM erasured.ticket WHERE state IN ('completed', 'deferred')");
    let peak = daemon.memory("VmHWM");

    // Buffers are given back, the server's own work settles.
    sleep(Duration::from_secs(6));
    let before = daemon.processor();
    sleep(IDLE);
    let used = daemon.processor() - before;
    let at_rest = daemon.memory("VmRSS");
    daemon.stop();

    let setting = Setting::new(&server)
        .rows("tickets waiting", WAITING.unsigned_abs())
        .rows("tickets erased and swept meanwhile", closed)
        .rows("customers", u64::from(CUSTOMERS));
    let memory = setting.absolute(
        "daemon: memory, 100,000 tickets waiting, sweep under way",
        "MB",
        peak,
        (Must::BeAtMost, 100.0),
        "VmHWM of the whole run: intake of 100,000 tickets, erasure of 2,000, the sweep for them",
    );
    report.add(
        memory
            .with("highest VmRSS during the sweep, MB", sweeping)
            .with("VmHWM after the intake, MB", found)
            .with("VmRSS at rest, MB", at_rest),
    );
    report.add(setting.absolute(
        "daemon: processor time when idle",
        "% of core",
        100.0 * used.as_secs_f64() / IDLE.as_secs_f64(),
        (Must::BeAtMost, 0.5),
        "user and system time over 20 s, 100,000 tickets waiting",
    ));
}
