//! A JSON-RPC 2.0 client for one IOTA node.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{Client, StatusCode, Url, redirect};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tanglegate_core::Timestamp;

/// What an answer of a node may cost.
#[derive(Clone, Copy, Debug)]
pub struct NodeLimits {
    /// How long a connection may take to be made.
    pub connect: Duration,
    /// How long a whole call may take.
    pub call: Duration,
    /// The largest answer, in bytes.
    pub answer_bytes: usize,
}

impl Default for NodeLimits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            call: Duration::from_secs(20),
            answer_bytes: 16 * 1024 * 1024,
        }
    }
}

/// Why a node gave no usable answer. No variant shows the node's address beyond its host,
/// because provider keys stand in paths.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NodeError {
    /// The address of the node cannot be used.
    #[error("{0:?} is not the address of a node: use for example https://api.testnet.iota.cafe")]
    Address(String),
    /// The HTTP client cannot be made.
    #[error("no HTTP client: {0}")]
    Client(String),
    /// The node asks for fewer calls.
    #[error(
        "the node {host} limits the rate of calls (HTTP 429); use another provider if it lasts"
    )]
    RateLimited {
        /// Which node.
        host: String,
        /// How long it asks to be left alone.
        retry_after: Option<Duration>,
    },
    /// No connection, no answer in time, or a connection that broke.
    #[error("the node {host} cannot be reached: {reason}")]
    Unreachable {
        /// Which node.
        host: String,
        /// What happened.
        reason: String,
    },
    /// An HTTP status other than success.
    #[error("the node {host} answered HTTP {status} to {method}; is the address right?")]
    Status {
        /// Which node.
        host: String,
        /// What was called.
        method: String,
        /// The status code.
        status: u16,
    },
    /// An answer that makes no sense.
    #[error("the node {host} answered nonsense to {method}: {what}")]
    Nonsense {
        /// Which node.
        host: String,
        /// What was called.
        method: String,
        /// What is wrong with the answer.
        what: String,
    },
    /// An answer beyond the limit.
    #[error("the node {host} answered more than {limit} bytes to {method}")]
    TooLarge {
        /// Which node.
        host: String,
        /// What was called.
        method: String,
        /// The limit in bytes.
        limit: usize,
    },
    /// The node understood and refused.
    #[error("the node {host} refused {method}: {message} (code {code})")]
    Rpc {
        /// Which node.
        host: String,
        /// What was called.
        method: String,
        /// The JSON-RPC error code.
        code: i64,
        /// The node's words, shortened.
        message: String,
    },
    /// The node stands on another chain than before.
    #[error(
        "the node {host} stands on chain {found}, the log belongs to chain {expected}: \
         set the node's address back, or begin with an empty database"
    )]
    WrongChain {
        /// Which node.
        host: String,
        /// The chain that was followed so far.
        expected: String,
        /// What the node says now.
        found: String,
    },
}

impl NodeError {
    /// Whether the very same call may succeed later.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::RateLimited { .. } | Self::Unreachable { .. } | Self::Nonsense { .. } => true,
            Self::Status { status, .. } => *status >= 500 || *status == 408,
            Self::Rpc { code, .. } => TRANSIENT_CODES.contains(code),
            _ => false,
        }
    }
}

/// Error codes of nodes that lost touch with their peers, or failed inside.
const TRANSIENT_CODES: [i64; 2] = [-32050, -32603];

/// A client for one node. Cloning it shares its connections.
#[derive(Clone)]
pub struct Node {
    http: Client,
    url: Url,
    host: Arc<str>,
    limits: NodeLimits,
    next_id: Arc<AtomicU64>,
}

/// Shows the host alone: provider keys stand in paths.
impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node")
            .field("host", &self.host)
            .finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
struct Envelope<T> {
    result: Option<T>,
    error: Option<RpcFault>,
}

#[derive(Deserialize)]
struct RpcFault {
    code: i64,
    message: String,
}

impl Node {
    /// A client for the node at `url`. Nothing is sent yet.
    ///
    /// # Errors
    /// Where `url` is no HTTP address, or the system has no usable TLS set-up.
    pub fn new(url: &str, limits: NodeLimits) -> Result<Self, NodeError> {
        let parsed = Url::parse(url).map_err(|_| NodeError::Address(shorten(url, 40)))?;
        let host = match (parsed.scheme(), parsed.host_str()) {
            ("http" | "https", Some(host)) => host.to_owned(),
            _ => return Err(NodeError::Address(shorten(url, 40))),
        };
        // An error means that a provider was installed before, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = Client::builder()
            .connect_timeout(limits.connect)
            .timeout(limits.call)
            .redirect(redirect::Policy::none());
        if is_this_machine(&host) {
            builder = builder.no_proxy();
        }
        let http = builder
            .build()
            .map_err(|error| NodeError::Client(error.to_string()))?;
        let host = match parsed.port() {
            Some(port) => format!("{host}:{port}"),
            None => host,
        };
        let next_id = Arc::new(AtomicU64::new(1));
        Ok(Self {
            http,
            url: parsed,
            host: host.into(),
            limits,
            next_id,
        })
    }

