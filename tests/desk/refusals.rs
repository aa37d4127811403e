//! "It is against the law, I shall report you." Why somebody may ask, why the company may refuse, and
//! where to complain: by codes that somebody has thought about, with words to read aloud. And a customer
//! may change their mind.

use crate::desk::{Desk, stderr, stdout, submit};

fn reject<'a>(reference: &'a str, reason: &'a str) -> [&'a str; 5] {
    ["ticket", "reject", reference, "--reason", reason]
}

#[test]
fn a_refusal_has_a_known_reason_its_words_and_where_to_complain() {
    let desk = Desk::open(120);
    let mut file = submit("R-1", "member_no=TM-0000005").to_vec();
    file[9] = "because";
    let said = stderr(desk.as_person("hana", file.clone()), 2);
    assert!(
        said.contains("ER006") && said.contains("appi-35-5"),
        "{said}"
    );
    file[9] = "appi-35-5";
    file.extend(["--language", "ja"]);
    stdout(desk.as_person("hana", file));

    let said = stderr(desk.as_person("kenji", reject("R-1", "because")), 2);
    assert!(
        said.contains("ER006") && said.contains("gdpr-17-3-e"),
        "{said}"
    );
    stdout(desk.as_person("kenji", reject("R-1", "appi-no-ground")));
    assert_eq!(desk.ticket("R-1", "rejected_for"), "appi-no-ground");
    let shown = stdout(desk.as_person("hana", ["ticket", "show", "R-1"]));
    assert!(
        shown.contains("法律が定める消去の事由にあたらないため")
            && shown.contains("個人情報保護委員会"),
        "{shown}"
    );
}

/// The company has a reason of its own, and does without another.
#[test]
fn the_reasons_are_the_companys() {
    let desk = Desk::open(120);
    desk.workspace.write_policy(
        "grounds.toml",
        "[refusal.in-dispute]\nja = \"係争中のため\"\nen = \"we are in dispute\"\ncomplain = \"jp\"\nsource = \"own\"\nsure = \"check\"\n\
         [refusal.contract]\noffered = false\n",
    );
    desk.run_until_idle().assert().success();
    stdout(desk.as_person("hana", submit("R-1", "member_no=TM-0000005")));
    let said = stderr(desk.as_person("kenji", reject("R-1", "contract")), 2);
    assert!(
        said.contains("ER006") && said.contains("in-dispute"),
        "{said}"
    );
    stdout(desk.as_person("kenji", reject("R-1", "in-dispute")));
    let shown = stdout(desk.as_person("hana", ["ticket", "show", "R-1"]));
    assert!(shown.contains("we are in dispute"), "{shown}");
}

/// Until something has been erased; the desk needs nobody for it, and can refuse nothing by it.
#[test]
fn who_changes_their_mind_is_let_go() {
    let desk = Desk::open(120);
    desk.file("R-1", "member_no=TM-0000005");
    let said = stderr(desk.as_person("auditor", ["ticket", "withdraw", "R-1"]), 2);
    assert!(said.contains("42501"), "{said}");
    stdout(desk.as_person("hana", ["ticket", "withdraw", "R-1"]));
    assert_eq!(desk.ticket("R-1", "state"), "rejected");
    assert_eq!(desk.ticket("R-1", "rejected_for"), "withdrawn");
    let by = "SELECT by_name || ' ' || by_role FROM erasured.decision WHERE kind = 'reject'";
    assert_eq!(desk.server.value(desk.control(), by), "hana erasured_desk");
    let values = "SELECT count(*) FROM erasured.ticket_identifier WHERE value IS NOT NULL";
    assert_eq!(desk.server.value(desk.control(), values), "0");

    desk.file("R-2", "member_no=TM-0000005");
    desk.run_until_idle().assert().success();
    let said = stderr(desk.as_person("hana", ["ticket", "withdraw", "R-2"]), 2);
    assert!(said.contains("ER002"), "{said}");
}
