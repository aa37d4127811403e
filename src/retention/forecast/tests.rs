use super::*;
use crate::policy::Period;
use crate::policy::retention::{Keep, Term};
use proptest::prelude::*;

fn terms() -> impl Strategy<Value = Term> {
    let period = || (0..60_u32, 0..500_u32).prop_map(|(months, days)| Period { months, days });
    let ends = (1..=12_u32, 1..=28_u32);
    prop_oneof![
        period().prop_map(Term::Plain),
        (ends, period()).prop_map(|(ends, plus)| Term::FiscalYear { ends, plus }),
    ]
}

/// The day, counted from 1970.
fn day(number: i64) -> NaiveDate {
    NaiveDate::from_ymd_opt(1970, 1, 1).unwrap() + chrono::Duration::days(number)
}

proptest! {
    /// A row is in the first week behind whose last day its own last day of keeping is, by the definition;
    /// that is the number of cutoffs before its day, which is how the server puts it into a week.
    #[test]
    fn a_row_falls_into_the_week_in_which_it_comes_due(term in terms(), today in 10_000..40_000_i64, back in -500..3000_i64) {
        let (today, of_row) = (day(today), day(today - back));
        let keep = Keep::Since { columns: vec!["a".into()], linked: Vec::new(), term };
        let cutoffs: Vec<NaiveDate> = days(today).map(|d| keep.cutoff(d).unwrap()).collect();
        let counted = cutoffs.iter().filter(|cutoff| **cutoff < of_row).count();
        let last = term.last_day(of_row).unwrap();
        let defined = (0..=52).find(|week| last < today + chrono::Duration::weeks(*week));
        let counted = i64::try_from(counted).unwrap();
        prop_assert_eq!(counted, defined.unwrap_or(53));
    }
}

#[test]
fn a_share_of_the_table_is_a_share_of_its_bytes() {
    let mut forecast = Forecast {
        weeks: Vec::new(),
        rows: 200,
        one_in: None,
        table_bytes: 1 << 40,
    };
    assert_eq!(forecast.bytes(50), 1 << 38);
    // Counted at another moment, or of a part of the blocks.
    assert_eq!(forecast.bytes(500), 1 << 40);
    forecast.rows = 0;
    assert_eq!(forecast.bytes(5), 0);
}

#[test]
fn time_is_in_proportion_to_rows() {
    assert_eq!(takes(1000, (10, 250)), Duration::from_secs(25));
    assert_eq!(takes(1000, (0, 250)), Duration::ZERO);
}
