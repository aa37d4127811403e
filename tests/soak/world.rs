//! Two PostgreSQL servers with four databases, one of MariaDB's, a cache and a folder of files; people who come, and
//! some who ask to be forgotten.

use crate::support::{
    Before, HASH_KEY, History, MariaDb, Proxy, Redis, Server, ServerOptions, Workspace, wait_until,
};
use crate::watched::Watched;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

const SHOP: &str = "
CREATE TABLE customer (id int PRIMARY KEY, member_no text UNIQUE NOT NULL);
CREATE TABLE call (id int PRIMARY KEY, customer int NOT NULL REFERENCES customer, ended_at timestamptz);
CREATE INDEX ON call (customer);
CREATE INDEX ON call (ended_at);
CREATE TABLE note (id int PRIMARY KEY, call int NOT NULL REFERENCES call, body text);
CREATE INDEX ON note (call);";

const BILLING: &str = "
CREATE TABLE account (id int PRIMARY KEY, member_no text NOT NULL);
CREATE INDEX ON account (member_no);
CREATE TABLE entry (id int PRIMARY KEY, account int NOT NULL REFERENCES account);
CREATE INDEX ON entry (account);";

/// Goes with the shop, or not at all.
const POINTS: &str = "
CREATE TABLE wallet (id int PRIMARY KEY, member_no text NOT NULL);
CREATE INDEX ON wallet (member_no);
CREATE TABLE move (id int PRIMARY KEY, wallet int NOT NULL REFERENCES wallet);
CREATE INDEX ON move (wallet);";

/// Nobody reaches it but through the proxy, as `erasured`, or as `root`.
const CRM: &str = "
CREATE DATABASE crm CHARACTER SET utf8mb4;
CREATE TABLE crm.contact (id INT PRIMARY KEY, member_no VARCHAR(40) COLLATE utf8mb4_general_ci NOT NULL, KEY (member_no));
CREATE TABLE crm.letter (id INT PRIMARY KEY, contact INT NOT NULL, body TEXT, FOREIGN KEY (contact) REFERENCES crm.contact (id));
CREATE USER 'erasured'@'localhost';
GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, TRIGGER, SHOW DATABASES ON *.* TO 'erasured'@'localhost'";

const POLICY: &str = r#"
subject = "customer"
root    = "shop.public.customer"
atomic  = ["shop", "points"]
identifier.member_no = { column = "member_no", find = true, residual = true, excludes = ":/" }
scope.account = { tables = "all", verify = { at_least = "basic" }, sla = "jp-appi" }

[sweep]
when = "at once"

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
name   = "billing.public.account"
link   = { columns = ["member_no"], identifier = "member_no" }
action = "delete"

[[table]]
name   = "billing.public.entry"
action = "delete"

[[table]]
name   = "points.public.wallet"
link   = { columns = ["member_no"], identifier = "member_no" }
action = "delete"

[[table]]
name   = "points.public.move"
action = "delete"

[[table]]
name   = "crm.crm.contact"
link   = { columns = ["member_no"], identifier = "member_no" }
action = "delete"

[[table]]
name   = "crm.crm.letter"
action = "delete"

[[place]]
system = "cache"
name   = "sessions"
keys   = ["session:{member_no}"]

[[place]]
system = "files"
name   = "avatars"
prefix = ["avatars/{member_no}/"]

[[retention]]
name     = "calls"
table    = "shop.public.call"
since    = "ended_at"
keep     = "90 days"
action   = "delete"
because  = "our privacy policy, section 4.2"
schedule = "*/10 * * * * *"
timezone = "Asia/Tokyo"
"#;

/// Short, so that much goes wrong in little time.
const LIMITS: &str = "[limits]\nlease = \"5 seconds\"\npoll = \"300ms\"\nbatch = 5\nlock_timeout = \"1 second\"\nidle_timeout = \"10 seconds\"\nattempts = 100\n\n[log]\nformat = \"json\"\n";

/// People who come each second; of three, two ask to be forgotten.
const EVERY: Duration = Duration::from_millis(700);

pub struct World {
    pub control: Server,
    pub systems: Server,
    pub to_control: Proxy,
    pub to_systems: Proxy,
    pub mariadb: MariaDb,
    pub to_mariadb: Proxy,
    redis: Redis,
    files: tempfile::TempDir,
    /// Of the control database, and of the systems.
    names: [String; 4],
    /// Everybody up to this number has come.
    people: u32,
    /// Who has asked and whose ticket may not have been filed yet.
    asking: Vec<u32>,
    came: Instant,
}

/// The first two of each three.
fn asks(n: u32) -> bool {
    !n.is_multiple_of(3)
}

fn member(n: u32) -> String {
    format!("M{n:07}")
}

