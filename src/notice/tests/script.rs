//! What the agent says, in every state.

use super::super::script::{Answer, Situation};
use super::*;
use std::collections::BTreeMap;

/// A ticket in this situation.
fn stands(situation: Situation) -> Known {
    let state = match situation {
        Situation::NotFound | Situation::Prove | Situation::Asked => "received",
        Situation::ProveMore | Situation::Approve => "verified",
        Situation::Wait => "approved",
        Situation::Queued | Situation::Duplicate => "scheduled",
        Situation::Running => "executing",
        Situation::Checking => "verifying",
        Situation::Failed => "failed",
        Situation::Held | Situation::LegalHold => "on_hold",
        Situation::Done => "completed",
        Situation::DoneInPart => "deferred",
        Situation::Refused | Situation::Closed => "rejected",
    };
    let mut known = known(state);
    match situation {
        Situation::NotFound => {
            known.found = false;
            known.problem_code = Some("E0403".into());
        }
        Situation::ProveMore => known.proven = false,
        Situation::Asked => {
            known.asked_for = Some("which-account".into());
            known.clock = "paused".into();
        }
        Situation::Approve => known.cooling_off = Duration::days(3),
        Situation::Wait => {
            known.waits_until = Some("2026-11-27T03:00:00Z".parse().unwrap());
        }
        Situation::Failed => known.problem_code = Some("E0504".into()),
        Situation::LegalHold => known.problem_code = Some("E0521".into()),
        Situation::Duplicate => known.duplicate_of = Some("CRM-1001".into()),
        Situation::DoneInPart => {
            let until = "2033-03-31T15:00:00Z".parse().unwrap();
            known.kept_until = vec![("jp-ctax-7".into(), until)];
        }
        Situation::Closed => {
            let text = words(
                "お客さまのご希望により、お申し出を取り下げました",
                "you withdrew the request",
            );
            known.refused_for = Some(("withdrawn".into(), Some(text)));
            known.complain_of_refusal = None;
        }
        _ => {}
    }
    known
}

fn script(lang: Lang, known: &Known) -> String {
    let facts = Facts::new(known, lang, None);
    Templates::built_in().script(lang, &facts).unwrap()
}

fn answer(to: Answer, lang: Lang, known: &Known) -> String {
    let facts = Facts::new(known, lang, None);
    Templates::built_in().answer(to, lang, &facts).unwrap()
}

fn marketing() -> Known {
    let policy = travel();
    let mut known = stands(Situation::Prove);
    known.offer = offer(&policy, "marketing", &policy.scopes["marketing"]);
    known.needed = Some("basic".into());
    known.methods = vec![words(
        "お名前と、ご登録のお電話番号またはご住所の照合",
        "name, and phone number or address on file",
    )];
    known
}

fn late(mut known: Known) -> Known {
    known.now = "2026-12-10T03:00:00Z".parse().unwrap();
    known
}

#[test]
fn every_situation_is_known() {
    for situation in Situation::ALL {
        assert_eq!(Situation::of(&stands(situation)), situation);
    }
    // A state that a later version knows is told as little of as can be.
    assert_eq!(Situation::of(&known("new")), Situation::Queued);
    // One system has committed, the next is put off: no script promises a withdrawal any more.
    let mut begun = stands(Situation::Wait);
    begun.state = "scheduled".into();
    begun.begun = true;
    assert_eq!(Situation::of(&begun), Situation::Running);
    for code in ["E0513", "E0524"] {
        let mut again = known("failed");
        again.proven = false;
        again.problem_code = Some(code.into());
        assert_eq!(Situation::of(&again), Situation::ProveMore, "{code}");
    }
}

#[test]
fn what_to_say_now() {
    let mut scenes: Vec<(String, Known)> = Situation::ALL
        .map(|situation| (situation.name().to_owned(), stands(situation)))
        .into();
    let mut nobody = marketing();
    nobody.needed = Some("none".into());
    scenes.push(("prove, where nothing need be proven".into(), nobody));
    scenes.push((
        "approve, late, explain".into(),
        late(stands(Situation::Approve)),
    ));
    let mut broken = late(stands(Situation::Failed));
    broken.offer.explain = false;
    scenes.push(("failed, late".into(), broken));
    let mut pages = String::new();
    for (scene, known) in scenes {
        for lang in Lang::ALL {
            let said = script(lang, &known);
            writeln!(pages, "━━━ {scene} ({})\n{said}", lang.tag()).unwrap();
        }
    }
    insta::assert_snapshot!(pages);
}

