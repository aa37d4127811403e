//! Legal holds, through the real binary: placed while a batch is at work, between two systems, on
//! what a date would take, and on people whom nobody has found yet.

use crate::support::{Server, Workspace, wait_until};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Child, Stdio};
use std::time::Duration;

/// More than anything takes on a busy machine.
pub(super) const LONG: Duration = Duration::from_secs(60);

const SHOP: &str = "
CREATE TABLE customer (id int PRIMARY KEY, member_no text NOT NULL UNIQUE, email text);
CREATE TABLE booking (id int PRIMARY KEY, customer_id int NOT NULL, contact text);
CREATE TABLE invoice (id int PRIMARY KEY, customer_id int REFERENCES customer, issued date NOT NULL);
CREATE TABLE note (id int PRIMARY KEY, customer_id int REFERENCES customer, body text);
-- A batch that has deleted waits here while the gate is shut.
CREATE TABLE gate (open boolean NOT NULL);
INSERT INTO gate VALUES (true);
CREATE FUNCTION pass_gate() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  LOOP EXIT WHEN (SELECT open FROM gate); PERFORM pg_sleep(0.02); END LOOP; RETURN NULL; END $$;
CREATE TRIGGER pass_gate AFTER DELETE ON customer FOR EACH STATEMENT EXECUTE FUNCTION pass_gate();
INSERT INTO customer SELECT n, 'TM-000' || n, 'c' || n || '@example.jp' FROM generate_series(1, 4) n;
INSERT INTO booking SELECT n, n, 'call 0' || n FROM generate_series(1, 4) n;
INSERT INTO invoice SELECT n, n, '2026-01-01' FROM generate_series(1, 4) n;
INSERT INTO note SELECT n, n % 4 + 1, 'x' FROM generate_series(1, 8) n;
";
const POINTS: &str = "
CREATE TABLE points (id int PRIMARY KEY, member_no text, n int);
INSERT INTO points SELECT n, 'TM-000' || n, 7 FROM generate_series(1, 4) n;
";
pub(super) const POLICY: &str = r#"
subject = "customer"
root    = "s.public.customer"

[identifier.member_no]
column = "member_no"
find   = true

[scope.all]
tables = "all"
verify = { at_least = "basic" }
sla    = "jp-appi"

[[table]]
name   = "s.public.customer"
action = "delete"

[[table]]
name   = "s.public.booking"
link   = { columns = ["customer_id"], to = "s.public.customer" }
action = "anonymize"
set    = { contact = "null" }

[[table]]
name    = "s.public.invoice"
action  = "retain"
until   = { column = "issued", plus = "7 years" }
because = "books are kept"
then    = "delete"
set     = { customer_id = "null" }

[[table]]
name   = "s.public.note"
action = "delete"
"#;
/// Goes before the root's own system.
pub(super) const IN_TWO: &str = r#"
[[table]]
name   = "t.public.points"
link   = { columns = ["member_no"], identifier = "member_no" }
action = "delete"
"#;

pub(super) struct Company {
    pub(super) server: &'static Server,
    pub(super) shop: String,
    pub(super) points: String,
    control: String,
    workspace: Workspace,
}

impl Company {
    pub(super) fn open() -> Self {
        Self::with(POLICY)
    }

    pub(super) fn with(policy: &str) -> Self {
        let server = Server::shared();
        let (shop, points) = (
            server.fresh_database("shop"),
            server.fresh_database("points"),
        );
        let control = server.fresh_database("control");
        server.execute(&shop, SHOP);
        server.execute(&points, POINTS);
        let systems = [("s", server.url(&shop)), ("t", server.url(&points))];
        let mut workspace = Workspace::new(&server.url(&control), &systems);
        workspace.configure("[limits]\npoll = \"100ms\"\n");
        workspace.write_policy("customer.toml", policy);
        workspace.erasured(["migrate"]).assert().success();
        let company = Self {
            server,
            shop,
            points,
            control,
            workspace,
        };
        company.run();
        company
    }

    /// Files, verifies and approves a ticket for each.
    pub(super) fn file(&self, people: &[i32]) {
        for n in people {
            self.server.execute(
                &self.control,
                &format!(
                    "DO $$ DECLARE t uuid; BEGIN
                       t := erasured.submit_ticket('CRM-{n}', 'customer', '{{\"member_no\": \"TM-000{n}\"}}', 'all', 'policy');
                       PERFORM set_config('erasured.actor', 'desk', true);
                       PERFORM erasured.verify_ticket(t, 'callback');
                       PERFORM set_config('erasured.actor', 'lead', true);
                       PERFORM erasured.approve_ticket(t);
                     END $$"
                ),
            );
        }
    }

