//! How often one token may ask.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// A bucket for each token: so many a second flow in, twice as many fit.
#[derive(Debug)]
pub(crate) struct Rates {
    each_second: f64,
    buckets: Mutex<HashMap<String, (f64, Instant)>>,
}

impl Rates {
    pub(crate) fn new(each_second: NonZeroU32) -> Self {
        Self {
            each_second: f64::from(each_second.get()),
            buckets: Mutex::new(HashMap::new()),
        }
    }

    /// Takes one; else how many seconds until there is one.
    pub(crate) fn take(&self, token: &str, now: Instant) -> Result<(), u32> {
        let most = self.each_second * 2.0;
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        // Names come from the configuration or the file of tokens, so there are few.
        let (left, seen) = buckets.entry(token.to_owned()).or_insert((most, now));
        let since = now.saturating_duration_since(*seen).as_secs_f64();
        *left = (*left + since * self.each_second).min(most);
        *seen = now;
        if *left < 1.0 {
            return Err(1);
        }
        *left -= 1.0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn twice_the_rate_at_once_and_then_the_rate() {
        let rates = Rates::new(NonZeroU32::new(5).unwrap());
        let start = Instant::now();
        let taken = |at| (0..100).filter(|_| rates.take("a", at).is_ok()).count();
        assert_eq!(taken(start), 10);
        assert_eq!(taken(start + Duration::from_secs(1)), 5);
        assert_eq!(taken(start + Duration::from_secs(3600)), 10);
        assert!(rates.take("b", start).is_ok(), "each has its own");
    }
}
