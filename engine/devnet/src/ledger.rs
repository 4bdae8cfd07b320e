//! The state of the ledger: coins, executed transactions, checkpoints, and where every NANO is.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use iota_sdk_types::{
    Address, CheckpointTransactionInfo, GasCostSummary, ObjectId, ObjectReference,
    SignedTransaction, Transaction, TransactionDigest, TransactionEffects, Version,
};

use crate::admission::{self, Refusal};
use crate::checkpoint::{Checkpoint, Genesis};
use crate::coin::Coin;
use crate::execute::{self, Execution, Inputs};
use crate::gas;

/// The most transactions in one checkpoint.
const MAX_CHECKPOINT_TRANSACTIONS: usize = 1_000;

/// NANOS of the pretended coin that pays for a simulation which names no gas coin.
const SIMULATED_GAS: u64 = 1_000_000_000_000_000_000;

/// A transaction that was executed, and where it stands.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) signed: SignedTransaction,
    pub(crate) execution: Execution,
    /// `None` until the transaction is final.
    pub(crate) checkpoint: Option<u64>,
}

/// Where the NANOS are that no coin holds.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Totals {
    /// Sum over all coins.
    pub coins: u64,
    /// Deposits of all objects.
    pub storage_fund: u64,
    /// Computation, gone for ever.
    pub burnt: u64,
    /// What was paid above the reference gas price.
    pub tips: u64,
}

/// The ledger. All methods are pure state changes: no clock, no files, no network.
#[derive(Debug)]
pub(crate) struct Ledger {
    pub(crate) genesis: Genesis,
    coins: BTreeMap<ObjectId, Coin>,
    coins_of: BTreeMap<Address, BTreeSet<ObjectId>>,
    entries: Vec<Entry>,
    by_digest: HashMap<TransactionDigest, usize>,
    sent: HashMap<Address, Vec<usize>>,
    received: HashMap<Address, Vec<usize>>,
    /// Never empty: genesis is the first.
    checkpoints: Vec<Checkpoint>,
    /// The first entry that stands in no checkpoint.
    pending_from: usize,
    totals: Totals,
}

impl Ledger {
    pub(crate) fn new(genesis: Genesis) -> Self {
        let coin = genesis.coin();
        let totals = Totals {
            coins: coin.balance,
            storage_fund: coin.storage_rebate,
            ..Totals::default()
        };
        Self {
            coins_of: BTreeMap::from([(coin.owner, BTreeSet::from([coin.id]))]),
            coins: BTreeMap::from([(coin.id, coin)]),
            entries: Vec::new(),
            by_digest: HashMap::new(),
            sent: HashMap::new(),
            received: HashMap::new(),
            checkpoints: vec![genesis.checkpoint()],
            pending_from: 0,
            totals,
            genesis,
        }
    }

    /// Checks and runs a signed transaction without changing the ledger; [`Self::commit`] does.
    pub(crate) fn execute(&self, signed: &SignedTransaction) -> Result<Execution, Refusal> {
        admission::check_form(&signed.transaction, false)?;
        admission::check_signatures(signed)?;
        self.run(&signed.transaction)
    }

    /// Runs an unsigned transaction as if it were signed. A pretended coin pays for gas where
    /// the transaction names none.
    pub(crate) fn simulate(&self, transaction: &Transaction) -> Result<Execution, Refusal> {
        admission::check_form(transaction, true)?;
        self.run(transaction)
    }

    fn run(&self, transaction: &Transaction) -> Result<Execution, Refusal> {
        let (body, program) = admission::parts(transaction)?;
        let payment = &body.gas_payment;
        let digest = transaction.digest();
        let owned = admission::owned_inputs(program)
            .map(|reference| self.available(reference, body.sender))
            .collect::<Result<Vec<_>, _>>()?;
        let mut gas = payment
            .objects
            .iter()
            .map(|reference| self.available(reference, payment.owner))
            .collect::<Result<Vec<_>, _>>()?;
        if gas.is_empty() {
            gas.push(pretended_gas(payment.owner, digest));
        }
        let held = gas.iter().map(|coin| coin.balance).sum();
        if held < payment.budget {
            return Err(Refusal::GasBalance {
                held,
                budget: payment.budget,
            });
        }
        Ok(execute::execute(
            body,
            program,
            digest,
            Inputs { gas, owned },
        ))
    }

    /// The coin that `reference` names, if it is the current version and `signer` owns it.
    fn available(&self, reference: &ObjectReference, signer: Address) -> Result<Coin, Refusal> {
        let id = reference.object_id;
        let coin = self.coins.get(&id).ok_or(Refusal::NoSuchObject(id))?;
        if coin.version != reference.version {
            let (named, current) = (reference.version.as_u64(), coin.version.as_u64());
            return Err(Refusal::StaleObject { id, named, current });
        }
        if coin.digest() != reference.digest {
            return Err(Refusal::WrongObjectDigest(id));
        }
        if coin.owner != signer {
            return Err(Refusal::ForeignObject {
                id,
                owner: coin.owner,
                signer,
            });
        }
        Ok(coin.clone())
    }