    pub(super) fn run(&self) {
        self.workspace
            .erasured(["run", "--until-idle"])
            .assert()
            .success();
    }

    /// A daemon that pauses where it is told to.
    pub(super) fn start(&self, failpoints: &str) -> Child {
        start(&self.workspace, failpoints)
    }

    /// Until a transaction on this database lies open and silent.
    pub(super) fn until_it_pauses(&self, database: &str) {
        let sql = format!(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = '{database}' AND state = 'idle in transaction'
                AND state_change < clock_timestamp() - interval '300 ms' AND application_name = 'erasured/worker'"
        );
        wait_until("the daemon to pause", LONG, || {
            self.server.count("postgres", &sql) > 0
        });
    }

    /// A daemon at work, whose batch has deleted in the shop and waits before it goes on.
    pub(super) fn halfway(&self) -> Child {
        self.server
            .execute(&self.shop, "UPDATE gate SET open = false");
        let daemon = self.start("");
        let sql = format!(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = '{}' AND wait_event = 'PgSleep'",
            self.shop
        );
        wait_until("the batch to be at the gate", LONG, || {
            self.server.count("postgres", &sql) > 0
        });
        daemon
    }

    pub(super) fn goes_on(&self, daemon: Child) {
        self.server
            .execute(&self.shop, "UPDATE gate SET open = true");
        ends(daemon);
    }

    pub(super) fn hold(&self, matter: &str, member: &str) {
        self.control(&format!(
            "SELECT erasured.place_hold('{matter}', 'court-order', 'customer', '{{\"member_no\": \"{member}\"}}')"
        ));
    }

    /// Until the daemon, halfway with its batch, knows what the hold covers.
    pub(super) fn is_read(&self) {
        let sql = "SELECT count(*)::text FROM erasured.hold WHERE read_at IS NULL";
        wait_until("the hold to be read", LONG, || self.control(sql) == "0");
    }

    pub(super) fn control(&self, sql: &str) -> String {
        self.server.value(&self.control, sql)
    }

