//! A company on five systems of its own: a shop and its billing on two PostgreSQL servers, an old CRM on
//! MariaDB, a cache in Redis and a folder of files. The control database has a server of its own too.

use crate::by_hand::across::Script;
use crate::support::{
    MariaDb, Proxy, Redis, Server, ServerOptions, Workspace, blocking, wait_until,
};
use std::ops::Range;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Rows of one person in a table that holds several.
const MANY: u32 = 3;
/// Groups of people at which the cache and the folder may be asked at the same time.
pub(super) const CONCURRENCY: usize = 4;

/// More than by default: a batch goes from system to system, and while it waits for one another goes on.
const WORKERS: usize = 4;

const SHOP: &str = "
CREATE TABLE customer (id int PRIMARY KEY, member_no text UNIQUE NOT NULL, name text NOT NULL, email text NOT NULL);
CREATE TABLE booking (id int PRIMARY KEY, customer int NOT NULL REFERENCES customer, note text NOT NULL);
CREATE TABLE letter (id int PRIMARY KEY, customer int NOT NULL REFERENCES customer);
CREATE INDEX ON booking (customer);
CREATE INDEX ON letter (customer);
-- As docs/policies.md says of identifiers.
CREATE INDEX ON customer (lower(normalize(member_no::text, NFKC)));
";

const BILLING: &str = "
CREATE TABLE account (id int PRIMARY KEY, member_no text UNIQUE NOT NULL, holder text NOT NULL);
CREATE TABLE payment (id int PRIMARY KEY, account int NOT NULL REFERENCES account, payer text NOT NULL);
CREATE INDEX ON payment (account);
CREATE INDEX ON account (lower(normalize(member_no::text, NFKC)));
";

const CRM: &str = "
CREATE DATABASE crm CHARACTER SET utf8mb4;
USE crm;
CREATE TABLE crm.contact (id INT PRIMARY KEY, member_no VARCHAR(40) NOT NULL, nickname VARCHAR(40), KEY (member_no));
CREATE TABLE crm.visit (id INT PRIMARY KEY, contact INT NOT NULL, memo TEXT, KEY (contact),
  CONSTRAINT visit_of FOREIGN KEY (contact) REFERENCES crm.contact (id));
CREATE TABLE crm.forgotten (ticket VARCHAR(40) PRIMARY KEY, at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP);
CREATE USER 'erasured'@'127.0.0.1';
GRANT SHOW DATABASES ON *.* TO 'erasured'@'127.0.0.1';
GRANT SELECT, TRIGGER ON crm.* TO 'erasured'@'127.0.0.1';
GRANT UPDATE, DELETE ON crm.contact TO 'erasured'@'127.0.0.1';
GRANT UPDATE, DELETE ON crm.visit TO 'erasured'@'127.0.0.1';
";

/// What is done by hand is written down too, by a row in the same transaction.
const FORGOTTEN: &str =
    "CREATE TABLE forgotten (ticket text PRIMARY KEY, at timestamptz NOT NULL DEFAULT now());";

const POLICY: &str = r#"
subject = "customer"
root    = "shop.public.customer"
identifier.member_no = { column = "member_no", find = true, residual = true, excludes = ":/" }
scope.all     = { tables = "all", verify = { at_least = "basic" }, sla = "jp-appi" }
scope.shop    = { tables = ["shop.public.customer", "shop.public.booking", "shop.public.letter"], verify = { at_least = "basic" }, sla = "jp-appi" }
scope.billing = { tables = ["billing.public.account", "billing.public.payment"], verify = { at_least = "basic" }, sla = "jp-appi" }
scope.crm     = { tables = ["crm.crm.contact", "crm.crm.visit"], verify = { at_least = "basic" }, sla = "jp-appi" }
scope.cache   = { tables = ["cache.sessions"], verify = { at_least = "basic" }, sla = "jp-appi" }
scope.files   = { tables = ["files.avatars"], verify = { at_least = "basic" }, sla = "jp-appi" }

[sweep]
schedule = "0 0 3 1 1 *"
timezone = "Asia/Tokyo"

