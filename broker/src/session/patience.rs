//! How long a client may be silent, how long it may leave its messages lying, and how long it
//! has to wait when it asks too much. One timer serves all three, and is made when there is
//! something to wait for.

use super::end::End;
use crate::limits::ClientLimits;
use crate::rate::{Bucket, Rate};
use crate::wire::Frame;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, Sleep};

/// When a deadline is looked at so long after it has passed, the server was held up itself: it
/// may not have seen yet what came meanwhile.
const HELD_UP: Duration = Duration::from_secs(1);
/// Bytes that are read at a time from a client that may only ask so much.
const SIP: usize = 4 << 10;

/// One client's deadlines.
#[derive(Debug)]
pub(super) struct Patience {
    /// Silence after which the connection is over.
    silence: Option<Duration>,
    last_heard: Instant,
    /// Time for which the socket may take nothing while something waits.
    stall: Duration,
    stalled_since: Option<Instant>,
    pace: Option<Box<Pace>>,
    /// Never later than the earliest deadline; it may be earlier.
    timer: Option<Pin<Box<Sleep>>>,
}

/// What a client may ask, and has asked.
#[derive(Debug)]
struct Pace {
    requests: Option<Rate>,
    bytes: Option<Rate>,
    counted: Bucket,
    measured: Bucket,
    /// Until then nothing is read from it.
    paused_until: Option<Instant>,
}

impl Patience {
    pub(super) fn new(keep_alive: Option<Duration>, limits: &ClientLimits, now: Instant) -> Self {
        let (requests, bytes) = (limits.requests, limits.request_bytes);
        let pace = (requests.is_some() || bytes.is_some()).then(|| Pace {
            requests,
            bytes,
            counted: Bucket::default(),
            measured: Bucket::default(),
            paused_until: None,
        });
        let mut patience = Self {
            // [MQTT-3.1.2-22]
            silence: keep_alive.map(|it| it * 3 / 2),
            last_heard: now,
            stall: limits.stalled,
            stalled_since: None,
            pace: pace.map(Box::new),
            timer: None,
        };
        patience.arm(patience.next());
        patience
    }

    /// Something was read.
    pub(super) fn heard(&mut self) {
        self.last_heard = Instant::now();
    }

    /// The socket took `written` bytes, and not all that there are unless `all`.
    pub(super) fn wrote(&mut self, written: usize, all: bool) {
        if all {
            self.stalled_since = None;
        } else if written > 0 || self.stalled_since.is_none() {
            let now = Instant::now();
            self.stalled_since = Some(now);
            self.arm(now.checked_add(self.stall));
        }
    }

    /// Bytes that may be read at once.
    pub(super) fn sip(&self) -> usize {
        self.pace.as_ref().map_or(usize::MAX, |_| SIP)
    }

    /// Counts a packet. Acknowledgements cost nothing: they are answers to what the gate sent.
    pub(super) fn charge(&mut self, frame: &Frame<'_>) {
        let Some(pace) = &mut self.pace else {
            return;
        };
        // PUBLISH, SUBSCRIBE, UNSUBSCRIBE, PINGREQ
        if !matches!(frame.first >> 4, 3 | 8 | 10 | 12) {
            return;
        }
        let now = Instant::now();
        if let Some(until) = pace.charge(frame.whole.len() as u64, now.into_std()) {
            let until = Instant::from_std(until);
            pace.paused_until = Some(until);
            self.arm(Some(until));
        }
    }

    /// True while nothing is read from the client, because it asked too much.
    pub(super) fn is_paused(&self) -> bool {
        let pace = self.pace.as_ref();
        pace.is_some_and(|it| it.paused_until.is_some())
    }

