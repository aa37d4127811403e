//! The desk over HTTP: the same rules as in SQL, for the person of the token.

use crate::desk::Desk;
use crate::http::Daemon;
use crate::support::{free_port, repository, wait_until};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    /// Status and code of a problem, which is always one.
    pub(crate) fn problem(&self) -> (u16, String) {
        let (json, head) = (self.json(), self.head.to_lowercase());
        assert!(
            head.contains("content-type: application/problem+json"),
            "{self:?}"
        );
        assert_eq!(json["status"], self.status, "{self:?}");
        assert_eq!(
            json["type"],
            format!("urn:erasured:{}", json["code"].as_str().unwrap())
        );
        (self.status, json["code"].as_str().unwrap().to_owned())
    }
}

/// The API of a desk's daemon.
pub(crate) struct Door {
    pub(crate) address: String,
    _daemon: Daemon,
}

/// Tokens are their names doubled.
pub(crate) fn token(name: &str) -> String {
    format!("{name}-{name}")
}

fn section(name: &str, actor: &str, scopes: &[&str]) -> String {
    let hash = Sha256::digest(token(name));
    let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("[token.{name}]\nsha256 = \"{hash}\"\nactor = \"{actor}\"\nscopes = {scopes:?}\n\n")
}

fn everybody() -> String {
    [
        section("hana", "hana", &["file", "verify", "read"]),
        section("hana_too", "ＨＡＮＡ", &["approve", "hold"]),
        section("kenji", "kenji", &["approve", "hold", "read"]),
        section("counsel", "counsel", &["place-hold"]),
        section("chief", "chief", &["release-hold"]),
        section(
            "second",
            "kenji",
            &["approve", "place-hold", "release-hold"],
        ),
        section("audit", "auditor", &["audit"]),
        section(
            "all",
            "machine",
            &[
                "file",
                "verify",
                "approve",
                "hold",
                "place-hold",
                "release-hold",
                "read",
                "audit",
            ],
        ),
    ]
    .concat()
}

fn write_tokens(desk: &Desk, text: &str) {
    use std::os::unix::fs::PermissionsExt;
    let file = desk.workspace.path().join("tokens.toml");
    std::fs::write(&file, text).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
}

/// A login for the API, tokens, and a daemon that serves it.
pub(crate) fn open(desk: &mut Desk, more: &str) -> Door {
    desk.server.execute(
        "postgres",
        "CREATE ROLE erasured_api LOGIN IN ROLE erasured_desk, erasured_approver, erasured_trusted",
    );
    write_tokens(desk, &everybody());
    let address = format!("127.0.0.1:{}", free_port());
    let url = desk.server.url_as(desk.control(), "erasured_api");
    desk.workspace.configure(&format!(
        "[api]\nlisten = \"{address}\"\ntokens = \"tokens.toml\"\n{more}\n[api.control]\nurl = \"{url}\"\n[limits]\npoll = \"150ms\"\n"
    ));
    Door::of_a_daemon(desk, address)
}

impl Door {
    fn of_a_daemon(desk: &Desk, address: String) -> Self {
        let daemon = Daemon::start(desk);
        // It is ready a moment before this door opens.
        wait_until("the door", Duration::from_secs(20), || {
            TcpStream::connect(&address).is_ok()
        });
        Self {
            address,
            _daemon: daemon,
        }
    }

    /// One request, as its bytes.
    fn raw(&self, request: &str) -> Answer {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").expect(&answer);
        Answer {
            status: head.split_whitespace().nth(1).unwrap().parse().unwrap(),
            head: head.to_owned(),
            body: body.to_owned(),
        }
    }

    pub(crate) fn ask(&self, who: &str, method: &str, path: &str, body: Option<Value>) -> Answer {
        self.ask_with(who, method, path, "", body)
    }

    pub(crate) fn ask_with(
        &self,
        who: &str,
        method: &str,
        path: &str,
        headers: &str,
        body: Option<Value>,
    ) -> Answer {
        let body = body.map_or_else(String::new, |body| body.to_string());
        self.raw(&format!(
            "{method} {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n{headers}Content-Type: application/json\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
            token(who),
            body.len()
        ))
    }
}

