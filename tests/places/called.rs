//! A service that calls back: a call is a reason to ask it, and proof of nothing.

use crate::company::{Company, POLICY};
use crate::service::{Service, bare, json};
use crate::support::wait_until;
use erasured::config;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

const REQUESTS: &str = r#"
check = { path = "/health" }
find = { path = "/contacts?email={email}", found = "/results/*/id" }
erase = { method = "POST", path = "/erasures", body = '{"id": "{:found}", "call": "{:call}"}' }
"#;
const STATUS: &str = r#"
status = { path = "/orders/{:request}", state = "/state", pending = ["open"], done = ["done"] }
"#;
const LONG: Duration = Duration::from_secs(60);

/// The status of an answer to this method at this path.
fn answers(at: &str, method: &str, path: &str) -> u16 {
    let mut stream = TcpStream::connect(at).unwrap();
    // The body of a service is its own affair; one that never comes is not waited for.
    let head = format!("{method} {path} HTTP/1.1\r\nhost: x\r\ncontent-length: 100000\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let mut line = [0; 12];
    stream.read_exact(&mut line).unwrap();
    std::str::from_utf8(&line[9..]).unwrap().parse().unwrap()
}

#[test]
fn a_call_has_the_service_asked_and_is_not_believed() {
    let service = Service::of(&[("c-1", "c1@x.jp")]);
    service.say("erase", &bare(202, ""));
    let policy = POLICY.replace("newsletter", "crm");
    let policy = policy.replace("[\"email\", \"member_no\"]", "[\"email\"]");
    let mut company = Company::with(POLICY);
    company.workspace.write_policy("customer.toml", &policy);
    company.workspace.configure(&format!(
        "[system.crm]\nkind = \"http\"\nurl = \"http://127.0.0.1:{}/api\"{REQUESTS}{STATUS}",
        service.port
    ));
    let at = company.workspace.http();
    let file = company.workspace.config();
    let text = std::fs::read_to_string(&file).unwrap();
    let called_at = format!("[http]\ncalled_at = \"http://{at}/behind\"\n");
    std::fs::write(&file, text.replace("[http]\n", &called_at)).unwrap();
    company.file(&[1], "account");
    let daemon = company.daemon();
    let pending =
        "SELECT count(*) FROM erasured.ticket WHERE state = 'scheduled' AND problem = 'pending'";
    wait_until("the order to be taken", LONG, || {
        company.control(pending) == "1"
    });
    service.say("status", &json(200, r#"{"state": "open"}"#));
    let order = service
        .asked()
        .into_iter()
        .rfind(|asked| asked.method == "POST");
    let order: serde_json::Value = serde_json::from_str(&order.unwrap().body).unwrap();
    let call = order["call"].as_str().unwrap();
    let path = call.strip_prefix(&format!("http://{at}/behind")).unwrap();

    // By itself it would be asked in an hour.
    let in_an_hour = || {
        let sql = "WITH w AS (UPDATE erasured.ticket SET next_attempt_at = now() + interval '1 hour' \
             WHERE state = 'scheduled' AND problem = 'pending' RETURNING 1) SELECT count(*) FROM w";
        wait_until("the ticket to wait", LONG, || company.control(sql) == "1");
        service.asked();
    };
    in_an_hour();
    let steps: Vec<&str> = path.split('/').collect();
    let [_, _, system, ticket, token] = steps.as_slice() else {
        panic!("{} steps", steps.len())
    };
    assert_eq!((*system, token.len()), ("crm", 64));
    let nobodys = "0190b5a2-0000-7000-8000-000000000001";
    for wrong in [
        format!("/called/crm/{ticket}/{}", "0".repeat(64)),
        format!("/called/crm/{ticket}/{}", &token[..63]),
        format!("/called/crm/{nobodys}/{token}"),
        format!("/called/shop/{ticket}/{token}"),
        format!("/called/crm/x/{token}"),
        format!("/called/crm/{ticket}"),
    ] {
        assert_eq!(answers(&at, "POST", &wrong), 404, "{wrong}");
    }
    assert_eq!(answers(&at, "GET", path), 405);
    std::thread::sleep(Duration::from_secs(1));
    assert!(service.asked().is_empty(), "nobody had it asked");

    assert_eq!(answers(&at, "POST", path), 204);
    let mut asked = Vec::new();
    wait_until("the service to be asked", LONG, || {
        asked.extend(service.asked());
        asked.iter().any(|asked| asked.target.contains("/orders/"))
    });
    in_an_hour();
    assert_eq!(
        company.states(),
        ["account-1 scheduled E0501"],
        "it was not believed"
    );
    assert_eq!(service.left(), ["c-1"]);

    service.unsay("erase");
    let gone = format!("127.0.0.1:{}", service.port);
    let mut there = TcpStream::connect(gone).unwrap();
    there
        .write_all(b"DELETE /api/contacts/c-1 HTTP/1.1\r\n\r\n")
        .unwrap();
    there.read_to_end(&mut Vec::new()).unwrap();
    assert_eq!(answers(&at, "POST", path), 204);
    let ended = || company.states() == ["account-1 completed"];
    wait_until("it to end", LONG, ended);
    // Whoever calls twice, or late, does no harm.
    assert_eq!(answers(&at, "POST", path), 204);
    // So often that nobody can mean it.
    let often: Vec<u16> = (0..100).map(|_| answers(&at, "POST", path)).collect();
    assert!(often.contains(&429), "{often:?}");
    assert_eq!(company.states(), ["account-1 completed"]);
    drop(daemon);
}

#[test]
fn a_daemon_that_is_not_to_be_called_is_not() {
    let company = Company::open();
    let daemon = company.daemon();
    let at = company.workspace.http();
    wait_until("the daemon", LONG, || TcpStream::connect(&at).is_ok());
    let path = format!(
        "/called/crm/0190b5a2-0000-7000-8000-000000000001/{}",
        "0".repeat(64)
    );
    assert_eq!(answers(&at, "POST", &path), 404);
    assert_eq!(answers(&at, "GET", &path), 404);
    drop(daemon);
}

/// An order that says where to call, and nobody who could be asked or called: nothing is begun.
#[test]
fn who_calls_can_be_asked_and_knows_whom_to_call() {
    let read = |http: &str, requests: &str| {
        let text = format!(
            "control.url = \"\"\nkeys = {{ signing = {{ env = \"A\" }}, hash = {{ env = \"B\" }} }}\n\
             system.shop.url = \"\"\n{http}\n[system.crm]\nkind = \"http\"\nurl = \"http://127.0.0.1:1\"\n{requests}"
        );
        let read = config::read("erasured.toml", &text);
        read.map(drop).map_err(|found| found[0].code)
    };
    let all = format!("{REQUESTS}{STATUS}");
    let called_at = "http.called_at = \"https://erasured.example\"";
    assert_eq!(read(called_at, &all), Ok(()));
    assert_eq!(read("", &all), Err("E0155"));
    assert_eq!(read(called_at, REQUESTS), Err("E0155"));
    let asked = all.replace("{:request}", "{:call}");
    assert_eq!(read(called_at, &asked), Err("E0155"), "only an order");
    for bad in [
        "http://erasured.example",
        "https://a:b@erasured.example",
        "erasured",
        "https://x/?y",
    ] {
        assert_eq!(
            read(&format!("http.called_at = {bad:?}"), &all),
            Err("E0134"),
            "{bad}"
        );
    }
}
