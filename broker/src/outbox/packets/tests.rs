use super::*;

const V5: Version = Version::V5;

fn delivery(topic: &'static str, expiry: Option<u32>) -> Delivery<'static> {
    Delivery {
        version: V5,
        qos: 0,
        packet_id: 0,
        duplicate: false,
        retain: false,
        topic,
        expiry,
        ids: &[],
        forwarded: &[],
        payload: b"payload",
    }
}

fn until(until: u64) -> Bounds {
    Bounds::until(until)
}

/// Hands everything over in pieces of `piece` bytes at `now`.
fn drain(packets: &mut Packets, now: u64, piece: usize) -> (Vec<u8>, u64, Dropped) {
    let (mut out, mut sent, mut dropped) = (vec![], 0, Dropped::default());
    loop {
        match packets.next(Timestamp(now), V5, &mut dropped) {
            Next::Bytes(bytes) => {
                let piece = &bytes[..bytes.len().min(piece)];
                out.extend_from_slice(piece);
                let count = piece.len();
                sent += packets.handed_over(count).messages;
            }
            Next::Empty => return (out, sent, dropped),
            Next::Sealed | Next::Cut => panic!("cut"),
        }
    }
}

#[test]
fn no_packet_is_handed_over_at_or_after_the_end_of_its_right() {
    for piece in [1, 7, 1_000] {
        let mut packets = Packets::default();
        for (topic, end) in [("a", 10), ("a", 10), ("b", 20), ("c", 10), ("d", 30)] {
            packets.push_message(&delivery(topic, None), until(end));
        }
        let (out, sent, dropped) = drain(&mut packets, 10, piece);
        assert_eq!((sent, dropped.ended), (2, 3));
        let mut expected = vec![];
        delivery("b", None).put(&mut expected);
        delivery("d", None).put(&mut expected);
        assert_eq!(out, expected);
        assert!(packets.is_empty() && packets.bytes.capacity() == 0);
    }
}

#[test]
fn a_begun_packet_whose_right_ends_is_not_completed() {
    let mut packets = Packets::default();
    let mut dropped = Dropped::default();
    packets.push_message(&delivery("a", None), until(10));
    packets.push_message(&delivery("a", None), until(10));
    let first = packets.len() / 2;
    assert!(matches!(
        packets.next(Timestamp(9), V5, &mut dropped),
        Next::Bytes(_)
    ));
    assert_eq!(
        packets.handed_over(first + 3),
        HandedOver {
            messages: 1,
            ends: Timestamp(10)
        }
    );
    assert_eq!(packets.next(Timestamp(10), V5, &mut dropped), Next::Cut);
    assert_eq!((dropped.ended, dropped.expired), (0, 0));
}

#[test]
fn a_sealed_piece_leaves_only_while_all_rights_in_it_run() {
    let mut packets = Packets::default();
    let mut dropped = Dropped::default();
    let ends = [30, 20, 10];
    for end in ends {
        packets.push_message(&delivery("a", None), until(end));
    }
    let one = packets.len() / 3;
    packets.handed_over(3);
    for (sealed, last) in [(one - 3, 30), (one - 2, 20), (2 * one - 2, 10)] {
        packets.seal(sealed);
        let next = packets.next(Timestamp(last - 1), V5, &mut dropped);
        assert_eq!(next, Next::Sealed, "{sealed}");
        let next = packets.next(Timestamp(last), V5, &mut dropped);
        assert_eq!(next, Next::Cut, "{sealed}");
        packets.sealed = None;
    }
    packets.seal(2 * one);
    let (bytes, complete) = packets.unseal();
    assert_eq!((bytes, complete.messages), (2 * one, 2));
    assert_eq!((dropped.ended, dropped.expired), (0, 0));
    assert_eq!(packets.next(Timestamp(10), V5, &mut dropped), Next::Cut);
}

#[test]
fn what_is_sealed_or_handed_over_in_part_is_begun_and_nothing_else() {
    let mut packets = Packets::default();
    packets.push_control(|out| out.extend_from_slice(&[0xD0, 0]));
    for packet_id in 1..=4 {
        let numbered = Delivery {
            qos: 2,
            packet_id,
            ..delivery("a", None)
        };
        packets.push_message(&numbered, until(30));
    }
    let one = (packets.len() - 2) / 4;
    assert_eq!(packets.not_begun(), [1, 2, 3, 4]);
    packets.handed_over(2);
    assert_eq!(packets.not_begun(), [1, 2, 3, 4]);
    packets.handed_over(1);
    assert_eq!(packets.not_begun(), [2, 3, 4]);
    packets.seal(one);
    assert_eq!(packets.not_begun(), [3, 4]);
    packets.keep_begun();
    assert!(packets.not_begun().is_empty());
}

#[test]
fn what_is_sealed_counts_as_begun() {
    let mut packets = Packets::default();
    for end in [30, 20, 20, 20] {
        packets.push_message(&delivery("a", None), until(end));
    }
    let one = packets.len() / 4;
    packets.handed_over(1);
    packets.seal(2 * one);
    packets.keep_begun();
    assert_eq!(packets.len(), 3 * one - 1);
    let (bytes, complete) = packets.unseal();
    assert_eq!((bytes, complete.messages), (2 * one, 2));
    let (out, sent, _) = drain(&mut packets, 0, 1_000);
    assert_eq!((out.len(), sent), (one - 1, 1));
    packets.push_message(&delivery("a", None), until(30));
    packets.keep_begun();
    assert!(packets.is_empty() && packets.bytes.capacity() == 0);
}

#[test]
fn an_expired_message_is_dropped_and_a_begun_one_completed() {
    // [MQTT-3.3.2-5], [MQTT-3.3.2-6]
    let expiring = |packets: &mut Packets| {
        let bounds = Bounds {
            expires: Timestamp(5_000),
            ..Bounds::none()
        };
        packets.push_message(&delivery("a", Some(5)), bounds);
    };
    let mut packets = Packets::default();
    expiring(&mut packets);
    expiring(&mut packets);
    let (out, sent, _) = drain(&mut packets, 3_500, 1_000);
    let mut expected = vec![];
    delivery("a", Some(2)).put(&mut expected);
    assert_eq!((&out[..expected.len()], sent), (&expected[..], 2));
    expiring(&mut packets);
    expiring(&mut packets);
    let mut dropped = Dropped::default();
    assert!(matches!(
        packets.next(Timestamp(0), V5, &mut dropped),
        Next::Bytes(_)
    ));
    packets.handed_over(3);
    let (out, sent, dropped) = drain(&mut packets, 5_000, 1_000);
    assert_eq!(
        (out.len(), sent, dropped.expired),
        (expected.len() - 3, 1, 1)
    );
}

#[test]
fn a_review_moves_ends_both_ways_and_leaves_controls_alone() {
    let mut packets = Packets::default();
    packets.push_message(&delivery("a", None), until(10));
    packets.push_control(|out| out.extend_from_slice(&[0xD0, 0]));
    packets.push_message(&delivery("b", None), until(10));
    packets.push_message(&delivery("c", None), until(10));
    packets.review(|topic| ReadRight::unchecked(if topic == "b" { 99 } else { 5 }));
    let (out, sent, dropped) = drain(&mut packets, 50, 1_000);
    assert_eq!((sent, dropped.ended, &out[..2]), (1, 2, &[0xD0, 0][..]));
}

#[test]
fn only_the_begun_packet_is_kept_for_a_farewell() {
    let mut packets = Packets::default();
    for topic in ["a", "b", "c"] {
        packets.push_message(&delivery(topic, None), until(10));
    }
    let one = packets.len() / 3;
    packets.handed_over(one + 2);
    packets.keep_begun();
    assert_eq!(packets.len(), one - 2);
    packets.handed_over(one - 2);
    assert!(packets.is_empty());
}

#[test]
fn long_queues_are_handed_over_in_bounded_pieces() {
    let mut packets = Packets::default();
    let payload = vec![0; 1_000];
    for _ in 0..1_000 {
        let delivery = Delivery {
            payload: &payload,
            ..delivery("a", None)
        };
        packets.push_message(&delivery, Bounds::none());
    }
    let total = packets.len();
    let mut dropped = Dropped::default();
    let Next::Bytes(bytes) = packets.next(Timestamp(0), V5, &mut dropped) else {
        panic!("there is something");
    };
    assert_eq!(bytes.len(), ONE_WRITE);
    let (out, sent, _) = drain(&mut packets, 0, usize::MAX);
    assert_eq!((out.len(), sent), (total, 1_000));
}
