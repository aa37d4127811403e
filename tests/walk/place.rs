//! A service that is no database, in a thread of the walk: each request to it is a boundary too.

use super::walked::{Boundary, Doomed, Side};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What boundaries of it are called, and policies call it.
pub const NAME: &str = "crm";

/// The place, for a policy.
pub const POLICY: &str =
    "\n[[place]]\nsystem = \"crm\"\nname = \"contacts\"\nidentifiers = [\"member_no\"]\n";

/// Two contacts of each member.
pub struct Place {
    port: u16,
    state: Arc<Mutex<State>>,
}

struct State {
    /// Id to member number.
    contacts: BTreeMap<String, String>,
    behind: String,
}

impl Place {
    pub fn open(members: u32, doomed: &Doomed) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let contacts = (1..=members)
            .flat_map(|n| ["a", "b"].map(|one| (format!("c-{n}-{one}"), format!("TM-{n:07}"))));
        let state = Arc::new(Mutex::new(State {
            contacts: contacts.collect(),
            behind: "nothing".into(),
        }));
        let (shared, doomed) = (state.clone(), doomed.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (state, doomed) = (shared.clone(), doomed.clone());
                std::thread::spawn(move || asked(&stream, &state, &doomed));
            }
        });
        Self { port, state }
    }

    /// How erasured.toml registers it.
    pub fn settings(&self) -> String {
        format!(
            "[system.{NAME}]\nkind = \"http\"\nurl = \"http://127.0.0.1:{}/api\"\nper_second = 1000\n\
             check = {{ path = \"/health\" }}\n\
             find = {{ path = \"/contacts?member_no={{member_no}}\", found = \"/*/id\", whose = \"/*/member_no\" }}\n\
             erase = {{ path = \"/contacts/{{:found}}\" }}\nprobe = {{ path = \"/contacts/{{:found}}\" }}\n",
            self.port
        )
    }

    /// The members of whom something is left.
    pub fn left(&self) -> Vec<String> {
        let state = held(&self.state);
        let left: BTreeSet<String> = state.contacts.values().cloned().collect();
        left.into_iter().collect()
    }
}

fn held(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One request: dead before it is heard of, or when it is done and nobody knows.
fn asked(mut stream: &TcpStream, state: &Mutex<State>, doomed: &Doomed) -> Option<()> {
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    let first = lines.next()?;
    lines.find(String::is_empty)?;
    let mut words = first.split(' ');
    let (method, target) = (words.next()?, words.next()?);
    let what = match method {
        "DELETE" => "erase",
        _ if target.contains("member_no=") => "find",
        _ if target.contains("/contacts/") => "probe",
        _ => "check",
    };
    let behind = std::mem::replace(&mut held(state).behind, what.to_owned());
    let boundary = |side| Boundary {
        server: NAME.to_owned(),
        behind: behind.clone(),
        request: what.to_owned(),
        side,
    };
    if doomed.reaches(&boundary(Side::Before)) {
        return None;
    }
    let (status, body) = held(state).does(what, target);
    if doomed.reaches(&boundary(Side::After)) {
        return None;
    }
    let length = body.len();
    let answer = format!(
        "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    stream.write_all(answer.as_bytes()).ok()
}

impl State {
    fn does(&mut self, what: &str, target: &str) -> (u16, String) {
        let id = target.rsplit('/').next().unwrap();
        match what {
            "find" => {
                let (_, member) = target.split_once("member_no=").unwrap();
                let theirs = self.contacts.iter().filter(|(_, of)| *of == member);
                let theirs: Vec<_> = theirs
                    .map(|(id, of)| serde_json::json!({"id": id, "member_no": of}))
                    .collect();
                (200, serde_json::Value::from(theirs).to_string())
            }
            "erase" => match self.contacts.remove(id) {
                Some(_) => (204, String::new()),
                None => (404, String::new()),
            },
            "probe" if !self.contacts.contains_key(id) => (404, String::new()),
            _ => (200, "{}".into()),
        }
    }
}
