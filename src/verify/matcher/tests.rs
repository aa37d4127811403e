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
        ("m\u{2010}00012345", 4),
        ("M‑00012345/M–00012346", 4),
        ("M—00012345", 4),
        ("M−00012345", 4),
        ("Ｍ－00012345", 4),
        ("番号Mー00012345", 4),
        ("M\u{ad}00012345", 4),
        ("M-000\u{200b}12345", 4),
        ("?m=taro.yamada%40example.jp&x=1", 1),
        (
            "https://x/?to=mailto%3Ataro%2eyamada%40example%2Ejp%3Fsubject",
            1,
        ),
        ("x%2520taro.yamada%2540example.jp", 1),
        ("<a href='mailto:taro.yamada&#64;example&period;jp'>", 1),
        ("taro.yamada&#X40;example.jp", 1),
        ("taro.yamada&commat;example.jp", 1),
        ("o&apos;hara@b&uuml;cher.example", 6),
        ("ta\u{ad}ro.yama\u{200b}da@exam\u{feff}ple.jp", 1),
        ("a\u{200b}taro.yamada@example.jp", 1),
        ("taro.yamada@ex&shy;ample.jp", 1),
        ("山\u{2060}田\u{200d}太\u{e0100}郎", 3),
        ("ta\u{200c}ro ya\u{ad}mada", 5),
        ("?name=Taro+Yamada&x", 5),
        ("?name=%E5%B1%B1%E7%94%B0+%E5%A4%AA%E9%83%8E", 3),
        ("０３\u{200e}１２３４\u{202c}５６７８", 2),
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
        "M~00012345",
        "taro.yamada%4example.jp",
        "xtaro.yamada%40example.jp",
        "taro.yamada&commat;example.jp.evil",
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

/// Numbers with a leading zero, one that has three ways to be grouped, one without any zero.
fn phones() -> Matcher {
    let of = |region: &str, raw: &str, tag| {
        let region = region.to_owned();
        needle(IdentifierKind::Phone { region }, raw, tag)
    };
    Matcher::new(vec![
        of("JP", "090-1234-5678", 1),
        of("JP", "03-1213-4556", 2),
        of("ES", "912 345 678", 3),
        of("JP", "03-1234-5678", 4),
    ])
}

fn phones_in(text: &str) -> Vec<u32> {
    hits(&phones(), text.as_bytes(), &FieldKind::Text)
}

#[test]
fn a_telephone_with_any_punctuation() {
    for between in [
        "_", "~", ",", "·", ":", "|", "*", "\\", "=", ";", "'", "#", "&", "%", "!", "?", "^", "<",
        "•", "★", "→", "￥", "ー", "〜", "～", "・", "、", "。", "，", "＿", "：", "｜", "＊",
        "＼", "＝", "‥", " _ ", "、　", "\",\"", "-—-", " ~ ~ ", "\u{200b}", "\t", "\r\n",
    ] {
        for text in [
            ["090", "1234", "5678"].join(between),
            ["tel:(090", "1234", "5678)."].join(between),
            ["０９０", "１２３４", "５６７８"].join(between),
            ["+81", "90", "1234", "5678"].join(between),
            ["x 7", "", "090", "12345678", "", "9"].join(between),
        ] {
            assert_eq!(phones_in(&text), [1], "{text}");
        }
    }
    for text in [
        "(090)1234:5678",
        "090・1234ー5678",
        "0|9|0|1|2|3|4|5|6|7|8",
        "0,9,0,1,2,3,4,5,6,7,8",
        r#"["090","1234","5678"]"#,
        // A row of a CSV: nobody can tell, so that it is found.
        "..,45,090,1234,5678,12,..",
        "+81(0)90:1234:5678",
        "%2B81_90_1234_5678",
    ] {
        assert_eq!(phones_in(text), [1], "{text}");
    }
}

#[test]
fn a_telephone_that_a_spreadsheet_has_taken_the_zero_of() {
    for text in [
        "9012345678",
        "x,9012345678,y",
        "45,9012345678,12",
        "2026-01-01 9012345678",
        r#"{"tel":9012345678}"#,
        "9012345678.0",
        "9012345678.00;",
        "9012345678.",
        "電話9012345678まで",
        "９０１２３４５６７８",
        "no. 1.9012345678x 9012345678",
        "tel_9012345678.pdf",
    ] {
        assert_eq!(phones_in(text), [1], "{text}");
    }
    for text in [
        "90-1234-5678",
        "9,012,345,678",
        "9.012.345.678",
        "0.9012345678",
        "1.9012345678",
        "9012345678.5",
        "9012345678.01",
        "+9012345678",
        "19012345678",
        "90123456780",
        "a9012345678",
        "9012345678f",
        "9012345678-0000",
        "01234567-9012345678",
    ] {
        assert_eq!(phones_in(text), [] as [u32; 0], "{text}");
    }
}

