use super::*;
use crate::message::StoredMessage;

const TERMS: Terms = Terms {
    version: Version::V311,
    packet_bytes: 1_000,
};

/// An outbox for one message in flight, held until it is acknowledged.
fn held(limit: usize) -> Outbox {
    let outbox = Outbox::new(Room::of(limit), 1, None);
    outbox.lock().connect(1, true);
    outbox
}

fn queued(payload: &[u8], until: u64) -> Queued {
    Queued {
        message: StoredMessage::new("t", &[], payload, Timestamp::FOREVER),
        qos: 1,
        retain: false,
        ids: None,
        permit: Some(ReadPermit::unchecked(until)),
        share: None,
    }
}

/// The bytes that are handed over at `now`.
fn ready(queue: &mut Queue, now: u64) -> Vec<u8> {
    let (now, mut packets, mut dropped) = (Timestamp(now), Packets::default(), Dropped::default());
    queue.take(&mut packets, TERMS, now, &mut dropped);
    queue.left(0);
    match packets.next(now, Version::V311, &mut dropped) {
        Next::Bytes(bytes) => bytes.to_vec(),
        _ => vec![],
    }
}

#[test]
fn the_bound_covers_what_waits_and_what_was_taken() {
    let cost = Line::cost(&queued(b"x", 9).message);
    let outbox = held(2 * cost);
    let mut queue = outbox.lock();
    assert_eq!(queue.push_queued(queued(b"x", 9)), Pushed::Queued);
    assert_eq!(
        queue.push(&[0x30, 3, 0, 1, b't'], 1, Bounds::none()),
        Pushed::Queued
    );
    let mut taken = Packets::default();
    queue.take(&mut taken, TERMS, Timestamp(0), &mut Dropped::default());
    assert_eq!(queue.push_queued(queued(b"x", 9)), Pushed::Full);
    queue.left(0);
    assert_eq!(queue.push_queued(queued(b"x", 9)), Pushed::Queued);
    assert_eq!(queue.room(), 0);
}

#[test]
fn qos_1_waits_for_the_window_and_keeps_its_order() {
    let outbox = Outbox::new(Room::of(1_000), 1, None);
    let mut queue = outbox.lock();
    let _ = [b"1", b"2", b"3"].map(|it| queue.push_queued(queued(it, 9)));
    assert_eq!(ready(&mut queue, 0), [0x32, 6, 0, 1, b't', 0, 1, b'1']);
    assert!(ready(&mut queue, 0).is_empty() && queue.take_waker().is_none());
    assert!(queue.acknowledged(1));
    assert_eq!(ready(&mut queue, 0), [0x32, 6, 0, 1, b't', 0, 2, b'2']);
}

#[test]
fn a_message_dropped_for_its_end_does_not_hold_its_place_in_the_window() {
    let outbox = held(1_000);
    let mut queue = outbox.lock();
    queue.push_queued(queued(b"1", 5));
    queue.push_queued(queued(b"2", 9));
    let (mut taken, mut dropped) = (Packets::default(), Dropped::default());
    queue.take(&mut taken, TERMS, Timestamp(0), &mut dropped);
    let now = Timestamp(5);
    assert_eq!(taken.next(now, Version::V311, &mut dropped), Next::Empty);
    queue.left(0);
    queue.give_back(&mut taken, &mut dropped);
    assert!(taken.is_empty(), "the client has never seen it");
    assert_eq!(ready(&mut queue, 5), [0x32, 6, 0, 1, b't', 0, 2, b'2']);
}

#[test]
fn a_message_that_is_too_large_for_the_client_is_left_out() {
    // [MQTT-3.1.2-24], [MQTT-3.1.2-25]
    let outbox = held(10_000);
    let mut queue = outbox.lock();
    queue.push_queued(queued(&[0; 1_000], 9));
    queue.push_queued(queued(b"2", 9));
    let (mut taken, mut dropped) = (Packets::default(), Dropped::default());
    queue.take(&mut taken, TERMS, Timestamp(0), &mut dropped);
    assert_eq!((taken.len(), dropped.too_large), (8, 1));
}

