//! Requests in the words of OpenDSR 2.0: the examples of its specification, with our hosts and people.

use crate::api::{Answer, Door, open, token};
use crate::desk::Desk;
use crate::outbox::{self, Posted, Receiver};
use crate::support::{SIGNING_SEED, wait_until};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use erasured::keys::SigningKey;
use serde_json::{Value, json};
use std::time::Duration;

const REQUEST: &str = "a7551968-d5d6-44b2-9831-815ac9017798";
const OTHER: &str = "b0c1d2e3-f4a5-4b6c-8d7e-9f0a1b2c3d4e";

/// `[opendsr]`, with the hosts that may be called back.
pub(crate) fn configured(hosts: &[&str]) -> String {
    format!(
        "[opendsr]\ndomain = \"example-processor.com\"\ncertificate = \"https://example-processor.com/cert.pem\"\n\
         subject = \"customer\"\nscope = \"account\"\ncallbacks = {hosts:?}\n\
         identities = {{ controller_customer_id = \"member_no\", email = \"email\" }}\ngrounds = {{ gdpr = \"policy\" }}\n"
    )
}

fn request(id: &str, member: &str, callback: &str) -> Value {
    json!({
        "regulation": "gdpr",
        "subject_request_id": id,
        "subject_request_type": "erasure",
        "submitted_time": "2026-11-02T15:00:00Z",
        "subject_identities": [
            {"identity_type": "controller_customer_id", "identity_value": member, "identity_format": "raw"}
        ],
        "api_version": "2.0",
        "status_callback_urls": [callback],
        "extensions": {"example-processor.com": {"property_id": "123456"}}
    })
}

fn signed(body: &[u8], signature: &str) {
    let signature = STANDARD.decode(signature).unwrap();
    let public = SigningKey::from_seed(&SIGNING_SEED).public();
    assert!(public.verify(body, &signature.try_into().unwrap()));
}

/// An answer that is signed, with this status.
fn answer(answer: &Answer, status: u16) -> Value {
    assert_eq!(answer.status, status, "{answer:?}");
    let header = |name: &str| {
        let mut lines = answer.head.lines().filter_map(|line| line.split_once(": "));
        let found = lines.find(|(key, _)| key.eq_ignore_ascii_case(name));
        found
            .unwrap_or_else(|| panic!("{name} in {answer:?}"))
            .1
            .to_owned()
    };
    assert_eq!(
        header("X-OpenDSR-Processor-Domain"),
        "example-processor.com"
    );
    signed(answer.body.as_bytes(), &header("X-OpenDSR-Signature"));
    answer.json()
}

fn statuses(posts: &[Posted], request: &str) -> Vec<String> {
    let of = posts.iter().map(Posted::json);
    let of = of.filter(|body| body["subject_request_id"] == request);
    of.map(|body| body["request_status"].as_str().unwrap().to_owned())
        .collect()
}

