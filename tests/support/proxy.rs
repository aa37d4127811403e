//! A network that breaks when it is told to: a TCP proxy before a server.

use super::server::Server;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::thread;
use std::time::Duration;

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// To the server.
    Up,
    /// To the client.
    Down,
}

/// What becomes of a connection; the bytes that have called for it do not arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Both ends hear that it is over.
    Cut,
    /// The client is reset.
    Reset,
    /// Nothing arrives any more, in either direction, and nobody hears of it.
    Silence,
    /// Nothing more goes this way, and who would have read it hears so.
    HalfClose,
    /// This and all that follows arrives so much later.
    Delay(Duration),
}

/// When.
#[derive(Clone, Copy, Debug)]
pub enum When {
    /// These bytes pass, in one piece; not before the others have passed on the same connection.
    Passes(&'static [u8], Option<&'static [u8]>),
    /// So many bytes have passed on a connection.
    Bytes(usize),
}

/// What is to go wrong, once.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    pub way: Way,
    pub when: When,
    pub fault: Fault,
}

#[derive(Default)]
struct State {
    rule: Mutex<Option<Rule>>,
    broken: AtomicUsize,
    shut: AtomicBool,
    connections: Mutex<Vec<Weak<Connection>>>,
    /// Milliseconds by which each answer comes later.
    late: AtomicU64,
    /// Connections on which an answer is owed, and the most there have been of them.
    asked: AtomicUsize,
    most: AtomicUsize,
}

/// The proxy; ends with the test.
pub struct Proxy {
    port: u16,
    state: Arc<State>,
}

impl Proxy {
    /// Before a server.
    pub fn before(server: &Server) -> Proxy {
        let socket = format!(".s.PGSQL.{}", server.port());
        Self::before_socket(server.socket_dir().join(socket))
    }

    /// Before whatever listens there.
    pub fn before_socket(socket: PathBuf) -> Proxy {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let port = listener.local_addr().expect("its address").port();
        let state = Arc::new(State::default());
        let shared = state.clone();
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if !shared.shut.load(Ordering::Relaxed) {
                    Connection::open(client, &socket, shared.clone());
                }
            }
        });
        Proxy { port, state }
    }

    /// A libpq URL for superuser `postgres`.
    pub fn url(&self, database: &str) -> String {
        format!(
            "postgresql://postgres@127.0.0.1:{}/{database}?sslmode=disable",
            self.port
        )
    }

    /// The port that it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Lets this go wrong, once.
    pub fn arm(&self, rule: Rule) {
        *self.state.rule.lock().expect("the rule") = Some(rule);
    }

    /// Lets nothing go wrong any more.
    pub fn disarm(&self) {
        *self.state.rule.lock().expect("the rule") = None;
    }

    /// The way is whole again: what had fallen silent is reset, as by whoever knows nothing of it.
    pub fn heal(&self) {
        let mut all = self.state.connections.lock().expect("the connections");
        all.retain(|connection| connection.strong_count() > 0);
        let all: Vec<_> = all.iter().filter_map(Weak::upgrade).collect();
        let silent = all.iter().filter(|c| c.silent.load(Ordering::Relaxed));
        silent.for_each(|connection| connection.close());
    }

    /// How often something has gone wrong.
    pub fn broken(&self) -> usize {
        self.state.broken.load(Ordering::Relaxed)
    }

    /// Each answer comes so much later from now on.
    pub fn slow(&self, by: Duration) {
        let millis = u64::try_from(by.as_millis()).expect("no such delay");
        self.state.late.store(millis, Ordering::Relaxed);
    }

    /// On how many connections at once an answer was owed at most, since this was asked last.
    pub fn most_at_once(&self) -> usize {
        self.state.most.swap(0, Ordering::Relaxed)
    }

    /// Turns everybody away who comes from now on.
    pub fn shut(&self, yes: bool) {
        self.state.shut.store(yes, Ordering::Relaxed);
    }
}

struct Connection {
    client: TcpStream,
    server: UnixStream,
    silent: AtomicBool,
    owed: AtomicBool,
    seen: Mutex<BTreeMap<Way, (usize, bool)>>,
    state: Arc<State>,
}