    /// All that the databases have of this person.
    pub(super) fn rows(&self, n: i32) -> String {
        let shop = format!(
            "SELECT concat_ws(' / ', (SELECT c::text FROM customer c WHERE id = {n}), (SELECT b::text FROM booking b WHERE id = {n}),
                    (SELECT i::text FROM invoice i WHERE id = {n}),
                    (SELECT string_agg(x::text, ' ' ORDER BY id) FROM note x WHERE id % 4 + 1 = {n}))"
        );
        let points = format!("SELECT count(*)::text FROM points WHERE id = {n}");
        self.server.value(&self.shop, &shop) + " / " + &self.server.value(&self.points, &points)
    }

    /// The person and their notes.
    pub(super) fn kept(&self, n: i32) -> String {
        let sql = format!(
            "SELECT concat_ws(' / ', (SELECT c::text FROM customer c WHERE id = {n}),
                    (SELECT string_agg(x::text, ' ' ORDER BY id) FROM note x WHERE id % 4 + 1 = {n}))"
        );
        self.server.value(&self.shop, &sql)
    }

    /// All the rest.
    pub(super) fn others(&self, n: i32) -> String {
        let shop = format!(
            "SELECT concat_ws(' / ', (SELECT b::text FROM booking b WHERE id = {n}), (SELECT i::text FROM invoice i WHERE id = {n}))"
        );
        let points = format!("SELECT count(*)::text FROM points WHERE id = {n}");
        self.server.value(&self.shop, &shop) + " / " + &self.server.value(&self.points, &points)
    }

    pub(super) fn status(&self, n: i32) -> String {
        self.control(&format!(
            "SELECT concat_ws(' ', state, problem_code, problem) FROM erasured.ticket_status WHERE reference = 'CRM-{n}'"
        ))
    }

    fn metrics(&self) -> String {
        let mut said = String::new();
        if let Ok(mut daemon) = TcpStream::connect(self.workspace.http()) {
            let ask = b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
            let _ = daemon.write_all(ask);
            let _ = daemon.read_to_string(&mut said);
        }
        said
    }

    pub(super) fn workspace(&self) -> &Workspace {
        &self.workspace
    }

    pub(super) fn try_control(&self, sql: &str) -> Result<(), tokio_postgres::Error> {
        self.server.try_execute(&self.control, sql)
    }

    pub(super) fn certificate(&self, n: i32) -> String {
        let shown = [
            "certificate",
            "show",
            &format!("CRM-{n}"),
            "--format",
            "json",
        ];
        let shown = self.workspace.erasured(shown).assert().success();
        String::from_utf8(shown.get_output().stdout.clone()).unwrap()
    }

    /// Whatever daemon was at work.
    pub(super) fn is_thought_dead(&self) {
        let sql = "UPDATE erasured.lease SET until = now() - interval '1 second'";
        self.server.execute(&self.control, sql);
    }

    /// A daemon of another host's, with this policy.
    pub(super) fn on_another_host(&self, policy: &str, limits: &str) -> Workspace {
        let systems = [
            ("s", self.server.url(&self.shop)),
            ("t", self.server.url(&self.points)),
        ];
        let mut workspace = Workspace::new(&self.server.url(&self.control), &systems);
        workspace.configure(&format!("[limits]\npoll = \"100ms\"\n{limits}\n"));
        workspace.write_policy("customer.toml", policy);
        workspace
    }

    pub(super) fn batches_of(&self, tickets: u32) {
        let file = self.workspace.config();
        let limits = std::fs::read_to_string(&file).unwrap();
        let with = format!("batch = {tickets}\npoll =");
        std::fs::write(&file, limits.replace("poll =", &with)).unwrap();
    }

    /// How often the history tells of this.
    pub(super) fn told(&self, kind: &str) -> String {
        self.control(&format!(
            "SELECT ((SELECT count(*) FROM erasured.event WHERE kind = '{kind}')
                   + (SELECT count(*) FROM erasured.ledger WHERE entry::jsonb->>'kind' = '{kind}'))::text"
        ))
    }

    pub(super) fn gone(&self, n: i32) {
        assert_eq!(
            self.rows(n),
            format!("({n},{n},) / ({n},,2026-01-01) / 1"),
            "only the masked booking and the detached invoice are left, and the points where the policy has none"
        );
    }
}

