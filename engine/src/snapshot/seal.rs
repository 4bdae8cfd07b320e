//! One snapshot without what it holds: where it stands, and the hashes over all of it.

use super::form::VERSION;
use sha2::{Digest as _, Sha256};
use tanglegate_core::Position;
use tanglegate_crypto::{Frontier, Hash};

/// Where a snapshot stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sealed {
    /// The last event before it.
    pub(super) position: Position,
    /// The snapshot before; 0: none. Its payments go on with those of that one.
    pub(super) previous: Position,
    /// The tree over the events.
    pub(super) frontier: Frontier,
    pub(super) payments: Hash,
    pub(super) state: Hash,
    /// Over all of it, and over the snapshot before.
    pub(super) seal: Hash,
}

impl Sealed {
    /// Seals what a snapshot holds, behind `previous`.
    pub(super) fn new(
        frontier: Frontier,
        previous: Option<&Self>,
        payments: &[u8],
        state: &[u8],
    ) -> Self {
        let mut sealed = Self {
            position: Position(frontier.size()),
            previous: previous.map_or(Position(0), |it| it.position),
            frontier,
            payments: Sha256::digest(payments).into(),
            state: Sha256::digest(state).into(),
            seal: [0; 32],
        };
        sealed.seal = sealed.made(previous);
        sealed
    }

    /// The seal that it should have.
    pub(super) fn made(&self, previous: Option<&Self>) -> Hash {
        let mut hasher = Sha256::new_with_prefix(b"tanglegate snapshot");
        hasher.update(VERSION.to_be_bytes());
        hasher.update(self.position.0.to_be_bytes());
        hasher.update(self.previous.0.to_be_bytes());
        hasher.update(previous.map_or([0; 32], |it| it.seal));
        for subtree in self.frontier.subtrees() {
            hasher.update(subtree);
        }
        hasher.update(self.payments);
        hasher.update(self.state);
        hasher.finalize().into()
    }
}
