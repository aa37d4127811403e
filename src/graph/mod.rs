//! The lineage as a picture: tables and places as boxes, what leads from one to the other as arrows. A value
//! ([`Picture`]) made of a policy and the catalogs, and its renderings: Graphviz's language, SVG,
//! and a page that folds. What happens to a table's rows is said in words; colour only helps.

pub mod dot;
mod fold;
pub mod html;
mod layout;
mod places;
pub mod svg;

use crate::catalog::{Catalog, ForeignKey, Table};
use crate::lineage::{self, Edge, Fate, Join, Parent};
use crate::name::TableName;
use crate::policy::Draft;
use std::collections::BTreeMap;

/// What one scope of a policy reaches, to be drawn.
#[derive(Clone, Debug)]
pub struct Picture {
    /// Subject kind and scope.
    pub title: String,
    /// One for each system, in the order in which they are erased: the root's last.
    pub systems: Vec<Group>,
}

/// The part in one system.
#[derive(Clone, Debug)]
pub struct Group {
    /// The system.
    pub system: String,
    /// Boxes, each after the one under which it is drawn.
    pub nodes: Vec<Node>,
}

/// One box.
#[derive(Clone, Debug)]
pub struct Node {
    /// The table, as people write it, or the place; of what it is found by its words.
    pub name: String,
    /// The schema and the table's own name, for grouping.
    pub table: Option<TableName>,
    /// What happens to its rows, by whatever way they are reached; one each, in order.
    pub looks: Vec<Look>,
    /// The subject's own table.
    pub root: bool,
    /// The box under which this one is drawn, if any leads to it.
    pub under: Option<usize>,
    /// All ways that lead here.
    pub ways: Vec<Way>,
}

/// One way to a table.
#[derive(Clone, Debug)]
pub struct Way {
    /// The box from which it leads.
    pub from: usize,
    /// The constraint, or what kind of link.
    pub label: String,
    /// How many rows refer to how many: `1:n`.
    pub cardinality: &'static str,
    /// A foreign key: the database knows of it too.
    pub key: bool,
    /// What happens to rows reached so.
    pub look: Look,
}

/// How a box or an arrow looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Look {
    /// Nobody has decided.
    Undecided,
    /// The rows go.
    Delete,
    /// The rows lose the person.
    Anonymize,
    /// The rows lose the link.
    Detach,
    /// The law keeps them for a time.
    Keep,
    /// Left alone, with a reason.
    Exempt,
    /// Not in this scope.
    Outside,
    /// No table: an identifier by which rows or things are found, or a column that names things.
    Entry,
}

impl Look {
    /// All that a table can have.
    pub const TABLES: [Self; 7] = [
        Self::Undecided,
        Self::Delete,
        Self::Anonymize,
        Self::Detach,
        Self::Keep,
        Self::Exempt,
        Self::Outside,
    ];

    /// In words.
    pub fn word(self) -> &'static str {
        match self {
            Self::Undecided => "UNDECIDED",
            Self::Delete => "delete",
            Self::Anonymize => "anonymize",
            Self::Detach => "detach",
            Self::Keep => "keep",
            Self::Exempt => "exempt",
            Self::Outside => "outside the scope",
            Self::Entry => "identifier",
        }
    }

    /// The colour behind the words.
    pub(crate) fn fill(self) -> &'static str {
        match self {
            Self::Undecided => "#fff2a8",
            Self::Delete => "#f8d3cf",
            Self::Anonymize => "#fbe3c0",
            Self::Detach => "#e6dcf5",
            Self::Keep => "#cfe3f7",
            Self::Exempt => "#e3e5e8",
            Self::Outside | Self::Entry => "#ffffff",
        }
    }
}

impl From<Fate> for Look {
    fn from(fate: Fate) -> Self {
        match fate {
            Fate::Delete => Self::Delete,
            Fate::Anonymize => Self::Anonymize,
            Fate::Detach => Self::Detach,
            Fate::Retain | Fate::RetainWithParent => Self::Keep,
            Fate::Exempt => Self::Exempt,
            Fate::Untouched => Self::Outside,
        }
    }
}

