//! Patroni says who leads: a real one, through a switchover, and such as say something else.

use crate::support::{Server, ServerOptions, as_postgres, blocking, free_port, wait_until};
use erasured::system::postgres::connect::{ConnectError, Timeouts, connect};
use erasured::system::postgres::libpq::Settings;
use erasured::{config, start};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const LONG: Duration = Duration::from_secs(90);

/// What Patroni keeps its state in, and Patroni with a server, twice. All ends with standard input: with the test, however that ends.
const CLUSTER: &str = r#"
cd "$1"
etcd --data-dir etcd --listen-client-urls "$2" --advertise-client-urls "$2" --listen-peer-urls "$3" \
  --initial-advertise-peer-urls "$3" --initial-cluster "default=$3" >etcd.log 2>&1 &
etcd=$!
patroni a.yml >a.log 2>&1 &
a=$!
patroni b.yml >b.log 2>&1 &
b=$!
cat >/dev/null
kill $a $b
wait $a $b
kill $etcd
wait $etcd
cd / && rm -rf "$1"
"#;

struct Patroni {
    folder: PathBuf,
    /// Of Patroni and of the server beside it.
    ports: [(u16, u16); 2],
    keeper: Child,
}

impl Patroni {
    fn start() -> Self {
        let server = Server::shared();
        let folder = tempfile::Builder::new()
            .prefix("erasured-patroni-")
            .tempdir_in("/tmp")
            .unwrap()
            .keep();
        let ports = [(free_port(), free_port()), (free_port(), free_port())];
        let [client, peer] = [free_port(), free_port()].map(|p| format!("http://127.0.0.1:{p}"));
        for (name, (api, port)) in ["a", "b"].into_iter().zip(ports) {
            let here = folder.display();
            let text = format!(
                r#"
scope: shop
name: {name}
restapi: {{listen: "127.0.0.1:{api}", connect_address: "127.0.0.1:{api}"}}
etcd3: {{host: "{etcd}"}}
bootstrap:
  dcs:
    ttl: 20
    loop_wait: 1
    retry_timeout: 3
    postgresql: {{parameters: {{fsync: "off", max_connections: 30, log_connections: "on"}}}}
  initdb: [{{auth: trust}}, no-sync]
  pg_hba: ["host all all 127.0.0.1/32 trust", "host replication all 127.0.0.1/32 trust"]
postgresql:
  listen: "127.0.0.1:{port}"
  connect_address: "127.0.0.1:{port}"
  data_dir: {here}/{name}
  pgpass: {here}/{name}.pgpass
  bin_dir: {bin}
  parameters: {{unix_socket_directories: "{here}"}}
  authentication: {{superuser: {{username: postgres}}, replication: {{username: postgres}}}}
"#,
                etcd = client.trim_start_matches("http://"),
                bin = server.bin().display(),
            );
            std::fs::write(folder.join(format!("{name}.yml")), text).unwrap();
        }
        let everything = std::os::unix::fs::PermissionsExt::from_mode(0o777);
        std::fs::set_permissions(&folder, everything).unwrap();
        let keeper = as_postgres("/bin/sh")
            .args(["-c", CLUSTER, "erasured-test-patroni"])
            .arg(&folder)
            .args([&client, &peer])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .expect("a shell");
        let patroni = Self {
            folder,
            ports,
            keeper,
        };
        wait_until("Patroni (scripts/install.sh test)", LONG, || {
            patroni.leader().is_some()
        });
        patroni
    }

    /// Who leads, once the other one follows.
    fn leader(&self) -> Option<usize> {
        let cluster = asked(self.ports[0].0, "GET", "/cluster", "")?;
        let members = cluster["members"].as_array()?;
        let followed = members.iter().all(|member| member["timeline"].is_u64());
        let leader = members.iter().find(|member| member["role"] == "leader")?;
        let at = ["a", "b"].iter().position(|name| leader["name"] == *name);
        at.filter(|_| members.len() == 2 && followed)
    }

    /// Sessions of ours that this server has seen.
    fn met(&self, at: usize) -> usize {
        let log = self.folder.join(["a.log", "b.log"][at]);
        let log = std::fs::read_to_string(log).unwrap();
        let ours = log.lines().filter(|line| line.contains("erasured/patroni"));
        ours.count()
    }
}

impl Drop for Patroni {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        self.keeper.wait().ok();
        std::fs::remove_dir_all(&self.folder).ok();
    }
}

/// The JSON of an answer with status 200.
fn asked(port: u16, method: &str, path: &str, body: &str) -> Option<Value> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    let length = body.len();
    let request = format!("{method} {path} HTTP/1.0\r\ncontent-length: {length}\r\n\r\n{body}");
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let good = head.split(' ').nth(1) == Some("200");
    good.then(|| serde_json::from_str(body).unwrap_or(Value::Null))
}

