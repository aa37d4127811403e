//! Retention respects survivors and isolates failure: what is due stays while something hangs on it that a rule
//! of its own keeps, whatever the key would do; one failing rule does not stop the next.

use crate::company::{Company, DUE, POLICY, SCHEMA};
use crate::scheduled::Daemon;
use crate::support::wait_until;
use std::time::Duration;

/// A rule of their own for the notes.
fn notes(keep: &str, more: &str) -> String {
    format!(
        "\n[[retention]]\nname = \"notes\"\ntable = \"shop.public.note\"\nsince = \"written_at\"\nkeep = \"{keep}\"\n\
         action = \"delete\"\nbecause = \"our own rule\"\ntimezone = \"Asia/Tokyo\"\n{more}\n"
    )
}

/// Notes of every age on calls of every age, hanging by this kind of key.
fn schema(on_delete: &str) -> String {
    format!(
        "{SCHEMA} ALTER TABLE note DROP CONSTRAINT note_call_fkey, ALTER call DROP NOT NULL, ADD written_at timestamptz; \
         ALTER TABLE note ADD CONSTRAINT note_call_fkey FOREIGN KEY (call) REFERENCES call ON DELETE {on_delete}; \
         UPDATE note SET written_at = now() - (id * 7 % 300) * interval '1 day' WHERE id % 11 <> 0;"
    )
}

/// Written apart from `src/`: a note's own time of some days is over.
fn over(days: u32) -> String {
    format!(
        "coalesce((n.written_at AT TIME ZONE 'Asia/Tokyo')::date + {days} < (now() AT TIME ZONE 'Asia/Tokyo')::date, false)"
    )
}

fn with_a_keeper(keeps: &str) -> String {
    format!("EXISTS (SELECT FROM note n WHERE n.call = c.id AND {keeps})")
}

#[test]
fn lesson_08_an_old_parent_stays_with_its_young_child() {
    for on_delete in ["RESTRICT", "NO ACTION", "SET NULL", "CASCADE"] {
        // As long as its own, or longer, or shorter: each counts from the note's own date.
        let (keep, days) = match on_delete {
            "RESTRICT" => ("200 days", 200),
            "CASCADE" => ("30 days", 30),
            _ => ("90 days", 90),
        };
        let company = Company::with(&schema(on_delete), &(POLICY.to_owned() + &notes(keep, "")));
        company.says(&["check"], 0);
        let kept = with_a_keeper(&format!("NOT {}", over(days)));
        let goes = format!("({DUE}) AND NOT {kept}");
        let count =
            |what: &str| company.count(&format!("SELECT count(*) FROM call c WHERE {what}"));
        let (due, survivors) = (count(DUE), count(&format!("({DUE}) AND {kept}")));
        assert!(
            survivors > 100 && due - survivors > 100,
            "{due} {survivors}"
        );
        let expected = company.rows(&goes);
        let plan = company.json(&["retention", "plan", "calls"]);
        assert_eq!(plan[0]["survivors"].as_i64(), Some(survivors), "{plan}");
        let dry = company.json(&["retention", "run", "calls", "--dry-run"]);
        assert_eq!(
            (dry["due"].as_i64(), dry["survivors"].as_i64()),
            (Some(due - survivors), Some(survivors)),
            "{dry}"
        );
        let run = company.json(&["retention", "run", "calls"]);
        assert_eq!(run["survivors"].as_i64(), Some(survivors), "{run}");
        assert!(run["set_aside"].as_array().unwrap().is_empty(), "{run}");
        assert_eq!(company.rows("false"), expected, "{on_delete}");
        let runs = company.json(&["retention", "runs"]);
        assert_eq!(runs[0]["survivors"].as_i64(), Some(survivors), "{runs}");
        // When the children have gone by their own rule, so may their parents.
        company.says(&["retention", "run", "notes"], 0);
        company.says(&["retention", "run", "calls"], 0);
        let left = format!("({DUE}) AND NOT {}", with_a_keeper("true"));
        assert_eq!(count(&left), 0, "{on_delete}");
    }
}

