//! A request as the configuration writes it: a method, a path with its query, and a JSON body, in each
//! of which something of a person may stand.
//!
//! It stands alone: as a whole step of the path, a whole value of the query or a whole string of the
//! body. So two values never run into each other, and none becomes a piece of a language that the
//! service reads there, such as that of a search.

use super::NOT_A_REQUEST;
use crate::reading::{Table, quoted};
use axum::http::Method;
use serde_json::Value;
use std::collections::BTreeSet;

/// A request with room for values.
#[derive(Clone, Debug)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// The steps of the path.
    pub path: Vec<Part>,
    /// The query.
    pub query: Vec<(String, Part)>,
    /// The body.
    pub body: Option<Body>,
}

/// A step of a path, or a value of a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// As it is sent.
    Text(String),
    /// Something that is filled in.
    Named(Named),
}

/// What is filled in.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Named {
    /// `{email}`: a value of this identifier.
    Identifier(String),
    /// `{:found}`: the id of what was found.
    Found,
    /// `{:request}`: the order's own id, the same however often it is given.
    Request,
    /// `{:place}`: what the policy calls the place.
    Place,
    /// `{:call}`: a URL at which the service says that the order is done.
    Call,
}

/// A JSON value with room for values.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// As it is.
    Value(Value),
    /// Something that is filled in, as a string.
    Named(Named),
    /// A list.
    List(Vec<Body>),
    /// An object.
    Object(Vec<(String, Body)>),
}

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Check,
    Find,
    Erase,
    Probe,
    Status,
}

impl Request {
    /// All that is filled in.
    pub fn named(&self) -> BTreeSet<&Named> {
        let parts = self
            .path
            .iter()
            .chain(self.query.iter().map(|(_, part)| part));
        let mut named: BTreeSet<&Named> = parts
            .filter_map(|part| match part {
                Part::Named(named) => Some(named),
                Part::Text(_) => None,
            })
            .collect();
        if let Some(body) = &self.body {
            body.named(&mut named);
        }
        named
    }

    /// Whether this is filled in.
    pub fn names(&self, named: &Named) -> bool {
        self.named().contains(named)
    }

    /// The identifiers that are filled in.
    pub fn identifiers(&self) -> BTreeSet<&str> {
        let named = self.named().into_iter();
        named
            .filter_map(|named| match named {
                Named::Identifier(name) => Some(name.as_str()),
                _ => None,
            })
            .collect()
    }
}

impl Body {
    fn named<'a>(&'a self, into: &mut BTreeSet<&'a Named>) {
        match self {
            Self::Value(_) => {}
            Self::Named(named) => drop(into.insert(named)),
            Self::List(items) => items.iter().for_each(|item| item.named(into)),
            Self::Object(entries) => entries.iter().for_each(|(_, item)| item.named(into)),
        }
    }
}

impl Role {
    /// Why a request that fills in these is none of its kind.
    fn refuses(self, request: &Request) -> Result<(), &'static str> {
        let (found, somebody) = (
            request.names(&Named::Found),
            !request.identifiers().is_empty(),
        );
        let order = request.names(&Named::Request);
        if self != Self::Erase && request.names(&Named::Call) {
            return Err("it is no order, so nothing is called back: {:call} stands in `erase`");
        }
        match self {
            Self::Check if !request.named().is_empty() => {
                Err("it is asked about nobody, so nothing is filled in")
            }
            Self::Find if found || order => {
                Err("what is found is not known yet: it is asked by identifiers, and {:place}")
            }
            Self::Find if !somebody => {
                Err("it holds no identifier, so its answer is the same for everybody")
            }
            Self::Erase if !found && !somebody => {
                Err("it holds neither {:found} nor an identifier, so it would erase anybody")
            }
            Self::Probe if !found => Err("it is asked about one thing: it holds {:found}"),
            Self::Status if !order || found => {
                Err("it is asked about one order: it holds {:request}, and not {:found}")
            }
            _ => Ok(()),
        }
    }
}

/// Reads the keys of one request; the caller finishes the table.
pub(super) fn request(
    table: &Table<'_>,
    role: Role,
    method: Method,
    methods: &[Method],
) -> Option<Request> {
    let help = "write a path behind the url, such as path = \"/contacts?email={email}\"; what is filled in stands alone";
    table.need("path", help);
    let known: Vec<(&str, Method)> = methods.iter().map(|m| (m.as_str(), m.clone())).collect();
    let method = match table.has("method") {
        true => table.word("method", "E0006", &known)?.0,
        false => method,
    };
    let path = table.parsed("path", NOT_A_REQUEST, help, path);
    let body_help = "write JSON in which what is filled in is a whole string: body = '{\"email\": \"{email}\"}'";
    let body = match table.has("body") {
        true => Some(table.parsed("body", NOT_A_REQUEST, body_help, body)?.0),
        false => None,
    };
    let ((path, query), span) = path?;
    let request = Request {
        method,
        path,
        query,
        body,
    };
    if request.method == Method::GET && request.body.is_some() {
        let message = format!("{} has a body, and is a GET, which has none", table.label());
        let help = "write method = \"POST\", or put the values into the path";
        table
            .reader()
            .error(NOT_A_REQUEST, table.span_of("body")?, message, help);
        return None;
    }
    if let Err(why) = role.refuses(&request) {
        let message = format!("the request {} cannot be used: {why}", table.label());
        table.reader().error(NOT_A_REQUEST, span, message, help);
        return None;
    }
    Some(request)
}

