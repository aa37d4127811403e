//! What the program and MariaDB say to each other: a request is a packet that begins a command, and its answer all
//! that follows. One is over before the next begins.

use super::{Boundary, Doomed, Side, both_ways, label, thorough};
use std::collections::HashMap;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Commands by their first byte.
const QUIT: u8 = 1;
const QUERY: u8 = 3;
const PREPARE: u8 = 22;
const EXECUTE: u8 = 23;
const LONG_DATA: u8 = 24;
const CLOSE: u8 = 25;

/// How many bytes of a packet are its length and its number.
const HEAD: usize = 4;

#[derive(Default)]
struct Session {
    /// Asked, and not answered yet.
    asked: Option<Boundary>,
    /// To be prepared, and not answered yet.
    preparing: Option<String>,
    /// What each prepared statement is about.
    prepared: HashMap<Vec<u8>, String>,
}

pub(super) fn relayed(name: &str, client: &UnixStream, server: &UnixStream, doomed: &Doomed) {
    let session = Mutex::default();
    both_ways(
        client,
        server,
        || requests(name, client, server, &session, doomed),
        || answers(server, client, &session, doomed),
    );
}

fn held(session: &Mutex<Session>) -> MutexGuard<'_, Session> {
    session.lock().unwrap_or_else(PoisonError::into_inner)
}

fn requests(
    name: &str,
    client: &UnixStream,
    mut server: &UnixStream,
    session: &Mutex<Session>,
    doomed: &Doomed,
) -> Option<()> {
    let mut behind = "nothing".to_owned();
    // The server greets, so the first word of the program is an answer already.
    let mut request = packet(client)?;
    let mut what = Some("the session".to_owned());
    loop {
        // To be told what a statement means changes nothing.
        let counts = thorough() || request[HEAD] != PREPARE;
        if let Some(what) = what.filter(|_| counts) {
            let boundary = |side| Boundary {
                server: name.to_owned(),
                behind: match thorough() {
                    true => behind.clone(),
                    false => "anything".to_owned(),
                },
                request: what.clone(),
                side,
            };
            if doomed.reaches(&boundary(Side::Before)) {
                return None;
            }
            held(session).asked = Some(boundary(Side::After));
            behind = what;
        }
        server.write_all(&request).ok()?;
        request = packet(client)?;
        // What goes on with a request.
        while request[3] != 0 {
            server.write_all(&request).ok()?;
            request = packet(client)?;
        }
        what = about(&request, &mut held(session));
    }
}

/// What a request is about; none if it has no answer.
fn about(request: &[u8], session: &mut Session) -> Option<String> {
    let body = request.get(HEAD + 1..).unwrap_or_default();
    match request.get(HEAD)? {
        &QUIT | &LONG_DATA | &CLOSE => None,
        &QUERY => Some(label(body)),
        &PREPARE => {
            let label = label(body);
            session.preparing = Some(label.clone());
            Some(format!("parse {label}"))
        }
        &EXECUTE => session.prepared.get(body.get(..4)?).cloned(),
        other => Some(format!("command {other}")),
    }
}

fn answers(
    server: &UnixStream,
    mut client: &UnixStream,
    session: &Mutex<Session>,
    doomed: &Doomed,
) -> Option<()> {
    loop {
        let answer = packet(server)?;
        let (asked, preparing) = {
            let mut session = held(session);
            (session.asked.take(), session.preparing.take())
        };
        // With its first byte the server has done what was asked.
        if asked.is_some_and(|boundary| doomed.reaches(&boundary)) {
            return None;
        }
        if let (Some(label), Some([0, id @ ..])) = (preparing, answer.get(HEAD..HEAD + 5)) {
            held(session).prepared.insert(id.to_vec(), label);
        }
        client.write_all(&answer).ok()?;
    }
}

/// The next packet: its length, its number within the request, and what it says.
fn packet(mut from: &UnixStream) -> Option<Vec<u8>> {
    let mut packet = vec![0; HEAD];
    from.read_exact(&mut packet).ok()?;
    let length = u32::from_le_bytes([packet[0], packet[1], packet[2], 0]);
    packet.resize(HEAD + usize::try_from(length).unwrap(), 0);
    from.read_exact(&mut packet[HEAD..]).ok()?;
    Some(packet)
}
