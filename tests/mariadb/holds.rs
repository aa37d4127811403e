//! Legal holds on rows of a MariaDB system.

use crate::company::Company;

#[test]
fn a_held_row_stays_and_so_does_what_hangs_with_it() {
    let company = Company::open();
    company.hold(
        "crm.quote",
        r#"[{"column": "price", "op": "=", "values": ["3"]}]"#,
    );
    company.file(&[3, 5]);
    company.says(&["run", "--until-idle"], 0);
    let states = company.states();
    assert!(states[0].starts_with("T-3 on_hold"), "{states:?}");
    assert_eq!(states[1], "T-5 completed");
    assert_eq!(company.crm.count("SELECT COUNT(*) FROM crm.quote WHERE price = 3 AND name = 'Name 3' AND contact IS NOT NULL"), 1);
    assert_eq!(
        company
            .crm
            .count("SELECT COUNT(*) FROM crm.contact WHERE member_no = 'M-3'"),
        1
    );
}