pub(super) fn start(host: &Workspace, failpoints: &str) -> Child {
    let mut command = host.process(["run", "--until-idle"]);
    command
        .env("FAILPOINTS", failpoints)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// What a ticket says whose rest is done.
pub(super) fn beside(tables: &str) -> String {
    format!("on_hold E0521 a legal hold keeps {tables} of it, the rest is done: case-1")
}

pub(super) fn ends(mut daemon: Child) {
    assert!(daemon.wait().unwrap().success());
}

/// The rows are captured and locked, the changes made, COMMIT comes next: a hold placed then keeps
/// what would have been deleted and what would have been masked. The others of the batch go on, and
/// so does the ticket when the hold is released.
#[test]
fn lesson_05_holds_placed_while_a_batch_is_at_work_keep_the_rows() {
    let company = Company::open();
    company.file(&[1, 2]);
    let before = company.rows(1);
    let daemon = company.halfway();
    company.hold("case-1", "TM-0001");
    company.goes_on(daemon);
    assert_eq!(company.rows(1), before);
    assert_eq!(
        company.status(1),
        "on_hold E0521 a legal hold keeps it: case-1"
    );
    assert_eq!(company.told("legal_hold"), "1", "the refusal is recorded");
    company.gone(2);
    assert_eq!(company.status(2), "deferred");
    let waiting = "SELECT concat_ws(' ', people, tickets, deferrals, since IS NOT NULL) FROM erasured.hold_status";
    assert_eq!(company.control(waiting), "1 {CRM-1} 0 t");
    // Nothing by which the person was named is left with the hold.
    let values = "SELECT count(*) FROM erasured.hold_identifier WHERE value IS NOT NULL";
    assert_eq!(company.control(values), "0");
    // It does not go on by itself, nor by anybody's word but the hold's end.
    company.run();
    let release = "SELECT erasured.release_ticket(id) FROM erasured.ticket WHERE state = 'on_hold'";
    let refused = company.server.try_execute(&company.control, release);
    assert_eq!(refused.unwrap_err().code().unwrap().code(), "ER015");
    assert_eq!(company.rows(1), before);
    let released = company.control("SELECT erasured.release_matter('case-1')");
    assert_eq!(released, "1");
    company.run();
    company.gone(1);
    assert_eq!(company.status(1), "deferred");
}

/// When the hold is there, nothing that it covers is deleted any more: who places it while a COMMIT is
/// under way waits for it.
#[test]
fn lesson_05_holds_are_seen_by_a_commit_or_placed_after_it() {
    let company = Company::open();
    company.file(&[1]);
    let daemon = company.start("after-last-word=1*sleep(2000)");
    company.until_it_pauses(&company.shop);
    company.hold("case-1", "TM-0001");
    company.gone(1);
    ends(daemon);
    company.gone(1);
    assert_eq!(
        company.status(1),
        "deferred",
        "the COMMIT was first, and the hold came after it"
    );
}

/// One system is done, the other not begun.
#[test]
fn lesson_05_holds_stop_a_ticket_between_two_systems() {
    let company = Company::with(&format!("{POLICY}{IN_TWO}"));
    company.file(&[1]);
    let before = company.rows(1);
    let daemon = company.halfway();
    company.hold("case-1", "tm-0001");
    company.is_read();
    company.goes_on(daemon);
    assert_eq!(
        company.rows(1),
        before.replace(" / 1", " / 0"),
        "the points were gone before the hold"
    );
    assert!(company.status(1).starts_with("on_hold E0521"));
    company.control("SELECT erasured.release_matter('case-1')");
    company.run();
    assert_eq!(company.rows(1), "(1,1,) / (1,,2026-01-01) / 0");
}

/// The law's date has come, and the hold keeps what it would take; on its own last day the hold
/// ends by itself.
#[test]
fn lesson_05_holds_keep_what_a_date_would_take() {
    let company = Company::open();
    company.file(&[1, 2]);
    company.run();
    let invoices = || {
        company.server.value(
            &company.shop,
            "SELECT string_agg(id::text, ' ' ORDER BY id) FROM invoice",
        )
    };
    assert_eq!(invoices(), "1 2 3 4");
    let ended = "UPDATE invoice SET issued = '2010-01-01' WHERE id < 3";
    company.server.execute(&company.shop, ended);
    let due = "UPDATE erasured.deferral SET due_at = now() - interval '1 day'";
    company.server.execute(&company.control, due);
    company.control(
        "SELECT erasured.place_hold('case-1', 'audit', 'customer', '{\"member_no\": \"TM-0001\"}', now() + interval '1 day')",
    );
    company.run();
    assert_eq!(invoices(), "1 3 4");
    assert_eq!(company.told("deferral_held"), "1");
    let waiting =
        "SELECT concat_ws(' ', tickets, deferrals, since IS NOT NULL) FROM erasured.hold_status";
    assert_eq!(company.control(waiting), "1 t");
    // A day later.
    company.server.execute(
        &company.control,
        "BEGIN; ALTER TABLE erasured.hold DISABLE TRIGGER guard_hold;
         UPDATE erasured.hold SET until = now();
         ALTER TABLE erasured.hold ENABLE TRIGGER guard_hold; COMMIT",
    );
    company.run();
    assert_eq!(invoices(), "3 4");
    assert_eq!(company.status(1), "completed");
    assert_eq!(company.told("hold_ended"), "1");
}

/// A hold on somebody nobody has found says so, and covers them once a ticket finds them.
#[test]
fn lesson_05_holds_on_nobody_say_so_and_wait_for_them() {
    let company = Company::open();
    company.hold("case-1", "TM-0009");
    company.run();
    let problem = "SELECT concat_ws(' ', people, problem_code) FROM erasured.hold_status";
    assert_eq!(company.control(problem), "0 E0520");
    let customer = "INSERT INTO customer VALUES (9, 'TM-0009', 'c9@example.jp')";
    company.server.execute(&company.shop, customer);
    company.file(&[9, 3]);
    company.run();
    assert!(company.status(9).starts_with("on_hold E0521"));
    let there = "SELECT count(*)::text FROM customer WHERE id = 9";
    assert_eq!(company.server.value(&company.shop, there), "1");
    company.gone(3);
}

/// A hold on rows, placed while the batch has them all locked and changed: whoever reaches one of them
/// waits with all on which it hangs, the rest goes on, and so do the others. Who is paid for is told by a NULL: not at all, so it is kept.
#[test]
fn lesson_05_holds_on_rows_keep_them_and_who_reaches_them() {
    let company = Company::open();
    company.server.execute(
        &company.shop,
        "UPDATE note SET body = 'case' WHERE id = 4; UPDATE note SET body = NULL WHERE id = 1",
    );
    company.file(&[1, 2, 3]);
    let kept = (company.kept(1), company.kept(2));
    let daemon = company.halfway();
    company.control(
        "SELECT erasured.place_row_hold('case-1', 'court-order', 's.public.note', \
           '[{\"column\": \"body\", \"op\": \"=\", \"values\": [\"case\"]}, {\"column\": \"id\", \"op\": \"<\", \"values\": [\"8\"]}]')",
    );
    company.is_read();
    company.goes_on(daemon);
    assert_eq!((company.kept(1), company.kept(2)), kept);
    for n in [1, 2] {
        assert_eq!(
            company.status(n),
            beside("s.public.customer, s.public.note")
        );
        assert_eq!(
            company.others(n),
            format!("({n},{n},) / ({n},,2026-01-01) / 1")
        );
    }
    company.gone(3);
    let waiting = "SELECT concat_ws(' ', rows_of, named_by, tickets) FROM erasured.hold_status";
    assert_eq!(
        company.control(waiting),
        "s.public.note {\"body =\",\"id <\"} {CRM-1,CRM-2}"
    );
    let values = "SELECT concat_ws(' ', conditions, sealed IS NOT NULL) FROM erasured.hold";
    assert_eq!(
        company.control(values),
        "[{\"op\": \"=\", \"column\": \"body\"}, {\"op\": \"<\", \"column\": \"id\"}] t"
    );
    company.control("SELECT erasured.release_matter('case-1')");
    company.run();
    company.gone(1);
    company.gone(2);
    assert!(company.control(values).ends_with(" f"));
}

/// What a date would take is kept by its row too; and a hold that can be compared with nothing says so
/// and keeps nothing from going on.
#[test]
fn lesson_05_holds_on_rows_outlast_a_date_and_say_when_they_fit_nothing() {
    let company = Company::open();
    for (place, conditions) in [
        ("s.public.nowhere", "[]"),
        ("x.public.note", "[]"),
        ("s.public.gate", "[]"),
        ("s.public.note", r#"[{"column": "sato", "op": "is null"}]"#),
        (
            "s.public.note",
            r#"[{"column": "id", "op": "=", "values": ["sato"]}]"#,
        ),
    ] {
        company.control(&format!(
            "SELECT erasured.place_row_hold('wrong', 'audit', '{place}', '{conditions}')"
        ));
    }
    company.file(&[1, 2]);
    company.run();
    assert_eq!(company.status(1), "deferred");
    let wrong = "SELECT string_agg(DISTINCT problem_code, ' ') || count(*) FROM erasured.hold WHERE problem_code IS NOT NULL";
    assert_eq!(company.control(wrong), "E05225");
    let kept = "SELECT count(*) FROM erasured.hold WHERE (hold::text || (SELECT string_agg(entry, '') FROM erasured.ledger)) ~ 'sato'";
    assert_eq!(company.control(kept), "0", "what nobody knows is not kept");
    company.control(
        "SELECT erasured.place_row_hold('case-2', 'audit', 's.public.invoice', \
           '[{\"column\": \"id\", \"op\": \"in\", \"values\": [\"1\", \"4\"]}]')",
    );
    let ended = "UPDATE invoice SET issued = '2010-01-01' WHERE id < 3";
    company.server.execute(&company.shop, ended);
    let due = "UPDATE erasured.deferral SET due_at = now() - interval '1 day'";
    company.server.execute(&company.control, due);
    company.run();
    let invoices = "SELECT string_agg(id::text, ' ' ORDER BY id) FROM invoice";
    assert_eq!(company.server.value(&company.shop, invoices), "1 3 4");
    assert_eq!(company.told("deferral_held"), "1");
    company.control("SELECT erasured.release_matter('case-2')");
    company.run();
    assert_eq!(company.server.value(&company.shop, invoices), "3 4");
    assert_eq!(company.status(1), "completed");
}

/// A row that comes to be covered after the batch has looked is not its to take: once compared, rows
/// are locked, those too that are found again only by their parents' keys.
#[test]
fn lesson_05_holds_on_rows_see_what_changes_behind_the_look() {
    let company = Company::open();
    company.control(
        "SELECT erasured.place_row_hold('case-1', 'court-order', 's.public.note', \
           '[{\"column\": \"body\", \"op\": \"=\", \"values\": [\"case\"]}]')",
    );
    company.run();
    company.file(&[1]);
    let daemon = company.start("before-change=1*sleep(2000)");
    company.until_it_pauses(&company.shop);
    let disputed =
        "SET lock_timeout = '300ms'; UPDATE note SET body = 'case' WHERE customer_id = 1";
    let late = company.server.try_execute(&company.shop, disputed);
    assert_eq!(late.unwrap_err().code().unwrap().code(), "55P03");
    ends(daemon);
    company.gone(1);
}

/// Compared on the path of a batch `citext` would be plain text, and 'Case' no 'case'.
#[test]
fn lesson_05_holds_on_rows_refuse_types_with_operators_of_their_own() {
    let company = Company::open();
    let own = "CREATE EXTENSION citext; ALTER TABLE note ADD COLUMN kind citext; CREATE TYPE mood AS ENUM ('calm');
               CREATE DOMAIN kinds AS citext; ALTER TABLE note ADD COLUMN kinds kinds, ADD COLUMN mood mood";
    company.server.execute(&company.shop, own);
    for column in ["kind", "kinds", "mood"] {
        company.control(&format!(
            "SELECT erasured.place_row_hold('{column}', 'audit', 's.public.note', \
               '[{{\"column\": \"{column}\", \"op\": \"=\", \"values\": [\"calm\"]}}]')"
        ));
    }
    company.run();
    let told = "SELECT string_agg(concat_ws(' ', matter, problem_code), ', ' ORDER BY matter) FROM erasured.hold";
    assert_eq!(company.control(told), "kind E0522, kinds E0522, mood");
}

/// While no policy here is for what a hold names, the order is kept for the day when one is.
#[test]
fn lesson_05_holds_wait_for_the_policy_that_knows_what_they_name() {
    let company = Company::open();
    company.hold("case-1", "TM-0001");
    company.control(
        "SELECT erasured.place_row_hold('case-2', 'audit', 's.public.note', \
           '[{\"column\": \"customer_id\", \"op\": \"=\", \"values\": [\"2\"]}]')",
    );
    let other = POLICY
        .replace("subject = \"customer\"", "subject = \"guest\"")
        .replace(
            "[[table]]\nname   = \"s.public.note\"\naction = \"delete\"\n",
            "",
        );
    company.server.execute(
        &company.shop,
        "ALTER TABLE note DROP CONSTRAINT note_customer_id_fkey",
    );
    company.workspace.write_policy("customer.toml", &other);
    company.run();
    let told = "SELECT string_agg(concat_ws(' ', matter, problem_code, read_at IS NOT NULL), ', ' ORDER BY matter) FROM erasured.hold";
    assert_eq!(company.control(told), "case-1 f, case-2 E0522 t");

    company.server.execute(
        &company.shop,
        "ALTER TABLE note ADD FOREIGN KEY (customer_id) REFERENCES customer",
    );
    company.workspace.write_policy("customer.toml", POLICY);
    company.run();
    company.file(&[1, 2, 3]);
    let before = (company.rows(1), company.kept(2));
    company.run();
    assert_eq!((company.rows(1), company.kept(2)), before);
    company.gone(3);
}

/// A system that is away keeps waiting what is its own; the rest goes on, though a hold on its rows
/// cannot be read.
#[test]
fn lesson_05_holds_on_a_system_that_is_away_stop_no_other() {
    let company = Company::open();
    company.file(&[1]);
    company.control("SELECT erasured.place_row_hold('case-1', 'audit', 't.public.points')");
    let away = format!("ALTER DATABASE {} ALLOW_CONNECTIONS false", company.points);
    company.server.execute("postgres", &away);
    let mut daemon = company.workspace.process(["run"]);
    let mut daemon = daemon
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    wait_until("the ticket to be erased", LONG, || {
        company.status(1).starts_with("verifying") || company.status(1) == "deferred"
    });
    let read = "SELECT count(read_at)::text FROM erasured.hold";
    assert_eq!(company.control(read), "0");
    daemon.kill().unwrap();
    daemon.wait().unwrap();
}

/// Holds that cannot be read now, however many, keep none behind them from being read; and whoever places
/// one and forgets to end their transaction keeps erasing waiting for a minute, and says so.
#[test]
fn lesson_05_holds_in_the_way_are_bounded() {
    let company = Company::open();
    company.control("SELECT count(erasured.place_row_hold('case-1', 'audit', 't.public.points')) FROM generate_series(1, 450)");
    let away = format!("ALTER DATABASE {} ALLOW_CONNECTIONS false", company.points);
    company.server.execute("postgres", &away);
    company.control("SELECT erasured.place_row_hold('case-2', 'audit', 's.public.note')");
    let daemon = company.workspace.process(["run"]);
    let mut daemon = { daemon }
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let read = "SELECT count(*)::text FROM erasured.hold WHERE read_at IS NOT NULL";
    wait_until("the last hold to be read", LONG, || {
        company.control(read) == "1"
    });

    let bound = company.control(
        "SELECT concat_ws(' ', current_setting('idle_in_transaction_session_timeout'), \
           (SELECT 'held' FROM (SELECT erasured.place_row_hold('case-3', 'audit', 's.public.note')) x), \
           current_setting('idle_in_transaction_session_timeout'))",
    );
    assert_eq!(bound, "0 held 1min");
    company.file(&[1]);
    crate::support::blocking(async {
        let client = company.server.connect(&company.control).await;
        let open = "BEGIN; SELECT erasured.place_row_hold('case-4', 'audit', 's.public.gate')";
        client.batch_execute(open).await.unwrap();
        let blocked = || company.metrics().contains("\nerasured_hold_blocks_total ");
        wait_until("the daemon to say so", LONG, blocked);
    });
    daemon.kill().unwrap();
    daemon.wait().unwrap();
}

/// Holds rain on a daemon at work, two systems to a person: whatever stands of somebody when their hold
/// is placed stands at the end, and whoever has none is erased whole.
#[test]
fn lesson_05_holds_placed_at_any_moment_keep_what_they_find() {
    const PEOPLE: i32 = 24;
    let company = Company::with(&format!("{POLICY}{IN_TWO}"));
    let more = format!(
        "INSERT INTO customer SELECT n, 'TM-000' || n, 'c' || n || '@example.jp' FROM generate_series(5, {PEOPLE}) n;
         INSERT INTO booking SELECT n, n, 'call' FROM generate_series(5, {PEOPLE}) n;
         INSERT INTO invoice SELECT n, n, '2026-01-01' FROM generate_series(5, {PEOPLE}) n"
    );
    company.server.execute(&company.shop, &more);
    let more = format!(
        "INSERT INTO points SELECT n, 'TM-000' || n, 7 FROM generate_series(5, {PEOPLE}) n"
    );
    company.server.execute(&company.points, &more);
    company.file(&(1..=PEOPLE).collect::<Vec<_>>());
    let small = company.workspace.config();
    let limits = std::fs::read_to_string(&small).unwrap();
    std::fs::write(&small, limits.replace("poll =", "batch = 4\npoll =")).unwrap();
    let mut daemon = company.start("before-commit=sleep(20);after-last-word=sleep(100)");
    // Each on somebody whose batch is at work at that moment.
    let mut found: Vec<(i32, String)> = Vec::new();
    while daemon.try_wait().unwrap().is_none() {
        let now = company.control(
            "SELECT coalesce(max(substr(reference, 5)::int), 0)::text FROM erasured.ticket
              WHERE state = 'executing' AND substr(reference, 5)::int % 2 = 0",
        );
        let n: i32 = now.parse().unwrap();
        if n > 0 && found.iter().all(|(held, _)| *held != n) {
            company.hold("case-1", &format!("TM-000{n}"));
            found.push((n, company.rows(n)));
        }
    }
    ends(daemon);
    company.run();
    for (n, when_placed) in &found {
        assert_eq!(company.rows(*n), *when_placed, "person {n}");
    }
    let states = |of: &str| {
        company.control(&format!(
            "SELECT count(*) || ' ' || string_agg(DISTINCT state, ' ') FROM erasured.ticket t
              WHERE {of} (SELECT FROM erasured.hold_subject s WHERE s.subject_hash = t.subject_hash)"
        ))
    };
    let free = usize::try_from(PEOPLE).unwrap() - found.len();
    assert_eq!(states("NOT EXISTS"), format!("{free} deferred"));
    let kept = states("EXISTS");
    assert!(kept.contains("on_hold"), "some holds came in time: {kept}");
    company.control("SELECT erasured.release_matter('case-1')");
    company.run();
    assert_eq!(
        company.control("SELECT string_agg(DISTINCT state, ' ') FROM erasured.ticket"),
        "deferred"
    );
}
