//! What is still open when nothing is left to do: with `--until-idle` that is an end, not a success.

use crate::store::census::Census;

/// One line for the log: numbers and what they wait for, no ticket by name.
pub(super) fn told(census: &Census) -> String {
    let open = |states: &[&str]| -> i64 {
        let count = |state: &&str| census.by_state.get(*state).copied().unwrap_or(0);
        states.iter().map(count).sum()
    };
    let waits = [
        (open(&["received", "verified"]), "for the desk"),
        (open(&["approved", "scheduled"]), "for their time"),
        (
            open(&["verifying"]),
            "for the sweep (erased already: [sweep] of their policy says when)",
        ),
        (open(&["on_hold"]), "on hold"),
        (open(&["failed"]), "failed, for a person"),
    ];
    let waits = waits.iter().filter(|(n, _)| *n > 0);
    let waits: Vec<String> = waits.map(|(n, what)| format!("{n} {what}")).collect();
    match waits.as_slice() {
        [] => "nothing is left to do".into(),
        waits => format!(
            "nothing is left to do now; tickets waiting: {}",
            waits.join(", ")
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_is_told() {
        let mut census = Census::default();
        assert_eq!(told(&census), "nothing is left to do");
        census.by_state = [("verifying", 3), ("failed", 1), ("on_hold", 0)]
            .map(|(state, n)| (state.to_owned(), n))
            .into();
        let said = told(&census);
        assert!(
            said.contains("3 for the sweep") && said.contains("1 failed"),
            "{said}"
        );
        assert!(!said.contains("on hold"), "{said}");
    }
}