[[table]]
name   = "shop.public.customer"
action = "delete"
[[table]]
name   = "shop.public.booking"
action = "delete"
[[table]]
name   = "shop.public.letter"
action = "delete"
[[table]]
name   = "billing.public.account"
link   = { columns = ["member_no"], identifier = "member_no" }
action = "delete"
[[table]]
name   = "billing.public.payment"
action = "delete"
[[table]]
name   = "crm.crm.contact"
link   = { columns = ["member_no"], identifier = "member_no" }
action = "delete"
[[table]]
name   = "crm.crm.visit"
action = "delete"
[[place]]
system  = "cache"
name    = "sessions"
keys    = ["session:{member_no}", "cart:{member_no}"]
members = ["{member_no}"]
in      = "online-now"
[[place]]
system = "files"
name   = "avatars"
prefix = ["avatars/{member_no}/"]
"#;

/// Scopes whose work lies in one system alone, by its name.
pub(super) const ALONE: [&str; 5] = ["shop", "billing", "crm", "cache", "files"];
/// The scope whose work lies in all of them.
pub(super) const ALL: &str = "all";

pub(super) struct Company {
    pub(super) workspace: Workspace,
    control: (Server, String),
    pub(super) shop: (Server, String),
    pub(super) billing: (Server, String),
    pub(super) crm: MariaDb,
    pub(super) cache: Redis,
    /// Between the daemon and the cache.
    pub(super) way: Proxy,
    files: tempfile::TempDir,
    /// Where the cache has its socket.
    _socket: tempfile::TempDir,
}

/// How a person is known everywhere.
pub(super) fn member(n: u32) -> String {
    format!("TM-{n:07}")
}

impl Company {
    /// With as many people; each has something in every system but the folder.
    pub(super) fn open(people: u32) -> Self {
        let server = |name: &str, schema: &str| {
            let server = Server::start_with(ServerOptions {
                durable: true,
                settings: vec![("shared_buffers".into(), "128MB".into())],
                ..ServerOptions::default()
            });
            let database = server.fresh_database(name);
            server.execute(&database, schema);
            (server, database)
        };
        let control = server("control", "");
        let shop = server("shop", &format!("{SHOP}{FORGOTTEN}"));
        let billing = server("billing", &format!("{BILLING}{FORGOTTEN}"));
        let crm = MariaDb::start_with(&[
            "--innodb-flush-log-at-trx-commit=1",
            "--innodb-buffer-pool-size=128M",
            "--innodb-log-file-size=96M",
        ]);
        let folder = tempfile::tempdir().expect("a folder");
        let socket = folder.path().join("redis.sock");
        let cache = Redis::start_with(&["--unixsocket", &socket.display().to_string()], None);
        let way = Proxy::before_socket(socket);
        let files = tempfile::tempdir().expect("a folder");
        std::fs::write(files.path().join(".keep"), "").expect("a file");

        let mut workspace = Workspace::new(
            &control.0.url(&control.1),
            &[
                ("shop", shop.0.url(&shop.1)),
                ("billing", billing.0.url(&billing.1)),
            ],
        );
        workspace.configure(&format!(
            "[limits]\nworkers = {WORKERS}\n\n\
             [system.crm]\nkind = \"mariadb\"\nurl = \"{}\"\n\n\
             [system.cache]\nkind = \"redis\"\nurl = \"redis://127.0.0.1:{}/0\"\nconcurrency = {CONCURRENCY}\n\n\
             [system.files]\nkind = \"object-store\"\nfolder = {:?}\nconcurrency = {CONCURRENCY}\n",
            crm.url("erasured"),
            way.port(),
            files.path(),
        ));
        workspace.write_policy("customer.toml", POLICY);
        let company = Self {
            workspace,
            control,
            shop,
            billing,
            crm,
            cache,
            way,
            files,
            _socket: folder,
        };
        company.fill(people);
        company.migrate();
        company
    }

    fn migrate(&self) {
        self.crm.execute(CRM);
        let root = format!("mariadb://root@127.0.0.1:{}/", self.crm.port());
        for arguments in [
            &["migrate", "--only", "control"][..],
            &["migrate", "--only", "shop"],
            &["migrate", "--only", "billing"],
            &["migrate", "--only", "crm", "--url", &root],
        ] {
            self.workspace.erasured(arguments).assert().success();
        }
        let people = self
            .shop
            .0
            .count(&self.shop.1, "SELECT count(*) FROM customer");
        self.crm.execute(&format!(
            "USE crm;
             GRANT SELECT, INSERT ON erasured.applied_step TO 'erasured'@'127.0.0.1';
             INSERT INTO crm.contact SELECT seq, CONCAT('TM-', LPAD(seq, 7, '0')), CONCAT('n', seq) FROM seq_1_to_{people};
             INSERT INTO crm.visit SELECT seq, 1 + (seq - 1) DIV {MANY}, CONCAT('came ', seq) FROM seq_1_to_{};
             ANALYZE TABLE crm.contact, crm.visit",
            people * i64::from(MANY)
        ));
        let idle = self.workspace.erasured(["run", "--until-idle"]).assert();
        idle.success();
    }

