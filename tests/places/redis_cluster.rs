//! Redis in many servers, by TLS, and what is in streams.

use crate::support::{Redis, blocking, free_port, repository, wait_until};
use erasured::config;
use erasured::plan::Wanted;
use erasured::system::place::{Address, Erased, Failed, Person, System};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use uuid::Uuid;

/// As the configuration says it.
fn system(lines: &str) -> System {
    let text = format!(
        "control.url = \"\"\nsystem.shop.url = \"\"\nkeys = {{ signing = {{ env = \"A\" }}, hash = {{ env = \"B\" }} }}\n\
         [system.cache]\nkind = \"redis\"\ntimeout = \"20 s\"\n{lines}"
    );
    let config = config::read("erasured.toml", &text).unwrap();
    System::new("cache", &config.places["cache"])
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

fn between(begins: &str) -> Wanted {
    Wanted::Between {
        begins: begins.into(),
        ends: String::new(),
    }
}

fn member(of: &str, value: &str, field: Option<&str>) -> Wanted {
    Wanted::Member {
        of: of.into(),
        value: value.into(),
        field: field.map(str::to_owned),
    }
}

fn counts(found: &[Vec<Address>]) -> Vec<usize> {
    found.iter().map(Vec::len).collect()
}

fn find(system: &System, wanted: Vec<Wanted>) -> Result<usize, Failed> {
    let found = blocking(async { system.find("any", &[person(wanted)]).await });
    found.map(|found| found[0].len())
}

/// Three servers with a third of the slots each.
fn cluster() -> [Redis; 3] {
    let buses = [free_port(), free_port(), free_port()];
    let servers = buses.map(|bus| {
        let bus = bus.to_string();
        let settings = ["--cluster-enabled", "yes", "--cluster-port", &bus];
        Redis::start_with(&settings, None)
    });
    let slots = ["0 5460", "5461 10922", "10923 16383"];
    for (at, server) in servers.iter().enumerate() {
        let epoch = format!("CLUSTER SET-CONFIG-EPOCH {}", at + 1);
        let own = format!("CLUSTER ADDSLOTSRANGE {}", slots[at]);
        assert_eq!(server.run(&[&epoch, &own]), ["OK", "OK"]);
    }
    for (other, bus) in servers.iter().zip(buses).skip(1) {
        let meet = format!("CLUSTER MEET 127.0.0.1 {} {bus}", other.port());
        servers[0].run(&[&meet]);
    }
    let ready = |server: &Redis| {
        let info = server.run(&["CLUSTER INFO"]).remove(0);
        info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:3")
    };
    wait_until("the cluster", Duration::from_secs(30), || {
        servers.iter().all(ready)
    });
    servers
}

/// The right that the documents tell an operator to give.
fn documented_rights() -> String {
    let page = std::fs::read_to_string(repository().join("docs/systems.md")).unwrap();
    let (_, rest) = page.split_once("`ACL SETUSER erasured on >… ").unwrap();
    let (rights, _) = rest.split_once('`').unwrap();
    let (_, cluster) = page.split_once("`+cluster|").unwrap();
    let (cluster, _) = cluster.split_once('`').unwrap();
    let all = format!("ACL SETUSER erasured on >geheim {rights} +cluster|{cluster}");
    all.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn in_cluster(server: &Redis, folder: &Path) -> System {
    let file = folder.join("password");
    std::fs::write(&file, "geheim\n").unwrap();
    let url = server.url();
    system(&format!(
        "url = {url:?}\ncluster = true\nuser = \"erasured\"\npassword_file = {file:?}"
    ))
}

/// Whatever server has a key is asked, as the login that the documents describe, and a redirection is followed to a
/// server of the cluster.
#[test]
fn all_servers_of_a_cluster_are_asked() {
    let servers = cluster();
    let rights = documented_rights();
    for server in &servers {
        assert_eq!(server.run(&[&rights]), ["OK"]);
    }
    let of = |key: &str| {
        let slot = servers[0]
            .run(&[&format!("CLUSTER KEYSLOT {key}")])
            .remove(0);
        let slot: usize = slot.parse().unwrap();
        (
            slot,
            &servers[[5461, 10923, 16384]
                .iter()
                .position(|end| slot < *end)
                .unwrap()],
        )
    };
    let set = |command: &str| {
        let key = command.split(' ').nth(1).unwrap();
        let said = of(key).1.run(&[command]).remove(0);
        assert!(!said.contains("MOVED"), "{command}: {said}");
    };
    for n in 0..60 {
        set(&format!("SET cart:{}:{n} x", n % 3));
    }
    for command in [
        "SET session:1 x",
        "SET {session:2}:a x",
        "SADD online 1 2",
        "ZADD scores 5 1",
        "HSET names 1 taro",
        "XADD log 1-1 user 1 what x",
        "XADD log 1-2 user 2 what x",
    ] {
        set(command);
    }
    let folder = tempfile::tempdir().unwrap();
    // Whichever of them is named.
    let system = in_cluster(&servers[2], folder.path());
    let people = [
        person(vec![
            key("session:1"),
            between("cart:1:"),
            member("online", "1", None),
            member("scores", "1", None),
            member("names", "1", None),
            member("log", "1", Some("user")),
            member("nowhere", "1", None),
        ]),
        person(vec![key("{session:2}:a"), between("cart:2:")]),
    ];
    blocking(async {
        system.check().await.unwrap();
        let found = system.find("any", &people).await.unwrap();
        assert_eq!(counts(&found), [25, 21]);
        let erased = system.erase("any", &people, &found).await.unwrap();
        assert_eq!(erased, vec![Erased::Gone; 2]);
        let left = system.probe("any", &people, &found).await.unwrap();
        assert_eq!(counts(&left), [0, 0]);
        let copies = system.copies().await.unwrap();
        assert!(copies.contains("no append-only file"), "{copies}");
    });
    let left: usize = servers.iter().map(|server| server.keys().len()).sum();
    assert_eq!(left, 22, "the carts of 0, who is online and the log");
    assert_eq!(of("log").1.run(&["XLEN log"]), ["1"]);

    // A slot on its way: its key is at the new server already, the old one says where.
    let (slot, from) = of("session:1");
    let to = servers
        .iter()
        .find(|server| server.port() != from.port())
        .unwrap();
    let id = |server: &Redis| server.run(&["CLUSTER MYID"]).remove(0);
    to.run(&[&format!("CLUSTER SETSLOT {slot} IMPORTING {}", id(from))]);
    from.run(&[&format!("CLUSTER SETSLOT {slot} MIGRATING {}", id(to))]);
    assert_eq!(to.run(&["ASKING", "SET session:1 x"]), ["OK", "OK"]);
    let one = || vec![key("session:1")];
    assert_eq!(find(&system, one()).unwrap(), 1);
    let failed = find(&system, vec![between("cart:0:")]).unwrap_err();
    assert!(
        failed.transient && failed.problem.contains("being moved"),
        "{failed}"
    );
    blocking(async {
        let people = [person(one())];
        let found = system.find("any", &people).await.unwrap();
        system.erase("any", &people, &found).await.unwrap();
    });
    assert_eq!(to.run(&["ASKING", "EXISTS session:1"]), ["OK", "0"]);
    for server in [to, from] {
        server.run(&[&format!("CLUSTER SETSLOT {slot} NODE {}", id(to))]);
    }
    wait_until("the slot to have moved", Duration::from_secs(30), || {
        find(&system, vec![key("session:1"), between("cart:0:")]) == Ok(20)
    });
    // Each slot must be with the same server by everybody's word, before names are gone through.
    let none = |slot: &u16| {
        let count = format!("CLUSTER COUNTKEYSINSLOT {slot}");
        servers[0].run(&[&count]) == ["0"]
    };
    let empty = (0..5461).find(none).unwrap();
    let with = |server: &Redis| {
        let so = format!("CLUSTER SETSLOT {empty} NODE {}", id(server));
        assert_eq!(servers[0].run(&[&so]), ["OK"]);
    };
    with(&servers[1]);
    let failed = find(&system, vec![between("cart:0:")]).unwrap_err();
    assert!(
        failed.transient && failed.problem.contains("being moved"),
        "{failed}"
    );
    with(&servers[0]);
    assert_eq!(find(&system, vec![between("cart:0:")]), Ok(20));
    // One that is not told that it is one of many.
    let alone = self::system(&format!("url = {:?}", servers[0].url()));
    let failed = find(&alone, (0..20).map(|n| key(&format!("k{n}"))).collect()).unwrap_err();
    assert!(
        !failed.transient && failed.problem.contains("cluster = true"),
        "{failed}"
    );
}

/// A server that says of itself it is a cluster, and answers this to every question about a key.
fn redirects(answer: String) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let answer = answer.replace("SELF", &port.to_string());
            std::thread::spawn(move || {
                let mut reader = BufReader::new(&stream);
                while let Some(words) = question(&mut reader) {
                    let said = match words.join(" ").as_str() {
                        "CLUSTER SLOTS" => {
                            format!("*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n$0\r\n\r\n:{port}\r\n")
                        }
                        "ROLE" => "*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n".into(),
                        asked if asked.starts_with("EXISTS") => answer.clone(),
                        _ => "+OK\r\n".into(),
                    };
                    (&stream).write_all(said.as_bytes()).unwrap();
                }
            });
        }
    });
    port
}

