//! Whether somebody who was erased has come back: what is looked for, when it was looked last.

use super::{Result, Store, run_tx, seconds};
use std::time::Duration;
use uuid::Uuid;

/// A closed ticket for which the time has come to look.
pub struct Due {
    /// The ticket.
    pub ticket: Uuid,
    /// How long after it was closed this look was to be.
    pub after: f64,
    /// Name and keyed hash of what the person was called.
    pub hashes: Vec<(String, String)>,
}

/// Where somebody has come back.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)] // As in erasured.finding.
pub struct CameBack {
    pub ticket: Uuid,
    pub system: String,
    pub schema: String,
    pub table: String,
    pub column: String,
    pub identifier: String,
    pub rows: i64,
}

impl Store {
    /// Before a ticket is closed: by what its person is to be known again. Replaces what was there.
    pub async fn watch(&self, of: &[(Uuid, String, String)]) -> Result<()> {
        let tickets: Vec<Uuid> = of.iter().map(|(ticket, ..)| *ticket).collect();
        let names: Vec<&str> = of.iter().map(|(_, name, _)| name.as_str()).collect();
        let hashes: Vec<&str> = of.iter().map(|(.., hash)| hash.as_str()).collect();
        run_tx!(self, "watch", |tx| {
            tx.execute(
                "/* erasured:watch */ DELETE FROM erasured.watched WHERE ticket_id = ANY ($1)",
                &[&tickets],
            )
            .await?;
            tx.execute(
                "/* erasured:watch */ INSERT INTO erasured.watched (ticket_id, name, hash) \
                 SELECT DISTINCT * FROM unnest($1::uuid[], $2::text[], $3::text[])",
                &[&tickets, &names, &hashes],
            )
            .await?;
            Ok(())
        })
    }

    /// Closed tickets of this kind for which one of these times after closing has come, with the longest
    /// that has. Nobody else gets them for `lease`.
    pub async fn begin_recheck(
        &self,
        subject: &str,
        after: &[Duration],
        limit: i64,
        lease: Duration,
    ) -> Result<Vec<Due>> {
        let after: Vec<f64> = after.iter().map(|time| seconds(*time)).collect();
        run_tx!(self, "begin_recheck", |tx| {
            let rows = tx
                .query(
                    "/* erasured:begin_recheck */ WITH due AS ( \
                       SELECT t.id, max(a.secs) AS secs FROM (SELECT DISTINCT ticket_id FROM erasured.watched) w \
                         JOIN erasured.ticket t ON t.id = w.ticket_id \
                         JOIN unnest($2::float8[]) AS a (secs) ON t.finished_at + make_interval(secs => a.secs) <= now() \
                         LEFT JOIN erasured.recheck r ON r.ticket_id = t.id \
                        WHERE t.subject = $1 AND t.state IN ('completed', 'deferred') \
                          AND coalesce(r.looked, interval '0') < make_interval(secs => a.secs) \
                          AND coalesce(r.until, '-infinity') < now() GROUP BY t.id ORDER BY t.id LIMIT $3), \
                     taken AS (INSERT INTO erasured.recheck AS r (ticket_id, until) \
                       SELECT id, now() + make_interval(secs => $4) FROM due \
                       ON CONFLICT (ticket_id) DO UPDATE SET until = excluded.until WHERE r.until < now() RETURNING ticket_id) \
                     SELECT d.id, d.secs, array_agg(w.name ORDER BY w.name, w.hash), array_agg(w.hash ORDER BY w.name, w.hash) \
                       FROM due d JOIN taken x ON x.ticket_id = d.id JOIN erasured.watched w ON w.ticket_id = d.id GROUP BY d.id, d.secs",
                    &[&subject, &after, &limit, &seconds(lease)],
                )
                .await?;
            let due = rows.iter().map(|r| {
                let (names, hashes): (Vec<String>, Vec<String>) = (r.get(2), r.get(3));
                Due {
                    ticket: r.get(0),
                    after: r.get(1),
                    hashes: names.into_iter().zip(hashes).collect(),
                }
            });
            Ok(due.collect())
        })
    }

