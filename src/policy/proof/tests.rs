use super::*;

const ONE: &str = "level = \"basic\"\ndemands = \"knowledge\"\nask = [\"name\"]\n\
     ja = \"a\"\nen = \"b\"\nsource = \"c\"\nsure = \"likely\"\n";

fn codes(text: &str) -> Vec<&'static str> {
    let mistakes = read("identity.toml", text).unwrap_err();
    mistakes.iter().map(|mistake| mistake.code).collect()
}

/// The table of our sources, where it gives a range its lower end.
#[test]
fn methods_reach_as_far_as_their_sources_say() {
    let known: BTreeMap<&str, Level> = [
        ("none", Level::None),
        ("name_contact", Level::Basic),
        ("member_dob", Level::Basic),
        ("points_2", Level::Reasonable),
        ("points_3", Level::ReasonablyHigh),
        ("email_link", Level::Reasonable),
        ("callback", Level::Reasonable),
        ("callback_dob", Level::ReasonablyHigh),
        ("postal_code", Level::Reasonable),
        ("login", Level::Reasonable),
        ("login_reauth", Level::ReasonablyHigh),
        ("id_masked", Level::Reasonable),
        ("id_plus_2nd", Level::ReasonablyHigh),
        ("in_person", Level::ReasonablyHigh),
        ("jpki", Level::High),
        ("agent", Level::None),
        ("guardian", Level::None),
        ("heir", Level::None),
    ]
    .into();
    let built_in = built_in();
    let levels = built_in
        .methods
        .iter()
        .map(|(code, m)| (code.as_str(), m.level));
    assert_eq!(levels.collect::<BTreeMap<_, _>>(), known);
    for never in ["my_number", "insurance_symbol", "pension_number"] {
        assert!(built_in.never.contains_key(never), "{never}");
    }
}

#[test]
fn a_file_adds_and_replaces_and_takes_nothing_away() {
    let text = format!("[method.callback]\n{ONE}offered = true\n[method.fax]\n{ONE}");
    let read = read("identity.toml", &text).unwrap();
    assert_eq!(read.methods.len(), built_in().methods.len() + 1);
    assert_eq!(read.methods["callback"].level, Level::Basic);
    assert_eq!(read.never, built_in().never);
}

#[test]
fn a_desk_does_without_a_method() {
    let off = |name: &str| format!("[method.{name}]\noffered = false\n");
    let read = read("identity.toml", &off("callback")).unwrap();
    assert!(!read.methods.contains_key("callback"));
    assert_eq!(codes(&off("calback")), ["E0107"]);
}

#[test]
fn nobody_asks_for_what_is_never_taken() {
    let asking = ONE.replace("\"name\"", "\"my_number\"");
    assert_eq!(codes(&format!("[method.card]\n{asking}")), ["E0122"]);
    // What a file forbids itself counts, wherever in it that stands.
    let own = "[never.licence]\nja = \"a\"\nen = \"b\"\nsource = \"c\"\nsure = \"sure\"\n";
    let asking = ONE.replace("\"name\"", "\"licence\"");
    assert_eq!(codes(&format!("[method.card]\n{asking}{own}")), ["E0122"]);
}

#[test]
fn what_is_compared_is_asked_for() {
    let comparing = |more: &str| codes(&format!("[method.a]\n{ONE}{more}"));
    assert_eq!(comparing("compare = [\"phone\"]"), ["E0124"]);
    assert_eq!(comparing("compare = [\"name\"]\npoints = 2"), ["E0124"]);
    assert_eq!(comparing("compare = [\"name\"]\npoints = 0"), ["E0106"]);
    let text = format!("[method.a]\n{ONE}compare = [\"name\"]");
    assert_eq!(read("identity.toml", &text).unwrap().methods["a"].points, 1);
}

/// What the file that ships says is what holds when a file of one's own says nothing.
#[test]
fn limits_are_the_defaults_until_said_otherwise() {
    assert_eq!(built_in().limits, Limits::default());
    let read = |text: &str| read("identity.toml", text);
    let limits = read("[limits]\nby_subject = 5\nlock_out = \"1 h\"")
        .unwrap()
        .limits;
    assert_eq!((limits.by_subject, limits.by_agent), (5, 20));
    assert_eq!(limits.lock_out, Duration::from_secs(3_600));
    assert!(read("[limits]\nby_subject = 0").is_err());
    assert!(read("[limits]\nwindow = \"soon\"").is_err());
    assert!(read("[limits]\nwindow = \"0 s\"").is_err());
}

#[test]
fn mistakes_are_told_at_once() {
    let text = format!(
        "[method.a]\n{}[method.b]\nlevel = \"basic\"\n[method.C]\n{ONE}[methods.d]\n",
        ONE.replace("basic", "very").replace("knowledge", "blood"),
    );
    let codes = codes(&text);
    assert_eq!(
        codes.iter().filter(|c| **c == "E0107").count(),
        2,
        "{codes:?}"
    );
    assert_eq!(
        codes.iter().filter(|c| **c == "E0104").count(),
        6,
        "{codes:?}"
    );
    assert!(codes.contains(&"E0106"), "{codes:?}");
    assert!(codes.contains(&"E0103"), "{codes:?}");
}
