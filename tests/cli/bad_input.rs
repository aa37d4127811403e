//! Bad input: a clear error each time, the right exit code, and nothing lost.

use crate::desk::{Desk, stderr, stdout, submit};
use crate::support::{Server, Workspace, erasured};

/// What the desk is told when the ticket is looked at later.
#[test]
fn tickets_that_name_nobody_or_several_say_so() {
    let desk = Desk::open(120);
    let cases = [
        ("B-1", "member_no=TM-9999999".to_owned(), "E0403"),
        ("B-2", "email=not an address".to_owned(), "E0402"),
        ("B-3", "phone=12".to_owned(), "E0402"),
        (
            "B-4",
            "member_no=TM'; DROP TABLE customer; --".to_owned(),
            "E0403",
        ),
        ("B-5", "member_no=\u{202e}7000000-MT 🗾".to_owned(), "E0403"),
        ("B-6", format!("member_no={}", "長".repeat(1000)), "E0403"),
    ];
    for (reference, identifier, _) in &cases {
        stdout(desk.as_person("hana", submit(reference, identifier)));
    }
    // Two people may share a telephone.
    desk.server.execute(
        &desk.demo.shop,
        "UPDATE customer SET phone = '03-9999-0000' WHERE id IN (20, 21)",
    );
    stdout(desk.as_person("hana", submit("B-7", "phone=+81 3 9999 0000")));
    desk.run_until_idle().assert().success();
    for (reference, _, code) in &cases {
        assert_eq!(desk.ticket(reference, "problem_code"), *code, "{reference}");
        assert_eq!(desk.ticket(reference, "state"), "received");
    }
    assert_eq!(desk.ticket("B-7", "problem_code"), "E0404");
    assert_eq!(
        desk.server
            .count(&desk.demo.shop, "SELECT count(*) FROM customer"),
        120
    );

    // What the daemon wrote about them holds none of the values.
    let problems = desk
        .server
        .query(desk.control(), "SELECT problem FROM erasured.ticket_status");
    let problems = format!("{problems:?}");
    for (_, identifier, _) in &cases {
        let value = identifier.split_once('=').unwrap().1;
        assert!(!problems.contains(value), "{problems}");
    }

    // A ticket for somebody who is gone already finds nobody, and nothing breaks.
    desk.file("B-8", "member_no=TM-0000005");
    desk.run_until_idle().assert().success();
    stdout(desk.as_person("hana", submit("B-9", "member_no=TM-0000005")));
    desk.run_until_idle().assert().success();
    assert_eq!(desk.ticket("B-9", "problem_code"), "E0403");
}

#[test]
fn the_desk_is_told_at_once_what_cannot_be_filed() {
    let desk = Desk::open(120);
    let refused = |arguments: &[&str], says: &str| {
        let said = stderr(desk.as_person("hana", arguments.iter().copied()), 2);
        assert!(said.contains(says), "{arguments:?}: {said}");
    };
    stdout(desk.as_person("hana", submit("T-1", "member_no=TM-0000009")));
    // The same twice is one ticket; the reference for another request is not.
    let again = stdout(desk.as_person("hana", submit("T-1", "member_no=TM-0000009")));
    assert!(again.contains(&desk.ticket("T-1", "id")));
    refused(&submit("T-1", "member_no=TM-0000010"), "ER003");
    refused(&submit("T-2", "shoe_size=42"), "ER005");
    refused(
        &submit("T-2", &format!("member_no={}", "x".repeat(100_000))),
        "ER005",
    );
    refused(&submit("", "member_no=TM-0000010"), "ER006");
    let mut unknown = submit("T-2", "member_no=TM-0000010");
    unknown[7] = "everything";
    refused(&unknown, "ER004");
    refused(&["ticket", "approve", "T-9"], "there is no such ticket");
    refused(&["ticket", "verify", "T-1", "--method", "logon"], "ER006");
    refused(
        &["ticket", "verify", "T-1", "--method", "Licence No. 123"],
        "ER006",
    );
    // Approved by nobody, it waits; verified too weakly, it cannot be approved.
    let kenji = |arguments: &[&str]| stderr(desk.as_person("kenji", arguments.iter().copied()), 2);
    assert!(kenji(&["ticket", "approve", "T-1"]).contains("ER002"));
    stdout(desk.as_person("hana", ["ticket", "verify", "T-1", "--method", "callback"]));
    assert!(kenji(&["ticket", "approve", "T-1"]).contains("ER007"));
    desk.run_until_idle().assert().success();
    assert_eq!(desk.ticket("T-1", "state"), "verified");
    // A megabyte and a NUL, through the file.
    for (content, says) in [
        (format!("member_no={}", "y".repeat(1 << 20)), "ER005"),
        ("member_no=a\0b".into(), "NUL"),
    ] {
        let file = desk.workspace.path().join("who");
        std::fs::write(&file, content).unwrap();
        let arguments = [
            "ticket",
            "submit",
            "--reference",
            "T-3",
            "--subject",
            "customer",
            "--scope",
            "account",
            "--ground",
            "policy",
            "--identifier-file",
            file.to_str().unwrap(),
        ];
        refused(&arguments, says);
    }
    assert_eq!(
        desk.server
            .count(desk.control(), "SELECT count(*) FROM erasured.ticket"),
        1
    );
}

