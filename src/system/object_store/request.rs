//! How a bucket is asked, whoever's it is.

use crate::config::SecretSource;
use crate::config::outbox::Endpoint;
use crate::exchange::{Addresses, Answer, Lost, encoded, exchange};
use crate::secret::SecretBytes;
use crate::system::place::Failed;
use axum::http::Request;
use bytes::Bytes;
use http_body_util::Full;

/// A longer answer is none: a page of a thousand keys of a thousand bytes, each written as three.
const LONGEST: usize = 16 << 20;

type Adapted<T> = Result<T, Failed>;

/// Asks, once.
///
/// # Errors
/// No whole answer came; nothing of the request is in what is said of that.
pub(super) async fn asked(
    endpoint: &Endpoint,
    addresses: Addresses,
    request: Request<Full<Bytes>>,
) -> Adapted<Answer> {
    let answer = exchange(endpoint, addresses, request, Some(LONGEST)).await;
    answer.map_err(|lost| match lost {
        Lost::TooLong => Failed::stuck("an answer is longer than 16 MiB"),
        lost => Failed::later(format!("no answer: {}", lost.word())),
    })
}

/// A key as it stands in a path behind a slash; the bytes of `keep` stay as they are.
///
/// # Errors
/// Whoever the request passes might take a step of it for another place.
pub(super) fn step(key: &str, keep: &[u8]) -> Adapted<String> {
    match climbs(key) {
        false => Ok(format!("/{}", encoded(key, keep))),
        true => Err(Failed::stuck(
            "a key holds a step `.` or `..`, with which it makes no path: delete it by hand",
        )),
    }
}

/// Whether a key makes no path.
pub(super) fn climbs(key: &str) -> bool {
    key.split('/').any(|step| matches!(step, "." | ".."))
}

/// `?` and these.
pub(super) fn query(pairs: &[(&str, &str)]) -> String {
    let mut query = String::new();
    for (at, (name, value)) in pairs.iter().enumerate() {
        query.push(if at == 0 { '?' } else { '&' });
        query.push_str(name);
        query.push('=');
        query.push_str(&encoded(value, b""));
    }
    query
}

/// The whole URL of a path, as requests are signed for.
pub(super) fn url(endpoint: &Endpoint, path: &str) -> String {
    let host = match endpoint.host.contains(':') {
        true => format!("[{}]", endpoint.host),
        false => endpoint.host.clone(),
    };
    let scheme = if endpoint.tls { "https" } else { "http" };
    format!("{scheme}://{host}:{}{path}", endpoint.port)
}

/// A secret that is one line of text. Read anew for each request, so that a renewed one needs no restart.
pub(super) fn line(source: &SecretSource) -> Adapted<String> {
    let secret = loaded(source)?;
    let line = secret
        .expose_line()
        .filter(|line| !line.contains(char::is_control));
    let line = line.ok_or_else(|| Failed::later("a secret is no line of text"))?;
    Ok(line.to_owned())
}

pub(super) fn loaded(source: &SecretSource) -> Adapted<SecretBytes> {
    source
        .load()
        .map_err(|error| Failed::later(error.to_string()))
}

/// A value of the store's or of a policy's that no request can carry.
pub(super) fn unfit<E>(_: E) -> Failed {
    Failed::stuck("a value makes no request that can be sent")
}
