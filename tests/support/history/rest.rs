//! When all is over nothing is open, lent, sealed or waiting.

use super::Control;

pub(super) fn wrong(control: &Control) -> Vec<String> {
    let open = control
        .tickets
        .iter()
        .filter(|t| !t.is_done() && t.state != "rejected");
    let open = open.map(|t| format!("{}: still {}", t.reference, t.state));
    let late = control.tickets.iter().filter(|t| {
        t.duplicate_of.is_none()
            && t.clock != "none"
            && t.is_done()
            && t.sla_met != t.finished_at.zip(t.due_at).map(|(at, due)| at <= due)
    });
    let late = late.map(|t| {
        format!(
            "{}: in time is {:?}, by its times otherwise",
            t.reference, t.sla_met
        )
    });
    let rest = control.rest.iter().filter(|(_, many)| **many != 0);
    let rest = rest.map(|(what, many)| format!("{many} of these are left: {what}"));
    open.chain(late).chain(rest).collect()
}