pub(crate) fn request(reference: &str, member: &str) -> Value {
    json!({"reference": reference, "subject": "customer", "scope": "account", "ground": "policy",
           "identifiers": {"member_no": member}, "language": "ja"})
}

/// Filed, verified and approved over HTTP by two people, erased, and its certificate fetched; what
/// one person may not do, nor one token, is refused with its code.
#[test]
fn a_ticket_lives_over_http_and_four_eyes_hold() {
    let mut desk = Desk::open(120);
    let door = open(&mut desk, "rate = 1000");
    let filed = door.ask(
        "hana",
        "POST",
        "/v1/tickets",
        Some(request("A-1", "TM-0000005")),
    );
    assert_eq!(filed.status, 201, "{filed:?}");
    let id = filed.json()["id"].as_str().unwrap().to_owned();
    assert!(
        filed.head.contains(&format!("/v1/tickets/{id}")),
        "{filed:?}"
    );
    // An answer that was lost: sent again it is the same ticket, and with other content it is not.
    let again = door.ask(
        "hana",
        "POST",
        "/v1/tickets",
        Some(request("A-1", "TM-0000005")),
    );
    assert_eq!(
        (again.status, again.json()["id"].as_str().unwrap()),
        (200, id.as_str())
    );
    let other = door.ask(
        "hana",
        "POST",
        "/v1/tickets",
        Some(request("A-1", "TM-0000009")),
    );
    assert_eq!(other.problem(), (409, "ER003".into()));
    let mut keyed = request("", "TM-0000011");
    keyed.as_object_mut().unwrap().remove("reference");
    let key = "Idempotency-Key: A-2\r\n";
    let keyed = || door.ask_with("hana", "POST", "/v1/tickets", key, Some(keyed.clone()));
    assert_eq!((keyed().status, keyed().status), (201, 200));
    assert_eq!(keyed().json()["reference"], "A-2");

    let verify = json!({"method": "login_reauth"});
    let decide =
        |who, what: &str, body| door.ask(who, "POST", &format!("/v1/tickets/A-1/{what}"), body);
    assert_eq!(
        decide("hana", "approve", None).problem(),
        (403, "E0643".into())
    );
    assert_eq!(
        decide("kenji", "verify", Some(verify.clone())).problem(),
        (403, "E0643".into())
    );
    assert_eq!(
        decide("kenji", "approve", None).problem(),
        (409, "ER002".into())
    );
    assert_eq!(
        decide("hana", "verify", Some(verify)).json()["state"],
        "verified"
    );
    // The same person by another token, in another script of letters.
    assert_eq!(
        decide("hana_too", "approve", None).problem(),
        (403, "ER008".into())
    );
    let reason = json!({"reason": "court-order"});
    assert_eq!(
        decide("kenji", "hold", Some(reason)).json()["state"],
        "on_hold"
    );
    assert_eq!(decide("kenji", "release", None).json()["state"], "verified");
    assert_eq!(decide("kenji", "approve", None).json()["state"], "approved");
    let decided = "SELECT string_agg(kind || ' ' || by_name || ' ' || by_role, ', ' ORDER BY id) FROM erasured.decision";
    assert_eq!(
        desk.server.value(desk.control(), decided),
        "verify hana erasured_desk, hold kenji erasured_approver, release kenji erasured_approver, approve kenji erasured_approver"
    );
    let early = door.ask("hana", "GET", "/v1/tickets/A-1/certificate", None);
    assert_eq!(early.problem(), (404, "E0647".into()));
    wait_until("the certificate", Duration::from_secs(60), || {
        door.ask("hana", "GET", "/v1/tickets/A-1/certificate", None)
            .status
            == 200
    });
    let ticket = door
        .ask("hana", "GET", &format!("/v1/tickets/{id}"), None)
        .json();
    let certificate = ticket["certificate_id"].as_str().unwrap().to_owned();
    let jws = door.ask(
        "audit",
        "GET",
        &format!("/v1/certificates/{certificate}"),
        None,
    );
    assert!(jws.head.contains("application/jose") && jws.body.matches('.').count() == 2);
    assert_eq!(
        door.ask("audit", "GET", "/v1/tickets/A-1", None).problem(),
        (403, "E0643".into())
    );
    let on = |who, what: &str| door.ask(who, "POST", &format!("/v1/tickets/A-2/{what}"), None);
    assert_eq!(on("hana", "acknowledge").json()["state"], "received");
    let longer = json!({"reason": "complex"});
    let longer = |who| door.ask(who, "POST", "/v1/tickets/A-2/extend", Some(longer.clone()));
    assert_eq!(longer("hana").problem(), (403, "E0643".into()));
    // Japan's law knows no extension.
    assert_eq!(longer("kenji").problem(), (409, "ER017".into()));
    assert_eq!(on("kenji", "withdraw").problem(), (403, "E0643".into()));
    let gone = on("hana", "withdraw");
    assert_eq!(gone.json()["state"], "rejected");
    assert!(!format!("{ticket}{gone:?}").contains("TM-0000"));
}

