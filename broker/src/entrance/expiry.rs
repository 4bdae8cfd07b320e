//! Certificates that end soon, while there is time to renew them.

use super::Entrance;
use crate::clock::Clock;
use std::net::SocketAddr;
use std::sync::Arc;
use tanglegate_core::Timestamp;

/// How long before the end it is said, in days.
const NOTICE: u64 = 30;
const DAY: u64 = 24 * 3_600 * 1_000;
/// How often it is looked, and said.
const LOOK: u64 = DAY / 2;

/// Looks at the certificates of these listeners now and then, and at their lists of revoked ones,
/// and warns before one ends. It goes on for ever.
pub(crate) async fn watch_certificates(entrances: Vec<Arc<Entrance>>, clock: Clock) {
    loop {
        let now = clock.now();
        for entrance in &entrances {
            if let Some(certificates) = &entrance.certificates {
                let listener = entrance.settings.address;
                tell_certificate(listener, certificates.expires(), now);
                if let Some(due) = certificates.lists_due() {
                    tell_lists(listener, due, now);
                }
            }
        }
        clock.reached(now.plus_millis(LOOK)).await;
    }
}

fn tell_certificate(listener: SocketAddr, expires: Timestamp, now: Timestamp) {
    match days_left(expires, now) {
        Some(0) => tracing::error!(
            %listener, %expires,
            "a certificate has ended or ends within a day: clients refuse it; renew it and send \
             SIGHUP"
        ),
        Some(days) => tracing::warn!(
            %listener, %expires, days,
            "a certificate ends soon: renew it and send SIGHUP"
        ),
        None => {}
    }
}

/// Lists are made anew every few days or weeks: only the last day is worth a word.
fn tell_lists(listener: SocketAddr, due: Timestamp, now: Timestamp) {
    if days_left(due, now) == Some(0) {
        tracing::error!(
            %listener, %due,
            "the list of revoked certificates is overdue or will be within a day: no certificate \
             opens anything then; fetch a new list and send SIGHUP"
        );
    }
}

/// Whole days until it ends; `None` when that is far away.
fn days_left(expires: Timestamp, now: Timestamp) -> Option<u64> {
    let days = expires.millis_since(now) / DAY;
    (days < NOTICE).then_some(days)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_said_a_month_before_and_until_the_end() {
        let end = Timestamp(100 * DAY);
        assert_eq!(days_left(end, Timestamp(70 * DAY)), None);
        assert_eq!(days_left(end, Timestamp(70 * DAY + 1)), Some(29));
        assert_eq!(days_left(end, Timestamp(99 * DAY + 1)), Some(0));
        assert_eq!(days_left(end, Timestamp(200 * DAY)), Some(0));
        assert_eq!(days_left(Timestamp::FOREVER, Timestamp(0)), None);
    }
}
