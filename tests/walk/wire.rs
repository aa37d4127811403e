//! Stands between the program and a server that is no database, on TCP. A request is what comes in one piece and begins
//! as one does; its answer is over for us with its first byte, for by then the server has done it.

use super::walked::{Boundary, Doomed, Side};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// A port that leads to a server; nobody listens any more when it is dropped.
pub struct Wire {
    port: u16,
    over: Arc<AtomicBool>,
}

/// What a request is about; none if these bytes begin no request.
pub type Label = fn(&[u8]) -> Option<String>;

impl Wire {
    /// Opens it. `name` is what boundaries of this server are called.
    pub fn open(name: &'static str, to: u16, label: Label, doomed: &Doomed) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let over = Arc::new(AtomicBool::new(false));
        let wire = Self {
            port,
            over: over.clone(),
        };
        let doomed = doomed.clone();
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if over.load(Ordering::Relaxed) {
                    break;
                }
                let doomed = doomed.clone();
                thread::spawn(move || {
                    if let Ok(server) = TcpStream::connect(("127.0.0.1", to)) {
                        carries((name, label), &client, &server, &doomed);
                    }
                });
            }
        });
        wire
    }

    pub fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        TcpStream::connect(("127.0.0.1", self.port)).ok();
    }
}

/// Asked, and not answered yet.
type Asked = Mutex<Option<Boundary>>;

fn carries(of: (&str, Label), client: &TcpStream, server: &TcpStream, doomed: &Doomed) {
    let asked = Asked::default();
    let over = || {
        client.shutdown(Shutdown::Both).ok();
        server.shutdown(Shutdown::Both).ok();
    };
    thread::scope(|scope| {
        scope.spawn(|| {
            answers(server, client, &asked, doomed);
            over();
        });
        requests(of, client, server, &asked, doomed);
        over();
    });
}

fn requests(
    (name, label): (&str, Label),
    mut client: &TcpStream,
    mut server: &TcpStream,
    asked: &Asked,
    doomed: &Doomed,
) -> Option<()> {
    let mut behind = "nothing".to_owned();
    loop {
        let piece = piece(client)?;
        if let Some(what) = label(&piece) {
            let boundary = |side| Boundary {
                server: name.to_owned(),
                behind: behind.clone(),
                request: what.clone(),
                side,
            };
            if doomed.reaches(&boundary(Side::Before)) {
                return None;
            }
            *asked.lock().unwrap_or_else(PoisonError::into_inner) = Some(boundary(Side::After));
            behind = what;
        }
        server.write_all(&piece).ok()?;
        client.flush().ok()?;
    }
}

fn answers(
    server: &TcpStream,
    mut client: &TcpStream,
    asked: &Asked,
    doomed: &Doomed,
) -> Option<()> {
    loop {
        let piece = piece(server)?;
        let answered = asked.lock().unwrap_or_else(PoisonError::into_inner).take();
        if answered.is_some_and(|boundary| doomed.reaches(&boundary)) {
            return None;
        }
        client.write_all(&piece).ok()?;
    }
}

fn piece(mut from: &TcpStream) -> Option<Vec<u8>> {
    let mut piece = vec![0; 1 << 16];
    let read = from.read(&mut piece).ok().filter(|read| *read > 0)?;
    piece.truncate(read);
    Some(piece)
}

/// The first command of a pipeline to Redis.
pub fn redis(piece: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(piece);
    let mut lines = text.split("\r\n");
    lines.next().filter(|first| first.starts_with('*'))?;
    lines.next().filter(|length| length.starts_with('$'))?;
    // A pipeline is another request than a command alone.
    let many = if piece.iter().filter(|b| **b == b'*').count() > 1 {
        " …"
    } else {
        ""
    };
    Some(format!("{}{many}", lines.next()?.to_uppercase()))
}

/// The method of a request to S3, and what of its query is no value.
pub fn s3(piece: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(piece);
    let (first, _) = text.split_once("\r\n")?;
    let (method, rest) = first.split_once(' ')?;
    let target = rest.strip_suffix(" HTTP/1.1")?;
    let query = target.split_once('?').map_or("", |(_, query)| query);
    let names = query.split('&').map(|pair| pair.split('=').next().unwrap());
    let names: Vec<&str> = names.collect();
    Some(format!("{method} {}", names.join(" ")))
}

/// The first word of a command to memcached.
pub fn memcached(piece: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(piece);
    let word = text.split([' ', '\r']).next()?;
    Some(word.to_owned())
}
