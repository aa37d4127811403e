//! Whether a policy's places fit the systems that are registered.

use super::{Place, Sought};
use crate::config::place::Kind;
use crate::diagnostic::Diagnostic;
use crate::policy::{Policy, Span};
use crate::reading::choose;
use std::collections::BTreeMap;

/// What does not fit: places of a system that is not registered or is a database, and ways to find
/// things that its kind has not.
pub fn misfits(policy: &Policy, kinds: &BTreeMap<String, Kind>) -> Vec<Diagnostic> {
    let at = |span: &Span, diagnostic: Diagnostic| diagnostic.at(&policy.source, span.clone());
    let mut found = Vec::new();
    for place in &policy.places {
        let system = &place.name.system;
        let Some(kind) = kinds.get(system) else {
            let known: Vec<&str> = kinds.keys().map(String::as_str).collect();
            let message = format!(
                "the place {} names the system {system:?}, which is not registered, or is a database",
                place.name
            );
            let help = match known.as_slice() {
                [] => format!("register it in erasured.toml: [system.{system}] with its kind"),
                known => choose(system, known),
            };
            found.push(at(&place.span, Diagnostic::error("E0270", message, help)));
            continue;
        };
        found.extend(unknown_way(place, *kind).map(|d| at(&place.span, d)));
    }
    found
}

fn unknown_way(place: &Place, kind: Kind) -> Option<Diagnostic> {
    let sought = place.sought.iter().find(|sought| !kind.finds(sought))?;
    let by = match sought {
        Sought::Key(_) => "keys or prefix",
        Sought::Member { .. } => "members",
        Sought::Person(_) => "identifiers",
        Sought::Named(_) => "from",
    };
    let message = format!(
        "the place {} is found by {by}, which a system of kind {} does not know",
        place.name,
        kind.word()
    );
    let help = format!("here may stand: {}", kind.ways());
    Some(Diagnostic::error("E0271", message, help))
}
