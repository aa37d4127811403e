//! A call centre with one table of calls, of every age around the day on which they become due.

use crate::support::{Server, Workspace};

pub(crate) const SCHEMA: &str = "
CREATE TABLE customer (id int PRIMARY KEY, member_no text UNIQUE NOT NULL);
CREATE TABLE call (
    id       int PRIMARY KEY,
    customer int NOT NULL REFERENCES customer,
    ended_at timestamptz,
    tag      text NOT NULL DEFAULT 'x');
CREATE INDEX ON call (customer);
CREATE INDEX ON call (ended_at);
CREATE TABLE note (id int PRIMARY KEY, call int NOT NULL REFERENCES call ON DELETE CASCADE, body text);
CREATE INDEX ON note (call);
CREATE TABLE survey (id int PRIMARY KEY, call int REFERENCES call, score int);
CREATE INDEX ON survey (call);
INSERT INTO customer SELECT n, 'M-' || n FROM generate_series(1, 20) n;
-- One call an hour, 120 days back.
INSERT INTO call SELECT n, 1 + n % 20, now() - n * interval '1 hour' FROM generate_series(1, 2880) n;
INSERT INTO call VALUES (9001, 1, NULL), (9002, 1, '-infinity'), (9003, 1, 'infinity');
INSERT INTO note SELECT n, 1 + n % 2880, 'note' FROM generate_series(1, 5000) n;
INSERT INTO survey SELECT n, 1 + n * 7 % 2880, n % 5 FROM generate_series(1, 1000) n;
";

/// Written apart from `src/`: a call is due when its ninetieth day in Japan is over.
pub(crate) const DUE: &str = "(c.ended_at AT TIME ZONE 'Asia/Tokyo')::date + 90 < (now() AT TIME ZONE 'Asia/Tokyo')::date AND isfinite(c.ended_at)";

pub(crate) const POLICY: &str = r#"
subject = "customer"
root    = "shop.public.customer"
identifier.member_no = { column = "member_no", find = true }
scope.account = { tables = "all", verify = { at_least = "basic" }, sla = "jp-appi" }

[[table]]
name   = "shop.public.customer"
action = "delete"

[[table]]
name   = "shop.public.call"
action = "delete"

[[table]]
name   = "shop.public.note"
action = "delete"

[[table]]
name   = "shop.public.survey"
action = "detach"

[[retention]]
name     = "calls"
table    = "shop.public.call"
since    = "ended_at"
keep     = "90 days"
action   = "delete"
because  = "our privacy policy, section 4.2"
timezone = "Asia/Tokyo"
"#;

/// The company on databases of its own.
pub(crate) struct Company {
    pub(crate) server: &'static Server,
    pub(crate) workspace: Workspace,
    pub(crate) shop: String,
    pub(crate) control: String,
}

impl Company {
    pub(crate) fn open() -> Self {
        Self::with(SCHEMA, POLICY)
    }

    pub(crate) fn with(schema: &str, policy: &str) -> Self {
        Self::on(Server::shared(), schema, policy)
    }

    /// On a server of its own, where nobody else waits, works and writes.
    pub(crate) fn alone(policy: &str) -> Self {
        // Its watchdog ends it with the process.
        Self::on(Box::leak(Box::new(Server::start())), SCHEMA, policy)
    }

    fn on(server: &'static Server, schema: &str, policy: &str) -> Self {
        let (shop, control) = (
            server.fresh_database("shop"),
            server.fresh_database("control"),
        );
        server.execute(&shop, schema);
        let workspace = Workspace::new(&server.url(&control), &[("shop", server.url(&shop))]);
        workspace.write_policy("customer.toml", policy);
        let company = Self {
            server,
            workspace,
            shop,
            control,
        };
        company.says(&["migrate"], 0);
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

    /// The JSON that the program prints.
    pub(crate) fn json(&self, arguments: &[&str]) -> serde_json::Value {
        let arguments = [arguments, &["--format", "json"]].concat();
        serde_json::from_str(&self.says(&arguments, 0)).unwrap()
    }

    pub(crate) fn count(&self, sql: &str) -> i64 {
        self.server.count(&self.shop, sql)
    }

    pub(crate) fn execute(&self, sql: &str) {
        self.server.execute(&self.shop, sql);
    }

    /// Every row of every table as text, those aside of which `but` says so.
    pub(crate) fn rows(&self, but: &str) -> Vec<String> {
        let sql = format!(
            "SELECT t FROM (SELECT 'customer ' || c::text FROM customer c \
               UNION ALL SELECT 'call ' || c::text FROM call c WHERE NOT coalesce({but}, false) \
               UNION ALL SELECT 'note ' || n::text FROM note n JOIN call c ON c.id = n.call WHERE NOT coalesce({but}, false) \
               UNION ALL SELECT 'survey ' || s.id || ' ' || s.score || ' ' || \
                    CASE WHEN coalesce({but}, false) THEN '' ELSE coalesce(s.call::text, '') END \
                    FROM survey s LEFT JOIN call c ON c.id = s.call) x (t) ORDER BY t"
        );
        let rows = self.server.query(&self.shop, &sql).into_iter();
        rows.map(|row| row[0].clone().unwrap()).collect()
    }
}