    fn fill(&self, people: u32) {
        let (shop, database) = &self.shop;
        shop.execute(
            database,
            &format!(
                "INSERT INTO customer SELECT n, 'TM-' || lpad(n::text, 7, '0'), 'Name ' || n, 'c' || n || '@x.jp' FROM generate_series(1, {people}) n;
                 INSERT INTO booking SELECT n, 1 + (n - 1) / {MANY}, 'wishes ' || n FROM generate_series(1, {MANY} * {people}) n;
                 INSERT INTO letter SELECT n, n FROM generate_series(1, {people}) n"
            ),
        );
        shop.execute(database, "VACUUM (FREEZE, ANALYZE)");
        let (billing, database) = &self.billing;
        billing.execute(
            database,
            &format!(
                "INSERT INTO account SELECT n, 'TM-' || lpad(n::text, 7, '0'), 'Name ' || n FROM generate_series(1, {people}) n;
                 INSERT INTO payment SELECT n, 1 + (n - 1) / {MANY}, 'Name ' || n FROM generate_series(1, {MANY} * {people}) n"
            ),
        );
        billing.execute(database, "VACUUM (FREEZE, ANALYZE)");
        for some in (1..=people).collect::<Vec<_>>().chunks(2_000) {
            let mut commands = Vec::new();
            for member in some.iter().copied().map(member) {
                commands.push(format!("SET session:{member} x"));
                commands.push(format!("SET cart:{member} x"));
                commands.push(format!("SADD online-now {member}"));
            }
            let commands: Vec<&str> = commands.iter().map(String::as_str).collect();
            self.cache.run(&commands);
        }
    }

    /// Two files for each of these.
    pub(super) fn give_files(&self, people: Range<u32>) {
        for n in people {
            let folder = self.files_of(n);
            std::fs::create_dir_all(&folder).expect("a folder");
            for file in ["face.jpg", "thumb.jpg"] {
                std::fs::write(folder.join(file), file).expect("a file");
            }
        }
    }

    pub(super) fn files_of(&self, n: u32) -> PathBuf {
        self.files.path().join("avatars").join(member(n))
    }

    /// The script by hand, connected as it would be.
    pub(super) async fn script(&self) -> Script {
        let crm =
            mysql_async::Opts::from_url(&format!("mysql://root@127.0.0.1:{}/crm", self.crm.port()));
        let crm = mysql_async::Conn::new(crm.expect("a URL")).await;
        let cache = redis::Client::open(self.cache.url()).expect("a URL");
        let cache = cache.get_multiplexed_async_connection().await;
        Script::new(
            (
                self.shop.0.connect(&self.shop.1).await,
                self.billing.0.connect(&self.billing.1).await,
            ),
            crm.expect("a session"),
            cache.expect("a connection"),
            self.files.path().join("avatars"),
        )
        .await
    }

    /// Files approved tickets that cool off for days, one for each of these people.
    pub(super) fn file(&self, scope: &str, people: Range<u32>) {
        let (first, last) = (people.start, people.end - 1);
        self.control.0.execute(
            &self.control.1,
            &format!(
                "CREATE TEMPORARY TABLE filed AS
                   SELECT gen_random_uuid() AS id, n, 'TM-' || lpad(n::text, 7, '0') AS member_no FROM generate_series({first}, {last}) AS n;
                 INSERT INTO erasured.ticket (id, reference, subject, scope, ground, requested_at, state, not_before, next_attempt_at)
                   SELECT id, 'CRM-' || n, 'customer', '{scope}', 'appi-35', now(), 'approved', now() + interval '3 days', now() + interval '3 days' FROM filed;
                 INSERT INTO erasured.ticket_identifier (ticket_id, name, value) SELECT id, 'member_no', member_no FROM filed;
                 INSERT INTO erasured.decision (ticket_id, kind, method, level, by_name, by_role) SELECT id, 'verify', 'callback', 3, 'desk', 'erasured_desk' FROM filed;
                 INSERT INTO erasured.decision (ticket_id, kind, by_name, by_role) SELECT id, 'approve', 'lead', 'erasured_approver' FROM filed"
            ),
        );
    }

