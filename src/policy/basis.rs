//! `bases.toml`: legal bases for keeping, by code, with their citations.
//!
//! It is no legal advice: **counsel should confirm a basis before a policy relies on it**. A basis covers
//! named fields, not the whole customer; the dates are computed from the policy's own `until`, never
//! from this list.

use super::read::{CODES, UNKNOWN_WORD, made_up_name};
use crate::diagnostic::Diagnostic;
use crate::reading::{self, Table};
use crate::ticket::sla::Confidence;
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

/// The file's name in a folder of policies, where it is no policy.
pub const FILE: &str = "bases.toml";

/// Bases by their code, as a policy writes it in `because`.
pub type Bases = BTreeMap<String, Basis>;

/// One rule that makes a company keep something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Basis {
    /// Citation, in Japanese.
    pub ja: String,
    /// Citation, in English.
    pub en: String,
    /// What it covers, in Japanese.
    pub covers_ja: String,
    /// What it covers, in English.
    pub covers_en: String,
    /// How long.
    pub period: String,
    /// Counted from when.
    pub from: Option<String>,
    /// Where the row comes from.
    pub source: String,
    /// How sure that is.
    pub sure: Confidence,
}

impl Basis {
    /// As a certificate cites it.
    pub fn citation(&self) -> String {
        format!("{} / {}", self.ja, self.en)
    }

    /// How long and counted from when.
    pub fn term(&self) -> String {
        match &self.from {
            Some(from) => format!("{} from {from}", self.period),
            None => self.period.clone(),
        }
    }
}

/// Those that ship with the program: `policies/bases.toml`.
pub fn built_in() -> &'static Arc<Bases> {
    static BUILT_IN: LazyLock<Arc<Bases>> = LazyLock::new(|| {
        let read = bases(FILE, include_str!("../../policies/bases.toml"));
        Arc::new(read.unwrap_or_else(|mistakes| unreachable!("our own {FILE}: {mistakes:?}")))
    });
    &BUILT_IN
}

/// Those of a file, and the built-in ones that it does not name.
///
/// # Errors
/// All mistakes of the file at once.
pub fn read(path: &str, text: &str) -> Result<Arc<Bases>, Vec<Diagnostic>> {
    let mut known = Bases::clone(built_in());
    known.extend(bases(path, text)?);
    Ok(Arc::new(known))
}

fn bases(path: &str, text: &str) -> Result<Bases, Vec<Diagnostic>> {
    reading::read(path, text, text, false, CODES, |_, file| {
        let mut known = Some(Bases::new());
        for (name, span, table) in file.named("basis") {
            made_up_name(&table, &name, &span);
            match (basis(&table), &mut known) {
                (Some(basis), Some(known)) => drop(known.insert(name, basis)),
                _ => known = None,
            }
        }
        known
    })
}

fn basis(table: &Table<'_>) -> Option<Basis> {
    const SURE: &[(&str, Confidence)] = &[
        ("sure", Confidence::Sure),
        ("likely", Confidence::Likely),
        ("check", Confidence::Check),
    ];
    table.need("ja", "cite it in Japanese");
    table.need("en", "cite it in English");
    table.need(
        "covers_ja",
        "say in Japanese what it covers: fields, not the customer",
    );
    table.need(
        "covers_en",
        "say in English what it covers: fields, not the customer",
    );
    table.need("period", "say how long, such as \"7 years\"");
    table.need("source", "say where the row comes from");
    table.need("sure", "say how sure that is: sure, likely or check");
    let text = |key| table.string(key).map(|(text, _)| text);
    let [ja, en, covers_ja, covers_en, period, from, source] = [
        "ja",
        "en",
        "covers_ja",
        "covers_en",
        "period",
        "from",
        "source",
    ]
    .map(text);
    let sure = table.word("sure", UNKNOWN_WORD, SURE);
    table.finish();
    Some(Basis {
        ja: ja?,
        en: en?,
        covers_ja: covers_ja?,
        covers_en: covers_en?,
        period: period?,
        from,
        source: source?,
        sure: sure?.0,
    })
}

/// Whether a `because` reads like a code and not like words: a code nobody knows is a typo,
/// words are the policy's own reason.
pub fn looks_like_code(because: &str) -> bool {
    because
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bases_of_the_law_are_there_and_codes_are_codes() {
        assert_eq!(built_in().len(), 27);
        assert!(built_in().keys().all(|code| looks_like_code(code)));
        let books = &built_in()["jp-ctax-7"];
        assert_eq!(
            books.term(),
            "7 years from the day after the return's filing deadline"
        );
        assert!(books.covers_en.contains("receipts"));
        assert!(!looks_like_code("Privacy policy s. 4.2"));
        assert!(!looks_like_code("社内規程による"));
    }

    /// A company's own basis may be named by its policy, and by no other's.
    #[test]
    fn a_file_beside_the_policies_adds_and_changes() {
        let own = "[basis.house-3]\nja = \"社内規程\"\nen = \"house rule\"\ncovers_ja = \"契約書\"\n\
                   covers_en = \"contracts\"\nperiod = \"3 years\"\nsource = \"own\"\nsure = \"check\"\n";
        let known = read("f", own).unwrap();
        assert_eq!(known["house-3"].citation(), "社内規程 / house rule");
        assert_eq!(known.len(), 28);
        assert!(read("f", &own.replace("period", "perido")).is_err());
        let policy = r#"
            subject = "customer"
            root = "s.public.customer"
            identifier.no = { column = "no", find = true }
            scope.all = { tables = "all", verify = { at_least = "basic" }, sla = "jp-appi" }
            [[table]]
            name = "s.public.customer"
            action = "delete"
            [[table]]
            name = "s.public.contract"
            action = "retain"
            because = "house-3"
        "#;
        let clocks = crate::policy::clocks::built_in();
        let under = |bases| crate::policy::read::draft_under("p", policy, clocks, bases);
        assert!(under(&known).is_ok());
        assert_eq!(under(built_in()).unwrap_err()[0].code, "E0108");
    }
}
