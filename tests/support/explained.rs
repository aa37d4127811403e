//! The examples of `docs/errors.md`: parts of files, made whole so that they can be read.

use erasured::explanation::{self, Explanation};

/// A block of code with what stands behind its opening fence.
pub(crate) struct Block {
    pub(crate) info: String,
    pub(crate) body: String,
}

pub(crate) fn blocks(explanation: &Explanation) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut lines = explanation.body.lines();
    while let Some(line) = lines.next() {
        let Some(info) = line.strip_prefix("```") else {
            continue;
        };
        let body: Vec<&str> = lines
            .by_ref()
            .take_while(|line| !line.starts_with("```"))
            .collect();
        blocks.push(Block {
            info: info.to_owned(),
            body: body.join("\n"),
        });
    }
    blocks
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

/// A part of a policy with all that it does not say itself.
pub(crate) fn policy(part: &str) -> String {
    const HEAD: &str = "subject = \"customer\"\nroot = \"shop.public.customer\"\n";
    const REST: [(&str, &str); 3] = [
        (
            "[identifier.",
            "[identifier.member_no]\ncolumn = \"member_no\"\nfind = true\n",
        ),
        (
            "[scope.",
            "[scope.account]\ntables = \"all\"\nverify = { at_least = \"basic\" }\nsla = \"jp-appi\"\n",
        ),
        (
            "\"shop.public.customer\"\naction",
            "[[table]]\nname = \"shop.public.customer\"\naction = \"delete\"\n",
        ),
    ];
    let mut text = format!("{HEAD}{part}\n");
    let said = part.replace("   =", " =");
    for (mark, rest) in REST {
        if !said.contains(mark) {
            text += rest;
        }
    }
    text
}
