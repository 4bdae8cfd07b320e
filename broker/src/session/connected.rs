//! The life of a session after its CONNACK.

use super::acks::Acks;
use super::attached::Attached;
use super::conversation::Conversation;
use super::end::End;
use super::me::Me;
use super::patience::Patience;
use super::publishing::{Aliases, Permits, Unacknowledged};
use super::replay::Replay;
use super::{Handle, Order};
use crate::limits::ClientLimits;
use crate::outbox::{
    Dropped, HandedOver, Next, OwnAliases, Packets, Progress, Terms as PacketTerms,
};
use crate::passing::Waiting;
use crate::permit::ReadRight;
use crate::record::RecordWriter;
use crate::socket::Socket;
use crate::store::Mark;
use crate::wire::{Version, disconnect};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tanglegate_core::{Rights, Timestamp};
use tokio::time::Instant;

/// Bytes of answers that may wait for the client before nothing more is read from it.
const ANSWERS: usize = 64 << 10;
/// Writes in one turn, so that a quick reader does not keep others from theirs.
const WRITES: usize = 16;
/// Bytes that a connection may hold without being asked: they belong to what a connection costs,
/// and messages that come one by one need no more.
pub(super) const UNCOUNTED: usize = 1 << 10;
/// Time for the last words to a client.
const FAREWELL: Duration = Duration::from_secs(1);

/// A connected client.
pub(super) struct Connection {
    pub(super) socket: Socket,
    pub(super) attached: Attached,
    pub(super) version: Version,
    /// Largest packet that the client takes, in bytes.
    pub(super) packet_bytes: usize,
    /// False when the client does not want reason strings.
    pub(super) explains: bool,
    /// The beginning of a packet whose rest was not read yet.
    pub(super) partial: Vec<u8>,
    /// What was taken from the outbox, and answers.
    pub(super) writing: Packets,
    /// Bytes of answers in `writing`, at most.
    pub(super) answers: usize,
    /// Bytes that have left `writing` so far.
    gone: u64,
    /// Aliases that the gate sets; `None` where the client takes none.
    pub(super) own_aliases: Option<Box<OwnAliases>>,
    pub(super) rights: Rights,
    rights_version: u64,
    pub(super) permits: Permits,
    pub(super) aliases: Aliases,
    pub(super) unacknowledged: Unacknowledged,
    /// Answers that are not in `writing` yet.
    pub(super) acks: Acks,
    pub(super) replays: VecDeque<Replay>,
    /// The first of them found no room, when so much had been given back to the budget.
    pub(super) starved: Option<u64>,
    pub(super) me: Me,
    /// `None` until the client asks for a key or for answers.
    pub(super) conversation: Option<Box<Conversation>>,
    pub(super) patience: Patience,
    /// Messages read since the last turn.
    pub(super) record: RecordWriter,
    /// How many PUBLISH packets were read and not counted yet.
    pub(super) received: u64,
    /// Bytes of their payloads.
    pub(super) received_payload: u64,
    /// How many other packets were read and not counted yet, and their bytes.
    pub(super) received_controls: (u64, u64),
    /// Identifiers of QoS 2 messages that the client has not given free.
    pub(super) identifiers: usize,
    /// Bytes that are counted as held for this connection, at least [`UNCOUNTED`].
    pub(super) counted: usize,
}

/// What the handshake agreed on.
pub(super) struct Terms {
    pub(super) version: Version,
    pub(super) packet_bytes: u32,
    /// How many topic aliases the gate may set.
    pub(super) topic_aliases: u16,
    pub(super) explains: bool,
    pub(super) keep_alive: Option<Duration>,
    /// What the client sent after its CONNECT.
    pub(super) rest: Vec<u8>,
}

/// What the socket took.
struct Gone {
    bytes: usize,
    complete: HandedOver,
    /// True when it takes no more just now.
    blocked: bool,
}

