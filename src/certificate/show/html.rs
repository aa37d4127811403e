//! The rendering for paper: one page of HTML that needs nothing else.

use super::words::{self as w, Word};
use super::{Lang, count, size, tame, time, word};
use crate::certificate::{AssuranceLevel, Certificate, Places, Sweep, System};
use crate::keys::KeyId;

const STYLE: &str = include_str!("page.css");

/// Renders a certificate and its signed original as one self-contained page, Japanese and English
/// together, made for A4. `verified_by` is the key with which the caller has verified `jws`.
pub fn html(certificate: &Certificate, jws: &str, verified_by: Option<&KeyId>) -> String {
    let c = certificate;
    let signature = match verified_by {
        Some(kid) => format!(
            "<p class=\"seal\">{}</p>",
            twice(
                &format!("{} <code>{kid}</code>", w::VERIFIED.ja),
                &format!("{} <code>{kid}</code>", w::VERIFIED.en),
            ),
        ),
        None => format!("<p class=\"seal unverified\">{}</p>", both(w::UNVERIFIED)),
    };
    let databases = c.systems.iter().map(system);
    let systems: String = databases.chain(c.places.iter().map(places)).collect();
    let mut sweeps: String = c.sweep.iter().map(sweep).collect();
    if w::is_not_swept(c) {
        sweeps = format!("<p class=\"two\">{}</p>", both(w::NOT_SWEPT));
    }
    let annex: String = c.sweep.iter().map(tables_read).collect();
    let body = [
        head(c),
        signature,
        totals(c),
        request(c),
        identity(c),
        section(w::RESULT, &systems),
        deferrals(c),
        section(w::SWEEP, &sweeps),
        assurance(c),
        provenance(c),
        format!(
            "<section class=\"original\"><h2>{}</h2><p>{}</p><pre>{}</pre></section>",
            both(w::SIGNED_TEXT),
            both(w::LEADS),
            escape(jws),
        ),
        section(w::ANNEX, &annex),
    ]
    .concat();
    format!(
        "<!DOCTYPE html>\n<html lang=\"ja\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <title>{} {}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n{body}</main>\n</body>\n</html>\n",
        w::TITLE.ja,
        c.id,
    )
}

/// Text content and attribute values alike.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in tame(text).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            _ => out.push(c),
        }
    }
    out
}

/// Both languages, given as markup.
fn twice(ja: &str, en: &str) -> String {
    format!("<span lang=\"ja\">{ja}</span> <span lang=\"en\" class=\"en\">{en}</span>")
}

fn both(word: Word) -> String {
    twice(&escape(word.ja), &escape(word.en))
}

fn code(text: &str) -> String {
    format!("<code>{}</code>", escape(text))
}

/// A fraction of a page under its own heading; nothing where there is nothing to say.
fn section(title: Word, content: &str) -> String {
    if content.is_empty() {
        return String::new();
    }
    format!("<section><h2>{}</h2>{content}</section>\n", both(title))
}

/// A list of labels and values; values are markup.
fn fields(fields: &[(Word, String)]) -> String {
    let rows: String = fields
        .iter()
        .map(|(label, value)| format!("<div><dt>{}</dt><dd>{value}</dd></div>", both(*label)))
        .collect();
    format!("<dl>{rows}</dl>")
}

/// A table; `numbers` marks the columns that stand to the right, cells are markup.
fn table(heads: &[Word], numbers: &[bool], rows: &[Vec<String>]) -> String {
    let class = |at: usize| if numbers[at] { " class=\"n\"" } else { "" };
    let head: String = heads
        .iter()
        .enumerate()
        .map(|(at, word)| format!("<th{}>{}</th>", class(at), both(*word)))
        .collect();
    let body: String = rows
        .iter()
        .map(|row| {
            let cells: String = row
                .iter()
                .enumerate()
                .map(|(at, cell)| format!("<td{}>{cell}</td>", class(at)))
                .collect();
            format!("<tr>{cells}</tr>\n")
        })
        .collect();
    format!("<table><thead><tr>{head}</tr></thead><tbody>\n{body}</tbody></table>")
}

