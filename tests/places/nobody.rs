//! What a system names of a person is erased: so it is not believed if it names somebody else's.

use crate::company::Company;

/// A program that does not look for what it is asked.
#[test]
fn a_system_that_names_everybody_is_asked_about_nobody() {
    let company = Company::open();
    company.says(&["check"], 0);
    company.list.say("everybody", "");
    let said = company.says(&["check"], 1);
    assert!(
        said.contains("E0542") && said.contains("newsletter.subscriptions"),
        "{said}"
    );
    company.file(&[1, 2], "account");
    company.says(&["run", "--until-idle"], 1);
    let failed = ["account-1 failed E0542", "account-2 failed E0542"];
    assert_eq!(company.states(), failed);
    assert_eq!(company.list.left().len(), 30);
    assert_eq!(company.count("SELECT count(*) FROM customer"), 20);
    let calls = company.list.read("calls");
    assert!(!calls.contains("erase"), "{calls}");
    company.list.unsay("everybody");
    for ticket in ["account-1", "account-2"] {
        company.says(&["ticket", "retry", ticket], 0);
    }
    company.says(&["run", "--until-idle"], 0);
    assert_eq!(company.list.left(), Company::without(&[1, 2]));
    assert_eq!(company.certified("account-1"), (2, 6));
}

/// It begins to name everybody when one group is done: the next one is asked about nobody.
#[test]
fn before_each_group_it_is_asked_anew() {
    let company = Company::open();
    company.file(&[1], "account");
    company.says(&["run", "--until-idle"], 0);
    company.list.say("everybody", "");
    company.file(&[2], "letters");
    company.says(&["run", "--until-idle"], 1);
    assert_eq!(company.states()[1], "letters-2 failed E0542");
    assert_eq!(company.list.left(), Company::without(&[1]));
}
