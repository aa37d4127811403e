//! What goes before the rest, some rows at a time: each piece is a transaction that says in the
//! target how many rows it took, so that whoever comes after knows, whatever died between.

use super::super::capture::{self, Captured};
use super::change::{THEIRS, path};
use super::commit::not_committed;
use super::outcome::already_committed;
use super::{BeforeChange, Execution, NotErased, Unanswered, ordinal, position};
use crate::plan::{ChangeKind, Counts, Piece};
use deadpool_postgres::{Client, Transaction};
use std::collections::BTreeMap;
use uuid::Uuid;

impl Execution<'_> {
    /// Takes pieces until none is left that is full.
    pub(super) async fn pieces(
        &self,
        client: &mut Client,
        before_change: &mut dyn BeforeChange,
    ) -> Result<(), NotErased> {
        for piece in &self.plan.pieces {
            while self.one_piece(client, before_change, piece).await? >= self.piece_rows {}
        }
        Ok(())
    }

    /// How many rows it took.
    async fn one_piece(
        &self,
        client: &mut Client,
        before_change: &mut dyn BeforeChange,
        piece: &Piece,
    ) -> Result<i64, NotErased> {
        let tx = client.transaction().await?;
        self.settings(&tx).await?;
        let repeated = self.repeated(&tx).await?;
        let active: Vec<usize> = (0..self.subjects.len())
            .filter(|i| !repeated.contains(i))
            .collect();
        if active.is_empty() {
            tx.rollback().await?;
            return Ok(0);
        }
        let mut captured = Captured::new(self.plan);
        capture::all(&tx, self, &active, &mut captured, Some(&piece.sets)).await?;
        self.nothing_is_covered(&tx, &captured, Some(&piece.table))
            .await?;
        self.nothing_spares(&tx, &captured).await?;
        if self.repeated(&tx).await?.len() > repeated.len() {
            tx.rollback().await?;
            return Err(already_committed());
        }
        // What stays may have stopped all the rest: then nothing goes beforehand either.
        let mut counts = vec![Counts::default(); self.subjects.len()];
        let deferred = capture::kept(self, &captured, &mut counts, before_change);
        let seen = capture::seen(self, &captured);
        before_change.take_part(&active);
        before_change.ready(seen, deferred).await?;
        path(&tx, THEIRS).await?;
        let found = self.query(&tx, &captured, &piece.statement, "").await?;
        let rows = found.iter().map(|row| (position(row.get(0)), row.get(1)));
        let rows: BTreeMap<usize, i64> = rows.collect();
        if rows.is_empty() {
            tx.rollback().await?;
            return Ok(0);
        }
        self.record_piece(&tx, piece, &rows).await?;
        fail::fail_point!("before-piece-commit", |how: Option<String>| {
            super::commit::die_if_told(how);
            Err(NotErased::Hook("failpoint before-piece-commit".into()))
        });
        let unanswered = Unanswered::of(&tx).await?;
        before_change.last_word().await?;
        let committed = tx.commit().await;
        committed.map_err(|e| not_committed(e, &unanswered))?;
        before_change.committed().await;
        fail::fail_point!("after-piece", |how: Option<String>| {
            super::commit::die_if_told(how);
            Err(NotErased::CommitUnknown(unanswered))
        });
        Ok(rows.values().sum())
    }

    async fn record_piece(
        &self,
        tx: &Transaction<'_>,
        piece: &Piece,
        rows: &BTreeMap<usize, i64>,
    ) -> Result<(), NotErased> {
        let subjects = rows.keys().map(|&at| &self.subjects[at]);
        let (tickets, generations): (Vec<Uuid>, Vec<i32>) =
            subjects.map(|s| (s.ticket, s.generation)).unzip();
        let rows: Vec<i64> = rows.values().copied().collect();
        let statement = tx.prepare_cached(RECORD).await?;
        tx.execute(
            &statement,
            &[
                &tickets,
                &generations,
                &rows,
                &self.plan.system,
                &piece.table.to_string(),
            ],
        )
        .await?;
        Ok(())
    }

    /// Adds to a step's counts what pieces have taken since the ticket's step before, if it had one.
    /// A plan without pieces may follow one that had some: of a ticket in its next generation, of a
    /// deferral in the same.
    pub(super) async fn add_pieces(
        &self,
        tx: &Transaction<'_>,
        active: &[usize],
        counts: &mut [Counts],
    ) -> Result<(), NotErased> {
        let subjects = active.iter().map(|&at| &self.subjects[at]);
        let (tickets, generations): (Vec<Uuid>, Vec<i32>) =
            subjects.map(|s| (s.ticket, s.generation)).unzip();
        if self.plan.pieces.is_empty() && generations.iter().all(|g| *g == 1) {
            return Ok(());
        }
        let ordinals: Vec<i32> = active.iter().map(|&at| ordinal(at)).collect();
        let statement = tx.prepare_cached(TAKEN).await?;
        let found = tx
            .query(
                &statement,
                &[&tickets, &generations, &ordinals, &self.plan.system],
            )
            .await?;
        for row in found {
            let counts = &mut counts[position(row.get(0))];
            let (table, pieces, rows): (String, i64, i64) = (row.get(1), row.get(2), row.get(3));
            *counts.pieces.entry(table.clone()).or_default() += pieces;
            let kinds = counts.changed.entry(table).or_default();
            *kinds.entry(ChangeKind::Deleted).or_default() += rows;
        }
        Ok(())
    }
}

const RECORD: &str = "/* erasured:piece */ INSERT INTO erasured.applied_piece AS p (ticket_id, generation, system, \"table\", pieces, rows) \
     SELECT k.ticket, k.generation, $4, $5, 1, k.rows FROM ROWS FROM (pg_catalog.unnest($1::pg_catalog.uuid[]), \
     pg_catalog.unnest($2::pg_catalog.int4[]), pg_catalog.unnest($3::pg_catalog.int8[])) AS k(ticket, generation, rows) \
     ON CONFLICT (ticket_id, generation, system, \"table\") DO UPDATE SET pieces = p.pieces OPERATOR(pg_catalog.+) 1, \
     rows = p.rows OPERATOR(pg_catalog.+) excluded.rows, last_at = pg_catalog.now()";

/// Of generations up to this one, whose step has not counted them.
const TAKEN: &str = "/* erasured:pieces */ SELECT k.n, p.\"table\", sum(p.pieces)::int8, sum(p.rows)::int8 \
     FROM unnest($1::uuid[], $2::int4[], $3::int4[]) AS k(ticket, generation, n) \
     JOIN erasured.applied_piece AS p ON p.ticket_id = k.ticket AND p.system = $4 AND p.generation <= k.generation \
     WHERE NOT EXISTS (SELECT FROM erasured.applied_step AS s WHERE s.ticket_id = p.ticket_id AND s.system = p.system \
                          AND s.generation >= p.generation) \
     GROUP BY k.n, p.\"table\"";
