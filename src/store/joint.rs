//! What is decided of transactions that several systems have prepared: written down before the first is
//! prepared, and decided once, by whoever is first. What no row decides, nobody ends.

use super::lease::hold;
use super::{Result, Store, run_tx};
use chrono::{DateTime, Utc};
use tokio_postgres::Row;
use uuid::Uuid;

/// What becomes of all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// COMMIT PREPARED on each.
    Committed,
    /// ROLLBACK PREPARED on each.
    Aborted,
}

impl Verdict {
    fn word(self) -> &'static str {
        match self {
            Self::Committed => "committed",
            Self::Aborted => "aborted",
        }
    }
}

/// Transactions of several systems that end in the same way.
#[derive(Clone, Debug)]
pub struct Joint {
    /// Stands in the name of each.
    pub id: Uuid,
    /// Where there may be one.
    pub systems: Vec<String>,
    /// `None` as long as it may still be either.
    pub verdict: Option<Verdict>,
    /// Since when there may be some.
    pub begun_at: DateTime<Utc>,
    /// All have been ended.
    pub ended: bool,
}

impl Store {
    /// What tells transactions of ours from those of others.
    pub async fn installation(&self) -> Result<Uuid> {
        run_tx!(self, "installation", |tx| {
            let sql = "/* erasured:installation */ SELECT id FROM erasured.installation";
            Ok(tx.query_one(sql, &[]).await?.get(0))
        })
    }

    /// Before the first is prepared, for steps of these tickets on these systems. Its id, behind the
    /// installation's.
    pub async fn begin_joint(
        &self,
        token: Uuid,
        tickets: &[Uuid],
        systems: &[String],
    ) -> Result<(Uuid, Uuid)> {
        run_tx!(self, "begin_joint", |tx| {
            hold(tx, token, tickets).await?;
            let row = tx
                .query_one(
                    "/* erasured:begin_joint */ INSERT INTO erasured.joint (token, systems) VALUES ($1, $2) \
                     RETURNING id, (SELECT i.id FROM erasured.installation i)",
                    &[&token, &systems],
                )
                .await?;
            let id: Uuid = row.get(0);
            tx.execute(
                "/* erasured:begin_joint steps */ UPDATE erasured.step s SET joint_id = $3 FROM erasured.ticket t \
                  WHERE t.id = ANY ($1) AND s.ticket_id = t.id AND s.generation = t.generation \
                    AND s.system = ANY ($2) AND s.state = 'planned'",
                &[&tickets, &systems, &id],
            )
            .await?;
            Ok((row.get(1), id))
        })
    }

    /// All are prepared, nobody objects: they are to be committed, if the lease stands and nobody has decided
    /// otherwise. What is decided.
    pub async fn commit_joint(&self, token: Uuid, tickets: &[Uuid], id: Uuid) -> Result<Verdict> {
        run_tx!(self, "commit_joint", |tx| {
            hold(tx, token, tickets).await?;
            decide(tx, id, Verdict::Committed).await
        })
    }

    /// They are to be rolled back, unless it is decided otherwise. What is decided. Waits for whoever is
    /// just deciding; so after a lost answer it says what that decision was.
    pub async fn abort_joint(&self, id: Uuid) -> Result<Verdict> {
        run_tx!(self, "abort_joint", |tx| decide(tx, id, Verdict::Aborted)
            .await)
    }

    /// The same for others than who has begun it: only where the lease under which it was begun is over. `None`
    /// if it is not.
    pub async fn abort_left_joint(&self, id: Uuid) -> Result<Option<Verdict>> {
        run_tx!(self, "abort_joint", |tx| {
            let left = tx
                .query_opt(
                    "/* erasured:abort_joint left */ SELECT FROM erasured.joint j WHERE j.id = $1 AND NOT EXISTS ( \
                       SELECT FROM erasured.lease l WHERE l.token = j.token AND l.until > now()) FOR UPDATE OF j",
                    &[&id],
                )
                .await?;
            match left {
                Some(_) => Ok(Some(decide(tx, id, Verdict::Aborted).await?)),
                None => Ok(None),
            }
        })
    }

