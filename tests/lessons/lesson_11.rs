//! Coverage follows the live schema: whatever a subject reaches and nobody decided stops the
//! ticket before it starts, and what changed since the plan was made stops the run.

use crate::support::{Server, Workspace, repository};
use crate::target::{Target, head, plan_on, subject};
use erasured::system::postgres::execute::NotErased;

const SCHEMA: &str = "
CREATE TABLE customer (id int PRIMARY KEY, email text);
CREATE TABLE note (id int PRIMARY KEY, customer_id int REFERENCES customer, body text);
INSERT INTO customer VALUES (1, 'one@example.jp'), (2, 'two@example.jp');
INSERT INTO note SELECT n, n % 2 + 1, 'note' FROM generate_series(1, 10) n;
";

fn policy() -> String {
    head("s.public.customer")
        + "[[table]]\nname = \"s.public.customer\"\naction = \"delete\"\n\
           [[table]]\nname = \"s.public.note\"\naction = \"delete\"\n"
}

/// Each of these, added to a database that worked, is named with table, key and policy file.
#[tokio::test(flavor = "multi_thread")]
async fn lesson_11_coverage_follows_the_live_schema() {
    for (change, table, key) in [
        (
            "CREATE TABLE newcomer (id int, who int CONSTRAINT new_fk REFERENCES customer)",
            "s.public.newcomer",
            "new_fk",
        ),
        // Reached only through a table that is decided.
        (
            "CREATE TABLE attachment (id int, note int CONSTRAINT att_fk REFERENCES note ON DELETE CASCADE)",
            "s.public.attachment",
            "att_fk",
        ),
        // In another schema; with the same constraint name as one that is decided.
        (
            "CREATE SCHEMA x; CREATE TABLE x.note (id int, who int CONSTRAINT note_customer_id_fkey REFERENCES customer)",
            "s.x.note",
            "note_customer_id_fkey",
        ),
        (
            "CREATE TABLE parts (who int CONSTRAINT part_fk REFERENCES customer, d date) PARTITION BY RANGE (d)",
            "s.public.parts",
            "part_fk",
        ),
        // Nobody's default: other people point at the subject.
        (
            "ALTER TABLE customer ADD referred_by int CONSTRAINT ref_fk REFERENCES customer",
            "s.public.customer",
            "ref_fk",
        ),
        (
            "ALTER TABLE note ADD parent int CONSTRAINT up_fk REFERENCES note",
            "s.public.note",
            "up_fk",
        ),
        // A second key to the same table means something else (made by, owned by).
        (
            "ALTER TABLE note ADD written_by int CONSTRAINT by_fk REFERENCES customer",
            "s.public.note",
            "by_fk",
        ),
    ] {
        let target = Target::new(SCHEMA);
        let planned = target.plan(&policy()).await.unwrap();
        target.execute(change);
        let before = target.rows();
        let said = target.refusal(&policy()).await;
        assert!(
            said.contains("E0201") || said.contains("E0223"),
            "{change}: {said}"
        );
        assert!(said.contains(table), "{change}: {said}");
        assert!(said.contains(key), "{change}: {said}");
        if said.contains("E0201") {
            assert!(said.contains("policy.toml"), "{change}: {said}");
        }
        // And the plan made before does not run.
        let error = target.run(&planned, &[subject(1)]).await.err().unwrap();
        assert!(
            matches!(error, NotErased::Drift { .. }),
            "{change}: {error}"
        );
        assert_eq!(target.rows(), before);
    }
}

/// Whatever changes what the plan's statements mean stops it; what does not, does not.
#[tokio::test(flavor = "multi_thread")]
async fn lesson_11_drift_between_plan_and_execution_stops() {
    for change in [
        "ALTER TABLE note ADD column extra jsonb",
        "ALTER TABLE note DROP column body",
        "ALTER TABLE note RENAME column body TO text",
        "ALTER TABLE note ALTER body SET NOT NULL",
        "ALTER TABLE note ALTER id TYPE bigint",
        "ALTER TABLE note RENAME TO note2",
        "CREATE SCHEMA x; ALTER TABLE note SET SCHEMA x",
        "ALTER SCHEMA public RENAME TO x",
        "ALTER TABLE note DROP CONSTRAINT note_pkey",
        "CREATE UNIQUE INDEX ON note (customer_id, id)",
        "ALTER TABLE note DROP CONSTRAINT note_customer_id_fkey",
        "ALTER TABLE note ADD CHECK (body <> '')",
        "ALTER TABLE note ENABLE ROW LEVEL SECURITY",
        "ALTER TABLE note REPLICA IDENTITY FULL",
        "ALTER TABLE note DISABLE TRIGGER ALL",
        "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'; CREATE TRIGGER g BEFORE DELETE ON note FOR EACH ROW EXECUTE FUNCTION f()",
        "CREATE RULE r AS ON DELETE TO note DO INSTEAD NOTHING",
        "CREATE TABLE heir () INHERITS (note)",
        "CREATE PUBLICATION p FOR TABLE note",
        "CREATE TABLE child (id int REFERENCES note)",
    ] {
        let target = Target::new(SCHEMA);
        let planned = target.plan(&policy()).await.unwrap();
        target.execute(change);
        let error = target.run(&planned, &[subject(1)]).await.err();
        let error = error.unwrap_or_else(|| panic!("{change}: it ran"));
        assert!(
            matches!(error, NotErased::Drift { .. })
                || error.to_string().contains("does not exist"),
            "{change}: {error}"
        );
    }
    let target = Target::new(SCHEMA);
    let planned = target.plan(&policy()).await.unwrap();
    let client = target.client().await;
    for sql in [
        "ANALYZE",
        "VACUUM note",
        "CREATE TEMP TABLE work (id int PRIMARY KEY, t text DEFAULT 'x' CHECK (t <> ''))",
        "INSERT INTO note VALUES (90, 2, 'x')",
        "REINDEX TABLE note",
        "CREATE INDEX ON note (body)",
    ] {
        client.batch_execute(sql).await.unwrap();
    }
    target.run(&planned, &[subject(1)]).await.unwrap();
}

