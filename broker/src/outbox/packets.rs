//! Encoded packets in a row, each with the end of the right that it is sent under.
//!
//! This is where a right is enforced to the message: [`Packets::next`] hands out bytes for the
//! socket only while `now` is before the end of their right. Where the socket seals bytes into a
//! piece (a TLS record, a WebSocket frame) that does not leave at once, [`Packets::next`] looks at
//! the ends of all that is in the piece again before it lets the rest of it leave.

#[cfg(test)]
mod tests;

use super::Left;
use super::queued::Unsent;
use crate::permit::{ReadPermit, ReadRight};
use crate::wire::{Delivery, Version, frame_length, packet_id_of, patch_expiry, topic_of};
use parking_lot::Mutex;
use std::collections::VecDeque;
use tanglegate_core::Timestamp;

/// At most so many bytes are handed to a socket under one look at the clock.
const ONE_WRITE: usize = 256 << 10;
/// Buffers that are kept for the next session that has something to send.
const POOLED: usize = 64;
const POOLED_BYTES: usize = 256 << 10;

/// What those take.
pub(crate) const POOL_MEMORY: usize = POOLED * POOLED_BYTES;

static POOL: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

/// Neighbouring packets under the same bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Segment {
    /// Exclusive end of the right.
    until: Timestamp,
    /// When the message expires. A packet that does has a segment of its own.
    expires: Timestamp,
    /// Bytes from the first packet that was not handed over whole.
    bytes: usize,
    /// PUBLISH packets among them.
    messages: u32,
}

/// How long packets may be handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bounds {
    /// The permit to read them.
    pub(crate) permit: ReadPermit,
    /// When the message expires.
    pub(crate) expires: Timestamp,
}

/// For control packets and what has no end.
const NEVER: Timestamp = Timestamp::FOREVER;

#[cfg(test)]
impl Bounds {
    /// Of messages that do not expire, until so many milliseconds.
    pub(crate) fn until(until: u64) -> Self {
        Self {
            permit: ReadPermit::unchecked(until),
            expires: NEVER,
        }
    }

    /// Without an end.
    pub(crate) fn none() -> Self {
        Self::until(NEVER.0)
    }
}

/// A queue of packets. Holds no memory while it is empty.
#[derive(Debug, Default)]
pub(crate) struct Packets {
    bytes: Vec<u8>,
    /// Where the first packet begins that was not handed over whole.
    start: usize,
    /// How much of it was handed over.
    part: usize,
    /// How many bytes behind that the socket has sealed into a piece that has not wholly left.
    sealed: Option<usize>,
    segments: VecDeque<Segment>,
    /// Packets that are no messages, added since they were counted last, and their bytes.
    controls: (u32, u32),
}

/// What [`Packets::next`] found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next<'a> {
    /// Nothing is left.
    Empty,
    /// Hand these over, now.
    Bytes(&'a [u8]),
    /// The piece that the socket has sealed may leave, now.
    Sealed,
    /// The right ended in the middle of a packet, or in a sealed piece. It must not be completed,
    /// and nothing can follow half of it: the connection is over.
    Cut,
}

/// Messages that were handed over whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HandedOver {
    pub(crate) messages: u64,
    /// The earliest end of their rights.
    pub(crate) ends: Timestamp,
}

impl HandedOver {
    pub(crate) const NOTHING: Self = Self {
        messages: 0,
        ends: Timestamp::FOREVER,
    };

    fn add(&mut self, messages: u32, until: Timestamp) {
        if messages != 0 {
            self.messages += u64::from(messages);
            self.ends = self.ends.min(until);
        }
    }
}

/// Messages that were dropped instead of handed over.
#[derive(Debug, Default)]
pub(crate) struct Dropped {
    /// Their right had ended.
    pub(crate) ended: u64,
    /// They had expired.
    pub(crate) expired: u64,
    /// They are larger than the client accepts.
    pub(crate) too_large: u64,
    /// Packet identifiers that they had, and why: nobody will acknowledge them.
    pub(crate) ids: Vec<(u16, Unsent)>,
    /// Those that are not counted, because others of a group may get them.
    pub(crate) left: Vec<Left>,
}

