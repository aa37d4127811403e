//! A shop whose customers have a row in PostgreSQL and all else in a CRM on MariaDB.

use crate::support::{History, MariaDb, Server, Workspace};

const SHOP: &str = "
CREATE TABLE customer (id int PRIMARY KEY, member_no text UNIQUE NOT NULL, email text);
INSERT INTO customer SELECT n, 'm-' || n, 'c' || n || '@x.jp' FROM generate_series(1, 20) n;
";

/// Contacts are known by the member's number; what hangs on a contact hangs by keys.
pub(crate) const CRM: &str = "
CREATE DATABASE crm CHARACTER SET utf8mb4;
USE crm;
CREATE TABLE crm.contact (id BIGINT UNSIGNED PRIMARY KEY, member_no VARCHAR(40) COLLATE utf8mb4_general_ci NOT NULL,
  email VARCHAR(100) CHARACTER SET utf8mb3, note TEXT, KEY (member_no));
CREATE TABLE crm.call_log (id INT AUTO_INCREMENT PRIMARY KEY, contact BIGINT UNSIGNED NOT NULL, said TEXT,
  CONSTRAINT call_of FOREIGN KEY (contact) REFERENCES crm.contact (id));
CREATE TABLE crm.quote (id INT AUTO_INCREMENT PRIMARY KEY, contact BIGINT UNSIGNED, name VARCHAR(40), price DECIMAL(9,2),
  changed TIMESTAMP NOT NULL DEFAULT '2020-01-01 00:00:00' ON UPDATE CURRENT_TIMESTAMP,
  CONSTRAINT quote_of FOREIGN KEY (contact) REFERENCES crm.contact (id) ON DELETE SET NULL);
CREATE TABLE crm.invoice (no VARCHAR(20) PRIMARY KEY, member_no VARCHAR(40) NOT NULL, issued DATE NOT NULL, name VARCHAR(40));
INSERT INTO crm.contact SELECT 18446744073709551000 + seq, CONCAT('M-', seq), CONCAT('c', seq, '@x.jp'), 'x' FROM seq_1_to_20;
INSERT INTO crm.call_log (contact, said) SELECT 18446744073709551000 + 1 + seq % 20, CONCAT('said ', seq) FROM seq_1_to_60;
INSERT INTO crm.quote (contact, name, price) SELECT 18446744073709551000 + seq, CONCAT('Name ', seq), seq FROM seq_1_to_20;
INSERT INTO crm.invoice SELECT CONCAT('I', seq), CONCAT('m-', seq), IF(seq % 2, '2010-05-01', CURRENT_DATE), CONCAT('Name ', seq) FROM seq_1_to_20;
";

pub(crate) const POLICY: &str = r#"
subject = "customer"
root    = "shop.public.customer"
identifier.member_no = { column = "member_no", find = true, residual = true }
identifier.email = { column = "email", type = "email", residual = true }
scope.account = { tables = "all", verify = { at_least = "basic" }, sla = "jp-appi" }

[[table]]
name   = "shop.public.customer"
action = "delete"

[[table]]
name   = "crm.crm.contact"
link   = { columns = ["member_no"], identifier = "member_no" }
action = "delete"

[[table]]
name   = "crm.crm.call_log"
action = "delete"

[[table]]
name   = "crm.crm.quote"
action = "anonymize"
set    = { name = "redact", contact = "null" }

[[table]]
name    = "crm.crm.invoice"
link    = { columns = ["member_no"], identifier = "member_no" }
action  = "retain"
until   = { column = "issued", plus = "7 years" }
because = "jp-ctax-7"
then    = "delete"
set     = { name = "null", member_no = "hash" }
"#;

/// The least that the login needs, as docs/systems.md says it.
pub(crate) const GRANTS: &str = "
CREATE USER 'erasured'@'127.0.0.1';
GRANT SHOW DATABASES ON *.* TO 'erasured'@'127.0.0.1';
GRANT SELECT, TRIGGER ON crm.* TO 'erasured'@'127.0.0.1';
GRANT UPDATE, DELETE ON crm.contact TO 'erasured'@'127.0.0.1';
GRANT UPDATE, DELETE ON crm.call_log TO 'erasured'@'127.0.0.1';
GRANT UPDATE, DELETE ON crm.quote TO 'erasured'@'127.0.0.1';
GRANT UPDATE, DELETE ON crm.invoice TO 'erasured'@'127.0.0.1';
";

pub(crate) struct Company {
    pub(crate) crm: MariaDb,
    pub(crate) workspace: Workspace,
    pub(crate) server: &'static Server,
    pub(crate) shop: String,
    pub(crate) control: String,
}

impl Company {
    pub(crate) fn open() -> Self {
        Self::with(MariaDb::start(), CRM, POLICY)
    }

    pub(crate) fn with(crm: MariaDb, schema: &str, policy: &str) -> Self {
        let server = Server::shared();
        let (shop, control) = (
            server.fresh_database("shop"),
            server.fresh_database("control"),
        );
        server.execute(&shop, SHOP);
        crm.execute(schema);
        let mut workspace = Workspace::new(&server.url(&control), &[("shop", server.url(&shop))]);
        workspace.configure(&format!(
            "[system.crm]\nkind = \"mariadb\"\nurl = \"{}\"\n\n[limits]\nlease = \"5 seconds\"\npoll = \"150ms\"\nattempts = 3\nstatement_timeout = \"3 s\"\n",
            crm.url("erasured")
        ));
        workspace.write_policy("customer.toml", policy);
        let company = Self {
            crm,
            workspace,
            server,
            shop,
            control,
        };
        company.crm.execute(GRANTS);
        company.says(&["migrate", "--only", "control"], 0);
        company.says(&["migrate", "--only", "shop"], 0);
        let root = format!("mariadb://root@127.0.0.1:{}/", company.crm.port());
        company.says(&["migrate", "--only", "crm", "--url", &root], 0);
        company
            .crm
            .execute("GRANT SELECT, INSERT ON erasured.applied_step TO 'erasured'@'127.0.0.1'");
        company
    }

