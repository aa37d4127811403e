//! What a daemon is let in by changes while it runs: passwords are changed, a server's certificate expires.

use crate::company::{QUICK, Running, name_of, people, prepare};
use crate::support::{Server, ServerOptions, Workspace, load_demo, repository, wait_until};
use crate::{LONG, company, unready};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

fn keep_to_oneself(file: &Path, text: &str) {
    std::fs::write(file, text).unwrap();
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o600)).unwrap();
}

/// A server that asks everybody but `postgres` for a password, with the demo company, two people filed.
struct Locked {
    server: Server,
    demo: crate::support::Demo,
    control: String,
    workspace: Workspace,
}

impl Locked {
    fn open() -> Locked {
        let hba = "local all postgres trust\nlocal all all scram-sha-256\nhostssl all all 127.0.0.1/32 scram-sha-256\n";
        let server = Server::start_with(ServerOptions {
            hba: Some(hba.into()),
            tcp: true,
            ..ServerOptions::default()
        });
        let demo = load_demo(&server, 20);
        let workspace = Workspace::of_demo(&server, &demo);
        prepare(&server, &workspace);
        let control = name_of(workspace.control_url());
        server.execute(
            "postgres",
            "CREATE ROLE eraser SUPERUSER LOGIN PASSWORD 'first'",
        );
        Locked {
            server,
            demo,
            control,
            workspace,
        }
    }

    /// Files for a daemon that logs in with a password from a file.
    fn host(&self, url: &dyn Fn(&str) -> String, more: &str) -> Workspace {
        let systems = [
            ("shop", url(&self.demo.shop)),
            ("loyalty", url(&self.demo.loyalty)),
        ];
        let workspace = Workspace::new(&url(&self.control), &systems);
        workspace.copy_policies(&repository().join("policies/travel"));
        let file = workspace.path().join("keys/password");
        keep_to_oneself(&file, "first\n");
        let config = std::fs::read_to_string(workspace.config()).unwrap();
        let config: String = config
            .lines()
            .map(|line| match line.starts_with("url = ") {
                true => format!("{line}\npassword_file = \"keys/password\"\n{more}\n"),
                false => format!("{line}\n"),
            })
            .collect();
        std::fs::write(workspace.config(), config + QUICK).unwrap();
        workspace
    }

    fn file(&self, people: &[i64]) {
        company::file(&self.server, &self.control, people, "CRM");
    }

    fn left(&self) -> String {
        self.server.value(&self.control, crate::LEFT)
    }

    /// Ends every session of the daemon's.
    fn throw_out(&self) {
        let sql = "SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity WHERE usename = 'eraser'";
        self.server.value("postgres", sql);
    }
}

/// The role's password is changed first, and its file some time later.
#[test]
fn passwords_are_changed_while_it_runs() {
    let locked = Locked::open();
    let host = locked.host(&|database| locked.server.url_as(database, "eraser"), "");
    let daemon = Running::start(&host, &["run"], "");
    let people = people(2);
    locked.file(&people[..1]);
    wait_until("the first", LONG, || locked.left() == "0");
    locked
        .server
        .execute("postgres", "ALTER ROLE eraser PASSWORD 'second'");
    locked.throw_out();
    locked.file(&people[1..]);
    wait_until("it to say why it waits", LONG, || {
        unready(&host).contains("does not let user `eraser` in")
    });
    assert_eq!(locked.left(), "1");
    keep_to_oneself(&host.path().join("keys/password"), "second\n");
    wait_until("the second", LONG, || locked.left() == "0");
    wait_until("it to be ready", LONG, || unready(&host).is_empty());
    daemon.signal("TERM");
    let log = daemon.ends_well();
    assert!(
        !log.contains("\"first\"") && !log.contains("second"),
        "no password in the log: {log}"
    );
}

/// The server's certificate is past its end when the daemon connects again; then it is renewed.
#[test]
fn the_certificate_of_the_server_expires() {
    let locked = Locked::open();
    let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let ca = params.self_signed(&key).unwrap().pem();
    let issuer = Issuer::new(params, key);
    let data = locked.server.data_dir();
    let certify = |expired: bool| {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        if expired {
            params.not_before = rcgen::date_time_ymd(2001, 1, 1);
            params.not_after = rcgen::date_time_ymd(2002, 1, 1);
        }
        let key = KeyPair::generate().unwrap();
        let owner = std::fs::metadata(&data).unwrap();
        for (name, text) in [
            ("server.crt", params.signed_by(&key, &issuer).unwrap().pem()),
            ("server.key", key.serialize_pem()),
        ] {
            use std::os::unix::fs::MetadataExt;
            let file = data.join(name);
            keep_to_oneself(&file, &text);
            std::os::unix::fs::chown(&file, Some(owner.uid()), Some(owner.gid())).ok();
        }
        locked
            .server
            .execute("postgres", "ALTER SYSTEM SET ssl = on");
        locked.server.execute("postgres", "SELECT pg_reload_conf()");
        // Whoever connects now sees it.
        std::thread::sleep(std::time::Duration::from_millis(300));
    };
    certify(false);
    let url = |database: &str| {
        let port = locked.server.port();
        format!(
            "postgresql://eraser@localhost:{port}/{database}?hostaddr=127.0.0.1&sslmode=verify-full"
        )
    };
    let host = locked.host(&url, "tls = { ca_file = \"keys/ca.pem\" }");
    std::fs::write(host.path().join("keys/ca.pem"), ca).unwrap();
    let daemon = Running::start(&host, &["run"], "");
    let people = people(2);
    locked.file(&people[..1]);
    wait_until("the first", LONG, || locked.left() == "0");
    certify(true);
    locked.throw_out();
    locked.file(&people[1..]);
    wait_until("it to say why it waits", LONG, || {
        unready(&host).contains("its certificate has expired")
    });
    assert_eq!(locked.left(), "1");
    certify(false);
    wait_until("the second", LONG, || locked.left() == "0");
    wait_until("it to be ready", LONG, || unready(&host).is_empty());
    daemon.signal("TERM");
    daemon.ends_well();
}
