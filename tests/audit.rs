//! A certificate is believed by this program, by OpenSSL and by plain Python, with the recipes
//! exactly as `docs/audit.md` prints them; a changed byte is believed by none.

#![allow(clippy::unwrap_used)] // a test may

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, NaiveDate, Utc};
use erasured::certificate::show::{self, Lang};
use erasured::certificate::*;
use erasured::keys::{KeyRing, PublicKey, SigningKey};
use erasured::ledger::Hash;
use erasured::policy::Level;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use uuid::Uuid;

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn table(name: &str, counts: [u64; 3]) -> Table {
    let [deleted, anonymized, detached] = counts;
    Table {
        table: name.into(),
        deleted,
        pieces: 0,
        anonymized,
        detached,
        large_objects: 0,
        kept: vec![],
        exempt: None,
    }
}

fn sample() -> Certificate {
    let until = NaiveDate::from_ymd_opt(2032, 3, 31).unwrap();
    let mut invoice = table("public.invoice", [0, 0, 0]);
    invoice.kept = vec![Kept {
        rows: 3,
        basis: "jp-ctax-7".into(),
        citation: Some("消費税法第30条第7項、同施行令第50条".into()),
        until: Some(until),
    }];
    let mut line = table("public.invoice_line", [0, 0, 0]);
    line.kept = vec![Kept {
        rows: 7,
        basis: "jp-ctax-7".into(),
        citation: None,
        until: None,
    }];
    let mut currency = table("public.currency", [0, 0, 0]);
    currency.exempt = Some("master data, no person in it".into());
    let long =
        "archive_of_the_former_reservation_system.\"passenger name <b>records</b> & 予約者情報\"";
    let tables = vec![
        table("public.newsletter_subscription", [2, 0, 0]),
        table("public.campaign_click", [1_284, 0, 0]),
        table(long, [12, 0, 0]),
        table("public.booking", [0, 5, 0]),
        table("public.companion", [0, 0, 2]),
        invoice,
        line,
        currency,
        table("public.customer", [1, 0, 0]),
    ];
    let read = tables
        .iter()
        .map(|t| TableRead {
            table: t.table.clone(),
            read_at: at("2025-11-24T04:05:30.5Z"),
        })
        .collect();
    let hash = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
    Certificate {
        format: FORMAT,
        id: Uuid::from_u128(0x0193_5a2e_7c11_7a01_9c3e_1f2e_3d4c_5b6a),
        issued_at: at("2025-11-24T04:05:41.002113Z"),
        supplements: None,
        ticket: Ticket {
            id: Uuid::from_u128(0x0193_4f00_0000_7000_8000_0000_0000_0042),
            reference: "CC-2025-104233".into(),
            subject: "customer".into(),
            scope: "account".into(),
            covers: None,
            refused: Vec::new(),
            ground: "jp-appi-35".into(),
            requested_at: at("2025-11-20T01:15:00Z"),
            due_at: Some(at("2025-12-04T01:15:00Z")),
            not_before: Some(at("2025-11-23T01:15:00Z")),
            started_at: at("2025-11-24T04:05:02Z"),
            finished_at: at("2025-11-24T04:05:40Z"),
            sla_profile: "jp-appi".into(),
            sla_met: Some(true),
            when_due: WhenDue::Late,
        },
        subject_hash: hash.into(),
        identifiers: ["member_no", "email", "phone"]
            .map(|kind| IdentifierHash {
                kind: kind.into(),
                hash: hash.into(),
            })
            .to_vec(),
        policy: Policy {
            file: "policies/travel/customer.toml".into(),
            sha256: hash.into(),
            subject: "customer".into(),
        },
        places: Vec::new(),
        systems: vec![
            System {
                system: "shop".into(),
                server_version: "PostgreSQL 15.18 (Debian 15.18-1.pgdg12+1)".into(),
                catalog_fingerprint: hash.into(),
                committed_at: at("2025-11-24T04:05:03.25Z"),
                subscribers: Vec::new(),
                tables,
                probes: Probes {
                    by_query: 7,
                    by_foreign_key: 2,
                },
            },
            System {
                system: "loyalty".into(),
                server_version: "PostgreSQL 15.18 (Debian 15.18-1.pgdg12+1)".into(),
                catalog_fingerprint: hash.into(),
                committed_at: at("2025-11-24T04:05:03.5Z"),
                subscribers: vec!["analytics".into()],
                tables: vec![
                    table("public.point_entry", [41, 0, 0]),
                    table("public.member", [1, 0, 0]),
                ],
                probes: Probes {
                    by_query: 2,
                    by_foreign_key: 1,
                },
            },
        ],
        sweep: vec![Sweep {
            system: "shop".into(),
            read_from: ReadFrom::Standby,
            columns: 118,
            rows: 301_422,
            bytes: 48_113_664,
            first_read_at: at("2025-11-24T04:05:30.5Z"),
            last_read_at: at("2025-11-24T04:05:39Z"),
            identifiers: vec!["member_no".into(), "email".into(), "phone".into()],
            tables: read,
            exempt: vec![ExemptColumn {
                table: "public.call_note".into(),
                column: "audio_fingerprint".into(),
                reason: "a hash of sound, no text in it".into(),
            }],
            not_covered: vec![NotCovered {
                table: "public.partner_feed".into(),
                reason: "foreign table: its server is not registered".into(),
            }],
        }],
        identity: Identity {
            method: "call-back to the registered number and two points of knowledge".into(),
            level: Level::ReasonablyHigh,
            required_level: Level::ReasonablyHigh,
            verified_by_role: "desk".into(),
            approved_by_role: Some("dpo".into()),
            four_eyes: true,
        },
        deferrals: vec![Deferral {
            system: "shop".into(),
            table: "public.invoice".into(),
            rows: 3,
            basis: "jp-ctax-7".into(),
            until,
        }],
        assurance: Assurance {
            level: AssuranceLevel::Logical,
            reached_at: at("2025-11-24T04:05:40Z"),
        },
        program: Program {
            name: "erasured".into(),
            version: "0.1.0".into(),
        },
        ledger: LedgerPosition {
            height: 1_842,
            head: Hash::new([0x5a; 32]),
        },
    }
}