/// As the configuration says it: servers in this order, and where Patroni is.
fn settings(ports: &[u16], patroni: &[u16]) -> Settings {
    let hosts = vec!["127.0.0.1"; ports.len()].join(",");
    let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
    let url = format!(
        "host={hosts} port={} user=postgres dbname=postgres sslmode=disable target_session_attrs=read-write",
        ports.join(",")
    );
    read(&url, patroni).unwrap()
}

fn read(url: &str, patroni: &[u16]) -> Result<Settings, start::StartError> {
    let at: Vec<String> = patroni
        .iter()
        .map(|p| format!("http://127.0.0.1:{p}/"))
        .collect();
    let text = format!(
        "control.url = \"\"\nkeys = {{ signing = {{ env = \"A\" }}, hash = {{ env = \"B\" }} }}\n[system.shop]\nurl = {url:?}\npatroni = {at:?}"
    );
    let config = config::read("erasured.toml", &text).unwrap();
    start::settings(&config.systems["shop"].database)
}

/// The port of the server that a session is with.
fn session(settings: &Settings) -> Result<i32, ConnectError> {
    blocking(async {
        let client = connect(settings, "patroni", Timeouts::default()).await?;
        let row = client.query_one("SELECT inet_server_port()", &[]).await;
        Ok(row.unwrap().get(0))
    })
}

#[test]
fn the_leader_is_tried_first_whoever_that_is_by_now() {
    let patroni = Patroni::start();
    let apis = patroni.ports.map(|(api, _)| api);
    let leader = patroni.leader().unwrap();
    let follower = 1 - leader;
    let port = |at: usize| patroni.ports[at].1;
    let order = [port(follower), port(leader)];
    // As the URL stands the follower is asked too, so that this can be seen.
    assert_eq!(
        session(&settings(&order, &[])).unwrap(),
        i32::from(port(leader))
    );
    wait_until("the log", LONG, || patroni.met(follower) > 0);
    let met = patroni.met(follower);
    assert_eq!(
        session(&settings(&order, &apis)).unwrap(),
        i32::from(port(leader))
    );
    assert_eq!(patroni.met(follower), met);

    let names = ["a", "b"];
    let body = format!(
        r#"{{"leader": "{}", "candidate": "{}"}}"#,
        names[leader], names[follower]
    );
    asked(apis[leader], "POST", "/switchover", &body).expect("a switchover");
    wait_until("the other one to lead", LONG, || {
        patroni.leader() == Some(follower)
    });
    let met = patroni.met(leader);
    let order = [port(leader), port(follower)];
    assert_eq!(
        session(&settings(&order, &apis)).unwrap(),
        i32::from(port(follower))
    );
    assert_eq!(patroni.met(leader), met);
}

/// A server that answers every request so, and counts them.
fn says(body: &str) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let met = Arc::new(AtomicUsize::new(0));
    let (counted, body) = (met.clone(), body.to_owned());
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            counted.fetch_add(1, Ordering::SeqCst);
            let Ok(1..) = stream.read(&mut [0; 1024]) else {
                continue;
            };
            let length = body.len();
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{body}");
            stream.write_all(answer.as_bytes()).ok();
        }
    });
    (port, met)
}

fn leads(port: u16) -> String {
    format!(r#"{{"members": [{{"role": "leader", "host": "127.0.0.1", "port": {port}}}]}}"#)
}

/// It says whom to try first, of those that the URL names: nobody else, and never who it is.
#[test]
fn patroni_is_asked_and_not_believed() {
    let server = Server::start_with(ServerOptions {
        tcp: true,
        ..ServerOptions::default()
    });
    let standby = server.standby();
    let (mute, met) = says("");
    let real = i32::from(server.port());
    let order = [mute, standby.port(), server.port()];
    let (honest, _) = says(&leads(server.port()));
    assert_eq!(session(&settings(&order, &[honest])).unwrap(), real);
    assert_eq!(met.load(Ordering::SeqCst), 0, "only the leader is tried");
    let (stranger, strangers) = says("");
    let nobody = free_port();
    for (said, tried) in [
        (leads(standby.port()), 1),
        (leads(mute), 1),
        (leads(stranger), 1),
        ("no JSON".into(), 1),
        (r#"{"members": []}"#.into(), 1),
    ] {
        met.store(0, Ordering::SeqCst);
        let (liar, asked) = says(&said);
        assert_eq!(session(&settings(&order, &[liar])).unwrap(), real, "{said}");
        assert_eq!(met.load(Ordering::SeqCst), tried, "{said}");
        assert_eq!(asked.load(Ordering::SeqCst), 1);
    }
    assert_eq!(session(&settings(&order, &[nobody])).unwrap(), real);
    // One that answers is enough.
    met.store(0, Ordering::SeqCst);
    assert_eq!(session(&settings(&order, &[nobody, honest])).unwrap(), real);
    assert_eq!(met.load(Ordering::SeqCst), 0);
    assert_eq!(
        strangers.load(Ordering::SeqCst),
        0,
        "whom the URL does not name"
    );
    let alone = read("host=127.0.0.1 user=postgres", &[honest]);
    let said = alone.unwrap_err().to_string();
    assert!(said.contains("target_session_attrs"), "{said}");
}
