//! What the agent says with the customer on the line: by the desk's own login, which has neither
//! configuration nor policies.

use crate::desk::{Desk, stderr, stdout, submit};
use crate::support::repository;

const ANSWERS: [&str; 5] = [
    "why-not-now",
    "this-number",
    "no-licence",
    "against-the-law",
    "the-rule",
];

fn say(desk: &Desk, reference: &str, more: &[&str]) -> String {
    let mut arguments = vec!["ticket", "script", reference];
    arguments.extend(more);
    stdout(desk.as_person("hana", arguments))
}

/// From the first call to the end, in the customer's language.
#[test]
fn the_agent_knows_what_to_say_at_every_step() {
    let desk = Desk::open(120);
    let mut file = submit("R-1", "member_no=TM-0000005").to_vec();
    file.extend(["--language", "ja"]);
    stdout(desk.as_person("hana", file));
    let before = say(&desk, "R-1", &[]);
    assert!(
        before.contains("ご本人様の確認をお願いいたします"),
        "{before}"
    );
    assert!(before.contains("書類は必要ございません"), "{before}");
    // Its clock is counted by the daemon: no day is promised before.
    assert!(!before.contains("までに結果"), "{before}");
    desk.run_until_idle().assert().success();
    assert!(say(&desk, "R-1", &[]).contains("日までに結果をお知らせ"));

    stdout(desk.as_person("hana", ["ticket", "verify", "R-1", "--method", "callback"]));
    let more = say(&desk, "R-1", &["--lang", "en"]);
    assert!(more.contains("one more proof"), "{more}");
    stdout(desk.as_person(
        "hana",
        ["ticket", "verify", "R-1", "--method", "login_reauth"],
    ));
    let proven = say(&desk, "R-1", &["--lang", "en"]);
    assert!(proven.contains("a second person"), "{proven}");

    // A court's order is told to whoever has proven who they are, without its name.
    let place = [
        "hold",
        "place",
        "--matter",
        "case-17",
        "--reason",
        "court-order",
        "--subject",
        "customer",
        "--identifier",
        "member_no=TM-0000005",
    ];
    stdout(desk.as_person("kenji", place));
    desk.approve("R-1");
    desk.run_until_idle().assert().success();
    let held = say(&desk, "R-1", &["--lang", "en"]);
    assert!(
        held.contains("For a legal reason") && !held.contains("case-17"),
        "{held}"
    );
    stdout(desk.as_person("kenji", ["hold", "release", "case-17"]));
    desk.run_until_idle().assert().success();
    let done = say(&desk, "R-1", &[]);
    let certificate = desk.ticket("R-1", "certificate_id");
    assert!(
        done.contains("消去を終えております") && done.contains(&certificate),
        "{done}"
    );
    assert!(done.contains("法人税法"), "{done}");
    for answer in ANSWERS {
        for lang in ["ja", "en"] {
            let said = say(&desk, "R-1", &["--answer", answer, "--lang", lang]);
            assert!(!said.contains("TM-0000005"), "{said}");
        }
    }
}

/// What is said of proof is what the scope needs, and not more.
#[test]
fn answers_are_counted_from_the_scope() {
    let desk = Desk::open(120);
    stdout(desk.as_person("hana", submit("R-1", "member_no=TM-0000005")));
    let mut newsletter = submit("R-2", "member_no=TM-0000007").to_vec();
    newsletter[7] = "marketing";
    stdout(desk.as_person("hana", newsletter));
    desk.run_until_idle().assert().success();
    let answer = |reference, answer| say(&desk, reference, &["--lang", "en", "--answer", answer]);
    let account = answer("R-1", "this-number");
    assert!(
        account.contains("then member number and date of birth"),
        "{account}"
    );
    let newsletter = answer("R-2", "this-number");
    assert!(
        newsletter.contains("never to one that the caller gives"),
        "{newsletter}"
    );
    assert!(answer("R-2", "the-rule").contains("- name, and phone number"));
    assert!(!answer("R-1", "the-rule").contains("- name, and phone number"));
    let law = answer("R-1", "against-the-law");
    assert!(
        law.contains("(Art. 39)") && law.contains("Personal Information Protection Commission"),
        "{law}"
    );
}

