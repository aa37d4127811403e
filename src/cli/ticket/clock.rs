//! `erasured ticket acknowledge`, `ask`, `answered` and `extend`: what moves a ticket's clock.

use super::super::failure::Failure;
use super::super::table;
use super::{Actor, One, said};
use crate::store::tickets::TicketView;
use clap::{Args, Subcommand};
use std::path::Path;

#[derive(Subcommand, Debug)]
pub(in super::super) enum Clock {
    /// Record that receipt was confirmed to the customer.
    Acknowledge(One),
    Ask(Ask),
    /// Record that the customer has answered what was asked.
    Answered(One),
    Extend(Extend),
}

/// Record that the customer was asked for something; the clock stops only where the SLA profile says so.
#[derive(Args, Debug)]
pub(in super::super) struct Ask {
    /// Id or reference.
    ticket: String,
    /// What is asked for, as a code: identity, or such as which-account.
    #[arg(long = "for", value_name = "CODE")]
    what: String,
    #[command(flatten)]
    actor: Actor,
}

/// Make the term longer, once and within the first term; the customer is to be told.
#[derive(Args, Debug)]
pub(in super::super) struct Extend {
    /// Id or reference.
    ticket: String,
    /// Code of the reason, such as complex or many-requests.
    #[arg(long)]
    ground: String,
    #[command(flatten)]
    actor: Actor,
}

impl Clock {
    pub(super) async fn execute(self, config: &Path) -> Result<(), Failure> {
        match self {
            Self::Acknowledge(one) => {
                let (store, id, actor) = one.actor.about(config, &one.ticket).await?;
                said(&one.ticket, &store.acknowledge(id, actor.as_deref()).await?)
            }
            Self::Ask(ask) => {
                let (store, id, actor) = ask.actor.about(config, &ask.ticket).await?;
                let state = store.ask(id, &ask.what, actor.as_deref()).await?;
                said(&ask.ticket, &state)
            }
            Self::Answered(one) => {
                let (store, id, actor) = one.actor.about(config, &one.ticket).await?;
                said(&one.ticket, &store.answered(id, actor.as_deref()).await?)
            }
            Self::Extend(extend) => {
                let (store, id, actor) = extend.actor.about(config, &extend.ticket).await?;
                let state = store.extend(id, &extend.ground, actor.as_deref()).await?;
                said(&extend.ticket, &state)
            }
        }
    }
}

/// What has moved the clock, or is to.
pub(super) fn print(t: &TicketView, field: &impl Fn(&str, String)) {
    if let Some(by) = t.acknowledge_by.filter(|_| t.acknowledged_at.is_none()) {
        field("confirm", format!("receipt by {}", table::time(Some(by))));
    }
    if let Some(at) = t.acknowledged_at {
        field("confirmed", table::time(Some(at)));
    }
    if let Some(what) = &t.asked_for {
        let clock = match t.clock.as_str() {
            "paused" => "the clock stands still",
            _ => "the clock goes on",
        };
        field(
            "asked",
            format!("{what}, since {}; {clock}", table::time(t.asked_at)),
        );
    }
    if let Some(ground) = &t.extended_for {
        field(
            "extended",
            format!("{} ({ground})", table::time(t.extended_at)),
        );
    }
}
