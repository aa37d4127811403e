//! The adapter of object stores, against a server that speaks S3 and a folder.

use crate::bucket::Moto;
use crate::service::{Asked, Service};
use crate::support::{blocking, repository};
use erasured::config;
use erasured::plan::Wanted;
use erasured::system::place::{Address, Erased, Failed, Person, System};
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};
use tempfile::TempDir;
use uuid::Uuid;

pub(crate) fn read(system: &str) -> Result<config::Config, Vec<&'static str>> {
    let text = format!(
        r#"
        control.url = "postgresql://x@db.example/x"
        system.shop.url = "postgresql://x@db.example/x"
        keys = {{ signing = {{ env = "A" }}, hash = {{ env = "B" }} }}
        [system.files]
        kind = "object-store"
        timeout = "2 min"
        {system}
        "#
    );
    let read = config::read("erasured.toml", &text);
    read.map_err(|found| found.iter().map(|d| d.code).collect())
}

pub(crate) fn system(keys: &str) -> System {
    System::new("files", &read(keys).unwrap().places["files"])
}

/// A bucket, with this key and secret.
fn bucket_at(port: u16, bucket: &str, key: &str, secret: &str) -> (System, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let (key_file, secret_file) = (folder.path().join("key"), folder.path().join("secret"));
    std::fs::write(&key_file, format!("{key}\n")).unwrap();
    std::fs::write(&secret_file, format!("{secret}\n")).unwrap();
    let system = system(&format!(
        "url = \"http://127.0.0.1:{}\"\nbucket = {bucket:?}\nregion = \"us-east-1\"\n\
         access_key = {{ file = {key_file:?} }}\nsecret_key = {{ file = {secret_file:?} }}\n",
        port
    ));
    (system, folder)
}

fn bucket(moto: &Moto, name: &str) -> (System, TempDir) {
    bucket_at(moto.port, name, "a", "b")
}

pub(crate) fn prefix(begins: &str) -> Wanted {
    Wanted::Between {
        begins: begins.into(),
        ends: String::new(),
    }
}

pub(crate) fn between(begins: &str, ends: &str) -> Wanted {
    Wanted::Between {
        begins: begins.into(),
        ends: ends.into(),
    }
}

pub(crate) fn key(key: &str) -> Wanted {
    Wanted::Key(key.into())
}

pub(crate) fn person(wanted: Vec<Wanted>) -> [Person; 1] {
    [Person {
        request: Uuid::nil(),
        wanted,
    }]
}

pub(crate) fn find(system: &System, wanted: Vec<Wanted>) -> Result<Vec<Address>, Failed> {
    let people = person(wanted);
    let found = blocking(async { system.find("pictures", &people).await });
    found.map(|mut found| found.remove(0))
}

fn texts(found: &[Address]) -> Vec<String> {
    let found = found.iter();
    found
        .map(|a| String::from_utf8(a.bytes().to_vec()).unwrap())
        .collect()
}

/// Finds, erases, and asks whether anything is left.
pub(crate) fn erase(system: &System, wanted: impl Fn() -> Vec<Wanted>) -> (usize, Erased, usize) {
    let people = person(wanted());
    blocking(async {
        let found = system.find("pictures", &people).await.unwrap();
        let erased = system.erase("pictures", &people, &found).await.unwrap();
        let left = system.probe("pictures", &people, &found).await.unwrap();
        // What is gone already is no failure.
        let again = system.erase("pictures", &people, &found).await.unwrap();
        assert_eq!(erased, again);
        (found[0].len(), erased[0].clone(), left[0].len())
    })
}

#[track_caller]
pub(crate) fn failed<T>(result: Result<T, Failed>, transient: bool, what: &str) -> Failed {
    let failed = result.err().unwrap_or_else(|| panic!("{what} went well"));
    assert_eq!(failed.transient, transient, "{what}: {failed}");
    for secret in ["12", "taro", "avatars"] {
        assert!(!failed.problem.contains(secret), "{what}: {failed}");
    }
    failed
}

