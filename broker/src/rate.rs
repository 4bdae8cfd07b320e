//! Token buckets: so many a second, and some at once. Time comes in as an argument.

use std::time::{Duration, Instant};

const SECOND: u64 = 1_000_000_000;

/// How often something may happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Times a second, in the long run. At least 1; 0 counts as 1.
    pub per_second: u64,
    /// How many of them may come at once after a rest. At least 1; 0 counts as 1.
    pub burst: u64,
}

impl Rate {
    /// `per_second`, and `burst` at once.
    #[must_use]
    pub const fn new(per_second: u64, burst: u64) -> Self {
        Self { per_second, burst }
    }

    /// Time in which as many come in.
    fn time_of(self, count: u64) -> Duration {
        Duration::from_nanos(count.saturating_mul(SECOND) / self.per_second.max(1))
    }
}

/// How much of a rate is used up. One that nobody has drawn from is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Bucket {
    /// When it is full again; `None` and the past mean that it is.
    full_at: Option<Instant>,
}

impl Bucket {
    /// Takes `count`, if there are as many.
    pub(crate) fn take(&mut self, rate: Rate, count: u64, now: Instant) -> bool {
        self.take_above(rate, count, 0, now)
    }

    /// Takes `count`, if `reserve` are left then.
    pub(crate) fn take_above(
        &mut self,
        rate: Rate,
        count: u64,
        reserve: u64,
        now: Instant,
    ) -> bool {
        let full_at = self.full_at(now) + rate.time_of(count);
        let burst = rate.burst.max(1).saturating_sub(reserve);
        let fits = full_at - now <= rate.time_of(burst);
        if fits {
            self.full_at = Some(full_at);
        }
        fits
    }

    /// Takes `count` whether there are as many or not, and returns when the bucket is no longer
    /// in debt; that is not after `now` when there were.
    pub(crate) fn charge(&mut self, rate: Rate, count: u64, now: Instant) -> Instant {
        let full_at = self.full_at(now) + rate.time_of(count);
        self.full_at = Some(full_at);
        let burst = rate.time_of(rate.burst.max(1));
        full_at.checked_sub(burst).unwrap_or(now)
    }

    fn full_at(&self, now: Instant) -> Instant {
        self.full_at.map_or(now, |it| it.max(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLI: Duration = Duration::from_millis(1);

    #[test]
    fn a_burst_passes_at_once_and_the_rest_as_time_allows() {
        let (rate, start) = (Rate::new(10, 5), Instant::now());
        let mut bucket = Bucket::default();
        let taken = (0..20).filter(|_| bucket.take(rate, 1, start)).count();
        assert_eq!(taken, 5);
        assert!(!bucket.take(rate, 1, start + 99 * MILLI));
        assert!(bucket.take(rate, 1, start + 100 * MILLI));
        assert!(!bucket.take(rate, 1, start + 101 * MILLI));
        let later = start + 60_000 * MILLI;
        let taken = (0..20).filter(|_| bucket.take(rate, 1, later)).count();
        assert_eq!(taken, 5, "rest is not saved up beyond the burst");
    }

    #[test]
    fn a_debt_says_when_it_is_paid() {
        let (rate, start) = (Rate::new(1_000, 10), Instant::now());
        let mut bucket = Bucket::default();
        assert!(bucket.charge(rate, 10, start) <= start);
        assert_eq!(bucket.charge(rate, 500, start), start + 500 * MILLI);
        assert!(bucket.charge(rate, 10, start + 510 * MILLI) <= start + 510 * MILLI);
    }

    #[test]
    fn a_reserve_is_left_alone() {
        let (rate, now) = (Rate::new(1, 10), Instant::now());
        let mut bucket = Bucket::default();
        let strangers = (0..20)
            .filter(|_| bucket.take_above(rate, 1, 4, now))
            .count();
        let others = (0..20).filter(|_| bucket.take(rate, 1, now)).count();
        assert_eq!((strangers, others), (6, 4));
    }

    #[test]
    fn extremes_neither_panic_nor_divide_by_nothing() {
        let now = Instant::now();
        let mut bucket = Bucket::default();
        assert!(bucket.take(Rate::new(0, 0), 1, now));
        assert!(!bucket.take(Rate::new(0, 0), 1, now));
        let mut bucket = Bucket::default();
        assert!(bucket.take(Rate::new(u64::MAX, u64::MAX), u64::MAX, now));
    }
}
