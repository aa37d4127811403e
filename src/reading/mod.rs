//! Reading a TOML file so that every mistake in it is told at once, each with its place.
//!
//! A [`Table`] hands out the values of its keys and notes what is wrong with them; it remembers
//! which keys were asked for, so that what nobody asked for is an unknown key
//! ([`Table::finish`]). The configuration and the policies are both read through it.

use crate::diagnostic::{Diagnostic, Source};
use std::cell::RefCell;
use std::ops::Range;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

pub mod amount;
mod word;

use word::shortened;
pub use word::{choose, choose_or, did_you_mean, how_near, nearest, quoted};

/// Bytes of the text.
pub type Span = Range<usize>;

/// Under which codes one kind of file reports the mistakes that every kind has.
#[derive(Clone, Copy, Debug)]
pub struct Codes {
    /// Not TOML.
    pub syntax: &'static str,
    /// A key that means nothing here.
    pub unknown_key: &'static str,
    /// A key that must be there.
    pub missing_key: &'static str,
    /// A string where a table belongs, and the like.
    pub wrong_type: &'static str,
    /// The right type, but not a value that can be used.
    pub bad_value: &'static str,
}

/// How messages call the table that is the whole file.
const TOP: &str = "the file";

/// One file being read: collects the mistakes.
#[derive(Debug)]
pub struct Reader {
    source: Source,
    codes: Codes,
    found: RefCell<Vec<Found>>,
    /// Spans whose text no excerpt may show; only filled where [`Reader::secretive`] is set.
    hidden: RefCell<Vec<Span>>,
    secretive: bool,
}

#[derive(Debug)]
struct Found {
    diagnostic: Diagnostic,
    /// Not believed when the syntax is broken: the key may stand in the broken part.
    missing: bool,
}

/// Reads `text` with `f`. The result is `f`'s only if nobody noted an error; a `None` of `f`
/// must have been explained by a mistake.
///
/// `shown` is what excerpts show: `text` itself, or a copy of the same length with secrets
/// masked; with `secretive`, values of unknown keys and of wrong types are masked as well.
pub fn read<T>(
    path: &str,
    text: &str,
    shown: &str,
    secretive: bool,
    codes: Codes,
    f: impl FnOnce(&Reader, &Table<'_>) -> Option<T>,
) -> Result<T, Vec<Diagnostic>> {
    let reader = Reader {
        source: Source {
            path: path.into(),
            text: shown.into(),
        },
        codes,
        found: RefCell::default(),
        hidden: RefCell::default(),
        secretive,
    };
    let (document, errors) = DeTable::parse_recoverable(text);
    let top = Table {
        reader: &reader,
        entries: document.get_ref(),
        label: TOP.into(),
        span: 0..0,
        asked: RefCell::default(),
    };
    let value = f(&reader, &top);
    top.finish();
    drop(top);
    reader.finish(value, text, &errors)
}

impl Reader {
    /// The file, for values that must be able to point into it later.
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// Notes an error.
    pub fn error(
        &self,
        code: &'static str,
        span: Span,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.note(Diagnostic::error(code, message, help), span, false);
    }

    fn note(&self, diagnostic: Diagnostic, span: Span, missing: bool) {
        self.found.borrow_mut().push(Found {
            diagnostic: diagnostic.at(&self.source, span),
            missing,
        });
    }

    /// No excerpt shows this part of the text.
    pub fn hide(&self, span: Span) {
        if self.secretive {
            self.hidden.borrow_mut().push(span);
        }
    }

    fn wrong_type(&self, what: &str, wanted: &str, value: &Spanned<DeValue<'_>>) {
        self.hide(value.span());
        let got = type_name(value.get_ref());
        self.error(
            self.codes.wrong_type,
            value.span(),
            format!("{what} must be {wanted}, not {got}"),
            format!("write {wanted} here"),
        );
    }

    /// A string that PostgreSQL can hold: TOML can spell NUL, a database cannot.
    fn text(&self, what: &str, value: &Spanned<DeValue<'_>>) -> Option<(String, Span)> {
        let DeValue::String(text) = value.get_ref() else {
            self.wrong_type(what, "a string", value);
            return None;
        };
        if text.contains('\0') {
            self.error(
                self.codes.bad_value,
                value.span(),
                format!("{what} holds a NUL character"),
                "remove `\\u0000`; PostgreSQL has no text with it",
            );
            return None;
        }
        Some((text.clone().into_owned(), value.span()))
    }

    fn finish<T>(
        self,
        value: Option<T>,
        text: &str,
        syntax: &[toml::de::Error],
    ) -> Result<T, Vec<Diagnostic>> {
        let line_of = |at: usize| {
            text.as_bytes()[..at.min(text.len())]
                .iter()
                .filter(|b| **b == b'\n')
                .count()
        };
        let mut found: Vec<Diagnostic> = Vec::new();
        let mut broken = Vec::new();
        for error in syntax {
            let span = error.span().unwrap_or(0..0);
            // Recovering, the parser often complains several times about one line.
            let line = line_of(span.start);
            if broken.contains(&line) {
                continue;
            }
            broken.push(line);
            found.push(
                Diagnostic::error(
                    self.codes.syntax,
                    format!("this is not TOML: {}", error.message()),
                    "see https://toml.io; strings stand in double quotes, one `key = value` a line",
                )
                .at(&self.source, span),
            );
        }
        for noted in self.found.into_inner() {
            let line = noted
                .diagnostic
                .place
                .as_ref()
                .map(|(_, span)| line_of(span.start));
            let believed = broken.is_empty()
                || (!noted.missing && line.is_none_or(|line| !broken.contains(&line)));
            if believed {
                found.push(noted.diagnostic);
            }
        }
        if found.is_empty() {
            return value.ok_or_else(|| {
                vec![Diagnostic::error(
                    self.codes.bad_value,
                    "the file cannot be used",
                    "this is a mistake of erasured's, not yours: please report it",
                )]
            });
        }
        let hidden = self.hidden.into_inner();
        if !hidden.is_empty() {
            let masked = Source {
                text: mask(&self.source.text, &hidden).into(),
                ..self.source
            };
            for diagnostic in &mut found {
                if let Some((source, _)) = &mut diagnostic.place {
                    *source = masked.clone();
                }
            }
        }
        found.sort_by_key(|d| d.place.as_ref().map_or(0, |(_, span)| span.start));
        Err(found)
    }
}

/// `text` with the bytes of `spans` replaced by asterisks, line ends kept: same length, same lines.
pub fn mask(text: &str, spans: &[Span]) -> String {
    let mut bytes = text.as_bytes().to_vec();
    for span in spans {
        // Whole characters only, so that what is left is still UTF-8.
        let from = text.floor_char_boundary(span.start);
        let to = text.ceil_char_boundary(span.end);
        for byte in &mut bytes[from..to] {
            if *byte != b'\n' && *byte != b'\r' {
                *byte = b'*';
            }
        }
    }
    String::from_utf8(bytes).expect("whole characters were replaced by ASCII")
}

/// A string with its place, or a table.
pub enum TextOrTable<'a> {
    /// A string.
    Text(String, Span),
    /// A table.
    Table(Table<'a>),
}

/// One table of the file.
pub struct Table<'a> {
    reader: &'a Reader,
    entries: &'a DeTable<'a>,
    label: String,
    span: Span,
    asked: RefCell<Vec<&'static str>>,
}

