//! 五、相続人と、裁判所の命令。

use crate::desk::submit;
use crate::teller::Story;

#[test]
fn an_heir_with_a_power_of_attorney_under_a_legal_hold() {
    let story = Story::begins("五、亡き父の登録を消したい");
    story.say(
        "ご長男",
        "父が亡くなりました。母の委任状もあります。登録を消してください。",
    );
    story.types("hana", submit("CRM-2005", "member_no=TM-0000017"));
    story.tell("相続の分かる書類と委任状を見て、書類は手もとに残しません。お電話口の方ご本人の確認は別に行います。");
    for method in ["heir", "agent"] {
        story.types("hana", ["ticket", "verify", "CRM-2005", "--method", method]);
    }
    let said = story.is_refused("kenji", ["ticket", "approve", "CRM-2005"]);
    assert!(said.contains("ER007"), "{said}");
    story.types(
        "hana",
        ["ticket", "verify", "CRM-2005", "--method", "id_plus_2nd"],
    );
    story.types("kenji", ["ticket", "approve", "CRM-2005"]);

    story.tell(
        "ところがその朝、旅行中の事故をめぐる訴訟で、記録を残すよう裁判所から命令が届きます。",
    );
    story.types(
        "kenji",
        [
            "hold",
            "place",
            "--matter",
            "accident-2026",
            "--reason",
            "court-order",
            "--subject",
            "customer",
            "--identifier",
            "member_no=TM-0000017",
        ],
    );
    story.the_daemon_works();
    assert_eq!(story.desk.ticket("CRM-2005", "state"), "on_hold");
    assert_eq!(story.in_shop("customer WHERE member_no = 'TM-0000017'"), 1);
    let list = story.types("hana", ["hold", "list"]);
    assert!(list.contains("CRM-2005"), "{list}");
    story.say("花", "お申し出は承っております。法律上の理由でいまは消せませんが、理由がなくなりしだい、改めてのお申し出なしに消去いたします。");

    story.tell("和解が成立し、命令が解かれます。誰も何もしなくても、手続きは先へ進みます。");
    story.types("kenji", ["hold", "release", "accident-2026"]);
    story.the_daemon_works();
    assert_eq!(story.in_shop("customer WHERE member_no = 'TM-0000017'"), 0);
    let certificate = story.certificate("CRM-2005");
    assert_eq!(certificate["identity"]["method"], "id_plus_2nd");
    story.tell("消去され、証明書が出ました。");
}