impl Packets {
    /// True when nothing is left to hand over.
    pub(crate) fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// Bytes left to hand over.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len() - self.start - self.part
    }

    /// Bytes of memory that they take, with what it takes to know their bounds; vectors may have
    /// room for twice as many.
    pub(crate) fn cost(&self) -> usize {
        let more = self.segments.len().saturating_sub(1);
        self.len() + more * size_of::<Segment>()
    }

    /// Bytes left of a packet that was handed over in part; 0 when none was.
    pub(crate) fn begun(&self) -> usize {
        match self.part {
            0 => 0,
            part => frame_length(&self.bytes[self.start..]) - part,
        }
    }

    /// Adds whole packets, `messages` of them PUBLISH packets.
    pub(crate) fn push(&mut self, packets: &[u8], messages: u32, bounds: Bounds) {
        self.open().extend_from_slice(packets);
        let Bounds { permit, expires } = bounds;
        self.close(packets.len(), messages, permit.until(), expires);
    }

    /// Adds the packets that `write` appends; they need no right.
    pub(crate) fn push_control(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let bytes = self.open();
        let before = bytes.len();
        write(bytes);
        let added = bytes.len() - before;
        let (mut at, mut count) = (before, 0);
        while at < bytes.len() {
            at += frame_length(&bytes[at..]);
            count += 1;
        }
        if added != 0 {
            debug_assert_ne!(bytes[before] >> 4, 3, "a PUBLISH needs a permit");
            let length = u32::try_from(added).unwrap_or(u32::MAX);
            self.controls.0 = self.controls.0.saturating_add(count);
            self.controls.1 = self.controls.1.saturating_add(length);
            self.close(added, 0, NEVER, NEVER);
        }
    }

    /// Adds a PUBLISH.
    pub(crate) fn push_message(&mut self, delivery: &Delivery<'_>, bounds: Bounds) {
        let bytes = self.open();
        let before = bytes.len();
        delivery.put(bytes);
        let added = bytes.len() - before;
        let Bounds { permit, expires } = bounds;
        self.close(added, 1, permit.until(), expires);
    }

    /// How many packets that are no messages were added since the last call, and their bytes.
    pub(crate) fn take_controls(&mut self) -> (u64, u64) {
        let (packets, bytes) = std::mem::take(&mut self.controls);
        (packets.into(), bytes.into())
    }

    /// Messages in it.
    pub(crate) fn messages(&self) -> u64 {
        let messages = self.segments.iter().map(|it| u64::from(it.messages));
        messages.sum()
    }

    fn open(&mut self) -> &mut Vec<u8> {
        if self.bytes.capacity() == 0 {
            self.bytes = POOL.lock().pop().unwrap_or_default();
        } else if self.start > 4_096 && self.start > self.bytes.len() / 2 {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        &mut self.bytes
    }

    fn close(&mut self, bytes: usize, messages: u32, until: Timestamp, expires: Timestamp) {
        match self.segments.back_mut() {
            Some(last)
                if (last.until, last.expires) == (until, expires)
                    && expires == Timestamp::FOREVER =>
            {
                last.bytes += bytes;
                last.messages += messages;
            }
            _ => self.segments.push_back(Segment {
                until,
                expires,
                bytes,
                messages,
            }),
        }
    }

    /// What may be handed over at `now`. Drops packets whose time is over on the way.
    pub(crate) fn next(
        &mut self,
        now: Timestamp,
        version: Version,
        dropped: &mut Dropped,
    ) -> Next<'_> {
        if self.sealed.is_some() {
            return if self.sealed_may_leave(now) {
                Next::Sealed
            } else {
                Next::Cut
            };
        }
        while let Some(first) = self.segments.front() {
            let why = if now >= first.until {
                if self.part != 0 {
                    return Next::Cut;
                }
                dropped.ended += u64::from(first.messages);
                Unsent::Ended
            } else if now >= first.expires && self.part == 0 {
                dropped.expired += u64::from(first.messages);
                Unsent::Expired
            } else {
                break;
            };
            let end = self.start + first.bytes;
            while self.start < end {
                let packet = &self.bytes[self.start..end];
                dropped.ids.extend(packet_id_of(packet).map(|id| (id, why)));
                self.start += frame_length(packet);
            }
            self.segments.pop_front();
        }
        if self.segments.is_empty() {
            self.release();
            return Next::Empty;
        }
        let end = self.live_end(now, version);
        Next::Bytes(&self.bytes[self.start + self.part..end])
    }

    /// True while the rights of all packets in the sealed piece run. Whether they expire does not
    /// count: they are begun.
    fn sealed_may_leave(&self, now: Timestamp) -> bool {
        let mut left = self.part + self.sealed.unwrap_or(0);
        for segment in &self.segments {
            if now >= segment.until {
                return false;
            }
            left = left.saturating_sub(segment.bytes);
            if left == 0 {
                break;
            }
        }
        true
    }

    /// Tells that the socket has sealed the next `count` bytes, and not sent them wholly.
    pub(crate) fn seal(&mut self, count: usize) {
        debug_assert_eq!(self.sealed, None, "one piece at a time");
        self.sealed = Some(count);
    }

    /// Tells that the sealed piece has left; returns how many bytes it had, and the messages
    /// that are thereby complete.
    pub(crate) fn unseal(&mut self) -> (usize, HandedOver) {
        let count = self.sealed.take().unwrap_or(0);
        (count, self.handed_over(count))
    }

    /// End of the bytes that may be handed over together at `now`; the first segment may be.
    fn live_end(&mut self, now: Timestamp, version: Version) -> usize {
        let (mut end, mut first) = (self.start, true);
        for segment in &self.segments {
            if now >= segment.until || (now >= segment.expires && !first) {
                break;
            }
            let begun = first && self.part != 0;
            if segment.expires != Timestamp::FOREVER && !begun {
                let left = segment.expires.millis_since(now).div_ceil(1_000);
                let seconds = u32::try_from(left).unwrap_or(u32::MAX);
                patch_expiry(&mut self.bytes[end..end + segment.bytes], version, seconds);
            }
            end += segment.bytes;
            first = false;
            if end - self.start >= ONE_WRITE {
                break;
            }
        }
        end.min(self.start + self.part + ONE_WRITE)
    }

    /// Tells that the first `count` of the bytes were handed over; returns the messages that are
    /// thereby complete.
    pub(crate) fn handed_over(&mut self, count: usize) -> HandedOver {
        let mut complete = HandedOver::NOTHING;
        self.part += count;
        while let Some(first) = self.segments.front_mut() {
            if self.part >= first.bytes {
                self.part -= first.bytes;
                self.start += first.bytes;
                complete.add(first.messages, first.until);
                self.segments.pop_front();
                continue;
            }
            // Part of the segment: find the packet in which the bytes ended.
            loop {
                let packet = &self.bytes[self.start..];
                let length = frame_length(packet);
                if length > self.part {
                    break;
                }
                let message = u32::from(packet[0] >> 4 == 3);
                first.messages -= message;
                complete.add(message, first.until);
                first.bytes -= length;
                self.start += length;
                self.part -= length;
            }
            break;
        }
        if self.segments.is_empty() {
            self.release();
        }
        complete
    }

    /// Looks the end of the right of every packet up again.
    pub(crate) fn review(&mut self, right_of: impl Fn(&str) -> ReadRight) {
        let (start, part) = (self.start, self.part);
        let segments = std::mem::take(&mut self.segments);
        let mut at = start;
        for segment in segments {
            let end = at + segment.bytes;
            while at < end {
                let packet = &self.bytes[at..end];
                let packet = &packet[..frame_length(packet)];
                let topic = topic_of(packet);
                let until = topic.map_or(NEVER, |topic| right_of(topic).until());
                let length = packet.len();
                let messages = u32::from(topic.is_some());
                self.close(length, messages, until, segment.expires);
                at += length;
            }
        }
        debug_assert_eq!((self.start, self.part), (start, part));
    }

    /// Identifiers of the messages with QoS 1 and 2 that were not begun.
    pub(crate) fn not_begun(&self) -> Vec<u16> {
        let begun = self.start + self.part + self.sealed.unwrap_or(0);
        let (mut at, mut ids) = (self.start, vec![]);
        while at < self.bytes.len() {
            let packet = &self.bytes[at..];
            if at >= begun {
                ids.extend(packet_id_of(packet));
            }
            at += frame_length(packet);
        }
        ids
    }

    /// Forgets every packet that was not begun.
    pub(crate) fn keep_begun(&mut self) {
        let begun = self.start + self.part + self.sealed.unwrap_or(0);
        let mut end = self.start;
        for mut segment in std::mem::take(&mut self.segments) {
            let (from, behind) = (end, end + segment.bytes);
            segment.messages = 0;
            while end < begun && end < behind {
                segment.messages += u32::from(self.bytes[end] >> 4 == 3);
                end += frame_length(&self.bytes[end..]);
            }
            segment.bytes = end - from;
            if segment.bytes != 0 {
                self.segments.push_back(segment);
            }
        }
        self.bytes.truncate(end);
        if self.segments.is_empty() {
            self.release();
        }
    }

    /// Gives the memory back; there is nothing left in it.
    fn release(&mut self) {
        debug_assert!(self.segments.is_empty());
        (self.start, self.part, self.sealed) = (0, 0, None);
        if self.segments.capacity() > 64 {
            self.segments = VecDeque::new();
        }
        let mut bytes = std::mem::take(&mut self.bytes);
        if bytes.capacity() != 0 && bytes.capacity() <= POOLED_BYTES {
            bytes.clear();
            let mut pool = POOL.lock();
            if pool.len() < POOLED {
                pool.push(bytes);
            }
        }
    }
}
