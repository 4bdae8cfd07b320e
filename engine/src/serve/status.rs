//! How the engine is, for `tanglegate status`.

use super::following::Following;
use crate::control::Status;
use crate::ledger::FollowStatus;
use serde_json::{Map, Value, json};
use std::net::SocketAddr;
use std::sync::Arc;
use tanglegate_broker::{AccessView, Gate};
use tanglegate_crypto::Identity;

/// Where the engine listens.
pub(super) struct Addresses {
    /// In the order of the configuration.
    pub(super) mqtt: Vec<SocketAddr>,
    pub(super) metrics: Option<SocketAddr>,
}

/// A report that is made whenever somebody asks.
pub(super) fn source(
    node: &str,
    identity: Identity,
    addresses: Addresses,
    gate: &Gate,
    view: AccessView,
    following: Option<&Following>,
) -> Status {
    let node = node.to_owned();
    let statistics = gate.statistics_reader();
    let ledger = following.map(|it| it.status.clone());
    Arc::new(move || {
        let counters = statistics.read().entries().into_iter();
        let gate: Map<String, Value> = counters
            .map(|(name, count)| (name.to_owned(), count.into()))
            .collect();
        json!({
            "node": node,
            "identity": identity.to_string(),
            "mqtt": addresses.mqtt.first().map(ToString::to_string),
            "listeners": addresses.mqtt.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "metrics": addresses.metrics.map(|it| it.to_string()),
            "position": view.as_of().map(|it| it.0),
            "ledger": ledger.as_ref().map(|it| describe(&it.borrow())),
            "gate": gate,
        })
    })
}

fn describe(status: &FollowStatus) -> Value {
    json!({
        "state": format!("{:?}", status.state).to_lowercase(),
        "chain": status.chain.as_ref().map(ToString::to_string),
        "watermark": status.watermark,
        "node_checkpoint": status.node_checkpoint,
        "lag": status.lag(),
        "recorded": status.recorded,
        "failures": status.failures,
        "last_error": status.last_error,
    })
}
