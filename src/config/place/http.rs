//! `kind = "http"`: a service, and the requests it is asked by.

mod pointer;
mod request;

pub use pointer::Pointer;
pub use request::{Body, Named, Part, Request};

use crate::config::outbox::{Endpoint, is_loopback};
use crate::config::read::{CODES, path_at, secret};
use crate::config::{CalledAt, SecretSource};
use crate::exchange::Addresses;
use crate::reading::{Table, TextOrTable};
use axum::http::{HeaderName, Method};
use request::{Role, request};
use std::num::NonZeroUsize;
use std::path::Path;
use std::time::Duration;

/// A request that cannot be what is asked by.
const NOT_A_REQUEST: &str = "E0155";

/// A service.
#[derive(Clone, Debug)]
pub struct Http {
    /// The one host that is spoken to; its path begins every request's, and ends in no slash.
    pub endpoint: Endpoint,
    /// What its name may lead to.
    pub addresses: Addresses,
    /// What proves to it who asks.
    pub auth: Option<Auth>,
    /// From the beginning of one request to that of the next, at least.
    pub pause: Duration,
    /// Requests at the same time.
    pub at_once: NonZeroUsize,
    /// What it is asked.
    pub requests: Requests,
    /// Where it says that an order is done, if an order says where.
    pub called_at: Option<CalledAt>,
}

/// The requests that a service is asked by.
#[derive(Clone, Debug)]
pub struct Requests {
    /// Answered with 2xx by a service that is there: what says that a 404 means what it says.
    pub check: Request,
    /// What is there of a person; never empty.
    pub find: Vec<Find>,
    /// Takes it away.
    pub erase: Erase,
    /// Whether one thing that was taken away is there still.
    pub probe: Option<Request>,
    /// What became of an order that was taken and not yet done.
    pub status: Option<Status>,
}

/// What proves who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Auth {
    /// `Authorization: Bearer`.
    Bearer(SecretSource),
    /// `Authorization: Basic`.
    Basic {
        /// The user.
        user: String,
        /// Their password.
        password: SecretSource,
    },
    /// A header of the service's own.
    Header {
        /// Its name.
        name: HeaderName,
        /// Its value.
        value: SecretSource,
    },
}

/// A request that says what is there.
#[derive(Clone, Debug)]
pub struct Find {
    /// The request.
    pub request: Request,
    /// Where the ids stand in the answer; without it an answer of 2xx is one thing.
    pub found: Option<Pointer>,
    /// Where it says of each whose it is, by a value that was asked for. It is of the same list.
    pub whose: Option<Pointer>,
}

/// The request that takes something away.
#[derive(Clone, Debug)]
pub struct Erase {
    /// The request.
    pub request: Request,
    /// Where an answer of 409 says by a word why it keeps something.
    pub reason: Option<Pointer>,
}

/// The request that asks what became of an order.
#[derive(Clone, Debug)]
pub struct Status {
    /// The request.
    pub request: Request,
    /// Where the answer says it.
    pub state: Pointer,
    /// What it says then: not yet done.
    pub pending: Vec<String>,
    /// What it says then: done.
    pub done: Vec<String>,
}

pub(super) fn read(table: &Table<'_>, folder: &Path, called_at: Option<&CalledAt>) -> Option<Http> {
    let help = "write where the service is: url = \"https://crm.example/api\"";
    table.need("url", help);
    let endpoint = table.parsed("url", "E0134", help, base);
    let ca_file = path_at(table, "ca_file", folder);
    let private = table.boolean("private").unwrap_or(false);
    let auth = optional(table, "auth", |table| auth(&table, folder));
    let pause = pause(table);
    let at_once = table.integer("at_once", 1..=64).unwrap_or(4);
    let requests = requests(table);
    let calls = requests.as_ref().map(|r| calls(table, r, called_at));
    let (endpoint, _) = endpoint?;
    Some(Http {
        addresses: addresses(&endpoint.host, private),
        endpoint: Endpoint {
            ca_file,
            ..endpoint
        },
        auth: auth?,
        pause: pause?,
        at_once: NonZeroUsize::new(usize::try_from(at_once).ok()?)?,
        requests: requests?,
        called_at: calls??,
    })
}

/// Where it calls, if an order says so; the outer `None` is a mistake.
fn calls(
    table: &Table<'_>,
    requests: &Requests,
    called_at: Option<&CalledAt>,
) -> Option<Option<CalledAt>> {
    if !requests.erase.request.names(&Named::Call) {
        return Some(None);
    }
    let (why, help) = match (called_at, &requests.status) {
        (Some(called_at), Some(_)) => return Some(Some(called_at.clone())),
        (None, _) => (
            "[http] does not say where",
            "write the URL at which services reach this daemon: [http] called_at = \"https://erasured.example\"",
        ),
        (Some(_), None) => (
            "no `status` says what became of an order: a call alone is believed nothing",
            "write how it is asked: status = { path = \"/orders/{:request}\", state = \"/state\", pending = [\"open\"], done = [\"done\"] }",
        ),
    };
    let message = format!(
        "`erase` in {} has itself called back, and {why}",
        table.label()
    );
    table
        .reader()
        .error(NOT_A_REQUEST, table.span_of("erase")?, message, help);
    None
}

