//! Files that rows name: `from = { table, column }`.

use crate::company::{Company, POLICY};
use crate::support::wait_until;
use std::path::PathBuf;
use std::time::Duration;

const SCHEMA: &str = "
CREATE TABLE avatar (id int PRIMARY KEY, customer int NOT NULL REFERENCES customer, path text, size int);
CREATE INDEX ON avatar (customer);
CREATE INDEX ON avatar (path);
INSERT INTO avatar SELECT n, n, 'a/' || n || '.png' FROM generate_series(1, 20) n;
INSERT INTO avatar VALUES (101, 1, 'a/1b.png'), (102, 2, 'default.png'), (103, 3, 'default.png'),
                          (104, 1, NULL), (105, 1, ''), (106, 1, 'a/1b.png'), (107, 1, 'a/never.png');
";

const PLACE: &str = r#"
[[table]]
name   = "shop.public.avatar"
action = "delete"

[[place]]
system = "files"
name   = "avatars"
from   = { table = "shop.public.avatar", column = "path", key = "img/{value}" }
"#;

struct Files {
    company: Company,
    folder: tempfile::TempDir,
}

impl Files {
    fn open() -> Self {
        Self::with("", "")
    }

    /// With more tables, and rules for them.
    fn with(schema: &str, rules: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("img/a")).unwrap();
        let system = format!(
            "[system.files]\nkind = \"object-store\"\nfolder = {:?}\n",
            folder.path()
        );
        let files = |company| Self { company, folder };
        let policy = format!("{POLICY}{PLACE}{rules}");
        let company = Company::built(&policy, &system, &format!("{SCHEMA}{schema}"));
        let files = files(company);
        for n in 1..=20 {
            files.put(&format!("a/{n}.png"));
        }
        for name in ["a/1b.png", "default.png", "a/nobodys.png"] {
            files.put(name);
        }
        files
    }

    /// All tickets that wait are one batch's, and one sweep's.
    fn one_worker(&self) {
        let path = self.company.workspace.config();
        let settings = std::fs::read_to_string(&path).unwrap();
        let one = settings.replace("attempts = 3", "attempts = 3\nworkers = 1");
        assert_ne!(one, settings);
        std::fs::write(&path, one).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("img").join(name)
    }

    fn put(&self, name: &str) {
        std::fs::write(self.path(name), "x").unwrap();
    }

    /// All are there but these.
    #[track_caller]
    fn lacks(&self, gone: &[&str]) {
        let numbered = (1..=20).map(|n| format!("a/{n}.png"));
        let others = ["a/1b.png", "default.png", "a/nobodys.png"].map(str::to_owned);
        let all = numbered.chain(others);
        let lacking: Vec<String> = all.filter(|name| !self.path(name).exists()).collect();
        assert_eq!(lacking, gone);
    }

    /// How many files a certificate says went.
    fn certified(&self, reference: &str) -> u64 {
        let certificate = self.company.certificate(reference);
        let places = certificate.places.iter();
        let files = places.filter(|p| p.system == "files");
        files.map(|p| p.found[0].erased).sum()
    }

    fn shop(&self, sql: &str) {
        self.company.server.execute(&self.company.shop, sql);
    }

    fn runs(&self) {
        self.company.says(&["run", "--until-idle"], 0);
    }
}

const OF_ONE: [&str; 2] = ["a/1.png", "a/1b.png"];