#[test]
fn other_numbers_are_no_telephones() {
    for text in [
        "2026-03-12 13:45:56",
        "2026-03-12_13-45-56.sql",
        "2026/03/12 13.45.56",
        "2026-03-12T03:12:13:45:56",
        "03-12 13:45:56",
        "０３：１２：１３：４５：５６",
        "03:12:13:45:56",
        "09:01:23.45678",
        "price 912,345,678",
        "912'345'678",
        "1,912,345,678",
        "34,912,345,678",
        "0.312134556",
        "[0, 31, 213, 4556]",
        "{0,90,1234,5678}",
        "0;90;1234;5678",
        "10.0.31.23.45680",
        "090____1234____5678",
        "090    1234    5678",
        "090a1234a5678",
        "090@1234@5678",
        "1090,1234,5678",
        "090,1234,56789",
    ] {
        assert_eq!(phones_in(text), [] as [u32; 0], "{text}");
    }
    // And the same digits otherwise.
    assert_eq!(phones_in("2026-01-03-1213-4556"), [2]);
    assert_eq!(phones_in("03.12.13.45.56"), [2]);
    assert_eq!(phones_in("912, 345, 678"), [3]);
    assert_eq!(phones_in("912_345_678"), [3]);
    assert_eq!(phones_in("10.0.31.23:45678"), [4]);
    assert_eq!(phones_in("0,312134556"), [2]);
    assert_eq!(phones_in("+81:3:1213:4556"), [2]);
    assert_eq!(phones_in("0:3:1:2:1:3:4:5:5:6"), [2]);
}

#[test]
fn what_nothing_can_hold_on_to_is_found_as_it_stands() {
    for raw in ["ー", "\u{200b}", "‐‐"] {
        let matcher = Matcher::new(vec![needle(IdentifierKind::Plain, raw, 1)]);
        let text = format!("x {raw} y");
        assert_eq!(
            hits(&matcher, text.as_bytes(), &FieldKind::Text),
            [1],
            "{raw:?}"
        );
        assert_eq!(
            hits(&matcher, "x y".as_bytes(), &FieldKind::Text),
            [] as [u32; 0]
        );
    }
}

#[test]
fn names_are_known_by_every_mark_they_are_written_with() {
    for (raw, text) in [
        ("タロー・ヤマダ", "たのむタロ-・ヤマダ様"),
        ("e\u{200b}\u{301}ve", "éve"),
        ("Jean-Luc", "JEAN–LUC"),
        ("スミス・ジョー", "スミス・ジョー"),
    ] {
        let matcher = Matcher::new(vec![needle(IdentifierKind::Name, raw, 1)]);
        assert_eq!(
            hits(&matcher, text.as_bytes(), &FieldKind::Text),
            [1],
            "{text}"
        );
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

/// The person's identifiers as `naively` leaves them.
const NAIVE: [&[&str]; 6] = [
    &["taroyamada@examplejp"],
    &["0312345678", "81312345678", "312345678"],
    &["山田太郎"],
    &["m00012345"],
    &["taroyamada"],
    &["ohara@bücherexample"],
];

/// The letters and digits of a text, and the `@`: in lower case, in ordinary width.
fn naively(text: &str) -> String {
    let text = text.replace("%40", "@").replace("&#64;", "@");
    text.chars()
        .map(|c| match c {
            '\u{ff01}'..='\u{ff5e}' => char::from_u32(c as u32 - 0xfee0).unwrap(),
            c => c,
        })
        .flat_map(char::to_lowercase)
        .filter(|&c| c == '@' || c.is_alphanumeric() && c != 'ー')
        .collect()
}

/// Signs of which the identifiers are made, many times more likely to make one than any text.
fn noise() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        3 => prop::sample::select(vec![
            "taro.yamada", "example.jp", "taro", ".", "yamada", "@", "example", "jp", "TARO", "%40", "&#64;", "03", "1234", "5678", "０３",
            "0", "3", "312345678", "312", "345", "678", "+81", "山田", "太郎", "山", "M", "00012345", "Ｍ", "m-",
        ]).prop_map(str::to_owned),
        2 => "[ _~,.:;|*=/\\-‐–−－ー〜・、　\u{ad}\u{200b}\u{feff}\u{2060}]{0,3}",
        1 => "\\PC{0,2}",
    ];
    prop::collection::vec(piece, 0..14).prop_map(|pieces| pieces.concat())
}

