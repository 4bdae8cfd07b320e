//! A state written down, and made again from that.

use super::{Head, Lease, LeaseKey, State, Subscriber};
use crate::{
    Address, Audience, ChainId, Change, Offer, PaymentState, Position, Rule, Stream, Timestamp,
    VerifierKey,
};
use std::collections::BTreeMap;

/// What a state knows besides the rows that its events changed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Remembered {
    /// The place of the last event.
    pub position: Position,
    /// Its time.
    pub recorded_at: Timestamp,
    /// The ledger that the log follows.
    pub chain: Option<ChainId>,
    /// How far it is known, for each seller.
    pub checkpoints: BTreeMap<Address, u64>,
    /// The key that signs tree heads.
    pub head_key: Option<VerifierKey>,
    /// The last version of each stream that may go on, in the order of the streams.
    pub versions: Vec<(Stream, u64)>,
}

impl State {
    /// What it knows besides the rows.
    #[must_use]
    pub fn remembered(&self) -> Remembered {
        let all = self.versions.iter();
        let mut versions: Vec<_> = all.map(|(of, at)| (of.clone(), *at)).collect();
        versions.sort_unstable();
        let head = self.head.clone();
        Remembered {
            position: head.position,
            recorded_at: head.recorded_at,
            chain: head.chain,
            checkpoints: head.checkpoints,
            head_key: head.head_key,
            versions,
        }
    }

    /// The state that knew this, when these were the rows that its events had left behind: each
    /// of them once. Payments that were applied may be left out, since no event follows theirs. It is folded further like [`State::at_once`].
    ///
    /// # Panics
    /// When a lease is nobody's.
    pub fn restored(remembered: Remembered, rows: impl IntoIterator<Item = Change>) -> Self {
        let head = Head {
            position: remembered.position,
            recorded_at: remembered.recorded_at,
            chain: remembered.chain,
            checkpoints: remembered.checkpoints,
            head_key: remembered.head_key,
        };
        let mut state = Self {
            head,
            ..Self::at_once()
        };
        for (stream, version) in remembered.versions {
            state.versions.insert(stream, version);
        }
        for row in rows {
            state.restore(row);
        }
        state
    }

    fn restore(&mut self, row: Change) {
        match row {
            Change::Lease(row) => {
                let key = LeaseKey {
                    subscriber: row.holder.expect("a lease is somebody's"),
                    filter: row.filter,
                    access: row.access,
                };
                let (from, until) = (row.from, row.until);
                self.leases.insert(key, Lease { from, until });
            }
            Change::Rule(id, row) => {
                let rule = Rule {
                    id,
                    audience: row.holder.map_or(Audience::Everyone, Audience::Subscriber),
                    filter: row.filter,
                    access: row.access,
                };
                self.rules.insert(id, rule);
            }
            Change::Subscriber(row) => {
                if let Some(username) = &row.username {
                    self.usernames.insert(username.clone(), row.subscriber);
                }
                let known = Subscriber {
                    username: row.username,
                    suspended: row.suspended,
                    erased: row.erased,
                    credit: row.credit,
                    owner: row.owner,
                };
                self.subscribers.insert(row.subscriber, known);
            }
            Change::Payment(row) if matches!(row.state, PaymentState::Applied { .. }) => {}
            Change::Payment(row) => self.waiting.insert(row.payment, row),
            Change::Offer(row) => {
                let offer = Offer {
                    id: row.offer.clone(),
                    seller: row.seller,
                    filter: row.filter,
                    access: row.access,
                    tariff: row.tariff,
                    valid_until: row.valid_until,
                };
                self.offers.insert(row.offer, (offer, row.withdrawn));
            }
            Change::RuleGone(_) | Change::Cursor(_) => {}
        }
    }
}
