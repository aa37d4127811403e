//! A MariaDB server of a test's own in a temporary folder, gone with the test.

use super::server::{blocking, free_port, wait_until};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, OptsBuilder, Row, Value};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

const SERVER: &str = "/usr/sbin/mariadbd";

/// A running server. Killed when dropped, and with the thread that started it.
#[derive(Debug)]
pub struct MariaDb {
    folder: tempfile::TempDir,
    port: u16,
    settings: Vec<String>,
    child: Child,
}

impl MariaDb {
    /// A server that keeps nothing through a crash of the machine, so that it is quick.
    pub fn start() -> MariaDb {
        MariaDb::start_with(&[])
    }

    /// With further settings, each as on the command line.
    pub fn start_with(settings: &[&str]) -> MariaDb {
        // Not under $TMPDIR: the path of a socket may have no more than 107 bytes.
        let folder = tempfile::Builder::new()
            .prefix("erasured-my-")
            .tempdir_in("/tmp")
            .expect("a folder in /tmp");
        let settings: Vec<String> = settings.iter().map(|s| (*s).to_owned()).collect();
        copy(&template(&settings), &data(folder.path()));
        let port = free_port();
        let child = spawn(folder.path(), port, &settings);
        let server = MariaDb {
            folder,
            port,
            settings,
            child,
        };
        server.is_up();
        server
    }

    /// As if it had crashed.
    pub fn stop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }

    /// Starts the stopped server again, on the same port.
    pub fn start_again(&mut self) {
        self.child = spawn(self.folder.path(), self.port, &self.settings);
        self.is_up();
    }

    fn is_up(&self) {
        wait_until("mariadbd", Duration::from_secs(60), || {
            blocking(async { Conn::new(self.options("root")).await.is_ok() })
        });
    }

    fn options(&self, user: &str) -> OptsBuilder {
        let socket = self.socket().display().to_string();
        OptsBuilder::default()
            .user(Some(user))
            .socket(Some(socket))
            .max_allowed_packet(Some(64 << 20))
    }

    /// Its socket.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("s")
    }

    /// Port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// URL for a login without a password, by TCP.
    pub fn url(&self, user: &str) -> String {
        format!("mariadb://{user}@127.0.0.1:{}/", self.port)
    }

    /// Runs statements as root, each by itself.
    pub fn execute(&self, statements: &str) {
        if let Err(problem) = self.all(statements) {
            panic!("{problem}");
        }
    }

    /// The same where the server may just be away: whether all were done.
    pub fn tries(&self, statements: &str) -> bool {
        self.all(statements).is_ok()
    }

    fn all(&self, statements: &str) -> Result<(), String> {
        blocking(async {
            let told = |error: mysql_async::Error| error.to_string();
            let mut conn = Conn::new(self.options("root")).await.map_err(told)?;
            conn.query_drop("SET NAMES utf8mb4").await.map_err(told)?;
            // None of them holds a semicolon.
            for one in statements.split(';').filter(|s| !s.trim().is_empty()) {
                let done = conn.query_drop(one).await;
                done.map_err(|error| format!("{one}: {error}"))?;
            }
            conn.disconnect().await.ok();
            Ok(())
        })
    }

    /// Whether its process is there still.
    pub fn lives(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Whoever comes now is turned away, for so long.
    pub fn take_all_connections(&self, user: &str, time: Duration) {
        blocking(async {
            let mut taken = Vec::new();
            while let Ok(conn) = Conn::new(self.options(user)).await {
                taken.push(conn);
            }
            tokio::time::sleep(time).await;
            for conn in taken {
                conn.disconnect().await.ok();
            }
        });
    }

    /// The rows of a query, as text.
    pub fn query(&self, sql: &str) -> Vec<Vec<Option<String>>> {
        let rows: Vec<Row> = blocking(async {
            let mut conn = Conn::new(self.options("root")).await.expect("a session");
            conn.query_drop("SET NAMES utf8mb4")
                .await
                .expect("a session");
            let rows = conn.query(sql).await.expect(sql);
            conn.disconnect().await.ok();
            rows
        });
        let text = |value: Value| match value {
            Value::NULL => None,
            Value::Bytes(bytes) => Some(String::from_utf8_lossy(&bytes).into_owned()),
            other => Some(other.as_sql(true).trim_matches('\'').to_owned()),
        };
        let row = |row: Row| row.unwrap().into_iter().map(text).collect();
        rows.into_iter().map(row).collect()
    }

    /// The one value of a query.
    pub fn value(&self, sql: &str) -> String {
        self.query(sql).remove(0).remove(0).unwrap_or_default()
    }

    /// The one number of a query.
    pub fn count(&self, sql: &str) -> i64 {
        self.value(sql).parse().expect(sql)
    }
}

impl Drop for MariaDb {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A server's files before its first start, made once for each spelling of names and kept for the
/// next run.
fn template(settings: &[String]) -> PathBuf {
    static MAKING: Mutex<()> = Mutex::new(());
    let _one = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
    let spelling = settings.iter().filter(|s| s.contains("lower-case"));
    let spelling: Vec<&String> = spelling.collect();
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let made = folder.join(format!("mariadb-template-{}", spelling.len()));
    if made.exists() {
        return made;
    }
    let making = folder.join(format!("mariadb-making-{}", std::process::id()));
    std::fs::remove_dir_all(&making).ok();
    let installed = Command::new("mariadb-install-db")
        .args([
            "--no-defaults",
            "--skip-test-db",
            // Whether this host's name leads anywhere is all the same.
            "--force",
            "--auth-root-authentication-method=normal",
        ])
        .args([
            "--innodb-log-file-size=4M",
            "--innodb-data-file-path=ibdata1:4M:autoextend",
        ])
        .arg(format!("--datadir={}", making.display()))
        .args(&spelling)
        .args(as_root())
        .output()
        .expect("mariadb-install-db: run scripts/install.sh test");
    let said = String::from_utf8_lossy(&installed.stderr);
    assert!(installed.status.success(), "{said}");
    // Another process may have been quicker.
    if std::fs::rename(&making, &made).is_err() {
        std::fs::remove_dir_all(&making).ok();
    }
    made
}

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").args([from, to]).status();
    assert!(copied.expect("cp").success());
}

fn data(folder: &Path) -> PathBuf {
    folder.join("data")
}

/// It runs as root only when told so.
fn as_root() -> Option<&'static str> {
    rustix::process::getuid().is_root().then_some("--user=root")
}

fn spawn(folder: &Path, port: u16, settings: &[String]) -> Child {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", SERVER, "--no-defaults"]);
    command.arg(format!("--datadir={}", data(folder).display()));
    command.arg(format!("--socket={}", folder.join("s").display()));
    command.arg(format!("--pid-file={}", folder.join("pid").display()));
    // A server that starts removes temporary tables of all servers in its folder for them, and one whose
    // table is gone while it opens it crashes.
    command.arg(format!("--tmpdir={}", folder.display()));
    command.args([
        "--bind-address=127.0.0.1",
        "--innodb-buffer-pool-size=32M",
        "--skip-name-resolve",
    ]);
    command.arg("--innodb-data-file-path=ibdata1:4M:autoextend");
    command.args([
        "--innodb-flush-log-at-trx-commit=0",
        "--innodb-log-file-size=4M",
    ]);
    command.arg(format!("--port={port}"));
    command.args(as_root()).args(settings);
    let log = std::fs::File::create(folder.join("log")).expect("a log");
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .expect("mariadbd: run scripts/install.sh test")
}