impl<'a> Table<'a> {
    /// How messages call this table.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// Where the table begins in the file.
    pub fn span(&self) -> Span {
        self.span.clone()
    }

    /// The collector of mistakes.
    pub fn reader(&self) -> &'a Reader {
        self.reader
    }

    /// Messages call this table `label` from now on.
    pub fn relabel(&mut self, label: String) {
        self.label = label;
    }

    fn get(&self, key: &'static str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.asked.borrow_mut().push(key);
        self.entries.get(key)
    }

    fn what(&self, key: &str) -> String {
        format!("`{key}` in {}", self.label)
    }

    /// Whether the key is there; asks for it, so that it is no unknown key.
    pub fn has(&self, key: &'static str) -> bool {
        self.get(key).is_some()
    }

    /// Where the key's value is.
    pub fn span_of(&self, key: &'static str) -> Option<Span> {
        self.get(key).map(Spanned::span)
    }

    /// Notes a mistake if the key is missing.
    pub fn need(&self, key: &'static str, help: &str) -> &Self {
        if self.get(key).is_none() {
            let diagnostic = Diagnostic::error(
                self.reader.codes.missing_key,
                format!("{} is missing", self.what(key)),
                help,
            );
            self.reader.note(diagnostic, self.span(), true);
        }
        self
    }

    /// A string.
    pub fn string(&self, key: &'static str) -> Option<(String, Span)> {
        self.reader.text(&self.what(key), self.get(key)?)
    }

    /// A string that `parse` understands; its complaint becomes the message.
    pub fn parsed<T>(
        &self,
        key: &'static str,
        code: &'static str,
        help: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<(T, Span)> {
        let (text, span) = self.string(key)?;
        match parse(&text) {
            Ok(value) => Some((value, span)),
            Err(why) => {
                let message = format!("{} cannot be read: {why}", self.what(key));
                self.reader.error(code, span, message, help);
                None
            }
        }
    }

    /// One word of a list.
    pub fn word<T: Clone>(
        &self,
        key: &'static str,
        code: &'static str,
        known: &[(&str, T)],
    ) -> Option<(T, Span)> {
        let (text, span) = self.string(key)?;
        if let Some((_, value)) = known.iter().find(|(word, _)| *word == text) {
            return Some((value.clone(), span));
        }
        let words: Vec<&str> = known.iter().map(|(word, _)| *word).collect();
        let message = format!("{} cannot be {}", self.what(key), quoted(&text));
        self.reader
            .error(code, span, message, choose(&text, &words));
        None
    }

    /// `true` or `false`.
    pub fn boolean(&self, key: &'static str) -> Option<bool> {
        let value = self.get(key)?;
        let DeValue::Boolean(value) = value.get_ref() else {
            self.reader
                .wrong_type(&self.what(key), "true or false", value);
            return None;
        };
        Some(*value)
    }

    /// A whole number between the bounds.
    pub fn integer(&self, key: &'static str, range: std::ops::RangeInclusive<u64>) -> Option<u64> {
        let value = self.get(key)?;
        let DeValue::Integer(number) = value.get_ref() else {
            self.reader
                .wrong_type(&self.what(key), "a whole number", value);
            return None;
        };
        let number = u64::from_str_radix(&number.as_str().replace('_', ""), number.radix()).ok();
        let fits = number.filter(|number| range.contains(number));
        if fits.is_none() {
            self.reader.error(
                self.reader.codes.bad_value,
                value.span(),
                format!("{} is out of bounds", self.what(key)),
                format!(
                    "write a whole number from {} to {}",
                    range.start(),
                    range.end()
                ),
            );
        }
        fits
    }

    /// A number that is not negative, with a decimal point or without.
    pub fn decimal(&self, key: &'static str) -> Option<f64> {
        let value = self.get(key)?;
        let text = match value.get_ref() {
            DeValue::Integer(number) if number.radix() == 10 => number.as_str(),
            DeValue::Float(number) => number.as_str(),
            _ => {
                self.reader.wrong_type(&self.what(key), "a number", value);
                return None;
            }
        };
        let number = text.replace('_', "").parse::<f64>().ok();
        let fits = number.filter(|number| number.is_finite() && *number >= 0.0);
        if fits.is_none() {
            self.reader.error(
                self.reader.codes.bad_value,
                value.span(),
                format!("{} is out of bounds", self.what(key)),
                "write a number of 0 or more, such as 4 or 0.5",
            );
        }
        fits
    }

    /// A list of strings.
    pub fn strings(&self, key: &'static str) -> Option<Vec<(String, Span)>> {
        let value = self.get(key)?;
        let DeValue::Array(array) = value.get_ref() else {
            self.reader
                .wrong_type(&self.what(key), "a list of strings", value);
            return None;
        };
        let what = format!("each of {}", self.what(key));
        let read: Vec<_> = array
            .iter()
            .filter_map(|item| self.reader.text(&what, item))
            .collect();
        (read.len() == array.len()).then_some(read)
    }

    /// A list of strings, or a list of such lists, each with its place.
    pub fn lists_of_strings(&self, key: &'static str) -> Option<Vec<ListOfStrings>> {
        let value = self.get(key)?;
        let what = self.what(key);
        let DeValue::Array(array) = value.get_ref() else {
            self.reader.wrong_type(&what, "a list of strings", value);
            return None;
        };
        let of_lists = array
            .iter()
            .any(|item| matches!(item.get_ref(), DeValue::Array(_)));
        if !of_lists {
            return Some(vec![(self.strings(key)?, value.span())]);
        }
        let one = |list: &Spanned<DeValue<'a>>| {
            let DeValue::Array(items) = list.get_ref() else {
                self.reader.wrong_type(&what, "lists alone", list);
                return None;
            };
            let texts = items.iter().map(|item| self.reader.text(&what, item));
            Some((texts.collect::<Option<Vec<_>>>()?, list.span()))
        };
        array.iter().map(one).collect()
    }

    /// A string or a table, or a list of such.
    pub fn texts_and_tables(&self, key: &'static str) -> Option<Vec<TextOrTable<'a>>> {
        let value = self.get(key)?;
        let what = self.what(key);
        let items: Vec<_> = match value.get_ref() {
            DeValue::Array(array) => array.iter().collect(),
            _ => vec![value],
        };
        let read = items.iter().map(|item| match item.get_ref() {
            DeValue::Table(_) => Some(TextOrTable::Table(self.sub(what.clone(), item, &what)?)),
            _ => {
                let (text, span) = self.reader.text(&what, item)?;
                Some(TextOrTable::Text(text, span))
            }
        });
        read.collect()
    }

    /// Whether the key's value is a string (and not a list, say).
    pub fn is_string(&self, key: &'static str) -> bool {
        self.get(key).is_some_and(|value| value.get_ref().is_str())
    }

    fn sub(&self, label: String, value: &'a Spanned<DeValue<'a>>, what: &str) -> Option<Table<'a>> {
        let DeValue::Table(entries) = value.get_ref() else {
            self.reader.wrong_type(what, "a table", value);
            return None;
        };
        Some(Table {
            reader: self.reader,
            entries,
            label,
            span: value.span(),
            asked: RefCell::default(),
        })
    }

    /// A table under this one.
    pub fn table(&self, key: &'static str) -> Option<Table<'a>> {
        let label = if self.label == TOP {
            format!("[{key}]")
        } else {
            self.what(key)
        };
        self.sub(label.clone(), self.get(key)?, &label)
    }

    /// Tables that the file names itself, `[key.NAME]`, with the place of the name.
    pub fn named(&self, key: &'static str) -> Vec<(String, Span, Table<'a>)> {
        let Some(outer) = self.table(key) else {
            return Vec::new();
        };
        outer
            .entries
            .iter()
            .filter_map(|(name, value)| {
                let label = format!("[{key}.{}]", shortened(name.get_ref()));
                let table = self.sub(label.clone(), value, &label)?;
                Some((name.get_ref().clone().into_owned(), name.span(), table))
            })
            .collect()
    }

    /// A list of tables, `[[key]]`.
    pub fn list(&self, key: &'static str) -> Vec<Table<'a>> {
        let Some(value) = self.get(key) else {
            return Vec::new();
        };
        let label = format!("[[{key}]]");
        let DeValue::Array(array) = value.get_ref() else {
            self.reader.wrong_type(&label, "a list of tables", value);
            return Vec::new();
        };
        array
            .iter()
            .filter_map(|item| self.sub(label.clone(), item, &label))
            .collect()
    }

    /// All entries, for tables whose keys the file makes up; none of them is unknown then.
    pub fn entries(&self) -> Vec<Entry<'a>> {
        let mut entries: Vec<_> = self
            .entries
            .iter()
            .filter_map(|(key, value)| {
                let name = key.get_ref();
                if name.contains('\0') {
                    self.reader.error(
                        self.reader.codes.bad_value,
                        key.span(),
                        format!("a key in {} holds a NUL character", self.label),
                        "remove `\\u0000`; PostgreSQL has no name with it",
                    );
                    return None;
                }
                Some(Entry {
                    reader: self.reader,
                    label: format!("`{}` in {}", shortened(name), self.label),
                    name: name.clone().into_owned(),
                    key: key.span(),
                    value,
                })
            })
            .collect();
        entries.sort_by_key(|entry| entry.key.start);
        entries
    }

    /// Whether the table has no keys at all.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Reports the keys that nobody asked for.
    pub fn finish(&self) {
        let mut known = self.asked.borrow().clone();
        known.sort_unstable();
        known.dedup();
        for (key, value) in self.entries {
            let name = key.get_ref().as_ref();
            if known.contains(&name) {
                continue;
            }
            self.reader.hide(value.span());
            self.reader.error(
                self.reader.codes.unknown_key,
                key.span(),
                format!("{} has no key {}", self.label, quoted(name)),
                choose(name, &known),
            );
        }
    }
}

/// Texts with their places, and the place of them all.
pub type ListOfStrings = (Vec<(String, Span)>, Span);

/// One key and its value in a table whose keys the file makes up.
pub struct Entry<'a> {
    reader: &'a Reader,
    /// How messages call it.
    pub label: String,
    /// The key.
    pub name: String,
    /// Where the key is.
    pub key: Span,
    value: &'a Spanned<DeValue<'a>>,
}

impl<'a> Entry<'a> {
    /// Where the value is.
    pub fn span(&self) -> Span {
        self.value.span()
    }

    /// The value as a string.
    pub fn string(&self) -> Option<(String, Span)> {
        self.reader.text(&self.label, self.value)
    }

    /// The value as a table, if it is one; nothing is noted if not.
    pub fn as_table(&self) -> Option<Table<'a>> {
        let DeValue::Table(entries) = self.value.get_ref() else {
            return None;
        };
        Some(Table {
            reader: self.reader,
            entries,
            label: self.label.clone(),
            span: self.value.span(),
            asked: RefCell::default(),
        })
    }
}

fn type_name(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a decimal number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
