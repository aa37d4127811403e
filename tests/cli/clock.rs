//! A ticket's clock, from the desk's commands to the daemon that counts.

use crate::desk::{Desk, stderr, stdout, submit};

/// A clock for the demo's policy that has everything; a month ago leaves no doubt about days.
const EVERYTHING: &str = r#"
[profile.jp-appi]
length      = "60 days"
acknowledge = "3 days"
extend      = "30 days"
pause       = "suspend-while-asked"
zone        = "Asia/Tokyo"
source      = "a test"
sure        = "check"
"#;

/// Days from the request to what this column says.
fn days(desk: &Desk, column: &str) -> String {
    desk.ticket("R-1", &format!("((({column}) AT TIME ZONE 'Asia/Tokyo')::date - (requested_at AT TIME ZONE 'Asia/Tokyo')::date)"))
}

/// Japan's fourteen days are no term that is missed: the certificate says that an explanation was owed.
/// Of a law with a term it says that this was missed.
#[test]
fn a_certificate_says_what_its_day_means() {
    let desk = Desk::open(120);
    let long_ago = (chrono::Utc::now() - chrono::Duration::days(90)).to_rfc3339();
    let erased = |reference: &str, member: &str| {
        let mut filed = submit(reference, member).to_vec();
        filed.extend(["--requested-at", &long_ago]);
        stdout(desk.as_person("hana", filed));
        let verify = ["ticket", "verify", reference, "--method", "login_reauth"];
        stdout(desk.as_person("hana", verify));
        desk.approve(reference);
        desk.run_until_idle().assert().success();
        [
            stdout(desk.erasured(["certificate", "show", reference, "--lang", "en"])),
            stdout(desk.erasured(["ticket", "show", reference])),
        ]
    };
    let [certificate, ticket] = erased("R-1", "member_no=TM-0000005");
    assert!(
        certificate
            .contains("not late in law, but an explanation was owed from that day on (jp-appi)"),
        "{certificate}"
    );
    assert!(
        ticket.contains("an explanation was owed from then on") && !ticket.contains("missed"),
        "{ticket}"
    );
    let file = desk.workspace.path().join("policies/customer.toml");
    let policy = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, policy.replace("\"jp-appi\"", "\"eu-gdpr\"")).unwrap();
    desk.run_until_idle().assert().success();
    let [certificate, ticket] = erased("R-2", "member_no=TM-0000009");
    assert!(certificate.contains("missed (eu-gdpr)"), "{certificate}");
    assert!(ticket.contains("missed"), "{ticket}");
}

#[test]
fn the_desk_moves_the_clock_and_the_daemon_counts() {
    let desk = Desk::open(120);
    let file = desk.workspace.path().join("policies/sla.toml");
    std::fs::write(file, EVERYTHING).unwrap();
    let day = chrono::Utc::now() - chrono::Duration::days(20);
    let noon = day.date_naive().and_hms_opt(3, 0, 0).unwrap().and_utc();
    let noon = noon.to_rfc3339();
    let mut filed = submit("R-1", "member_no=TM-0000005").to_vec();
    filed.extend(["--requested-at", &noon]);
    stdout(desk.as_person("hana", filed));
    let counts = || desk.run_until_idle().assert().success();
    counts();
    assert_eq!(
        [
            days(&desk, "acknowledge_by"),
            days(&desk, "due_at"),
            days(&desk, "extended_due_at")
        ],
        ["3", "60", "90"]
    );
    let hana = |what: &[&str]| stdout(desk.as_person("hana", what.to_vec()));
    hana(&["ticket", "acknowledge", "R-1"]);
    hana(&["ticket", "ask", "R-1", "--for", "identity"]);
    // As if that had been ten days ago.
    desk.server.execute(
        desk.control(),
        "UPDATE erasured.pause SET asked_at = asked_at - interval '10 days'; \
         UPDATE erasured.ticket SET asked_at = asked_at - interval '10 days'",
    );
    counts();
    assert_eq!(desk.ticket("R-1", "clock"), "paused");
    let shown = hana(&["ticket", "show", "R-1"]);
    assert!(
        shown.contains("identity, since") && shown.contains("stands still"),
        "{shown}"
    );
    hana(&["ticket", "answered", "R-1"]);
    counts();
    assert_eq!(desk.ticket("R-1", "clock"), "running");
    assert_eq!(
        [days(&desk, "due_at"), days(&desk, "extended_due_at")],
        ["70", "100"]
    );

    stderr(
        desk.as_person("hana", ["ticket", "extend", "R-1", "--ground", "complex"]),
        2,
    );
    stdout(desk.as_person("kenji", ["ticket", "extend", "R-1", "--ground", "complex"]));
    assert_eq!(days(&desk, "due_at"), "100", "at once");
    let again = ["ticket", "extend", "R-1", "--ground", "many-requests"];
    let refused = stderr(desk.as_person("kenji", again), 2);
    assert!(refused.contains("ER017"), "{refused}");
    counts();
    assert_eq!(days(&desk, "due_at"), "100", "and as the daemon counts");
    let shown = hana(&["ticket", "show", "R-1"]);
    assert!(
        shown.contains("confirmed") && shown.contains("(complex)"),
        "{shown}"
    );
    let squeezed = shown.split_whitespace().collect::<Vec<_>>().join(" ");
    for line in [
        "requested customer policy",
        "filed desk",
        "receipt confirmed desk",
        "customer answered desk identity",
        "term extended approver complex",
        "— confirm receipt done 1",
        "— due in ",
    ] {
        assert!(squeezed.contains(line), "{line:?} in\n{shown}");
    }
    let listed = hana(&["ticket", "list"]);
    assert!(listed.contains("desk: proof of identity"), "{listed}");
}

/// Nobody of that number: the ticket goes nowhere, and is due all the same.
#[test]
fn who_was_not_found_has_a_due_date() {
    let desk = Desk::open(120);
    stdout(desk.as_person("hana", submit("R-1", "member_no=TM-9999999")));
    desk.run_until_idle().assert().success();
    assert_eq!(desk.ticket("R-1", "problem_code"), "E0403");
    assert_eq!(days(&desk, "due_at"), "14");
}