impl World {
    pub fn open() -> World {
        let server = || {
            Server::start_with(ServerOptions {
                durable: true,
                settings: vec![
                    ("max_connections".into(), "100".into()),
                    ("max_prepared_transactions".into(), "50".into()),
                ],
                ..ServerOptions::default()
            })
        };
        let (control, systems) = (server(), server());
        let names = [
            control.fresh_database("control"),
            systems.fresh_database("shop"),
            systems.fresh_database("billing"),
            systems.fresh_database("points"),
        ];
        systems.execute(&names[1], SHOP);
        systems.execute(&names[2], BILLING);
        systems.execute(&names[3], POINTS);
        // What it has committed it keeps, however it dies.
        let mariadb =
            MariaDb::start_with(&["--innodb-flush-log-at-trx-commit=1", "--max-connections=60"]);
        mariadb.execute(CRM);
        let files = tempfile::tempdir().unwrap();
        std::fs::create_dir(files.path().join("avatars")).unwrap();
        std::fs::write(files.path().join("keep"), "").unwrap();
        let (to_control, to_systems) = (Proxy::before(&control), Proxy::before(&systems));
        let to_mariadb = Proxy::before_socket(mariadb.socket());
        let world = World {
            control,
            systems,
            to_control,
            to_systems,
            mariadb,
            to_mariadb,
            names,
            files,
            redis: Redis::start(),
            people: 0,
            asking: Vec::new(),
            came: Instant::now(),
        };
        let host = world.host();
        for arguments in [&["migrate"][..], &["run", "--until-idle"]] {
            let output = host.erasured(arguments).output().unwrap();
            assert!(output.status.success(), "{output:?}");
        }
        world
    }

    /// The ways to control, systems and MariaDB.
    pub fn proxies(&self) -> [&Proxy; 3] {
        [&self.to_control, &self.to_systems, &self.to_mariadb]
    }

    /// Files for a daemon.
    pub fn host(&self) -> Workspace {
        let url = |at: usize| match at {
            0 => self.to_control.url(&self.names[0]),
            at => self.to_systems.url(&self.names[at]),
        };
        let systems = [("shop", url(1)), ("billing", url(2)), ("points", url(3))];
        let mut host = Workspace::new(&url(0), &systems);
        host.write_policy("customer.toml", POLICY);
        host.configure(&format!(
            "[system.crm]\nkind = \"mariadb\"\nurl = \"mariadb://erasured@127.0.0.1:{}/\"\n\n[system.cache]\nkind = \"redis\"\nurl = \"{}\"\ntimeout = \"5 s\"\n\n[system.files]\nkind = \"object-store\"\nfolder = \"{}\"\n\n{LIMITS}",
            self.to_mariadb.port(),
            self.redis.url(),
            self.files.path().display()
        ));
        host
    }

    /// Somebody comes now and then, and asks.
    pub fn lives(&mut self) {
        if self.came.elapsed() >= EVERY {
            self.came = Instant::now();
            for _ in 0..3 {
                if self.comes(self.people + 1) {
                    self.people += 1;
                    if asks(self.people) {
                        self.asking.push(self.people);
                    }
                }
            }
        }
        self.files_tickets();
    }

