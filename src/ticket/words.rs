//! A text in the languages that customers read.

use serde::{Deserialize, Serialize};

/// The language of a text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lang {
    /// Japanese.
    #[default]
    Ja,
    /// English.
    En,
}

impl Lang {
    /// All there are.
    pub const ALL: [Self; 2] = [Self::Ja, Self::En];

    /// Of a tag such as `ja` or `en-GB`; `None` if it is neither.
    pub fn of_tag(tag: &str) -> Option<Self> {
        match tag.split('-').next() {
            Some("ja") => Some(Self::Ja),
            Some("en") => Some(Self::En),
            _ => None,
        }
    }

    /// `ja` or `en`.
    pub fn tag(self) -> &'static str {
        match self {
            Self::Ja => "ja",
            Self::En => "en",
        }
    }
}

/// The same in each language.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Words {
    /// In Japanese, polite enough to be read aloud.
    pub ja: String,
    /// In English.
    pub en: String,
}

impl Words {
    /// In this language.
    pub fn get(&self, lang: Lang) -> &str {
        match lang {
            Lang::Ja => &self.ja,
            Lang::En => &self.en,
        }
    }

    /// One text for both.
    pub fn same(text: &str) -> Self {
        Self {
            ja: text.to_owned(),
            en: text.to_owned(),
        }
    }
}
