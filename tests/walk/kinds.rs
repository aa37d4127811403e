//! A ticket over systems that are no databases: Redis, memcached, a bucket that speaks S3, and a program. A service over
//! HTTP is walked with the tickets over two databases; Azure's and Google's stores are not walked.

use super::bucket::Moto;
use super::company::Running;
use super::shop::{Company, POLICY};
use super::support::{Memcached, Redis};
use super::walked::{Boundary, Doomed, Side, Walked, one_in};
use super::wire::{self, Wire};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::time::Duration;

/// So often one company is killed; then comes another.
const DEATHS: usize = 20;
const PEOPLE: [u32; 2] = [1, 2];
const ALL: std::ops::RangeInclusive<u32> = 1..=12;

const PLACES: &str = r#"
[[place]]
system  = "cache"
name    = "sessions"
keys    = ["session:{member_no}", "cart:{member_no}:*"]
members = ["{member_no}"]
in      = "online"
[[place]]
system = "tags"
name   = "tags"
keys   = ["tag:{member_no}"]
[[place]]
system = "files"
name   = "avatars"
prefix = ["avatars/{member_no}/"]
"#;

/// How many things of each person lie where, as certificates count them.
const EACH: [(&str, u64); 4] = [("cache", 4), ("files", 4), ("newsletter", 2), ("tags", 1)];

#[test]
fn whatever_request_is_its_last_each_kind_of_system_is_erased_from_once() {
    let walked = Walked::default();
    let moto = Moto::start();
    let mut survived = 0;
    for bucket in 0.. {
        let deaths = die(&walked, &moto, &format!("bucket-{bucket}"));
        survived += deaths;
        if deaths == 0 {
            break;
        }
    }
    let found = walked.by_server();
    println!(
        "{survived} boundaries of systems that are no databases walked and survived: {found:?}"
    );
    assert_eq!(survived, found.values().sum::<usize>());
    assert!(survived > 0);
    for (kind, _) in EACH.into_iter().filter(|_| one_in() == 1) {
        assert!(found.get(kind).is_some_and(|n| *n > 0), "{found:?}");
    }
}

fn die(walked: &Walked, moto: &Moto, bucket: &str) -> usize {
    let doomed = Doomed::new(walked);
    let (redis, memcached) = (Redis::start(), Memcached::start());
    fill(&redis, &memcached, moto, bucket);
    let wires = [
        Wire::open("cache", redis.port(), wire::redis, &doomed),
        Wire::open("tags", memcached.port(), wire::memcached, &doomed),
        Wire::open("files", moto.port, wire::s3, &doomed),
    ];
    let [cache, tags, files] = wires.each_ref().map(Wire::port);
    let secret = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(secret.path(), "secret\n").unwrap();
    let secret = secret.path().display();
    let company = Company::beside(
        &format!("{POLICY}{PLACES}"),
        &format!(
            "[system.cache]\nkind = \"redis\"\nurl = \"redis://127.0.0.1:{cache}/0\"\n\n\
             [system.tags]\nkind = \"memcached\"\naddress = \"127.0.0.1:{tags}\"\n\n\
             [system.files]\nkind = \"object-store\"\nurl = \"http://127.0.0.1:{files}\"\nbucket = \"{bucket}\"\nregion = \"us-east-1\"\n\
             access_key = {{ file = \"{secret}\" }}\nsecret_key = {{ file = \"{secret}\" }}\n"
        ),
    );
    let gate = gate(&doomed);
    let path = company.workspace.config();
    let settings = std::fs::read_to_string(&path).unwrap();
    let direct = format!("command = {:?}", company.list.command());
    assert!(settings.contains(&direct));
    let words = company.list.command();
    let script = company.list.folder().join("gate.py");
    std::fs::write(&script, GATE).unwrap();
    let mut through = vec!["/usr/bin/python3".to_owned(), script.display().to_string()];
    through.push(gate.to_string());
    through.extend(words);
    let settings = settings
        .replace(&direct, &format!("command = {through:?}"))
        .replace("attempts = 3", "attempts = 100");
    std::fs::write(&path, settings).unwrap();
    company.file(&PEOPLE, "account");
    for deaths in 0.. {
        let start = || Running::start(&company.workspace, &["run", "--until-idle"], "");
        let daemon = doomed.starts(deaths == DEATHS, start);
        let (status, log) = daemon.end(Duration::from_secs(120));
        match doomed.died() {
            Some(boundary) => {
                assert_eq!(status.code(), None, "{boundary}\n{log}");
                println!("{boundary}");
            }
            None => {
                assert_eq!(status.code(), Some(0), "{log}");
                is_whole(&company, (&redis, &memcached, moto, bucket), &log);
                return deaths;
            }
        }
        // Nobody waits here for what only time does.
        let over = "UPDATE erasured.lease SET until = now() - interval '1 second'; \
                    UPDATE erasured.sweep SET lease_until = now() - interval '1 second' WHERE finished_at IS NULL";
        company.server.execute(&company.control, over);
    }
    unreachable!("it is spared in the end")
}

