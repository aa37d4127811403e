//! The rendering for a terminal.

use super::words::{self as w, Word};
use super::{Lang, count, size, tame, time, word};
use crate::certificate::{Certificate, Places, Sweep, System};
use std::fmt::Write as _;

/// Renders a certificate as aligned plain text. Whether it is genuine is not said here: that is
/// for [`crate::certificate::verify`].
pub fn text(certificate: &Certificate, lang: Lang) -> String {
    let mut page = Page {
        lang,
        out: String::new(),
    };
    let c = certificate;
    page.line(w::TITLE.get(lang));
    page.fields(&[
        (w::CERTIFICATE, c.id.to_string()),
        (w::ISSUED, time(&c.issued_at)),
    ]);
    if let Some(id) = c.supplements {
        page.fields(&[(w::SUPPLEMENTS, id.to_string())]);
    }
    page.request(c);
    page.identity(c);
    c.systems.iter().for_each(|system| page.system(system));
    c.places.iter().for_each(|places| page.places(places));
    page.deferrals(c);
    c.sweep.iter().for_each(|sweep| page.sweep(sweep));
    if w::is_not_swept(c) {
        page.heading(w::SWEEP, "");
        page.line(&format!("  {}", w::NOT_SWEPT.get(lang)));
    }
    page.heading(w::ASSURANCE, "");
    page.fields(&[
        (w::GONE, w::level(c.assurance.level).get(lang).to_owned()),
        (w::REACHED, time(&c.assurance.reached_at)),
    ]);
    page.heading(w::PROVENANCE, "");
    page.fields(&[
        (
            w::POLICY,
            format!("{} sha256:{}", c.policy.file, c.policy.sha256),
        ),
        (
            w::PROGRAM,
            format!("{} {}", c.program.name, c.program.version),
        ),
        (w::LEDGER, format!("{}:{}", c.ledger.height, c.ledger.head)),
    ]);
    page.out
}

struct Page {
    lang: Lang,
    out: String,
}

impl Page {
    fn line(&mut self, line: &str) {
        self.out.push_str(line.trim_end());
        self.out.push('\n');
    }

    fn heading(&mut self, word: Word, of: &str) {
        let heading = format!("\n{} {}", word.get(self.lang), tame(of));
        self.line(&heading);
    }

    fn fields(&mut self, fields: &[(Word, String)]) {
        for (label, value) in fields {
            let line = format!("  {}  {}", pad(label.get(self.lang), 30), tame(value));
            self.line(&line);
        }
    }

    fn request(&mut self, c: &Certificate) {
        let t = &c.ticket;
        let (_, verdict) = w::verdict(t);
        self.heading(w::REQUEST, "");
        self.fields(&[
            (w::TICKET, t.id.to_string()),
            (w::REFERENCE, t.reference.clone()),
            (w::SUBJECT, t.subject.clone()),
            (w::SUBJECT_HASH, c.subject_hash.clone()),
        ]);
        for id in &c.identifiers {
            self.fields(&[(w::IDENTIFIER_HASH, format!("{} {}", id.kind, id.hash))]);
        }
        self.fields(&[(w::SCOPE, t.scope.clone())]);
        for (label, names) in t.covers.iter().flat_map(w::covers) {
            self.fields(&[(label, names.join(", "))]);
        }
        for refused in &t.refused {
            let why = match self.lang {
                Lang::Ja => &refused.ja,
                Lang::En => &refused.en,
            };
            self.fields(&[(
                w::REFUSED,
                format!("{} ({}: {why})", refused.part, refused.ground),
            )]);
        }
        self.fields(&[
            (w::GROUND, t.ground.clone()),
            (w::REQUESTED, time(&t.requested_at)),
        ]);
        if let Some(at) = &t.not_before {
            self.fields(&[(w::NOT_BEFORE, time(at))]);
        }
        self.fields(&[
            (w::STARTED, time(&t.started_at)),
            (w::FINISHED, time(&t.finished_at)),
        ]);
        if let Some(at) = &t.due_at {
            self.fields(&[(w::DUE, time(at))]);
        }
        self.fields(&[(
            w::SLA,
            format!("{} ({})", verdict.get(self.lang), t.sla_profile),
        )]);
    }

