//! The sweep finds people in MariaDB where no policy looked.

use crate::company::Company;

#[test]
fn what_no_policy_named_is_found_wherever_it_stands() {
    let company = Company::open();
    company.crm.execute(
        "CREATE DATABASE blog CHARACTER SET latin1; GRANT SELECT, TRIGGER ON blog.* TO 'erasured'@'127.0.0.1';
         CREATE TABLE blog.post (author INT, nr INT, body LONGTEXT CHARACTER SET utf8mb4, PRIMARY KEY (author, nr));
         ",
    );
    company.crm.execute("USE blog; INSERT INTO post SELECT seq DIV 100, seq, CONCAT('post ', seq) FROM seq_1_to_12000; UPDATE post SET body = 'write to c3@x.jp' WHERE nr = 11999");
    company.crm.execute("CREATE TABLE blog.old (raw VARBINARY(200), doc JSON, kind ENUM('a','b')) ENGINE = Aria; INSERT INTO blog.old VALUES (UNHEX('FF00'), '{\"to\": \"c3\\\\u0040x.jp\"}', 'a')");
    company.file(&[3, 5]);
    company.says(&["run", "--until-idle"], 1);
    assert_eq!(company.states(), ["T-3 failed E0510", "T-5 completed"]);
    let shown = company.says(&["ticket", "show", "T-3"], 0);
    assert!(
        shown.contains("blog.post") && shown.contains("author=119, nr=11999"),
        "{shown}"
    );
    assert!(shown.contains("blog.old"), "{shown}");
    let certificate = company.certificate("T-5");
    let crm = certificate
        .sweep
        .iter()
        .find(|s| s.system == "crm")
        .unwrap();
    assert!(crm.rows > 12_000, "{}", crm.rows);
}
