//! A shop whose customers have letters in its database and subscriptions in somebody else's list.

use crate::list::List;
use crate::support::{History, Server, Workspace};
use std::process::{Child, Stdio};

const SCHEMA: &str = "
CREATE TABLE customer (id int PRIMARY KEY, member_no text UNIQUE NOT NULL, email text, seen_on date, email_changed_at timestamptz);
CREATE TABLE letter (id int PRIMARY KEY, customer int NOT NULL REFERENCES customer);
CREATE INDEX ON letter (customer);
INSERT INTO customer SELECT n, 'M-' || n, 'c' || n || '@x.jp' FROM generate_series(1, 20) n;
INSERT INTO letter SELECT n, 1 + n % 20 FROM generate_series(1, 100) n;
";

pub(crate) const POLICY: &str = r#"
subject = "customer"
root    = "shop.public.customer"
identifier.member_no = { column = "member_no", find = true, residual = true, excludes = ":/" }
identifier.email = { column = "email", type = "email" }
scope.account = { tables = "all", verify = { at_least = "basic" }, sla = "jp-appi" }
scope.letters = { tables = ["newsletter.subscriptions"], verify = { at_least = "basic" }, sla = "jp-appi" }

[[table]]
name   = "shop.public.customer"
action = "delete"

[[table]]
name   = "shop.public.letter"
action = "delete"

[[place]]
system      = "newsletter"
name        = "subscriptions"
identifiers = ["email", "member_no"]
kept        = ["open-invoice"]
"#;

/// The company on databases of its own.
pub(crate) struct Company {
    pub(crate) server: &'static Server,
    pub(crate) workspace: Workspace,
    pub(crate) shop: String,
    pub(crate) control: String,
    pub(crate) list: List,
}

/// Two subscriptions for each of the first ten customers, one for the others.
fn subscriptions() -> Vec<(String, String)> {
    let ids = (1..=20).chain(101..=110);
    ids.map(|id| (id.to_string(), format!("c{}@x.jp", id % 100)))
        .collect()
}

impl Company {
    pub(crate) fn open() -> Self {
        Self::with(POLICY)
    }

    pub(crate) fn with(policy: &str) -> Self {
        Self::beside(policy, "")
    }

    /// With these systems more.
    pub(crate) fn beside(policy: &str, systems: &str) -> Self {
        Self::built(policy, systems, "")
    }

    /// And with these tables more.
    pub(crate) fn built(policy: &str, systems: &str, schema: &str) -> Self {
        let subscriptions = subscriptions();
        let pairs: Vec<(&str, &str)> = subscriptions.iter().map(|(a, b)| (&**a, &**b)).collect();
        let list = List::of(&pairs);
        let server = Server::shared();
        let (shop, control) = (
            server.fresh_database("shop"),
            server.fresh_database("control"),
        );
        server.execute(&shop, &format!("{SCHEMA}{schema}"));
        let mut workspace = Workspace::new(&server.url(&control), &[("shop", server.url(&shop))]);
        workspace.configure(&format!(
            "[system.newsletter]\nkind = \"command\"\ncommand = {:?}\ntimeout = \"10 s\"\n\n\
             [limits]\nlease = \"5 seconds\"\npoll = \"150ms\"\nattempts = 3\n\n{systems}",
            list.command()
        ));
        workspace.write_policy("customer.toml", policy);
        let company = Self {
            server,
            workspace,
            shop,
            control,
            list,
        };
        company.says(&["migrate"], 0);
        // What may be asked for is published by a daemon.
        company.says(&["run", "--until-idle"], 0);
        company
    }

