//! JSON-RPC 2.0 as IOTA's full nodes and indexers speak it.

mod chain;
mod coins;
mod input;
mod params;
mod render;
mod transactions;

use serde_json::{Value, json};

use crate::node::{Node, NodeError};
use params::Params;

/// A parsed call.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) id: Value,
    pub(crate) method: String,
    params: Params,
}

/// A JSON-RPC error object.
#[derive(Debug)]
pub(crate) struct RpcError {
    code: i32,
    message: String,
}

impl RpcError {
    pub(crate) fn parse(message: impl Into<String>) -> Self {
        Self {
            code: -32700,
            message: message.into(),
        }
    }

    fn request(message: impl Into<String>) -> Self {
        Self {
            code: -32600,
            message: message.into(),
        }
    }

    fn params(message: impl Into<String>) -> Self {
        Self {
            code: -32602,
            message: message.into(),
        }
    }

    /// The code under which nodes refuse a transaction for the client's fault.
    fn refused(message: impl Into<String>) -> Self {
        Self {
            code: -32002,
            message: message.into(),
        }
    }
}

impl From<NodeError> for RpcError {
    fn from(error: NodeError) -> Self {
        match error {
            NodeError::Refused(refusal) => Self::refused(refusal.to_string()),
            other => Self {
                code: -32603,
                message: other.to_string(),
            },
        }
    }
}

/// Reads a call from a request body.
pub(crate) fn parse(body: &[u8]) -> Result<Call, (Value, RpcError)> {
    let value: Value = serde_json::from_slice(body).map_err(|error| {
        (
            Value::Null,
            RpcError::parse(format!("the body is no JSON: {error}")),
        )
    })?;
    let Value::Object(mut fields) = value else {
        let error = RpcError::request("one call per request: batches are not supported here");
        return Err((Value::Null, error));
    };
    let id = fields.remove("id").unwrap_or(Value::Null);
    let Some(Value::String(method)) = fields.remove("method") else {
        return Err((id, RpcError::request("the call has no method")));
    };
    match Params::new(fields.remove("params")) {
        Ok(params) => Ok(Call { id, method, params }),
        Err(error) => Err((id, error)),
    }
}

/// Carries a call out. Blocks for the disk where the call changes the ledger.
pub(crate) fn answer(node: &Node, call: &Call) -> Value {
    let mut outcome = dispatch(node, &call.method, &call.params);
    let raw_input = node.faults().raw_input;
    if let (Ok(result), Some(raw_input)) = (&mut outcome, raw_input) {
        raw_input.distort(result);
    }
    envelope(&call.id, outcome)
}

/// The response object for a result or an error.
pub(crate) fn envelope(id: &Value, outcome: Result<Value, RpcError>) -> Value {
    match outcome {
        Ok(result) => json!({"jsonrpc": "2.0", "id": id, "result": result}),
        Err(RpcError { code, message }) => {
            json!({"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": message}})
        }
    }
}

fn dispatch(node: &Node, method: &str, params: &Params) -> Result<Value, RpcError> {
    match method {
        "rpc.discover" => Ok(chain::discover()),
        "iota_getChainIdentifier" => Ok(chain::identifier(node)),
        "iota_getLatestCheckpointSequenceNumber" => Ok(chain::latest_checkpoint(node)),
        "iota_getCheckpoint" => chain::checkpoint(node, params),
        "iota_getCheckpoints" => chain::checkpoints(node, params),
        "iota_getTotalTransactionBlocks" => Ok(chain::total_transactions(node)),
        "iota_getProtocolConfig" => Ok(chain::protocol_config()),
        "iotax_getReferenceGasPrice" => Ok(chain::reference_gas_price()),
        "iotax_getCoins" => coins::coins(node, params),
        "iotax_getAllCoins" => coins::all_coins(node, params),
        "iotax_getBalance" => coins::balance(node, params),
        "iotax_getAllBalances" => coins::all_balances(node, params),
        "iotax_getCoinMetadata" => coins::metadata(params),
        "iotax_getTotalSupply" => coins::supply(params),
        "iota_getObject" => coins::object(node, params),
        "iota_multiGetObjects" => coins::objects(node, params),
        "iotax_queryTransactionBlocks" => transactions::query(node, params),
        "iota_getTransactionBlock" => transactions::get(node, params),
        "iota_multiGetTransactionBlocks" => transactions::multi_get(node, params),
        "iota_isTransactionIndexedOnNode" => transactions::is_indexed(node, params),
        "iota_dryRunTransactionBlock" => transactions::dry_run(node, params),
        "iota_executeTransactionBlock" => transactions::execute(node, params),
        other => Err(RpcError {
            code: -32601,
            message: format!("Method not found: {other} is not served by the development ledger"),
        }),
    }
}
