//! Redis: keys by name, keys by how they begin and end, and members of sets, sorted sets and hashes.
//!
//! Each command names one key, so that it may go to any node behind a proxy. What is found is asked
//! for by its exact name; what is open is looked for by going through all names once for all people
//! asked about.

use super::place::{Adapter, Address, Erased, Failed, Person};
use crate::config::place::redis::Redis as Settings;
use crate::plan::Wanted;
use chrono::{DateTime, SecondsFormat};
use futures_util::future::BoxFuture;
use redis::aio::MultiplexedConnection;
use redis::{Cmd, ErrorKind, Pipeline, RedisError, Value};
use std::collections::{BTreeMap, BTreeSet};

/// Commands sent before their answers are read.
const AT_ONCE: usize = 1000;
/// Names asked for in one step through all of them.
const STEP: usize = 1000;

/// Answers that pass by themselves, or by what an operator does without us.
const PASSING: &[&str] = &[
    "LOADING",
    "BUSY",
    "READONLY",
    "MASTERDOWN",
    "TRYAGAIN",
    "CLUSTERDOWN",
    "OOM",
    "MISCONF",
    "NOAUTH",
    "WRONGPASS",
    "NOREPLICAS",
];

/// The adapter. Each call has a connection of its own.
pub struct Redis {
    settings: Settings,
}

/// Where something lies: an [`Address`] read.
#[derive(Clone, Copy)]
enum At<'a> {
    Key(&'a [u8]),
    Member(Kind, &'a [u8], &'a [u8]),
}

/// What has members.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Hash,
    Set,
    SortedSet,
}

impl Redis {
    /// An adapter of these settings. Nothing is asked yet.
    pub fn new(settings: &Settings) -> Self {
        Self {
            settings: settings.clone(),
        }
    }

    async fn connect(&self) -> Result<MultiplexedConnection, Failed> {
        let Settings {
            host,
            port,
            database,
            user,
            password,
        } = &self.settings;
        let secret = password.as_ref().map(|source| source.load());
        let secret = secret
            .transpose()
            .map_err(|e| Failed::later(e.to_string()))?;
        let mut session = redis::RedisConnectionInfo::default().set_db(*database);
        if let Some(user) = user {
            session = session.set_username(user.as_str());
        }
        if let Some(password) = secret.as_ref().and_then(|s| s.expose_line()) {
            session = session.set_password(password);
        }
        let info = redis::IntoConnectionInfo::into_connection_info((host.as_str(), *port));
        let client = info.and_then(|info| redis::Client::open(info.set_redis_settings(session)));
        let client = client.map_err(|e| said(&e))?;
        // Calls are bounded as a whole, by the system's own time.
        let patient = redis::AsyncConnectionConfig::new()
            .set_connection_timeout(None)
            .set_response_timeout(None);
        let connection = client.get_multiplexed_async_connection_with_config(&patient);
        let connection = connection.await;
        connection.map_err(|e| said(&e))
    }

    /// The kinds of what people are sought among the members of.
    async fn kinds(
        &self,
        connection: &mut MultiplexedConnection,
        people: &[Person],
    ) -> Result<BTreeMap<String, Kind>, Failed> {
        let wanted = people.iter().flat_map(|person| &person.wanted);
        let names: BTreeSet<&str> = wanted
            .filter_map(|wanted| match wanted {
                Wanted::Member { of, .. } => Some(of.as_str()),
                _ => None,
            })
            .collect();
        let mut kinds = BTreeMap::new();
        for name in names {
            let kind: String = ask(connection, Cmd::new().arg("TYPE").arg(name)).await?;
            let kind = match kind.as_str() {
                "none" => continue,
                "hash" => Kind::Hash,
                "set" => Kind::Set,
                "zset" => Kind::SortedSet,
                _ => {
                    return Err(Failed::stuck(
                        "what `in` names is no set, sorted set or hash",
                    ));
                }
            };
            kinds.insert(name.to_owned(), kind);
        }
        Ok(kinds)
    }

