//! Methods about transactions: query, look up, simulate, execute.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use iota_sdk_types::hash::Hasher;
use iota_sdk_types::{SignedTransaction, TransactionDigest, UserSignature};
use serde::Deserialize;
use serde_json::{Value, json};

use super::params::{self, BigInt, PAGE_LIMIT, Params, Show};
use super::{RpcError, input, render};
use crate::admission;
use crate::ledger::{Entry, Ledger};
use crate::node::{Node, NodeError};

/// The transactions that a window of the scrambled order spans.
const SCRAMBLE_WINDOW: usize = 8;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Query {
    filter: Option<Filter>,
    options: Option<Show>,
}

/// The filters that are served. The names are those of the wire.
#[derive(Debug, Deserialize)]
enum Filter {
    Checkpoint(BigInt),
    FromAddress(String),
    ToAddress(String),
    FromAndToAddress { from: String, to: String },
    FromOrToAddress { addr: String },
}

/// A page of transactions: query, cursor, limit, descending. The cursor is the digest of the
/// last transaction of the page before; the order is the node's own, that of execution.
pub(super) fn query(node: &Node, params: &Params) -> Result<Value, RpcError> {
    let query: Query = params.optional(0, "query")?.unwrap_or_default();
    let cursor = params.optional::<String>(1, "cursor")?;
    let cursor = cursor.map(|text| params::digest(&text)).transpose()?;
    let limit = params.limit(2)?;
    let descending = params
        .optional::<bool>(3, "descending_order")?
        .unwrap_or(false);
    let show = query.options.unwrap_or_default();
    let (scrambled, overlap) = {
        let faults = node.faults();
        (faults.scrambled_order, faults.page_overlap)
    };
    node.read(|ledger| {
        let mut found = matching(ledger, query.filter.as_ref())?;
        if scrambled {
            found.sort_by_key(|&index| {
                let digest = ledger.entries()[index].execution.digest;
                (
                    index / SCRAMBLE_WINDOW,
                    Hasher::digest(digest.bytes()).into_bytes(),
                )
            });
        }
        if descending {
            found.reverse();
        }
        let start = match &cursor {
            None => 0,
            Some(cursor) => after(ledger, &found, cursor)?.saturating_sub(overlap),
        };
        let page: Vec<&Entry> = found[start..]
            .iter()
            .take(limit)
            .map(|&index| &ledger.entries()[index])
            .collect();
        let next = page.last().map(|entry| entry.execution.digest).or(cursor);
        Ok(json!({
            "data": page.iter().map(|e| render::response(ledger, e, show)).collect::<Vec<_>>(),
            "nextCursor": next.map(|digest| digest.to_string()),
            "hasNextPage": start + page.len() < found.len(),
        }))
    })
}

/// Indices of the transactions that a filter lets through, in the order of execution.
fn matching(ledger: &Ledger, filter: Option<&Filter>) -> Result<Vec<usize>, RpcError> {
    let address = |text: &str| params::address(text);
    Ok(match filter {
        None => (0..ledger.entries().len()).collect(),
        Some(Filter::FromAddress(from)) => ledger.sent(&address(from)?).to_vec(),
        Some(Filter::ToAddress(to)) => ledger.received(&address(to)?).to_vec(),
        Some(Filter::FromAndToAddress { from, to }) => {
            let sent = ledger.sent(&address(from)?);
            let received = ledger.received(&address(to)?).iter().copied();
            received
                .filter(|index| sent.binary_search(index).is_ok())
                .collect()
        }
        Some(Filter::FromOrToAddress { addr }) => {
            let address = address(addr)?;
            let mut both = [ledger.sent(&address), ledger.received(&address)].concat();
            both.sort_unstable();
            both.dedup();
            both
        }
        Some(Filter::Checkpoint(BigInt(sequence))) => {
            let entries = ledger.entries().iter().enumerate();
            entries
                .filter(|(_, e)| e.checkpoint == Some(*sequence))
                .map(|(i, _)| i)
                .collect()
        }
    })
}

