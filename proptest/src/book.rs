//! Everything that a `State` says, as plain sorted maps: so that two can be compared.

use crate::names;
use std::collections::{BTreeMap, BTreeSet};
use tanglegate_core::{
    Address, ChainId, Lease, LeaseKey, Offer, OfferId, PaymentId, PaymentRow, Position, Rule,
    RuleId, State, Stream, Subscriber, SubscriberId, Timestamp, Username, VerifierKey,
};

/// The deciding side, as its public queries show it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Book {
    /// Place of the last event.
    pub position: Position,
    /// Its time.
    pub recorded_at: Timestamp,
    /// The ledger.
    pub chain: Option<ChainId>,
    /// The key that signs tree heads.
    pub head_key: Option<VerifierKey>,
    /// The newest checkpoint of each seller.
    pub checkpoints: BTreeMap<Address, u64>,
    /// What is for sale.
    pub offers: BTreeMap<OfferId, Offer>,
    /// What is for sale or ever was.
    pub offered: BTreeSet<OfferId>,
    /// Who there is.
    pub subscribers: BTreeMap<SubscriberId, Subscriber>,
    /// Whose name it is.
    pub usernames: BTreeMap<Username, SubscriberId>,
    /// Rights without end.
    pub rules: BTreeMap<RuleId, Rule>,
    /// Leases, running or ended.
    pub leases: BTreeMap<LeaseKey, Lease>,
    /// Payments that are confirmed and not applied.
    pub waiting: BTreeMap<PaymentId, PaymentRow>,
    /// Version of the next event of each stream that has one; applied payments have none.
    pub versions: BTreeMap<Stream, u64>,
}

impl Book {
    /// Asks `state` about every name there is, and about the first `payments` payments.
    #[must_use]
    pub fn of(state: &State, payments: u8) -> Self {
        let lease_keys = names::subscribers().flat_map(|subscriber| {
            let rights = names::filters().flat_map(|it| names::accesses().map(|a| (it.clone(), a)));
            rights.map(move |(filter, access)| LeaseKey {
                subscriber,
                filter,
                access,
            })
        });
        let payments = || (0..payments).map(names::payment);
        let streams = [Stream::Ledger, Stream::Log]
            .into_iter()
            .chain(names::offers().map(Stream::Offer))
            .chain(names::rules().map(Stream::Rule))
            .chain(names::subscribers().map(Stream::Subscriber))
            .chain(payments().map(Stream::Payment));
        Self {
            position: state.position(),
            recorded_at: state.recorded_at(),
            chain: state.chain().cloned(),
            head_key: state.head_key().cloned(),
            checkpoints: state.checkpoints().clone(),
            offers: known(names::offers(), |it| state.offer(it).cloned()),
            offered: names::offers().filter(|it| state.was_offered(it)).collect(),
            subscribers: known(names::subscribers(), |it| state.subscriber(*it).cloned()),
            usernames: known(names::usernames(), |it| state.named(it)),
            rules: known(names::rules(), |it| state.rule(*it).cloned()),
            leases: known(lease_keys, |it| state.lease(it)),
            waiting: known(payments(), |it| state.waiting(it).cloned()),
            versions: known(streams, |it| {
                Some(state.next_version(it)).filter(|next| *next > 1)
            }),
        }
    }

    /// The newest checkpoint of a seller.
    #[must_use]
    pub fn checkpoint(&self, seller: Address) -> u64 {
        self.checkpoints.get(&seller).copied().unwrap_or(0)
    }

    /// The lease of that right, if it runs at `now`.
    #[must_use]
    pub fn running(&self, key: &LeaseKey, now: Timestamp) -> Option<Lease> {
        self.leases.get(key).copied().filter(|it| now < it.until)
    }
}

fn known<K: Ord, V>(
    keys: impl Iterator<Item = K>,
    query: impl Fn(&K) -> Option<V>,
) -> BTreeMap<K, V> {
    keys.filter_map(|key| query(&key).map(|value| (key, value)))
        .collect()
}
