//! A COMMIT that is on its way when the connection breaks: no hold is placed before it has happened, or
//! cannot happen any more.

use super::holds::{Company, LONG, POLICY, start};
use crate::support::{Workspace, wait_until};
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Between a daemon and a server: keeps back the first COMMIT that comes by once it is told to, and
/// breaks that connection towards the daemon only.
struct Between {
    folder: tempfile::TempDir,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// The next COMMIT is kept back.
    armed: bool,
    /// What was kept back, and the way on.
    kept: Option<(Vec<u8>, UnixStream)>,
    /// Who comes now is turned away.
    shut: bool,
}

const COMMIT: &[u8] = b"COMMIT\0";

impl Between {
    fn open(server: PathBuf) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join(".s.PGSQL.5432")).unwrap();
        let state = Arc::new(Mutex::new(State::default()));
        let shared = state.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if shared.lock().unwrap().shut {
                    continue;
                }
                let server = UnixStream::connect(&server).unwrap();
                answers(server.try_clone().unwrap(), client.try_clone().unwrap());
                let shared = shared.clone();
                std::thread::spawn(move || questions(client, server, &shared));
            }
        });
        Self { folder, state }
    }

    fn url(&self, database: &str) -> String {
        let folder = self.folder.path().display();
        format!("postgresql:///{database}?host={folder}&port=5432&user=postgres")
    }

    fn has_kept_one(&self) -> bool {
        self.state.lock().unwrap().kept.is_some()
    }

    /// What was kept back arrives after all.
    fn deliver(&self) {
        let (bytes, mut server) = self.state.lock().unwrap().kept.take().unwrap();
        // The server may have ended that session long ago.
        let _ = server.write_all(&bytes);
    }
}

fn answers(mut server: UnixStream, mut client: UnixStream) {
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut server, &mut client);
        let _ = client.shutdown(std::net::Shutdown::Both);
    });
}

fn questions(mut client: UnixStream, mut server: UnixStream, state: &Mutex<State>) {
    let mut bytes = vec![0; 1 << 16];
    while let Ok(n @ 1..) = client.read(&mut bytes) {
        let mut state = state.lock().unwrap();
        if state.armed && bytes[..n].windows(COMMIT.len()).any(|w| w == COMMIT) {
            state.armed = false;
            state.shut = true;
            state.kept = Some((bytes[..n].to_vec(), server));
            let _ = client.shutdown(std::net::Shutdown::Both);
            return;
        }
        drop(state);
        if server.write_all(&bytes[..n]).is_err() {
            break;
        }
    }
    let _ = server.shutdown(std::net::Shutdown::Both);
}

fn socket(url: &str) -> PathBuf {
    let part = |key: &str| {
        let from = url.split_once(&format!("{key}=")).unwrap().1;
        from.split('&').next().unwrap().to_owned()
    };
    Path::new(&part("host")).join(format!(".s.PGSQL.{}", part("port")))
}

#[test]
fn lesson_05_holds_wait_for_a_commit_whose_answer_is_lost() {
    let company = Company::open();
    let between = Between::open(socket(&company.server.url(&company.shop)));
    let systems = [
        ("s", between.url(&company.shop)),
        ("t", company.server.url(&company.points)),
    ];
    let mut host = Workspace::new(company.workspace().control_url(), &systems);
    host.configure("[limits]\npoll = \"100ms\"\n");
    host.write_policy("customer.toml", POLICY);
    company.file(&[1]);
    // The ticket's own COMMIT is the first after its rows are locked.
    company
        .server
        .execute(&company.shop, "UPDATE gate SET open = false");
    let mut daemon = start(&host, "");
    let waits = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = '{}' AND wait_event = 'PgSleep'",
        company.shop
    );
    wait_until("the batch to be at the gate", LONG, || {
        company.server.count("postgres", &waits) > 0
    });
    between.state.lock().unwrap().armed = true;
    company
        .server
        .execute(&company.shop, "UPDATE gate SET open = true");
    wait_until("the COMMIT to be on its way", LONG, || {
        between.has_kept_one()
    });

    let place = "SELECT erasured.place_hold('case-1', 'court-order', 'customer', '{\"member_no\": \"TM-0001\"}')";
    // The daemon has turned to the system again and again by then.
    for _ in 0..4 {
        let hold = company.try_control(&format!("SET statement_timeout = '2s'; {place}"));
        assert!(hold.is_err(), "nobody knows yet whether it is too late");
    }
    between.state.lock().unwrap().shut = false;
    wait_until("the hold to be placed", LONG, || {
        company.try_control(place).is_ok()
    });
    let when_placed = company.rows(1);
    between.deliver();
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(company.rows(1), when_placed);
    assert!(daemon.wait().unwrap().success());
    assert_eq!(company.rows(1), when_placed);
}
