//! A PostgreSQL server in a temporary folder, reachable by its own socket, gone with the test.
//!
//! Each server has a watchdog: a shell that waits on a pipe from this process. When the pipe
//! closes, because the `Server` was dropped, the test process ended, panicked or was killed, the
//! shell stops the server by its data directory and removes the folder. Nothing is left to `Drop`
//! alone, so a `Server` may live in a `static`.

use std::ffi::OsStr;
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Removes folder `$1` with its server when standard input closes. A server or an initdb that was
/// just starting finds its folder gone; hence the loop, until the folder stays away.
const WATCHDOG: &str = r#"
cd /
while read -r _; do :; done
for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
    [ -f "$1/data/postmaster.pid" ] && "$2/pg_ctl" -D "$1/data" -m immediate -t 10 stop
    rm -rf "$1"
    sleep 0.1
    [ -e "$1" ] || exit 0
done
"#;

/// How a server is to be started.
#[derive(Clone, Debug, Default)]
pub struct ServerOptions {
    /// fsync, full_page_writes and synchronous_commit on, as in production; off is faster.
    pub durable: bool,
    /// Listens on a free port of 127.0.0.1 as well.
    pub tcp: bool,
    /// Further settings, each passed with `-c`.
    pub settings: Vec<(String, String)>,
    /// Replaces pg_hba.conf; by default everybody is trusted.
    pub hba: Option<String>,
    /// Where the programs are, if not where `ERASURED_TEST_PGBIN` says: for a server of another version.
    pub bin: Option<PathBuf>,
    /// Superuser's password (`postgres`), for tests of authentication.
    pub password: Option<String>,
}

/// A running (or, after `stop_*`, stopped) server.
#[derive(Debug)]
pub struct Server {
    folder: PathBuf,
    bin: PathBuf,
    options: ServerOptions,
    port: u16,
    names: AtomicU32,
    watchdog: Child,
}

impl Server {
    /// A fast server for tests: no fsync, socket only.
    pub fn start() -> Server {
        Server::start_with(ServerOptions::default())
    }

    /// A server that keeps its promises to the disk, for benchmarks and crashes.
    pub fn durable() -> Server {
        Server::start_with(ServerOptions {
            durable: true,
            ..ServerOptions::default()
        })
    }