/// A definition that changes while the batch is under way has to wait for it.
#[tokio::test(flavor = "multi_thread")]
async fn lesson_11_definitions_hold_still_until_the_end() {
    use erasured::system::postgres::execute::{BeforeChange, Deferred, Seen};
    struct Alter<'a>(&'a Target, Vec<bool>);
    impl BeforeChange for Alter<'_> {
        fn last_word(&mut self) -> futures_util::future::BoxFuture<'_, Result<(), NotErased>> {
            Box::pin(std::future::ready(Ok(())))
        }

        fn ready(
            &mut self,
            _: Vec<Seen>,
            _: Vec<Deferred>,
        ) -> futures_util::future::BoxFuture<'_, Result<(), NotErased>> {
            for sql in [
                "CREATE TABLE late (note int REFERENCES note)",
                "CREATE TABLE late (who int REFERENCES customer)",
                "ALTER TABLE note ADD extra text",
                "CREATE RULE r AS ON DELETE TO note DO INSTEAD NOTHING",
                "CREATE TRIGGER g BEFORE DELETE ON note FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()",
            ] {
                let sql = format!("SET lock_timeout = '200ms'; {sql}");
                let tried = crate::support::Server::shared().try_execute(&self.0.database, &sql);
                self.1
                    .push(tried.is_err_and(|e| e.code().is_some_and(|c| c.code() == "55P03")));
            }
            Box::pin(std::future::ready(Ok(())))
        }
    }
    let target = Target::new(SCHEMA);
    let planned = target.plan(&policy()).await.unwrap();
    let mut alter = Alter(&target, Vec::new());
    target
        .run_with(&planned, planned.part("s"), &[subject(1)], &mut alter)
        .await
        .unwrap();
    assert_eq!(alter.1, [true; 5]);
}

/// An audit trigger that writes the deleted row elsewhere. It finds its table by the role's own
/// search_path, as such triggers do. A key into the audit table makes it known; without one the
/// sweep finds the copy.
#[tokio::test(flavor = "multi_thread")]
async fn lesson_11_an_audit_trigger_is_found() {
    let audit = "CREATE TABLE audit (at timestamptz DEFAULT now(), who int, old jsonb);
         CREATE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql AS
           'BEGIN INSERT INTO audit (who, old) VALUES (OLD.id, to_jsonb(OLD)); RETURN OLD; END';
         CREATE TRIGGER audit AFTER DELETE ON customer FOR EACH ROW EXECUTE FUNCTION audit();";
    let target = Target::new(&format!("{SCHEMA}{audit}"));
    let warned = target.warnings(&policy()).await;
    assert!(
        warned.contains(
            "E0230 trigger audit on s.public.customer (public.audit) writes to public.audit"
        ),
        "{warned}"
    );
    let planned = target.plan(&policy()).await.unwrap();
    target.run(&planned, &[subject(1)]).await.unwrap();
    assert_eq!(target.sweep("one@example.jp").await, ["public.audit.old"]);

    // Once the policy knows the table, the probe sees what the trigger wrote in the transaction.
    let target = Target::new(&format!("{SCHEMA}{audit}"));
    let known = policy()
        + "[[table]]\nname = \"s.public.audit\"\nlink = { columns = [\"who\"], to = \"s.public.customer\" }\naction = \"delete\"\n";
    assert_eq!(target.warnings(&known).await, "");
    let planned = target.plan(&known).await.unwrap();
    let error = target.run(&planned, &[subject(1)]).await.err().unwrap();
    assert!(
        matches!(&error, NotErased::Residual { table, .. } if table.table == "audit"),
        "{error}"
    );
    assert_eq!(target.count("SELECT count(*) FROM customer"), 2);
}