fn head(c: &Certificate) -> String {
    let mut about = vec![
        (w::CERTIFICATE, code(&c.id.to_string())),
        (w::ISSUED, time(&c.issued_at)),
    ];
    if let Some(id) = c.supplements {
        about.push((w::SUPPLEMENTS, code(&id.to_string())));
    }
    format!(
        "<header><h1><span lang=\"ja\">{}</span><span lang=\"en\" class=\"en\">{}</span></h1>{}</header>\n",
        w::TITLE.ja,
        w::TITLE.en,
        fields(&about),
    )
}

fn totals(c: &Certificate) -> String {
    let totals = c.totals();
    let figures: String = [
        (w::DELETED, totals.deleted),
        (w::ANONYMIZED, totals.anonymized),
        (w::DETACHED, totals.detached),
        (w::KEPT, totals.kept),
    ]
    .iter()
    .map(|(label, n)| format!("<div><b>{}</b>{}</div>", count(*n), both(*label)))
    .collect();
    let mut statement = both(w::STATEMENT);
    if !c.deferrals.is_empty() {
        statement = twice(
            &format!("{}{}", w::STATEMENT.ja, w::STATEMENT_DEFERRED.ja),
            &format!("{} {}", w::STATEMENT.en, w::STATEMENT_DEFERRED.en),
        );
    }
    format!(
        "<section class=\"verdict\"><p class=\"two\">{statement}</p><div class=\"figures\">{figures}</div></section>\n"
    )
}

fn request(c: &Certificate) -> String {
    let t = &c.ticket;
    let (mark, verdict) = w::verdict(t);
    let mut list = vec![
        (w::TICKET, code(&t.id.to_string())),
        (w::REFERENCE, escape(&t.reference)),
        (w::SUBJECT, escape(&t.subject)),
        (w::SUBJECT_HASH, code(&c.subject_hash)),
    ];
    for id in &c.identifiers {
        let value = format!("{} {}", escape(&id.kind), code(&id.hash));
        list.push((w::IDENTIFIER_HASH, value));
    }
    list.push((w::SCOPE, escape(&t.scope)));
    for (label, names) in t.covers.iter().flat_map(w::covers) {
        list.push((label, escape(&names.join(", "))));
    }
    for refused in &t.refused {
        let why = format!("{} / {}", escape(&refused.ja), escape(&refused.en));
        let what = format!(
            "{} ({}: {why})",
            escape(&refused.part),
            escape(&refused.ground)
        );
        list.push((w::REFUSED, what));
    }
    list.extend([
        (w::GROUND, escape(&t.ground)),
        (w::REQUESTED, time(&t.requested_at)),
    ]);
    if let Some(at) = &t.not_before {
        list.push((w::NOT_BEFORE, time(at)));
    }
    list.extend([
        (w::STARTED, time(&t.started_at)),
        (w::FINISHED, time(&t.finished_at)),
    ]);
    if let Some(at) = &t.due_at {
        list.push((w::DUE, time(at)));
    }
    list.extend([(
        w::SLA,
        format!(
            "<span class=\"{mark}\">{}</span> ({})",
            both(verdict),
            escape(&t.sla_profile)
        ),
    )]);
    section(w::REQUEST, &fields(&list))
}

fn identity(c: &Certificate) -> String {
    let i = &c.identity;
    let approved = match &i.approved_by_role {
        Some(role) => escape(role),
        None => both(w::NONE),
    };
    let eyes = if i.four_eyes { w::YES } else { w::NO };
    section(
        w::IDENTITY,
        &fields(&[
            (w::METHOD, escape(&i.method)),
            (w::LEVEL, escape(&word(&i.level))),
            (w::REQUIRED, escape(&word(&i.required_level))),
            (w::VERIFIED_BY, escape(&i.verified_by_role)),
            (w::APPROVED_BY, approved),
            (w::FOUR_EYES, both(eyes)),
        ]),
    )
}