/// In the words of the published reason, with where to complain.
#[test]
fn a_refusal_is_told_in_the_words_of_its_reason() {
    let desk = Desk::open(120);
    desk.workspace.write_policy(
        "grounds.toml",
        "[authority.house]\nja = \"当社相談室\"\nen = \"our ombudsman\"\nsource = \"own\"\nsure = \"sure\"\n\
         [refusal.in-dispute]\nja = \"係争中のため\"\nen = \"we are in dispute\"\ncomplain = \"house\"\nsource = \"own\"\nsure = \"check\"\n",
    );
    desk.run_until_idle().assert().success();
    for (reference, number) in [
        ("R-1", "member_no=TM-0000005"),
        ("R-2", "member_no=TM-0000007"),
    ] {
        stdout(desk.as_person("hana", submit(reference, number)));
    }
    stdout(desk.as_person(
        "kenji",
        ["ticket", "reject", "R-1", "--reason", "in-dispute"],
    ));
    let notice = |reference, lang| {
        let arguments = [
            "ticket", "notice", reference, "--kind", "refusal", "--lang", lang,
        ];
        stdout(desk.as_person("hana", arguments))
    };
    for told in [notice("R-1", "en"), say(&desk, "R-1", &["--lang", "en"])] {
        assert!(
            told.contains("we are in dispute") && told.contains("our ombudsman"),
            "{told}"
        );
        assert!(!told.contains("in-dispute"), "{told}");
    }
    for told in [notice("R-1", "ja"), say(&desk, "R-1", &["--lang", "ja"])] {
        assert!(
            told.contains("係争中のため") && told.contains("当社相談室"),
            "{told}"
        );
    }
    // Nobody is told to complain about what they wished themselves.
    stdout(desk.as_person("hana", ["ticket", "withdraw", "R-2"]));
    for told in [notice("R-2", "en"), say(&desk, "R-2", &["--lang", "en"])] {
        assert!(
            told.contains("you withdrew the request") && !told.contains("turn to"),
            "{told}"
        );
    }
}

#[test]
fn answers_are_listed_and_words_are_the_companys() {
    let desk = Desk::open(120);
    let listed = stdout(desk.as_person("hana", ["ticket", "script"]));
    for answer in ANSWERS {
        assert!(listed.contains(answer), "{listed}");
    }
    let said = stderr(
        desk.as_person("hana", ["ticket", "script", "--answer", "the-rule"]),
        2,
    );
    assert!(said.contains("<TICKET>"), "{said}");
    stdout(desk.as_person("hana", submit("R-1", "member_no=TM-0000005")));
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("ja")).unwrap();
    let own = folder.path().join("ja/answer-the-rule.txt");
    std::fs::write(own, "当社の答え {{ needed }}").unwrap();
    let from = [
        "--answer",
        "the-rule",
        "--templates",
        folder.path().to_str().unwrap(),
    ];
    assert_eq!(say(&desk, "R-1", &from), "当社の答え reasonably-high\n");
}

/// What the page for managers quotes is what the program says, whatever the day.
#[test]
fn the_page_for_managers_quotes_what_is_said() {
    let desk = Desk::open(120);
    stdout(desk.as_person("hana", submit("CRM-1042", "member_no=TM-0000005")));
    desk.run_until_idle().assert().success();
    let page = std::fs::read_to_string(repository().join("docs/desk.md")).unwrap();
    let chapter = page.split("\n## What to say\n").nth(1).unwrap();
    let chapter = chapter.split("\n## ").next().unwrap();
    let mut quoted = Vec::new();
    let blocks: Vec<(&str, &str)> = chapter
        .split("```")
        .skip(1)
        .step_by(2)
        .filter_map(|block| block.split_once('\n'))
        .collect();
    for (at, (kind, command)) in blocks.iter().enumerate() {
        if *kind != "sh" {
            continue;
        }
        let arguments: Vec<&str> = command.split_whitespace().skip(1).collect();
        let said = stdout(desk.as_person("hana", arguments));
        let Some(("text", expected)) = blocks.get(at + 1) else {
            panic!("{command} has nothing quoted");
        };
        assert_eq!(days(&said), days(expected), "{command}");
        quoted.push(command.trim().to_owned());
    }
    for answer in ANSWERS {
        for lang in ["ja", "en"] {
            let command =
                format!("erasured ticket script CRM-1042 --answer {answer} --lang {lang}");
            assert!(quoted.contains(&command), "{command} is not in {quoted:?}");
        }
    }
}

/// A text without its days, nor other figures.
fn days(text: &str) -> String {
    let months = [
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ];
    let mut words: Vec<String> = Vec::new();
    for line in text.lines() {
        let mut line: String = line
            .split(' ')
            .map(|word| {
                if months.contains(&word) {
                    "MONTH"
                } else {
                    word
                }
            })
            .collect::<Vec<_>>()
            .join(" ");
        // Numbers alone: a Japanese date has its units.
        line = line
            .chars()
            .map(|c| if c.is_ascii_digit() { '#' } else { c })
            .collect();
        while line.contains("##") {
            line = line.replace("##", "#");
        }
        words.push(line);
    }
    words.join("\n").trim().to_owned()
}
