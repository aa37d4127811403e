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
    let verify = ["ticket", "verify", reference, "--method", "login_reauth"];
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

/// A scope of one column and one table: the plan and the certificate say what it covered, in both
/// languages, and that nothing else was searched; the customer stays.
#[test]
fn plan_and_certificate_say_what_a_scope_covers() {
    let desk = Desk::open(120);
    desk.server.execute(
        &desk.demo.shop,
        "ALTER TABLE customer ADD newsletter_email text;
         UPDATE customer SET newsletter_email = email;
         GRANT UPDATE (newsletter_email) ON customer TO erasured_daemon",
    );
    add_to_policy(
        &desk,
        r#"
[category.mailing]
tables  = ["shop.public.campaign_click"]
columns = ["shop.public.customer.newsletter_email"]

[scope.letters]
categories = ["mailing"]
verify     = { at_least = "basic" }
sla        = "jp-appi"

[[table]]
name   = "shop.public.customer"
scopes = ["letters"]
action = "anonymize"
set    = { newsletter_email = "null" }
"#,
    );
    let checked = stdout(desk.erasured(["check"]));
    assert!(
        checked.contains("letters (1 tables, 1 columns)"),
        "{checked}"
    );
    desk.run_until_idle().assert().success();
    let plan = stdout(desk.erasured([
        "plan",
        "--subject",
        "member_no=TM-0000005",
        "--scope",
        "letters",
    ]));
    for line in [
        "covers categories: mailing\n",
        "covers tables: shop.public.campaign_click\n",
        "covers columns: shop.public.customer.newsletter_email\n",
        "anonymize 1",
        "newsletter_email → null",
    ] {
        assert!(plan.contains(line), "{line} in\n{plan}");
    }
    let whole = [
        "plan",
        "--subject",
        "member_no=TM-0000005",
        "--scope",
        "account",
    ];
    assert!(!stdout(desk.erasured(whole)).contains("covers"));

    let others = "SELECT md5(string_agg(c::text, ';' ORDER BY id)) FROM customer c WHERE id <> 5";
    let others = || desk.server.value(&desk.demo.shop, others);
    let before = others();
    file(&desk, "S-2", "letters", "member_no=TM-0000005");
    desk.run_until_idle().assert().success();
    assert_eq!(desk.ticket("S-2", "state"), "completed");
    assert_eq!(others(), before);
    let row = "SELECT (newsletter_email IS NULL)::text || (email IS NOT NULL)::text FROM customer WHERE id = 5";
    assert_eq!(desk.server.value(&desk.demo.shop, row), "truetrue");

    let certificate = |more: &[&str]| {
        let arguments = ["certificate", "show", "S-2"]
            .into_iter()
            .chain(more.iter().copied());
        stdout(desk.erasured(arguments))
    };
    let json: serde_json::Value =
        serde_json::from_str(&certificate(&["--format", "json"])).unwrap();
    assert_eq!(
        json["ticket"]["covers"],
        serde_json::json!({
            "categories": ["mailing"],
            "tables": ["shop.public.campaign_click"],
            "columns": ["shop.public.customer.newsletter_email"],
        })
    );
    assert_eq!(json["sweep"], serde_json::json!([]));
    for (lang, covers, unsearched) in [
        ("en", "Covers columns", "other places were not searched"),
        ("ja", "範囲に含まれる列", "他の場所の検索は行っていない"),
    ] {
        let text = certificate(&["--lang", lang]);
        let line = text.lines().find(|line| line.contains(covers));
        assert!(
            line.is_some_and(|l| l.ends_with(".newsletter_email")),
            "{text}"
        );
        assert!(text.contains(unsearched), "{text}");
    }
    let page = certificate(&["--format", "html"]);
    assert!(page.contains("範囲に含まれる列") && page.contains("were not searched"));
}