/// A trigger that changes rows of which no rule speaks is named; one that only locks or looks is not.
#[tokio::test(flavor = "multi_thread")]
async fn lesson_11_a_trigger_that_changes_other_rows_is_named() {
    for (body, named) in [
        ("UPDATE hall SET free = free + 1", true),
        (
            "UPDATE ONLY public.hall AS h SET free = 1 WHERE h.free = OLD.id",
            true,
        ),
        ("DELETE FROM public.hall WHERE free = OLD.id", true),
        ("TRUNCATE TABLE hall", true),
        ("PERFORM 1 FROM hall FOR UPDATE", false),
        ("PERFORM 1 FROM hall FOR UPDATE OF hall", false),
        ("UPDATE note SET body = free FROM hall", false),
    ] {
        let target = Target::new(&format!(
            "{SCHEMA} CREATE TABLE hall (free int); INSERT INTO hall VALUES (0);
             CREATE FUNCTION free() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body}; RETURN OLD; END $$;
             CREATE TRIGGER free AFTER DELETE ON note FOR EACH ROW EXECUTE FUNCTION free()"
        ));
        let warned = target.warnings(&policy()).await;
        let says = "E0254 trigger free on s.public.note (public.free) changes rows of public.hall,";
        assert_eq!(warned.contains(says), named, "{body}: {warned}");
        assert_eq!(warned.is_empty(), !named, "{body}: {warned}");
        target.execute(
            "DROP TRIGGER free ON note; CREATE TRIGGER free AFTER DELETE ON note FOR EACH ROW WHEN (OLD.id > 0) EXECUTE FUNCTION free()",
        );
        assert_eq!(target.warnings(&policy()).await, warned, "{body}");
        target.execute(
            "DROP TRIGGER free ON note;
             DO $$ BEGIN EXECUTE format('CREATE TRIGGER free AFTER DELETE ON note FOR EACH ROW WHEN (session_user <> %L) EXECUTE FUNCTION free()', session_user); END $$",
        );
        assert_eq!(target.warnings(&policy()).await, "", "{body}");
    }
}

/// A trigger that deletes what the policy keeps is found by check.
#[tokio::test(flavor = "multi_thread")]
async fn lesson_11_a_trigger_that_takes_what_is_kept_is_found() {
    let target = Target::new(&format!(
        "{SCHEMA} CREATE TABLE ledger (id int PRIMARY KEY, who int REFERENCES customer, day date NOT NULL);
         CREATE FUNCTION clean() RETURNS trigger LANGUAGE plpgsql AS
           'BEGIN DELETE FROM public.ledger WHERE who = OLD.id; RETURN OLD; END';
         CREATE TRIGGER clean AFTER DELETE ON customer FOR EACH ROW EXECUTE FUNCTION clean()"
    ));
    let keeps = policy()
        + "[[table]]\nname = \"s.public.ledger\"\naction = \"retain\"\nuntil = { column = \"day\", plus = \"7 years\" }\nbecause = \"books are kept\"\nthen = \"delete\"\nset = { who = \"null\" }\n";
    let said = target.refusal(&keeps).await;
    assert!(said.contains("E0211") && said.contains("ledger"), "{said}");
    target.execute(
        "DROP TRIGGER clean ON customer;
         DO $$ BEGIN EXECUTE format('CREATE TRIGGER clean AFTER DELETE ON customer FOR EACH ROW WHEN (session_user <> %L) EXECUTE FUNCTION clean()', session_user); END $$",
    );
    assert_eq!(target.refusal(&keeps).await, "");
}

/// A key that refers to a partition, or to a table that inherits, counts as one to the table
/// above; a partition's own key cannot be decided and is named.
#[tokio::test(flavor = "multi_thread")]
async fn lesson_11_keys_of_partitions_are_seen() {
    let target = Target::new(
        "CREATE TABLE customer (id int PRIMARY KEY, email text);
         CREATE TABLE visit (id int, who int, page text, PRIMARY KEY (id, page)) PARTITION BY LIST (page);
         CREATE TABLE visit_a PARTITION OF visit FOR VALUES IN ('a');
         CREATE TABLE visit_b PARTITION OF visit FOR VALUES IN ('b');
         ALTER TABLE visit_b ADD UNIQUE (id);
         CREATE TABLE click (visit int CONSTRAINT click_fk REFERENCES visit_b (id) ON DELETE CASCADE, what text);
         INSERT INTO customer VALUES (1, 'one@example.jp'), (2, 'two@example.jp');
         INSERT INTO visit SELECT n, n % 2 + 1, CASE WHEN n > 3 THEN 'b' ELSE 'a' END FROM generate_series(1, 6) n;
         INSERT INTO click VALUES (4, 'mine'), (5, 'theirs')",
    );
    let visits = head("s.public.customer")
        + "[[table]]\nname = \"s.public.customer\"\naction = \"delete\"\n\
           [[table]]\nname = \"s.public.visit\"\nlink = { columns = [\"who\"], to = \"s.public.customer\" }\naction = \"delete\"\n";
    let said = target.refusal(&visits).await;
    assert!(
        said.contains("E0201") && said.contains("click_fk") && said.contains("s.public.click"),
        "{said}"
    );
    let clicks = visits.clone() + "[[table]]\nname = \"s.public.click\"\naction = \"delete\"\n";
    let planned = target.plan(&clicks).await.unwrap();
    target.run(&planned, &[subject(1)]).await.unwrap();
    assert_eq!(
        target.value("SELECT string_agg(what, ',') FROM click"),
        "theirs"
    );
    assert_eq!(
        target.value("SELECT string_agg(id::text, ',' ORDER BY id) FROM visit"),
        "1,3,5"
    );

    target
        .execute("ALTER TABLE visit_a ADD CONSTRAINT own_fk FOREIGN KEY (who) REFERENCES customer");
    let said = target.refusal(&clicks).await;
    assert!(
        said.contains("E0216") && said.contains("own_fk") && said.contains("visit_a"),
        "{said}"
    );
}

