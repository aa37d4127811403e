//! A ticket's way through a shop on PostgreSQL and a CRM on MariaDB.

use crate::company::{CRM, Company, POLICY};
use crate::support::MariaDb;

#[test]
fn a_ticket_goes_through_both_with_its_counts() {
    let company = Company::open();
    let plan = company.says(&["plan", "--subject", "member_no=m-3"], 0);
    assert!(plan.contains("call_log"), "{plan}");
    let before = company.others(&[3, 4]);
    company.file(&[3, 4]);
    company.says(&["run", "--until-idle"], 0);
    assert_eq!(company.states(), ["T-3 completed", "T-4 deferred"]);
    assert_eq!(company.others(&[3, 4]), before);
    let crm = &company.crm;
    let contacts =
        "SELECT COUNT(*) FROM crm.contact WHERE id IN (18446744073709551003, 18446744073709551004)";
    assert_eq!(crm.count(contacts), 0);
    assert_eq!(crm.count("SELECT COUNT(*) FROM crm.call_log"), 54);
    // They stay, without the person, and nothing says when that was done.
    let quotes = "SELECT COUNT(*) FROM crm.quote WHERE name = '[erased]' AND contact IS NULL AND price IN (3, 4) AND changed = '2020-01-01 00:00:00'";
    assert_eq!(crm.count(quotes), 2);
    assert_eq!(
        crm.count("SELECT COUNT(*) FROM crm.invoice WHERE no = 'I3'"),
        0
    );
    let kept =
        "SELECT COUNT(*) FROM crm.invoice WHERE no = 'I4' AND name IS NULL AND member_no <> 'm-4'";
    assert_eq!(crm.count(kept), 1);
    let certificate = company.certificate("T-3");
    let of = |table: &str| {
        let part = certificate
            .systems
            .iter()
            .find(|s| s.system == "crm")
            .unwrap();
        assert_eq!(
            part.server_version.split('.').next(),
            Some("MariaDB 10"),
            "{}",
            part.server_version
        );
        let t = part.tables.iter().find(|t| t.table == table).unwrap();
        (t.deleted, t.anonymized)
    };
    assert_eq!(of("crm.contact"), (1, 0));
    assert_eq!(of("crm.call_log"), (3, 0));
    assert_eq!(of("crm.quote"), (0, 1));
    assert_eq!(of("crm.invoice"), (1, 0));
    let steps = "SELECT COUNT(*) FROM erasured.applied_step WHERE system = 'crm' AND counts NOT LIKE '%m-3%'";
    assert_eq!(crm.count(steps), 2);
}

/// What the law kept goes on its date, by the row's own.
#[test]
fn what_was_kept_goes_on_its_date() {
    let company = Company::open();
    company.file(&[4]);
    company.says(&["run", "--until-idle"], 0);
    assert_eq!(company.states(), ["T-4 deferred"]);
    company.control("UPDATE erasured.deferral SET due_at = now() - interval '1 day' RETURNING 1");
    company.says(&["run", "--until-idle"], 0);
    // The row's own date is asked again under its lock, and has not come.
    let there = "SELECT COUNT(*) FROM crm.invoice WHERE no = 'I4'";
    assert_eq!(company.crm.count(there), 1);
    company
        .crm
        .execute("UPDATE crm.invoice SET issued = '2011-01-01' WHERE no = 'I4'");
    company.control("UPDATE erasured.deferral SET due_at = now() - interval '1 day' RETURNING 1");
    company.says(&["run", "--until-idle"], 0);
    assert_eq!(company.crm.count(there), 0);
    assert_eq!(company.states(), ["T-4 completed"]);
}