    /// A system has ended its own, at this time by its clock; or has none any more.
    pub async fn joint_ended(&self, id: Uuid, system: &str, at: DateTime<Utc>) -> Result<()> {
        run_tx!(self, "joint_ended", |tx| {
            tx.execute(
                "/* erasured:joint_ended */ UPDATE erasured.joint j \
                    SET ended = jsonb_build_object($2::text, $3::timestamptz) || j.ended WHERE j.id = $1",
                &[&id, &system, &at],
            )
            .await?;
            tx.execute(
                "/* erasured:joint_ended all */ UPDATE erasured.joint j SET ended_at = now() \
                  WHERE j.id = $1 AND j.ended_at IS NULL AND j.outcome IS NOT NULL AND j.ended ?& j.systems",
                &[&id],
            )
            .await?;
            Ok(())
        })
    }

    /// One of them; `None` if this database has never heard of it.
    pub async fn joint(&self, id: Uuid) -> Result<Option<Joint>> {
        let of = "j.id = $1";
        run_tx!(self, "joint", |tx| {
            let found = tx.query_opt(&select(of), &[&id]).await?;
            Ok(found.as_ref().map(joint))
        })
    }

    /// Those that have not ended everywhere, and that nobody is just ending; the oldest first.
    pub async fn open_joints(&self) -> Result<Vec<Joint>> {
        let of = "j.ended_at IS NULL AND (j.decided_at < now() - interval '15 seconds' OR NOT EXISTS ( \
                    SELECT FROM erasured.lease l WHERE l.token = j.token AND l.until > now())) \
                  ORDER BY j.begun_at LIMIT 500";
        run_tx!(self, "open_joints", |tx| {
            Ok(tx
                .query(&select(of), &[])
                .await?
                .iter()
                .map(joint)
                .collect())
        })
    }

    /// Those in which steps of these tickets take part that are not known to be done, and may be or may come to
    /// be; with the tickets.
    pub async fn joints_of(&self, tickets: &[Uuid]) -> Result<Vec<(Joint, Vec<Uuid>)>> {
        run_tx!(self, "joints_of", |tx| {
            let rows = tx
                .query(
                    "/* erasured:joints_of */ SELECT j.id, j.systems, j.outcome, j.begun_at, j.ended_at IS NOT NULL AS over, \
                            array_agg(DISTINCT s.ticket_id) AS tickets \
                       FROM erasured.joint j JOIN erasured.step s ON s.joint_id = j.id \
                      WHERE s.ticket_id = ANY ($1) AND s.state = 'planned' \
                        AND (j.ended_at IS NULL OR j.outcome = 'committed') GROUP BY j.id",
                    &[&tickets],
                )
                .await?;
            Ok(rows.iter().map(|r| (joint(r), r.get("tickets"))).collect())
        })
    }
}

fn select(of: &str) -> String {
    format!(
        "/* erasured:joint */ SELECT j.id, j.systems, j.outcome, j.begun_at, j.ended_at IS NOT NULL AS over \
           FROM erasured.joint j WHERE {of}"
    )
}

fn joint(row: &Row) -> Joint {
    Joint {
        id: row.get("id"),
        systems: row.get("systems"),
        verdict: row.get::<_, Option<&str>>("outcome").map(verdict),
        begun_at: row.get("begun_at"),
        ended: row.get("over"),
    }
}

fn verdict(word: &str) -> Verdict {
    match word {
        "committed" => Verdict::Committed,
        _ => Verdict::Aborted,
    }
}

/// First writer wins: the row's lock is waited for, and who comes second reads what the first has written.
async fn decide(tx: &super::Tx<'_>, id: Uuid, wanted: Verdict) -> Result<Verdict> {
    let decided = tx
        .execute(
            "/* erasured:decide */ UPDATE erasured.joint SET outcome = $2, decided_at = now() \
              WHERE id = $1 AND outcome IS NULL",
            &[&id, &wanted.word()],
        )
        .await?;
    if decided > 0 {
        tx.execute(
            "/* erasured:decide event */ INSERT INTO erasured.event (kind, body) \
             SELECT 'joint', jsonb_build_object('joint', j.id, 'outcome', j.outcome, 'systems', j.systems) \
               FROM erasured.joint j WHERE j.id = $1",
            &[&id],
        )
        .await?;
        return Ok(wanted);
    }
    let row = tx
        .query_one(
            "/* erasured:decided */ SELECT outcome FROM erasured.joint WHERE id = $1",
            &[&id],
        )
        .await?;
    Ok(verdict(row.get::<_, &str>(0)))
}
