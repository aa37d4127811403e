use super::*;
use proptest::prelude::*;

fn values(pairs: &[(&str, &[&str])]) -> BTreeMap<String, Vec<String>> {
    let texts = |texts: &[&str]| texts.iter().map(|t| (*t).to_owned()).collect();
    let pairs = pairs.iter();
    pairs.map(|(n, v)| ((*n).to_owned(), texts(v))).collect()
}

fn made(template: &str, pairs: &[(&str, &[&str])]) -> Result<Vec<String>, Unfit> {
    let template: Template = template.parse().unwrap();
    let made = template.render(&values(pairs))?.into_iter();
    let shown = made.map(|one| match &one.ends {
        None => one.begins.to_string(),
        Some(ends) => format!("{}…{ends}", *one.begins),
    });
    Ok(shown.collect())
}

#[test]
fn addresses_are_made_of_values() {
    let one: &[(&str, &[&str])] = &[("no", &["M-1"]), ("card", &[])];
    assert_eq!(made("session:{no}", one).unwrap(), ["session:M-1"]);
    assert_eq!(made("cart:{no}:*:v2", one).unwrap(), ["cart:M-1:…:v2"]);
    assert_eq!(made("{{{no}}}:cart", one).unwrap(), ["{M-1}:cart"]);
    let two: &[(&str, &[&str])] = &[("no", &["1", "2"]), ("card", &["a", "", " "])];
    assert_eq!(made("{no}/{card}", two).unwrap(), ["1/a", "2/a"]);
    // No value, no address: never `session:`.
    assert!(made("session:{card}", one).unwrap().is_empty());
    assert!(made("session:{other}", one).unwrap().is_empty());
    assert!(made("{no}:{card}", one).unwrap().is_empty());
}

/// Two identifiers, of two people.
#[test]
fn two_identifiers_meet_where_their_values_could() {
    for (one, other, excluded, meet) in [
        ("s:{x}", "s:{y}", "", true),
        ("s:{x}", "t:{y}", "", false),
        ("s:{x}", "s:{y}:web", "", false),
        ("s:{x}:*", "s:{y}:web", "", true),
        ("s:{x}:*", "s:{y}:a:*", "", true),
        ("u-{x}", "u-{y}-cart", "", true),
        ("u-{x}", "u-{y}-cart", "-", false),
        ("u-{x}", "u-{y}-{z}", "", true),
        ("u-{x}", "u-{y}-{z}", "-", false),
        ("u-{x}.png", "u-{y}/*", "", true),
        ("u-{x}.png", "u-{y}/*", "/", false),
    ] {
        let (first, second): (Template, Template) = (one.parse().unwrap(), other.parse().unwrap());
        let excluded = |_: &str| excluded.to_owned();
        assert_eq!(
            first.may_be(&second, excluded, excluded),
            meet,
            "{one} {other}"
        );
        assert_eq!(
            second.may_be(&first, excluded, excluded),
            meet,
            "{other} {one}"
        );
    }
}

#[test]
fn what_could_be_somebody_elses_is_refused() {
    for bad in [
        "session",
        "session:*",
        "user:{id}*",
        "{a}{b}",
        "*:{id}",
        "*{id}:x",
        "{id}:*:*",
        "{id}:*x*",
        "x:{id}**",
    ] {
        let template: Template = bad.parse().unwrap();
        assert!(template.is_one_persons().is_err(), "{bad}");
    }
    for good in [
        "{id}",
        "session:{id}",
        "{id}:*",
        "cart:{id}:*:v2",
        "{a}:{b}",
        "{a}:{b}:*",
        "x{a}y",
    ] {
        let template: Template = good.parse().unwrap();
        template.is_one_persons().unwrap();
        assert_eq!(template.to_string(), good);
    }
    for bad in ["", "{id", "id}", "a{b{c}"] {
        let read = bad.parse::<Template>();
        let refused = read.as_ref().map(Template::is_one_persons);
        assert!(read.is_err() || bad == "a{b{c}", "{bad} {refused:?}");
    }
}

#[test]
fn closers_stand_behind_what_is_followed() {
    let closers = |text: &str| -> Vec<(String, char)> {
        let template: Template = text.parse().unwrap();
        let closers = template.closers().into_iter();
        closers.map(|(name, c)| (name.to_owned(), c)).collect()
    };
    assert!(closers("session:{a}").is_empty());
    assert!(closers("session:{a}:x").is_empty());
    assert_eq!(closers("{a}:*"), [("a".to_owned(), ':')]);
    assert_eq!(closers("{a}/{b}.png"), [("a".to_owned(), '/')]);
    assert_eq!(
        closers("{a}/{b}-*"),
        [("a".to_owned(), '/'), ("b".to_owned(), '-')]
    );
    let prefix: Template = "avatars/{a}/".parse().unwrap();
    assert_eq!(prefix.and_all_behind().closers(), [("a", '/')]);
}