    /// It was looked for these, and this was found. What is known already is not said again; behind the `last`
    /// look the hashes go. Returns what is new.
    pub async fn end_recheck(
        &self,
        looked: &[Due],
        last: Duration,
        found: &[CameBack],
    ) -> Result<u64> {
        let tickets: Vec<Uuid> = looked.iter().map(|due| due.ticket).collect();
        let after: Vec<f64> = looked.iter().map(|due| due.after).collect();
        let of: Vec<Uuid> = found.iter().map(|f| f.ticket).collect();
        let text = |part: fn(&CameBack) -> &str| found.iter().map(part).collect::<Vec<&str>>();
        let (systems, schemas) = (text(|f| &f.system), text(|f| &f.schema));
        let (tables, columns) = (text(|f| &f.table), text(|f| &f.column));
        let identifiers = text(|f| &f.identifier);
        let rows: Vec<i64> = found.iter().map(|f| f.rows).collect();
        run_tx!(self, "end_recheck", |tx| {
            tx.execute(
                "/* erasured:end_recheck */ UPDATE erasured.recheck r SET looked = make_interval(secs => n.secs), looked_at = now(), until = '-infinity' \
                   FROM unnest($1::uuid[], $2::float8[]) AS n (id, secs) WHERE r.ticket_id = n.id",
                &[&tickets, &after],
            )
            .await?;
            let new = tx
                .execute(
                    "/* erasured:end_recheck */ WITH new AS ( \
                       INSERT INTO erasured.finding (ticket_id, generation, system, schema_name, table_name, column_name, identifier, rows) \
                       SELECT t.id, t.generation, n.system, n.schema, n.name, n.col, n.identifier, n.rows \
                         FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::int8[]) \
                              AS n (id, system, schema, name, col, identifier, rows) JOIN erasured.ticket t USING (id) \
                        WHERE NOT EXISTS (SELECT FROM erasured.finding f WHERE f.ticket_id = t.id AND f.resolved_at IS NULL \
                                AND (f.system, f.schema_name, f.table_name, f.column_name, f.identifier) \
                                  = (n.system, n.schema, n.name, n.col, n.identifier)) RETURNING *) \
                     INSERT INTO erasured.event (kind, ticket_id, body) \
                     SELECT 'came_back', ticket_id, jsonb_build_object('system', system, 'table', schema_name || '.' || table_name, \
                            'column', column_name, 'identifier', identifier, 'rows', rows) FROM new ORDER BY id",
                    &[&of, &systems, &schemas, &tables, &columns, &identifiers, &rows],
                )
                .await?;
            tx.execute(
                "/* erasured:end_recheck */ DELETE FROM erasured.watched w USING erasured.recheck r \
                  WHERE r.ticket_id = w.ticket_id AND r.ticket_id = ANY ($1) AND r.looked >= make_interval(secs => $2)",
                &[&tickets, &seconds(last)],
            )
            .await?;
            Ok(new)
        })
    }

    /// Forgets by what people of this kind would be known again whom nobody will look for: their ticket was
    /// rejected, or, with `all`, the policy asks for no look.
    pub async fn stop_watching(&self, subject: &str, all: bool) -> Result<()> {
        run_tx!(self, "stop_watching", |tx| {
            tx.execute(
                // Few are watched of all the tickets there are: each of those looks its own up.
                "/* erasured:stop_watching */ DELETE FROM erasured.watched w WHERE ( \
                   SELECT t.subject = $1 AND (t.state = 'rejected' OR $2 AND t.state IN ('completed', 'deferred')) \
                     FROM erasured.ticket t WHERE t.id = w.ticket_id)",
                &[&subject, &all],
            )
            .await?;
            Ok(())
        })
    }
}
