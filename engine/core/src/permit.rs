//! The answer to "may he?": a permit that later stages demand, or a reason.

use crate::{Access, Action, OfferId, Right, SubscriberId, Timestamp, TopicFilter};
use std::fmt;

/// Proof that a check was made and passed. Only the access table makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct Permit {
    subject: Option<SubscriberId>,
    right: Right,
}

impl Permit {
    pub(crate) fn new(subject: Option<SubscriberId>, right: Right) -> Self {
        Self { subject, right }
    }

    /// Who may; `None` is an anonymous client.
    #[must_use]
    pub fn subject(&self) -> Option<SubscriberId> {
        self.subject
    }

    /// Where: the filter of the right that was found.
    #[must_use]
    pub fn filter(&self) -> &TopicFilter {
        self.right.filter()
    }

    /// What.
    #[must_use]
    pub fn access(&self) -> Access {
        self.right.access()
    }

    /// Exclusive end; [`Timestamp::FOREVER`] without one.
    #[must_use]
    pub fn until(&self) -> Timestamp {
        self.right.until()
    }

    /// The right that was found.
    #[must_use]
    pub fn right(&self) -> &Right {
        &self.right
    }
}

/// Why not, and what would help.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Denied {
    /// The access table is not there yet, or too old to be trusted.
    NotReady,
    /// The login is closed by the operator.
    Suspended,
    /// There was a right, and it is over.
    Ended {
        /// What was wanted.
        action: Action,
        /// Where the right was.
        filter: TopicFilter,
        /// When it ended.
        at: Timestamp,
        /// What is on sale for it.
        offers: Vec<OfferId>,
    },
    /// There never was one.
    NoRight {
        /// What was wanted.
        action: Action,
        /// Where: a topic or a filter.
        topic: String,
        /// What is on sale for it.
        offers: Vec<OfferId>,
    },
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotReady => f.write_str("access cannot be checked at the moment; try again"),
            Self::Suspended => f.write_str("this login is suspended; ask the operator"),
            Self::Ended {
                filter, at, offers, ..
            } => {
                write!(f, "lease on {filter} ended {at}")?;
                write_offers(f, offers)
            }
            Self::NoRight {
                action,
                topic,
                offers,
            } => {
                let verb = if *action == Action::Read {
                    "read"
                } else {
                    "publish on"
                };
                write!(f, "no right to {verb} {topic}")?;
                write_offers(f, offers)
            }
        }
    }
}

impl std::error::Error for Denied {}

fn write_offers(f: &mut fmt::Formatter<'_>, offers: &[OfferId]) -> fmt::Result {
    match offers {
        [] => Ok(()),
        [one] => write!(f, "; offer {one} sells it"),
        [first, rest @ ..] => {
            write!(f, "; offers {first}")?;
            rest.iter().try_for_each(|it| write!(f, ", {it}"))?;
            f.write_str(" sell it")
        }
    }
}
