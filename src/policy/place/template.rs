//! `session:{member_no}`: a text that becomes an address once a person's identifiers stand in it.
//!
//! What such a text leads to must be this person's whatever the values are. A value that something
//! open follows must therefore end where the template says, or `user:{id}*` would find person 12
//! for person 1: the character behind it ([`Template::closers`]) stands in no value. Nor does one of `:/|#` that stands
//! beside it: an application parts its names by them.

mod shared;

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use zeroize::Zeroizing;

/// A text with identifiers in braces and at most one `*`; `{{` and `}}` are the braces themselves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Template {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Identifier(String),
    /// `*`: whatever the application has put there.
    Rest,
}

/// An address, or the two ends of many.
#[derive(PartialEq, Eq)]
pub struct Rendered {
    /// Its beginning, or all of it.
    pub begins: Zeroizing<String>,
    /// How those that begin so end; `None` where the beginning is the whole.
    pub ends: Option<String>,
}

/// A value that makes no address of this template; names the identifier, never the value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// Whose the address is could not be told.
    #[error(
        "a value of {identifier} holds {closer:?}, which stands beside it in {template:?}: whose the address is cannot be told"
    )]
    Closer {
        /// The identifier.
        identifier: String,
        /// What closes it.
        closer: char,
        /// The template.
        template: String,
    },
    /// The address could mean another place.
    #[error(
        "a value of {identifier} holds a control character, or a step of a path: it makes no address"
    )]
    Path {
        /// The identifier.
        identifier: String,
    },
}

impl Template {
    /// The identifiers in it.
    pub fn identifiers(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Identifier(name) => Some(name.as_str()),
            _ => None,
        })
    }

    /// Whether it leads to more than one address.
    pub fn is_open(&self) -> bool {
        self.parts.contains(&Part::Rest)
    }

    /// Whether what is open in it is its end.
    pub fn is_prefix(&self) -> bool {
        self.parts.last() == Some(&Part::Rest)
    }

    /// The same, and whatever follows.
    #[must_use]
    pub fn and_all_behind(mut self) -> Self {
        self.parts.push(Part::Rest);
        self
    }

    /// Each identifier behind which something open or another one comes, with the character that
    /// must stand in none of its values.
    pub fn closers(&self) -> Vec<(&str, char)> {
        let mut closers = Vec::new();
        for (at, part) in self.parts.iter().enumerate() {
            let Part::Identifier(name) = part else {
                continue;
            };
            let behind = &self.parts[at + 1..];
            if let [Part::Text(text), rest @ ..] = behind
                && rest.iter().any(|part| !matches!(part, Part::Text(_)))
                && let Some(closer) = text.chars().next()
            {
                closers.push((name.as_str(), closer));
            }
        }
        closers
    }

    /// What stands beside an identifier and parts names into steps.
    fn parted_by<'a>(&'a self, name: &'a str) -> impl Iterator<Item = char> + 'a {
        let is = move |part: &Part| matches!(part, Part::Identifier(of) if of == name);
        let beside = self.parts.windows(2).filter_map(move |pair| match pair {
            [Part::Text(text), of] if is(of) => text.chars().next_back(),
            [of, Part::Text(text)] if is(of) => text.chars().next(),
            _ => None,
        });
        beside.filter(|c| matches!(c, ':' | '/' | '|' | '#'))
    }

    /// What stands before its one identifier and behind it, and whether anything may follow.
    fn lone(&self) -> Option<(&str, &str, &str, bool)> {
        let is_one = |part: &Part| matches!(part, Part::Identifier(_));
        let at = self.parts.iter().position(is_one)?;
        let (before, behind) = (&self.parts[..at], &self.parts[at + 1..]);
        let Part::Identifier(name) = &self.parts[at] else {
            return None;
        };
        if behind.iter().any(is_one) {
            return None;
        }
        let open = behind.contains(&Part::Rest);
        Some((first_text(before), name, first_text(behind), open))
    }

    /// The identifier of this template, and the character without which no value of it makes an address to which
    /// the other one leads for another value: `user-{login}` for `bob-cart` is `user-{login}-cart` for Bob.
    pub fn may_meet(&self, other: &Self) -> Option<(&str, char)> {
        let (before, name, behind, _) = self.lone()?;
        let (before_other, _, behind_other, open) = other.lone()?;
        let longer = behind != behind_other && (open || behind_other.ends_with(behind));
        let c = if before == before_other && longer {
            behind_other.chars().next()
        } else if behind == behind_other
            && before != before_other
            && before_other.starts_with(before)
        {
            before_other.chars().next_back()
        } else {
            None
        };
        // What parts names beside it stands in no value anyway.
        c.filter(|c| self.parted_by(name).all(|of| of != *c))
            .map(|c| (name, c))
    }

    /// Why it could lead to what is somebody else's.
    ///
    /// # Errors
    /// What is wrong with it, for the author of the policy.
    pub fn is_one_persons(&self) -> Result<(), &'static str> {
        if self.identifiers().next().is_none() {
            return Err("it holds no identifier, so it is the same for everybody");
        }
        let last = self
            .parts
            .iter()
            .rposition(|p| matches!(p, Part::Identifier(_)));
        let rests = self.parts.iter().filter(|p| **p == Part::Rest).count();
        let rest = self.parts.iter().position(|p| *p == Part::Rest);
        if rests > 1 {
            return Err("it holds more than one `*`, so where a value ends cannot be told");
        }
        if rest.is_some_and(|rest| last.is_some_and(|last| rest < last)) {
            return Err(
                "`*` stands before an identifier, so where the value begins cannot be told",
            );
        }
        let open = |pair: &[Part]| !matches!(pair, [_, Part::Text(_)] | [Part::Text(_), _]);
        if self.parts.windows(2).any(open) {
            return Err(
                "nothing stands between an identifier and what follows it: person 1 would be taken for person 12",
            );
        }
        Ok(())
    }

    /// Every address that these values make; none if one of its identifiers has no value.
    ///
    /// # Errors
    /// [`Unfit`].
    pub fn render(&self, values: &BTreeMap<String, Vec<String>>) -> Result<Vec<Rendered>, Unfit> {
        let closers = self.closers();
        let mut made = vec![Rendered {
            begins: Zeroizing::new(String::new()),
            ends: None,
        }];
        for part in &self.parts {
            match part {
                Part::Text(text) => made.iter_mut().for_each(|one| one.push(text)),
                Part::Rest => made
                    .iter_mut()
                    .for_each(|one| one.ends = Some(String::new())),
                Part::Identifier(name) => {
                    let known = values.get(name).map_or(&[][..], Vec::as_slice);
                    let known = known.iter().filter(|value| !value.trim().is_empty());
                    let mut next = Vec::new();
                    for value in known {
                        self.fits(name, value, &closers)?;
                        next.extend(made.iter().map(|one| one.with(value)));
                    }
                    made = next;
                }
            }
        }
        Ok(made)
    }

    fn fits(&self, name: &str, value: &str, closers: &[(&str, char)]) -> Result<(), Unfit> {
        let identifier = name.to_owned();
        let closes = |(of, closer): &&(&str, char)| *of == name && value.contains(*closer);
        if let Some((_, closer)) = closers.iter().find(closes) {
            return Err(Unfit::Closer {
                identifier,
                closer: *closer,
                template: self.to_string(),
            });
        }
        // What parts an address into steps parts it there too: `user:{login}` for `bob:cart` is Bob's cart.
        if let Some(closer) = self.parted_by(name).find(|c| value.contains(*c)) {
            return Err(Unfit::Closer {
                identifier,
                closer,
                template: self.to_string(),
            });
        }
        let step = |part: &str| part == "." || part == "..";
        if value.contains(char::is_control) || value.split(['/', '\\']).any(step) {
            return Err(Unfit::Path { identifier });
        }
        Ok(())
    }
}

