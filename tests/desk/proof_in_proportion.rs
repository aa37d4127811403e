//! "No other company asks for a licence." "It is me, why can't you delete it at once?" Proof as
//! the request deserves, neither more nor less.

use crate::desk::{Desk, stderr, stdout, submit};

fn verify<'a>(reference: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["ticket", "verify", reference, "--method"], more].concat()
}

/// Mr Sato leaves the newsletter. Name and telephone number are enough; a licence would be too much,
/// unless there is a reason, and that is on record.
#[test]
fn a_newsletter_needs_no_licence() {
    let desk = Desk::open(120);
    let mut file = submit("N-1", "member_no=TM-0000005");
    file[7] = "marketing";
    stdout(desk.as_person("hana", file));

    for (method, what) in [("id_masked", "document"), ("in_person", "presence")] {
        let said = stderr(desk.as_person("hana", verify("N-1", &[method])), 2);
        assert!(said.contains("ER011"), "{said}");
        assert!(
            said.contains(what) && said.contains("basic is enough"),
            "{said}"
        );
        assert!(
            said.contains("name_contact"),
            "what is enough instead: {said}"
        );
        assert!(!said.contains("in_person,"), "{said}");
    }
    assert_eq!(desk.ticket("N-1", "state"), "received");

    // Prose would stand in the history for ever.
    let prose = verify("N-1", &["id_masked", "--reason", "Mr Sato insisted"]);
    let said = stderr(desk.as_person("hana", prose), 2);
    assert!(said.contains("ER006"), "{said}");
    let coded = verify("N-1", &["id_masked", "--reason", "came-by-himself"]);
    stdout(desk.as_person("hana", coded));
    let reason = "SELECT reason FROM erasured.decision WHERE method = 'id_masked'";
    assert_eq!(desk.server.value(desk.control(), reason), "came-by-himself");

    desk.approve("N-1");
    assert_eq!(desk.ticket("N-1", "state"), "approved");
}

/// For the whole account a call back alone is not enough, whatever the agent would like to state.
#[test]
fn how_far_a_method_reaches_is_not_the_agents_to_say() {
    let desk = Desk::open(120);
    stdout(desk.as_person("hana", submit("A-1", "member_no=TM-0000005")));
    stdout(desk.as_person("hana", verify("A-1", &["callback"])));
    assert_eq!(desk.ticket("A-1", "verified_level"), "reasonable");
    let said = stderr(desk.as_person("kenji", ["ticket", "approve", "A-1"]), 2);
    assert!(said.contains("ER007"), "{said}");
    let stated = verify("A-1", &["callback", "--level", "high"]);
    let said = stderr(desk.as_person("hana", stated), 2);
    assert!(said.contains("--level"), "{said}");

    // Mandates reach nothing by themselves: the agent's own identity is what counts.
    stdout(desk.as_person("hana", verify("A-1", &["agent"])));
    assert_eq!(desk.ticket("A-1", "verified_level"), "reasonable");
    stdout(desk.as_person("hana", verify("A-1", &["id_plus_2nd"])));
    assert_eq!(desk.ticket("A-1", "verified_level"), "reasonably-high");
    desk.approve("A-1");
}

/// Approved by a method that turns out to reach less: on the day of the erasure it counts for that.
#[test]
fn a_method_that_has_come_to_reach_less_is_not_enough_any_more() {
    let desk = Desk::open(120);
    desk.file("A-1", "member_no=TM-0000005");
    let method = desk.ticket("A-1", "verified_by_method");
    desk.workspace.write_policy(
        "identity.toml",
        &format!(
            "[method.{method}]\nlevel = \"basic\"\ndemands = \"knowledge\"\nask = [\"name\"]\n\
             ja = \"a\"\nen = \"a\"\nsource = \"our own rule\"\nsure = \"sure\"\n"
        ),
    );
    desk.run_until_idle().assert().code(1);
    assert_eq!(desk.ticket("A-1", "problem_code"), "E0513");
    stdout(desk.as_person("hana", verify("A-1", &["jpki", "--reason", "asked-again"])));
    desk.approve("A-1");
    stdout(desk.as_person("hana", ["ticket", "retry", "A-1"]));
    desk.run_until_idle().assert().success();
}

/// Which methods there are is the company's to say, in a file beside its policies.
#[test]
fn methods_are_the_companys() {
    let desk = Desk::open(120);
    desk.workspace.write_policy(
        "identity.toml",
        "[method.callback]\noffered = false\n\n[method.fax]\nlevel = \"reasonable\"\ndemands = \"knowledge\"\n\
         ask = [\"name\"]\nja = \"ファクス\"\nen = \"fax\"\nsource = \"our own rule\"\nsure = \"sure\"\n",
    );
    desk.run_until_idle().assert().success();
    stdout(desk.as_person("hana", submit("A-1", "member_no=TM-0000005")));
    let said = stderr(desk.as_person("hana", verify("A-1", &["callback"])), 2);
    assert!(said.contains("ER006") && said.contains("fax"), "{said}");
    assert!(!said.contains("callback,"), "{said}");
    stdout(desk.as_person("hana", verify("A-1", &["fax"])));
    assert_eq!(desk.ticket("A-1", "verified_level"), "reasonable");

    // A mistake in it is told with its place, and nothing comes into force.
    desk.workspace.write_policy(
        "identity.toml",
        "[method.card]\nlevel = \"high\"\ndemands = \"document\"\nask = [\"my_number\"]\n\
         ja = \"a\"\nen = \"a\"\nsource = \"a\"\nsure = \"sure\"\n",
    );
    let said = stderr(desk.erasured(["check"]), 2);
    assert!(
        said.contains("E0122") && said.contains("identity.toml:4"),
        "{said}"
    );
}
