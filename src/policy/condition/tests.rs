use super::*;

/// Read as if the text were the file.
fn read(text: &str) -> Result<Condition, (String, String)> {
    let span = 0..text.len();
    let at = Text {
        text,
        offset: Some(0),
        span,
    };
    at.read()
        .map_err(|(span, why)| (text[span].to_owned(), why))
}

/// As a text in which every grouping is seen.
fn shown(condition: &Condition) -> String {
    let joined = |parts: &[Condition], by: &str| {
        let parts: Vec<String> = parts.iter().map(shown).collect();
        format!("({})", parts.join(by))
    };
    match condition {
        Condition::All(parts) => joined(parts, " & "),
        Condition::Any(parts) => joined(parts, " | "),
        Condition::Not(part) => format!("!{}", shown(part)),
        Condition::Test(test) => {
            let column = &test.column;
            match &test.asked {
                Asked::IsNull => format!("{column} null"),
                Asked::Is(what) => format!("{column} {what}"),
                Asked::Like(pattern) => format!("{column} like <{}>", pattern.text),
                Asked::Compared(sign, constant) => {
                    format!("{column} {sign:?} {:?}<{}>", constant.kind, constant.text)
                }
            }
        }
    }
}

#[test]
fn what_is_allowed_is_read() {
    for (text, expected) in [
        ("state = 'closed'", "state Equal Text<closed>"),
        (
            "n >= -12 AND n != 3",
            "(n AtLeast Number<-12> & n Unequal Number<3>)",
        ),
        (
            "a IS NULL OR b IS NOT NULL AND NOT c IS TRUE",
            "(a null | (!b null & !c true))",
        ),
        (
            "(a = 1 OR b = 2) AND c <> 3",
            "((a Equal Number<1> | b Equal Number<2>) & c Unequal Number<3>)",
        ),
        (
            "NOT a = 1 AND b = 2",
            "(!a Equal Number<1> & b Equal Number<2>)",
        ),
        (
            "a NOT IN ('x', 'y')",
            "!(a Equal Text<x> | a Equal Text<y>)",
        ),
        (
            "a BETWEEN 1 AND 2 AND b = TRUE",
            "((a AtLeast Number<1> & a AtMost Number<2>) & b Equal Boolean<true>)",
        ),
        (
            "a NOT BETWEEN 1 AND 2",
            "!(a AtLeast Number<1> & a AtMost Number<2>)",
        ),
        ("a NOT LIKE 'x%'", "!a like <x%>"),
        ("a IS NOT FALSE", "!a false"),
        // As PostgreSQL folds names, and as it does not.
        (
            "State = 'it''s' AND \"State\" = '\\'",
            "(state Equal Text<it's> & State Equal Text<\\>)",
        ),
        ("\"a\"\"; DROP\" = 'b'", "a\"; DROP Equal Text<b>"),
        (
            "a = 1 OR b = 2 OR c = 3",
            "(a Equal Number<1> | b Equal Number<2> | c Equal Number<3>)",
        ),
    ] {
        assert_eq!(shown(&read(text).unwrap()), expected, "{text}");
    }
}

/// Each is told at its own place, and by its name.
#[test]
fn what_is_more_is_refused_where_it_stands() {
    for (text, at, why) in [
        ("lower(a) = 'b'", "lower(a)", "function"),
        ("a = now()", "now()", "function"),
        ("a = current_date", "current_date", "function"),
        ("a = 1 AND b.c = 2", "b.c", "dot"),
        ("a IN (SELECT 1)", "", "subquery"),
        ("EXISTS (SELECT 1)", "", "subquery"),
        ("a = (SELECT 1)", "", "subquery"),
        ("a = ANY ('{1}')", "", "subquery or array"),
        ("a::text = 'b'", "a", "cast"),
        ("a = DATE '2026-01-01'", "'2026-01-01'", "cast"),
        ("a = $1", "$1", "parameter"),
        ("a = ?", "?", ""),
        ("a = b", "b", "is a column"),
        ("1 = a", "a", "is a column"),
        ("a = NULL", "NULL", "IS NULL"),
        ("a", "a", "IS TRUE"),
        ("TRUE", "TRUE", "constant by itself"),
        ("a ILIKE 'b'", "a ILIKE 'b'", "ILIKE"),
        ("a LIKE 'b' ESCAPE 'c'", "a LIKE 'b'", "ESCAPE"),
        ("a + 1 = 2", "a + 1", "such expression"),
        ("a || 'x' = 'y'", "a || 'x'", "such expression"),
        ("a ~ 'b'", "a ~ 'b'", "operator ~"),
        ("a = E'\\x41'", "E'\\x41'", "constants are written"),
        ("a = $$b$$", "$$b$$", "constants are written"),
        (
            "a IS DISTINCT FROM 1",
            "a IS DISTINCT FROM 1",
            "such expression",
        ),
        ("a = 1; DELETE FROM b", ";", "too many"),
        ("a = 1 b", "b", "too many"),
        ("a =", "", "ends too early"),
        ("", "", "ends too early"),
        ("a = 'b", "a = 'b", "Unterminated"),
        ("CASE WHEN a = 1 THEN TRUE END", "", "CASE"),
        ("(a, b) = (1, 2)", "", ""),
        ("a IN ()", "", ""),
        ("a COLLATE \"C\" = 'b'", "", "such expression"),
        ("a = 1 = TRUE", "", "such expression"),
    ] {
        let (place, said) = read(text).unwrap_err();
        assert!(said.contains(why), "{text}: {said}");
        // The parser leaves closing signs out.
        assert!(
            at.starts_with(&place) || at.is_empty(),
            "{text}: at {place:?}, {said}"
        );
    }
    let deep = format!("{}a = 1{}", "(".repeat(500), ")".repeat(500));
    assert!(read(&deep).unwrap_err().1.contains("nested too deeply"));
    let long = vec!["a = 1"; 400].join(" OR ");
    assert_eq!(read(&long).unwrap().tests().len(), 400);
    assert!(
        read(&"a".repeat(5000))
            .unwrap_err()
            .1
            .contains("longer than")
    );
}

/// Any text at all is read or refused.
mod any_text {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn nothing_makes_it_fall_over(text in "\\PC{0,60}") {
            read(&text).ok();
        }

        #[test]
        fn nor_do_its_own_words(words in proptest::collection::vec(prop_oneof![
            Just("a"), Just("'b'"), Just("\"c\""), Just("1"), Just("-"), Just("AND"), Just("OR"), Just("NOT"), Just("IN"),
            Just("("), Just(")"), Just(","), Just("IS"), Just("NULL"), Just("TRUE"), Just("BETWEEN"), Just("LIKE"), Just("="),
            Just("é"), Just("\n"), Just("--"), Just("/*"), Just("."),
        ], 0..12)) {
            read(&words.join(" ")).ok();
        }
    }
}