fn question(reader: &mut impl BufRead) -> Option<Vec<String>> {
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let count: usize = line.trim_end().strip_prefix('*')?.parse().ok()?;
    let mut words = Vec::new();
    for _ in 0..count {
        let mut length = String::new();
        reader.read_line(&mut length).ok()?;
        let length: usize = length.trim_end().strip_prefix('$')?.parse().ok()?;
        let mut word = vec![0; length + 2];
        reader.read_exact(&mut word).ok()?;
        words.push(String::from_utf8(word[..length].to_vec()).ok()?);
    }
    Some(words)
}

/// Who sends us to a stranger, or in a circle, is not followed.
#[test]
fn a_redirection_leads_to_nobody_else() {
    let stranger = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = stranger.local_addr().unwrap().port();
    let met = Arc::new(AtomicUsize::new(0));
    let counted = met.clone();
    std::thread::spawn(move || {
        for _ in stranger.incoming() {
            counted.fetch_add(1, Ordering::SeqCst);
        }
    });
    for answer in [
        format!("-MOVED 1 127.0.0.1:{port}\r\n"),
        format!("-ASK 1 127.0.0.1:{port}\r\n"),
        "-MOVED 1 evil.example:6379\r\n".into(),
        "-MOVED taro\r\n".into(),
        "-MOVED 1 :SELF\r\n".into(),
    ] {
        let at = redirects(answer.clone());
        let system = system(&format!("url = \"redis://127.0.0.1:{at}\"\ncluster = true"));
        let failed = find(&system, vec![key("taro")]).unwrap_err();
        assert!(
            failed.transient && failed.problem.contains("being moved"),
            "{answer}: {failed}"
        );
        assert!(!failed.problem.contains("taro"), "{failed}");
    }
    assert_eq!(met.load(Ordering::SeqCst), 0);
}