type Target = (Vec<Part>, Vec<(String, Part)>);

fn path(text: &str) -> Result<Target, String> {
    let (path, query) = match text.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (text, None),
    };
    let steps = path
        .strip_prefix('/')
        .ok_or("it does not begin with a slash")?;
    let steps = steps.split('/').map(|step| match step {
        "." | ".." => Err("it holds a step `.` or `..`".to_owned()),
        step => part(step),
    });
    let path = steps.collect::<Result<_, _>>()?;
    let pairs = query.into_iter().flat_map(|query| query.split('&'));
    let pairs = pairs.map(|pair| {
        let (key, value) = pair
            .split_once('=')
            .ok_or("its query is not of the form key=value")?;
        match part(key)? {
            Part::Text(key) => Ok((key, part(value)?)),
            Part::Named(_) => Err("a key of its query is filled in".to_owned()),
        }
    });
    Ok((path, pairs.collect::<Result<_, _>>()?))
}

/// Text as it is sent must be written so: nothing here escapes it.
fn part(text: &str) -> Result<Part, String> {
    if let Some(named) = named(text)? {
        return Ok(Part::Named(named));
    }
    let sent = |c: char| c.is_ascii_alphanumeric() || "-._~!$'()*+,;:@%".contains(c);
    match text.chars().find(|c| !sent(*c)) {
        None => Ok(Part::Text(text.to_owned())),
        Some(c) => Err(format!(
            "{c:?} cannot stand in it: write it percent-encoded"
        )),
    }
}

/// Something that is filled in, if the text is nothing else.
fn named(text: &str) -> Result<Option<Named>, String> {
    if !text.contains(['{', '}']) {
        return Ok(None);
    }
    let inner = text
        .strip_prefix('{')
        .and_then(|rest| rest.strip_suffix('}'));
    let inner = inner.filter(|inner| !inner.contains(['{', '}'])).ok_or_else(|| {
        format!("in {} what is filled in does not stand alone: it is a whole step of the path, value of the query or string of the body", quoted(text))
    })?;
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-');
    match inner {
        ":found" => Ok(Some(Named::Found)),
        ":request" => Ok(Some(Named::Request)),
        ":place" => Ok(Some(Named::Place)),
        ":call" => Ok(Some(Named::Call)),
        name if !name.is_empty() && name.chars().all(plain) => {
            Ok(Some(Named::Identifier(name.to_owned())))
        }
        _ => Err(format!(
            "{} is neither an identifier nor one of {{:found}}, {{:request}}, {{:place}} and {{:call}}",
            quoted(text)
        )),
    }
}

fn body(text: &str) -> Result<Body, String> {
    let value: Value = serde_json::from_str(text).map_err(|_| "it is no JSON")?;
    filled(value)
}

fn filled(value: Value) -> Result<Body, String> {
    match value {
        Value::String(text) => Ok(match named(&text)? {
            Some(named) => Body::Named(named),
            None => Body::Value(Value::String(text)),
        }),
        Value::Array(items) => {
            let items = items.into_iter().map(filled);
            items.collect::<Result<_, _>>().map(Body::List)
        }
        Value::Object(entries) => {
            let entries = entries
                .into_iter()
                .map(|(key, value)| Ok((key, filled(value)?)));
            entries.collect::<Result<_, String>>().map(Body::Object)
        }
        plain => Ok(Body::Value(plain)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_filled_in_stands_alone() {
        for good in ["/a/{email}", "/{:place}?q={email}&x=1", "/a/b%20c/(1)", "/"] {
            path(good).unwrap();
        }
        for bad in [
            "",
            "a",
            "/a/{email}.json",
            "/{a}{b}",
            "/{a}-{b}",
            "/../{a}",
            "/./{a}",
            "/a b",
            "/a?x",
            "/a?{email}=1",
            "/a?q=mail:{email}",
            "/a#b",
            "/{}",
            "/{:other}",
            "/{Email}",
            "/a?q={email",
            "/a\\b",
            "/日本",
        ] {
            assert!(path(bad).is_err(), "{bad}");
        }
        body(r#"{"a": [{"b": "{email}", "c": 1, "d": null}], "e": "plain"}"#).unwrap();
        for bad in [r#"{"a": "x {email}"}"#, r#"{"a": "{"}"#, "{", "'x'"] {
            assert!(body(bad).is_err(), "{bad}");
        }
    }
}