fn places(p: &Places) -> String {
    let rows = p.found.iter().map(|place| {
        let mut name = code(&place.place);
        for stays in &place.stays {
            let (things, reason) = (count(stays.things), escape(&stays.reason));
            name += &format!("<small>{}: {things} ({reason})</small>", both(w::STAYS));
        }
        vec![name, count(place.erased)]
    });
    let rows: Vec<Vec<String>> = rows.collect();
    let mut out = format!("<h3>{}</h3>", escape(&p.system));
    out += &table(&[w::PLACE, w::ERASED], &[false, true], &rows);
    let mut said = vec![
        (w::KIND, p.kind.word().to_owned()),
        (w::ERASED_AT, time(&p.erased_at)),
        (w::NOT_PROMISED, escape(&p.not_promised)),
    ];
    said.extend(p.copies.iter().map(|copies| (w::COPIES, escape(copies))));
    out += &fields(&said);
    out
}

fn system(s: &System) -> String {
    let cell = |n: u64| match n {
        0 => "<i>–</i>".to_owned(),
        n => count(n),
    };
    let rows: Vec<Vec<String>> = s
        .tables
        .iter()
        .map(|t| {
            let mut name = code(&t.table);
            if let Some(reason) = &t.exempt {
                name += &format!(
                    "<small>{}: {}</small>",
                    both(w::EXEMPT_TABLE),
                    escape(reason)
                );
            }
            if t.large_objects > 0 {
                let objects = count(t.large_objects);
                name += &format!("<small>{}: {objects}</small>", both(w::LARGE_OBJECTS));
            }
            if t.pieces > 0 {
                name += &format!("<small>{}: {}</small>", both(w::IN_PIECES), count(t.pieces));
            }
            vec![
                name,
                cell(t.deleted),
                cell(t.anonymized),
                cell(t.detached),
                cell(t.kept()),
            ]
        })
        .collect();
    let kept: Vec<Vec<String>> = s
        .tables
        .iter()
        .flat_map(|t| t.kept.iter().map(move |kept| (t, kept)))
        .map(|(t, kept)| {
            let citation = kept.citation.as_deref().map(escape);
            vec![
                code(&t.table),
                count(kept.rows),
                format!(
                    "{}<small>{}</small>",
                    escape(&kept.basis),
                    citation.unwrap_or_default()
                ),
                match &kept.until {
                    Some(date) => date.to_string(),
                    None => both(w::WITH_PARENT),
                },
            ]
        })
        .collect();
    let mut out = format!("<h3>{}</h3>", escape(&s.system));
    out += &table(
        &[w::TABLE, w::DELETED, w::ANONYMIZED, w::DETACHED, w::KEPT],
        &[false, true, true, true, true],
        &rows,
    );
    if !kept.is_empty() {
        out += &format!("<h4>{}</h4>", both(w::KEPT_BY_LAW));
        out += &table(
            &[w::TABLE, w::ROWS, w::BASIS, w::UNTIL],
            &[false, true, false, false],
            &kept,
        );
    }
    out += &fields(&[
        (w::COMMITTED, time(&s.committed_at)),
        (
            w::PROBES,
            format!(
                "{} {}<br>{} {}",
                count(s.probes.by_query),
                both(w::BY_QUERY),
                count(s.probes.by_foreign_key),
                both(w::BY_FOREIGN_KEY)
            ),
        ),
        (w::SERVER, escape(&s.server_version)),
        (w::CATALOG, code(&s.catalog_fingerprint)),
    ]);
    if !s.subscribers.is_empty() {
        out += &fields(&[(w::SUBSCRIBERS, escape(&s.subscribers.join(", ")))]);
    }
    out
}

