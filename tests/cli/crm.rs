//! What a CRM does over HTTP besides filing and deciding: answers compared, questions, the clock, legal
//! holds; and the worked example of docs/integration.md.

use crate::api::{Door, open, request, token};
use crate::desk::Desk;
use crate::support::{repository, wait_until};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

fn ticket(door: &Door, reference: &str) -> Value {
    door.ask("hana", "GET", &format!("/v1/tickets/{reference}"), None)
        .json()
}

fn filed(desk: &Desk, door: &Door, reference: &str, member: &str) {
    let body = Some(request(reference, member));
    let filed = door.ask("hana", "POST", "/v1/tickets", body);
    assert_eq!(filed.status, 201, "{filed:?}");
    wait_until("the person", Duration::from_secs(20), || {
        desk.server.value(
            desk.control(),
            &format!("SELECT (subject_hash IS NOT NULL)::text FROM erasured.ticket WHERE reference = '{reference}'"),
        ) == "true"
    });
}

/// Everything in the control database as text, and everything that the daemon has said.
fn kept(desk: &Desk) -> String {
    let dump = Command::new(desk.server.bin().join("pg_dump"))
        .args(["--dbname", &desk.server.url(desk.control())])
        .output()
        .unwrap();
    assert!(dump.status.success(), "{dump:?}");
    let log = std::fs::read_to_string(desk.workspace.path().join("daemon.log")).unwrap();
    String::from_utf8(dump.stdout).unwrap() + &log
}

