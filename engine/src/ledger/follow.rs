//! The loop that follows a seller's address.
//!
//! Nothing is believed about a node's order, so that every poll that finds a change walks from
//! the newest transaction down past the watermark (see [`super::scan`]). The watermark moves only
//! when the caller has recorded what was handed over, and only over walks that were complete.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};
use tanglegate_core::{Address, ChainId, Confirmation, PaymentId};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tracing::{debug, info, warn};

use super::backoff::Backoff;
use super::node::{Node, NodeError};
use super::payments::{self, Entry, Opaque};
use super::scan::{Finding, Scan};
use super::wire::{Block, Look, Page};

const QUERY: &str = "iotax_queryTransactionBlocks";
const GET: &str = "iota_getTransactionBlock";

/// What is followed, from where, and how eagerly.
#[derive(Clone, Debug)]
pub struct FollowSettings {
    /// Whose payments.
    pub seller: Address,
    /// The chain that the log belongs to; `None` takes the first that the node names.
    pub chain: Option<ChainId>,
    /// The checkpoint from which on payments may be missing in the log.
    pub from: u64,
    /// The pause between polls that find nothing.
    pub poll: Duration,
    /// So many checkpoints below the watermark are looked at again, because nodes behind one
    /// address may lag behind each other. What was handed over already is not repeated, except
    /// after a restart.
    pub overlap: u64,
    /// The pauses after failures.
    pub backoff: Backoff,
    /// A walk is made at least this often, even when the newest transaction is an old one.
    pub full_walk_every: Duration,
    /// How often the chain identifier is compared when there are no payments; with payments it
    /// is compared before each hand-over.
    pub chain_check_every: Duration,
}

impl FollowSettings {
    /// Settings for `seller` from checkpoint `from`, for a public node.
    pub fn new(seller: Address, from: u64) -> Self {
        Self {
            seller,
            chain: None,
            from,
            poll: Duration::from_secs(1),
            overlap: 64,
            backoff: Backoff::default(),
            full_walk_every: Duration::from_secs(60),
            chain_check_every: Duration::from_secs(60),
        }
    }
}

/// Why following has ended. Everything else is waited out.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum FollowError {
    /// The node stands on another chain: nothing that it says may reach the log.
    #[error(transparent)]
    WrongChain(NodeError),
}

/// What the follower is doing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FollowState {
    /// The node has not answered yet.
    Starting,
    /// The node answers.
    Following,
    /// The node failed; it is asked again after a pause.
    Waiting,
    /// Following has ended for good, see [`FollowStatus::last_error`].
    Stopped,
}

/// How following goes, for people.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FollowStatus {
    /// What the follower is doing.
    pub state: FollowState,
    /// The chain, once known.
    pub chain: Option<ChainId>,
    /// Every payment in a checkpoint below this is recorded.
    pub watermark: u64,
    /// The node's latest checkpoint, as last heard.
    pub node_checkpoint: Option<u64>,
    /// Payments handed over and recorded since the start.
    pub recorded: u64,
    /// Failures in a row.
    pub failures: u32,
    /// The last failure, kept until the node answers again.
    pub last_error: Option<String>,
}

impl FollowStatus {
    /// Checkpoints between the node's latest and the watermark.
    pub fn lag(&self) -> Option<u64> {
        self.node_checkpoint
            .map(|latest| (latest + 1).saturating_sub(self.watermark))
    }
}

/// Follows the payments to one seller through one node.
#[derive(Debug)]
pub struct Follower {
    node: Node,
    settings: FollowSettings,
    chain: Option<ChainId>,
    chain_checked: Option<Instant>,
    /// Payments at or above the floor that are recorded.
    recent: BTreeSet<(u64, PaymentId)>,
    watermark: u64,
    scan: Option<Scan>,
    /// Handed over, not yet recorded.
    handed_over: Option<HandOver>,
    /// The newest transaction when everything was settled, and when that was.
    settled: Option<(String, Instant)>,
    wake_at: Option<Instant>,
    stopped: Option<FollowError>,
    status: watch::Sender<FollowStatus>,
}

#[derive(Debug)]
struct HandOver {
    payments: Vec<Confirmation>,
    scanned_to: u64,
}

impl Follower {
    /// A follower that has not asked anything yet.
    pub fn new(node: Node, settings: FollowSettings) -> Self {
        let status = FollowStatus {
            state: FollowState::Starting,
            chain: settings.chain.clone(),
            watermark: settings.from,
            node_checkpoint: None,
            recorded: 0,
            failures: 0,
            last_error: None,
        };
        Self {
            node,
            chain: settings.chain.clone(),
            watermark: settings.from,
            settings,
            chain_checked: None,
            recent: BTreeSet::new(),
            scan: None,
            handed_over: None,
            settled: None,
            wake_at: None,
            stopped: None,
            status: watch::Sender::new(status),
        }
    }

    /// How following goes, from now on.
    pub fn status(&self) -> watch::Receiver<FollowStatus> {
        self.status.subscribe()
    }