impl Connection {
    /// A session whose CONNACK is on its way.
    pub(super) fn new(socket: Socket, attached: Attached, terms: Terms) -> Self {
        let limits = attached.context.limits.of(attached.handle.subject);
        let patience = Patience::new(terms.keep_alive, limits, Instant::now());
        let identifiers = attached.handle.received.lock().len();
        let packet_bytes = terms.packet_bytes as usize;
        let own_aliases = match terms.topic_aliases {
            0 => None, // [MQTT-3.1.2-27]
            most => Some(Box::new(OwnAliases::new(most, packet_bytes))),
        };
        Self {
            socket,
            attached,
            version: terms.version,
            packet_bytes,
            explains: terms.explains,
            partial: terms.rest,
            writing: Packets::default(),
            answers: 0,
            gone: 0,
            own_aliases,
            rights: Rights::none(),
            rights_version: 0,
            permits: Permits::default(),
            aliases: Aliases::default(),
            unacknowledged: Unacknowledged::default(),
            acks: Acks::default(),
            replays: VecDeque::new(),
            starved: None,
            me: Me::default(),
            conversation: None,
            patience,
            record: RecordWriter::default(),
            received: 0,
            received_payload: 0,
            received_controls: (0, 0),
            identifiers,
            counted: UNCOUNTED,
        }
    }

    pub(super) fn handle(&self) -> &Arc<Handle> {
        &self.attached.handle
    }

    pub(super) fn now(&self) -> Timestamp {
        self.attached.context.clock.now()
    }

    pub(super) fn limits(&self) -> &ClientLimits {
        self.attached.context.limits.of(self.handle().subject)
    }

    /// Serves the client until the end.
    pub(super) async fn run(&mut self) -> End {
        if self.handle().subject.is_some() {
            self.watch_again();
        }
        // The CONNACK goes first, whatever there is to say besides ([MQTT-3.2.0-1]). Then what
        // came behind the CONNECT ([MQTT-3.1.4-5]).
        let mut result = match self.write() {
            Ok(_) => self.handle_rest(),
            Err(end) => Err(end),
        };
        loop {
            result = result.and_then(|()| self.hold());
            // What was read before the end counts.
            if let Err(end) = self.append().await.and(result) {
                return end;
            }
            result = self.turn().await;
        }
    }

    async fn turn(&mut self) -> Result<(), End> {
        let more = self.flush()?;
        if more {
            // Others want to run too.
            tokio::task::yield_now().await;
        }
        let woken = self.wait(more).await;
        // First: nobody is silent whose words lie here unread.
        if woken.readable {
            self.read()?;
        }
        if woken.timer {
            let was_paused = self.patience.is_paused();
            self.patience.check(self.answers_are_taken())?;
            if was_paused && !self.patience.is_paused() {
                // What was read and left lying.
                self.handle_rest()?;
            }
        }
        Ok(())
    }

    /// Passes on what was read, as soon as there is room for it. What has to be answered is, once
    /// it is safe.
    async fn append(&mut self) -> Result<(), End> {
        let (handle, context) = (&self.attached.handle, &self.attached.context);
        let acks = &mut self.acks;
        let repeats = acks.repeats();
        if repeats {
            self.record.fence();
        }
        let receipt = acks.has_fresh().then(|| acks.hold(handle, &context.store));
        if self.record.is_empty() {
            if let Some(receipt) = receipt {
                receipt.recorded(Mark::default());
                context.store.room().await;
            }
            return Ok(());
        }
        let receipt = receipt.map(Waiting::Answers);
        let (session, shard) = (handle.session, handle.shard.number);
        let record = std::mem::take(&mut self.record).finish(session);
        let passed = if repeats {
            // Behind the message that came first, which another connection may have passed on.
            context.log.append(shard, record, receipt).await
        } else {
            context.pass_on(shard, record, receipt).await
        };
        // Who brings more than the disk takes is slowed down.
        context.store.room().await;
        passed.map_err(|_| End::LogStopped)
    }

    /// Writes the answers that may go.
    fn write_acks(&mut self) {
        while let Some((bytes, ends)) = self.acks.next() {
            self.answer(|out| out.extend_from_slice(&bytes));
            let answered_until = self.gone + self.writing.len() as u64;
            self.unacknowledged.ends(ends, answered_until);
        }
    }

    /// True when the rights, or anything else that ends a session, were not looked at since
    /// their last change.
    pub(super) fn rights_changed(&self) -> bool {
        self.handle().outbox.rights_version() != self.rights_version
    }

