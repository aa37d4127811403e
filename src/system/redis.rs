//! Redis: keys by name, keys by how they begin and end, members of sets, sorted sets and hashes, entries of streams.
//!
//! Each command names one key, so that it may go to any server of a cluster, or through a proxy. What is found is asked
//! for by its exact name; what is open is looked for by going through all names once for all people
//! asked about.

mod address;
mod cluster;
mod servers;
mod stream;

use super::place::{Adapter, Address, Erased, Failed, Person};
use crate::config::place::redis::Redis as Settings;
use crate::plan::Wanted;
use address::{At, Kind, command, is_there};
use chrono::{DateTime, SecondsFormat};
use futures_util::future::BoxFuture;
use redis::Cmd;
use servers::{Servers, strange};
use std::collections::{BTreeMap, BTreeSet};
use stream::through_streams;

/// Names asked for in one step through all of them.
const STEP: usize = 1000;

/// The adapter. Each call has connections of its own.
pub struct Redis {
    settings: Settings,
}

impl Redis {
    /// An adapter of these settings. Nothing is asked yet.
    pub fn new(settings: &Settings) -> Self {
        Self {
            settings: settings.clone(),
        }
    }

    async fn all(&self, people: &[Person]) -> Result<Vec<BTreeSet<Address>>, Failed> {
        let mut servers = Servers::connect(&self.settings).await?;
        let kinds = kinds(&mut servers, people).await?;
        let mut exact: Vec<(usize, Address)> = Vec::new();
        let mut open: Vec<(usize, &Wanted)> = Vec::new();
        let mut entries: Vec<(usize, &Wanted)> = Vec::new();
        for (at, person) in people.iter().enumerate() {
            for wanted in &person.wanted {
                match wanted {
                    Wanted::Key(key) => exact.push((at, At::Key(key.as_bytes()).address())),
                    Wanted::Between { .. } => open.push((at, wanted)),
                    Wanted::Member { of, value, .. } => match kinds.get(of) {
                        None => {}
                        Some(Kind::Stream) => entries.push((at, wanted)),
                        Some(kind) => {
                            let member = At::Member(*kind, of.as_bytes(), value.as_bytes());
                            exact.push((at, member.address()));
                        }
                    },
                    Wanted::Person(_) => {}
                }
            }
        }
        let addresses: Vec<&Address> = exact.iter().map(|(_, address)| address).collect();
        let there = are_there(&mut servers, &addresses).await?;
        let mut found = vec![BTreeSet::new(); people.len()];
        for ((at, address), there) in exact.into_iter().zip(there) {
            if there {
                found[at].insert(address);
            }
        }
        through_streams(&mut servers, &entries, &mut found).await?;
        through_all_names(&mut servers, &open, &mut found).await?;
        Ok(found)
    }
}

/// The kinds of what people are sought among the members of.
async fn kinds(servers: &mut Servers, people: &[Person]) -> Result<BTreeMap<String, Kind>, Failed> {
    let wanted = people.iter().flat_map(|person| &person.wanted);
    let names: BTreeSet<(&str, bool)> = wanted
        .filter_map(|wanted| match wanted {
            Wanted::Member { of, field, .. } => Some((of.as_str(), field.is_some())),
            _ => None,
        })
        .collect();
    let asked = names.iter().map(|(name, _)| {
        let name = name.as_bytes();
        (name, command("TYPE", &[name]))
    });
    let answers = servers.pipelined(asked.collect()).await?;
    let mut kinds = BTreeMap::new();
    for ((name, by_field), answer) in names.into_iter().zip(answers) {
        let word: String = redis::from_redis_value(answer).map_err(|_| strange())?;
        if word == "none" {
            continue;
        }
        let kind = match (Kind::of(&word), by_field) {
            (Some(Kind::Stream), false) => {
                return Err(Failed::stuck(
                    "what `in` names is a stream: write which `field` of an entry says whose it is",
                ));
            }
            (Some(Kind::Stream), true) => Kind::Stream,
            (Some(kind), false) => kind,
            (Some(_) | None, _) => {
                return Err(Failed::stuck(
                    "what `in` names is no set, sorted set or hash, and with a `field` no stream",
                ));
            }
        };
        kinds.insert(name.to_owned(), kind);
    }
    Ok(kinds)
}

/// Goes through all names once; a name may come twice, and one that came or went meanwhile may be missed.
async fn through_all_names(
    servers: &mut Servers,
    open: &[(usize, &Wanted)],
    found: &mut [BTreeSet<Address>],
) -> Result<(), Failed> {
    if open.is_empty() {
        return Ok(());
    }
    servers.rest().await?;
    let pattern = [escaped(&common_beginning(open)), b"*".to_vec()].concat();
    for server in 0..servers.count() {
        let mut cursor: u64 = 0;
        loop {
            let mut scan = Cmd::new();
            scan.arg("SCAN").arg(cursor).arg("MATCH").arg(&pattern);
            scan.arg("COUNT").arg(STEP);
            let answer = servers.ask_one(server, &scan).await?;
            let (next, names): (u64, Vec<Vec<u8>>) =
                redis::from_redis_value(answer).map_err(|_| strange())?;
            for name in names {
                for (at, wanted) in open {
                    if wanted.takes(&name) {
                        found[*at].insert(At::Key(&name).address());
                    }
                }
            }
            cursor = next;
            if cursor == 0 {
                break;
            }
        }
    }
    servers.rest().await
}

