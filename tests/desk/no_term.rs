//! A law that names no number of days, and a company that promises none: no date is told anywhere.

use crate::desk::{Desk, stdout, submit};

#[test]
fn notices_and_scripts_tell_no_date_where_there_is_none() {
    let desk = Desk::open(120);
    desk.workspace.write_policy(
        "sla.toml",
        "[profile.br-own]\nlength = \"none\"\nzone = \"America/Sao_Paulo\"\nsource = \"LGPD Art. 18\"\nsure = \"check\"\n",
    );
    let file = desk.workspace.path().join("policies/customer.toml");
    let policy = std::fs::read_to_string(&file).unwrap();
    let with = policy.replacen("\"jp-appi\"", "\"br-own\"", 1);
    assert_ne!(with, policy);
    std::fs::write(&file, with).unwrap();
    desk.run_until_idle().assert().success();

    let mut asked = submit("R-1", "member_no=TM-0000005").to_vec();
    // Long ago: with a number of days it would be late.
    asked.extend(["--requested-at", "2025-01-01T00:00:00Z"]);
    stdout(desk.as_person("hana", asked));
    desk.run_until_idle().assert().success();
    let by_hana = |arguments: &[&str]| stdout(desk.as_person("hana", arguments.to_vec()));
    let list = by_hana(&["ticket", "list"]);
    assert!(
        list.contains("waits") && !list.contains("LATE") && !list.contains("2025-"),
        "{list}"
    );
    assert!(!by_hana(&["ticket", "list", "--overdue"]).contains("R-1"));
    let shown = by_hana(&["ticket", "show", "R-1", "--format", "json"]);
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(
        (&shown["due_at"], shown["clock"].as_str()),
        (&serde_json::Value::Null, Some("none"))
    );
    let receipt = by_hana(&[
        "ticket", "notice", "R-1", "--kind", "receipt", "--lang", "en",
    ]);
    assert!(
        receipt.contains("the outcome when there is one"),
        "{receipt}"
    );
    let script = by_hana(&["ticket", "script", "R-1", "--lang", "en"]);
    assert!(!script.contains("outcome by"), "{script}");
    let told = "SELECT count(*) FROM erasured.event WHERE kind IN ('late', 'escalated', 'explain_required')";
    assert_eq!(desk.server.count(desk.control(), told), 0);

    stdout(desk.as_person(
        "hana",
        ["ticket", "verify", "R-1", "--method", "login_reauth"],
    ));
    desk.approve("R-1");
    desk.run_until_idle().assert().success();
    assert_eq!(desk.ticket("R-1", "state"), "deferred");
    let key = desk.workspace.public_key();
    let show = |format| {
        let key = key.to_str().unwrap();
        stdout(desk.as_person(
            "auditor",
            [
                "certificate",
                "show",
                "R-1",
                "--format",
                format,
                "--key",
                key,
            ],
        ))
    };
    let certificate: serde_json::Value = serde_json::from_str(&show("json")).unwrap();
    let ticket = &certificate["ticket"];
    assert!(
        ticket["due_at"].is_null() && ticket["sla_met"].is_null(),
        "{ticket}"
    );
    assert!(show("text").contains("no last day"));
    let met = "SELECT count(*) FROM erasured.ticket WHERE sla_met IS NOT NULL";
    assert_eq!(desk.server.count(desk.control(), met), 0);
}
