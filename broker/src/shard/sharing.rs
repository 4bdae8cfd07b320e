//! Messages that one of a group gets (MQTT 5.0 §4.8.2).
//!
//! The members take turns. Whoever may not read the topic at this moment is passed over, and so
//! is whoever could not take the message: **a member is chosen only when the message is his**.
//! Those who are behind get something only when nobody keeps up, the least burdened first, and
//! those who are away only when nobody is there.

use super::groups::Group;
use super::recipients::Recipient;
use super::walk::{Serving, Tally, Walk};
use super::{Shard, Share, Slots, State};
use crate::outbox::{Left, Pace, Portion, Pushed, Queue};
use crate::permit::{ReadPermit, Withheld};
use crate::record::RecordWriter;
use crate::store::Mark;
use std::sync::Arc;
use std::task::Waker;
use tanglegate_core::Timestamp;

/// A message of a run.
#[derive(Clone, Copy)]
struct Piece<'a> {
    /// Which one of the run.
    number: usize,
    payload: &'a [u8],
    share: &'a Arc<Share>,
}

/// Why nobody got a message: the reason that was nearest to somebody's getting it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Missed {
    NoRight,
    /// A right has ended.
    Ended,
    /// Everybody is away, and the message is not kept.
    Away,
    TooLarge,
    /// There is no room.
    Full,
}

impl Serving<'_> {
    /// Puts each message of the run into the outbox of one of the members.
    pub(super) fn share_out(
        &mut self,
        group: &mut Group,
        members: &mut [Recipient],
        slots: &Slots,
        wakers: &mut Vec<Waker>,
        tally: &mut Tally,
    ) {
        for (number, payload) in self.run.payloads().enumerate() {
            let piece = Piece {
                number,
                payload,
                share: &group.share,
            };
            let missed = match self.give(piece, &mut group.turn, members, slots) {
                Ok((mark, waker)) => {
                    tally.mark = tally.mark.max(mark);
                    wakers.extend(waker);
                    continue;
                }
                Err(missed) => missed,
            };
            match missed {
                Missed::NoRight => tally.withheld += 1,
                Missed::Ended => tally.withheld_ended += 1,
                Missed::Away => {}
                Missed::TooLarge => tally.too_large += 1,
                Missed::Full => tally.slow += 1,
            }
        }
    }

    /// Gives a message to one of the members; returns what was recorded of it, and who is to be
    /// woken for it.
    fn give(
        &mut self,
        piece: Piece<'_>,
        turn: &mut usize,
        members: &mut [Recipient],
        slots: &Slots,
    ) -> Result<(Mark, Option<Waker>), Missed> {
        let (first, mut missed) = (*turn, Missed::NoRight);
        let mut behind = vec![];
        for step in 0..members.len() {
            let member = &mut members[first.wrapping_add(step) % members.len()];
            let slot = slots.get(member.slot);
            member.bring_up_to_date(self.run.topic, slot);
            let permit = match member.right.at(self.now) {
                Ok(permit) => permit,
                Err(Withheld::NoRight) => continue,
                Err(Withheld::Ended) => {
                    missed = missed.max(Missed::Ended);
                    continue;
                }
            };
            let mut queue = slot.outbox.lock();
            let pace = queue.pace();
            if pace != Pace::KeepsUp {
                behind.push((pace, step, permit));
                continue;
            }
            match self.put(piece, (member, permit), slot, &mut queue) {
                Ok(()) => {
                    *turn = first.wrapping_add(step + 1);
                    return Ok((queue.mark(), queue.take_waker()));
                }
                Err(why) => missed = missed.max(why),
            }
        }
        behind.sort_unstable_by_key(|(pace, step, _)| (*pace, *step));
        for (_, step, permit) in behind {
            let member = &members[first.wrapping_add(step) % members.len()];
            let slot = slots.get(member.slot);
            let mut queue = slot.outbox.lock();
            match self.put(piece, (member, permit), slot, &mut queue) {
                Ok(()) => {
                    *turn = first.wrapping_add(step + 1);
                    return Ok((queue.mark(), queue.take_waker()));
                }
                Err(why) => missed = missed.max(why),
            }
        }
        Err(missed)
    }

    /// Puts a message into the outbox of a member that may read it.
    fn put(
        &mut self,
        piece: Piece<'_>,
        (member, permit): (&Recipient, ReadPermit),
        slot: &super::Slot,
        queue: &mut Queue,
    ) -> Result<(), Missed> {
        let qos = self.run.qos.min(member.qos); // [MQTT-4.8.2-3]
        let bounds = self.bounds(permit);
        let delivery = self.delivery(slot, member, qos, piece.payload);
        if delivery.size() > slot.packet_bytes as usize {
            return Err(Missed::TooLarge);
        }
        let pushed = if qos == 0 {
            queue.push_message(&delivery, bounds)
        } else {
            let portion = Portion {
                share: Arc::clone(piece.share),
                qos: self.run.qos,
                retain: self.run.retain,
            };
            let queued = self.queued(piece.number, (member, permit), qos, Some(Box::new(portion)));
            queue.push_left(queued, &mut self.place)
        };
        match pushed {
            Pushed::Queued => Ok(()),
            Pushed::Away => Err(Missed::Away),
            Pushed::Full | Pushed::Starved => Err(Missed::Full),
        }
    }
}

impl State {
    /// Serves one group only.
    pub(super) fn serve_group(
        &mut self,
        share: &Share,
        mut serving: Serving<'_>,
        wakers: &mut Vec<Waker>,
        tally: &mut Tally,
    ) {
        // Nobody is left: then the message is nobody's.
        let Some(number) = self.groups.number(share) else {
            return;
        };
        let topic = serving.run.topic;
        let audience = (self.recipients).of(topic, &self.index, &self.groups, &self.slots);
        let group = audience.shared.iter_mut().find(|(it, _)| *it == number);
        if let Some((_, members)) = group {
            let group = self.groups.get_mut(number);
            serving.share_out(group, members, &self.slots, wakers, tally);
        }
    }
}

impl Shard {
    /// Gives a message that a member of a group has left behind to another one.
    pub(crate) fn share_again(&self, portion: &Portion, left: Left, now: Timestamp) {
        let Left { queued, place } = left;
        let message = &queued.message;
        let expiry = message.seconds_left(now);
        if now >= message.expires() {
            return self.counters.dropped_expired.one();
        }
        let mut writer = RecordWriter::default();
        // As if it had arrived so that it expires when it does.
        let whole = u64::from(expiry.unwrap_or(0)) * 1_000;
        let arrived = expiry.map_or(now, |_| {
            Timestamp(message.expires().0.saturating_sub(whole))
        });
        writer.push_again(portion, message, expiry, arrived);
        let record = writer.finish(0);
        let mut walk = Walk::new(&record, now);
        let share = &portion.share;
        walk.through_group(&mut self.state.lock(), share, queued.message, place);
        walk.end(&self.counters);
    }
}
