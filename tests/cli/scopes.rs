//! Scopes that ask for less than everything, from the ticket to the certificate.

use crate::desk::{Desk, stdout};

/// The customers' policy with this at its end.
fn add_to_policy(desk: &Desk, text: &str) {
    let file = desk.workspace.path().join("policies/customer.toml");
    let policy = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, policy + text).unwrap();
}

/// Files, verifies and approves a request for one scope.
fn file(desk: &Desk, reference: &str, scope: &str, identifier: &str) {
    let mut submit = crate::desk::submit(reference, identifier);
    let at = submit.iter().position(|word| *word == "account").unwrap();
    submit[at] = scope;
    stdout(desk.as_person("hana", submit));
    let verify = [
        "ticket",
        "verify",
        reference,
        "--method",
        "callback",
        "--level",
        "reasonably-high",
    ];
    stdout(desk.as_person("hana", verify));
    desk.approve(reference);
}

/// Notes hang off an opt-in, which an address links and the scope does not cover: whose they are
/// cannot be told when a family shares the address.
#[test]
fn a_shared_address_outside_the_scope_stops_the_ticket() {
    let desk = Desk::open(120);
    desk.server.execute(
        &desk.demo.shop,
        "DROP INDEX customer_email_folded; UPDATE customer SET email = 'family@example.jp' WHERE id IN (5, 9)",
    );
    desk.server.execute(
        &desk.demo.loyalty,
        "CREATE TABLE optin_note (optin_id bigint NOT NULL REFERENCES partner_optin, body text);
         GRANT DELETE, UPDATE (optin_id) ON optin_note TO erasured_daemon;
         INSERT INTO partner_optin (id, partner, email, opted_in_at) VALUES (7, 'hotel', 'family@example.jp', now());
         INSERT INTO optin_note VALUES (7, 'a note')",
    );
    add_to_policy(
        &desk,
        "\n[[table]]\nname = \"loyalty.public.optin_note\"\naction = \"delete\"\n\n\
         [scope.notes]\ntables = [\"loyalty.public.optin_note\"]\nverify = { at_least = \"basic\" }\nsla = \"jp-appi\"\n",
    );
    desk.run_until_idle().assert().success();
    file(&desk, "S-1", "notes", "member_no=TM-0000005");
    desk.run_until_idle().assert().code(1);
    assert_eq!(desk.ticket("S-1", "problem_code"), "E0407");
    let left = "SELECT count(*) FROM optin_note";
    assert_eq!(desk.server.count(&desk.demo.loyalty, left), 1);
}
