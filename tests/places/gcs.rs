//! The adapter of Google's buckets: against an emulator, and, of what it does not know, against what
//! Google's documentation says.

use crate::company::{Company, POLICY};
use crate::gcs_documented::{Bucket, Documented, Object, object, old, upload};
use crate::gcs_emulator::Emulator;
use crate::object_store::{between, erase, failed, find, key, person, prefix, read, system};
use crate::service::{Service, json};
use crate::support::blocking;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use erasured::system::place::{Erased, System};
use serde_json::json;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use tempfile::TempDir;

const EMAIL: &str = "eraser@project.iam.gserviceaccount.com";

fn openssl(arguments: &[&str]) -> String {
    let mut command = Command::new("openssl");
    let output = command.args(arguments).stderr(Stdio::null()).output();
    let output = output.unwrap();
    assert!(output.status.success(), "openssl {arguments:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// A service account's key, as Google gives it out; made once.
fn account() -> &'static str {
    static ACCOUNT: OnceLock<String> = OnceLock::new();
    ACCOUNT.get_or_init(|| {
        let bits = "rsa_keygen_bits:2048";
        let pem = openssl(&["genpkey", "-algorithm", "RSA", "-pkeyopt", bits]);
        with_key(&pem)
    })
}

fn with_key(pem: &str) -> String {
    json!({
        "type": "service_account",
        "client_email": EMAIL,
        "private_key": pem,
        "private_key_id": "k1",
        // Nobody is asked for a token, here neither.
        "token_uri": "http://127.0.0.1:1/token",
    })
    .to_string()
}

fn configured(port: u16, bucket: &str, account: &str) -> (String, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("account.json");
    std::fs::write(&file, account).unwrap();
    let keys = format!(
        "provider = \"gcs\"\nurl = \"http://127.0.0.1:{port}\"\nbucket = {bucket:?}\n\
         service_account = {{ file = {file:?} }}\n"
    );
    (keys, folder)
}

fn bucket(service: &Service, name: &str) -> (System, TempDir) {
    let (keys, folder) = configured(service.port, name, account());
    (system(&keys), folder)
}

#[test]
fn a_bucket_loses_one_persons_objects_and_no_others() {
    let emulator = Emulator::start("plain");
    let neighbours = [
        "avatars/12.png",
        "avatars/123/a",
        "avatars/12%20",
        "avatars/e%CC%81/a",
        "AVATARS/12/a",
        "letters/12-b.txt",
        "one/12.png.bak",
        "one/12.pn",
    ];
    for name in neighbours {
        emulator.put(name);
    }
    emulator.begin_upload("avatars/123/begun", "1");
    let before = emulator.names();
    for name in [
        "avatars/12/a",
        "avatars/12/%3Cb%3E%26%22%2B%25%20%2520%3F%23%20c",
        "avatars/12//deep/a",
        "avatars/12/%20ends%20in%20spaces%20",
        "avatars/%C3%A9/%E5%A4%AA%E9%83%8E",
        "letters/12-a.txt",
        "one/12.png",
    ] {
        emulator.put(name);
    }
    emulator.begin_upload("avatars/12/begun + <&%20>", "2");
    let (store, _key) = bucket(&emulator.front, "plain");
    blocking(async { store.check().await.unwrap() });
    let theirs = || {
        vec![
            prefix("avatars/12/"),
            prefix("avatars/\u{e9}/"),
            between("letters/12-", "a.txt"),
            key("one/12.png"),
            key("one/none"),
        ]
    };
    assert_eq!(erase(&store, theirs), (8, Erased::Gone, 0));
    assert_eq!(emulator.names(), before);
    // By default a bucket keeps what was deleted, and says so.
    assert_eq!(emulator.softly_deleted(), 7);
    let copies = blocking(async { store.copies().await }).unwrap();
    assert!(copies.contains("for 7 days"), "{copies}");
    assert!(copies.contains("Resumable"), "{copies}");
    let (nowhere, _key) = bucket(&emulator.front, "nowhere");
    failed(find(&nowhere, theirs()), true, "no bucket");
    drop(emulator);
}

#[test]
fn what_comes_back_is_found() {
    let emulator = Emulator::start("plain");
    emulator.put("avatars/12/a");
    emulator.put("avatars/12/b");
    let (store, _key) = bucket(&emulator.front, "plain");
    let people = person(vec![prefix("avatars/12/")]);
    let left = blocking(async {
        let found = store.find("pictures", &people).await.unwrap();
        store.erase("pictures", &people, &found).await.unwrap();
        emulator.put("avatars/12/b");
        store.probe("pictures", &people, &found).await.unwrap()
    });
    // By its listing, and by its name, for the emulator asks nobody for a generation.
    assert_eq!(left[0].len(), 2);
}

/// Deleting an object by its name makes it an old generation, with all its bytes.
#[test]
fn a_bucket_that_keeps_generations_keeps_none() {
    let gcs = Documented::start(Bucket {
        objects: vec![
            object("avatars/12/a", 3),
            old("avatars/12/a", 1),
            old("avatars/12/a", 2),
            old("avatars/12/deleted", 4),
            object("avatars/123/a", 5),
            old("avatars/123/a", 6),
        ],
        uploads: vec![
            upload("avatars/12/big", "a"),
            upload("avatars/12/big", "b"),
            upload("avatars/12/ other ", "c"),
            upload("avatars/123/big", "d"),
        ],
        ..Bucket::default()
    });
    let (store, _key) = bucket(&gcs.service, "files");
    let theirs = || vec![prefix("avatars/12/")];
    assert_eq!(erase(&store, theirs), (7, Erased::Gone, 0));
    assert_eq!(
        gcs.left(),
        ["avatars/123/a 5", "avatars/123/a 6", "avatars/123/big ud"]
    );
}

#[test]
fn what_is_locked_is_kept_and_said_so() {
    let until = |until: &str| json!({"retentionExpirationTime": until});
    for (more, reason) in [
        (json!({"temporaryHold": true}), "legal-hold"),
        (json!({"eventBasedHold": true}), "legal-hold"),
        (until("2099-01-01T00:00:00.000Z"), "object-lock"),
        (
            json!({"retention": {"mode": "Locked", "retainUntilTime": "2099-01-01T00:00:00Z"}}),
            "object-lock",
        ),
    ] {
        let kept = Object {
            more,
            ..old("avatars/12/a", 1)
        };
        let gcs = Documented::start(Bucket {
            objects: vec![kept, object("avatars/12/a", 2), object("avatars/12/b", 3)],
            ..Bucket::default()
        });
        let (store, _key) = bucket(&gcs.service, "files");
        let (_, erased, left) = erase(&store, || vec![prefix("avatars/12/")]);
        assert_eq!((erased, left), (Erased::Kept(reason.into()), 1));
        assert_eq!(gcs.left(), ["avatars/12/a 1"]);
    }
}

#[test]
fn a_refusal_that_is_no_lock_is_tried_again() {
    let over = json!({"retentionExpirationTime": "2015-01-01T00:00:00Z", "temporaryHold": false});
    for (refused, said) in [
        ("retentionPolicyNotMet", "retentionPolicyNotMet"),
        ("avatars/12 of taro", "no code"),
    ] {
        let gcs = Documented::start(Bucket {
            objects: vec![Object {
                refused: Some(refused),
                more: over.clone(),
                ..object("avatars/12/a", 1)
            }],
            ..Bucket::default()
        });
        let (store, _key) = bucket(&gcs.service, "files");
        let people = person(vec![prefix("avatars/12/")]);
        let erased = blocking(async {
            let found = store.find("pictures", &people).await.unwrap();
            store.erase("pictures", &people, &found).await
        });
        let later = failed(erased, true, refused);
        assert!(later.problem.contains(said), "{later}");
    }
}

/// What a listing does not name is asked for by its own name.
#[test]
fn a_listing_alone_is_not_believed() {
    let gcs = Documented::start(Bucket {
        objects: vec![object("avatars/12/a b", 1), old("avatars/12/a b", 2)],
        ..Bucket::default()
    });
    let (store, _key) = bucket(&gcs.service, "files");
    let people = person(vec![prefix("avatars/12/")]);
    let left = blocking(async {
        let found = store.find("pictures", &people).await.unwrap();
        gcs.bucket().lists_nothing = true;
        store.probe("pictures", &people, &found).await.unwrap()
    });
    assert_eq!(left[0].len(), 2);
}

#[test]
fn an_answer_to_another_question_is_none() {
    let again = r#"{"kind": "storage#objects", "nextPageToken": "x"}"#;
    for body in ["{}", "taro", r#"{"kind": "storage#buckets"}"#, again] {
        let body = json(200, body);
        let service = Service::by(move |_| body.clone());
        let (store, _key) = bucket(&service, "files");
        let found = find(&store, vec![prefix("avatars/12/")]);
        failed(found, false, "an answer to another question");
    }
    // A server that knows no uploads in parts lists objects there.
    let service = Service::by(|asked| match asked.target.contains("?uploads") {
        true => json(
            200,
            "<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>",
        ),
        false => json(200, r#"{"kind": "storage#objects"}"#),
    });
    let (store, _key) = bucket(&service, "files");
    failed(
        find(&store, vec![prefix("avatars/12/")]),
        false,
        "no uploads in parts",
    );
    failed(blocking(async { store.check().await }), false, "the same");
}

/// Each request takes a connection, of which a process has so many.
#[test]
fn however_many_ask_the_store_is_asked_so_much_at_once() {
    let many = (0..64).map(|n| object(&format!("avatars/{n:02}/a"), n));
    let gcs = Documented::start(Bucket {
        objects: many.collect(),
        ..Bucket::default()
    });
    let (store, _key) = bucket(&gcs.service, "files");
    let people = person(vec![prefix("avatars/")]);
    blocking(async {
        let found = store.find("pictures", &people).await.unwrap();
        let again = (0..30).map(|_| store.erase("pictures", &people, &found));
        for erased in futures_util::future::join_all(again).await {
            assert_eq!(erased.unwrap(), [Erased::Gone]);
        }
    });
    let most = gcs.service.most_at_once();
    // One may end here before it has ended there.
    assert!((9..=80).contains(&most), "{most}");
}

#[test]
fn a_name_that_climbs_is_refused() {
    let gcs = Documented::start(Bucket {
        objects: vec![object("avatars/12/../34/a", 1)],
        uploads: vec![upload("avatars/34/../x", "1")],
        ..Bucket::default()
    });
    let (store, _key) = bucket(&gcs.service, "files");
    for of in ["avatars/12/", "avatars/34/"] {
        let people = person(vec![prefix(of)]);
        let erased = blocking(async {
            let found = store.find("pictures", &people).await.unwrap();
            store.erase("pictures", &people, &found).await
        });
        failed(erased, false, "a name that climbs");
    }
    let asked = gcs.service.asked();
    assert!(asked.iter().all(|asked| asked.method == "GET"), "{asked:?}");
}

#[test]
fn who_may_not_is_refused_and_told_so() {
    let refusal = json!({"error": {"errors": [{"reason": "forbidden"}], "message": "taro"}});
    let service = Service::by(move |_| json(403, &refusal.to_string()));
    let (store, _key) = bucket(&service, "files");
    let refused = failed(find(&store, vec![prefix("avatars/12/")]), true, "refused");
    assert!(refused.problem.contains("403 (forbidden)"), "{refused}");
    // It may list, and not see whether the bucket keeps what is deleted.
    let listing = r#"{"kind": "storage#objects"}"#;
    let uploads =
        "<ListMultipartUploadsResult><IsTruncated>false</IsTruncated></ListMultipartUploadsResult>";
    let lists = Service::by(move |asked| match asked.target.as_str() {
        target if target.contains("/o?") => json(200, listing),
        target if target.contains("?uploads") => json(200, uploads),
        _ => json(403, "{}"),
    });
    let (store, _key) = bucket(&lists, "files");
    assert!(
        find(&store, vec![prefix("avatars/12/")])
            .unwrap()
            .is_empty()
    );
    failed(
        blocking(async { store.check().await }),
        true,
        "a right less",
    );
    let port = service.port;
    let no_key = with_key("-----BEGIN PRIVATE KEY-----\ntaro\n-----END PRIVATE KEY-----\n");
    let ec = openssl(&["genpkey", "-algorithm", "ed25519"]);
    for account in ["taro", "{}", &no_key, &with_key(&ec)] {
        let (keys, _folder) = configured(port, "files", account);
        let none = find(&system(&keys), vec![prefix("avatars/12/")]);
        let none = failed(none, true, "no key of a service account");
        assert!(none.problem.contains("service account"), "{none}");
    }
    drop(service);
}

/// The token is checked by OpenSSL, as Google would.
#[test]
fn requests_say_who_asks() {
    let gcs = Documented::start(Bucket {
        objects: vec![object("avatars/12/a", 1)],
        ..Bucket::default()
    });
    let (store, folder) = bucket(&gcs.service, "files");
    assert_eq!(erase(&store, || vec![prefix("avatars/12/")]).0, 1);
    let asked = gcs.service.asked();
    assert!(asked.len() > 3);
    for asked in asked {
        let said = &asked.headers["authorization"];
        let token = said.strip_prefix("Bearer ").unwrap();
        verify(token, folder.path());
    }
}

fn verify(token: &str, folder: &Path) {
    let (said, signature) = token.rsplit_once('.').unwrap();
    let (head, claims) = said.split_once('.').unwrap();
    let read = |text: &str| -> serde_json::Value {
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).unwrap()).unwrap()
    };
    assert_eq!(
        read(head),
        json!({"alg": "RS256", "typ": "JWT", "kid": "k1"})
    );
    let claims = read(claims);
    assert_eq!(
        (&claims["iss"], &claims["sub"]),
        (&EMAIL.into(), &EMAIL.into())
    );
    let scope = claims["scope"].as_str().unwrap();
    assert_eq!(
        scope,
        "https://www.googleapis.com/auth/devstorage.read_write"
    );
    let now = chrono::Utc::now().timestamp();
    let (from, until) = (&claims["iat"], &claims["exp"]);
    let (from, until) = (from.as_i64().unwrap(), until.as_i64().unwrap());
    assert!(from <= now && until > now && until - from <= 3600);
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.join(name);
        std::fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let account: serde_json::Value = serde_json::from_str(account()).unwrap();
    let key = write("key", account["private_key"].as_str().unwrap().as_bytes());
    let public = openssl(&["pkey", "-in", &key, "-pubout"]);
    let public = write("public", public.as_bytes());
    let signature = write("signature", &URL_SAFE_NO_PAD.decode(signature).unwrap());
    let said = write("said", said.as_bytes());
    let verified = [
        "dgst",
        "-sha256",
        "-verify",
        &public,
        "-signature",
        &signature,
        &said,
    ];
    assert!(openssl(&verified).contains("Verified OK"));
}

