//! What one generation of a ticket has found, taken and left counts once, whatever the others did.

use crate::company::Company;

const REFUSE: &str =
    "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'not now'; END $$;
                      CREATE TRIGGER no BEFORE DELETE ON letter FOR EACH ROW EXECUTE FUNCTION no()";
const ALLOW: &str = "DROP TRIGGER no ON letter; DROP FUNCTION no()";

fn fails(company: &Company, code: &str) {
    company.says(&["run", "--until-idle"], 1);
    assert_eq!(company.states(), [format!("account-1 failed {code}")]);
    company.says(&["ticket", "retry", "account-1"], 0);
}

fn ends(company: &Company) {
    company.says(&["run", "--until-idle"], 0);
    assert_eq!(company.states(), ["account-1 completed"]);
}

/// Found by the first, taken and counted by the second, whose rows did not go: the third counts nothing.
#[test]
fn what_a_later_generation_has_counted_is_not_counted_again() {
    let company = Company::open();
    company.file(&[1], "account");
    company.list.say("broken-erase", "");
    fails(&company, "E0541");
    company.list.unsay("broken-erase");
    company.server.execute(&company.shop, REFUSE);
    fails(&company, "E0508");
    assert_eq!(company.list.left(), Company::without(&[1]));
    company.server.execute(&company.shop, ALLOW);
    ends(&company);
    assert_eq!(company.certified("account-1"), (2, 6));
    company.keeps_nothing();
}

/// What the first had to leave the second takes: nothing stays.
#[test]
fn what_no_longer_stays_is_not_said_to() {
    let company = Company::open();
    company.file(&[1], "account");
    company.list.say("kept", "open-invoice");
    company.server.execute(&company.shop, REFUSE);
    fails(&company, "E0508");
    assert_eq!(company.list.left().len(), 30);
    company.list.unsay("kept");
    company.server.execute(&company.shop, ALLOW);
    ends(&company);
    assert_eq!(company.list.left(), Company::without(&[1]));
    assert_eq!(company.certified("account-1"), (2, 6));
    assert_eq!(
        company.certificate("account-1").places[0].stays().count(),
        0
    );
}

/// Of two things one stays: the probe says which.
#[test]
fn of_what_stays_only_what_is_there_is_said_to() {
    let company = Company::open();
    company.list.say("keeps", "101");
    company.file(&[1], "account");
    ends(&company);
    assert_eq!(company.certified("account-1"), (1, 6));
    let certificate = company.certificate("account-1");
    let stays = certificate.places[0].stays();
    let stays: Vec<_> = stays.map(|(_, s)| (s.things, s.reason.as_str())).collect();
    assert_eq!(stays, [(1, "open-invoice")]);
    assert!(company.list.left().contains(&"101".to_owned()));
    assert_eq!(company.list.left().len(), 29);
}

/// What comes while one thing is kept is neither kept nor left.
#[test]
fn what_comes_beside_what_stays_goes() {
    let company = Company::open();
    company.list.say("keeps", "101");
    company.list.say("comes", "201 c1@x.jp");
    company.file(&[1], "account");
    ends(&company);
    assert_eq!(company.certified("account-1"), (2, 6));
    let certificate = company.certificate("account-1");
    assert_eq!(
        certificate.places[0]
            .stays()
            .map(|(_, s)| s.things)
            .sum::<u64>(),
        1
    );
    let left = company.list.left();
    assert!(left.contains(&"101".to_owned()) && !left.contains(&"201".to_owned()));
    assert_eq!(left.len(), 29);
    company.keeps_nothing();

    // Before the certificate another thing is no more kept than before.
    let company = Company::open();
    company.list.say("keeps", "101");
    company.file(&[1], "account");
    company.dies_at("after-verifying=return");
    let list = company.list.read("list");
    company.list.say("list", &list.replace("101 ", "202 "));
    company.says(&["run", "--until-idle"], 1);
    assert_eq!(company.states(), ["account-1 failed E0510"]);
}

/// Who says that something is kept, and shows it no more, is believed.
#[test]
fn what_is_kept_and_hidden_is_not_said_to_be_gone() {
    let company = Company::open();
    company.list.say("hides", "");
    company.file(&[1], "account");
    ends(&company);
    assert_eq!(company.certified("account-1"), (0, 6));
    let certificate = company.certificate("account-1");
    assert_eq!(
        certificate.places[0]
            .stays()
            .map(|(_, s)| s.things)
            .sum::<u64>(),
        2
    );
}