fn key() -> SigningKey {
    SigningKey::from_seed(&[7; 32])
}

fn ring() -> KeyRing {
    KeyRing::from_iter([key().public()])
}

/// The code block of `docs/audit.md` with that word behind its language.
fn recipe(name: &str) -> String {
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/audit.md")).unwrap();
    let (_, after) = page.split_once(&format!(" {name}\n")).unwrap();
    after.split_once("\n```").unwrap().0.to_owned() + "\n"
}

/// What a recipe prints for a certificate, if it believes it.
fn run(program: &str, script: &Path, jws: &str, folder: &Path) -> Option<String> {
    let file = folder.join("certificate.jws");
    fs::write(&file, jws).unwrap();
    let out = Command::new(program)
        .arg(script)
        .args([&file, &folder.join("public.pem")])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let complaint = String::from_utf8_lossy(&out.stderr);
    assert!(
        out.status.success() || complaint.contains("NOT GENUINE"),
        "{program}: {complaint}"
    );
    out.status
        .success()
        .then(|| String::from_utf8(out.stdout).unwrap())
}

/// One byte changed in each part: its first, one within, its last.
fn forgeries(jws: &str) -> Vec<String> {
    let ends: Vec<usize> = jws.match_indices('.').map(|(at, _)| at).collect();
    let parts = [0..ends[0], ends[0] + 1..ends[1], ends[1] + 1..jws.len()];
    let places = parts
        .iter()
        .flat_map(|part| [part.start, (part.start + part.end) / 2, part.end - 1]);
    places.map(|at| changed(jws, at)).collect()
}

/// The next character of the alphabet: the last place of a part then differs in bits that a
/// careless decoder throws away.
fn changed(jws: &str, at: usize) -> String {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut bytes = jws.as_bytes().to_vec();
    bytes[at] = match alphabet.iter().position(|c| *c == bytes[at]) {
        Some(place) => alphabet[place ^ 1],
        None => b'A',
    };
    String::from_utf8(bytes).unwrap()
}

fn recipe_holds(program: &str, name: &str) {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join(name);
    fs::write(&script, recipe(name)).unwrap();
    fs::write(folder.path().join("public.pem"), key().public().to_pem()).unwrap();
    let certificate = sample();
    let jws = sign(&certificate, &key());

    for genuine in [jws.clone(), format!("{jws}\n")] {
        let printed = run(program, &script, &genuine, folder.path()).expect("genuine");
        assert_eq!(
            serde_json::from_str::<Certificate>(&printed).unwrap(),
            certificate
        );
    }
    for forged in forgeries(&jws) {
        assert_ne!(forged, jws);
        assert_eq!(
            run(program, &script, &forged, folder.path()),
            None,
            "{forged}"
        );
    }
    let other = sign(&certificate, &SigningKey::from_seed(&[8; 32]));
    for bad in [
        other.as_str(),
        "",
        "a.b",
        &jws[..jws.len() - 1],
        &format!("{jws}."),
    ] {
        assert_eq!(run(program, &script, bad, folder.path()), None, "{bad}");
    }
}

