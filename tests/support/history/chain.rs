//! The ledger: one chain without a gap, of entries that say of themselves where they stand.

use super::{Control, Happened};
use serde::Deserialize;
use sha2::{Digest, Sha256};

#[derive(Deserialize)]
struct Entry {
    seq: i64,
    #[serde(flatten)]
    happened: Happened,
}

/// All that has happened, in order, and what is wrong with the chain.
pub(super) fn events(control: &Control) -> (Vec<Happened>, Vec<String>) {
    let (mut events, mut wrong) = (Vec::new(), Vec::new());
    let mut prev = "0".repeat(64);
    for (at, link) in (1..).zip(&control.ledger) {
        if link.seq != at {
            wrong.push(format!("ledger: {} stands where {at} must", link.seq));
        }
        if link.prev != prev {
            wrong.push(format!(
                "ledger {}: not chained to the one before",
                link.seq
            ));
        }
        let mut hash = Sha256::new();
        hash.update([0]);
        hash.update(bytes(&link.prev));
        hash.update(&link.entry);
        if link.hash != hex(&hash.finalize()) {
            wrong.push(format!("ledger {}: its hash is not its own", link.seq));
        }
        prev.clone_from(&link.hash);
        match serde_json::from_str::<Entry>(&link.entry) {
            Ok(entry) if entry.seq == link.seq => events.push(entry.happened),
            _ => wrong.push(format!("ledger {}: the entry is not one", link.seq)),
        }
    }
    events.extend(control.waiting.iter().cloned());
    (events, wrong)
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u32> = hex.chars().filter_map(|c| c.to_digit(16)).collect();
    let pairs = digits
        .chunks(2)
        .map(|pair| pair.iter().fold(0, |n, d| n * 16 + d));
    pairs.filter_map(|n| u8::try_from(n).ok()).collect()
}
