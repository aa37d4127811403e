//! memcached: a cache whose keys nobody can list. Each is asked for by its name.

use super::place::{Adapter, Address, Erased, Failed, Person};
use crate::config::place::memcached::Memcached as Settings;
use crate::plan::Wanted;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::future::BoxFuture;
use std::collections::BTreeSet;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use zeroize::Zeroizing;

/// A longer key is nobody's: the server takes none.
const LONGEST_KEY: usize = 250;
/// No answer to what is asked here is longer.
const LONGEST_ANSWER: u64 = 1024;
/// Commands sent before their answers are read.
const AT_ONCE: usize = 100;
/// What is tried. An older server may not know `b`, and would look for another key than is meant.
const OLDEST: (u32, u32, u32) = (1, 6, 18);

/// The adapter. Each call has a connection of its own.
pub struct Memcached {
    settings: Settings,
}

impl Memcached {
    /// An adapter of these settings. Nothing is asked yet.
    pub fn new(settings: &Settings) -> Self {
        Self {
            settings: settings.clone(),
        }
    }

    async fn connect(&self) -> Result<BufReader<TcpStream>, Failed> {
        let at = (self.settings.host.as_str(), self.settings.port);
        let stream = TcpStream::connect(at).await;
        let mut server = BufReader::new(stream.map_err(lost)?);
        server.write_all(b"version\r\n").await.map_err(lost)?;
        let said = answer(&mut server).await?;
        match said.strip_prefix("VERSION ").map(version) {
            Some(known) if known >= Some(OLDEST) => Ok(server),
            Some(_) => Err(Failed::stuck("it is older than memcached 1.6.18")),
            None => Err(refused(&said)),
        }
    }

    /// Says this of each key, and whether the server had it.
    async fn each(&self, command: &str, keys: &[&[u8]]) -> Result<Vec<bool>, Failed> {
        let mut server = self.connect().await?;
        let mut had = Vec::with_capacity(keys.len());
        for some in keys.chunks(AT_ONCE) {
            let mut lines = Zeroizing::new(Vec::new());
            for key in some {
                say(command, key, &mut lines)?;
            }
            server.write_all(&lines).await.map_err(lost)?;
            for _ in some {
                let said = answer(&mut server).await?;
                // Behind it may stand that the item is stale.
                had.push(match said.split(' ').next() {
                    Some("HD") => true,
                    Some("EN" | "NF") => false,
                    _ => return Err(refused(&said)),
                });
            }
        }
        Ok(had)
    }

    /// Which of these are there, for each person.
    async fn there(&self, keys: Vec<(usize, &[u8])>, people: usize) -> Answered {
        let names: Vec<&[u8]> = keys.iter().map(|(_, key)| *key).collect();
        let had = self.each("mg", &names).await?;
        let mut there = vec![BTreeSet::new(); people];
        for ((person, key), had) in keys.into_iter().zip(had) {
            if had {
                there[person].insert(Address::new(key));
            }
        }
        let there = there.into_iter();
        Ok(there.map(|one| one.into_iter().collect()).collect())
    }
}

type Answered = Result<Vec<Vec<Address>>, Failed>;

/// A key with a blank or a line end in it goes as base64: whatever stands in a value, it is no command.
fn say(command: &str, key: &[u8], lines: &mut Vec<u8>) -> Result<(), Failed> {
    let plain = key.iter().all(|byte| *byte > b' ' && *byte != 0x7f);
    let encoded = Zeroizing::new(STANDARD.encode(key));
    let (name, flag): (&[u8], &[u8]) = match (plain, encoded.len() > LONGEST_KEY) {
        (true, _) => (key, b""),
        (false, false) => (encoded.as_bytes(), b" b"),
        (false, true) => {
            return Err(Failed::stuck(
                "a key with blanks is too long to be asked for",
            ));
        }
    };
    for part in [command.as_bytes(), b" ", name, flag, b"\r\n"] {
        lines.extend_from_slice(part);
    }
    Ok(())
}

/// One line of the server's, without its end.
async fn answer(server: &mut BufReader<TcpStream>) -> Result<String, Failed> {
    let mut line = String::new();
    let read = server.take(LONGEST_ANSWER).read_line(&mut line).await;
    read.map_err(lost)?;
    match line.strip_suffix("\r\n") {
        Some(said) => Ok(said.to_owned()),
        None => Err(Failed::later("the server's answer is not complete")),
    }
}

fn version(text: &str) -> Option<(u32, u32, u32)> {
    let mut parts = text.split(['.', '-', '_']).map(|part| part.parse().ok());
    Some((parts.next()??, parts.next()??, parts.next()??))
}

fn lost(_: std::io::Error) -> Failed {
    Failed::later("the connection failed")
}

/// An answer by its first word alone: behind it stand pieces of what was asked.
fn refused(said: &str) -> Failed {
    match said.split(' ').next() {
        Some("SERVER_ERROR") => Failed::later("the server answered SERVER_ERROR"),
        // So it says that it has too many connections.
        Some("ERROR") => Failed::later("the server answered ERROR"),
        _ => Failed::stuck("the server's answer is not understood"),
    }
}

/// By whose number each key is to be asked for. One that is too long is not there.
fn sought(people: &[Person]) -> Vec<(usize, &[u8])> {
    let people = people.iter().enumerate();
    let keys = people.flat_map(|(at, person)| person.wanted.iter().map(move |w| (at, w)));
    let keys = keys.filter_map(|(at, wanted)| match wanted {
        Wanted::Key(key) => Some((at, key.as_bytes())),
        _ => None,
    });
    keys.filter(|(_, key)| (1..=LONGEST_KEY).contains(&key.len()))
        .collect()
}

impl Adapter for Memcached {
    fn check(&self) -> BoxFuture<'_, Result<(), Failed>> {
        Box::pin(async { self.connect().await.map(drop) })
    }

    fn find<'a>(&'a self, _place: &'a str, people: &'a [Person]) -> BoxFuture<'a, Answered> {
        Box::pin(self.there(sought(people), people.len()))
    }

    fn erase<'a>(
        &'a self,
        _place: &'a str,
        people: &'a [Person],
        found: &'a [Vec<Address>],
    ) -> BoxFuture<'a, Result<Vec<Erased>, Failed>> {
        Box::pin(async move {
            let keys: Vec<&[u8]> = found.iter().flatten().map(Address::bytes).collect();
            // One that is gone already is no failure, so it does not matter which were there.
            self.each("md", &keys).await?;
            Ok(vec![Erased::Gone; people.len()])
        })
    }

    /// What was erased is asked for by its name too: the rows that named it may be gone.
    fn probe<'a>(
        &'a self,
        _place: &'a str,
        people: &'a [Person],
        erased: &'a [Vec<Address>],
    ) -> BoxFuture<'a, Answered> {
        let mut keys = sought(people);
        for (at, erased) in erased.iter().enumerate() {
            keys.extend(erased.iter().map(|address| (at, address.bytes())));
        }
        Box::pin(self.there(keys, people.len()))
    }
}