/// Over a table between, and only for those of which the child's rule speaks at all.
#[test]
fn lesson_08_a_grandchild_keeps_its_grandparent() {
    let schema = format!(
        "{SCHEMA} CREATE TABLE scan (id int PRIMARY KEY, note int REFERENCES note ON DELETE CASCADE, taken_on date, kind text); \
         INSERT INTO scan SELECT n, n, (now() AT TIME ZONE 'Asia/Tokyo')::date - n % 40, (ARRAY['face', 'form', NULL])[1 + (n / 3) % 3] \
           FROM generate_series(1, 4000, 3) n; CREATE INDEX ON scan (note);"
    );
    let policy = format!(
        "{POLICY}\n[[table]]\nname = \"shop.public.scan\"\naction = \"delete\"\n\
         [[retention]]\nname = \"scans\"\ntable = \"shop.public.scan\"\nsince = \"taken_on\"\nkeep = \"20 days\"\nwhere = \"kind = 'face'\"\n\
         action = \"delete\"\nbecause = \"our own rule\"\ntimezone = \"Asia/Tokyo\"\n"
    );
    let company = Company::with(&schema, &policy);
    let kept = "EXISTS (SELECT FROM note n JOIN scan s ON s.note = n.id WHERE n.call = c.id AND s.kind = 'face' \
                 AND NOT s.taken_on + 20 < (now() AT TIME ZONE 'Asia/Tokyo')::date)";
    let survivors = company.count(&format!(
        "SELECT count(*) FROM call c WHERE {DUE} AND {kept}"
    ));
    assert!(survivors > 10, "{survivors}");
    let expected = company.rows(&format!("({DUE}) AND NOT {kept}"));
    let run = company.json(&["retention", "run", "calls"]);
    assert_eq!(run["survivors"].as_i64(), Some(survivors), "{run}");
    assert_eq!(company.rows("false"), expected);
}

