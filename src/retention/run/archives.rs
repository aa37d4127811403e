//! Rows are archived before they go, by rules that want it.

use super::{LastWord, Passage, Stopped};
use crate::plan::{ArchivedFile, Rows, Statement};
use crate::retention::archive::{Folder, Manifest};
use crate::system::postgres::execute::{NotErased, Unanswered, applied};
use chrono::Utc;
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
    pub(super) fn archive(&self) -> Result<Option<Folder>, NotErased> {
        let Some(archive) = &self.prepared.rule.archive else {
            return Ok(None);
        };
        let folder = Folder::open(&archive.to, self.new.subject, self.new.rule);
        let unusable = |e: io::Error| NotErased::Archive(format!("{}: {e}", archive.to.display()));
        folder.map(Some).map_err(unusable)
    }

    /// Finds out what became of files that an earlier run has left pending, and ends those whose time is over.
    pub(super) async fn archives_begun(&mut self) -> Result<(), Stopped> {
        let Some(folder) = self.archive()? else {
            return Ok(());
        };
        let (pending, settled) = folder.manifests().map_err(failed)?;
        for manifest in &pending {
            self.settle(&folder, manifest).await?;
        }
        let today = self
            .context
            .now()
            .with_timezone(&self.prepared.rule.zone)
            .date_naive();
        for manifest in settled.iter().filter(|m| m.keep_until < today) {
            folder.end(manifest.step).map_err(failed)?;
            self.report.archived.ended += 1;
        }
        Ok(())
    }

    /// Whether the transaction committed the system says; one that still may is left for the next time.
    async fn settle(&self, folder: &Folder, manifest: &Manifest) -> Result<(), Stopped> {
        let client = self.context.systems[self.system].pool.get().await?;
        if !manifest.session.is_over(&client).await? {
            return Ok(());
        }
        let there = applied(&client, self.system, &[(manifest.step, 0)]).await?;
        let done = if there.is_empty() {
            folder.discard(manifest.step)
        } else {
            folder.settle(manifest.step)
        };
        Ok(done.map_err(failed)?)
    }

    /// The batch has ended so: its file is kept, or removed. What nobody knows yet stays pending.
    ///
    /// An error is this try's: an earlier one of the same step may have been committed without an answer, and its
    /// rows are in the file alone. So the system is asked, and where it cannot be the next run does.
    pub(super) async fn archive_ends<T>(
        &self,
        step: Uuid,
        outcome: &Result<T, NotErased>,
    ) -> Result<(), NotErased> {
        let Some(folder) = self.archive()? else {
            return Ok(());
        };
        match outcome {
            Ok(_) => folder.settle(step).map_err(failed),
            Err(NotErased::CommitUnknown(_)) => Ok(()),
            Err(_) => {
                let (pending, _) = folder.manifests().map_err(failed)?;
                for manifest in pending.iter().filter(|manifest| manifest.step == step) {
                    if let Err(problem) = self.settle(&folder, manifest).await {
                        tracing::warn!(%step, %problem, "a file of an archive stays pending");
                    }
                }
                Ok(())
            }
        }
    }
}

impl LastWord<'_> {
    /// What is to be archived of the captured rows.
    pub(super) fn to_archive(&self) -> Option<(Statement, Rows)> {
        let prepared = self.passage.prepared;
        prepared.rule.archive.as_ref()?;
        let table = &prepared.rule.table.table;
        let facts = prepared.catalog.tables.get(table)?;
        crate::plan::archived(self.passage.part()?, table, facts)
    }

    /// On the disk when this returns.
    pub(super) fn write_archive(
        &self,
        rows: &[Vec<Option<String>>],
        session: Unanswered,
    ) -> Result<Vec<ArchivedFile>, NotErased> {
        let passage = self.passage;
        let rule = &passage.prepared.rule;
        let (Some(folder), Some(archive)) = (passage.archive()?, &rule.archive) else {
            return Ok(Vec::new());
        };
        let facts = passage.prepared.catalog.tables.get(&rule.table.table);
        let columns = facts.into_iter().flat_map(|t| &t.columns);
        let now = passage.context.now();
        let today = now.with_timezone(&rule.zone).date_naive();
        let beyond = || NotErased::Archive("`keep` leads beyond the calendar".into());
        let manifest = Manifest {
            version: 0,
            file: String::new(),
            sha256: String::new(),
            rows: 0,
            columns: columns
                .map(|c| (c.name.clone(), c.sql_type.clone()))
                .collect(),
            subject: passage.new.subject.to_owned(),
            rule: rule.name.clone(),
            table: rule.table.to_string(),
            run: passage.run.id,
            step: self.step,
            cutoff: passage.new.cutoff,
            archived_at: now.with_timezone(&Utc),
            keep_until: archive.last_day(today).ok_or_else(beyond)?,
            session,
        };
        let written = folder.write(manifest, rows).map_err(failed)?;
        Ok(vec![ArchivedFile {
            table: rule.table.table.to_string(),
            file: archive.to.join(&written.file).display().to_string(),
            sha256: written.sha256,
            rows: i64::try_from(written.rows).unwrap_or(i64::MAX),
            keep_until: written.keep_until,
        }])
    }
}

fn failed(error: io::Error) -> NotErased {
    NotErased::Archive(error.to_string())
}
