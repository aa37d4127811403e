//! A service over HTTP: asked by the requests of the configuration, with a person's values in them.
//!
//! Nothing of a request or of an answer stands in an error, for paths and bodies hold values of
//! identifiers; only which request it was, and the status.

mod answer;
mod filled;
mod line;

use super::place::{Adapter, Address, Erased, Failed, Person};
use crate::config::CalledAt;
use crate::config::place::http::{self as settings, Auth, Find, Named, Request};
use crate::exchange::{Answer, Lost, exchange};
use crate::keys::HashKey;
use crate::plan::{Identifiers, Wanted};
use crate::secret::SecretBytes;
use answer::{Said, ids, is_down, json, retry_after, said, strange};
use axum::http::{HeaderName, HeaderValue, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use filled::{Filled, Values, filled};
use futures_util::future::BoxFuture;
use futures_util::{StreamExt, TryStreamExt, stream};
use http_body_util::Full;
use line::Line;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use uuid::Uuid;
use zeroize::Zeroizing;

/// A longer answer is none.
const LONGEST: usize = 4 << 20;
/// One thing where the service names none by an id.
const THE_PERSON: &str = "person";
/// Requests that one person takes, by and large.
const REQUESTS_EACH: f64 = 4.0;
/// Orders under way whose places are remembered; what is forgotten is ordered again by its key.
const ORDERS: usize = 10_000;

type Adapted<T> = Result<T, Failed>;

/// The adapter.
pub struct Http {
    /// By which it is registered.
    name: String,
    settings: settings::Http,
    /// Of one request.
    timeout: Duration,
    line: Line,
    /// Where to ask what became of an order, by its key.
    orders: Mutex<BTreeMap<String, Zeroizing<String>>>,
}

/// What one person's answer to one request adds.
struct Part {
    person: usize,
    found: Vec<String>,
    /// Whether it was an answer that a service that is not there gives too.
    nothing: bool,
}

impl Http {
    /// A service by its registered name and its settings, and how long a call may take.
    pub fn new(name: &str, settings: &settings::Http, timeout: Duration) -> Self {
        Self {
            name: name.to_owned(),
            line: Line::new(settings),
            settings: settings.clone(),
            timeout: timeout / 2,
            orders: Mutex::default(),
        }
    }

    async fn alive(&self) -> Adapted<()> {
        let request = &self.settings.requests.check;
        for request in filled(request, &Values::new())? {
            let answer = self.ask("check", request, None).await?;
            if !answer.status.is_success() {
                said("check", &answer)?;
                return Err(Failed::later(format!(
                    "check: it answers with status {}",
                    answer.status.as_u16()
                )));
            }
        }
        Ok(())
    }

    async fn found(&self, place: &str, people: &[Person]) -> Adapted<Vec<Vec<Address>>> {
        let mut asked = Vec::new();
        for (person, identifiers) in known(people) {
            let values = values(place, identifiers, None);
            let mut used = BTreeSet::new();
            for find in &self.settings.requests.find {
                let requests = filled(&find.request, &values)?;
                if !requests.is_empty() {
                    used.extend(find.request.identifiers());
                }
                let ask = |request| (person, identifiers, find, request);
                asked.extend(requests.into_iter().map(ask));
            }
            if let Some(name) = identifiers
                .0
                .keys()
                .find(|name| !used.contains(name.as_str()))
            {
                return Err(Failed::stuck(format!(
                    "find: no request asks by {name}, so what is there of somebody cannot be told"
                )));
            }
        }
        let mut calls: Vec<BoxFuture<'_, Adapted<Part>>> = Vec::with_capacity(asked.len());
        for (person, identifiers, find, request) in asked {
            calls.push(Box::pin(self.part(person, identifiers, find, request)));
        }
        let parts = self.together(calls).await?;
        if parts.iter().any(|part| part.nothing) {
            self.alive().await?;
        }
        let mut all: Vec<BTreeSet<Address>> = people.iter().map(|_| BTreeSet::new()).collect();
        for part in parts {
            all[part.person].extend(part.found.into_iter().map(Address::new));
        }
        Ok(all
            .into_iter()
            .map(|all| all.into_iter().collect())
            .collect())
    }

    /// All of them, so many at once as may be.
    async fn together<T>(&self, calls: Vec<BoxFuture<'_, Adapted<T>>>) -> Adapted<Vec<T>> {
        let calls = stream::iter(calls).buffered(self.settings.at_once.get());
        calls.try_collect().await
    }

    async fn part(
        &self,
        person: usize,
        identifiers: &Identifiers,
        find: &Find,
        request: Filled,
    ) -> Adapted<Part> {
        let answer = self.ask("find", request, None).await?;
        let mut part = Part {
            person,
            found: Vec::new(),
            nothing: false,
        };
        match (said("find", &answer)?, &find.found) {
            (Said::Nothing, _) => part.nothing = true,
            (Said::Done, _) if answer.status.as_u16() == 204 => {}
            (Said::Done, found) => {
                let asked_by = find.request.identifiers().into_iter();
                let theirs = asked_by.filter_map(|name| identifiers.0.get(name));
                let theirs: Vec<&str> = theirs.flatten().map(String::as_str).collect();
                if found.is_some() || find.whose.is_some() {
                    part.found = ids(find, &answer, &theirs)?;
                }
                if found.is_none() {
                    part.found.push(THE_PERSON.to_owned());
                }
            }
            (Said::Taken | Said::Kept, _) => return Err(strange("find")),
        }
        Ok(part)
    }

    /// Everything of one person: what is under way counts before what is kept, or nobody would ask after it, and
    /// that before what is gone.
    async fn taken(&self, place: &str, person: &Person, found: &[Address]) -> Adapted<Erased> {
        let erase = &self.settings.requests.erase.request;
        if found.is_empty() {
            return Ok(Erased::Gone);
        }
        let texts: Vec<&str> = found.iter().filter_map(text).collect();
        let call = self.call(person.request)?;
        let mut all = Vec::new();
        for identifiers in of(person) {
            let order = person.request.to_string();
            let mut values = values(place, identifiers, Some(&order));
            values.insert(Named::Found, texts.clone());
            values.insert(Named::Call, call.iter().map(|url| url.as_str()).collect());
            if let Some(pending) = self.under_way(&values).await? {
                return Ok(pending);
            }
            let requests = filled(erase, &values)?;
            if requests.is_empty() {
                return Err(Failed::stuck(
                    "erase: somebody lacks a value that the request names, so it cannot be made",
                ));
            }
            for request in requests {
                let key = key(&order, place, &request);
                all.push(self.order(request, key).await?);
            }
        }
        let kept = all.iter().find(|one| matches!(one, Erased::Kept(_)));
        let pending = all.iter().find(|one| **one == Erased::Pending);
        Ok(pending.or(kept).cloned().unwrap_or(Erased::Gone))
    }

    /// Where the service says that this order is done; the same each time, or the order would be another.
    fn call(&self, order: Uuid) -> Adapted<Option<Zeroizing<String>>> {
        let Some(at) = &self.settings.called_at else {
            return Ok(None);
        };
        let key = at.key.load().map_err(|e| Failed::later(e.to_string()))?;
        let key = HashKey::read(key.expose()).map_err(|e| Failed::later(e.to_string()))?;
        let token = Zeroizing::new(key.call_token(&self.name, order));
        Ok(Some(Zeroizing::new(format!(
            "{}{}/{}/{order}/{}",
            at.url,
            CalledAt::PATH,
            self.name,
            *token
        ))))
    }

    /// Whether an order given before is not yet done.
    async fn under_way(&self, values: &Values<'_>) -> Adapted<Option<Erased>> {
        let Some(status) = &self.settings.requests.status else {
            return Ok(None);
        };
        for request in filled(&status.request, values)? {
            let answer = self.ask("status", request, None).await?;
            if self.is_pending(&answer)? {
                return Ok(Some(Erased::Pending));
            }
        }
        Ok(None)
    }

    fn is_pending(&self, answer: &Answer) -> Adapted<bool> {
        let what = "status";
        match (said(what, answer)?, &self.settings.requests.status) {
            (Said::Taken, _) => Ok(true),
            (Said::Nothing, _) | (Said::Done, None) => Ok(false),
            (Said::Done, Some(status)) => {
                let value = json(what, answer)?;
                let state = status.state.text(&value).ok_or_else(|| strange(what))?;
                match status.pending.iter().any(|word| word == state) {
                    true => Ok(true),
                    false if status.done.iter().any(|word| word == state) => Ok(false),
                    false => Err(Failed::stuck(
                        "status: it says of an order neither that it is pending nor that it is done",
                    )),
                }
            }
            (Said::Kept, _) => Err(strange(what)),
        }
    }

    /// One order, or what became of it.
    async fn order(&self, request: Filled, key: String) -> Adapted<Erased> {
        if let Some(path) = self.remembered(&key) {
            let request = Filled {
                method: axum::http::Method::GET,
                path,
                body: None,
            };
            let answer = self.ask("status", request, None).await?;
            if self.is_pending(&answer)? {
                return Ok(Erased::Pending);
            }
            // Whether it is gone is seen by the probe; if not, it is ordered again.
            self.orders().remove(&key);
            return Ok(Erased::Gone);
        }
        let answer = self.ask("erase", request, Some(&key)).await?;
        match said("erase", &answer)? {
            Said::Done | Said::Nothing => Ok(Erased::Gone),
            Said::Taken => {
                self.remember(key, &answer)?;
                Ok(Erased::Pending)
            }
            Said::Kept => self.reason(&answer).map(Erased::Kept),
        }
    }

    fn reason(&self, answer: &Answer) -> Adapted<String> {
        let pointer = self.settings.requests.erase.reason.as_ref();
        let pointer = pointer.ok_or_else(|| {
            Failed::stuck(
                "erase: it answers with status 409, and no `reason` says where it says why",
            )
        })?;
        let value = json("erase", answer)?;
        let reason = pointer.text(&value).ok_or_else(|| strange("erase"))?;
        Ok(reason.to_ascii_lowercase())
    }

    fn remembered(&self, key: &str) -> Option<Zeroizing<String>> {
        self.orders().get(key).cloned()
    }

    /// Where the service says an order can be asked after, if that is its own place.
    fn remember(&self, key: String, answer: &Answer) -> Adapted<()> {
        let Some(location) = answer.headers.get(header::LOCATION) else {
            return Ok(());
        };
        let path = location.to_str().ok().and_then(|text| self.own_path(text));
        let path = path.ok_or_else(|| {
            Failed::stuck("erase: it says of an order that another host be asked after it")
        })?;
        let mut orders = self.orders();
        if orders.len() >= ORDERS {
            orders.clear();
        }
        orders.insert(key, Zeroizing::new(path));
        Ok(())
    }

    fn orders(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Zeroizing<String>>> {
        // Each change is one call of the map's: there is nothing half done.
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Path and query of a URL of the service, as they stand behind the base.
    fn own_path(&self, location: &str) -> Option<String> {
        let base = &self.settings.endpoint;
        let path = if location.starts_with('/') && !location.starts_with("//") {
            location.to_owned()
        } else {
            let named = crate::config::outbox::Endpoint::parse(location).ok()?;
            let same = (named.tls, &named.host, named.port) == (base.tls, &base.host, base.port);
            same.then_some(named.path)?
        };
        path.strip_prefix(&base.path)
            .filter(|rest| rest.starts_with('/'))
            .map(str::to_owned)
    }

    /// One request and its answer.
    async fn ask(&self, what: &str, filled: Filled, key: Option<&str>) -> Adapted<Answer> {
        let request = self.request(&filled, key)?;
        let turn = self.line.turn().await?;
        let settings = &self.settings;
        let all = exchange(
            &settings.endpoint,
            settings.addresses,
            request,
            Some(LONGEST),
        );
        match tokio::time::timeout(self.timeout, all).await {
            Ok(Ok(answer)) if is_down(answer.status) => {
                turn.failed(retry_after(&answer, chrono::Utc::now()));
                Ok(answer)
            }
            Ok(Ok(answer)) => {
                turn.answered();
                Ok(answer)
            }
            Ok(Err(lost)) => {
                turn.failed(None);
                Err(missed(what, lost))
            }
            Err(_) => {
                turn.failed(None);
                Err(Failed::later(format!(
                    "{what}: no answer within {:?}",
                    self.timeout
                )))
            }
        }
    }

    fn request(
        &self,
        filled: &Filled,
        key: Option<&str>,
    ) -> Adapted<axum::http::Request<Full<Bytes>>> {
        let none = |_| Failed::stuck("a value makes no request that can be sent");
        let path = Zeroizing::new(format!("{}{}", self.settings.endpoint.path, *filled.path));
        let mut request = axum::http::Request::builder()
            .method(filled.method.clone())
            .uri(path.as_str())
            .header(header::ACCEPT, "application/json");
        if let Some((name, value)) = self.auth()? {
            request = request.header(name, value);
        }
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        let body = match &filled.body {
            Some(body) => {
                request = request.header(header::CONTENT_TYPE, "application/json");
                Bytes::copy_from_slice(body)
            }
            None => Bytes::new(),
        };
        request.body(Full::new(body)).map_err(none)
    }

    /// Read anew for each request, so that a renewed secret needs no restart.
    fn auth(&self) -> Adapted<Option<(HeaderName, HeaderValue)>> {
        let secret = |source: &crate::config::SecretSource| {
            source
                .load()
                .map_err(|error| Failed::later(error.to_string()))
        };
        let line = |secret: &SecretBytes| -> Adapted<Zeroizing<String>> {
            let line = secret.expose_line();
            let line = line.ok_or_else(|| Failed::later("the secret is no text"))?;
            Ok(Zeroizing::new(line.to_owned()))
        };
        let (name, value) = match &self.settings.auth {
            None => return Ok(None),
            Some(Auth::Bearer(source)) => {
                let token = line(&secret(source)?)?;
                (
                    header::AUTHORIZATION,
                    Zeroizing::new(format!("Bearer {}", *token)),
                )
            }
            Some(Auth::Basic { user, password }) => {
                let password = line(&secret(password)?)?;
                let both = Zeroizing::new(format!("{user}:{}", *password));
                let both = Zeroizing::new(STANDARD.encode(both.as_bytes()));
                (
                    header::AUTHORIZATION,
                    Zeroizing::new(format!("Basic {}", *both)),
                )
            }
            Some(Auth::Header { name, value }) => (name.clone(), line(&secret(value)?)?),
        };
        let value = HeaderValue::from_str(&value);
        let mut value = value.map_err(|_| Failed::later("the secret is no value of a header"))?;
        value.set_sensitive(true);
        Ok(Some((name, value)))
    }

    /// Those of what was erased that are there by their own name.
    async fn still_there(
        &self,
        request: &Request,
        place: &str,
        person: &Person,
        erased: &[Address],
    ) -> Adapted<Vec<Address>> {
        let order = person.request.to_string();
        let mut left = Vec::new();
        for identifiers in of(person) {
            for address in erased {
                let mut values = values(place, identifiers, Some(&order));
                values.insert(Named::Found, text(address).into_iter().collect());
                for request in filled(request, &values)? {
                    let answer = self.ask("probe", request, None).await?;
                    match said("probe", &answer)? {
                        Said::Nothing => {}
                        Said::Done => left.push(address.clone()),
                        Said::Taken | Said::Kept => return Err(strange("probe")),
                    }
                }
            }
        }
        Ok(left)
    }
}

/// The people that are asked about, by their place in the list.
fn known(people: &[Person]) -> impl Iterator<Item = (usize, &Identifiers)> {
    let people = people.iter().enumerate();
    people.flat_map(|(at, person)| of(person).map(move |identifiers| (at, identifiers)))
}

fn of(person: &Person) -> impl Iterator<Item = &Identifiers> {
    person.wanted.iter().filter_map(|wanted| match wanted {
        Wanted::Person(identifiers) => Some(identifiers),
        _ => None,
    })
}

/// What is filled in for a person.
fn values<'v>(place: &'v str, identifiers: &'v Identifiers, order: Option<&'v str>) -> Values<'v> {
    let mut values = Values::new();
    for (name, texts) in &identifiers.0 {
        let texts = texts.iter().map(String::as_str).collect();
        values.insert(Named::Identifier(name.clone()), texts);
    }
    values.insert(Named::Place, vec![place]);
    values.insert(Named::Request, order.into_iter().collect());
    values
}

fn text(address: &Address) -> Option<&str> {
    std::str::from_utf8(address.bytes()).ok()
}

/// The same for the same order, and another for each thing that it takes away.
fn key(order: &str, place: &str, request: &Filled) -> String {
    let mut hash = Sha256::new();
    let body = request.body.as_deref().map_or(&[][..], Vec::as_slice);
    for part in [place.as_bytes(), request.path.as_bytes(), body] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let hash = hash.finalize();
    let hash = hash.iter().take(8).map(|byte| format!("{byte:02x}"));
    format!("{order}-{}", hash.collect::<String>())
}

fn missed(what: &str, lost: Lost) -> Failed {
    let said = match lost {
        Lost::CaFile => "its ca_file cannot be used",
        Lost::Request => "the request is none that can be sent",
        Lost::Address => {
            "its name leads only to addresses that must not be reached; `private = true` lets it lead into a network of one's own"
        }
        Lost::Connect => "it cannot be connected to",
        Lost::Tls => "TLS with it does not come about",
        Lost::Connection => "the connection ended before the answer did",
        Lost::TooLong => return Failed::stuck(format!("{what}: the answer is longer than 4 MiB")),
    };
    Failed::later(format!("{what}: {said}"))
}

impl Adapter for Http {
    fn check(&self) -> BoxFuture<'_, Result<(), Failed>> {
        Box::pin(self.alive())
    }

    fn find<'a>(
        &'a self,
        place: &'a str,
        people: &'a [Person],
    ) -> BoxFuture<'a, Result<Vec<Vec<Address>>, Failed>> {
        Box::pin(self.found(place, people))
    }

    fn erase<'a>(
        &'a self,
        place: &'a str,
        people: &'a [Person],
        found: &'a [Vec<Address>],
    ) -> BoxFuture<'a, Result<Vec<Erased>, Failed>> {
        Box::pin(async move {
            let mut calls: Vec<BoxFuture<'_, Adapted<Erased>>> = Vec::with_capacity(people.len());
            for (person, found) in people.iter().zip(found) {
                calls.push(Box::pin(self.taken(place, person, found)));
            }
            self.together(calls).await
        })
    }

    fn probe<'a>(
        &'a self,
        place: &'a str,
        people: &'a [Person],
        erased: &'a [Vec<Address>],
    ) -> BoxFuture<'a, Result<Vec<Vec<Address>>, Failed>> {
        Box::pin(async move {
            let mut all = self.found(place, people).await?;
            let Some(request) = &self.settings.requests.probe else {
                return Ok(all);
            };
            let mut calls: Vec<BoxFuture<'_, Adapted<Vec<Address>>>> =
                Vec::with_capacity(people.len());
            for (person, erased) in people.iter().zip(erased) {
                calls.push(Box::pin(self.still_there(request, place, person, erased)));
            }
            for (all, left) in all.iter_mut().zip(self.together(calls).await?) {
                all.extend(left);
                all.sort_unstable();
                all.dedup();
            }
            Ok(all)
        })
    }

    fn people_at_once(&self) -> usize {
        let requests = self.timeout.as_secs_f64() / self.settings.pause.as_secs_f64();
        // A float becomes the nearest whole number that there is.
        ((requests / REQUESTS_EACH) as usize).max(1)
    }
}
