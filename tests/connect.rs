//! Connecting to a real server: certificates, passwords, limits, and what its errors may say.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use erasured::system::postgres::connect::{
    AuthProblem, Client, ConnectError, Timeouts, TlsProblem, connect, connect_listening, pool,
};
use erasured::system::postgres::failure::{Failure, classify, describe};
use erasured::system::postgres::libpq::{Settings, read_file};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
};

/// A certificate authority of its own.
struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self {
            pem,
            issuer: Issuer::new(params, key),
        }
    }

    /// A certificate and its key, in PEM.
    fn sign(&self, common_name: &str, names: &[&str], expired: bool) -> (String, String) {
        let mut params =
            CertificateParams::new(names.iter().map(ToString::to_string).collect::<Vec<_>>())
                .unwrap();
        params
            .distinguished_name
            .push(DnType::CommonName, common_name);
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        if expired {
            params.not_before = rcgen::date_time_ymd(2001, 1, 1);
            params.not_after = rcgen::date_time_ymd(2002, 1, 1);
        }
        let key = KeyPair::generate().unwrap();
        (
            params.signed_by(&key, &self.issuer).unwrap().pem(),
            key.serialize_pem(),
        )
    }
}

/// A server of this test alone, stopped by its own data directory.
struct Server {
    folder: tempfile::TempDir,
    port: u16,
}

impl Server {
    fn bin(name: &str) -> PathBuf {
        let folder = std::env::var("ERASURED_TEST_PGBIN")
            .unwrap_or_else(|_| "/usr/lib/postgresql/15/bin".into());
        Path::new(&folder).join(name)
    }

    /// PostgreSQL refuses to run as root.
    fn run(program: &Path, arguments: &[&str]) {
        use std::os::unix::fs::MetadataExt;
        let root = std::fs::metadata("/proc/self").unwrap().uid() == 0;
        let mut command = if root {
            let mut command = Command::new("setpriv");
            command
                .args(["--reuid=postgres", "--regid=postgres", "--clear-groups"])
                .arg(program);
            command
        } else {
            Command::new(program)
        };
        // Not piped: the server would hold the pipe open for as long as it runs.
        let status = command
            .args(arguments)
            .current_dir("/")
            .stdout(std::process::Stdio::null())
            .status()
            .unwrap();
        assert!(status.success(), "{} {arguments:?}", program.display());
    }

    fn start(authority: &Authority) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let server = Self { folder, port };
        server.own();
        Self::run(
            &Self::bin("initdb"),
            &[
                "-D",
                &server.path("data"),
                "-U",
                "postgres",
                "-A",
                "trust",
                "-E",
                "UTF8",
                "--no-locale",
                "-N",
            ],
        );
        server.certify(authority.sign("localhost", &["localhost", "db.test"], false));
        server.write("data/ca.crt", &authority.pem);
        server.write("data/pg_hba.conf", "local all all trust\nhostssl all certuser all scram-sha-256 clientcert=verify-full\nhost all all all scram-sha-256\n");
        let settings = format!(
            "port={port}\nlisten_addresses='127.0.0.1'\nunix_socket_directories='{}'\nfsync=off\nssl=on\nssl_ca_file='ca.crt'\nmax_connections=20\n",
            server.folder.path().display(),
        );
        server.write("data/postgresql.auto.conf", &settings);
        server.own();
        Self::run(
            &Self::bin("pg_ctl"),
            &[
                "-D",
                &server.path("data"),
                "-l",
                &server.path("log"),
                "-w",
                "-t",
                "60",
                "start",
            ],
        );
        server
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        use std::os::unix::fs::PermissionsExt;
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    fn certify(&self, (certificate, key): (String, String)) {
        self.write("data/server.crt", &certificate);
        self.write("data/server.key", &key);
    }

    fn own(&self) {
        // Where we are not root the folder is ours already, and this may fail.
        let _ = Command::new("chown")
            .arg("-R")
            .arg("postgres")
            .arg(self.folder.path())
            .stderr(std::process::Stdio::null())
            .status();
    }

