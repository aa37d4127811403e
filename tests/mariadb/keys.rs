//! Keys that are no text: UUIDs and bytes.

use crate::company::{CRM, Company, POLICY};
use crate::support::MariaDb;

/// A device of each contact, known by a UUID, what it has sent, known by bytes of which some are no text, and parts
/// of that, known by both. Those of others differ from one's own by one bit, by case, and by a zero at the end.
const DEVICES: &str = "
CREATE TABLE crm.device (id UUID PRIMARY KEY, contact BIGINT UNSIGNED NOT NULL, FOREIGN KEY (contact) REFERENCES crm.contact (id));
CREATE TABLE crm.message (id BINARY(4) PRIMARY KEY, device UUID, FOREIGN KEY (device) REFERENCES crm.device (id));
CREATE TABLE crm.part (message BINARY(4) NOT NULL, part VARBINARY(8) NOT NULL, body VARCHAR(20), PRIMARY KEY (message, part));
INSERT INTO crm.device SELECT CONCAT('0190b5a2-0000-7000-8000-0000000000', LPAD(seq, 2, '0')), 18446744073709551000 + seq FROM seq_1_to_20;
INSERT INTO crm.message VALUES (X'00FF0A61', '0190b5a2-0000-7000-8000-000000000003'), (X'41000000', '0190b5a2-0000-7000-8000-000000000003'),
  (X'00FF0A41', '0190b5a2-0000-7000-8000-000000000004'), (X'61000000', '0190b5a2-0000-7000-8000-000000000004'), (X'00FF0A62', NULL);
INSERT INTO crm.part VALUES (X'00FF0A61', X'80', 'x'), (X'00FF0A61', X'8000', 'x'), (X'00FF0A61', X'', 'x'),
  (X'00FF0A41', X'80', 'x'), (X'00FF0A62', X'61', 'x')";

const RULES: &str = "
[[table]]
name   = \"crm.crm.device\"
action = \"delete\"

[[table]]
name   = \"crm.crm.message\"
action = \"delete\"

[[table]]
name   = \"crm.crm.part\"
link   = { columns = [\"message\"], to = \"crm.crm.message\" }
action = \"anonymize\"
set    = { body = \"null\" }
";

#[test]
fn rows_are_found_by_uuids_and_by_bytes() {
    let (schema, policy) = (format!("{CRM}{DEVICES}"), format!("{POLICY}{RULES}"));
    let company = Company::with(MariaDb::start(), &schema, &policy);
    for table in ["device", "message", "part"] {
        let grant = format!("GRANT UPDATE, DELETE ON crm.{table} TO 'erasured'@'127.0.0.1'");
        company.crm.execute(&grant);
    }
    company.says(&["check"], 0);
    company.file(&[3]);
    company.says(&["run", "--until-idle"], 0);
    assert_eq!(company.states(), ["T-3 completed"]);
    company.history_holds();
    let crm = &company.crm;
    let devices = "SELECT COUNT(*), SUM(id LIKE '%-000000000003') FROM crm.device";
    assert_eq!(crm.query(devices), [[Some("19".into()), Some("0".into())]]);
    let messages = crm.query("SELECT HEX(id) FROM crm.message ORDER BY id");
    let messages: Vec<_> = messages.into_iter().flatten().flatten().collect();
    assert_eq!(messages, ["00FF0A41", "00FF0A62", "61000000"]);
    let bodies = "SELECT CONCAT(HEX(message), ' ', HEX(part)) FROM crm.part WHERE body IS NULL ORDER BY message, part";
    let bodies: Vec<_> = crm.query(bodies).into_iter().flatten().flatten().collect();
    assert_eq!(bodies, ["00FF0A61 ", "00FF0A61 80", "00FF0A61 8000"]);
    assert_eq!(crm.count("SELECT COUNT(*) FROM crm.part"), 5);
    let part = company.certificate("T-3");
    let part = part.systems.iter().find(|s| s.system == "crm").unwrap();
    let of = |table: &str| {
        let t = part.tables.iter().find(|t| t.table == table).unwrap();
        (t.deleted, t.anonymized)
    };
    assert_eq!(of("crm.device"), (1, 0));
    assert_eq!(of("crm.message"), (2, 0));
    assert_eq!(of("crm.part"), (0, 3));
}
