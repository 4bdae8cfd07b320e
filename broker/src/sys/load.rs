//! Moving averages: how many a minute, over the last one, five and fifteen minutes.

use std::time::Duration;

/// The minutes that are averaged over.
pub(super) const MINUTES: [u32; 3] = [1, 5, 15];

/// The averages of one counter. Each look weighs what was counted since the last one against the
/// average before: what happened some minutes ago counts for 1/e after that time, as in the
/// load averages of Unix and of Mosquitto.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Load {
    per_minute: [f64; MINUTES.len()],
}

impl Load {
    /// Takes `more` into account, counted since the last look, `passed` ago.
    pub(super) fn look(&mut self, more: u64, passed: Duration) {
        let minutes = passed.as_secs_f64() / 60.0;
        if minutes <= 0.0 {
            return;
        }
        #[expect(clippy::cast_precision_loss, reason = "an average, for people")]
        let now = more as f64 / minutes;
        for (average, over) in self.per_minute.iter_mut().zip(MINUTES) {
            let kept = (-minutes / f64::from(over)).exp();
            *average = now + kept * (*average - now);
        }
    }

    /// How many a minute, over each of [`MINUTES`].
    pub(super) fn per_minute(&self) -> impl Iterator<Item = (u32, f64)> + '_ {
        MINUTES.into_iter().zip(self.per_minute)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rounded(load: &Load) -> Vec<String> {
        load.per_minute().map(|it| format!("{:.2}", it.1)).collect()
    }

    #[test]
    fn a_steady_rate_is_reached_sooner_the_shorter_the_average() {
        let mut load = Load::default();
        let look = Duration::from_secs(10);
        load.look(100, look);
        // 600 a minute times 1 - e^(-1/6), e^(-1/30) and e^(-1/90).
        assert_eq!(rounded(&load), ["92.11", "19.67", "6.63"]);
        for _ in 0..2_000 {
            load.look(100, look);
        }
        assert_eq!(rounded(&load), ["600.00", "600.00", "600.00"]);
        load.look(0, Duration::from_secs(60));
        assert_eq!(rounded(&load)[0], "220.73", "600 divided by e");
    }

    #[test]
    fn how_often_it_is_looked_at_makes_no_difference() {
        let (mut often, mut seldom) = (Load::default(), Load::default());
        for _ in 0..60 {
            often.look(7, Duration::from_secs(1));
        }
        seldom.look(420, Duration::from_secs(60));
        assert_eq!(rounded(&often), rounded(&seldom));
        seldom.look(9, Duration::ZERO);
        assert_eq!(rounded(&often), rounded(&seldom));
    }
}