#[test]
fn for_a_client_that_is_away_only_qos_1_and_2_are_kept() {
    let outbox = held(1_000);
    outbox.lock().disconnect();
    outbox.order(Order::Suspended);
    let mut queue = outbox.lock();
    assert_eq!(
        queue.push(&[0x30, 3, 0, 1, b't'], 1, Bounds::none()),
        Pushed::Away
    );
    assert_eq!(queue.push_queued(queued(b"1", 9)), Pushed::Queued);
    queue.connect(1, true);
    assert_eq!(queue.ordered(), None, "an order is for a connection");
    assert_eq!(ready(&mut queue, 0), [0x32, 6, 0, 1, b't', 0, 1, b'1']);
    queue.connect(1, true);
    assert_eq!(ready(&mut queue, 0), [0x3A, 6, 0, 1, b't', 0, 1, b'1']);
}

#[test]
fn the_first_order_stands() {
    let outbox = Outbox::new(Room::of(10), 1, None);
    outbox.order(Order::Suspended);
    outbox.order(Order::ShuttingDown);
    assert_eq!(outbox.lock().ordered(), Some(Order::Suspended));
}

#[test]
fn messages_are_counted_and_what_all_share_is_shared() {
    let cost = Line::cost(&queued(&[0; 10_000], 9).message);
    let budget = std::sync::Arc::new(crate::budget::Budget::new(5 * cost));
    let room = |messages| Room {
        bytes: usize::MAX,
        messages,
        share: Share::new(&budget),
    };
    let (few, many) = (Outbox::new(room(1), 1, None), Outbox::new(room(9), 1, None));
    let push = |outbox: &Outbox| outbox.lock().push_queued(queued(&[0; 10_000], 9));
    assert_eq!((push(&few), push(&few)), (Pushed::Queued, Pushed::Full));
    let mut fitting = 0;
    let refused = loop {
        match push(&many) {
            Pushed::Queued => fitting += 1,
            refused => break refused,
        }
    };
    assert_eq!(refused, Pushed::Starved, "its own bound is far");
    assert!(
        (1..=2).contains(&fitting),
        "half of what is left for others"
    );
    let terms = Terms {
        packet_bytes: usize::MAX,
        ..TERMS
    };
    let (mut taken, mut dropped) = (Packets::default(), Dropped::default());
    let mut queue = many.lock();
    queue.take(&mut taken, terms, Timestamp(0), &mut dropped);
    queue.left(0);
    assert!(queue.acknowledged(1));
    drop(queue);
    assert_eq!(push(&many), Pushed::Queued, "room that is given back");
    drop((few, many));
    assert_eq!(budget.taken(), 0);
}

#[test]
fn less_is_held_at_once_also_while_more_is_taken_than_there_is_room_for() {
    let budget = std::sync::Arc::new(crate::budget::Budget::new(70_000));
    let room = Room {
        bytes: usize::MAX,
        messages: usize::MAX,
        share: Share::new(&budget),
    };
    let outbox = Outbox::new(room, 9, None);
    let mut queue = outbox.lock();
    queue.connect(9, true);
    let subscribe = |bytes| move |held: &mut Held| held.subscriptions = bytes;
    assert!(queue.hold(subscribe(2_000)));
    assert_eq!(queue.push_queued(queued(&[0; 30_000], 9)), Pushed::Queued);
    // It is in the line until it is acknowledged, and in what is written as well.
    let terms = Terms {
        packet_bytes: usize::MAX,
        ..TERMS
    };
    let (mut taken, mut dropped) = (Packets::default(), Dropped::default());
    queue.take(&mut taken, terms, Timestamp(0), &mut dropped);
    assert!(!queue.hold(subscribe(2_001)));
    assert!(queue.hold(subscribe(1_000)));
    assert_eq!(queue.held.subscriptions, 1_000);
    queue.left(0);
    assert!(queue.acknowledged(1));
    queue.rest();
    assert_eq!(budget.taken(), 0, "what it holds is its own");
}