/// A table in a system that the policy does not name is nobody's; one that the policy names and
/// the catalog lacks stops everything, with the place in the file.
#[tokio::test(flavor = "multi_thread")]
async fn lesson_11_what_a_policy_names_must_be_there() {
    let target = Target::new(SCHEMA);
    for (rule, code) in [
        (
            "[[table]]\nname = \"s.public.gone\"\naction = \"delete\"\n",
            "E0202",
        ),
        (
            "[[table]]\nname = \"s.public.Note\"\naction = \"delete\"\n",
            "E0202",
        ),
        (
            "[[table]]\nname = \"t.public.note\"\nlink = { columns = [\"id\"], identifier = \"email\" }\naction = \"delete\"\n",
            "E0226",
        ),
        (
            "[[table]]\nname = \"s.public.note\"\nvia = \"nothing\"\naction = \"delete\"\n",
            "E0204",
        ),
        (
            "[scope.some]\ntables = [\"s.public.nowhere\"]\nverify = { at_least = \"basic\" }\nsla = \"jp-appi\"\n",
            "E0219",
        ),
    ] {
        let policy = policy() + rule;
        let found = match plan_on(
            &[&target],
            &policy,
            if code == "E0219" { "some" } else { "all" },
        )
        .await
        {
            Ok(_) => panic!("{rule}: accepted"),
            Err(found) => found,
        };
        let named = found.iter().find(|d| d.code == code);
        let named = named.unwrap_or_else(|| panic!("{rule}: {}", crate::target::told(&found)));
        assert!(named.place.is_some(), "{rule}");
    }
}

