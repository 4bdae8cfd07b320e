//! The rules of Tanglegate: commands in, events out, who may read what.
//!
//! Everything here is a pure function of its arguments. There is no clock, no randomness, no
//! async, no serialisation and no logging: the time of a decision, fresh identifiers and
//! everything that was read from the outside come in as values. So replaying the log gives the
//! same state on every machine, and a test needs nothing but this crate.
//!
//! A command goes through three steps:
//! 1. [`decide`] looks at the [`State`] and answers with [`Event`]s or a [`Rejection`];
//! 2. [`State::evolve`] folds each event into the state and tells which projection [`Row`]s it
//!    changed;
//! 3. [`Acl::apply`] folds the same event into the access table that the gate asks.

mod access;
mod acl;
mod command;
mod decide;
mod event;
mod id;
mod offer;
mod payment;
mod permit;
mod quantity;
mod rights;
mod row;
mod staged;
mod state;
mod subscriber;
mod topic;
mod unseen;

pub use access::{Access, Action, Audience, Rule};
pub use acl::{Acl, Affected, Login};
pub use command::{Command, IdempotencyKey, Rejection};
pub use decide::decide;
pub use event::{Event, Stream};
pub use id::{
    Address, ChainId, Digest, IdError, OfferId, PaymentId, Position, RuleId, SubscriberId,
    VerifierKey,
};
pub use offer::{Bought, Offer, Tariff, TariffError};
pub use payment::{Confirmation, MemoReading, Order, PasswordWish, UnmatchedReason};
pub use permit::{Denied, Permit};
pub use quantity::{Nanos, Timestamp};
pub use rights::{Right, Rights, Source};
pub use row::{AccessRow, Change, CursorRow, OfferRow, PaymentRow, PaymentState, SubscriberRow};
pub use state::{Contradiction, Lease, LeaseKey, Recorded, Remembered, State, Subscriber};
pub use subscriber::{PasswordVerifier, Username, UsernameError};
pub use topic::{TopicError, TopicFilter, TopicName};
