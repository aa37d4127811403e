//! A request with a person's values in it.

use crate::config::place::http::{Body, Named, Part, Request};
use crate::exchange::encoded;
use crate::system::place::Failed;
use axum::http::Method;
use serde_json::Value;
use std::collections::BTreeMap;
use zeroize::Zeroizing;

/// What may stand for each name.
pub(super) type Values<'v> = BTreeMap<Named, Vec<&'v str>>;

/// A request as it is sent.
pub(super) struct Filled {
    /// The method.
    pub(super) method: Method,
    /// Path and query, behind the base.
    pub(super) path: Zeroizing<String>,
    /// The body.
    pub(super) body: Option<Zeroizing<Vec<u8>>>,
}

/// One value for each name.
type Chosen<'v> = BTreeMap<&'v Named, &'v str>;

/// A request for each choice of values; none if one of its names has no value.
///
/// # Errors
/// A value that would mean another path.
pub(super) fn filled(request: &Request, values: &Values<'_>) -> Result<Vec<Filled>, Failed> {
    let mut choices = vec![Chosen::new()];
    for named in request.named() {
        let known = values.get(named).map_or(&[][..], Vec::as_slice);
        let known = known.iter().filter(|value| !value.trim().is_empty());
        choices = known
            .flat_map(|value| {
                choices.iter().map(move |choice| {
                    let mut choice = choice.clone();
                    choice.insert(named, value);
                    choice
                })
            })
            .collect();
    }
    choices.iter().map(|choice| one(request, choice)).collect()
}

fn one(request: &Request, choice: &Chosen<'_>) -> Result<Filled, Failed> {
    let mut path = Zeroizing::new(String::new());
    for step in &request.path {
        path.push('/');
        part(step, choice, true, &mut path)?;
    }
    for (at, (key, value)) in request.query.iter().enumerate() {
        path.push(if at == 0 { '?' } else { '&' });
        path.push_str(key);
        path.push('=');
        part(value, choice, false, &mut path)?;
    }
    let body = request.body.as_ref().map(|body| {
        let body = json(body, choice);
        Zeroizing::new(serde_json::to_vec(&body).expect("a value is always JSON"))
    });
    Ok(Filled {
        method: request.method.clone(),
        path,
        body,
    })
}

fn part(part: &Part, choice: &Chosen<'_>, step: bool, into: &mut String) -> Result<(), Failed> {
    let named = match part {
        Part::Text(text) => {
            into.push_str(text);
            return Ok(());
        }
        Part::Named(named) => named,
    };
    let value = choice.get(named).copied().unwrap_or_default();
    // Whoever stands between takes `%2e%2e%2f` for what it means.
    let climbs = |value: &str| {
        value
            .split(['/', '\\'])
            .any(|step| matches!(step, "." | ".."))
    };
    if step && climbs(value) {
        let problem = format!(
            "a value of {} is a step of a path: it makes no request",
            word(named)
        );
        return Err(Failed::stuck(problem));
    }
    into.push_str(&Zeroizing::new(encoded(value, b"")));
    Ok(())
}

fn word(named: &Named) -> &str {
    match named {
        Named::Identifier(name) => name,
        Named::Found => "{:found}",
        Named::Request => "{:request}",
        Named::Place => "{:place}",
        Named::Call => "{:call}",
    }
}

fn json(body: &Body, choice: &Chosen<'_>) -> Value {
    match body {
        Body::Value(value) => value.clone(),
        Body::Named(named) => Value::from(choice.get(named).copied().unwrap_or_default()),
        Body::List(items) => items.iter().map(|item| json(item, choice)).collect(),
        Body::Object(entries) => {
            let entries = entries.iter();
            entries
                .map(|(key, value)| (key.clone(), json(value, choice)))
                .collect()
        }
    }
}
