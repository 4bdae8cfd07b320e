//! How messages get from a session to the shards.

use crate::gate::Context;
use crate::outbox::Left;
use crate::router::LogStopped;
use crate::session::Receipt;
use crate::shard::serve_at_once;
use crate::store::Mark;
use tokio::sync::oneshot;

/// The longest record that is served at once, in bytes. A longer one means that messages come
/// faster than they can be handled one by one: then the log, which lets the shards work side by
/// side, is the better way.
const AT_ONCE: usize = 4_096;

/// Who waits until a record was read by all shards.
#[derive(Debug)]
pub(crate) enum Waiting {
    /// Answers to a publisher.
    Answers(Box<Receipt>),
    /// Anybody else. Dropped when the record is lost with the log.
    Word(oneshot::Sender<()>),
}

impl Waiting {
    /// All have read it; `mark` is the last that they recorded of it.
    pub(crate) fn read_by_all(self, mark: Mark) {
        match self {
            Self::Answers(receipt) => receipt.recorded(mark),
            // Whoever waited for it is gone otherwise.
            Self::Word(word) => drop(word.send(())),
        }
    }
}

impl Context {
    /// Passes a record on to all shards. Short ones that come while the log is idle are served
    /// at once, which saves them the way through other threads; all others go through the log,
    /// where they wait while the shards are behind.
    ///
    /// The messages of one session stay in order either way: one goes through the log only when
    /// all before it were served, or are before it in the log.
    pub(crate) async fn pass_on(
        &self,
        shard: usize,
        record: Vec<u8>,
        waiting: Option<Waiting>,
    ) -> Result<(), LogStopped> {
        if record.len() <= AT_ONCE {
            let now = self.clock.now();
            if let Some(mark) = serve_at_once(&self.shards, &record, now, || self.log.is_idle()) {
                self.counters.served_at_once.one();
                if let Some(waiting) = waiting {
                    waiting.read_by_all(mark);
                }
                return Ok(());
            }
        }
        self.log.append(shard, record, waiting).await
    }

    /// Passes messages that a member of a group has left behind to another member. No lock may
    /// be held.
    pub(crate) fn share_again(&self, left: Vec<Left>) {
        for left in left {
            if let Some(portion) = left.queued.share.clone() {
                let home = portion.share.home(&self.shards);
                home.share_again(&portion, left, self.clock.now());
            }
        }
    }
}
