//! Where the boxes of one drawing stand: a tree from left to right, each column as wide as its
//! widest box, each box in the middle of what hangs off it.

use super::{Look, Node};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Width of one cell of the fixed-width letters, and height of a line.
const CELL: f64 = 7.3;
const LINE: f64 = 16.0;
/// Around the text of a box; on its left besides the strip that shows the look.
const PADDING: f64 = 8.0;
pub(super) const STRIP: f64 = 12.0;
/// Between boxes, and between columns for the arrows.
const GAP: f64 = 12.0;
const CHANNEL: f64 = 64.0;
/// Longer texts are cut; the whole stands in the box's tooltip.
const LONGEST: usize = 64;
/// Ways that a box lists.
const WAYS: usize = 6;

/// A box of a drawing.
#[derive(Clone, Debug)]
pub(super) struct Item {
    /// Its lines, cut to what can be shown; the first is its name.
    pub(super) lines: Vec<String>,
    /// All of it.
    pub(super) whole: String,
    pub(super) look: Look,
    pub(super) root: bool,
    /// The item under which it is drawn.
    pub(super) under: Option<usize>,
    /// Other items from which ways lead here, and whether by a foreign key.
    pub(super) from: Vec<(usize, bool, Look)>,
    /// Where more of it is drawn.
    pub(super) link: Option<String>,
}

/// An [`Item`] with its place.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Place {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) width: f64,
    pub(super) height: f64,
}

/// All places, and how much room they take.
pub(super) struct Layout {
    pub(super) places: Vec<Place>,
    pub(super) width: f64,
    pub(super) height: f64,
}

/// The words in a table's box; `name` gives those of the others.
pub(super) fn words(
    node: &Node,
    at: usize,
    name: impl Fn(usize) -> String,
) -> (Vec<String>, String) {
    let mut lines = vec![node.name.clone(), node.says()];
    let several = node.looks.len() > 1;
    let ways: Vec<String> = node
        .ways
        .iter()
        .map(|way| {
            let from = if way.from == at {
                "itself".to_owned()
            } else {
                name(way.from)
            };
            let fate = if several {
                format!(": {}", way.look.word())
            } else {
                String::new()
            };
            format!("{} by {} from {from}{fate}", way.cardinality, way.label)
        })
        .collect();
    let whole = [lines.clone(), ways.clone()].concat().join("; ");
    let shown = if ways.len() > WAYS {
        WAYS - 1
    } else {
        ways.len()
    };
    lines.extend(ways[..shown].iter().cloned());
    if shown < ways.len() {
        lines.push(format!("and {} more ways", ways.len() - shown));
    }
    (lines.iter().map(|l| cut(l)).collect(), whole)
}

/// At most so many cells; of a text too long the end goes.
fn cut(text: &str) -> String {
    let text = super::line(text);
    if text.width() <= LONGEST {
        return text;
    }
    let mut room = LONGEST - 1;
    let fits = |c: &char| {
        let width = c.width().unwrap_or(0);
        let fits = width <= room;
        room = room.saturating_sub(width);
        fits
    };
    let mut short: String = text.chars().take_while(fits).collect();
    short.push('…');
    short
}

#[allow(clippy::cast_precision_loss)] // some dozens of cells and lines
pub(super) fn layout(items: &[Item]) -> Layout {
    let mut places: Vec<Place> = items
        .iter()
        .map(|item| {
            let cells = item.lines.iter().map(|l| l.width()).max().unwrap_or(0);
            Place {
                width: cells as f64 * CELL + 2.0 * PADDING + STRIP,
                height: item.lines.len() as f64 * LINE + PADDING,
                ..Place::default()
            }
        })
        .collect();
    let (mut depth, mut children) = (vec![0; items.len()], vec![Vec::new(); items.len()]);
    let mut roots = Vec::new();
    // Each stands after what it is drawn under.
    for (at, item) in items.iter().enumerate() {
        match item.under {
            Some(under) => {
                depth[at] = depth[under] + 1;
                children[under].push(at);
            }
            None => roots.push(at),
        }
    }
    let mut columns: Vec<f64> = Vec::new();
    for (place, depth) in places.iter().zip(&depth) {
        if columns.len() <= *depth {
            columns.resize(depth + 1, 0.0);
        }
        columns[*depth] = columns[*depth].max(place.width);
    }
    let mut left = Vec::new();
    let mut x = GAP;
    for width in &columns {
        left.push(x);
        x += width + CHANNEL;
    }
    for (place, depth) in places.iter_mut().zip(&depth) {
        place.x = left[*depth];
        place.width = columns[*depth];
    }
    let mut y = GAP;
    for root in roots {
        y = stand(root, y, &children, &mut places);
    }
    Layout {
        places,
        width: x - CHANNEL + GAP,
        height: y,
    }
}

/// Places a box and what hangs off it from `top` on; returns where the next may begin. Without
/// recursion: a chain may be as long as a schema has tables.
fn stand(root: usize, top: f64, children: &[Vec<usize>], places: &mut [Place]) -> f64 {
    let mut next = top;
    let mut stack = vec![(root, top, 0)];
    while let Some((at, begin, done)) = stack.pop() {
        if let Some(&child) = children[at].get(done) {
            stack.push((at, begin, done + 1));
            stack.push((child, next, 0));
            continue;
        }
        let height = places[at].height;
        let below = match (children[at].first(), children[at].last()) {
            (Some(&first), Some(&last)) => {
                let middle = |p: &Place| p.y + p.height / 2.0;
                f64::midpoint(middle(&places[first]), middle(&places[last])) - height / 2.0
            }
            _ => begin,
        };
        places[at].y = below.max(begin);
        next = next.max(places[at].y + height + GAP);
    }
    next
}
