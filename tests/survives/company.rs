//! The demo company with tickets filed and counted, copied for each test, and the real binary
//! at work on it.

use super::support::{Demo, History, Server, Workspace, load_demo, quoted, repository};
use super::truth::Truth;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Short leases and looks, small batches: many steps in little time.
pub const QUICK: &str = "[limits]\nlease = \"5 seconds\"\npoll = \"150ms\"\nbatch = 5\nlock_timeout = \"1 second\"\n\n[log]\nformat = \"json\"\n";

/// Databases with the tickets of `people` filed, approved, and not begun; to be copied.
pub struct Company<'a> {
    server: &'a Server,
    demo: Demo,
    control: String,
    /// Customer numbers.
    pub people: Vec<i64>,
    truth: Truth,
    copies: AtomicU32,
    copying: Mutex<()>,
}

/// Odd numbers, so that no two are a couple; without those whom the demo leaves traces of.
pub fn people(count: usize) -> Vec<i64> {
    (1..)
        .step_by(2)
        .filter(|n| n % 100 != 7 && n % 100 != 13)
        .take(count)
        .collect()
}

impl<'a> Company<'a> {
    /// The demo company with so many customers, and a ticket for each of `people`.
    pub fn new(server: &'a Server, customers: u32, people: Vec<i64>) -> Company<'a> {
        let demo = load_demo(server, customers);
        let mut workspace = Workspace::of_demo(server, &demo);
        workspace.configure(QUICK);
        prepare(server, &workspace);
        let control = name_of(workspace.control_url());
        file(server, &control, &people, "CRM");
        let truth = Truth::of(server, &demo.shop, &demo.loyalty, &people);
        Company {
            server,
            demo,
            control,
            people,
            truth,
            copies: AtomicU32::new(0),
            copying: Mutex::new(()),
        }
    }

    /// A copy of its own for one test.
    pub fn copy(&self) -> Case<'_> {
        let _one = self.copying.lock().unwrap_or_else(PoisonError::into_inner);
        let n = self.copies.fetch_add(1, Ordering::Relaxed);
        let copied = |from: &str| {
            let name = format!("{from}_copy_{n}");
            let busy = format!("SELECT count(*) FROM pg_stat_activity WHERE datname = '{from}'");
            super::support::wait_until("nobody in the template", Duration::from_secs(20), || {
                self.server.count("postgres", &busy) == 0
            });
            let sql = format!(
                "CREATE DATABASE {} TEMPLATE {}",
                quoted(&name),
                quoted(from)
            );
            self.server.execute("postgres", &sql);
            name
        };
        let case = Case {
            company: self,
            shop: copied(&self.demo.shop),
            loyalty: copied(&self.demo.loyalty),
            control: copied(&self.control),
            workspace: None,
        };
        let workspace = case.another_host(QUICK);
        Case {
            workspace: Some(workspace),
            ..case
        }
    }
}

/// Schemas, roles and published scopes.
pub fn prepare(server: &Server, workspace: &Workspace) {
    static ROLES: Mutex<()> = Mutex::new(());
    assert!(
        workspace
            .erasured(["migrate"])
            .output()
            .unwrap()
            .status
            .success()
    );
    let roles = std::fs::read_to_string(repository().join("sql/roles/control.sql")).unwrap();
    {
        let _one = ROLES.lock().unwrap_or_else(PoisonError::into_inner);
        server.execute(&name_of(workspace.control_url()), &roles);
    }
    let published = workspace
        .erasured(["run", "--until-idle"])
        .output()
        .unwrap();
    assert!(published.status.success(), "{published:?}");
}

/// The last part of a URL's path.
pub fn name_of(url: &str) -> String {
    let rest = url.trim_start_matches("postgresql:///");
    rest.split('?').next().unwrap().to_owned()
}

/// Files, verifies and approves a ticket for each, by SQL.
pub fn file(server: &Server, control: &str, people: &[i64], stem: &str) {
    let mut sql = String::from("DO $$ DECLARE t uuid; BEGIN\n");
    for n in people {
        sql.push_str(&format!(
            "t := erasured.submit_ticket('{stem}-{n}', 'customer', jsonb_build_object('member_no', 'TM-{n:07}'), 'account', 'policy');
             PERFORM set_config('erasured.actor', 'desk', true); PERFORM erasured.verify_ticket(t, 'login_reauth');
             PERFORM set_config('erasured.actor', 'lead', true); PERFORM erasured.approve_ticket(t);\n"
        ));
    }
    sql.push_str("END $$");
    server.execute(control, &sql);
}

