//! `[opendsr]`: requests in the words of OpenDSR 2.0.

use super::read::CODES;
use crate::reading::Table;
use std::collections::BTreeMap;

/// `[opendsr]`.
#[derive(Clone, Debug)]
pub struct OpenDsr {
    /// What `X-OpenDSR-Processor-Domain` says.
    pub domain: String,
    /// Where the certificate of the signing key can be had.
    pub certificate: String,
    /// Subject kind of the tickets.
    pub subject: String,
    /// Their scope.
    pub scope: String,
    /// Legal ground for each regulation.
    pub grounds: BTreeMap<String, String>,
    /// Identifier of the policy for each identity type.
    pub identities: BTreeMap<String, String>,
    /// Hosts, `host` or `host:port`, to which a request may ask to be called back.
    pub callbacks: Vec<String>,
}

/// Reads the table.
pub(super) fn read(top: &Table<'_>) -> Option<OpenDsr> {
    let table = top.table("opendsr")?;
    if !top.has("api") {
        let message = "[opendsr] is served by [api], and there is none";
        let help = "add [api] with its listener, login and tokens";
        table.reader().error("E0138", table.span(), message, help);
    }
    let help = "as in docs/integration.md";
    for key in ["domain", "certificate", "subject", "scope", "identities"] {
        table.need(key, help);
    }
    let text = |key| table.string(key).map(|(text, _)| text);
    let grounds = [("gdpr", "gdpr-17-1-b"), ("ccpa", "ccpa-105")];
    let grounds = grounds.map(|(regulation, ground)| (regulation.to_owned(), ground.to_owned()));
    let mut grounds = BTreeMap::from(grounds);
    if let Some(own) = table.table("grounds") {
        for regulation in ["gdpr", "ccpa"] {
            if let Some((ground, _)) = own.string(regulation) {
                grounds.insert(regulation.into(), ground);
            }
        }
        own.finish();
    }
    let identities: BTreeMap<String, String> = table
        .table("identities")
        .iter()
        .flat_map(Table::entries)
        .filter_map(|entry| Some((entry.name.clone(), entry.string()?.0)))
        .collect();
    if identities.is_empty()
        && let Some(at) = table.span_of("identities")
    {
        let message = "[opendsr] maps no identity type to an identifier of the policy";
        let help = "write identities = { email = \"email\" }";
        table.reader().error("E0138", at, message, help);
    }
    let callbacks = table.strings("callbacks").unwrap_or_default();
    for (host, at) in &callbacks {
        if host.is_empty() || host.contains(['/', '@', '*', ' ']) {
            let message = "`callbacks` in [opendsr] lists hosts, not URLs or patterns";
            let help = "write \"crm.example\" or \"crm.example:8443\"";
            table
                .reader()
                .error(CODES.bad_value, at.clone(), message, help);
        }
    }
    let read = OpenDsr {
        domain: text("domain").unwrap_or_default(),
        certificate: text("certificate").unwrap_or_default(),
        subject: text("subject").unwrap_or_default(),
        scope: text("scope").unwrap_or_default(),
        grounds,
        identities,
        callbacks: callbacks
            .into_iter()
            .map(|(host, _)| host.to_ascii_lowercase())
            .collect(),
    };
    table.finish();
    Some(read)
}

impl OpenDsr {
    /// Whether a request may ask to be called back there: only what the operator has listed, or any
    /// token could make this machine speak to whatever it can reach.
    pub fn allows(&self, endpoint: &super::outbox::Endpoint) -> bool {
        let usual = if endpoint.tls { 443 } else { 80 };
        let host = match endpoint.host.contains(':') {
            true => format!("[{}]", endpoint.host),
            false => endpoint.host.clone(),
        };
        let full = format!("{host}:{}", endpoint.port);
        self.callbacks
            .iter()
            .any(|listed| *listed == full || (endpoint.port == usual && *listed == host))
    }
}
