//! Rows whose time is over stay, and refer to nobody any more.

use crate::company::{Company, DUE, POLICY, SCHEMA};

fn schema() -> String {
    format!("{SCHEMA} ALTER TABLE call ALTER customer DROP NOT NULL;")
}

fn policy(action: &str) -> String {
    POLICY.replace(
        "action   = \"delete\"\nbecause",
        &format!("{action}\nbecause"),
    )
}

const DETACH: &str = "action = \"detach\"\ndetach = [\"customer\"]";

fn rows(company: &Company, sql: &str) -> Vec<String> {
    let sql = format!("SELECT x::text FROM ({sql}) x");
    let rows = company.server.query(&company.shop, &sql).into_iter();
    rows.map(|row| row[0].clone().unwrap()).collect()
}

const NOW: &str = "SELECT id, customer, ended_at, tag FROM call ORDER BY id";

/// Written apart from `src/`: what the calls say when they have lost whose they were.
fn expected(company: &Company, due: &str) -> Vec<String> {
    let sql = format!(
        "SELECT id, CASE WHEN NOT coalesce({due}, false) THEN customer END, ended_at, tag FROM call c ORDER BY id"
    );
    rows(company, &sql)
}

#[test]
fn rows_lose_their_link_once_and_stay() {
    let company = Company::with(&schema(), &policy(DETACH));
    company.says(&["check"], 0);
    let due = company.count(&format!("SELECT count(*) FROM call c WHERE {DUE}"));
    let expected = expected(&company, DUE);
    let hanging = "SELECT n::text FROM note n UNION ALL SELECT s::text FROM survey s ORDER BY 1";
    let before = rows(&company, hanging);
    let run = company.json(&["retention", "run", "calls"]);
    assert_eq!(
        run["changed"],
        serde_json::json!({ "public.call": { "detached": due } })
    );
    assert_eq!(rows(&company, NOW), expected);
    assert_eq!(rows(&company, hanging), before);
    let certificate = company.says(&["certificate", "show", run["run"].as_str().unwrap()], 0);
    assert!(certificate.contains(&due.to_string()), "{certificate}");

    // Nothing is due any more, and no row is touched a second time.
    let versions = "SELECT id, xmin::text FROM call ORDER BY id";
    let touched = rows(&company, versions);
    assert_eq!(company.json(&["retention", "plan", "calls"])[0]["due"], 0);
    assert_eq!(company.json(&["retention", "run", "calls"])["batches"], 0);
    assert_eq!(rows(&company, versions), touched);
    company.says(&["retention", "verify"], 0);

    // Whom one of them is given to again it loses again.
    company.execute("UPDATE call SET customer = 7 WHERE id = 2700");
    company.says(&["retention", "verify"], 1);
    let run = company.json(&["retention", "run", "calls"]);
    assert_eq!(run["changed"]["public.call"]["detached"], 1, "{run}");
    assert_eq!(rows(&company, NOW), expected);
}

#[test]
fn what_is_under_a_hold_keeps_its_link() {
    let company = Company::with(&schema(), &policy(DETACH));
    company.says(&["run", "--until-idle"], 0);
    let hold = r#"SELECT erasured.place_hold('case-1', 'court-order', 'customer', '{"member_no": "M-5"}')"#;
    company.server.execute(&company.control, hold);
    company.says(&["run", "--until-idle"], 0);
    let expected = expected(&company, &format!("{DUE} AND customer <> 5"));
    let run = company.json(&["retention", "run", "calls"]);
    assert!(run["held"].as_i64().unwrap() > 10, "{run}");
    assert_eq!(rows(&company, NOW), expected);
}

#[test]
fn only_links_that_may_be_empty_are_cut() {
    let company = Company::with(&schema(), &policy(DETACH));
    for (action, code, words) in [
        ("action = \"detach\"", "E0104", "refer to somebody"),
        (
            "action = \"detach\"\ndetach = []",
            "E0106",
            "names no column",
        ),
        (
            "action = \"delete\"\ndetach = [\"customer\"]",
            "E0109",
            "rows that stay",
        ),
        (
            "action = \"detach\"\ndetach = [\"customer\"]\nset = { tag = \"null\" }",
            "E0109",
            "changes rows that stay",
        ),
        (
            "action = \"detach\"\ndetach = [\"client\"]",
            "E0203",
            "client",
        ),
        (
            "action = \"detach\"\ndetach = [\"ended_at\"]",
            "E0269",
            "refers to nothing",
        ),
    ] {
        company
            .workspace
            .write_policy("customer.toml", &policy(action));
        let said = company.says(&["check"], if code < "E0200" { 2 } else { 1 });
        // Long lines are folded.
        let said: Vec<&str> = said.split_whitespace().filter(|w| *w != "│").collect();
        let said = said.join(" ");
        assert!(
            said.contains(code) && said.contains(words),
            "{action}: {said}"
        );
    }
    company
        .workspace
        .write_policy("customer.toml", &policy(DETACH));
    company.execute("ALTER TABLE call ALTER customer SET NOT NULL");
    assert!(company.says(&["check"], 1).contains("E0206"));
    let said = company.says(&["retention", "run", "calls"], 1);
    assert!(said.contains("E0206"), "{said}");
}
