//! SVG of our own making: no program and no font but the reader's.

use super::layout::{Item, Layout, Place, STRIP, layout, words};
use super::{Group, Look, Picture, escape};
use std::fmt::Write;

/// Patterns of the strip at a box's left edge, for eyes and printers without colour.
const PATTERNS: &str = "<defs>\
<pattern id=\"p-delete\" width=\"6\" height=\"6\" patternUnits=\"userSpaceOnUse\"><rect width=\"6\" height=\"6\" fill=\"#b3261e\"/></pattern>\
<pattern id=\"p-anonymize\" width=\"6\" height=\"6\" patternUnits=\"userSpaceOnUse\"><path d=\"M0 6L6 0\" stroke=\"#8a5a00\" stroke-width=\"2\"/></pattern>\
<pattern id=\"p-detach\" width=\"6\" height=\"6\" patternUnits=\"userSpaceOnUse\"><circle cx=\"3\" cy=\"3\" r=\"1.5\" fill=\"#5b3f8c\"/></pattern>\
<pattern id=\"p-keep\" width=\"6\" height=\"6\" patternUnits=\"userSpaceOnUse\"><path d=\"M0 3H6\" stroke=\"#1f4e80\" stroke-width=\"2\"/></pattern>\
<pattern id=\"p-exempt\" width=\"6\" height=\"6\" patternUnits=\"userSpaceOnUse\"><path d=\"M3 0V6\" stroke=\"#57606a\" stroke-width=\"2\"/></pattern>\
<pattern id=\"p-undecided\" width=\"8\" height=\"8\" patternUnits=\"userSpaceOnUse\"><path d=\"M0 0L8 8M0 8L8 0\" stroke=\"#b3261e\" stroke-width=\"2\"/></pattern>\
</defs>";

/// Fonts whose letters are of one width, wide ones twice it.
const FONT: &str = "ui-monospace, 'Noto Sans Mono CJK JP', 'DejaVu Sans Mono', monospace";

/// Room for the names of systems, and for the legend.
const TITLE: f64 = 30.0;
const LEGEND: f64 = 62.0;
const LEGEND_STEP: f64 = 158.0;

/// The whole picture, systems below each other.
pub fn svg(picture: &Picture) -> String {
    let drawn: Vec<(String, Layout, Vec<Item>)> = picture
        .systems
        .iter()
        .map(|group| {
            let items = items(group);
            (group.system.clone(), layout(&items), items)
        })
        .collect();
    let legend = LEGEND_STEP * 7.0 + 20.0;
    let width = drawn.iter().map(|d| d.1.width).fold(legend, f64::max);
    let mut body = String::new();
    let _ = write!(
        body,
        "<text class=\"h\" x=\"12\" y=\"22\">{}</text>",
        escape(&picture.title)
    );
    body.push_str(&legend_at(34.0));
    let mut top = LEGEND + 8.0;
    for (system, layout, items) in &drawn {
        let _ = write!(
            body,
            "<g transform=\"translate(0 {top})\"><rect class=\"system\" x=\"4\" y=\"4\" width=\"{}\" height=\"{}\"/>\
             <text class=\"h\" x=\"12\" y=\"22\">system {}</text><g transform=\"translate(0 {TITLE})\">{}</g></g>",
            width - 8.0,
            layout.height + TITLE - 6.0,
            escape(system),
            boxes(items, layout)
        );
        top += layout.height + TITLE + 12.0;
    }
    document(
        width,
        top,
        &format!("<style>{STYLE}</style>{PATTERNS}{body}"),
    )
}

/// One drawing without title, legend, style or patterns, for a page that has its own.
pub(super) fn part(items: &[Item]) -> String {
    let layout = layout(items);
    document(layout.width, layout.height, &boxes(items, &layout))
}

/// The legend by itself, with the patterns that the page's other drawings use.
pub(super) fn legend() -> String {
    let body = format!("{PATTERNS}{}", legend_at(2.0));
    document(LEGEND_STEP * 7.0 + 20.0, 30.0, &body)
}

pub(super) fn items(group: &Group) -> Vec<Item> {
    let nodes = group.nodes.iter().enumerate();
    let item = nodes.map(|(at, node)| {
        let (lines, whole) = words(node, at, |other| group.nodes[other].name.clone());
        let ways = node.ways.iter().filter(|w| w.from != at);
        Item {
            lines,
            whole,
            look: node.look(),
            root: node.root,
            under: node.under,
            from: ways.map(|w| (w.from, w.key, w.look)).collect(),
            link: None,
        }
    });
    item.collect()
}

