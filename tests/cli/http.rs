//! What the daemon serves: health, certificates under a token, metrics that Prometheus takes.

use crate::desk::Desk;
use crate::support::{Workspace, free_port, wait_until};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A process that is killed with the test.
pub(crate) struct Daemon(Child);

impl Daemon {
    /// `erasured run`, ready.
    pub(crate) fn start(desk: &Desk) -> Self {
        Self::of(&desk.workspace)
    }

    /// The same of any folder; what it says is in its `daemon.log`.
    pub(crate) fn of(workspace: &Workspace) -> Self {
        let log = workspace.path().join("daemon.log");
        let log = std::fs::File::options().append(true).create(true).open(log);
        let mut run = Command::new(crate::support::erasured().get_program());
        run.arg("run")
            .arg("--config")
            .arg(workspace.config())
            .stderr(log.unwrap());
        let daemon = Self(run.spawn().unwrap());
        let http = workspace.http();
        wait_until("the daemon to be ready", Duration::from_secs(20), || {
            get(&http, "/readyz", None).is_some_and(|(status, _)| status == 200)
        });
        daemon
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Status and body of a GET.
pub(crate) fn get(address: &str, path: &str, token: Option<&str>) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(address).ok()?;
    let token = token.map_or_else(String::new, |t| format!("Authorization: Bearer {t}\r\n"));
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {address}\r\n{token}Connection: close\r\n\r\n"
    )
    .ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split_whitespace().nth(1)?.parse().ok()?;
    Some((status, body.to_owned()))
}

fn promtool_check(metrics: &str) {
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool: scripts/install.sh test installs it");
    promtool
        .stdin
        .take()
        .unwrap()
        .write_all(metrics.as_bytes())
        .unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && said.is_empty(),
        "{said}\n{metrics}"
    );
}

#[test]
fn metrics_health_and_certificates() {
    let desk = Desk::open(120);
    let http = desk.workspace.http();
    let daemon = Daemon::start(&desk);
    assert_eq!(
        get(&http, "/healthz", None).unwrap(),
        (200, "alive\n".into())
    );

    desk.file("H-1", "member_no=TM-0000005");
    desk.file("H-2", "member_no=TM-0000007");
    wait_until("both tickets to end", Duration::from_secs(60), || {
        desk.ticket("H-1", "state") == "deferred" && desk.ticket("H-2", "state") == "failed"
    });

    let id = desk.ticket("H-1", "certificate_id");
    let path = format!("/certificates/{id}");
    assert_eq!(get(&http, &path, None).unwrap().0, 401);
    assert_eq!(get(&http, &path, Some("a-token-for-test")).unwrap().0, 401);
    let (status, jws) = get(&http, &path, Some("a-token-for-tests")).unwrap();
    assert_eq!(status, 200);
    let file = desk.workspace.path().join("H-1.jws");
    std::fs::write(&file, jws).unwrap();
    let public = desk.workspace.public_key();
    let verify = [
        "certificate",
        "verify",
        file.to_str().unwrap(),
        "--key",
        public.to_str().unwrap(),
    ];
    desk.erasured(verify).assert().success();
    let nobody = format!("/certificates/{}", uuid::Uuid::nil());
    assert_eq!(
        get(&http, &nobody, Some("a-token-for-tests")).unwrap().0,
        404
    );

    // A state is counted by the clock, so wait for the next census.
    wait_until("the census", Duration::from_secs(20), || {
        let (_, metrics) = get(&http, "/metrics", None).unwrap();
        let counted = |state| metrics.contains(&format!("erasured_tickets{{state=\"{state}\"}} 1"));
        counted("failed") && counted("deferred")
    });
    let (_, metrics) = get(&http, "/metrics", None).unwrap();
    promtool_check(&metrics);
    for expected in [
        "erasured_tickets{state=\"deferred\"} 1",
        "erasured_tickets{state=\"verifying\"} 0",
        "erasured_sla_met_total{profile=\"jp-appi\"} 1",
        "erasured_sla_stage_seconds_count{profile=\"jp-appi\",stage=\"certify\"} 1",
        "erasured_sla_backlog_tickets{profile=\"jp-appi\"} 1",
        "erasured_sla_missed_total{profile=\"jp-appi\"} 0",
        "erasured_failures_total{code=\"E0510\"} 1",
        "erasured_rows_total{system=\"shop\",table=\"public.customer\",action=\"deleted\"} 2",
        "erasured_subjects_erased_total{subject=\"customer\",scope=\"account\"} 1",
        "erasured_step_duration_seconds_bucket",
        "erasured_build_info{version=",
    ] {
        assert!(metrics.contains(expected), "no {expected} in\n{metrics}");
    }
    scraped_by_prometheus(&http);
    drop(daemon);
}

/// A real Prometheus finds the target up and a sample of it.
fn scraped_by_prometheus(http: &str) {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("prometheus.yml");
    std::fs::write(
        &config,
        format!(
            "global: {{scrape_interval: 1s}}\nscrape_configs:\n- job_name: erasured\n  static_configs:\n  - targets: ['{http}']\n"
        ),
    )
    .unwrap();
    let listen = format!("127.0.0.1:{}", free_port());
    let prometheus = Command::new("prometheus")
        .arg(format!("--config.file={}", config.display()))
        .arg(format!(
            "--storage.tsdb.path={}",
            folder.path().join("data").display()
        ))
        .arg(format!("--web.listen-address={listen}"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("prometheus: scripts/install.sh test installs it");
    let _prometheus = Daemon(prometheus);
    wait_until(
        "Prometheus to have scraped the daemon",
        Duration::from_secs(40),
        || {
            get(&listen, "/api/v1/query?query=erasured_sla_met_total", None).is_some_and(
                |(status, body)| {
                    status == 200 && body.contains("\"erasured\"") && body.contains(",\"1\"]")
                },
            )
        },
    );
}
