//! One database and what it takes to run plans on it, in this process.

use crate::support::Server;
use chrono::{DateTime, TimeZone, Utc};
use deadpool_postgres::{Client, Pool};
use erasured::catalog::Catalog;
use erasured::diagnostic::Diagnostic;
use erasured::lineage::{self, Lineage};
use erasured::plan::{self, ChangeKind, Counts, Plan, SystemPlan};
use erasured::policy::{Policy, read};
use erasured::system::postgres::catalog;
use erasured::system::postgres::execute::{
    BeforeChange, Execution, NotErased, Nothing, Outcome, Subject, Timeouts,
};
use std::collections::BTreeMap;
use std::time::Duration;
use uuid::Uuid;

/// A registered system under its name, on a database of the shared server.
pub(crate) struct Target {
    pub(crate) system: String,
    pub(crate) database: String,
    pool: Pool,
    /// Rows of one piece.
    pub(crate) piece_rows: i64,
    /// Rows that legal holds cover.
    pub(crate) held: Vec<erasured::plan::HeldRows>,
}

/// A plan with what it was made for.
#[derive(Clone)]
pub(crate) struct Planned {
    pub(crate) policy: Policy,
    pub(crate) lineage: Lineage,
    pub(crate) plan: Plan,
    pub(crate) stamps: BTreeMap<String, String>,
}

impl Target {
    /// A new database called `s` for the policy, with what `erasured migrate` puts there.
    pub(crate) fn new(schema: &str) -> Self {
        let database = Server::shared().fresh_database("core");
        let target = Self::of("s", &database);
        target.execute(schema);
        target
    }

    /// An existing database.
    pub(crate) fn of(system: &str, database: &str) -> Self {
        let own = include_str!("../../sql/target/V1__applied_step.sql");
        let server = Server::shared();
        server.execute(database, &format!("CREATE SCHEMA erasured; {own}"));
        Self::as_role(system, database, "postgres")
    }

    /// The same database by another role.
    pub(crate) fn as_role(system: &str, database: &str, role: &str) -> Self {
        let mut config = deadpool_postgres::Config::new();
        config.url = Some(Server::shared().url_as(database, role));
        Self {
            system: system.to_owned(),
            database: database.to_owned(),
            pool: config
                .create_pool(
                    Some(deadpool_postgres::Runtime::Tokio1),
                    tokio_postgres::NoTls,
                )
                .unwrap(),
            piece_rows: 10,
            held: Vec::new(),
        }
    }

    /// SQL by the superuser.
    pub(crate) fn execute(&self, sql: &str) {
        Server::shared().execute(&self.database, sql);
    }

    /// One number.
    pub(crate) fn count(&self, sql: &str) -> i64 {
        Server::shared().count(&self.database, sql)
    }

    /// One value.
    pub(crate) fn value(&self, sql: &str) -> String {
        Server::shared().value(&self.database, sql)
    }

    pub(crate) async fn client(&self) -> Client {
        self.pool.get().await.unwrap()
    }

    /// The catalog and its stamp.
    pub(crate) async fn catalog(&self) -> (Catalog, String) {
        let mut client = self.client().await;
        let tx = client.transaction().await.unwrap();
        tx.batch_execute("SET LOCAL search_path = pg_catalog")
            .await
            .unwrap();
        let stamp = catalog::stamp(&tx).await.unwrap();
        (catalog::read(&tx, &self.system).await.unwrap(), stamp)
    }

    /// Plans scope `all` of a policy that touches this database alone.
    pub(crate) async fn plan(&self, policy: &str) -> Result<Planned, Vec<Diagnostic>> {
        plan_on(&[self], policy, "all").await
    }

    /// What check says, the code first, one a line.
    pub(crate) async fn refusal(&self, policy: &str) -> String {
        match self.plan(policy).await {
            Ok(_) => String::new(),
            Err(found) => told(&found),
        }
    }

    /// What check warns of, without refusing.
    pub(crate) async fn warnings(&self, policy: &str) -> String {
        let policy = read::read("policy.toml", policy).unwrap();
        let catalogs = BTreeMap::from([(self.system.clone(), self.catalog().await.0)]);
        let (_, warnings) = lineage::trace(&policy, "all", &catalogs).unwrap();
        told(&warnings)
    }

    /// Runs this system's part for these subjects.
    pub(crate) async fn run(
        &self,
        planned: &Planned,
        subjects: &[Subject],
    ) -> Result<Outcome, NotErased> {
        self.run_with(planned, planned.part(&self.system), subjects, &mut Nothing)
            .await
    }

    /// Runs a part that may have been tampered with.
    pub(crate) async fn run_with(
        &self,
        planned: &Planned,
        part: &SystemPlan,
        subjects: &[Subject],
        before: &mut dyn BeforeChange,
    ) -> Result<Outcome, NotErased> {
        let stamp = planned.stamps[&self.system].clone();
        let mut client = self.client().await;
        self.execution(part, subjects, &stamp, false)
            .run(&mut client, before)
            .await
    }

    /// Counts without changing.
    pub(crate) async fn dry_run(
        &self,
        planned: &Planned,
        subjects: &[Subject],
    ) -> Result<Vec<Counts>, NotErased> {
        let stamp = planned.stamps[&self.system].clone();
        let mut client = self.client().await;
        self.execution(planned.part(&self.system), subjects, &stamp, true)
            .dry_run(&mut client)
            .await
    }