    /// Waits until the daemon has found out whom all filed tickets are about, and has settled.
    pub(super) fn all_are_found(&self) {
        let open =
            "SELECT count(*) FROM erasured.ticket WHERE subject_hash IS NULL OR due_at IS NULL";
        wait_until("the intake", Duration::from_secs(600), || {
            self.control.0.count(&self.control.1, open) == 0
        });
        self.control
            .0
            .execute(&self.control.1, "VACUUM ANALYZE erasured.ticket");
    }

    /// The time of these people's tickets has come, though nobody may cut a wait short but the server's owner.
    pub(super) fn release(&self, people: &Range<u32>) {
        let of: Vec<String> = people.clone().map(|n| format!("'CRM-{n}'")).collect();
        let sql = format!(
            "SET LOCAL session_replication_role = replica; UPDATE erasured.ticket SET not_before = now(), next_attempt_at = now() WHERE reference IN ({}); NOTIFY erasured_ticket",
            of.join(", ")
        );
        self.control.0.execute(&self.control.1, &sql);
    }

    /// Waits until all their steps are done; how many seconds that took from their release.
    pub(super) fn until_done(&self, people: &Range<u32>) -> f64 {
        let of = format!(
            "reference = ANY (ARRAY(SELECT 'CRM-' || n FROM generate_series({}, {}) n))",
            people.start,
            people.end - 1
        );
        let (server, control) = &self.control;
        let open = format!(
            "SELECT count(*) FILTER (WHERE state <> 'verifying'), coalesce(min(problem) FILTER (WHERE state IN ('failed', 'on_hold')), '') \
               FROM erasured.ticket WHERE {of}"
        );
        // By one session: a new one for each look would take a part of what is measured.
        blocking(async {
            let client = server.connect(control).await;
            let until = Instant::now() + Duration::from_secs(900);
            loop {
                let row = client.query_one(&open, &[]).await.expect("a count");
                assert_eq!(row.get::<_, &str>(1), "", "a ticket failed");
                if row.get::<_, i64>(0) == 0 {
                    break;
                }
                assert!(Instant::now() < until, "tickets are not worked off");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        });
        let took = format!(
            "SELECT extract(epoch FROM max(verifying_since) - min(not_before)) FROM erasured.ticket WHERE {of}"
        );
        server.value(control, &took).parse().expect("seconds")
    }

    /// The scope's work for these people is done: nothing of theirs is left where it was to go, and
    /// all is there elsewhere.
    pub(super) fn assert_gone(&self, scope: &str, people: &Range<u32>) {
        let list = |quote: fn(&str) -> String| {
            let members = people.clone().map(|n| quote(&member(n)));
            members.collect::<Vec<_>>().join(", ")
        };
        let members = list(|m| format!("'{m}'"));
        let left = |system: &str| -> u64 {
            match system {
                "shop" => self
                    .shop
                    .0
                    .count(
                        &self.shop.1,
                        &format!("SELECT count(*) FROM customer WHERE member_no IN ({members})"),
                    )
                    .unsigned_abs(),
                "billing" => self
                    .billing
                    .0
                    .count(
                        &self.billing.1,
                        &format!("SELECT count(*) FROM account WHERE member_no IN ({members})"),
                    )
                    .unsigned_abs(),
                "crm" => self
                    .crm
                    .count(&format!(
                        "SELECT COUNT(*) FROM crm.contact WHERE member_no IN ({members})"
                    ))
                    .unsigned_abs(),
                "cache" => {
                    let keys: Vec<String> = people
                        .clone()
                        .map(|n| format!("session:{}", member(n)))
                        .collect();
                    let said = self.cache.run(&[&format!("EXISTS {}", keys.join(" "))]);
                    said[0].parse().expect("a number")
                }
                _ => people
                    .clone()
                    .filter(|n| self.files_of(*n).exists())
                    .count() as u64,
            }
        };
        for system in ALONE.into_iter().filter(|s| scope == ALL || scope == *s) {
            assert_eq!(left(system), 0, "{scope}: left in {system}");
        }
        if scope != ALL && scope != "shop" {
            assert_eq!(
                left("shop"),
                u64::from(people.end - people.start),
                "{scope} took customers"
            );
        }
    }
}
