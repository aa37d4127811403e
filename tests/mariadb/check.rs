//! What `check` refuses of a MariaDB system, and that it refuses by a code.

use crate::company::{CRM, Company, POLICY};
use crate::support::MariaDb;

/// A schema that differs by one thing, and the code by which it is refused.
fn refused(change: &str, policy: &str, code: &str, word: &str) {
    let company = Company::with(MariaDb::start(), CRM, policy);
    company.crm.execute(change);
    let said = company.says(&["check"], 1);
    assert!(
        said.contains(code) && said.contains(word),
        "{change}: {said}"
    );
}

#[test]
fn a_login_that_does_not_see_all_is_refused() {
    let company = Company::open();
    company.crm.execute("CREATE DATABASE hidden; CREATE TABLE hidden.t (c BIGINT UNSIGNED, FOREIGN KEY (c) REFERENCES crm.contact (id))");
    let said = company.says(&["check"], 1);
    assert!(said.contains("E0310") && said.contains("hidden"), "{said}");
    company
        .crm
        .execute("GRANT SELECT, TRIGGER ON hidden.* TO 'erasured'@'127.0.0.1'");
    let said = company.says(&["check"], 1);
    assert!(
        said.contains("E0201") && said.contains("crm.hidden.t"),
        "{said}"
    );
}

#[test]
fn tables_that_keep_what_was_deleted_are_refused() {
    refused(
        "ALTER TABLE crm.call_log DROP FOREIGN KEY call_of; ALTER TABLE crm.invoice ENGINE = Aria",
        POLICY,
        "E0291",
        "Aria",
    );
    refused(
        "ALTER TABLE crm.invoice ADD SYSTEM VERSIONING",
        POLICY,
        "E0291",
        "system-versioned",
    );
    refused(
        "CREATE TRIGGER crm.keep BEFORE DELETE ON crm.contact FOR EACH ROW SET @kept = OLD.email",
        POLICY,
        "E0291",
        "trigger keep",
    );
    refused(
        "ALTER TABLE crm.invoice DROP PRIMARY KEY",
        POLICY,
        "E0291",
        "no primary key",
    );
}

#[test]
fn what_is_not_done_there_is_refused_by_name() {
    let mask = POLICY.replace(
        r#"name = "redact", contact"#,
        r#"name = { mask = 1 }, contact"#,
    );
    refused("DO 0", &mask, "E0290", "mask");
    let pieces = POLICY.replace(
        "name   = \"crm.crm.call_log\"",
        "name   = \"crm.crm.call_log\"\nlarge  = \"batches\"",
    );
    refused("DO 0", &pieces, "E0290", "batches");
}

#[test]
fn rights_that_are_lacking_are_named() {
    refused(
        "REVOKE DELETE ON crm.call_log FROM 'erasured'@'127.0.0.1'",
        POLICY,
        "E0214",
        "GRANT DELETE ON crm.call_log",
    );
    refused(
        "REVOKE INSERT ON erasured.applied_step FROM 'erasured'@'127.0.0.1'",
        POLICY,
        "E0310",
        "applied_step",
    );
}