    /// Looks at the rights again, and at everything that is queued under them.
    pub(super) fn review(&mut self) -> Result<(), End> {
        let outbox = Arc::clone(&self.handle().outbox);
        let version = outbox.rights_version();
        if version == self.rights_version {
            return Ok(());
        }
        let order = outbox.lock().ordered();
        let context = &self.attached.context;
        self.rights = if order.is_some_and(Order::is_cut) {
            Rights::none()
        } else {
            context.view.rights(self.handle().subject)
        };
        self.rights_version = version;
        let rights = &self.rights;
        let right_of =
            |topic: &str| ReadRight::own(topic).unwrap_or_else(|| ReadRight::of(rights, topic));
        self.writing.review(right_of);
        if let Some(order) = order {
            // What was begun is completed only under the rights of now.
            return Err(End::Ordered(order));
        }
        let ended = outbox.lock().review(right_of, self.now());
        context.counters.dropped_ended.add(ended.dropped);
        context.share_again(ended.shared);
        self.permits.forget();
        self.me.rights_changed();
        let next_end = self.rights.next_end(self.now());
        self.attached.set_alarm(next_end);
        Ok(())
    }

    /// Hands over what may be handed over and the socket takes; true when there is more.
    fn flush(&mut self) -> Result<bool, End> {
        for _ in 0..WRITES {
            self.review()?;
            if self.writing.is_empty() && !self.fill() {
                return Ok(false);
            }
            if self.rights_changed() {
                continue;
            }
            if !self.write()? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Takes what is ready; false when there is nothing.
    fn fill(&mut self) -> bool {
        self.answers = 0;
        self.write_acks();
        self.tell();
        if !self.writing.is_empty() {
            return true;
        }
        let replayed = self.replay();
        let (now, mut dropped) = (self.now(), Dropped::default());
        let terms = PacketTerms {
            version: self.version,
            packet_bytes: self.packet_bytes,
        };
        let outbox = Arc::clone(&self.handle().outbox);
        outbox
            .lock()
            .take(&mut self.writing, terms, now, &mut dropped);
        self.count_dropped(&mut dropped);
        replayed || !self.writing.is_empty()
    }

    /// Hands the next bytes to the socket; false when it takes no more.
    fn write(&mut self) -> Result<bool, End> {
        if self.writing.is_empty() {
            return Ok(true);
        }
        let now = self.attached.context.clock.now();
        let before = self.writing.len();
        let mut dropped = Dropped::default();
        let gone = self.hand_over(now, &mut dropped);
        self.count_dropped(&mut dropped);
        let Gone {
            bytes,
            complete,
            blocked,
        } = gone?;
        self.count_sent(complete);
        self.patience.wrote(bytes, !blocked);
        let counters = &self.attached.context.counters;
        counters.sent_bytes.add(bytes as u64);
        let (controls, control_bytes) = self.writing.take_controls();
        counters.sent_controls.add(controls);
        counters.sent_control_bytes.add(control_bytes);
        let left = self.writing.len();
        self.gone += (before - left) as u64;
        self.unacknowledged.left(self.gone);
        // Answers are counted with what is held.
        let left = self.writing.cost().saturating_sub(self.answers);
        self.handle().outbox.lock().left(left);
        Ok(!blocked)
    }

    fn hand_over(&mut self, now: Timestamp, dropped: &mut Dropped) -> Result<Gone, End> {
        let (socket, own_aliases) = (&mut self.socket, self.own_aliases.as_deref_mut());
        let begun = own_aliases.as_ref().map_or(0, |_| self.writing.begun());
        let (bytes, complete, blocked) = match self.writing.next(now, self.version, dropped) {
            Next::Empty => (0, HandedOver::NOTHING, false),
            Next::Cut => return Err(End::HalfSent),
            Next::Bytes(queued) => {
                let mut write = |bytes: &[u8]| socket.try_write(bytes).map_err(|_| End::Lost);
                let progress = match own_aliases {
                    Some(aliases) => aliases.hand_over(queued, begun, write)?,
                    None => Progress::from(write(queued)?),
                };
                let complete = self.writing.handed_over(progress.left);
                if let Some(sealed) = progress.sealed {
                    self.writing.seal(sealed);
                }
                (progress.sent, complete, progress.blocked)
            }
            Next::Sealed => {
                if !socket.try_send_sealed().map_err(|_| End::Lost)? {
                    (0, HandedOver::NOTHING, true)
                } else {
                    let (bytes, complete) = self.writing.unseal();
                    let sent = own_aliases.map_or(bytes, OwnAliases::unseal);
                    (sent, complete, false)
                }
            }
        };
        Ok(Gone {
            bytes,
            complete,
            blocked,
        })
    }

    /// Counts what was handed over, and looks at the clock again: nothing may have been too late.
    fn count_sent(&self, complete: HandedOver) {
        let context = &self.attached.context;
        context.counters.sent_messages.add(complete.messages);
        if complete.ends == Timestamp::FOREVER {
            return;
        }
        let after = context.clock.now();
        if complete.ends <= after {
            let late = after.millis_since(complete.ends);
            context.counters.late_messages.add(complete.messages);
            context.counters.largest_lateness_ms.at_least(late);
        }
    }

    /// Counts what was dropped, and lets what waited for its identifiers go.
    fn count_dropped(&mut self, dropped: &mut Dropped) {
        if !dropped.ids.is_empty() {
            let outbox = Arc::clone(&self.handle().outbox);
            outbox.lock().give_back(&mut self.writing, dropped);
        }
        let left = std::mem::take(&mut dropped.left);
        self.attached.context.share_again(left);
        let counters = &self.attached.context.counters;
        counters.dropped_ended.add(dropped.ended);
        counters.dropped_expired.add(dropped.expired);
        counters.dropped_too_large.add(dropped.too_large);
    }

    /// Adds an answer to what is written next.
    pub(super) fn answer(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let before = self.writing.len();
        self.writing.push_control(write);
        self.answers += self.writing.len() - before;
    }

    /// False while too many answers wait for the client.
    pub(super) fn answers_are_taken(&self) -> bool {
        self.answers + self.acks.bytes() < ANSWERS
    }

    /// Takes leave.
    pub(super) async fn finish(mut self, end: End) {
        self.count_end(end);
        let not_begun = self.writing.not_begun();
        self.handle().outbox.lock().recall(&not_begun);
        // The session is given up first: the next connection must not wait for this client to
        // take the last words, and the will is not for the dead.
        if let Some(last) = self.attached.leave(end.publishes_will()) {
            last.publish(&self.attached.context).await;
        }
        self.say_farewell(end).await;
    }

    fn count_end(&self, end: End) {
        let counters = &self.attached.context.counters;
        match end {
            End::Ordered(order) if order.is_cut() => counters.cut_sessions.one(),
            End::Ordered(Order::TooSlow) | End::HalfSent | End::Stalled => {
                counters.cut_slow_sessions.one();
            }
            End::Fault(_) => counters.faulty_sessions.one(),
            End::NoRoom(_) => counters.cut_for_room_sessions.one(),
            _ => {}
        }
    }

    /// Tells a 5.0 client why, if its socket takes it soon. Queued messages are dropped.
    async fn say_farewell(&mut self, end: End) {
        self.writing.keep_begun();
        if let Some((reason, why)) = end.farewell() {
            let why = if self.explains { &*why } else { "" };
            let (version, limit) = (self.version, self.packet_bytes);
            self.answer(|out| disconnect(out, version, reason, why, limit));
        }
        if !self.writing.is_empty() {
            // However that goes, the connection is over.
            let _ = tokio::time::timeout(FAREWELL, self.write_out()).await;
            super::handshake::hang_up(&mut self.socket).await;
        }
    }

    /// Nobody tells this connection of changes any more: what it has begun is completed only
    /// under rights that it had, and that its client still has.
    fn review_last_words(&mut self) {
        let (view, subject) = (&self.attached.context.view, self.handle().subject);
        let present = match view.permit_connect(subject) {
            Ok(_permit) => view.rights(subject),
            Err(_denied) => Rights::none(),
        };
        let before = &self.rights;
        self.writing.review(|topic| {
            let right = |rights: &Rights| ReadRight::of(rights, topic);
            ReadRight::own(topic).unwrap_or_else(|| right(before).both(right(&present)))
        });
    }

    /// Writes the last words. The session is not this connection's any more.
    async fn write_out(&mut self) -> Result<(), End> {
        while !self.writing.is_empty() {
            self.review_last_words();
            let gone = self.hand_over(self.now(), &mut Dropped::default())?;
            self.count_sent(gone.complete);
            let counters = &self.attached.context.counters;
            counters.sent_bytes.add(gone.bytes as u64);
            if gone.blocked && self.socket.writable().await.is_err() {
                return Err(End::Lost);
            }
        }
        Ok(())
    }
}