/// One copy.
pub struct Case<'a> {
    company: &'a Company<'a>,
    /// The database.
    pub shop: String,
    /// The database.
    pub loyalty: String,
    /// The database.
    pub control: String,
    workspace: Option<Workspace>,
}

impl Case<'_> {
    /// Where the daemon's files are.
    pub fn workspace(&self) -> &Workspace {
        self.workspace.as_ref().expect("made with the copy")
    }

    /// The same with the daemon's files there.
    pub fn on(self, workspace: Workspace) -> Self {
        Case {
            workspace: Some(workspace),
            ..self
        }
    }

    /// The server.
    pub fn server(&self) -> &Server {
        self.company.server
    }

    /// Files for a daemon on another host, at work on the same databases.
    pub fn another_host(&self, toml: &str) -> Workspace {
        let server = self.company.server;
        let mut workspace = Workspace::new(
            &server.url(&self.control),
            &[
                ("shop", server.url(&self.shop)),
                ("loyalty", server.url(&self.loyalty)),
            ],
        );
        workspace.copy_policies(&repository().join("policies/travel"));
        workspace.configure(toml);
        workspace
    }

    /// Starts `erasured run --until-idle`.
    pub fn start(&self) -> Running {
        Running::start(self.workspace(), &["run", "--until-idle"], "")
    }

    /// The same, to die at a failpoint.
    pub fn start_to_die(&self, failpoints: &str) -> Running {
        Running::start(self.workspace(), &["run", "--until-idle"], failpoints)
    }

    /// What was to be.
    pub fn truth(&self) -> &Truth {
        &self.company.truth
    }

    /// One value from the control database.
    pub fn control(&self, sql: &str) -> String {
        self.server().value(&self.control, sql)
    }

    /// Every ticket once and whole: states, certificates, counts, neighbours, ledger.
    pub fn is_whole(&self) {
        let open = self.control(
            "SELECT coalesce(string_agg(reference || ' ' || state || ' ' || coalesce(problem_code || ' ' || problem, ''), E'\n'), '')
               FROM erasured.ticket WHERE state NOT IN ('completed', 'deferred')",
        );
        assert_eq!(open, "", "open tickets");
        self.certificates_say_the_truth();
        self.company
            .truth
            .holds(self.server(), &self.shop, &self.loyalty);
        let people = self.company.people.len().to_string();
        for database in [&self.shop, &self.loyalty] {
            let steps = self.server().value(
                database,
                "SELECT count(DISTINCT ticket_id) FROM erasured.applied_step",
            );
            assert_eq!(steps, people, "one step each in {database}");
        }
        assert_eq!(
            self.control("SELECT count(*) FROM erasured.ticket WHERE sealed IS NOT NULL"),
            "0"
        );
        assert_eq!(
            self.control("SELECT count(*) FROM erasured.ticket_identifier WHERE value IS NOT NULL"),
            "0"
        );
        let verify = self
            .workspace()
            .erasured(["ledger", "verify"])
            .output()
            .unwrap();
        assert!(verify.status.success(), "{verify:?}");
        self.history_holds();
    }

    /// What control, systems and certificates say has happened.
    pub fn history(&self) -> History {
        let (server, system) = (self.server(), |name| self.server().url(name));
        let systems = [
            ("shop", system(&self.shop)),
            ("loyalty", system(&self.loyalty)),
        ];
        History::read(&server.url(&self.control), &systems)
    }

    /// It is one that may have happened, and nothing is left to do.
    pub fn history_holds(&self) {
        let history = self.history();
        let mut wrong = history.wrong(&self.workspace().verifying_key());
        wrong.extend(history.unsettled());
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    /// Customer numbers.
    pub fn people(&self) -> &[i64] {
        &self.company.people
    }

    /// How many things in systems that are no databases each certificate says went.
    pub fn certified_of_places(&self) -> Vec<u64> {
        let ring = [erasured::start::public_key(&self.workspace().public_key()).unwrap()]
            .into_iter()
            .collect();
        let sql = "SELECT c.jws FROM erasured.certificate c WHERE c.kind = 'erasure'";
        let rows = self.server().query(&self.control, sql).into_iter();
        let things = rows.map(|row| {
            let jws = row[0].as_deref().unwrap();
            let certificate = erasured::certificate::verify(jws, &ring).unwrap();
            let found = certificate.places.iter().flat_map(|place| &place.found);
            found.map(|found| found.erased).sum()
        });
        things.collect()
    }

    /// One certificate for each ticket, with the counts that were counted beforehand.
    pub fn certificates_say_the_truth(&self) {
        let ring = [erasured::start::public_key(&self.workspace().public_key()).unwrap()]
            .into_iter()
            .collect();
        let rows = self.server().query(
            &self.control,
            "SELECT c.jws FROM erasured.certificate c WHERE c.kind = 'erasure'",
        );
        let mut seen = BTreeMap::new();
        for row in rows {
            let jws = row[0].as_deref().unwrap();
            let certificate = erasured::certificate::verify(jws, &ring).unwrap();
            let (_, n) = certificate.ticket.reference.rsplit_once('-').unwrap();
            let n: i64 = n.parse().unwrap();
            let mut counts = BTreeMap::new();
            for system in &certificate.systems {
                for table in &system.tables {
                    let kept: u64 = table.kept.iter().map(|k| k.rows).sum();
                    for (action, rows) in [
                        ("deleted", table.deleted),
                        ("anonymized", table.anonymized),
                        ("detached", table.detached),
                        ("kept", kept),
                    ] {
                        if rows > 0 {
                            counts.insert(
                                format!("{}.{} {action}", system.system, table.table),
                                rows,
                            );
                        }
                    }
                }
            }
            assert_eq!(Some(&counts), self.company.truth.counts.get(&n), "CRM-{n}");
            assert!(seen.insert(n, ()).is_none(), "one certificate for CRM-{n}");
        }
        let seen: Vec<i64> = seen.into_keys().collect();
        assert_eq!(seen, self.company.people, "a certificate for everybody");
    }
}

