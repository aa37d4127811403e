//! A service over HTTP, in a thread of the test: contacts, each with an id and an address.
//!
//! Each kind of request can be told to answer otherwise, byte for byte: [`Service::say`]. Or it is another
//! service altogether: [`Service::by`].

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) method: String,
    /// Path and query, as they came.
    pub(crate) target: String,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: String,
}

/// How another service answers.
type By = Arc<dyn Fn(&Asked) -> String + Send + Sync>;

#[derive(Default)]
struct State {
    by: Option<By>,
    contacts: Vec<(String, String)>,
    said: BTreeMap<String, String>,
    asked: Vec<Asked>,
    slow: Duration,
}

pub(crate) struct Service {
    pub(crate) port: u16,
    state: Arc<Mutex<State>>,
    at_once: Arc<(AtomicUsize, AtomicUsize)>,
}

impl Service {
    pub(crate) fn of(contacts: &[(&str, &str)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let service = Self {
            port: listener.local_addr().unwrap().port(),
            state: Arc::default(),
            at_once: Arc::default(),
        };
        let contacts = contacts.iter();
        service.state.lock().unwrap().contacts = contacts
            .map(|(id, email)| ((*id).to_owned(), (*email).to_owned()))
            .collect();
        let (state, at_once) = (service.state.clone(), service.at_once.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (state, at_once) = (state.clone(), at_once.clone());
                std::thread::spawn(move || {
                    let now = at_once.0.fetch_add(1, Ordering::SeqCst) + 1;
                    at_once.1.fetch_max(now, Ordering::SeqCst);
                    answer(stream, &state);
                    at_once.0.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        service
    }

    /// One that answers so.
    pub(crate) fn by(answer: impl Fn(&Asked) -> String + Send + Sync + 'static) -> Self {
        let service = Self::of(&[]);
        service.state.lock().unwrap().by = Some(Arc::new(answer));
        service
    }

    /// `check`, `find`, `erase`, `probe` and `status` answer this from now on.
    pub(crate) fn say(&self, what: &str, answer: &str) {
        let mut state = self.state.lock().unwrap();
        state.said.insert(what.to_owned(), answer.to_owned());
    }

    pub(crate) fn unsay(&self, what: &str) {
        self.state.lock().unwrap().said.remove(what);
    }

    pub(crate) fn slow(&self, by: Duration) {
        self.state.lock().unwrap().slow = by;
    }

    /// What came since this was last asked.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.state.lock().unwrap().asked)
    }

    pub(crate) fn left(&self) -> Vec<String> {
        let state = self.state.lock().unwrap();
        state.contacts.iter().map(|(id, _)| id.clone()).collect()
    }

    /// The most requests that were there at the same time.
    pub(crate) fn most_at_once(&self) -> usize {
        self.at_once.1.load(Ordering::SeqCst)
    }
}

/// An answer with a JSON body.
pub(crate) fn json(status: u16, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    )
}

/// An answer without a body.
pub(crate) fn bare(status: u16, headers: &str) -> String {
    format!("HTTP/1.1 {status} X\r\n{headers}content-length: 0\r\n\r\n")
}

fn answer(mut stream: TcpStream, state: &Mutex<State>) {
    let Some(asked) = read(&stream) else { return };
    let (answer, slow) = {
        let mut state = state.lock().unwrap();
        state.asked.push(asked.clone());
        let by = state.by.clone();
        match by {
            Some(by) => {
                // It may take a while, and ask others.
                drop(state);
                (by(&asked), Duration::ZERO)
            }
            None => (state.answer(&asked), state.slow),
        }
    };
    std::thread::sleep(slow);
    stream.write_all(answer.as_bytes()).ok();
}

fn read(stream: &TcpStream) -> Option<Asked> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split(' ');
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else {
            break;
        };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let length = headers
        .get("content-length")
        .map_or(0, |text| text.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Asked {
        method,
        target,
        headers,
        body: String::from_utf8(body).unwrap(),
    })
}

impl State {
    fn answer(&mut self, asked: &Asked) -> String {
        let path = asked.target.split('?').next().unwrap();
        let what = match (asked.method.as_str(), path) {
            (_, "/api/health") => "check",
            ("GET", "/api/contacts") => "find",
            ("DELETE", _) | ("POST", "/api/erasures") => "erase",
            ("GET", path) if path.starts_with("/api/contacts/") => "probe",
            ("GET", path) if path.starts_with("/api/orders/") => "status",
            _ => return bare(404, ""),
        };
        if let Some(said) = self.said.get(what) {
            return said.clone();
        }
        match what {
            "find" => {
                let (_, value) = asked.target.split_once("email=").unwrap();
                let email = decoded(value);
                let theirs = self.contacts.iter().filter(|(_, of)| *of == email);
                let theirs: Vec<_> = theirs
                    .map(|(id, email)| serde_json::json!({"id": id, "email": email}))
                    .collect();
                json(200, &serde_json::json!({"results": theirs}).to_string())
            }
            "check" => json(200, "{}"),
            _ => {
                let id = decoded(path.rsplit('/').next().unwrap());
                let before = self.contacts.len();
                if what == "erase" {
                    self.contacts.retain(|(known, _)| *known != id);
                    return bare(
                        if self.contacts.len() < before {
                            204
                        } else {
                            404
                        },
                        "",
                    );
                }
                let there = self.contacts.iter().any(|(known, _)| *known == id);
                bare(if there { 200 } else { 404 }, "")
            }
        }
    }
}

/// Percent-decoded.
pub(crate) fn decoded(text: &str) -> String {
    let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
    while let [first, behind @ ..] = rest {
        (rest, _) = match (first, behind) {
            (b'%', [a, b, rest @ ..]) => {
                let hex = [*a, *b];
                let hex = std::str::from_utf8(&hex).unwrap();
                (rest, bytes.push(u8::from_str_radix(hex, 16).unwrap()))
            }
            (byte, rest) => (rest, bytes.push(*byte)),
        };
    }
    String::from_utf8(bytes).unwrap()
}