/// An authority, and the certificate and key of a server of this name in three files.
fn authority(folder: &Path, name: &str) -> [String; 3] {
    let mut params = rcgen::CertificateParams::new(Vec::<String>::new()).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let key = rcgen::KeyPair::generate().unwrap();
    let authority = params.self_signed(&key).unwrap();
    let issuer = rcgen::Issuer::new(params, key);
    let server_key = rcgen::KeyPair::generate().unwrap();
    let server = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
    let server = server.signed_by(&server_key, &issuer).unwrap();
    [
        ("ca", authority.pem()),
        ("crt", server.pem()),
        ("key", server_key.serialize_pem()),
    ]
    .map(|(file, pem)| {
        let path = folder.join(file);
        std::fs::write(&path, pem).unwrap();
        path.to_str().unwrap().to_owned()
    })
}

#[test]
fn only_whom_the_authority_vouches_for_is_asked() {
    let (ours, others) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let [ca, crt, private] = authority(ours.path(), "localhost");
    let [other_ca, ..] = authority(others.path(), "localhost");
    let tls_port = free_port().to_string();
    let redis = Redis::start_with(
        &[
            "--tls-port",
            &tls_port,
            "--tls-cert-file",
            &crt,
            "--tls-key-file",
            &private,
            "--tls-ca-cert-file",
            &ca,
            "--tls-auth-clients",
            "no",
        ],
        None,
    );
    redis.run(&["SET session:1 x"]);
    let at = |scheme: &str, host: &str, ca: &str| {
        let ca = match ca {
            "" => String::new(),
            ca => format!("ca_file = {ca:?}"),
        };
        let system = system(&format!("url = \"{scheme}://{host}:{tls_port}\"\n{ca}"));
        find(&system, vec![key("session:1")])
    };
    assert_eq!(at("rediss", "localhost", &ca), Ok(1));
    for (host, ca) in [
        ("localhost", other_ca.as_str()),
        ("127.0.0.1", &ca),
        ("localhost", ""),
    ] {
        let failed = at("rediss", host, ca).unwrap_err();
        assert!(
            failed.transient && failed.problem.contains("TLS"),
            "{host}: {failed}"
        );
    }
    let failed = at("rediss", "localhost", "/nonexistent/ca").unwrap_err();
    assert!(failed.problem.contains("ca_file"), "{failed}");
    assert!(
        at("redis", "localhost", "").unwrap_err().transient,
        "TLS is not gone without"
    );
}

