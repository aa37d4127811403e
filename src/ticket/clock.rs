//! What a ticket's events make of its profile: when it is due, and how it stands.

use super::sla::{Gap, Length, Pause, Profile, Start, WhenDue};
use chrono::{DateTime, Duration, Utc};

/// A question put to the customer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question {
    /// It was for proof of identity.
    pub for_identity: bool,
    /// When it was asked.
    pub asked_at: DateTime<Utc>,
    /// When it was answered; `None` while it is open.
    pub answered_at: Option<DateTime<Utc>>,
}

/// What has happened to a ticket, as far as a clock cares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Events {
    /// When the person asked.
    pub requested_at: DateTime<Utc>,
    /// When identity was first proven: the earliest proof, since an early clock is never late.
    pub proven_at: Option<DateTime<Utc>>,
    /// When it was first approved.
    pub accepted_at: Option<DateTime<Utc>>,
    /// When the term was made longer.
    pub extended_at: Option<DateTime<Utc>>,
    /// In the order in which they were asked.
    pub questions: Vec<Question>,
}

impl Events {
    /// Those of a ticket that has just come in.
    pub fn received(requested_at: DateTime<Utc>) -> Self {
        Self {
            requested_at,
            proven_at: None,
            accepted_at: None,
            extended_at: None,
            questions: Vec::new(),
        }
    }
}

/// How a clock stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// What it begins with has not happened.
    NotStarted,
    /// Time counts.
    Running,
    /// The customer is asked, and meanwhile it does not.
    Paused,
    /// The last day is over.
    Late,
    /// It is over, and the company owes an explanation.
    ExplainDuty,
    /// There is no last day.
    NoTerm,
}

/// A ticket's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    /// Until when receipt is to be confirmed, where the profile asks for that.
    pub acknowledge_by: Option<DateTime<Utc>>,
    /// The last second in which the ticket is on time, an extension counted. Before the clock has
    /// started or while it is paused, the earliest that it can come to be. Without a term it is told to
    /// nobody, and says only when its turn to be worked on comes among others.
    pub due: DateTime<Utc>,
    /// What an extension makes of it; `None` where the profile has none.
    pub extended_due: Option<DateTime<Utc>>,
    /// How it stands now.
    pub standing: Standing,
}

/// How far a ticket is on its way to being late.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Escalation {
    /// Steps of the profile that are behind; one more than there are when the last day is too.
    pub reached: u8,
    /// When the next is reached; `None` if none is to come, or time does not count.
    pub next: Option<DateTime<Utc>>,
}

impl Profile {
    /// The clock of a ticket of these events, as of `now`. `None` for dates beyond the calendar.
    pub fn clock(&self, events: &Events, now: DateTime<Utc>) -> Option<Clock> {
        let Some(length) = self.length else {
            return self.without_term(events);
        };
        let (start, started) = self.begun(events, length)?;
        let gaps = self.gaps(events, now);
        let first_due = self.end(start, &[length], &gaps)?;
        let extended_due = match self.extend {
            // A pause is given back in the unit of the last length: an extension in working days
            // gets less of a pause over a weekend than a term in months, and takes nothing away.
            Some(more) => Some(self.end(start, &[length, more], &gaps)?.max(first_due)),
            None => None,
        };
        let due = match (events.extended_at, extended_due) {
            (Some(_), Some(extended)) => extended,
            _ => first_due,
        };
        let standing = if !started {
            Standing::NotStarted
        } else if self.is_paused(events, due) {
            Standing::Paused
        } else if now <= due {
            Standing::Running
        } else {
            match self.when_due {
                WhenDue::Late => Standing::Late,
                WhenDue::Explain => Standing::ExplainDuty,
            }
        };
        let acknowledge_by = match self.acknowledge {
            Some(within) => Some(self.end(events.requested_at, &[within], &[])?),
            None => None,
        };
        Some(Clock {
            acknowledge_by,
            due,
            extended_due,
            standing,
        })
    }

    fn without_term(&self, events: &Events) -> Option<Clock> {
        let customary = Duration::days(30);
        let acknowledge_by = match self.acknowledge {
            Some(within) => Some(self.end(events.requested_at, &[within], &[])?),
            None => None,
        };
        Some(Clock {
            acknowledge_by,
            due: events.requested_at.checked_add_signed(customary)?,
            extended_due: None,
            standing: Standing::NoTerm,
        })
    }

    /// How far a clock of this profile is on its way to being late.
    pub fn escalation(&self, clock: &Clock, now: DateTime<Utc>) -> Escalation {
        if matches!(
            clock.standing,
            Standing::NotStarted | Standing::Paused | Standing::NoTerm
        ) {
            return Escalation {
                reached: 0,
                next: None,
            };
        }
        let steps = self.escalate.iter();
        let steps = steps.map(|days| clock.due - Duration::days((*days).into()));
        // The due second itself is still on time.
        let moments = steps.chain([clock.due + Duration::seconds(1)]);
        let (behind, ahead): (Vec<_>, Vec<_>) = moments.partition(|moment| *moment <= now);
        Escalation {
            reached: u8::try_from(behind.len()).unwrap_or(u8::MAX),
            next: ahead.first().copied(),
        }
    }

    /// The kinds of decisions that may move a ticket's due time, as the control schema calls them.
    pub fn moved_by(&self) -> &'static [&'static str] {
        match self.start {
            Start::Received => &[],
            Start::Identity => &["verify"],
            Start::GroundAccepted => &["approve"],
        }
    }

    /// Where the term begins, and whether it has.
    fn begun(&self, events: &Events, length: Length) -> Option<(DateTime<Utc>, bool)> {
        let begins = match self.start {
            Start::Received => Some(events.requested_at),
            Start::Identity => events.proven_at,
            Start::GroundAccepted => events.accepted_at,
        };
        let Some(mut start) = begins else {
            return Some((events.requested_at, false));
        };
        if self.pause == Pause::RestartOnId {
            for question in events.questions.iter().filter(|q| q.for_identity) {
                if let Some(answered) = question.answered_at
                    && answered > start
                    && question.asked_at <= self.end(start, &[length], &[])?
                {
                    start = answered;
                }
            }
        }
        Some((start, true))
    }

    fn gaps(&self, events: &Events, now: DateTime<Utc>) -> Vec<Gap> {
        if self.pause != Pause::SuspendWhileAsked {
            return Vec::new();
        }
        let gap = |q: &Question| {
            let answered = q.answered_at.unwrap_or(now);
            (self.day(q.asked_at), self.day(answered))
        };
        events.questions.iter().map(gap).collect()
    }

    /// A question is open that was asked in time and stops this clock.
    fn is_paused(&self, events: &Events, due: DateTime<Utc>) -> bool {
        events.questions.iter().any(|question| {
            let stops = match self.pause {
                Pause::None => false,
                Pause::RestartOnId => question.for_identity,
                Pause::SuspendWhileAsked => true,
            };
            stops && question.answered_at.is_none() && question.asked_at <= due
        })
    }
}

#[cfg(test)]
mod tests;