#[test]
fn the_recipe_with_openssl_believes_the_genuine_only() {
    recipe_holds("sh", "verify-openssl");
}

#[test]
fn the_recipe_with_python_believes_the_genuine_only() {
    recipe_holds("python3", "verify-python");
}

#[test]
fn every_changed_byte_is_refused() {
    let jws = sign(&sample(), &key());
    assert_eq!(verify(&jws, &ring()).unwrap(), sample());
    assert_eq!(verify(&format!("{jws}\n"), &ring()).unwrap(), sample());
    for at in 0..jws.len() {
        assert!(verify(&changed(&jws, at), &ring()).is_err(), "byte {at}");
        assert!(verify(&jws[..at], &ring()).is_err(), "cut at {at}");
    }
}

#[test]
fn what_is_signed_is_always_the_same_text() {
    let jws = sign(&sample(), &key());
    assert_eq!(jws, sign(&sample(), &key()));
    let header = URL_SAFE_NO_PAD
        .decode(jws.split('.').next().unwrap())
        .unwrap();
    assert_eq!(
        String::from_utf8(header).unwrap(),
        format!(
            r#"{{"alg":"EdDSA","kid":"{}","typ":"erasured-certificate+json"}}"#,
            key().id()
        )
    );
}

/// Signs any header and payload as the key's owner could.
fn signed(header: &str, payload: &str) -> String {
    let input = [header, payload]
        .map(|p| URL_SAFE_NO_PAD.encode(p))
        .join(".");
    let signature = URL_SAFE_NO_PAD.encode(key().sign(input.as_bytes()));
    format!("{input}.{signature}")
}

