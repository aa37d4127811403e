//! Notices by the desk's own login, which has neither configuration nor policies.

use crate::desk::{Desk, stderr, stdout, submit};

#[test]
fn the_desk_prints_what_to_say() {
    let desk = Desk::open(120);
    stdout(desk.as_person("hana", submit("R-1", "member_no=TM-0000005")));
    desk.run_until_idle().assert().success();
    let print = |kind: &str, more: &[&str]| {
        let mut arguments = vec!["ticket", "notice", "R-1", "--kind", kind];
        arguments.extend(more);
        desk.as_person("hana", arguments)
    };
    let receipt = stdout(print("receipt", &[]));
    assert!(
        receipt.contains("受付番号は「R-1」") && receipt.contains("日までに結果を"),
        "{receipt}"
    );
    let identity = stdout(print("identity", &["--lang", "en"]));
    assert!(
        identity.contains("\n- ") && identity.contains("No licence"),
        "{identity}"
    );
    // The policy's words, without the policy.
    let lost = stdout(print("consequences", &[]));
    assert!(
        lost.contains("ポイントは、すべて失効します") && lost.contains("7年間"),
        "{lost}"
    );
    let named = stdout(print("kept", &["--customer", "髙橋 美咲様"]));
    assert!(
        named.starts_with("髙橋 美咲様\n") && named.contains("法人税法"),
        "{named}"
    );

    desk.as_person(
        "hana",
        ["ticket", "verify", "R-1", "--method", "login_reauth"],
    )
    .assert()
    .success();
    desk.approve("R-1");
    desk.run_until_idle().assert().success();
    let done = stdout(print("completion", &["--lang", "en"]));
    assert!(
        done.contains("was deleted on") && done.contains("until "),
        "{done}"
    );
    assert!(
        done.contains(&desk.ticket("R-1", "certificate_id")),
        "{done}"
    );
    for kind in [
        "receipt",
        "identity",
        "consequences",
        "kept",
        "extension",
        "refusal",
        "completion",
    ] {
        let said = stdout(print(kind, &[]));
        assert!(!said.contains("TM-0000005"), "{said}");
    }

    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("ja")).unwrap();
    let own = folder.path().join("ja/receipt.txt");
    let from = ["--templates", folder.path().to_str().unwrap()];
    std::fs::write(&own, "当社の文面 {{ reference }}").unwrap();
    assert_eq!(stdout(print("receipt", &from)), "当社の文面 R-1\n");
    std::fs::write(&own, "{{ full_name }}").unwrap();
    let refused = stderr(print("receipt", &from), 2);
    assert!(
        refused.contains("E0130") && refused.contains("ja/receipt.txt"),
        "{refused}"
    );
    // And by the configuration.
    let config = desk.workspace.config();
    let text = std::fs::read_to_string(&config).unwrap();
    let with = format!("{text}\n[notices]\ntemplates = {:?}\n", folder.path());
    std::fs::write(&config, with).unwrap();
    std::fs::write(&own, "設定の文面").unwrap();
    let arguments = ["ticket", "notice", "R-1", "--kind", "receipt"];
    assert_eq!(stdout(desk.erasured(arguments)), "設定の文面\n");
}
