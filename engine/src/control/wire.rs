//! What is said at the operator's door.

use serde::{Deserialize, Serialize};
use std::fmt;
use tanglegate_core::Position;
use zeroize::Zeroizing;

/// A password on its way; wiped from memory afterwards and never shown.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes a password.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The password.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl Serialize for Secret {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::new)
    }
}

/// Something to sell.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OfferRequest {
    /// Its name.
    pub id: String,
    /// Whom to pay; absent: the seller that the engine follows.
    pub seller: Option<String>,
    /// Which topics.
    pub filter: String,
    /// `read`, `write` or `readwrite`.
    pub access: String,
    /// NANOS per period.
    pub price: u64,
    /// How long the price pays for, in milliseconds.
    pub period_ms: u64,
    /// The least purchase, in NANOS.
    pub least: u64,
    /// Exclusive end of the sale, in milliseconds since 1970; absent: none.
    pub valid_until: Option<u64>,
}

/// A right without end.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleRequest {
    /// A subscriber's name; absent: everyone.
    pub username: Option<String>,
    /// Which topics.
    pub filter: String,
    /// `read`, `write` or `readwrite`.
    pub access: String,
}

/// Whom a request is about. Names may hold any character, so they stand in no path.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UsernameRequest {
    /// Its name.
    pub username: String,
}

/// A login with its password, new or changed.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SubscriberRequest {
    /// Its name.
    pub username: String,
    /// Its password; absent: the engine makes one.
    pub password: Option<Secret>,
}

/// A lease to end.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeaseRequest {
    /// Whose.
    pub username: String,
    /// Where.
    pub filter: String,
    /// What it allows.
    pub access: String,
}

/// The log's newest tree head.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct HeadAnswer {
    /// The signed note; absent before the first.
    pub note: Option<String>,
    /// The public key that signs; absent where this engine does not.
    pub key: Option<String>,
}

/// A tree head that stands on the ledger.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AnchorRequest {
    /// How many events it covers.
    pub size: u64,
    /// Its root, 64 hexadecimal digits.
    pub root: String,
    /// The transaction that carries it, base58.
    pub transaction: String,
}

/// A question about what the gate would say.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WhyRequest {
    /// Whose login; absent: an anonymous client's.
    pub username: Option<String>,
    /// `read`, `write`, `subscribe` or `connect`.
    pub action: String,
    /// The topic, or for `subscribe` the filter; `connect` needs none.
    pub topic: Option<String>,
}

/// What the gate would say.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
pub struct WhyAnswer {
    /// Yes or no.
    pub allowed: bool,
    /// What allows it; or why not, in the words that the client is told.
    pub why: String,
    /// The right that allows it, where it takes one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub right: Option<RightLine>,
    /// What only the operator may know.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// When it was asked, in milliseconds since 1970.
    pub at_ms: u64,
    /// The last event that the answer rests on; absent before there is an access table.
    pub as_of: Option<u64>,
    /// The access table is not up to date.
    pub stale: bool,
}

/// One right, of those that bought it or of a rule.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
pub struct RightLine {
    /// Where.
    pub filter: String,
    /// `read`, `write` or `readwrite`.
    pub access: String,
    /// Exclusive end for people; absent: none.
    pub until: Option<String>,
    /// Exclusive end in milliseconds since 1970.
    pub until_ms: Option<u64>,
    /// The offer as which it was bought.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offer: Option<String>,
    /// The rule that gives it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
}

/// What became of a command.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
pub struct Outcome {
    /// The place of the first event that it caused, now or earlier; absent: there was nothing to
    /// record.
    pub position: Option<u64>,
    /// Whether this try recorded nothing: an earlier one of the same command did, or there was
    /// nothing to record.
    pub before: bool,
    /// The identity of what was made, where it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
}

impl Outcome {
    pub(crate) fn at(position: Option<Position>, before: bool) -> Self {
        Self {
            position: position.map(|it| it.0),
            before,
            id: None,
        }
    }
}

/// The answer to a registration or a password change.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PasswordAnswer {
    /// What became of it.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// The password, where the engine made it. It is shown once and kept nowhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
}

/// One event, for people and scripts.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
pub struct EventLine {
    /// Its place.
    pub position: u64,
    /// When, in milliseconds since 1970.
    pub recorded_at: u64,
    /// What kind.
    pub kind: String,
    /// What it belongs to.
    pub stream: String,
    /// Who asked for it.
    pub origin: String,
    /// What happened, in words.
    pub text: String,
}
