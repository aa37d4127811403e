//! Requests as files: each line once, whoever dies; a bad line stops no other; no value stays behind.

use crate::desk::Desk;
use crate::http::{Daemon, get};
use crate::support::wait_until;
use serde_json::{Value, json};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

fn open(settle: &str) -> (Desk, PathBuf) {
    let mut desk = Desk::open(120);
    desk.server.execute(
        "postgres",
        "CREATE ROLE erasured_drop LOGIN IN ROLE erasured_desk, erasured_trusted",
    );
    let folder = desk.workspace.path().join("drop");
    std::fs::create_dir(&folder).unwrap();
    let url = desk.server.url_as(desk.control(), "erasured_drop");
    desk.workspace.configure(&format!(
        "[drop]\nfolder = \"drop\"\nactor = \"crm\"\nsettle = \"{settle}\"\n[drop.control]\nurl = \"{url}\"\n\
         [limits]\npoll = \"150ms\"\n"
    ));
    (desk, folder)
}

fn line(reference: &str, member: u32) -> String {
    json!({"reference": reference, "subject": "customer", "scope": "account", "ground": "policy",
           "identifiers": {"member_no": format!("TM-{member:07}")}})
    .to_string()
}

/// Whole and at once, as a careful sender does it.
fn lay(folder: &Path, name: &str, text: impl AsRef<[u8]>) {
    let hidden = folder.join(".being-written");
    std::fs::write(&hidden, text).unwrap();
    std::fs::rename(hidden, folder.join(name)).unwrap();
}

fn receipt(folder: &Path, name: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(folder.join("receipts").join(name)).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
    lines.collect()
}