/// Through the real binary: a table that came after the ticket stops it before anything of it is
/// written down or done, and the ticket goes on once somebody has decided.
#[tokio::test(flavor = "multi_thread")]
async fn lesson_11_the_ticket_stops_before_it_starts() {
    let server = Server::shared();
    let database = server.fresh_database("coverage");
    server.execute(&database, SCHEMA);
    let control = server.fresh_database("control");
    let workspace = Workspace::new(&server.url(&control), &[("s", server.url(&database))]);
    workspace.write_policy("customer.toml", &policy());
    workspace.erasured(["migrate"]).assert().success();
    let roles = repository().join("sql/roles/control.sql");
    server.execute(&control, &std::fs::read_to_string(roles).unwrap());
    workspace
        .erasured(["run", "--until-idle"])
        .assert()
        .success();
    server.execute(
        &control,
        "DO $$ DECLARE t uuid; BEGIN
           t := erasured.submit_ticket('CRM-1', 'customer', '{\"email\": \"ONE@example.jp\"}', 'all', 'policy');
           PERFORM set_config('erasured.actor', 'desk', true);
           PERFORM erasured.verify_ticket(t, 'callback');
           PERFORM set_config('erasured.actor', 'lead', true);
           PERFORM erasured.approve_ticket(t);
         END $$",
    );
    let newcomer =
        "CREATE TABLE newcomer (id int PRIMARY KEY, who int CONSTRAINT new_fk REFERENCES customer)";
    server.execute(&database, newcomer);
    let status = || {
        let sql = "SELECT concat_ws('|', state, problem_code, problem) FROM erasured.ticket_status";
        server.value(&control, sql)
    };
    let _ = workspace.erasured(["run", "--until-idle"]).assert();
    let said = status();
    for part in ["E0201", "s.public.newcomer", "new_fk", "customer.toml"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(said.starts_with("failed|"), "{said}");
    assert_eq!(
        server.count(&control, "SELECT count(*) FROM erasured.step"),
        0
    );
    assert_eq!(
        server.count(&database, "SELECT count(*) FROM erasured.applied_step"),
        0
    );
    assert_eq!(server.count(&database, "SELECT count(*) FROM note"), 10);

    let decided = policy() + "[[table]]\nname = \"s.public.newcomer\"\naction = \"delete\"\n";
    workspace.write_policy("customer.toml", &decided);
    server.execute(
        &control,
        "SELECT erasured.retry_ticket(id) FROM erasured.ticket_status",
    );
    workspace
        .erasured(["run", "--until-idle"])
        .assert()
        .success();
    assert!(status().starts_with("completed"), "{}", status());
    assert_eq!(server.count(&database, "SELECT count(*) FROM note"), 5);
    assert_eq!(server.count(&database, "SELECT count(*) FROM customer"), 1);
}

/// A materialized view is a copy that no plan reaches: check says so, through a view as well.
#[tokio::test(flavor = "multi_thread")]
async fn lesson_11_a_materialized_view_is_named() {
    let target = Target::new(&format!(
        "{SCHEMA} CREATE VIEW mails AS SELECT email FROM customer;
         CREATE MATERIALIZED VIEW \"Mail list\" AS SELECT * FROM mails;
         CREATE MATERIALIZED VIEW days AS SELECT 1 AS day"
    ));
    let warned = target.warnings(&policy()).await;
    let says = "E0231 public.\"Mail list\" keeps what it has copied from s.public.customer";
    assert!(
        warned.contains(says) && !warned.contains("days"),
        "{warned}"
    );
}

/// What is nearly the name of something is taken for it, in words only; what is far is not.
#[tokio::test(flavor = "multi_thread")]
async fn lesson_11_what_was_likely_meant_is_said() {
    let target = Target::new(SCHEMA);
    let near = |name: &str| format!("did you mean `{name}`?");
    let rule = |name: &str, rest: &str| {
        format!("[[table]]\nname = {name:?}\n{rest}\naction = \"delete\"\n")
    };
    let linked = "link = { columns = [\"bodi\"], identifier = \"email\" }";
    let far = "link = { columns = [\"weather\"], identifier = \"email\" }";
    let scope = "[scope.some]\nverify = { at_least = \"basic\" }\nsla = \"jp-appi\"\n";
    for (rule, code, said) in [
        (rule("s.public.ntoe", ""), "E0202", near("s.public.note")),
        (rule("s.pulbic.ntoe", ""), "E0202", near("s.public.note")),
        (
            rule("s.public.note", "via = \"note_customer_id_fke\""),
            "E0204",
            near("note_customer_id_fkey"),
        ),
        (
            rule("s.public.note", "via = \"weather\""),
            "E0204",
            "its foreign keys: ".into(),
        ),
        (rule("s.public.note", linked), "E0203", near("body")),
        (rule("s.public.note", far), "E0203", "its columns: ".into()),
        (rule("ss.public.note", far), "E0226", near("s")),
        (
            rule("warehouse.public.note", far),
            "E0226",
            "add [system.warehouse]".into(),
        ),
        (
            format!("{scope}tables = [\"s.public.custmer\"]\n"),
            "E0219",
            near("s.public.customer"),
        ),
        (
            format!("{scope}tables = [\"s.public.weather\"]\n"),
            "E0219",
            "add a [[table]] for it".into(),
        ),
    ] {
        let name = if code == "E0219" { "some" } else { "all" };
        // One rule a table, but for those of a key.
        let all = policy();
        let (without, _) = all.rsplit_once("[[table]]").unwrap();
        let base = if rule.contains("\"s.public.note\"") && !rule.contains("via") {
            without
        } else {
            &all
        };
        let Err(found) = plan_on(&[&target], &format!("{base}{rule}"), name).await else {
            panic!("{rule}: accepted");
        };
        let found = found.iter().find(|d| d.code == code);
        let help = found.map_or("", |d| d.help.as_str());
        assert!(
            help.starts_with(&said),
            "{rule}\n{code}: {help:?}, not {said:?}"
        );
    }
    let Err(found) = plan_on(&[&target], &policy(), "al").await else {
        panic!("a scope that is not there");
    };
    assert_eq!(found[0].help, near("all"));
}

async fn overlooked_by(target: &Target, policy: &str) -> Vec<erasured::diagnostic::Diagnostic> {
    let policy = erasured::policy::read::read("policy.toml", policy).unwrap();
    let catalogs = std::collections::BTreeMap::from([("s".to_owned(), target.catalog().await.0)]);
    erasured::discovery::overlooked(&policy, &catalogs)
}

async fn overlooked(target: &Target, policy: &str) -> String {
    crate::target::told(&overlooked_by(target, policy).await)
}

/// What names the person and no foreign key leads to: a table, an identifier, a list in a text, a
/// column that came to a table whose rows stay. Each is named until somebody decides, with a reason
/// if it is to be left alone.
#[tokio::test(flavor = "multi_thread")]
async fn lesson_11_what_no_foreign_key_leads_to_is_named() {
    const USERS: &str = "ALTER TABLE note DROP CONSTRAINT note_customer_id_fkey; ALTER TABLE note RENAME customer_id TO user_id;
         ALTER TABLE customer RENAME TO users; ALTER TABLE note ADD FOREIGN KEY (user_id) REFERENCES users";
    let anonymizes = policy().replacen(
        "note\"\naction = \"delete\"",
        "note\"\naction = \"anonymize\"\nset = { customer_id = \"null\", body = \"redact\" }",
        1,
    );
    let users = policy()
        .replace("customer\"", "users\"")
        .replace("customer'", "users'");
    let exempt = |link: &str, rest: &str| {
        format!(
            "[[table]]\nname = \"s.public.newcomer\"\nlink = {{ {link} }}\naction = \"exempt\"\nreason = \"not theirs\"\n{rest}"
        )
    };
    let by_key = "columns = [\"customer_id\"], to = \"s.public.customer\"";
    for (change, policy, says, decided) in [
        (
            "CREATE TABLE newcomer (id int, customer_id int, what jsonb)",
            policy(),
            "E0251 s.public.newcomer.customer_id is called like the key",
            policy() + &exempt(by_key, ""),
        ),
        (
            &format!("{USERS}; CREATE TABLE newcomer (id int, user_id bigint)"),
            users.clone(),
            "E0251 s.public.newcomer.user_id is called like the key",
            users + &exempt("columns = [\"user_id\"], to = \"s.public.users\"", ""),
        ),
        (
            "CREATE TABLE newcomer (at date, email varchar(80)) PARTITION BY RANGE (at)",
            policy(),
            "E0251 s.public.newcomer.email is called like an identifier",
            policy() + &exempt("columns = [\"email\"], identifier = \"email\"", ""),
        ),
        (
            "CREATE TABLE newcomer (id int, customer_ids text)",
            policy(),
            "E0253 s.public.newcomer.customer_ids seems to hold a list",
            policy() + &exempt("columns = [\"customer_ids\"], identifier = \"email\"", ""),
        ),
        (
            "ALTER TABLE note ADD contact_phone text, ADD deleted_at date, ADD hotel text",
            anonymizes.clone(),
            "E0252 s.public.note is anonymized, and what its rows keep looks personal: contact_phone",
            anonymizes.clone() + "sweep_exempt = { contact_phone = \"the hotel's\" }\n",
        ),
    ] {
        let target = Target::new(SCHEMA);
        if !change.starts_with(USERS) {
            assert_eq!(overlooked(&target, &policy).await, "", "{change}");
        }
        target.execute(change);
        let said = overlooked(&target, &policy).await;
        assert!(
            said.starts_with(says) && said.lines().count() == 1,
            "{change}: {said}"
        );
        assert_eq!(overlooked(&target, &decided).await, "", "{decided}");
        assert!(!target.refusal(&decided).await.contains("E0"), "{decided}");
    }
    // Whatever is of another type, or somebody else's name, is not.
    let target = Target::new(SCHEMA);
    target.execute("CREATE TABLE other (old_customer_id int, customer_id_type int, customer_id boolean, hotel_email text, customers_id inet)");
    assert_eq!(overlooked(&target, &policy()).await, "");
}

/// A policy may call `email` what the root calls `メール`: other tables are compared with both.
#[tokio::test(flavor = "multi_thread")]
async fn lesson_11_an_identifier_is_known_by_its_name_and_by_its_column() {
    let policy = policy().replace("column = \"email\"", "column = \"メール\"");
    for column in ["メール", "email", "customer_email"] {
        let target = Target::new(SCHEMA);
        target.execute("ALTER TABLE customer RENAME email TO メール");
        assert_eq!(overlooked(&target, &policy).await, "", "{column}");
        target.execute(&format!("CREATE TABLE newcomer (id int, {column} text)"));
        let said = overlooked(&target, &policy).await;
        let says = format!("E0251 s.public.newcomer.{column} is called like an identifier");
        assert!(said.starts_with(&says), "{column}: {said}");
    }
}

/// What inherits from a table with a rule is met by its statements; a column of its own is not.
#[tokio::test(flavor = "multi_thread")]
async fn lesson_11_an_heir_of_a_decided_table_is_decided() {
    let target = Target::new(SCHEMA);
    target.execute(
        "CREATE TABLE old_note () INHERITS (note); CREATE TABLE older_note (customer_email text) INHERITS (old_note);
         CREATE TABLE old_customer (PRIMARY KEY (id)) INHERITS (customer);
         CREATE TABLE day (customer_id int, at date) PARTITION BY RANGE (at); CREATE TABLE day_1 PARTITION OF day DEFAULT",
    );
    let mut said = overlooked_by(&target, &policy()).await;
    said.sort_by(|a, b| a.message.cmp(&b.message));
    let said: Vec<&str> = said.iter().map(|d| d.message.as_str()).collect();
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(said[0].starts_with("s.public.day.customer_id"), "{said:?}");
    assert!(
        said[1].starts_with("s.public.older_note.customer_email"),
        "{said:?}"
    );
}

/// A law wants the invoice, not the customer's telephone on it: a row kept whole under a basis is named,
/// with what looks personal in it, until it is set or somebody says why not.
#[tokio::test(flavor = "multi_thread")]
async fn lesson_11_a_basis_covers_named_columns_not_the_customer() {
    let target = Target::new(SCHEMA);
    target.execute(
        "CREATE TABLE invoice (id int PRIMARY KEY, customer_id int REFERENCES customer, issued date NOT NULL,
           billing_name text, contact_phone text)",
    );
    let with = |because: &str, more: &str| {
        format!(
            "{}[[table]]\nname = \"s.public.invoice\"\naction = \"retain\"\nbecause = \"{because}\"\nthen = \"delete\"\n\
             until = {{ column = \"issued\", plus = \"7 years\" }}\n{more}\n",
            policy()
        )
    };
    let whole = overlooked(&target, &with("jp-ctax-7", "")).await;
    assert!(
        whole.starts_with(
            "E0126 s.public.invoice is kept whole under jp-ctax-7, which covers books, orders"
        ),
        "{whole}"
    );
    assert!(
        whole.contains("contact_phone") && whole.lines().count() == 1,
        "{whole}"
    );
    for decided in [
        with(
            "jp-ctax-7",
            "set = { customer_id = \"null\", contact_phone = \"null\" }",
        ),
        with(
            "jp-ctax-7",
            "sweep_exempt = { billing_name = \"the tax office asks for it\", contact_phone = \"the company's own\" }",
        ),
        // The company's own words are nobody's law.
        with("we want to", ""),
    ] {
        assert_eq!(overlooked(&target, &decided).await, "", "{decided}");
    }
}

