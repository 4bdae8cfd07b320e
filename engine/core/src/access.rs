//! What a right allows, and to whom a rule gives it.

use crate::{RuleId, SubscriberId, TopicFilter};
use std::fmt;

/// What a client wants to do with a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// Subscribe to it, and receive its messages.
    Read,
    /// Publish on it.
    Write,
}

/// What a right allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Access {
    /// Receiving only.
    Read,
    /// Publishing only.
    Write,
    /// Both.
    ReadWrite,
}

impl Access {
    /// True when the right is enough for `action`.
    #[must_use]
    pub fn allows(self, action: Action) -> bool {
        matches!(
            (self, action),
            (Self::ReadWrite, _) | (Self::Read, Action::Read) | (Self::Write, Action::Write)
        )
    }

    /// The word that stands for it in configuration, tables and command lines.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::ReadWrite => "readwrite",
        }
    }

    /// Reads the word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Read, Self::Write, Self::ReadWrite]
            .into_iter()
            .find(|it| it.as_str() == word)
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// To whom a rule gives access.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Audience {
    /// Every client, anonymous ones too.
    Everyone,
    /// One subscriber.
    Subscriber(SubscriberId),
}

/// An access right without end that the operator gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Its identity, by which it is removed.
    pub id: RuleId,
    /// To whom it is given.
    pub audience: Audience,
    /// Where.
    pub filter: TopicFilter,
    /// What it allows.
    pub access: Access,
}
