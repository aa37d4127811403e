//! Legal holds: placed and released by people, read by the daemon, asked before every COMMIT that
//! deletes.

use super::lease::hold;
use super::tickets::{IdentifierValue, act_as};
use super::{Result, Store, StoreError, Tx, run_tx};
use crate::name::TableName;
use chrono::{DateTime, Utc};
use serde::Serialize;
use std::time::Duration;
use tokio_postgres::Row;
use uuid::Uuid;

/// An order to keep what belongs to a person.
pub struct NewHold<'a> {
    /// Code of the matter.
    pub matter: &'a str,
    /// Code of the reason.
    pub reason: &'a str,
    /// Subject kind.
    pub subject: &'a str,
    /// By what the person is named.
    pub identifiers: &'a [(String, IdentifierValue)],
    /// Its last moment; `None` until it is released.
    pub until: Option<DateTime<Utc>>,
}

/// An order to keep rows of a table.
pub struct NewRowHold<'a> {
    /// Code of the matter.
    pub matter: &'a str,
    /// Code of the reason.
    pub reason: &'a str,
    /// `system.schema.table`.
    pub rows_of: &'a str,
    /// Column, op and values of each condition.
    pub conditions: &'a serde_json::Value,
    /// Its last moment; `None` until it is released.
    pub until: Option<DateTime<Utc>>,
}

/// What is ordered to be kept.
pub enum Order<'a> {
    /// What belongs to a person.
    Person(&'a NewHold<'a>),
    /// Rows of a table.
    Rows(&'a NewRowHold<'a>),
}

/// By what a program knows an order that it has sent: keyed hashes.
pub struct OnceKey {
    /// Of the program's own key.
    pub key: String,
    /// Of all that was ordered.
    pub asked: String,
}

/// A hold on rows that has still to be read.
pub struct UnreadRowHold {
    /// When it was placed.
    pub placed_at: DateTime<Utc>,
    /// The hold.
    pub id: Uuid,
    /// System.
    pub system: String,
    /// The table.
    pub table: TableName,
    /// As it was placed.
    pub conditions: serde_json::Value,
}

/// A hold on rows that is in force.
pub struct RowHold {
    /// The hold.
    pub id: Uuid,
    /// The table.
    pub table: TableName,
    /// Its conditions, encrypted.
    pub sealed: Vec<u8>,
}

/// Which holds, and from where on.
#[derive(Clone, Debug, Default)]
pub struct HoldFilter {
    /// Those that have ended too.
    pub all: bool,
    /// Only of this matter.
    pub matter: Option<String>,
    /// Behind this one: when it was placed, and its id.
    pub after: Option<(DateTime<Utc>, Uuid)>,
    /// At most this many.
    pub limit: Option<u32>,
}

/// A hold as anybody may see it.
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs)] // As in erasured.hold_status.
pub struct HoldView {
    pub id: Uuid,
    pub matter: String,
    pub reason: String,
    pub kind: String,
    pub subject: Option<String>,
    pub rows_of: Option<String>,
    pub named_by: Vec<String>,
    pub people: i64,
    pub problem_code: Option<String>,
    pub problem: Option<String>,
    pub until: Option<DateTime<Utc>>,
    pub placed_at: DateTime<Utc>,
    pub placed_by: String,
    pub read_at: Option<DateTime<Utc>>,
    pub released_at: Option<DateTime<Utc>>,
    pub released_by: Option<String>,
    pub in_force: bool,
    pub tickets: Vec<String>,
    pub deferrals: i64,
    pub since: Option<DateTime<Utc>>,
    pub left_whole: Vec<String>,
}

/// A hold whose person has still to be found.
pub struct UnreadHold {
    /// When it was placed.
    pub placed_at: DateTime<Utc>,
    /// The hold.
    pub id: Uuid,
    /// Subject kind.
    pub subject: String,
    /// Name and value.
    pub identifiers: Vec<(String, IdentifierValue)>,
}

/// A hold's place among those that have still to be read; `None` before the first.
pub type Place = Option<(DateTime<Utc>, Uuid)>;

/// The code of a hold that covers nobody.
const NOBODY: (&str, &str) = ("E0520", "nobody is found by what the hold names");

/// Whom a hold covers.
#[derive(Default)]
pub struct HoldRead {
    /// Name and keyed hash of what it names.
    pub hashes: Vec<(String, String)>,
    /// Keyed hashes of the root keys found.
    pub subjects: Vec<String>,
    /// Why nobody could be looked for: a code and words without personal data.
    pub problem: Option<(&'static str, String)>,
}

/// What stands against a COMMIT.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing.
    Free,
    /// Holds cover these tickets.
    Held(Vec<Uuid>),
    /// A hold on this kind of subject, or on rows, waits to be read: what it covers is not known.
    Unread,
}