    /// Host and port, for messages.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Calls `method` with positional `params` and reads the result as `T`.
    ///
    /// # Errors
    /// See [`NodeError`].
    pub async fn call<T: DeserializeOwned>(
        &self,
        method: &str,
        params: Value,
    ) -> Result<T, NodeError> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let call = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
        let body = self.post(method, call.to_string()).await?;
        let envelope: Envelope<T> =
            serde_json::from_slice(&body).map_err(|error| self.nonsense(method, error))?;
        if let Some(fault) = envelope.error {
            return Err(NodeError::Rpc {
                host: self.host.to_string(),
                method: method.to_owned(),
                code: fault.code,
                message: shorten(&fault.message, 300),
            });
        }
        envelope
            .result
            .ok_or_else(|| self.nonsense(method, "neither a result nor an error"))
    }

    /// The first four bytes of the genesis checkpoint's digest, in hex.
    ///
    /// # Errors
    /// See [`NodeError`].
    pub async fn chain_identifier(&self) -> Result<String, NodeError> {
        let method = "iota_getChainIdentifier";
        let chain: String = self.call(method, json!([])).await?;
        let is_identifier = (1..=64).contains(&chain.len())
            && chain.bytes().all(|byte| byte.is_ascii_alphanumeric());
        match is_identifier {
            true => Ok(chain),
            false => Err(self.nonsense(method, format!("{:?} as chain", shorten(&chain, 40)))),
        }
    }

    /// The number of the latest checkpoint that the node has executed.
    ///
    /// # Errors
    /// See [`NodeError`].
    pub async fn latest_checkpoint(&self) -> Result<u64, NodeError> {
        let method = "iota_getLatestCheckpointSequenceNumber";
        let number: String = self.call(method, json!([])).await?;
        number
            .parse()
            .map_err(|_| self.nonsense(method, format!("{:?} as number", shorten(&number, 40))))
    }

    /// When a checkpoint was made, by the ledger's clock.
    ///
    /// # Errors
    /// See [`NodeError`]; also when the node has forgotten the checkpoint.
    pub async fn checkpoint_time(&self, number: u64) -> Result<Timestamp, NodeError> {
        #[derive(serde::Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Checkpoint {
            timestamp_ms: String,
        }
        let method = "iota_getCheckpoint";
        let found: Checkpoint = self.call(method, json!([number.to_string()])).await?;
        let millis = found.timestamp_ms.parse().map(Timestamp);
        millis.map_err(|_| {
            let text = shorten(&found.timestamp_ms, 40);
            self.nonsense(method, format!("{text:?} as milliseconds"))
        })
    }

    /// An error about an answer of this node to `method`.
    pub(crate) fn nonsense(&self, method: &str, what: impl ToString) -> NodeError {
        NodeError::Nonsense {
            host: self.host.to_string(),
            method: method.to_owned(),
            what: shorten(&what.to_string(), 300),
        }
    }

    async fn post(&self, method: &str, body: String) -> Result<Vec<u8>, NodeError> {
        let unreachable = |error: reqwest::Error| NodeError::Unreachable {
            host: self.host.to_string(),
            reason: reason(&error.without_url()),
        };
        let request = self
            .http
            .post(self.url.clone())
            .header(reqwest::header::CONTENT_TYPE, "application/json")
            .body(body);
        let mut response = request.send().await.map_err(unreachable)?;
        self.check_status(method, response.status(), response.headers())?;
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
            if bytes.len() + chunk.len() > self.limits.answer_bytes {
                return Err(NodeError::TooLarge {
                    host: self.host.to_string(),
                    method: method.to_owned(),
                    limit: self.limits.answer_bytes,
                });
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }

    fn check_status(
        &self,
        method: &str,
        status: StatusCode,
        headers: &HeaderMap,
    ) -> Result<(), NodeError> {
        if status.is_success() {
            return Ok(());
        }
        let host = self.host.to_string();
        let seconds = headers
            .get(RETRY_AFTER)
            .and_then(|value| value.to_str().ok()?.parse().ok());
        let retry_after = seconds.map(Duration::from_secs);
        let asks_for_rest = status == StatusCode::TOO_MANY_REQUESTS
            || status == StatusCode::SERVICE_UNAVAILABLE && retry_after.is_some();
        Err(match asks_for_rest {
            true => NodeError::RateLimited { host, retry_after },
            false => NodeError::Status {
                host,
                method: method.to_owned(),
                status: status.as_u16(),
            },
        })
    }
}

/// Calls to this very machine must not go through a proxy.
fn is_this_machine(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare == "localhost"
        || bare
            .parse::<std::net::IpAddr>()
            .is_ok_and(|ip| ip.is_loopback())
}

/// The innermost cause, which says more than reqwest's own words.
fn reason(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "no answer in time".to_owned();
    }
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    shorten(&cause.to_string(), 200)
}

/// At most `most` characters: what strangers send does not fill our log.
fn shorten(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}