#[test]
fn what_rows_name_goes_with_them_and_what_others_name_stays() {
    let files = Files::open();
    files.company.says(&["check"], 0);
    files.company.file(&[1, 2], "account");
    let plan = files.company.says(&["plan", "--ticket", "account-1"], 0);
    let line = plan.lines().find(|line| line.contains("avatars"));
    assert!(line.is_some_and(|line| line.contains("delete 2")), "{plan}");
    files.runs();
    files.lacks(&["a/1.png", "a/2.png", "a/1b.png"]);
    assert_eq!(files.certified("account-1"), 2);
    assert_eq!(files.certified("account-2"), 1);
    files.company.keeps_nothing();
    // Nobody else names it any more.
    files.company.file(&[3], "account");
    files.runs();
    files.lacks(&["a/1.png", "a/2.png", "a/3.png", "a/1b.png", "default.png"]);
    assert_eq!(files.certified("account-3"), 2);
    // A scope without these rows takes nothing of what they name.
    files.company.file(&[4], "letters");
    files.runs();
    assert!(files.path("a/4.png").exists());
}

/// Each of two who go together leaves what both name to the other; when both have gone it is nobody's.
#[test]
fn what_two_name_who_go_together_goes_with_them() {
    let files = Files::open();
    files.one_worker();
    files.company.file(&[2, 3, 5], "account");
    files.runs();
    let gone = ["a/2.png", "a/3.png", "a/5.png", "default.png"];
    files.lacks(&gone);
    let certified = ["account-2", "account-3", "account-5"].map(|of| files.certified(of));
    // What is both's goes for whoever goes back first, or for both.
    assert_eq!(certified[2], 1);
    assert!(
        matches!(certified[..2], [1, 2] | [2, 1] | [2, 2]),
        "{certified:?}"
    );
    files.company.keeps_nothing();
    // Whoever dies between the two looks leaves it to the next.
    let files = Files::open();
    files.one_worker();
    files.company.file(&[2, 3], "account");
    files.company.dies_at("before-sign=return");
    files.runs();
    files.lacks(&["a/2.png", "a/3.png", "default.png"]);
    // Somebody who stays keeps it.
    let files = Files::open();
    files.shop("INSERT INTO avatar VALUES (201, 9, 'default.png')");
    files.company.file(&[2, 3], "account");
    files.runs();
    files.lacks(&["a/2.png", "a/3.png"]);
}

/// A row that comes to name somebody else's file too, behind the look into the place: when that one has gone as
/// well the file goes.
#[test]
fn what_a_row_comes_to_share_meanwhile_is_known() {
    let files = Files::open();
    files.company.file(&[1], "account");
    let mut daemon = files.company.workspace.process(["run", "--until-idle"]);
    let mut daemon = daemon
        .env(
            "FAILPOINTS",
            "after-place-done=1*off->1*sleep(4000)->off;before-sign=1*sleep(4000)->off",
        )
        .spawn()
        .unwrap();
    let gone = || !files.path("a/1.png").exists() && files.company.list.left().len() == 28;
    wait_until("the files to go", Duration::from_secs(60), gone);
    files.shop("UPDATE avatar SET path = 'a/6.png' WHERE id = 1");
    let row = "SELECT count(*) FROM avatar WHERE id = 1";
    wait_until("the row to go", Duration::from_secs(60), || {
        files.company.count(row) == 0
    });
    assert!(files.path("a/6.png").exists());
    files.shop("DELETE FROM avatar WHERE id = 6");
    assert!(daemon.wait().unwrap().success());
    files.lacks(&["a/1.png", "a/6.png", "a/1b.png"]);
    assert_eq!(files.company.states(), ["account-1 completed"]);
    assert_eq!(files.certified("account-1"), 3);
}