/// Draws what a scope reaches, whether or not the policy fits or is finished. Systems that are not
/// among `catalogs` are left out.
pub fn picture(draft: &Draft, scope: &str, catalogs: &BTreeMap<String, Catalog>) -> Picture {
    let policy = draft.so_far();
    let surveyed = lineage::survey(policy, scope, catalogs);
    let systems = surveyed.into_iter().map(|survey| {
        let mut drawing = Drawing {
            catalog: &catalogs[&survey.system],
            nodes: Vec::new(),
            places: BTreeMap::new(),
            entries: BTreeMap::new(),
        };
        for reached in &survey.tables {
            let root = reached.edges.iter().any(|e| e.parent == Parent::Subject);
            let at = drawing.table(&reached.table);
            drawing.nodes[at].root = root;
        }
        for reached in &survey.tables {
            let at = drawing.table(&reached.table);
            for edge in &reached.edges {
                drawing.way(at, edge);
            }
        }
        for key in &survey.undecided {
            drawing.undecided(key);
        }
        Group {
            system: survey.system.clone(),
            nodes: drawing.in_order(),
        }
    });
    // They are erased first.
    let mut groups = places::groups(policy, scope);
    groups.extend(systems);
    Picture {
        title: format!("{} · {scope}", policy.subject),
        systems: groups,
    }
}

struct Drawing<'a> {
    catalog: &'a Catalog,
    nodes: Vec<Node>,
    places: BTreeMap<TableName, usize>,
    entries: BTreeMap<String, usize>,
}

impl Drawing<'_> {
    fn table(&mut self, name: &TableName) -> usize {
        if let Some(at) = self.places.get(name) {
            return *at;
        }
        self.nodes.push(node(name.to_string(), Some(name.clone())));
        self.places.insert(name.clone(), self.nodes.len() - 1);
        self.nodes.len() - 1
    }

    fn way(&mut self, at: usize, edge: &Edge) {
        let look = Look::from(edge.decision.fate);
        let node = &mut self.nodes[at];
        node.looks.push(look);
        let from = match &edge.parent {
            Parent::Subject => return,
            Parent::Table(parent) => self.table(parent),
            Parent::Identifier { name, .. } => self.entry(name),
        };
        let cardinality = self.cardinality(at, edge);
        self.nodes[at].ways.push(Way {
            from,
            label: edge.label.clone(),
            cardinality,
            key: edge.foreign_key.is_some(),
            look,
        });
    }

    fn entry(&mut self, identifier: &str) -> usize {
        if let Some(at) = self.entries.get(identifier) {
            return *at;
        }
        self.nodes.push(entry(format!("the ticket's {identifier}")));
        let at = self.nodes.len() - 1;
        self.entries.insert(identifier.to_owned(), at);
        at
    }

    fn undecided(&mut self, key: &ForeignKey) {
        let from = self.table(&key.parent.0);
        let at = self.table(&key.child.0);
        let columns = &key.child.1;
        let one = self.table_facts(at).is_some_and(|t| unique(t, columns));
        self.nodes[at].looks.push(Look::Undecided);
        self.nodes[at].ways.push(Way {
            from,
            label: key.name.clone(),
            cardinality: if one { "1:1" } else { "1:n" },
            key: true,
            look: Look::Undecided,
        });
    }

    fn table_facts(&self, at: usize) -> Option<&Table> {
        self.catalog.tables.get(self.nodes[at].table.as_ref()?)
    }

    /// Of the table from which the way leads to the one where it ends.
    fn cardinality(&self, at: usize, edge: &Edge) -> &'static str {
        let facts = self.table_facts(at);
        match &edge.join {
            _ if edge.shared => "n:1",
            join if join.is_by_element() => "n:m",
            Join::Columns { child, .. } if facts.is_some_and(|t| unique(t, child)) => "1:1",
            _ => "1:n",
        }
    }

    /// Each box after the one under which it is drawn: from the root as near as may be, then from
    /// the identifiers, so that no ring keeps a box from having its place.
    fn in_order(mut self) -> Vec<Node> {
        for node in &mut self.nodes {
            node.looks.sort_unstable();
            node.looks.dedup();
        }
        let mut leads_to = vec![Vec::new(); self.nodes.len()];
        for (at, node) in self.nodes.iter().enumerate() {
            for way in node.ways.iter().filter(|w| w.from != at) {
                leads_to[way.from].push(at);
            }
        }
        let mut starts: Vec<usize> = (0..self.nodes.len()).collect();
        starts.sort_by_key(|at| (!self.nodes[*at].root, self.nodes[*at].table.is_some(), *at));
        let mut order = Vec::with_capacity(self.nodes.len());
        let mut under: Vec<Option<Option<usize>>> = vec![None; self.nodes.len()];
        for start in starts {
            if under[start].is_some() {
                continue;
            }
            under[start] = Some(None);
            order.push(start);
            let mut next = order.len() - 1;
            while next < order.len() {
                let at = order[next];
                next += 1;
                for &child in &leads_to[at] {
                    if under[child].is_none() {
                        under[child] = Some(Some(at));
                        order.push(child);
                    }
                }
            }
        }
        let mut place = vec![0; self.nodes.len()];
        for (new, old) in order.iter().enumerate() {
            place[*old] = new;
        }
        let moved = order.iter().map(|&old| {
            let mut node = self.nodes[old].clone();
            node.under = under[old].flatten().map(|at| place[at]);
            for way in &mut node.ways {
                way.from = place[way.from];
            }
            node
        });
        moved.collect()
    }
}

