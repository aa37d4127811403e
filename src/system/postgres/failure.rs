//! What a database's error means, and how it may be shown.
//!
//! This is the one place by which an error of PostgreSQL may reach a log, a ticket or a
//! terminal. DETAIL, HINT and the failing statement never pass. The primary message passes only
//! where the server itself wrote it about objects and states: never for the classes that quote
//! values, never for what was raised inside a function, whose author may have put anything in.

use std::error::Error as _;
use std::io;

use tokio_postgres::Error;
use tokio_postgres::error::DbError;

/// Whether another try may succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Worth another try; the cause is a word fit for a metric's label.
    Transient(&'static str),
    /// Will fail the same way until somebody changes something.
    Permanent,
}

/// Sorts an error by its SQLSTATE, or by what became of the connection.
pub fn classify(error: &Error) -> Failure {
    match error.as_db_error() {
        Some(db) => by_sqlstate(db.code().code()),
        None if error.is_closed() || is_connection_loss(error) => Failure::Transient("connection"),
        None => Failure::Permanent,
    }
}

fn by_sqlstate(code: &str) -> Failure {
    Failure::Transient(match code {
        "40001" => "serialization",
        "40P01" => "deadlock",
        "55P03" => "lock_timeout",
        "57014" => "statement_timeout",
        "57P01" | "57P02" | "57P03" => "shutting_down",
        "25P03" | "57P05" => "idle_timeout",
        "53300" => "too_many_connections",
        // The consequence of another error, which says why.
        "25P02" => "aborted",
        // A primary that has become a standby: the next connection may find the new one.
        "25006" => "read_only",
        _ if code.starts_with("53") => "out_of_resources",
        _ if code.starts_with("08") => "connection",
        _ => return Failure::Permanent,
    })
}

/// Whether the connection broke, as against a value or an answer that could not be read.
fn is_connection_loss(error: &Error) -> bool {
    let Some(io) = error
        .source()
        .and_then(|source| source.downcast_ref::<io::Error>())
    else {
        return false;
    };
    use io::ErrorKind as Kind;
    matches!(
        io.kind(),
        Kind::ConnectionRefused
            | Kind::ConnectionReset
            | Kind::ConnectionAborted
            | Kind::NotConnected
            | Kind::NotFound
            | Kind::BrokenPipe
            | Kind::UnexpectedEof
            | Kind::TimedOut
            | Kind::HostUnreachable
            | Kind::NetworkUnreachable
            | Kind::NetworkDown
    )
}

/// Describes an error without any value of a row.
pub fn describe(error: &Error) -> String {
    match error.as_db_error() {
        // Without an answer of the server only the kind of the failure is said: the cause
        // below it may quote the parameter that could not be sent.
        None => error.to_string(),
        Some(db) => describe_answer(db),
    }
}

fn describe_answer(db: &DbError) -> String {
    let code = db.code().code();
    let context = db.where_().unwrap_or_default();
    // A function in another language can raise any SQLSTATE, with any text in any field.
    let raised = db.routine() == Some("exec_stmt_raise")
        || db.file().is_some_and(|file| file.starts_with("pl"));
    // Which object it is that a trigger's function may not touch, in the server's own words.
    let of_a_right = code == "42501" && db.routine() == Some("aclcheck_error");
    let mut text = format!("SQLSTATE {code}: ");
    if !raised && (of_a_right || context.is_empty()) && message_is_safe(code) {
        text.push_str(db.message());
    } else {
        text.push_str(own_words(code));
    }
    if !raised {
        if let Some(table) = db.table() {
            text.push_str(", table ");
            if let Some(schema) = db.schema() {
                text.push_str(schema);
                text.push('.');
            }
            text.push_str(table);
        }
        for (what, name) in [
            ("column", db.column()),
            ("constraint", db.constraint()),
            ("type", db.datatype()),
        ] {
            if let Some(name) = name {
                text.push_str(&format!(", {what} {name}"));
            }
        }
    }
    if let Some(function) = function_of(context) {
        text.push_str(&format!(", in PL/pgSQL function {function}"));
    }
    text
}