/// From the request to the callback that says it is done; and one that is taken back.
#[test]
fn a_controller_asks_is_told_and_may_take_it_back() {
    let mut desk = Desk::open(120);
    let receiver = Receiver::new(|_| outbox::Answer::Status(202));
    desk.workspace.configure(&configured(&[&receiver.address]));
    let door = open(&mut desk, "rate = 1000");
    let discovery = answer(&door.ask("hana", "GET", "/opendsr/v2/discovery", None), 200);
    assert_eq!(
        discovery,
        json!({
            "api_version": "2.0",
            "supported_identities": [
                {"identity_type": "controller_customer_id", "identity_format": "raw"},
                {"identity_type": "email", "identity_format": "raw"}
            ],
            "supported_subject_request_types": ["erasure"],
            "processor_certificate": "https://example-processor.com/cert.pem"
        })
    );
    let url = format!("http://{}/opendsr_callbacks", receiver.address);
    let create = |who, id, member| {
        let body = request(id, member, &url);
        door.ask(who, "POST", "/opendsr/v2/requests", Some(body))
    };
    let taken = answer(&create("hana", REQUEST, "TM-0000005"), 201);
    assert_eq!(
        (&taken["controller_id"], &taken["subject_request_id"]),
        (&json!("hana"), &json!(REQUEST))
    );
    let sent = STANDARD
        .decode(taken["encoded_request"].as_str().unwrap())
        .unwrap();
    let sent: Value = serde_json::from_slice(&sent).unwrap();
    assert_eq!(sent, request(REQUEST, "TM-0000005", &url));
    for time in ["expected_completion_time", "received_time"] {
        let time = taken[time].as_str().unwrap();
        chrono::DateTime::parse_from_rfc3339(time).unwrap();
    }
    // Sent again it is the same; somebody else's is not theirs to see or to overwrite.
    answer(&create("hana", REQUEST, "TM-0000005"), 201);
    let stolen = create("all", REQUEST, "TM-0000005");
    assert_eq!((stolen.status, refused(&stolen)), (400, "ER003".into()));
    let show = |who, id| door.ask(who, "GET", &format!("/opendsr/v2/requests/{id}"), None);
    assert_eq!(show("all", REQUEST).status, 404);
    let pending = answer(&show("hana", REQUEST), 200);
    assert_eq!(
        (&pending["request_status"], &pending["api_version"]),
        (&json!("pending"), &json!("2.0"))
    );
    answer(&create("hana", OTHER, "TM-0000009"), 201);

    // The desk decides as ever.
    let reference = format!("opendsr-{REQUEST}");
    let verify = ["ticket", "verify", &reference, "--method", "login_reauth"];
    desk.as_person("hana", verify).assert().success();
    desk.as_person("kenji", ["ticket", "approve", &reference])
        .assert()
        .success();
    wait_until("the end to be told", Duration::from_secs(60), || {
        statuses(&receiver.posts(true), REQUEST).len() >= 2
    });
    assert_eq!(
        statuses(&receiver.posts(true), REQUEST),
        ["in_progress", "completed"]
    );
    assert_eq!(
        answer(&show("hana", REQUEST), 200)["request_status"],
        "completed"
    );
    let cancel = |id| {
        door.ask(
            "hana",
            "DELETE",
            &format!("/opendsr/v2/requests/{id}"),
            None,
        )
    };
    assert_eq!(refused(&cancel(REQUEST)), "E0641", "it is done");
    let cancelled = answer(&cancel(OTHER), 202);
    assert_eq!(cancelled["subject_request_id"], OTHER);
    answer(&cancel(OTHER), 202);
    assert_eq!(
        answer(&show("hana", OTHER), 200)["request_status"],
        "cancelled"
    );
    wait_until("the end to be told", Duration::from_secs(30), || {
        statuses(&receiver.posts(true), OTHER) == ["cancelled"]
    });
    for post in receiver.posts(true) {
        assert!(post.head.starts_with("POST /opendsr_callbacks HTTP/1.1"));
        assert_eq!(
            post.header("X-OpenDSR-Processor-Domain").unwrap(),
            "example-processor.com"
        );
        signed(&post.body, &post.header("X-OpenDSR-Signature").unwrap());
        assert_eq!(post.json()["status_callback_url"], url);
        assert_eq!(post.json()["controller_id"], "hana");
        assert!(!String::from_utf8_lossy(&post.body).contains("TM-0"));
    }
    what_is_refused(&door, &url);
}

/// Why, in OpenDSR's shape.
fn refused(answer: &Answer) -> String {
    let error = &answer.json()["error"];
    assert_eq!(error["code"], answer.status, "{answer:?}");
    error["errors"][0]["reason"].as_str().unwrap().to_owned()
}

/// Nobody is called back but whom the operator has listed; what is not done here is said.
fn what_is_refused(door: &Door, url: &str) {
    let (host, port) = url
        .strip_prefix("http://")
        .unwrap()
        .split_once(':')
        .unwrap();
    let port = port.split_once('/').unwrap().0;
    let member = "TM-0000011";
    let with = |key: &str, value: Value| {
        let mut body = request("c1d2e3f4-a5b6-4c7d-8e9f-0a1b2c3d4e5f", member, url);
        body[key] = value;
        body
    };
    let identity = |kind: &str, format: &str| json!([{"identity_type": kind, "identity_value": member, "identity_format": format}]);
    for body in [
        with(
            "status_callback_urls",
            json!(["http://169.254.169.254/latest"]),
        ),
        with(
            "status_callback_urls",
            json!([format!("http://{host}:1/x")]),
        ),
        with(
            "status_callback_urls",
            json!([format!("http://{host}:{port}@evil.example/")]),
        ),
        with("status_callback_urls", json!(["https://evil.example/"])),
        with("status_callback_urls", json!(["file:///etc/passwd"])),
        with(
            "status_callback_urls",
            json!([url, url, url, url, url, url]),
        ),
        with(
            "status_callback_urls",
            json!([format!("{url}?who={member}")]),
        ),
        with(
            "status_callback_urls",
            json!([format!("{url}/%54m-0000011")]),
        ),
        with("subject_request_type", json!("access")),
        with("subject_request_type", json!("oblivion")),
        with(
            "subject_request_id",
            json!("0198c1f0-5a7e-7c3d-9b1e-3f2a6c4d8e90"),
        ),
        with("subject_identities", identity("email", "sha256")),
        with("subject_identities", identity("roku_publisher_id", "raw")),
        with("subject_identities", json!([])),
        with("regulation", json!("lgpd")),
        with("submitted_time", json!("yesterday")),
        with("submitted_time", json!("2099-01-01T00:00:00Z")),
    ] {
        let answer = door.ask("hana", "POST", "/opendsr/v2/requests", Some(body.clone()));
        assert_eq!(answer.status, 400, "{body} {answer:?}");
        refused(&answer);
        assert!(!answer.body.contains(member), "{answer:?}");
    }
    let nobody = door.ask(
        "eve",
        "GET",
        &format!("/opendsr/v2/requests/{REQUEST}"),
        None,
    );
    assert_eq!((nobody.status, refused(&nobody)), (401, "E0642".into()));
    assert_ne!(token("eve"), token("hana"));
}
