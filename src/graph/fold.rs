//! A drawing of hundreds of tables in pieces that can be looked at: what hangs off a table, and
//! many tables of one name's beginning side by side, go into pieces of their own, in whose place
//! one box stands.

use super::layout::{Item, words};
use super::{Group, Look, Node, tally};
use std::collections::BTreeMap;

/// Boxes in one piece.
pub(super) const MOST: usize = 50;
/// So many side by side are sorted by their names.
const MANY: usize = 16;
/// Fewer of one kind are no kind.
const FEW: usize = 4;

/// One drawing.
pub(super) struct Piece {
    /// Unique on the page.
    pub(super) id: String,
    pub(super) title: String,
    /// Tables below it that stand in pieces of their own, too.
    pub(super) tables: usize,
    pub(super) items: Vec<Item>,
}

/// A table of the group, or several under one name.
struct Twig {
    node: Option<usize>,
    label: String,
    children: Vec<usize>,
    under: Option<usize>,
    /// In a piece of its own.
    cut: bool,
    /// Boxes in its piece, and tables in all.
    boxes: usize,
    tables: usize,
}

/// All pieces of a system, the one that begins at the root first.
pub(super) fn pieces(group: &Group, number: usize) -> Vec<Piece> {
    let mut tree = Tree::of(group);
    if group.nodes.len() > MOST {
        tree.bundle(group);
        tree.cut();
    }
    let mut starts = vec![None];
    starts.extend(
        tree.down()
            .into_iter()
            .filter(|at| tree.twigs[*at].cut)
            .map(Some),
    );
    let piece = starts
        .into_iter()
        .map(|start| tree.piece(group, number, start));
    piece.collect()
}

fn id(number: usize, twig: usize) -> String {
    format!("s{number}t{twig}")
}

struct Tree {
    twigs: Vec<Twig>,
    roots: Vec<usize>,
}

impl Tree {
    fn of(group: &Group) -> Self {
        let mut tree = Self {
            twigs: Vec::new(),
            roots: Vec::new(),
        };
        for (at, node) in group.nodes.iter().enumerate() {
            tree.twigs
                .push(twig(Some(at), node.name.clone(), node.under));
            match node.under {
                Some(under) => tree.twigs[under].children.push(at),
                None => tree.roots.push(at),
            }
        }
        tree
    }

    /// Parents before children.
    fn down(&self) -> Vec<usize> {
        let mut order = Vec::with_capacity(self.twigs.len());
        let mut stack: Vec<usize> = self.roots.iter().rev().copied().collect();
        while let Some(at) = stack.pop() {
            order.push(at);
            stack.extend(self.twigs[at].children.iter().rev());
        }
        order
    }

    /// Where many stand side by side, those whose names begin alike come under one name.
    fn bundle(&mut self, group: &Group) {
        for at in 0..group.nodes.len() {
            if self.twigs[at].children.len() <= MANY {
                continue;
            }
            let mut kinds: BTreeMap<String, Vec<usize>> = BTreeMap::new();
            for &child in &self.twigs[at].children {
                kinds.entry(kind(group, child)).or_default().push(child);
            }
            let (mut few, mut children) = (Vec::new(), Vec::new());
            for (kind, of) in kinds {
                if of.len() < FEW {
                    few.extend(of);
                } else {
                    children.extend(self.bundles(at, &kind, &of));
                }
            }
            few.sort_by_key(|child| group.nodes[*child].name.clone());
            if few.len() > MANY {
                children.extend(self.bundles(at, "others", &few));
            } else {
                children.extend(few);
            }
            self.twigs[at].children = children;
        }
    }

