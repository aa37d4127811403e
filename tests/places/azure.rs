//! The adapter of Azure's containers: against Azurite, and, of what it does not know, against what
//! Microsoft's documentation says.

use crate::azure_documented::{Account, Blob, Documented, blob, current, snapshot, version};
use crate::azurite::{ACCOUNT, Azurite, KEY, token};
use crate::company::{Company, POLICY};
use crate::object_store::{between, erase, failed, find, key, person, prefix, read, system};
use crate::service::{Service, bare, json};
use crate::support::blocking;
use erasured::system::place::{Erased, System};
use tempfile::TempDir;

/// A container at this URL, and a secret by which it is asked.
fn configured(url: &str, container: &str, way: &str, secret: &str) -> (String, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    std::fs::write(&file, format!("{secret}\n")).unwrap();
    let keys = format!(
        "provider = \"azure\"\nurl = {url:?}\naccount = \"{ACCOUNT}\"\ncontainer = \"{container}\"\n\
         {way} = {{ file = {file:?} }}\n"
    );
    (keys, folder)
}

fn container_by(azurite: &Azurite, name: &str, way: &str, secret: &str) -> (System, TempDir) {
    let url = format!("http://127.0.0.1:{}/{ACCOUNT}", azurite.port);
    let (keys, folder) = configured(&url, name, way, secret);
    (system(&keys), folder)
}

fn container(azurite: &Azurite, name: &str) -> (System, TempDir) {
    container_by(azurite, name, "account_key", KEY)
}

fn documented(service: &Service) -> (System, TempDir) {
    let url = format!("http://127.0.0.1:{}", service.port);
    let (keys, folder) = configured(&url, "files", "account_key", KEY);
    (system(&keys), folder)
}

#[test]
fn a_container_loses_one_persons_blobs_and_no_others() {
    let azurite = Azurite::start();
    azurite.container("plain");
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
        azurite.put(&format!("/plain/{name}"));
    }
    azurite.snapshot("/plain/avatars/123/a");
    azurite.block("/plain/avatars/123/begun");
    let before = azurite.names("plain");
    for name in [
        "avatars/12/a",
        "avatars/12/%3Cb%3E%26%22%2B%25%20%2520%3F%23%20c",
        "avatars/12//deep/",
        "avatars/12/%20ends%20in%20spaces%20",
        "avatars/%C3%A9/%E5%A4%AA%E9%83%8E",
        "letters/12-a.txt",
        "one/12.png",
    ] {
        azurite.put(&format!("/plain/{name}"));
    }
    azurite.snapshot("/plain/avatars/12/a");
    azurite.snapshot("/plain/avatars/12/a");
    azurite.block("/plain/avatars/12/begun");
    azurite.block("/plain/avatars/12/a");
    let (store, _secret) = container(&azurite, "plain");
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
    assert_eq!(erase(&store, theirs), (10, Erased::Gone, 0));
    assert_eq!(azurite.names("plain"), before);
    // More than one page.
    for n in 0..1003 {
        azurite.put(&format!("/plain/avatars/12/{n}"));
    }
    assert_eq!(erase(&store, theirs), (1003, Erased::Gone, 0));
    assert_eq!(azurite.names("plain"), before);
}

#[test]
fn who_may_not_is_refused_and_told_so() {
    let azurite = Azurite::start();
    azurite.container("plain");
    azurite.put("/plain/avatars/12/a");
    let theirs = || vec![prefix("avatars/12/")];
    let other = KEY.replace("Eby8", "Eby9");
    for (way, secret, transient) in [
        ("account_key", other.as_str(), true),
        ("account_key", "taro", true),
        ("account_key", "a\nb", true),
        ("sas_token", "?sv=2019-12-12&sig=taro", true),
        ("sas_token", "taro 12", true),
        ("sas_token", &token("r"), true),
    ] {
        let (store, _secret) = container_by(&azurite, "plain", way, secret);
        failed(find(&store, theirs()), transient, secret);
        failed(blocking(async { store.check().await }), transient, secret);
    }
    // It may list, and not delete.
    let (store, _secret) = container_by(&azurite, "plain", "sas_token", &token("rl"));
    let people = person(theirs());
    let erased = blocking(async {
        let found = store.find("pictures", &people).await.unwrap();
        store.erase("pictures", &people, &found).await
    });
    failed(erased, true, "no right to delete");
    assert_eq!(azurite.names("plain"), ["avatars/12/a"]);
    let token = format!("?{}", token("rwdl"));
    let (store, _secret) = container_by(&azurite, "plain", "sas_token", &token);
    assert_eq!(erase(&store, theirs), (1, Erased::Gone, 0));
    let (nowhere, _secret) = container(&azurite, "nowhere");
    failed(find(&nowhere, theirs()), true, "no container");
    drop(azurite);
    failed(find(&store, theirs()), true, "no server");
}