fn requests(table: &Table<'_>) -> Option<Requests> {
    for (key, help) in [
        (
            "check",
            "write a request that the service answers with 2xx when it is there: check = { path = \"/health\" }",
        ),
        (
            "find",
            "write how it is asked what is there of a person: find = { path = \"/contacts?email={email}\", found = \"/results/*/id\" }",
        ),
        (
            "erase",
            "write how it is told to take it away: erase = { path = \"/contacts/{:found}\" }",
        ),
    ] {
        table.need(key, help);
    }
    let check = table.table("check").map(|table| whole(table, Role::Check));
    let find = finds(table);
    let erase = table.table("erase").map(|table| erase(&table));
    let probe = optional(table, "probe", |table| whole(table, Role::Probe));
    let status = optional(table, "status", |table| status(&table));
    let requests = Requests {
        check: check??,
        find: find?,
        erase: erase??,
        probe: probe?,
        status: status?,
    };
    ids_are_known(table, &requests)?;
    Some(requests)
}

/// What is there if the table is; the outer `None` is a mistake.
fn optional<T>(
    table: &Table<'_>,
    key: &'static str,
    read: impl FnOnce(Table<'_>) -> Option<T>,
) -> Option<Option<T>> {
    match table.has(key) {
        true => read(table.table(key)?).map(Some),
        false => Some(None),
    }
}

/// What `{:found}` stands for is said by every way to find something.
fn ids_are_known(table: &Table<'_>, requests: &Requests) -> Option<()> {
    let used = [
        ("erase", Some(&requests.erase.request)),
        ("probe", requests.probe.as_ref()),
    ];
    let used = used
        .into_iter()
        .find(|(_, request)| request.is_some_and(|request| request.names(&Named::Found)));
    match used {
        Some((key, _)) if requests.find.iter().any(|find| find.found.is_none()) => {
            let message = format!(
                "`{key}` in {} names {{:found}}, and `find` does not say where ids stand in its answer",
                table.label()
            );
            let help = "write it there: found = \"/results/*/id\"";
            let at = table.span_of(key)?;
            table.reader().error(NOT_A_REQUEST, at, message, help);
            None
        }
        _ => Some(()),
    }
}

/// What a host's name may lead to.
pub(super) fn addresses(host: &str, private: bool) -> Addresses {
    match (is_loopback(host), private) {
        (true, _) => Addresses::Machine,
        (false, true) => Addresses::Private,
        (false, false) => Addresses::Public,
    }
}

/// A URL that others are made of by writing a path behind it.
pub(in crate::config) fn base(text: &str) -> Result<Endpoint, String> {
    let mut endpoint = Endpoint::parse(text)?;
    if endpoint.path.contains('?') {
        return Err("it holds a query, which belongs to each request".into());
    }
    let path = endpoint.path.trim_end_matches('/').len();
    endpoint.path.truncate(path);
    Ok(endpoint)
}

fn pause(table: &Table<'_>) -> Option<Duration> {
    if !table.has("per_second") {
        return Some(Duration::from_millis(100));
    }
    let per_second = table.decimal("per_second")?;
    if !(0.1..=1000.0).contains(&per_second) {
        let message = format!("`per_second` in {} is out of bounds", table.label());
        let help = "write how many requests a second the service may get, from 0.1 to 1000";
        let at = table.span_of("per_second")?;
        table.reader().error(CODES.bad_value, at, message, help);
        return None;
    }
    Some(Duration::from_secs_f64(1.0 / per_second))
}

fn auth(table: &Table<'_>, folder: &Path) -> Option<Auth> {
    let ways = ["bearer", "basic", "header"];
    if ways.iter().filter(|way| table.has(way)).count() != 1 {
        let message = format!("{} does not say one way to prove who asks", table.label());
        let help = "write one of bearer = { file = \"…\" }, basic = { user = \"…\", password = { … } } and header = { name = \"…\", value = { … } }";
        table.reader().error("E0008", table.span(), message, help);
        table.finish();
        return None;
    }
    let read = if table.has("bearer") {
        secret(table, "bearer", folder).map(Auth::Bearer)
    } else if let Some(basic) = table.table("basic") {
        basic
            .need("user", "write the user's name")
            .need("password", "name its place: { file = \"…\" }");
        let user = basic.parsed("user", CODES.bad_value, "a user has no colon", |user| {
            let plain = !user.contains([':', '\r', '\n']);
            plain
                .then(|| user.to_owned())
                .ok_or_else(|| "it holds a colon or a line end".into())
        });
        let password = secret(&basic, "password", folder);
        basic.finish();
        user.zip(password)
            .map(|((user, _), password)| Auth::Basic { user, password })
    } else {
        let header = table.table("header")?;
        header
            .need("name", "write the header's name")
            .need("value", "name its place: { file = \"…\" }");
        let help = "write such as \"X-Api-Key\"";
        let name = header.parsed("name", CODES.bad_value, help, |name| {
            name.parse().map_err(|_| "it is no name of a header".into())
        });
        let value = secret(&header, "value", folder);
        header.finish();
        name.zip(value)
            .map(|((name, _), value)| Auth::Header { name, value })
    };
    table.finish();
    read
}

fn whole(table: Table<'_>, role: Role) -> Option<Request> {
    let request = request(&table, role, Method::GET, &[Method::GET, Method::POST]);
    table.finish();
    request
}

/// One table, or a list of them.
fn finds(table: &Table<'_>) -> Option<Vec<Find>> {
    let mut finds = Vec::new();
    for item in table.texts_and_tables("find")? {
        let TextOrTable::Table(item) = item else {
            let message = format!("`find` in {} is no request", table.label());
            let help = "write find = { path = \"…\" }, or a list of such";
            let at = table.span_of("find")?;
            table.reader().error(CODES.wrong_type, at, message, help);
            return None;
        };
        let request = request(&item, Role::Find, Method::GET, &[Method::GET, Method::POST]);
        let found = pointer_if(&item, "found");
        let whose = pointer_if(&item, "whose");
        item.finish();
        let find = Find {
            request: request?,
            found: found?,
            whose: whose?,
        };
        says_of_each(&item, &find)?;
        finds.push(find);
    }
    if finds.is_empty() {
        let message = format!("`find` in {} asks nothing", table.label());
        let help = "write find = { path = \"…\" }";
        let at = table.span_of("find")?;
        table.reader().error(NOT_A_REQUEST, at, message, help);
        return None;
    }
    Some(finds)
}

/// Ids and whose they are stand in one list, so that the one belongs to the other.
fn says_of_each(table: &Table<'_>, find: &Find) -> Option<()> {
    let Some(whose) = &find.whose else {
        return Some(());
    };
    let list = find.found.as_ref().map(|found| found.parted().0);
    let fits = match &list {
        Some(list) => whose.behind(list).is_some(),
        None => !whose.is_of_many(),
    };
    if fits {
        return Some(());
    }
    let message = format!(
        "`whose` in {} is not of the same list as `found`",
        table.label()
    );
    let help = "write both with the same beginning: found = \"/results/*/id\", whose = \"/results/*/email\"";
    let at = table.span_of("whose")?;
    table.reader().error(NOT_A_REQUEST, at, message, help);
    None
}

fn erase(table: &Table<'_>) -> Option<Erase> {
    let methods = [Method::DELETE, Method::POST, Method::PUT, Method::PATCH];
    let request = request(table, Role::Erase, Method::DELETE, &methods);
    let reason = pointer_if(table, "reason");
    table.finish();
    Some(Erase {
        request: request?,
        reason: reason?,
    })
}

fn status(table: &Table<'_>) -> Option<Status> {
    let request = request(
        table,
        Role::Status,
        Method::GET,
        &[Method::GET, Method::POST],
    );
    let help = "write where the answer says what became of the order: state = \"/status\"";
    table
        .need("state", help)
        .need(
            "pending",
            "write what it says of an order that is not done: pending = [\"queued\"]",
        )
        .need(
            "done",
            "write what it says of an order that is done: done = [\"completed\"]",
        );
    let state = pointer(table, "state");
    let words = |key| -> Option<Vec<String>> {
        let words = table.strings(key)?.into_iter();
        Some(words.map(|(word, _)| word).collect())
    };
    let (pending, done) = (words("pending"), words("done"));
    table.finish();
    Some(Status {
        request: request?,
        state: state?,
        pending: pending?,
        done: done?,
    })
}

fn pointer(table: &Table<'_>, key: &'static str) -> Option<Pointer> {
    let help = "write the way into the JSON, such as \"/results/*/id\"; `*` is each of a list";
    table
        .parsed(key, CODES.bad_value, help, str::parse)
        .map(|(pointer, _)| pointer)
}

fn pointer_if(table: &Table<'_>, key: &'static str) -> Option<Option<Pointer>> {
    match table.has(key) {
        true => pointer(table, key).map(Some),
        false => Some(None),
    }
}
