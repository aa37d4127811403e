//! Places whose things are named by a column: these rows must go, or lose the name, and the name be one
//! that can be read.

use super::{Check, columns_of};
use crate::policy::place::FromRows;
use crate::policy::{Action, Cover, Place, Sought, TableRule};

impl Check<'_> {
    pub(super) fn things(&mut self) {
        let whole = self.whole;
        for place in &whole.places {
            for sought in &place.sought {
                if let Sought::Named(from) = sought {
                    self.things_of(place, from);
                }
            }
        }
    }

    fn things_of(&mut self, place: &Place, from: &FromRows) {
        let name = format!("{}.{}", from.table, from.column);
        let rules = self.whole.tables.iter();
        let rules: Vec<&TableRule> = rules.filter(|rule| rule.table == from.table).collect();
        if rules.is_empty() {
            let message = format!(
                "the place {} is named by {name}, and no rule says what becomes of that table",
                place.name
            );
            let help = "add a [[table]] for it, with action = \"delete\"";
            return self.error("E0273", &place.span, message, help);
        }
        for (scope, of) in &self.whole.scopes {
            let loses_the_name = match of.extent.of(&from.table) {
                Cover::Whole => true,
                Cover::Columns(columns) => columns.contains_key(&from.column),
                Cover::Nothing => false,
            };
            if loses_the_name && !of.extent.has_place(&place.name) {
                let message = format!(
                    "the scope {scope} takes rows of {} that name what lies in {}, and leaves that behind",
                    from.table, place.name
                );
                let help = format!("name the place in the scope too: \"{}\"", place.name);
                self.error("E0273", &place.span, message, &help);
            }
        }
        if let Some(why) = rules.iter().find_map(|rule| stays(rule, &from.column)) {
            let message = format!("the place {} is named by {name}, and {why}", place.name);
            let help = "what a row names goes before the row does, so its rule is action = \"delete\", or \"anonymize\" with the column in set";
            return self.error("E0273", &place.span, message, help);
        }
        let catalog = self.catalogs.get(&from.table.system);
        if catalog.is_some_and(|catalog| !catalog.dialect.is_postgres()) {
            let message = format!(
                "the place {} is named by {name}: that is not done in a MariaDB system",
                place.name
            );
            let help = "look for the things by keys or prefix";
            return self.error("E0290", &place.span, message, help);
        }
        let Some(table) = catalog.and_then(|catalog| catalog.tables.get(&from.table.table)) else {
            // Its rule says that it is not there.
            return;
        };
        match table.column(&from.column) {
            None => {
                let message = format!(
                    "the place {} names column {:?}, which {} lacks",
                    place.name, from.column, from.table
                );
                let help = columns_of(table, &from.column);
                self.error("E0203", &place.span, message, help);
            }
            Some(column) if matches!(&*column.base, "text" | "varchar" | "uuid") => {}
            Some(column) => {
                let message = format!(
                    "the place {} is named by {name}, which is {}: a name is read from text, varchar or uuid",
                    place.name, column.sql_type
                );
                let help = "name another column, or look for the things by keys or prefix";
                self.error("E0273", &place.span, message, help);
            }
        }
    }
}

/// Why a name may outlast the thing, or rows go before what they name.
fn stays(rule: &TableRule, column: &str) -> Option<&'static str> {
    match &rule.action {
        _ if rule.in_pieces.is_some() => Some("its rows go in pieces, before the others are known"),
        Action::Delete | Action::Shared { .. } => None,
        Action::Anonymize { set } if set.contains_key(column) => None,
        Action::Anonymize { .. } => Some("its rows stay and keep the name"),
        Action::Retain(_) => Some("its rows are retained, and with them what they name"),
        Action::Detach | Action::Exempt { .. } => Some("its rows stay"),
    }
}
