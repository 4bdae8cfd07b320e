//! What happens in a world: plain data that can be drawn by lot, shrunk, saved and read.

use crate::names;
use serde::{Deserialize, Serialize};
use tanglegate_core::{
    Audience, Command, Confirmation, MemoReading, Nanos, Offer, Rule, Tariff, Timestamp,
};

/// Everything that happens, in order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct World {
    /// What stands on the ledger; [`Wish::Deliver`] hands it over.
    pub payments: Vec<Payment>,
    /// What happens.
    pub steps: Vec<Step>,
}

/// A final payment on the ledger. Its place in the list is its identity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payment {
    /// Whose address was paid.
    pub seller: u8,
    /// Who paid.
    pub payer: u8,
    /// NANOS.
    pub amount: u64,
    /// The checkpoint that made it final.
    pub checkpoint: u64,
    /// What it says.
    pub memo: Memo,
}

/// A memo.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Memo {
    /// None of ours.
    Absent,
    /// Of no known form.
    Unreadable,
    /// A purchase.
    Buys {
        /// Of which offer.
        offer: u8,
        /// For whom.
        name: u8,
    },
}

/// One thing that happens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// How far the machine's clock has moved since the step before; it may be set back.
    pub after_ms: i64,
    /// Which of the two writers it happens to.
    pub writer: u8,
    /// What happens.
    pub act: Act,
}

/// What happens to a writer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Act {
    /// A wish reaches him and waits.
    Submit(Wish),
    /// He decides what waits, and holds the batch ready.
    Decide,
    /// He appends the batch, deciding it first when none is ready.
    Commit(Fate),
    /// He folds what the other one has written.
    Look,
    /// Time passes to the next end of a lease or a sale in the log, and so many milliseconds
    /// more or less: ends are where mistakes are made.
    Await(i8),
    /// His process dies and starts again: all that is left is the log.
    Crash,
}

/// How an attempt to commit goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fate {
    /// The log answers, be it that the other writer was quicker.
    Answered,
    /// The connection breaks before anything is written.
    Lost,
    /// It is written, and the connection breaks before the answer.
    AnswerLost,
    /// The process dies before anything is written.
    DiesBefore,
    /// It is written, and the process dies before it learns that.
    DiesAfter,
}

/// What is wished for. Numbers are places in the pools of names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Wish {
    /// Follow this ledger.
    Bind(u8),
    /// The ledger is recorded up to this checkpoint.
    Scan(u64),
    /// The ledger delivers this payment, maybe not for the first time.
    Deliver(u8),
    /// Sell something.
    Publish {
        /// Its name.
        offer: u8,
        /// Who sells.
        seller: u8,
        /// Where.
        filter: u8,
        /// What.
        access: u8,
        /// NANOS per period; 0 counts as 1.
        price: u64,
        /// The period; 0 counts as 1.
        period_ms: u64,
        /// The least purchase in NANOS.
        least: u64,
        /// How long it is sold; without it, for ever.
        for_ms: Option<u64>,
    },
    /// Stop selling it.
    Withdraw(u8),
    /// Give a right without end.
    Give {
        /// Its identity.
        rule: u8,
        /// To whom; everyone without it.
        to: Option<u8>,
        /// Where.
        filter: u8,
        /// What.
        access: u8,
    },
    /// Take it back.
    Remove(u8),
    /// Create a login.
    Register {
        /// Its identity.
        subscriber: u8,
        /// Its name.
        name: u8,
        /// Its password.
        password: u8,
    },
    /// Change a password.
    ChangePassword {
        /// Whose.
        name: u8,
        /// The new one.
        password: u8,
    },
    /// Close a login.
    Suspend(u8),
    /// Open it again.
    Reinstate(u8),
    /// Forget a person.
    Erase(u8),
    /// Sign tree heads with this key.
    AdoptHeadKey(u8),
    /// A tree head of so many events is on the ledger.
    Anchor(u64),
    /// End a lease now.
    Revoke {
        /// Whose.
        name: u8,
        /// Where.
        filter: u8,
        /// What.
        access: u8,
    },
    /// An earlier wish once more, under the key that it had.
    Again(u8),
}

impl Payment {
    /// What the ledger says of it. `number` is its place in the world.
    #[must_use]
    pub fn confirmation(&self, number: u8) -> Confirmation {
        Confirmation {
            payment: names::payment(number),
            seller: names::address(self.seller),
            payer: names::address(self.payer),
            amount: Nanos(self.amount),
            checkpoint: self.checkpoint,
            confirmed_at: Timestamp(self.checkpoint.saturating_mul(250)),
            memo: vec![number; 3],
            reading: match self.memo {
                Memo::Absent => MemoReading::Absent,
                Memo::Unreadable => MemoReading::Unreadable,
                Memo::Buys { offer, name } => MemoReading::Purchase {
                    offer: names::offer(offer),
                    username: names::username(name),
                },
            },
        }
    }
}

impl Wish {
    /// The command, wished for at `now`. `None` for [`Wish::Deliver`] and [`Wish::Again`],
    /// which only the world as a whole can spell out.
    #[must_use]
    pub fn command(&self, now: Timestamp) -> Option<Command> {
        Some(match *self {
            Self::Deliver(_) | Self::Again(_) => return None,
            Self::Bind(chain) => Command::BindChain(names::chain(chain)),
            Self::Scan(checkpoint) => Command::RecordScan {
                seller: names::address(0),
                checkpoint,
            },
            Self::Publish {
                offer,
                seller,
                filter,
                access,
                price,
                period_ms,
                least,
                for_ms,
            } => Command::PublishOffer(Offer {
                id: names::offer(offer),
                seller: names::address(seller),
                filter: names::filter(filter),
                access: names::access(access),
                tariff: Tariff::new(Nanos(price.max(1)), period_ms.max(1), Nanos(least))
                    .expect("neither is 0"),
                valid_until: for_ms.map_or(Timestamp::FOREVER, |it| now.plus_millis(it)),
            }),
            Self::Withdraw(offer) => Command::WithdrawOffer(names::offer(offer)),
            Self::Give {
                rule,
                to,
                filter,
                access,
            } => Command::GiveRule(Rule {
                id: names::rule(rule),
                audience: to.map_or(Audience::Everyone, |it| {
                    Audience::Subscriber(names::subscriber(it))
                }),
                filter: names::filter(filter),
                access: names::access(access),
            }),
            Self::Remove(rule) => Command::RemoveRule(names::rule(rule)),
            Self::Register {
                subscriber,
                name,
                password,
            } => Command::RegisterSubscriber {
                subscriber: names::subscriber(subscriber),
                username: names::username(name),
                verifier: names::verifier(password),
            },
            Self::ChangePassword { name, password } => Command::ChangePassword {
                username: names::username(name),
                verifier: names::verifier(password),
            },
            Self::Suspend(name) => Command::Suspend(names::username(name)),
            Self::Reinstate(name) => Command::Reinstate(names::username(name)),
            Self::Erase(name) => Command::Erase(names::username(name)),
            Self::AdoptHeadKey(key) => Command::AdoptHeadKey(names::head_key(key)),
            Self::Anchor(size) => Command::RecordAnchor {
                size,
                root: [1; 32],
                transaction: names::payment(0).digest,
            },
            Self::Revoke {
                name,
                filter,
                access,
            } => Command::RevokeLease {
                username: names::username(name),
                filter: names::filter(filter),
                access: names::access(access),
            },
        })
    }
}