/// What MariaDB takes for equal is not always the same person: blanks at the end, accents, width.
#[test]
fn who_is_only_equal_by_a_collation_stays() {
    let policy = POLICY.replace(
        "[[table]]\nname   = \"crm.crm.call_log\"",
        "[[table]]\nname   = \"crm.crm.`q\\\"漢\"\nlink   = { columns = [\"who\"], to = \"crm.crm.contact\", key = [\"email\"], when = { kind = \"Contact\" } }\naction = \"delete\"\n\n[[table]]\nname   = \"crm.crm.call_log\"",
    );
    let schema = format!(
        "{CRM}
CREATE TABLE crm.```q\"漢` (`i d` VARCHAR(20) COLLATE utf8mb4_general_ci PRIMARY KEY, kind VARCHAR(20), who VARCHAR(100) COLLATE utf8mb4_general_ci, KEY (who));
INSERT INTO crm.contact VALUES (1, 'm-3 ', 'a', 'x'), (2, 'ḿ-3', 'b', 'x'), (3, 'M-3', 'd', 'x');
INSERT INTO crm.```q\"漢` VALUES ('a', 'Contact', 'c3@x.jp'), ('b', 'Contact', 'C3@x.jp'), ('c', 'Contact', 'c3@x.jp '), ('d', 'contact', 'c3@x.jp'), ('e', 'Contact', 'ć3@x.jp');"
    );
    let company = Company::with(MariaDb::start(), &schema, &policy);
    company
        .crm
        .execute("GRANT UPDATE, DELETE ON crm.```q\"漢` TO 'erasured'@'127.0.0.1'");
    company.says(&["check"], 0);
    company.file(&[3]);
    company.says(&["run", "--until-idle"], 1);
    // The sweep finds what is left of the person, and so it should: the rows were not this policy's.
    assert_eq!(company.states(), ["T-3 failed E0510"]);
    let left = company
        .crm
        .query("SELECT id FROM crm.contact WHERE id < 10 ORDER BY id");
    assert_eq!(left, [[Some("1".into())], [Some("2".into())]]);
    let left = company
        .crm
        .query("SELECT `i d` FROM crm.```q\"漢` ORDER BY 1");
    let left: Vec<&str> = left.iter().map(|r| r[0].as_deref().unwrap()).collect();
    assert_eq!(left, ["b", "c", "d", "e"]);
}

/// Whatever the server's own settings, and however others write.
#[test]
fn hostile_settings_change_nothing() {
    let server = MariaDb::start_with(&[
        "--sql-mode=ANSI_QUOTES,PAD_CHAR_TO_FULL_LENGTH",
        "--autocommit=0",
        "--lower-case-table-names=1",
        "--transaction-isolation=SERIALIZABLE",
        "--character-set-server=latin1",
    ]);
    let schema = format!(
        "SET SESSION sql_mode = ''; SET autocommit = 1; {CRM}
ALTER TABLE crm.call_log ADD COLUMN length INT AS (CHAR_LENGTH(said)) STORED, ADD COLUMN day DATE NOT NULL DEFAULT '0000-00-00';
UPDATE crm.call_log SET day = '0000-00-00';
SET foreign_key_checks = 0; INSERT INTO crm.call_log (contact, said) VALUES (99, 'orphan'); SET foreign_key_checks = 1;
INSERT INTO crm.invoice VALUES ('Z3', 'm-3', '0000-00-00', 'Name 3');"
    );
    let company = Company::with(server, &schema, POLICY);
    company.file(&[3, 5]);
    company.says(&["run", "--until-idle"], 1);
    // A row to be retained whose date is none: nobody knows until when.
    assert_eq!(company.states(), ["T-3 failed E0504", "T-5 completed"]);
    assert_eq!(
        company.crm.count("SELECT COUNT(*) FROM crm.call_log"),
        61 - 3
    );
    company.crm.execute(
        "SET autocommit = 1; UPDATE crm.invoice SET issued = '2011-01-01' WHERE no = 'Z3'",
    );
    company.says(&["ticket", "retry", "T-3"], 0);
    company.says(&["run", "--until-idle"], 0);
    assert_eq!(company.states(), ["T-3 completed", "T-5 completed"]);
    assert_eq!(
        company.crm.count("SELECT COUNT(*) FROM crm.call_log"),
        61 - 6
    );
}
