//! Runs one whole transaction: gas coins are merged, the program runs, gas is charged.
//!
//! Pure: from the coins that a transaction names to its effects. A program that fails leaves
//! the coins as they were, except that the gas coins are merged and gas is charged.

use std::collections::{BTreeMap, BTreeSet};

use iota_sdk_types::effects::{
    ChangedObject, IdOperation, ObjectIn, ObjectOut, TransactionEffectsV1,
};
use iota_sdk_types::{
    Address, ExecutionError, ExecutionStatus, GasCostSummary, ObjectId, Owner,
    ProgrammableTransaction, TransactionDigest, TransactionV1, Version,
};

use crate::coin::Coin;
use crate::gas;
use crate::program::{Failure, Run};

/// The coins that a transaction names, at the versions it names.
#[derive(Clone, Debug)]
pub(crate) struct Inputs {
    /// In the order of the transaction; the first becomes the gas coin. Never empty.
    pub(crate) gas: Vec<Coin>,
    pub(crate) owned: Vec<Coin>,
}

/// One object before and after a transaction.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    /// `None` for a coin that the transaction created.
    pub(crate) before: Option<Coin>,
    /// `None` for a coin that the transaction deleted.
    pub(crate) after: Option<Coin>,
}

/// What a transaction did.
#[derive(Clone, Debug)]
pub(crate) struct Execution {
    pub(crate) digest: TransactionDigest,
    pub(crate) effects: TransactionEffectsV1,
    /// By object id, in the order of `effects.changed_objects`.
    pub(crate) changes: BTreeMap<ObjectId, Change>,
    /// NANOS per address, net of gas, without zeros.
    pub(crate) balance_changes: BTreeMap<Address, i128>,
}

/// Runs `program` for the transaction with this `body` and `digest`.
///
/// Admission has made sure that the gas coins hold at least the budget and that the budget
/// covers the computation.
pub(crate) fn execute(
    body: &TransactionV1,
    program: &ProgrammableTransaction,
    digest: TransactionDigest,
    inputs: Inputs,
) -> Execution {
    let version = next_version(&inputs);
    let before: BTreeMap<ObjectId, Coin> = inputs
        .gas
        .iter()
        .chain(&inputs.owned)
        .map(|coin| (coin.id, coin.clone()))
        .collect();
    let gas_id = inputs.gas[0].id;
    let untouched = merge_gas(inputs);
    let rebate = before.values().map(|coin| coin.storage_rebate).sum();
    let cost = |coins: &BTreeMap<ObjectId, Coin>| {
        gas::summary(body.gas_payment.price, coins.len(), rebate)
    };

    let attempt = run(body, program, digest, version, gas_id, &untouched).and_then(|coins| {
        match gas::net(&cost(&coins)) <= i128::from(body.gas_payment.budget) {
            true => Ok(coins),
            false => Err(Failure::new(ExecutionError::InsufficientGas, None)),
        }
    });
    let (status, mut after) = match attempt {
        Ok(coins) => (ExecutionStatus::Success, coins),
        Err(failure) => (failed(failure), untouched),
    };
    let summary = cost(&after);
    stamp(&mut after, digest, version);
    charge(&mut after, gas_id, &summary);

    let changes = changes(before, after);
    let effects = effects(digest, version, status, summary, gas_id, &changes);
    Execution {
        digest,
        effects,
        balance_changes: balance_changes(&changes),
        changes,
    }
}

/// Lamport time: one more than the latest version among the inputs.
fn next_version(inputs: &Inputs) -> Version {
    let latest = inputs
        .gas
        .iter()
        .chain(&inputs.owned)
        .map(|coin| coin.version.as_u64())
        .max();
    Version::from_u64(latest.expect("a transaction names at least one gas coin") + 1)
}

/// All inputs, with every gas coin merged into the first.
fn merge_gas(inputs: Inputs) -> BTreeMap<ObjectId, Coin> {
    let mut gas_coins = inputs.gas.into_iter();
    let mut gas = gas_coins
        .next()
        .expect("a transaction names at least one gas coin");
    gas.balance += gas_coins.map(|coin| coin.balance).sum::<u64>();
    inputs
        .owned
        .into_iter()
        .chain([gas])
        .map(|coin| (coin.id, coin))
        .collect()
}

