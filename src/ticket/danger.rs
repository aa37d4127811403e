//! How badly a ticket needs somebody, and whom.

use chrono::{DateTime, Utc};
use serde::Serialize;

/// What a listing knows of a ticket.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// Its state.
    pub state: &'a str,
    /// Why it does not go on.
    pub problem_code: Option<&'a str>,
    /// Whom it is about is known.
    pub found: bool,
    /// When it is due.
    pub due_at: Option<DateTime<Utc>>,
    /// `not_started`, `running` or `paused`.
    pub clock: &'a str,
    /// Steps of escalation reached.
    pub escalated: i16,
    /// The law fixes no end, but asks for an explanation.
    pub explain: bool,
    /// What the customer is asked for.
    pub asked_for: Option<&'a str>,
    /// The desk holds a copy of a document.
    pub copy_held: bool,
    /// It is contested or withdrawn, and closes with the last copy.
    pub closing: bool,
    /// It waits until then.
    pub next_attempt_at: Option<DateTime<Utc>>,
}

/// The worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Danger {
    /// Past its due time.
    Late,
    /// Past it, and an explanation is owed.
    Explain,
    /// At a step of escalation.
    DueSoon,
    /// It failed.
    Failed,
    /// Somebody of the company has to act.
    Person,
    /// The customer has to answer.
    Customer,
    /// It goes on by itself.
    Moving,
    /// Somebody has stopped it.
    Held,
    /// Nothing is to do.
    Closed,
}

impl Danger {
    /// As listings show it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Late => "LATE",
            Self::Explain => "EXPLAIN",
            Self::DueSoon => "due soon",
            Self::Failed => "failed",
            Self::Person => "waits",
            Self::Customer => "asked",
            Self::Moving => "moving",
            Self::Held => "held",
            Self::Closed => "-",
        }
    }
}

/// Who must act.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Who {
    /// Files, verifies, corrects.
    Desk,
    /// Approves and releases.
    Approver,
    /// Whoever looks after the daemon and its databases.
    Dba,
    /// The person who asked.
    Customer,
    /// Nobody: it works or waits by itself.
    Daemon,
}

impl Who {
    /// As listings show it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Desk => "desk",
            Self::Approver => "approver",
            Self::Dba => "DBA",
            Self::Customer => "customer",
            Self::Daemon => "daemon",
        }
    }
}

