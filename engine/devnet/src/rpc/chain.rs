//! Methods about the chain as a whole: checkpoints, identifier, protocol parameters.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use iota_sdk_types::{CheckpointDigest, GasCostSummary};
use serde_json::{Value, json};

use super::RpcError;
use super::params::{BigInt, Params};
use crate::admission;
use crate::checkpoint::Checkpoint;
use crate::gas;
use crate::node::Node;

/// The protocol version that the figures of this ledger are taken from.
const PROTOCOL_VERSION: &str = "1";

/// What a client reads from the API description: its version.
pub(super) fn discover() -> Value {
    json!({
        "openrpc": "1.2.6",
        "info": {
            "title": "Tanglegate development ledger",
            "version": env!("CARGO_PKG_VERSION"),
        },
        "methods": [],
    })
}

pub(super) fn identifier(node: &Node) -> Value {
    let told = node.faults().chain_identifier.clone();
    told.unwrap_or_else(|| node.read(|ledger| ledger.chain_identifier()))
        .into()
}

pub(super) fn latest_checkpoint(node: &Node) -> Value {
    node.read(|ledger| ledger.latest_checkpoint().sequence())
        .to_string()
        .into()
}

/// A checkpoint by number or digest.
pub(super) fn checkpoint(node: &Node, params: &Params) -> Result<Value, RpcError> {
    let id = match params.required::<BigInt>(0, "id") {
        Ok(BigInt(sequence)) => Ok(sequence),
        Err(_) => {
            let text: String = params.required(0, "id")?;
            CheckpointDigest::from_base58(&text).map_err(|error| {
                RpcError::params(format!(
                    "{text:?} is no checkpoint number or digest: {error}"
                ))
            })
        }
        .map_or_else(Err, |digest| find(node, &digest)),
    }?;
    node.read(|ledger| {
        let place = usize::try_from(id).unwrap_or(usize::MAX);
        ledger.checkpoints().get(place).map(render)
    })
    .ok_or_else(|| RpcError::params(format!("there is no checkpoint {id} yet")))
}

fn find(node: &Node, digest: &CheckpointDigest) -> Result<u64, RpcError> {
    node.read(|ledger| {
        ledger
            .checkpoints()
            .iter()
            .find(|c| c.digest == *digest)
            .map(Checkpoint::sequence)
    })
    .ok_or_else(|| RpcError::params(format!("there is no checkpoint {digest}")))
}

/// A page of checkpoints; the cursor is the number of the last one of the page before.
pub(super) fn checkpoints(node: &Node, params: &Params) -> Result<Value, RpcError> {
    let cursor = params
        .optional::<BigInt>(0, "cursor")?
        .map(|BigInt(number)| number);
    let limit = params.limit(1)?;
    let descending = params.required::<bool>(2, "descending_order")?;
    Ok(node.read(|ledger| {
        let beyond = |c: &&Checkpoint| match cursor {
            None => true,
            Some(cursor) if descending => c.sequence() < cursor,
            Some(cursor) => c.sequence() > cursor,
        };
        let all = ledger.checkpoints().iter();
        let mut found: Vec<&Checkpoint> = match descending {
            true => all.rev().filter(beyond).take(limit + 1).collect(),
            false => all.filter(beyond).take(limit + 1).collect(),
        };
        let more = found.len() > limit;
        found.truncate(limit);
        let next = found.last().map(|c| c.sequence()).or(cursor);
        json!({
            "data": found.into_iter().map(render).collect::<Vec<_>>(),
            "nextCursor": next.map(|number| number.to_string()),
            "hasNextPage": more,
        })
    }))
}

fn render(checkpoint: &Checkpoint) -> Value {
    let summary = &checkpoint.summary;
    let transactions: Vec<String> = checkpoint
        .transactions
        .iter()
        .map(ToString::to_string)
        .collect();
    // The compressed point at infinity of BLS12-381 G1: there are no validators here.
    let mut signature = [0; 48];
    signature[0] = 0xc0;
    json!({
        "epoch": summary.epoch.to_string(),
        "sequenceNumber": summary.sequence_number.to_string(),
        "digest": checkpoint.digest.to_string(),
        "networkTotalTransactions": summary.network_total_transactions.to_string(),
        "previousDigest": summary.previous_digest.map(|digest| digest.to_string()),
        "epochRollingGasCostSummary": gas_used(&summary.epoch_rolling_gas_cost_summary),
        "timestampMs": summary.timestamp_ms.to_string(),
        "transactions": transactions,
        "checkpointCommitments": [],
        "validatorSignature": STANDARD.encode(signature),
    })
}

pub(super) fn gas_used(summary: &GasCostSummary) -> Value {
    json!({
        "computationCost": summary.computation_cost.to_string(),
        "computationCostBurned": summary.computation_cost_burned.to_string(),
        "storageCost": summary.storage_cost.to_string(),
        "storageRebate": summary.storage_rebate.to_string(),
        "nonRefundableStorageFee": summary.non_refundable_storage_fee.to_string(),
    })
}

pub(super) fn total_transactions(node: &Node) -> Value {
    node.read(|ledger| {
        ledger
            .latest_checkpoint()
            .summary
            .network_total_transactions
    })
    .to_string()
    .into()
}

pub(super) fn reference_gas_price() -> Value {
    gas::REFERENCE_GAS_PRICE.to_string().into()
}

/// The limits that clients look up before they build a transaction.
pub(super) fn protocol_config() -> Value {
    let limit = |bytes: usize| json!({"u64": bytes.to_string()});
    json!({
        "minSupportedProtocolVersion": PROTOCOL_VERSION,
        "maxSupportedProtocolVersion": PROTOCOL_VERSION,
        "protocolVersion": PROTOCOL_VERSION,
        "featureFlags": {},
        "attributes": {
            "base_tx_cost_fixed": {"u64": gas::COMPUTATION_UNITS.to_string()},
            "max_gas_payment_objects": {"u32": admission::MAX_GAS_COINS.to_string()},
            "max_gas_price": {"u64": gas::MAX_GAS_PRICE.to_string()},
            "max_pure_argument_size": {"u32": admission::MAX_PURE_BYTES.to_string()},
            "max_tx_gas": {"u64": gas::MAX_GAS_BUDGET.to_string()},
            "max_tx_size_bytes": limit(admission::MAX_TRANSACTION_BYTES),
        },
    })
}
