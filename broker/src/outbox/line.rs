//! Messages with QoS 1 and 2 for one client, in their order, until the client has them (MQTT 5.0
//! §4.3, §4.4, §4.6).
//!
//! Every message has a *sequence*, counted from 1 without a gap. Its packet identifier follows
//! from the sequence alone, so that a message is sent again under the identifier that it had
//! ([MQTT-4.4.0-1]) also after a restart that remembers nothing but the sequence.
//!
//! ```text
//! first             next                       end
//!   │ sent, released │ waiting                  │
//!   └── in flight ───┴── not in this connection ┘
//! ```

mod restored;
#[cfg(test)]
mod tests;

use super::queued::{Ended, OVERHEAD, Queued, Unsent};
use super::{Leaving, Left, Portion};
use crate::message::StoredMessage;
use crate::permit::{ReadPermit, ReadRight};
use crate::store::{Change, Mark, Store};
use std::collections::VecDeque;
use tanglegate_core::Timestamp;

/// Identifiers are 1 to 65,535 (MQTT 5.0 §2.2.1).
const IDENTIFIERS: u64 = 0xFFFF;

/// Where a session's messages are kept, so that they survive the server.
#[derive(Debug)]
pub(crate) struct Keep {
    pub(crate) store: Store,
    pub(crate) session: u64,
}

/// How far a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Not handed to this connection.
    Waiting,
    /// Handed over, unacknowledged.
    Sent,
    /// QoS 2: the client has it, and is to give the identifier free.
    Released,
    /// Nothing is left to do.
    Done,
}

#[derive(Debug)]
struct Entry {
    /// `None` once nobody needs it any more.
    queued: Option<Queued>,
    qos: u8,
    stage: Stage,
    /// An earlier connection was handed it.
    again: bool,
    /// It was taken for a connection that ended before it began to hand it over.
    recalled: bool,
    /// What has to be safe before a QoS 2 message is sent: after the end of the server its
    /// identifier must not stand for another message that the client takes for a repetition.
    mark: Mark,
}

impl Entry {
    /// One that only holds its place.
    fn done() -> Self {
        Self {
            queued: None,
            qos: 1,
            stage: Stage::Done,
            again: false,
            recalled: false,
            mark: Mark::default(),
        }
    }
}

/// The line.
#[derive(Debug)]
pub(super) struct Line {
    entries: VecDeque<Entry>,
    /// Sequence of the first entry.
    first: u64,
    /// Sequence of the first message that this connection has not been handed.
    next: u64,
    /// All sequences below it were handed to some connection.
    sent_below: u64,
    /// In flight: how many, and how many there may be.
    flying: u16,
    window: u16,
    /// Bytes of the messages that are held, without what their places cost.
    bytes: usize,
    /// True when messages are held until they are acknowledged: the session may outlive its
    /// connection, and sends them again.
    holds: bool,
    keep: Option<Keep>,
    /// The last change that was recorded.
    mark: Mark,
    /// What was recorded of `sent_below`.
    sent_recorded: u64,
}

/// What is to be sent next.
#[derive(Debug)]
pub(crate) enum Turn {
    /// This message, under this identifier.
    Message {
        /// The message.
        queued: Queued,
        /// The permit that it is sent under.
        permit: ReadPermit,
        /// Its packet identifier.
        id: u16,
        /// True when it was sent before.
        again: bool,
    },
    /// A PUBREL for this identifier.
    Release(u16),
}

/// What became of a message that is not sent.
#[derive(Debug)]
pub(super) enum GivenUp {
    /// Nothing is left to do.
    Done,
    /// A PUBREL is due instead.
    Release,
    /// Others of its group may get it.
    Left(Left),
}

impl Line {
    /// An empty line for at most `window` messages in flight, at least 1.
    pub(super) fn new(window: u16, keep: Option<Keep>) -> Self {
        Self {
            entries: VecDeque::new(),
            first: 1,
            next: 1,
            sent_below: 1,
            flying: 0,
            window: window.max(1),
            bytes: 0,
            holds: keep.is_some(),
            keep,
            mark: Mark::default(),
            sent_recorded: 1,
        }
    }

