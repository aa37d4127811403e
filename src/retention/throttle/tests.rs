use super::*;
use proptest::prelude::*;

const KINDS: [Kind; 5] = [
    Kind::Lag,
    Kind::LockWaits,
    Kind::ActiveSessions,
    Kind::Wal,
    Kind::Load,
];

fn read(of: &[(Kind, Option<f64>)], at: Instant) -> Readings {
    let reading = |&(kind, value)| (kind, Reading { at, value });
    of.iter().map(reading).collect()
}

#[test]
fn without_limits_everything_goes() {
    let now = Instant::now();
    assert!(limits(&Throttle::default()).is_empty());
    let go = decide(&[], &Readings::new(), Share::WHOLE, now);
    assert_eq!(go, Decision::Go);
}

#[test]
fn what_is_unknown_or_old_counts_as_above() {
    let now = Instant::now();
    let limits = [(Kind::Lag, 10.0), (Kind::Load, 4.0)];
    let wait = |readings: &Readings, now| decide(&limits, readings, Share::WHOLE, now);
    let good = read(&[(Kind::Lag, Some(10.0)), (Kind::Load, Some(0.0))], now);
    assert_eq!(wait(&good, now), Decision::Go, "at the limit is not above");
    let unknown = |kind| Decision::Wait(Reason::Unknown(kind));
    for missing in [None, Some(f64::NAN)] {
        let readings = read(&[(Kind::Lag, missing), (Kind::Load, Some(0.0))], now);
        assert_eq!(wait(&readings, now), unknown(Kind::Lag));
    }
    let never_read = read(&[(Kind::Lag, Some(0.0))], now);
    assert_eq!(wait(&never_read, now), unknown(Kind::Load));
    let later = now + FRESH + Duration::from_millis(1);
    assert_eq!(wait(&good, later), unknown(Kind::Lag), "stale");
    // What is known to be above is said first.
    let readings = read(&[(Kind::Lag, None), (Kind::Load, Some(4.1))], now);
    assert_eq!(
        wait(&readings, now),
        Decision::Wait(Reason::Above(Kind::Load))
    );
}

#[test]
fn an_operator_slows_down_what_nothing_else_stops() {
    let now = Instant::now();
    let half = Share::new(50).unwrap();
    let one = [(Kind::Load, 1.0)];
    let low = read(&[(Kind::Load, Some(0.0))], now);
    let high = read(&[(Kind::Load, Some(2.0))], now);
    assert_eq!(decide(&one, &low, half, now), Decision::Slow(half));
    assert_eq!(
        decide(&one, &high, half, now),
        Decision::Wait(Reason::Above(Kind::Load))
    );
    assert_eq!(
        decide(&one, &low, Share::NONE, now),
        Decision::Wait(Reason::Operator)
    );
    assert!(Share::new(101).is_none());
    let took = Duration::from_millis(200);
    for (percent, rest) in [(100, 0), (50, 200), (20, 800), (1, 19_800)] {
        let rest = Duration::from_millis(rest);
        assert_eq!(Share::new(percent).unwrap().rest(took), rest);
    }
}

#[test]
fn a_rate_is_of_two_looks_some_time_apart() {
    let now = Instant::now();
    let after = |millis| now + Duration::from_millis(millis);
    assert_eq!(
        rate((now, 0), (after(2000), 4 << 20)),
        Some(f64::from(2 << 20))
    );
    assert_eq!(rate((now, 0), (after(10), 4 << 20)), None);
    assert_eq!(rate((now, 0), (after(60_000), 4 << 20)), None);
    assert_eq!(rate((now, 9), (after(2000), 8)), None, "it went back");
}

