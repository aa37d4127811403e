//! Rows are archived before they go, by rules that want it.

use super::{Passage, Stopped};
use crate::name::TableName;
use crate::plan::{ArchivedFile, HandedOver};
use crate::retention::Prepared;
use crate::retention::archive::{self, Archive, Manifest, OneTable, Writing};
use crate::system::postgres::execute::{HandOver, NotErased, Unanswered, applied};
use chrono::Utc;
use futures_util::future::BoxFuture;
use serde::Serialize;
use std::io;
use uuid::Uuid;

/// What a run has done with its archive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Archived {
    /// Files written.
    pub files: usize,
    /// Rows in them.
    pub rows: usize,
    /// Files whose own time was over.
    pub ended: usize,
}

impl Archived {
    pub(super) fn add(&mut self, files: &[ArchivedFile]) {
        self.files += files.len();
        let rows = files.iter().filter_map(|f| usize::try_from(f.rows).ok());
        self.rows += rows.sum::<usize>();
    }

    /// All but what this daemon knows alone.
    pub(super) fn forget(&mut self) {
        (self.files, self.rows) = (0, 0);
    }
}

impl Passage<'_> {
    /// The rule's archive, if it has one.
    fn archive(&self) -> Result<Option<Archive>, NotErased> {
        let Some(archive) = &self.prepared.rule.archive else {
            return Ok(None);
        };
        let buckets = &self.context.config.buckets;
        let opened = Archive::open(archive, buckets, self.new.subject, self.new.rule);
        let unusable = |e: io::Error| NotErased::Archive(format!("{}: {e}", archive.to));
        opened.map(Some).map_err(unusable)
    }

    /// Finds out what became of files that an earlier run has left pending, and ends those whose time is over.
    pub(super) async fn archives_begun(&mut self) -> Result<(), Stopped> {
        let Some(archive) = self.archive()? else {
            return Ok(());
        };
        let (pending, settled) = archive.manifests().await.map_err(failed)?;
        for manifest in &pending {
            self.settle(&archive, manifest).await?;
        }
        let now = self.context.now();
        let today = now.with_timezone(&self.prepared.rule.zone).date_naive();
        for manifest in settled.iter().filter(|m| m.keep_until < today) {
            archive.end(manifest).await.map_err(failed)?;
            self.report.archived.ended += manifest.files.len();
        }
        Ok(())
    }

    /// Whether the transaction committed the system says; one that still may is left for the next time.
    async fn settle(&self, archive: &Archive, manifest: &Manifest) -> Result<(), Stopped> {
        let client = self.context.systems[self.system].pool.get().await?;
        if !manifest.session.is_over(&client).await? {
            return Ok(());
        }
        let there = applied(&client, self.system, &[(manifest.step, 0)]).await?;
        let done = if there.is_empty() {
            archive.discard(manifest).await
        } else {
            archive.settle(manifest.step).await
        };
        Ok(done.map_err(failed)?)
    }

    /// The batch has ended so: its files are kept, or removed. What nobody knows yet stays pending.
    ///
    /// An error is this try's: an earlier one of the same step may have been committed without an answer, and its
    /// rows are in the files alone. So the system is asked, and where it cannot be the next run does.
    pub(super) async fn archive_ends<T>(
        &self,
        step: Uuid,
        outcome: &Result<T, NotErased>,
    ) -> Result<(), NotErased> {
        let Some(archive) = self.archive()? else {
            return Ok(());
        };
        match outcome {
            Ok(_) => archive.settle(step).await.map_err(failed),
            Err(NotErased::CommitUnknown(_)) => Ok(()),
            Err(_) => {
                let Some(manifest) = archive.pending(step).await.map_err(failed)? else {
                    return Ok(());
                };
                if let Err(problem) = self.settle(&archive, &manifest).await {
                    tracing::warn!(%step, %problem, "files of an archive stay pending");
                }
                Ok(())
            }
        }
    }

    /// For a transaction: what is to be archived of the rows that it captures, and where.
    pub(super) fn taking(&self, step: Uuid) -> Option<Taking<'_>> {
        self.prepared.rule.archive.as_ref()?;
        Some(Taking {
            passage: self,
            step,
            wanted: self.prepared.wanted(),
            writing: None,
        })
    }
}