/// Who cancels the newsletter stays a customer: what a narrow scope leaves is meant to stay.
#[tokio::test(flavor = "multi_thread")]
async fn lesson_11_what_a_narrow_scope_leaves_is_meant_to_stay() {
    let target = Target::new(SCHEMA);
    target.execute("ALTER TABLE customer ADD newsletter_email text, ADD phone text");
    let scope = |covers: &str| {
        format!(
            "{}[scope.newsletter]\n{covers}\nverify = {{ at_least = \"basic\" }}\nsla = \"jp-appi\"\n",
            policy()
        )
    };
    let rule = |scopes: &str| {
        format!(
            "[[table]]\nname = \"s.public.customer\"\n{scopes}\naction = \"anonymize\"\nset = {{ newsletter_email = \"null\" }}\n"
        )
    };
    let columns = scope("columns = [\"s.public.customer.newsletter_email\"]");
    let rows = scope("tables = [\"s.public.customer\"]");
    let only = rule("scopes = [\"newsletter\"]");
    let first = "[[table]]\nname = \"s.public.customer\"\naction = \"delete\"\n";
    for (policy, says) in [
        (columns.clone() + &only, ""),
        (rows.clone() + &only, ""),
        // Without `scopes` it is what becomes of a customer who asks for everything.
        (
            columns.replacen(first, &rule(""), 1),
            "E0252 s.public.customer is anonymized, and what its rows keep looks personal: email (an e-mail address), phone",
        ),
        (
            columns.replacen(first, &rule("scopes = [\"all\"]"), 1) + &only,
            "E0252 s.public.customer is anonymized, and what its rows keep looks personal: email (an e-mail address), phone",
        ),
        (
            rows.replace("tables = \"all\"", "tables = [\"s.public.note\"]")
                .replacen(first, &rule(""), 1),
            "E0252 s.public.customer is anonymized",
        ),
        (
            columns
                .replace("tables = \"all\"", "tables = [\"s.public.note\"]")
                .replacen(first, &rule(""), 1),
            "",
        ),
    ] {
        let said = overlooked(&target, &policy).await;
        assert!(
            said.starts_with(says) && said.lines().count() == usize::from(!says.is_empty()),
            "{policy}\n{said}"
        );
    }
}

