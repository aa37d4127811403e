//! The adapter of memcached against a server, and a ticket across it: the example of how a kind is added.

use crate::company::{Company, POLICY};
use crate::support::{Memcached, blocking, wait_until};
use erasured::config;
use erasured::config::place::{PlaceSystem, Reached, memcached as settings};
use erasured::plan::Wanted;
use erasured::system::place::{Address, Erased, Person, System};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::time::Duration;
use uuid::Uuid;

fn system(port: u16) -> System {
    let host = "127.0.0.1".into();
    let settings = PlaceSystem {
        timeout: Duration::from_secs(5),
        concurrency: std::num::NonZeroUsize::MIN,
        reached: Reached::Memcached(settings::Memcached { host, port }),
    };
    System::new("cache", &settings)
}

fn person(keys: &[&str]) -> Person {
    let keys = keys.iter();
    Person {
        request: Uuid::from_u128(1),
        wanted: keys.map(|key| Wanted::Key((*key).to_owned())).collect(),
    }
}

fn counts(found: &[Vec<Address>]) -> Vec<usize> {
    found.iter().map(Vec::len).collect()
}

/// Whatever stands in a value: it is no command, and what cannot be a key is not there.
#[test]
fn exactly_what_is_named_goes() {
    let memcached = Memcached::start();
    let (whole, long) = ("k".repeat(250), "k".repeat(251));
    memcached.set(&["session:1", "session:12", "s", "名:1", &whole]);
    let system = system(memcached.port());
    // A client that speaks the binary protocol may put blanks into a key.
    assert_eq!(memcached.say("ms YSBi 1 b\r\nx\r\n"), "HD");
    let many: Vec<String> = (0..250).map(|n| format!("many:{n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    memcached.set(&many);
    let people = [
        person(&["session:1", "session:1", "session:2", "名:1"]),
        person(&[]),
        person(&["", &long, "s b\r\nflush_all\r\n", "session:1 session:12"]),
        person(&many),
        person(&[&whole, "a b"]),
    ];
    blocking(async {
        system.check().await.unwrap();
        let found = system.find("any", &people).await.unwrap();
        assert_eq!(counts(&found), [2, 0, 0, 250, 2]);
        let erased = system.erase("any", &people, &found).await.unwrap();
        assert_eq!(erased, vec![Erased::Gone; 5]);
        assert!(memcached.has("session:12") && memcached.has("s"));
        let gone = ["session:1", "many:0", "many:249", &whole];
        assert!(gone.iter().all(|key| !memcached.has(key)));
        let left = system.probe("any", &people, &found).await.unwrap();
        assert_eq!(counts(&left), [0; 5]);
        // Again it is no failure, and what is put back under a known name is seen by that name alone.
        system.erase("any", &people, &found).await.unwrap();
        memcached.set(&["session:1"]);
        let nobody = [person(&[])];
        let probed = system.probe("any", &nobody, &found[..1]).await.unwrap();
        assert_eq!(counts(&probed), [1]);
    });
}

/// What the application has marked as stale is there, until it is deleted.
#[test]
fn what_is_stale_is_there() {
    let memcached = Memcached::start();
    memcached.set(&["session:1"]);
    assert_eq!(memcached.say("md session:1 I T600\r\n"), "HD");
    // So it answers once; whoever asks again is told that somebody is renewing it.
    let stale = memcached.say("mg session:1\r\n");
    assert!(stale.starts_with("HD ") && stale.contains('X'), "{stale}");
    let system = system(memcached.port());
    let people = [person(&["session:1"])];
    blocking(async {
        let found = system.find("any", &people).await.unwrap();
        assert_eq!(counts(&found), [1]);
        let left = system.probe("any", &people, &found).await.unwrap();
        assert_eq!(counts(&left), [1]);
        system.erase("any", &people, &found).await.unwrap();
        let left = system.probe("any", &people, &found).await.unwrap();
        assert_eq!(counts(&left), [0]);
    });
}

/// A server that says this to whoever comes.
fn says(answer: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut line = String::new();
        let asked = BufReader::new(stream.try_clone().unwrap()).read_line(&mut line);
        asked.unwrap();
        stream.write_all(answer.as_bytes()).unwrap();
    });
    port
}