    /// One fast server for the whole test process; use a database of your own on it.
    pub fn shared() -> &'static Server {
        static SHARED: OnceLock<Server> = OnceLock::new();
        SHARED.get_or_init(Server::start)
    }

    /// A server to order.
    pub fn start_with(options: ServerOptions) -> Server {
        let server = Server::in_a_folder(options);
        server.initialise();
        server.start_again();
        server
    }

    /// A streaming standby of this server. Copied by hand: the binaries of newer versions come
    /// without pg_basebackup.
    pub fn standby(&self) -> Server {
        let mut standby = Server::in_a_folder(ServerOptions {
            bin: self.options.bin.clone(),
            tcp: self.options.tcp,
            ..ServerOptions::default()
        });
        let label = blocking(async {
            let client = self.connect("postgres").await;
            let begin = "SELECT pg_backup_start('standby', true)";
            client.batch_execute(begin).await.expect("a backup begins");
            // Files may go while they are copied; recovery puts that right.
            as_postgres("cp")
                .args(["-a", "--"])
                .arg(self.data_dir())
                .arg(standby.data_dir())
                .stderr(Stdio::null())
                .status()
                .expect("cp");
            let end = "SELECT labelfile FROM pg_backup_stop(false)";
            let row = client.query_one(end, &[]).await.expect("a backup ends");
            row.get::<_, String>(0)
        });
        std::fs::remove_file(standby.data_dir().join("postmaster.pid")).expect("a copied pid");
        for (name, text) in [("backup_label", label.as_str()), ("standby.signal", "")] {
            let file = standby.data_dir().join(name);
            std::fs::write(&file, text).expect("a file of the standby");
            if let Some((uid, gid)) = postgres_user() {
                std::os::unix::fs::chown(&file, Some(uid), Some(gid)).expect("chown to postgres");
            }
        }
        let primary = format!(
            "host={} port={} user=postgres",
            self.folder.display(),
            self.port
        );
        standby.options.settings = vec![("primary_conninfo".into(), primary)];
        standby.start_again();
        standby
    }

    /// The folder and its watchdog; no server in it yet.
    fn in_a_folder(options: ServerOptions) -> Server {
        let bin = options.bin.clone().unwrap_or_else(|| {
            std::env::var_os("ERASURED_TEST_PGBIN")
                .unwrap_or_else(|| "/usr/lib/postgresql/15/bin".into())
                .into()
        });
        assert!(
            bin.join("initdb").exists(),
            "no PostgreSQL in {}: run scripts/install.sh, or set ERASURED_TEST_PGBIN",
            bin.display()
        );
        let folder = tempfile::Builder::new()
            .prefix("erasured-pg-")
            .tempdir_in(place(options.durable))
            .expect("a folder for a server")
            .keep();
        if let Some((uid, gid)) = postgres_user() {
            std::os::unix::fs::chown(&folder, Some(uid), Some(gid)).expect("chown to postgres");
        }
        let watchdog = as_postgres("/bin/sh")
            .arg("-c")
            .arg(WATCHDOG)
            .args(["erasured-test-watchdog".as_ref(), folder.as_os_str()])
            .arg(&bin)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // A Ctrl-C for the test must not reach the one that cleans up after it.
            .process_group(0)
            .spawn()
            .expect("the watchdog");
        let port = if options.tcp { free_port() } else { 5432 };
        Server {
            folder,
            bin,
            options,
            port,
            names: AtomicU32::new(0),
            watchdog,
        }
    }

    fn initialise(&self) {
        let mut initdb = as_postgres(self.bin.join("initdb"));
        initdb
            .arg("-D")
            .arg(self.data_dir())
            .args(["-U", "postgres", "-A", "trust", "-E", "UTF8"])
            .args(["--locale=C.UTF-8", "--no-sync"]);
        if let Some(password) = &self.options.password {
            let file = self.folder.join("password");
            std::fs::write(&file, password).expect("password file");
            initdb.arg("--pwfile").arg(&file);
        }
        run(&mut initdb);
        if let Some(hba) = &self.options.hba {
            std::fs::write(self.data_dir().join("pg_hba.conf"), hba).expect("pg_hba.conf");
        }
    }

    /// Starts the stopped server again, under the same addresses.
    pub fn start_again(&self) {
        let flag = if self.options.durable { "on" } else { "off" };
        let mut settings = vec![
            ("unix_socket_directories", self.folder.display().to_string()),
            ("port", self.port.to_string()),
            ("fsync", flag.into()),
            ("full_page_writes", flag.into()),
            ("synchronous_commit", flag.into()),
            ("max_connections", "300".into()),
            ("shared_buffers", "128MB".into()),
            ("timezone", "UTC".into()),
            ("logging_collector", "off".into()),
        ];
        let address = if self.options.tcp { "127.0.0.1" } else { "" };
        settings.push(("listen_addresses", address.into()));
        let asked = self.options.settings.iter();
        settings.extend(asked.map(|(name, value)| (name.as_str(), value.clone())));
        // pg_ctl hands this to a shell; values are ours, but may hold spaces.
        let options: String = settings
            .iter()
            .map(|(name, value)| format!(" -c \"{name}={value}\""))
            .collect();
        run(as_postgres(self.bin.join("pg_ctl"))
            .arg("-D")
            .arg(self.data_dir())
            .arg("-l")
            .arg(self.log())
            .args(["-w", "-t", "60", "-o", &options, "start"]));
    }

    fn stop(&self, mode: &str) {
        run(as_postgres(self.bin.join("pg_ctl"))
            .arg("-D")
            .arg(self.data_dir())
            .args(["-m", mode, "-w", "stop"]));
    }

    /// `pg_ctl stop -m immediate`: as if the server had crashed.
    pub fn stop_immediate(&self) {
        self.stop("immediate");
    }

    /// Makes a standby the primary.
    pub fn promote(&self) {
        run(as_postgres(self.bin.join("pg_ctl"))
            .arg("-D")
            .arg(self.data_dir())
            .args(["-w", "-t", "60", "promote"]));
    }

    /// Stops and starts, clients thrown out, everything committed kept.
    pub fn restart(&self) {
        self.stop("fast");
        self.start_again();
    }

    /// Where the data is.
    pub fn data_dir(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// The server's log file.
    pub fn log(&self) -> PathBuf {
        self.folder.join("log")
    }

    /// The folder of the socket.
    pub fn socket_dir(&self) -> &Path {
        &self.folder
    }

    /// Port of the socket, and of 127.0.0.1 if started with `tcp`.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where `pg_ctl` and the others are.
    pub fn bin(&self) -> &Path {
        &self.bin
    }

    /// Major version, such as 15.
    pub fn major(&self) -> u32 {
        let number = self.value("postgres", "SHOW server_version_num");
        number.parse::<u32>().expect("a version number") / 10_000
    }

    /// A libpq URL for superuser `postgres`, by the socket.
    pub fn url(&self, database: &str) -> String {
        self.url_as(database, "postgres")
    }

    /// A libpq URL for a role, by the socket. Neither name may need escaping.
    pub fn url_as(&self, database: &str, role: &str) -> String {
        format!(
            "postgresql:///{database}?host={}&port={}&user={role}",
            self.folder.display(),
            self.port
        )
    }

    /// Creates a database in an encoding such as `UTF8` or `EUC_JP`.
    pub fn create_database(&self, name: &str, encoding: &str) {
        let locale = if encoding == "UTF8" { "C.UTF-8" } else { "C" };
        self.execute(
            "postgres",
            &format!(
                "CREATE DATABASE {} TEMPLATE template0 ENCODING '{encoding}' LOCALE '{locale}'",
                quoted(name)
            ),
        );
    }

    /// A new empty UTF8 database, its name made from `stem` and never used before.
    pub fn fresh_database(&self, stem: &str) -> String {
        let name = self.fresh_name(stem);
        self.create_database(&name, "UTF8");
        name
    }

    pub(super) fn fresh_name(&self, stem: &str) -> String {
        format!("{stem}_{}", self.names.fetch_add(1, Ordering::Relaxed))
    }

    /// A connection for async tests; its task ends with the client.
    pub async fn connect(&self, database: &str) -> tokio_postgres::Client {
        connect(&self.url(database)).await
    }

    /// Runs statements; blocks, from a plain or an async test. Panics with the server's message.
    pub fn execute(&self, database: &str, sql: &str) {
        self.try_execute(database, sql)
            .unwrap_or_else(|error| panic!("{}", told(&error)));
    }

    /// Runs statements that may fail.
    pub fn try_execute(&self, database: &str, sql: &str) -> Result<(), tokio_postgres::Error> {
        let url = self.url(database);
        blocking(async { connect(&url).await.batch_execute(sql).await })
    }

    /// All rows of a query as text, NULL as `None`.
    pub fn query(&self, database: &str, sql: &str) -> Vec<Vec<Option<String>>> {
        let url = self.url(database);
        let messages = blocking(async { connect(&url).await.simple_query(sql).await })
            .unwrap_or_else(|error| panic!("{}", told(&error)));
        messages
            .iter()
            .filter_map(|message| match message {
                tokio_postgres::SimpleQueryMessage::Row(row) => Some(
                    (0..row.len())
                        .map(|column| row.get(column).map(str::to_owned))
                        .collect(),
                ),
                _ => None,
            })
            .collect()
    }

    /// The one value of a query's one row; NULL is the empty string.
    pub fn value(&self, database: &str, sql: &str) -> String {
        let rows = self.query(database, sql);
        assert_eq!((rows.len(), rows[0].len()), (1, 1), "one value: {sql}");
        rows[0][0].clone().unwrap_or_default()
    }

    /// The one number of a query's one row.
    pub fn count(&self, database: &str, sql: &str) -> i64 {
        let value = self.value(database, sql);
        value.parse().expect("a number")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.watchdog.stdin.take());
        self.watchdog.wait().ok();
    }
}