impl Facts<'_> {
    /// How bad it is at this moment.
    pub fn danger(&self, now: DateTime<Utc>) -> Danger {
        let waits = self.waits_for();
        let Some((who, _)) = waits else {
            return Danger::Closed;
        };
        if self.clock == "running" {
            if self.due_at.is_some_and(|due| due < now) {
                return if self.explain {
                    Danger::Explain
                } else {
                    Danger::Late
                };
            }
            if self.escalated > 0 {
                return Danger::DueSoon;
            }
        }
        match (self.state, who) {
            ("failed", _) => Danger::Failed,
            ("on_hold", _) => Danger::Held,
            (_, Who::Customer) => Danger::Customer,
            (_, Who::Desk | Who::Approver | Who::Dba) => Danger::Person,
            (_, Who::Daemon) => Danger::Moving,
        }
    }

    /// Who must act, and what is waited for; nobody for a ticket that is closed.
    pub fn waits_for(&self) -> Option<(Who, String)> {
        let early = matches!(self.state, "received" | "verified");
        let put_off = |what: &str| match self.next_attempt_at {
            Some(at) => format!("{what}, not before {}", at.format("%Y-%m-%d %H:%MZ")),
            None => what.to_owned(),
        };
        Some(match self.state {
            "completed" | "deferred" | "rejected" => return None,
            // Such as a ticket that failed before.
            _ if self.closing => (Who::Desk, "the copy of a document to be destroyed".into()),
            "failed" if self.problem_code == Some("E0524") => (
                Who::Desk,
                "signs of an impostor: proof, approval, then a retry".into(),
            ),
            "failed" => (Who::Dba, "the problem, then a retry".into()),
            "on_hold" => (Who::Approver, "release".into()),
            _ if !self.found && self.problem_code.is_some() => {
                (Who::Desk, "nobody found: correct it, or retry".into())
            }
            _ if early && self.asked_for.is_some() => {
                let what = self.asked_for.unwrap_or_default();
                (Who::Customer, format!("answer: {what}"))
            }
            "received" => (Who::Desk, "proof of identity".into()),
            "verified" => (Who::Approver, "approval".into()),
            "approved" => (Who::Daemon, put_off("cooling off")),
            "verifying" if self.copy_held => {
                (Who::Desk, "the copy of a document to be destroyed".into())
            }
            "verifying" => (Who::Daemon, "search for what is left".into()),
            _ => (Who::Daemon, put_off("erasure")),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::Duration;

    fn facts(state: &str) -> Facts<'_> {
        Facts {
            state,
            problem_code: None,
            found: true,
            due_at: Some(DateTime::UNIX_EPOCH + Duration::days(30)),
            clock: "running",
            escalated: 0,
            explain: false,
            asked_for: None,
            copy_held: false,
            closing: false,
            next_attempt_at: None,
        }
    }

    #[test]
    fn everybody_knows_whose_turn_it_is() {
        let early = DateTime::UNIX_EPOCH + Duration::days(1);
        let who = |facts: &Facts<'_>| facts.waits_for().map(|(who, _)| who);
        #[rustfmt::skip]
        let expected = [
            ("received", Danger::Person, Some(Who::Desk)),
            ("verified", Danger::Person, Some(Who::Approver)),
            ("approved", Danger::Moving, Some(Who::Daemon)),
            ("scheduled", Danger::Moving, Some(Who::Daemon)),
            ("executing", Danger::Moving, Some(Who::Daemon)),
            ("verifying", Danger::Moving, Some(Who::Daemon)),
            ("failed", Danger::Failed, Some(Who::Dba)),
            ("on_hold", Danger::Held, Some(Who::Approver)),
            ("completed", Danger::Closed, None),
            ("deferred", Danger::Closed, None),
            ("rejected", Danger::Closed, None),
        ];
        for (state, danger, waits) in expected {
            let facts = facts(state);
            assert_eq!(
                (facts.danger(early), who(&facts)),
                (danger, waits),
                "{state}"
            );
            let soon = Facts {
                escalated: 1,
                ..facts
            };
            let still = Facts {
                clock: "paused",
                ..soon
            };
            let late = DateTime::UNIX_EPOCH + Duration::days(31);
            if waits.is_some() {
                assert_eq!(soon.danger(early), Danger::DueSoon, "{state}");
                assert_eq!(soon.danger(late), Danger::Late, "{state}");
                let explain = Facts {
                    explain: true,
                    ..soon
                };
                assert_eq!(explain.danger(late), Danger::Explain, "{state}");
            }
            assert_eq!(
                still.danger(late),
                danger,
                "{state}: its clock stands still"
            );
        }
        let copied = Facts {
            copy_held: true,
            ..facts("verifying")
        };
        assert_eq!(
            (copied.danger(early), who(&copied)),
            (Danger::Person, Some(Who::Desk))
        );
        for state in ["on_hold", "failed"] {
            let closing = Facts {
                closing: true,
                ..facts(state)
            };
            assert_eq!(who(&closing), Some(Who::Desk), "{state}");
        }
        let asked = Facts {
            asked_for: Some("identity"),
            ..facts("received")
        };
        assert_eq!(
            (asked.danger(early), who(&asked)),
            (Danger::Customer, Some(Who::Customer))
        );
        let lost = Facts {
            found: false,
            problem_code: Some("E0403"),
            ..asked
        };
        assert_eq!(
            who(&lost),
            Some(Who::Desk),
            "the desk can do something before the customer answers"
        );
    }
}