impl Prepared {
    /// Of what goes, what is archived before.
    fn wanted(&self) -> Vec<HandedOver> {
        let part = self.plan.as_ref().and_then(|plan| plan.systems.first());
        let facts = |table: &TableName| self.catalog.tables.get(table);
        match (part, &self.rule.archive) {
            (Some(part), Some(_)) => crate::plan::archived(part, facts),
            _ => Vec::new(),
        }
    }

    /// The tables whose rows a run archives before they go, the rule's own first.
    pub fn archived_tables(&self) -> Vec<TableName> {
        self.wanted().into_iter().map(|of| of.table).collect()
    }
}

/// Takes the rows of one transaction into files.
pub(super) struct Taking<'a> {
    passage: &'a Passage<'a>,
    step: Uuid,
    wanted: Vec<HandedOver>,
    writing: Option<Writing>,
}

impl Taking<'_> {
    async fn start(&mut self, session: Unanswered) -> Result<Option<Writing>, NotErased> {
        let passage = self.passage;
        let rule = &passage.prepared.rule;
        let (Some(archive), Some(kept)) = (passage.archive()?, &rule.archive) else {
            return Ok(None);
        };
        let now = passage.context.now();
        let today = now.with_timezone(&rule.zone).date_naive();
        let beyond = || NotErased::Archive("`keep` leads beyond the calendar".into());
        let of = |(at, wanted): (usize, &HandedOver)| OneTable {
            file: archive.file_name(self.step, at, &wanted.table.table),
            table: format!("{}.{}", passage.system, wanted.table),
            columns: wanted.columns.clone(),
            rows: 0,
            sha256: String::new(),
        };
        let manifest = Manifest {
            version: archive::VERSION,
            subject: passage.new.subject.to_owned(),
            rule: rule.name.clone(),
            run: passage.run.id,
            step: self.step,
            cutoff: passage.new.cutoff,
            archived_at: now.with_timezone(&Utc),
            keep_until: kept.last_day(today).ok_or_else(beyond)?,
            session,
            files: self.wanted.iter().enumerate().map(of).collect(),
        };
        archive.begin(manifest).await.map(Some).map_err(failed)
    }

    async fn finish(&mut self) -> Result<Vec<ArchivedFile>, NotErased> {
        let Some(writing) = &mut self.writing else {
            return Ok(Vec::new());
        };
        let manifest = writing.end().await.map_err(failed)?.clone();
        let of_system = |table: &str| {
            let system = table.strip_prefix(self.passage.system);
            system
                .and_then(|t| t.strip_prefix('.'))
                .unwrap_or(table)
                .to_owned()
        };
        let file = |of: &OneTable| ArchivedFile {
            table: of_system(&of.table),
            file: writing.address(of),
            sha256: of.sha256.clone(),
            rows: i64::try_from(of.rows).unwrap_or(i64::MAX),
            keep_until: manifest.keep_until,
        };
        Ok(manifest.files.iter().map(file).collect())
    }
}

impl Taking<'_> {
    /// The transaction does not commit.
    pub(super) async fn abort(self) {
        if let Some(writing) = self.writing {
            writing.abort().await;
        }
    }
}

impl HandOver for Taking<'_> {
    fn wanted(&self) -> Vec<HandedOver> {
        self.wanted.clone()
    }

    fn begin(&mut self, session: Unanswered) -> BoxFuture<'_, Result<(), NotErased>> {
        Box::pin(async move {
            self.writing = self.start(session).await?;
            Ok(())
        })
    }

    fn rows(
        &mut self,
        of: usize,
        rows: Vec<Vec<Option<String>>>,
    ) -> BoxFuture<'_, Result<(), NotErased>> {
        Box::pin(async move {
            match &mut self.writing {
                Some(writing) => writing.rows(of, rows).await.map_err(failed),
                None => Ok(()),
            }
        })
    }

    fn end(&mut self) -> BoxFuture<'_, Result<Vec<ArchivedFile>, NotErased>> {
        Box::pin(self.finish())
    }
}

fn failed(error: io::Error) -> NotErased {
    NotErased::Archive(error.to_string())
}