    fn bundles(&mut self, under: usize, kind: &str, of: &[usize]) -> Vec<usize> {
        let parts = of.chunks(MOST).map(|part| {
            let number = self.twigs.len();
            let (first, last) = (part[0], part[part.len() - 1]);
            let label = if of.len() > MOST {
                format!(
                    "{kind}: {} … {}",
                    self.twigs[first].label, self.twigs[last].label
                )
            } else {
                kind.to_owned()
            };
            let mut bundle = twig(None, label, Some(under));
            bundle.children = part.to_vec();
            self.twigs.push(bundle);
            for child in part {
                self.twigs[*child].under = Some(number);
            }
            number
        });
        parts.collect()
    }

    /// From the leaves up: the largest branches are cut until what is left fits.
    fn cut(&mut self) {
        for at in self.down().into_iter().rev() {
            let children = self.twigs[at].children.clone();
            let tables: usize = children.iter().map(|c| self.twigs[*c].tables).sum();
            self.twigs[at].tables += tables;
            let mut by_size: Vec<usize> = children.clone();
            by_size.sort_by_key(|c| std::cmp::Reverse(self.twigs[*c].boxes));
            let boxes: usize = children.iter().map(|c| self.twigs[*c].boxes).sum();
            let mut boxes = boxes + 1;
            for child in by_size {
                let large = self.twigs[child].boxes;
                // A name for many is a box by itself, never one with arrows of its own.
                let bundle = self.twigs[child].node.is_none();
                if !bundle && (boxes <= MOST || large <= 1) {
                    continue;
                }
                self.twigs[child].cut = true;
                boxes -= large - 1;
            }
            self.twigs[at].boxes = boxes;
        }
    }

    /// What is drawn from `start` on, or from the roots: down to what is cut.
    fn piece(&self, group: &Group, number: usize, start: Option<usize>) -> Piece {
        let mut places: BTreeMap<usize, usize> = BTreeMap::new();
        let mut items: Vec<Item> = Vec::new();
        let mut inside: Vec<usize> = Vec::new();
        let mut stack: Vec<usize> = match start {
            None => self.roots.iter().rev().copied().collect(),
            // Several under one name have no box of their own above them.
            Some(at) if self.twigs[at].node.is_none() => {
                self.twigs[at].children.iter().rev().copied().collect()
            }
            Some(at) => vec![at],
        };
        while let Some(at) = stack.pop() {
            places.insert(at, inside.len());
            inside.push(at);
            if !self.twigs[at].cut || start == Some(at) {
                stack.extend(self.twigs[at].children.iter().rev());
            }
        }
        for &at in &inside {
            let stub = self.twigs[at].cut && start != Some(at);
            items.push(self.item(group, at, &places, stub.then(|| id(number, at))));
        }
        Piece {
            id: start.map_or_else(|| format!("s{number}"), |at| id(number, at)),
            title: start.map_or_else(|| group.system.clone(), |at| self.twigs[at].label.clone()),
            tables: start.map_or(group.nodes.len(), |at| self.twigs[at].tables),
            items,
        }
    }

    /// The boxes that hang off one, however far.
    fn below(&self, at: usize) -> impl Iterator<Item = usize> + '_ {
        let mut stack = self.twigs[at].children.clone();
        let next = move || {
            let at = stack.pop()?;
            stack.extend(&self.twigs[at].children);
            Some(self.twigs[at].node)
        };
        std::iter::from_fn(next).flatten()
    }

    fn item(
        &self,
        group: &Group,
        at: usize,
        places: &BTreeMap<usize, usize>,
        link: Option<String>,
    ) -> Item {
        let twig = &self.twigs[at];
        let under = twig.under.and_then(|u| places.get(&u).copied());
        let below: Vec<&Node> = self.below(at).map(|node| &group.nodes[node]).collect();
        let more = [
            format!("▸ {} below, in a drawing of their own:", below.len()),
            tally(&below),
        ];
        let Some(node) = twig.node else {
            let look = below.iter().map(|n| n.look()).min();
            let lines = [vec![twig.label.clone()], more.into()].concat();
            return Item {
                whole: lines.join("; "),
                lines,
                // What nobody has decided must not hide.
                look: look
                    .filter(|l| *l == Look::Undecided)
                    .unwrap_or(Look::Outside),
                root: false,
                under,
                from: under
                    .map(|u| (u, true, Look::Outside))
                    .into_iter()
                    .collect(),
                link,
            };
        };
        let drawn = &group.nodes[node];
        let (mut lines, whole) = words(drawn, node, |other| group.nodes[other].name.clone());
        if link.is_some() {
            lines.extend(more);
        }
        let ways = drawn.ways.iter().filter(|w| w.from != node);
        let from = ways.filter_map(|w| Some((*places.get(&w.from)?, w.key, w.look)));
        Item {
            lines,
            whole,
            look: drawn.look(),
            root: drawn.root,
            under,
            from: from.collect(),
            link,
        }
    }
}