fn write(root: &Path, name: &str) {
    let path = root.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, "bytes").unwrap();
}

/// Files, links and folders, as they lie there.
fn files(root: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(root).unwrap() {
        let path = entry.unwrap().path();
        found.push(path.display().to_string());
        if path.is_dir() && !path.is_symlink() {
            found.extend(files(&path));
        }
    }
    found.sort();
    found
}

fn folder(root: &Path) -> System {
    system(&format!("folder = {root:?}\n"))
}

#[test]
fn a_folder_loses_one_persons_files_and_no_others() {
    let root = tempfile::tempdir().unwrap();
    let store = folder(root.path());
    let neighbours = [
        "avatars/123/a.png",
        "avatars/1/a.png",
        "avatars/12.png",
        "avatars/012/a.png",
        "xavatars/12/a.png",
        "avatars/e\u{301}/a.png",
        "letters/12-b.txt",
        "letters/123-a.txt",
        "one/12.png.bak",
    ];
    for name in neighbours {
        write(root.path(), name);
    }
    let before = files(root.path());
    for name in [
        "avatars/12/a.png",
        "avatars/12/deep/er/b.png#1",
        "avatars/12/ \n",
        "avatars/\u{e9}/a.png",
        "letters/12-a.txt",
        "letters/12-x/c-a.txt",
        "one/12.png",
    ] {
        write(root.path(), name);
    }
    std::fs::create_dir_all(root.path().join("avatars/12/empty")).unwrap();
    let theirs = || {
        vec![
            prefix("avatars/12/"),
            prefix("avatars/\u{e9}/"),
            between("letters/12-", "a.txt"),
            key("one/12.png"),
            key("one/none.png"),
        ]
    };
    blocking(async { store.check().await.unwrap() });
    let found = texts(&find(&store, theirs()).unwrap());
    assert!(found.contains(&"avatars/12/empty/".to_owned()), "{found:?}");
    assert_eq!(erase(&store, theirs), (12, Erased::Gone, 0));
    // The folders of theirs are gone too; one that only a part of a name lies in is everybody's.
    std::fs::remove_dir(root.path().join("letters/12-x")).unwrap();
    assert_eq!(files(root.path()), before);
}

