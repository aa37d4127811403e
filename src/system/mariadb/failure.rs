//! What an error of MariaDB's means, and how it may be shown.
//!
//! The server's messages quote values (`Duplicate entry 'taro@…'`), so they pass only for numbers of
//! which it is known that they speak of objects and states alone.

use crate::system::postgres::execute::NotErased;
use crate::system::postgres::failure::Failure;
use mysql_async::{DriverError, Error, IoError, ServerError};

/// Sorts an error by the server's number, or by what became of the connection.
pub fn classify(error: &Error) -> Failure {
    match error {
        Error::Server(error) => by_number(error.code),
        Error::Io(_) | Error::Driver(DriverError::ConnectionClosed) => {
            Failure::Transient("connection")
        }
        _ => Failure::Permanent,
    }
}

fn by_number(code: u16) -> Failure {
    Failure::Transient(match code {
        1020 => "serialization",
        1205 => "lock_timeout",
        1213 => "deadlock",
        1317 | 1969 => "statement_timeout",
        1040 | 1203 | 1226 => "too_many_connections",
        1053 | 1927 => "shutting_down",
        1290 | 1792 | 1836 => "read_only",
        1021 | 1037 | 1038 | 1041 | 1114 | 1206 => "out_of_resources",
        _ => return Failure::Permanent,
    })
}

/// Whether the server says that the whole transaction is undone.
pub(super) fn rolled_back(error: &Error) -> bool {
    matches!(error, Error::Server(server) if matches!(server.code, 1205 | 1213))
}

/// Describes an error without any value of a row.
pub fn describe(error: &Error) -> String {
    match error {
        Error::Server(error) => describe_answer(error),
        Error::Io(error) => describe_io(error),
        Error::Driver(DriverError::ConnectionClosed) => "the connection was closed".into(),
        Error::Driver(DriverError::NoClientSslFlagFromServer) => {
            "the server has no TLS, and without it another host is not spoken to".into()
        }
        Error::Driver(_) => "the driver could not make sense of the server".into(),
        Error::Url(_) => "the url is not one of MariaDB's".into(),
        Error::Other(_) => "the client failed".into(),
    }
}

/// Of certificates it says why; of all else the system's words may hold addresses.
fn describe_io(error: &IoError) -> String {
    let tls = match error {
        IoError::Tls(error) => Some(error.to_string()),
        IoError::Io(error) => error.get_ref().and_then(|cause| {
            let cause = cause.downcast_ref::<rustls::Error>()?;
            Some(cause.to_string())
        }),
    };
    match tls {
        Some(why) => format!("the server is not spoken to, by TLS: {why}"),
        None => "the connection was lost, or could not be made".into(),
    }
}

fn describe_answer(error: &ServerError) -> String {
    let ServerError {
        code,
        message,
        state,
    } = error;
    let words = match code {
        // They name users, tables, columns and settings.
        1044 | 1045 | 1049 | 1054 | 1109 | 1142 | 1143 | 1146 | 1227 | 1290 | 1305 | 1370
        | 1665 | 1698 | 1820 => message.as_str(),
        1062 => "a row would be there twice by a unique key",
        1048 => "a column cannot be NULL",
        1153 => "what was sent is larger than max_allowed_packet",
        1205 => "a lock was not to be had in time",
        1213 => "a deadlock",
        1264 | 1265 | 1292 | 1366 | 1406 => "a value does not fit its column",
        1451 => "other rows refer to a row that would go",
        1452 => "a value refers to a row that is not there",
        1969 => "a statement took longer than it may",
        1644 => "something in the database refused, in words of its own",
        4025 => "a CHECK refuses a value",
        _ => "the server refused",
    };
    format!("error {code}, SQLSTATE {state}: {words}")
}

impl From<Error> for NotErased {
    fn from(error: Error) -> Self {
        Self::Database(describe(&error), classify(&error))
    }
}

#[cfg(test)]
mod tests {
    use super::{classify, describe};
    use crate::system::postgres::failure::Failure;
    use mysql_async::{Error, ServerError};

    fn error(code: u16, message: &str) -> Error {
        Error::Server(ServerError {
            code,
            message: message.into(),
            state: "HY000".into(),
        })
    }

    #[test]
    fn no_value_of_a_row_is_shown() {
        let twice = error(1062, "Duplicate entry 'taro@example.jp' for key 'email'");
        assert!(!describe(&twice).contains("taro"), "{}", describe(&twice));
        let unknown = error(1525, "Incorrect DATE value: 'taro'");
        assert!(!describe(&unknown).contains("taro"));
        let table = error(1146, "Table 'shop.letter' doesn't exist");
        assert!(describe(&table).contains("shop.letter"));
    }

    #[test]
    fn what_may_pass_is_tried_again() {
        for (code, why) in [(1213, "deadlock"), (1205, "lock_timeout")] {
            assert_eq!(classify(&error(code, "")), Failure::Transient(why));
        }
        assert_eq!(classify(&error(1062, "")), Failure::Permanent);
    }
}