/// What all that is looked for has in common, so that the server need not send every name.
fn common_beginning(open: &[(usize, &Wanted)]) -> Vec<u8> {
    let beginnings = open.iter().filter_map(|(_, wanted)| match wanted {
        Wanted::Between { begins, .. } => Some(begins.as_bytes()),
        _ => None,
    });
    let common =
        |one: &[u8], other: &[u8]| one.iter().zip(other).take_while(|(a, b)| a == b).count();
    beginnings
        .reduce(|one, other| &one[..common(one, other)])
        .unwrap_or_default()
        .to_vec()
}

/// Nothing in it is a pattern to Redis.
fn escaped(text: &[u8]) -> Vec<u8> {
    let mut escaped = Vec::with_capacity(text.len());
    for byte in text {
        if matches!(byte, b'*' | b'?' | b'[' | b']' | b'\\' | b'^' | b'-') {
            escaped.push(b'\\');
        }
        escaped.push(*byte);
    }
    escaped
}

async fn are_there(servers: &mut Servers, addresses: &[&Address]) -> Result<Vec<bool>, Failed> {
    let asked = addresses.iter().filter_map(|address| At::read(address));
    let asked = asked.map(|at| (at.key(), at.look())).collect();
    let answers = servers.pipelined(asked).await?;
    Ok(answers.iter().map(is_there).collect())
}

impl Adapter for Redis {
    fn check(&self) -> BoxFuture<'_, Result<(), Failed>> {
        Box::pin(async {
            let mut servers = Servers::connect(&self.settings).await?;
            for server in 0..servers.count() {
                let mut scan = Cmd::new();
                scan.arg("SCAN").arg(0).arg("COUNT").arg(1);
                servers.ask_one(server, &scan).await?;
            }
            Ok(())
        })
    }

    fn find<'a>(
        &'a self,
        _place: &'a str,
        people: &'a [Person],
    ) -> BoxFuture<'a, Result<Vec<Vec<Address>>, Failed>> {
        Box::pin(async move {
            let found = self.all(people).await?.into_iter();
            Ok(found.map(|one| one.into_iter().collect()).collect())
        })
    }

    fn erase<'a>(
        &'a self,
        _place: &'a str,
        people: &'a [Person],
        found: &'a [Vec<Address>],
    ) -> BoxFuture<'a, Result<Vec<Erased>, Failed>> {
        Box::pin(async move {
            let mut servers = Servers::connect(&self.settings).await?;
            let all = found.iter().flatten().filter_map(At::read);
            let all = all.map(|at| (at.key(), at.take())).collect();
            servers.pipelined(all).await?;
            Ok(vec![Erased::Gone; people.len()])
        })
    }

    fn probe<'a>(
        &'a self,
        _place: &'a str,
        people: &'a [Person],
        erased: &'a [Vec<Address>],
    ) -> BoxFuture<'a, Result<Vec<Vec<Address>>, Failed>> {
        Box::pin(async move {
            let mut left = self.all(people).await?;
            let mut servers = Servers::connect(&self.settings).await?;
            for (left, erased) in left.iter_mut().zip(erased) {
                let erased: Vec<&Address> = erased.iter().collect();
                let there = are_there(&mut servers, &erased).await?;
                let there = erased.into_iter().zip(there).filter(|(_, there)| *there);
                left.extend(there.map(|(address, _)| address.clone()));
            }
            Ok(left
                .into_iter()
                .map(|one| one.into_iter().collect())
                .collect())
        })
    }

    fn copies(&self) -> BoxFuture<'_, Option<String>> {
        Box::pin(async {
            let mut servers = Servers::connect(&self.settings).await.ok()?;
            let (mut logs, mut saved) = (false, None);
            for server in 0..servers.count() {
                let info = command("INFO", &[b"persistence"]);
                let info = servers.ask_one(server, &info).await.ok()?;
                let info: String = redis::from_redis_value(info).ok()?;
                let of = |name: &str| {
                    let mut lines = info.lines();
                    lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
                };
                logs |= of("aof_enabled")? != "0";
                let at: i64 = of("rdb_last_save_time")?.parse().ok()?;
                saved = Some(saved.map_or(at, |known: i64| known.min(at)));
            }
            let log = match logs {
                false => "It keeps no append-only file",
                true => "Its append-only file keeps what was erased until it is rewritten",
            };
            let saved = DateTime::from_timestamp(saved?, 0)?;
            let saved = saved.to_rfc3339_opts(SecondsFormat::Secs, true);
            Some(format!(
                "{log}; its last snapshot was made at {saved}, and what is in snapshots, replicas and backups of before stays there until they are replaced."
            ))
        })
    }
}
