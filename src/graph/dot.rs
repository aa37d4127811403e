//! Graphviz's language.

use super::{Group, Look, Node, Picture, Way, line};
use std::fmt::Write;

/// The picture for `dot -Tsvg`.
pub fn dot(picture: &Picture) -> String {
    let mut out = format!(
        "digraph lineage {{\n  rankdir=LR; labelloc=t; label={}; fontname=\"sans-serif\";\n  \
         node [shape=box, style=filled, fontname=\"sans-serif\", fontsize=11];\n  \
         edge [dir=both, arrowtail=tee, arrowhead=crow, fontname=\"sans-serif\", fontsize=9];\n",
        quoted(&picture.title)
    );
    for (number, group) in picture.systems.iter().enumerate() {
        system(&mut out, number, group);
    }
    out.push_str("}\n");
    out
}

fn system(out: &mut String, number: usize, group: &Group) {
    let title = quoted(&group.system);
    let _ = writeln!(out, "\n  subgraph cluster_{number} {{\n    label={title};");
    for (at, node) in group.nodes.iter().enumerate() {
        let _ = writeln!(out, "    n{number}_{at} [{}];", attributes(node));
    }
    for (at, node) in group.nodes.iter().enumerate() {
        for way in &node.ways {
            let from = way.from;
            let _ = writeln!(
                out,
                "    n{number}_{from} -> n{number}_{at} [{}];",
                arrow(way)
            );
        }
    }
    out.push_str("  }\n");
}

fn attributes(node: &Node) -> String {
    let label = format!("{}\\n{}", inside(&node.name), inside(&node.says()));
    let look = node.look();
    let shape = match look {
        Look::Entry => ", shape=oval",
        Look::Undecided => ", style=\"filled,bold\", color=\"#b3261e\", peripheries=2",
        Look::Detach | Look::Outside => ", style=\"filled,dashed\"",
        Look::Keep => ", style=\"filled,rounded\"",
        Look::Exempt => ", style=\"filled,dotted\"",
        Look::Anonymize => ", style=\"filled,diagonals\"",
        Look::Delete => "",
    };
    let root = if node.root { ", penwidth=3" } else { "" };
    format!(
        "label=\"{label}\", fillcolor={:?}{shape}{root}",
        look.fill()
    )
}

fn arrow(way: &Way) -> String {
    let label = format!("{} {}", inside(&way.label), way.cardinality);
    let (tail, head) = match way.cardinality {
        "1:1" => ("tee", "tee"),
        "n:1" => ("crow", "tee"),
        "n:m" => ("crow", "crow"),
        _ => ("tee", "crow"),
    };
    let style = match (way.look, way.key) {
        (Look::Undecided, _) => ", color=\"#b3261e\", style=bold",
        (_, false) => ", style=dashed",
        _ => "",
    };
    format!("label=\"{label}\", arrowtail={tail}, arrowhead={head}{style}")
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", inside(text))
}

/// Between double quotes. Graphviz reads entities too, and escapes of its own.
fn inside(text: &str) -> String {
    let mut out = String::new();
    for c in line(text).chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '&' => out.push_str("&amp;"),
            _ => out.push(c),
        }
    }
    out
}