/// While the run waits for the parent's lock, whoever holds it adds a child; or makes an old one young.
#[test]
fn lesson_08_a_child_that_comes_meanwhile_saves_its_parent() {
    for meanwhile in [
        "INSERT INTO note VALUES (99999, 2880, 'new', now())",
        "UPDATE note SET written_at = now() WHERE id = 2879",
    ] {
        let company = Company::with(
            &schema("CASCADE"),
            &(POLICY.to_owned() + &notes("90 days", "")),
        );
        company.execute("UPDATE note SET written_at = now() - interval '1 year'");
        assert_eq!(company.count("SELECT call FROM note WHERE id = 2879"), 2880);
        let url = company.server.url(&company.shop);
        let json = crate::support::blocking(async {
            let client = crate::support::connect(&url).await;
            client
                .batch_execute(&format!("BEGIN; {meanwhile}"))
                .await
                .unwrap();
            let mut run =
                company
                    .workspace
                    .process(["retention", "run", "calls", "--format", "json"]);
            let run = run.stdout(std::process::Stdio::piped()).spawn().unwrap();
            let waits = "SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE NOT l.granted AND a.datname = current_database()";
            for _ in 0..400 {
                let waiting = company.count(waits);
                if waiting > 0 {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            client.batch_execute("COMMIT").await.unwrap();
            let output = run.wait_with_output().unwrap();
            assert!(output.status.success());
            serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap()
        });
        assert_eq!(json["survivors"], 1, "{meanwhile}: {json}");
        assert_eq!(
            company.count("SELECT count(*) FROM call WHERE id = 2880"),
            1
        );
        let notes = company.count("SELECT count(*) FROM note WHERE call = 2880");
        assert!(notes > 0, "{meanwhile}");
        let left = company.count(&format!("SELECT count(*) FROM call c WHERE {DUE}"));
        assert_eq!(left, 1, "{meanwhile}");
    }
}

/// What cannot be asked of each row stays refused.
#[test]
fn lesson_08_what_cannot_be_told_is_refused() {
    let schema = format!(
        "{SCHEMA} CREATE TABLE log (id int PRIMARY KEY, call int, at timestamptz); CREATE INDEX ON log (call);"
    );
    let policy = format!(
        "{POLICY}\n[[table]]\nname = \"shop.public.log\"\nlink = {{ columns = [\"call\"], to = \"shop.public.call\" }}\naction = \"delete\"\n{}",
        notes("90 days", "")
            .replace("note\"", "log\"")
            .replace("written_at", "at")
    );
    let company = Company::with(&schema, &policy);
    let said = company.says(&["check"], 1);
    assert!(said.contains("E0255") && said.contains("log"), "{said}");
    company.says(&["retention", "run", "calls"], 1);
}

/// One rule whose every row fails, by schedule, and another beside it.
#[test]
fn lesson_08_a_failing_rule_does_not_stop_the_next() {
    let every = "schedule = \"* * * * * *\"\ntimezone = \"Asia/Tokyo\"";
    let policy = POLICY.replace("timezone = \"Asia/Tokyo\"", every)
        + &notes("30 days", "").replace("timezone = \"Asia/Tokyo\"", every);
    let schema = format!(
        "{} CREATE FUNCTION veto() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no'; END $$; \
         CREATE TRIGGER veto BEFORE DELETE ON call FOR EACH ROW EXECUTE FUNCTION veto();",
        schema("CASCADE")
    );
    let mut company = Company::with(&schema, &policy);
    company.workspace.configure("[limits]\npoll = \"200 ms\"");
    let due = format!("SELECT count(*) FROM note n WHERE {}", over(30));
    assert!(company.count(&due) > 100);
    let daemon = Daemon::start(&company, "");
    wait_until("the notes to go", Duration::from_secs(60), || {
        company.count(&due) == 0
    });
    let failed =
        "SELECT count(*) FROM erasured.retention_run WHERE rule = 'calls' AND state = 'failed'";
    wait_until("the calls to fail", Duration::from_secs(60), || {
        company.server.count(&company.control, failed) > 0
    });
    daemon.stop();
    assert_eq!(
        company.count("SELECT count(*) FROM call"),
        2883,
        "none could go"
    );
}

/// Answers of any depth hang on a post, and reactions, which have a rule of their own, on all of them: a post
/// goes only with all that is below it.
#[test]
fn lesson_08_a_tree_goes_as_far_as_all_below_may() {
    let schema = "
        CREATE TABLE customer (id int PRIMARY KEY, member_no text UNIQUE NOT NULL);
        CREATE TABLE post (id int PRIMARY KEY, customer int REFERENCES customer, parent int REFERENCES post ON DELETE CASCADE, written_on date);
        CREATE TABLE reaction (id int PRIMARY KEY, post int REFERENCES post ON DELETE CASCADE, made_on date);
        CREATE INDEX ON post (customer); CREATE INDEX ON post (parent); CREATE INDEX ON reaction (post);
        -- Chains and bushes of one to six levels; some answers are older than what they answer.
        INSERT INTO post SELECT n, NULL, CASE WHEN n % 6 <> 0 THEN n - 1 - n % 2 * (n % 6 > 2)::int END,
               (now() AT TIME ZONE 'Asia/Tokyo')::date - 60 - n * 37 % 100 FROM generate_series(1, 1200) n WHERE n >= 6;
        INSERT INTO reaction SELECT n, n, (now() AT TIME ZONE 'Asia/Tokyo')::date - n % 40 FROM generate_series(6, 1200, 11) n;";
    let rule = |name: &str, table: &str, since: &str, keep: &str| {
        format!(
            "[[retention]]\nname = \"{name}\"\ntable = \"shop.public.{table}\"\nsince = \"{since}\"\nkeep = \"{keep}\"\n\
             action = \"delete\"\nbecause = \"a test\"\ntimezone = \"Asia/Tokyo\"\n"
        )
    };
    let policy = POLICY.split("[[table]]").next().unwrap().to_owned()
        + "[[table]]\nname = \"shop.public.customer\"\naction = \"delete\"\n\
           [[table]]\nname = \"shop.public.post\"\naction = \"delete\"\n\
           [[table]]\nname = \"shop.public.post\"\nvia = \"post_parent_fkey\"\naction = \"delete\"\n\
           [[table]]\nname = \"shop.public.reaction\"\naction = \"delete\"\n"
        + &rule("posts", "post", "written_on", "90 days")
        + &rule("reactions", "reaction", "made_on", "20 days");
    let company = Company::with(schema, &policy);
    company.says(&["check"], 0);
    let today = "(now() AT TIME ZONE 'Asia/Tokyo')::date";
    let stays = format!(
        "WITH RECURSIVE under (top, id) AS (SELECT id, id FROM post UNION SELECT u.top, p.id FROM under u JOIN post p ON p.parent = u.id) \
         SELECT DISTINCT u.top::text FROM under u JOIN post p ON p.id = u.id LEFT JOIN reaction r ON r.post = p.id \
          WHERE NOT p.written_on + 90 < {today} OR r.made_on IS NOT NULL AND NOT r.made_on + 20 < {today} ORDER BY 1"
    );
    let due = company.count(&format!(
        "SELECT count(*) FROM post WHERE written_on + 90 < {today}"
    ));
    let expected = company.server.query(&company.shop, &stays);
    let goes = 1195 - i64::try_from(expected.len()).unwrap();
    assert!(goes > 100 && due - goes > 100, "{due} {goes}");
    let run = company.json(&["retention", "run", "posts"]);
    let left = "SELECT id::text FROM post ORDER BY 1";
    assert_eq!(company.server.query(&company.shop, left), expected, "{run}");
    assert_eq!(run["survivors"].as_i64(), Some(due - goes), "{run}");
    assert!(run["set_aside"].as_array().unwrap().is_empty(), "{run}");
}
