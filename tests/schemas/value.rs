//! A value for a column, by its type and a little by its name, as SQL over the row's number `n`.

use crate::definition::Column;

/// Persons in the root table: those who leave (1, 10 and 1,000) and their neighbours.
pub(crate) const PERSONS: usize = 1400;

/// The value; `theirs` if rows of this table hang off persons.
pub(crate) fn value(column: &Column, theirs: bool) -> String {
    if let Some(label) = &column.first_label {
        return format!("'{label}'");
    }
    match (column.category, column.kind.as_str()) {
        ('S', _) => text(column, theirs),
        ('N', "int2") => "1 + n % 30000".into(),
        ('N', "int4" | "int8" | "oid") => "1 + n".into(),
        ('N', _) => "(1 + n % 90)".into(),
        ('B', _) => "n % 2 = 0".into(),
        ('D', "time" | "timetz") => "time '10:00'".into(),
        ('D', kind) => {
            format!("(timestamptz '2026-11-01 12:00+00' - n * interval '1 day')::{kind}")
        }
        ('T', _) => "interval '1 hour'".into(),
        ('I', _) => "'192.0.2.1'".into(),
        ('A', _) => "'{}'".into(),
        ('R', _) => "'empty'".into(),
        (_, "uuid") => format!("md5('{} ' || n)::uuid", column.name),
        (_, "json" | "jsonb") => "jsonb_build_object('n', n)".into(),
        (_, "bytea") => "convert_to('bytes ' || n, 'UTF8')".into(),
        (_, "tsvector") => "''".into(),
        (category, kind) => panic!("no value for {}: {kind} {category}", column.name),
    }
}

/// Addresses are the person's, wherever they stand in a table that hangs off persons, and so is
/// what people write.
fn text(column: &Column, theirs: bool) -> String {
    let name = column.name.to_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| name.contains(word));
    let longest = column.longest.unwrap_or(usize::MAX);
    let owner = if column.unique {
        "n".to_owned()
    } else {
        format!("n % {PERSONS}")
    };
    if theirs && says(&["email"]) && longest >= 25 {
        return format!("'p' || {owner} || '@example.org'");
    }
    if theirs && says(&["note", "comment", "message", "body"]) && !says(&["type"]) && longest >= 60
    {
        return format!("'write to p' || {owner} || '@example.org'");
    }
    match longest {
        0..=8 if column.unique => format!("lpad(to_hex(n), {longest}, '0')"),
        0..=3 => format!("left('jpy', {longest})"),
        4..=20 => format!("left(md5('{name}' || n), {longest})"),
        _ => format!("left('{name} ', {} ) || n", longest.min(60) - 6),
    }
}
