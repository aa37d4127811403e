//! The values behind a statement's parameters.

use super::super::capture::{self, Captured};
use super::super::value::RawArray;
use super::{Execution, ordinal};
use crate::anonymize::{self, Known, Maker, Redactor};
use crate::plan::{Parameter, Rows, Statement};
use tokio_postgres::types::ToSql;
use uuid::Uuid;

impl Execution<'_> {
    /// Sessions are reused and keep what they prepared; the stamp in the text makes them prepare
    /// anew once definitions, and with them the types of results, have changed.
    pub(super) fn text(&self, statement: &Statement, suffix: &str) -> String {
        let stamp = self.stamp.get(..8).unwrap_or_default();
        format!("{}{suffix} /* catalog {stamp} */", statement.sql)
    }

    pub(super) fn bind<'c>(
        &'c self,
        captured: &'c Captured,
        statement: &Statement,
        since: usize,
    ) -> Vec<Box<dyn ToSql + Sync + Send + 'c>> {
        statement
            .parameters
            .iter()
            .map(|parameter| self.value(captured, parameter, since))
            .collect()
    }

    /// A column of values as texts, ordinals too: as MariaDB takes them.
    pub(in crate::system) fn texts(
        &self,
        captured: &Captured,
        parameter: &Parameter,
        since: usize,
    ) -> Vec<Option<String>> {
        let number = |at: usize| Some(ordinal(at).to_string());
        match parameter {
            Parameter::SubjectTickets => {
                let entries = self.entries(captured);
                entries.map(|(i, _)| number(i)).collect()
            }
            Parameter::SubjectKey(part) => self
                .entries(captured)
                .map(|(_, key)| key.get(*part).cloned())
                .collect(),
            Parameter::IdentifierTickets(name) => {
                let forms = self.forms(captured, name);
                forms.map(|(i, _)| number(i)).collect()
            }
            Parameter::IdentifierValues(name) => self
                .forms(captured, name)
                .map(|(_, form)| Some(form.to_owned()))
                .collect(),
            Parameter::Tickets(rows) => captured
                .rows_since(*rows, since)
                .map(|row| number(row.ticket))
                .collect(),
            Parameter::Column(rows, at) => captured
                .rows_since(*rows, since)
                .map(|row| row.values[*at].text().map(str::to_owned))
                .collect(),
            Parameter::Hashes(rows, at) => self.hashes(captured, *rows, *at),
            Parameter::Made(rows, at, maker) => self.made(captured, *rows, *at, maker),
            Parameter::Text(_)
            | Parameter::Value(..)
            | Parameter::PieceRows
            | Parameter::Json(_) => Vec::new(),
        }
    }

    fn value<'c>(
        &'c self,
        captured: &'c Captured,
        parameter: &Parameter,
        since: usize,
    ) -> Box<dyn ToSql + Sync + Send + 'c> {
        match parameter {
            Parameter::SubjectTickets => Box::new(
                self.entries(captured)
                    .map(|(i, _)| ordinal(i))
                    .collect::<Vec<i32>>(),
            ),
            Parameter::SubjectKey(part) => Box::new(
                self.entries(captured)
                    .map(|(_, key)| key.get(*part).map(String::as_str))
                    .collect::<Vec<_>>(),
            ),
            Parameter::IdentifierTickets(name) => Box::new(
                self.forms(captured, name)
                    .map(|(i, _)| ordinal(i))
                    .collect::<Vec<i32>>(),
            ),
            Parameter::IdentifierValues(name) => Box::new(
                self.forms(captured, name)
                    .map(|(_, form)| form)
                    .collect::<Vec<&str>>(),
            ),
            Parameter::Tickets(rows) => Box::new(
                captured
                    .rows_since(*rows, since)
                    .map(|r| ordinal(r.ticket))
                    .collect::<Vec<i32>>(),
            ),
            Parameter::Column(rows, at) => Box::new(RawArray(
                captured
                    .rows_since(*rows, since)
                    .map(|r| &r.values[*at])
                    .collect(),
            )),
            Parameter::Hashes(rows, at) => Box::new(self.hashes(captured, *rows, *at)),
            Parameter::Made(rows, at, maker) => Box::new(self.made(captured, *rows, *at, maker)),
            // Values stand in no ticket's statement.
            Parameter::Text(text) | Parameter::Value(text, _) => Box::new(text.clone()),
            Parameter::PieceRows => Box::new(self.piece_rows),
            // MariaDB's.
            Parameter::Json(_) => Box::new(None::<String>),
        }
    }

    fn entries<'c>(
        &'c self,
        captured: &'c Captured,
    ) -> impl Iterator<Item = (usize, &'c Vec<String>)> {
        captured
            .active
            .iter()
            .flat_map(|&i| self.subjects[i].keys.iter().map(move |key| (i, key)))
    }

    fn forms<'c>(
        &'c self,
        captured: &'c Captured,
        name: &str,
    ) -> impl Iterator<Item = (usize, &'c str)> {
        let name = name.to_owned();
        captured.active.iter().flat_map(move |&i| {
            let forms = self.subjects[i].identifiers.get(&name);
            forms
                .into_iter()
                .flatten()
                .map(move |form| (i, form.as_str()))
        })
    }

    fn hashes(&self, captured: &Captured, rows: Rows, at: usize) -> Vec<Option<String>> {
        captured
            .rows(rows)
            .map(|row| row.values[at].text().map(|text| (self.hash)(text)))
            .collect()
    }

    /// New values, NULL for NULL.
    fn made(
        &self,
        captured: &Captured,
        rows: Rows,
        at: usize,
        maker: &Maker,
    ) -> Vec<Option<String>> {
        let redactor = match maker {
            // Of everybody in the batch: a row may be several people's, and mention the others.
            Maker::Redact(known, _) => Some(self.redactor(captured, known)),
            _ => None,
        };
        let make = |text: &str| match maker {
            Maker::Email(longest) => Some(anonymize::email(&(self.hash)(text), *longest)),
            Maker::Phone => Some(anonymize::phone(&(self.hash)(text), text)),
            Maker::Choose(list) => anonymize::choose(&(self.hash)(text), list).cloned(),
            Maker::Redact(_, longest) => redactor.as_ref().map(|r| r.redact(text, *longest)),
        };
        captured
            .rows(rows)
            .map(|row| row.values[at].text().and_then(make))
            .collect()
    }

    fn redactor(&self, captured: &Captured, known: &[Known]) -> Redactor {
        let rows: Vec<_> = capture::seen(self, captured)
            .into_iter()
            .map(|seen| seen.values)
            .collect();
        let forms = captured.active.iter();
        let forms = forms.map(|&i| &self.subjects[i].identifiers);
        Redactor::new(&anonymize::identifiers(known, forms, &rows))
    }

    pub(super) fn tickets(&self) -> Vec<Uuid> {
        self.subjects.iter().map(|s| s.ticket).collect()
    }

    pub(super) fn generations(&self) -> Vec<i32> {
        self.subjects.iter().map(|s| s.generation).collect()
    }

    pub(super) fn ordinals(&self) -> Vec<i32> {
        (0..self.subjects.len()).map(ordinal).collect()
    }
}