/// Runs the commands while the budget is withheld from the gas coin, so that the program
/// cannot spend what gas will cost.
fn run(
    body: &TransactionV1,
    program: &ProgrammableTransaction,
    digest: TransactionDigest,
    version: Version,
    gas_id: ObjectId,
    coins: &BTreeMap<ObjectId, Coin>,
) -> Result<BTreeMap<ObjectId, Coin>, Failure> {
    let budget = body.gas_payment.budget;
    let mut coins = coins.clone();
    gas_coin(&mut coins, gas_id).balance -= budget;
    let mut coins = Run::new(coins, gas_id, program, digest, version).finish(program)?;
    gas_coin(&mut coins, gas_id).balance += budget;
    Ok(coins)
}

fn stamp(coins: &mut BTreeMap<ObjectId, Coin>, digest: TransactionDigest, version: Version) {
    for coin in coins.values_mut() {
        coin.version = version;
        coin.previous_transaction = digest;
        coin.storage_rebate = gas::COIN_DEPOSIT;
    }
}

fn charge(coins: &mut BTreeMap<ObjectId, Coin>, gas_id: ObjectId, summary: &GasCostSummary) {
    let gas = gas_coin(coins, gas_id);
    let left = i128::from(gas.balance) - gas::net(summary);
    gas.balance = u64::try_from(left).expect("the gas coin holds the budget and gas stays below");
}

fn gas_coin(coins: &mut BTreeMap<ObjectId, Coin>, id: ObjectId) -> &mut Coin {
    coins
        .get_mut(&id)
        .expect("no command can delete the gas coin")
}

fn failed(failure: Failure) -> ExecutionStatus {
    let command = failure.command.and_then(|index| u64::try_from(index).ok());
    ExecutionStatus::new_failure(*failure.error, command)
}

fn changes(
    mut before: BTreeMap<ObjectId, Coin>,
    after: BTreeMap<ObjectId, Coin>,
) -> BTreeMap<ObjectId, Change> {
    let mut changes: BTreeMap<ObjectId, Change> = after
        .into_iter()
        .map(|(id, coin)| {
            (
                id,
                Change {
                    before: before.remove(&id),
                    after: Some(coin),
                },
            )
        })
        .collect();
    changes.extend(before.into_iter().map(|(id, coin)| {
        (
            id,
            Change {
                before: Some(coin),
                after: None,
            },
        )
    }));
    changes
}

fn balance_changes(changes: &BTreeMap<ObjectId, Change>) -> BTreeMap<Address, i128> {
    let mut sums: BTreeMap<Address, i128> = BTreeMap::new();
    for change in changes.values() {
        if let Some(coin) = &change.before {
            *sums.entry(coin.owner).or_default() -= i128::from(coin.balance);
        }
        if let Some(coin) = &change.after {
            *sums.entry(coin.owner).or_default() += i128::from(coin.balance);
        }
    }
    sums.retain(|_, sum| *sum != 0);
    sums
}

fn effects(
    digest: TransactionDigest,
    version: Version,
    status: ExecutionStatus,
    summary: GasCostSummary,
    gas_id: ObjectId,
    changes: &BTreeMap<ObjectId, Change>,
) -> TransactionEffectsV1 {
    let gas_index = changes.keys().position(|id| *id == gas_id);
    let dependencies: BTreeSet<TransactionDigest> = changes
        .values()
        .filter_map(|change| change.before.as_ref().map(|coin| coin.previous_transaction))
        .collect();
    TransactionEffectsV1 {
        status,
        epoch: 0,
        gas_cost_summary: summary,
        transaction_digest: digest,
        gas_object_index: gas_index.and_then(|index| u32::try_from(index).ok()),
        events_digest: None,
        dependencies: dependencies.into_iter().collect(),
        lamport_version: version,
        changed_objects: changes
            .iter()
            .map(|(id, change)| changed_object(*id, change))
            .collect(),
        unchanged_shared_objects: Vec::new(),
        auxiliary_data_digest: None,
    }
}

fn changed_object(object_id: ObjectId, change: &Change) -> ChangedObject {
    let input_state = match &change.before {
        None => ObjectIn::Missing,
        Some(coin) => ObjectIn::Data {
            version: coin.version,
            digest: coin.digest(),
            owner: Owner::Address(coin.owner),
        },
    };
    let output_state = match &change.after {
        None => ObjectOut::Missing,
        Some(coin) => ObjectOut::ObjectWrite {
            digest: coin.digest(),
            owner: Owner::Address(coin.owner),
        },
    };
    let id_operation = match (&change.before, &change.after) {
        (None, _) => IdOperation::Created,
        (_, None) => IdOperation::Deleted,
        _ => IdOperation::None,
    };
    ChangedObject {
        object_id,
        input_state,
        output_state,
        id_operation,
    }
}
