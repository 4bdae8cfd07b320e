//! Aliases, read from the other end of the socket.

use super::*;
use crate::outbox::{Bounds, Dropped, Next, Packets};
use crate::permit::ReadPermit;
use crate::wire::{Delivery, Publish, PublishProperties, Version, cut};
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use tanglegate_core::Timestamp;

const V5: Version = Version::V5;

fn delivery<'a>(topic: &'a str, qos: u8, payload: &'a [u8]) -> Delivery<'a> {
    Delivery {
        version: V5,
        qos,
        packet_id: u16::from(qos != 0) * 7,
        duplicate: false,
        retain: false,
        topic,
        expiry: None,
        ids: &[],
        forwarded: &[],
        payload,
    }
}

/// A gate's side of a connection, and its client's.
struct World {
    packets: Packets,
    aliases: OwnAliases,
    now: u64,
    /// What the socket has sealed, and not sent.
    sealed: Vec<u8>,
    /// At the client: bytes of an incomplete packet, and its table.
    bytes: Vec<u8>,
    table: HashMap<u16, String>,
    /// Payload, topic and end of each message that is queued, in order.
    queued: VecDeque<(Vec<u8>, String, u64)>,
    most: u16,
    packet_bytes: usize,
    /// How many messages came, and how many of them without their topic.
    heard: usize,
    short: usize,
    number: u32,
    /// A right has ended in the middle of a packet.
    over: bool,
}

impl World {
    fn new(most: u16, packet_bytes: usize) -> Self {
        Self {
            packets: Packets::default(),
            aliases: OwnAliases::new(most, packet_bytes),
            now: 1,
            sealed: vec![],
            bytes: vec![],
            table: HashMap::new(),
            queued: VecDeque::new(),
            most,
            packet_bytes,
            heard: 0,
            short: 0,
            number: 0,
            over: false,
        }
    }

    fn push(&mut self, topic: &str, qos: u8, padding: usize, end: u64, expires: bool) {
        self.number += 1;
        let payload = [&self.number.to_be_bytes()[..], &vec![7; padding]].concat();
        let permit = ReadPermit::unchecked(end);
        let (expiry, bounds) = match expires {
            true => {
                let expires = Timestamp(end);
                (Some(9), Bounds { permit, expires })
            }
            false => (None, Bounds::until(end)),
        };
        let forwarded = [[0x26, 0, 1, b'k', 0, 1, b'v']; 19].concat();
        let delivery = Delivery {
            expiry,
            // Such that an alias makes the length of the properties longer.
            forwarded: &forwarded[..7 * (padding % 20)],
            ..delivery(topic, qos, &payload)
        };
        if delivery.size() <= self.packet_bytes {
            self.packets.push_message(&delivery, bounds);
            self.queued.push_back((payload, topic.to_owned(), end));
        }
    }

    fn control(&mut self) {
        self.packets
            .push_control(|out| out.extend_from_slice(&[0xD0, 0]));
    }

    /// Hands over at most `most` bytes, and has `sealed` more sealed.
    fn hand(&mut self, most: usize, sealed: usize) {
        let begun = self.packets.begun();
        let mut dropped = Dropped::default();
        match self.packets.next(Timestamp(self.now), V5, &mut dropped) {
            Next::Empty => {}
            Next::Cut => self.over = true,
            Next::Sealed => {
                assert_eq!(self.aliases.unseal(), self.sealed.len());
                self.packets.unseal();
                self.bytes.append(&mut self.sealed);
            }
            Next::Bytes(queued) => {
                let mut piece = vec![];
                let write = |bytes: &[u8]| {
                    piece = bytes.to_vec();
                    let left = most.min(bytes.len());
                    let sealed = sealed.min(bytes.len() - left);
                    let blocked = left + sealed < bytes.len();
                    Ok::<_, Infallible>(Handed {
                        left,
                        sealed,
                        blocked,
                    })
                };
                let progress = self.aliases.hand_over(queued, begun, write).unwrap();
                let left = progress.sent;
                self.bytes.extend_from_slice(&piece[..left]);
                if let Some(count) = progress.sealed {
                    let end = (left + sealed).min(piece.len());
                    self.sealed = piece[left..end].to_vec();
                    self.packets.handed_over(progress.left);
                    self.packets.seal(count);
                } else {
                    self.packets.handed_over(progress.left);
                }
            }
        }
        self.receive();
    }

    fn receive(&mut self) {
        while let Ok(Some(frame)) = cut(&self.bytes, u32::MAX) {
            let length = frame.whole.len();
            assert!(length <= self.packet_bytes, "[MQTT-3.1.2-24]");
            if frame.first >> 4 == 3 {
                let publish = Publish::read(V5, &frame).unwrap();
                let properties = PublishProperties::read(publish.properties).unwrap();
                let topic = String::from_utf8(publish.topic.to_vec()).unwrap();
                self.short += usize::from(topic.is_empty());
                let topic = match properties.alias {
                    Some(alias) => {
                        // [MQTT-3.3.2-8], [MQTT-3.3.2-11]
                        assert!((1..=self.most).contains(&alias), "alias {alias}");
                        if !topic.is_empty() {
                            self.table.insert(alias, topic);
                        }
                        self.table
                            .get(&alias)
                            .expect("an alias that was set")
                            .clone()
                    }
                    None => topic,
                };
                self.heard += 1;
                // What was dropped had ended.
                loop {
                    let (payload, wanted, end) = self.queued.pop_front().expect("in order");
                    if payload == publish.payload {
                        assert_eq!(topic, wanted);
                        break;
                    }
                    assert!(end <= self.now, "only what has ended is dropped");
                }
            }
            self.bytes.drain(..length);
        }
        if self.bytes.is_empty() && self.sealed.is_empty() {
            assert_eq!(
                self.aliases.table.topics(),
                self.table,
                "both have one table"
            );
        }
    }

