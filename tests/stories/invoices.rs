//! 四、請求書は七年残り、帰ってくる。

use crate::teller::Story;

#[test]
fn invoices_stay_seven_years_and_come_back() {
    let story = Story::begins("四、法律が残させるもの");
    story.say("お客様", "請求書も消えるんですよね。");
    story.say(
        "花",
        "請求書は法人税法により七年間の保存義務がございます。お名前の欄などを除き、期限が来ましたら自動的に消去いたします。",
    );
    let invoices =
        "invoice i JOIN customer c ON c.id = i.customer_id WHERE c.member_no = 'TM-0000005'";
    let before = story.in_shop(invoices);
    assert!(before > 0, "the story needs an invoice");
    let numbers = story.of_shop(&format!("SELECT string_agg(i.number, '|') FROM {invoices}"));
    let kept = format!("invoice WHERE number = ANY (string_to_array('{numbers}', '|'))");
    story.desk.file("CRM-2004", "member_no=TM-0000005");
    story.the_daemon_works();
    assert_eq!(story.desk.ticket("CRM-2004", "state"), "deferred");
    assert_eq!(story.in_shop(&kept), before);
    assert_eq!(
        story.in_shop(&format!(
            "{kept} AND (customer_id IS NOT NULL OR billing_email IS NOT NULL)"
        )),
        0
    );
    let certificate = story.certificate("CRM-2004");
    assert!(
        certificate.to_string().contains("jp-ctax-7"),
        "{certificate}"
    );

    for year in 1..=8 {
        story.a_year_passes();
        story.the_daemon_works();
        let left = story.in_shop(&kept);
        println!("    {year}年後:請求書 {left} 通");
        let young = format!("{kept} AND issued_on + interval '7 years' > current_date");
        assert_eq!(left, story.in_shop(&young), "after {year} years");
        let named = "erasured.ticket_identifier WHERE value IS NOT NULL";
        let control = story.desk.control().to_owned();
        assert_eq!(story.rows(&control, named), 0);
    }
    assert_eq!(story.in_shop(&kept), 0);
    assert_eq!(story.desk.ticket("CRM-2004", "state"), "completed");
    story
        .tell("七年が過ぎ、誰も思い出さなくても請求書は消えました。証明書には追補が付いています。");
    let supplements = "SELECT count(*) FROM erasured.certificate WHERE kind = 'supplement'";
    assert!(story.desk.server.count(story.desk.control(), supplements) > 0);
}
