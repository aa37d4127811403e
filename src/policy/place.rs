//! Reading `[[place]]`: what of a person lies in a system that has no tables of ours to trace.

mod apart;
mod fit;
mod template;

use super::read::{
    self, CODES, DATABASE_NAME_HELP, NAME_HELP, UNKNOWN_WORD, database_name, own_name, table_name,
};
use super::rule::CONTRADICTION;
use super::scope::{Declared, TWICE, UNKNOWN_NAME, unique};
use super::{Extent, Identifier, Listed, Policy, Scope, Span};
use crate::name::QualifiedTable;
use crate::reading::{Table, choose, quoted};
use crate::ticket::words::Words;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

pub use apart::beside;
pub use fit::misfits;
pub use template::{Rendered, Template, Unfit};

/// A template that could lead to what is somebody else's.
const NOT_ONE_PERSONS: &str = "E0150";
/// A place that says nothing of what lies there.
const NOTHING_SOUGHT: &str = "E0151";

const TEMPLATE_HELP: &str =
    "write an identifier of this policy in braces, such as \"session:{member_no}\"";

/// A place as scopes and certificates name it: `system.name`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PlaceName {
    /// The registered system.
    pub system: String,
    /// What the policy calls it.
    pub place: String,
}

impl fmt::Display for PlaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.system, self.place)
    }
}

/// One `[[place]]`.
#[derive(Clone, Debug)]
pub struct Place {
    /// Its name.
    pub name: PlaceName,
    /// By what is found what lies there; never empty.
    pub sought: Vec<Sought>,
    /// For which reasons the system may say that it keeps something: words that stand on certificates.
    pub kept: Vec<String>,
    /// What the customer is told that they lose.
    pub loses: Option<Words>,
    /// Where the file says its name.
    pub span: Span,
}

/// By what something of a person is found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sought {
    /// What lies under this name, or under these.
    Key(Template),
    /// This member of something that is everybody's.
    Member {
        /// The name of what it is a member of.
        of: String,
        /// The member.
        value: Template,
        /// The field that says it, where members are entries of a log.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        field: Option<String>,
    },
    /// Whatever the system itself knows of the person by these identifiers.
    Person(Vec<String>),
    /// What the person's rows name.
    Named(FromRows),
}

/// A column in which names of things stand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FromRows {
    /// Its table.
    pub table: QualifiedTable,
    /// The column.
    pub column: String,
    /// What stands before a value in the thing's name.
    pub before: String,
    /// And behind it.
    pub after: String,
}

impl FromRows {
    /// The name of a thing by a value of the column.
    pub fn name(&self, value: &str) -> String {
        format!("{}{value}{}", self.before, self.after)
    }
}

impl Sought {
    /// The identifiers by which it is found.
    pub fn identifiers(&self) -> Vec<&str> {
        match self {
            Self::Key(template)
            | Self::Member {
                value: template, ..
            } => template.identifiers().collect(),
            Self::Person(names) => names.iter().map(String::as_str).collect(),
            Self::Named(_) => Vec::new(),
        }
    }
}

impl fmt::Display for Sought {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(template) => write!(f, "{template}"),
            Self::Member { of, value, field } => match field {
                Some(field) => write!(f, "{field} {value} in {of}"),
                None => write!(f, "{value} in {of}"),
            },
            Self::Person(names) => write!(f, "by {}", names.join(", ")),
            Self::Named(from) => write!(
                f,
                "{} of {}",
                from.name(&format!("{{{}}}", from.column)),
                from.table
            ),
        }
    }
}

impl Policy {
    /// The places that a scope covers, in the order of the file.
    pub fn places_of(&self, scope: &str) -> impl Iterator<Item = &Place> {
        let extent = self.scopes.get(scope).map(|s| &s.extent);
        let places = self.places.iter();
        places.filter(move |place| extent.is_some_and(|extent| extent.has_place(&place.name)))
    }
}

type Identifiers = BTreeMap<String, Option<Identifier>>;

/// All places, in the order of the file.
pub(super) fn places(file: &Table<'_>, identifiers: &Identifiers) -> Vec<Place> {
    let mut places: Vec<Place> = Vec::new();
    for table in file.list("place") {
        let Some(place) = place(&table, identifiers) else {
            continue;
        };
        if places.iter().any(|known| known.name == place.name) {
            let message = format!("there is a place {} already", place.name);
            let help = "say all of it in one [[place]], or give it another name";
            table.reader().error(TWICE, place.span, message, help);
        } else {
            places.push(place);
        }
    }
    apart::within(file, &places, identifiers);
    places
}

