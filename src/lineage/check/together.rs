//! `atomic`: whether the servers can do it.

use super::Check;
use std::collections::BTreeSet;

impl Check<'_> {
    /// Each of them must keep its transaction ready until all are.
    pub(super) fn together(&mut self) {
        let policy = self.policy;
        for together in &policy.atomic {
            let systems: BTreeSet<&String> = together.systems.iter().collect();
            for system in systems {
                let catalog = self.catalogs.get(system);
                if catalog.is_some_and(|c| !c.dialect.is_postgres()) {
                    self.error(
                        "E0280",
                        &together.span,
                        format!("`atomic` names {system}, a MariaDB server, whose prepared transactions are not used"),
                        "take it out",
                    );
                } else if catalog.is_some_and(|c| !c.prepares) {
                    self.error(
                        "E0281",
                        &together.span,
                        format!("`atomic` names {system}, whose server prepares no transactions: max_prepared_transactions is 0"),
                        "set it to the number of workers of all daemons or more, and restart the server; or take the system out",
                    );
                }
            }
        }
    }
}
