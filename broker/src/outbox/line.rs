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

use crate::message::StoredMessage;
use crate::permit::{ReadPermit, ReadRight};
use crate::shard::Share;
use crate::store::{Change, Mark, RestoredMessage, Store};
use std::collections::VecDeque;
use std::sync::Arc;
use tanglegate_core::Timestamp;

/// Identifiers are 1 to 65,535 (MQTT 5.0 §2.2.1).
const IDENTIFIERS: u64 = 0xFFFF;
/// What a queued message costs besides its own bytes.
const OVERHEAD: usize = 64;

/// A message for one client.
#[derive(Debug, Clone)]
pub(crate) struct Queued {
    pub(crate) message: StoredMessage,
    /// 1 or 2.
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    /// Identifiers of the subscriptions that it is delivered for; `None` without any.
    pub(crate) ids: Option<Arc<[u32]>>,
    /// The permit to read it; `None` when it has ended, or is yet to be asked for because the
    /// message came back from the store.
    pub(crate) permit: Option<ReadPermit>,
    /// The group of which this client alone got it.
    pub(crate) share: Option<Arc<Share>>,
}

/// Messages that were removed because the right to read them has ended.
#[derive(Debug, Default)]
pub(crate) struct Ended {
    /// Nobody gets these.
    pub(crate) dropped: u64,
    /// Others of their group may.
    pub(crate) shared: Vec<Queued>,
}

impl Queued {
    /// Bytes that a message takes while it is queued.
    pub(crate) fn cost(message: &StoredMessage) -> usize {
        OVERHEAD + message.len()
    }

    /// The permit under which it is sent at `now`, or why it must not be.
    fn permit_at(&self, now: Timestamp) -> Result<ReadPermit, Unsent> {
        match self.permit {
            Some(permit) if now < permit.until() => {
                let expired = now >= self.message.expires();
                if expired {
                    Err(Unsent::Expired)
                } else {
                    Ok(permit)
                }
            }
            _ => Err(Unsent::Ended),
        }
    }
}

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
    /// Bytes of the messages that are held.
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

