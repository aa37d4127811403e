//! The adapter of Redis against a server, and a ticket across it.

use crate::company::{Company, POLICY};
use crate::support::{Redis, blocking, wait_until};
use erasured::config::place::{PlaceSystem, Reached, redis as settings};
use erasured::config::{self, SecretSource};
use erasured::plan::Wanted;
use erasured::system::place::{Address, Erased, Failed, Person, System};
use std::time::Duration;
use uuid::Uuid;

fn system(redis: &Redis, password: Option<SecretSource>) -> System {
    let port = redis
        .url()
        .trim_end_matches("/0")
        .rsplit(':')
        .next()
        .unwrap()
        .parse();
    let reached = Reached::Redis(settings::Redis {
        host: "127.0.0.1".into(),
        port: port.unwrap(),
        database: 0,
        user: None,
        password,
        tls: None,
        cleartext: false,
        cluster: false,
    });
    let timeout = Duration::from_secs(20);
    System::new(
        "cache",
        &PlaceSystem {
            timeout,
            concurrency: std::num::NonZeroUsize::MIN,
            reached,
        },
    )
}

fn person(wanted: Vec<Wanted>) -> Person {
    Person {
        request: Uuid::from_u128(1),
        wanted,
    }
}

fn key(key: &str) -> Wanted {
    Wanted::Key(key.into())
}

fn between(begins: &str, ends: &str) -> Wanted {
    Wanted::Between {
        begins: begins.into(),
        ends: ends.into(),
    }
}

fn member(of: &str, value: &str) -> Wanted {
    Wanted::Member {
        of: of.into(),
        value: value.into(),
        field: None,
    }
}

fn counts(found: &[Vec<Address>]) -> Vec<usize> {
    found.iter().map(Vec::len).collect()
}

/// Whatever stands in a value is no pattern.
#[test]
fn exactly_what_is_named_goes() {
    let redis = Redis::start();
    redis.run(&[
        "SET session:1 x",
        "SET session:12 x",
        "HSET cart:1:a f v",
        "SET cart:1:b:v2 x",
        "SET cart:12:a x",
        "SET cart:1 x",
        "SET cart:*:a x",
        "SET cart:[1]:a x",
        "SET cart:?:a x",
        "SET cart:\\:a x",
        "SADD online 1 2 12",
        "ZADD scores 5 1 6 2",
        "HSET names 1 taro 2 hana",
        "SET file:1:a.png x",
        "SET file:1:a.jpg x",
    ]);
    let system = system(&redis, None);
    let one = || {
        person(vec![
            key("session:1"),
            key("nothing:1"),
            between("cart:1:", ""),
            between("file:1:", ".png"),
            member("online", "1"),
            member("scores", "1"),
            member("names", "1"),
            member("nowhere", "1"),
        ])
    };
    let people = [
        one(),
        person(vec![between("cart:*:", "")]),
        person(vec![
            between("cart:[1]:", ""),
            between("cart:?:", ""),
            between("cart:\\:", ""),
        ]),
        person(vec![]),
    ];
    blocking(async {
        system.check().await.unwrap();
        // Each by itself: nothing but its own pattern is sent.
        for begins in ["cart:*:", "cart:[1]:", "cart:?:", "cart:\\:"] {
            let alone = [person(vec![between(begins, "")])];
            let found = system.find("any", &alone).await.unwrap();
            assert_eq!(counts(&found), [1], "{begins}");
        }
        let found = system.find("any", &people).await.unwrap();
        assert_eq!(counts(&found), [7, 1, 3, 0]);
        let erased = system.erase("any", &people, &found).await.unwrap();
        assert_eq!(erased, vec![Erased::Gone; 4]);
        assert_eq!(
            redis.keys(),
            [
                "cart:1",
                "cart:12:a",
                "file:1:a.jpg",
                "names",
                "online",
                "scores",
                "session:12"
            ]
        );
        let left = redis.run(&[
            "SCARD online",
            "ZCARD scores",
            "HLEN names",
            "SISMEMBER online 12",
        ]);
        assert_eq!(left, ["2", "1", "1", "1"]);
        assert_eq!(
            counts(&system.probe("any", &people, &found).await.unwrap()),
            [0; 4]
        );
        // Again it is no failure, and what is put back under a known name is seen by that name alone.
        system.erase("any", &people, &found).await.unwrap();
        redis.run(&["SET session:1 x"]);
        let nobody = [person(vec![])];
        let probed = system.probe("any", &nobody, &found[..1]).await.unwrap();
        assert_eq!(counts(&probed), [1]);
    });
}