/// SQLSTATEs whose primary message the server makes of names and states alone.
fn message_is_safe(code: &str) -> bool {
    const CLASSES: &[&str] = &["08", "25", "28", "3D", "40", "53", "55", "57"];
    const CODES: &[&str] = &[
        "3F000", "42501", "42P01", "42703", "42883", "42704", "42P07", "42701", "42710", "42723",
    ];
    code.get(..2).is_some_and(|class| CLASSES.contains(&class)) || CODES.contains(&code)
}

fn own_words(code: &str) -> &'static str {
    match code {
        "22001" => "a value is too long for its column",
        "22003" => "a number is out of its range",
        "22007" | "22008" => "a date or time is not valid",
        "22021" => "a text has bytes that the database's encoding does not know",
        "22P02" => "a text is not valid for the type",
        "23502" => "a NOT NULL constraint would be broken",
        "23503" => "a foreign key would be broken",
        "23505" => "a unique constraint would be broken",
        "23514" => "a check constraint would be broken",
        "23P01" => "an exclusion constraint would be broken",
        "40001" => "transactions could not be put in an order",
        "40P01" => "a deadlock was found",
        "42501" => "a right is missing",
        "42601" => "the statement has a syntax error",
        "42703" => "a column does not exist",
        "42P01" => "a table does not exist",
        "55P03" => "a lock was not to be had in time",
        "57014" => "the statement was cancelled or took too long",
        "P0001" => "a function raised an error",
        _ => match code.get(..2).unwrap_or_default() {
            "08" => "the connection failed",
            "0A" => "the server does not support this",
            "21" => "a statement found more rows than it may",
            "22" => "a value is not valid",
            "23" => "a constraint would be broken",
            "25" => "the transaction is in the wrong state",
            "42" => "the statement does not fit the database",
            "53" => "the server lacks resources",
            "54" => "a limit of the server was exceeded",
            "58" | "XX" => "the server met an error of its own; see its log",
            "P0" => "a function failed",
            _ => "the server refused; see its log",
        },
    }
}

/// The innermost PL/pgSQL function of an error's context: its name and line, and nothing else
/// of the context, which may quote statements.
fn function_of(context: &str) -> Option<String> {
    let rest = context.lines().next()?.strip_prefix("PL/pgSQL function ")?;
    let (name, after) = rest.split_once(") line ")?;
    let line: String = after.chars().take_while(char::is_ascii_digit).collect();
    Some(format!("{name}) line {line}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transient_states_have_their_causes() {
        for (code, cause) in [
            ("40001", "serialization"),
            ("40P01", "deadlock"),
            ("55P03", "lock_timeout"),
            ("57014", "statement_timeout"),
            ("57P01", "shutting_down"),
            ("57P03", "shutting_down"),
            ("53300", "too_many_connections"),
            ("08006", "connection"),
            ("25006", "read_only"),
            ("53100", "out_of_resources"),
        ] {
            assert_eq!(by_sqlstate(code), Failure::Transient(cause), "{code}");
        }
        for code in ["23503", "42501", "22P02", "P0001", "40002", "42P01"] {
            assert_eq!(by_sqlstate(code), Failure::Permanent, "{code}");
        }
    }

    #[test]
    fn classes_with_values_never_show_their_message() {
        for code in ["22P02", "23505", "P0001", "42601", "XX000", "", "4"] {
            assert!(!message_is_safe(code), "{code}");
            assert!(!own_words(code).is_empty());
        }
    }

    #[test]
    fn only_name_and_line_of_a_function_pass() {
        assert_eq!(
            function_of("PL/pgSQL function audit(integer) line 3 at RAISE\nSQL statement \"x\"")
                .as_deref(),
            Some("audit(integer) line 3")
        );
        assert_eq!(
            function_of("SQL statement \"DELETE … 'Tanaka'\"\nPL/pgSQL function f() line 1 at x"),
            None
        );
        assert_eq!(function_of(""), None);
    }
}