/// An identifier of `person()` in a writing that must be found.
fn writing() -> impl Strategy<Value = (String, u32)> {
    let email = rewritten("taro.yamada@example.jp", "");
    let odd = rewritten("o'hara@bücher.example", "");
    let phone = (
        prop::sample::select(vec![
            vec!["03", "1234", "5678"],
            vec!["0312", "345678"],
            vec!["+81", "3", "1234", "5678"],
            vec!["0", "3", "1", "2", "3", "4", "5", "6", "7", "8"],
            vec!["010", "81", "312345678"],
            vec!["312345678"],
        ]),
        prop::collection::vec("[_~,.;|*=/#'\\-‐–−－ー〜・、·•＿]{0,3}[ 　]{0,3}", 9),
    );
    // No colons: between pairs they are a clock's.
    let phone = phone.prop_flat_map(|(groups, gaps)| {
        let text: String = groups
            .iter()
            .zip(gaps.iter().map(String::as_str).chain([""]))
            .enumerate()
            .map(|(at, (group, gap))| {
                if at + 1 == groups.len() {
                    (*group).to_owned()
                } else {
                    format!("{group}{gap}")
                }
            })
            .collect();
        rewritten(&text, "")
    });
    let name = rewritten("山田太郎", " 　\n");
    let latin = rewritten("TaroYamada", " \t\u{a0}");
    let number = prop::sample::select(vec![
        "M-00012345",
        "M‐00012345",
        "M‑00012345",
        "M–00012345",
        "M−00012345",
        "M－00012345",
        "Mー00012345",
        "M—00012345",
    ])
    .prop_flat_map(|text| rewritten(text, ""));
    prop_oneof![
        email.prop_map(|t| (t, 1)),
        phone.prop_map(|t| (t, 2)),
        name.prop_map(|t| (t, 3)),
        number.prop_map(|t| (t, 4)),
        latin.prop_map(|t| (t, 5)),
        odd.prop_map(|t| (t, 6)),
    ]
}

/// Every character in another case or width or escaped, with something invisible or one of
/// `spaces` behind it, or as it is.
fn rewritten(text: &str, spaces: &'static str) -> impl Strategy<Value = String> + use<> {
    let chars: Vec<char> = text.chars().collect();
    let count = chars.len();
    (
        prop::collection::vec((0u8..10, 0usize..12), count),
        prop::sample::select(vec!["plain", "%", "&", "json"]),
    )
        .prop_map(move |(choices, escape)| {
            let mut out = String::new();
            for (c, (how, what)) in chars.iter().zip(choices) {
                let c = match how {
                    0 => c.to_uppercase().next().unwrap(),
                    1 if c.is_ascii_graphic() => char::from_u32(*c as u32 + 0xfee0).unwrap(),
                    _ => *c,
                };
                let escaped = how == 2 || !c.is_alphanumeric() && how == 3;
                match escape {
                    "%" if escaped => {
                        out.extend(c.to_string().bytes().map(|b| format!("%{b:02X}")));
                    }
                    "&" if escaped => out += &format!("&#{};", c as u32),
                    "json" if escaped && (c as u32) < 0x1_0000 => {
                        out += &format!("\\u{:04x}", c as u32)
                    }
                    _ => out.push(c),
                }
                let between: Vec<char> = "\u{ad}\u{200b}\u{200c}\u{200d}\u{2060}\u{feff}"
                    .chars()
                    .chain(spaces.chars())
                    .collect();
                if how > 7
                    && let Some(sign) = between.get(what)
                {
                    out.push(*sign);
                }
            }
            out
        })
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
    fn nothing_is_missed_that_the_plain_search_finds(text in "[taroymdx. @\\-山田太郎\u{3000}ａ（é0-9Mーー‐−～+]{0,60}", needle_at in 0usize..50, length in 2usize..12) {
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
    fn found_however_it_is_written(writing in writing(), before in surroundings(), after in surroundings()) {
        let (text, tag) = writing;
        let text = format!("{before} a {text} a {after}");
        prop_assert!(in_text(&text).contains(&tag), "{:?}", text);
    }

    /// Whatever is found in noise made of the same signs, a normaliser that knows nothing of
    /// words, borders and shapes finds too.
    #[test]
    fn nothing_is_found_that_is_not_there(text in noise()) {
        let left = naively(&text);
        for tag in in_text(&text) {
            let held = NAIVE[tag as usize - 1].iter().any(|value| left.contains(value));
            prop_assert!(held, "{} in {:?}", tag, text);
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