    /// Settings over TCP, without anything of the machine's own.
    fn settings(&self, more: &str) -> Settings {
        let text = format!(
            "hostaddr=127.0.0.1 port={} dbname=postgres {more}",
            self.port
        );
        Settings::resolve(&text, &|_| None, &read_file).unwrap()
    }

    async fn admin(&self) -> Client {
        let text = format!(
            "host={} port={} user=postgres dbname=postgres",
            self.folder.path().display(),
            self.port
        );
        connect(
            &Settings::resolve(&text, &|_| None, &read_file).unwrap(),
            "test",
            Timeouts::default(),
        )
        .await
        .unwrap()
    }

    async fn try_connect(&self, more: &str) -> Result<Client, ConnectError> {
        connect(&self.settings(more), "test", Timeouts::default()).await
    }

    /// Changes the server's certificate or settings, and waits until a new session sees it.
    async fn reload(&self, ssl: &str) {
        self.own();
        let admin = self.admin().await;
        admin
            .batch_execute(&format!("ALTER SYSTEM SET ssl = {ssl}"))
            .await
            .unwrap();
        admin
            .batch_execute("SELECT pg_reload_conf()")
            .await
            .unwrap();
        tokio::time::sleep(Duration::from_millis(1500)).await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if Path::new(&self.path("data/postmaster.pid")).exists() {
            Self::run(
                &Self::bin("pg_ctl"),
                &["-D", &self.path("data"), "-m", "immediate", "-w", "stop"],
            );
        }
    }
}

fn tls_problem(result: Result<Client, ConnectError>) -> TlsProblem {
    match result {
        Err(ConnectError::Tls { problem, at }) => {
            assert!(at.contains("/postgres"), "{at}");
            problem
        }
        other => panic!("{other:?}"),
    }
}

