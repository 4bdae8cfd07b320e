//! The HTTP side: JSON-RPC, the faucet and a health page on one port.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use iota_sdk_types::{Address, TransactionDigest};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{JoinHandle, spawn_blocking};

use crate::faults::Answer;
use crate::node::Node;
use crate::rpc;

/// The largest request body in bytes: the largest transaction in base64, and room to spare.
const MAX_BODY_BYTES: usize = 256 * 1024;

/// How long connections may finish after the server was told to stop.
const GRACE: Duration = Duration::from_secs(1);

#[derive(Clone)]
struct Shared {
    node: Arc<Node>,
    faucet_amount: u64,
    stopping: watch::Receiver<bool>,
}

/// The running server. Dropping it stops it without waiting.
#[derive(Debug)]
pub(crate) struct Server {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    serving: Option<JoinHandle<()>>,
}

impl Server {
    /// Serves `node` on `listener` until stopped.
    pub(crate) fn start(
        node: Arc<Node>,
        listener: TcpListener,
        faucet_amount: u64,
    ) -> std::io::Result<Self> {
        let address = listener.local_addr()?;
        let (stop, stopping) = watch::channel(false);
        let router = router(Shared {
            node,
            faucet_amount,
            stopping: stopping.clone(),
        });
        let serving = tokio::spawn(async move {
            let until = stopped(stopping);
            if let Err(error) = axum::serve(listener, router)
                .with_graceful_shutdown(until)
                .await
            {
                tracing::error!(%error, "the development ledger stopped serving");
            }
        });
        Ok(Self {
            address,
            stop,
            serving: Some(serving),
        })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops accepting, lets running answers finish for a moment, and frees the port.
    pub(crate) async fn stop(&mut self) {
        self.stop.send_replace(true);
        if let Some(mut serving) = self.serving.take()
            && tokio::time::timeout(GRACE, &mut serving).await.is_err()
        {
            serving.abort();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        if let Some(serving) = self.serving.take() {
            serving.abort();
        }
    }
}

async fn stopped(mut stopping: watch::Receiver<bool>) {
    // An error means that the sender is gone, which is a stop as well.
    let _ = stopping.wait_for(|stop| *stop).await;
}

fn router(shared: Shared) -> Router {
    Router::new()
        .route("/", get(health).post(json_rpc))
        .route("/gas", post(faucet))
        .route("/v1/gas", post(faucet_task))
        .route("/v1/status/{task}", get(faucet_status))
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .with_state(shared)
}

async fn health(State(shared): State<Shared>) -> Response {
    let (chain, checkpoint) = shared.node.read(|ledger| {
        (
            ledger.chain_identifier(),
            ledger.latest_checkpoint().sequence(),
        )
    });
    as_json(&json!({"status": "ok", "chain": chain, "checkpoint": checkpoint.to_string()}))
}

async fn json_rpc(State(shared): State<Shared>, body: Bytes) -> Response {
    let call = match rpc::parse(&body) {
        Ok(call) => call,
        Err((id, error)) => return as_json(&rpc::envelope(&id, Err(error))),
    };
    shared.node.count_call();
    let fault = shared.node.faults().take(&call.method);
    match fault {
        Some(Answer::RateLimited { retry_after }) => return rate_limited(retry_after),
        Some(Answer::Hang) => {
            stopped(shared.stopping).await;
            return StatusCode::SERVICE_UNAVAILABLE.into_response();
        }
        Some(Answer::ServerError) => return page(StatusCode::INTERNAL_SERVER_ERROR),
        Some(Answer::NotJson) => return page(StatusCode::OK),
        Some(Answer::Truncated | Answer::Lost) | None => {}
    }
    let node = shared.node;
    // The answer may wait for the disk and renders up to fifty transactions.
    let Ok(answer) = spawn_blocking(move || rpc::answer(&node, &call).to_string()).await else {
        return page(StatusCode::INTERNAL_SERVER_ERROR);
    };
    match fault {
        Some(Answer::Lost) => page(StatusCode::BAD_GATEWAY),
        Some(Answer::Truncated) => text_json(answer.chars().take(answer.len() / 2).collect()),
        _ => text_json(answer),
    }
}

fn rate_limited(retry_after: Option<Duration>) -> Response {
    let mut response = page(StatusCode::TOO_MANY_REQUESTS);
    if let Some(wait) = retry_after {
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, HeaderValue::from(wait.as_secs()));
    }
    response
}

fn page(status: StatusCode) -> Response {
    (status, "<html><body>this is not the answer</body></html>").into_response()
}

fn as_json(value: &Value) -> Response {
    text_json(value.to_string())
}

fn text_json(text: String) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], text).into_response()
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct FaucetRequest {
    fixed_amount_request: FixedAmount,
}

#[derive(Deserialize)]
struct FixedAmount {
    recipient: String,
}

/// Version 0 of the faucet's interface: the answer names the coins.
async fn faucet(State(shared): State<Shared>, body: Bytes) -> Response {
    match grant(&shared, &body).await {
        Ok(digest) => {
            let sent = granted(&shared.node, &digest).unwrap_or_default();
            as_json(&json!({"transferredGasObjects": sent, "error": null}))
        }
        Err(error) => faucet_error(&json!({"transferredGasObjects": [], "error": error})),
    }
}

/// Version 1: the answer names a task, which here is the digest of the transaction.
async fn faucet_task(State(shared): State<Shared>, body: Bytes) -> Response {
    match grant(&shared, &body).await {
        Ok(digest) => as_json(&json!({"task": digest.to_string(), "error": null})),
        Err(error) => faucet_error(&json!({"task": null, "error": error})),
    }
}

async fn faucet_status(State(shared): State<Shared>, Path(task): Path<String>) -> Response {
    let digest = TransactionDigest::from_base58(&task).ok();
    match digest.and_then(|digest| granted(&shared.node, &digest)) {
        Some(sent) => {
            let status = json!({"status": "SUCCEEDED", "transferred_gas_objects": {"sent": sent}});
            as_json(&json!({"status": status, "error": null}))
        }
        None => {
            let error = format!("there is no faucet task {task:?}");
            faucet_error(&json!({"status": null, "error": error}))
        }
    }
}

fn faucet_error(body: &Value) -> Response {
    (StatusCode::BAD_REQUEST, as_json(body)).into_response()
}

async fn grant(shared: &Shared, body: &[u8]) -> Result<TransactionDigest, String> {
    let request: FaucetRequest = serde_json::from_slice(body).map_err(|error| {
        format!("expected {{\"FixedAmountRequest\":{{\"recipient\":\"0x…\"}}}}: {error}")
    })?;
    let text = request.fixed_amount_request.recipient;
    let recipient = Address::from_short_hex(&text)
        .map_err(|error| format!("the recipient {text:?} is no address: {error}"))?;
    let (node, amount) = (Arc::clone(&shared.node), shared.faucet_amount);
    let granted = spawn_blocking(move || node.grant(recipient, amount)).await;
    granted
        .map_err(|error| error.to_string())?
        .map_err(|error| error.to_string())
}

/// The coins that a faucet transaction created.
fn granted(node: &Node, digest: &TransactionDigest) -> Option<Vec<Value>> {
    node.read(|ledger| {
        let entry = ledger.entry(digest)?;
        let created = entry
            .execution
            .changes
            .values()
            .filter(|change| change.before.is_none());
        let coins = created
            .filter_map(|change| change.after.as_ref())
            .map(|coin| {
                json!({
                    "amount": coin.balance,
                    "id": coin.id.to_string(),
                    "transferTxDigest": digest.to_string(),
                })
            });
        Some(coins.collect())
    })
}

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