    fn identity(&mut self, c: &Certificate) {
        let i = &c.identity;
        let eyes = if i.four_eyes { w::YES } else { w::NO };
        let none = || w::NONE.get(self.lang).to_owned();
        let approved = i.approved_by_role.clone().unwrap_or_else(none);
        self.heading(w::IDENTITY, "");
        self.fields(&[
            (w::METHOD, i.method.clone()),
            (w::LEVEL, word(&i.level)),
            (w::REQUIRED, word(&i.required_level)),
            (w::VERIFIED_BY, i.verified_by_role.clone()),
            (w::APPROVED_BY, approved),
            (w::FOUR_EYES, eyes.get(self.lang).to_owned()),
        ]);
    }

    fn system(&mut self, system: &System) {
        let lang = self.lang;
        self.heading(w::RESULT, &system.system);
        self.fields(&[
            (w::SERVER, system.server_version.clone()),
            (w::COMMITTED, time(&system.committed_at)),
            (w::CATALOG, system.catalog_fingerprint.clone()),
            (
                w::PROBES,
                format!(
                    "{} {}, {} {}",
                    count(system.probes.by_query),
                    w::BY_QUERY.get(lang),
                    count(system.probes.by_foreign_key),
                    w::BY_FOREIGN_KEY.get(lang),
                ),
            ),
        ]);
        if !system.subscribers.is_empty() {
            self.fields(&[(w::SUBSCRIBERS, system.subscribers.join(", "))]);
        }
        let mut rows = vec![
            [w::TABLE, w::DELETED, w::ANONYMIZED, w::DETACHED, w::KEPT]
                .map(|word| word.get(lang).to_owned())
                .to_vec(),
        ];
        for table in &system.tables {
            let counts = [
                table.deleted,
                table.anonymized,
                table.detached,
                table.kept(),
            ];
            let cells = counts.map(|n| if n == 0 { "-".to_owned() } else { count(n) });
            rows.push([vec![tame(&table.table)], cells.to_vec()].concat());
        }
        self.table(&rows);
        for table in &system.tables {
            for kept in &table.kept {
                let until = match &kept.until {
                    Some(date) => format!("{} {date}", w::UNTIL.get(lang)),
                    None => w::WITH_PARENT.get(lang).to_owned(),
                };
                let citation = kept.citation.as_deref().map(|c| format!(" ({c})"));
                let line = format!(
                    "  {}: {} {} {}: {}{}, {until}",
                    tame(&table.table),
                    w::KEPT.get(lang),
                    count(kept.rows),
                    w::ROWS.get(lang),
                    tame(&kept.basis),
                    tame(&citation.unwrap_or_default()),
                );
                self.line(&line);
            }
            if table.large_objects > 0 {
                let (name, n) = (tame(&table.table), count(table.large_objects));
                self.line(&format!("  {name}: {}: {n}", w::LARGE_OBJECTS.get(lang)));
            }
            if table.pieces > 0 {
                let (label, times) = (w::IN_PIECES.get(lang), count(table.pieces));
                let line = format!("  {}: {label}: {times}", tame(&table.table));
                self.line(&line);
            }
            if let Some(reason) = &table.exempt {
                let label = w::EXEMPT_TABLE.get(lang);
                let line = format!("  {}: {label}: {}", tame(&table.table), tame(reason));
                self.line(&line);
            }
        }
    }