/// The owner's no and what became of documents, as the command line has them.
#[test]
fn the_owner_objects_and_a_copy_is_destroyed() {
    let mut desk = Desk::open(120);
    let door = open(&mut desk, "");
    let filed = door.ask(
        "hana",
        "POST",
        "/v1/tickets",
        Some(request("A-1", "TM-0000005")),
    );
    assert_eq!(filed.status, 201);
    wait_until("the person", Duration::from_secs(60), || {
        !desk.ticket("A-1", "subject_hash").is_empty()
    });
    let document = |who, kind: &str, became: &str| {
        let body = json!({"kind": kind, "became": became});
        door.ask(who, "POST", "/v1/tickets/A-1/document", Some(body))
    };
    let object = |who| door.ask(who, "POST", "/v1/tickets/A-1/object", None);
    assert_eq!(
        document("kenji", "passport", "seen").problem(),
        (403, "E0643".into())
    );
    let never = document("hana", "my_number", "copied").problem();
    assert_eq!(never.1, "ER013");
    let unheld = document("hana", "passport", "destroyed").problem();
    assert_eq!(unheld.1, "ER016");
    for became in ["seen", "copied"] {
        let seen = document("hana", "passport", became);
        assert_eq!(seen.json()["state"], "received");
    }
    assert_eq!(object("kenji").problem(), (403, "E0643".into()));
    assert_eq!(object("hana").json()["state"], "on_hold");
    let ended = document("hana", "passport", "destroyed");
    assert_eq!(ended.json()["state"], "rejected");
    assert_eq!(object("hana").json()["state"], "rejected");
    assert_eq!(desk.ticket("A-1", "rejected_for"), "contested");
}

