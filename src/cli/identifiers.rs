//! Identifiers as they are typed: `name=value`, a file of such lines, or a JSON object.

use super::failure::Failure;
use crate::store::tickets::IdentifierValue;
use clap::Args;
use std::io::Read;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// The ways to name a person.
#[derive(Args, Debug)]
pub(super) struct Identifiers {
    /// An identifier and its value; may be given several times. Other users of this machine can
    /// see arguments: where that matters use --identifier-file.
    #[arg(long = "identifier", value_name = "NAME=VALUE")]
    named: Vec<String>,
    /// A file of NAME=VALUE lines, or with one JSON object; `-` is standard input.
    #[arg(long, value_name = "FILE")]
    identifier_file: Option<PathBuf>,
}

/// Name and value of each.
pub(super) type Named = Vec<(String, IdentifierValue)>;

impl Identifiers {
    pub(super) fn read(&self) -> Result<Named, Failure> {
        let mut named = Vec::new();
        for text in &self.named {
            named.push(pair(text).ok_or_else(|| {
                Failure::usage("--identifier is written NAME=VALUE, such as member_no=TM-0000001")
            })?);
        }
        if let Some(file) = &self.identifier_file {
            named.extend(from_text(&text(file)?, file)?);
        }
        Ok(named)
    }
}

/// `name=value`; spaces around both are let go.
pub(super) fn pair(text: &str) -> Option<(String, IdentifierValue)> {
    let (name, value) = text.split_once('=')?;
    let (name, value) = (name.trim(), value.trim());
    (!name.is_empty()).then(|| (name.to_owned(), IdentifierValue::new(value.to_owned())))
}

/// The whole of a file, or of standard input.
pub(super) fn text(file: &Path) -> Result<Zeroizing<String>, Failure> {
    let mut text = Zeroizing::new(String::new());
    let read = if file == Path::new("-") {
        std::io::stdin().read_to_string(&mut text)
    } else {
        std::fs::File::open(file).and_then(|mut f| f.read_to_string(&mut text))
    };
    read.map_err(|error| Failure::usage(format!("{}: {error}", file.display())))?;
    Ok(text)
}

/// Empty lines and lines beginning with `#` say nothing.
pub(super) fn from_text(text: &str, file: &Path) -> Result<Named, Failure> {
    let shown = file.display();
    if text.trim_start().starts_with('{') {
        let object: serde_json::Map<String, serde_json::Value> = serde_json::from_str(text)
            .map_err(|e| {
                // The parser's own words may repeat a value.
                Failure::usage(format!(
                    "{shown}:{}: not a JSON object of names and texts",
                    e.line()
                ))
            })?;
        return object
            .into_iter()
            .map(|(name, value)| match value {
                serde_json::Value::String(value) => Ok((name, IdentifierValue::new(value))),
                _ => Err(Failure::usage(format!(
                    "{shown}: {name} is not a text; write it in quotes"
                ))),
            })
            .collect();
    }
    text.lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty() && !line.trim_start().starts_with('#'))
        .map(|(at, line)| {
            pair(line)
                .ok_or_else(|| Failure::usage(format!("{shown}:{}: not a line NAME=VALUE", at + 1)))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<(String, String)>, String> {
        match from_text(text, Path::new("f")) {
            Ok(named) => Ok(named
                .into_iter()
                .map(|(n, v)| (n, v.expose().to_owned()))
                .collect()),
            Err(Failure::Said { text, .. }) => Err(text),
            Err(_) => Err("another failure".into()),
        }
    }

    #[test]
    fn lines_and_json_say_the_same_and_mistakes_do_not_repeat_values() {
        let expected = vec![
            ("email".to_owned(), "a=b@example.jp".to_owned()),
            ("name".to_owned(), "山田 太郎".to_owned()),
        ];
        assert_eq!(
            read("# who\n\nemail = a=b@example.jp\nname=山田 太郎\n").unwrap(),
            expected
        );
        assert_eq!(
            read(r#"{"email": "a=b@example.jp", "name": "山田 太郎"}"#).unwrap(),
            expected
        );
        for text in [
            "email=x\nsecret-value",
            "{\"email\": \"secret-value\"",
            "{\"n\": 5}",
        ] {
            let said = read(text).unwrap_err();
            assert!(!said.contains("secret-value"), "{said}");
        }
        assert!(read("a=b\nwrong").unwrap_err().starts_with("f:2:"));
    }
}