/// While it lives no hold can be placed. Let go with [`Permit::end`]; dropped, it takes its
/// session with it.
pub struct Permit {
    session: Option<deadpool_postgres::Object>,
}

impl Permit {
    /// Takes the lock that keeps holds from being placed, for what commits within `time`.
    pub(super) async fn begin(pool: &deadpool_postgres::Pool, time: Duration) -> Result<Self> {
        let session = pool.get().await?;
        let permit = Self {
            session: Some(session),
        };
        // Each statement must see what was committed before it, whatever the server's default: the
        // holds are read after the lock.
        permit
            .session()
            .batch_execute(&format!(
                "/* erasured:permit */ BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY; SET LOCAL lock_timeout = '5s'; \
                 SET LOCAL statement_timeout = '60s'; SET LOCAL idle_in_transaction_session_timeout = {}; \
                 SELECT pg_advisory_xact_lock_shared(hashtextextended('erasured.hold', 0))",
                (time + Duration::from_secs(10)).as_millis()
            ))
            .await?;
        Ok(permit)
    }

    pub(super) fn session(&self) -> &deadpool_postgres::Object {
        self.session.as_ref().expect("it is taken only at the end")
    }

    /// Says that the lock is still wanted; whether it is still there.
    pub async fn keep(&self) -> bool {
        match &self.session {
            Some(session) => {
                let said = session.batch_execute("/* erasured:permit */ SELECT").await;
                said.is_ok()
            }
            None => false,
        }
    }

    /// Lets holds be placed again.
    pub async fn end(mut self) {
        if let Some(session) = &self.session
            && session
                .batch_execute("/* erasured:permit */ ROLLBACK")
                .await
                .is_ok()
        {
            // Back to the pool, with nothing open in it.
            drop(self.session.take());
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(session) = self.session.take() {
            drop(deadpool_postgres::Object::take(session));
        }
    }
}

impl Store {
    /// Places a hold; from the moment this returns nothing that it covers is erased.
    pub async fn place_hold(&self, new: &NewHold<'_>, actor: Option<&str>) -> Result<Uuid> {
        let order = Order::Person(new);
        order.can_be_sent()?;
        run_tx!(self, "place_hold", |tx| {
            act_as(tx, actor).await?;
            place(tx, &order).await
        })
    }

    /// Places a hold on rows; from the moment this returns none that it covers changes.
    pub async fn place_row_hold(&self, new: &NewRowHold<'_>, actor: Option<&str>) -> Result<Uuid> {
        let order = Order::Rows(new);
        order.can_be_sent()?;
        run_tx!(self, "place_hold", |tx| {
            act_as(tx, actor).await?;
            place(tx, &order).await
        })
    }

    /// The same for a program that sends again what was not answered: the same under the same key is
    /// placed once. The hold, and whether it is a new one.
    ///
    /// # Errors
    /// `ER003` if the key was used for another hold.
    pub async fn place_hold_once(
        &self,
        order: &Order<'_>,
        key: &OnceKey,
        actor: Option<&str>,
    ) -> Result<(Uuid, bool)> {
        order.can_be_sent()?;
        let sql = "/* erasured:place_hold */ SELECT erasured.hold_once($1, $2, $3)";
        run_tx!(self, "place_hold", |tx| {
            act_as(tx, actor).await?;
            let none: Option<Uuid> = None;
            let before = tx.query_one(sql, &[&key.key, &key.asked, &none]).await?;
            if let Some(before) = before.get(0) {
                return Ok((before, false));
            }
            let placed = place(tx, order).await?;
            tx.execute(sql, &[&key.key, &key.asked, &placed]).await?;
            Ok((placed, true))
        })
    }

    /// Holds on rows that have still to be read, oldest first, from behind one on.
    pub async fn unread_row_holds(&self, after: Place, limit: u32) -> Result<Vec<UnreadRowHold>> {
        let (placed, id) = after.unzip();
        run_tx!(self, "unread_holds", |tx| {
            let rows = tx
                .query(
                    "/* erasured:unread_holds */ SELECT id, placed_at, system, schema_name, table_name, conditions FROM erasured.hold \
                      WHERE kind = 'table' AND read_at IS NULL AND released_at IS NULL AND ($2::timestamptz IS NULL OR (placed_at, id) > ($2, $3::uuid)) \
                      ORDER BY placed_at, id LIMIT $1",
                    &[&i64::from(limit), &placed, &id],
                )
                .await?;
            let unread = rows.iter().map(|r| UnreadRowHold {
                id: r.get("id"),
                placed_at: r.get("placed_at"),
                system: r.get("system"),
                table: TableName::new(
                    r.get::<_, &str>("schema_name"),
                    r.get::<_, &str>("table_name"),
                ),
                conditions: r.get("conditions"),
            });
            Ok(unread.collect())
        })
    }

