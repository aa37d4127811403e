//! What `--help` teaches, as a reviewer reads it.

use crate::support::erasured;

#[test]
fn every_command_explains_itself() {
    let mut pages = String::new();
    for command in [
        "",
        "run",
        "check",
        "explain",
        "discover",
        "plan",
        "ticket",
        "ticket submit",
        "ticket verify",
        "ticket approve",
        "ticket reject",
        "ticket retry",
        "ticket acknowledge",
        "ticket ask",
        "ticket answered",
        "ticket extend",
        "ticket notice",
        "ticket script",
        "ticket list",
        "ticket show",
        "certificate",
        "certificate list",
        "certificate show",
        "certificate verify",
        "certificate find",
        "ledger",
        "ledger verify",
        "ledger head",
        "sweep",
        "migrate",
        "keygen",
        "keygen signing",
        "keygen hash",
        "keygen token",
        "keygen api-token",
        "openapi",
        "completions",
    ] {
        let output = erasured()
            .args(command.split_whitespace())
            .arg("--help")
            .output()
            .unwrap();
        assert!(output.status.success(), "{command}");
        let page = String::from_utf8(output.stdout).unwrap();
        pages.push_str(&format!("━━━ erasured {command} --help\n{page}\n"));
    }
    insta::assert_snapshot!(pages);
}

#[test]
fn shells_get_completions() {
    for shell in ["bash", "zsh", "fish"] {
        let output = erasured().args(["completions", shell]).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(
            output.status.success() && text.contains("certificate") && text.contains("explain"),
            "{shell}"
        );
    }
}

#[test]
fn a_wrong_argument_is_exit_code_2() {
    erasured().arg("destroy").assert().code(2);
    erasured().args(["keygen", "hash"]).assert().code(2);
}

#[test]
fn a_variable_set_to_nothing_is_not_set() {
    let mut check = erasured();
    check.env("ERASURED_CONFIG", "").env("ERASURED_CONTROL", "");
    let said = check.arg("ledger").arg("verify").assert().code(2);
    let said = String::from_utf8_lossy(&said.get_output().stderr).into_owned();
    assert!(said.contains("/etc/erasured/erasured.toml"), "{said}");
}

#[test]
fn a_reader_who_has_seen_enough_is_no_error() {
    let program = erasured().get_program().to_owned();
    let output = std::process::Command::new("bash")
        .args(["-c", "\"$0\" completions bash | head -c 10"])
        .arg(program)
        .output()
        .unwrap();
    assert_eq!(output.stdout.len(), 10);
    assert!(output.stderr.is_empty(), "{:?}", output.stderr);
}