fn first_text(parts: &[Part]) -> &str {
    match parts.first() {
        Some(Part::Text(text)) => text,
        _ => "",
    }
}

impl Rendered {
    fn push(&mut self, text: &str) {
        match &mut self.ends {
            Some(ends) => ends.push_str(text),
            None => self.begins.push_str(text),
        }
    }

    fn with(&self, value: &str) -> Self {
        Self {
            begins: Zeroizing::new(format!("{}{value}", *self.begins)),
            ends: self.ends.clone(),
        }
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in &self.parts {
            match part {
                Part::Text(text) => f.write_str(&text.replace('{', "{{").replace('}', "}}"))?,
                Part::Identifier(name) => write!(f, "{{{name}}}")?,
                Part::Rest => f.write_str("*")?,
            }
        }
        Ok(())
    }
}

impl From<Template> for String {
    fn from(template: Template) -> Self {
        template.to_string()
    }
}

impl TryFrom<String> for Template {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl std::str::FromStr for Template {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (mut parts, mut literal, mut rest) = (Vec::new(), String::new(), text);
        while let Some(c) = rest.chars().next() {
            let behind = &rest[c.len_utf8()..];
            let special = match c {
                '{' | '}' if behind.starts_with(c) => {
                    literal.push(c);
                    rest = &behind[1..];
                    continue;
                }
                '{' => {
                    let (name, behind) = behind
                        .split_once('}')
                        .ok_or("a brace is not closed; `{{` is the brace itself")?;
                    rest = behind;
                    Part::Identifier(name.to_owned())
                }
                '}' => return Err("a brace closes nothing; `}}` is the brace itself".into()),
                '*' => {
                    rest = behind;
                    Part::Rest
                }
                other => {
                    literal.push(other);
                    rest = behind;
                    continue;
                }
            };
            if !literal.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut literal)));
            }
            parts.push(special);
        }
        if !literal.is_empty() {
            parts.push(Part::Text(literal));
        }
        match parts.is_empty() {
            true => Err("it is empty".into()),
            false => Ok(Self { parts }),
        }
    }
}

#[cfg(test)]
mod tests;
