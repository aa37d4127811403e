//! Questions at a terminal: that they are asked there, and only there.

use crate::desk::{Desk, stderr, stdout, submit};
use assert_cmd::Command;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use std::fs::File;
use std::io::{Read, Write};
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// A program on a terminal of its own.
struct Terminal {
    keyboard: File,
    screen: Arc<Mutex<String>>,
    child: Child,
}

impl Terminal {
    fn runs(command: &Command) -> Self {
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&ours).unwrap();
        unlockpt(&ours).unwrap();
        let name = ptsname(&ours, Vec::new()).unwrap();
        let theirs = File::options()
            .read(true)
            .write(true)
            .open(name.to_str().unwrap())
            .unwrap();
        let mut program = std::process::Command::new(command.get_program());
        program.args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => program.env(name, value),
                None => program.env_remove(name),
            };
        }
        let side = || Stdio::from(theirs.try_clone().unwrap());
        let child = program.stdin(side()).stdout(side()).stderr(side()).spawn();
        let keyboard = File::from(ours);
        let screen = Arc::new(Mutex::new(String::new()));
        let (mut from, to) = (keyboard.try_clone().unwrap(), Arc::clone(&screen));
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            // The terminal ends with its last program, by an error.
            while let Ok(n @ 1..) = from.read(&mut bytes) {
                let text = String::from_utf8_lossy(&bytes[..n]);
                to.lock().unwrap().push_str(&text);
            }
        });
        Self {
            keyboard,
            screen,
            child: child.unwrap(),
        }
    }

    /// Waits for this on the screen.
    fn shows(&self, text: &str) {
        let since = Instant::now();
        while !self.screen.lock().unwrap().contains(text) {
            let screen = self.screen.lock().unwrap().clone();
            assert!(
                since.elapsed() < Duration::from_secs(30),
                "{text} is not on the screen: {screen}"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Types a line; gives all that was on the screen in the end, and the exit code.
    fn types(mut self, line: &str) -> (String, i32) {
        // Echo goes off after the question has come.
        std::thread::sleep(Duration::from_millis(300));
        self.keyboard.write_all(line.as_bytes()).unwrap();
        self.keyboard.write_all(b"\n").unwrap();
        let code = self.child.wait().unwrap().code().unwrap();
        std::thread::sleep(Duration::from_millis(100));
        (self.screen.lock().unwrap().clone(), code)
    }
}

const APPROVE: [&str; 3] = ["ticket", "approve", "R-1"];

/// A desk at which more rows than this are confirmed.
fn confirming(over: u32) -> Desk {
    let desk = Desk::open(120);
    let file = desk.workspace.path().join("policies/customer.toml");
    let policy = std::fs::read_to_string(&file).unwrap();
    let with = format!("[scope.account]\nconfirm_over = {over}");
    std::fs::write(&file, policy.replacen("[scope.account]", &with, 1)).unwrap();
    desk.run_until_idle().assert().success();
    desk
}

fn forecasts(desk: &Desk) -> String {
    let sql = "SELECT count(*) FROM erasured.forecast";
    desk.server.value(desk.control(), sql)
}

fn is_refused(desk: &Desk, why: &str) {
    let said = stderr(desk.as_person("kenji", APPROVE), 2);
    assert!(said.contains("E0420") && said.contains(why), "{said}");
    assert!(
        said.contains("--yes") && said.contains("erasured plan"),
        "{said}"
    );
    assert_eq!(desk.ticket("R-1", "state"), "verified");
}

#[test]
fn many_rows_are_approved_by_typing_the_number_back() {
    let desk = confirming(5);
    // Named by e-mail: what is typed back is the member number all the same.
    let email = desk
        .server
        .value(&desk.demo.shop, "SELECT email FROM customer WHERE id = 5");
    desk.ask("R-1", &format!("email={email}"));
    is_refused(&desk, "in a moment");
    desk.run_until_idle().assert().success();
    assert_eq!(forecasts(&desk), "1");
    let rows: i64 = desk
        .server
        .count(desk.control(), "SELECT rows FROM erasured.forecast");
    assert!(rows > 5, "{rows}");
    // Piped: nobody is asked, and nothing waits.
    is_refused(&desk, &format!("it would touch {rows} rows"));
    is_refused(&desk, "no terminal");

    desk.server
        .execute("postgres", "ALTER ROLE kenji SET log_statement = 'all'");
    let terminal = Terminal::runs(&desk.as_person("kenji", APPROVE));
    terminal.shows("Type the member_no");
    let (screen, code) = terminal.types("TM-0000006");
    assert_eq!(code, 2, "{screen}");
    assert!(
        screen.contains("E0420") && !screen.contains("0000006"),
        "{screen}"
    );
    assert_eq!(desk.ticket("R-1", "state"), "verified");

    let terminal = Terminal::runs(&desk.as_person("kenji", APPROVE));
    terminal.shows("Type the member_no");
    let (screen, code) = terminal.types("ｔｍ－００００００５");
    assert_eq!(code, 0, "{screen}");
    assert!(
        screen.contains("R-1: approved") && !screen.contains("０５"),
        "{screen}"
    );
    assert_eq!(desk.ticket("R-1", "state"), "approved");
    assert_eq!(forecasts(&desk), "0", "what was typed back is forgotten");

    // Not in the server's log either, which has every statement and parameter of his.
    let log = std::fs::read_to_string(desk.server.log()).unwrap();
    let (_, his) = log
        .split_once("is_typed_back")
        .expect("his statements are logged");
    for typed in ["0000006", "0000005", "００００００５", "tm0000005"] {
        assert!(!his.contains(typed), "{typed}");
    }
}

#[test]
fn a_number_is_not_guessed() {
    let desk = confirming(5);
    desk.ask("R-1", "member_no=TM-0000005");
    desk.run_until_idle().assert().success();
    for n in 10..15 {
        let terminal = Terminal::runs(&desk.as_person("kenji", APPROVE));
        terminal.shows("Type the member_no");
        let (screen, code) = terminal.types(&format!("TM-00000{n}"));
        assert_eq!(code, 2, "{screen}");
    }
    let terminal = Terminal::runs(&desk.as_person("kenji", APPROVE));
    terminal.shows("Type the member_no");
    let (screen, code) = terminal.types("TM-0000005");
    assert!(code == 2 && screen.contains("ER002"), "{screen}");
    let sql = "SELECT has_column_privilege('kenji', 'erasured.forecast', 'digest', 'SELECT')::text";
    assert_eq!(desk.server.value(desk.control(), sql), "false");
    let yes = ["ticket", "approve", "R-1", "--yes"];
    stdout(desk.as_person("kenji", yes));
    assert_eq!(desk.ticket("R-1", "state"), "approved");
}

#[test]
fn few_rows_are_approved_without_a_question() {
    let desk = confirming(100_000);
    desk.ask("R-1", "member_no=TM-0000005");
    desk.run_until_idle().assert().success();
    stdout(desk.as_person("kenji", APPROVE));
    desk.ask("R-2", "member_no=TM-0000007");
    desk.run_until_idle().assert().success();
    assert_eq!(forecasts(&desk), "1");
    stdout(desk.as_person("kenji", ["ticket", "reject", "R-2", "--reason", "contract"]));
    assert_eq!(forecasts(&desk), "0");
}

/// Rows that are confirmed from now on are counted of what waits for an approval already, and of what was
/// approved and has to be once more.
#[test]
fn whoever_approves_once_more_is_asked_too() {
    let desk = Desk::open(120);
    desk.ask("R-1", "member_no=TM-0000005");
    desk.run_until_idle().assert().success();
    assert_eq!(forecasts(&desk), "0");
    let file = desk.workspace.path().join("policies/customer.toml");
    let policy = std::fs::read_to_string(&file).unwrap();
    let with = "[scope.account]\nconfirm_over = 5";
    std::fs::write(&file, policy.replacen("[scope.account]", with, 1)).unwrap();
    desk.run_until_idle().assert().success();
    is_refused(&desk, "no terminal");
    let types = || {
        let terminal = Terminal::runs(&desk.as_person("kenji", APPROVE));
        terminal.shows("Type the member_no");
        let (screen, code) = terminal.types("TM-0000005");
        assert_eq!(code, 0, "{screen}");
        assert_eq!(forecasts(&desk), "0");
    };
    types();

    let method = desk.ticket("R-1", "verified_by_method");
    desk.workspace.write_policy(
        "identity.toml",
        &format!(
            "[method.{method}]\nlevel = \"basic\"\ndemands = \"knowledge\"\nask = [\"name\"]\n\
             ja = \"a\"\nen = \"a\"\nsource = \"our own rule\"\nsure = \"sure\"\n"
        ),
    );
    desk.run_until_idle().assert().code(1);
    assert_eq!(desk.ticket("R-1", "problem_code"), "E0513");
    // If a daemon is at rest when it fails, the next one counts.
    desk.run_until_idle();
    let verify = [
        "ticket",
        "verify",
        "R-1",
        "--method",
        "jpki",
        "--reason",
        "asked-again",
    ];
    stdout(desk.as_person("hana", verify));
    types();
    stdout(desk.as_person("hana", ["ticket", "retry", "R-1"]));
    desk.run_until_idle().assert().success();
    assert_eq!(forecasts(&desk), "0");
}

/// A system that is away is asked again later; and what was counted stays as it was told.
#[test]
fn rows_are_counted_once_and_when_the_systems_are_there() {
    let desk = confirming(5);
    let away = |login: &str| {
        let sql = format!(
            "ALTER DATABASE {} ALLOW_CONNECTIONS {login}",
            desk.demo.loyalty
        );
        desk.server.execute("postgres", &sql);
    };
    desk.ask("R-1", "member_no=TM-0000005");
    away("false");
    let _ = desk.run_until_idle().output();
    away("true");
    let counted =
        "SELECT count(*) FROM erasured.forecast WHERE counted_at IS NOT NULL AND rows IS NULL";
    assert_eq!(desk.server.count(desk.control(), counted), 0);
    desk.run_until_idle().assert().success();
    let rows = "SELECT rows FROM erasured.forecast";
    assert!(desk.server.count(desk.control(), rows) > 5);
}

#[test]
fn a_method_or_reason_that_is_missing_is_offered() {
    let desk = Desk::open(120);
    stdout(desk.as_person("hana", submit("R-1", "member_no=TM-0000005")));
    let verify = ["ticket", "verify", "R-1"];
    let said = stderr(desk.as_person("hana", verify), 2);
    assert!(
        said.contains("--method is missing") && said.contains("login_reauth"),
        "{said}"
    );
    assert!(
        !said.contains("id_plus_2nd") && !said.contains("name_contact"),
        "{said}"
    );
    let terminal = Terminal::runs(&desk.as_person("hana", verify));
    terminal.shows("--method, by number or name: ");
    let (screen, code) = terminal.types("");
    assert!(code == 2 && screen.contains("nothing is done"), "{screen}");
    let terminal = Terminal::runs(&desk.as_person("hana", verify));
    terminal.shows("authenticated again just before");
    let (screen, code) = terminal.types("login_reauth");
    assert_eq!(
        (desk.ticket("R-1", "state").as_str(), code),
        ("verified", 0),
        "{screen}"
    );

    let reject = ["ticket", "reject", "R-1"];
    let said = stderr(desk.as_person("kenji", reject), 2);
    assert!(
        said.contains("--reason is missing") && said.contains("appi-no-ground"),
        "{said}"
    );
    let terminal = Terminal::runs(&desk.as_person("kenji", reject));
    terminal.shows("--reason, by number or name: ");
    let (screen, code) = terminal.types("1");
    assert_eq!(
        (desk.ticket("R-1", "rejected_for").as_str(), code),
        ("appi-34-2", 0),
        "{screen}"
    );
}
