//! What has happened to a ticket and what is to, for `erasured ticket show`.

use super::super::say;
use super::super::table;
use crate::store::tickets::TicketDetail;
use crate::ticket::timeline::{Mark, lines};
use unicode_width::UnicodeWidthStr;

pub(super) fn print(detail: &TicketDetail) {
    let t = &detail.ticket;
    let mut marks = Vec::new();
    if let Some(by) = t.acknowledge_by {
        marks.push(Mark {
            name: "confirm receipt",
            at: by,
            met: t.acknowledged_at,
        });
    }
    if let Some(due) = t.due_at {
        let name = match t.clock.as_str() {
            "paused" => "due at the earliest; the clock stands still",
            "not_started" => "due at the earliest; the clock has not started",
            _ if t.explain => "due; after it an explanation",
            _ => "due",
        };
        marks.push(Mark {
            name,
            at: due,
            met: t.finished_at,
        });
    }
    let lines = lines(&detail.timeline, &marks, t.now);
    let what = lines.iter().map(|l| l.what.width()).max().unwrap_or(0);
    let who = lines.iter().map(|l| l.who.width()).max().unwrap_or(0);
    say!("");
    for line in lines {
        let pad = |text: &str, width: usize| " ".repeat(width.saturating_sub(text.width()));
        let said = format!(
            "  {}  {:>9}  {}{}  {}{}  {}",
            table::time(Some(line.at)),
            line.after,
            line.what,
            pad(&line.what, what),
            line.who,
            pad(&line.who, who),
            line.detail
        );
        say!("{}", said.trim_end());
    }
}
