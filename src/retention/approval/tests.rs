use super::*;
use crate::policy::Period;
use crate::retention::forecast::Week;
use proptest::prelude::*;

fn day(text: &str) -> NaiveDate {
    text.parse().unwrap()
}

fn kept(columns: &[&str], term: Option<Term>) -> Kept {
    Kept {
        columns: columns.iter().map(|c| (*c).to_owned()).collect(),
        term,
        of: None,
    }
}

fn plain(months: u32, days: u32) -> Option<Term> {
    Some(Term::Plain(Period { months, days }))
}

fn terms(kept: Vec<Kept>) -> Terms {
    Terms {
        table: "shop.public.call".into(),
        action: "delete".into(),
        timezone: "Asia/Tokyo".into(),
        set: BTreeMap::new(),
        archived: false,
        only: None,
        scope: None,
        at_most: None,
        spared_by: Vec::new(),
        kept,
        changes: BTreeSet::from([("public.call".into(), ChangeKind::Deleted)]),
    }
}

fn any_term() -> impl Strategy<Value = Term> {
    let period = || (0..40_u32, 0..900_u32).prop_map(|(months, days)| Period { months, days });
    let ends = (1..=12_u32, 1..=28_u32);
    prop_oneof![
        period().prop_map(Term::Plain),
        (ends, period()).prop_map(|(ends, plus)| Term::FiscalYear { ends, plus }),
    ]
}

fn cutoff(term: Term, today: NaiveDate) -> NaiveDate {
    let keep = Keep::Since {
        columns: vec!["a".into()],
        linked: Vec::new(),
        term,
    };
    keep.cutoff(today).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    /// What is not said to take more takes no later day on any day; what is said to has a day on which it does.
    #[test]
    fn a_term_takes_more_if_it_does_on_any_day(old in any_term(), new in any_term(), today in 0..40_000_i64) {
        let (was, is) = (terms(vec![kept(&["a"], Some(old))]), terms(vec![kept(&["a"], Some(new))]));
        let today = day("1950-01-01") + chrono::Duration::days(today);
        if is.takes_more(&was) {
            let sooner = cycle().find(|d| new.last_day(*d) < old.last_day(*d)).unwrap();
            let then = new.last_day(sooner).unwrap().succ_opt().unwrap();
            prop_assert!(cutoff(new, then) > cutoff(old, then));
        } else {
            prop_assert!(cutoff(new, today) <= cutoff(old, today));
        }
    }
}

#[test]
fn what_takes_more() {
    let ninety = || kept(&["a"], plain(0, 90));
    let was = terms(vec![ninety()]);
    let more = |change: fn(&mut Terms)| {
        let mut now = was.clone();
        change(&mut now);
        now.takes_more(&was)
    };
    assert!(!more(|_| {}));
    assert!(!more(|t| t.kept[0].term = plain(0, 91)));
    assert!(more(|t| t.kept[0].term = plain(0, 89)));
    // Three months are 89 days from the end of November on, and 92 in summer.
    assert!(more(|t| t.kept[0].term = plain(3, 0)));
    assert!(!more(|t| t.kept[0].term = plain(4, 0)));
    assert!(more(|t| t.kept[0].term = None));
    assert!(more(|t| {
        t.kept[0].columns.insert("b".into());
    }));
    assert!(more(|t| t.table = "shop.public.note".into()));
    assert!(more(|t| t.timezone = "UTC".into()));
    assert!(more(|t| t.action = "anonymize".into()));
    assert!(more(|t| {
        t.changes
            .insert(("public.note".into(), ChangeKind::Deleted));
    }));
    assert!(!more(|t| t.changes.clear()));
    // One more time that must be over takes less, and without one that was there it is more.
    assert!(!more(|t| t.kept.push(kept(&["b"], plain(12, 0)))));
    let both = terms(vec![ninety(), kept(&["b"], plain(12, 0))]);
    assert!(was.takes_more(&both));
    let shorter = terms(vec![ninety(), kept(&["b"], plain(11, 0))]);
    assert!(shorter.takes_more(&both) && !both.takes_more(&shorter));
}

