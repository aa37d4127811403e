//! Who is spoken to: one server, or all of a cluster that take writes. A redirection leads to nobody else.

use super::address::command;
use super::cluster::{Layout, Place};
use crate::config::place::redis::{Redis as Settings, Tls};
use crate::exchange::{Lost, client};
use crate::secret::SecretBytes;
use crate::system::place::Failed;
use redis::aio::MultiplexedConnection;
use redis::{Cmd, ErrorKind, Pipeline, RedisConnectionInfo, RedisError, Value};
use rustls::pki_types::ServerName;
use std::collections::BTreeMap;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Commands sent before their answers are read.
const AT_ONCE: usize = 1000;

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

/// The servers of one call, and who of them has which key.
pub(super) struct Servers {
    each: Vec<MultiplexedConnection>,
    /// Of a cluster.
    layout: Option<Layout>,
}

/// A command, and the one key that it is about.
pub(super) type Keyed<'k> = (&'k [u8], Cmd);

/// Which answer of a pipeline leads to which server, and whether that has to be told to expect it.
type Elsewhere = BTreeMap<(usize, bool), Vec<usize>>;

impl Servers {
    /// Connects to all of them.
    pub(super) async fn connect(settings: &Settings) -> Result<Self, Failed> {
        let secret = settings.password.as_ref().map(|source| source.load());
        let secret = secret
            .transpose()
            .map_err(|e| Failed::later(e.to_string()))?;
        let named = (settings.host.clone(), settings.port);
        let mut first = connect(settings, &named, secret.as_ref()).await?;
        if !settings.cluster {
            return Ok(Self {
                each: vec![first],
                layout: None,
            });
        }
        let layout = layout(&mut first, &settings.host).await?;
        let mut each = Vec::with_capacity(layout.servers.len());
        for place in &layout.servers {
            each.push(connect(settings, place, secret.as_ref()).await?);
        }
        Ok(Self {
            each,
            layout: Some(layout),
        })
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.each.len()
    }

    /// Asks the server at this position.
    pub(super) async fn ask_one(&mut self, at: usize, command: &Cmd) -> Result<Value, Failed> {
        command
            .query_async(&mut self.each[at])
            .await
            .map_err(|e| said(&e))
    }

    /// Asks whoever has this key.
    pub(super) async fn ask(&mut self, key: &[u8], command: Cmd) -> Result<Value, Failed> {
        let answers = self.pipelined(vec![(key, command)]).await?;
        answers.into_iter().next().ok_or_else(strange)
    }

    /// An answer for each command, each from whoever has its key.
    pub(super) async fn pipelined(
        &mut self,
        commands: Vec<Keyed<'_>>,
    ) -> Result<Vec<Value>, Failed> {
        let mut by_server: Elsewhere = BTreeMap::new();
        for (at, (key, _)) in commands.iter().enumerate() {
            let server = self.layout.as_ref().map_or(0, |layout| layout.of(key));
            by_server.entry((server, false)).or_default().push(at);
        }
        let mut answers = vec![Value::Nil; commands.len()];
        let elsewhere = self.round(&commands, by_server, &mut answers).await?;
        // Whose key is just on its way is led on once: the layout is as old as this call.
        let left = self.round(&commands, elsewhere, &mut answers).await?;
        match left.is_empty() {
            true => Ok(answers),
            false => Err(moving()),
        }
    }