/// More entries than one step reads; only the named field says whose an entry is.
#[test]
fn entries_of_a_stream_are_known_by_a_field() {
    let redis = Redis::start();
    let mut fill: Vec<String> = (1..=2500)
        .map(|n| format!("XADD log {n}-0 user M-{} count 42 what seen", n % 50))
        .collect();
    fill.extend([
        "XADD log 2501-0 other M-7".into(),
        "XADD log 2502-0 user M-70".into(),
        "XADD log 2503-0 user x user M-7".into(),
        "XGROUP CREATE log readers 0".into(),
        "XREADGROUP GROUP readers one COUNT 100 STREAMS log >".into(),
        "SADD online M-7".into(),
    ]);
    let fill: Vec<&str> = fill.iter().map(String::as_str).collect();
    redis.run(&fill);
    let system = system(&format!("url = {:?}", redis.url()));
    let of = |who: &str| vec![member("log", who, Some("user"))];
    let people = ["M-7", "M-8", "M-999", "42"].map(|who| person(of(who)));
    blocking(async {
        let found = system.find("any", &people).await.unwrap();
        assert_eq!(counts(&found), [51, 50, 0, 0]);
        system.erase("any", &people, &found).await.unwrap();
        assert_eq!(redis.run(&["XLEN log"]), ["2402"]);
        assert_eq!(
            counts(&system.probe("any", &people, &found).await.unwrap()),
            [0; 4]
        );
        // Again it is no failure; an entry that somebody adds again under its id is seen by that.
        system.erase("any", &people, &found).await.unwrap();
        redis.run(&["DEL log", "XADD log 7-0 user x"]);
        let nobody = [person(vec![])];
        let probed = system.probe("any", &nobody, &found[..1]).await.unwrap();
        assert_eq!(counts(&probed), [1]);
    });
    for (of, field) in [("log", None), ("online", Some("user"))] {
        let failed = find(&system, vec![member(of, "M-7", field)]).unwrap_err();
        assert!(
            !failed.transient && !failed.problem.contains("M-7"),
            "{failed}"
        );
    }
}