/// Waits until `done` says so; panics with `what` after the time. The longer it takes the less often it is asked:
/// mostly that is a new session of a server which others want to work with.
#[track_caller]
pub fn wait_until(what: &str, time: Duration, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        let waited = begun.elapsed();
        assert!(waited < time, "waited {time:?} for: {what}");
        thread::sleep((waited / 10).clamp(Duration::from_millis(20), Duration::from_millis(150)));
    }
}

/// A port of 127.0.0.1 that nobody listens on.
pub fn free_port() -> u16 {
    let socket = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    socket.local_addr().expect("its address").port()
}

/// Where a server has its folder. Not under $TMPDIR: the path of a socket may have no more than 107 bytes. What need
/// not outlive the machine stays in memory, if that is large: databases come and go all the time.
fn place(durable: bool) -> &'static str {
    const LARGE: u64 = 8 << 30;
    let free = rustix::fs::statvfs("/dev/shm").map_or(0, |fs| fs.f_bavail * fs.f_frsize);
    match !durable && free >= LARGE {
        true => "/dev/shm",
        false => "/tmp",
    }
}

/// An SQL identifier.
pub fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The whole of an error of tokio-postgres, which says little by itself.
pub fn told(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(db) => format!("{db:?}"),
        None => format!("{error:?}"),
    }
}

