//! Whatever dies, each step is done once, and its counts are right.

use crate::company::Company;

fn goes_on(company: &Company) {
    company.says(&["run", "--until-idle"], 0);
    company.was_done_once();
}

#[test]
fn killed_before_and_after_commit() {
    for at in [
        "mariadb-before-change=panic",
        "mariadb-before-commit=return(abort)",
        "mariadb-after-last-word=panic",
        "mariadb-after-commit=return(abort)",
    ] {
        let company = Company::open();
        company.file(&[3]);
        let mut daemon = company.workspace.erasured(["run", "--until-idle"]);
        daemon.env("FAILPOINTS", at).output().unwrap();
        goes_on(&company);
    }
}

/// The answer to COMMIT is lost: the server's own row says that it happened.
#[test]
fn a_lost_answer_is_read_from_the_row() {
    let company = Company::open();
    company.file(&[3]);
    let mut daemon = company.workspace.erasured(["run", "--until-idle"]);
    let output = daemon
        .env("FAILPOINTS", "mariadb-after-commit=1*return(lost)")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("the answer to COMMIT was lost"), "{said}");
    goes_on(&company);
}