    async fn all(&self, people: &[Person]) -> Result<Vec<BTreeSet<Address>>, Failed> {
        let mut connection = self.connect().await?;
        let kinds = self.kinds(&mut connection, people).await?;
        let mut exact: Vec<(usize, Address)> = Vec::new();
        let mut open: Vec<(usize, &Wanted)> = Vec::new();
        for (at, person) in people.iter().enumerate() {
            for wanted in &person.wanted {
                match wanted {
                    Wanted::Key(key) => exact.push((at, At::Key(key.as_bytes()).address())),
                    Wanted::Between { .. } => open.push((at, wanted)),
                    Wanted::Member { of, value } => {
                        let kind = kinds.get(of);
                        let member =
                            kind.map(|kind| At::Member(*kind, of.as_bytes(), value.as_bytes()));
                        exact.extend(member.map(|member| (at, member.address())));
                    }
                    Wanted::Person(_) => {}
                }
            }
        }
        let addresses: Vec<&Address> = exact.iter().map(|(_, address)| address).collect();
        let there = are_there(&mut connection, &addresses).await?;
        let mut found = vec![BTreeSet::new(); people.len()];
        for ((at, address), there) in exact.into_iter().zip(there) {
            if there {
                found[at].insert(address);
            }
        }
        through_all_names(&mut connection, &open, &mut found).await?;
        Ok(found)
    }
}

