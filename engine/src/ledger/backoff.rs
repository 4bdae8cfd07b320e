//! How long to stay away from a node that does not answer well.

use std::time::Duration;

use super::node::NodeError;

/// Waiting times that double from failure to failure.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    /// The first wait.
    pub first: Duration,
    /// The longest wait that we choose ourselves.
    pub longest: Duration,
}

/// A node's `Retry-After` is believed up to this.
const LONGEST_REQUEST: Duration = Duration::from_secs(600);

impl Default for Backoff {
    fn default() -> Self {
        Self {
            first: Duration::from_millis(500),
            longest: Duration::from_secs(60),
        }
    }
}

impl Backoff {
    /// The wait after `failures` failures in a row (at least 1), `jitter` being uniformly random.
    ///
    /// Half of the wait is fixed and half random, so that many clients do not return together.
    /// What the node asked for is the least.
    pub fn wait(&self, failures: u32, retry_after: Option<Duration>, jitter: u16) -> Duration {
        let doublings = failures.saturating_sub(1).min(20);
        let full = self.first.saturating_mul(1 << doublings).min(self.longest);
        let random = full / 2 * u32::from(jitter) / u32::from(u16::MAX);
        let chosen = full / 2 + random;
        chosen.max(retry_after.unwrap_or_default().min(LONGEST_REQUEST))
    }

    /// The wait after `error`, the last of so many failures in a row.
    pub(crate) fn after(&self, failures: u32, error: &NodeError) -> Duration {
        let asked = match error {
            NodeError::RateLimited { retry_after, .. } => *retry_after,
            _ => None,
        };
        self.wait(failures, asked, jitter())
    }
}

/// Randomness for [`Backoff::wait`]; without any, the longest wait is as good.
fn jitter() -> u16 {
    let mut bytes = [0xff; 2];
    let _ = getrandom::fill(&mut bytes);
    u16::from_le_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest() {
        let backoff = Backoff {
            first: Duration::from_secs(1),
            longest: Duration::from_secs(5),
        };
        let waits = [1, 2, 3, 4, 100].map(|n| backoff.wait(n, None, u16::MAX).as_secs());
        assert_eq!(waits, [1, 2, 4, 5, 5]);
    }

    #[test]
    fn jitter_takes_off_at_most_half() {
        let backoff = Backoff {
            first: Duration::from_secs(4),
            longest: Duration::from_secs(60),
        };
        assert_eq!(backoff.wait(1, None, 0), Duration::from_secs(2));
        assert_eq!(backoff.wait(1, None, u16::MAX), Duration::from_secs(4));
    }

    #[test]
    fn what_the_node_asks_for_is_honoured_within_reason() {
        let backoff = Backoff::default();
        let seven = Some(Duration::from_secs(7));
        assert_eq!(backoff.wait(1, seven, 0), Duration::from_secs(7));
        let for_ever = Some(Duration::from_secs(1 << 40));
        assert_eq!(backoff.wait(1, for_ever, 0), LONGEST_REQUEST);
    }
}