fn deferrals(c: &Certificate) -> String {
    if c.deferrals.is_empty() {
        return String::new();
    }
    let rows: Vec<Vec<String>> = c
        .deferrals
        .iter()
        .map(|d| {
            vec![
                escape(&d.system),
                code(&d.table),
                count(d.rows),
                escape(&d.basis),
                d.until.to_string(),
            ]
        })
        .collect();
    section(
        w::DEFERRALS,
        &table(
            &[w::SYSTEM, w::TABLE, w::ROWS, w::BASIS, w::UNTIL],
            &[false, false, true, false, false],
            &rows,
        ),
    )
}

fn sweep(s: &Sweep) -> String {
    let mut out = format!("<h3>{}</h3>", escape(&s.system));
    let covered = |lang| {
        format!(
            "{} {}, {} {}, {} {}, {}",
            count(s.tables.len() as u64),
            w::TABLES.get(lang),
            count(s.columns),
            w::COLUMNS.get(lang),
            count(s.rows),
            w::ROWS.get(lang),
            size(s.bytes)
        )
    };
    out += &fields(&[
        (w::SEARCHED, escape(&s.identifiers.join(", "))),
        (w::READ_FROM, both(w::server(s.read_from))),
        (w::COVERED, twice(&covered(Lang::Ja), &covered(Lang::En))),
        (
            w::FROM_TO,
            format!("{} –<br>{}", time(&s.first_read_at), time(&s.last_read_at)),
        ),
    ]);
    if !s.exempt.is_empty() {
        let rows: Vec<Vec<String>> = s
            .exempt
            .iter()
            .map(|e| vec![code(&e.table), code(&e.column), escape(&e.reason)])
            .collect();
        out += &format!("<h4>{}</h4>", both(w::EXEMPT_COLUMNS));
        out += &table(&[w::TABLE, w::COLUMN, w::REASON], &[false; 3], &rows);
    }
    if !s.not_covered.is_empty() {
        let rows: Vec<Vec<String>> = s
            .not_covered
            .iter()
            .map(|n| vec![code(&n.table), escape(&n.reason)])
            .collect();
        out += &format!("<h4>{}</h4>", both(w::NOT_COVERED));
        out += &table(&[w::TABLE, w::REASON], &[false; 2], &rows);
    }
    out
}

fn assurance(c: &Certificate) -> String {
    let mut limits = format!("<p class=\"two\">{}</p>", both(w::LIMITS_TEXT));
    if c.assurance.level == AssuranceLevel::Logical {
        limits += &format!("<p class=\"two\">{}</p>", both(w::LIMITS_LOGICAL));
    }
    let reached = fields(&[
        (w::GONE, both(w::level(c.assurance.level))),
        (w::REACHED, time(&c.assurance.reached_at)),
    ]);
    section(w::ASSURANCE, &reached) + &section(w::LIMITS, &limits)
}

fn provenance(c: &Certificate) -> String {
    section(
        w::PROVENANCE,
        &fields(&[
            (
                w::POLICY,
                format!("{}<br>{}", escape(&c.policy.file), code(&c.policy.sha256)),
            ),
            (
                w::PROGRAM,
                format!("{} {}", escape(&c.program.name), escape(&c.program.version)),
            ),
            (
                w::LEDGER,
                code(&format!("{}:{}", c.ledger.height, c.ledger.head)),
            ),
        ]),
    )
}

fn tables_read(s: &Sweep) -> String {
    if s.tables.is_empty() {
        return String::new();
    }
    let rows: Vec<Vec<String>> = s
        .tables
        .iter()
        .map(|t| vec![code(&t.table), time(&t.read_at)])
        .collect();
    format!(
        "<h3>{}</h3>{}",
        escape(&s.system),
        table(&[w::TABLE, w::FROM_TO], &[false; 2], &rows)
    )
}