fn twig(node: Option<usize>, label: String, under: Option<usize>) -> Twig {
    Twig {
        node,
        label,
        children: Vec::new(),
        under,
        cut: false,
        boxes: 1,
        tables: usize::from(node.is_some()),
    }
}

/// `public.order_…`: the schema and the first word of the name.
fn kind(group: &Group, at: usize) -> String {
    let Some(table) = &group.nodes[at].table else {
        return String::new();
    };
    let first = table.table.split('_').next().unwrap_or_default();
    format!("{}.{first}…", table.schema)
}

#[cfg(test)]
mod tests {
    use super::super::{Way, node};
    use super::*;
    use crate::name::TableName;
    use std::collections::BTreeSet;

    /// `under` says under which box each stands.
    fn group(tables: usize, under: impl Fn(usize) -> usize) -> Group {
        let of = |at: usize| {
            let table = TableName::new("public", format!("kind{}_{at}", at % 7));
            let mut node = node(table.to_string(), Some(table));
            node.looks = vec![if at == tables - 1 {
                Look::Undecided
            } else {
                Look::Delete
            }];
            node.root = at == 0;
            if at > 0 {
                node.under = Some(under(at));
                node.ways.push(Way {
                    from: under(at),
                    label: "fk".into(),
                    cardinality: "1:n",
                    key: true,
                    look: Look::Delete,
                });
            }
            node
        };
        Group {
            system: "app".into(),
            nodes: (0..tables).map(of).collect(),
        }
    }

    #[test]
    fn pieces_hold_everything_and_stay_small() {
        type Under = fn(usize) -> usize;
        let shapes: [(&str, Under); 4] = [
            ("star", |_| 0),
            ("chain", |at| at - 1),
            ("pairs", |at| (at - 1) / 2),
            ("wide", |at| if at < 60 { 0 } else { at % 59 + 1 }),
        ];
        for (shape, under) in shapes {
            let group = group(400, under);
            let pieces = pieces(&group, 3);
            assert!(pieces.len() > 6, "{shape}: {}", pieces.len());
            let ids: BTreeSet<&String> = pieces.iter().map(|p| &p.id).collect();
            assert_eq!(ids.len(), pieces.len(), "{shape}");
            let mut whole = Vec::new();
            for piece in &pieces {
                assert!(
                    piece.items.len() <= MOST + 1,
                    "{shape}: {}",
                    piece.items.len()
                );
                for item in &piece.items {
                    match &item.link {
                        Some(link) => assert!(ids.contains(link), "{shape}"),
                        None => whole.push(item.lines[0].clone()),
                    }
                }
            }
            whole.sort();
            let mut all: Vec<String> = group.nodes.iter().map(|n| n.name.clone()).collect();
            all.sort();
            assert_eq!(whole, all, "{shape}");
            let first = pieces[0].items.iter().flat_map(|i| &i.lines);
            let seen = first.filter(|line| line.contains("UNDECIDED")).count();
            assert_eq!(seen, 1, "{shape}: what nobody has decided does not hide");
        }
    }

    #[test]
    fn what_is_small_is_one_piece() {
        assert_eq!(pieces(&group(MOST, |_| 0), 0).len(), 1);
    }
}