    /// Files, verifies and approves a ticket for each.
    pub(crate) fn file(&self, people: &[u32], scope: &str) {
        let mut sql = String::from("DO $$ DECLARE t uuid; BEGIN\n");
        for n in people {
            sql.push_str(&format!(
                "t := erasured.submit_ticket('{scope}-{n}', 'customer', '{{\"member_no\": \"M-{n}\"}}', '{scope}', 'policy');
                 PERFORM set_config('erasured.actor', 'desk', true); PERFORM erasured.verify_ticket(t, 'login_reauth');
                 PERFORM set_config('erasured.actor', 'lead', true); PERFORM erasured.approve_ticket(t);\n"
            ));
        }
        sql.push_str("END $$");
        self.server.execute(&self.control, &sql);
    }

    /// Runs the program, which must end so; what it said on both.
    pub(crate) fn says(&self, arguments: &[&str], code: i32) -> String {
        let output = self.workspace.erasured(arguments).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8(said).unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        said
    }

    /// Lets the daemon die at a failpoint.
    pub(crate) fn dies_at(&self, failpoint: &str) {
        let mut daemon = self.workspace.erasured(["run", "--until-idle"]);
        let output = daemon.env("FAILPOINTS", failpoint).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), None, "{failpoint}: {said}");
    }

    /// A daemon that goes on.
    pub(crate) fn daemon(&self) -> Daemon {
        let mut daemon = self.workspace.process(["run"]);
        daemon
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        Daemon(daemon.spawn().unwrap())
    }

    pub(crate) fn control(&self, sql: &str) -> String {
        self.server.value(&self.control, sql)
    }

    pub(crate) fn count(&self, sql: &str) -> i64 {
        self.server.count(&self.shop, sql)
    }

    /// State and code of each ticket, by reference.
    pub(crate) fn states(&self) -> Vec<String> {
        let sql = "SELECT reference || ' ' || state || coalesce(' ' || problem_code, '') FROM erasured.ticket ORDER BY reference";
        let rows = self.server.query(&self.control, sql).into_iter();
        rows.map(|row| row[0].clone().unwrap()).collect()
    }

    /// How many things a ticket's certificate says went in the list, and how many rows in the shop.
    pub(crate) fn certified(&self, reference: &str) -> (u64, u64) {
        let c = self.certificate(reference);
        assert_eq!(c.places.len(), 1, "{reference}");
        assert_eq!(c.places[0].found.len(), 1);
        assert!(!c.places[0].not_promised.is_empty());
        (c.places[0].found[0].erased, c.totals().deleted)
    }

    pub(crate) fn certificate(&self, reference: &str) -> erasured::certificate::Certificate {
        let ring = [erasured::start::public_key(&self.workspace.public_key()).unwrap()];
        let sql = format!(
            "SELECT c.jws FROM erasured.certificate c JOIN erasured.ticket t ON t.id = c.ticket_id WHERE t.reference = '{reference}'"
        );
        let rows = self.server.query(&self.control, &sql);
        assert_eq!(rows.len(), 1, "{reference}: one certificate");
        let jws = rows[0][0].as_deref().unwrap();
        erasured::certificate::verify(jws, &ring.into_iter().collect()).unwrap()
    }

    /// The ids that are left when these customers' are gone.
    pub(crate) fn without(gone: &[u32]) -> Vec<String> {
        let of = |email: &str| !gone.iter().any(|n| email == format!("c{n}@x.jp"));
        let left = subscriptions().into_iter().filter(|(_, email)| of(email));
        left.map(|(id, _)| id).collect()
    }

    /// Nothing of closed tickets is kept.
    pub(crate) fn keeps_nothing(&self) {
        let kept = "SELECT (SELECT count(*) FROM erasured.found) + (SELECT count(*) FROM erasured.deferral) + (SELECT count(*) FROM erasured.ticket WHERE sealed IS NOT NULL)";
        assert_eq!(self.control(kept), "0");
        self.says(&["ledger", "verify"], 0);
        let systems = [("shop", self.server.url(&self.shop))];
        let history = History::read(self.workspace.control_url(), &systems);
        assert_eq!(history.wrong(&self.workspace.verifying_key()), [""; 0]);
    }
}

/// Killed when dropped.
pub(crate) struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}