#[test]
fn certificates_say_what_is_kept_of_what_was_deleted() {
    for (soft_delete, said) in [
        (Some("604800"), "for 7 days"),
        (Some("0"), "is off"),
        (None, "no policy"),
    ] {
        let gcs = Documented::start(Bucket {
            soft_delete,
            ..Bucket::default()
        });
        let (store, _key) = bucket(&gcs.service, "files");
        let copies = blocking(async { store.copies().await }).unwrap();
        assert!(copies.contains(said), "{copies}");
        assert!(copies.contains("within a week"), "{copies}");
    }
    let service = Service::by(|_| json(403, "{}"));
    let (store, _key) = bucket(&service, "files");
    let copies = blocking(async { store.copies().await }).unwrap();
    assert!(copies.contains("did not say"), "{copies}");
}

#[test]
fn a_tickets_objects_go_and_are_certified() {
    let emulator = Emulator::start("plain");
    for n in [1, 2, 10] {
        emulator.put(&format!("avatars/M-{n}/a"));
    }
    emulator.begin_upload("avatars/M-1/begun", "1");
    let (keys, _folder) = configured(emulator.front.port, "plain", account());
    let place = "\n[[place]]\nsystem = \"files\"\nname = \"avatars\"\nprefix = [\"avatars/{member_no}/\"]\n";
    let system = format!("[system.files]\nkind = \"object-store\"\n{keys}");
    let company = Company::beside(&format!("{POLICY}{place}"), &system);
    company.says(&["check"], 0);
    company.file(&[1], "account");
    company.says(&["run", "--until-idle"], 0);
    assert_eq!(emulator.names(), ["avatars/M-10/a", "avatars/M-2/a"]);
    let certificate = company.certificate("account-1");
    let mut places = certificate.places.iter();
    let files = places.find(|place| place.system == "files").unwrap();
    assert_eq!(files.found[0].erased, 2);
    let copies = files.copies.as_deref().unwrap();
    assert!(copies.contains("for 7 days"), "{copies}");
    company.keeps_nothing();
}

#[test]
fn mistakes_are_told() {
    let keys = "bucket = \"files\"\nservice_account = { env = \"A\" }\n";
    for (more, code) in [
        (String::new(), "E0004"),
        ("bucket = \"files\"\n".into(), "E0004"),
        ("service_account = { env = \"A\" }\n".into(), "E0004"),
        (keys.replace("files", "a/b"), "E0006"),
        (format!("{keys}region = \"r\"\n"), "E0003"),
        (format!("{keys}access_key = {{ env = \"B\" }}\n"), "E0003"),
        (format!("{keys}account = \"a\"\n"), "E0003"),
        (format!("{keys}url = \"http://gcs.example\"\n"), "E0134"),
        (keys.replace("env = \"A\"", ""), "E0004"),
    ] {
        let system = format!("provider = \"gcs\"\n{more}");
        assert_eq!(read(&system).unwrap_err().first(), Some(&code), "{system}");
    }
    let config = read(&format!("provider = \"gcs\"\n{keys}")).unwrap();
    let reached = format!("{:?}", config.places["files"].reached);
    assert!(reached.contains("storage.googleapis.com"), "{reached}");
}