#[test]
fn why_it_does_not_answer_says_whether_to_try_again() {
    let fails = |system: &System| {
        let people = [person(&["taro"])];
        let failed = blocking(async { system.find("any", &people).await.err().unwrap() });
        assert!(!failed.problem.contains("taro"), "{failed}");
        failed.transient
    };
    let mut memcached = Memcached::start();
    memcached.stop();
    assert!(fails(&system(memcached.port())), "it is down");
    for (answer, transient) in [
        ("ERROR Too many open connections\r\n", true),
        ("VERSION 1.6.", true),
        ("VERSION 1.6.18\r\nSERVER_ERROR out of memory\r\n", true),
        ("VERSION 1.6.9\r\nEN\r\n", false),
        ("VERSION taro\r\nEN\r\n", false),
        ("VERSION 1.6.18\r\nCLIENT_ERROR bad key taro\r\n", false),
        ("+PONG\r\n", false),
    ] {
        assert_eq!(fails(&system(says(answer))), transient, "{answer}");
    }
}

#[test]
fn nothing_is_sent_in_the_clear_unasked() {
    let read = |lines: &str| {
        let text = format!(
            "control.url = \"\"\nkeys = {{ signing = {{ env = \"A\" }}, hash = {{ env = \"B\" }} }}\n[system.cache]\nkind = \"memcached\"\n{lines}"
        );
        config::read("erasured.toml", &text).map_err(|found| found[0].code)
    };
    for good in [
        "address = \"127.0.0.1:11211\"",
        "address = \"[::1]:11211\"",
        "address = \"cache.example:11211\"\ncleartext = true",
    ] {
        assert_eq!(read(good).unwrap().places.len(), 1, "{good}");
    }
    for (bad, code) in [
        ("", "E0004"),
        ("address = \"cache.example:11211\"", "E0006"),
        ("address = \"127.0.0.1\"", "E0006"),
        ("address = \"taro@127.0.0.1:11211\"", "E0006"),
    ] {
        assert_eq!(read(bad).unwrap_err(), code, "{bad}");
    }
}

/// Found, erased, refilled while the daemon was dead, erased again; the cache dies in between too.
#[test]
fn a_ticket_goes_across() {
    let mut company = Company::open();
    let mut memcached = Memcached::start();
    company.workspace.configure(&format!(
        "[system.cache]\nkind = \"memcached\"\naddress = \"127.0.0.1:{}\"\ntimeout = \"2 s\"",
        memcached.port()
    ));
    let place = |keys: &str| {
        let place = format!("[[place]]\nsystem = \"cache\"\nname = \"sessions\"\nkeys = [{keys}]");
        format!("{POLICY}\n{place}\n")
    };
    let write = |keys: &str| {
        company
            .workspace
            .write_policy("customer.toml", &place(keys))
    };
    write("\"session:{member_no}\", \"cart:{member_no}:*\"");
    let said = company.says(&["check"], 1);
    assert!(said.contains("E0271"), "nobody can list its keys: {said}");
    write("\"session:{member_no}\", \"cart:{member_no}\"");
    company.says(&["check"], 0);

    memcached.set(&["session:M-1", "cart:M-1", "session:M-2", "session:M-12"]);
    company.file(&[1], "account");
    company.dies_at("after-place-erased=return");
    assert!(!memcached.has("session:M-1") && memcached.has("session:M-2"));
    memcached.set(&["session:M-1"]);
    company.dies_at("before-place-done=return");
    memcached.stop();
    let daemon = company.daemon();
    let put_off =
        "SELECT count(*) FROM erasured.ticket WHERE attempt > 0 AND problem = 'unreachable'";
    let missed = || company.control(put_off) != "0";
    wait_until("the cache to be missed", Duration::from_secs(60), missed);
    memcached.start_again();
    memcached.set(&["session:M-1", "session:M-2"]);
    let ended = || company.states() == ["account-1 completed"];
    wait_until("it to end", Duration::from_secs(60), ended);
    drop(daemon);
    assert!(!memcached.has("session:M-1") && memcached.has("session:M-2"));
    let certificate = company.certificate("account-1");
    let mut places = certificate.places.iter();
    let cache = places.find(|place| place.system == "cache").unwrap();
    assert_eq!(cache.found[0].erased, 2, "what came back is the same thing");
    assert!(cache.not_promised.contains("No such key"));
    company.keeps_nothing();
}
