//! Blocks of code in a document, and parts of a policy made whole so that they can be read.

/// A block of code with what stands behind its opening fence.
pub(crate) struct Block {
    pub(crate) info: String,
    pub(crate) body: String,
}

pub(crate) fn blocks(text: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut lines = text.lines();
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