/// The help against a list in a text can be followed as it stands: with a rule and without, and
/// whatever the identifiers are.
#[tokio::test(flavor = "multi_thread")]
async fn lesson_11_the_help_for_a_list_in_a_text_can_be_followed() {
    let by_number = policy()
        .replace("column = \"email\"", "column = \"no\"")
        .replace("type = \"email\"", "type = \"plain\"");
    for policy in [policy(), by_number] {
        let target = Target::new(SCHEMA);
        target.execute("ALTER TABLE customer ADD no bigint; CREATE TABLE newcomer (id int, \"Customer_ids\" text)");
        let said = overlooked_by(&target, &policy).await;
        let [one] = said.as_slice() else {
            panic!("{said:?}");
        };
        let (_, rule) = one.help.split_once("[[table]] with ").unwrap();
        let rule = rule.strip_suffix(" and a reason").unwrap();
        let rule = rule
            .replace(", link", "\nlink")
            .replace(", action", "\naction");
        let decided = format!("{policy}[[table]]\n{rule}\nreason = \"lists of seats\"\n");
        assert_eq!(overlooked(&target, &decided).await, "", "{decided}");
        assert_eq!(target.refusal(&decided).await, "", "{decided}");
    }
    let target = Target::new(SCHEMA);
    target.execute("ALTER TABLE note ADD customer_ids text");
    let said = overlooked_by(&target, &policy()).await;
    assert_eq!(said.len(), 1);
    let (_, rest) = said[0].help.split_once("if it is none, add ").unwrap();
    let (exempt, _) = rest.split_once(" to its rule").unwrap();
    let decided = policy() + &exempt.replace('…', "\"lists of seats\"") + "\n";
    assert_eq!(overlooked(&target, &decided).await, "", "{decided}");
    assert_eq!(target.refusal(&decided).await, "", "{decided}");
}

/// A column that marks rows as gone for the application is no reason to leave them.
#[tokio::test(flavor = "multi_thread")]
async fn lesson_11_a_soft_delete_column_hides_nothing() {
    let target = Target::new(SCHEMA);
    let planned = target.plan(&policy()).await.unwrap();
    target.execute("ALTER TABLE note ADD deleted_at date; UPDATE note SET deleted_at = '2020-01-01' WHERE id > 3");
    let error = target.run(&planned, &[subject(1)]).await.err().unwrap();
    assert!(matches!(error, NotErased::Drift { .. }), "{error}");
    let planned = target.plan(&policy()).await.unwrap();
    target.run(&planned, &[subject(1)]).await.unwrap();
    let left = "SELECT string_agg(concat_ws('/', id, customer_id), ' ' ORDER BY id) FROM note";
    assert_eq!(target.value(left), "1/2 3/2 5/2 7/2 9/2");
}

