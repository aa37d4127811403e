//! One transaction on MariaDB: the plan's statements with their values.

use super::catalog;
use crate::plan::{Capture, Change, Counts, Parameter, Probe, Statement};
use crate::system::postgres::capture::{Captured, Finds, Found};
use crate::system::postgres::execute::{Execution, HeldRow, NotErased};
use crate::system::postgres::failure::Failure;
use crate::system::postgres::value::Raw;
use async_trait::async_trait;
use chrono::{DateTime, NaiveDateTime, Utc};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row, Value, from_value};
use std::collections::BTreeSet;
use std::time::Duration;

/// A session at work.
pub(super) struct Run<'e> {
    pub(super) execution: &'e Execution<'e>,
    pub(super) conn: Conn,
}

/// How much longer than the server takes for a statement its answer may be on the way.
pub(super) const ON_THE_WAY: Duration = Duration::from_secs(5);

/// What comes in time. A server that owes an answer and says nothing is given up.
pub(super) async fn in_time<T>(
    execution: &Execution<'_>,
    answer: impl Future<Output = Result<T, mysql_async::Error>>,
) -> Result<T, NotErased> {
    let time = execution.timeouts.statement.max(execution.timeouts.lock) + ON_THE_WAY;
    match tokio::time::timeout(time, answer).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(NotErased::Database(
            "the server owes an answer and says nothing".into(),
            Failure::Transient("connection"),
        )),
    }
}

#[async_trait]
impl Finds for Run<'_> {
    async fn find(
        &mut self,
        captured: &Captured,
        at: usize,
        capture: &Capture,
        lock: &str,
        since: usize,
    ) -> Result<Vec<Found>, NotErased> {
        let rows = self
            .query(captured, &capture.statement, lock, since)
            .await?;
        let width = self.execution.plan.sets[at].columns.len();
        let dated = capture.retained.as_ref().is_some_and(|r| r.until.is_some());
        Ok(rows
            .into_iter()
            .map(|row| found(row, width, dated))
            .collect())
    }
}

/// The ticket's ordinal, the columns, the end if there is one, the texts.
fn found(row: Row, width: usize, dated: bool) -> Found {
    let mut values = row.unwrap().into_iter();
    let ticket = values.next().map_or(0, from_value::<i64>);
    let mut texts = values.map(text);
    let columns = texts.by_ref().take(width);
    let values = columns.map(|text| Raw(text.map(|t| t.into_bytes().into_boxed_slice())));
    let values = values.collect();
    let until = if dated { texts.next().flatten() } else { None };
    Found {
        ticket: usize::try_from(ticket).unwrap_or_default(),
        values,
        until: until.as_deref().and_then(instant),
        texts: texts.collect(),
    }
}

fn text(value: Value) -> Option<String> {
    match value {
        Value::Bytes(bytes) => Some(String::from_utf8_lossy(&bytes).into_owned()),
        _ => None,
    }
}

/// `2020-01-01 00:00:00.000000`, of which the session says that it is UTC. What is no date is none.
pub(super) fn instant(text: &str) -> Option<DateTime<Utc>> {
    let read = NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f");
    read.ok().map(|at| at.and_utc())
}

