//! The README's commands do what it says.

use crate::support::{Server, erasured, repository};
use std::path::Path;
use std::process::Command;

/// The block whose first line is this comment.
fn block(readme: &str, first_line: &str) -> String {
    readme
        .split("```")
        .filter_map(|block| block.split_once('\n').map(|(_, text)| text))
        .find(|text| text.starts_with(first_line))
        .unwrap_or_else(|| panic!("README.md has no block that begins with {first_line}"))
        .to_owned()
}

fn readme() -> String {
    std::fs::read_to_string(repository().join("README.md")).unwrap()
}

#[test]
fn a_first_policy_on_a_database_of_ones_own() {
    let server = Server::start();
    server.create_database("app", "UTF8");
    server.execute(
        "app",
        "CREATE TABLE person (id int PRIMARY KEY, email text NOT NULL UNIQUE, name text);
         CREATE TABLE letter (id int PRIMARY KEY, person_id int NOT NULL REFERENCES person, body text);
         INSERT INTO person VALUES (1, 'Taro@Example.jp', '山田 太郎'), (2, 'hana@example.jp', '山田 花子');
         INSERT INTO letter VALUES (1, 1, 'to taro'), (2, 1, 'to taro again'), (3, 2, 'to hana')",
    );
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("policies")).unwrap();
    let readme = readme();
    for file in ["erasured.toml", "policies/person.toml"] {
        let text = block(&readme, &format!("# {file}"));
        std::fs::write(folder.path().join(file), text).unwrap();
    }
    let script = format!("set -euo pipefail\n{}", block(&readme, "# commands"));
    let program = erasured().get_program().to_owned();
    let output = Command::new("bash")
        .args(["-c", &script])
        .current_dir(folder.path())
        .env("PATH", path_with(Path::new(&program)))
        .env("PGHOST", server.socket_dir())
        .env("PGPORT", server.port().to_string())
        .env("PGUSER", "postgres")
        .env_remove("ERASURED_CONTROL")
        .output()
        .unwrap();
    let said = format!(
        "{}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.status.success(), "{said}");
    assert!(said.contains("genuine: certificate"), "{said}");
    assert_eq!(
        server.value("app", "SELECT string_agg(id::text, ' ') FROM person"),
        "2"
    );
    assert_eq!(
        server.value("app", "SELECT string_agg(id::text, ' ') FROM letter"),
        "3"
    );
}

fn path_with(program: &Path) -> std::ffi::OsString {
    let mut path = program.parent().unwrap().as_os_str().to_owned();
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap_or_default());
    path
}

/// `make demo` to its end, by its own script, with the program under test; nothing stays behind.
#[test]
fn the_demo_tells_its_story() {
    let output = Command::new("make")
        .arg("demo")
        .current_dir(repository())
        .env("CUSTOMERS", "700")
        .env("ERASURED_BIN", erasured().get_program())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{said}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    for part in [
        "public.booking_companion", // the plan as a tree
        "CRM-1: no match",          // the desk: proof
        "CRM-1: match",
        "以前からご登録いただいている番号", // what to say
        "All points that you have collected lapse",
        "For a legal reason", // the hold
        "消去を終えましたので",
        "make stories",
        "E0510",                           // the residual
        "Signature Verified Successfully", // openssl
        "the ledger is whole",
        "erasured_sla_met_total{profile=\"jp-appi\"} 3",
        "500 people erased from two databases",
        "MariaDB: 99 contacts, 297 visits of theirs",
        "Redis: session:TM-0000016 session:TM-0000017 and 2 online; files: 4",
        "What was done crm",
        "Done in",
    ] {
        assert!(
            said.contains(part),
            "the demo does not say {part:?}:\n{said}"
        );
    }
    let folder = said
        .split_once("/tmp/erasured-demo.")
        .map(|(_, rest)| format!("/tmp/erasured-demo.{}", &rest[..8]))
        .unwrap();
    assert!(!Path::new(&folder).exists(), "{folder} is still there");
}

/// Ctrl-C at any moment: no process and no folder of the demo is left.
#[test]
fn an_interrupted_demo_leaves_nothing() {
    use std::os::unix::process::CommandExt;
    for seconds in [1, 4, 7] {
        // Who starts tests in the background has them ignore it.
        let mut demo = Command::new("env")
            .args(["--default-signal=INT", "scripts/demo.sh"])
            .current_dir(repository())
            .env("CUSTOMERS", "700")
            .env("ERASURED_BIN", erasured().get_program())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::null())
            .process_group(0)
            .spawn()
            .unwrap();
        std::thread::sleep(std::time::Duration::from_secs(seconds));
        // The terminal signals the foreground group, which is the script alone. Bash's own kill:
        // that of procps 4.0.2 reads a negative number's first digit alone, and 1 means everybody.
        Command::new("bash")
            .args(["-c", "kill -INT -- \"-$0\"", &demo.id().to_string()])
            .status()
            .unwrap();
        let output = demo.stdout.take().unwrap();
        assert!(!demo.wait().unwrap().success(), "it is cut short");
        let said = std::io::read_to_string(output).unwrap();
        let Some((_, rest)) = said.split_once("/tmp/erasured-demo.") else {
            continue;
        };
        let folder = format!("/tmp/erasured-demo.{}", &rest[..8]);
        assert!(
            !Path::new(&folder).exists(),
            "{folder} is left after {seconds} s"
        );
        let left = Command::new("pgrep")
            .args(["-f", &folder])
            .output()
            .unwrap();
        assert!(
            left.stdout.is_empty(),
            "processes are left after {seconds} s"
        );
    }
}

#[test]
fn the_make_targets_that_it_names_exist() {
    let makefile = std::fs::read_to_string(repository().join("Makefile")).unwrap();
    let readme = readme();
    for line in readme.lines() {
        for word in line.split('`').filter(|w| w.starts_with("make ")) {
            let target = word.split_whitespace().nth(1).unwrap();
            assert!(makefile.contains(&format!("\n{target}:")), "{word}");
        }
    }
}
