//! The adapter of services over HTTP, against one.

use crate::company::{Company, POLICY};
use crate::service::{Asked, Service, bare, decoded, json};
use crate::support::blocking;
use erasured::config;
use erasured::plan::{Identifiers, Wanted};
use erasured::system::place::{Address, Erased, Failed, Person, System};
use rustls::pki_types::PrivateKeyDer;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use uuid::Uuid;

const REQUESTS: &str = r#"
check = { path = "/health" }
find  = { path = "/contacts?email={email}", found = "/results/*/id" }
erase = { path = "/contacts/{:found}", reason = "/code" }
"#;

fn read(system: &str) -> Result<config::Config, Vec<&'static str>> {
    let text = format!(
        r#"
        control.url = "postgresql://x@db.example/x"
        system.shop.url = "postgresql://x@db.example/x"
        keys = {{ signing = {{ env = "A" }}, hash = {{ env = "B" }} }}
        [system.crm]
        kind = "http"
        {system}
        "#
    );
    let read = config::read("erasured.toml", &text);
    read.map_err(|found| found.iter().map(|d| d.code).collect())
}

/// The service as the configuration registers it, with these keys more.
fn system(service: &Service, keys: &str) -> System {
    let keys = match keys.contains("erase") {
        true => keys.to_owned(),
        false => format!("{REQUESTS}{keys}"),
    };
    let pace = match keys.contains("per_second") {
        true => "",
        false => "per_second = 1000\n",
    };
    let timeout = match keys.contains("timeout") {
        true => "",
        false => "timeout = \"20 s\"\n",
    };
    let url = format!("url = \"http://127.0.0.1:{}/api\"\n", service.port);
    let config = read(&format!("{url}{pace}{timeout}{keys}")).unwrap();
    System::new("crm", &config.places["crm"])
}

fn person(email: &str) -> Person {
    let values = BTreeMap::from([("email".to_owned(), vec![email.to_owned()])]);
    Person {
        request: Uuid::from_u128(7),
        wanted: vec![Wanted::Person(Identifiers(values))],
    }
}

fn ids(found: &[Vec<Address>]) -> Vec<Vec<String>> {
    let text = |address: &Address| String::from_utf8(address.bytes().to_vec()).unwrap();
    let found = found.iter();
    found.map(|one| one.iter().map(text).collect()).collect()
}

fn find(system: &System, email: &str) -> Result<Vec<String>, Failed> {
    let found = blocking(async { system.find("people", &[person(email)]).await })?;
    Ok(ids(&found).remove(0))
}

fn erase(system: &System, email: &str, ids: &[&str]) -> Result<Erased, Failed> {
    let found = [ids.iter().map(|id| Address::new(*id)).collect::<Vec<_>>()];
    let people = [person(email)];
    let erased = blocking(async { system.erase("people", &people, &found).await })?;
    Ok(erased[0].clone())
}

fn targets(asked: &[Asked]) -> Vec<String> {
    let asked = asked.iter();
    asked
        .map(|a| format!("{} {}", a.method, a.target))
        .collect()
}

/// Whatever happens, nothing of the person is said.
#[track_caller]
fn failed<T: std::fmt::Debug>(result: Result<T, Failed>, transient: bool, what: &str) -> Failed {
    let failed = result.unwrap_err();
    assert_eq!(failed.transient, transient, "{what}: {failed}");
    assert!(failed.problem.starts_with("crm: "), "{failed}");
    for secret in ["taro", "x.jp", "c-1", "contacts", "127.0.0.1"] {
        assert!(!failed.problem.contains(secret), "{what}: {failed}");
    }
    failed
}