    /// What has to be safe before anybody relies on the last change.
    pub(super) fn mark(&self) -> Mark {
        self.mark
    }

    fn record(&mut self, change: impl FnOnce(u64) -> Change) {
        if let Some(Keep { store, session }) = &self.keep {
            self.mark = store.record(change(*session));
        }
    }

    /// Records up to where messages were handed to a connection.
    pub(super) fn record_sent(&mut self) {
        if self.sent_recorded < self.sent_below {
            self.sent_recorded = self.sent_below;
            let below = self.sent_below;
            self.record(|session| Change::Sent { session, below });
        }
    }

    /// Another connection serves the client: what is in flight is to be sent again.
    pub(super) fn start_again(&mut self, window: u16, holds: bool) {
        for entry in &mut self.entries {
            if entry.stage == Stage::Sent && entry.queued.is_none() {
                entry.stage = Stage::Done;
            }
        }
        (self.next, self.flying) = (self.first, 0);
        (self.window, self.holds) = (window.max(1), holds);
    }

    /// Messages that are not done.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Bytes that the messages take, with what it takes to keep them.
    pub(super) fn bytes(&self) -> usize {
        self.bytes + self.entries.len() * OVERHEAD
    }

    /// Bytes that a message would take.
    pub(super) fn cost(message: &StoredMessage) -> usize {
        Queued::cost(message)
    }

    /// Adds a message at the end; returns its sequence. `place` is where it has been before.
    pub(super) fn push(&mut self, queued: Queued, place: Option<Leaving>) -> u64 {
        self.bytes += queued.message.len();
        let sequence = self.end();
        if let Some(Keep { store, session }) = &self.keep {
            let change = Change::Queue {
                session: *session,
                sequence,
                qos: queued.qos,
                retain: queued.retain,
                ids: queued.ids.as_deref().unwrap_or_default().into(),
                message: queued.message.clone(),
                group: queued.share.as_deref().map(Portion::record),
            };
            self.mark = match place {
                Some(place) => place.to(change),
                None => store.record(change),
            };
        }
        self.entries.push_back(Entry {
            qos: queued.qos,
            queued: Some(queued),
            stage: Stage::Waiting,
            again: false,
            recalled: false,
            mark: self.mark,
        });
        sequence
    }

    /// True when [`Line::turn`] has something.
    pub(super) fn has_turn(&self) -> bool {
        self.may_have_turn() && self.waits_for().is_none()
    }

    /// The same, however safe it is.
    pub(super) fn may_have_turn(&self) -> bool {
        self.next < self.end() && self.may_fly()
    }

    /// What has to be safe before the next message can be sent; `None` when nothing has.
    pub(super) fn waits_for(&self) -> Option<Mark> {
        let at = usize::try_from(self.next - self.first).ok()?;
        let entry = self.entries.get(at)?;
        let keep = self.keep.as_ref()?;
        let waits = entry.qos == 2 && !keep.store.is_safe(entry.mark);
        (waits && self.may_fly()).then_some(entry.mark)
    }

    /// Takes the next message that may be sent at `now`. What must not be sent any more is left
    /// out; `unsent` is told why, and is given what others of a group may get.
    pub(super) fn turn(
        &mut self,
        now: Timestamp,
        mut unsent: impl FnMut(Unsent, Option<Left>),
    ) -> Option<Turn> {
        while self.has_turn() {
            let sequence = self.next;
            self.next += 1;
            let again = sequence < self.sent_below && !self.entry(sequence).recalled;
            self.sent_below = self.sent_below.max(self.next);
            let entry = self.entry(sequence);
            let begun = again && entry.qos == 2;
            let permit = entry.queued.as_ref().map(|it| it.permit_at(now, begun));
            match (entry.stage, permit) {
                (Stage::Done, _) => {}
                (Stage::Released, _) => {
                    self.flying += 1;
                    return Some(Turn::Release(id_of(sequence)));
                }
                (_, None) => unreachable!("a message that waits is held"),
                (_, Some(Ok(permit))) => return Some(self.send(sequence, permit, again)),
                (_, Some(Err(why))) => match self.give_up(sequence, again, why == Unsent::Ended) {
                    GivenUp::Left(left) => unsent(why, Some(left)),
                    GivenUp::Done => unsent(why, None),
                    GivenUp::Release => {
                        unsent(why, None);
                        self.flying += 1;
                        return Some(Turn::Release(id_of(sequence)));
                    }
                },
            }
            self.trim();
        }
        None
    }

