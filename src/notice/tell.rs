//! Templates, and what becomes of them.

use super::script::Answer;
use super::{Facts, Kind};
use crate::ticket::words::Lang;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{Environment, UndefinedBehavior};
use std::collections::BTreeMap;

/// A template that cannot be told.
#[derive(Debug, thiserror::Error)]
#[error("E0130: the template {name} cannot be told: {problem}")]
pub struct Untellable {
    /// `ja/receipt.txt`.
    pub name: String,
    /// Why, with the line.
    pub problem: String,
}

/// Texts by name, such as `ja/receipt.txt`.
#[derive(Clone, Debug)]
pub struct Templates(BTreeMap<String, String>);

macro_rules! built_in {
    ($($name:literal),* $(,)?) => {
        [$(
            (concat!("ja/", $name, ".txt"), include_str!(concat!("../../templates/ja/", $name, ".txt"))),
            (concat!("en/", $name, ".txt"), include_str!(concat!("../../templates/en/", $name, ".txt"))),
        )*]
    };
}

const BUILT_IN: &[(&str, &str)] = &built_in![
    "receipt",
    "identity",
    "consequences",
    "kept",
    "extension",
    "refusal",
    "completion",
    "script",
    "answer-why-not-now",
    "answer-this-number",
    "answer-no-licence",
    "answer-against-the-law",
    "answer-the-rule",
    "warning",
];

impl Templates {
    /// Those that ship with the program.
    pub fn built_in() -> Self {
        let all = BUILT_IN.iter();
        Self(
            all.map(|(name, text)| ((*name).into(), (*text).into()))
                .collect(),
        )
    }

    /// Their names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Puts another text in the place of a template.
    pub fn replace(&mut self, name: &str, text: String) {
        self.0.insert(name.to_owned(), text);
    }

    /// The notice of this kind.
    ///
    /// # Errors
    /// [`Untellable`]: a replaced template is no template, or names a fact that there is not.
    pub fn notice(&self, kind: Kind, lang: Lang, facts: &Facts) -> Result<String, Untellable> {
        self.tell(kind.name(), lang, facts)
    }

    /// What the agent says now.
    ///
    /// # Errors
    /// As [`notice`](Self::notice).
    pub fn script(&self, lang: Lang, facts: &Facts) -> Result<String, Untellable> {
        Ok(spaced(&self.tell("script", lang, facts)?))
    }

    /// What the agent answers to this.
    ///
    /// # Errors
    /// As [`notice`](Self::notice).
    pub fn answer(&self, to: Answer, lang: Lang, facts: &Facts) -> Result<String, Untellable> {
        Ok(spaced(&self.tell(
            &format!("answer-{}", to.name()),
            lang,
            facts,
        )?))
    }

    /// The text of the template of this name.
    fn tell(&self, name: &str, lang: Lang, facts: &Facts) -> Result<String, Untellable> {
        let name = format!("{}/{name}.txt", lang.tag());
        let mut environment = Environment::new();
        // A fact that is not there is a mistake of the template, not an empty place in a notice.
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        let untellable = |error: minijinja::Error| Untellable {
            name: name.clone(),
            problem: match error.line() {
                Some(line) => format!("line {line}: {error}"),
                None => error.to_string(),
            },
        };
        let mut lines = SyntaxConfig::builder();
        let lines = lines.trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(lines.map_err(untellable)?);
        let text = self.0.get(&name).map_or("", String::as_str);
        environment.add_template(&name, text).map_err(untellable)?;
        let template = environment.get_template(&name).map_err(untellable)?;
        let told = template.render(Serde(facts)).map_err(untellable)?;
        Ok(format!("{}\n", told.trim_end()))
    }
}

/// One empty line where a template with many branches leaves several, and none at the top.
fn spaced(text: &str) -> String {
    let mut lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    lines.dedup_by(|line, before| line.is_empty() && before.is_empty());
    let text = lines.join("\n");
    format!("{}\n", text.trim_matches('\n'))
}
