use super::facts::Known;
use super::offer::{Offer, offer};
use super::*;
use crate::policy::read;
use crate::ticket::words::{Lang, Words};
use chrono::{DateTime, Duration, Utc};
use std::fmt::Write;

mod script;

fn words(ja: &str, en: &str) -> Words {
    Words {
        ja: ja.into(),
        en: en.into(),
    }
}

const TRAVEL: &str = include_str!("../../policies/travel/customer.toml");

fn travel() -> crate::policy::Policy {
    read::read("customer.toml", TRAVEL).unwrap()
}

fn account() -> Offer {
    let policy = travel();
    offer(&policy, "account", &policy.scopes["account"])
}

/// A ticket at the demo company, in this state.
pub(super) fn known(state: &str) -> Known {
    let at = |text: &str| -> DateTime<Utc> { text.parse().unwrap() };
    let closed = matches!(state, "completed" | "deferred" | "rejected");
    let erased = matches!(state, "completed" | "deferred");
    Known {
        reference: "CRM-1042".into(),
        state: state.into(),
        requested_at: at("2026-11-20T03:00:00Z"),
        due_at: Some(at("2026-12-04T14:59:59Z")),
        not_before: None,
        clock: "running".into(),
        extended_for: None,
        refused_for: (state == "rejected").then(|| {
            let text = words(
                "ご本人様であることを確認できませんでした",
                "we could not make sure that it was you who asked",
            );
            ("appi-unverified".into(), Some(text))
        }),
        complain_of_refusal: (state == "rejected").then(|| {
            words(
                "個人情報保護委員会(www.ppc.go.jp)",
                "Personal Information Protection Commission, Japan (www.ppc.go.jp)",
            )
        }),
        refused_parts: Vec::new(),
        finished_at: closed.then(|| at("2026-12-01T16:00:00Z")),
        certificate: erased.then(|| "0198c1f0-5a7e-7c3d-9b1e-3f2a6c4d8e90".into()),
        kept_until: Vec::new(),
        methods: vec![
            words(
                "ご登録の電話番号への折り返しと生年月日",
                "we call the number on file, and you tell us your date of birth",
            ),
            words(
                "ログインした状態での、パスワードの再入力",
                "you log in and enter your password once more",
            ),
        ],
        documents: false,
        proven: state != "received",
        needed: Some("reasonably-high".into()),
        call_back: Some(words(
            "ご登録の電話番号への折り返しと生年月日",
            "we call the number on file, and you tell us your date of birth",
        )),
        four_eyes: true,
        cooling_off: Duration::zero(),
        waits_until: None,
        found: true,
        begun: false,
        problem_code: None,
        asked_for: None,
        duplicate_of: None,
        now: at("2026-11-24T03:00:00Z"),
        offer: account(),
    }
}

fn tell(kind: Kind, lang: Lang, known: &Known, customer: Option<&str>) -> String {
    let facts = Facts::new(known, lang, customer);
    Templates::built_in().notice(kind, lang, &facts).unwrap()
}

/// Each template, as it would be read aloud; kanji in and English in, whatever else is to be said.
#[test]
fn notices_read_well() {
    let mut extended = known("verified");
    extended.extended_for = Some("complex".into());
    extended.due_at = Some("2027-01-15T14:59:59Z".parse().unwrap());
    let mut deferred = known("deferred");
    deferred.kept_until = vec![("jp-ctax-7".into(), "2033-03-31T15:00:00Z".parse().unwrap())];
    let mut asked = known("received");
    asked.clock = "not_started".into();
    let mut nothing = known("verified");
    nothing.offer = Offer::default();
    let mut withdrawn = known("rejected");
    withdrawn.complain_of_refusal = None;
    let text = words(
        "お客さまのご希望により、お申し出を取り下げました",
        "you withdrew the request",
    );
    withdrawn.refused_for = Some(("withdrawn".into(), Some(text)));
    let mut doubtful = known("received");
    doubtful.not_before = Some("2026-11-28T03:00:00Z".parse().unwrap());
    let mut part = known("approved");
    let text = words(
        "契約の履行に必要なため",
        "we need it for a contract with you",
    );
    part.refused_parts = vec![(
        "loyalty.public.point_ledger".into(),
        "contract".into(),
        Some(text),
    )];
    let called = words("ポイント", "Your points");
    part.offer
        .parts
        .insert("loyalty.public.point_ledger".into(), called);
    let mut done_but = known("deferred");
    done_but.refused_parts.clone_from(&part.refused_parts);
    done_but.offer = part.offer.clone();
    let scenes = [
        (Kind::Warning, "a fresh address", doubtful),
        (Kind::Receipt, "filed", known("received")),
        (Kind::Receipt, "the clock waits", asked),
        (Kind::Identity, "an account", known("received")),
        (Kind::Consequences, "an account", known("verified")),
        (
            Kind::Consequences,
            "nothing is told by the policy",
            nothing.clone(),
        ),
        (Kind::Kept, "before", known("verified")),
        (Kind::Kept, "with its date", deferred.clone()),
        (Kind::Kept, "nothing", nothing),
        (Kind::Extension, "told", extended),
        (Kind::Refusal, "unverified", known("rejected")),
        (Kind::Refusal, "nobody refused it", withdrawn),
        (Kind::Completion, "with something kept", deferred),
        (Kind::Refusal, "a part", part),
        (Kind::Completion, "but for a part", done_but),
    ];
    let mut pages = String::new();
    for (kind, scene, known) in scenes {
        for lang in Lang::ALL {
            let told = tell(kind, lang, &known, None);
            writeln!(pages, "━━━ {} {}: {scene}\n{told}", kind.name(), lang.tag()).unwrap();
        }
    }
    insta::assert_snapshot!(pages);
}