/// A caller guesses: no match, in the same words whatever is wrong; then nothing at all, the right
/// answer neither. Another has it right, and the method is recorded. No answer is anywhere.
#[test]
fn answers_are_compared_over_http_and_kept_nowhere() {
    let mut desk = Desk::open(120);
    desk.workspace.configure("[log]\nlevel = \"trace\"\n");
    let door = open(&mut desk, "rate = 1000");
    filed(&desk, &door, "P-5", "TM-0000005");
    filed(&desk, &door, "P-6", "TM-0000006");
    let born = |n: u32| {
        let sql = format!("SELECT birth_date::text FROM customer WHERE id = {n}");
        desk.server.value(&desk.demo.shop, &sql)
    };
    let prove_by = |who, reference: &str, method: &str, answers: Value| {
        let body = json!({"method": method, "answers": answers});
        door.ask(
            who,
            "POST",
            &format!("/v1/tickets/{reference}/prove"),
            Some(body),
        )
    };
    let prove = |reference: &str, member: &str, born: &str| {
        let answers = json!({"member_no": member, "birth_date": born});
        prove_by("hana", reference, "callback_dob", answers)
    };
    let verify = |reference: &str| {
        let body = json!({"method": "callback_dob"});
        door.ask(
            "hana",
            "POST",
            &format!("/v1/tickets/{reference}/verify"),
            Some(body),
        )
    };
    // What cannot be compared counts for nothing.
    let few = prove_by(
        "hana",
        "P-5",
        "callback_dob",
        json!({"member_no": "TM-0000005"}),
    );
    assert_eq!(few.problem(), (422, "E0418".into()));
    let none = prove_by("hana", "P-5", "callback", json!({"name": "x"}));
    assert_eq!(none.problem(), (422, "E0415".into()));
    let other = prove_by("kenji", "P-5", "callback_dob", json!({}));
    assert_eq!(other.problem(), (403, "E0643".into()));
    assert_eq!(
        prove("P-7", "a", "1931-02-03").problem(),
        (404, "ER001".into())
    );

    assert_eq!(verify("P-5").problem(), (409, "ER012".into()));
    let heard: BTreeSet<(u16, String)> = [
        prove("P-5", "TM-0000005", "1931-02-03"),
        prove("P-5", "TM-9876543", &born(5)),
        prove("P-5", "TM-9876543", "1931-02-03"),
    ]
    .map(|answer| (answer.status, answer.body))
    .into();
    assert_eq!(
        heard,
        [(200, r#"{"outcome":"no_match"}"#.to_owned())].into()
    );
    let shut = prove("P-5", "TM-0000005", &born(5));
    assert_eq!(shut.problem(), (429, "E0419".into()));
    let wait = shut.head.to_lowercase();
    let (_, wait) = wait.split_once("retry-after: ").unwrap();
    let wait: u32 = wait.lines().next().unwrap().parse().unwrap();
    assert!((600..=900).contains(&wait), "{wait}");
    assert_eq!(verify("P-5").problem(), (409, "ER012".into()));

    assert_eq!(
        prove("P-6", "TM-0000006", &born(6)).json()["outcome"],
        "match"
    );
    assert_eq!(verify("P-6").json()["state"], "verified");
    let by = "SELECT string_agg(DISTINCT by_name || ' through ' || desk, ', ') FROM erasured.identity_attempt";
    assert_eq!(desk.server.value(desk.control(), by), "hana through hana");
    let kept = kept(&desk);
    assert!(
        kept.contains("no_match") && kept.contains("ready"),
        "it was looked for"
    );
    for answer in ["1931-02-03", "TM-9876543", &born(5), &born(6)] {
        assert!(!kept.contains(answer), "{answer} is kept");
    }
}

/// Which methods there are, for a form: what each may ask, what of it is compared.
#[test]
fn the_methods_are_told() {
    let mut desk = Desk::open(120);
    let door = open(&mut desk, "rate = 1000");
    let all = door.ask("hana", "GET", "/v1/methods", None).json();
    let all = all["methods"].as_array().unwrap();
    let one = all.iter().find(|m| m["code"] == "callback_dob").unwrap();
    assert_eq!(one["compare"], json!(["member_no", "birth_date"]));
    assert_eq!(one["level"], "reasonably-high");
    assert_eq!(all[0]["level"], "none");
    let known = "SELECT count(*) FROM erasured.method";
    assert_eq!(
        desk.server.count(desk.control(), known),
        i64::try_from(all.len()).unwrap()
    );
    let closed = door.ask("audit", "GET", "/v1/methods", None);
    assert_eq!(closed.problem(), (403, "E0643".into()));
}

/// Confirmed, asked, answered, extended: each is seen on the ticket, stops or moves the clock as the
/// profile says, and may be sent twice.
#[test]
fn the_clock_moves_over_http_as_the_profile_says() {
    let mut desk = Desk::open(120);
    let file = desk.workspace.path().join("policies/customer.toml");
    let policy = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, policy.replace("\"jp-appi\"", "\"eu-gdpr\"")).unwrap();
    desk.run_until_idle().assert().success();
    let door = open(&mut desk, "rate = 1000");
    filed(&desk, &door, "C-1", "TM-0000005");
    let on =
        |who, what: &str, body| door.ask(who, "POST", &format!("/v1/tickets/C-1/{what}"), body);
    let counted = |clock: &str| {
        wait_until(clock, Duration::from_secs(20), || {
            let stale = "SELECT count(*) FROM erasured.ticket WHERE clock_stale OR due_at IS NULL";
            desk.server.count(desk.control(), stale) == 0
        });
        let now = ticket(&door, "C-1");
        assert_eq!(now["clock"], clock, "{now}");
        now
    };
    let before = counted("running");
    assert_eq!(before["acknowledged_at"], Value::Null);
    for _ in 0..2 {
        assert_eq!(on("hana", "acknowledge", None).json()["state"], "received");
    }
    assert!(ticket(&door, "C-1")["acknowledged_at"].is_string());

    let question = |code: &str| on("hana", "ask", Some(json!({"for": code})));
    assert_eq!(
        on("hana", "answered", None).problem(),
        (409, "ER018".into())
    );
    assert_eq!(
        on("kenji", "ask", Some(json!({"for": "x"}))).problem(),
        (403, "E0643".into())
    );
    assert_eq!(question("Which one?").problem(), (422, "ER006".into()));
    for _ in 0..2 {
        assert_eq!(question("identity").json()["state"], "received");
    }
    assert_eq!(question("which-account").problem(), (409, "ER018".into()));
    assert_eq!(counted("paused")["asked_for"], "identity");
    assert_eq!(on("hana", "answered", None).json()["state"], "received");
    let answered = counted("running");
    assert_eq!(
        (&answered["asked_for"], &answered["asked_at"]),
        (&Value::Null, &Value::Null)
    );

    let longer = || on("kenji", "extend", Some(json!({"reason": "complex"})));
    assert_eq!(
        on("hana", "extend", Some(json!({"reason": "complex"})))
            .problem()
            .1,
        "E0643"
    );
    for _ in 0..2 {
        assert_eq!(longer().json()["state"], "received");
    }
    let extended = counted("running");
    assert_eq!(extended["extended_for"], "complex");
    let days = |t: &Value| {
        let at = t["due_at"]
            .as_str()
            .unwrap()
            .parse::<chrono::DateTime<chrono::Utc>>();
        at.unwrap()
    };
    assert!(
        (days(&extended) - days(&answered)).num_days() >= 58,
        "{answered} {extended}"
    );
    let story = door
        .ask("hana", "GET", "/v1/tickets/C-1/timeline", None)
        .json();
    let what: Vec<&str> = story["timeline"]
        .as_array()
        .unwrap()
        .iter()
        .map(|h| h["what"].as_str().unwrap())
        .collect();
    assert_eq!(
        what,
        [
            "requested",
            "filed",
            "receipt confirmed",
            "customer asked",
            "customer answered",
            "term extended"
        ]
    );
}

/// Placed by one, released by another, each by a scope of their own; placed once however often it is
/// sent; and what it covers stands until it is released.
#[test]
fn legal_holds_over_http_keep_and_let_go() {
    let mut desk = Desk::open(120);
    let door = open(&mut desk, "rate = 1000");
    let order = |member: &str| {
        json!({"matter": "case-2026-17", "reason": "court-order", "subject": "customer",
               "identifiers": {"member_no": member}})
    };
    let place = |who, key: &str, order: Value| {
        let header = match key {
            "" => String::new(),
            key => format!("Idempotency-Key: {key}\r\n"),
        };
        door.ask_with(who, "POST", "/v1/holds", &header, Some(order))
    };
    for who in ["hana", "kenji", "chief", "audit"] {
        assert_eq!(
            place(who, "", order("TM-0000005")).problem(),
            (403, "E0643".into()),
            "{who}"
        );
    }
    // Sent by eight at the same moment, and again when it has been read: one hold.
    let answers: Vec<(u16, Value)> = std::thread::scope(|scope| {
        let one = || scope.spawn(|| place("counsel", "case-17-a", order("TM-0000005")));
        let all: Vec<_> = (0..8).map(|_| one()).collect();
        let all = all.into_iter().map(|t| t.join().unwrap());
        all.map(|answer| (answer.status, answer.json()["id"].clone()))
            .collect()
    });
    assert_eq!(
        answers.iter().filter(|a| a.0 == 201).count(),
        1,
        "{answers:?}"
    );
    assert!(
        answers
            .iter()
            .all(|a| [200, 201].contains(&a.0) && a.1 == answers[0].1),
        "{answers:?}"
    );
    let id = answers[0].1.as_str().unwrap().to_owned();
    let one = || {
        door.ask("chief", "GET", &format!("/v1/holds/{id}"), None)
            .json()
    };
    wait_until("the hold to be read", Duration::from_secs(20), || {
        one()["read_at"].is_string()
    });
    assert_eq!(
        place("counsel", "case-17-a", order("TM-0000005")).json()["id"],
        id.as_str()
    );
    // Under a key that is used, another person's would be thought to be placed.
    assert_eq!(
        place("counsel", "case-17-a", order("TM-0000009")).problem(),
        (409, "ER003".into())
    );
    // Somebody else's key is another.
    assert_eq!(place("all", "case-17-a", order("TM-0000009")).status, 201);
    let stored = desk.server.value(
        desk.control(),
        "SELECT string_agg(r::text, ' ') FROM erasured.hold_request r",
    );
    assert!(
        !stored.contains("case-17") && !stored.contains("TM-0000"),
        "{stored}"
    );
    let seen = one();
    assert_eq!(
        (&seen["people"], &seen["placed_by"]),
        (&json!(1), &json!("counsel"))
    );
    assert_eq!(seen["named_by"], json!(["member_no"]));

    filed(&desk, &door, "H-1", "TM-0000005");
    let decide =
        |who, what: &str, body| door.ask(who, "POST", &format!("/v1/tickets/H-1/{what}"), body);
    decide("hana", "verify", Some(json!({"method": "login_reauth"})));
    assert_eq!(decide("kenji", "approve", None).json()["state"], "approved");
    wait_until("the ticket to be held", Duration::from_secs(30), || {
        one()["tickets"] == json!(["H-1"])
    });
    assert_eq!(ticket(&door, "H-1")["problem_code"], "E0521");
    let release =
        |who, what: &str| door.ask(who, "POST", &format!("/v1/holds/{what}/release"), None);
    assert_eq!(release("counsel", &id).problem(), (403, "E0643".into()));
    assert_eq!(
        release("chief", "case-2026-18").problem(),
        (404, "ER001".into())
    );
    assert_eq!(release("chief", &id).json()["released"], 1);
    assert_eq!(release("chief", &id).json()["released"], 0);
    assert_eq!(
        (&one()["released_by"], &one()["in_force"]),
        (&json!("chief"), &json!(false))
    );
    wait_until("the certificate", Duration::from_secs(60), || {
        ticket(&door, "H-1")["certificate_id"].is_string()
    });
    // The same sent once more tells of the hold that was, and does not place it anew.
    assert_eq!(
        place("counsel", "case-17-a", order("TM-0000005")).json()["in_force"],
        false
    );

    let rows = |matter: &str, values: Value| {
        json!({"matter": matter, "reason": "audit", "rows_of": "shop.public.invoice",
               "conditions": [{"column": "issued_on", "op": "between", "values": values}]})
    };
    let placed = place(
        "counsel",
        "",
        rows("audit-q1", json!(["2026-01-01", "2026-03-31"])),
    );
    assert_eq!(
        (placed.status, &placed.json()["rows_of"]),
        (201, &json!("shop.public.invoice"))
    );
    assert_eq!(
        place("counsel", "", rows("audit-q1", json!(["2026-01-01"]))).problem(),
        (422, "ER006".into())
    );
    let mut both = rows("audit-q2", json!(["2026-01-01", "2026-03-31"]));
    both["subject"] = "customer".into();
    assert_eq!(place("counsel", "", both).problem(), (400, "E0641".into()));

    let list = |query: &str| {
        door.ask("counsel", "GET", &format!("/v1/holds{query}"), None)
            .json()
    };
    let matters = |page: &Value| -> Vec<String> {
        let holds = page["holds"].as_array().unwrap().iter();
        holds
            .map(|h| h["matter"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(matters(&list("?matter=audit-q1")), ["audit-q1"]);
    assert_eq!(matters(&list("")), ["audit-q1", "case-2026-17"]);
    let first = list("?all=true&limit=2");
    let cursor = first["next"].as_str().unwrap();
    let second = list(&format!("?all=true&limit=2&cursor={cursor}"));
    assert_eq!(
        (matters(&first).len(), matters(&second)),
        (2, vec!["case-2026-17".to_owned()])
    );
    assert_eq!(second["next"], Value::Null);
    assert_eq!(release("chief", "case-2026-17").json()["released"], 1);
}

/// What the agent is to say and to write comes as the command prints it.
#[test]
fn the_words_for_the_customer_are_those_of_the_command() {
    let mut desk = Desk::open(120);
    let door = open(&mut desk, "rate = 1000");
    filed(&desk, &door, "W-1", "TM-0000005");
    let told = |query: &str| door.ask("hana", "GET", &format!("/v1/tickets/W-1/{query}"), None);
    for (query, command) in [
        (
            "notice?kind=receipt",
            &["notice", "W-1", "--kind", "receipt"][..],
        ),
        (
            "notice?kind=identity&lang=en",
            &["notice", "W-1", "--kind", "identity", "--lang", "en"],
        ),
        ("script", &["script", "W-1"]),
        (
            "script?answer=this-number&lang=en",
            &["script", "W-1", "--answer", "this-number", "--lang", "en"],
        ),
    ] {
        let arguments = [&["ticket"], command].concat();
        let printed = crate::desk::stdout(desk.as_person("hana", arguments));
        let answer = told(query).json();
        assert_eq!(
            answer["text"].as_str().unwrap().trim_end(),
            printed.trim_end(),
            "{query}"
        );
        assert_eq!(
            answer["lang"],
            if query.contains("en") { "en" } else { "ja" }
        );
    }
    for wrong in [
        "notice",
        "notice?kind=praise",
        "script?answer=x",
        "script?lang=de",
    ] {
        assert_eq!(told(wrong).problem(), (400, "E0641".into()), "{wrong}");
    }
    let other = door.ask("audit", "GET", "/v1/tickets/W-1/script", None);
    assert_eq!(other.problem(), (403, "E0643".into()));
}

/// docs/integration.md, "A call, from ring to proof": as it stands there.
#[test]
fn the_worked_example_runs() {
    let mut desk = Desk::open(120);
    let door = open(&mut desk, "rate = 1000");
    let document = std::fs::read_to_string(repository().join("docs/integration.md")).unwrap();
    let (_, rest) = document.split_once("```sh crm\n").unwrap();
    let script = rest.split_once("```").unwrap().0;
    let born = "SELECT birth_date::text FROM customer WHERE id = 5";
    let output = Command::new("timeout")
        .args(["90", "bash", "-c", &format!("set -eu; {script}")])
        .env("API", format!("http://{}", door.address))
        .env("TOKEN", token("hana"))
        .env("SECOND", token("second"))
        .env("born", desk.server.value(&desk.demo.shop, born))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{output:?}");
    for told in [
        r#"{"outcome":"match"}"#,
        r#"{"state":"approved"}"#,
        r#"{"released":1}"#,
        r#""what":"certified""#,
    ] {
        assert!(said.contains(told), "no {told}: {said}");
    }
    assert!(!said.contains("TM-0000005"), "{said}");
}

/// Two programs come by the API's one login. One files a flood, the other one request, all due at the
/// same time: the other one's is among the first.
#[test]
fn a_flood_through_one_token_starves_no_other() {
    let mut desk = Desk::open(120);
    let door = open(&mut desk, "rate = 1000");
    let at = (chrono::Utc::now() - chrono::Duration::days(1)).to_rfc3339();
    let file = |who, n: u32| {
        let mut new = request(&format!("F-{n}"), &format!("TM-{n:07}"));
        new["requested_at"] = at.clone().into();
        let filed = door.ask(who, "POST", "/v1/tickets", Some(new));
        assert_eq!(filed.status, 201, "{filed:?}");
    };
    (1..=20).for_each(|n| file("all", n));
    file("hana", 21);
    wait_until("all to be counted", Duration::from_secs(20), || {
        let uncounted = "SELECT count(*) FROM erasured.ticket WHERE turn = 0";
        desk.server.count(desk.control(), uncounted) == 0
    });
    let turn = "SELECT turn || ' ' || filed_by FROM erasured.ticket WHERE reference = 'F-21'";
    assert_eq!(
        desk.server.value(desk.control(), turn),
        "1 erasured_api/hana"
    );
    let others = "SELECT string_agg(DISTINCT filed_by, ' ') || ' ' || max(turn) FROM erasured.ticket WHERE reference <> 'F-21'";
    assert_eq!(
        desk.server.value(desk.control(), others),
        "erasured_api/all 20"
    );
    // Who is not trusted to name a door has the login's, whatever it says.
    let said = "SET erasured.door = 'mine'; SELECT erasured.submit_ticket('F-22', 'customer', '{\"member_no\": \"TM-0000022\"}', 'account', 'policy')";
    let url = desk.server.url_as(desk.control(), "hana");
    crate::support::blocking(async {
        let client = crate::support::connect(&url).await;
        client.batch_execute(said).await.unwrap();
    });
    let plain = "SELECT filed_by FROM erasured.ticket WHERE reference = 'F-22'";
    assert_eq!(desk.server.value(desk.control(), plain), "hana");
}
