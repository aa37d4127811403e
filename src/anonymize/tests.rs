use super::*;
use proptest::prelude::*;

fn phone_kind() -> IdentifierKind {
    IdentifierKind::Phone {
        region: "JP".into(),
    }
}

fn person() -> Vec<Normalised> {
    [
        (IdentifierKind::Email, "taro.yamada@example.jp"),
        (phone_kind(), "090-1234-5678"),
        (IdentifierKind::Name, "山田 太郎"),
        (IdentifierKind::Name, "Taro Yamada"),
        (IdentifierKind::Plain, "M-000042"),
    ]
    .iter()
    .map(|(kind, value)| normalise(kind, value).unwrap())
    .collect()
}

#[test]
fn only_the_identifiers_go() {
    let redactor = Redactor::new(&person());
    for (text, left) in [
        ("", ""),
        ("Nothing here.", "Nothing here."),
        ("Call 090-1234-5678, please", "Call [erased], please"),
        ("Call +81 90 1234 5678.", "Call [erased]."),
        ("０９０（１２３４）５６７８へ", "[erased]へ"),
        (
            "Mail TARO.Yamada@Example.JP or him.",
            "Mail [erased] or him.",
        ),
        (
            "taro.yamada@example.jp.uk is another",
            "taro.yamada@example.jp.uk is another",
        ),
        (
            "Taro  Yamada said; taro yamada, Taro Yamadas",
            "[erased] said; [erased], Taro Yamadas",
        ),
        ("山田　太郎様より、山田太郎へ", "[erased]様より、[erased]へ"),
        ("no. m-000042/M-0000421", "no. [erased]/M-0000421"),
        (
            "a@b.example 03-1234-5678 taro.yamada@example.jp",
            "a@b.example 03-1234-5678 [erased]",
        ),
    ] {
        assert_eq!(redactor.redact(text, None), left, "{text}");
    }
    let long = format!(
        "{0}taro.yamada@example.jp {0}090-1234-5678 {0}",
        "文 word ".repeat(20_000)
    );
    let left = long
        .replace("taro.yamada@example.jp", REDACTED)
        .replace("090-1234-5678", REDACTED);
    assert!(redactor.redact(&long, None) == left);
}

#[test]
fn it_grows_no_longer_than_the_column() {
    let name = [normalise(&IdentifierKind::Name, "Li").unwrap()];
    let redactor = Redactor::new(&name);
    assert_eq!(redactor.redact("from Li to Bo", Some(13)), "from * to Bo");
    assert_eq!(
        redactor.redact("from Li to Bo", Some(20)),
        "from [erased] to Bo"
    );
}

#[test]
fn a_number_is_known_by_its_forms_alone() {
    for typed in ["090-1234-5678", "+1 650 253 0000", "03-1234-5678"] {
        let number = normalise(&phone_kind(), typed).unwrap();
        let read = from_forms(&phone_kind(), &phone_variants(number.value()));
        assert_eq!(
            read.iter().map(Normalised::value).collect::<Vec<_>>(),
            [number.value()],
            "{typed}"
        );
    }
}

#[test]
fn hashes_keep_their_format() {
    let hex = "0123456789abcdef".repeat(4);
    assert_eq!(
        email(&hex, None),
        "0123456789abcdef0123456789abcdef@example.invalid"
    );
    assert_eq!(
        email(&hex, Some(SHORTEST_EMAIL)),
        "0123456789abcdef@example.invalid"
    );
    for (old, shape) in [
        ("090-1234-5678", "000-dddd-dddd"),
        ("+81 90 1234 5678", "+99 9d dddd dddd"),
        ("(03) 1234-5678", "(00) 0ddd-dddd"),
        ("ask Taro", "000ddddd"),
        ("０９０", "000"),
        ("", ""),
    ] {
        let new = phone(&hex, old);
        assert_eq!(new.chars().count(), shape.chars().count(), "{old}");
        assert!(
            new.chars()
                .zip(shape.chars())
                .all(|(n, s)| n == s || s == 'd' && n.is_ascii_digit()),
            "{old} {new}"
        );
        assert!(!new.contains("1234-5678"));
    }
    let list = ["a", "b", "c"].map(str::to_owned);
    assert_eq!(choose(&hex, &list), Some(&list[0x0123_4567_89ab_cdef % 3]));
}

fn writing() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("taro.yamada@example.jp"),
        Just("Taro.Yamada@EXAMPLE.jp"),
        Just("090-1234-5678"),
        Just("09012345678"),
        Just("(090) 1234 5678"),
        Just("+81-90-1234-5678"),
        Just("Taro Yamada"),
        Just("ＴＡＲＯ　ｙａｍａｄａ"),
        Just("M-000042"),
    ]
    .prop_map(str::to_owned)
}

/// Words that are nobody's and cannot run into an identifier.
fn words() -> impl Strategy<Value = String> {
    proptest::collection::vec(
        prop_oneof![
            "[a-s]{1,8}",
            Just("予約".to_owned()),
            Just("né".to_owned()),
            Just("(x)".to_owned())
        ],
        0..12,
    )
    .prop_map(|words| words.join(" "))
}

proptest! {
    #[test]
    fn no_identifier_stays_and_the_rest_does(parts in proptest::collection::vec((words(), writing()), 0..5), end in words()) {
        let redactor = Redactor::new(&person());
        let (mut text, mut left) = (String::new(), String::new());
        for (before, identifier) in &parts {
            text += &format!("{before} ; {identifier} ; ");
            left += &format!("{before} ; {} ; ", if identifier.starts_with('(') { "([erased]" } else { REDACTED });
        }
        let new = redactor.redact(&(text + &end), None);
        prop_assert_eq!(&new.replace("([erased]", REDACTED), &(left.replace("([erased]", REDACTED) + &end));
        prop_assert_eq!(redactor.redact(&new, None), new);
    }

    #[test]
    fn whatever_the_text_nothing_is_found_afterwards(text in "\\PC{0,40}", at in 0usize..41, identifier in writing()) {
        let redactor = Redactor::new(&person());
        let at = text.char_indices().nth(at).map_or(text.len(), |(i, _)| i);
        let new = redactor.redact(&format!("{}{identifier}{}", &text[..at], &text[at..]), None);
        prop_assert!(!redactor.matcher.finds_any(&new, &mut Scratch::default()));
        prop_assert_eq!(redactor.redact(&new, None), new);
    }
}