#[test]
fn what_is_found_is_erased_and_nothing_else() {
    let contacts = [
        ("c-1", "taro@x.jp"),
        ("c-2", "hanako@x.jp"),
        ("c-3", "taro@x.jp"),
        ("c/4", "taro@x.jp"),
    ];
    let service = Service::of(&contacts);
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, "geheim\n").unwrap();
    let auth = format!("auth = {{ bearer = {{ file = {token:?} }} }}");
    let system = system(&service, &auth);
    let people = [
        person("taro@x.jp"),
        Person {
            request: Uuid::nil(),
            wanted: vec![],
        },
        person("jiro@x.jp"),
    ];
    blocking(async {
        system.check().await.unwrap();
        let found = system.find("people", &people).await.unwrap();
        assert_eq!(ids(&found), [vec!["c-1", "c-3", "c/4"], vec![], vec![]]);
        let erased = system.erase("people", &people, &found).await.unwrap();
        assert_eq!(erased, vec![Erased::Gone; 3]);
        assert_eq!(service.left(), ["c-2"]);
        let first = service.asked();
        // What is gone already is no failure, and the same order has the same key.
        assert_eq!(
            system.erase("people", &people, &found).await.unwrap(),
            erased
        );
        let again = service.asked();
        let keys = |asked: &[Asked]| -> Vec<String> {
            let orders = asked.iter().filter(|a| a.method == "DELETE");
            orders
                .map(|a| a.headers["idempotency-key"].clone())
                .collect()
        };
        assert_eq!(keys(&first), keys(&again));
        let keys = keys(&first);
        assert!(
            keys.iter()
                .all(|key| key.starts_with(&Uuid::from_u128(7).to_string()))
        );
        assert_ne!(keys[0], keys[1], "two things are two orders");
        assert!(
            first
                .iter()
                .all(|a| a.headers["authorization"] == "Bearer geheim")
        );
        assert!(first.iter().any(|a| a.target == "/api/contacts/c%2F4"));
        let left = system.probe("people", &people, &found).await.unwrap();
        assert!(left.iter().all(Vec::is_empty));
    });
    // A renewed secret needs no restart.
    std::fs::write(&token, "neu\n").unwrap();
    service.asked();
    find(&system, "taro@x.jp").unwrap();
    assert_eq!(service.asked()[0].headers["authorization"], "Bearer neu");
}

