//! What to publish at an instant: the power, and its mean over the last minute.
//!
//! Instants are durations since some beginning, given by the caller.

use std::collections::VecDeque;
use std::time::Duration;

/// The mean of a value over the last `window`, weighted by time: each sample holds until the next
/// one. So it stays true when samples come late or not at all, and where the window reaches back
/// before the first sample or over a gap, it is the mean over the part that was measured.
#[derive(Clone, Debug)]
pub struct RollingMean {
    window: Duration,
    /// Where the value changed, oldest first; at most one lies before the window.
    steps: VecDeque<(Duration, Option<i64>)>,
}

impl RollingMean {
    /// No samples yet.
    pub fn new(window: Duration) -> RollingMean {
        RollingMean {
            window,
            steps: VecDeque::new(),
        }
    }

    /// From `now` on the value is `value`, or unknown. Samples come in order; one that comes from
    /// before its predecessor counts from its predecessor's instant.
    pub fn sample(&mut self, now: Duration, value: Option<i64>) {
        let last = self.steps.back().copied();
        let now = last.map_or(now, |(at, _)| now.max(at));
        if last.is_none_or(|(_, previous)| previous != value) {
            self.steps.push_back((now, value));
        }
        let begin = now.saturating_sub(self.window);
        while self.steps.get(1).is_some_and(|(at, _)| *at <= begin) {
            self.steps.pop_front();
        }
    }

    /// The mean over the window that ends at `now`, rounded to the nearest whole, halves up.
    /// Right after a first sample it is that sample. None where nothing is known.
    pub fn mean(&self, now: Duration) -> Option<i64> {
        let begin = now.saturating_sub(self.window);
        let ends = self.steps.iter().skip(1).map(|(at, _)| *at).chain([now]);
        let (mut sum, mut known) = (0_i128, 0_i128);
        for ((at, value), end) in self.steps.iter().zip(ends) {
            let length = end.min(now).saturating_sub((*at).max(begin)).as_nanos();
            let length = i128::try_from(length).expect("a duration in ns has 94 bits");
            if let Some(value) = value {
                // 64 bits times the window in nanoseconds: a year's window leaves 8 bits to spare.
                sum += i128::from(*value) * length;
                known += length;
            }
        }
        if known == 0 {
            return self.steps.back().and_then(|(_, value)| *value);
        }
        let mean = (2 * sum + known).div_euclid(2 * known);
        Some(i64::try_from(mean).expect("a mean lies between the values"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// The mean by its definition: look at every millisecond of the window.
    fn oracle(samples: &[(u64, Option<i64>)], now: u64, window: u64) -> Option<i64> {
        let value_at = |at: u64| samples.iter().rev().find(|(from, _)| *from <= at)?.1;
        let known: Vec<i128> = (now.saturating_sub(window)..now)
            .filter_map(value_at)
            .map(i128::from)
            .collect();
        let count = i128::try_from(known.len()).expect("few");
        match count {
            0 => samples.last()?.1,
            _ => i64::try_from((2 * known.iter().sum::<i128>() + count).div_euclid(2 * count)).ok(),
        }
    }

    /// Numbers that look random and are the same in every run (Knuth's MMIX generator).
    fn numbers(seed: u64) -> impl Iterator<Item = u64> {
        std::iter::successors(Some(seed), |state| {
            Some(
                state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407),
            )
        })
        .skip(1)
        .map(|state| state >> 33)
    }

    #[test]
    fn the_mean_is_what_its_definition_says_however_samples_come() {
        const WINDOW: u64 = 600;
        for seed in 0..200 {
            let mut numbers = numbers(seed);
            let mut next = |below: u64| numbers.next().expect("endless") % below;
            let (mut now, mut samples) = (next(1000), Vec::new());
            let mut mean = RollingMean::new(ms(WINDOW));
            for _ in 0..40 {
                let value = (next(8) > 0).then(|| i64::try_from(next(5)).expect("small") - 2);
                mean.sample(ms(now), value);
                samples.push((now, value));
                assert_eq!(
                    mean.mean(ms(now)),
                    oracle(&samples, now, WINDOW),
                    "seed {seed}"
                );
                let late = now + next(300);
                assert_eq!(
                    mean.mean(ms(late)),
                    oracle(&samples, late, WINDOW),
                    "seed {seed}"
                );
                let pause = if next(10) == 0 { 2000 } else { 100 };
                now += 1 + next(pause);
            }
        }
    }

    #[test]
    fn a_step_shows_in_proportion_to_its_time() {
        let mut mean = RollingMean::new(MINUTE);
        mean.sample(ms(0), Some(1000));
        assert_eq!(mean.mean(ms(0)), Some(1000), "nothing else is known yet");
        mean.sample(ms(60_000), Some(4000));
        assert_eq!(mean.mean(ms(60_000)), Some(1000));
        assert_eq!(mean.mean(ms(80_000)), Some(2000));
        assert_eq!(mean.mean(ms(120_000)), Some(4000));
    }

    #[test]
    fn missed_samples_do_not_shift_the_mean() {
        let (mut all, mut some) = (RollingMean::new(MINUTE), RollingMean::new(MINUTE));
        for tick in 0..240 {
            let value = if tick < 150 { 100 } else { 700 };
            all.sample(ms(tick * 500), Some(value));
            if tick % 50 == 0 {
                some.sample(ms(tick * 500), Some(value));
            }
        }
        assert_eq!(all.mean(ms(120_000)), some.mean(ms(120_000)));
        assert_eq!(all.mean(ms(120_000)), Some(550));
    }

    #[test]
    fn a_gap_counts_for_nothing_and_a_long_one_leaves_nothing() {
        let mut mean = RollingMean::new(MINUTE);
        mean.sample(ms(0), Some(500));
        mean.sample(ms(10_000), None);
        mean.sample(ms(40_000), Some(900));
        assert_eq!(mean.mean(ms(50_000)), Some(700));
        mean.sample(ms(50_000), None);
        assert_eq!(mean.mean(ms(120_000)), None);
    }

    #[test]
    fn memory_is_bounded_by_the_window() {
        let mut mean = RollingMean::new(MINUTE);
        for tick in 0_u32..10_000 {
            mean.sample(ms(500) * tick, Some(i64::from(tick)));
        }
        assert!(mean.steps.len() <= 122, "{} steps", mean.steps.len());
    }

    #[test]
    fn a_clock_that_steps_back_does_not_break_the_order() {
        let mut mean = RollingMean::new(MINUTE);
        mean.sample(ms(10_000), Some(1));
        mean.sample(ms(5_000), Some(3));
        assert_eq!(mean.mean(ms(20_000)), Some(3));
    }
}
