//! What Prometheus scrapes: HTTP on an address of the operator's choice, `GET /metrics`.
//!
//! Nothing is counted twice: every scrape reads the gate's own counters, the access table and
//! the follower's status, and writes them in the text format.

mod exposition;
mod visits;

use crate::heads::Heads;
use crate::ledger::FollowStatus;
use crate::writer::Contact;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use exposition::Snapshot;
use std::net::SocketAddr;
use std::sync::Arc;
use tanglegate_broker::{AccessView, Clock, StatisticsReader};
use tanglegate_core::Timestamp;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use visits::Visits;

/// What the numbers are read from.
#[derive(Clone)]
pub struct Sources {
    /// The gate's counters.
    pub statistics: StatisticsReader,
    /// The access table.
    pub view: AccessView,
    /// Whether the database answers.
    pub database: Contact,
    /// How the ledger is followed; `None` when none is.
    pub ledger: Option<watch::Receiver<FollowStatus>>,
    /// The newest tree head; `None` when this engine signs none.
    pub heads: Option<Heads>,
    /// When the engine was started.
    pub started_at: Timestamp,
}

impl Sources {
    /// Sources of an engine that starts now.
    #[must_use]
    pub fn new(
        statistics: StatisticsReader,
        view: AccessView,
        database: Contact,
        ledger: Option<watch::Receiver<FollowStatus>>,
        heads: Option<Heads>,
        clock: &Clock,
    ) -> Self {
        Self {
            statistics,
            view,
            database,
            ledger,
            heads,
            started_at: clock.now(),
        }
    }

    fn read(&self) -> Snapshot {
        Snapshot {
            statistics: self.statistics.read(),
            listeners: self.statistics.listeners(),
            position: self.view.as_of().map_or(0, |it| it.0),
            stale: self.view.is_stale(),
            database_up: self.database.is_up(),
            ledger: self.ledger.as_ref().map(|it| it.borrow().clone()),
            started_at: self.started_at,
        }
    }
}

/// An open door for Prometheus. Dropping it closes it.
pub struct MetricsServer {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl MetricsServer {
    /// Opens the door at `address`; port 0 is any free one.
    ///
    /// # Errors
    /// When the address cannot be listened on.
    pub async fn open(address: SocketAddr, sources: Sources) -> std::io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let router = Router::new()
            .route("/metrics", get(metrics))
            .route("/log/head", get(head))
            .route("/log/key", get(key))
            .with_state(Arc::new(sources));
        let serving = axum::serve(Visits::new(listener), router);
        let task = tokio::spawn(async move {
            if let Err(error) = serving.await {
                tracing::error!(%error, "the door for metrics failed");
            }
        });
        Ok(Self { address, task })
    }

    /// Where it listens.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for MetricsServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The newest tree head, as the signed note that it is.
async fn head(State(sources): State<Arc<Sources>>) -> Response {
    match sources.heads.as_ref().and_then(Heads::latest) {
        Some(note) => note.into_response(),
        None => (StatusCode::NOT_FOUND, "no tree head is signed here yet\n").into_response(),
    }
}

/// The key that verifies it.
async fn key(State(sources): State<Arc<Sources>>) -> Response {
    match &sources.heads {
        Some(heads) => format!("{}\n", heads.key()).into_response(),
        None => (StatusCode::NOT_FOUND, "no tree heads are signed here\n").into_response(),
    }
}

async fn metrics(State(sources): State<Arc<Sources>>) -> Response {
    // Where it keeps nobody waiting: it looks at every session.
    let read = tokio::task::spawn_blocking(move || sources.read().to_text());
    match read.await.unwrap_or(Err(std::fmt::Error)) {
        Ok(text) => ([(header::CONTENT_TYPE, exposition::CONTENT_TYPE)], text).into_response(),
        Err(error) => {
            let why = format!("the metrics cannot be written: {error}");
            (StatusCode::INTERNAL_SERVER_ERROR, why).into_response()
        }
    }
}