    /// Runs the program, which must end so; what it said on both.
    pub(crate) fn says(&self, arguments: &[&str], code: i32) -> String {
        let output = self.workspace.erasured(arguments).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8(said).unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        said
    }

    /// Files, verifies and approves a ticket for each.
    pub(crate) fn file(&self, people: &[u32]) {
        // What may be asked for is published by a daemon.
        self.says(&["run", "--until-idle"], 0);
        self.ask(people);
    }

    /// The same where a daemon has published it.
    pub(crate) fn ask(&self, people: &[u32]) {
        let mut sql = String::from("DO $$ DECLARE t uuid; BEGIN\n");
        for n in people {
            sql.push_str(&format!(
                "t := erasured.submit_ticket('T-{n}', 'customer', '{{\"member_no\": \"m-{n}\"}}', 'account', 'policy');
                 PERFORM set_config('erasured.actor', 'desk', true); PERFORM erasured.verify_ticket(t, 'login_reauth');
                 PERFORM set_config('erasured.actor', 'lead', true); PERFORM erasured.approve_ticket(t);\n"
            ));
        }
        sql.push_str("END $$");
        self.server.execute(&self.control, &sql);
    }

    pub(crate) fn control(&self, sql: &str) -> String {
        self.server.value(&self.control, sql)
    }

    /// State and code of each ticket, by reference.
    pub(crate) fn states(&self) -> Vec<String> {
        let sql = "SELECT reference || ' ' || state || coalesce(' ' || problem_code, '') FROM erasured.ticket ORDER BY reference";
        let rows = self.server.query(&self.control, sql).into_iter();
        rows.map(|row| row[0].clone().unwrap()).collect()
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

    /// All rows that are not of these customers, as one text for each table.
    pub(crate) fn others(&self, gone: &[u32]) -> Vec<Vec<Vec<Option<String>>>> {
        let ids: Vec<String> = gone
            .iter()
            .map(|n| format!("{}", 18_446_744_073_709_551_000_u64 + u64::from(*n)))
            .collect();
        let ids = ids.join(", ");
        let numbers: Vec<String> = gone.iter().map(|n| format!("'I{n}'")).collect();
        let numbers = numbers.join(", ");
        let tables = [
            format!("SELECT * FROM crm.contact WHERE id NOT IN ({ids}) ORDER BY id"),
            format!("SELECT * FROM crm.call_log WHERE contact NOT IN ({ids}) ORDER BY id"),
            format!("SELECT * FROM crm.quote WHERE contact NOT IN ({ids}) ORDER BY id"),
            format!("SELECT * FROM crm.invoice WHERE no NOT IN ({numbers}) ORDER BY no"),
        ];
        tables.iter().map(|sql| self.crm.query(sql)).collect()
    }

    /// The CRM is reached by this port of this host.
    pub(crate) fn goes_through(&self, port: u16) {
        let there = format!("127.0.0.1:{port}/");
        let here = format!("127.0.0.1:{}/", self.crm.port());
        self.reconfigure(&here, &there);
    }

    /// In erasured.toml one thing stands for another.
    pub(crate) fn reconfigure(&self, from: &str, to: &str) {
        let file = self.workspace.config();
        let config = std::fs::read_to_string(&file).unwrap();
        assert!(config.contains(from), "{from}: {config}");
        std::fs::write(file, config.replace(from, to)).unwrap();
    }

    /// Orders that rows of the CRM are kept.
    pub(crate) fn hold(&self, table: &str, conditions: &str) {
        self.server.execute(
            &self.control,
            &format!("SELECT erasured.place_row_hold('case-1', 'court-order', 'crm.{table}', '{conditions}')"),
        );
    }

    /// Systems as the history check knows them.
    pub(crate) fn systems(&self) -> [(&'static str, String); 2] {
        let crm = format!("mariadb://root@127.0.0.1:{}/", self.crm.port());
        [("shop", self.server.url(&self.shop)), ("crm", crm)]
    }

    /// What control, systems and certificates say has happened may have, and nothing is left to do.
    pub(crate) fn history_holds(&self) -> History {
        let control = self.server.url(&self.control);
        let history = History::read(&control, &self.systems());
        let mut wrong = history.wrong(&self.workspace.verifying_key());
        wrong.extend(history.unsettled());
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        history
    }

    /// Of a ticket for the third customer each row went once, and was counted once.
    pub(crate) fn was_done_once(&self) {
        assert_eq!(self.states(), ["T-3 completed"]);
        self.history_holds();
        let steps = "SELECT COUNT(*) FROM erasured.applied_step";
        assert_eq!(self.crm.count(steps), 1);
        let calls = "SELECT COUNT(*) FROM crm.call_log";
        assert_eq!(self.crm.count(calls), 57);
        let certificate = self.certificate("T-3");
        // Contact, three calls, an invoice; and the customer in the shop.
        assert_eq!(certificate.totals().deleted, 6);
        assert_eq!(certificate.totals().anonymized, 1);
    }
}