#[test]
fn no_link_leads_out_of_a_folder() {
    let (root, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    write(other.path(), "12/secret");
    write(root.path(), "avatars/12/a.png");
    symlink(other.path(), root.path().join("avatars/12/elsewhere")).unwrap();
    symlink(
        other.path().join("12/secret"),
        root.path().join("avatars/12/one"),
    )
    .unwrap();
    let store = folder(root.path());
    let theirs = || vec![prefix("avatars/12/")];
    assert_eq!(erase(&store, theirs), (4, Erased::Gone, 0));
    assert!(other.path().join("12/secret").exists());
    // A link on the way is followed neither when something is found nor when it is erased.
    symlink(other.path(), root.path().join("linked")).unwrap();
    for wanted in [prefix("linked/12/"), key("linked/12/secret")] {
        failed(find(&store, vec![wanted]), false, "a link on the way");
    }
    for outside in [
        "linked/12/secret",
        "../12/secret",
        "/etc/hostname",
        "a//b",
        "avatars/./12",
        "..",
    ] {
        failed(find(&store, vec![key(outside)]), false, outside);
        let found = [vec![Address::new(outside)]];
        let people = person(vec![]);
        let erased = blocking(async { store.erase("pictures", &people, &found).await });
        failed(erased, false, outside);
    }
    failed(find(&store, vec![prefix("../12/")]), false, "up");
    assert!(other.path().join("12/secret").exists());
}

/// Nobody has anything where nothing is mounted yet.
#[test]
fn an_empty_folder_says_nothing_of_anybody() {
    let root = tempfile::tempdir().unwrap();
    let store = folder(root.path());
    let empty = failed(find(&store, vec![key("avatars/12")]), true, "empty");
    assert!(empty.problem.contains("mounted"), "{empty}");
    write(root.path(), ".keep");
    assert!(find(&store, vec![key("avatars/12")]).unwrap().is_empty());
    let store = folder(&root.path().join("missing"));
    failed(find(&store, vec![key("avatars/12")]), true, "missing");
    failed(blocking(async { store.check().await }), true, "missing");
}

#[test]
fn a_bucket_loses_one_persons_objects_and_no_others() {
    let moto = Moto::start();
    moto.well("PUT", "/plain", "", "");
    let neighbours = [
        "avatars/12.png",
        "avatars/123/a",
        "avatars/e%CC%81/a",
        "letters/12-b.txt",
        "one/12.png.bak",
    ];
    for name in neighbours {
        moto.put(&format!("/plain/{name}"));
    }
    let before = moto.versions("plain");
    for name in [
        "avatars/12/a",
        "avatars/12/%3Cb%3E%26%22%2B%25%20c",
        "avatars/12//deep/",
        "avatars/%C3%A9/a",
        "letters/12-a.txt",
        "one/12.png",
    ] {
        moto.put(&format!("/plain/{name}"));
    }
    moto.well("POST", "/plain/avatars/12/big?uploads", "", "");
    moto.well("POST", "/plain/avatars/123/big?uploads", "", "");
    let (store, _keys) = bucket(&moto, "plain");
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
    assert_eq!(erase(&store, theirs), (7, Erased::Gone, 0));
    assert_eq!(moto.versions("plain"), before);
    assert_eq!(moto.uploads("plain"), ["avatars/123/big"]);
    // More than one page, and more than one order.
    for n in 0..1003 {
        moto.put(&format!("/plain/avatars/12/{n}"));
    }
    assert_eq!(erase(&store, theirs), (1003, Erased::Gone, 0));
    assert_eq!(moto.versions("plain"), before);
    let (nowhere, _keys) = bucket(&moto, "nowhere");
    failed(find(&nowhere, theirs()), true, "no bucket");
    drop(moto);
    failed(find(&store, theirs()), true, "no server");
}

const VERSIONING: &str =
    "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";

/// Deleting an object of such a bucket by its key adds a marker and keeps every byte.
#[test]
fn a_bucket_that_keeps_versions_keeps_none() {
    let moto = Moto::start();
    moto.well("PUT", "/kept", "", "");
    moto.put("/kept/avatars/12/before");
    moto.well("PUT", "/kept?versioning", "", VERSIONING);
    for _ in 0..3 {
        moto.put("/kept/avatars/12/a");
        moto.put("/kept/avatars/123/a");
    }
    moto.well("DELETE", "/kept/avatars/12/a", "", "");
    moto.well("DELETE", "/kept/avatars/123/a", "", "");
    let (store, _keys) = bucket(&moto, "kept");
    let (found, erased, left) = erase(&store, || vec![prefix("avatars/12/")]);
    assert_eq!((found, erased, left), (5, Erased::Gone, 0));
    assert_eq!(moto.versions("kept"), ["avatars/123/a"; 4]);
}

#[test]
fn what_is_locked_is_kept_and_said_so() {
    let moto = Moto::start();
    moto.well(
        "PUT",
        "/locked",
        "x-amz-bucket-object-lock-enabled: true\r\n",
        "",
    );
    let lock = "x-amz-object-lock-mode: COMPLIANCE\r\nx-amz-object-lock-retain-until-date: 2099-01-01T00:00:00Z\r\ncontent-md5: S6KXVvmWbHg9EwFR7wjMHg==\r\n";
    for (name, headers) in [
        ("avatars/12/free", ""),
        ("avatars/12/locked", lock),
        ("avatars/34/held", ""),
        ("avatars/34/free", ""),
    ] {
        moto.well("PUT", &format!("/locked/{name}"), headers, "bytes");
    }
    let hold = "<LegalHold><Status>ON</Status></LegalHold>";
    moto.well("PUT", "/locked/avatars/34/held?legal-hold", "", hold);
    let (store, _keys) = bucket(&moto, "locked");
    for (of, reason, stays) in [
        ("avatars/12/", "object-lock", "avatars/12/locked"),
        ("avatars/34/", "legal-hold", "avatars/34/held"),
    ] {
        let (_, erased, left) = erase(&store, || vec![prefix(of)]);
        assert_eq!((erased, left), (Erased::Kept(reason.into()), 1));
        let theirs = moto.versions("locked");
        let theirs: Vec<_> = theirs.iter().filter(|k| k.starts_with(of)).collect();
        assert_eq!(theirs, [stays]);
    }
}

/// moto asks nobody who they are; so what is sent is signed anew by Amazon's own library.
#[test]
fn requests_are_signed() {
    let service = Service::of(&[]);
    let (store, _keys) = bucket_at(service.port, "signed", "AKID", "geheim+/");
    let (name, id) = ("avatars/12/a b+%\u{e9}/", "i/d+=&1");
    let things = [
        serde_json::json!({"Upload": [name, id]}),
        serde_json::json!({"Version": [name, id]}),
    ];
    let found = [things.map(|thing| Address::new(thing.to_string())).to_vec()];
    let people = person(vec![]);
    let erased = blocking(async { store.erase("pictures", &people, &found).await });
    failed(erased, true, "nothing that speaks S3");
    failed(
        find(&store, vec![prefix("x y/\u{e9}+&=?#/")]),
        true,
        "nor here",
    );
    let asked = service.asked();
    let methods: Vec<&str> = asked.iter().map(|asked| asked.method.as_str()).collect();
    assert_eq!(methods, ["DELETE", "POST", "GET"]);
    for asked in asked {
        let said = &asked.headers["authorization"];
        let (_, said) = said.split_once("Signature=").unwrap();
        assert_eq!(said, signature(&asked), "{} {}", asked.method, asked.target);
    }
}

fn signature(asked: &Asked) -> String {
    let request = serde_json::json!({
        "method": asked.method,
        "url": format!("http://{}{}", asked.headers["host"], asked.target),
        "headers": asked.headers,
        "body": asked.body,
        "key": "AKID",
        "secret": "geheim+/",
        "region": "us-east-1",
    });
    let python = repository().join(".cache/moto/bin/python");
    let mut signer = Command::new(python)
        .arg(repository().join("tests/places/signature.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = signer.stdin.take().unwrap();
    input.write_all(request.to_string().as_bytes()).unwrap();
    drop(input);
    let signed = signer.wait_with_output().unwrap();
    assert!(signed.status.success());
    String::from_utf8(signed.stdout).unwrap().trim().to_owned()
}

#[test]
fn mistakes_are_told() {
    let keys = "access_key = { env = \"A\" }\nsecret_key = { env = \"B\" }\n";
    for (system, code) in [
        (String::new(), "E0008"),
        ("folder = \"/srv\"\nbucket = \"b\"\n".into(), "E0008"),
        (format!("bucket = \"b\"\n{keys}"), "E0004"),
        ("bucket = \"b\"\nregion = \"r\"\n".into(), "E0004"),
        (format!("bucket = \"a/b\"\nregion = \"r\"\n{keys}"), "E0006"),
        (format!("bucket = \"..\"\nregion = \"r\"\n{keys}"), "E0006"),
        (
            format!("bucket = \"b\"\nregion = \"evil.example/\"\n{keys}"),
            "E0006",
        ),
        (
            format!("bucket = \"b\"\nregion = \"r\"\nurl = \"http://minio.example\"\n{keys}"),
            "E0134",
        ),
        ("folder = \"/srv\"\nregion = \"r\"\n".into(), "E0003"),
    ] {
        assert_eq!(read(&system).unwrap_err().first(), Some(&code), "{system}");
    }
    read(&format!(
        "bucket = \"b\"\nregion = \"eu-central-1\"\n{keys}"
    ))
    .unwrap();
}