    /// With two calls, one of them old, notes, an account, a wallet, a letter, a session and a file.
    fn comes(&self, n: u32) -> bool {
        let m = member(n);
        let shop = format!(
            "INSERT INTO customer VALUES ({n}, '{m}') ON CONFLICT DO NOTHING;
             INSERT INTO call VALUES ({n}0, {n}, now() - interval '1 day'), ({n}1, {n}, now() - interval '200 days') ON CONFLICT DO NOTHING;
             INSERT INTO note VALUES ({n}0, {n}0, 'x'), ({n}1, {n}1, 'x') ON CONFLICT DO NOTHING;"
        );
        let billing = format!(
            "INSERT INTO account VALUES ({n}, '{m}') ON CONFLICT DO NOTHING; INSERT INTO entry VALUES ({n}, {n}) ON CONFLICT DO NOTHING;"
        );
        let points = format!(
            "INSERT INTO wallet VALUES ({n}, '{m}') ON CONFLICT DO NOTHING; INSERT INTO move VALUES ({n}, {n}) ON CONFLICT DO NOTHING;"
        );
        let crm = format!(
            "INSERT IGNORE INTO crm.contact VALUES ({n}, '{m}'); INSERT IGNORE INTO crm.letter VALUES ({n}, {n}, 'x')"
        );
        self.redis.run(&[&format!("SET session:{m} x")]);
        let folder = self.files.path().join("avatars").join(&m);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("small.png"), "x").unwrap();
        // The shop last: who is there is whole. A server may just be away.
        ask(&self.systems.url(&self.names[2]), &billing).is_some()
            && ask(&self.systems.url(&self.names[3]), &points).is_some()
            && self.mariadb.tries(&crm)
            && ask(&self.systems.url(&self.names[1]), &shop).is_some()
    }

    fn files_tickets(&mut self) {
        let url = self.control.url(&self.names[0]);
        self.asking.retain(|n| {
            let filed = format!("SELECT 1 FROM erasured.ticket WHERE reference = 'CRM-{n}'");
            let sql = format!(
                "DO $$ DECLARE t uuid; BEGIN
                   t := erasured.submit_ticket('CRM-{n}', 'customer', jsonb_build_object('member_no', '{}'), 'account', 'policy');
                   PERFORM set_config('erasured.actor', 'desk', true); PERFORM erasured.verify_ticket(t, 'login_reauth');
                   PERFORM set_config('erasured.actor', 'lead', true); PERFORM erasured.approve_ticket(t); END $$",
                member(*n)
            );
            ask(&url, &sql).is_none() && ask(&url, &filed).is_none_or(|rows| rows.is_empty())
        });
    }

    pub fn all_are_filed(&mut self) {
        wait_until("everybody's ticket", Duration::from_secs(60), || {
            self.files_tickets();
            self.asking.is_empty()
        });
    }

    fn one(&self, sql: &str) -> Option<String> {
        ask(&self.control.url(&self.names[0]), sql)?
            .into_iter()
            .next()
    }

    /// What is to be done still: tickets, runs, certificates, events, decisions, old calls.
    pub fn left(&self) -> Option<i64> {
        let open = "SELECT (SELECT count(*) FROM erasured.ticket WHERE state NOT IN ('completed', 'deferred'))
            + (SELECT count(*) FROM erasured.event) + (SELECT count(*) FROM erasured.lease)
            + (SELECT count(*) FROM erasured.joint WHERE ended_at IS NULL)
            + (SELECT count(*) FROM erasured.retention_run r WHERE state = 'running'
                 OR NOT EXISTS (SELECT FROM erasured.run_certificate c WHERE c.run_id = r.id))";
        let old = "SELECT count(*) FROM call WHERE ended_at < now() - interval '95 days'";
        let old: i64 = ask(&self.systems.url(&self.names[1]), old)?
            .first()?
            .parse()
            .ok()?;
        Some(old + self.one(open)?.parse::<i64>().ok()?)
    }

    /// Which tickets, and why.
    pub fn what_is_open(&self) -> String {
        let sql = "SELECT coalesce(string_agg(concat_ws(' ', reference, state, problem_code, problem, next_attempt_at), E'\\n'), '')
            FROM erasured.ticket WHERE state NOT IN ('completed', 'deferred')";
        let runs = "SELECT coalesce(string_agg(concat_ws(' ', id, state, problem_code, lease_until), E'\\n'), '') FROM erasured.retention_run WHERE state = 'running'";
        format!("{:?} {:?}", self.one(sql), self.one(runs))
    }

    pub fn closed(&self) -> i64 {
        let sql = "SELECT count(*) FROM erasured.ticket WHERE state = 'completed'";
        self.one(sql).and_then(|n| n.parse().ok()).unwrap_or(0)
    }

    pub fn told(&self) -> String {
        let sql = "SELECT format('%s tickets, %s closed, %s failed, %s runs, %s entries', count(*), count(*) FILTER (WHERE state = 'completed'),
            count(*) FILTER (WHERE state = 'failed'), (SELECT count(*) FROM erasured.retention_run), (SELECT max(seq) FROM erasured.ledger)) FROM erasured.ticket";
        format!(
            "{} people, {}",
            self.people,
            self.one(sql).unwrap_or_default()
        )
    }

    /// What is not as it must be, while the daemons still run.
    pub fn wrong(&self, daemons: &mut [Watched; 2]) -> Vec<String> {
        let systems = [
            ("shop", self.systems.url(&self.names[1])),
            ("billing", self.systems.url(&self.names[2])),
            ("points", self.systems.url(&self.names[3])),
            (
                "crm",
                format!("mariadb://root@127.0.0.1:{}/", self.mariadb.port()),
            ),
        ];
        let history = History::read(&self.control.url(&self.names[0]), &systems);
        let mut wrong = history.wrong(&daemons[0].host.verifying_key());
        wrong.extend(history.unsettled());
        let all = |keys: &dyn Fn(u32) -> Vec<String>| {
            (1..=self.people)
                .flat_map(keys)
                .collect::<BTreeSet<String>>()
        };
        let two = |n: u32| vec![format!("{n}0"), format!("{n}1")];
        let one = |n: u32| vec![n.to_string()];
        let before = Before::that(
            &systems,
            &[("customer", "shop.public.customer")],
            [
                ("shop.public.customer", all(&one)),
                ("shop.public.call", all(&two)),
                ("shop.public.note", all(&two)),
                ("billing.public.account", all(&one)),
                ("billing.public.entry", all(&one)),
                ("points.public.wallet", all(&one)),
                ("points.public.move", all(&one)),
                ("crm.crm.contact", all(&one)),
                ("crm.crm.letter", all(&one)),
            ],
        );
        wrong.extend(history.gone(&before, &HASH_KEY));
        wrong.extend(self.what_stays());
        let certified = history
            .control
            .certificates
            .iter()
            .filter(|c| c.ticket_id.is_some())
            .count();
        wrong.extend(crate::watched::disagree(daemons, &history, certified));
        wrong
    }

    /// Who has asked is nowhere any more; of the others all is there.
    fn what_stays(&self) -> Vec<String> {
        let stay: BTreeSet<String> = (1..=self.people)
            .filter(|n| !asks(*n))
            .map(member)
            .collect();
        let folders: BTreeSet<String> = std::fs::read_dir(self.files.path().join("avatars"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            // Somebody who could not come: the server was away.
            .filter(|name| *name <= member(self.people))
            .collect();
        let session =
            |m: &String| self.redis.run(&[&format!("EXISTS session:{m}")])[0].ends_with('1');
        let sessions: BTreeSet<String> = (1..=self.people).map(member).filter(session).collect();
        let rows = |database: usize, sql: &str| -> BTreeSet<String> {
            let rows = ask(&self.systems.url(&self.names[database]), sql);
            rows.unwrap().into_iter().collect()
        };
        let one_call = "SELECT member_no FROM customer WHERE (SELECT count(*) FROM call WHERE customer = customer.id) = 1";
        let contacts =
            "SELECT member_no FROM crm.contact JOIN crm.letter ON letter.contact = contact.id";
        let contacts = self.mariadb.query(contacts).into_iter().flatten().flatten();
        let mut wrong = Vec::new();
        for (what, there) in [
            ("files", folders),
            ("sessions", sessions),
            ("customers with one call", rows(1, one_call)),
            ("accounts", rows(2, "SELECT member_no FROM account")),
            ("wallets", rows(3, "SELECT member_no FROM wallet")),
            // Somebody who could not come is here.
            (
                "contacts",
                contacts
                    .filter(|name| *name <= member(self.people))
                    .collect(),
            ),
        ] {
            if there != stay {
                let odd: Vec<_> = there.symmetric_difference(&stay).collect();
                wrong.push(format!("{what}: not as they must be for {odd:?}"));
            }
        }
        wrong
    }

    /// What the daemons that have ended have left on the servers.
    pub fn leaked(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        for (name, server) in [("control", &self.control), ("systems", &self.systems)] {
            for (what, sql) in [
                (
                    "sessions",
                    "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'erasured/%'",
                ),
                (
                    "prepared transactions",
                    "SELECT count(*) FROM pg_prepared_xacts",
                ),
                (
                    "advisory locks",
                    "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'",
                ),
            ] {
                let gone = Instant::now();
                while server.count("postgres", sql) != 0 && gone.elapsed() < Duration::from_secs(15)
                {
                    std::thread::sleep(Duration::from_millis(200));
                }
                let left = server.count("postgres", sql);
                if left != 0 {
                    wrong.push(format!("{left} {what} left on the server of {name}"));
                }
            }
        }
        let sessions =
            "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE USER = 'erasured'";
        let gone = Instant::now();
        while self.mariadb.count(sessions) != 0 && gone.elapsed() < Duration::from_secs(15) {
            std::thread::sleep(Duration::from_millis(200));
        }
        let left = self.mariadb.count(sessions);
        if left != 0 {
            wrong.push(format!("{left} sessions left on MariaDB"));
        }
        let leaving = "SELECT count(*) FROM erasured.leaving_partition";
        if self.systems.count(&self.names[1], leaving) != 0 {
            wrong.push("a partition that is leaving".to_owned());
        }
        wrong
    }
}

/// The first column of all rows; `None` while nobody answers, and for what is refused.
fn ask(url: &str, sql: &str) -> Option<Vec<String>> {
    crate::support::blocking(async {
        let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls)
            .await
            .ok()?;
        tokio::spawn(connection);
        let messages = client.simple_query(sql).await.ok()?;
        let rows = messages.iter().filter_map(|message| match message {
            tokio_postgres::SimpleQueryMessage::Row(row) => {
                Some(row.get(0).unwrap_or_default().to_owned())
            }
            _ => None,
        });
        Some(rows.collect())
    })
}
