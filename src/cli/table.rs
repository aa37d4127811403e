//! Columns for a terminal.

use super::say;
use unicode_width::UnicodeWidthStr;

/// Rows of cells under headings, each column as wide as its widest cell; kanji count as two.
pub(super) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(super) fn new<const N: usize>(headings: [&str; N]) -> Self {
        Self {
            rows: vec![headings.iter().map(|h| (*h).to_owned()).collect()],
        }
    }

    pub(super) fn row<const N: usize>(&mut self, cells: [String; N]) {
        // A cell is one line, whatever a desk wrote into a reference.
        let one_line = |cell: &String| cell.chars().filter(|c| !c.is_control()).collect();
        self.rows.push(cells.iter().map(one_line).collect());
    }

    pub(super) fn print(&self) {
        let columns = self.rows[0].len();
        let widths: Vec<usize> = (0..columns)
            .map(|at| self.rows.iter().map(|r| r[at].width()).max().unwrap_or(0))
            .collect();
        for row in &self.rows {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                line.push_str(cell);
                line.extend(std::iter::repeat_n(' ', width - cell.width() + 2));
            }
            say!("{}", line.trim_end());
        }
    }
}

/// A time as listings show it.
pub(super) fn time(at: Option<chrono::DateTime<chrono::Utc>>) -> String {
    at.map_or_else(
        || "-".to_owned(),
        |at| at.format("%Y-%m-%d %H:%MZ").to_string(),
    )
}

/// A text, or a dash where there is none.
pub(super) fn text(value: Option<&str>) -> String {
    value.unwrap_or("-").to_owned()
}