#[test]
fn a_value_that_holds_its_closer_makes_no_address() {
    assert!(matches!(
        made("cart:{no}:*", &[("no", &["1:2"])]),
        Err(Unfit::Closer { .. })
    ));
    // It would be person 1's.
    for closed in ["cart:{no}", "{no}:cart", "a/{no}"] {
        let value = if closed.contains('/') { "1/2" } else { "1:2" };
        assert!(matches!(
            made(closed, &[("no", &[value])]),
            Err(Unfit::Closer { .. })
        ));
    }
    assert!(made("cart-{no}.zip", &[("no", &["TM-1.2"])]).is_ok());
    for path in ["..", ".", "../x", "a/../b", "a\\..", "a\n"] {
        let made = made("x-{no}", &[("no", &[path])]);
        assert!(matches!(made, Err(Unfit::Path { .. })), "{path:?}");
    }
}

proptest! {
    /// Whatever two people's values are: if neither holds a closer, no address of one is one of the
    /// other's, be it exact or one of many.
    #[test]
    fn nobody_reaches_another(
        template in prop::sample::select(vec!["{a}", "x:{a}", "{a}:*", "x{a}:*:y", "{a}:{b}", "{a}:{b}:*", "x{a}x"]),
        one in prop::array::uniform2("[1:]{1,3}"),
        other in prop::array::uniform2("[1:]{1,3}"),
        tail in "[1:]{0,3}",
    ) {
        let template: Template = template.parse().unwrap();
        template.is_one_persons().unwrap();
        let used: Vec<&str> = template.identifiers().collect();
        let person = |v: &[String; 2]| values(&[("a", &[v[0].as_str()]), ("b", &[v[1].as_str()])]);
        let differ = used.iter().any(|name| one[usize::from(*name == "b")] != other[usize::from(*name == "b")]);
        prop_assume!(differ);
        let (Ok(mine), Ok(theirs)) = (template.render(&person(&one)), template.render(&person(&other))) else {
            return Ok(());
        };
        for (mine, theirs) in mine.iter().zip(&theirs) {
            match (&mine.ends, &theirs.ends) {
                (Some(ends), Some(_)) => {
                    // Anything of theirs.
                    let key = format!("{}{tail}{ends}", *theirs.begins);
                    let hit = key.len() >= mine.begins.len() + ends.len()
                        && key.starts_with(&*mine.begins) && key.ends_with(ends.as_str());
                    prop_assert!(!hit, "{key} is taken for {}", *mine.begins);
                }
                _ => prop_assert!(*mine.begins != *theirs.begins),
            }
        }
    }

    /// Two templates for two people: what is said to meet never does not, and nothing else is said of those that do.
    #[test]
    fn what_two_people_share_is_known_before(
        one in "[a:]{0,2}(\\{x\\}[a:]{1,2}){0,1}\\{x\\}[a:]{0,2}",
        other in "[a:]{0,2}\\{y\\}([a:]{1,2}|:\\*)",
        x in "[ab]{1,3}",
        y in "[ab]{1,3}",
        excluded in "[b]{0,1}",
    ) {
        let (one, other): (Template, Template) = (one.parse().unwrap(), other.parse().unwrap());
        prop_assume!(one.is_one_persons().is_ok() && other.is_one_persons().is_ok());
        prop_assume!(excluded.is_empty() || !x.contains(&excluded));
        let may = one.may_be(&other, |_| excluded.clone(), |_| String::new());
        let back = other.may_be(&one, |_| String::new(), |_| excluded.clone());
        prop_assert_eq!(may, back);
        let (Ok(ours), Ok(theirs)) = (one.render(&values(&[("x", &[&x])])), other.render(&values(&[("y", &[&y])]))) else {
            return Ok(());
        };
        let (ours, theirs) = (&ours[0].begins, &theirs[0]);
        let met = match &theirs.ends {
            None => **ours == *theirs.begins,
            Some(ends) => ours.len() >= theirs.begins.len() + ends.len()
                && ours.starts_with(&*theirs.begins) && ours.ends_with(ends.as_str()),
        };
        prop_assert!(may || !met, "{} is {} too", **ours, *theirs.begins);
    }

    #[test]
    fn what_is_written_reads_back(text in "[a:{}*]{1,8}") {
        if let Ok(template) = text.parse::<Template>() {
            prop_assert_eq!(template.to_string().parse::<Template>().unwrap(), template);
        }
    }
}