impl Connection {
    fn open(client: TcpStream, server: &PathBuf, state: Arc<State>) {
        // A server that is down turns its clients away.
        let Ok(server) = UnixStream::connect(server) else {
            return;
        };
        client.set_nodelay(true).ok();
        let this = Arc::new(Connection {
            client,
            server,
            silent: AtomicBool::new(false),
            owed: AtomicBool::new(false),
            seen: Mutex::default(),
            state,
        });
        let known = &this.state.connections;
        known
            .lock()
            .expect("the connections")
            .push(Arc::downgrade(&this));
        for way in [Way::Up, Way::Down] {
            let this = this.clone();
            thread::spawn(move || this.carry(way));
        }
    }

    fn carry(&self, way: Way) {
        let mut bytes = vec![0; 1 << 16];
        let mut late = Duration::ZERO;
        while let Ok(n @ 1..) = match way {
            Way::Up => (&self.client).read(&mut bytes),
            Way::Down => (&self.server).read(&mut bytes),
        } {
            match self.goes_wrong(way, &bytes[..n]) {
                None => {}
                Some(Fault::Delay(time)) => late = time,
                Some(fault) => {
                    self.break_by(way, fault);
                    if fault != Fault::Silence {
                        return;
                    }
                }
            }
            if self.silent.load(Ordering::Relaxed) {
                continue;
            }
            let all = Duration::from_millis(self.state.late.load(Ordering::Relaxed));
            thread::sleep(if way == Way::Down {
                late.max(all)
            } else {
                late
            });
            self.owes(way == Way::Up);
            let written = match way {
                Way::Up => (&self.server).write_all(&bytes[..n]),
                Way::Down => (&self.client).write_all(&bytes[..n]),
            };
            if written.is_err() {
                break;
            }
        }
        if !self.silent.load(Ordering::Relaxed) {
            self.close();
        }
    }

    /// Whether the server owes an answer on this connection.
    fn owes(&self, yes: bool) {
        if self.owed.swap(yes, Ordering::Relaxed) == yes {
            return;
        }
        let asked = &self.state.asked;
        if yes {
            let now = asked.fetch_add(1, Ordering::Relaxed) + 1;
            self.state.most.fetch_max(now, Ordering::Relaxed);
        } else {
            asked.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn close(&self) {
        self.owes(false);
        self.client.shutdown(Shutdown::Both).ok();
        self.server.shutdown(Shutdown::Both).ok();
    }

    fn goes_wrong(&self, way: Way, bytes: &[u8]) -> Option<Fault> {
        let mut armed = self.state.rule.lock().expect("the rule");
        let rule = (*armed)?;
        let has = |what: &[u8]| bytes.windows(what.len()).any(|w| w == what);
        let mut seen = self.seen.lock().expect("what passed");
        if let When::Passes(_, Some(before)) = rule.when
            && has(before)
        {
            seen.values_mut().for_each(|(_, ready)| *ready = true);
            seen.entry(Way::Up).or_default().1 = true;
            seen.entry(Way::Down).or_default().1 = true;
        }
        let (count, ready) = seen.entry(way).or_default();
        *count += bytes.len();
        let now = way == rule.way
            && match rule.when {
                When::Passes(what, before) => (before.is_none() || *ready) && has(what),
                When::Bytes(many) => *count >= many,
            };
        if !now {
            return None;
        }
        *armed = None;
        self.state.broken.fetch_add(1, Ordering::Relaxed);
        Some(rule.fault)
    }

    fn break_by(&self, way: Way, fault: Fault) {
        match (fault, way) {
            (Fault::Silence | Fault::Delay(_), _) => self.silent.store(true, Ordering::Relaxed),
            (Fault::Cut, _) => self.close(),
            (Fault::Reset, _) => {
                let at_once = Some(Duration::ZERO);
                let client = socket2::SockRef::from(&self.client);
                client.set_linger(at_once).ok();
                // Not told in good form: what closes it is that both directions are given up.
                self.client.shutdown(Shutdown::Read).ok();
                self.server.shutdown(Shutdown::Both).ok();
            }
            (Fault::HalfClose, Way::Up) => {
                self.server.shutdown(Shutdown::Write).ok();
            }
            (Fault::HalfClose, Way::Down) => {
                self.client.shutdown(Shutdown::Write).ok();
            }
        }
    }
}