/// More keys than one step goes through, and none twice.
#[test]
fn all_names_are_gone_through() {
    let redis = Redis::start();
    let sets: Vec<String> = (0..5000)
        .map(|n| format!("SET cart:{}:{n} x", n % 10))
        .collect();
    let sets: Vec<&str> = sets.iter().map(String::as_str).collect();
    redis.run(&sets);
    let system = system(&redis, None);
    let people: Vec<Person> = (0..3)
        .map(|n| person(vec![between(&format!("cart:{n}:"), "")]))
        .collect();
    blocking(async {
        let found = system.find("any", &people).await.unwrap();
        assert_eq!(counts(&found), [500; 3]);
        system.erase("any", &people, &found).await.unwrap();
    });
    assert_eq!(redis.run(&["DBSIZE"]), ["3500"]);
}

/// What a replica has not heard of may be there all the same.
#[test]
fn a_replica_is_believed_nothing() {
    let (master, replica) = (Redis::start(), Redis::start());
    let port = master.port().to_string();
    replica.run(&[&format!("REPLICAOF 127.0.0.1 {port}")]);
    master.run(&["SET session:1 x"]);
    let people = [person(vec![key("session:1")])];
    let asked = system(&replica, None);
    let failed = blocking(async { asked.find("any", &people).await.err().unwrap() });
    assert!(
        failed.transient && failed.problem.contains("replica"),
        "{failed}"
    );
    let asked = system(&master, None);
    let found = blocking(async { asked.find("any", &people).await.unwrap() });
    assert_eq!(counts(&found), [1]);
}

#[test]
fn why_it_does_not_answer_says_whether_to_try_again() {
    let fails = |system: &System, wanted: Wanted| -> Failed {
        let people = [person(vec![wanted])];
        let failed = blocking(async { system.find("any", &people).await.err().unwrap() });
        assert!(!failed.problem.contains("taro"), "{failed}");
        failed
    };
    let mut redis = Redis::start_with(&[], Some("geheim"));
    redis.run(&["SET string x", "LPUSH list taro"]);
    // Without the password, and with a wrong one.
    assert!(fails(&system(&redis, None), key("taro")).transient);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("password");
    std::fs::write(&file, "falsch\n").unwrap();
    let known = system(&redis, Some(SecretSource::File(file.clone())));
    assert!(fails(&known, key("taro")).transient);
    // A password that is mended while the daemon runs.
    std::fs::write(&file, "geheim\n").unwrap();
    blocking(async { known.check().await.unwrap() });
    assert!(!fails(&known, member("list", "taro")).transient);
    // Rights that are missing.
    redis.run(&["ACL SETUSER default -exists"]);
    assert!(!fails(&known, key("taro")).transient);
    redis.stop();
    assert!(fails(&known, key("taro")).transient);
}

#[test]
fn settings_hold_no_password_and_send_nothing_in_the_clear() {
    let read = |lines: &str| {
        let text = format!(
            "control.url = \"\"\nkeys = {{ signing = {{ env = \"A\" }}, hash = {{ env = \"B\" }} }}\n[system.cache]\nkind = \"redis\"\n{lines}"
        );
        config::read("erasured.toml", &text).map_err(|found| found[0].code)
    };
    for good in [
        "url = \"redis://127.0.0.1\"",
        "url = \"redis://[::1]:6380/3\"\nuser = \"erasured\"\npassword_file = \"pw\"",
        "url = \"redis://cache.example:6379\"\ncleartext = true",
        "url = \"rediss://cache.example\"\nca_file = \"ca.pem\"\ncluster = true",
    ] {
        assert_eq!(read(good).unwrap().places.len(), 1, "{good}");
    }
    for (bad, code) in [
        ("", "E0004"),
        ("url = \"redis://cache.example:6379\"", "E0006"),
        ("url = \"redis://:geheim@127.0.0.1\"", "E0006"),
        ("url = \"postgresql://127.0.0.1\"", "E0006"),
        ("url = \"redis://127.0.0.1/x\"", "E0006"),
        ("url = \"rediss://user@cache.example\"", "E0006"),
        ("url = \"redis://127.0.0.1\"\nca_file = \"ca.pem\"", "E0006"),
        ("url = \"redis://127.0.0.1/1\"\ncluster = true", "E0006"),
        ("url = \"redis://cache.example\"\ncluster = true", "E0006"),
    ] {
        assert_eq!(read(bad).unwrap_err(), code, "{bad}");
    }
}

