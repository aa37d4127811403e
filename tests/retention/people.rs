//! Rules for people: who is due goes by a ticket, whole, and who has come back stays.

use crate::company::{Company, POLICY, SCHEMA};
use crate::support::{Server, Workspace, wait_until};
use std::time::Duration;

/// Of twenty members the first twelve have not been here for years, the last of them longest.
fn schema() -> String {
    format!(
        "{SCHEMA} ALTER TABLE customer ADD last_login_on date; \
         UPDATE customer SET last_login_on = CASE WHEN id <= 12 THEN current_date - 2000 - id WHEN id < 20 THEN current_date - id END;"
    )
}

fn policy(more: &str) -> String {
    POLICY.split("[[retention]]").next().unwrap().to_owned()
        + &format!(
            "[[retention]]\nname = \"members\"\ntable = \"shop.public.customer\"\npeople = true\nscope = \"account\"\nat_most = 5\n\
             since = \"last_login_on\"\nkeep = \"5 years\"\naction = \"delete\"\nbecause = \"our terms, section 9\"\n\
             timezone = \"Asia/Tokyo\"\n{more}\n"
        )
}

fn open() -> Company {
    let company = Company::with(&schema(), &policy(""));
    company.says(&["check"], 0);
    // What may be asked for is published by a daemon.
    company.says(&["run", "--until-idle"], 0);
    company
}

fn left(company: &Company) -> Vec<String> {
    let rows = company.server.query(
        &company.shop,
        "SELECT c.id::text FROM customer c ORDER BY c.id",
    );
    rows.into_iter()
        .map(|row| row[0].clone().unwrap())
        .collect()
}

fn numbers(of: impl IntoIterator<Item = u32>) -> Vec<String> {
    of.into_iter().map(|n| n.to_string()).collect()
}

#[test]
fn who_is_due_goes_whole_by_a_ticket_the_longest_first() {
    let company = open();
    let plan = company.json(&["retention", "plan", "members"]);
    assert_eq!(
        (plan[0]["due"].as_i64(), plan[0]["undated"].as_i64()),
        (Some(12), Some(1)),
        "{plan}"
    );
    let run = company.json(&["retention", "run", "members"]);
    assert_eq!(run["filed"], 5, "{run}");
    // Nothing goes but by the tickets, and who has one gets no other.
    assert_eq!(left(&company).len(), 20);
    let run = company.json(&["retention", "run", "members"]);
    assert_eq!(run["filed"], 5, "{run}");
    company.says(&["run", "--until-idle"], 0);
    assert_eq!(left(&company), numbers((1..=2).chain(13..=20)));
    assert_eq!(
        company.count("SELECT count(*) FROM call WHERE customer BETWEEN 3 AND 12"),
        0
    );
    assert_eq!(
        company.count("SELECT count(DISTINCT customer) FROM call"),
        10,
        "the others' are all there"
    );
    let run = company.json(&["retention", "run", "members"]);
    assert_eq!(run["filed"], 2, "{run}");
    company.says(&["run", "--until-idle"], 0);
    assert_eq!(left(&company), numbers(13..=20));
    // Certified one by one, and it says who approved.
    let closed = "SELECT count(*) FROM erasured.ticket t JOIN erasured.certificate c ON c.ticket_id = t.id \
                   WHERE t.state = 'completed' AND t.ground = 'policy' AND t.retention_rule = 'members'";
    assert_eq!(company.server.count(&company.control, closed), 12);
    let approved = "SELECT count(*) FROM erasured.decision WHERE kind = 'approve' AND by_name = 'rule members' AND by_role = 'policy'";
    assert_eq!(company.server.count(&company.control, approved), 12);
    let rows = "SELECT sum(rows)::bigint FROM erasured.retention_run";
    assert_eq!(company.server.count(&company.control, rows), 12);
    let nobody = "SELECT count(*) FROM erasured.ticket_identifier WHERE value IS NOT NULL";
    assert_eq!(company.server.count(&company.control, nobody), 0);
    company.says(&["ledger", "verify"], 0);
}

