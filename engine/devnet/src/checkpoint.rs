//! Genesis and checkpoints.

use ed25519_dalek::SigningKey;
use iota_sdk_types::hash::Hasher;
use iota_sdk_types::{
    Address, CheckpointContents, CheckpointContentsV1, CheckpointDigest, CheckpointSummary,
    CheckpointTransactionInfo, Ed25519PublicKey, GasCostSummary, ObjectId, TransactionDigest,
    Version,
};
use serde::{Deserialize, Serialize};

use crate::coin::Coin;
use crate::gas;

/// All the money there is, in NANOS: about IOTA's own supply.
pub const SUPPLY: u64 = 4_600_000_000_000_000_000;

/// What a ledger begins with. Everything else follows from it and from signed transactions.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct Genesis {
    /// Random per ledger. The chain identifier and the faucet's key are derived from it; the
    /// money is play money, so that the seed is kept in clear.
    pub(crate) seed: [u8; 32],
    /// Milliseconds since 1970.
    pub(crate) timestamp_ms: u64,
}

impl Genesis {
    /// The key of the account that owns the whole supply at first.
    pub(crate) fn faucet_key(&self) -> SigningKey {
        SigningKey::from_bytes(&self.derive(b"faucet key"))
    }

    pub(crate) fn faucet_address(&self) -> Address {
        Ed25519PublicKey::new(self.faucet_key().verifying_key().to_bytes()).derive_address()
    }

    /// The one coin that exists at the start.
    pub(crate) fn coin(&self) -> Coin {
        let previous_transaction = TransactionDigest::genesis_marker();
        Coin {
            id: ObjectId::new(self.derive(b"supply coin")),
            version: Version::OBJECT_START,
            owner: self.faucet_address(),
            balance: SUPPLY - gas::COIN_DEPOSIT,
            previous_transaction,
            storage_rebate: gas::COIN_DEPOSIT,
        }
    }

    /// Checkpoint 0; the first four bytes of its digest are the chain identifier.
    pub(crate) fn checkpoint(&self) -> Checkpoint {
        let chain = self.derive(b"chain").to_vec();
        Checkpoint::seal(
            None,
            Vec::new(),
            GasCostSummary::default(),
            self.timestamp_ms,
            chain,
        )
    }

    fn derive(&self, purpose: &[u8]) -> [u8; 32] {
        let mut hasher = Hasher::new();
        hasher.update(b"tanglegate devnet genesis: ");
        hasher.update(purpose);
        hasher.update(self.seed);
        hasher.finalize().into_bytes()
    }
}

/// A sealed, final group of transactions.
#[derive(Clone, Debug)]
pub(crate) struct Checkpoint {
    pub(crate) summary: CheckpointSummary,
    pub(crate) digest: CheckpointDigest,
    pub(crate) transactions: Vec<TransactionDigest>,
}

impl Checkpoint {
    /// Seals `contents` into the checkpoint after `previous`.
    ///
    /// `gas` is what the transactions cost; the summary shows the running sum of the epoch. The
    /// time never runs backwards, whatever `timestamp_ms` says.
    pub(crate) fn seal(
        previous: Option<&Self>,
        contents: Vec<CheckpointTransactionInfo>,
        gas: GasCostSummary,
        timestamp_ms: u64,
        version_specific_data: Vec<u8>,
    ) -> Self {
        let transactions: Vec<_> = contents.iter().map(|info| info.transaction).collect();
        let count = u64::try_from(transactions.len()).expect("a count fits in 64 bits");
        let contents = CheckpointContents::V1(CheckpointContentsV1::new(contents));
        let before = previous.map(|checkpoint| &checkpoint.summary);
        let mut rolling = before
            .map(|s| s.epoch_rolling_gas_cost_summary.clone())
            .unwrap_or_default();
        rolling += gas;
        let summary = CheckpointSummary {
            epoch: 0,
            sequence_number: before.map_or(0, |s| s.sequence_number + 1),
            network_total_transactions: before.map_or(0, |s| s.network_total_transactions) + count,
            contents_digest: contents.digest(),
            previous_digest: previous.map(|checkpoint| checkpoint.digest),
            epoch_rolling_gas_cost_summary: rolling,
            timestamp_ms: before.map_or(0, |s| s.timestamp_ms).max(timestamp_ms),
            checkpoint_commitments: Vec::new(),
            end_of_epoch_data: None,
            version_specific_data,
        };
        Self {
            digest: summary.digest(),
            summary,
            transactions,
        }
    }

    pub(crate) fn sequence(&self) -> u64 {
        self.summary.sequence_number
    }
}
