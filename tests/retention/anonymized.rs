//! Rows whose time is over stay, without what was personal in them.

use crate::company::{Company, DUE, POLICY, SCHEMA};

const MORE: &str = "
    ALTER TABLE call ADD phone text, ADD words text, ADD born date, ADD fee int, ADD code varchar(8), ADD mail text, ADD follows int REFERENCES call ON DELETE CASCADE;
    UPDATE call SET phone = '03-1234-' || lpad(id::text, 4, '0'), words = CASE WHEN id % 3 > 0 THEN 'said ' || id END,
        born = date '1960-05-17' + id, fee = id, code = CASE id % 4 WHEN 0 THEN NULL WHEN 1 THEN '' ELSE 'abcdef' END,
        mail = 'x' || id || '@example.test', follows = CASE WHEN id < 2800 THEN id + 1 END;";

const SET: &str = r#"
phone = "null"
words = "redact"
tag   = { constant = "gone" }
born  = { truncate = "year" }
fee   = { bucket = 100 }
code  = { mask = 2 }
mail  = { template = "{key}@example.invalid" }
"#;

/// What a row then says, written apart from `src/`.
const CHANGED: &str = "SELECT id, customer, ended_at, CASE WHEN due THEN 'gone' ELSE tag END, CASE WHEN NOT due THEN phone END, \
    CASE WHEN due AND words IS NOT NULL THEN '[erased]' ELSE words END, CASE WHEN due THEN make_date(extract(year FROM born)::int, 1, 1) ELSE born END, \
    CASE WHEN due THEN fee / 100 * 100 ELSE fee END, CASE WHEN due AND code = 'abcdef' THEN 'ab****' ELSE code END, \
    CASE WHEN due THEN id || '@example.invalid' ELSE mail END, follows FROM (SELECT c.*, coalesce({due}, false) AS due FROM call c) c ORDER BY id";

fn policy(set: &str) -> String {
    let set: Vec<&str> = set.trim().lines().collect();
    let follows = "[[table]]\nname = \"shop.public.call\"\nvia = \"call_follows_fkey\"\naction = \"detach\"\n\n[[retention]]";
    POLICY.replace("[[retention]]", follows).replace(
        "action   = \"delete\"\nbecause",
        &format!(
            "action   = \"anonymize\"\nset = {{ {} }}\nbecause",
            set.join(", ")
        ),
    )
}

fn open(more: &str) -> Company {
    Company::with(&format!("{SCHEMA}{MORE}{more}"), &policy(SET))
}

fn calls(company: &Company, sql: &str) -> Vec<String> {
    let sql = format!("SELECT x::text FROM ({sql}) x");
    let rows = company.server.query(&company.shop, &sql).into_iter();
    rows.map(|row| row[0].clone().unwrap()).collect()
}

fn hanging(company: &Company) -> Vec<String> {
    calls(
        company,
        "SELECT n::text, '' FROM note n UNION ALL SELECT s::text, '' FROM survey s ORDER BY 1",
    )
}

const NOW: &str = "SELECT id, customer, ended_at, tag, phone, words, born, fee, code, mail, follows FROM call ORDER BY id";

