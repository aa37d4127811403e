use super::*;
use proptest::prelude::*;

fn jp() -> IdentifierKind {
    IdentifierKind::Phone {
        region: "JP".into(),
    }
}

fn of(kind: &IdentifierKind, raw: &str) -> String {
    normalise(kind, raw).expect(raw).value().to_owned()
}

#[test]
fn one_phone_in_many_writings() {
    for raw in [
        "03-1234-5678",
        "0312345678",
        "０３－１２３４－５６７８",
        "０３ー１２３４ー５６７８",
        "03‐1234−5678",
        "(03) 1234-5678",
        "（０３）１２３４－５６７８",
        "+81 3 1234 5678",
        "+81-(0)3-1234-5678",
        "＋８１（０）３－１２３４－５６７８",
        "0081 3-1234-5678",
        "010-81-3-1234-5678",
        "81312345678",
        "03.1234.5678",
        " 03　1234　5678 ",
    ] {
        assert_eq!(of(&jp(), raw), "+81312345678", "{raw}");
    }
    assert_eq!(of(&jp(), "090-1234-5678"), "+819012345678");
    let us = IdentifierKind::Phone {
        region: "US".into(),
    };
    assert_eq!(of(&us, "(212) 555-0123"), "+12125550123");
    assert_eq!(of(&us, "011 81 3 1234 5678"), "+81312345678");
    assert_eq!(of(&jp(), "+1 212 555 0123"), "+12125550123");
    // The zero is part of the number there, in ranges that nobody has listed, too.
    let it = IdentifierKind::Phone {
        region: "IT".into(),
    };
    for raw in ["0466 0000", "+39 0466 0000", "0039 04660000"] {
        assert_eq!(of(&it, raw), "+3904660000", "{raw}");
    }
    // From another region as well, whose own trunk zero is dropped.
    for raw in ["+39 06 1234 5678", "＋39‐06‐12345678"] {
        assert_eq!(of(&jp(), raw), "+390612345678", "{raw}");
        assert_eq!(
            phone_variants("+390612345678")[..2],
            ["0612345678", "390612345678"]
        );
    }
    // And one that no plan can part is known by its digits at least.
    assert_eq!(of(&jp(), "+7 800 000 0000"), "+78000000000");
    assert_eq!(phone_variants("+78000000000")[0], "78000000000");
}

#[test]
fn the_digit_strings_of_a_number() {
    let variants = phone_variants("+81312345678");
    assert_eq!(variants[0], "0312345678");
    for digits in [
        "81312345678",
        "810312345678",
        "0081312345678",
        "01081312345678",
    ] {
        assert!(variants.iter().any(|v| v == digits), "{digits}");
    }
    assert!(phone_variants("+12125550123").contains(&"2125550123".to_owned()));
    assert!(phone_variants("rubbish").is_empty());
}

#[test]
fn each_mistake_has_its_word_and_no_value() {
    use BadIdentifier as Bad;
    let plain = IdentifierKind::Plain;
    let email = IdentifierKind::Email;
    for (kind, raw, bad) in [
        (&plain, "  \u{3000}", Bad::Empty),
        (&plain, "a\0b", Bad::Nul),
        (&plain, "--", Bad::NothingToFind),
        (&email, "nobody", Bad::EmailAt),
        (&email, "a@b@c", Bad::EmailAt),
        (&email, "@secret", Bad::EmailAt),
        (&email, "sec ret@x.jp", Bad::EmailSpace),
        (&jp(), "secret", Bad::NotAPhone("JP".into())),
        (&jp(), "03", Bad::NotAPhone("JP".into())),
    ] {
        let error = normalise(kind, raw).unwrap_err();
        assert_eq!(error, bad, "{raw}");
        assert!(!error.to_string().contains("secret"));
    }
    assert_eq!(
        normalise(&plain, &"é".repeat(1_001)).unwrap_err(),
        Bad::TooLong
    );
    assert!(normalise(&plain, &"é".repeat(1_000)).is_ok());
    let nowhere = IdentifierKind::Phone {
        region: "XX".into(),
    };
    assert_eq!(
        normalise(&nowhere, "0312345678").unwrap_err(),
        Bad::Region("XX".into())
    );
}

#[test]
fn debug_shows_the_kind_only() {
    let shown = format!("{:?}", normalise(&IdentifierKind::Email, "taro@example.jp"));
    assert!(
        shown.contains("Email") && !shown.contains("taro"),
        "{shown}"
    );
}

#[test]
fn names_lose_every_space() {
    let name = IdentifierKind::Name;
    assert_eq!(of(&name, "山田　太郎"), "山田太郎");
    assert_eq!(of(&name, " Taro  YAMADA "), "taroyamada");
    assert_eq!(of(&name, "ﾔﾏﾀﾞ ﾀﾛｳ"), "ヤマダタロウ");
    assert_eq!(of(&name, "T¨"), "ẗ");
}

/// ASCII in its full-width forms.
fn wide(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '!'..='~' => char::from_u32(c as u32 + 0xfee0).expect("full-width form"),
            ' ' => '\u{3000}',
            other => other,
        })
        .collect()
}

proptest! {
    #[test]
    fn normalising_twice_changes_nothing(raw in any::<String>(), which in 0..3) {
        let kind = [IdentifierKind::Plain, IdentifierKind::Email, IdentifierKind::Name][which as usize].clone();
        if let Ok(once) = normalise(&kind, &raw)
            && let Ok(twice) = normalise(&kind, once.value())
        {
            prop_assert_eq!(once.value(), twice.value());
        }
    }

    #[test]
    fn width_and_case_do_not_matter(raw in "[a-zA-Z0-9._-]{1,20}@[a-zA-Z0-9-]{1,10}\\.jp") {
        for kind in [IdentifierKind::Plain, IdentifierKind::Email, IdentifierKind::Name] {
            let one = of(&kind, &raw);
            prop_assert_eq!(&one, &of(&kind, &wide(&raw)));
            prop_assert_eq!(&one, &of(&kind, &raw.to_uppercase()));
            prop_assert_eq!(&one, &of(&kind, &format!(" {raw}\u{3000}")));
        }
    }

    #[test]
    fn punctuation_of_phones_does_not_matter(
        number in "0[36][1-9][0-9]{7}",
        hyphen in prop::sample::select(vec!["", "-", " ", "‐", "‑", "−", "ー", "－", ".", "　", ") "]),
    ) {
        let one = of(&jp(), &number);
        let parts = [&number[..2], &number[2..6], &number[6..]].join(hyphen);
        prop_assert_eq!(&one, &of(&jp(), &parts));
        prop_assert_eq!(&one, &of(&jp(), &wide(&parts)));
        prop_assert_eq!(&one, &of(&jp(), &one));
        for variant in phone_variants(&one) {
            if !variant.starts_with("011") {
                prop_assert_eq!(&one, &of(&jp(), &variant));
            }
        }
    }
}