/// A lease is somebody's at work, and no reason to keep anything.
#[test]
fn what_is_leased_goes_later() {
    let azurite = Azurite::start();
    azurite.container("leased");
    azurite.put("/leased/avatars/12/a");
    let lease = "x-ms-lease-action: acquire\r\nx-ms-lease-duration: -1\r\n";
    azurite.well("PUT", "/leased/avatars/12/a?comp=lease", lease, "");
    let (store, _secret) = container(&azurite, "leased");
    let people = person(vec![prefix("avatars/12/")]);
    let erased = blocking(async {
        let found = store.find("pictures", &people).await.unwrap();
        store.erase("pictures", &people, &found).await
    });
    let leased = failed(erased, true, "leased");
    assert!(leased.problem.contains("leased"), "{leased}");
    let broken = "x-ms-lease-action: break\r\nx-ms-lease-break-period: 0\r\n";
    azurite.well("PUT", "/leased/avatars/12/a?comp=lease", broken, "");
    let theirs = || vec![prefix("avatars/12/")];
    assert_eq!(erase(&store, theirs), (1, Erased::Gone, 0));
}

#[test]
fn what_comes_back_is_found() {
    let azurite = Azurite::start();
    azurite.container("plain");
    azurite.put("/plain/avatars/12/a");
    azurite.put("/plain/avatars/12/b");
    let (store, _secret) = container(&azurite, "plain");
    let people = person(vec![prefix("avatars/12/")]);
    let left = blocking(async {
        let found = store.find("pictures", &people).await.unwrap();
        store.erase("pictures", &people, &found).await.unwrap();
        azurite.put("/plain/avatars/12/b");
        store.probe("pictures", &people, &found).await.unwrap()
    });
    assert_eq!(left[0].len(), 1);
}

/// By a deletion of the blob all its bytes stay, as a version.
#[test]
fn an_account_that_keeps_versions_keeps_none() {
    let uncommitted = Blob {
        uncommitted: true,
        ..blob("avatars/12/begun")
    };
    let azure = Documented::start(Account {
        keeps_versions: true,
        blobs: vec![
            current("avatars/12/a", "3"),
            version("avatars/12/a", "1"),
            version("avatars/12/a", "2"),
            version("avatars/12/deleted", "4"),
            snapshot("avatars/12/a", "5"),
            // Of before versions were kept.
            blob("avatars/12/old"),
            uncommitted,
            current("avatars/123/a", "6"),
            version("avatars/123/a", "7"),
        ],
        ..Account::default()
    });
    let (store, _secret) = documented(&azure.service);
    let theirs = || vec![prefix("avatars/12/")];
    assert_eq!(erase(&store, theirs), (7, Erased::Gone, 0));
    assert_eq!(
        azure.left(),
        ["avatars/123/a v6 current", "avatars/123/a v7"]
    );
}

#[test]
fn blocks_that_were_never_committed_go() {
    let uncommitted = |name| Blob {
        uncommitted: true,
        ..blob(name)
    };
    let azure = Documented::start(Account {
        blobs: vec![uncommitted("avatars/12/a"), uncommitted("avatars/123/a")],
        ..Account::default()
    });
    let (store, _secret) = documented(&azure.service);
    let theirs = || vec![prefix("avatars/12/")];
    assert_eq!(erase(&store, theirs), (1, Erased::Gone, 0));
    assert_eq!(azure.left(), ["avatars/123/a current"]);
}