#[test]
fn rows_are_changed_once_and_what_hangs_on_them_stays() {
    let company = open("");
    assert!(company.says(&["check"], 0).contains("fit the databases"));
    let due = company.count(&format!("SELECT count(*) FROM call c WHERE {DUE}"));
    let expected = calls(&company, &CHANGED.replace("{due}", DUE));
    let (before, hang) = (calls(&company, NOW), hanging(&company));
    let dry = company.json(&["retention", "run", "calls", "--dry-run"]);
    assert_eq!(
        (dry["due"].as_i64(), calls(&company, NOW)),
        (Some(due), before)
    );
    let run = company.json(&["retention", "run", "calls"]);
    assert_eq!(
        run["changed"],
        serde_json::json!({ "public.call": { "anonymized": due } })
    );
    assert_eq!(calls(&company, NOW), expected);
    assert_eq!(hanging(&company), hang);
    let runs = company.json(&["retention", "runs"]);
    assert_eq!(runs[0]["rows"].as_i64(), Some(due), "{runs}");

    // The next night nothing is due, and no row is touched.
    let versions = "SELECT id, xmin::text FROM call ORDER BY id";
    let touched = calls(&company, versions);
    assert_eq!(company.json(&["retention", "plan", "calls"])[0]["due"], 0);
    assert_eq!(company.json(&["retention", "run", "calls"])["batches"], 0);
    assert_eq!(calls(&company, versions), touched);

    // Whatever is written to one of them afterwards goes too.
    company.execute(
        "UPDATE call SET words = 'new' WHERE id = 2500; UPDATE call SET fee = 7 WHERE id = 2501",
    );
    let run = company.json(&["retention", "run", "calls"]);
    assert_eq!(run["changed"]["public.call"]["anonymized"], 2, "{run}");
    let again = "UPDATE call SET words = '[erased]', fee = CASE id WHEN 2501 THEN 0 ELSE fee END WHERE id IN (2500, 2501) AND words IS NOT NULL RETURNING 1";
    assert!(company.count(&format!("WITH x AS ({again}) SELECT count(*) FROM x")) > 0);
    assert_eq!(company.json(&["retention", "plan", "calls"])[0]["due"], 0);
}

#[test]
fn rows_under_a_hold_stay_as_they_are() {
    let company = open("");
    let hold = r#"SELECT erasured.place_row_hold('case-1', 'court-order', 'shop.public.call', '[{"column": "id", "op": "between", "values": ["2500", "2510"]}]')"#;
    company.server.execute(&company.control, hold);
    company.says(&["run", "--until-idle"], 0);
    let due = format!("{DUE} AND c.id NOT BETWEEN 2500 AND 2510");
    let expected = calls(&company, &CHANGED.replace("{due}", &due));
    let run = company.json(&["retention", "run", "calls"]);
    assert_eq!(run["held"], 11, "{run}");
    assert_eq!(calls(&company, NOW), expected);
}

/// A trigger that brings the old value back is not believed.
#[test]
fn a_value_that_comes_back_is_set_aside() {
    let company = open(
        "CREATE FUNCTION stubborn() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
           IF OLD.id = 2600 THEN NEW.phone := OLD.phone; END IF; RETURN NEW; END $$; \
         CREATE TRIGGER stubborn BEFORE UPDATE ON call FOR EACH ROW EXECUTE FUNCTION stubborn();",
    );
    let due = format!("{DUE} AND c.id <> 2600");
    let expected = calls(&company, &CHANGED.replace("{due}", &due));
    let said = company.says(&["retention", "run", "calls"], 1);
    assert!(
        said.contains("set aside: shop.public.call with key 2600"),
        "{said}"
    );
    assert_eq!(calls(&company, NOW), expected);
}

#[test]
fn what_cannot_be_told_from_an_old_value_is_refused() {
    for set in [
        "phone = \"hash\"",
        "mail = { hash = \"email\" }",
        "words = { choose = [\"a\", \"b\"] }",
        "words = { redact = \"identifiers\" }",
    ] {
        let company = Company::with(&format!("{SCHEMA}{MORE}"), &policy(set));
        let said = company.says(&["check"], 2);
        assert!(
            said.contains("E0109") && said.contains("due every night"),
            "{set}: {said}"
        );
    }
    let missing = POLICY.replace(
        "action   = \"delete\"\nbecause",
        "action = \"anonymize\"\nbecause",
    );
    let company = Company::with(&format!("{SCHEMA}{MORE}"), &missing);
    assert!(
        company
            .says(&["check"], 2)
            .contains("say what becomes of each column")
    );
    let both = policy(SET).replace("\"anonymize\"", "\"delete\"");
    company.workspace.write_policy("customer.toml", &both);
    assert!(
        company
            .says(&["check"], 2)
            .contains("changes rows that stay")
    );
    let lacking = policy("fax = \"null\"");
    company.workspace.write_policy("customer.toml", &lacking);
    assert!(company.says(&["check"], 1).contains("E0203"));
    let needed = policy("customer = \"null\"");
    company.workspace.write_policy("customer.toml", &needed);
    assert!(company.says(&["check"], 1).contains("E0206"));
}