fn place(table: &Table<'_>, identifiers: &Identifiers) -> Option<Place> {
    table
        .need(
            "system",
            "name a system of erasured.toml: system = \"cache\"",
        )
        .need("name", "name the place: name = \"sessions\"");
    let system = table.parsed("system", CODES.bad_value, NAME_HELP, own_name);
    let name = table.parsed("name", CODES.bad_value, NAME_HELP, own_name);
    table.word("action", UNKNOWN_WORD, &[("delete", ())]);
    let sought = sought(table, identifiers);
    let kept = kept(table);
    let loses = table.table("loses").and_then(|words| read::words(&words));
    table.finish();
    let (system, (place, span)) = (system?.0, name?);
    Some(Place {
        name: PlaceName { system, place },
        sought: sought?,
        kept: kept?,
        loses,
        span,
    })
}

/// Reasons for keeping, which a certificate repeats.
fn kept(table: &Table<'_>) -> Option<Vec<String>> {
    let mut words = Vec::new();
    for (word, span) in unique(table, "kept")? {
        if word.len() > 40 || own_name(&word).is_err() {
            let message = format!("{} is no reason for keeping", quoted(&word));
            let help = "write a word of up to 40 lower-case letters, digits, `-` and `_`: kept = [\"open-invoice\"]";
            table.reader().error(CODES.bad_value, span, message, help);
            return None;
        }
        words.push(word);
    }
    Some(words)
}

/// What all its keys say together; `None` if one of them has a mistake.
fn sought(table: &Table<'_>, identifiers: &Identifiers) -> Option<Vec<Sought>> {
    let keys = ["keys", "prefix", "members", "identifiers", "from"];
    if !keys.iter().any(|key| table.has(key)) {
        let message = format!("{} does not say what of a person lies there", table.label());
        let help = "write keys, prefix, members with in, identifiers, or from";
        table
            .reader()
            .error(NOTHING_SOUGHT, table.span(), message, help);
        return None;
    }
    let mut sought = Vec::new();
    let plain = |template: Template| template;
    for template in templates(table, "keys", plain, identifiers)? {
        sought.push(Sought::Key(template));
    }
    for template in templates(table, "prefix", Template::and_all_behind, identifiers)? {
        sought.push(Sought::Key(template));
    }
    sought.extend(members(table, identifiers)?);
    let named = unique(table, "identifiers")?;
    for (name, span) in &named {
        known(table, name, span, identifiers)?;
    }
    if !named.is_empty() {
        sought.push(Sought::Person(
            named.into_iter().map(|(name, _)| name).collect(),
        ));
    }
    if table.has("from") {
        sought.push(Sought::Named(from_rows(&table.table("from")?)?));
    }
    Some(sought)
}

/// `{ table = "shop.public.avatar", column = "path", key = "avatars/{value}" }`.
fn from_rows(table: &Table<'_>) -> Option<FromRows> {
    table
        .need("table", "name the table: table = \"system.schema.table\"")
        .need("column", "name the column in which the names stand");
    let of = table_name(table, "table");
    let column = table.parsed("column", CODES.bad_value, DATABASE_NAME_HELP, database_name);
    let help = "write {value} once, alone or with what stands around it: key = \"session:{value}\"";
    let key = match table.has("key") {
        true => table.parsed("key", CODES.bad_value, help, around),
        false => Some(((String::new(), String::new()), table.span())),
    };
    table.finish();
    let ((before, after), _) = key?;
    Some(FromRows {
        table: of?.0,
        column: column?.0,
        before,
        after,
    })
}

/// What stands before and behind `{value}`.
fn around(text: &str) -> Result<(String, String), String> {
    let (before, after) = text
        .split_once("{value}")
        .ok_or("it does not hold {value}")?;
    match format!("{before}{after}").contains(['{', '}', '*']) {
        true => Err("beside {value} no brace and no `*` can stand in it".into()),
        false => Ok((before.into(), after.into())),
    }
}

