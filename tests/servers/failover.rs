//! A primary is lost with what it had acknowledged, and its standby takes over.

use crate::calls;
use crate::company::{Running, prepare};
use crate::support::{History, Server, ServerOptions, Workspace, wait_until};
use std::time::Duration;

struct Company {
    primary: Server,
    standby: Server,
    shop: String,
    control: String,
    workspace: Workspace,
}

impl Company {
    fn open() -> Company {
        Self::with("", calls::POLICY)
    }

    fn with(more: &str, policy: &str) -> Company {
        let primary = Server::start_with(ServerOptions::default());
        let shop = primary.fresh_database("shop");
        primary.execute(&shop, calls::SCHEMA);
        primary.execute(&shop, more);
        let shared = Server::shared();
        let control = shared.fresh_database("control");
        let mut workspace = Workspace::new(&shared.url(&control), &[("shop", primary.url(&shop))]);
        workspace.write_policy("customer.toml", policy);
        workspace.configure("[limits]\nlease = \"10 s\"\npoll = \"150 ms\"\n");
        prepare(shared, &workspace);
        let standby = primary.standby();
        let either = format!(
            "postgresql:///{shop}?host={},{}&port=5432&user=postgres&target_session_attrs=read-write",
            primary.socket_dir().display(),
            standby.socket_dir().display()
        );
        let mut moved = Workspace::new(&shared.url(&control), &[("shop", either)]);
        moved.write_policy("customer.toml", policy);
        moved.configure("[limits]\nlease = \"10 s\"\npoll = \"150 ms\"\n");
        Company {
            primary,
            standby,
            shop,
            control,
            workspace: moved,
        }
    }

    fn file(&self, n: u32) {
        let sql = format!(
            "DO $$ DECLARE t uuid; BEGIN
               t := erasured.submit_ticket('CRM-{n}', 'customer', jsonb_build_object('member_no', 'M-{n}'), 'account', 'policy');
               PERFORM set_config('erasured.actor', 'desk', true); PERFORM erasured.verify_ticket(t, 'login_reauth');
               PERFORM set_config('erasured.actor', 'lead', true); PERFORM erasured.approve_ticket(t);
             END $$"
        );
        Server::shared().execute(&self.control, &sql);
    }

    fn control(&self, sql: &str) -> String {
        Server::shared().value(&self.control, sql)
    }

    /// From now on the standby gets nothing more; when it has got all so far.
    fn cut_off(&self) {
        let at = self
            .primary
            .value("postgres", "SELECT pg_current_wal_flush_lsn()");
        let reached = format!("SELECT (pg_last_wal_replay_lsn() >= '{at}')::int");
        wait_until("the standby", Duration::from_secs(20), || {
            self.standby.count("postgres", &reached) == 1
        });
        // "all" is no word for replication.
        let hba = self.primary.data_dir().join("pg_hba.conf");
        std::fs::write(hba, "local all all trust\n").unwrap();
        for sql in [
            "SELECT pg_reload_conf()",
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_replication",
        ] {
            self.primary.execute("postgres", sql);
        }
        std::thread::sleep(Duration::from_millis(500));
        let senders = "SELECT count(*) FROM pg_stat_replication";
        assert_eq!(self.primary.count("postgres", senders), 0);
    }

    fn fail_over(&self) {
        self.primary.stop_immediate();
        self.standby.promote();
    }

    /// The ticket once and whole, on the server that is left.
    fn is_whole(&self, n: u32, calls: i64, log: &str) {
        let state = "SELECT state || coalesce(' ' || problem_code || ' ' || problem, '') FROM erasured.ticket";
        assert_eq!(self.control(state), "completed", "{log}");
        let left = format!(
            "SELECT (SELECT count(*) FROM customer WHERE id = {n}) + (SELECT count(*) FROM call WHERE customer = {n})"
        );
        assert_eq!(self.standby.count(&self.shop, &left), 0);
        let steps = "SELECT count(*) FROM erasured.applied_step";
        assert_eq!(self.standby.count(&self.shop, steps), 1);
        assert_eq!(
            self.control("SELECT count(*) FROM erasured.certificate"),
            "1"
        );
        let show = [
            "certificate",
            "show",
            &format!("CRM-{n}"),
            "--format",
            "json",
        ]
        .map(str::to_owned);
        let output = self.workspace.erasured(show).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let shown: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let tables = shown["systems"][0]["tables"].as_array().unwrap();
        let call = tables.iter().find(|t| t["table"] == "public.call").unwrap();
        assert_eq!(call["deleted"].as_i64(), Some(calls), "{shown}");
        let verify = self
            .workspace
            .erasured(["ledger", "verify"])
            .output()
            .unwrap();
        assert!(verify.status.success(), "{verify:?}");
        self.is_told_truly();
    }

    fn is_told_truly(&self) {
        let systems = [("shop", self.standby.url(&self.shop))];
        let history = History::read(self.workspace.control_url(), &systems);
        assert_eq!(history.wrong(&self.workspace.verifying_key()), [""; 0]);
        assert_eq!(history.unsettled(), [""; 0]);
    }