type Kinds<'k> = (&'k Redis, &'k Memcached, &'k Moto, &'k str);

fn fill(redis: &Redis, memcached: &Memcached, moto: &Moto, bucket: &str) {
    moto.well("PUT", &format!("/{bucket}"), "", "");
    let versions = "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
    moto.well("PUT", &format!("/{bucket}?versioning"), "", versions);
    for n in ALL {
        let commands = [
            format!("SET session:M-{n} x"),
            format!("SET cart:M-{n}:1 x"),
            format!("SET cart:M-{n}:2 x"),
            format!("SADD online M-{n}"),
        ];
        redis.run(&commands.each_ref().map(String::as_str));
        memcached.set(&[&format!("tag:M-{n}")]);
        // Two versions and a deletion marker, and one more.
        let of = |name: &str| format!("/{bucket}/avatars/M-{n}/{name}");
        moto.put(&of("a.png"));
        moto.put(&of("a.png"));
        moto.well("DELETE", &of("a.png"), "", "");
        moto.put(&of("b.png"));
    }
}

/// All of these people's is gone and was counted once, and all of the others' is there.
fn is_whole(company: &Company, (redis, memcached, moto, bucket): Kinds<'_>, log: &str) {
    assert_eq!(
        company.states(),
        ["account-1 completed", "account-2 completed"],
        "{log}"
    );
    let others: Vec<u32> = ALL.filter(|n| !PEOPLE.contains(n)).collect();
    let mut keys: Vec<String> = others
        .iter()
        .flat_map(|n| {
            [
                format!("session:M-{n}"),
                format!("cart:M-{n}:1"),
                format!("cart:M-{n}:2"),
            ]
        })
        .chain(["online".to_owned()])
        .collect();
    let mut left = redis.keys();
    left.sort();
    keys.sort();
    assert_eq!(left, keys);
    assert_eq!(redis.run(&["SCARD online"]), [others.len().to_string()]);
    for n in ALL {
        let there = memcached.has(&format!("tag:M-{n}"));
        assert_eq!(there, others.contains(&n), "tag of {n}");
    }
    let versions = moto.versions(bucket);
    assert_eq!(versions.len(), others.len() * 4);
    assert!(PEOPLE.iter().all(|n| {
        let theirs = format!("avatars/M-{n}/");
        versions.iter().all(|key| !key.starts_with(&theirs))
    }));
    assert_eq!(company.list.left(), Company::without(&PEOPLE));
    for n in PEOPLE {
        let certificate = company.certificate(&format!("account-{n}"));
        let places = certificate.places.iter();
        let mut counts: Vec<(&str, u64)> = places
            .map(|p| (p.system.as_str(), p.found.iter().map(|f| f.erased).sum()))
            .collect();
        counts.sort_unstable();
        assert_eq!(counts, EACH, "{log}");
    }
    company.keeps_nothing();
}

/// Asks before and behind the program that it runs whether it may go on.
const GATE: &str = r#"
import socket, subprocess, sys
asked = sys.stdin.read()
what = asked.split('"do":')[1].split('"')[1]
def passes(side):
    with socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as gate:
        gate.sendall(f"{side} {what}\n".encode())
        if gate.makefile().readline() != "go\n":
            sys.exit(75)
passes("before")
done = subprocess.run(sys.argv[2:], input=asked.encode(), stdout=subprocess.PIPE)
passes("after")
sys.stdout.buffer.write(done.stdout)
sys.exit(done.returncode)
"#;

/// Where that is asked.
fn gate(doomed: &Doomed) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let doomed = doomed.clone();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut line = String::new();
            BufReader::new(&stream).read_line(&mut line).ok();
            let (side, what) = line.trim_end().split_once(' ').unwrap_or_default();
            let boundary = Boundary {
                server: "newsletter".into(),
                behind: "anything".into(),
                request: what.to_owned(),
                side: if side == "before" {
                    Side::Before
                } else {
                    Side::After
                },
            };
            if !doomed.reaches(&boundary) {
                stream.write_all(b"go\n").ok();
            }
        }
    });
    port
}
