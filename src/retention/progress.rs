//! How far a run is.

use super::throttle::Reason;
use crate::system::postgres::label::LONGEST;

/// How far a run is.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Rows of the rule's table gone so far.
    pub rows: u64,
    /// How many of them had gone when this daemon came to it.
    pub begun_with: u64,
    /// Of so many, as far as was known at the beginning.
    pub of: u64,
    /// Why it waits, if it does.
    pub waits: Option<Reason>,
}

impl Progress {
    /// Rows that are still to go.
    pub fn to_go(self) -> u64 {
        self.of.saturating_sub(self.rows)
    }

    /// What the deleting session is called: the numbers whole, of a long rule's name the beginning.
    pub(super) fn label(self, rule: &str) -> String {
        let (before, behind) = ("erasured retention ", format!(" {}/{}", self.rows, self.of));
        let left = LONGEST.saturating_sub(before.len() + behind.len());
        let end = rule.floor_char_boundary(left.min(rule.len()));
        format!("{before}{}{behind}", &rule[..end])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_has_its_numbers_whole() {
        let of = |rows, of| Progress {
            rows,
            begun_with: 0,
            of,
            waits: None,
        };
        assert_eq!(of(5, 10).label("calls"), "erasured retention calls 5/10");
        let most = of(u64::MAX, u64::MAX).label(&"r".repeat(63));
        assert!(
            most.len() <= LONGEST && most.ends_with(&format!(" {0}/{0}", u64::MAX)),
            "{most}"
        );
        let long = of(1, 2).label(&"r".repeat(63));
        assert!(long.len() == LONGEST && long.ends_with("r 1/2"), "{long}");
        assert_eq!((of(5, 10).to_go(), of(11, 10).to_go()), (5, 0));
    }
}
