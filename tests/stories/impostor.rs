//! 三、変えたばかりのメールアドレス。

use crate::desk::submit;
use crate::teller::Story;

const MITSUKI: &str = "member_no=TM-0000015";
const THEIRS: &str = "customer WHERE member_no = 'TM-0000015'";

#[test]
fn an_impostor_with_a_freshly_changed_address() {
    let mut story = Story::begins("三、変えたばかりのメールアドレス");
    story.desk.workspace.configure("[outbox]\nlisten = true\n");
    story.tell("誰かがお客様のメールボックスに入り込み、会員ページでアドレスを自分のものに変えました。おとといのことです。");
    let theirs = story.of_shop("SELECT email FROM customer WHERE member_no = 'TM-0000015'");
    story.changes_in_shop(
        "UPDATE customer SET email = 'not.me@example.net', email_changed_at = now() - interval '2 days' WHERE member_no = 'TM-0000015'",
    );
    story.say("電話の声", "会員登録を、全部消してください。急いでいます。");
    story.types("hana", submit("CRM-2003", MITSUKI));
    story.the_daemon_works();
    let shown = story.types("hana", ["ticket", "show", "CRM-2003"]);
    assert!(shown.contains("contact_changed: email"), "{shown}");

    story.tell("アドレスが変わったばかりです。いつもの確認では足りません。");
    story.say("電話の声", "ログインできているんですから、本人でしょう。");
    let method = ["ticket", "verify", "CRM-2003", "--method", "login_reauth"];
    story.types("hana", method);
    let said = story.is_refused("kenji", ["ticket", "approve", "CRM-2003"]);
    assert!(said.contains("ER007") && said.contains("high"), "{said}");
    story.say(
        "花",
        "恐れ入ります。ご登録内容が変わって間もないため、マイナンバーカードの電子証明書での確認をお願いしております。番号は伺いません。",
    );
    story.say("電話の声", "……あとでかけ直します。");

    story.tell("そのころ、変更前のアドレスに手紙が届いています。会社の仕組みが、デーモンの知らせを受けて送りました。");
    let control = story.desk.control().to_owned();
    let message = "SELECT body::text FROM erasured.outbox WHERE kind = 'warn_old_contact'";
    let message = story.desk.server.value(&control, message);
    assert!(!message.contains("example"), "{message}");
    let notice = [
        "ticket", "notice", "CRM-2003", "--kind", "warning", "--lang", "ja",
    ];
    let letter = story.types("hana", notice);
    assert!(letter.contains("お心当たりがない場合は"), "{letter}");
    story.the_daemon_works();

    story.tell("翌朝、ご本人から電話が入ります。");
    story.say("お客様", "そんなこと、頼んでいません。");
    story.say(
        "花",
        "お知らせくださり、ありがとうございます。ただいま取りやめました。何も消えておりません。",
    );
    story.types("hana", ["ticket", "object", "CRM-2003"]);
    story.the_daemon_works();
    assert_eq!(story.in_shop(THEIRS), 1);
    assert_eq!(story.desk.ticket("CRM-2003", "rejected_for"), "contested");

    story.tell("半年後。アドレスはとうに元どおりで、今度はご本人が退会を望みます。");
    story.changes_in_shop(&format!(
        "UPDATE customer SET email = '{theirs}', email_changed_at = now() - interval '180 days' WHERE member_no = 'TM-0000015'",
    ));
    story.types("hana", submit("CRM-2013", MITSUKI));
    story.the_daemon_works();
    story.types(
        "hana",
        ["ticket", "verify", "CRM-2013", "--method", "login_reauth"],
    );
    let said = story.is_refused("kenji", ["ticket", "approve", "CRM-2013"]);
    assert!(said.contains("ER007"), "{said}");
    story.say(
        "花",
        "以前、お客様を装ったご依頼がございましたので、いつもより確かな方法で確認いたします。",
    );
    story.types("hana", ["ticket", "verify", "CRM-2013", "--method", "jpki"]);
    story.types("kenji", ["ticket", "approve", "CRM-2013"]);
    story.the_daemon_works();
    assert_eq!(story.in_shop(THEIRS), 1);
    story.tell(
        "承認されても、すぐには消えません。心当たりがなければ、そのあいだに異議を申し出られます。",
    );
    story.a_week_passes();
    story.the_daemon_works();
    assert_eq!(story.in_shop(THEIRS), 0);
    let certificate = story.certificate("CRM-2013");
    assert_eq!(certificate["identity"]["method"], "jpki");
    story
        .tell("一週間が過ぎ、異議はありませんでした。ご本人の望みどおりに消え、証明書が出ました。");
}