#[test]
fn each_answer_means_one_thing() {
    let service = Service::of(&[("c-1", "taro@x.jp")]);
    for (status, meaning) in [
        (200, Ok(Erased::Gone)),
        (204, Ok(Erased::Gone)),
        (202, Ok(Erased::Pending)),
        (404, Ok(Erased::Gone)),
        (410, Ok(Erased::Gone)),
        (409, Err(false)),
        (400, Err(false)),
        (403, Err(false)),
        (422, Err(false)),
        (301, Err(false)),
        (304, Err(false)),
        (600, Err(false)),
        (401, Err(true)),
        (408, Err(true)),
        (425, Err(true)),
        (429, Err(true)),
        (500, Err(true)),
        (502, Err(true)),
        (503, Err(true)),
    ] {
        service.say(
            "erase",
            &bare(status, "location: http://other.example/taro\r\n"),
        );
        if status == 202 {
            service.say("erase", &bare(status, ""));
        }
        let erased = erase(&system(&service, ""), "taro@x.jp", &["c-1"]);
        match meaning {
            Ok(meaning) => assert_eq!(erased.unwrap(), meaning, "{status}"),
            Err(transient) => drop(failed(erased, transient, &status.to_string())),
        }
    }
    // What is kept is kept for a reason that is a word, and for no other.
    service.say(
        "erase",
        &json(409, r#"{"code": "Open-Invoice", "text": "taro owes"}"#),
    );
    let erased = erase(&system(&service, ""), "taro@x.jp", &["c-1"]);
    assert_eq!(erased.unwrap(), Erased::Kept("open-invoice".into()));
    for bad in [
        r#"{"code": "taro owes"}"#,
        r#"{"text": "taro"}"#,
        "taro",
        r#"{"code": 7}"#,
    ] {
        service.say("erase", &json(409, bad));
        failed(
            erase(&system(&service, ""), "taro@x.jp", &["c-1"]),
            false,
            bad,
        );
    }
}

#[test]
fn an_answer_that_is_not_understood_is_no_empty_one() {
    let service = Service::of(&[("c-1", "taro@x.jp")]);
    let long = format!(r#"{{"results": ["{}"]}}"#, "x".repeat(5 << 20));
    for (answer, transient) in [
        (json(200, "{}"), false),
        (json(200, "[]"), false),
        (json(200, "<html>taro@x.jp</html>"), false),
        (json(200, r#"{"results": [{"id": null}]}"#), false),
        (json(200, r#"{"results": [{"id": ""}]}"#), false),
        (json(200, r#"{"results": [{"id": 1.5}]}"#), false),
        (json(202, r#"{"results": []}"#), false),
        (json(200, &long), false),
        (
            bare(302, "location: /api/contacts?email=taro@x.jp\r\n"),
            false,
        ),
        // Cut in the middle: of the body, of the head, and at once.
        (
            "HTTP/1.1 200 X\r\ncontent-length: 40\r\n\r\n{\"results\": []}".to_owned(),
            true,
        ),
        (
            "HTTP/1.1 200 X\r\ntransfer-encoding: chunked\r\n\r\nf\r\n{\"results\": []}\r\n"
                .to_owned(),
            true,
        ),
        ("HTTP/1.1 200 X\r\ncont".to_owned(), true),
        (String::new(), true),
    ] {
        service.say("find", &answer);
        let what = answer.chars().take(90).collect::<String>();
        failed(find(&system(&service, ""), "taro@x.jp"), transient, &what);
    }
    service.say(
        "find",
        &json(200, r#"{"results": [{"id": 7}, {"id": "a"}, {"id": 7}]}"#),
    );
    assert_eq!(
        find(&system(&service, ""), "taro@x.jp").unwrap(),
        ["7", "a"]
    );
    // An id that would climb out of its path is not followed.
    service.say("find", &json(200, r#"{"results": [{"id": "../c-1"}]}"#));
    let found = find(&system(&service, ""), "taro@x.jp").unwrap();
    service.asked();
    failed(
        erase(&system(&service, ""), "taro@x.jp", &[&found[0]]),
        false,
        "climbs",
    );
    assert!(service.asked().is_empty());
}

/// A wrong address answers 404 to everything.
#[test]
fn a_404_counts_only_from_a_service_that_is_there() {
    let service = Service::of(&[("c-1", "taro@x.jp")]);
    service.say("find", &bare(404, ""));
    assert!(find(&system(&service, ""), "taro@x.jp").unwrap().is_empty());
    assert_eq!(service.asked().last().unwrap().target, "/api/health");
    service.say("check", &bare(404, ""));
    failed(find(&system(&service, ""), "taro@x.jp"), true, "404 of all");
    service.unsay("find");
    assert_eq!(find(&system(&service, ""), "taro@x.jp").unwrap(), ["c-1"]);
}

#[test]
fn hostile_values_stay_values() {
    let hostile = [
        "a&email=taro@x.jp",
        "a#b",
        "a?b",
        "a b+c%20d",
        "../contacts/c-1",
        "a\r\nx-evil: 1",
        "\u{7f}\u{0}",
        "太郎@例.jp",
        "e\u{301}",
        "%2e%2e%2f",
        "\",\"admin\":true,\"x\":\"",
        "*",
    ];
    let service = Service::of(&[("c-1", "taro@x.jp")]);
    let query = system(&service, "");
    let in_body = system(
        &service,
        r#"
        check = { path = "/health" }
        find  = { path = "/contacts?email={email}", found = "/results/*/id" }
        erase = { method = "POST", path = "/erasures", body = '{"who": [{"email": "{email}"}], "id": "{:found}", "n": 1, "order": "{:request}", "at": "{:place}"}' }
        "#,
    );
    let in_path = system(
        &service,
        r#"
        check = { path = "/health" }
        find  = { path = "/contacts/{email}" }
        erase = { path = "/contacts/{email}" }
        "#,
    );
    for value in hostile {
        assert!(find(&query, value).unwrap().is_empty(), "{value:?}");
        let asked = service.asked();
        let (path, sent) = asked[0].target.split_once("?email=").unwrap();
        assert_eq!((path, decoded(sent).as_str()), ("/api/contacts", value));
        assert!(!asked[0].headers.contains_key("x-evil"));
        assert!(!sent.contains(['&', '#', '?', ' ', '+']), "{sent}");

        erase(&in_body, value, &["c-9"]).unwrap();
        let body: serde_json::Value = serde_json::from_str(&service.asked()[0].body).unwrap();
        let order = Uuid::from_u128(7);
        let whole = serde_json::json!({"who": [{"email": value}], "id": "c-9", "n": 1, "order": order, "at": "people"});
        assert_eq!(body, whole);

        let climbs = value.contains("..");
        let found = find(&in_path, value);
        let asked = service.asked();
        match climbs && !value.starts_with('%') {
            true => {
                failed(found, false, value);
                assert!(asked.is_empty());
            }
            false => {
                let step = asked[0].target.strip_prefix("/api/contacts/").unwrap();
                assert_eq!(decoded(step), value);
                assert!(!step.contains('/'));
            }
        }
    }
    for climbs in ["..", ".", "a/..", "a\\..\\b"] {
        failed(find(&in_path, climbs), false, climbs);
    }
}

#[test]
fn an_order_under_way_is_asked_after() {
    let service = Service::of(&[("c-1", "taro@x.jp")]);
    let here = system(&service, "");
    let erased = || erase(&here, "taro@x.jp", &["c-1"]).unwrap();
    let own = format!(
        "location: http://127.0.0.1:{}/api/orders/77\r\n",
        service.port
    );
    for location in ["location: /api/orders/77\r\n", own.as_str()] {
        service.say("erase", &bare(202, location));
        service.say("status", &bare(202, ""));
        assert_eq!(
            [erased(), erased(), erased()],
            [const { Erased::Pending }; 3]
        );
        let asked = targets(&service.asked());
        assert_eq!(
            asked,
            [
                "DELETE /api/contacts/c-1",
                "GET /api/orders/77",
                "GET /api/orders/77"
            ]
        );
        // Done, as it says; and what is there still is ordered again.
        service.say("status", &bare(200, ""));
        assert_eq!([erased(), erased()], [Erased::Gone, Erased::Pending]);
        assert_eq!(
            targets(&service.asked()),
            ["GET /api/orders/77", "DELETE /api/contacts/c-1"]
        );
        service.say("status", &bare(404, ""));
        erased();
        service.asked();
    }
    for elsewhere in [
        "https://evil.example/api/orders/1",
        "//evil.example/api/x",
        "/other/orders/1",
        "http://127.0.0.1:1/api/x",
    ] {
        service.say("erase", &bare(202, &format!("location: {elsewhere}\r\n")));
        let other = system(&service, "");
        failed(erase(&other, "taro@x.jp", &["c-1"]), false, elsewhere);
    }
}

#[test]
fn an_order_is_known_by_its_own_id() {
    let service = Service::of(&[("c-1", "taro@x.jp")]);
    let status = format!(
        "{REQUESTS}status = {{ path = \"/orders/{{:request}}\", state = \"/state\", pending = [\"queued\"], done = [\"ok\"] }}"
    );
    let system = system(&service, &status);
    service.say("erase", &bare(202, ""));
    service.say("status", &bare(404, ""));
    assert_eq!(
        erase(&system, "taro@x.jp", &["c-1"]).unwrap(),
        Erased::Pending
    );
    service.say("status", &json(200, r#"{"state": "queued"}"#));
    service.asked();
    assert_eq!(
        erase(&system, "taro@x.jp", &["c-1"]).unwrap(),
        Erased::Pending
    );
    let order = format!("GET /api/orders/{}", Uuid::from_u128(7));
    assert_eq!(targets(&service.asked()), [order], "no second order");
    service.say("status", &json(200, r#"{"state": "ok"}"#));
    service.unsay("erase");
    assert_eq!(erase(&system, "taro@x.jp", &["c-1"]).unwrap(), Erased::Gone);
    assert!(service.left().is_empty());
    for strange in [r#"{"state": "taro"}"#, "{}", r#"{"state": 1}"#] {
        service.say("status", &json(200, strange));
        failed(erase(&system, "taro@x.jp", &["c-1"]), false, strange);
    }
}

#[test]
fn a_service_that_asks_for_it_is_left_alone() {
    let service = Service::of(&[("c-1", "taro@x.jp")]);
    for status in [429, 503] {
        let system = system(&service, "");
        service.say("find", &bare(status, "retry-after: 600\r\n"));
        failed(find(&system, "taro@x.jp"), true, "asked");
        service.unsay("find");
        service.asked();
        let alone = failed(find(&system, "taro@x.jp"), true, "alone");
        assert!(alone.problem.contains("left alone"), "{alone}");
        assert!(service.asked().is_empty());
    }
    let system = system(&service, "");
    service.say("find", &bare(503, "retry-after: 1\r\n"));
    failed(find(&system, "taro@x.jp"), true, "for a second");
    service.unsay("find");
    std::thread::sleep(Duration::from_millis(1200));
    assert_eq!(find(&system, "taro@x.jp").unwrap(), ["c-1"]);
}

#[test]
fn after_failures_in_a_row_it_is_left_alone() {
    let service = Service::of(&[("c-1", "taro@x.jp")]);
    let system = system(&service, "");
    service.say("find", &bare(500, ""));
    // An answer in between counts anew.
    for _ in 0..4 {
        failed(find(&system, "taro@x.jp"), true, "down");
    }
    service.unsay("find");
    find(&system, "taro@x.jp").unwrap();
    service.say("find", "");
    for _ in 0..5 {
        let down = failed(find(&system, "taro@x.jp"), true, "down");
        assert!(!down.problem.contains("left alone"), "{down}");
    }
    service.unsay("find");
    service.asked();
    let alone = failed(find(&system, "taro@x.jp"), true, "alone");
    assert!(
        alone.problem.contains("left alone") && alone.problem.contains("5 failures"),
        "{alone}"
    );
    assert!(service.asked().is_empty());
}

#[test]
fn it_is_asked_no_faster_than_said() {
    let service = Service::of(&[]);
    let paced = system(&service, "per_second = 10\nat_once = 64\n");
    let people: Vec<Person> = (0..20).map(|n| person(&format!("p{n}@x.jp"))).collect();
    let begun = Instant::now();
    blocking(async { paced.find("people", &people).await }).unwrap();
    assert!(
        begun.elapsed() > Duration::from_millis(100 * 19),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(service.asked().len(), 20);
    let slow = Service::of(&[]);
    slow.slow(Duration::from_millis(800));
    let narrow = system(&slow, "per_second = 1000\nat_once = 3\n");
    blocking(async { narrow.find("people", &people).await }).unwrap();
    // One that has its answer may not have left the service yet.
    assert!(
        (2..=4).contains(&slow.most_at_once()),
        "{}",
        slow.most_at_once()
    );
    // So few people that an answer comes in time.
    assert_eq!(system(&service, "per_second = 2\n").people_at_once(), 5);
    assert_eq!(system(&service, "per_second = 0.1\n").people_at_once(), 1);
}

#[test]
fn a_slow_answer_is_waited_for_no_longer_than_said() {
    let service = Service::of(&[("c-1", "taro@x.jp")]);
    service.slow(Duration::from_secs(30));
    let system = system(&service, "timeout = \"1 s\"\n");
    let begun = Instant::now();
    let slow = failed(find(&system, "taro@x.jp"), true, "slow");
    assert!(slow.problem.contains("no answer within"), "{slow}");
    assert!(begun.elapsed() < Duration::from_secs(10));
}

#[test]
fn who_is_asked_about_is_asked_by_all_that_is_known() {
    let service = Service::of(&[("c-1", "taro@x.jp"), ("c-2", "old@x.jp")]);
    let system = system(&service, "");
    let named = |pairs: &[(&str, &[&str])]| {
        let pairs = pairs.iter();
        let owned = |texts: &[&str]| texts.iter().map(|t| (*t).to_owned()).collect();
        let values = pairs
            .map(|(name, texts)| ((*name).to_owned(), owned(texts)))
            .collect();
        [Person {
            request: Uuid::nil(),
            wanted: vec![Wanted::Person(Identifiers(values))],
        }]
    };
    let both = named(&[("email", &["taro@x.jp", "old@x.jp"])]);
    let found = blocking(async { system.find("people", &both).await.unwrap() });
    assert_eq!(ids(&found), [["c-1", "c-2"]]);
    let phone = named(&[("email", &["taro@x.jp"]), ("phone", &["+8190"])]);
    let unasked = blocking(async { system.find("people", &phone).await });
    let unasked = failed(unasked.map(|found| ids(&found)), false, "phone");
    assert!(unasked.problem.contains("phone"), "{unasked}");
}

#[test]
fn a_network_of_ones_own_is_not_reached_by_a_name() {
    let service = Service::of(&[("c-1", "taro@x.jp")]);
    // What means this machine, and does not look so.
    for host in [
        "[::ffff:127.0.0.1]",
        "169.254.169.254",
        "10.255.255.1",
        "[fd00:ec2::254]",
    ] {
        let url = format!("url = \"https://{host}:{}/api\"\n", service.port);
        let config = read(&format!("{url}{REQUESTS}")).unwrap();
        let system = System::new("crm", &config.places["crm"]);
        let refused = failed(find(&system, "taro@x.jp"), true, host);
        assert!(refused.problem.contains("must not be reached"), "{refused}");
    }
    assert!(service.asked().is_empty());
}

/// A service by TLS, with a certificate for `localhost`, which is its own authority; its port.
fn by_tls(ca_file: &Path) -> u16 {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["localhost".into()]).unwrap();
    let certificate = certificate.self_signed(&key).unwrap();
    std::fs::write(ca_file, certificate.pem()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key);
    let config = Arc::new(config.unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let connection = rustls::ServerConnection::new(config.clone()).unwrap();
            let mut stream = rustls::StreamOwned::new(connection, stream);
            let (mut head, mut byte) = (Vec::new(), [0]);
            while !head.ends_with(b"\r\n\r\n") && matches!(stream.read(&mut byte), Ok(1)) {
                head.push(byte[0]);
            }
            let answer = json(200, r#"{"results": [{"id": "c-1"}]}"#);
            stream.write_all(answer.as_bytes()).ok();
        }
    });
    port
}

#[test]
fn only_whom_the_name_says_is_asked() {
    let folder = tempfile::tempdir().unwrap();
    let ca_file = folder.path().join("ca.pem");
    let port = by_tls(&ca_file);
    let find_at = |host: &str, more: &str| {
        let url = format!("url = \"https://{host}:{port}/api\"\n{more}\n");
        let config = read(&format!("{url}{REQUESTS}")).unwrap();
        let system = System::new("crm", &config.places["crm"]);
        find(&system, "taro@x.jp")
    };
    let trusted = format!("ca_file = {ca_file:?}");
    assert_eq!(find_at("localhost", &trusted).unwrap(), ["c-1"]);
    for (host, more) in [("127.0.0.1", trusted.as_str()), ("localhost", "")] {
        let other = failed(find_at(host, more), true, host);
        assert!(other.problem.contains("TLS"), "{other}");
    }
    std::fs::write(&ca_file, "nothing").unwrap();
    let other = failed(find_at("localhost", &trusted), true, "no authority");
    assert!(other.problem.contains("ca_file"), "{other}");
}

#[test]
fn mistakes_are_told() {
    let good = "url = \"https://crm.example/api\"\n";
    read(&format!("{good}{REQUESTS}")).unwrap();
    let check = "check = { path = \"/health\" }\n";
    let found = "find = { path = \"/c?email={email}\", found = \"/*/id\" }\n";
    let erase = "erase = { path = \"/c/{:found}\" }\n";
    let all = |one: &str, other: &str| {
        let text = format!("{good}{check}{found}{erase}");
        assert!(text.contains(one), "{one}");
        read(&text.replace(one, other)).unwrap_err()
    };
    for (one, other, code) in [
        (good, "", "E0004"),
        (good, "url = \"http://crm.example/api\"\n", "E0134"),
        (good, "url = \"https://crm.example/api?x=1\"\n", "E0134"),
        (good, "url = \"https://a:b@crm.example/\"\n", "E0134"),
        (check, "", "E0004"),
        (found, "", "E0004"),
        (erase, "", "E0004"),
        (check, "check = { path = \"/health/{email}\" }\n", "E0155"),
        (
            found,
            "find = { path = \"/c\", found = \"/*/id\" }\n",
            "E0155",
        ),
        (
            found,
            "find = { path = \"/c/{:found}/{email}\", found = \"/*/id\" }\n",
            "E0155",
        ),
        (
            found,
            "find = { path = \"/c?q=email:{email}\", found = \"/*/id\" }\n",
            "E0155",
        ),
        (found, "find = { path = \"/c?email={email}\" }\n", "E0155"),
        (
            found,
            "find = { path = \"/c?email={email}\", found = \"id\" }\n",
            "E0006",
        ),
        (
            found,
            "find = { method = \"DELETE\", path = \"/c?e={email}\", found = \"/*/id\" }\n",
            "E0006",
        ),
        (found, "find = []\n", "E0155"),
        (erase, "erase = { path = \"/c\" }\n", "E0155"),
        (
            erase,
            "erase = { path = \"/c/{:found}\", body = '{\"a\": \"x{email}\"}' }\n",
            "E0155",
        ),
        (
            erase,
            "erase = { method = \"GET\", path = \"/c/{:found}\" }\n",
            "E0006",
        ),
        (
            erase,
            "erase = { path = \"/c/{:found}\", bdy = '' }\n",
            "E0003",
        ),
        (
            erase,
            "erase = { path = \"/c/{:found}\" }\nprobe = { path = \"/c/{email}\" }\n",
            "E0155",
        ),
        (
            erase,
            "erase = { path = \"/c/{:found}\" }\nstatus = { path = \"/s/{email}\", state = \"/s\", pending = [], done = [] }\n",
            "E0155",
        ),
        (
            erase,
            "erase = { path = \"/c/{:found}\" }\nper_second = 0\n",
            "E0006",
        ),
        (
            erase,
            "erase = { path = \"/c/{:found}\" }\nat_once = 0\n",
            "E0006",
        ),
        (
            erase,
            "erase = { path = \"/c/{:found}\" }\nauth = {}\n",
            "E0008",
        ),
        (
            erase,
            "erase = { path = \"/c/{:found}\" }\nauth = { bearer = { env = \"A\" }, basic = { user = \"a\", password = { env = \"A\" } } }\n",
            "E0008",
        ),
        (
            erase,
            "erase = { path = \"/c/{:found}\" }\nauth = { header = { name = \"a b\", value = { env = \"A\" } } }\n",
            "E0006",
        ),
    ] {
        assert_eq!(all(one, other).first(), Some(&code), "{other}");
    }
}

const WHOSE: &str = r#"
check = { path = "/health" }
find  = { path = "/contacts?email={email}", found = "/results/*/id", whose = "/results/*/email" }
erase = { path = "/contacts/{:found}" }
"#;

#[test]
fn what_is_said_to_be_somebody_elses_is_not_taken() {
    let service = Service::of(&[("c-1", "taro@x.jp"), ("c-2", "hanako@x.jp")]);
    let system = system(&service, WHOSE);
    assert_eq!(find(&system, "taro@x.jp").unwrap(), ["c-1"]);
    let says = |results: &str| {
        service.say("find", &json(200, &format!("{{\"results\": {results}}}")));
        find(&system, "taro@x.jp")
    };
    // Whatever case the service writes it in; a list of which it is one.
    assert_eq!(says(r#"[{"id": 1, "email": "Taro@X.jp"}]"#).unwrap(), ["1"]);
    assert!(says("[]").unwrap().is_empty());
    for others in [
        r#"[{"id": "c-1", "email": "taro@x.jp"}, {"id": "c-2", "email": "hanako@x.jp"}]"#,
        r#"[{"id": "c-2", "email": "notaro@x.jp"}]"#,
        r#"[{"id": "c-2", "email": null}]"#,
        r#"[{"id": "c-2"}]"#,
        r#"[{"id": "c-2", "email": ["taro@x.jp"]}]"#,
    ] {
        failed(says(others), false, others);
    }
    let many = WHOSE.replace("*/email", "*/emails/*");
    let system = self::system(&service, &many);
    let two = r#"{"results": [{"id": "c-1", "emails": ["old@x.jp", "taro@x.jp"]}]}"#;
    service.say("find", &json(200, two));
    assert_eq!(find(&system, "taro@x.jp").unwrap(), ["c-1"]);
    failed(find(&system, "other@x.jp"), false, "of two addresses none");
    let one = WHOSE.replace(
        "found = \"/results/*/id\", whose = \"/results/*/email\"",
        "whose = \"/email\"",
    );
    let system = self::system(&service, &one.replace("{:found}", "{email}"));
    service.say("find", &json(200, r#"{"email": "taro@x.jp"}"#));
    assert_eq!(find(&system, "taro@x.jp").unwrap(), ["person"]);
    failed(find(&system, "other@x.jp"), false, "another person");
}

#[test]
fn ids_and_whose_they_are_are_of_one_list() {
    let with = |find: &str| {
        let url = "url = \"https://crm.example\"\nerase = { path = \"/{email}\" }\ncheck = { path = \"/\" }\n";
        read(&format!(
            "{url}find = {{ path = \"/c?email={{email}}\", {find} }}"
        ))
        .map(drop)
    };
    with(r#"found = "/a/*/b/*/id", whose = "/a/*/b/*/by/email""#).unwrap();
    with(r#"whose = "/email""#).unwrap();
    for apart in [
        r#"found = "/a/*/id", whose = "/b/*/email""#,
        r#"found = "/a/*/b/*/id", whose = "/a/*/email""#,
        r#"found = "/a/*/id", whose = "/email""#,
        r#"whose = "/a/*/email""#,
    ] {
        assert_eq!(with(apart), Err(vec!["E0155"]), "{apart}");
    }
}

#[test]
fn who_does_not_exist_has_nothing_there() {
    let service = Service::of(&[("c-1", "taro@x.jp")]);
    let system = system(&service, "");
    let nobody = || {
        blocking(async {
            system
                .names_of_nobody("people", person("nobody@x.jp"))
                .await
        })
    };
    assert_eq!(nobody().unwrap(), 0);
    service.say(
        "find",
        &json(200, r#"{"results": [{"id": "c-1"}, {"id": "c-2"}]}"#),
    );
    assert_eq!(nobody().unwrap(), 2);
    service.say("find", &bare(422, ""));
    assert_eq!(nobody().unwrap(), 0, "a value that it refuses");
    service.say("find", &bare(503, ""));
    failed(nobody(), true, "it cannot be asked");
}

/// It bears so few requests a second that all at once would not be through in a call's time.
#[test]
fn so_many_people_are_asked_about_at_once_as_it_bears() {
    let contacts: Vec<(String, String)> = (1..=10)
        .map(|n| (format!("c-{n}"), format!("c{n}@x.jp")))
        .collect();
    let contacts: Vec<(&str, &str)> = contacts.iter().map(|(a, b)| (&**a, &**b)).collect();
    let service = Service::of(&contacts);
    let crm = format!(
        "[system.crm]\nkind = \"http\"\nurl = \"http://127.0.0.1:{}/api\"\ntimeout = \"4 s\"\nper_second = 2\n{REQUESTS}",
        service.port
    );
    let policy = POLICY.replace("newsletter", "crm");
    let policy = policy.replace("[\"email\", \"member_no\"]", "[\"email\"]");
    let company = Company::beside(&policy, &crm);
    company.file(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10], "account");
    company.says(&["run", "--until-idle"], 0);
    assert_eq!(service.left(), [""; 0]);
    let late = "SELECT count(*) FROM erasured.ledger WHERE entry LIKE '%E0501%'";
    assert_eq!(company.control(late), "0", "nobody was put off");
}