#[test]
fn only_our_header_and_our_format_are_taken() {
    let kid = key().id();
    let payload = serde_json::to_string(&sample()).unwrap();
    let typ = "erasured-certificate+json";
    let good = format!(r#"{{"alg":"EdDSA","kid":"{kid}","typ":"{typ}"}}"#);
    assert!(verify(&signed(&good, &payload), &ring()).is_ok());
    for header in [
        format!(r#"{{"alg":"none","kid":"{kid}","typ":"{typ}"}}"#),
        format!(r#"{{"alg":"HS256","kid":"{kid}","typ":"{typ}"}}"#),
        format!(r#"{{"alg":"EdDSA","kid":"{kid}","typ":"JWT"}}"#),
        format!(r#"{{"alg":"EdDSA","kid":"{kid}"}}"#),
        format!(r#"{{"alg":"EdDSA","kid":"{kid}","typ":"{typ}","crit":["exp"]}}"#),
        format!(r#"{{"alg":"EdDSA","alg":"EdDSA","kid":"{kid}","typ":"{typ}"}}"#),
    ] {
        assert_eq!(
            verify(&signed(&header, &payload), &ring()).unwrap_err(),
            NotGenuine::Header,
            "{header}"
        );
    }
    let newer = payload.replacen(r#""format":1"#, r#""format":2,"more":true"#, 1);
    assert_eq!(
        verify(&signed(&good, &newer), &ring()).unwrap_err(),
        NotGenuine::Format { found: 2 }
    );
    let more = payload.replacen(r#""format":1"#, r#""format":1,"name":"x""#, 1);
    assert!(matches!(
        verify(&signed(&good, &more), &ring()).unwrap_err(),
        NotGenuine::Content(_)
    ));
}

#[test]
fn certificates_of_a_retired_key_stay_verifiable_while_it_is_known() {
    let (old, new) = (key(), SigningKey::from_seed(&[8; 32]));
    let jws = sign(&sample(), &old);
    let after = KeyRing::from_iter([new.public(), old.public()]);
    assert!(verify(&jws, &after).is_ok());
    let forgotten = KeyRing::from_iter([new.public()]);
    let refused = verify(&jws, &forgotten).unwrap_err();
    let expected = NotGenuine::UnknownKey {
        kid: old.id().to_string(),
        known: new.id().to_string(),
    };
    assert_eq!(refused, expected);
}

#[test]
fn openssl_and_erasured_read_each_others_keys() {
    let folder = tempfile::tempdir().unwrap();
    let openssl = |args: &[&str]| {
        let out = Command::new("openssl")
            .args(args)
            .current_dir(folder.path())
            .output()
            .unwrap();
        assert!(
            out.status.success(),
            "{}",
            String::from_utf8_lossy(&out.stderr)
        );
        String::from_utf8(out.stdout).unwrap()
    };
    fs::write(folder.path().join("ours.pem"), key().to_pem().as_bytes()).unwrap();
    let public = openssl(&["pkey", "-in", "ours.pem", "-pubout"]);
    assert_eq!(public, key().public().to_pem());
    let theirs = openssl(&["genpkey", "-algorithm", "ed25519"]);
    fs::write(folder.path().join("theirs.pem"), &theirs).unwrap();
    let public = openssl(&["pkey", "-in", "theirs.pem", "-pubout"]);
    assert_eq!(
        SigningKey::from_pem(&theirs).unwrap().public(),
        PublicKey::from_pem(&public).unwrap()
    );
}

#[test]
fn the_page_stands_alone_and_escapes_what_it_shows() {
    let mut certificate = sample();
    certificate.ticket.reference = "<script>alert('1')</script>\u{1b}[31m\u{202e}x".into();
    let jws = sign(&certificate, &key());
    let id = key().id();
    let page = show::html(&certificate, &jws, Some(&id));
    for unwanted in [
        "<script",
        "<b>records",
        "http:",
        "https:",
        "url(",
        "@import",
        "\u{1b}",
        "\u{202e}",
        "src=",
    ] {
        assert!(!page.contains(unwanted), "{unwanted}");
    }
    for wanted in [
        "&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;\\u{1b}[31m\\u{202e}x",
        "&lt;b&gt;records&lt;/b&gt; &amp; 予約者情報",
        "個人データ消去証明書",
        "Certificate of Erasure",
        "1,341",
        "2032-03-31",
        &jws,
        id.as_str(),
    ] {
        assert!(page.contains(wanted), "{wanted}");
    }
    assert!(show::html(&certificate, &jws, None).contains("seal unverified"));
    // A way to look at it: ERASURED_PAGE=/tmp/page.html cargo test --test audit
    if let Some(file) = std::env::var_os("ERASURED_PAGE") {
        let jws = sign(&sample(), &key());
        fs::write(file, show::html(&sample(), &jws, Some(&id))).unwrap();
    }
}

#[test]
fn the_text_is_aligned_and_obeys_no_escape() {
    let mut certificate = sample();
    certificate.ticket.reference = "\u{1b}[2J".into();
    for lang in [Lang::Ja, Lang::En] {
        let text = show::text(&certificate, lang);
        assert!(text.contains("\\u{1b}[2J") && !text.contains('\u{1b}'));
        assert!(text.contains("public.partner_feed: foreign table"));
        assert!(text.contains("2032-03-31"));
        assert!(text.lines().all(|line| line.trim_end() == line));
        if std::env::var_os("ERASURED_PAGE").is_some() {
            println!("{text}");
        }
    }
    let text = show::text(&certificate, Lang::En);
    let ends = |name: &str| {
        let line = text.lines().find(|l| l.contains(name) && !l.contains(':'));
        line.unwrap().chars().count()
    };
    assert_eq!(ends("public.customer"), ends("public.booking"));
}

/// Large objects that went with their rows are said where there were any, and nowhere else: a
/// certificate of before such objects were removed reads as it did.
#[test]
fn removed_large_objects_are_said() {
    let mut certificate = sample();
    let without = serde_json::to_string(&certificate).unwrap();
    assert!(!without.contains("large_objects"));
    assert!(!show::text(&certificate, Lang::En).contains("Large objects"));
    let booking = |t: &&mut Table| t.table == "public.booking";
    let mut tables = certificate.systems.iter_mut().flat_map(|s| &mut s.tables);
    tables.find(booking).unwrap().large_objects = 1_200;
    let text = show::text(&certificate, Lang::En);
    assert!(
        text.contains("  public.booking: Large objects removed: 1,200\n"),
        "{text}"
    );
    assert!(show::text(&certificate, Lang::Ja).contains("ラージオブジェクト: 1,200"));
    let jws = sign(&certificate, &key());
    let page = show::html(&certificate, &jws, None);
    assert!(page.contains("Large objects removed") && page.contains(": 1,200</small>"));
    let again: Certificate =
        serde_json::from_str(&serde_json::to_string(&certificate).unwrap()).unwrap();
    assert_eq!(again, certificate);
}
