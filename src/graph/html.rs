//! A page that needs nothing else: drawings that fold without a script, and everything as text.

use super::fold::{self, Piece};
use super::{Group, Look, Node, Picture, escape, svg};
use std::fmt::Write;

const STYLE: &str = include_str!("page.css");

/// The picture as a page.
pub fn html(picture: &Picture) -> String {
    let mut body = format!(
        "<h1>{}</h1>\n<p>{}</p>\n<figure>{}</figure>\n\
         <p>A box is a table and says what happens to its rows and by what they are reached; 1:n is one row to \
         many. An arrow leads from a row to those that belong to it: solid by a foreign key, dashed by a link of the policy.</p>\n",
        escape(&picture.title),
        escape(&counts(picture)),
        svg::legend(),
    );
    for (number, group) in picture.systems.iter().enumerate() {
        system(&mut body, number, group);
    }
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <title>{}</title>\n<style>\n{STYLE}{}</style>\n</head>\n<body>\n{body}</body>\n</html>\n",
        escape(&picture.title),
        svg::STYLE,
    )
}

/// `27 tables, 2 places: 1 UNDECIDED, 14 delete, 3 keep`.
fn counts(picture: &Picture) -> String {
    let nodes = picture.systems.iter().flat_map(|s| &s.nodes);
    let drawn: Vec<&Node> = nodes.filter(|n| n.look() != Look::Entry).collect();
    let tables = drawn.iter().filter(|n| n.table.is_some()).count();
    let places = match drawn.len() - tables {
        0 => String::new(),
        places => format!(", {places} places"),
    };
    format!("{tables} tables{places}: {}", super::tally(&drawn))
}

fn system(body: &mut String, number: usize, group: &Group) {
    let _ = writeln!(body, "<section>\n<h2>system {}</h2>", escape(&group.system));
    let pieces = fold::pieces(group, number);
    for (at, piece) in pieces.iter().enumerate() {
        drawing(body, piece, at == 0);
    }
    body.push_str("<details><summary>all of it as text</summary>\n<table><thead><tr><th>table</th><th>its rows</th><th>reached</th></tr></thead>\n");
    for (at, node) in group.nodes.iter().enumerate() {
        let ways = node.ways.iter().map(|way| {
            let from = if way.from == at {
                "itself"
            } else {
                &group.nodes[way.from].name
            };
            format!(
                "<li>{} by {} from {}: {}</li>",
                way.cardinality,
                escape(&way.label),
                escape(from),
                way.look.word()
            )
        });
        let ways: String = ways.collect();
        let _ = writeln!(
            body,
            "<tr><td>{}</td><td>{}</td><td><ul>{ways}</ul></td></tr>",
            escape(&node.name),
            escape(&node.says())
        );
    }
    body.push_str("</table></details>\n</section>\n");
}

/// The place to which a link leads lies within: browsers open what is closed around it.
fn drawing(body: &mut String, piece: &Piece, open: bool) {
    let open = if open { " open" } else { "" };
    let _ = writeln!(
        body,
        "<details{open}><summary>{} <span>{} tables</span></summary>\n<figure id=\"{}\">{}</figure></details>",
        escape(&piece.title),
        piece.tables,
        piece.id,
        svg::part(&piece.items)
    );
}