/// Who shows no token, a wrong one, one taken out of the file; a broken file; too much, too often, too
/// large, not JSON: each is told with its code, and nothing that was sent comes back.
#[test]
fn who_may_not_come_in_is_told_so_and_no_more() {
    let mut desk = Desk::open(120);
    let door = open(&mut desk, "rate = 8\ntimeout = \"5 s\"");
    let list = |who| door.ask(who, "GET", "/v1/tickets", None);
    assert_eq!(list("hana").status, 200);
    let nobody = door.raw("GET /v1/tickets HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert_eq!(nobody.problem(), (401, "E0642".into()));
    assert!(
        nobody
            .head
            .to_lowercase()
            .contains("www-authenticate: bearer")
    );
    assert_eq!(list("eve").problem(), (401, "E0642".into()));
    // Taken out, it is refused from the next request on; a file that cannot be read lets nobody in.
    write_tokens(&desk, &section("kenji", "kenji", &["read"]));
    assert_eq!(list("hana").problem(), (401, "E0642".into()));
    write_tokens(&desk, "[token.kenji]\nactor = \"kenji\"\n");
    assert_eq!(list("kenji").problem(), (503, "E0646".into()));
    write_tokens(&desk, &everybody());
    assert_eq!(list("kenji").status, 200);

    let post = |body: &str, kind: &str| {
        door.raw(&format!(
            "POST /v1/tickets HTTP/1.1\r\nHost: x\r\nAuthorization: bearer {}\r\nContent-Type: {kind}\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
            token("hana"),
            body.len()
        ))
    };
    let secret = "taro.yamada@example.jp";
    let wrong = json!({"identifiers": secret}).to_string();
    for (answer, expected) in [
        (post(&wrong, "application/json"), (400, "E0641")),
        (post(secret, "application/json"), (400, "E0641")),
        (post(&wrong, "text/plain"), (415, "E0641")),
        (
            door.ask("hana", "GET", "/v1/tickets?limit=0", None),
            (400, "E0641"),
        ),
        (
            door.ask("hana", "GET", "/v1/tickets?cursor=no", None),
            (400, "E0641"),
        ),
        (
            door.ask("hana", "GET", "/v1/tickets?other=1", None),
            (400, "E0641"),
        ),
    ] {
        let (status, code) = answer.problem();
        assert_eq!((status, code.as_str()), expected, "{answer:?}");
        assert!(!answer.body.contains("yamada"), "{answer:?}");
    }
    std::thread::sleep(Duration::from_secs(2));
    let large = format!("{{\"reference\": \"{}\"}}", "x".repeat(70 << 10));
    assert_eq!(
        post(&large, "application/json").problem(),
        (413, "E0641".into())
    );
    let value = json!({"reference": "B-1 TM-0000005", "subject": "customer", "scope": "account",
                       "ground": "policy", "identifiers": {"member_no": "TM-0000005"}});
    let named = door.ask("hana", "POST", "/v1/tickets", Some(value));
    assert_eq!(named.problem(), (422, "ER006".into()));
    assert_eq!(
        door.ask("hana", "GET", "/v1/nothing", None).problem(),
        (404, "E0647".into())
    );
    let method = door.ask("hana", "DELETE", "/v1/tickets", None);
    assert_eq!(method.problem(), (405, "E0641".into()));
    assert!(method.head.to_lowercase().contains("allow: "), "{method:?}");

    // One token's haste is its own.
    let answers: Vec<Answer> = (0..40).map(|_| list("hana")).collect();
    let hasty: Vec<_> = answers.iter().filter(|a| a.status == 429).collect();
    assert!(hasty.len() >= 8, "{}", hasty.len());
    assert_eq!(hasty[0].problem().1, "E0644");
    assert!(hasty[0].head.to_lowercase().contains("retry-after: 1"));
    assert_eq!(list("kenji").status, 200);

    // Who says nothing is not waited for for ever, and keeps nobody else out.
    let started = Instant::now();
    let mut silent = TcpStream::connect(&door.address).unwrap();
    silent
        .write_all(b"POST /v1/tickets HTTP/1.1\r\nHost: x\r\n")
        .unwrap();
    assert_eq!(list("kenji").status, 200);
    let mut rest = Vec::new();
    silent.read_to_end(&mut rest).ok();
    assert!(started.elapsed() < Duration::from_secs(20));

    // A login that may not speak for others would make every decision its own.
    desk.server
        .execute("postgres", "REVOKE erasured_trusted FROM erasured_api");
    drop(door);
    let door = Door::of_a_daemon(&desk, desk_address(&desk));
    assert_eq!(
        door.ask("kenji", "GET", "/v1/tickets", None).problem(),
        (503, "E0646".into())
    );
}

fn desk_address(desk: &Desk) -> String {
    let config = std::fs::read_to_string(desk.workspace.config()).unwrap();
    let (_, rest) = config.split_once("[api]\nlisten = \"").unwrap();
    rest.split_once('"').unwrap().0.to_owned()
}

/// Leafed through while new ones are filed: everything that was there, once.
#[test]
fn pages_show_every_ticket_once() {
    let mut desk = Desk::open(120);
    let door = open(&mut desk, "rate = 1000");
    for n in 0..7 {
        let member = format!("TM-{:07}", 21 + 2 * n);
        let mut new = request(&format!("P-{n}"), &member);
        // Alike in time, so that the id decides.
        new["requested_at"] = "2026-11-20T00:00:00Z".into();
        assert_eq!(
            door.ask("all", "POST", "/v1/tickets", Some(new)).status,
            201
        );
    }
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = door
            .ask("all", "GET", &format!("/v1/tickets?limit=3{cursor}"), None)
            .json();
        for ticket in page["tickets"].as_array().unwrap() {
            seen.push(ticket["reference"].as_str().unwrap().to_owned());
        }
        let Some(next) = page["next"].as_str() else {
            break;
        };
        cursor = format!("&cursor={next}");
        let new = request(&format!("P-new-{}", seen.len()), "TM-0000043");
        assert_eq!(
            door.ask("all", "POST", "/v1/tickets", Some(new)).status,
            201
        );
    }
    seen.sort();
    assert_eq!(seen, (0..7).map(|n| format!("P-{n}")).collect::<Vec<_>>());
    let overdue = door
        .ask(
            "all",
            "GET",
            "/v1/tickets?overdue=true&state=received",
            None,
        )
        .json();
    assert_eq!(overdue["tickets"].as_array().unwrap().len(), 0);
}