#[test]
fn a_standby_of_an_idle_system_does_not_lag() {
    let (start, limit) = (Instant::now(), Duration::from_secs(10));
    let mut trail = Trail::default();
    for second in 0..3600 {
        let now = start + Duration::from_secs(second);
        trail.note(now, 1000, limit);
        assert_eq!(trail.behind(now, 1000, limit), Some(Duration::ZERO));
    }
    // The first write after an hour: a second ago, and not an hour.
    let now = start + Duration::from_secs(3600);
    trail.note(now, 1001, limit);
    let behind = trail.behind(now, 1000, limit);
    assert_eq!(behind, Some(Duration::from_secs(1)));
    assert!(trail.samples.len() < 20, "{}", trail.samples.len());
}

#[test]
fn a_lag_from_before_the_first_look_is_not_known_until_it_is_too_much() {
    let (start, limit) = (Instant::now(), Duration::from_secs(10));
    let mut trail = Trail::default();
    for second in 0..30 {
        let now = start + Duration::from_secs(second);
        trail.note(now, 1000 + second, limit);
        let behind = trail.behind(now, 999, limit);
        match second {
            0..=10 => assert_eq!(behind, None),
            _ => assert!(behind.is_some_and(|b| b > limit), "{second}: {behind:?}"),
        }
    }
    // Another server answers: what was known is forgotten.
    let now = start + Duration::from_secs(31);
    trail.note(now, 5, limit);
    assert_eq!(trail.behind(now, 4, limit), None);
}

proptest! {
    /// A run goes exactly if every limit has a reading that is not above it, and nobody has stopped it.
    #[test]
    fn nothing_goes_above_a_limit(
        limits in prop::collection::btree_map(prop::sample::select(&KINDS[..]), 0.0..100.0_f64, 0..5),
        values in prop::collection::btree_map(prop::sample::select(&KINDS[..]), (prop::option::of(0.0..100.0_f64), 0..20_u64), 0..5),
        percent in 0..=100_u8,
    ) {
        let start = Instant::now();
        let now = start + Duration::from_secs(20);
        let readings: Readings = values.iter().map(|(&kind, &(value, age))| {
            (kind, Reading { at: now - Duration::from_secs(age), value })
        }).collect();
        let list: Vec<(Kind, f64)> = limits.clone().into_iter().collect();
        let well = limits.iter().all(|(kind, limit)| {
            values.get(kind).is_some_and(|(value, age)| *age <= 10 && value.is_some_and(|v| v <= *limit))
        });
        let decision = decide(&list, &readings, Share::new(percent).unwrap(), now);
        prop_assert_eq!(matches!(decision, Decision::Wait(_)), !well || percent == 0);
        prop_assert_eq!(matches!(decision, Decision::Go), well && percent == 100);
    }

    /// Written bytes and a standby that follows at a distance of its own: what is said of its lag is never less
    /// than it is, as far as the limit, and no more than looks and samples are apart too much.
    #[test]
    fn a_lag_is_never_told_too_small(
        writes in prop::collection::vec(0..3_u64, 60..200),
        lag in 0..40_usize,
        limit in 5..50_u64,
    ) {
        let (start, limit) = (Instant::now(), Duration::from_secs(limit));
        let mut trail = Trail::default();
        let mut positions = vec![100];
        for (second, written) in writes.iter().enumerate() {
            positions.push(positions[second] + written);
            let now = start + Duration::from_secs(second as u64);
            let position = positions[second];
            let replayed = positions[second.saturating_sub(lag)];
            trail.note(now, position, limit);
            // For how long the standby has not had all that the system had.
            let behind = (0..=second).rev().take_while(|s| positions[*s] > replayed).count() as u64;
            match trail.behind(now, replayed, limit) {
                Some(told) if told <= limit => {
                    prop_assert!(told.as_secs() >= behind, "{told:?} of {behind}");
                    prop_assert!(told.as_secs() <= behind + 1, "{told:?} of {behind}");
                }
                Some(_) => prop_assert!(behind + 1 > limit.as_secs(), "{behind} of {limit:?}"),
                None => prop_assert!(second < lag + 1 || replayed < positions[0]),
            }
        }
    }
}
