//! The draft as TOML that a person will read.

use super::identifiers::Identifier;
use super::propose::{Proposal, Rule};
use crate::policy::IdentifierKind;

/// Comments are no wider than this.
const WIDTH: usize = 98;

/// A whole policy file.
pub(super) fn file(proposal: &Proposal, left: &[String]) -> String {
    let mut out = String::new();
    let root = proposal.root.to_string();
    let open = proposal
        .rules
        .iter()
        .filter(|r| r.action.word() == "decide")
        .count();
    comment(
        &mut out,
        &format!(
            "A draft by `erasured discover` for {root}: read from the catalog and from samples, of which nothing is kept."
        ),
    );
    comment(
        &mut out,
        &format!(
            "{open} of {} rules say \"decide\": until nobody has to, nothing runs. What stands decided is a suggestion: read it.",
            proposal.rules.len()
        ),
    );
    for said in left {
        comment(&mut out, &format!("`erasured check` will also say: {said}"));
    }
    out.push_str(&format!(
        "\nsubject = {}\nroot    = {}\n",
        string(&proposal.subject),
        string(&root)
    ));
    for one in &proposal.identifiers {
        identifier(&mut out, one);
    }
    out.push_str(
        "\n# What may be asked for, and what it takes: see docs/policies.md.\n[scope.account]\n\
         tables = \"all\"\n\
         verify = { at_least = \"reasonably-high\", four_eyes = true, cooling_off = \"3 days\" }\n\
         sla    = \"jp-appi\"\n",
    );
    for one in &proposal.rules {
        out.push('\n');
        rule(&mut out, one, "");
    }
    if !proposal.notes.is_empty() {
        out.push('\n');
        comment(
            &mut out,
            "No rule says anything of these. Where rows are a person's, add a [[table]] with a link:",
        );
        for note in &proposal.notes {
            comment(&mut out, &format!("- {note}"));
        }
    }
    out
}

fn identifier(out: &mut String, one: &Identifier) {
    out.push('\n');
    if !one.why.is_empty() {
        comment(out, one.why);
    }
    out.push_str(&format!("[identifier.{}]\n", one.name));
    let mut pairs = vec![("column", string(&one.column))];
    match &one.kind {
        IdentifierKind::Plain => {}
        IdentifierKind::Email => pairs.push(("type", string("email"))),
        IdentifierKind::Name => pairs.push(("type", string("name"))),
        IdentifierKind::Phone { region } => {
            pairs.push(("type", string("phone")));
            pairs.push(("region", string(region)));
        }
    }
    if one.find {
        pairs.push(("find", "true".into()));
    }
    if one.residual {
        pairs.push(("residual", "true".into()));
    }
    for (key, value) in pairs {
        out.push_str(&format!("{key:<8} = {value}\n"));
    }
}

/// One `[[table]]` with its reasons above it, the first of which begins with `mark`.
pub(super) fn rule(out: &mut String, rule: &Rule, mark: &str) {
    for (at, why) in rule.why.iter().enumerate() {
        comment(out, &format!("{}{why}", if at == 0 { mark } else { "" }));
    }
    out.push_str(&format!(
        "[[table]]\nname   = {}\n",
        string(&rule.table.to_string())
    ));
    if let Some(via) = &rule.via {
        out.push_str(&format!("via    = {}\n", string(via)));
    }
    if let Some(link) = &rule.link {
        let to = match &link.to {
            Ok(identifier) => format!("identifier = {}", string(identifier)),
            Err(table) => format!("to = {}", string(&table.to_string())),
        };
        let when = link
            .when
            .as_ref()
            .map(|(column, word)| format!(", when = {{ {} = {} }}", key(column), string(word)));
        out.push_str(&format!(
            "link   = {{ columns = [{}], {to}{} }}\n",
            string(&link.column),
            when.unwrap_or_default()
        ));
    }
    out.push_str(&format!("action = {}\n", string(rule.action.word())));
}

/// A TOML key, quoted where it must be.
fn key(text: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    if !text.is_empty() && text.chars().all(bare) {
        text.to_owned()
    } else {
        string(text)
    }
}

/// A TOML string on one line, whatever is in it.
fn string(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if c.is_control() => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Comment lines; a name in them cannot end the comment.
pub(super) fn comment(out: &mut String, text: &str) {
    let mut line = String::new();
    for word in one_line(text).split(' ') {
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > WIDTH {
            out.push_str(&format!("# {line}\n"));
            line = "  ".into();
        } else if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    out.push_str(&format!("# {}\n", line.trim_end()));
}

/// What could end a line becomes a space.
pub(super) fn one_line(text: &str) -> String {
    text.chars()
        .map(|c| {
            let ends = c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
            if ends { ' ' } else { c }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_name_gets_out_of_its_place(name in "[^\0]{0,40}") {
            let mut text = String::new();
            comment(&mut text, &name);
            text.push_str(&format!("a = {}\n", string(&name)));
            let read: toml::Table = toml::from_str(&text).unwrap();
            prop_assert_eq!(read.len(), 1);
            prop_assert_eq!(read["a"].as_str(), Some(name.as_str()));
        }
    }
}