/// A sweep that has read on without somebody and broken off closes nobody who has come back to it since.
#[test]
fn who_went_back_is_swept_anew() {
    let memo =
        "CREATE TABLE memo (id int PRIMARY KEY, body text); INSERT INTO memo VALUES (1, 'M-2');";
    let files = Files::with(memo, "");
    let server = files.company.server;
    files.one_worker();
    // Read behind the shop.
    let other = server.fresh_database("other");
    let path = files.company.workspace.config();
    let settings = std::fs::read_to_string(&path).unwrap();
    let url = server.url(&other);
    std::fs::write(
        &path,
        format!("{settings}\n[system.zother]\nurl = \"{url}\"\n"),
    )
    .unwrap();
    files.company.says(&["migrate", "--only", "zother"], 0);
    files.company.file(&[2, 3, 5], "account");
    let mut daemon = files.company.workspace.process(["run", "--until-idle"]);
    let mut daemon = daemon
        .env("FAILPOINTS", "after-verifying=1*sleep(3000)->off")
        .spawn()
        .unwrap();
    let rows = "SELECT count(*) FROM customer WHERE id IN (2, 3, 5)";
    wait_until("the rows to go", Duration::from_secs(60), || {
        files.company.count(rows) == 0
    });
    let may = |may: bool| {
        let sql = format!("ALTER DATABASE {other} ALLOW_CONNECTIONS {may}");
        server.execute("postgres", &sql);
    };
    may(false);
    let sessions = format!(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = '{other}'"
    );
    server.value("postgres", &sessions);
    wait_until("what both had named to go", Duration::from_secs(60), || {
        !files.path("default.png").exists()
    });
    std::thread::sleep(Duration::from_secs(2));
    may(true);
    assert_eq!(daemon.wait().unwrap().code(), Some(1));
    let states = [
        "account-2 failed E0510",
        "account-3 completed",
        "account-5 completed",
    ];
    assert_eq!(files.company.states(), states);
}

/// The policy calls the place otherwise by then: no step comes back to it, so a person must.
#[test]
fn what_was_left_in_a_place_that_is_there_no_more_is_a_finding() {
    let files = Files::open();
    files.one_worker();
    files.company.file(&[2, 3], "account");
    files.company.dies_at("before-sign=return");
    let renamed = format!("{POLICY}{PLACE}").replace("\"avatars\"", "\"pictures\"");
    files
        .company
        .workspace
        .write_policy("customer.toml", &renamed);
    let fails = |code: &str| {
        files.company.says(&["run", "--until-idle"], 1);
        let all = ["account-2", "account-3"].map(|of| format!("{of} failed {code}"));
        assert_eq!(files.company.states(), all);
        for of in ["account-2", "account-3"] {
            files.company.says(&["ticket", "retry", of], 0);
        }
    };
    fails("E0505");
    fails("E0510");
    assert!(files.path("default.png").exists());
    std::fs::remove_file(files.path("default.png")).unwrap();
    files.runs();
    let all = ["account-2 completed", "account-3 completed"];
    assert_eq!(files.company.states(), all);
}

