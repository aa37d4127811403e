//! 一、メールマガジンだけやめたい。

use crate::teller::Story;

#[test]
fn newsletter_only_by_name_and_phone() {
    let story = Story::begins("一、メールマガジンだけやめたい");
    let number = "(SELECT id FROM customer WHERE member_no = 'TM-0000005')";
    let phone = story.of_shop("SELECT phone FROM customer WHERE member_no = 'TM-0000005'");
    // As he types it: full width, by country code or not.
    let typed: String = phone
        .chars()
        .map(|c| match c {
            '0'..='9' => char::from_u32(u32::from(c) + 0xFEE0).unwrap(),
            other => other,
        })
        .collect();
    story.tell("月曜の朝、コールセンターに電話が入ります。");
    story.say(
        "お客様",
        "メールマガジンだけ、止めてもらえますか。旅行の予約は残してください。",
    );
    story.say(
        "花",
        "かしこまりました。お名前とご登録のお電話番号をお願いいたします。",
    );
    let by_phone = format!("phone={typed}");
    story.types(
        "hana",
        [
            "ticket",
            "submit",
            "--reference",
            "CRM-2001",
            "--subject",
            "customer",
            "--scope",
            "marketing",
            "--ground",
            "policy",
            "--language",
            "ja",
            "--identifier",
            &by_phone,
        ],
    );

    story.say("花", "(念のため、免許証の写しもいただいたほうが……)");
    let said = story.is_refused(
        "hana",
        ["ticket", "verify", "CRM-2001", "--method", "id_masked"],
    );
    assert!(said.contains("ER011"), "{said}");
    story.tell("メールマガジンの停止に免許証は要りません。お名前とお電話番号で足ります。");
    story.the_daemon_works();
    let wrong = format!("name=山田 偽子\nphone={typed}");
    assert!(!story.answers("CRM-2001", "name_contact", &wrong));
    let name = story.of_shop("SELECT full_name FROM customer WHERE member_no = 'TM-0000005'");
    let right = format!("name={name}\nphone={typed}");
    assert!(story.answers("CRM-2001", "name_contact", &right));
    story.types(
        "hana",
        ["ticket", "verify", "CRM-2001", "--method", "name_contact"],
    );
    story.types("kenji", ["ticket", "approve", "CRM-2001"]);

    let bookings = story.in_shop(&format!("booking WHERE customer_id = {number}"));
    story.the_daemon_works();
    let left = story.in_shop(&format!(
        "newsletter_subscription WHERE customer_id = {number}"
    ));
    assert_eq!(left, 0);
    assert_eq!(story.in_shop("customer WHERE member_no = 'TM-0000005'"), 1);
    assert_eq!(
        story.in_shop(&format!("booking WHERE customer_id = {number}")),
        bookings
    );
    let shown = story.types("hana", ["ticket", "show", "CRM-2001"]);
    assert!(!shown.contains(&phone), "{shown}");
    let certificate = story.certificate("CRM-2001");
    assert_eq!(certificate["identity"]["method"], "name_contact");
    story.tell("購読は消え、ご予約と会員登録はそのまま残りました。証明書も出ています。");
}
