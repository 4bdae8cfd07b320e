//! Transactions and their effects in the JSON of the wire.

use iota_sdk_types::{
    Address, ExecutionStatus, ObjectDigest, ObjectReference, TransactionEffects, Version,
};
use serde_json::{Map, Value, json};

use super::params::Show;
use super::{chain, input, transactions};
use crate::admission;
use crate::coin::{COIN_OBJECT_TYPE, COIN_TYPE, Coin};
use crate::execute::{Change, Execution};
use crate::ledger::{Entry, Ledger};

/// A transaction with the parts that were asked for.
pub(super) fn response(ledger: &Ledger, entry: &Entry, show: Show) -> Value {
    let execution = &entry.execution;
    let mut fields = Map::new();
    let mut set = |key: &str, value: Value| fields.insert(key.to_owned(), value);
    set("digest", execution.digest.to_string().into());
    if show.show_input {
        set("transaction", input::block(&entry.signed));
    }
    if show.show_raw_input {
        set("rawTransaction", transactions::raw(&entry.signed).into());
    }
    if show.show_effects {
        set("effects", effects(execution));
    }
    if show.show_raw_effects {
        set("rawEffects", raw_effects(execution));
    }
    if show.show_events {
        set("events", json!([]));
    }
    if show.show_object_changes
        && let Ok((body, _)) = admission::parts(&entry.signed.transaction)
    {
        set("objectChanges", object_changes(execution, &body.sender));
    }
    if show.show_balance_changes {
        set("balanceChanges", balance_changes(execution));
    }
    if let Some(sequence) = entry.checkpoint {
        set("checkpoint", sequence.to_string().into());
        let sealed = usize::try_from(sequence)
            .ok()
            .and_then(|n| ledger.checkpoints().get(n));
        if let Some(checkpoint) = sealed {
            set(
                "timestampMs",
                checkpoint.summary.timestamp_ms.to_string().into(),
            );
        }
    }
    Value::Object(fields)
}

/// Effects; lists that would be empty are left out, as nodes do.
pub(super) fn effects(execution: &Execution) -> Value {
    let effects = &execution.effects;
    let mut fields = Map::new();
    let mut set = |key: &str, value: Value| fields.insert(key.to_owned(), value);
    set("messageVersion", "v1".into());
    set("status", status(&effects.status));
    set("executedEpoch", effects.epoch.to_string().into());
    set("gasUsed", chain::gas_used(&effects.gas_cost_summary));
    set(
        "transactionDigest",
        effects.transaction_digest.to_string().into(),
    );

    let changes = || execution.changes.values();
    let written = |created: bool| {
        changes()
            .filter(move |change| change.before.is_none() == created)
            .filter_map(|change| change.after.as_ref().map(owned_reference))
    };
    let deleted = changes()
        .filter(|change| change.after.is_none())
        .filter_map(|change| {
            let coin = change.before.as_ref()?;
            Some(reference(&deleted_reference(coin, effects.lamport_version)))
        });
    let modified = changes().filter_map(|change| {
        let coin = change.before.as_ref()?;
        let version = coin.version.to_string();
        Some(json!({"objectId": coin.id.to_string(), "sequenceNumber": version}))
    });
    let lists: [(&str, Vec<Value>); 5] = [
        ("modifiedAtVersions", modified.collect()),
        ("created", written(true).collect()),
        ("mutated", written(false).collect()),
        ("deleted", deleted.collect()),
        (
            "dependencies",
            effects
                .dependencies
                .iter()
                .map(|d| d.to_string().into())
                .collect(),
        ),
    ];
    for (key, list) in lists {
        if !list.is_empty() {
            set(key, list.into());
        }
    }
    let gas = effects
        .gas_object_index
        .and_then(|index| usize::try_from(index).ok());
    if let Some(coin) = gas
        .and_then(|i| changes().nth(i))
        .and_then(|change| change.after.as_ref())
    {
        set("gasObject", owned_reference(coin));
    }
    Value::Object(fields)
}

fn status(status: &ExecutionStatus) -> Value {
    match status {
        ExecutionStatus::Failure { error, command } => {
            let place = command
                .map(|index| format!(" in command {index}"))
                .unwrap_or_default();
            json!({"status": "failure", "error": format!("{error:?}{place}")})
        }
        _ => json!({"status": "success"}),
    }
}

fn raw_effects(execution: &Execution) -> Value {
    let effects = TransactionEffects::V1(Box::new(execution.effects.clone()));
    bcs::to_bytes(&effects).map(Value::from).unwrap_or_default()
}

pub(super) fn balance_changes(execution: &Execution) -> Value {
    let change = |(owner, amount): (&Address, &i128)| {
        json!({
            "owner": {"AddressOwner": owner.to_string()},
            "coinType": COIN_TYPE,
            "amount": amount.to_string(),
        })
    };
    execution.balance_changes.iter().map(change).collect()
}

pub(super) fn object_changes(execution: &Execution, sender: &Address) -> Value {
    let version = execution.effects.lamport_version;
    execution
        .changes
        .values()
        .filter_map(|change| object_change(change, sender, version))
        .collect()
}

fn object_change(change: &Change, sender: &Address, version: Version) -> Option<Value> {
    let coin = change.after.as_ref().or(change.before.as_ref())?;
    let mut value = json!({
        "sender": sender.to_string(),
        "objectType": COIN_OBJECT_TYPE,
        "objectId": coin.id.to_string(),
        "version": version.to_string(),
    });
    let kind = match (&change.before, &change.after) {
        (_, None) => "deleted",
        (None, Some(_)) => "created",
        (Some(before), Some(_)) => {
            value["previousVersion"] = before.version.to_string().into();
            "mutated"
        }
    };
    value["type"] = kind.into();
    if change.after.is_some() {
        value["owner"] = owner(coin);
        value["digest"] = coin.digest().to_string().into();
    }
    Some(value)
}

fn owner(coin: &Coin) -> Value {
    json!({"AddressOwner": coin.owner.to_string()})
}

fn owned_reference(coin: &Coin) -> Value {
    json!({"owner": owner(coin), "reference": reference(&coin.reference())})
}

fn deleted_reference(coin: &Coin, version: Version) -> ObjectReference {
    ObjectReference::new(coin.id, version, ObjectDigest::OBJECT_DELETED)
}

/// A reference whose version is a JSON number, as nodes write it inside effects.
pub(super) fn reference(reference: &ObjectReference) -> Value {
    json!({
        "objectId": reference.object_id.to_string(),
        "version": reference.version.as_u64(),
        "digest": reference.digest.to_string(),
    })
}