    /// Ready when it is time to [`Patience::check`].
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.timer {
            Some(timer) => timer.as_mut().poll(cx),
            None => Poll::Pending,
        }
    }

    /// Looks which deadlines have passed. Time in which the server did not listen, or did not
    /// run, is not held against the client; `listens` says whether what it sends is read.
    pub(super) fn check(&mut self, listens: bool) -> Result<(), End> {
        let now = Instant::now();
        let held_up = |end: Option<Instant>| end.is_some_and(|end| now >= end + HELD_UP);
        if !listens || held_up(self.silence_ends()) {
            self.last_heard = now;
        }
        if held_up(self.stall_ends()) {
            self.stalled_since = Some(now);
        }
        if let Some(pace) = &mut self.pace
            && pace.paused_until.is_some_and(|it| it <= now)
        {
            pace.paused_until = None;
            // Nobody listened meanwhile.
            self.last_heard = now;
        }
        let passed = |it: Option<Instant>| it.is_some_and(|it| it <= now);
        if passed(self.stall_ends()) {
            return Err(End::Stalled);
        }
        if passed(self.silence_ends()) {
            return Err(End::Silent);
        }
        self.timer = None;
        self.arm(self.next());
        Ok(())
    }

    fn silence_ends(&self) -> Option<Instant> {
        let silence = self.silence.filter(|_| !self.is_paused());
        self.last_heard.checked_add(silence?)
    }

    fn stall_ends(&self) -> Option<Instant> {
        self.stalled_since?.checked_add(self.stall)
    }

    fn next(&self) -> Option<Instant> {
        let paused = self.pace.as_ref().and_then(|it| it.paused_until);
        let ends = [self.silence_ends(), self.stall_ends(), paused];
        ends.into_iter().flatten().min()
    }

    /// Has the timer ring at `end`, or before.
    fn arm(&mut self, end: Option<Instant>) {
        let Some(end) = end else {
            return;
        };
        match &mut self.timer {
            Some(timer) if timer.deadline() <= end => {}
            Some(timer) => timer.as_mut().reset(end),
            None => self.timer = Some(Box::pin(tokio::time::sleep_until(end))),
        }
    }
}

impl Pace {
    /// Counts a packet of `bytes`; returns until when the client has to wait, if it has to.
    fn charge(&mut self, bytes: u64, now: std::time::Instant) -> Option<std::time::Instant> {
        let counted = self.requests.map(|it| self.counted.charge(it, 1, now));
        let measured = self.bytes.map(|it| self.measured.charge(it, bytes, now));
        counted.max(measured).filter(|it| *it > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> ClientLimits {
        ClientLimits {
            requests: Some(Rate::new(10, 3)),
            request_bytes: Some(Rate::new(1_000, 100)),
            stalled: Duration::from_millis(20),
            ..ClientLimits::anonymous()
        }
    }

    fn ping(whole: &[u8]) -> Frame<'_> {
        crate::wire::cut(whole, 1_000).unwrap().unwrap()
    }

    #[tokio::test]
    async fn who_asks_too_much_waits_and_is_not_silent_meanwhile() {
        let keep_alive = Some(Duration::from_millis(20));
        let mut patience = Patience::new(keep_alive, &limits(), Instant::now());
        for _ in 0..3 {
            patience.charge(&ping(&[0xC0, 0]));
            assert!(!patience.is_paused());
        }
        patience.charge(&ping(&[0x40, 2, 0, 1]));
        assert!(!patience.is_paused(), "acknowledgements are free");
        patience.charge(&ping(&[0xC0, 0]));
        assert!(patience.is_paused());
        let begun = Instant::now();
        while patience.is_paused() {
            std::future::poll_fn(|cx| patience.poll(cx)).await;
            patience.check(true).expect("nobody expects to hear it");
        }
        assert!(begun.elapsed() >= Duration::from_millis(90));
    }

    #[tokio::test]
    async fn large_packets_cost_more() {
        let mut patience = Patience::new(None, &limits(), Instant::now());
        let large = [&[0x30, 126, 0, 1, b't'][..], &[0; 123]].concat();
        patience.charge(&ping(&large));
        assert!(patience.is_paused());
    }

    #[tokio::test]
    async fn a_socket_that_takes_nothing_for_too_long_is_given_up() {
        let mut patience = Patience::new(None, &limits(), Instant::now());
        patience.wrote(10, false);
        patience.wrote(0, true);
        tokio::time::sleep(Duration::from_millis(30)).await;
        patience.check(true).expect("it took everything");
        patience.wrote(0, false);
        tokio::time::sleep(Duration::from_millis(10)).await;
        patience.wrote(1, false);
        let begun = Instant::now();
        let end = loop {
            std::future::poll_fn(|cx| patience.poll(cx)).await;
            if let Err(end) = patience.check(true) {
                break end;
            }
            patience.heard();
            patience.wrote(0, false);
        };
        assert_eq!(end, End::Stalled);
        assert!(begun.elapsed() >= Duration::from_millis(19));
    }

    #[tokio::test]
    async fn nobody_is_silent_while_the_server_does_not_listen() {
        // [MQTT-3.1.2-22]: within the time, no packet was received, not: none was read.
        let (keep_alive, now) = (Duration::from_millis(20), Instant::now());
        let mut patience = Patience::new(Some(keep_alive), &limits(), now);
        tokio::time::sleep(Duration::from_millis(40)).await;
        patience.check(false).expect("it could not be heard");
        patience.check(true).expect("it has its time from there");
        tokio::time::sleep(HELD_UP + 2 * keep_alive).await;
        patience.check(true).expect("the server was held up");
        std::future::poll_fn(|cx| patience.poll(cx)).await;
        assert_eq!(patience.check(true), Err(End::Silent));
    }
}
