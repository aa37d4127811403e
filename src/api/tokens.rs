//! Who may come in: a file of hashes. The tokens themselves are nowhere.

use super::problem::Problem;
use crate::config::SecretSource;
use crate::diagnostic::{self, Diagnostic};
use crate::reading::{self, Codes, Span, Table, choose, quoted};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

const CODES: Codes = Codes {
    syntax: "E0137",
    unknown_key: "E0137",
    missing_key: "E0137",
    wrong_type: "E0137",
    bad_value: "E0137",
};

/// What a token may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// File requests.
    File,
    /// Record how identity was verified.
    Verify,
    /// Approve and reject.
    Approve,
    /// Hold and release.
    Hold,
    /// Place legal holds, and see them.
    PlaceHold,
    /// Release legal holds, and see them.
    ReleaseHold,
    /// See tickets.
    Read,
    /// See certificates.
    Audit,
}

const SCOPES: [(&str, Scope); 8] = [
    ("file", Scope::File),
    ("verify", Scope::Verify),
    ("approve", Scope::Approve),
    ("hold", Scope::Hold),
    ("place-hold", Scope::PlaceHold),
    ("release-hold", Scope::ReleaseHold),
    ("read", Scope::Read),
    ("audit", Scope::Audit),
];

impl Scope {
    /// As the file writes it.
    pub fn word(self) -> &'static str {
        SCOPES
            .iter()
            .find(|(_, scope)| *scope == self)
            .map_or("", |(word, _)| word)
    }

    /// All words, for help.
    pub fn words() -> [&'static str; 8] {
        SCOPES.map(|(word, _)| word)
    }
}

/// One token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// Its name in the file.
    pub name: String,
    /// The person whom its decisions are.
    pub actor: String,
    /// What it may be used for.
    pub scopes: BTreeSet<Scope>,
    sha256: [u8; 32],
}

/// The file.
#[derive(Debug, Default)]
pub struct Tokens(Vec<Token>);

