//! The outbox under random traffic, watched from the other end of the socket.

use super::*;
use crate::message::StoredMessage;
use crate::wire::{Acknowledgement, PacketKind, Publish, cut, frame_length};
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};

/// What can happen to an outbox.
#[derive(Debug, Clone)]
enum Step {
    /// A message on topic `t<n>`, for which the right ends at `ends[n]`.
    Push {
        topic: usize,
        qos: u8,
        padding: usize,
    },
    /// The connection takes what is ready and hands some bytes over.
    Hand(usize),
    /// The connection takes what is ready, and the socket seals some bytes of it without sending.
    Seal(usize),
    /// The client gives the oldest answer that it owes.
    Answer,
    /// Time goes by.
    Wait(u64),
    /// The right to a topic gets another end.
    Change { topic: usize, end: u64 },
    /// The connection breaks, and the client connects again.
    Reconnect,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..3_usize, 0..3_u8, 0..40_usize)
            .prop_map(|(topic, qos, padding)| Step::Push { topic, qos, padding }),
        8 => (1..90_usize).prop_map(Step::Hand),
        4 => (1..90_usize).prop_map(Step::Seal),
        6 => Just(Step::Answer),
        2 => (1..4_u64).prop_map(Step::Wait),
        2 => (0..3_usize, 1..60_u64).prop_map(|(topic, end)| Step::Change { topic, end }),
        1 => Just(Step::Reconnect),
    ]
}

const IN_FLIGHT: u16 = 3;
const LIMIT: usize = 600;
const V311: Version = Version::V311;
const TERMS: Terms = Terms {
    version: V311,
    packet_bytes: 1_000,
};

/// An outbox, its connection and its client.
struct World {
    outbox: Outbox,
    writing: Packets,
    /// What the socket has sealed and not sent.
    sealed: Vec<u8>,
    now: u64,
    ends: [u64; 3],
    pushed: u16,
    /// Messages that were queued and have not arrived, by QoS.
    missing: [BTreeSet<u16>; 3],
    /// Messages that were dropped for their end.
    ended: u64,
    /// At the client: bytes of an incomplete packet, answers that it owes, QoS 2 identifiers
    /// that it has not been told to forget, and the last message of each topic and QoS.
    bytes: Vec<u8>,
    owed: VecDeque<(PacketKind, u16)>,
    known: HashSet<u16>,
    last: HashMap<(u8, u8), u16>,
    /// The connection was cut in mid-packet.
    cut: bool,
}

impl World {
    fn new() -> Self {
        let outbox = Outbox::new(Room::of(LIMIT), IN_FLIGHT, None);
        outbox.lock().connect(IN_FLIGHT, true);
        Self {
            outbox,
            writing: Packets::default(),
            sealed: vec![],
            now: 0,
            ends: [20, 40, 60],
            pushed: 0,
            missing: Default::default(),
            ended: 0,
            bytes: vec![],
            owed: VecDeque::new(),
            known: HashSet::new(),
            last: HashMap::new(),
            cut: false,
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Push {
                topic,
                qos,
                padding,
            } => self.push(topic, qos, padding),
            Step::Hand(bytes) => self.hand(bytes, false),
            Step::Seal(bytes) => self.hand(bytes, true),
            Step::Answer => self.answer(),
            Step::Wait(time) => self.now += time,
            Step::Change { topic, end } => {
                self.ends[topic] = end;
                let ends = self.ends;
                let right_of =
                    |it: &str| ReadRight::unchecked(ends[usize::from(it.as_bytes()[1] - b'0')]);
                self.writing.review(right_of);
                let ended = self.outbox.lock().review(right_of, Timestamp(self.now));
                self.ended += ended.dropped;
            }
            Step::Reconnect => self.reconnect(),
        }
    }

    fn push(&mut self, topic: usize, qos: u8, padding: usize) {
        let name = format!("t{topic}");
        let payload = [&self.pushed.to_be_bytes()[..], &vec![0; padding]].concat();
        let permit = ReadPermit::unchecked(self.ends[topic]);
        let mut queue = self.outbox.lock();
        let pushed = if qos == 0 {
            let delivery = Delivery {
                version: V311,
                qos,
                packet_id: 0,
                duplicate: false,
                retain: false,
                topic: &name,
                expiry: None,
                ids: &[],
                forwarded: &[],
                payload: &payload,
            };
            let fits = delivery.size() <= queue.room();
            let bounds = Bounds::until(self.ends[topic]);
            let pushed = queue.push_message(&delivery, bounds);
            assert_eq!(pushed == Pushed::Queued, fits);
            pushed
        } else {
            queue.push_queued(Queued {
                message: StoredMessage::new(&name, &[], &payload, Timestamp::FOREVER),
                qos,
                retain: false,
                ids: None,
                permit: Some(permit),
                share: None,
            })
        };
        if pushed == Pushed::Queued {
            self.missing[usize::from(qos)].insert(self.pushed);
            self.pushed += 1;
        }
    }

