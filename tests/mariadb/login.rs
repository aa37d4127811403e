//! What lets the daemon in: a password, which is changed while it runs, and the server's certificate.

use crate::company::{CRM, Company, POLICY};
use crate::support::{MariaDb, wait_until};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Child;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(60);

fn keep_to_oneself(file: &Path, text: &str) {
    std::fs::write(file, text).unwrap();
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o600)).unwrap();
}

/// Killed with the test.
struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// The login's password is changed first, and its file some time later.
#[test]
fn the_password_is_changed_while_it_runs() {
    let company = Company::open();
    let identified = |by: &str| {
        let sql = format!("ALTER USER 'erasured'@'127.0.0.1' IDENTIFIED BY '{by}'");
        company.crm.execute(&sql);
    };
    let file = company.workspace.path().join("keys/crm");
    let url = format!("url = \"{}\"", company.crm.url("erasured"));
    company.reconfigure(&url, &format!("{url}\npassword_file = \"keys/crm\""));
    company.reconfigure("attempts = 3", "attempts = 100");
    identified("opens-1");
    keep_to_oneself(&file, "opens-1\n");
    company.says(&["check"], 0);
    let path = company.workspace.path().join("log");
    let log = std::fs::File::create(&path).unwrap();
    let mut daemon = company.workspace.process(["run"]);
    let daemon = daemon.stdout(log.try_clone().unwrap()).stderr(log);
    let _daemon = Daemon(daemon.spawn().unwrap());
    let log = || std::fs::read_to_string(&path).unwrap();
    let scopes = "SELECT count(*) FROM erasured.scope";
    wait_until("what may be asked for", LONG, || {
        company.control(scopes) != "0"
    });
    company.ask(&[3]);
    wait_until("the first", LONG, || company.states() == ["T-3 completed"]);
    identified("opens-2");
    company.ask(&[5]);
    wait_until("it to say why it waits", LONG, || {
        log().contains("Access denied")
    });
    let calls = "SELECT COUNT(*) FROM crm.call_log WHERE contact = 18446744073709551005";
    assert_eq!(company.crm.count(calls), 3);
    keep_to_oneself(&file, "opens-2\n");
    wait_until("the second", LONG, || {
        company.states() == ["T-3 completed", "T-5 completed"]
    });
    assert!(
        !log().contains("opens-"),
        "no password in the log: {}",
        log()
    );
}

/// A CA of one's own, and what it signed for a server.
struct Authority {
    ca: String,
    certificate: String,
    key: String,
}

impl Authority {
    fn new(host: &str) -> Self {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let ca = params.self_signed(&key).unwrap().pem();
        let issuer = Issuer::new(params, key);
        let params = CertificateParams::new(vec![host.to_owned()]).unwrap();
        let key = KeyPair::generate().unwrap();
        Self {
            ca,
            certificate: params.signed_by(&key, &issuer).unwrap().pem(),
            key: key.serialize_pem(),
        }
    }
}

#[test]
fn only_a_server_that_our_ca_has_signed_is_spoken_to() {
    let ours = Authority::new("127.0.0.1");
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = (folder.path().join("crt"), folder.path().join("key"));
    keep_to_oneself(&certificate, &ours.certificate);
    keep_to_oneself(&key, &ours.key);
    let crm = MariaDb::start_with(&[
        &format!("--ssl-cert={}", certificate.display()),
        &format!("--ssl-key={}", key.display()),
    ]);
    let company = Company::with(crm, CRM, POLICY);
    company
        .crm
        .execute("ALTER USER 'erasured'@'127.0.0.1' REQUIRE SSL");
    let said = company.says(&["check"], 3);
    assert!(said.contains("Access denied"), "without TLS: {said}");
    let url = format!("url = \"{}\"", company.crm.url("erasured"));
    let trusts = format!("{url}\ntls = {{ ca_file = \"keys/ca.pem\" }}");
    company.reconfigure(&url, &trusts);
    let ca = company.workspace.path().join("keys/ca.pem");
    std::fs::write(&ca, Authority::new("127.0.0.1").ca).unwrap();
    let said = company.says(&["check"], 3);
    let refused = "not spoken to, by TLS: invalid peer certificate";
    assert!(said.contains(refused), "another CA: {said}");
    std::fs::write(&ca, &ours.ca).unwrap();
    company.file(&[3]);
    company.says(&["run", "--until-idle"], 0);
    company.was_done_once();
    // The right CA, for another host.
    company.reconfigure("erasured@127.0.0.1:", "erasured@localhost:");
    let said = company.says(&["check"], 3);
    assert!(said.contains("not valid for name"), "another host: {said}");
}