/// How boxes and arrows look.
pub(super) const STYLE: &str = "\
.h{font-weight:bold;font-size:14px}.n{font-weight:bold}.w{fill:#444c56}.b{stroke:#57606a}\
.b-undecided{stroke:#b3261e;stroke-width:3}.b-detach,.b-outside{stroke-dasharray:5 3}.b-exempt{stroke-dasharray:2 3}\
.root{stroke:#1b1f24;stroke-width:3}.system{fill:#fbfcfd;stroke:#c9d1d9}\
.a{fill:none;stroke:#8b949e;stroke-width:1.2}.soft{stroke-dasharray:6 4}.far{opacity:.4}.open{stroke:#b3261e}\n";

fn document(width: f64, height: f64, body: &str) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" viewBox=\"0 0 {width:.0} {height:.0}\" \
         font-family=\"{FONT}\" font-size=\"12\">{body}</svg>\n"
    )
}

fn legend_at(top: f64) -> String {
    let mut out = String::new();
    let mut x = 12.0;
    for look in Look::TABLES {
        let place = Place {
            x,
            y: top,
            width: LEGEND_STEP - 10.0,
            height: 24.0,
        };
        let item = Item {
            lines: vec![look.word().into()],
            whole: String::new(),
            look,
            root: false,
            under: None,
            from: Vec::new(),
            link: None,
        };
        out.push_str(&one_box(&item, &place));
        x += LEGEND_STEP;
    }
    out
}

fn boxes(items: &[Item], layout: &Layout) -> String {
    let mut out = String::new();
    for (at, item) in items.iter().enumerate() {
        // The way under which it is drawn is a line of the tree; the others stand back.
        for (from, key, look) in &item.from {
            let near = item.under == Some(*from);
            out.push_str(&arrow(
                &layout.places[*from],
                &layout.places[at],
                near,
                *key,
                *look,
            ));
        }
    }
    for (item, place) in items.iter().zip(&layout.places) {
        out.push_str(&one_box(item, place));
    }
    out
}

fn arrow(from: &Place, to: &Place, near: bool, key: bool, look: Look) -> String {
    let soft = if key { "" } else { " soft" };
    let far = if near { "" } else { " far" };
    let open = if look == Look::Undecided { " open" } else { "" };
    let (x1, y1) = (from.x + from.width, from.y + from.height / 2.0);
    let (x2, y2) = (to.x, to.y + to.height / 2.0);
    let bend = 32.0;
    format!(
        "<path class=\"a{soft}{far}{open}\" d=\"M{x1:.0} {y1:.0}C{:.0} {y1:.0} {:.0} {y2:.0} {x2:.0} {y2:.0}M{:.0} {:.0}L{x2:.0} {y2:.0}L{:.0} {:.0}\"/>",
        x1 + bend,
        x2 - bend,
        x2 - 7.0,
        y2 - 4.0,
        x2 - 7.0,
        y2 + 4.0
    )
}

fn one_box(item: &Item, place: &Place) -> String {
    let Place {
        x,
        y,
        width,
        height,
    } = place;
    let kind = class(item.look);
    let root = if item.root { " root" } else { "" };
    let round = if item.look == Look::Entry { 10 } else { 2 };
    let mut out = format!(
        "<g><title>{}</title><rect class=\"b b-{kind}{root}\" x=\"{x:.0}\" y=\"{y:.0}\" width=\"{width:.0}\" height=\"{height:.0}\" rx=\"{round}\" fill=\"{}\"/>",
        escape(&item.whole),
        item.look.fill()
    );
    if !matches!(item.look, Look::Entry | Look::Outside) {
        let _ = write!(
            out,
            "<rect x=\"{:.0}\" y=\"{:.0}\" width=\"{:.0}\" height=\"{:.0}\" fill=\"url(#p-{kind})\"/>",
            x + 1.5,
            y + 1.5,
            STRIP - 3.0,
            height - 3.0
        );
    }
    let mut line_y = y + 16.0;
    for (number, line) in item.lines.iter().enumerate() {
        let style = match number {
            0 => " class=\"n\"",
            1 => "",
            _ => " class=\"w\"",
        };
        let text = format!(
            "<text{style} x=\"{:.0}\" y=\"{line_y:.0}\">{}</text>",
            x + STRIP + 4.0,
            escape(line)
        );
        match (&item.link, number) {
            (Some(link), 0) => {
                let _ = write!(out, "<a href=\"#{link}\">{text}</a>");
            }
            _ => out.push_str(&text),
        }
        line_y += 16.0;
    }
    out.push_str("</g>");
    out
}

fn class(look: Look) -> &'static str {
    match look {
        Look::Undecided => "undecided",
        Look::Delete => "delete",
        Look::Anonymize => "anonymize",
        Look::Detach => "detach",
        Look::Keep => "keep",
        Look::Exempt => "exempt",
        Look::Outside => "outside",
        Look::Entry => "entry",
    }
}