    fn hand(&mut self, most: usize, seal: bool) {
        let (now, mut dropped) = (Timestamp(self.now), Dropped::default());
        if self.writing.is_empty() {
            let mut queue = self.outbox.lock();
            queue.take(&mut self.writing, TERMS, now, &mut dropped);
        }
        let before = self.bytes.len();
        let handed = match self.writing.next(now, V311, &mut dropped) {
            Next::Bytes(next) if seal => {
                self.sealed = next[..next.len().min(most)].to_vec();
                self.writing.seal(self.sealed.len());
                0
            }
            Next::Bytes(next) => {
                let handed = next.len().min(most);
                self.bytes.extend_from_slice(&next[..handed]);
                handed
            }
            Next::Sealed if seal => 0,
            Next::Sealed => {
                self.bytes.append(&mut self.sealed);
                self.writing.unseal();
                0
            }
            Next::Empty => 0,
            Next::Cut => {
                self.cut = true;
                return;
            }
        };
        self.writing.handed_over(handed);
        {
            let mut queue = self.outbox.lock();
            queue.give_back(&mut self.writing, &mut dropped);
            queue.left(self.writing.len());
        }
        self.ended += dropped.ended;
        if self.bytes.len() > before {
            self.receive();
        }
    }

    fn receive(&mut self) {
        while self.bytes.len() >= 2 {
            let length = frame_length(&self.bytes);
            let publish = self.bytes[0] >> 4 == 3;
            if publish && self.bytes.len() > 5 {
                // Whole or not, it got bytes just now: its right must run.
                let topic = usize::from(self.bytes[5] - b'0');
                assert!(self.now < self.ends[topic], "t{topic} at {}", self.now);
            }
            if self.bytes.len() < length {
                break;
            }
            let packet: Vec<u8> = self.bytes.drain(..length).collect();
            let frame = cut(&packet, u32::MAX).unwrap().unwrap();
            if publish {
                let again = packet[0] & 0x08 != 0;
                self.take(&Publish::read(V311, &frame).unwrap(), again);
            } else {
                assert_eq!(frame.kind(), Ok(PacketKind::PublishRelease));
                let kind = PacketKind::PublishRelease;
                let id = Acknowledgement::read(V311, kind, frame.body).unwrap();
                self.known.remove(&id.packet_id);
                self.owed
                    .push_back((PacketKind::PublishComplete, id.packet_id));
            }
        }
    }

    fn take(&mut self, message: &Publish<'_>, again: bool) {
        let (id, qos) = (message.packet_id, message.qos);
        let number = u16::from_be_bytes([message.payload[0], message.payload[1]]);
        let key = (message.topic[1], qos);
        let new = self.missing[usize::from(qos)].remove(&number);
        if qos == 2 && !self.known.insert(id) {
            assert!(again && !new, "under an identifier that is in use: {id}");
        } else {
            assert!(new || (qos == 1 && again), "message {number} came twice");
        }
        if new {
            let before = self.last.insert(key, number);
            assert!(before.is_none_or(|it| it < number), "in order");
        }
        let answer = match qos {
            0 => return,
            1 => PacketKind::PublishAcknowledge,
            _ => PacketKind::PublishReceived,
        };
        self.owed.push_back((answer, id));
        assert!(self.owed.len() <= usize::from(IN_FLIGHT));
    }

    fn answer(&mut self) {
        let Some((kind, id)) = self.owed.pop_front() else {
            return;
        };
        let mut queue = self.outbox.lock();
        match kind {
            PacketKind::PublishReceived => {
                assert!(queue.received(id, false));
                self.writing
                    .push_control(|out| acknowledge(out, Answer::Release, id));
            }
            PacketKind::PublishComplete => assert!(queue.completed(id)),
            _ => assert!(queue.acknowledged(id)),
        }
    }

    fn reconnect(&mut self) {
        (self.writing, self.bytes) = (Packets::default(), vec![]);
        self.sealed.clear();
        self.owed.clear();
        self.missing[0].clear();
        self.cut = false;
        self.outbox.lock().connect(IN_FLIGHT, true);
    }

    /// After all rights have ended, every message was received or dropped.
    fn settle(mut self) {
        self.now = 1_000;
        self.reconnect();
        for _ in 0..1_000 {
            self.hand(usize::MAX, false);
            self.answer();
        }
        let missing: usize = self.missing.iter().map(BTreeSet::len).sum();
        assert!(missing as u64 <= self.ended, "some are lost");
        assert_eq!(self.outbox.lock().room(), LIMIT, "nothing is left behind");
        assert!(
            self.known.is_empty(),
            "the client can forget every identifier"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn nothing_leaves_after_its_end_and_nothing_else_is_lost(steps in vec(step(), 1..120)) {
        let mut world = World::new();
        for step in steps {
            world.step(step);
            if world.cut {
                world.reconnect();
            }
        }
        world.settle();
    }
}