impl Tokens {
    /// The token that was shown, if it is one of these. Every hash is compared to its end, so the
    /// time it takes says nothing.
    pub fn find(&self, shown: &str) -> Option<&Token> {
        let hash: [u8; 32] = Sha256::digest(shown.as_bytes()).into();
        let mut found = None;
        for token in &self.0 {
            let differs = token.sha256.iter().zip(&hash);
            if differs.fold(0_u8, |all, (a, b)| all | (a ^ b)) == 0 {
                found = Some(token);
            }
        }
        found
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nobody comes in.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Reads the file's text.
///
/// # Errors
/// Every mistake, under E0137; no excerpt shows what could be a token.
pub fn read(path: &str, text: &str) -> Result<Tokens, Vec<Diagnostic>> {
    // What stands here may be a token by mistake: only keys are shown.
    let all = 0..text.len();
    let shown = reading::mask(text, std::slice::from_ref(&all));
    reading::read(path, text, &shown, true, CODES, |reader, top| {
        let mut tokens: Vec<Token> = Vec::new();
        for (name, span, table) in top.named("token") {
            let token = token(name, &table);
            table.finish();
            let Some(token) = token else { continue };
            if tokens.iter().any(|known| known.sha256 == token.sha256) {
                let message = format!("{} is the token of another name, too", quoted(&token.name));
                reader.error(
                    "E0137",
                    span,
                    message,
                    "give everybody a token of their own",
                );
            }
            tokens.push(token);
        }
        Some(Tokens(tokens))
    })
}

fn token(name: String, table: &Table<'_>) -> Option<Token> {
    let help = "`erasured keygen api-token` prints one with all that belongs here";
    table
        .need("sha256", help)
        .need("actor", help)
        .need("scopes", help);
    let sha256 = table.parsed("sha256", "E0137", help, |text| {
        hex(text).ok_or_else(|| "it is not 64 hexadecimal digits".to_owned())
    });
    let actor = table.parsed(
        "actor",
        "E0137",
        "name the person: actor = \"hana\"",
        |text| {
            let fits = (1..=200).contains(&text.chars().count())
                && text.trim() == text
                && !text.contains(char::is_control);
            fits.then(|| text.to_owned())
                .ok_or_else(|| "it is not 1 to 200 printable characters".into())
        },
    );
    let scopes = table.strings("scopes");
    let scopes = scopes.map(|words| words.iter().filter_map(|word| scope(table, word)).collect());
    Some(Token {
        name,
        actor: actor?.0,
        scopes: scopes?,
        sha256: sha256?.0,
    })
}

fn scope(table: &Table<'_>, (word, at): &(String, Span)) -> Option<Scope> {
    let known = SCOPES.iter().find(|(known, _)| known == word);
    if known.is_none() {
        let message = format!("{} is no scope", quoted(word));
        let help = choose(word, &Scope::words());
        table.reader().error("E0137", at.clone(), message, help);
    }
    known.map(|(_, scope)| *scope)
}

fn hex(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if text.len() != 64 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    for (byte, at) in bytes.iter_mut().zip((0..64).step_by(2)) {
        *byte = u8::from_str_radix(&text[at..at + 2], 16).ok()?;
    }
    Some(bytes)
}

/// The file as it is now: a token that was taken out is refused from the next request on.
#[derive(Debug)]
pub struct TokenFile {
    path: PathBuf,
    known: Mutex<Option<(SystemTime, Arc<Tokens>)>>,
}

impl TokenFile {
    /// The file at this path; it is read when somebody comes.
    pub fn new(path: PathBuf) -> Self {
        Self {
            path,
            known: Mutex::new(None),
        }
    }

    /// The tokens of now.
    ///
    /// # Errors
    /// E0646 if the file cannot be read: then nobody comes in, and the log says why.
    pub(super) fn now(&self) -> Result<Arc<Tokens>, Problem> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = std::fs::metadata(&self.path).and_then(|file| file.modified());
        if let (Some((at, tokens)), Ok(changed)) = (&*known, &changed)
            && at == changed
        {
            return Ok(tokens.clone());
        }
        *known = None;
        let tokens = self.load().map(Arc::new).map_err(|why| {
            tracing::error!("E0137: nobody is let in, the tokens cannot be read:\n{why}");
            Problem::misconfigured()
        })?;
        if let Ok(changed) = changed {
            *known = Some((changed, tokens.clone()));
        }
        Ok(tokens)
    }

    /// Reads it.
    ///
    /// # Errors
    /// Why not, in words for the log.
    pub fn load(&self) -> Result<Tokens, String> {
        let file = SecretSource::File(self.path.clone()).load();
        let file = file.map_err(|error| error.to_string())?;
        let text = std::str::from_utf8(file.expose()).map_err(|_| "it is not UTF-8".to_owned())?;
        read(&self.path.display().to_string(), text)
            .map_err(|found| diagnostic::render(&found, false))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"; // "test"

    #[test]
    fn only_a_whole_token_is_found() {
        let text = format!(
            "[token.crm]\nsha256 = \"{HASH}\"\nactor = \"hana\"\nscopes = [\"file\", \"read\"]\n"
        );
        let tokens = read("t", &text).unwrap();
        let token = tokens.find("test").unwrap();
        assert_eq!((token.name.as_str(), token.actor.as_str()), ("crm", "hana"));
        assert!(token.scopes.contains(&Scope::File) && !token.scopes.contains(&Scope::Approve));
        for wrong in ["", "tes", "test ", "Test", HASH] {
            assert!(tokens.find(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn mistakes_are_told_and_show_nothing_that_could_be_a_token() {
        let one = |body: &str| format!("[token.a]\n{body}\n");
        let good = format!("sha256 = \"{HASH}\"\nactor = \"a\"\nscopes = [\"read\"]");
        for bad in [
            one("sha256 = \"plain-text-token\"\nactor = \"a\"\nscopes = []"),
            one(&good.replace("read", "everything")),
            one(&good.replace("\"a\"", "\" \"")),
            one(&good.replace("actor", "actors")),
            one(&good) + &good.replace("sha256", "[token.b]\nsha256"),
            "plain-text-token".to_owned(),
        ] {
            let found = read("t", &bad).expect_err(&bad);
            assert!(found.iter().all(|d| d.code == "E0137"), "{bad}");
            let said = diagnostic::render(&found, false);
            assert!(!said.contains("plain-text"), "{said}");
        }
    }
}
