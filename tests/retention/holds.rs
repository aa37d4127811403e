//! Legal holds stand above rules.

use crate::company::{Company, DUE};

fn hold(company: &Company, what: &str) {
    company.server.execute(&company.control, what);
    // A daemon reads it.
    company.says(&["run", "--until-idle"], 0);
}

#[test]
fn rows_under_a_hold_stay_and_the_others_go() {
    let company = Company::open();
    hold(
        &company,
        r#"SELECT erasured.place_row_hold('case-1', 'court-order', 'shop.public.call', '[{"column": "id", "op": "between", "values": ["2500", "2510"]}]')"#,
    );
    let but = format!("({DUE}) AND c.id NOT BETWEEN 2500 AND 2510");
    let expected = company.rows(&but);
    let run = company.json(&["retention", "run", "calls"]);
    assert_eq!(run["held"], 11, "{run}");
    assert_eq!(run["set_aside"].as_array().unwrap().len(), 0, "{run}");
    assert_eq!(company.rows("false"), expected);
    company
        .server
        .execute(&company.control, "SELECT erasured.release_matter('case-1')");
    company.says(&["retention", "run", "calls"], 0);
    assert_eq!(
        company.count(&format!("SELECT count(*) FROM call c WHERE {DUE}")),
        0
    );
}

/// What hangs on a row that is due is held: the row stays with it.
#[test]
fn a_held_row_keeps_what_it_hangs_on() {
    let company = Company::open();
    let call = company.count("SELECT max(call) FROM note");
    hold(
        &company,
        &format!(
            r#"SELECT erasured.place_row_hold('case-1', 'court-order', 'shop.public.note', '[{{"column": "call", "op": "=", "values": ["{call}"]}}]')"#
        ),
    );
    let expected = company.rows(&format!("({DUE}) AND c.id <> {call}"));
    let said = company.says(&["retention", "run", "calls"], 1);
    assert!(
        said.contains(&format!("key {call}: a legal hold covers")),
        "{said}"
    );
    assert_eq!(company.rows("false"), expected);
}

/// Whose a call is, is not looked up: while anybody of the policy's kind is under a hold, no call goes.
#[test]
fn a_hold_on_a_person_stops_rules_for_tables_of_people() {
    let company = Company::open();
    company.says(&["run", "--until-idle"], 0);
    let before = company.rows("false");
    hold(
        &company,
        r#"SELECT erasured.place_hold('case-1', 'court-order', 'customer', '{"member_no": "M-3"}')"#,
    );
    let said = company.says(&["retention", "run", "calls"], 1);
    assert!(said.contains("E0521"), "{said}");
    assert_eq!(company.rows("false"), before);
    assert_eq!(
        company.json(&["retention", "runs"])[0]["problem_code"],
        "E0521"
    );
    company
        .server
        .execute(&company.control, "SELECT erasured.release_matter('case-1')");
    company.says(&["retention", "run", "calls"], 0);
}