/// `line code` or `line reference` of each, and that it is whole.
fn told(receipt: &[Value]) -> Vec<String> {
    assert_eq!(receipt.last().unwrap(), &json!({"end": true}));
    let lines = &receipt[..receipt.len() - 1];
    let word = |line: &Value| {
        let word = line["code"].as_str().or(line["reference"].as_str());
        format!("{} {}", line["line"], word.unwrap())
    };
    lines.iter().map(word).collect()
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

fn references(desk: &Desk) -> String {
    let sql = "SELECT string_agg(reference, ' ' ORDER BY reference) FROM erasured.ticket";
    desk.server.value(desk.control(), sql)
}

#[test]
fn a_bad_line_stops_no_other_and_no_value_stays_behind() {
    let (desk, folder) = open("0 s");
    let lines = [
        line("D-1", 5),
        "{\"reference\": \"TM-0000777\"".into(),
        line("D-2 TM-0000009", 9),
        line("D-3", 11).replace("member_no", "secret_no"),
        line("D-4", 15).replace("account", "everything"),
        line("D-5", 17).replace("\"policy\"", "\"POLICY!\""),
        line("D-6", 19),
    ];
    lay(&folder, "lines.jsonl", lines.join("\n"));
    lay(
        &folder,
        "sheet.csv",
        "\u{feff}reference,subject,scope,ground,identifier.member_no,requested_at,language\r\n\
         E-1,customer,account,policy,TM-0000021,2026-11-20T09:00:00+09:00,ja\r\n\
         E-2,customer,account,policy,TM-0000023,yesterday,\r\n\
         E-3,customer,account,policy,,,\r\n\
         E-4,customer,account,policy,TM-0000025,,\r\n",
    );
    lay(&folder, "excel.csv", b"reference\n\x8e\x52\x93\x63\n");
    desk.run_until_idle().assert().success();
    let of = |name: &str| told(&receipt(&folder, name));
    assert_eq!(
        of("lines.jsonl.receipt.jsonl"),
        [
            "1 D-1", "2 E0648", "3 ER006", "4 ER005", "5 ER004", "6 ER006", "7 D-6"
        ]
    );
    assert_eq!(
        of("sheet.csv.receipt.jsonl"),
        ["2 E-1", "3 E0648", "4 ER005", "5 E-4"]
    );
    let excel = receipt(&folder, "excel.csv.receipt.jsonl");
    assert_eq!(told(&excel), ["0 E0649"]);
    assert!(excel[0]["message"].as_str().unwrap().contains("CP932"));
    assert_eq!(references(&desk), "D-1 D-6 E-1 E-4");
    let by = "SELECT DISTINCT body->>'by' FROM erasured.event WHERE kind = 'received' UNION \
              SELECT DISTINCT (entry::jsonb)->'body'->>'by' FROM erasured.ledger WHERE (entry::jsonb)->>'kind' = 'received'";
    assert_eq!(desk.server.value(desk.control(), by), "crm");
    assert_eq!(names(&folder), [".taken", "receipts"]);
    assert!(names(&folder.join(".taken")).is_empty());
    for name in names(&folder.join("receipts")) {
        let text = std::fs::read_to_string(folder.join("receipts").join(name)).unwrap();
        assert!(!text.contains("TM-"), "{text}");
    }
}

/// What is still being written is not taken, nor what is no plain file under a plain name; and nothing
/// that a name or a link points to is touched.
#[test]
fn hostile_names_and_unfinished_files_are_left_alone() {
    let (desk, folder) = open("1 s");
    let key = desk.workspace.path().join("keys/hash.key");
    let secret = std::fs::read(&key).unwrap();
    std::os::unix::fs::symlink(&key, folder.join("link.csv")).unwrap();
    std::fs::create_dir(folder.join("folder.csv")).unwrap();
    std::fs::hard_link(&key, folder.join("hard.jsonl")).unwrap();
    for name in [
        "-rf.csv",
        "a b.csv",
        "x\ny.json",
        "x.csv;rm -rf",
        "名簿.csv",
        "x.exe",
        ".hidden.csv",
    ] {
        std::fs::write(folder.join(name), line("H-bad", 5)).unwrap();
    }
    let bytes = std::ffi::OsStr::from_bytes(b"\xff\xfe.csv");
    std::fs::write(folder.join(bytes), line("H-bad", 5)).unwrap();
    let daemon = Daemon::start(&desk);
    // Written slowly; each piece would be a line of its own.
    let slow = folder.join("slow.jsonl");
    let (first, second) = (line("H-1", 7), line("H-2", 9));
    let whole = format!("{first}\n{second}\n");
    let mut file = std::fs::File::create(&slow).unwrap();
    for piece in whole.as_bytes().chunks(whole.len() / 6 + 1) {
        std::io::Write::write_all(&mut file, piece).unwrap();
        std::thread::sleep(Duration::from_millis(500));
        assert!(slow.exists(), "taken while it was being written");
    }
    drop(file);
    let at = folder.join("receipts/slow.jsonl.receipt.jsonl");
    wipe_is_waited_for(&folder, &at);
    assert_eq!(
        told(&receipt(&folder, "slow.jsonl.receipt.jsonl")),
        ["1 H-1", "2 H-2"]
    );
    assert_eq!(references(&desk), "H-1 H-2");
    assert_eq!(
        std::fs::read(&key).unwrap(),
        secret,
        "another name of the key"
    );
    let left = names(&folder);
    for name in [
        "link.csv",
        "folder.csv",
        "-rf.csv",
        "x\ny.json",
        "名簿.csv",
        ".hidden.csv",
    ] {
        assert!(left.contains(&name.to_owned()), "{left:?}");
    }
    wait_until("the count of those left", Duration::from_secs(10), || {
        let metrics = get(&desk.workspace.http(), "/metrics", None).unwrap().1;
        metrics.contains("erasured_drop_left_files 7")
    });
    drop(daemon);
}

fn wipe_is_waited_for(folder: &Path, receipt: &Path) {
    wait_until("the receipt", Duration::from_secs(20), || receipt.exists());
    wait_until("the end", Duration::from_secs(20), || {
        names(&folder.join(".taken")).is_empty()
    });
}

/// Killed at any step and restarted, beside another daemon: each line is one ticket and stands once
/// in one receipt, even where the tickets have been closed meanwhile.
#[test]
fn each_line_is_filed_once_though_the_daemon_dies() {
    let (desk, folder) = open("0 s");
    let points = [
        "after-take=return",
        "after-line=return",
        "after-line=3*off->return",
        "before-publish=return",
        "after-publish=return",
        "after-wipe=return",
    ];
    for (n, point) in points.iter().enumerate() {
        let name = format!("file-{n}.jsonl");
        let lines: Vec<String> = (0..5)
            .map(|l| line(&format!("K-{n}-{l}"), 21 + 2 * l))
            .collect();
        lay(&folder, &name, lines.join("\n"));
        let mut run = desk.run_until_idle();
        run.env("FAILPOINTS", point);
        assert!(
            run.output().unwrap().status.code().is_none(),
            "{point}: it must die"
        );
        // What is in the receipt needs no asking, whatever has become of it.
        if n >= 2 {
            let reject = format!(
                "SELECT erasured.reject_ticket(id, 'withdrawn') FROM erasured.ticket WHERE reference = 'K-{n}-0'"
            );
            desk.server.execute(desk.control(), &reject);
        }
        // Another one finds a half-written line.
        if point.contains("3*off") {
            let taken = folder.join(".taken");
            let part = names(&taken)
                .into_iter()
                .find(|name| name.ends_with(".part"));
            let part = taken.join(part.unwrap());
            let mut file = std::fs::File::options().append(true).open(part).unwrap();
            std::io::Write::write_all(&mut file, b"{\"line\":4,\"refer").unwrap();
        }
        let mut both = [desk.run_until_idle(), desk.run_until_idle()];
        both[1].env("ERASURED_CONFIG", other_port(&desk));
        std::thread::scope(|scope| {
            for run in &mut both {
                scope.spawn(|| assert!(run.output().unwrap().status.success()));
            }
        });
        let expected: Vec<String> = (0..5).map(|l| format!("{} K-{n}-{l}", l + 1)).collect();
        assert_eq!(
            told(&receipt(&folder, &format!("{name}.receipt.jsonl"))),
            expected,
            "{point}"
        );
        assert!(names(&folder.join(".taken")).is_empty(), "{point}");
    }
    assert_eq!(names(&folder.join("receipts")).len(), points.len());
    let count = "SELECT count(*) FROM erasured.ticket";
    assert_eq!(
        desk.server.count(desk.control(), count),
        5 * points.len() as i64
    );
    // The same name again is another file with a receipt of its own.
    lay(&folder, "file-0.jsonl", line("K-again", 45));
    desk.run_until_idle().assert().success();
    assert_eq!(
        told(&receipt(&folder, "file-0.jsonl.receipt-2.jsonl")),
        ["1 K-again"]
    );
}

/// A second daemon on this host needs an address of its own.
fn other_port(desk: &Desk) -> PathBuf {
    let config = std::fs::read_to_string(desk.workspace.config()).unwrap();
    let address = desk.workspace.http();
    let other = format!("127.0.0.1:{}", crate::support::free_port());
    let path = desk.workspace.path().join("other.toml");
    let config = config
        .replace(&address, &other)
        .replace("\"state\"", "\"state-2\"");
    std::fs::write(&path, config).unwrap();
    path
}
