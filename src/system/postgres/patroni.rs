//! Patroni says by its REST API who leads a cluster: whom to try first, of those that the settings name. It is not
//! believed: who is connected to says itself whether it takes writes.

use super::libpq::Endpoint;
use crate::config::outbox::Endpoint as Api;
use crate::exchange::{Addresses, exchange};
use axum::http::{Request, header};
use bytes::Bytes;
use futures_util::future::{BoxFuture, select_ok};
use http_body_util::Full;
use serde::Deserialize;
use std::time::Duration;

/// Whoever knows answers at once; without an answer the servers are tried as they stand.
const PATIENCE: Duration = Duration::from_secs(2);
/// A longer answer is none.
const LONGEST: usize = 1 << 20;

/// Where a leader takes connections, as its Patroni says.
#[derive(Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Leader {
    host: String,
    port: u16,
}

#[derive(Deserialize)]
struct Cluster {
    members: Vec<Member>,
}

#[derive(Deserialize)]
struct Member {
    role: String,
    #[serde(flatten)]
    at: Option<Leader>,
}

/// Asks all of them at once; who leads by the first that knows.
pub(super) async fn leader(asked: &[Api]) -> Option<Leader> {
    let asked: Vec<BoxFuture<'_, Result<Leader, ()>>> = asked
        .iter()
        .map(|api| -> BoxFuture<'_, _> { Box::pin(ask(api)) })
        .collect();
    if asked.is_empty() {
        return None;
    }
    let first = tokio::time::timeout(PATIENCE, select_ok(asked)).await;
    first.ok()?.ok().map(|(leader, _)| leader)
}

impl Leader {
    /// Whether it is this one.
    pub(super) fn is(&self, endpoint: &Endpoint) -> bool {
        let address = endpoint.address.map(|address| address.to_string());
        let same = |host: &str| host.eq_ignore_ascii_case(&self.host);
        endpoint.port == self.port
            && (same(&endpoint.host()) || address.is_some_and(|address| same(&address)))
    }
}

async fn ask(api: &Api) -> Result<Leader, ()> {
    let path = format!("{}/cluster", api.path);
    let request = Request::get(path).header(header::ACCEPT, "application/json");
    let request = request.body(Full::new(Bytes::new())).map_err(drop)?;
    let answer = exchange(api, Addresses::Private, request, Some(LONGEST)).await;
    let answer = answer.map_err(drop)?;
    match answer.status.is_success() {
        true => read(&answer.body).ok_or(()),
        false => Err(()),
    }
}

/// The leader that takes writes: that of a standby cluster takes none.
fn read(body: &[u8]) -> Option<Leader> {
    let cluster: Cluster = serde_json::from_slice(body).ok()?;
    let mut members = cluster.members.into_iter();
    members.find(|member| member.role == "leader")?.at
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_leads_is_read_from_what_patroni_says() {
        // As Patroni 3.0.2 answers, with a member that is just starting.
        let body = br#"{"members": [
            {"name": "b", "role": "replica", "state": "running", "api_url": "http://b:8008/patroni", "host": "10.0.0.2", "port": 5432, "timeline": 2, "lag": 0},
            {"name": "c", "role": "replica", "state": "starting"},
            {"name": "a", "role": "leader", "state": "running", "api_url": "http://a:8008/patroni", "host": "10.0.0.1", "port": 5433, "timeline": 2}
        ], "scope": "shop"}"#;
        let leader = Leader {
            host: "10.0.0.1".into(),
            port: 5433,
        };
        assert_eq!(read(body), Some(leader));
        for none in [
            "",
            "{}",
            r#"{"members": []}"#,
            r#"{"members": [{"role": "standby_leader", "host": "a", "port": 1}]}"#,
            r#"{"members": [{"role": "leader"}]}"#,
            r#"{"members": [{"role": "leader", "host": "a", "port": 70000}]}"#,
        ] {
            assert_eq!(read(none.as_bytes()), None, "{none}");
        }
    }
}