    /// Makes an execution part of the ledger. It must have been computed on the current state.
    pub(crate) fn commit(&mut self, signed: SignedTransaction, execution: Execution) {
        let index = self.entries.len();
        let digest = execution.digest;
        for change in execution.changes.values() {
            if let Some(coin) = &change.before {
                self.remove_coin(coin);
            }
        }
        let mut recipients = BTreeSet::new();
        for change in execution.changes.values() {
            if let Some(coin) = &change.after {
                recipients.insert(coin.owner);
                self.insert_coin(coin.clone());
            }
        }
        self.account(&execution.effects.gas_cost_summary);
        for recipient in recipients {
            self.received.entry(recipient).or_default().push(index);
        }
        if let Ok((body, _)) = admission::parts(&signed.transaction) {
            self.sent.entry(body.sender).or_default().push(index);
        }
        let known = self.by_digest.insert(digest, index);
        assert_eq!(known, None, "a transaction is executed once");
        self.entries.push(Entry {
            signed,
            execution,
            checkpoint: None,
        });
    }

    fn remove_coin(&mut self, coin: &Coin) {
        let removed = self.coins.remove(&coin.id);
        assert_eq!(
            removed.as_ref(),
            Some(coin),
            "an execution is committed on its own state"
        );
        if let Some(coins) = self.coins_of.get_mut(&coin.owner) {
            coins.remove(&coin.id);
        }
        self.totals.coins -= coin.balance;
    }

    fn insert_coin(&mut self, coin: Coin) {
        self.totals.coins += coin.balance;
        self.coins_of.entry(coin.owner).or_default().insert(coin.id);
        self.coins.insert(coin.id, coin);
    }

    fn account(&mut self, summary: &GasCostSummary) {
        self.totals.burnt += summary.computation_cost_burned;
        self.totals.tips += summary.computation_cost - summary.computation_cost_burned;
        self.totals.storage_fund += summary.storage_cost;
        self.totals.storage_fund -= summary.storage_rebate;
    }

    /// The next checkpoint, unless nothing waits for one. [`Self::seal`] makes it stand.
    pub(crate) fn next_checkpoint(&self, now_ms: u64) -> Option<Checkpoint> {
        let waiting = &self.entries[self.pending_from..];
        let chosen = &waiting[..waiting.len().min(MAX_CHECKPOINT_TRANSACTIONS)];
        if chosen.is_empty() {
            return None;
        }
        let mut gas = GasCostSummary::default();
        let mut contents = Vec::with_capacity(chosen.len());
        for entry in chosen {
            gas += &entry.execution.effects.gas_cost_summary;
            let effects = TransactionEffects::V1(Box::new(entry.execution.effects.clone()));
            contents.push(CheckpointTransactionInfo {
                transaction: entry.execution.digest,
                effects: effects.digest(),
                signatures: entry.signed.signatures.clone(),
            });
        }
        Some(Checkpoint::seal(
            Some(self.latest_checkpoint()),
            contents,
            gas,
            now_ms,
            Vec::new(),
        ))
    }

    /// Makes `checkpoint`, just computed by [`Self::next_checkpoint`], part of the ledger.
    pub(crate) fn seal(&mut self, checkpoint: Checkpoint) {
        let sequence = checkpoint.sequence();
        let until = self.pending_from + checkpoint.transactions.len();
        for entry in &mut self.entries[self.pending_from..until] {
            entry.checkpoint = Some(sequence);
        }
        self.pending_from = until;
        self.checkpoints.push(checkpoint);
    }

    pub(crate) fn latest_checkpoint(&self) -> &Checkpoint {
        self.checkpoints.last().expect("genesis is always there")
    }

    pub(crate) fn checkpoints(&self) -> &[Checkpoint] {
        &self.checkpoints
    }

    pub(crate) fn chain_identifier(&self) -> String {
        hex::encode(&self.checkpoints[0].digest.bytes()[..4])
    }

    /// All transactions, in the order of execution.
    pub(crate) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    pub(crate) fn entry(&self, digest: &TransactionDigest) -> Option<&Entry> {
        self.by_digest
            .get(digest)
            .map(|index| &self.entries[*index])
    }

    /// Indices of the transactions that `address` sent, ascending.
    pub(crate) fn sent(&self, address: &Address) -> &[usize] {
        self.sent.get(address).map_or(&[], Vec::as_slice)
    }

    /// Indices of the transactions that wrote an object of `address`, ascending. As on a real
    /// node these include the address's own transactions, through the change of its gas coin.
    pub(crate) fn received(&self, address: &Address) -> &[usize] {
        self.received.get(address).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn coin(&self, id: &ObjectId) -> Option<&Coin> {
        self.coins.get(id)
    }

    /// The coins of `owner`, by object id.
    pub(crate) fn coins_of(&self, owner: &Address) -> impl DoubleEndedIterator<Item = &Coin> {
        self.coins_of
            .get(owner)
            .into_iter()
            .flatten()
            .map(|id| &self.coins[id])
    }

    /// NANOS that `owner` holds.
    pub(crate) fn balance(&self, owner: &Address) -> u64 {
        self.coins_of(owner).map(|coin| coin.balance).sum()
    }

    pub(crate) fn totals(&self) -> Totals {
        self.totals
    }
}

/// A coin that exists only inside a simulation, as on a real node.
fn pretended_gas(owner: Address, digest: TransactionDigest) -> Coin {
    Coin {
        id: ObjectId::derive_id(digest, u64::MAX),
        version: Version::OBJECT_START,
        owner,
        balance: SIMULATED_GAS.max(gas::MAX_GAS_BUDGET),
        previous_transaction: TransactionDigest::genesis_marker(),
        storage_rebate: 0,
    }
}