    /// Has each answered by the server that it is said to be with. Returns what those say is with others.
    async fn round(
        &mut self,
        commands: &[Keyed<'_>],
        by_server: Elsewhere,
        answers: &mut [Value],
    ) -> Result<Elsewhere, Failed> {
        let mut elsewhere: Elsewhere = BTreeMap::new();
        for ((server, asking), all) in by_server {
            for some in all.chunks(AT_ONCE) {
                let these = some.iter().map(|at| &commands[*at].1);
                let given = many(&mut self.each[server], these, asking).await?;
                for (at, answer) in some.iter().zip(given) {
                    match answer {
                        Value::ServerError(error) => {
                            let next = self.leads_to(error.code(), error.details(), server)?;
                            elsewhere.entry(next).or_default().push(*at);
                        }
                        answer => answers[*at] = answer,
                    }
                }
            }
        }
        Ok(elsewhere)
    }

    /// To whom an error leads; a failure if it is no redirection, or to somebody the cluster does not list.
    fn leads_to(
        &self,
        code: &str,
        details: Option<&str>,
        from: usize,
    ) -> Result<(usize, bool), Failed> {
        let (Some(layout), "MOVED" | "ASK") = (&self.layout, code) else {
            return Err(answered(code));
        };
        let known = details.and_then(|details| layout.named(details, from));
        known.map(|at| (at, code == "ASK")).ok_or_else(moving)
    }

    /// Fails while keys are on their way from one server to another: who goes through the names of both may
    /// meet such a key on neither.
    pub(super) async fn rest(&mut self) -> Result<(), Failed> {
        let Some(known) = self.layout.take() else {
            return Ok(());
        };
        let mut same = true;
        for at in 0..self.each.len() {
            let nodes = self.ask_one(at, &command("CLUSTER", &[b"NODES"])).await?;
            let nodes: String = redis::from_redis_value(nodes).map_err(|_| strange())?;
            let mut lines = nodes.lines();
            let own = lines
                .find(|line| line.contains("myself"))
                .ok_or_else(strange)?;
            // Whoever is a master no more, or has not heard of the others lately, knows nothing.
            let master = own
                .split(' ')
                .nth(2)
                .is_some_and(|flags| flags.contains("master"));
            if own.contains(" [") || !master {
                return Err(moving());
            }
            let host = &known.servers[at].0;
            same &= layout(&mut self.each[at], host).await?.same(&known);
        }
        self.layout = Some(known);
        match same {
            true => Ok(()),
            false => Err(moving()),
        }
    }
}

/// What a server says of its cluster.
async fn layout(server: &mut MultiplexedConnection, host: &str) -> Result<Layout, Failed> {
    let asked = command("CLUSTER", &[b"SLOTS"]);
    let slots: Value = asked.query_async(server).await.map_err(|e| said(&e))?;
    Layout::read(&slots, host)
        .ok_or_else(|| Failed::later("the cluster does not name a server for each of its slots"))
}

async fn connect(
    settings: &Settings,
    (host, port): &Place,
    secret: Option<&SecretBytes>,
) -> Result<MultiplexedConnection, Failed> {
    if !settings.may_be_told(host) {
        return Err(Failed::stuck(
            "the cluster names a server on another machine, and what is said to that would go through the network in the clear",
        ));
    }
    let mut session = RedisConnectionInfo::default().set_db(settings.database);
    if let Some(user) = &settings.user {
        session = session.set_username(user.as_str());
    }
    if let Some(password) = secret.and_then(SecretBytes::expose_line) {
        session = session.set_password(password);
    }
    let stream = TcpStream::connect((host.as_str(), *port)).await;
    let stream = stream.map_err(|_| Failed::later("the connection failed"))?;
    let mut server = match &settings.tls {
        None => begin(&session, stream).await?,
        Some(tls) => begin(&session, sealed(tls, host, stream).await?).await?,
    };
    takes_writes(&mut server).await?;
    Ok(server)
}

/// A replica answers questions too, by what it has heard: what it does not have may be there all the same.
async fn takes_writes(server: &mut MultiplexedConnection) -> Result<(), Failed> {
    let role: Value = command("ROLE", &[])
        .query_async(server)
        .await
        .map_err(|e| said(&e))?;
    let role: Vec<Value> = redis::from_redis_value(role).map_err(|_| strange())?;
    let role = role.into_iter().next();
    let role: Option<String> = role.and_then(|r| redis::from_redis_value(r).ok());
    match role.as_deref() {
        Some("master") => Ok(()),
        _ => Err(Failed::later(
            "it is a replica: what is erased there comes back",
        )),
    }
}

/// TLS with whom the name says.
async fn sealed(
    tls: &Tls,
    host: &str,
    stream: TcpStream,
) -> Result<tokio_rustls::client::TlsStream<TcpStream>, Failed> {
    let refused = || Failed::later("TLS with it does not come about");
    let name = ServerName::try_from(host.to_owned()).map_err(|_| refused())?;
    let client = client(tls.ca_file.as_deref()).map_err(|lost| match lost {
        Lost::CaFile => Failed::later("its ca_file cannot be used"),
        _ => refused(),
    })?;
    let sealed = TlsConnector::from(client).connect(name, stream).await;
    sealed.map_err(|_| refused())
}

async fn begin(
    session: &RedisConnectionInfo,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> Result<MultiplexedConnection, Failed> {
    // Calls are bounded as a whole, by the system's own time.
    let patient = redis::AsyncConnectionConfig::new()
        .set_connection_timeout(None)
        .set_response_timeout(None);
    let begun = MultiplexedConnection::new_with_config(session, stream, patient).await;
    let (connection, driver) = begun.map_err(|e| said(&e))?;
    // It ends when the connection is dropped.
    tokio::spawn(driver);
    Ok(connection)
}

/// An answer for each, errors among them.
async fn many<'c>(
    server: &mut MultiplexedConnection,
    commands: impl Iterator<Item = &'c Cmd>,
    asking: bool,
) -> Result<Vec<Value>, Failed> {
    let mut pipeline = Pipeline::new();
    pipeline.ignore_errors();
    let mut count = 0;
    for command in commands {
        if asking {
            pipeline.cmd("ASKING").ignore();
        }
        pipeline.add_command(command.clone());
        count += 1;
    }
    let answers: Result<Vec<Value>, RedisError> = pipeline.query_async(server).await;
    let answers = answers.map_err(|e| said(&e))?;
    match answers.len() == count {
        true => Ok(answers),
        false => Err(Failed::later("the server's answers are not complete")),
    }
}

/// An answer that is none to what was asked.
pub(super) fn strange() -> Failed {
    Failed::stuck("the server's answer is not understood")
}

fn moving() -> Failed {
    Failed::later("keys are being moved between the servers of the cluster")
}

/// The first word of an error, which is the server's code; never the rest, where a key may stand.
fn said(error: &RedisError) -> Failed {
    match error.code() {
        Some(code) if code.bytes().all(|b| b.is_ascii_uppercase()) => answered(code),
        _ if error.kind() == ErrorKind::AuthenticationFailed => {
            Failed::later("the server refuses the login")
        }
        Some(_) => Failed::stuck("the server answered with an error"),
        None => Failed::later("the connection failed"),
    }
}

fn answered(code: &str) -> Failed {
    match code {
        "MOVED" | "ASK" | "CROSSSLOT" => {
            Failed::stuck("the server is a node of a cluster: write cluster = true")
        }
        code if PASSING.contains(&code) => Failed::later(format!("the server answered {code}")),
        code if code.bytes().all(|b| b.is_ascii_uppercase()) => {
            Failed::stuck(format!("the server answered {code}"))
        }
        _ => Failed::stuck("the server answered with an error"),
    }
}