/// The place behind the cursor's transaction.
fn after(ledger: &Ledger, found: &[usize], cursor: &TransactionDigest) -> Result<usize, RpcError> {
    found
        .iter()
        .position(|&index| ledger.entries()[index].execution.digest == *cursor)
        .map(|place| place + 1)
        .ok_or_else(|| RpcError::params(format!("the cursor {cursor} is not among the results")))
}

pub(super) fn get(node: &Node, params: &Params) -> Result<Value, RpcError> {
    let digest = params.digest(0)?;
    let show = params.optional(1, "options")?.unwrap_or_default();
    node.read(|ledger| look_up(ledger, &digest, show))
}

pub(super) fn multi_get(node: &Node, params: &Params) -> Result<Value, RpcError> {
    let texts: Vec<String> = params.required(0, "digests")?;
    if texts.len() > PAGE_LIMIT {
        return Err(RpcError::params(format!(
            "{} digests, at most {PAGE_LIMIT}",
            texts.len()
        )));
    }
    let show = params.optional(1, "options")?.unwrap_or_default();
    let mut digests = Vec::with_capacity(texts.len());
    for text in &texts {
        let digest = params::digest(text)?;
        if digests.contains(&digest) {
            return Err(RpcError::params(format!(
                "the digest {digest} is asked for twice"
            )));
        }
        digests.push(digest);
    }
    node.read(|ledger| {
        digests
            .iter()
            .map(|digest| look_up(ledger, digest, show))
            .collect()
    })
}

pub(super) fn is_indexed(node: &Node, params: &Params) -> Result<Value, RpcError> {
    let digest = params.digest(0)?;
    Ok(node.read(|ledger| ledger.entry(&digest).is_some()).into())
}

fn look_up(ledger: &Ledger, digest: &TransactionDigest, show: Show) -> Result<Value, RpcError> {
    let entry = ledger.entry(digest).ok_or_else(|| {
        RpcError::params(format!(
            "Could not find the referenced transaction {digest}"
        ))
    })?;
    Ok(render::response(ledger, entry, show))
}

/// Runs a transaction without signatures and without a trace.
pub(super) fn dry_run(node: &Node, params: &Params) -> Result<Value, RpcError> {
    let bytes = params.base64(0, "tx_bytes")?;
    let transaction = admission::decode(&bytes).map_err(NodeError::from)?;
    let execution = node
        .read(|ledger| ledger.simulate(&transaction))
        .map_err(NodeError::from)?;
    let (body, _) = admission::parts(&transaction).map_err(NodeError::from)?;
    Ok(json!({
        "effects": render::effects(&execution),
        "events": [],
        "objectChanges": render::object_changes(&execution, &body.sender),
        "balanceChanges": render::balance_changes(&execution),
        "input": input::data(&transaction),
    }))
}

/// Executes a transaction: bytes, signatures, options, request type. The answer carries no
/// checkpoint; that comes later.
pub(super) fn execute(node: &Node, params: &Params) -> Result<Value, RpcError> {
    let bytes = params.base64(0, "tx_bytes")?;
    let transaction = admission::decode(&bytes).map_err(NodeError::from)?;
    let texts: Vec<String> = params.required(1, "signatures")?;
    let signatures = texts
        .iter()
        .map(|text| {
            UserSignature::from_base64(text)
                .map_err(|error| RpcError::params(format!("a signature cannot be read: {error}")))
        })
        .collect::<Result<Vec<_>, _>>()?;
    let show: Show = params.optional(2, "options")?.unwrap_or_default();
    let local = params.optional::<String>(3, "request_type")?;

    let digest = node.execute(SignedTransaction {
        transaction,
        signatures,
    })?;
    let mut answer = node.read(|ledger| look_up(ledger, &digest, show))?;
    if let Some(fields) = answer.as_object_mut() {
        fields.remove("checkpoint");
        fields.remove("timestampMs");
        if local.as_deref() == Some("WaitForLocalExecution") {
            fields.insert("confirmedLocalExecution".to_owned(), true.into());
        }
    }
    Ok(answer)
}

/// The raw form of a transaction, as nodes show it.
pub(super) fn raw(signed: &SignedTransaction) -> String {
    STANDARD.encode(admission::sender_signed_bytes(signed))
}