fn foreseen(rows: &[i64], keep: &Keep) -> Foreseen {
    let days = (0..).map(|week| day("2026-11-27") + Days::new(7 * week));
    let weeks = days
        .zip(rows)
        .map(|(through, &rows)| Week { through, rows });
    let forecast = Forecast {
        weeks: weeks.collect(),
        rows: 0,
        one_in: None,
        table_bytes: 0,
    };
    Foreseen::new(forecast, keep)
}

#[test]
fn behind_what_was_there_as_many_are_thought_to_come_as_before() {
    let since = |days| Keep::Since {
        columns: vec!["a".into()],
        linked: Vec::new(),
        term: Term::Plain(Period { months: 0, days }),
    };
    // Due on the fourth day behind the one it is of: three days' rows are there.
    let short = foreseen(&[100, 30, 0, 0], &since(3));
    assert_eq!(short.horizon, 4);
    let through = |foreseen: &Foreseen, days| {
        foreseen.through(day("2026-11-27") + chrono::Duration::days(days))
    };
    assert_eq!(through(&short, 0), 100);
    assert_eq!(through(&short, 4), 130);
    assert_eq!(through(&short, 8), 160);
    assert_eq!(through(&short, 400), 130 + 99 * 30);
    let long = foreseen(&[10, 1, 2, 3], &since(90));
    assert_eq!(long.horizon, 91);
    assert_eq!(
        [0, 1, 7, 8, 21, 60].map(|n| through(&long, n)),
        [10, 11, 11, 13, 16, 16]
    );
    assert_eq!(foreseen(&[1, 2], &Keep::Until("a".into())).horizon, 364);
    assert_eq!(foreseen(&[1, 2], &since(3000)).horizon, 364);
    // A clock that was set back.
    assert_eq!(through(&long, -5), 10);
}

#[test]
fn a_condition_that_is_another_or_gone_takes_more_and_a_new_one_less() {
    let with = |only: Option<&str>| Terms {
        only: only.map(str::to_owned),
        ..terms(vec![kept(&["a"], plain(0, 90))])
    };
    let (all, some, others) = (
        with(None),
        with(Some("state = 'a'")),
        with(Some("state = 'b'")),
    );
    assert!(!some.takes_more(&all) && !some.takes_more(&some));
    assert!(all.takes_more(&some) && others.takes_more(&some));
    let people = Terms {
        scope: Some("account".into()),
        ..all.clone()
    };
    assert!(people.takes_more(&all) && all.takes_more(&people));
}

/// A minimum is no less of one for being asked of more rows, and is one for being asked of fewer.
#[test]
fn a_minimum_that_is_taken_away_takes_more() {
    let keeper = |of: Option<&str>| Kept {
        of: of.map(str::to_owned),
        ..kept(&["a"], plain(84, 0))
    };
    let own = || kept(&["a"], plain(0, 90));
    let (bare, some, all) = (
        terms(vec![own()]),
        terms(vec![own(), keeper(Some("kind = 'x'"))]),
        terms(vec![own(), keeper(None)]),
    );
    assert!(bare.takes_more(&some) && bare.takes_more(&all) && some.takes_more(&all));
    assert!(!all.takes_more(&some) && !some.takes_more(&bare));
}

/// The rule for what hangs on the rows is taken out, or lets go sooner.
#[test]
fn what_spares_less_takes_more() {
    let with = |spared_by: Vec<(String, Kept)>| Terms {
        spared_by,
        ..terms(vec![kept(&["a"], plain(0, 90))])
    };
    let by = |years: u32| {
        vec![(
            "shop.public.recording".to_owned(),
            kept(&["b"], plain(12 * years, 0)),
        )]
    };
    let (ten, five, none) = (with(by(10)), with(by(5)), with(Vec::new()));
    assert!(five.takes_more(&ten) && none.takes_more(&ten));
    assert!(!ten.takes_more(&five) && !ten.takes_more(&none) && !ten.takes_more(&ten));
}