    /// Replaces the conditions of a hold on rows by what is sealed, if it may ever hold, and says why it
    /// covers nothing: a code and words without personal data.
    pub async fn row_hold_read(
        &self,
        id: Uuid,
        sealed: Option<&[u8]>,
        problem: Option<&(&'static str, String)>,
    ) -> Result<bool> {
        let code = problem.map(|p| p.0);
        let words = problem.map(|p| p.1.as_str());
        run_tx!(self, "hold_read", |tx| {
            let sql = "/* erasured:hold_read */ SELECT erasured.row_hold_read($1, $2, $3, $4)";
            Ok(tx
                .query_one(sql, &[&id, &sealed, &code, &words])
                .await?
                .get(0))
        })
    }

    /// Holds on rows of a system that are in force.
    pub async fn row_holds(&self, system: &str) -> Result<Vec<RowHold>> {
        run_tx!(self, "row_holds", |tx| {
            let rows = tx
                .query(
                    "/* erasured:row_holds */ SELECT id, schema_name, table_name, sealed FROM erasured.hold \
                      WHERE id = ANY (erasured.row_holds($1)) ORDER BY id",
                    &[&system],
                )
                .await?;
            let holds = rows.iter().map(|r| RowHold {
                id: r.get("id"),
                table: TableName::new(
                    r.get::<_, &str>("schema_name"),
                    r.get::<_, &str>("table_name"),
                ),
                sealed: r.get("sealed"),
            });
            Ok(holds.collect())
        })
    }

    /// Records which tickets reach rows that holds cover: ticket and hold.
    pub async fn hold_covers(&self, found: &[(Uuid, Uuid)]) -> Result<()> {
        run_tx!(self, "hold_covers", |tx| covers(tx, found).await)
    }

    /// Releases one hold by its id, or all of a matter; how many were in force.
    pub async fn release_hold(&self, id_or_matter: &str, actor: Option<&str>) -> Result<i64> {
        if id_or_matter.contains('\0') {
            return Err(StoreError::Nul("the matter"));
        }
        let id: Option<Uuid> = id_or_matter.parse().ok();
        run_tx!(self, "release_hold", |tx| {
            act_as(tx, actor).await?;
            let row = match id {
                Some(id) => {
                    let sql = "/* erasured:release_hold */ SELECT erasured.release_hold($1)";
                    tx.query_one(sql, &[&id]).await?
                }
                None => {
                    let sql = "/* erasured:release_hold */ SELECT erasured.release_matter($1)";
                    tx.query_one(sql, &[&id_or_matter]).await?
                }
            };
            Ok(row.get(0))
        })
    }

    /// Holds, newest first; those in force, or all there ever were.
    pub async fn holds(&self, all: bool) -> Result<Vec<HoldView>> {
        let filter = HoldFilter {
            all,
            ..HoldFilter::default()
        };
        self.page_of_holds(&filter).await
    }

    /// Some of them.
    pub async fn page_of_holds(&self, filter: &HoldFilter) -> Result<Vec<HoldView>> {
        let (at, id) = filter.after.unzip();
        if filter.matter.as_ref().is_some_and(|m| m.contains('\0')) {
            return Err(StoreError::Nul("the matter"));
        }
        run_tx!(self, "holds", |tx| {
            let rows = tx
                .query(
                    "/* erasured:holds */ SELECT * FROM erasured.hold_status WHERE ($1 OR in_force) AND ($2::text IS NULL OR matter = $2) \
                        AND ($3::timestamptz IS NULL OR placed_at < $3 OR (placed_at = $3 AND id > $4::uuid)) \
                      ORDER BY placed_at DESC, id LIMIT $5",
                    &[&filter.all, &filter.matter, &at, &id, &filter.limit.map(i64::from)],
                )
                .await?;
            Ok(rows.iter().map(view).collect())
        })
    }

    /// One hold.
    pub async fn hold(&self, id: Uuid) -> Result<HoldView> {
        run_tx!(self, "holds", |tx| {
            let sql = "/* erasured:holds */ SELECT * FROM erasured.hold_status WHERE id = $1";
            let row = tx.query_opt(sql, &[&id]).await?;
            row.as_ref()
                .map(view)
                .ok_or(StoreError::NotFound("such hold"))
        })
    }

    /// Holds whose person has still to be found, of these kinds of subject, oldest first, from behind one on. Of another kind
    /// they wait for a daemon that knows it: read by this one they would cover nobody.
    pub async fn unread_holds(
        &self,
        subjects: &[&str],
        after: Place,
        limit: u32,
    ) -> Result<Vec<UnreadHold>> {
        let (placed, id) = after.unzip();
        run_tx!(self, "unread_holds", |tx| {
            let rows = tx
                .query(
                    "/* erasured:unread_holds */ SELECT h.id, h.subject, h.placed_at, i.names, i.texts \
                       FROM (SELECT id, subject, placed_at FROM erasured.hold \
                              WHERE kind = 'subject' AND subject = ANY ($2) AND read_at IS NULL AND released_at IS NULL \
                                AND ($3::timestamptz IS NULL OR (placed_at, id) > ($3, $4::uuid)) ORDER BY placed_at, id LIMIT $1) h, \
                            LATERAL (SELECT coalesce(array_agg(x.name ORDER BY x.name), '{}') AS names, \
                                            coalesce(array_agg(x.value ORDER BY x.name), '{}') AS texts \
                                       FROM erasured.hold_identifier x \
                                      WHERE x.hold_id = h.id AND x.value IS NOT NULL) i ORDER BY h.placed_at, h.id",
                    &[&i64::from(limit), &subjects, &placed, &id],
                )
                .await?;
            let unread = rows.iter().map(|r| {
                let names: Vec<String> = r.get("names");
                let values: Vec<String> = r.get("texts");
                UnreadHold {
                    id: r.get("id"),
                    placed_at: r.get("placed_at"),
                    subject: r.get("subject"),
                    identifiers: names
                        .into_iter()
                        .zip(values.into_iter().map(IdentifierValue::new))
                        .collect(),
                }
            });
            Ok(unread.collect())
        })
    }

    /// Says whom a hold covers, once; the values that it was placed with are wiped.
    pub async fn hold_read(&self, id: Uuid, read: &HoldRead) -> Result<bool> {
        let names: Vec<&str> = read.hashes.iter().map(|h| h.0.as_str()).collect();
        let hashes: Vec<&str> = read.hashes.iter().map(|h| h.1.as_str()).collect();
        let problem = read.problem.as_ref().map(|(code, words)| (*code, &**words));
        let (code, words) = problem.unwrap_or(NOBODY);
        run_tx!(self, "hold_read", |tx| {
            let sql = "/* erasured:hold_read */ SELECT erasured.hold_read($1, $2, $3, $4, $5, $6)";
            let row = tx
                .query_one(sql, &[&id, &names, &hashes, &read.subjects, &code, &words])
                .await?;
            Ok(row.get(0))
        })
    }

    /// Puts tickets on hold that a hold covers, and ends the lease on them; which those were. `rows`
    /// says of which tickets rows were found covered, and by which hold.
    pub async fn suspend(
        &self,
        token: Uuid,
        tickets: &[Uuid],
        rows: &[(Uuid, Uuid)],
    ) -> Result<Vec<Uuid>> {
        run_tx!(self, "suspend", |tx| {
            hold(tx, token, tickets).await?;
            covers(tx, rows).await?;
            let sql = "/* erasured:suspend */ SELECT erasured.suspend_held($1)";
            let rows = tx.query(sql, &[&tickets]).await?;
            Ok(rows.iter().map(|r| r.get(0)).collect())
        })
    }

    /// Ends holds whose day has come; what no hold keeps any more goes on. How many tickets and
    /// deferrals.
    pub async fn resume_held(&self) -> Result<i64> {
        run_tx!(self, "resume_held", |tx| {
            let waits = "/* erasured:resume_held */ SELECT EXISTS (SELECT FROM erasured.ticket WHERE state = 'on_hold' AND problem_code = 'E0521') \
                   OR EXISTS (SELECT FROM erasured.deferral WHERE held_since IS NOT NULL AND state = 'waiting') \
                   OR EXISTS (SELECT FROM erasured.hold WHERE released_at IS NULL AND until <= now())";
            if !tx.query_one(waits, &[]).await?.get::<_, bool>(0) {
                return Ok(0);
            }
            let sql = "/* erasured:resume_held */ SELECT erasured.resume_held()";
            Ok(tx.query_one(sql, &[]).await?.get(0))
        })
    }

    /// Whether anything stands against erasing for these tickets, and the right to do so: while it
    /// is kept, no hold can be placed. Asked when the rows are locked, kept until after COMMIT.
    ///
    /// `rows` are the holds on rows of the system with which its rows were compared: were others placed
    /// since, the answer is [`Verdict::Unread`].
    pub async fn permit(
        &self,
        tickets: &[Uuid],
        systems: &[String],
        rows: &[Uuid],
        time: Duration,
    ) -> Result<(Permit, Verdict)> {
        let permit = Permit::begin(&self.pool, time).await?;
        let session = permit.session();
        let ask = session
            .prepare_cached(
                "/* erasured:permit */ SELECT ARRAY(SELECT DISTINCT c.ticket FROM erasured.holds_on($1) c), \
                 EXISTS (SELECT FROM unnest($2::text[]) AS s (name) \
                          WHERE erasured.hold_unread($1, s.name) OR NOT erasured.row_holds(s.name) <@ $3)",
            )
            .await?;
        let row = session
            .query_one(&ask, &[&tickets, &systems, &rows])
            .await?;
        let held: Vec<Uuid> = row.get(0);
        let verdict = match (held.is_empty(), row.get(1)) {
            (false, _) => Verdict::Held(held),
            (true, true) => Verdict::Unread,
            (true, false) => Verdict::Free,
        };
        Ok((permit, verdict))
    }
}

impl Order<'_> {
    /// The server's own error for a NUL would repeat the value.
    fn can_be_sent(&self) -> Result<()> {
        let (words, sendable) = match self {
            Self::Person(new) => {
                let mut given = new.identifiers.iter();
                let nul = given.any(|(name, v)| name.contains('\0') || v.expose().contains('\0'));
                ([new.matter, new.reason, new.subject], !nul)
            }
            Self::Rows(new) => {
                let given = new.conditions.to_string();
                (
                    [new.matter, new.reason, new.rows_of],
                    !given.contains("\\u0000"),
                )
            }
        };
        match (sendable, words.iter().any(|word| word.contains('\0'))) {
            (false, _) => Err(StoreError::Nul("an identifier or condition")),
            (true, true) => Err(StoreError::Nul("the hold")),
            (true, false) => Ok(()),
        }
    }
}

async fn place(tx: &Tx<'_>, order: &Order<'_>) -> Result<Uuid> {
    let row = match order {
        Order::Person(new) => {
            let values = new.identifiers.iter();
            let identifiers: serde_json::Value = values
                .map(|(name, value)| (name.clone(), value.expose().into()))
                .collect::<serde_json::Map<_, _>>()
                .into();
            let sql = "/* erasured:place_hold */ SELECT erasured.place_hold($1, $2, $3, $4, $5)";
            let given: [&(dyn tokio_postgres::types::ToSql + Sync); 5] = [
                &new.matter,
                &new.reason,
                &new.subject,
                &identifiers,
                &new.until,
            ];
            tx.query_one(sql, &given).await?
        }
        Order::Rows(new) => {
            let sql =
                "/* erasured:place_hold */ SELECT erasured.place_row_hold($1, $2, $3, $4, $5)";
            let given: [&(dyn tokio_postgres::types::ToSql + Sync); 5] = [
                &new.matter,
                &new.reason,
                &new.rows_of,
                &new.conditions,
                &new.until,
            ];
            tx.query_one(sql, &given).await?
        }
    };
    Ok(row.get(0))
}

async fn covers(tx: &Tx<'_>, found: &[(Uuid, Uuid)]) -> Result<()> {
    if found.is_empty() {
        return Ok(());
    }
    let (tickets, holds): (Vec<Uuid>, Vec<Uuid>) = found.iter().copied().unzip();
    let sql = "/* erasured:hold_covers */ SELECT erasured.hold_covers($1, $2)";
    tx.execute(sql, &[&holds, &tickets]).await?;
    Ok(())
}

fn view(r: &Row) -> HoldView {
    let list = |name: &str| r.get::<_, Option<Vec<String>>>(name).unwrap_or_default();
    HoldView {
        id: r.get("id"),
        matter: r.get("matter"),
        reason: r.get("reason"),
        kind: r.get("kind"),
        subject: r.get("subject"),
        rows_of: r.get("rows_of"),
        named_by: list("named_by"),
        people: r.get("people"),
        problem_code: r.get("problem_code"),
        problem: r.get("problem"),
        until: r.get("until"),
        placed_at: r.get("placed_at"),
        placed_by: r.get("placed_by"),
        read_at: r.get("read_at"),
        released_at: r.get("released_at"),
        released_by: r.get("released_by"),
        in_force: r.get("in_force"),
        tickets: list("tickets"),
        deferrals: r.get::<_, Option<i64>>("deferrals").unwrap_or(0),
        since: r.get("since"),
        left_whole: list("left_whole"),
    }
}