    /// The chain that is followed, once known. It is known when [`Self::next`] has returned.
    pub fn chain(&self) -> Option<&ChainId> {
        self.chain.as_ref()
    }

    /// Waits for payments and hands them over, oldest first; never an empty list.
    ///
    /// Until [`Self::recorded`] is called the same payments are handed over again. After a
    /// restart payments may come that were recorded before: recording must look the payment's
    /// identity up. Dropping the future loses nothing.
    ///
    /// # Errors
    /// Where the node stands on another chain. The follower is of no use then.
    pub async fn next(&mut self) -> Result<Vec<Confirmation>, FollowError> {
        loop {
            if let Some(handed_over) = &self.handed_over {
                return Ok(handed_over.payments.clone());
            }
            if let Some(error) = &self.stopped {
                return Err(error.clone());
            }
            if let Some(instant) = self.wake_at {
                sleep_until(instant).await;
                self.wake_at = None;
            }
            match self.step().await {
                Ok(Step::Again) => {}
                Ok(Step::More) => self.note_success(),
                Ok(Step::Quiet) => {
                    self.note_success();
                    self.wake_at = Some(Instant::now() + self.settings.poll);
                }
                Err(error @ NodeError::WrongChain { .. }) => self.stop(error),
                Err(error) => self.note_failure(&error),
            }
        }
    }

    /// Up to and including this checkpoint every payment is recorded once the payments that
    /// [`Self::next`] returned are; the log's own mark may move there with them. It may lie
    /// below the newest of them, which became final while we looked.
    pub fn scanned_to(&self) -> Option<u64> {
        self.handed_over.as_ref().map(|it| it.scanned_to)
    }

    /// The payments that [`Self::next`] returned are committed: the watermark moves.
    pub fn recorded(&mut self) {
        let Some(HandOver {
            payments,
            scanned_to,
        }) = self.handed_over.take()
        else {
            return;
        };
        let count = u64::try_from(payments.len()).unwrap_or(u64::MAX);
        self.recent
            .extend(payments.iter().map(|p| (p.checkpoint, p.payment)));
        self.status.send_modify(|status| status.recorded += count);
        self.advance(scanned_to);
    }

    fn advance(&mut self, scanned_to: u64) {
        self.watermark = self.watermark.max(scanned_to.saturating_add(1));
        let floor = self.floor();
        self.recent.retain(|(checkpoint, _)| *checkpoint >= floor);
        let watermark = self.watermark;
        self.status
            .send_modify(|status| status.watermark = watermark);
    }

    fn floor(&self) -> u64 {
        self.watermark.saturating_sub(self.settings.overlap)
    }

    /// One call or two: the chain, the newest transaction, or one page.
    async fn step(&mut self) -> Result<Step, NodeError> {
        if self.chain_check_is_due() {
            self.check_chain().await?;
        }
        let Some(scan) = &self.scan else {
            return self.begin().await;
        };
        let params = self.query(scan.cursor(), scan.page_size(), &shown());
        match self.node.call::<Page>(QUERY, params).await {
            Ok(page) => self.take_page(page).await,
            Err(error) => self.page_failed(error),
        }
    }

    /// Begins a walk, unless the newest transaction is the one at which all was settled.
    async fn begin(&mut self) -> Result<Step, NodeError> {
        if let Some((settled_at, when)) = &self.settled
            && when.elapsed() < self.settings.full_walk_every
        {
            let probe: Page = self
                .node
                .call(QUERY, self.query(None, 1, &json!({})))
                .await?;
            let newest = probe.data.first().map(|block| block.digest.as_str());
            if newest.unwrap_or_default() == settled_at {
                return Ok(Step::Quiet);
            }
        }
        let latest = self.node.latest_checkpoint().await?;
        self.status
            .send_modify(|status| status.node_checkpoint = Some(latest));
        if latest.saturating_add(self.settings.overlap) < self.watermark.saturating_sub(1) {
            let what = format!(
                "it is at checkpoint {latest}, but payments are recorded up to {}: it lags behind",
                self.watermark - 1
            );
            return Err(self
                .node
                .nonsense("iota_getLatestCheckpointSequenceNumber", what));
        }
        self.scan = Some(Scan::new(latest, self.floor()));
        Ok(Step::Again)
    }

    async fn take_page(&mut self, page: Page) -> Result<Step, NodeError> {
        let mut scan = self.scan.take().expect("a page belongs to a walk");
        for block in &page.data {
            scan.note(&block.digest);
            self.take_block(&mut scan, block).await?;
        }
        scan.page_ends(page.next_cursor, page.has_next_page)
            .map_err(|what| self.node.nonsense(QUERY, what))?;
        match scan.is_done() {
            true => self.finish(scan.finish()).await,
            false => {
                self.scan = Some(scan);
                Ok(Step::More)
            }
        }
    }