fn node(name: String, table: Option<TableName>) -> Node {
    Node {
        name,
        table,
        looks: Vec::new(),
        root: false,
        under: None,
        ways: Vec::new(),
    }
}

/// Something that must be known before anything can be found.
fn entry(name: String) -> Node {
    let mut entry = node(name, None);
    entry.looks.push(Look::Entry);
    entry
}

fn unique(table: &Table, columns: &[String]) -> bool {
    let mut unique = table.unique.iter();
    unique.any(|set| !set.is_empty() && set.iter().all(|c| columns.contains(c)))
}

impl Node {
    /// What happens to its rows: `delete · detach`.
    pub fn says(&self) -> String {
        let words: Vec<&str> = self.looks.iter().map(|l| l.word()).collect();
        let root = if self.root { "the subject · " } else { "" };
        format!("{root}{}", words.join(" · "))
    }

    /// The look that matters most.
    pub(crate) fn look(&self) -> Look {
        self.looks.first().copied().unwrap_or(Look::Outside)
    }
}

/// How many of each: `1 UNDECIDED, 12 delete`. A table that is reached in several ways may count
/// more than once.
pub(crate) fn tally(tables: &[&Node]) -> String {
    let of = |look: Look| tables.iter().filter(|n| n.looks.contains(&look)).count();
    let counted = Look::TABLES.iter().map(|look| (of(*look), look.word()));
    let words = counted.filter(|(count, _)| *count > 0);
    let words: Vec<String> = words
        .map(|(count, word)| format!("{count} {word}"))
        .collect();
    words.join(", ")
}

/// Any name on one line: what would break it, turn its direction or be no character at all is
/// written as an escape.
pub(crate) fn line(text: &str) -> String {
    let obeyed = |c: char| {
        c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
            || matches!(u32::from(c) & 0xffff, 0xfffe | 0xffff)
    };
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if obeyed(c) {
            out.extend(c.escape_unicode());
        } else {
            out.push(c);
        }
    }
    out
}

/// The same for XML and HTML, in text and in attributes.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in line(text).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            _ => out.push(c),
        }
    }
    out
}