#[test]
fn five_answers() {
    let mut documents = stands(Situation::Prove);
    documents.documents = true;
    documents.call_back = None;
    documents.needed = Some("high".into());
    documents.methods = vec![words(
        "マイナンバーカードの電子証明書(個人番号は使いません)",
        "the My Number card's electronic certificate, never its number",
    )];
    let mut eu = stands(Situation::Approve);
    let gdpr = &crate::policy::clocks::built_in()["eu-gdpr"];
    (eu.offer.law, eu.offer.complain) = (gdpr.law.clone(), gdpr.complain.clone());
    eu.offer.explain = false;
    let scenes = [
        ("an account, before proof", stands(Situation::Prove)),
        ("the newsletter, before proof", marketing()),
        ("only documents will do", documents),
        ("in the EU, proven", eu),
        ("a legal hold", stands(Situation::LegalHold)),
        ("late", late(stands(Situation::Queued))),
        ("done in part", stands(Situation::DoneInPart)),
    ];
    let mut pages = String::new();
    for to in Answer::ALL {
        for (scene, known) in &scenes {
            for lang in Lang::ALL {
                let said = answer(to, lang, known);
                let (name, tag) = (to.name(), lang.tag());
                writeln!(pages, "━━━ {name}: {scene} ({tag})\n{said}").unwrap();
            }
        }
    }
    insta::assert_snapshot!(pages);
}

fn is_japanese(c: char) -> bool {
    ('\u{3040}'..='\u{9fff}').contains(&c)
}

/// Whatever a ticket knows or lacks.
fn variants() -> Vec<(String, Known)> {
    let mut all = Vec::new();
    for situation in Situation::ALL {
        let known = stands(situation);
        let mut bare = known.clone();
        bare.offer = Offer::default();
        bare.due_at = None;
        bare.refused_for = None;
        bare.methods.clear();
        bare.call_back = None;
        bare.needed = None;
        let mut late = late(known.clone());
        late.offer.explain = false;
        let mut explain = late.clone();
        explain.offer.explain = true;
        for (what, known) in [
            ("", known),
            (" bare", bare),
            (" late", late),
            (" explain", explain),
        ] {
            all.push((format!("{}{what}", situation.name()), known));
        }
    }
    all
}

/// Each state and each answer has words in both languages, and nothing is left in them that a
/// template forgot.
#[test]
fn every_state_and_answer_has_words_in_both_languages() {
    for (what, known) in variants() {
        for lang in Lang::ALL {
            let answers = Answer::ALL.map(|to| (to.name(), answer(to, lang, &known)));
            let script = ("script", script(lang, &known));
            for (of, said) in answers.into_iter().chain([script]) {
                let scene = format!("{what}, {of}, {}: {said}", lang.tag());
                for left in ["{", "}", "none", "None", "undefined", "()", "\n\n\n"] {
                    assert!(!said.contains(left), "{left:?} in {scene}");
                }
                // Of the agent's line nothing is read aloud.
                let aloud: String = said
                    .lines()
                    .filter(|line| !line.starts_with(['【', '[']))
                    .collect();
                assert!(aloud.chars().count() > 20, "{scene}");
                match lang {
                    Lang::Ja => assert!(aloud.chars().any(is_japanese), "{scene}"),
                    Lang::En => assert!(!said.chars().any(is_japanese), "{scene}"),
                }
            }
        }
    }
}

/// Two situations never sound the same: a branch that is missing in a template would.
#[test]
fn no_situation_is_told_as_another() {
    for lang in Lang::ALL {
        let mut told = BTreeMap::new();
        for situation in Situation::ALL {
            let said = script(lang, &stands(situation));
            if let Some(other) = told.insert(said.clone(), situation) {
                panic!("{situation:?} is told as {other:?}: {said}");
            }
        }
    }
}

