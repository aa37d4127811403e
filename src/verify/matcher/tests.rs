use super::*;
use crate::identifier::normalise;
use proptest::prelude::*;

fn needle(kind: IdentifierKind, raw: &str, tag: u32) -> Needle {
    Needle::new(&normalise(&kind, raw).expect(raw), tag)
}

fn jp() -> IdentifierKind {
    IdentifierKind::Phone {
        region: "JP".into(),
    }
}

fn person() -> Matcher {
    Matcher::new(vec![
        needle(IdentifierKind::Email, "taro.yamada@example.jp", 1),
        needle(jp(), "03-1234-5678", 2),
        needle(IdentifierKind::Name, "山田 太郎", 3),
        needle(IdentifierKind::Plain, "M-00012345", 4),
        needle(IdentifierKind::Name, "Taro Yamada", 5),
        needle(IdentifierKind::Email, "o'hara@bücher.example", 6),
    ])
}

fn hits(matcher: &Matcher, image: &[u8], kind: &FieldKind) -> Vec<u32> {
    let mut tags = Vec::new();
    matcher.scan(image, kind, &mut Scratch::default(), |tag| tags.push(tag));
    tags.sort_unstable();
    tags
}

fn in_text(text: &str) -> Vec<u32> {
    hits(&person(), text.as_bytes(), &FieldKind::Text)
}

