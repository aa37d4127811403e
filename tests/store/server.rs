//! One private PostgreSQL for this test program, a database for each test.

use deadpool_postgres::{Manager, Pool};
use erasured::store::{Store, migrate, migrate_target};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use tokio_postgres::{Client, Config, NoTls};

struct Server {
    folder: String,
    // When this process ends, however it ends, the pipe closes and the shell cleans up.
    _reaper: Child,
}

static SERVER: OnceLock<Server> = OnceLock::new();
static DATABASES: AtomicU32 = AtomicU32::new(0);

/// initdb and postgres refuse to run as root.
fn as_postgres() -> Command {
    let id = Command::new("id")
        .arg("-u")
        .output()
        .expect("id runs")
        .stdout;
    if id == b"0\n" {
        let mut command = Command::new("setpriv");
        command.args([
            "--reuid=postgres",
            "--regid=postgres",
            "--clear-groups",
            "sh",
        ]);
        command
    } else {
        Command::new("sh")
    }
}

fn server() -> &'static Server {
    SERVER.get_or_init(|| {
        let bin = std::env::var("ERASURED_TEST_PGBIN").unwrap_or("/usr/lib/postgresql/15/bin".into());
        let script = format!(
            r#"set -e; umask 077; cd /tmp; d=$(mktemp -d /tmp/erasured-store.XXXXXX)
            '{bin}/initdb' -D "$d/data" -U owner --auth=trust -N -E UTF8 --locale=C >/dev/null
            '{bin}/pg_ctl' -D "$d/data" -l "$d/log" -w -o "-k $d -c listen_addresses='' -c fsync=off -c max_connections=200" start >/dev/null
            echo "$d""#
        );
        let out = as_postgres().args(["-c", &script]).output().expect("sh runs");
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        let folder = String::from_utf8(out.stdout).unwrap().trim().to_owned();
        let clean = format!(
            "read -r _ || true; '{bin}/pg_ctl' -D '{folder}/data' -m immediate stop >/dev/null; rm -rf '{folder}'"
        );
        let reaper = as_postgres()
            .args(["-c", &clean])
            .current_dir("/tmp")
            .stdin(Stdio::piped())
            .spawn()
            .expect("sh runs");
                Server { folder, _reaper: reaper }
    })
}

/// A database with both schemas and all rights in place.
pub(crate) struct Database {
    pub(crate) name: String,
}

impl Database {
    pub(crate) async fn new() -> Self {
        let name = format!("t{}", DATABASES.fetch_add(1, Ordering::Relaxed));
        let admin = connect("postgres", "owner").await;
        // Roles are the server's: one test at a time creates them.
        admin
            .batch_execute("SELECT pg_advisory_lock(1)")
            .await
            .unwrap();
        admin
            .batch_execute(&format!("CREATE DATABASE {name}"))
            .await
            .unwrap();
        let mut client = connect(&name, "owner").await;
        migrate(&mut client).await.unwrap();
        migrate_target(&mut client).await.unwrap();
        client
            .batch_execute(include_str!("../../sql/roles/control.sql"))
            .await
            .unwrap();
        Self { name }
    }

    /// A connection of its own.
    pub(crate) async fn client(&self, user: &str) -> Client {
        connect(&self.name, user).await
    }

    /// A store whose logins are this user.
    pub(crate) fn store(&self, user: &str) -> Store {
        let manager = Manager::new(config(&self.name, user), NoTls);
        Store::new(Pool::builder(manager).max_size(8).build().unwrap())
    }

    /// A new login with these rights, its name unlike any other test's.
    pub(crate) async fn login(&self, person: &str, roles: &str) -> String {
        let name = format!("{person}_{}", self.name);
        let sql = format!("CREATE ROLE {name} LOGIN IN ROLE {roles}");
        self.client("owner")
            .await
            .batch_execute(&sql)
            .await
            .unwrap();
        name
    }
}

fn config(database: &str, user: &str) -> Config {
    let mut config = Config::new();
    config
        .host_path(&server().folder)
        .dbname(database)
        .user(user);
    config
}

async fn connect(database: &str, user: &str) -> Client {
    let (client, connection) = config(database, user).connect(NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}