/// A connection by URL; its task ends with the client.
pub async fn connect(url: &str) -> tokio_postgres::Client {
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls)
        .await
        .unwrap_or_else(|error| panic!("{}", told(&error)));
    tokio::spawn(connection);
    client
}

/// Runs a future to its end on a thread of its own, so that async tests may call it too.
pub fn blocking<T: Send>(work: impl Future<Output = T> + Send) -> T {
    thread::scope(|scope| {
        let worker = scope.spawn(|| {
            tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime")
                .block_on(work)
        });
        worker
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Root may not run PostgreSQL: then its programs run as the system user postgres.
pub fn as_postgres(program: impl AsRef<OsStr>) -> Command {
    let mut command = match postgres_user() {
        Some(_) => {
            let mut command = Command::new("setpriv");
            command
                .args(["--reuid=postgres", "--regid=postgres", "--clear-groups"])
                .arg(program);
            command
        }
        None => Command::new(program),
    };
    // The working directory need not be one that postgres may enter.
    command.current_dir("/");
    command
}

/// Ids of user postgres if this process is root.
fn postgres_user() -> Option<(u32, u32)> {
    use std::os::unix::fs::MetadataExt;
    let me = std::fs::metadata("/proc/self").expect("/proc").uid();
    let passwd = std::fs::read_to_string("/etc/passwd").expect("/etc/passwd");
    let line = passwd.lines().find(|line| line.starts_with("postgres:"));
    let mut fields = line.unwrap_or_default().split(':').skip(2);
    let mut id = || fields.next()?.parse().ok();
    (me == 0).then(|| {
        (id().zip(id())).expect("a system user postgres, when running as root (scripts/install.sh)")
    })
}

fn run(command: &mut Command) {
    // Not `output()`: the server would inherit the pipe, and reading it would not end.
    let mut errors = tempfile::tempfile().expect("a temporary file");
    let status = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(errors.try_clone().expect("a second handle"))
        .status()
        .expect("the program starts");
    if !status.success() {
        use std::io::{Read, Seek};
        let mut text = String::new();
        errors.rewind().expect("a file");
        errors.read_to_string(&mut text).ok();
        panic!("{command:?}: {status}\n{text}");
    }
}