/// By TLS, with the certificate that the configuration names; by a Unix socket; and not to other
/// machines in the clear.
#[test]
fn the_door_may_be_tls_or_a_socket() {
    let mut desk = Desk::open(120);
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["localhost".into()]).unwrap();
    let certificate = certificate.self_signed(&key).unwrap();
    let folder = desk.workspace.path().to_owned();
    std::fs::write(folder.join("api.pem"), certificate.pem()).unwrap();
    std::fs::write(folder.join("api.key"), key.serialize_pem()).unwrap();
    let door = open(
        &mut desk,
        "certificate = \"api.pem\"\nkey = { file = \"api.key\" }",
    );
    let curl = |arguments: &[&str]| {
        let header = format!("Authorization: Bearer {}", token("hana"));
        let mut curl = Command::new("curl");
        curl.args(["-sS", "-m", "10", "-H", &header])
            .args(arguments);
        let output = curl.current_dir(&folder).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let port = door.address.rsplit_once(':').unwrap().1;
    let url = format!("https://localhost:{port}/v1/tickets");
    let said = curl(&["--cacert", "api.pem", &url]);
    assert_eq!(said, "{\"tickets\":[],\"next\":null}");
    assert_eq!(curl(&[&url]), "", "nobody else's certificate");
    drop(door);
    let config = std::fs::read_to_string(desk.workspace.config()).unwrap();
    let (before, rest) = config.split_once("[api]\nlisten = \"").unwrap();
    let (_, after) = rest.split_once("key = { file = \"api.key\" }").unwrap();
    let socket =
        format!("{before}[api]\nlisten = \"unix:api.sock\"\ntokens = \"tokens.toml\"{after}");
    std::fs::write(desk.workspace.config(), socket).unwrap();
    // One that a killed daemon has left behind is in nobody's way.
    drop(Daemon::start(&desk));
    let _daemon = Daemon::start(&desk);
    let said = curl(&["--unix-socket", "api.sock", "http://x/v1/tickets"]);
    assert_eq!(said, "{\"tickets\":[],\"next\":null}");
}

/// A token is shown once; the file gets its hash.
#[test]
fn keygen_prints_a_token_and_what_belongs_into_the_file() {
    let arguments = [
        "keygen",
        "api-token",
        "crm",
        "--actor",
        "hana",
        "--scopes",
        "file,read",
    ];
    let output = crate::support::erasured().args(arguments).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let (shown, section) = said.split_once("\n\n").unwrap();
    let shown = shown.lines().last().unwrap().trim();
    let tokens = erasured::api::tokens::read("t", section).unwrap();
    assert_eq!(tokens.find(shown).unwrap().actor, "hana");
    assert!(!section.contains(shown));
}