/// A login after the ticket was filed saves the member; so does a hold.
#[test]
fn who_comes_back_and_who_is_held_stays() {
    let company = open();
    let hold = r#"SELECT erasured.place_hold('case-1', 'court-order', 'customer', '{"member_no": "M-11"}')"#;
    company.server.execute(&company.control, hold);
    company.says(&["run", "--until-idle"], 0);
    let run = company.json(&["retention", "run", "members"]);
    assert_eq!(
        (&run["filed"], &run["held"]),
        (&5.into(), &1.into()),
        "{run}"
    );
    // Twelve, ten, nine, eight and seven have tickets.
    company.execute("UPDATE customer SET last_login_on = current_date WHERE id = 9");
    company.says(&["run", "--until-idle"], 0);
    assert_eq!(
        left(&company),
        numbers((1..=6).chain([9, 11]).chain(13..=20))
    );
    let ended = "SELECT count(*) FROM erasured.ticket t JOIN erasured.decision d ON d.ticket_id = t.id \
                  WHERE t.state = 'rejected' AND t.sealed IS NULL AND d.kind = 'reject' AND d.reason = 'not_due' AND d.by_name = 'rule members'";
    assert_eq!(company.server.count(&company.control, ended), 1);
    let open = "SELECT count(*) FROM erasured.ticket WHERE state NOT IN ('completed', 'rejected')";
    assert_eq!(company.server.count(&company.control, open), 0);
}

