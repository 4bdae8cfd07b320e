//! The outbox under random traffic, watched from the other end of the socket.

use super::*;
use crate::wire::{cut, frame_length};
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::HashMap;

/// What can happen to an outbox.
#[derive(Debug, Clone)]
enum Step {
    /// A message on topic `t<n>`, for which the right ends at `ends[n]`.
    Push {
        topic: usize,
        qos: u8,
        padding: usize,
    },
    /// The session takes what is ready and hands some bytes over.
    Hand(usize),
    /// The session takes what is ready, and the socket seals some bytes of it without sending.
    Seal(usize),
    /// The client acknowledges the oldest message it has.
    Acknowledge,
    /// Time goes by.
    Wait(u64),
    /// The right to a topic gets another end.
    Change { topic: usize, end: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..3_usize, 0..2_u8, 0..40_usize)
            .prop_map(|(topic, qos, padding)| Step::Push { topic, qos, padding }),
        4 => (1..90_usize).prop_map(Step::Hand),
        2 => (1..90_usize).prop_map(Step::Seal),
        2 => Just(Step::Acknowledge),
        1 => (1..4_u64).prop_map(Step::Wait),
        1 => (0..3_usize, 0..60_u64).prop_map(|(topic, end)| Step::Change { topic, end }),
    ]
}

const IN_FLIGHT: u16 = 3;
const LIMIT: usize = 300;
const V311: Version = Version::V311;

/// An outbox, its session and its client.
struct World {
    outbox: Outbox,
    writing: Packets,
    /// What the socket has sealed and not sent.
    sealed: Vec<u8>,
    now: u64,
    ends: [u64; 3],
    /// Messages that were queued, and messages that were dropped for their end.
    pushed: u16,
    ended: u64,
    /// At the client: bytes of an incomplete packet, messages, identifiers to acknowledge, and
    /// the last message of each topic and QoS.
    bytes: Vec<u8>,
    received: u64,
    open: Vec<u16>,
    last: HashMap<(u8, u8), u16>,
    /// The connection was cut in mid-packet.
    cut: bool,
}

impl World {
    fn new() -> Self {
        Self {
            outbox: Outbox::new(LIMIT, IN_FLIGHT, false),
            writing: Packets::default(),
            sealed: vec![],
            now: 0,
            ends: [20, 40, 60],
            pushed: 0,
            ended: 0,
            bytes: vec![],
            received: 0,
            open: vec![],
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
            Step::Acknowledge if self.open.is_empty() => {}
            Step::Acknowledge => {
                let (id, mut dropped) = (self.open.remove(0), Dropped::default());
                let now = Timestamp(self.now);
                self.outbox.lock().acknowledged(id, now, V311, &mut dropped);
                self.ended += dropped.ended;
            }
            Step::Wait(time) => self.now += time,
            Step::Change { topic, end } => {
                self.ends[topic] = end;
                let ends = self.ends;
                let until_of = |it: &str| Timestamp(ends[usize::from(it.as_bytes()[1] - b'0')]);
                self.writing.review(until_of);
                self.outbox.lock().review(until_of);
            }
        }
    }

    fn push(&mut self, topic: usize, qos: u8, padding: usize) {
        let name = format!("t{topic}");
        let payload = [&self.pushed.to_be_bytes()[..], &vec![0; padding]].concat();
        let delivery = Delivery {
            version: V311,
            qos,
            retain: false,
            topic: &name,
            expiry: None,
            ids: &[],
            forwarded: &[],
            payload: &payload,
        };
        let until = Timestamp(self.ends[topic]);
        let mut queue = self.outbox.lock();
        let fits = delivery.size() <= queue.room();
        let pushed = queue.push_message(
            &delivery,
            Bounds {
                until,
                ..Bounds::NONE
            },
        );
        assert_eq!(pushed == Pushed::Queued, fits);
        self.pushed += u16::from(fits);
    }

    fn hand(&mut self, most: usize, seal: bool) {
        if self.writing.is_empty() {
            self.outbox.lock().take(&mut self.writing);
        }
        let (now, mut dropped) = (Timestamp(self.now), Dropped::default());
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
            queue.left(self.writing.len());
            queue.give_back(now, V311, &mut dropped);
        }
        self.ended += dropped.ended;
        if self.bytes.len() > before {
            self.receive();
        }
    }

    /// Every packet that is here, whole or not, got bytes just now: its right must run.
    fn receive(&mut self) {
        while self.bytes.len() > 5 {
            let topic = self.bytes[5] - b'0';
            assert!(
                self.now < self.ends[usize::from(topic)],
                "t{topic} at {}",
                self.now
            );
            let length = frame_length(&self.bytes);
            if self.bytes.len() < length {
                break;
            }
            let packet: Vec<u8> = self.bytes.drain(..length).collect();
            let frame = cut(&packet, u32::MAX).unwrap().unwrap();
            let message = crate::wire::Publish::read(V311, &frame).unwrap();
            let number = u16::from_be_bytes([message.payload[0], message.payload[1]]);
            let before = self.last.insert((topic, message.qos), number);
            assert!(before.is_none_or(|it| it < number), "in order");
            self.received += 1;
            if message.qos == 1 {
                assert!(!self.open.contains(&message.packet_id));
                self.open.push(message.packet_id);
            }
        }
        assert!(self.open.len() <= usize::from(IN_FLIGHT));
    }

    /// After all rights have ended, every message was received or dropped.
    fn settle(mut self) {
        self.now = 1_000;
        while !self.cut && self.received + self.ended < u64::from(self.pushed) {
            let before = self.ended;
            self.hand(usize::MAX, false);
            self.step(Step::Acknowledge);
            let lost = u64::from(self.pushed) - self.received - self.ended;
            assert!(
                self.cut || self.ended > before || !self.open.is_empty(),
                "{lost} are lost"
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn nothing_leaves_after_its_end_and_nothing_else_is_lost(steps in vec(step(), 1..100)) {
        let mut world = World::new();
        for step in steps {
            world.step(step);
            if world.cut {
                return Ok(());
            }
        }
        world.settle();
    }
}
