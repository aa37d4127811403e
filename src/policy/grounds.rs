//! `grounds.toml`: why a person may ask for erasure and why a company may refuse, by code, with the
//! words for the customer and where to complain.

use super::read::{CODES, UNKNOWN_WORD, made_up_name};
use crate::diagnostic::Diagnostic;
use crate::reading::{self, Table, choose, quoted};
use crate::ticket::sla::Confidence;
use std::collections::BTreeMap;
use std::sync::LazyLock;

/// The file's name in a folder of policies, where it is no policy.
pub const FILE: &str = "grounds.toml";

/// What the file says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grounds {
    /// Under which a ticket is filed.
    pub requests: BTreeMap<String, Ground>,
    /// For which a ticket is rejected.
    pub refusals: BTreeMap<String, Ground>,
    /// Where to complain.
    pub authorities: BTreeMap<String, Ground>,
}

/// A code's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ground {
    /// In Japanese, to read aloud.
    pub ja: String,
    /// In English.
    pub en: String,
    /// The authority that a customer who is refused may turn to.
    pub complain: Option<String>,
    /// Where it comes from.
    pub source: String,
    /// How sure that is.
    pub sure: Confidence,
}

/// What ships with the program: `policies/grounds.toml`.
pub fn built_in() -> &'static Grounds {
    static BUILT_IN: LazyLock<Grounds> = LazyLock::new(|| {
        let text = include_str!("../../policies/grounds.toml");
        let read = grounds(FILE, text, Grounds::default());
        read.unwrap_or_else(|mistakes| unreachable!("our own {FILE}: {mistakes:?}"))
    });
    &BUILT_IN
}

/// What a file says, and what is built in where it says nothing.
///
/// # Errors
/// All mistakes of the file at once.
pub fn read(path: &str, text: &str) -> Result<Grounds, Vec<Diagnostic>> {
    grounds(path, text, built_in().clone())
}

fn grounds(path: &str, text: &str, mut known: Grounds) -> Result<Grounds, Vec<Diagnostic>> {
    reading::read(path, text, text, false, CODES, |_, file| {
        let mut whole = true;
        for kind in ["authority", "request", "refusal"] {
            for (name, span, table) in file.named(kind) {
                made_up_name(&table, &name, &span);
                if table.boolean("offered") == Some(false) {
                    table.finish();
                    of(&mut known, kind).remove(&name);
                    continue;
                }
                let authorities = (kind == "refusal").then_some(&known.authorities);
                match ground(&table, authorities) {
                    Some(ground) => drop(of(&mut known, kind).insert(name, ground)),
                    None => whole = false,
                }
            }
        }
        whole.then_some(known)
    })
}

fn of<'a>(known: &'a mut Grounds, kind: &str) -> &'a mut BTreeMap<String, Ground> {
    match kind {
        "authority" => &mut known.authorities,
        "request" => &mut known.requests,
        _ => &mut known.refusals,
    }
}

fn ground(table: &Table<'_>, authorities: Option<&BTreeMap<String, Ground>>) -> Option<Ground> {
    const SURE: &[(&str, Confidence)] = &[
        ("sure", Confidence::Sure),
        ("likely", Confidence::Likely),
        ("check", Confidence::Check),
    ];
    table.need("ja", "say it in Japanese, to read aloud");
    table.need("en", "say it in English");
    table.need(
        "source",
        "say where it comes from: the article, or whose judgement it is",
    );
    table.need("sure", "say how sure that is: sure, likely or check");
    let [ja, en, source] =
        ["ja", "en", "source"].map(|key| table.string(key).map(|(text, _)| text));
    let sure = table.word("sure", UNKNOWN_WORD, SURE);
    let complain = authorities.and_then(|_| table.string("complain"));
    table.finish();
    if let (Some((name, span)), Some(known)) = (&complain, authorities)
        && !known.contains_key(name)
    {
        let names: Vec<&str> = known.keys().map(String::as_str).collect();
        let message = format!("{} names no authority {}", table.label(), quoted(name));
        table
            .reader()
            .error(UNKNOWN_WORD, span.clone(), message, choose(name, &names));
        return None;
    }
    Some(Ground {
        ja: ja?,
        en: en?,
        complain: complain.map(|(name, _)| name),
        source: source?,
        sure: sure?.0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every exception of ../shared/law.md, section 4, has its row and its words; whoever is refused is told
    /// where to complain.
    #[test]
    fn what_the_law_knows_is_there_in_both_languages() {
        let known = built_in();
        for code in [
            "gdpr-17-3-a",
            "gdpr-17-3-b",
            "gdpr-17-3-c",
            "gdpr-17-3-d",
            "gdpr-17-3-e",
            "gdpr-12-5",
            "gdpr-11-2",
            "gdpr-17-1-none",
            "ccpa-d1",
            "ccpa-d2",
            "ccpa-d3",
            "ccpa-d4",
            "ccpa-d5",
            "ccpa-d6",
            "ccpa-d7",
            "ccpa-d8",
            "ccpa-145-a",
            "ccpa-unverified",
            "appi-34-2",
            "appi-35-cost",
            "appi-no-ground",
            "appi-not-retained-data",
            "appi-unverified",
            "kr-36-1",
            "cn-47",
            "lgpd-16",
            "va-582",
        ] {
            let refusal = &known.refusals[code];
            assert!(refusal.complain.is_some(), "{code}");
        }
        for code in [
            "policy",
            "appi-35-5",
            "gdpr-17-1-a",
            "gdpr-17-1-f",
            "ccpa-105",
        ] {
            assert!(known.requests.contains_key(code), "{code}");
        }
        let all = [&known.requests, &known.refusals, &known.authorities];
        for (code, ground) in all.into_iter().flatten() {
            let japanese = |c: char| ('\u{3040}'..='\u{9fff}').contains(&c);
            assert!(ground.ja.chars().any(japanese), "{code}: {}", ground.ja);
            assert!(!ground.en.chars().any(japanese), "{code}: {}", ground.en);
        }
    }

    #[test]
    fn a_file_beside_the_policies_adds_changes_and_takes_away() {
        let own = r#"
            [authority.house]
            ja = "当社相談室"
            en = "our ombudsman"
            source = "own"
            sure = "sure"
            [refusal.dispute]
            ja = "係争中のため"
            en = "we are in dispute"
            complain = "house"
            source = "own"
            sure = "sure"
            [refusal.contract]
            offered = false
        "#;
        let read = read("f", own).unwrap();
        assert_eq!(read.refusals["dispute"].complain.as_deref(), Some("house"));
        assert!(!read.refusals.contains_key("contract"));
        assert!(read.refusals.contains_key("gdpr-12-5"));
        let nowhere = own.replace("complain = \"house\"", "complain = \"hause\"");
        let mistakes = super::read("f", &nowhere).unwrap_err();
        assert!(mistakes[0].help.contains("house"), "{mistakes:?}");
    }
}