    fn send(&mut self, sequence: u64, permit: ReadPermit, again: bool) -> Turn {
        self.flying += 1;
        let holds = self.holds;
        let entry = self.entry(sequence);
        (entry.stage, entry.again, entry.recalled) = (Stage::Sent, again, false);
        // If the client does not get or acknowledge it, another one of the group does.
        let is_shared = |it: &Queued| it.share.is_some();
        let holds = holds || entry.queued.as_ref().is_some_and(is_shared);
        let queued = if holds {
            entry.queued.clone()
        } else {
            entry.queued.take()
        };
        let queued = queued.expect("a message that waits is held");
        if !holds {
            self.bytes -= queued.message.len();
        }
        Turn::Message {
            queued,
            permit,
            id: id_of(sequence),
            again,
        }
    }

    /// A message is not to be sent. The client may wait for the end of a QoS 2 message that it
    /// got before; then a PUBREL is due. With `leaves`, others of its group get it.
    fn give_up(&mut self, sequence: u64, again: bool, leaves: bool) -> GivenUp {
        if again && self.entry(sequence).qos == 2 {
            self.release(sequence);
            return GivenUp::Release;
        }
        if leaves && let Some(left) = self.leave(sequence) {
            return GivenUp::Left(left);
        }
        self.finish(sequence);
        GivenUp::Done
    }

    /// Takes a message of a group out of the line. It is recorded as gone when it has its next
    /// place, or none.
    fn leave(&mut self, sequence: u64) -> Option<Left> {
        let entry = self.entry(sequence);
        let queued = entry.queued.take_if(|it| it.share.is_some())?;
        entry.stage = Stage::Done;
        self.bytes -= queued.message.len();
        let place = self.keep.as_ref().map(|Keep { store, session }| Leaving {
            store: store.clone(),
            session: *session,
            sequence,
        });
        Some(Left { queued, place })
    }

    /// A PUBACK came. False when no QoS 1 message is in flight under the identifier.
    pub(super) fn acknowledged(&mut self, id: u16) -> bool {
        self.close(id, |entry| entry.qos == 1 && entry.stage == Stage::Sent)
    }

    /// A PUBREC came: a PUBREL is due. False when no QoS 2 message is in flight under the
    /// identifier.
    pub(super) fn received(&mut self, id: u16) -> bool {
        match self.in_flight(id) {
            Some(sequence) if self.entry(sequence).qos == 2 => {
                self.release(sequence);
                true
            }
            _ => false,
        }
    }

    /// A PUBREC came that says that the message is not wanted ([MQTT-4.3.3-4] has no PUBREL
    /// then).
    pub(super) fn refused(&mut self, id: u16) -> bool {
        self.close(id, |entry| entry.qos == 2 && entry.stage == Stage::Sent)
    }

    /// A PUBCOMP came.
    pub(super) fn completed(&mut self, id: u16) -> bool {
        self.close(id, |entry| entry.stage == Stage::Released)
    }

    /// A message that was taken has not been handed over, and never will be. With `leaves`,
    /// others of its group may get it.
    pub(super) fn dropped(&mut self, id: u16, leaves: bool) -> GivenUp {
        let Some(sequence) = self.in_flight(id) else {
            return GivenUp::Done;
        };
        let again = self.entry(sequence).again;
        let given_up = self.give_up(sequence, again, leaves);
        if !matches!(given_up, GivenUp::Release) {
            self.flying -= 1;
            self.trim();
        }
        given_up
    }

    /// A message that was taken was not begun by the connection that ends: where no other
    /// connection has sent it, the client has seen nothing of it.
    pub(super) fn recall(&mut self, id: u16) {
        if let Some(sequence) = self.in_flight(id) {
            let entry = self.entry(sequence);
            entry.recalled = entry.stage == Stage::Sent && !entry.again;
        }
    }

