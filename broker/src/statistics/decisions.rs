//! How often the gate said yes and no, and why.

use super::Counter;
use crate::correspondence::Unasked;
use crate::decision::{LOGIN_NEEDED, Refusal};
use crate::wire::Reason;
use tanglegate_core::Denied;

/// Where the gate decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// A client wants to be let in.
    Connect,
    /// It subscribes to a filter.
    Subscribe,
    /// It publishes on a topic for which it has no permit yet.
    Publish,
    /// A message is for it.
    Deliver,
    /// Its will is published.
    Will,
}

/// What the gate said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Yes.
    Permitted,
    /// There never was a right.
    NoRight,
    /// The right is over.
    Ended,
    /// The login is closed.
    Suspended,
    /// The access table is not there, or not up to date.
    NotReady,
    /// The user name or the password is wrong.
    WrongLogin,
    /// It came without a login where one is needed.
    LoginNeeded,
    /// The topic is the server's.
    Reserved,
    /// It would go beyond a limit.
    Limit,
    /// Too much is being done at the same time.
    Busy,
    /// It asks for what the server does not do.
    Unsupported,
}

impl Stage {
    const ALL: [Self; 5] = [
        Self::Connect,
        Self::Subscribe,
        Self::Publish,
        Self::Deliver,
        Self::Will,
    ];

    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Subscribe => "subscribe",
            Self::Publish => "publish",
            Self::Deliver => "deliver",
            Self::Will => "will",
        }
    }

    /// What can be said there.
    fn outcomes(self) -> &'static [Outcome] {
        use Outcome::{
            Busy, Ended, Limit, LoginNeeded, NoRight, NotReady, Permitted, Reserved, Suspended,
            Unsupported, WrongLogin,
        };
        match self {
            Self::Connect => &[
                Permitted,
                WrongLogin,
                LoginNeeded,
                Suspended,
                NotReady,
                Limit,
                Busy,
                Unsupported,
            ],
            Self::Subscribe => &[
                Permitted,
                NoRight,
                Ended,
                Suspended,
                NotReady,
                Limit,
                Unsupported,
            ],
            Self::Publish | Self::Will => &[
                Permitted,
                NoRight,
                Ended,
                Suspended,
                NotReady,
                Reserved,
                Limit,
                Busy,
                Unsupported,
            ],
            Self::Deliver => &[Permitted, NoRight, Ended],
        }
    }
}

impl Outcome {
    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Permitted => "permitted",
            Self::NoRight => "no_right",
            Self::Ended => "ended",
            Self::Suspended => "suspended",
            Self::NotReady => "not_ready",
            Self::WrongLogin => "wrong_login",
            Self::LoginNeeded => "login_needed",
            Self::Reserved => "reserved",
            Self::Limit => "limit",
            Self::Busy => "busy",
            Self::Unsupported => "unsupported",
        }
    }

    /// Of a CONNECT that is answered like this.
    pub(crate) fn of_connect(reason: Reason, why: &str) -> Self {
        match reason {
            Reason::NotAuthorized if why == LOGIN_NEEDED => Self::LoginNeeded,
            Reason::NotAuthorized if why == Denied::Suspended.to_string() => Self::Suspended,
            // A wrong password, or a certificate without a login.
            Reason::BadLogin | Reason::NotAuthorized => Self::WrongLogin,
            Reason::ServerUnavailable => Self::NotReady,
            Reason::ServerBusy => Self::Busy,
            Reason::QuotaExceeded | Reason::ConnectionRateExceeded | Reason::ClientIdNotValid => {
                Self::Limit
            }
            _ => Self::Unsupported,
        }
    }
}

impl From<&Refusal> for Outcome {
    fn from(refusal: &Refusal) -> Self {
        match refusal {
            Refusal::Denied(Denied::NoRight { .. }) => Self::NoRight,
            Refusal::Denied(Denied::Ended { .. }) => Self::Ended,
            Refusal::Denied(Denied::Suspended) => Self::Suspended,
            Refusal::Denied(Denied::NotReady) => Self::NotReady,
            Refusal::Reserved => Self::Reserved,
            Refusal::ManyKeys => Self::NoRight,
            Refusal::Unasked(Unasked::Full | Unasked::Closed) => Self::Busy,
            Refusal::Unasked(_) => Self::Limit,
            Refusal::TooDeep(..) | Refusal::TooLong(..) => Self::Limit,
        }
    }
}

const STAGES: usize = Stage::ALL.len();
const OUTCOMES: usize = Outcome::Unsupported as usize + 1;

/// How often each was said since the gate was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Decisions([[u64; OUTCOMES]; STAGES]);

impl Decisions {
    /// How often this was said there.
    #[must_use]
    pub fn count(&self, stage: Stage, outcome: Outcome) -> u64 {
        self.0[stage as usize][outcome as usize]
    }

    /// How often the answer was no.
    #[must_use]
    pub fn denied(&self, stage: Stage) -> u64 {
        let all: u64 = self.0[stage as usize].iter().sum();
        all - self.count(stage, Outcome::Permitted)
    }

    /// Everything that can be said, where it can be said, and how often it was.
    pub fn entries(&self) -> impl Iterator<Item = (Stage, Outcome, u64)> + '_ {
        let outcomes = |stage: Stage| stage.outcomes().iter().map(move |it| (stage, *it));
        let all = Stage::ALL.into_iter().flat_map(outcomes);
        all.map(|(stage, outcome)| (stage, outcome, self.count(stage, outcome)))
    }

    pub(super) fn set(&mut self, stage: Stage, outcome: Outcome, count: u64) {
        self.0[stage as usize][outcome as usize] = count;
    }
}

/// The counters behind [`Decisions`].
#[derive(Debug, Default)]
pub(super) struct DecisionCounters([[Counter; OUTCOMES]; STAGES]);

impl DecisionCounters {
    pub(super) fn add(&self, stage: Stage, outcome: Outcome, count: u64) {
        debug_assert!(stage.outcomes().contains(&outcome), "{stage:?} {outcome:?}");
        self.0[stage as usize][outcome as usize].add(count);
    }

    pub(super) fn read(&self) -> Decisions {
        Decisions(self.0.each_ref().map(|it| it.each_ref().map(Counter::read)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_no_is_counted_with_its_reason() {
        let counters = DecisionCounters::default();
        counters.add(Stage::Publish, Outcome::Permitted, 5);
        counters.add(Stage::Publish, Outcome::Reserved, 2);
        counters.add(Stage::Publish, Outcome::Ended, 1);
        let read = counters.read();
        assert_eq!(read.denied(Stage::Publish), 3);
        assert_eq!(read.denied(Stage::Will), 0);
        let told = read.entries().filter(|it| it.2 > 0);
        let told: Vec<_> = told.map(|it| (it.1.as_str(), it.2)).collect();
        assert_eq!(told, [("permitted", 5), ("ended", 1), ("reserved", 2)]);
    }
}