    fn drain(&mut self) {
        while !self.packets.is_empty() && !self.over {
            self.hand(usize::MAX, 0);
        }
    }
}

#[test]
fn the_first_message_of_a_topic_sets_an_alias_and_the_others_have_it_in_its_place() {
    // MQTT 5.0 §3.3.2.3.4, [MQTT-3.3.2-12]
    let mut world = World::new(2, usize::MAX);
    for topic in ["sensor/1", "sensor/1", "sensor/2", "sensor/1", "t"] {
        let end = u64::MAX;
        world
            .packets
            .push_message(&delivery(topic, 0, b"x"), Bounds::until(end));
    }
    let mut out = vec![];
    let all = |packets: &mut Packets| match packets.next(Timestamp(0), V5, &mut Dropped::default())
    {
        Next::Bytes(bytes) => bytes.to_vec(),
        other => panic!("{other:?}"),
    };
    let queued = all(&mut world.packets);
    let write = |bytes: &[u8]| {
        out = bytes.to_vec();
        let left = bytes.len();
        Ok::<_, Infallible>(Handed {
            left,
            ..Handed::default()
        })
    };
    let progress = world.aliases.hand_over(&queued, 0, write).unwrap();
    assert_eq!((progress.left, progress.sent), (queued.len(), out.len()));
    let set =
        |alias, topic: &[u8]| [&[0x30, 15, 0, 8][..], topic, &[3, 0x23, 0, alias, b'x']].concat();
    let one = [0x30, 7, 0, 0, 3, 0x23, 0, 1, b'x'];
    let plain = [0x30, 5, 0, 1, b't', 0, b'x'];
    let expected = [
        &set(1, b"sensor/1"),
        &one[..],
        &set(2, b"sensor/2"),
        &one,
        &plain,
    ];
    assert_eq!(out, expected.concat());
}

#[test]
fn an_alias_whose_packet_was_dropped_is_set_by_the_next() {
    let mut world = World::new(2, usize::MAX);
    world.push("topic/a", 0, 0, 10, false);
    world.push("topic/a", 1, 0, 99, true);
    // The socket takes nothing of it, and the right ends.
    world.hand(0, 0);
    world.now = 10;
    world.drain();
    assert_eq!((world.heard, world.short), (1, 0));
    world.push("topic/a", 1, 0, 99, true);
    world.drain();
    assert_eq!((world.heard, world.short), (2, 1));
}

#[test]
fn a_packet_that_only_its_alias_makes_too_large_goes_without() {
    // [MQTT-3.1.2-24], [MQTT-3.1.2-25]
    let size = delivery("topic/a", 0, &[0; 4]).size();
    for (more, short) in [(0, 0), (2, 0), (3, 2)] {
        let mut world = World::new(2, size + more);
        for _ in 0..3 {
            let bounds = Bounds::until(u64::MAX);
            world
                .packets
                .push_message(&delivery("topic/a", 0, &[0; 4]), bounds);
            world
                .queued
                .push_back((vec![0; 4], "topic/a".to_owned(), u64::MAX));
        }
        world.drain();
        assert_eq!((world.heard, world.short), (3, short), "{more} bytes more");
    }
}

#[test]
fn large_packets_go_in_pieces_behind_their_heads() {
    let mut world = World::new(2, usize::MAX);
    for _ in 0..3 {
        world.push("topic/large", 1, 400_000, u64::MAX, false);
        world.push("topic/small", 1, 4, u64::MAX, false);
    }
    world.drain();
    assert_eq!((world.heard, world.short), (6, 4));
}

/// What can happen.
#[derive(Debug, Clone)]
enum Step {
    Push {
        topic: usize,
        qos: u8,
        padding: usize,
        runs: u64,
        expires: bool,
    },
    Control,
    Hand(usize, usize),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let padding = prop_oneof![4 => 0..60_usize, 1 => 100..200_usize];
    prop_oneof![
        8 => (0..9_usize, 0..3_u8, padding, 1..40_u64, any::<bool>()).prop_map(
            |(topic, qos, padding, runs, expires)| Step::Push { topic, qos, padding, runs, expires }
        ),
        1 => Just(Step::Control),
        4 => (0..40_usize, Just(0)).prop_map(|(left, sealed)| Step::Hand(left, sealed)),
        2 => (0..4_usize, 1..6_usize).prop_map(|(left, sealed)| Step::Hand(left, sealed)),
        2 => (0..90_usize, 1..90_usize).prop_map(|(left, sealed)| Step::Hand(left, sealed)),
        1 => (1..4_u64).prop_map(Step::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]

    #[test]
    fn the_client_finds_every_topic_whatever_is_dropped_and_however_it_leaves(
        most in 1..5_u16,
        packet_bytes in prop_oneof![Just(usize::MAX), 30..80_usize],
        steps in vec(step(), 1..150),
    ) {
        let mut world = World::new(most, packet_bytes);
        for step in steps {
            match step {
                Step::Push { topic, qos, padding, runs, expires } => {
                    let name = format!("topic/{}", "x".repeat(topic));
                    let end = world.now + runs;
                    world.push(&name, qos, padding, end, expires);
                }
                Step::Control => world.control(),
                Step::Hand(left, sealed) => world.hand(left, sealed),
                Step::Wait(time) => world.now += time,
            }
            if world.over {
                return Ok(());
            }
        }
        world.drain();
        if !world.over {
            prop_assert!(world.bytes.is_empty());
            prop_assert_eq!(world.aliases.rest.capacity(), 0);
        }
    }
}
