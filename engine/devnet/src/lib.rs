//! A small development ledger that speaks the wire formats of IOTA Rebased.
//!
//! It is one process that plays a whole network: real BCS transactions, digests, signatures,
//! versioned coins, gas and checkpoints behind IOTA's JSON-RPC interface, with a faucet. It is
//! meant for development, tests and demonstrations; the money is play money. There is no
//! consensus, no Move virtual machine and one epoch, and everything is kept in memory, with a
//! journal on disk where a state file is named.
//!
//! What is deliberately different from a real node: a checkpoint is made only when a transaction
//! waits for one, so that an idle ledger does not grow.

mod admission;
mod checkpoint;
mod coin;
mod execute;
#[cfg(test)]
mod execution_tests;
mod faucet;
mod faults;
mod gas;
mod journal;
mod ledger;
mod node;
mod program;
mod rpc;
mod server;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use iota_sdk_types::{Address, TransactionDigest};
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, spawn_blocking};

pub use admission::Refusal;
pub use checkpoint::SUPPLY;
pub use coin::COIN_TYPE;
pub use faults::{Answer, Faults, Misbehaviour, RawInput};
pub use gas::{COIN_DEPOSIT, REFERENCE_GAS_PRICE};
pub use journal::JournalError;
pub use ledger::Totals;
pub use node::NodeError;

use checkpoint::Genesis;
use node::Node;
use server::{Server, now_ms};

/// How a development ledger runs.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where it listens; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The state file, or `None` for a ledger that is forgotten at the end.
    pub state: Option<PathBuf>,
    /// How long executed transactions wait for their checkpoint.
    pub checkpoint_interval: Duration,
    /// What the faucet gives per request, in NANOS.
    pub faucet_amount: u64,
}

impl Default for Settings {
    /// In memory, on a free port of this machine, four checkpoints per second, 10 IOTA a time.
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            state: None,
            checkpoint_interval: Duration::from_millis(250),
            faucet_amount: 10_000_000_000,
        }
    }
}

/// Why a development ledger did not start or could not do something.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The port cannot be opened.
    #[error("cannot listen on {address}: {source}; choose another address")]
    Listen {
        /// Where it should have listened.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The system gives no randomness for a new ledger.
    #[error("no randomness for a new ledger: {0}")]
    Random(getrandom::Error),
    /// The ledger refused, or its state file failed.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// A background thread died.
    #[error("the development ledger failed inside: {0}")]
    Inside(#[from] tokio::task::JoinError),
}

/// A running development ledger. Dropping it stops it; [`Devnet::shutdown`] stops it orderly.
#[derive(Debug)]
pub struct Devnet {
    node: Arc<Node>,
    server: Server,
    clock: JoinHandle<()>,
}

impl Devnet {
    /// Opens the ledger and serves it.
    ///
    /// # Errors
    /// Where the address is taken, the state file is in use, foreign or damaged, or the system
    /// gives no randomness.
    pub async fn start(settings: Settings) -> Result<Self, Error> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(Error::Random)?;
        let genesis = Genesis {
            seed,
            timestamp_ms: now_ms(),
        };
        let state = settings.state;
        let node = spawn_blocking(move || Node::open(state.as_deref(), genesis)).await??;
        let node = Arc::new(node);

        let failed = |source| Error::Listen {
            address: settings.listen,
            source,
        };
        let listener = TcpListener::bind(settings.listen).await.map_err(failed)?;
        let server =
            Server::start(Arc::clone(&node), listener, settings.faucet_amount).map_err(failed)?;
        let clock = tokio::spawn(run_clock(Arc::clone(&node), settings.checkpoint_interval));
        Ok(Self {
            node,
            server,
            clock,
        })
    }

    /// Where the JSON-RPC interface is, for example `http://127.0.0.1:9000`.
    pub fn url(&self) -> String {
        format!("http://{}", self.server.address())
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// The first four bytes of the genesis checkpoint's digest, in hex.
    pub fn chain_identifier(&self) -> String {
        self.node.read(|ledger| ledger.chain_identifier())
    }

    /// Sends `amount` NANOS from the faucet to `recipient`; executed and on disk, not yet in a
    /// checkpoint, when this returns.
    ///
    /// # Errors
    /// Where the faucet is empty or the state file fails.
    pub async fn faucet(
        &self,
        recipient: Address,
        amount: u64,
    ) -> Result<TransactionDigest, Error> {
        let node = Arc::clone(&self.node);
        Ok(spawn_blocking(move || node.grant(recipient, amount)).await??)
    }

    /// The number of the latest checkpoint; 0 is genesis.
    pub fn latest_checkpoint(&self) -> u64 {
        self.node
            .read(|ledger| ledger.latest_checkpoint().sequence())
    }

    /// Makes a checkpoint now, even while faults hold them back, and returns its number, or
    /// `None` where nothing waits.
    ///
    /// # Errors
    /// Where the state file fails.
    pub async fn checkpoint(&self) -> Result<Option<u64>, Error> {
        let node = Arc::clone(&self.node);
        Ok(spawn_blocking(move || node.checkpoint(now_ms())).await??)
    }

    /// What `address` holds, in NANOS.
    pub fn balance(&self, address: Address) -> u64 {
        self.node.read(|ledger| ledger.balance(&address))
    }

    /// Where all the NANOS are. Their sum is always [`SUPPLY`].
    pub fn totals(&self) -> Totals {
        self.node.read(|ledger| ledger.totals())
    }

    /// Changes how the node behaves from the next call on.
    pub fn faults(&self, change: impl FnOnce(&mut Faults)) {
        change(&mut self.node.faults());
    }

    /// How many JSON-RPC calls came in since the start, wrongly answered ones included.
    pub fn calls(&self) -> u64 {
        self.node.calls()
    }

    /// Stops serving, frees the port and lets go of the state file.
    pub async fn shutdown(mut self) {
        self.server.stop().await;
        self.clock.abort();
        let node = Arc::clone(&self.node);
        // A failure means that the runtime is going down, and the file with it.
        let _ = spawn_blocking(move || node.close()).await;
    }
}

impl Drop for Devnet {
    fn drop(&mut self) {
        self.clock.abort();
        self.node.close();
    }
}

/// Makes a checkpoint per interval, unless a fault holds them back.
async fn run_clock(node: Arc<Node>, interval: Duration) {
    let mut ticks = tokio::time::interval(interval.max(Duration::from_millis(1)));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if node.faults().hold_checkpoints {
            continue;
        }
        let node = Arc::clone(&node);
        match spawn_blocking(move || node.checkpoint(now_ms())).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::error!(%error, "no checkpoint could be made"),
            Err(_) => return,
        }
    }
}