/// Why a message is not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unsent {
    /// The right to read it has ended.
    Ended,
    /// It has expired.
    Expired,
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

    /// Brings back what was kept, into a line that is empty still. The right to read a message
    /// is looked up before it is sent.
    pub(super) fn restore(&mut self, messages: Vec<RestoredMessage>, sent_below: u64) {
        let first = messages.first().map(|it| it.sequence);
        self.first = first.unwrap_or(sent_below).max(1);
        (self.next, self.sent_below) = (self.first, sent_below.max(self.first));
        self.sent_recorded = self.sent_below;
        for restored in messages {
            // Those in between are done, and hold their places.
            while self.end() < restored.sequence {
                self.entries.push_back(Entry::done());
            }
            let queued = restored.message.map(|message| Queued {
                message,
                qos: restored.qos,
                retain: restored.retain,
                ids: (!restored.ids.is_empty()).then(|| restored.ids.into()),
                permit: None,
                // With the server its group is forgotten: the message stays with the client.
                share: None,
            });
            self.bytes += queued.as_ref().map_or(0, |it| Self::cost(&it.message));
            self.entries.push_back(Entry {
                qos: restored.qos,
                stage: match (&queued, restored.sequence < self.sent_below) {
                    (None, _) => Stage::Released,
                    (Some(_), true) => Stage::Sent,
                    (Some(_), false) => Stage::Waiting,
                },
                queued,
                again: false,
                mark: Mark::default(),
            });
        }
        // No sequence is used twice.
        while self.end() < self.sent_below {
            self.entries.push_back(Entry::done());
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
        self.bytes
    }

    /// Bytes that a message would take.
    pub(super) fn cost(message: &StoredMessage) -> usize {
        Queued::cost(message)
    }

    /// Adds a message at the end; returns its sequence.
    pub(super) fn push(&mut self, queued: Queued) -> u64 {
        self.bytes += Self::cost(&queued.message);
        let sequence = self.end();
        self.record(|session| Change::Queue {
            session,
            sequence,
            qos: queued.qos,
            retain: queued.retain,
            ids: queued.ids.as_deref().unwrap_or_default().into(),
            message: queued.message.clone(),
        });
        self.entries.push_back(Entry {
            qos: queued.qos,
            queued: Some(queued),
            stage: Stage::Waiting,
            again: false,
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

    /// Takes the next message that may be sent at `now`. What must not be sent any more is given
    /// to `unsent` and left out.
    pub(super) fn turn(&mut self, now: Timestamp, mut unsent: impl FnMut(Unsent)) -> Option<Turn> {
        while self.has_turn() {
            let sequence = self.next;
            self.next += 1;
            let again = sequence < self.sent_below;
            self.sent_below = self.sent_below.max(self.next);
            let entry = self.entry(sequence);
            let permit = entry.queued.as_ref().map(|it| it.permit_at(now));
            match (entry.stage, permit) {
                (Stage::Done, _) => {}
                (Stage::Released, _) => {
                    self.flying += 1;
                    return Some(Turn::Release(id_of(sequence)));
                }
                (_, None) => unreachable!("a message that waits is held"),
                (_, Some(Ok(permit))) => return Some(self.send(sequence, permit, again)),
                (_, Some(Err(over))) => {
                    unsent(over);
                    if self.give_up(sequence, again) {
                        self.flying += 1;
                        return Some(Turn::Release(id_of(sequence)));
                    }
                }
            }
            self.trim();
        }
        None
    }

    fn send(&mut self, sequence: u64, permit: ReadPermit, again: bool) -> Turn {
        self.flying += 1;
        let holds = self.holds;
        let entry = self.entry(sequence);
        (entry.stage, entry.again) = (Stage::Sent, again);
        // If the client does not acknowledge it, another one of the group gets it.
        let is_shared = |it: &Queued| it.qos == 1 && it.share.is_some();
        let holds = holds || entry.queued.as_ref().is_some_and(is_shared);
        let queued = if holds {
            entry.queued.clone()
        } else {
            entry.queued.take()
        };
        let queued = queued.expect("a message that waits is held");
        if !holds {
            self.bytes -= Self::cost(&queued.message);
        }
        Turn::Message {
            queued,
            permit,
            id: id_of(sequence),
            again,
        }
    }

    /// A message is not to be sent. The client may wait for the end of a QoS 2 message that it
    /// got before; then a PUBREL is due, and this is true.
    fn give_up(&mut self, sequence: u64, again: bool) -> bool {
        let release = again && self.entry(sequence).qos == 2;
        if release {
            self.release(sequence);
        } else {
            self.finish(sequence);
        }
        release
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

    /// A message that was taken has not been handed over, and never will be. True when a PUBREL
    /// is to be sent instead.
    pub(super) fn dropped(&mut self, id: u16) -> bool {
        let Some(sequence) = self.in_flight(id) else {
            return false;
        };
        let again = self.entry(sequence).again;
        let release = self.give_up(sequence, again);
        if !release {
            self.flying -= 1;
            self.trim();
        }
        release
    }

    /// True when one more message would not wait for others to be acknowledged.
    pub(super) fn is_short(&self) -> bool {
        let waiting = self.end() - self.next;
        waiting + u64::from(self.flying) < u64::from(self.window)
    }

    /// Removes the messages of groups that may be sent to other members.
    pub(super) fn leave_shared(&mut self) -> Vec<Queued> {
        let (mut left, first, sent_below) = (vec![], self.first, self.sent_below);
        for (sequence, entry) in (first..).zip(&mut self.entries) {
            let is_left =
                |it: &mut Queued| it.share.is_some() && (it.qos == 1 || sequence >= sent_below);
            if let Some(queued) = entry.queued.take_if(is_left) {
                self.bytes -= Self::cost(&queued.message);
                entry.stage = Stage::Done;
                left.push(queued);
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
                match &queued.share {
                    Some(_) => ended.shared.push(queued.clone()),
                    None => ended.dropped += 1,
                }
                self.finish(sequence);
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
            self.bytes -= Self::cost(&gone.message);
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

#[cfg(test)]
mod tests {
    use super::*;

    fn queued(qos: u8, until: u64) -> Queued {
        Queued {
            message: StoredMessage::new("t", &[], b"x", Timestamp(100)),
            qos,
            retain: false,
            ids: None,
            permit: Some(ReadPermit::unchecked(until)),
            share: None,
        }
    }

    /// A line whose messages are held until they are acknowledged.
    fn held(window: u16) -> Line {
        let mut line = Line::new(window, None);
        line.start_again(window, true);
        line
    }

    /// What is sent at `now`: identifiers, `!` for a PUBREL, `+` for a message sent again.
    fn sent(line: &mut Line, now: u64) -> Vec<String> {
        let turns = std::iter::from_fn(|| line.turn(Timestamp(now), |_| {}));
        let shown = |turn| match turn {
            Turn::Release(id) => format!("!{id}"),
            Turn::Message { id, again, .. } => format!("{}{id}", if again { "+" } else { "" }),
        };
        turns.map(shown).collect()
    }

    #[test]
    fn no_more_fly_than_the_receive_maximum_in_whatever_order_they_are_acknowledged() {
        // [MQTT-3.3.4-9]
        let mut line = held(2);
        for _ in 0..5 {
            line.push(queued(1, 99));
        }
        assert_eq!(sent(&mut line, 0), ["1", "2"]);
        assert!(!line.acknowledged(3), "not in flight yet");
        assert!(!line.acknowledged(0));
        assert!(line.acknowledged(2));
        assert!(!line.acknowledged(2), "only once");
        assert_eq!(sent(&mut line, 0), ["3"]);
        assert!(line.acknowledged(1));
        assert_eq!(sent(&mut line, 0), ["4"]);
        assert_eq!(line.len(), 3);
    }

    #[test]
    fn a_new_connection_gets_what_was_in_flight_again_in_order_and_under_the_same_identifiers() {
        // [MQTT-4.4.0-1], [MQTT-3.3.1-1], [MQTT-4.6.0-1]
        let mut line = held(9);
        let _ = [1, 2, 2, 1].map(|qos| line.push(queued(qos, 99)));
        line.turn(Timestamp(0), |_| {});
        assert_eq!(sent(&mut line, 0), ["2", "3", "4"]);
        assert!(line.received(3));
        line.push(queued(1, 99));
        line.start_again(9, true);
        assert_eq!(sent(&mut line, 0), ["+1", "+2", "!3", "+4", "5"]);
        assert!(line.completed(3) && !line.completed(2));
    }

    #[test]
    fn qos_2_takes_four_steps_and_qos_1_two() {
        // [MQTT-4.3.2-3], [MQTT-4.3.3-3] to [MQTT-4.3.3-6]
        let mut line = Line::new(9, None);
        let _ = [1, 2, 2].map(|qos| line.push(queued(qos, 99)));
        sent(&mut line, 0);
        assert_eq!(
            line.bytes(),
            0,
            "a session that ends with its connection holds nothing"
        );
        assert!(!line.received(1) && !line.acknowledged(2) && !line.completed(2));
        assert!(line.acknowledged(1) && line.received(2) && line.received(2));
        assert!(line.refused(3), "the client does not want it");
        assert!(line.completed(2));
        assert_eq!((line.len(), line.flying), (0, 0));
    }

    #[test]
    fn what_must_not_be_sent_is_left_out_and_holds_no_place() {
        let mut line = held(1);
        let _ = [5, 99, 99].map(|until| line.push(queued(1, until)));
        let mut unsent = vec![];
        let turn = line.turn(Timestamp(5), |why| unsent.push(why));
        assert!(matches!(turn, Some(Turn::Message { id: 2, .. })));
        assert_eq!(unsent, [Unsent::Ended]);
        assert!(line.acknowledged(2));
        assert!(line.turn(Timestamp(100), |why| unsent.push(why)).is_none());
        assert_eq!((unsent[1], line.len(), line.bytes()), (Unsent::Ended, 0, 0));
    }

    #[test]
    fn a_qos_2_message_that_the_client_may_have_is_released_when_its_right_has_ended() {
        let mut line = held(9);
        line.push(queued(2, 5));
        assert_eq!(sent(&mut line, 0), ["1"]);
        line.start_again(9, true);
        assert_eq!(sent(&mut line, 5), ["!1"]);
        assert!(line.completed(1) && line.len() == 0);
        // Or when it ends on its way to the socket.
        line.push(queued(2, 9));
        sent(&mut line, 0);
        line.start_again(9, true);
        assert_eq!(sent(&mut line, 0), ["+2"]);
        assert!(line.dropped(2) && line.completed(2));
        line.push(queued(2, 9));
        sent(&mut line, 0);
        assert!(!line.dropped(3), "the client has never seen it");
        assert_eq!((line.len(), line.flying), (0, 0));
    }

    #[test]
    fn identifiers_go_round_without_zero_and_without_two_in_flight() {
        let mut line = held(u16::MAX);
        for _ in 0..70_000 {
            line.push(queued(1, 99));
        }
        let ids = sent(&mut line, 0);
        assert_eq!(ids.len(), 65_535);
        assert!(!ids.contains(&"0".to_owned()));
        let (first, second) = (ids[0].parse().unwrap(), ids[1].parse().unwrap());
        assert!(line.acknowledged(second));
        assert!(
            sent(&mut line, 0).is_empty(),
            "the next one still has the first one's"
        );
        assert!(line.acknowledged(first));
        assert_eq!(sent(&mut line, 0), ["1", "2"]);
    }

    #[test]
    fn what_was_kept_goes_on_where_it_stopped() {
        let kept = |sequence, qos, message: bool| RestoredMessage {
            sequence,
            qos,
            retain: false,
            ids: Box::default(),
            message: message.then(|| queued(qos, 1).message),
        };
        let mut line = held(9);
        let messages = vec![kept(3, 1, true), kept(5, 2, false), kept(6, 2, true)];
        line.restore(messages, 6);
        line.start_again(9, true);
        line.review(|_| ReadRight::unchecked(9), Timestamp(0));
        assert_eq!(sent(&mut line, 0), ["+3", "!5", "6"]);
        assert!(line.acknowledged(3) && line.completed(5) && line.received(6));
        line.push(queued(1, 99));
        assert_eq!(sent(&mut line, 0), ["7"]);
        // What was done before the end is not begun again.
        let mut done = held(9);
        done.restore(vec![kept(3, 1, true)], 10);
        done.start_again(9, true);
        done.review(|_| ReadRight::unchecked(9), Timestamp(0));
        done.push(queued(1, 99));
        assert_eq!(sent(&mut done, 0), ["+3", "10"]);
        let mut empty = held(9);
        empty.restore(vec![], 70_000);
        empty.push(queued(1, 99));
        assert_eq!(sent(&mut empty, 0), [(70_000 % 65_535).to_string()]);
    }
}
