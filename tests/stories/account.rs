//! 二、退会したい。折り返しの電話で本人と分かるまで。

use crate::desk::submit;
use crate::teller::Story;

#[test]
fn account_deletion_with_a_call_back() {
    let story = Story::begins("二、いますぐ全部消してほしい");
    story.say(
        "お客様",
        "本人が言っているのに、なぜすぐに消せないんですか。",
    );
    story.say(
        "花",
        "お客様を装った第三者の依頼で消してしまうと、元に戻せません。ご登録の番号に折り返して確認いたします。",
    );
    let mut file = submit("CRM-2002", "member_no=TM-0000009").to_vec();
    file.extend(["--language", "ja"]);
    story.types("hana", file);
    story.types(
        "hana",
        ["ticket", "verify", "CRM-2002", "--method", "callback"],
    );
    let said = story.is_refused("kenji", ["ticket", "approve", "CRM-2002"]);
    assert!(said.contains("ER007"), "{said}");
    story.tell("会員登録の全部を消すには、折り返しだけでは足りません。生年月日も照合します。");
    story.the_daemon_works();
    let born =
        story.of_shop("SELECT birth_date::text FROM customer WHERE member_no = 'TM-0000009'");
    let right = format!("member_no=TM-0000009\nbirth_date={born}");
    assert!(story.answers("CRM-2002", "callback_dob", &right));
    story.types(
        "hana",
        ["ticket", "verify", "CRM-2002", "--method", "callback_dob"],
    );
    story.tell("確認した花は、自分では承認できません。健二が承認します。");
    story.types("kenji", ["ticket", "approve", "CRM-2002"]);
    story.the_daemon_works();
    assert_eq!(story.in_shop("customer WHERE member_no = 'TM-0000009'"), 0);
    let loyalty = story.desk.demo.loyalty.clone();
    assert_eq!(
        story.rows(&loyalty, "member WHERE member_no = 'TM-0000009'"),
        0
    );
    let certificate = story.certificate("CRM-2002");
    assert_eq!(certificate["identity"]["four_eyes"], true);
    let text = certificate.to_string();
    assert!(!text.contains("TM-0000009"), "{text}");
    story.types("auditor", ["certificate", "list"]);
    story
        .tell("二つのデータベースから消えました。証明書に、お客様を示すものは何も残っていません。");
}