/// Each mistake with its file, line and code; JSON says the same for an editor.
#[test]
fn mistakes_in_files_are_shown_with_their_places() {
    let server = Server::shared();
    let workspace = Workspace::new(&server.url("postgres"), &[("app", server.url("postgres"))]);
    workspace.write_policy(
        "person.toml",
        "subject = \"person\"\nroot = \"app.public.person\"\ncolour = \"red\"\n\n[[table]]\nname = \"app.public.person\"\naction = \"vaporize\"\n",
    );
    let check = || workspace.erasured(["check", "--offline"]);
    let said = stderr(check(), 2);
    assert!(
        said.contains("person.toml:3:1") && said.contains("person.toml:7:"),
        "{said}"
    );
    let json = workspace
        .erasured(["check", "--offline", "--format", "json"])
        .output()
        .unwrap();
    assert_eq!(json.status.code(), Some(2));
    let found: Vec<serde_json::Value> = serde_json::from_slice(&json.stdout).unwrap();
    assert!(found.len() >= 2);
    let lines: Vec<i64> = found.iter().filter_map(|d| d["line"].as_i64()).collect();
    assert!(lines.contains(&3) && lines.contains(&7), "{found:?}");
    for diagnostic in &found {
        assert!(
            diagnostic["code"].as_str().unwrap().starts_with("E0"),
            "{diagnostic}"
        );
        assert!(
            !diagnostic["help"].as_str().unwrap().is_empty(),
            "{diagnostic}"
        );
    }
}

/// A policy against the databases: exit code 1, naming file and table.
#[test]
fn a_policy_that_does_not_fit_stops_the_ticket_before_it_starts() {
    let desk = Desk::open(120);
    desk.file("F-1", "member_no=TM-0000005");
    desk.server.execute(
        &desk.demo.shop,
        "CREATE TABLE wish_list (id int PRIMARY KEY, customer_id bigint REFERENCES customer, wish text)",
    );
    let output = desk.erasured(["check"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(
        said.contains("E0201")
            && said.contains("shop.public.wish_list")
            && said.contains("wish_list_customer_id_fkey"),
        "{said}"
    );
    let before = desk
        .server
        .count(&desk.demo.shop, "SELECT count(*) FROM customer");
    desk.run_until_idle().assert().code(1);
    assert_eq!(desk.ticket("F-1", "problem_code"), "E0201");
    assert!(
        desk.ticket("F-1", "problem")
            .contains("shop.public.wish_list")
    );
    assert_eq!(
        desk.server
            .count(&desk.demo.shop, "SELECT count(*) FROM customer"),
        before
    );

    // Decided, it goes on: nothing was lost.
    let rule = "\n[[table]]\nname = \"shop.public.wish_list\"\naction = \"delete\"\n";
    let file = desk.workspace.path().join("policies/customer.toml");
    let policy = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, policy + rule).unwrap();
    desk.server.execute(
        &desk.demo.shop,
        "GRANT DELETE, UPDATE (id) ON wish_list TO erasured_daemon",
    );
    let said = stdout(desk.as_person("hana", ["ticket", "retry", "--code", "E0201"]));
    assert!(
        said.contains("F-1: ") && said.contains("1 ticket(s) with E0201"),
        "{said}"
    );
    desk.run_until_idle().assert().success();
    assert_eq!(desk.ticket("F-1", "state"), "deferred");
}

#[test]
fn a_system_that_is_away_is_exit_code_3() {
    let workspace = Workspace::new(
        "postgresql:///nothing?host=/nonexistent-folder&user=postgres",
        &[(
            "app",
            "postgresql:///nothing?host=/nonexistent-folder&user=postgres".into(),
        )],
    );
    workspace.write_policy(
        "person.toml",
        "subject = \"person\"\nroot = \"app.public.person\"\n\n[scope.all]\ntables = \"all\"\nverify = { at_least = \"basic\" }\nsla = \"eu-gdpr\"\n\n[identifier.email]\ncolumn = \"email\"\nfind = true\n\n[[table]]\nname = \"app.public.person\"\naction = \"delete\"\n",
    );
    for arguments in [
        &["check"][..],
        &["ticket", "list"],
        &["ledger", "verify"],
        &["migrate"],
        &["run", "--until-idle"],
    ] {
        let said = stderr(workspace.erasured(arguments), 3);
        assert!(said.contains("nonexistent-folder"), "{arguments:?}: {said}");
    }
    let said = stderr(
        {
            let mut c = erasured();
            c.args(["--config", "/no/such.toml", "check"]);
            c
        },
        2,
    );
    assert!(
        said.contains("E0001") && said.contains("/no/such.toml"),
        "{said}"
    );
}

/// A password in an argument is refused before anybody is asked, and not repeated.
#[test]
fn passwords_are_not_taken_from_arguments() {
    let url = "postgresql://hana:geheim@127.0.0.1:1/control";
    for arguments in [
        &["ticket", "list", "--control", url][..],
        &["migrate", "--only", "control", "--url", url],
    ] {
        let mut command = erasured();
        command.args(arguments);
        let said = stderr(command, 2);
        assert!(
            said.contains("PGPASSWORD") && !said.contains("geheim"),
            "{said}"
        );
    }
    let mut help = erasured();
    help.env("ERASURED_CONTROL", url)
        .args(["ticket", "list", "--help"]);
    assert!(!stdout(help).contains("geheim"));
}
