//! `erasured discover`: from a database nobody here has seen to a policy with nothing but
//! decisions left to make, and on from a policy that people have edited.

use crate::support::{Demo, Server, Workspace, load_demo, repository};
use std::path::PathBuf;

struct Place {
    server: &'static Server,
    workspace: Workspace,
    database: String,
}

/// What a command said.
struct Said {
    code: i32,
    out: String,
    err: String,
}

impl Place {
    fn of_demo() -> (Place, Demo) {
        let server = Server::shared();
        let demo = load_demo(server, 120);
        let workspace = Workspace::of_demo(server, &demo);
        std::fs::remove_file(workspace.path().join("policies/customer.toml")).unwrap();
        let database = demo.shop.clone();
        (Place::ready(server, workspace, database), demo)
    }

    fn of(sql: &str) -> Place {
        let server = Server::shared();
        let database = server.fresh_database("nasty");
        server.execute(&database, sql);
        let control = server.fresh_database("control");
        let workspace = Workspace::new(&server.url(&control), &[("app", server.url(&database))]);
        Place::ready(server, workspace, database)
    }

    fn nasty() -> Place {
        let file = repository().join("tests/fixtures/nasty.sql");
        Place::of(&std::fs::read_to_string(file).unwrap())
    }

    fn ready(server: &'static Server, workspace: Workspace, database: String) -> Place {
        let place = Place {
            server,
            workspace,
            database,
        };
        let migrated = place.says(&["migrate"]);
        assert_eq!(migrated.code, 0, "{}", migrated.err);
        place
    }