/// A process of the real binary; killed if it outlives the test.
pub struct Running {
    child: Child,
    log: PathBuf,
}

impl Running {
    /// Starts the program in a workspace; what it writes goes to a file.
    pub fn start(workspace: &Workspace, arguments: &[&str], failpoints: &str) -> Running {
        Self::spawn(workspace, workspace.process(arguments), failpoints)
    }

    /// Starts this command.
    pub fn spawn(workspace: &Workspace, mut command: Command, failpoints: &str) -> Running {
        static LOGS: AtomicU32 = AtomicU32::new(0);
        let log = workspace
            .path()
            .join(format!("log-{}", LOGS.fetch_add(1, Ordering::Relaxed)));
        let file = File::create(&log).unwrap();
        if !failpoints.is_empty() {
            command.env("FAILPOINTS", failpoints);
        }
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .unwrap();
        Running { child, log }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal by name.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .args([&format!("-{name}"), &self.id().to_string()])
            .status()
            .unwrap();
        assert!(status.success());
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// What it has written so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// SIGKILL, and gone.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits for its end.
    #[track_caller]
    pub fn end(mut self, time: Duration) -> (ExitStatus, String) {
        let until = Instant::now() + time;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return (status, self.log());
            }
            assert!(
                Instant::now() < until,
                "still running after {time:?}:\n{}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits for its good end.
    #[track_caller]
    pub fn ends_well(self) -> String {
        let (status, log) = self.end(Duration::from_secs(300));
        assert_eq!(status.code(), Some(0), "{log}");
        log
    }

    /// Waits for its abort at a failpoint.
    #[track_caller]
    pub fn dies(self) {
        let (status, log) = self.end(Duration::from_secs(300));
        assert_eq!(status.signal(), Some(6), "aborted: {status}\n{log}");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Status and body of a GET; `None` while nobody answers.
pub fn get(address: &str, path: &str, token: Option<&str>) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    let bearer = token.map_or(String::new(), |t| format!("Authorization: Bearer {t}\r\n"));
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: test\r\n{bearer}Connection: close\r\n\r\n"
    )
    .ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((status, body.to_owned()))
}
