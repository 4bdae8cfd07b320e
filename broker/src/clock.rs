//! The gate's clock: wall-clock milliseconds that never run backwards, or a test's own time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tanglegate_core::Timestamp;
use tokio::sync::watch;

/// How long [`Clock::reached`] sleeps at most before it looks at the wall clock again, so that
/// a step of the wall clock is noticed.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);

/// Tells the time. Cheap to clone; clones agree.
#[derive(Debug, Clone)]
pub struct Clock(Source);

#[derive(Debug, Clone)]
enum Source {
    /// The latest instant that was told, in milliseconds since 1970.
    Wall(Arc<AtomicU64>),
    Manual(watch::Receiver<Timestamp>),
}

/// The hand that moves a manual clock.
#[derive(Debug)]
pub struct ManualClock(watch::Sender<Timestamp>);

impl Clock {
    /// The machine's wall clock. When somebody turns it back, time stands still until it has
    /// caught up, so that an ended right never comes back to life.
    #[must_use]
    pub fn wall() -> Self {
        Self(Source::Wall(Arc::default()))
    }

    /// A clock that only its [`ManualClock`] moves.
    #[must_use]
    pub fn manual(start: Timestamp) -> (Self, ManualClock) {
        let (hand, face) = watch::channel(start);
        (Self(Source::Manual(face)), ManualClock(hand))
    }

    /// The present instant.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            Source::Wall(latest) => Timestamp(not_before(latest, wall_millis())),
            Source::Manual(face) => *face.borrow(),
        }
    }

    /// Returns once the instant has come.
    pub async fn reached(&self, instant: Timestamp) {
        match &self.0 {
            Source::Wall(_) => loop {
                let left = instant.millis_since(self.now());
                if left == 0 {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(left).min(LONGEST_SLEEP)).await;
            },
            Source::Manual(face) => {
                let mut face = face.clone();
                if face.wait_for(|now| instant <= *now).await.is_err() {
                    // The hand is gone: this clock has stopped for good.
                    std::future::pending::<()>().await;
                }
            }
        }
    }
}

impl ManualClock {
    /// Moves the clock to `instant`, unless that would be backwards.
    pub fn advance_to(&self, instant: Timestamp) {
        self.0.send_modify(|now| *now = instant.max(*now));
    }
}

fn wall_millis() -> u64 {
    // Before 1970 the machine has no idea of the time: every lease is then yet to come.
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// `millis`, or the latest instant told when that is later. Writes once per millisecond only.
fn not_before(latest: &AtomicU64, millis: u64) -> u64 {
    let told = latest.load(Ordering::Relaxed);
    if millis <= told {
        return told;
    }
    latest.fetch_max(millis, Ordering::Relaxed).max(millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_stands_still_when_the_wall_clock_is_turned_back() {
        let latest = AtomicU64::new(0);
        assert_eq!(not_before(&latest, 10), 10);
        assert_eq!(not_before(&latest, 7), 10);
        assert_eq!(not_before(&latest, 11), 11);
    }

    #[tokio::test]
    async fn a_manual_clock_wakes_those_who_wait_for_its_instant() {
        let (clock, hand) = Clock::manual(Timestamp(5));
        let waiting = tokio::spawn({
            let clock = clock.clone();
            async move {
                clock.reached(Timestamp(7)).await;
                clock.now()
            }
        });
        hand.advance_to(Timestamp(6));
        hand.advance_to(Timestamp(7));
        assert_eq!(waiting.await.unwrap(), Timestamp(7));
        hand.advance_to(Timestamp(1));
        assert_eq!(clock.now(), Timestamp(7), "never backwards");
    }
}