    /// True when one more message would not wait for others to be acknowledged.
    pub(super) fn is_short(&self) -> bool {
        let waiting = self.end() - self.next;
        waiting + u64::from(self.flying) < u64::from(self.window)
    }

    /// Removes the messages of groups that may be sent to other members.
    pub(super) fn leave_shared(&mut self) -> Vec<Left> {
        let mut left = vec![];
        for sequence in self.first..self.end() {
            let never_sent = sequence >= self.sent_below || self.entry(sequence).recalled;
            if self.entry(sequence).qos == 1 || never_sent {
                left.extend(self.leave(sequence));
            }
        }
        left
    }

    /// Looks the end of the right of every message up again. Messages that were never sent, and
    /// whose right has ended at `now`, are removed.
    pub(super) fn review(&mut self, right_of: impl Fn(&str) -> ReadRight, now: Timestamp) -> Ended {
        let mut ended = Ended::default();
        for sequence in self.first..self.end() {
            let entry = self.entry(sequence);
            let Some(queued) = &mut entry.queued else {
                continue;
            };
            queued.permit = right_of(queued.message.topic()).at(now).ok();
            if queued.permit.is_none() && entry.stage == Stage::Waiting {
                match self.leave(sequence) {
                    Some(left) => ended.shared.push(left),
                    None => {
                        ended.dropped += 1;
                        self.finish(sequence);
                    }
                }
            }
        }
        self.trim();
        ended
    }

    fn end(&self) -> u64 {
        self.first + self.entries.len() as u64
    }

    /// True when one more may be in flight ([MQTT-3.3.4-9]), under an identifier of its own.
    fn may_fly(&self) -> bool {
        self.flying < self.window && self.next - self.first < IDENTIFIERS
    }

    fn entry(&mut self, sequence: u64) -> &mut Entry {
        let at = usize::try_from(sequence - self.first).expect("within the line");
        &mut self.entries[at]
    }

    /// The sequence that this connection knows under an identifier.
    fn in_flight(&self, id: u16) -> Option<u64> {
        let place = u64::from(id).checked_sub(1)?;
        let ahead = (place + IDENTIFIERS - (self.first - 1) % IDENTIFIERS) % IDENTIFIERS;
        let sequence = self.first + ahead;
        let entry = self.entries.get(usize::try_from(ahead).ok()?)?;
        let flies = sequence < self.next && matches!(entry.stage, Stage::Sent | Stage::Released);
        flies.then_some(sequence)
    }

    fn close(&mut self, id: u16, is_due: impl FnOnce(&Entry) -> bool) -> bool {
        let Some(sequence) = self.in_flight(id) else {
            return false;
        };
        if !is_due(self.entry(sequence)) {
            return false;
        }
        self.flying -= 1;
        self.finish(sequence);
        self.trim();
        true
    }

    fn release(&mut self, sequence: u64) {
        self.forget_message(sequence);
        let entry = self.entry(sequence);
        if entry.stage != Stage::Released {
            entry.stage = Stage::Released;
            self.record(|session| Change::Released { session, sequence });
        }
    }

    fn finish(&mut self, sequence: u64) {
        self.forget_message(sequence);
        self.entry(sequence).stage = Stage::Done;
        self.record(|session| Change::Done { session, sequence });
    }

    fn forget_message(&mut self, sequence: u64) {
        if let Some(gone) = self.entry(sequence).queued.take() {
            self.bytes -= gone.message.len();
        }
    }

    /// Forgets what is done, from the front on.
    fn trim(&mut self) {
        while self
            .entries
            .front()
            .is_some_and(|it| it.stage == Stage::Done)
        {
            self.entries.pop_front();
            self.first += 1;
        }
        self.next = self.next.max(self.first);
        if self.entries.is_empty() && self.entries.capacity() > 64 {
            self.entries = VecDeque::new();
        }
    }
}

/// The packet identifier of a sequence.
fn id_of(sequence: u64) -> u16 {
    u16::try_from((sequence - 1) % IDENTIFIERS).expect("below 65,535") + 1
}