fn members(table: &Table<'_>, identifiers: &Identifiers) -> Option<Vec<Sought>> {
    let field_alone = table.has("field") && !table.has("members");
    if table.has("members") != table.has("in") || field_alone {
        let message = format!("{} has only some of `members` and `in`", table.label());
        let help = "write members = [\"{member_no}\"], in = \"online-users\"; of a stream field = \"user\" besides";
        table
            .reader()
            .error(CONTRADICTION, table.span(), message, help);
        return None;
    }
    let values = templates(table, "members", |template| template, identifiers)?;
    if let Some(open) = values.iter().find(|value| value.is_open()) {
        let message = format!(
            "the member {} in {} is open",
            quoted(&open.to_string()),
            table.label()
        );
        let help = "a member is named whole: remove the `*`";
        table
            .reader()
            .error(NOT_ONE_PERSONS, table.span_of("members")?, message, help);
        return None;
    }
    let Some((of, _)) = table.string("in") else {
        return Some(Vec::new());
    };
    let field = table.string("field").map(|(field, _)| field);
    let members = values.into_iter().map(|value| Sought::Member {
        of: of.clone(),
        value,
        field: field.clone(),
    });
    Some(members.collect())
}

/// The templates of a list, each of which leads to one person's only.
fn templates(
    table: &Table<'_>,
    key: &'static str,
    whole: fn(Template) -> Template,
    identifiers: &Identifiers,
) -> Option<Vec<Template>> {
    let mut templates = Vec::new();
    for (text, span) in unique(table, key)? {
        let refuse = |code, why: &str| {
            let message = format!("the template {} cannot be used: {why}", quoted(&text));
            table
                .reader()
                .error(code, span.clone(), message, TEMPLATE_HELP);
        };
        let template = match text.parse::<Template>() {
            Ok(template) => whole(template),
            Err(why) => {
                refuse(CODES.bad_value, &why);
                return None;
            }
        };
        if let Err(why) = template.is_one_persons() {
            refuse(NOT_ONE_PERSONS, why);
            return None;
        }
        for name in template.identifiers() {
            known(table, name, &span, identifiers)?;
        }
        for (name, closer) in template.closers() {
            let identifier = identifiers.get(name)?.as_ref()?;
            if identifier.may_hold(closer) {
                refuse(
                    NOT_ONE_PERSONS,
                    &format!(
                        "a value of {name} may hold {closer:?}, so where it ends cannot be told; if none ever does, write excludes = \"{closer}\" in [identifier.{name}]"
                    ),
                );
                return None;
            }
        }
        templates.push(template);
    }
    Some(templates)
}

fn known(table: &Table<'_>, name: &str, span: &Span, identifiers: &Identifiers) -> Option<()> {
    if identifiers.contains_key(name) {
        return Some(());
    }
    let known: Vec<&str> = identifiers.keys().map(String::as_str).collect();
    let message = format!("no identifier is called {}", quoted(name));
    table
        .reader()
        .error(UNKNOWN_NAME, span.clone(), message, choose(name, &known));
    None
}

impl Identifier {
    /// Whether a value of it may hold this character. Of a telephone number the raw text is used too,
    /// and people write it with signs of every kind.
    fn may_hold(&self, c: char) -> bool {
        !self.excludes.contains(c)
    }
}

/// Scopes and categories list only places that there are.
pub(super) fn listed_are_known<'l>(
    file: &Table<'_>,
    places: &[Place],
    scopes: &'l Declared<Scope>,
    categories: &'l Declared<Listed>,
) {
    let of_scopes = scopes
        .values()
        .flatten()
        .filter_map(|scope| match &scope.extent {
            Extent::Listed(listed) => Some(listed),
            Extent::All => None,
        });
    // What a category brings into scopes stands in one place of the file.
    let mut told: Vec<&Span> = Vec::new();
    for (name, span) in of_scopes
        .chain(categories.values().flatten())
        .flat_map(|l| &l.places)
    {
        if told.contains(&span) || places.iter().any(|place| place.name == *name) {
            continue;
        }
        told.push(span);
        let known: Vec<String> = places.iter().map(|place| place.name.to_string()).collect();
        let known: Vec<&str> = known.iter().map(String::as_str).collect();
        let message = format!("no place is called {}", quoted(&name.to_string()));
        let help = match known.as_slice() {
            [] => {
                "a table is written system.schema.table; a place is declared with [[place]]".into()
            }
            known => choose(&name.to_string(), known),
        };
        file.reader()
            .error(UNKNOWN_NAME, span.clone(), message, help);
    }
}