/// Lets the tickets run while this is under way, and commits it when they have come to wait for it.
fn while_tickets_run(company: &Company, meanwhile: &str) {
    let url = company.server.url(&company.shop);
    crate::support::blocking(async {
        let client = crate::support::connect(&url).await;
        let begin = format!("BEGIN; {meanwhile}");
        client.batch_execute(&begin).await.unwrap();
        let mut daemon = company
            .workspace
            .process(["run", "--until-idle"])
            .spawn()
            .unwrap();
        let waits = "SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE NOT l.granted AND a.datname = current_database()";
        let mut waited = 0;
        // Asked anew: within a transaction who is there is remembered.
        while company.count(waits) == 0 {
            waited += 1;
            assert!(waited < 1000, "the daemon was to wait for {meanwhile}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        client.batch_execute("COMMIT").await.unwrap();
        assert!(daemon.wait().unwrap().success());
    });
}

/// A login that is under way when the ticket begins: its row's lock is waited for, and then it counts.
#[test]
fn who_comes_back_in_the_last_moment_stays() {
    let company = open();
    let run = company.json(&["retention", "run", "members"]);
    assert_eq!(run["filed"], 5, "{run}");
    while_tickets_run(
        &company,
        "UPDATE customer SET last_login_on = current_date WHERE id = 10",
    );
    assert_eq!(left(&company), numbers((1..=7).chain([10]).chain(13..=20)));
    let ended =
        "SELECT count(*) FROM erasured.decision WHERE kind = 'reject' AND reason = 'not_due'";
    assert_eq!(company.server.count(&company.control, ended), 1);
}

/// People who are due by their last booking: the first twelve.
fn by_bookings() -> (String, String) {
    let schema = format!(
        "{SCHEMA} CREATE TABLE booking (id int PRIMARY KEY, customer int REFERENCES customer, ends_on date); CREATE INDEX ON booking (customer); \
         INSERT INTO booking SELECT id, id, CASE WHEN id <= 12 THEN current_date - 2000 - id ELSE current_date - id END FROM customer WHERE id < 20; \
         INSERT INTO booking SELECT 100 + id, id, current_date - 4000 FROM customer;"
    );
    let policy = policy("").replace(
        "since = \"last_login_on\"",
        "since = { table = \"shop.public.booking\", column = \"ends_on\" }",
    ) + "[[table]]\nname = \"shop.public.booking\"\naction = \"delete\"\n";
    (schema, policy)
}

/// A person is due by what hangs on their row: a booking that is made, moved on, or lost while their ticket runs saves them.
#[test]
fn what_comes_to_hang_on_a_person_in_the_last_moment_saves_them() {
    let (schema, policy) = by_bookings();
    for meanwhile in [
        "UPDATE booking SET ends_on = current_date WHERE id = 3",
        "INSERT INTO booking VALUES (999, 3, current_date)",
        "DELETE FROM booking WHERE id IN (3, 103)",
    ] {
        let company = Company::with(&schema, &policy);
        company.says(&["check"], 0);
        company.says(&["run", "--until-idle"], 0);
        let run = company.json(&["retention", "run", "members"]);
        assert_eq!(run["filed"], 5, "{run}");
        while_tickets_run(&company, meanwhile);
        // Where rows that hang on people count, they come by their keys.
        assert_eq!(
            left(&company),
            numbers([3].into_iter().chain(6..=20)),
            "{meanwhile}"
        );
        let ended =
            "SELECT count(*) FROM erasured.decision WHERE kind = 'reject' AND reason = 'not_due'";
        assert_eq!(company.server.count(&company.control, ended), 1);
    }
}

/// Of two systems the other one goes first: who comes back then keeps what is there too.
#[test]
fn who_comes_back_while_another_system_is_erased_stays_there_too() {
    let (schema, policy) = by_bookings();
    let server = Server::shared();
    let (shop, control) = (
        server.fresh_database("shop"),
        server.fresh_database("control"),
    );
    let loyalty = server.fresh_database("loyalty");
    server.execute(&shop, &schema);
    server.execute(
        &loyalty,
        "CREATE TABLE member (member_no text PRIMARY KEY); INSERT INTO member SELECT 'M-' || n FROM generate_series(1, 20) n",
    );
    let systems = [
        ("shop", server.url(&shop)),
        ("loyalty", server.url(&loyalty)),
    ];
    let company = Company {
        workspace: Workspace::new(&server.url(&control), &systems),
        server,
        shop,
        control,
    };
    let member = "[[table]]\nname = \"loyalty.public.member\"\nlink = { columns = [\"member_no\"], identifier = \"member_no\" }\naction = \"delete\"\n";
    company
        .workspace
        .write_policy("customer.toml", &(policy + member));
    company.says(&["migrate"], 0);
    company.says(&["check"], 0);
    company.says(&["run", "--until-idle"], 0);
    company.json(&["retention", "run", "members"]);
    while_tickets_run(
        &company,
        "UPDATE booking SET ends_on = current_date WHERE id = 3",
    );
    let there: Vec<u32> = [3].into_iter().chain(6..=20).collect();
    assert_eq!(left(&company), numbers(there.clone()));
    let members = "SELECT substr(member_no, 3)::int FROM member ORDER BY 1";
    let members = server.query(
        &loyalty,
        &format!("SELECT x::text FROM ({members}) AS x (x)"),
    );
    let members: Vec<String> = members.into_iter().map(|r| r[0].clone().unwrap()).collect();
    assert_eq!(members, numbers(there));
}

/// Beside rows under a hold the person's own row stays; who comes back then keeps all the same what goes beside it.
#[cfg(feature = "failpoints")]
#[test]
fn who_comes_back_beside_a_hold_loses_nothing() {
    let (schema, policy) = by_bookings();
    let schema = schema.replace(
        "ends_on date);",
        "ends_on date); ALTER TABLE customer ADD seen_on date DEFAULT current_date - 3000;",
    );
    let policy = policy
        .replace("since = {", "since = [\"seen_on\", {")
        .replace("ends_on\" }", "ends_on\" }]");
    let company = Company::with(&schema, &policy);
    company.says(&["run", "--until-idle"], 0);
    // Of what hangs on the calls of customer 3, so that the bookings go beside.
    let hold = r#"SELECT erasured.place_row_hold('case-1', 'court-order', 'shop.public.call', '[{"column": "customer", "op": "=", "values": ["3"]}]')"#;
    company.server.execute(&company.control, hold);
    company.says(&["run", "--until-idle"], 0);
    company.json(&["retention", "run", "members"]);
    let url = company.server.url(&company.shop);
    crate::support::blocking(async {
        let client = crate::support::connect(&url).await;
        let mut daemon = company
            .workspace
            .process(["run", "--until-idle"])
            .env("FAILPOINTS", "before-the-rest=1*sleep(5000)")
            .spawn()
            .unwrap();
        let begun = "SELECT count(*) FROM erasured.ticket WHERE state = 'executing'";
        wait_until("the rest to come", Duration::from_secs(30), || {
            company.server.count(&company.control, begun) > 0
        });
        tokio::time::sleep(Duration::from_secs(1)).await;
        client
            .batch_execute("BEGIN; UPDATE customer SET seen_on = current_date WHERE id = 3")
            .await
            .unwrap();
        let waits = "SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE NOT l.granted AND a.datname = current_database()";
        let mut waited = 0;
        // Asked anew: within a transaction who is there is remembered.
        while company.count(waits) == 0 {
            waited += 1;
            assert!(waited < 600, "the daemon was to wait for the row");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        client.batch_execute("COMMIT").await.unwrap();
        daemon.wait().unwrap();
    });
    assert_eq!(
        company.count("SELECT count(*) FROM booking WHERE customer = 3"),
        2
    );
}

/// People go without anybody having been asked: that is told, until somebody is, or they have time.
#[test]
fn who_goes_unasked_is_told() {
    let company = open();
    let check = |policy: &str| {
        company.workspace.write_policy("customer.toml", policy);
        company.says(&["check"], 0).contains("E0267")
    };
    assert!(check(&policy("")));
    assert!(
        company
            .says(&["retention", "plan", "members"], 0)
            .contains("E0267")
    );
    assert!(!check(&policy("approval = \"first\"")));
    let cooling = "verify = { at_least = \"basic\", cooling_off = \"30 days\" }";
    assert!(!check(
        &policy("").replace("verify = { at_least = \"basic\" }", cooling)
    ));
    // A dry run says what a run would do: five at a time.
    company.workspace.write_policy("customer.toml", &policy(""));
    let dry = company.json(&["retention", "run", "members", "--dry-run"]);
    assert_eq!(
        (&dry["due"], &dry["files"]),
        (&12.into(), &5.into()),
        "{dry}"
    );
    let dry = company.says(&["retention", "run", "members", "--dry-run"], 0);
    assert!(dry.contains("5 ticket(s) would be filed"), "{dry}");
}

/// Who has a ticket is under way: not overdue, and not counted a second time against the forecast.
#[test]
fn who_has_a_ticket_is_told_apart() {
    let keys = "approval = \"first\"\nstop_over_forecast = 0";
    let policy = |more: &str| {
        let cooling = "verify = { at_least = \"basic\", cooling_off = \"30 days\" }";
        policy(more).replace("verify = { at_least = \"basic\" }", cooling)
    };
    let company = Company::with(&schema(), &policy(keys));
    company.says(&["run", "--until-idle"], 0);
    company.says(&["retention", "run", "members"], 1);
    // What they lose is what their tickets take.
    let shown = company.says(&["retention", "approve", "members"], 0);
    for lost in [
        "rows of public.customer are deleted",
        "rows of public.call are deleted",
        "rows of public.survey are detached",
    ] {
        assert!(shown.contains(lost), "{lost}: {shown}");
    }
    company.says(&["retention", "approve", "members", "--rows", "12"], 0);
    let mut open = 0;
    for filed in [5, 5, 2] {
        let run = company.json(&["retention", "run", "members"]);
        assert_eq!(run["filed"], filed, "{run}");
        open += filed;
        company.says(&["run", "--until-idle"], 0);
        assert_eq!(left(&company).len(), 20, "they cool off");
        let plan = company.json(&["retention", "plan", "members"]);
        assert_eq!(
            (&plan[0]["due"], &plan[0]["under_way"]),
            (&12.into(), &open.into()),
            "{plan}"
        );
        let said = company.says(&["retention", "verify"], i32::from(open < 12));
        assert!(
            said.contains(&format!("{open} more have an open ticket"))
                && said.contains(&format!("{} row(s) of", 12 - open)),
            "{said}"
        );
    }
    // More of theirs would go.
    let more = policy(keys).replace("action = \"detach\"", "action = \"delete\"");
    company.workspace.write_policy("customer.toml", &more);
    company.says(&["run", "--until-idle"], 0);
    let said = company.says(&["retention", "run", "members"], 1);
    assert!(said.contains("E0526"), "{said}");
}

/// The daemon decides nothing: it files for a run that it is at, and ends what a rule has filed.
#[test]
fn nothing_is_filed_or_ended_beside_a_run() {
    let company = open();
    let hash = "0".repeat(64);
    let file = |run: &str| {
        let sql = format!(
            "SELECT erasured.file_due({run}, gen_random_uuid(), gen_random_uuid(), 'account', '{hash}', 'x', now(), '{{}}', '{{}}')"
        );
        company.server.value(&company.control, &sql)
    };
    assert_eq!(file("gen_random_uuid()"), "lost");
    company.json(&["retention", "run", "members"]);
    assert_eq!(
        file("(SELECT id FROM erasured.retention_run LIMIT 1)"),
        "lost"
    );
    let tickets = "SELECT count(*) FROM erasured.ticket";
    assert_eq!(company.server.count(&company.control, tickets), 5);
    // Of what a person has filed nothing is ended so.
    company.server.execute(
        &company.control,
        r#"SELECT erasured.submit_ticket('R-1', 'customer', '{"member_no": "M-15"}', 'account', 'gdpr-17-1-a')"#,
    );
    let end = "SELECT erasured.end_not_due((SELECT id FROM erasured.ticket WHERE reference = 'R-1'), gen_random_uuid())::text";
    assert_eq!(company.server.value(&company.control, end), "false");
}

/// A run of a rule for rows, of another scope, or beyond what the rule lets it, files nobody's ticket.
#[test]
fn a_run_files_only_what_its_published_rule_says() {
    let newsletter = "scope.newsletter = { tables = [\"shop.public.survey\"], verify = { at_least = \"basic\" }, sla = \"jp-appi\" }\n\n[[table]]";
    let policy = policy("").replacen("[[table]]", newsletter, 1);
    let calls = "\n[[retention]]".to_owned() + POLICY.split("[[retention]]").nth(1).unwrap();
    let company = Company::with(&schema(), &(policy + &calls));
    company.says(&["run", "--until-idle"], 0);
    let begin = |rule: &str| {
        let sql = format!(
            "INSERT INTO erasured.retention_run (subject, rule, \"table\", basis, policy_sha256, cutoff, timezone, started_by, lease_token, lease_until) \
             SELECT 'customer', '{rule}', 'shop.public.customer', 'x', policy_sha256, now(), 'UTC', '', gen_random_uuid(), now() + interval '1 hour' \
               FROM erasured.scope WHERE scope = 'account'"
        );
        company.server.execute(&company.control, &sql);
    };
    begin("calls");
    begin("members");
    let url = company.server.url(&company.control);
    crate::support::blocking(async {
        let client = crate::support::connect(&url).await;
        let file = async |rule: &str, scope: &str, person: i32| {
            let sql = format!(
                "SELECT erasured.file_due(id, lease_token, gen_random_uuid(), '{scope}', encode(sha256('{person}'), 'hex'), 'x', now(), '{{}}', '{{}}') \
                   FROM erasured.retention_run WHERE rule = '{rule}'"
            );
            match client.query_one(&sql, &[]).await {
                Ok(row) => row.get::<_, String>(0),
                Err(error) => error.code().unwrap().code().to_owned(),
            }
        };
        assert_eq!(file("calls", "account", 1).await, "ER004");
        assert_eq!(file("members", "newsletter", 1).await, "ER004");
        for person in 1..=5 {
            assert_eq!(file("members", "account", person).await, "filed");
        }
        assert_eq!(file("members", "account", 6).await, "ER004");
    });
    let tickets = "SELECT count(*) FROM erasured.ticket";
    assert_eq!(company.server.count(&company.control, tickets), 5);
}

#[test]
fn what_such_a_rule_must_say() {
    let company = open();
    for (from, to, code) in [
        (
            "table = \"shop.public.customer\"",
            "table = \"shop.public.call\"",
            "E0256",
        ),
        ("people = true\n", "", "E0109"),
        ("people = true", "people = \"yes\"", "E0105"),
        ("scope = \"account\"\n", "", "E0104"),
        ("scope = \"account\"", "scope = \"acount\"", "E0107"),
        ("at_most = 5\n", "", "E0104"),
        (
            "action = \"delete\"\nbecause",
            "action = \"report\"\nbecause",
            "E0109",
        ),
    ] {
        let text = policy("");
        assert!(text.contains(from), "{from}");
        let text = text.replace(from, to).replace(
            "last_login_on",
            match code {
                "E0256" => "ended_at",
                _ => "last_login_on",
            },
        );
        company.workspace.write_policy("customer.toml", &text);
        let said = company.says(&["check"], if code < "E0200" { 2 } else { 1 });
        assert!(said.contains(code), "{to}: {said}");
    }
}