    fn calls_of(&self, n: u32) -> i64 {
        let sql = format!("SELECT count(*) FROM call WHERE customer = {n}");
        self.standby.count(&self.shop, &sql)
    }
}

/// The daemon goes on through it.
#[test]
fn what_the_old_primary_acknowledged_and_the_new_one_lost_is_done_again() {
    let company = Company::open();
    company.file(7);
    let calls = company.calls_of(7);
    assert!(calls > 0);
    company.cut_off();
    // The COMMIT has been answered, and is not written down yet.
    let daemon = Running::start(
        &company.workspace,
        &["run", "--until-idle"],
        "before-step-done=1*sleep(6000)",
    );
    wait_until("the erasure", Duration::from_secs(60), || {
        let steps = "SELECT count(*) FROM erasured.applied_step";
        company.primary.count(&company.shop, steps) == 1
    });
    company.fail_over();
    assert_eq!(
        company.calls_of(7),
        calls,
        "the standby has not heard of it"
    );
    let log = daemon.ends_well();
    assert!(log.contains("E0517"), "{log}");
    company.is_whole(7, calls, &log);
    let told = "SELECT count(*) FROM (SELECT body FROM erasured.event UNION ALL SELECT entry::jsonb->'body' FROM erasured.ledger) e
                 WHERE e.body->>'code' = 'E0517'";
    assert_eq!(company.control(told), "1", "in the ledger");
}

/// The daemon had written it down and died before the certificate.
#[test]
fn a_step_that_is_written_down_as_done_is_looked_for_before_it_is_certified() {
    let company = Company::open();
    company.file(3);
    let calls = company.calls_of(3);
    company.cut_off();
    Running::start(
        &company.workspace,
        &["run", "--until-idle"],
        "before-sign=return",
    )
    .dies();
    assert_eq!(
        company.control("SELECT state FROM erasured.ticket"),
        "verifying"
    );
    company.fail_over();
    let log = Running::start(&company.workspace, &["run", "--until-idle"], "").ends_well();
    assert!(log.contains("E0517"), "{log}");
    company.is_whole(3, calls, &log);
}

const INVOICES: &str = "CREATE TABLE invoice (id int PRIMARY KEY, customer int REFERENCES customer, issued_on date NOT NULL);
    INSERT INTO invoice SELECT n, n, current_date FROM generate_series(1, 20) n;";
const KEPT: &str = "
[[table]]
name    = \"shop.public.invoice\"
action  = \"retain\"
until   = { column = \"issued_on\", plus = \"7 years\" }
because = \"jp-ctax-7\"
then    = \"delete\"
set     = { customer = \"null\" }
";

/// What the law kept goes on its date, and is looked for before that is certified.
#[test]
fn what_is_ended_on_its_date_and_lost_is_done_again() {
    let policy = calls::POLICY.replace("\n[[retention]]", &format!("{KEPT}\n[[retention]]"));
    let company = Company::with(INVOICES, &policy);
    company.file(7);
    Running::start(&company.workspace, &["run", "--until-idle"], "").ends_well();
    let state = "SELECT state FROM erasured.ticket";
    assert_eq!(company.control(state), "deferred");
    let old = "UPDATE invoice SET issued_on = '2010-01-01' WHERE id = 7";
    company.primary.execute(&company.shop, old);
    company.cut_off();
    let due = "UPDATE erasured.deferral SET due_at = now() - interval '1 day'";
    Server::shared().execute(&company.control, due);
    let daemon = Running::start(
        &company.workspace,
        &["run", "--until-idle"],
        "before-deferral-signed=1*sleep(6000)",
    );
    let steps = "SELECT count(*) FROM erasured.applied_step";
    wait_until("the erasure", Duration::from_secs(60), || {
        company.primary.count(&company.shop, steps) == 2
    });
    company.fail_over();
    let invoices = "SELECT count(*) FROM invoice WHERE id = 7";
    let lost = company.standby.count(&company.shop, invoices);
    assert_eq!(lost, 1, "the standby has not heard of it");
    let log = daemon.ends_well();
    assert!(log.contains("E0517"), "{log}");
    assert_eq!(company.standby.count(&company.shop, invoices), 0, "{log}");
    assert_eq!(company.standby.count(&company.shop, steps), 2);
    let signed = "SELECT count(*) FROM erasured.certificate";
    assert_eq!(company.control(signed), "2", "{log}");
    company.is_told_truly();
}

/// In the middle of a batch the primary goes, and nothing is lost.
#[test]
fn a_batch_goes_on_behind_a_failover() {
    let company = Company::open();
    company.file(5);
    let calls = company.calls_of(5);
    let daemon = Running::start(
        &company.workspace,
        &["run", "--until-idle"],
        "before-change=1*sleep(3000)",
    );
    wait_until("a batch", Duration::from_secs(60), || {
        let at_work = "SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in%' AND datname LIKE 'shop%'";
        company.primary.count("postgres", at_work) > 0
    });
    company.cut_off();
    company.fail_over();
    let log = daemon.ends_well();
    company.is_whole(5, calls, &log);
}