fn auth_problem(result: Result<Client, ConnectError>) -> AuthProblem {
    match result {
        Err(error @ ConnectError::Auth { .. }) => {
            let shown = format!("{error} {error:?}");
            assert!(!shown.contains("sesame"), "{shown}");
            assert!(!error.is_transient());
            let ConnectError::Auth { problem, .. } = error else {
                unreachable!()
            };
            problem
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_with_a_real_server() {
    let (ours, foreign) = (Authority::new("ours"), Authority::new("foreign"));
    let server = Server::start(&ours);
    server
        .admin()
        .await
        .batch_execute(
            "CREATE ROLE app LOGIN PASSWORD 'sesame'; \
             CREATE ROLE late LOGIN PASSWORD 'sesame' VALID UNTIL '2001-01-01'; \
             CREATE ROLE certuser LOGIN PASSWORD 'sesame'; \
             CREATE ROLE single LOGIN PASSWORD 'sesame' CONNECTION LIMIT 1; \
             CREATE ROLE nologin PASSWORD 'sesame'; \
             CREATE TABLE person (id int PRIMARY KEY, name text UNIQUE CHECK (name <> 'forbidden'))",
        )
        .await
        .unwrap();
    let ca = server.write("ours.pem", &ours.pem);
    let foreign_ca = server.write("foreign.pem", &foreign.pem);
    certificates(&server, &ca, &foreign_ca).await;
    client_certificates(&server, &ca, &ours, &foreign).await;
    logins(&server, &ca).await;
    pools_and_notifications(&server, &ca).await;
    errors_without_values(&server).await;

    server.certify(ours.sign("localhost", &["localhost"], true));
    server.reload("on").await;
    let full = format!(
        "host=localhost user=app password=sesame sslmode=verify-full sslrootcert={}",
        ca.display()
    );
    assert_eq!(
        tls_problem(server.try_connect(&full).await),
        TlsProblem::Expired
    );
    server.reload("off").await;
    assert_eq!(
        tls_problem(server.try_connect(&full).await),
        TlsProblem::NotOffered
    );
    server
        .try_connect("user=app password=sesame sslmode=prefer")
        .await
        .unwrap();
}

async fn certificates(server: &Server, ca: &Path, foreign_ca: &Path) {
    let with = |host: &str, mode: &str, ca: &Path| {
        format!(
            "host={host} user=app password=sesame sslmode={mode} sslrootcert={}",
            ca.display()
        )
    };
    let client = server
        .try_connect(&with("localhost", "verify-full", ca))
        .await
        .unwrap();
    let row = client
        .query_one("SELECT ssl, current_setting('application_name') FROM pg_stat_ssl WHERE pid = pg_backend_pid()", &[])
        .await
        .unwrap();
    assert!(row.get::<_, bool>(0));
    assert_eq!(row.get::<_, String>(1), "erasured/test");
    server
        .try_connect(&with("db.test", "verify-full", ca))
        .await
        .unwrap();

    assert_eq!(
        tls_problem(
            server
                .try_connect(&with("localhost", "verify-full", foreign_ca))
                .await
        ),
        TlsProblem::UnknownCa
    );
    assert_eq!(
        tls_problem(
            server
                .try_connect(&with("other.test", "verify-full", ca))
                .await
        ),
        TlsProblem::WrongHostName
    );
    // A host that is not this machine, and nothing said: the public authorities, and the name.
    let unsaid = server.settings("host=127.0.0.1 user=app password=sesame sslrootcert=system");
    assert_eq!(
        tls_problem(connect(&unsaid, "test", Timeouts::default()).await),
        TlsProblem::UnknownCa
    );

    server
        .try_connect(&with("other.test", "verify-ca", ca))
        .await
        .unwrap();
    assert_eq!(
        tls_problem(
            server
                .try_connect(&with("localhost", "verify-ca", foreign_ca))
                .await
        ),
        TlsProblem::UnknownCa
    );
    // As with libpq, a CA file makes `require` check the chain.
    server
        .try_connect(&with("other.test", "require", ca))
        .await
        .unwrap();
    assert_eq!(
        tls_problem(
            server
                .try_connect(&with("localhost", "require", foreign_ca))
                .await
        ),
        TlsProblem::UnknownCa
    );
    server
        .try_connect("host=other.test user=app password=sesame sslmode=require")
        .await
        .unwrap();

    let missing = server
        .try_connect(&with(
            "localhost",
            "verify-full",
            Path::new("/nonexistent.pem"),
        ))
        .await
        .unwrap_err();
    assert!(
        missing.to_string().contains("/nonexistent.pem"),
        "{missing}"
    );
}

async fn client_certificates(server: &Server, ca: &Path, ours: &Authority, foreign: &Authority) {
    let base = format!(
        "host=localhost user=certuser password=sesame sslmode=verify-full sslrootcert={}",
        ca.display()
    );
    let identity = |name: &str, (certificate, key): (String, String)| {
        let certificate = server.write(&format!("{name}.crt"), &certificate);
        let key = server.write(&format!("{name}.key"), &key);
        format!(
            "{base} sslcert={} sslkey={}",
            certificate.display(),
            key.display()
        )
    };
    server
        .try_connect(&identity("good", ours.sign("certuser", &[], false)))
        .await
        .unwrap();
    let refused = |problem| match problem {
        AuthProblem::Refused(message) => message,
        other => panic!("{other:?}"),
    };
    let message = refused(auth_problem(server.try_connect(&base).await));
    assert!(message.contains("client certificate"), "{message}");
    // The right authority, but somebody else's certificate: the server calls that a wrong password.
    let other = identity("else", ours.sign("somebody", &[], false));
    assert_eq!(
        auth_problem(server.try_connect(&other).await),
        AuthProblem::Password
    );
    let alert = tls_problem(
        server
            .try_connect(&identity("foreign", foreign.sign("certuser", &[], false)))
            .await,
    );
    assert!(
        matches!(alert, TlsProblem::ClientCertificate(_)),
        "{alert:?}"
    );

    use std::os::unix::fs::PermissionsExt;
    let open = identity("open", ours.sign("certuser", &[], false));
    std::fs::set_permissions(
        server.path("open.key"),
        std::fs::Permissions::from_mode(0o644),
    )
    .unwrap();
    let error = server.try_connect(&open).await.unwrap_err();
    assert!(error.to_string().contains("0600"), "{error}");
}

async fn logins(server: &Server, ca: &Path) {
    let tls = format!(
        "host=localhost sslmode=verify-full sslrootcert={}",
        ca.display()
    );
    assert_eq!(
        auth_problem(
            server
                .try_connect(&format!("{tls} user=app password=sesame2"))
                .await
        ),
        AuthProblem::Password
    );
    assert_eq!(
        auth_problem(
            server
                .try_connect(&format!("{tls} user=late password=sesame"))
                .await
        ),
        AuthProblem::Password
    );
    assert_eq!(
        auth_problem(server.try_connect(&format!("{tls} user=app")).await),
        AuthProblem::NoPassword
    );
    assert!(matches!(
        auth_problem(
            server
                .try_connect(&format!("{tls} user=nologin password=sesame"))
                .await
        ),
        AuthProblem::Refused(_)
    ));

    let single = format!("{tls} user=single password=sesame");
    let first = server.try_connect(&single).await.unwrap();
    let full = server.try_connect(&single).await.unwrap_err();
    assert!(
        matches!(full, ConnectError::TooManyConnections { .. }) && full.is_transient(),
        "{full:?}"
    );
    drop(first);

    let pgpass = server.write(
        "pgpass",
        &format!("localhost:{}:*:app:sesame\n", server.port),
    );
    server
        .try_connect(&format!("{tls} user=app passfile={}", pgpass.display()))
        .await
        .unwrap();

    // Port 1 answers nobody; the second host does.
    let text = format!(
        "host=127.0.0.1,localhost hostaddr=127.0.0.1,127.0.0.1 port=1,{} user=app password=sesame dbname=postgres sslmode=require",
        server.port
    );
    let two = Settings::resolve(&text, &|_| None, &read_file).unwrap();
    connect(&two, "test", Timeouts::default()).await.unwrap();
    let nobody = Settings::resolve("host=127.0.0.1 port=1 user=u", &|_| None, &read_file).unwrap();
    let error = connect(&nobody, "test", Timeouts::default())
        .await
        .unwrap_err();
    assert!(
        matches!(error, ConnectError::Unreachable { port: 1, .. }) && error.is_transient(),
        "{error:?}"
    );
    let none = server
        .try_connect(&format!("{tls} user=app password=sesame dbname=nowhere"))
        .await
        .unwrap_err();
    assert!(
        none.to_string().contains("nowhere") && none.to_string().contains("3D000"),
        "{none}"
    );

    // A server that takes the connection and says nothing.
    let mute = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let text = format!(
        "host=127.0.0.1 port={} user=u",
        mute.local_addr().unwrap().port()
    );
    let mute_settings = Settings::resolve(&text, &|_| None, &read_file).unwrap();
    let error = connect(
        &mute_settings,
        "test",
        Timeouts {
            connect: Duration::from_millis(200),
            ..Timeouts::default()
        },
    )
    .await
    .unwrap_err();
    assert!(
        matches!(error, ConnectError::Unreachable { .. }),
        "{error:?}"
    );
}

async fn pools_and_notifications(server: &Server, ca: &Path) {
    let tls = format!(
        "host=localhost user=app sslmode=verify-full sslrootcert={}",
        ca.display()
    );
    let good = pool(
        &server.settings(&format!("{tls} password=sesame")),
        "pool",
        2,
        Timeouts::default(),
    )
    .unwrap();
    let (one, two) = (good.get().await.unwrap(), good.get().await.unwrap());
    assert_eq!(
        one.query_one("SELECT 1", &[])
            .await
            .unwrap()
            .get::<_, i32>(0),
        1
    );
    drop((one, two));
    assert_eq!(good.status().size, 2);
    let bad = pool(
        &server.settings(&format!("{tls} password=sesame2")),
        "pool",
        2,
        Timeouts::default(),
    )
    .unwrap();
    let error = bad.get().await.unwrap_err();
    assert!(
        matches!(
            error,
            ConnectError::Auth {
                problem: AuthProblem::Password,
                ..
            }
        ),
        "{error:?}"
    );

    let settings = server.settings(&format!("{tls} password=sesame"));
    let (client, mut notifications) = connect_listening(&settings, "listen", Timeouts::default())
        .await
        .unwrap();
    client.batch_execute("LISTEN ticket").await.unwrap();
    server
        .admin()
        .await
        .batch_execute("NOTIFY ticket, '7'")
        .await
        .unwrap();
    let heard = tokio::time::timeout(Duration::from_secs(20), notifications.recv())
        .await
        .unwrap()
        .unwrap();
    assert_eq!((heard.channel(), heard.payload()), ("ticket", "7"));
    drop(client);
    assert!(
        tokio::time::timeout(Duration::from_secs(20), notifications.recv())
            .await
            .unwrap()
            .is_none()
    );
}

async fn errors_without_values(server: &Server) {
    let client = server.admin().await;
    client
        .batch_execute(
            "INSERT INTO person VALUES (1, 'Tanaka'); \
             CREATE FUNCTION loud() RETURNS void LANGUAGE plpgsql AS $$BEGIN \
               RAISE EXCEPTION 'no Tanaka' USING ERRCODE = '42501', TABLE = 'Tanaka', DETAIL = 'Tanaka'; END$$; \
             CREATE FUNCTION dynamic() RETURNS void LANGUAGE plpgsql AS $$BEGIN EXECUTE 'SELECT \"Tanaka\"'; END$$",
        )
        .await
        .unwrap();
    for (sql, expected) in [
        (
            "INSERT INTO person VALUES (2, 'Tanaka')",
            "constraint person_name_key",
        ),
        ("INSERT INTO person VALUES ('Tanaka', 'x')", "22P02"),
        (
            "SELECT loud()",
            "SQLSTATE 42501: a right is missing, in PL/pgSQL function loud() line",
        ),
        ("SELECT dynamic()", "in PL/pgSQL function dynamic() line"),
        ("SELECT Tanaka Tanaka Tanaka", "42601"),
        ("SELECT 1/(length('Tanaka') - 6)", "22012"),
        ("DO $$BEGIN RAISE 'Tanaka'; END$$", "P0001"),
        (
            "SELECT * FROM nowhere",
            "relation \"nowhere\" does not exist",
        ),
    ] {
        let error = client.batch_execute(sql).await.unwrap_err();
        let text = describe(&error);
        assert!(
            text.contains(expected) && !text.contains("Tanaka"),
            "{sql}: {text}"
        );
        assert_eq!(classify(&error), Failure::Permanent, "{sql}");
    }
    let error = client
        .execute("INSERT INTO person VALUES ($1, 'x')", &[&"Tanaka"])
        .await
        .unwrap_err();
    assert!(!describe(&error).contains("Tanaka"));
    assert_eq!(classify(&error), Failure::Permanent);

    let other = server.admin().await;
    client
        .batch_execute("BEGIN; SELECT 1 FROM person FOR UPDATE")
        .await
        .unwrap();
    let locked = other
        .batch_execute("SET lock_timeout = '50ms'; DELETE FROM person")
        .await
        .unwrap_err();
    assert_eq!(
        classify(&locked),
        Failure::Transient("lock_timeout"),
        "{}",
        describe(&locked)
    );
    let slow = other
        .batch_execute("SET statement_timeout = '50ms'; SELECT pg_sleep(9)")
        .await
        .unwrap_err();
    assert_eq!(classify(&slow), Failure::Transient("statement_timeout"));

    let pid: i32 = client
        .query_one("SELECT pg_backend_pid()", &[])
        .await
        .unwrap()
        .get(0);
    server
        .admin()
        .await
        .execute("SELECT pg_terminate_backend($1)", &[&pid])
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let gone = client.batch_execute("SELECT 1").await.unwrap_err();
    assert!(
        matches!(
            classify(&gone),
            Failure::Transient("connection" | "shutting_down")
        ),
        "{}",
        describe(&gone)
    );
}