    fn execution<'a>(
        &'a self,
        plan: &'a SystemPlan,
        subjects: &'a [Subject],
        stamp: &'a str,
        dry: bool,
    ) -> Execution<'a> {
        Execution {
            plan,
            subjects,
            now: now(),
            timeouts: Timeouts {
                lock: Duration::from_secs(2),
                statement: Duration::from_secs(30),
                idle: Duration::from_secs(30),
            },
            piece_rows: self.piece_rows,
            stamp,
            batch: Uuid::new_v4(),
            held: &self.held,
            prepare: None,
            dry,
            hash: &hash,
        }
    }

    /// Every row of every table but our own, as text, in order.
    pub(crate) fn rows(&self) -> BTreeMap<String, Vec<String>> {
        let tables = Server::shared().query(
            &self.database,
            "SELECT quote_ident(s.nspname) || '.' || quote_ident(c.relname)
             FROM pg_class c JOIN pg_namespace s ON s.oid = c.relnamespace
             WHERE c.relkind IN ('r','p') AND NOT c.relispartition AND s.nspname <> 'erasured'
               AND s.nspname <> 'information_schema' AND s.nspname NOT LIKE 'pg\\_%'",
        );
        let names: Vec<String> = tables
            .into_iter()
            .map(|row| row[0].clone().unwrap())
            .collect();
        let mut rows = BTreeMap::new();
        for name in names {
            let found = Server::shared().query(
                &self.database,
                &format!("SELECT t::text FROM {name} AS t ORDER BY 1"),
            );
            let found = found
                .into_iter()
                .map(|row| row[0].clone().unwrap_or_default());
            rows.insert(name, found.collect());
        }
        rows
    }
}

impl Planned {
    /// One system's part.
    pub(crate) fn part(&self, system: &str) -> &SystemPlan {
        self.plan
            .systems
            .iter()
            .find(|s| s.system == system)
            .unwrap()
    }
}

/// Plans over several systems.
pub(crate) async fn plan_on(
    targets: &[&Target],
    policy: &str,
    scope: &str,
) -> Result<Planned, Vec<Diagnostic>> {
    let policy = read::read("policy.toml", policy)?;
    let (mut catalogs, mut stamps) = (BTreeMap::new(), BTreeMap::new());
    for target in targets {
        let (catalog, stamp) = target.catalog().await;
        catalogs.insert(target.system.clone(), catalog);
        stamps.insert(target.system.clone(), stamp);
    }
    let (lineage, _) = lineage::trace(&policy, scope, &catalogs)?;
    let plan = plan::build(&policy, &lineage);
    Ok(Planned {
        policy,
        lineage,
        plan,
        stamps,
    })
}

/// A subject by its root key of one column.
pub(crate) fn subject(key: impl ToString) -> Subject {
    by_keys(&[key.to_string()])
}

/// A subject by its root key.
pub(crate) fn by_keys(key: &[String]) -> Subject {
    Subject {
        ticket: Uuid::new_v4(),
        generation: 0,
        keys: vec![key.to_vec()],
        identifiers: BTreeMap::new(),
    }
}

/// What `erasured check` would say, the code first, one a line.
pub(crate) fn told(found: &[Diagnostic]) -> String {
    let lines = found
        .iter()
        .map(|d| format!("{} {}; {}\n", d.code, d.message, d.help));
    lines.collect()
}

/// The instant at which all tests run.
pub(crate) fn now() -> DateTime<Utc> {
    Utc.with_ymd_and_hms(2026, 11, 24, 0, 0, 0).unwrap()
}

/// Head of a policy whose subject is a row of `s.{root}` found by `email`.
pub(crate) fn head(root: &str) -> String {
    format!(
        "subject = \"customer\"\nroot = '{root}'\n\
         [identifier.email]\ncolumn = \"email\"\ntype = \"email\"\nfind = true\nresidual = true\n\
         [scope.all]\ntables = \"all\"\nverify = {{ at_least = \"basic\" }}\nsla = \"jp-appi\"\n"
    )
}

/// Rows changed, all tickets together: table and kind to number, zeros left out.
pub(crate) fn totals(counts: &[Counts]) -> BTreeMap<(String, ChangeKind), i64> {
    let mut totals = BTreeMap::new();
    for (table, kinds) in counts.iter().flat_map(|c| &c.changed) {
        for (kind, rows) in kinds.iter().filter(|(_, rows)| **rows != 0) {
            *totals.entry((table.clone(), *kind)).or_default() += rows;
        }
    }
    totals
}

/// Stands for the keyed hash: long, and different for different texts.
pub(crate) fn hash(text: &str) -> String {
    use sha2::{Digest, Sha256};
    format!("{:x}", Sha256::digest(text.as_bytes()))
}

impl Target {
    /// Where the sweep finds an e-mail address: `schema.table.column`.
    pub(crate) async fn sweep(&self, email: &str) -> Vec<String> {
        use erasured::policy::IdentifierKind;
        use erasured::system::postgres::sweep::{Sweep, Timeouts, readable, sweep};
        use erasured::verify::{Matcher, Needle};
        let second = Duration::from_secs(20);
        let timeouts = Timeouts {
            statement: second,
            lock: second,
            idle: second,
        };
        let client = self.client().await;
        let readable = readable(&client, timeouts).await.unwrap();
        let email = erasured::identifier::normalise(&IdentifierKind::Email, email).unwrap();
        let order = Sweep {
            targets: &readable.targets,
            exempt: &|_, _| None,
            matcher: &Matcher::new(vec![Needle::new(&email, 1)]),
            pace: None,
            timeouts,
            clock: &now,
        };
        let report = sweep(&client, &order, |_| ()).await.unwrap();
        let places = report.findings.iter();
        places
            .map(|f| format!("{}.{}", f.table, f.column))
            .collect()
    }
}