/// Goes through all names once; a name may come twice, and one that came or went meanwhile may be missed.
async fn through_all_names(
    connection: &mut MultiplexedConnection,
    open: &[(usize, &Wanted)],
    found: &mut [BTreeSet<Address>],
) -> Result<(), Failed> {
    if open.is_empty() {
        return Ok(());
    }
    let pattern = [escaped(&common_beginning(open)), b"*".to_vec()].concat();
    let mut cursor: u64 = 0;
    loop {
        let mut scan = Cmd::new();
        scan.arg("SCAN").arg(cursor).arg("MATCH").arg(&pattern);
        scan.arg("COUNT").arg(STEP);
        let (next, names): (u64, Vec<Vec<u8>>) = ask(connection, &scan).await?;
        for name in names {
            for (at, wanted) in open {
                if wanted.takes(&name) {
                    found[*at].insert(At::Key(&name).address());
                }
            }
        }
        cursor = next;
        if cursor == 0 {
            return Ok(());
        }
    }
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

async fn are_there(
    connection: &mut MultiplexedConnection,
    addresses: &[&Address],
) -> Result<Vec<bool>, Failed> {
    let asked = addresses.iter().filter_map(|address| At::read(address));
    let asked = asked.map(|at| match at {
        At::Key(key) => command("EXISTS", &[key]),
        At::Member(Kind::Hash, of, value) => command("HEXISTS", &[of, value]),
        At::Member(Kind::Set, of, value) => command("SISMEMBER", &[of, value]),
        At::Member(Kind::SortedSet, of, value) => command("ZSCORE", &[of, value]),
    });
    let answers = pipelined(connection, asked.collect()).await?;
    Ok(answers
        .iter()
        .map(|answer| !matches!(answer, Value::Nil | Value::Int(0)))
        .collect())
}

async fn pipelined(
    connection: &mut MultiplexedConnection,
    commands: Vec<Cmd>,
) -> Result<Vec<Value>, Failed> {
    let mut answers = Vec::with_capacity(commands.len());
    for some in commands.chunks(AT_ONCE) {
        let mut pipeline = Pipeline::with_capacity(some.len());
        for command in some {
            pipeline.add_command(command.clone());
        }
        let given: Result<Vec<Value>, RedisError> = pipeline.query_async(connection).await;
        answers.extend(given.map_err(|e| said(&e))?);
    }
    match answers.len() == commands.len() {
        true => Ok(answers),
        false => Err(Failed::later("the server's answers are not complete")),
    }
}

fn command(name: &str, arguments: &[&[u8]]) -> Cmd {
    let mut command = Cmd::new();
    command.arg(name);
    for argument in arguments {
        command.arg(*argument);
    }
    command
}

async fn ask<T: redis::FromRedisValue>(
    connection: &mut MultiplexedConnection,
    command: &Cmd,
) -> Result<T, Failed> {
    command.query_async(connection).await.map_err(|e| said(&e))
}

/// The first word of an error, which is the server's code; never the rest, where a key may stand.
fn said(error: &RedisError) -> Failed {
    match error.code() {
        Some("MOVED" | "ASK" | "CROSSSLOT") => {
            Failed::stuck("the server is a node of a cluster: name a proxy of the cluster")
        }
        Some(code) if PASSING.contains(&code) => {
            Failed::later(format!("the server answered {code}"))
        }
        Some(code) if code.bytes().all(|b| b.is_ascii_uppercase()) => {
            Failed::stuck(format!("the server answered {code}"))
        }
        _ if error.kind() == ErrorKind::AuthenticationFailed => {
            Failed::later("the server refuses the login")
        }
        Some(_) => Failed::stuck("the server answered with an error"),
        None => Failed::later("the connection failed"),
    }
}

impl<'a> At<'a> {
    fn address(self) -> Address {
        match self {
            Self::Key(key) => Address::new([b"k", key].concat()),
            Self::Member(kind, of, value) => {
                let tag: &[u8] = match kind {
                    Kind::Hash => b"h",
                    Kind::Set => b"s",
                    Kind::SortedSet => b"z",
                };
                let length = u32::try_from(of.len()).unwrap_or(u32::MAX).to_be_bytes();
                Address::new([tag, &length, of, value].concat())
            }
        }
    }

    /// Every address that comes in here was made here.
    fn read(address: &'a Address) -> Option<Self> {
        let (tag, rest) = address.bytes().split_first()?;
        let kind = match tag {
            b'k' => return Some(Self::Key(rest)),
            b'h' => Kind::Hash,
            b's' => Kind::Set,
            b'z' => Kind::SortedSet,
            _ => return None,
        };
        let (length, rest) = rest.split_first_chunk::<4>()?;
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        let (of, value) = rest.split_at_checked(length)?;
        Some(Self::Member(kind, of, value))
    }
}

impl Adapter for Redis {
    fn check(&self) -> BoxFuture<'_, Result<(), Failed>> {
        Box::pin(async {
            let mut connection = self.connect().await?;
            let role: Vec<Value> = ask(&mut connection, Cmd::new().arg("ROLE")).await?;
            let role: Option<String> = role
                .first()
                .and_then(|r| redis::from_redis_value(r.clone()).ok());
            match role.as_deref() {
                Some("master") => {}
                _ => {
                    return Err(Failed::later(
                        "it is a replica: what is erased there comes back",
                    ));
                }
            }
            let mut scan = Cmd::new();
            scan.arg("SCAN").arg(0).arg("COUNT").arg(1);
            ask::<Value>(&mut connection, &scan).await.map(drop)
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
            let mut connection = self.connect().await?;
            let commands = found
                .iter()
                .flatten()
                .filter_map(At::read)
                .map(|at| match at {
                    At::Key(key) => command("UNLINK", &[key]),
                    At::Member(Kind::Hash, of, value) => command("HDEL", &[of, value]),
                    At::Member(Kind::Set, of, value) => command("SREM", &[of, value]),
                    At::Member(Kind::SortedSet, of, value) => command("ZREM", &[of, value]),
                });
            pipelined(&mut connection, commands.collect()).await?;
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
            let mut connection = self.connect().await?;
            for (left, erased) in left.iter_mut().zip(erased) {
                let erased: Vec<&Address> = erased.iter().collect();
                let there = are_there(&mut connection, &erased).await?;
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
            let mut connection = self.connect().await.ok()?;
            let info = command("INFO", &[b"persistence"]);
            let info: String = ask(&mut connection, &info).await.ok()?;
            let of = |name: &str| {
                let mut lines = info.lines();
                lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
            };
            let log = match of("aof_enabled")? {
                "0" => "It keeps no append-only file",
                _ => "Its append-only file keeps what was erased until it is rewritten",
            };
            let saved = of("rdb_last_save_time")?.parse().ok()?;
            let saved = DateTime::from_timestamp(saved, 0)?;
            let saved = saved.to_rfc3339_opts(SecondsFormat::Secs, true);
            Some(format!(
                "{log}; its last snapshot was made at {saved}, and what is in snapshots, replicas and backups of before stays there until they are replaced."
            ))
        })
    }
}
