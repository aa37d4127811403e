//! `[system.NAME]` with `kind = "mariadb"`: one server, with all its databases.

use super::Database;
use super::read::{CODES, database};
use crate::reading::Table;
use crate::system::mariadb::connect::Address;
use std::path::Path;

/// Reads the settings; the caller finishes the table.
pub(super) fn read(table: &Table<'_>, folder: &Path) -> Option<Database> {
    let server = database(table, folder)?;
    if let Err(problem) = Address::new(&server.url, None, None) {
        table.reader().error(
            CODES.bad_value,
            server.span.clone(),
            format!("`url` in {}: {problem}", table.label()),
            "write it as mariadb://erasured@db.example:3306/, for a socket with ?socket=/run/mysqld/mysqld.sock",
        );
        return None;
    }
    Some(server)
}