impl Run<'_> {
    /// Begins, holds the definitions, and compares them with the plan's.
    pub(super) async fn begin(&mut self, isolation: &str, start: &str) -> Result<(), NotErased> {
        let isolation = format!("SET TRANSACTION ISOLATION LEVEL {isolation}");
        let execution = self.execution;
        in_time(execution, self.conn.query_drop(isolation)).await?;
        in_time(execution, self.conn.query_drop(start)).await?;
        let hold = &self.execution.plan.hold_definitions;
        if !hold.is_empty() {
            in_time(execution, self.conn.query_drop(hold)).await?;
        }
        let system = &execution.plan.system;
        let (stamp, _) = in_time(execution, catalog::read(&mut self.conn, system)).await?;
        match stamp == self.execution.stamp {
            true => Ok(()),
            false => Err(NotErased::Drift {
                system: system.clone(),
            }),
        }
    }

    /// # Errors
    /// [`NotErased::HeldRows`]: these tickets reach rows that these holds cover.
    pub(super) async fn nothing_is_covered(
        &mut self,
        captured: &Captured,
    ) -> Result<(), NotErased> {
        let execution = self.execution;
        let mut found = BTreeSet::new();
        for held in execution.held {
            for statement in execution.plan.covered(held, None) {
                for row in self.query(captured, &statement, "", 0).await? {
                    let at: i64 = from_value(row[0].clone());
                    let at = usize::try_from(at).unwrap_or_default();
                    found.insert(HeldRow {
                        ticket: execution.subjects[at].ticket,
                        hold: held.hold,
                        table: held.table.clone(),
                    });
                }
            }
        }
        match found.is_empty() {
            true => Ok(()),
            false => Err(NotErased::HeldRows(found.into_iter().collect())),
        }
    }

    pub(super) async fn change(
        &mut self,
        captured: &Captured,
        counts: &mut [Counts],
    ) -> Result<(), NotErased> {
        let execution = self.execution;
        for change in &execution.plan.changes {
            self.one_change(captured, change, counts).await?;
        }
        Ok(())
    }

    async fn one_change(
        &mut self,
        captured: &Captured,
        change: &Change,
        counts: &mut [Counts],
    ) -> Result<(), NotErased> {
        // Any other is refused before.
        let Some(rows) = change.rows else {
            return Ok(());
        };
        let matched: i64 = captured.count(rows).values().sum();
        if matched == 0 {
            return Ok(());
        }
        for probe in &change.before {
            self.one_probe(captured, probe).await?;
        }
        let values = self.values(captured, &change.statement, 0);
        let changed = self.conn.exec_drop(&change.statement.sql, values);
        in_time(self.execution, changed).await?;
        let affected = i64::try_from(self.conn.affected_rows()).unwrap_or(i64::MAX);
        if matched != affected {
            return Err(NotErased::Mismatch {
                table: change.table.clone(),
                kind: change.kind,
                matched: matched.unsigned_abs(),
                affected: affected.unsigned_abs(),
            });
        }
        for (ticket, rows) in captured.reported(rows) {
            let kinds = counts[ticket].changed.entry(change.table.to_string());
            *kinds.or_default().entry(change.kind).or_default() += rows;
        }
        Ok(())
    }

    pub(super) async fn probe(&mut self, captured: &Captured) -> Result<(), NotErased> {
        let execution = self.execution;
        for probe in &execution.plan.probes {
            self.one_probe(captured, probe).await?;
        }
        Ok(())
    }

    async fn one_probe(&mut self, captured: &Captured, probe: &Probe) -> Result<(), NotErased> {
        let expected: i64 = probe
            .expect
            .map_or(0, |rows| captured.count(rows).values().sum());
        let found = self.query(captured, &probe.statement, "", 0).await?;
        let found: i64 = found.first().map_or(0, |row| from_value(row[0].clone()));
        if found == expected {
            return Ok(());
        }
        Err(NotErased::Residual {
            table: probe.table.clone(),
            label: probe.label.clone(),
            rows: (found - expected).abs(),
        })
    }

    async fn query(
        &mut self,
        captured: &Captured,
        statement: &Statement,
        suffix: &str,
        since: usize,
    ) -> Result<Vec<Row>, NotErased> {
        let values = self.values(captured, statement, since);
        let sql = format!("{}{suffix}", statement.sql);
        in_time(self.execution, self.conn.exec(sql, values)).await
    }

    fn values(&self, captured: &Captured, statement: &Statement, since: usize) -> Vec<Value> {
        let of = |parameter: &Parameter| match parameter {
            Parameter::Json(columns) => self.json(captured, columns, since),
            Parameter::Text(text) | Parameter::Value(text, _) => text.clone(),
            // No other stands by itself in these statements.
            _ => String::new(),
        };
        let values = statement.parameters.iter().map(of);
        values.map(|text| Value::Bytes(text.into_bytes())).collect()
    }

    /// Rows as lists: the ordinal as a number, all else as texts.
    fn json(&self, captured: &Captured, columns: &[Parameter], since: usize) -> String {
        let execution = self.execution;
        let columns: Vec<Vec<Option<String>>> = columns
            .iter()
            .map(|column| execution.texts(captured, column, since))
            .collect();
        let rows = columns.first().map_or(0, Vec::len);
        let rows: Vec<Vec<serde_json::Value>> = (0..rows)
            .map(|row| {
                let cell = |(at, column): (usize, &Vec<Option<String>>)| {
                    let text = column.get(row).cloned().flatten();
                    match (at, text) {
                        (0, Some(n)) => n.parse::<i64>().unwrap_or_default().into(),
                        (_, text) => serde_json::Value::from(text),
                    }
                };
                columns.iter().enumerate().map(cell).collect()
            })
            .collect();
        serde_json::to_string(&rows).expect("texts are always JSON")
    }
}
