//! The examples of `docs/errors.md`: parts of files, made whole so that they can be read.

#[path = "parts.rs"]
mod parts;

use erasured::explanation::{self, Explanation};
pub(crate) use parts::{Block, policy};

pub(crate) fn blocks(explanation: &Explanation) -> Vec<Block> {
    parts::blocks(explanation.body)
}

/// Every example of a file of this kind: its code's section, what it claims to give, its text.
pub(crate) fn examples(kind: &str) -> Vec<(Explanation, Option<String>, String)> {
    let mut examples = Vec::new();
    for explanation in explanation::all() {
        for block in blocks(&explanation) {
            if let Some(claim) = block.info.strip_prefix(kind) {
                let claim = Some(claim.trim()).filter(|c| !c.is_empty());
                examples.push((explanation, claim.map(str::to_owned), block.body));
            }
        }
    }
    examples
}