#[test]
fn found_in_every_writing() {
    for (text, tag) in [
        ("taro.yamada@example.jp", 1),
        ("Mail: <TARO.Yamada@EXAMPLE.JP>.", 1),
        ("メールはtaro.yamada@example.jpです。", 1),
        ("ｔａｒｏ．ｙａｍａｄａ＠ｅｘａｍｐｌｅ．ｊｐ", 1),
        ("please write to taro.yamada@example.jp. Thanks", 1),
        (r#"{"a":"taro.yamada\u0040example.jp"}"#, 1),
        ("メール-taro.yamada@example.jp", 1),
        ("_taro.yamada@example.jp_", 1),
        ("...taro.yamada@example.jp...", 1),
        ("taro.yamada@example.jp-済", 1),
        ("อีเมลtaro.yamada@example.jpครับ", 1),
        ("0312345678", 2),
        ("tel03-1234-5678まで", 2),
        ("電話（０３）１２３４ー５６７８", 2),
        ("+81 (0)3 1234 5678", 2),
        ("010-81-3-1234-5678", 2),
        ("+81312345678!", 2),
        ("☎03−1234−5678", 2),
        ("山田太郎", 3),
        ("お客様は山田　太郎様です", 3),
        ("山 田\n太 郎", 3),
        ("no. m-00012345, thanks", 4),
        ("会員M-00012345様", 4),
        ("Ｍ－０００１２３４５", 4),
        ("TARO YAMADA", 5),
        ("É taroyamada ①", 5),
        ("O'Hara@Bücher.example", 6),
    ] {
        assert_eq!(in_text(text), [tag], "{text}");
    }
}

#[test]
fn a_neighbour_is_somebody_else() {
    for text in [
        "xtaro.yamada@example.jp",
        "é_taro.yamada@example.jp",
        "tel+taro.yamada@example.jp",
        "x-taro.yamada@example.jp",
        "a.taro.yamada@example.jp",
        "taro.yamada@example.jp.evil.com",
        "taro.yamada@example.jpx",
        "taro.yamada@example.jp-x",
        "taro-yamada@example.jp",
        "203-1234-5678",
        "03-1234-56789",
        "03----1234-5678",
        "03:1234:5678",
        "山本太郎",
        "山田次太郎",
        "XM-00012345",
        "M-000123456",
        "M-00012346",
        "Mataro Yamada",
        "taro yamadas",
    ] {
        assert_eq!(in_text(text), [] as [u32; 0], "{text}");
    }
}

#[test]
fn images_are_taken_apart() {
    let value = b"taro.yamada@example.jp";
    let matcher = person();
    // A length word whose last byte is a digit or a letter is no part of the value.
    let mut part = vec![b'1'; 49 - value.len() - 1];
    part.push(b' ');
    part.extend_from_slice(value);
    let counted = |part: &[u8]| [&(part.len() as i32).to_be_bytes()[..], part].concat();
    let words = |ws: &[i32]| ws.iter().flat_map(|w| w.to_be_bytes()).collect::<Vec<u8>>();
    let array = [words(&[1, 1, 25, 2, 1, -1]), counted(value)].concat();
    let element = Box::new(FieldKind::Text);
    assert_eq!(hits(&matcher, &array, &FieldKind::Array(element)), [1]);
    let hstore = [words(&[1]), counted(b"k"), counted(&part)].concat();
    assert_eq!(hits(&matcher, &hstore, &FieldKind::Hstore), [1]);
    let row = [words(&[2, 23, 4, 7, 25]), counted(value)].concat();
    let composite = FieldKind::Composite(vec![None, Some(FieldKind::Text)]);
    assert_eq!(hits(&matcher, &row, &composite), [1]);
    assert_eq!(
        hits(&matcher, &[&[1], &value[..]].concat(), &FieldKind::Jsonb),
        [1]
    );
    let binary = [&[0xff, 0xfe, 0x00], &value[..], &[0xc3]].concat();
    assert_eq!(hits(&matcher, &binary, &FieldKind::Bytes), [1]);
    assert_eq!(hits(&matcher, &binary, &FieldKind::Text), [1]);
    let xml = b"<a>taro.yamada&#x40;example.jp</a>";
    assert_eq!(hits(&matcher, xml, &FieldKind::Xml), [1]);
    let json = br#"{"n":"\u5c71\u7530 \u592a\u90ce","m":"x\ntaro.yamada@example.jp"}"#;
    assert_eq!(hits(&matcher, json, &FieldKind::Json), [1, 3]);
    // Broken images are read as bytes.
    assert_eq!(hits(&matcher, value, &FieldKind::Hstore), [1]);
}

#[test]
fn ten_thousand_are_modest_and_all_found() {
    let needles: Vec<Needle> = (0..10_000u32)
        .map(|n| match n % 3 {
            0 => needle(IdentifierKind::Email, &format!("user{n}@example.jp"), n),
            1 => needle(jp(), &format!("090-1{:03}-{:04}", n / 1000, n), n),
            _ => needle(IdentifierKind::Plain, &format!("M{n:08}"), n),
        })
        .collect();
    let matcher = Matcher::new(needles);
    for n in (0..10_000u32).step_by(7) {
        let text = match n % 3 {
            0 => format!("to USER{n}@example.jp"),
            1 => format!("tel 0901{:03}{:04}", n / 1000, n),
            _ => format!("number m{n:08}"),
        };
        assert_eq!(
            hits(&matcher, text.as_bytes(), &FieldKind::Text),
            [n],
            "{text}"
        );
    }
}

#[test]
fn debug_shows_nothing() {
    let shown = format!(
        "{:?}{:?}",
        person(),
        needle(IdentifierKind::Name, "山田", 1)
    );
    assert!(
        !shown.contains("山田") && !shown.contains("taro"),
        "{shown}"
    );
}

/// Text that may stand around anything: no letters or digits that would go on with a value.
fn surroundings() -> impl Strategy<Value = String> {
    prop_oneof![
        "[ 、。「」あ-んア-ロ一-龠！？（）]{0,30}",
        "[ ,;:<>\"']{0,10}",
        "\\PC{0,20} ",
        " \\PC{0,20} "
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn planted_is_found(before in surroundings(), after in surroundings(), which in 0usize..9) {
        let writings = [
            ("taro.yamada@example.jp", 1), ("Taro.YAMADA@example.jp", 1),
            ("03-1234-5678", 2), ("０３１２３４５６７８", 2), ("+81 3 1234-5678", 2),
            ("山田太郎", 3), ("山田　太郎", 3), ("m-00012345", 4), ("Taro Yamada", 5),
        ];
        let (writing, tag) = writings[which];
        // A space keeps digits and combining marks of the surroundings away.
        let text = format!("{before} : {writing} : {after}");
        prop_assert!(in_text(&text).contains(&tag), "{}", text);
    }

    #[test]
    fn a_changed_digit_or_letter_is_not_found(at in 0usize..10, by in 1u8..10, extra in 0u8..10) {
        let digits = b"0312345678";
        let mut changed = digits.to_vec();
        changed[at] = b'0' + (changed[at] - b'0' + by) % 10;
        let changed = String::from_utf8(changed).unwrap();
        prop_assert!(!in_text(&changed).contains(&2));
        let attached = format!("0312345678{extra}");
        prop_assert!(!in_text(&attached).contains(&2));
        let before = format!("{extra}0312345678");
        prop_assert!(!in_text(&before).contains(&2));
        let mut email = b"taro.yamada@example.jp".to_vec();
        let place = at * 2;
        email[place] = if email[place] == b'q' { b'z' } else { b'q' };
        let email = String::from_utf8(email).unwrap();
        prop_assert!(in_text(&email).is_empty());
    }

    /// The pass proposes whatever the slow word would confirm.
    #[test]
    fn nothing_is_missed_that_the_plain_search_finds(text in "[taroymdx. @\\-山田太郎\u{3000}ａ（é0-9M]{0,60}", needle_at in 0usize..50, length in 2usize..12) {
        let chars: Vec<char> = text.chars().collect();
        let raw: String = chars.iter().skip(needle_at % chars.len().max(1)).take(length).collect();
        for kind in [IdentifierKind::Plain, IdentifierKind::Email, IdentifierKind::Name] {
            let Ok(value) = normalise(&kind, &raw) else { continue };
            let matcher = Matcher::new(vec![Needle::new(&value, 7)]);
            let found = hits(&matcher, text.as_bytes(), &FieldKind::Text) == [7];
            let said = super::confirm::says(&kind, value.value(), &fold::fold(&text));
            prop_assert_eq!(found, said, "{:?} {:?} {:?}", kind, raw, text);
        }
    }

    #[test]
    fn any_bytes_are_survived(image in prop::collection::vec(any::<u8>(), 0..200)) {
        let matcher = person();
        let inner = || Box::new(FieldKind::Composite(vec![Some(FieldKind::Hstore), None]));
        for kind in [FieldKind::Text, FieldKind::Json, FieldKind::Jsonb, FieldKind::Xml, FieldKind::Bytes, FieldKind::Hstore, FieldKind::Array(inner())] {
            hits(&matcher, &image, &kind);
        }
    }
}