    async fn take_block(&self, scan: &mut Scan, block: &Block) -> Result<(), NodeError> {
        let entry = payments::read(block, self.settings.seller)
            .map_err(|what| self.node.nonsense(QUERY, what))?;
        match entry {
            Entry::Pending => scan.pending(),
            Entry::Other { checkpoint } => scan.other(checkpoint),
            Entry::Payment(payment) => self.take_payment(scan, payment),
            Entry::Opaque(opaque) => match self.ask_sender(&opaque).await? {
                payer if payer == opaque.seller() => scan.other(opaque.checkpoint()),
                payer => self.take_payment(scan, opaque.sent_by(payer)),
            },
        }
        Ok(())
    }

    fn take_payment(&self, scan: &mut Scan, payment: Confirmation) {
        match self.recent.contains(&(payment.checkpoint, payment.payment)) {
            true => scan.other(payment.checkpoint),
            false => scan.payment(payment),
        }
    }

    /// Who sent a transaction whose bytes we cannot decode, by the node's word alone.
    async fn ask_sender(&self, opaque: &Opaque) -> Result<Address, NodeError> {
        warn!(digest = %opaque.digest, "a payment of a form that this version cannot decode");
        let params = json!([opaque.digest, {"showInput": true}]);
        let look: Look = self.node.call(GET, params).await?;
        let sender = look.transaction.map(|input| input.data.sender);
        let sender = sender.ok_or_else(|| self.node.nonsense(GET, "no transaction data"))?;
        payments::parse_address(&sender).map_err(|what| self.node.nonsense(GET, what))
    }

    /// Hands over what a walk found, once the chain is known to be the same.
    async fn finish(&mut self, finding: Finding) -> Result<Step, NodeError> {
        if !finding.payments.is_empty() {
            self.check_chain().await?;
        }
        let Finding {
            payments,
            scanned_to,
            settled_at,
        } = finding;
        self.settled = settled_at.map(|digest| (digest, Instant::now()));
        if payments.is_empty() {
            self.advance(scanned_to);
            return Ok(Step::Quiet);
        }
        debug!(count = payments.len(), scanned_to, "payments found");
        self.handed_over = Some(HandOver {
            payments,
            scanned_to,
        });
        Ok(Step::More)
    }

    /// A page that is too large is asked for in pieces; a refused page ends the walk, because
    /// its cursor may have gone; otherwise the walk goes on at the same page.
    fn page_failed(&mut self, error: NodeError) -> Result<Step, NodeError> {
        let too_large = matches!(error, NodeError::TooLarge { .. });
        if too_large && self.scan.as_mut().is_some_and(Scan::shrink_pages) {
            return Ok(Step::Again);
        }
        if matches!(error, NodeError::Rpc { .. }) {
            self.scan = None;
        }
        Err(error)
    }

    fn chain_check_is_due(&self) -> bool {
        self.chain_checked
            .is_none_or(|at| at.elapsed() >= self.settings.chain_check_every)
    }

    async fn check_chain(&mut self) -> Result<(), NodeError> {
        let found = self.node.chain_identifier().await?;
        match &self.chain {
            Some(expected) if *expected.0 != *found => {
                let (expected, host) = (expected.to_string(), self.node.host().to_owned());
                return Err(NodeError::WrongChain {
                    host,
                    expected,
                    found,
                });
            }
            Some(_) => {}
            None => {
                info!(chain = %found, host = self.node.host(), "following the ledger");
                self.chain = Some(ChainId(found.into()));
            }
        }
        self.chain_checked = Some(Instant::now());
        let chain = self.chain.clone();
        self.status.send_modify(|status| status.chain = chain);
        Ok(())
    }

    /// Parameters for a page of the seller's transactions, newest first.
    fn query(&self, cursor: Option<&str>, limit: usize, options: &Value) -> Value {
        let filter = json!({"ToAddress": self.settings.seller.to_string()});
        json!([{"filter": filter, "options": options}, cursor, limit, true])
    }

    fn note_success(&mut self) {
        self.status.send_if_modified(|status| {
            let changed = status.state != FollowState::Following;
            if changed {
                status.state = FollowState::Following;
                status.failures = 0;
                status.last_error = None;
            }
            changed
        });
    }

    fn note_failure(&mut self, error: &NodeError) {
        let failures = self.status.borrow().failures.saturating_add(1);
        let pause = self.settings.backoff.after(failures, error);
        self.wake_at = Some(Instant::now() + pause);
        warn!(%error, failures, pause_ms = pause.as_millis(), "the ledger node failed");
        self.status.send_modify(|status| {
            status.state = FollowState::Waiting;
            status.failures = failures;
            status.last_error = Some(error.to_string());
        });
    }

    fn stop(&mut self, error: NodeError) {
        self.scan = None;
        self.status.send_modify(|status| {
            status.state = FollowState::Stopped;
            status.last_error = Some(error.to_string());
        });
        self.stopped = Some(FollowError::WrongChain(error));
    }
}

/// How a step ended well.
enum Step {
    /// Go on at once; whether the node is well is not known yet.
    Again,
    /// Go on at once.
    More,
    /// There is nothing new.
    Quiet,
}

/// The parts of a transaction that a payment is read from.
fn shown() -> Value {
    json!({"showRawInput": true, "showEffects": true, "showBalanceChanges": true})
}