/// Whoever prints may name the customer; nobody else does.
#[test]
fn the_customer_is_nobody_unless_named() {
    for kind in Kind::ALL {
        let known = known("verified");
        assert!(tell(kind, Lang::Ja, &known, None).starts_with("お客様\n"));
        assert!(tell(kind, Lang::En, &known, None).starts_with("Dear customer,\n"));
        let named = tell(kind, Lang::Ja, &known, Some("髙橋 美咲様"));
        assert!(named.starts_with("髙橋 美咲様\n"), "{named}");
    }
}

/// Every template is told in every state, with and without what may be missing, and no line is
/// left that has nothing in it but a name for nothing.
#[test]
fn nothing_missing_is_told_as_something() {
    for kind in Kind::ALL {
        for state in [
            "received",
            "verified",
            "approved",
            "executing",
            "completed",
            "rejected",
        ] {
            for lang in Lang::ALL {
                let mut known = known(state);
                known.offer = Offer::default();
                known.due_at = None;
                known.refused_for = None;
                known.methods.clear();
                let told = tell(kind, lang, &known, None);
                for word in ["none", "None", "undefined", "{{", "{%"] {
                    assert!(!told.contains(word), "{word} in {told}");
                }
                assert!(!told.contains("\n\n\n\n"), "{told}");
            }
        }
    }
}

#[test]
fn a_template_of_ones_own_is_told_or_refused() {
    let facts = Facts::new(&known("verified"), Lang::En, None);
    let with = |text: &str| {
        let mut templates = Templates::built_in();
        templates.replace("en/receipt.txt", text.to_owned());
        templates.notice(Kind::Receipt, Lang::En, &facts)
    };
    assert_eq!(with("By {{ due }}.").unwrap(), "By 4 December 2026.\n");
    let wrong = with("Hello\n{{ name }}").unwrap_err().to_string();
    assert!(
        wrong.contains("E0130") && wrong.contains("en/receipt.txt") && wrong.contains("line 2"),
        "{wrong}"
    );
    assert!(with("{% if").is_err());
}

/// What a scope does not reach is not told.
#[test]
fn a_scope_tells_its_own() {
    let policy = travel();
    let marketing = offer(&policy, "marketing", &policy.scopes["marketing"]);
    let told: Vec<&str> = marketing.loses.iter().map(|w| w.en.as_str()).collect();
    assert_eq!(told, ["You no longer receive our newsletter"]);
    assert_eq!(marketing.kept, []);
    assert!(account().loses.len() > 4);
    // Nor where it lies in a system that is no database.
    let place = "\n[[place]]\nsystem = \"files\"\nname = \"pictures\"\nkeys = [\"p:{member_no}\"]\n\
                 loses = { ja = \"写真\", en = \"Your pictures\" }\n";
    let policy = read::read("customer.toml", &(TRAVEL.to_owned() + place)).unwrap();
    let told = |scope: &str| offer(&policy, scope, &policy.scopes[scope]).loses;
    assert_eq!(told("account").last().unwrap().en, "Your pictures");
    assert_eq!(told("marketing"), marketing.loses);
    assert_eq!(account().kept[0].months_and_days, Some((84, 0)));
}
