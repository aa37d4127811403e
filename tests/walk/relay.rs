//! Stands between the program and a server, and reads what they say to each other.

mod mariadb;

use super::support::{MariaDb, Server};
use super::walked::{Boundary, Doomed, Side};
use std::collections::{HashMap, VecDeque};
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// A socket that leads to a server; gone when dropped.
pub struct Relay {
    folder: tempfile::TempDir,
    socket: PathBuf,
    over: Arc<AtomicBool>,
}

/// Carries a session between the program and its server, until either has gone.
type Carries = fn(&str, &UnixStream, &UnixStream, &Doomed);

impl Relay {
    /// Opens it. `name` is what boundaries of this server are called.
    pub fn open(name: &str, server: &Server, doomed: &Doomed) -> Self {
        let socket = format!(".s.PGSQL.{}", server.port());
        let to = server.socket_dir().join(&socket);
        Self::between(&socket, to, name, doomed, relayed)
    }

    /// The same before a server of MariaDB's.
    pub fn of_mariadb(name: &str, server: &MariaDb, doomed: &Doomed) -> Self {
        Self::between("s", server.socket(), name, doomed, mariadb::relayed)
    }

    fn between(socket: &str, to: PathBuf, name: &str, doomed: &Doomed, carries: Carries) -> Self {
        let folder = tempfile::Builder::new().prefix("relay-").tempdir().unwrap();
        let socket = folder.path().join(socket);
        let listener = UnixListener::bind(&socket).unwrap();
        let over = Arc::new(AtomicBool::new(false));
        let relay = Self {
            folder,
            socket,
            over: over.clone(),
        };
        let (name, doomed) = (name.to_owned(), doomed.clone());
        thread::spawn(move || {
            for client in listener.incoming() {
                if over.load(Ordering::Relaxed) {
                    break;
                }
                let (name, doomed, to) = (name.clone(), doomed.clone(), to.clone());
                thread::spawn(move || {
                    // A server that is down is no boundary.
                    if let Ok(server) = UnixStream::connect(to) {
                        carries(&name, &client.unwrap(), &server, &doomed);
                    }
                });
            }
        });
        relay
    }

    /// The URL of a database behind it.
    pub fn url(&self, database: &str) -> String {
        let folder = self.folder.path().display();
        let port = self.socket.extension().unwrap().display();
        format!("postgresql:///{database}?host={folder}&port={port}&user=postgres")
    }

    /// The URL of the server of MariaDB's behind it.
    pub fn mariadb_url(&self, login: &str) -> String {
        let socket = self.socket.display();
        format!("mariadb://{login}@localhost/?socket={socket}")
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        UnixStream::connect(&self.socket).ok();
    }
}

/// Both directions at once; when one has ended, so has the other.
fn both_ways(
    client: &UnixStream,
    server: &UnixStream,
    up: impl FnOnce() -> Option<()> + Send,
    down: impl FnOnce() -> Option<()> + Send,
) {
    let over = || {
        client.shutdown(Shutdown::Both).ok();
        server.shutdown(Shutdown::Both).ok();
    };
    thread::scope(|scope| {
        scope.spawn(|| {
            down();
            over();
        });
        up();
        over();
    });
}

/// Requests whose answer is on its way: each is over with a `ReadyForQuery`.
type Asked = Arc<Mutex<VecDeque<Option<Boundary>>>>;

fn relayed(name: &str, client: &UnixStream, server: &UnixStream, doomed: &Doomed) {
    let asked = Asked::default();
    both_ways(
        client,
        server,
        || requests(name, client, server, &asked, doomed),
        || answers(server, client, &asked, doomed),
    );
}

/// Whether a request is another behind each other one, and what changes nothing counts too (`make walk ALL=1`).
fn thorough() -> bool {
    std::env::var_os("WALK_ALL").is_some_and(|all| !all.is_empty())
}