    fn says(&self, arguments: &[&str]) -> Said {
        let output = self.workspace.erasured(arguments).output().unwrap();
        Said {
            code: output.status.code().unwrap(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    fn file(&self) -> PathBuf {
        self.workspace.path().join("policies/draft.toml")
    }

    fn text(&self) -> String {
        std::fs::read_to_string(self.file()).unwrap()
    }

    fn write(&self, text: &str) {
        std::fs::write(self.file(), text).unwrap();
    }

    /// Drafts into the folder of policies.
    #[track_caller]
    fn discover(&self, system: &str, root: &str) -> String {
        let file = self.file().display().to_string();
        let arguments = [
            "discover", "--system", system, "--root", root, "--output", &file,
        ];
        let said = self.says(&arguments);
        assert_eq!(said.code, 0, "{}", said.err);
        self.text()
    }

    /// The codes of the errors that `check` finds, with the lines.
    fn check(&self) -> Vec<(String, u64, String)> {
        let said = self.says(&["check", "--format", "json"]);
        let list: Vec<serde_json::Value> =
            serde_json::from_str(&said.out).unwrap_or_else(|_| panic!("{}{}", said.out, said.err));
        list.iter()
            .filter(|d| d["severity"] == "error")
            .map(|d| {
                (
                    d["code"].as_str().unwrap().to_owned(),
                    d["line"].as_u64().unwrap_or(0),
                    d["message"].as_str().unwrap().to_owned(),
                )
            })
            .collect()
    }

    /// `check` says nothing but that each `decide` is to be decided, at its place.
    #[track_caller]
    fn nothing_but_decide(&self) {
        let text = self.text();
        let expected: Vec<u64> = text
            .lines()
            .zip(1..)
            .filter(|(line, _)| line.trim() == "action = \"decide\"")
            .map(|(_, line)| line)
            .collect();
        let found = self.check();
        let other: Vec<_> = found.iter().filter(|(code, ..)| code != "E0119").collect();
        assert!(other.is_empty(), "{other:#?}\n{text}");
        let lines: Vec<u64> = found.iter().map(|(_, line, _)| *line).collect();
        assert!(!lines.is_empty());
        assert_eq!(lines, expected);
    }
}

/// The `[[table]]` entries as TOML values.
fn rules(text: &str) -> Vec<toml::Table> {
    let file: toml::Table = toml::from_str(text).unwrap();
    let tables = file["table"].as_array().unwrap();
    tables
        .iter()
        .map(|t| t.as_table().unwrap().clone())
        .collect()
}

/// What is suggested for a table and, where there is one, a `via`.
#[track_caller]
fn action(text: &str, table: &str, via: Option<&str>) -> String {
    let rules = rules(text);
    let mut found = rules.iter().filter(|r| {
        r["name"].as_str() == Some(table) && r.get("via").and_then(|v| v.as_str()) == via
    });
    let rule = found
        .next()
        .unwrap_or_else(|| panic!("no rule for {table} {via:?}\n{text}"));
    rule["action"].as_str().unwrap().to_owned()
}

/// The comment above the first rule of a table.
#[track_caller]
fn why(text: &str, table: &str) -> String {
    let name = format!("name   = \"{table}\"");
    let at = text
        .find(&name)
        .unwrap_or_else(|| panic!("no rule for {table}\n{text}"));
    let above = &text[..at];
    let block = above.rsplit("\n\n").next().unwrap();
    block.replace("\n#  ", "").replace("\n# ", " ")
}

#[test]
fn the_demo_becomes_a_draft_with_nothing_but_decisions_left() {
    let (place, _) = Place::of_demo();
    let text = place.discover("shop", "public.customer");
    for (table, via, expected) in [
        ("customer", None, "delete"),
        ("customer_address", None, "delete"),
        ("passport", None, "delete"),
        ("campaign_click", None, "delete"),
        ("call_note", None, "delete"),
        ("booking", None, "decide"),
        ("invoice", None, "decide"),
        ("invoice_line", None, "decide"),
        ("payment", None, "decide"),
        ("review", None, "decide"),
        (
            "support_message",
            Some("support_message_parent_id_fkey"),
            "decide",
        ),
        ("activity", None, "decide"),
        ("audit_log", None, "decide"),
    ] {
        let name = format!("shop.public.{table}");
        assert_eq!(action(&text, &name, via), expected, "{table}\n{text}");
    }
    let invoice = why(&text, "shop.public.invoice");
    for reason in [
        "invoice_customer_id_fkey",
        "ON DELETE NO ACTION",
        "retain",
        "billing_email (an e-mail address",
    ] {
        assert!(invoice.contains(reason), "{reason}: {invoice}");
    }
    let payment = why(&text, "shop.public.payment");
    assert!(
        payment.contains("public.booking, which is to be decided too")
            && payment.contains("retain"),
        "{payment}"
    );
    let activity = why(&text, "shop.public.activity");
    assert!(activity.contains("Staff (public.staff)"), "{activity}");
    assert!(
        text.contains("when = { actor_type = \"Customer\" }"),
        "{text}"
    );
    assert!(
        text.contains("public.web_event") && text.contains("sampled values hold e-mail"),
        "{text}"
    );
    place.nothing_but_decide();

    // What is not decided does not run: nothing that executes takes the file.
    for command in [
        &["run", "--until-idle"][..],
        &["plan", "--subject", "member_no=TM-0000005"],
    ] {
        let said = place.says(command);
        assert_eq!(said.code, 2, "{}", said.out);
        assert!(said.err.contains("E0119"), "{}", said.err);
    }
    // But whoever decides may search by its identifiers.
    let who = place.workspace.path().join("who");
    std::fs::write(&who, "member_no=TM-0000005\n").unwrap();
    let said = place.says(&["sweep", "--identifier-file", who.to_str().unwrap()]);
    assert_eq!(said.code, 1, "{}", said.err);
    assert!(said.out.contains("customer"), "{}", said.out);
    // Another draft is the same, and no file is written over.
    let again = place.says(&["discover", "--system", "shop", "--root", "public.customer"]);
    assert_eq!(again.out, text);
    let file = place.file().display().to_string();
    let over = place.says(&[
        "discover",
        "--system",
        "shop",
        "--root",
        "public.customer",
        "--output",
        &file,
    ]);
    assert_eq!(over.code, 2, "{}", over.err);
    assert_eq!(place.text(), text);
}

#[test]
fn a_nasty_schema_becomes_a_draft_with_nothing_but_decisions_left() {
    let place = Place::nasty();
    let text = place.discover("app", "crm.Members");
    for (table, via, expected) in [
        ("Members", None, "delete"),
        ("Members", Some("Members_referred_by_fkey"), "detach"),
        ("Members", Some("Members_merged_into_fkey"), "decide"),
        ("Members", Some("Members_default_address_id_fkey"), "decide"),
        ("address", None, "delete"),
        ("visit", None, "delete"),
        ("half", None, "decide"),
        ("message", Some("message_sender_id_fkey"), "decide"),
        ("message", Some("message_recipient_id_fkey"), "decide"),
        ("message", Some("message_approved_by_fkey"), "detach"),
        ("note", Some("note_member_id_fkey"), "delete"),
        ("note", Some("note_created_by_fkey"), "detach"),
        ("note", Some("note_parent_id_fkey"), "decide"),
        ("tag_use", None, "delete"),
        ("ring_a", Some("ring_a_b"), "decide"),
        ("trip", None, "delete"),
        ("stay", None, "delete"),
        ("請求書", None, "decide"),
        ("seikyu_meisai", None, "decide"),
        ("audit_entry", None, "decide"),
        ("click", None, "delete"),
        ("hit_2025", None, "decide"),
        ("old_style", None, "delete"),
        ("ruled", None, "decide"),
        ("published", None, "decide"),
        ("scan", None, "decide"),
        ("crew", None, "delete"),
        ("generated", None, "decide"),
        ("survey", None, "decide"),
        ("legacy", None, "decide"),
        ("mailing", Some("by member_no"), "decide"),
        ("attachment", None, "decide"),
    ] {
        let name = format!("app.crm.{table}");
        assert_eq!(action(&text, &name, via), expected, "{table}\n{text}");
    }
    assert!(why(&text, "app.crm.published").contains("E0215"), "{text}");
    assert!(why(&text, "app.crm.scan").contains("E0237"), "{text}");
    assert!(
        why(&text, "app.crm.crew").contains("others (100 % of 30 sampled values are lists of ids"),
        "{text}"
    );
    assert!(
        why(&text, "app.crm.legacy").contains("90 % of 50 sampled rows match"),
        "{text}"
    );
    assert!(
        why(&text, "app.crm.legacy").contains("card numbers"),
        "{text}"
    );
    assert!(
        why(&text, "app.crm.attachment").contains("App\\Models\\Member (crm.Members)"),
        "{text}"
    );
    let file: toml::Table = toml::from_str(&text).unwrap();
    let identifiers = file["identifier"].as_table().unwrap();
    for (name, kind) in [("email", "email"), ("kontakt", "email"), ("name", "name")] {
        assert_eq!(identifiers[name]["type"].as_str(), Some(kind), "{text}");
    }
    assert_eq!(identifiers["member_no"]["find"].as_bool(), Some(true));
    let shared = "crm.talk: crm.talk_member pairs it with people, perhaps with several";
    assert!(text.replace("\n# ", " ").contains(shared), "{text}");
    place.nothing_but_decide();
}

/// Every value of the schema is a canary.
#[test]
fn nothing_that_was_sampled_is_printed_or_left_anywhere() {
    let place = Place::nasty();
    let text = place.discover("app", "crm.Members");
    let printed = place.says(&["discover", "--system", "app", "--root", "crm.Members"]);
    let mut all = text + &printed.out + &printed.err;
    for folder in ["", "policies", "state"] {
        for entry in std::fs::read_dir(place.workspace.path().join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                all += &String::from_utf8_lossy(&std::fs::read(path).unwrap());
            }
        }
    }
    for canary in ["canary", "CANARY", "金絲雀", "4111", "5555"] {
        assert!(!all.contains(canary), "{canary}\n{all}");
    }
    // Looked at they were.
    assert!(
        all.contains("e-mail addresses") && all.contains("kanji"),
        "{all}"
    );
}

#[test]
fn a_root_that_cannot_be_one_is_refused_with_the_reason() {
    let place = Place::nasty();
    for (root, expected) in [
        ("crm.member", "no table"),
        ("crm.member_view", "not a table"),
        ("crm.published", "no primary key"),
        ("crm", "schema.table"),
    ] {
        let said = place.says(&["discover", "--system", "app", "--root", root]);
        assert_eq!(said.code, 2, "{root}: {}", said.err);
        assert!(
            said.err.contains(expected) && said.out.is_empty(),
            "{}",
            said.err
        );
    }
    let said = place.says(&["discover", "--system", "shop", "--root", "a.b"]);
    assert!(
        said.code == 2 && said.err.contains("registers app"),
        "{}",
        said.err
    );
    assert_eq!(place.says(&["discover"]).code, 2);
}

#[test]
fn an_update_keeps_every_byte_and_adds_marks_and_repeats_nothing() {
    let place = Place::nasty();
    let draft = place.discover("app", "crm.Members");
    // People have been at it: their words, an order of their own, a decision, a section at the end.
    let edited = draft
        .replace(
            "action = \"decide\"\n\n",
            "action = \"decide\"   # Aiko asks legal\n\n",
        )
        .replace("[scope.account]", "# ours!\n[scope.account]")
        + "\n[sweep]\nwhen = \"at once\" # 毎晩\n";
    assert_ne!(edited, draft);
    place.write(&edited);
    let file = place.file().display().to_string();
    let update = || place.says(&["discover", "--update", &file]);
    let said = update();
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    assert_eq!(place.text(), edited, "nothing has changed, so no byte has");

    place.server.execute(
        &place.database,
        "DROP TABLE crm.visit;
         ALTER TABLE crm.note DROP CONSTRAINT note_created_by_fkey;
         CREATE TABLE crm.gift (id bigint PRIMARY KEY, member_id bigint NOT NULL REFERENCES crm.\"Members\" ON DELETE CASCADE);
         CREATE TABLE crm.gift_payment (id bigint PRIMARY KEY, gift_id bigint NOT NULL REFERENCES crm.gift ON DELETE CASCADE);
         CREATE TABLE crm.poll (id bigint PRIMARY KEY, member_id bigint);
         CREATE PUBLICATION late FOR TABLE crm.old_style;
         ALTER TABLE crm.old_style REPLICA IDENTITY NOTHING;",
    );
    let said = update();
    assert_eq!(said.code, 1, "{}{}", said.out, said.err);
    let text = place.text();
    for part in [
        "# gone: app.crm.visit does not exist any more\n[[table]]",
        "# gone: app.crm.note has no foreign key note_created_by_fkey any more\n[[table]]",
        "# changed: E0215: app.crm.old_style",
        "# new: gift_member_id_fkey",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    assert_eq!(action(&text, "app.crm.gift", None), "delete");
    assert_eq!(action(&text, "app.crm.gift_payment", None), "decide");
    assert_eq!(action(&text, "app.crm.poll", None), "decide");
    assert_eq!(
        said.out.lines().filter(|l| l.starts_with("new: ")).count(),
        3,
        "{}",
        said.out
    );
    // Without the lines put in it is the file that people wrote.
    let mut rest = edited.lines();
    let mut next = rest.next();
    for line in text.lines() {
        if Some(line) == next {
            next = rest.next();
        }
    }
    assert_eq!(next, None, "a line is missing or out of order:\n{text}");
    let said = update();
    assert_eq!(said.code, 0, "{}", said.out);
    assert_eq!(place.text(), text, "twice is the same as once");

    place.write("subject = 1\n");
    assert_eq!(update().code, 2);
    assert_eq!(place.text(), "subject = 1\n");
}

/// The shipped policy of two databases misses one table, on purpose: an update finds that one.
#[test]
fn an_update_of_the_shipped_policy_finds_what_it_forgot() {
    let (place, _) = Place::of_demo();
    let shipped = repository().join("policies/travel/customer.toml");
    place.write(&std::fs::read_to_string(shipped).unwrap());
    let file = place.file().display().to_string();
    let said = place.says(&["discover", "--update", &file]);
    assert_eq!(said.code, 1, "{}", said.err);
    let new: Vec<&str> = said
        .out
        .lines()
        .filter(|l| l.contains(": decide"))
        .collect();
    assert_eq!(new, ["new: shop.public.audit_log: decide"], "{}", said.out);
    assert_eq!(place.check().len(), 1);
    // With the decision made it is a policy again.
    let decided = place
        .text()
        .replace("action = \"decide\"", "action = \"delete\"");
    place.write(&decided);
    let said = place.says(&["check"]);
    assert_eq!(said.code, 0, "{}", said.out);
    assert_eq!(place.says(&["discover", "--update", &file]).code, 0);
    assert_eq!(place.text(), decided);
}

/// Under a login that may not read everything the draft says so, and is a draft all the same.
#[test]
fn what_cannot_be_looked_at_is_said() {
    let place = Place::nasty();
    place.server.execute(
        &place.database,
        "DROP ROLE IF EXISTS discover_reader; CREATE ROLE discover_reader LOGIN;
         GRANT USAGE ON SCHEMA crm TO discover_reader;
         GRANT SELECT ON crm.\"Members\", crm.survey, crm.legacy TO discover_reader;
         ALTER TABLE crm.legacy ENABLE ROW LEVEL SECURITY;
         CREATE POLICY few ON crm.legacy USING (id < 3);",
    );
    let control = place.workspace.control_url().to_owned();
    let url = place.server.url_as(&place.database, "discover_reader");
    let workspace = Workspace::new(&control, &[("app", url)]);
    let output = workspace
        .erasured(["discover", "--system", "app", "--root", "crm.Members"])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert_eq!(action(&text, "app.crm.address", None), "decide");
    let address = why(&text, "app.crm.address");
    assert!(
        address.contains("could not be looked at") && address.contains("E0214"),
        "{address}"
    );
    let survey = why(&text, "app.crm.survey");
    assert!(
        survey.contains("100 % of 50 sampled rows match"),
        "{survey}"
    );
    // Not "2 of 2 rows": what is hidden is not taken for absent.
    let unwrapped = text.replace("\n#  ", "");
    let legacy = "old_member_id may be Members.id, though no foreign key says so: not measured";
    assert!(unwrapped.contains(legacy), "{text}");
}

/// Large tables are sampled by blocks; what takes too long is said not to be measured.
#[test]
fn large_tables_are_sampled_within_the_timeouts() {
    let mut place = Place::of(
        "CREATE TABLE customer (id bigint PRIMARY KEY, email text);
         CREATE TABLE letter (id bigint PRIMARY KEY, customer_id text, body text, owner_type text, owner_id bigint);
         INSERT INTO customer SELECT n, 'canary' || n || '@canary.example' FROM generate_series(1, 60000) n;
         INSERT INTO letter SELECT n, CASE WHEN n % 50 = 0 THEN 'x' ELSE n::text END, 'see canary' || n || '@canary.example', 'Customer', n
           FROM generate_series(1, 60000) n;
         ANALYZE;",
    );
    let draft = |place: &Place| {
        let said = place.says(&["discover", "--system", "app", "--root", "public.customer"]);
        assert_eq!(said.code, 0, "{}", said.err);
        assert!(!said.out.contains("canary"), "{}", said.out);
        said.out.replace("\n#  ", "")
    };
    let text = draft(&place);
    assert!(text.contains("98 % of 1,000 sampled rows match"), "{text}");
    assert!(
        text.contains("body (free text; 100 % of 200 sampled values hold e-mail"),
        "{text}"
    );
    assert!(text.contains("seen: Customer (public.customer)"), "{text}");
    assert_eq!(draft(&place), text, "the same blocks each time");

    place
        .workspace
        .configure("[limits]\nstatement_timeout = \"1 ms\"");
    let text = draft(&place);
    assert!(
        text.contains("though no foreign key says so: not measured"),
        "{text}"
    );
}