/// What a DELETE does in storage of an extension is not known; a partition is enough.
#[tokio::test(flavor = "multi_thread")]
async fn lesson_11_unknown_storage_is_refused() {
    for change in [
        "CREATE TABLE odd (who int REFERENCES customer) USING odd_storage",
        "CREATE TABLE odd (who int REFERENCES customer) PARTITION BY LIST (who);
         CREATE TABLE odd_1 PARTITION OF odd FOR VALUES IN (1); CREATE TABLE odd_2 PARTITION OF odd DEFAULT USING odd_storage",
        "CREATE TABLE odd (who int REFERENCES customer); CREATE TABLE heir () INHERITS (odd) USING odd_storage",
    ] {
        let target = Target::new(SCHEMA);
        target.execute("CREATE ACCESS METHOD odd_storage TYPE TABLE HANDLER heap_tableam_handler");
        let before = policy();
        assert_eq!(target.refusal(&before).await, "");
        target.execute(change);
        let said = target.refusal(&before).await;
        assert!(said.contains("E0201"), "{said}");
        let deletes = before + "[[table]]\nname = \"s.public.odd\"\naction = \"delete\"\n";
        let said = target.refusal(&deletes).await;
        assert!(
            said.starts_with("E0250 s.public.odd, or a part of it, is stored by the access method odd_storage"),
            "{change}: {said}"
        );
    }
}

/// Through the real binary: a queue with an unlinked key and an address inside JSON. The daemon's
/// log names it before anything is filed, the sweep refuses the certificate, and once it is decided
/// the reasons stand there.
#[tokio::test(flavor = "multi_thread")]
async fn lesson_11_what_is_left_alone_has_its_reason_on_the_certificate() {
    let server = Server::shared();
    let database = server.fresh_database("queue");
    server.execute(&database, SCHEMA);
    server.execute(
        &database,
        "CREATE TABLE outbox (id int PRIMARY KEY, customer_id int, payload jsonb);
         INSERT INTO outbox VALUES (1, 1, '{\"to\": \"One@example.jp\"}'), (2, 2, '{\"to\": \"two@example.jp\"}')",
    );
    let control = server.fresh_database("control");
    let workspace = Workspace::new(&server.url(&control), &[("s", server.url(&database))]);
    workspace.write_policy("customer.toml", &policy());
    workspace.erasured(["migrate"]).assert().success();
    let checked = workspace.erasured(["check"]).output().unwrap();
    let said = String::from_utf8(checked.stdout).unwrap();
    assert!(
        said.contains("E0251") && said.contains("s.public.outbox.customer_id"),
        "{said}"
    );
    let roles = repository().join("sql/roles/control.sql");
    server.execute(&control, &std::fs::read_to_string(roles).unwrap());
    let run = || {
        let output = workspace
            .erasured(["run", "--until-idle"])
            .output()
            .unwrap();
        String::from_utf8(output.stderr).unwrap()
    };
    let logged = run();
    assert!(
        logged.contains("E0251") && logged.contains("s.public.outbox.customer_id"),
        "{logged}"
    );
    server.execute(
        &control,
        "DO $$ DECLARE t uuid; BEGIN
           t := erasured.submit_ticket('CRM-2', 'customer', '{\"email\": \"one@example.jp\"}', 'all', 'policy');
           PERFORM set_config('erasured.actor', 'desk', true);
           PERFORM erasured.verify_ticket(t, 'callback');
           PERFORM set_config('erasured.actor', 'lead', true);
           PERFORM erasured.approve_ticket(t);
         END $$",
    );
    run();
    let status = || {
        let sql = "SELECT concat_ws('|', state, problem_code, problem) FROM erasured.ticket_status";
        server.value(&control, sql)
    };
    assert!(status().starts_with("failed|E0510"), "{}", status());
    let shown = workspace
        .erasured(["ticket", "show", "CRM-2"])
        .output()
        .unwrap();
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.contains("public.outbox  payload"), "{shown}");

    let decided = policy()
        + "[[table]]\nname = \"s.public.outbox\"\nlink = { columns = [\"customer_id\"], to = \"s.public.customer\" }\n\
           action = \"exempt\"\nreason = \"mails already sent\"\nsweep_exempt = { payload = \"emptied every night\" }\n";
    workspace.write_policy("customer.toml", &decided);
    server.execute(
        &control,
        "SELECT erasured.retry_ticket(id) FROM erasured.ticket_status",
    );
    let logged = run();
    assert!(!logged.contains("E0251"), "{logged}");
    assert!(status().starts_with("completed"), "{}", status());
    let shown = workspace
        .erasured(["certificate", "show", "CRM-2"])
        .output()
        .unwrap();
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(
        shown.contains("mails already sent") && shown.contains("emptied every night"),
        "{shown}"
    );
    assert_eq!(server.count(&database, "SELECT count(*) FROM outbox"), 2);
}