/// An empty blob would have their name, and stay for years.
#[test]
fn nothing_takes_the_place_of_blocks_where_it_would_be_locked() {
    for (container_hold, container_policy, locks_all) in [
        (true, false, false),
        (false, true, false),
        (false, false, true),
    ] {
        let azure = Documented::start(Account {
            container_hold,
            container_policy,
            locks_all,
            blobs: vec![Blob {
                uncommitted: true,
                ..blob("avatars/12/a")
            }],
            ..Account::default()
        });
        let (store, _secret) = documented(&azure.service);
        let people = person(vec![prefix("avatars/12/")]);
        let erased = blocking(async {
            let found = store.find("pictures", &people).await.unwrap();
            store.erase("pictures", &people, &found).await
        });
        let waits = failed(erased, true, "blocks where all is locked");
        assert!(waits.problem.contains("never committed"), "{waits}");
        let asked = azure.service.asked();
        assert!(asked.iter().all(|asked| asked.method != "PUT"), "{asked:?}");
    }
}

#[test]
fn what_is_locked_is_kept_and_said_so() {
    let until = |blob: Blob, until| Blob {
        until: Some(until),
        ..blob
    };
    let held = |blob: Blob| Blob { hold: true, ..blob };
    let later = "Thu, 01 Jan 2099 00:00:00 GMT";
    for (kept, reason) in [
        (until(blob("avatars/12/a"), later), "object-lock"),
        (held(blob("avatars/12/a")), "legal-hold"),
        (held(snapshot("avatars/12/a", "1")), "legal-hold"),
        (held(version("avatars/12/a", "1")), "legal-hold"),
    ] {
        let free = until(blob("avatars/12/free"), "Thu, 01 Jan 2015 00:00:00 GMT");
        let azure = Documented::start(Account {
            blobs: vec![kept.clone(), free, version("avatars/12/b", "2")],
            ..Account::default()
        });
        let (store, _secret) = documented(&azure.service);
        let (_, erased, left) = erase(&store, || vec![prefix("avatars/12/")]);
        assert_eq!((erased, left), (Erased::Kept(reason.into()), 1));
        assert_eq!(azure.left().len(), 1);
        assert_eq!(azure.account().blobs[0].hold, kept.hold);
    }
}

/// A blob does not go before its snapshots, and one of them must stay.
#[test]
fn a_blob_stays_with_its_snapshot() {
    let held = Blob {
        hold: true,
        ..snapshot("avatars/12/a", "1")
    };
    let azure = Documented::start(Account {
        blobs: vec![blob("avatars/12/a"), held, snapshot("avatars/12/a", "2")],
        ..Account::default()
    });
    let (store, _secret) = documented(&azure.service);
    let (_, erased, left) = erase(&store, || vec![prefix("avatars/12/")]);
    assert_eq!((erased, left), (Erased::Kept("legal-hold".into()), 2));
    assert_eq!(azure.left(), ["avatars/12/a current", "avatars/12/a s1"]);
    // What is kept is not ordered away again and again: three, and two once more by the second try.
    let asked = azure.service.asked().into_iter();
    assert_eq!(asked.filter(|asked| asked.method == "DELETE").count(), 5);
}

/// What nobody has written down yet does not go; it is found first.
#[test]
fn what_appears_meanwhile_is_found_first() {
    let azure = Documented::start(Account {
        blobs: vec![blob("avatars/12/a")],
        appears: Some(blob("avatars/12/b")),
        ..Account::default()
    });
    let (store, _secret) = documented(&azure.service);
    let theirs = || vec![prefix("avatars/12/")];
    assert_eq!(erase(&store, theirs), (1, Erased::Gone, 1));
    assert_eq!(azure.left(), ["avatars/12/b current"]);
}

/// Its name would be gone, and its bytes kept: nobody ordered that.
#[test]
fn what_is_kept_as_a_version_is_not_hidden() {
    let azure = Documented::start(Account {
        keeps_versions: true,
        blobs: vec![Blob {
            hold: true,
            ..current("avatars/12/a", "1")
        }],
        ..Account::default()
    });
    let (store, _secret) = documented(&azure.service);
    let (_, erased, left) = erase(&store, || vec![prefix("avatars/12/")]);
    assert_eq!((erased, left), (Erased::Kept("legal-hold".into()), 1));
    assert_eq!(azure.left(), ["avatars/12/a v1 current"]);
}

/// It says that there is a policy, and neither for how long nor for what.
#[test]
fn a_containers_own_policy_keeps_what_is_refused_for_it() {
    for (hold, policy, reason) in [(true, true, "legal-hold"), (false, true, "object-lock")] {
        let azure = Documented::start(Account {
            container_hold: hold,
            container_policy: policy,
            blobs: vec![blob("avatars/12/a")],
            ..Account::default()
        });
        let (store, _secret) = documented(&azure.service);
        let (_, erased, left) = erase(&store, || vec![prefix("avatars/12/")]);
        assert_eq!((erased, left), (Erased::Kept(reason.into()), 1));
    }
}

