//! Sessions whose clients are away, and what is due of them.

use crate::session::{Handle, LastWord, Will};
use std::sync::Arc;
use tanglegate_core::Timestamp;

/// A session whose client is away.
#[derive(Debug)]
pub(crate) struct Away {
    pub(crate) handle: Arc<Handle>,
    /// How long it is kept, in seconds; `u32::MAX` is for ever.
    pub(crate) expiry_seconds: u32,
    pub(crate) since: Timestamp,
    /// The will, and when it is due.
    pub(crate) will: Option<(Timestamp, Box<Will>)>,
}

/// Something whose time has come.
#[derive(Debug)]
pub(crate) enum Due {
    /// A will; its session is kept on, and its client stays away.
    Will(LastWord),
    /// The session is over, and its will is due if it is still there.
    End(Arc<Handle>, Option<Box<Will>>),
}

impl Away {
    /// When it ends.
    pub(crate) fn ends_at(&self) -> Timestamp {
        match self.expiry_seconds {
            u32::MAX => Timestamp::FOREVER,
            seconds => self.since.plus_millis(u64::from(seconds) * 1_000),
        }
    }

    /// When something of it is due, and a number that makes this instant its own.
    pub(super) fn due(&self) -> (Timestamp, u64) {
        let will = self.will.as_ref().map(|(due, _)| *due);
        let due = will.map_or(self.ends_at(), |due| due.min(self.ends_at()));
        (due, self.handle.session)
    }
}