/// Whoever has not proven who they are hears of no legal hold and no other request; and "done" is
/// said of what is done alone.
#[test]
fn nobody_hears_what_is_not_theirs_or_not_true() {
    let said = |known: &Known| -> String {
        let every = |lang| {
            let answers = Answer::ALL.map(|to| answer(to, lang, known));
            answers.concat() + &script(lang, known)
        };
        Lang::ALL.map(every).concat()
    };
    for situation in [Situation::LegalHold, Situation::Duplicate] {
        let secrets = ["法律上の理由", "legal reason", "CRM-1001"];
        let known = stands(situation);
        assert!(secrets.iter().any(|s| said(&known).contains(s)));
        for state in ["received", "verified", "on_hold", "scheduled"] {
            let unproven = Known {
                proven: false,
                state: state.into(),
                ..known.clone()
            };
            let said = said(&unproven);
            for secret in secrets {
                assert!(!said.contains(secret), "{state}: {secret} in {said}");
            }
        }
    }
    for situation in Situation::ALL {
        let said = said(&stands(situation));
        let done = said.contains("消去を終えております") || said.contains("was completed");
        let is_done = matches!(situation, Situation::Done | Situation::DoneInPart);
        assert_eq!(done, is_done, "{situation:?}: {said}");
    }
}

/// A number given on the line is never called, and never said; no licence is spoken of as needed
/// where the scope needs none.
#[test]
fn proof_is_in_proportion() {
    for lang in Lang::ALL {
        let account = stands(Situation::Prove);
        let said = answer(Answer::ThisNumber, lang, &account);
        let call_back = account.call_back.as_ref().unwrap().get(lang);
        assert_eq!(said.matches(call_back).count(), 1, "{said}");
        let without = Known {
            call_back: None,
            methods: vec![],
            ..account
        };
        let said = answer(Answer::ThisNumber, lang, &without);
        assert!(!said.contains(call_back), "{said}");
        let said = answer(Answer::NoLicence, lang, &marketing());
        let free = match lang {
            Lang::Ja => "書類は必要ございません",
            Lang::En => "no licence or other document is needed",
        };
        assert!(said.contains(free), "{said}");
    }
}

/// Every clock of ours says what its law says, and where to complain, in both languages.
#[test]
fn every_clock_has_its_law_in_words() {
    for (code, profile) in crate::policy::clocks::built_in() {
        if code == "company" {
            continue;
        }
        let law = profile.law.as_ref().expect(code);
        assert!(law.ja.ends_with('。') && law.ja.chars().any(is_japanese));
        assert!(law.en.ends_with('.') && !law.en.chars().any(is_japanese));
        assert!(profile.complain.is_some(), "{code}");
        // A number of its own that its clock does not count would be a promise that nobody keeps.
        let n = match profile.length.unwrap() {
            crate::ticket::sla::Length::Days(n) | crate::ticket::sla::Length::WorkingDays(n) => n,
            crate::ticket::sla::Length::Months(n) => n.into(),
        };
        let said = if n == 1 {
            "one month".to_owned()
        } else {
            n.to_string()
        };
        assert!(law.en.contains(&said), "{code}: {}", law.en);
        assert!(law.ja.contains(&n.to_string()), "{code}: {}", law.ja);
    }
}

/// Without a last day none is told.
#[test]
fn no_day_is_told_where_there_is_none() {
    for situation in Situation::ALL {
        let mut known = stands(situation);
        known.clock = "none".into();
        known.due_at = None;
        known.offer.term = None;
        known.offer.law = None;
        for lang in Lang::ALL {
            let receipt = tell(Kind::Receipt, lang, &known, None);
            let answer = answer(Answer::AgainstTheLaw, lang, &known);
            for said in [script(lang, &known), receipt, answer] {
                for promise in [
                    "までに結果",
                    "お知らせする日",
                    "期日",
                    "by when",
                    "outcome by",
                    " due",
                ] {
                    assert!(!said.contains(promise), "{promise} in {said}");
                }
            }
        }
    }
}