    fn places(&mut self, places: &Places) {
        let lang = self.lang;
        self.heading(w::RESULT, &places.system);
        self.fields(&[
            (w::KIND, places.kind.word().to_owned()),
            (w::ERASED_AT, time(&places.erased_at)),
        ]);
        let head = [w::PLACE, w::ERASED].map(|word| word.get(lang).to_owned());
        let mut rows = vec![head.to_vec()];
        for place in &places.found {
            rows.push(vec![tame(&place.place), count(place.erased)]);
        }
        self.table(&rows);
        for (place, stays) in places.stays() {
            let (place, label) = (tame(place), w::STAYS.get(lang));
            let (things, reason) = (count(stays.things), tame(&stays.reason));
            self.line(&format!("  {place}: {label}: {things} ({reason})"));
        }
        let copies = places.copies.iter().map(|said| (w::COPIES, said.clone()));
        let not_promised = (w::NOT_PROMISED, places.not_promised.clone());
        let fields: Vec<_> = copies.chain([not_promised]).collect();
        self.fields(&fields);
    }

    /// The first column to the left, the others (numbers) to the right.
    fn table(&mut self, rows: &[Vec<String>]) {
        let columns = rows.first().map_or(0, Vec::len);
        let widths: Vec<usize> = (0..columns)
            .map(|at| rows.iter().map(|row| width(&row[at])).max().unwrap_or(0))
            .collect();
        for row in rows {
            let mut line = format!("  {}", pad(&row[0], widths[0]));
            for (cell, column) in row.iter().zip(&widths).skip(1) {
                let room = column.saturating_sub(width(cell));
                let _ = write!(line, "  {}{cell}", " ".repeat(room));
            }
            self.line(&line);
        }
    }

    fn deferrals(&mut self, c: &Certificate) {
        if c.deferrals.is_empty() {
            return;
        }
        self.heading(w::DEFERRALS, "");
        for d in &c.deferrals {
            let line = format!(
                "  {}.{}: {} {}, {} {} ({})",
                tame(&d.system),
                tame(&d.table),
                count(d.rows),
                w::ROWS.get(self.lang),
                w::UNTIL.get(self.lang),
                d.until,
                tame(&d.basis),
            );
            self.line(&line);
        }
    }

    fn sweep(&mut self, sweep: &Sweep) {
        let lang = self.lang;
        self.heading(w::SWEEP, &sweep.system);
        self.fields(&[
            (w::SEARCHED, sweep.identifiers.join(", ")),
            (
                w::READ_FROM,
                w::server(sweep.read_from).get(lang).to_owned(),
            ),
            (
                w::COVERED,
                format!(
                    "{} {}, {} {}, {} {}, {}",
                    count(sweep.tables.len() as u64),
                    w::TABLES.get(lang),
                    count(sweep.columns),
                    w::COLUMNS.get(lang),
                    count(sweep.rows),
                    w::ROWS.get(lang),
                    size(sweep.bytes),
                ),
            ),
            (
                w::FROM_TO,
                format!(
                    "{} – {}",
                    time(&sweep.first_read_at),
                    time(&sweep.last_read_at)
                ),
            ),
        ]);
        for exempt in &sweep.exempt {
            self.fields(&[(
                w::EXEMPT_COLUMNS,
                format!("{}.{}: {}", exempt.table, exempt.column, exempt.reason),
            )]);
        }
        for table in &sweep.not_covered {
            self.fields(&[(w::NOT_COVERED, format!("{}: {}", table.table, table.reason))]);
        }
    }
}

pub(super) fn pad(text: &str, to: usize) -> String {
    format!("{text}{}", " ".repeat(to.saturating_sub(width(text))))
}

/// Columns that a terminal gives a text: two for the wide characters of East Asia.
fn width(text: &str) -> usize {
    text.chars()
        .map(|c| match c {
            '\u{1100}'..='\u{115f}'
            | '\u{2e80}'..='\u{a4cf}'
            | '\u{ac00}'..='\u{d7a3}'
            | '\u{f900}'..='\u{faff}'
            | '\u{fe30}'..='\u{fe6f}'
            | '\u{ff00}'..='\u{ff60}'
            | '\u{ffe0}'..='\u{ffe6}'
            | '\u{1f300}'..='\u{1faff}'
            | '\u{20000}'..='\u{3fffd}' => 2,
            _ => 1,
        })
        .sum()
}