/// Two columns of one row name things in two places.
#[test]
fn each_place_is_looked_into_by_its_own_column() {
    let schema = "ALTER TABLE avatar ADD thumb text; CREATE INDEX ON avatar (thumb);
                  UPDATE avatar SET thumb = 't/' || id || '.png' WHERE id <= 20;";
    let rules = "
[[place]]
system = \"files\"
name   = \"thumbs\"
from   = { table = \"shop.public.avatar\", column = \"thumb\", key = \"img/{value}\" }
";
    let files = Files::with(schema, rules);
    std::fs::create_dir(files.path("t")).unwrap();
    (1..=20).for_each(|n| files.put(&format!("t/{n}.png")));
    files.company.file(&[1], "account");
    files.company.dies_at("after-named=1*off->return");
    files.runs();
    assert_eq!(files.company.states(), ["account-1 completed"]);
    files.lacks(&OF_ONE);
    let thumbs: Vec<u32> = (1..=20)
        .filter(|n| !files.path(&format!("t/{n}.png")).exists())
        .collect();
    assert_eq!(thumbs, [1]);
    let certificate = files.company.certificate("account-1");
    let places = certificate.places.iter().filter(|p| p.system == "files");
    let found = places.flat_map(|p| &p.found);
    assert_eq!(found.map(|f| f.erased).collect::<Vec<_>>(), [2, 1]);
    files.company.keeps_nothing();
}

/// Killed anywhere each file goes once, is counted once, and none is left without its row.
#[test]
fn lesson_01_killed_anywhere_no_file_is_left_behind() {
    const POINTS: &[&str] = &[
        "after-named=return",
        "after-found=return",
        "before-place-mark=return",
        "before-place-erase=return",
        "after-place-erased=return",
        "before-place-done=return",
        "after-place-done=return",
        "before-commit=return(abort)",
        "after-commit=return(abort)",
        "after-verifying=return",
        "before-sign=return",
        "after-close=return",
    ];
    std::thread::scope(|scope| {
        for points in POINTS.chunks(POINTS.len().div_ceil(2)) {
            scope.spawn(move || {
                for point in points {
                    println!("dies at {point}");
                    let files = Files::open();
                    files.company.file(&[1], "account");
                    files.company.dies_at(point);
                    let open = "SELECT count(*) FROM erasured.found WHERE encode(sealed, 'escape') LIKE '%png%'";
                    assert_eq!(files.company.control(open), "0", "{point}");
                    files.runs();
                    files.lacks(&OF_ONE);
                    assert_eq!(files.certified("account-1"), 2, "{point}");
                    files.company.keeps_nothing();
                }
            });
        }
    });
}

/// An upload between the look into the place and the lock on the rows: it is seen under the lock.
#[test]
fn what_a_row_comes_to_name_meanwhile_goes_too() {
    let files = Files::open();
    files.company.file(&[1], "account");
    let mut daemon = files.company.workspace.process(["run", "--until-idle"]);
    let mut daemon = daemon
        .env("FAILPOINTS", "after-place-done=1*off->1*sleep(4000)->off")
        .spawn()
        .unwrap();
    let gone = || !files.path("a/1.png").exists() && files.company.list.left().len() == 28;
    wait_until("the files to go", Duration::from_secs(60), gone);
    files.put("a/new.png");
    files.shop("UPDATE avatar SET path = 'a/new.png' WHERE id = 1");
    daemon.wait().unwrap();
    files.runs();
    assert_eq!(files.company.states(), ["account-1 completed"]);
    assert!(!files.path("a/new.png").exists());
    files.lacks(&OF_ONE);
    assert_eq!(files.certified("account-1"), 3);
    files.company.keeps_nothing();
}

/// A name that has changed hands between two tries is the other's.
#[test]
fn what_somebody_elses_row_names_by_now_is_theirs() {
    let files = Files::open();
    files.company.file(&[1], "account");
    files.company.dies_at("after-found=return");
    files.shop("UPDATE avatar SET path = NULL WHERE id = 1; UPDATE avatar SET path = 'a/1.png' WHERE id = 6");
    files.runs();
    files.lacks(&["a/1b.png"]);
    assert_eq!(files.company.states(), ["account-1 completed"]);
}

/// The rows have gone: what they named is known until the certificate, and by the next generation.
#[test]
fn lesson_03_a_file_that_is_back_before_the_certificate_refuses_it() {
    let files = Files::open();
    files.company.file(&[1], "account");
    files.company.dies_at("after-verifying=return");
    files.put("a/1b.png");
    files.company.says(&["run", "--until-idle"], 1);
    assert_eq!(files.company.states(), ["account-1 failed E0510"]);
    files.company.says(&["ticket", "retry", "account-1"], 0);
    files.runs();
    files.lacks(&OF_ONE);
    assert_eq!(files.company.states(), ["account-1 completed"]);
    files.company.keeps_nothing();
}

/// What a held row names is held with it, and the ticket waits.
#[test]
fn a_hold_on_a_row_keeps_what_it_names() {
    let files = Files::open();
    let hold = r#"SELECT erasured.place_row_hold('case-1', 'court-order', 'shop.public.avatar', '[{"column": "id", "op": "=", "values": ["101"]}]')"#;
    files.company.server.execute(&files.company.control, hold);
    files.runs();
    files.company.file(&[1, 2], "account");
    let daemon = files.company.daemon();
    let waits = "SELECT count(*) FROM erasured.ticket WHERE reference = 'account-1' AND problem = 'legal_hold'";
    let both = || files.company.control(waits) == "1" && !files.path("a/2.png").exists();
    wait_until(
        "one to wait and the other to go",
        Duration::from_secs(60),
        both,
    );
    drop(daemon);
    files.lacks(&["a/2.png"]);
    let release = "SELECT erasured.release_matter('case-1')";
    files
        .company
        .server
        .execute(&files.company.control, release);
    files.runs();
    files.lacks(&["a/1.png", "a/2.png", "a/1b.png"]);
    assert_eq!(files.certified("account-1"), 2);
}

/// The row that names the file stays, for the held row hangs on it: so must the file.
#[test]
fn a_hold_on_what_hangs_on_a_row_keeps_what_that_names() {
    let schema = "
CREATE TABLE report (id int PRIMARY KEY, avatar int NOT NULL REFERENCES avatar);
CREATE TABLE report_line (id int PRIMARY KEY, report int NOT NULL REFERENCES report);
INSERT INTO report VALUES (1, 101), (2, 2);
INSERT INTO report_line VALUES (1, 1), (2, 2);";
    let rules = "
[[table]]
name   = \"shop.public.report\"
action = \"delete\"

[[table]]
name   = \"shop.public.report_line\"
action = \"delete\"
";
    let files = Files::with(schema, rules);
    let hold = r#"SELECT erasured.place_row_hold('case-1', 'court-order', 'shop.public.report', '[{"column": "id", "op": "=", "values": ["1"]}]')"#;
    files.company.server.execute(&files.company.control, hold);
    files.runs();
    files.company.file(&[1, 2], "account");
    let daemon = files.company.daemon();
    wait_until("the other's to go", Duration::from_secs(60), || {
        !files.path("a/2.png").exists()
    });
    std::thread::sleep(Duration::from_secs(2));
    drop(daemon);
    files.lacks(&["a/2.png"]);
    let release = "SELECT erasured.release_matter('case-1')";
    files
        .company
        .server
        .execute(&files.company.control, release);
    files.runs();
    files.lacks(&["a/1.png", "a/2.png", "a/1b.png"]);
}

#[test]
fn check_says_what_does_not_fit() {
    let files = Files::open();
    let rule = "[[table]]\nname   = \"shop.public.avatar\"\naction = \"delete\"\n";
    let tried = |from: &str, to: &str, code: &str, words: &str| {
        let policy = format!("{POLICY}{PLACE}");
        let changed = policy.replacen(from, to, 1);
        assert_ne!(changed, policy);
        files
            .company
            .workspace
            .write_policy("customer.toml", &changed);
        let said = files
            .company
            .workspace
            .erasured(["check"])
            .output()
            .unwrap();
        assert!(!said.status.success());
        let said = String::from_utf8([said.stdout, said.stderr].concat()).unwrap();
        assert!(
            said.contains(code) && said.contains(words),
            "{code} {words}: {said}"
        );
    };
    let scope = "tables = [\"newsletter.subscriptions\"]";
    let rows = "tables = [\"newsletter.subscriptions\", \"shop.public.avatar\"]";
    tried(scope, rows, "E0273", "letters");
    tried("\"path\", key", "\"pat\", key", "E0203", "path");
    tried("\"path\", key", "\"size\", key", "E0273", "integer");
    tried(rule, "", "E0273", "no rule says");
    let retain = rule.replace(
        "\"delete\"",
        "\"retain\"\nuntil = { column = \"path\", plus = \"1 year\" }\nbecause = \"jp-ctax-7\"\nthen = \"delete\"",
    );
    tried(rule, &retain, "E0273", "retained");
    let kept = rule.replace("\"delete\"", "\"anonymize\"\nset = { size = \"null\" }");
    tried(rule, &kept, "E0273", "its rows stay and keep");
    tried("img/{value}", "img/{path}", "E0106", "{value}");
}