/// From the program to the server, until either has gone.
fn requests(
    name: &str,
    mut client: &UnixStream,
    mut server: &UnixStream,
    asked: &Asked,
    doomed: &Doomed,
) -> Option<()> {
    let thorough = thorough();
    let mut labels = Labels::default();
    let mut behind = "nothing".to_owned();
    let mut request = vec![0; 4];
    client.read_exact(&mut request).ok()?;
    body(client, &mut request, 0)?;
    // What is no plain beginning of a session (a request to cancel) passes.
    if request.get(4..8) != Some(&196_608_i32.to_be_bytes()) {
        server.write_all(&request).ok()?;
        std::io::copy(&mut client, &mut server).ok();
        return None;
    }
    let mut what = "the session".to_owned();
    loop {
        let ends = what == "the session" || labels.read(&request);
        if ends {
            if behind != "nothing" {
                what = labels.taken();
            }
            // To be told what a statement means changes nothing.
            let counts = thorough || !what.starts_with("parse ");
            let boundary = |side| Boundary {
                server: name.to_owned(),
                behind: match thorough || is_everywhere(&what) {
                    true => behind.clone(),
                    false => "anything".to_owned(),
                },
                request: what.clone(),
                side,
            };
            if counts && doomed.reaches(&boundary(Side::Before)) {
                return None;
            }
            let mut asked = asked.lock().unwrap_or_else(PoisonError::into_inner);
            asked.push_back(counts.then(|| boundary(Side::After)));
            if counts {
                behind = std::mem::take(&mut what);
            }
        }
        server.write_all(&request).ok()?;
        request = vec![0; 5];
        client.read_exact(&mut request).ok()?;
        body(client, &mut request, 1)?;
    }
}

/// From the server to the program. An answer waits until it is whole.
fn answers(
    mut server: &UnixStream,
    mut client: &UnixStream,
    asked: &Asked,
    doomed: &Doomed,
) -> Option<()> {
    let mut held = Vec::new();
    loop {
        let mut answer = vec![0; 5];
        server.read_exact(&mut answer).ok()?;
        body(server, &mut answer, 1)?;
        let kind = answer[0];
        held.append(&mut answer);
        let mut asked = asked.lock().unwrap_or_else(PoisonError::into_inner);
        let over = kind == b'Z';
        if over && let Some(boundary) = asked.pop_front() {
            drop(asked);
            if boundary.is_some_and(|boundary| doomed.reaches(&boundary)) {
                return None;
            }
        } else if !asked.is_empty() && !matches!(kind, b'G' | b'H' | b'W') && held.len() < 1 << 20 {
            continue;
        }
        client.write_all(&held).ok()?;
        held.clear();
    }
}

/// Reads the rest of a message of which kind and length are there.
fn body(mut from: &UnixStream, message: &mut Vec<u8>, at: usize) -> Option<()> {
    let length = u32::from_be_bytes(message[at..at + 4].try_into().unwrap());
    let behind = message.len();
    message.resize(at + usize::try_from(length).unwrap(), 0);
    from.read_exact(&mut message[behind..]).ok()
}

/// What the messages of one request are about.
#[derive(Default)]
struct Labels {
    prepared: HashMap<Vec<u8>, String>,
    now: Vec<String>,
}

impl Labels {
    /// Whether the request is over with this message.
    fn read(&mut self, message: &[u8]) -> bool {
        let text = |at: usize| message[at..].split(|b| *b == 0).next().unwrap_or_default();
        match message[0] {
            b'Q' => {
                self.now.push(label(text(5)));
                true
            }
            b'P' => {
                let name = text(5).to_vec();
                let label = label(text(6 + name.len()));
                self.now.push(format!("parse {label}"));
                self.prepared.insert(name, label);
                false
            }
            b'B' => {
                let portal = text(5).len();
                let statement = self.prepared.get(text(6 + portal));
                self.now.extend(statement.cloned());
                false
            }
            b'S' => true,
            _ => false,
        }
    }

    fn taken(&mut self) -> String {
        let mut now = std::mem::take(&mut self.now);
        now.dedup();
        if now.is_empty() {
            now.push("closing".into());
        }
        now.join(", ")
    }
}

/// What means something else behind each other request.
fn is_everywhere(what: &str) -> bool {
    ["COMMIT", "ROLLBACK", "SAVEPOINT"]
        .iter()
        .any(|word| what.starts_with(word))
}

/// The comment with which a statement begins, or its first word.
fn label(sql: &[u8]) -> String {
    let sql = String::from_utf8_lossy(sql);
    let sql = sql.trim_start();
    match sql
        .strip_prefix("/*")
        .and_then(|rest| rest.split_once("*/"))
    {
        Some((comment, _)) => comment.trim().trim_start_matches("erasured:").to_owned(),
        None => sql.split_whitespace().take(2).collect::<Vec<_>>().join(" "),
    }
}
