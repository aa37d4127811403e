//! One POST, and a time limit for all of it.

use super::{Signed, Undelivered};
use crate::config::outbox::Endpoint;
use crate::exchange::{Addresses, exchange};
use axum::http::{HeaderName, HeaderValue, Method, Request, header};
use bytes::Bytes;
use http_body_util::Full;
use std::time::Duration;

/// Posts; 200 to 299 means that the other side has the message. What else it says is not read.
pub(super) async fn post(
    endpoint: &Endpoint,
    headers: &[(HeaderName, String)],
    signed: &Signed,
    timeout: Duration,
) -> Result<(), Undelivered> {
    let request = request(endpoint, headers, signed)?;
    let all = exchange(endpoint, Addresses::Any, request, None);
    let answer = match tokio::time::timeout(timeout, all).await {
        Ok(answer) => answer.map_err(|lost| Undelivered::new(lost.word()))?,
        Err(_) => return Err(Undelivered::new("timeout")),
    };
    match answer.status.is_success() {
        true => Ok(()),
        false => Err(Undelivered::new(format!(
            "status_{}",
            answer.status.as_u16()
        ))),
    }
}

fn request(
    endpoint: &Endpoint,
    headers: &[(HeaderName, String)],
    signed: &Signed,
) -> Result<Request<Full<Bytes>>, Undelivered> {
    let bad = |_| Undelivered::new("request");
    let mut request = Request::builder()
        .method(Method::POST)
        .uri(&endpoint.path)
        .header(header::CONTENT_TYPE, "application/json");
    for (name, value) in headers {
        let value = HeaderValue::from_str(value).map_err(|_| Undelivered::new("request"))?;
        request = request.header(name, value);
    }
    request
        .body(Full::new(Bytes::copy_from_slice(&signed.body)))
        .map_err(bad)
}