/// Across the database and a cache that dies in between; what a value could mean else is refused.
#[test]
fn a_ticket_goes_across() {
    let mut company = Company::open();
    let mut redis = Redis::start();
    company.workspace.configure(&format!(
        "[system.cache]\nkind = \"redis\"\nurl = {:?}\ntimeout = \"5 s\"",
        redis.url()
    ));
    let place = r#"
[[place]]
system = "cache"
name = "sessions"
keys = ["session:{member_no}", "cart:{member_no}:*"]
members = ["{email}"]
in = "online"
"#;
    let policy = format!("{POLICY}\n{place}");
    company.workspace.write_policy("customer.toml", &policy);
    company.says(&["check"], 0);
    company.server.execute(
        &company.shop,
        "UPDATE customer SET member_no = 'M:3' WHERE id = 3",
    );
    let fill = [
        "SET session:M-1 x",
        "SET cart:M-1:a x",
        "SET cart:M-1:b x",
        "SET cart:M-12:a x",
        "SET session:M-2 x",
        "SADD online c1@x.jp c2@x.jp c12@x.jp",
        "SET cart:M:3:a x",
    ];
    redis.run(&fill);
    let said = company.says(&["check"], 1);
    assert!(said.contains("E0272") && !said.contains("M:3"), "{said}");
    company.file(&[1], "account");
    let sql = "DO $$ DECLARE t uuid := erasured.submit_ticket('account-3', 'customer', '{\"member_no\": \"M:3\"}', 'account', 'policy'); BEGIN \
         PERFORM set_config('erasured.actor', 'desk', true); PERFORM erasured.verify_ticket(t, 'login_reauth'); \
         PERFORM set_config('erasured.actor', 'lead', true); PERFORM erasured.approve_ticket(t); END $$";
    company.server.execute(&company.control, sql);
    redis.stop();
    let daemon = company.daemon();
    let put_off =
        "SELECT count(*) FROM erasured.ticket WHERE attempt > 0 AND problem = 'unreachable'";
    wait_until("the cache to be missed", Duration::from_secs(60), || {
        company.control(put_off) != "0"
    });
    redis.start_again();
    redis.run(&fill);
    let ended = || company.states() == ["account-1 completed", "account-3 failed E0540"];
    wait_until("both to end", Duration::from_secs(60), ended);
    drop(daemon);
    assert_eq!(
        redis.keys(),
        ["cart:M-12:a", "cart:M:3:a", "online", "session:M-2"]
    );
    assert_eq!(redis.run(&["SCARD online"]), ["2"]);
    let certificate = company.certificate("account-1");
    let cache = certificate
        .places
        .iter()
        .find(|p| p.system == "cache")
        .unwrap();
    assert_eq!(cache.found[0].erased, 4);
    assert!(
        cache
            .copies
            .as_ref()
            .unwrap()
            .contains("no append-only file")
    );
    let said = company.says(&["ticket", "show", "account-3"], 0);
    assert!(
        said.contains("member_no holds ':'") && !said.contains("M:3:"),
        "{said}"
    );
}

/// A server that is slow for a moment is waited for, as long as the settings say.
#[test]
fn a_slow_answer_is_waited_for() {
    let redis = Redis::start();
    redis.run(&["SET session:1 x"]);
    let system = system(&redis, None);
    let wanted = [person(vec![key("session:1")])];
    redis.run(&["CLIENT PAUSE 2500 ALL"]);
    let found = blocking(async { system.find("sessions", &wanted).await });
    assert_eq!(counts(&found.unwrap()), [1]);
}
