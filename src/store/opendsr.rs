//! Requests that came in the words of OpenDSR: by the controller's own id, and where to call back.

use super::tickets::{NewTicket, TicketView, act_as, come_through, submit, view};
use super::{Result, Store, run_tx};
use uuid::Uuid;

/// A request as its controller knows it.
#[derive(Clone, Debug)]
pub struct OpenDsrRequest {
    /// The controller's id of it.
    pub request: Uuid,
    /// The controller: the name of the token it came by.
    pub controller: String,
    /// Where to call back.
    pub callbacks: Vec<String>,
    /// The ticket.
    pub ticket: TicketView,
}

impl Store {
    /// Files a request under the controller's id; the same again is the same ticket.
    pub async fn submit_opendsr(
        &self,
        new: &NewTicket<'_>,
        request: Uuid,
        controller: &str,
        callbacks: &[String],
        actor: Option<&str>,
    ) -> Result<Uuid> {
        let identifiers = new.checked()?;
        run_tx!(self, "submit_opendsr", |tx| {
            act_as(tx, actor).await?;
            come_through(tx, Some(controller)).await?;
            let ticket = submit(tx, new, &identifiers).await?;
            tx.execute(
                "/* erasured:submit_opendsr */ SELECT erasured.note_opendsr($1, $2, $3, $4)",
                &[&ticket, &request, &controller, &callbacks],
            )
            .await?;
            Ok(ticket)
        })
    }

    /// A controller's own request; another's is not there.
    pub async fn opendsr(&self, request: Uuid, controller: &str) -> Result<Option<OpenDsrRequest>> {
        run_tx!(self, "opendsr", |tx| {
            let row = tx
                .query_opt(
                    "/* erasured:opendsr */ SELECT t.*, now() AS now, o.request_id, o.controller, o.callbacks FROM erasured.opendsr_request o \
                       JOIN erasured.ticket_status t ON t.id = o.ticket_id WHERE o.request_id = $1 AND o.controller = $2",
                    &[&request, &controller],
                )
                .await?;
            Ok(row.as_ref().map(known))
        })
    }

    /// The request that a ticket came by.
    pub async fn opendsr_of(&self, ticket: Uuid) -> Result<Option<OpenDsrRequest>> {
        run_tx!(self, "opendsr_of", |tx| {
            let row = tx
                .query_opt(
                    "/* erasured:opendsr_of */ SELECT t.*, now() AS now, o.request_id, o.controller, o.callbacks FROM erasured.opendsr_request o \
                       JOIN erasured.ticket_status t ON t.id = o.ticket_id WHERE o.ticket_id = $1",
                    &[&ticket],
                )
                .await?;
            Ok(row.as_ref().map(known))
        })
    }
}

fn known(r: &tokio_postgres::Row) -> OpenDsrRequest {
    OpenDsrRequest {
        request: r.get("request_id"),
        controller: r.get("controller"),
        callbacks: r.get("callbacks"),
        ticket: view(r),
    }
}
