//! `[drop]`: requests as files.

use super::Database;
use super::outbox::length;
use super::read::{database, path_at};
use crate::reading::Table;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// `[drop]`.
#[derive(Clone, Debug)]
pub struct DropFolder {
    /// Where files are laid.
    pub folder: PathBuf,
    /// In whose name, if the login may say so.
    pub actor: Option<String>,
    /// How long a file must have been left alone before it is taken.
    pub settle: Duration,
    /// A login that may file: the daemon's may not.
    pub control: Database,
}

/// Reads the table.
pub(super) fn read(top: &Table<'_>, folder: &Path) -> Option<DropFolder> {
    let table = top.table("drop")?;
    table
        .need(
            "folder",
            "name the folder: folder = \"/var/lib/erasured/drop\"",
        )
        .need(
            "control",
            "name a login that may file: [drop.control] url = \"postgresql://erasured_drop@…\"",
        );
    let place = path_at(&table, "folder", folder);
    let actor = table.parsed("actor", "E0139", "name a person or a program", |text| {
        let fits = (1..=200).contains(&text.trim().len()) && !text.contains(char::is_control);
        fits.then(|| text.to_owned())
            .ok_or_else(|| "it is not 1 to 200 printable characters".into())
    });
    let bounds = Duration::ZERO..=Duration::from_secs(3600);
    let settle = length(&table, "settle", bounds);
    let control = table.table("control").and_then(|control| {
        let read = database(&control, folder);
        control.finish();
        read
    });
    table.finish();
    Some(DropFolder {
        folder: place?,
        actor: actor.map(|(actor, _)| actor),
        settle: settle.unwrap_or(Duration::from_secs(5)),
        control: control?,
    })
}