#[test]
fn a_refusal_that_is_no_lock_is_tried_again() {
    for (refused, said) in [
        ("PendingCopyOperation", "PendingCopyOperation"),
        ("avatars/12 of taro", "no code"),
    ] {
        let azure = Documented::start(Account {
            // That there is a policy is not why.
            container_policy: true,
            blobs: vec![Blob {
                refused: Some(refused),
                ..blob("avatars/12/a")
            }],
            ..Account::default()
        });
        let (store, _secret) = documented(&azure.service);
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
    let azure = Documented::start(Account {
        blobs: vec![
            blob("avatars/12/a"),
            snapshot("avatars/12/b", "1"),
            version("avatars/12/c", "2"),
        ],
        ..Account::default()
    });
    let (store, _secret) = documented(&azure.service);
    let people = person(vec![prefix("avatars/12/")]);
    let left = blocking(async {
        let found = store.find("pictures", &people).await.unwrap();
        azure.account().lists_nothing = true;
        store.probe("pictures", &people, &found).await.unwrap()
    });
    assert_eq!(left[0].len(), 3);
}

#[test]
fn an_answer_to_another_question_is_none() {
    let containers =
        "<EnumerationResults ServiceEndpoint=\"x\"><Containers/><NextMarker/></EnumerationResults>";
    let other =
        "<EnumerationResults ContainerName=\"other\"><Blobs/><NextMarker/></EnumerationResults>";
    let again = "<EnumerationResults ContainerName=\"files\"><Blobs/><NextMarker>x</NextMarker></EnumerationResults>";
    for body in ["{}", "<html>taro</html>", containers, other, again] {
        let body = json(200, body);
        let service = Service::by(move |_| body.clone());
        let (store, _secret) = documented(&service);
        let found = find(&store, vec![prefix("avatars/12/")]);
        failed(found, false, "an answer to another question");
    }
    // Somebody's `not found` says nothing of a blob.
    let azure = Documented::start(Account {
        blobs: vec![blob("avatars/12/a")],
        ..Account::default()
    });
    let (store, _secret) = documented(&azure.service);
    let people = person(vec![prefix("avatars/12/")]);
    let found = blocking(async { store.find("pictures", &people).await.unwrap() });
    let listed = "<EnumerationResults ContainerName=\"files\"><Blobs><Blob><Name>avatars/12/a</Name><Properties/></Blob></Blobs><NextMarker/></EnumerationResults>";
    let service = Service::by(move |asked| match asked.method.as_str() {
        "GET" => json(200, listed),
        _ => bare(404, ""),
    });
    let (store, _secret) = documented(&service);
    let erased = blocking(async { store.erase("pictures", &people, &found).await });
    failed(erased, true, "not found");
}

#[test]
fn a_name_that_climbs_is_refused() {
    let azure = Documented::start(Account {
        blobs: vec![blob("avatars/12/../34/a")],
        ..Account::default()
    });
    let (store, _secret) = documented(&azure.service);
    let people = person(vec![prefix("avatars/12/")]);
    let erased = blocking(async {
        let found = store.find("pictures", &people).await.unwrap();
        store.erase("pictures", &people, &found).await
    });
    failed(erased, false, "a name that climbs");
    let asked = azure.service.asked();
    assert!(asked.iter().all(|asked| asked.method == "GET"), "{asked:?}");
}

#[test]
fn certificates_say_what_is_kept_of_what_was_deleted() {
    for (soft_delete, said) in [(Some(7), "for 7 days"), (None, "is off")] {
        let azure = Documented::start(Account {
            soft_delete,
            ..Account::default()
        });
        let (store, _secret) = documented(&azure.service);
        let copies = blocking(async { store.copies().await }).unwrap();
        assert!(copies.contains(said), "{copies}");
    }
    // Azurite knows no soft deletion.
    let azurite = Azurite::start();
    let (store, _secret) = container(&azurite, "plain");
    let copies = blocking(async { store.copies().await }).unwrap();
    assert!(copies.contains("did not say"), "{copies}");
}

#[test]
fn a_tickets_blobs_go_and_are_certified() {
    let azurite = Azurite::start();
    azurite.container("plain");
    for n in [1, 2, 10] {
        azurite.put(&format!("/plain/avatars/M-{n}/a"));
    }
    azurite.snapshot("/plain/avatars/M-1/a");
    let url = format!("http://127.0.0.1:{}/{ACCOUNT}", azurite.port);
    let (keys, _secret) = configured(&url, "plain", "account_key", KEY);
    let place = "\n[[place]]\nsystem = \"files\"\nname = \"avatars\"\nprefix = [\"avatars/{member_no}/\"]\n";
    let system = format!("[system.files]\nkind = \"object-store\"\n{keys}");
    let company = Company::beside(&format!("{POLICY}{place}"), &system);
    company.says(&["check"], 0);
    company.file(&[1], "account");
    company.says(&["run", "--until-idle"], 0);
    assert_eq!(azurite.names("plain"), ["avatars/M-10/a", "avatars/M-2/a"]);
    let certificate = company.certificate("account-1");
    let mut places = certificate.places.iter();
    let files = places.find(|place| place.system == "files").unwrap();
    assert_eq!(files.found[0].erased, 2);
    let copies = files.copies.as_deref().unwrap();
    assert!(copies.contains("soft delete"), "{copies}");
    company.keeps_nothing();
}

/// Something of one person's cannot go now: the others of the batch go, and the one gives up in the end.
#[test]
fn what_is_leased_holds_up_nobody_else() {
    let azurite = Azurite::start();
    azurite.container("leased");
    for n in 1..=5 {
        azurite.put(&format!("/leased/avatars/M-{n}/a"));
    }
    let lease = "x-ms-lease-action: acquire\r\nx-ms-lease-duration: -1\r\n";
    azurite.well("PUT", "/leased/avatars/M-3/a?comp=lease", lease, "");
    let url = format!("http://127.0.0.1:{}/{ACCOUNT}", azurite.port);
    let (keys, _secret) = configured(&url, "leased", "account_key", KEY);
    let place = "\n[[place]]\nsystem = \"files\"\nname = \"avatars\"\nprefix = [\"avatars/{member_no}/\"]\n";
    let system = format!("[system.files]\nkind = \"object-store\"\n{keys}");
    let company = Company::beside(&format!("{POLICY}{place}"), &system);
    company.file(&[1, 2, 3, 4, 5], "account");
    company.says(&["run", "--until-idle"], 1);
    let states = [1, 2, 3, 4, 5].map(|n| match n {
        3 => "account-3 failed E0501".to_owned(),
        n => format!("account-{n} completed"),
    });
    assert_eq!(company.states(), states);
    assert_eq!(azurite.names("leased"), ["avatars/M-3/a"]);
}

#[test]
fn mistakes_are_told() {
    let keys = "account = \"files\"\ncontainer = \"c\"\naccount_key = { env = \"A\" }\n";
    for (system, code) in [
        ("provider = \"alibaba\"\n".to_owned(), "E0006"),
        ("provider = \"azure\"\n".into(), "E0004"),
        (
            "provider = \"azure\"\naccount = \"files\"\ncontainer = \"c\"\n".into(),
            "E0008",
        ),
        (
            format!("provider = \"azure\"\n{keys}sas_token = {{ env = \"B\" }}\n"),
            "E0008",
        ),
        (
            format!("provider = \"azure\"\n{keys}bucket = \"b\"\n"),
            "E0003",
        ),
        (
            format!("provider = \"azure\"\n{keys}region = \"r\"\n"),
            "E0003",
        ),
        (
            format!("provider = \"azure\"\n{keys}folder = \"/srv\"\n"),
            "E0003",
        ),
        (
            format!("provider = \"azure\"\n{keys}url = \"http://azure.example\"\n"),
            "E0134",
        ),
        (
            format!(
                "provider = \"azure\"\n{}",
                keys.replace("files", "evil.example/")
            ),
            "E0006",
        ),
        (
            format!(
                "provider = \"azure\"\n{}",
                keys.replace("\"c\"", "\"../c\"")
            ),
            "E0006",
        ),
        (format!("provider = \"s3\"\n{keys}"), "E0004"),
        (keys.to_owned(), "E0008"),
    ] {
        assert_eq!(read(&system).unwrap_err().first(), Some(&code), "{system}");
    }
    let config = read(&format!("provider = \"azure\"\n{keys}")).unwrap();
    let reached = format!("{:?}", config.places["files"].reached);
    assert!(reached.contains("files.blob.core.windows.net"), "{reached}");
}