/// Seen by who reads, approved by who approves, under their name and with the number that they have seen.
#[test]
fn a_retention_rule_that_waits_is_seen_and_approved() {
    let mut desk = Desk::open(120);
    let door = open(&mut desk, "rate = 1000");
    desk.server.execute(
        desk.control(),
        "INSERT INTO erasured.retention_proposal (subject, rule, \"table\", policy_sha256, terms, forecast, due) \
         VALUES ('customer', 'calls', 'shop.public.call_recording', repeat('a', 64), '{\"action\": \"delete\"}', '{\"horizon\": 90}', 17)",
    );
    let path = "/v1/retention/proposals";
    let seen = door.ask("hana", "GET", path, None).json();
    let one = &seen["proposals"][0];
    assert_eq!((&one["rule"], &one["due"]), (&json!("calls"), &json!(17)));
    assert_eq!(one["terms"]["action"], "delete", "{seen}");
    assert_eq!(
        door.ask("counsel", "GET", path, None).problem(),
        (403, "E0643".into())
    );
    let path = format!("{path}/{}/approve", one["id"].as_str().unwrap());
    let approve = |who: &str, body: Value| door.ask(who, "POST", &path, Some(body));
    for (who, body, refused) in [
        ("hana", json!({"rows": 17}), (403, "E0643")),
        ("kenji", json!({"rows": 16}), (422, "ER006")),
        ("kenji", json!({}), (400, "E0641")),
    ] {
        let (status, code) = approve(who, body).problem();
        assert_eq!((status, code.as_str()), refused);
    }
    let approvals = "SELECT count(*) FROM erasured.retention_approval WHERE by_name = 'kenji' AND by_role = 'erasured_approver' AND due = 17";
    assert_eq!(desk.server.count(desk.control(), approvals), 0);
    assert_eq!(approve("kenji", json!({"rows": 17})).status, 204);
    assert_eq!(desk.server.count(desk.control(), approvals), 1);
    let again = approve("kenji", json!({"rows": 17}));
    assert_eq!(again.problem(), (404, "ER001".into()));
}

#[test]
fn the_document_is_what_the_program_serves() {
    let output = crate::support::erasured().arg("openapi").output().unwrap();
    let document = std::fs::read_to_string(repository().join("docs/openapi.json")).unwrap();
    assert!(
        String::from_utf8(output.stdout).unwrap() == document,
        "docs/openapi.json is another: erasured openapi > docs/openapi.json"
    );
    let document: Value = serde_json::from_str(&document).unwrap();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
}

/// A stranger's program tries what the document allows and what it forbids, for half a minute: no
/// 500, no answer that the document does not know, none of another shape, nothing without a token.
#[test]
fn schemathesis_finds_nothing() {
    let program = repository().join(".cache/schemathesis/bin/schemathesis");
    assert!(
        program.exists(),
        "no {}: scripts/install.sh test",
        program.display()
    );
    let mut desk = Desk::open(120);
    desk.workspace.configure(&crate::opendsr::configured(&[]));
    let door = open(&mut desk, "rate = 10000");
    for (reference, member) in [("CRM-1042", "TM-0000005"), ("CRM-1043", "TM-0000009")] {
        let filed = door.ask(
            "all",
            "POST",
            "/v1/tickets",
            Some(request(reference, member)),
        );
        assert_eq!(filed.status, 201, "{filed:?}");
    }
    let checks = "not_a_server_error,status_code_conformance,content_type_conformance,\
                  response_headers_conformance,response_schema_conformance,negative_data_rejection,\
                  unsupported_method,ignored_auth";
    let output = Command::new(program)
        .args(["run", &format!("http://{}/openapi.json", door.address)])
        .args(["-H", &format!("Authorization: Bearer {}", token("all"))])
        .args(["--checks", checks, "--max-examples", "25", "--seed", "5"])
        .args([
            "--phases",
            "examples,coverage,fuzzing",
            "--request-timeout",
            "10",
        ])
        .args(["--continue-on-failure", "--no-color"])
        .current_dir(desk.workspace.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    assert!(!said.contains("Unresolvable"), "{said}");
    println!("{said}");
}
