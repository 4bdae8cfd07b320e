//! QoS 2, both ways (MQTT 5.0 §4.3.3).

use crate::client::{Client, connect, packet};
use crate::stage::Stage;
use tanglegate_core::Access;

/// A stage on which everybody may do everything.
async fn open_stage() -> Stage {
    let mut stage = Stage::new().await;
    stage.give_everyone("#", Access::ReadWrite);
    stage
}

async fn is_answered(client: &mut Client, kind: u8, id: u16) {
    let answer = client.packet().await;
    let expected = (kind, &id.to_be_bytes()[..]);
    assert_eq!((answer.first, &answer.body[..]), expected, "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_published_twice_arrives_once() {
    // [MQTT-4.3.3-8] to [MQTT-4.3.3-12]
    let stage = open_stage().await;
    for version in [4, 5] {
        let mut reader = connect(version, "r").open(&stage).await;
        reader.subscribe("t", 2).await;
        let mut publisher = connect(version, "p").open(&stage).await;
        let message = publisher.publish_packet(0x34, "t", &[], "once");
        let id = publisher.last_id();
        publisher.send(&message).await;
        is_answered(&mut publisher, 0x50, id).await;
        let again = [&[0x3C], &message[1..]].concat();
        publisher.send(&again).await;
        is_answered(&mut publisher, 0x50, id).await;
        publisher.send(&packet(0x62, &id.to_be_bytes())).await;
        is_answered(&mut publisher, 0x70, id).await;
        // Given free, the identifier stands for a new message.
        publisher.send(&message).await;
        is_answered(&mut publisher, 0x50, id).await;
        for _ in 0..2 {
            let message = reader.message().await;
            assert_eq!((message.qos, &message.payload[..]), (2, &b"once"[..]));
        }
        reader.hears_nothing().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_gives_each_identifier_free_before_it_is_used_again() {
    // [MQTT-4.3.3-1] to [MQTT-4.3.3-7]
    let stage = open_stage().await;
    for version in [4, 5] {
        let mut reader = connect(version, "r").open(&stage).await;
        reader.subscribe("t", 2).await;
        let mut publisher = connect(5, "p").open(&stage).await;
        let message = publisher.publish_packet(0x34, "t", &[], "x");
        publisher.send(&message).await;
        let id = reader.message().await.id.unwrap();
        reader.send(&packet(0x50, &id.to_be_bytes())).await;
        is_answered(&mut reader, 0x62, id).await;
        reader.send(&packet(0x70, &id.to_be_bytes())).await;
        reader.ping().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn identifiers_that_are_not_in_flight_are_named_as_such() {
    // MQTT 5.0 §3.6.2.1, §3.7.2.1
    let stage = open_stage().await;
    let mut five = connect(5, "five").open(&stage).await;
    five.send(&packet(0x62, &[0, 9])).await;
    assert_eq!(five.packet().await.body[..3], [0, 9, 0x92]);
    five.send(&packet(0x50, &[0, 9])).await;
    let answer = five.packet().await;
    assert_eq!((answer.first, &answer.body[..3]), (0x62, &[0, 9, 0x92][..]));
    let mut four = connect(4, "four").open(&stage).await;
    four.send(&packet(0x62, &[0, 9])).await;
    is_answered(&mut four, 0x70, 9).await;
    four.send(&packet(0x50, &[0, 9])).await;
    is_answered(&mut four, 0x62, 9).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_message_ends_with_its_first_answer() {
    // [MQTT-4.3.3-9]; 3.1.1 has no word for a refusal.
    let stage = Stage::new().await;
    let mut five = connect(5, "five").open(&stage).await;
    for _ in 0..200 {
        // More than the receive maximum: each ends at once.
        let message = five.publish_packet(0x34, "t", &[], "x");
        five.send(&message).await;
        let answer = five.packet().await;
        assert_eq!((answer.first, answer.body[2]), (0x50, 0x87));
    }
    let mut four = connect(4, "four").open(&stage).await;
    let message = four.publish_packet(0x34, "t", &[], "x");
    let id = four.last_id();
    four.send(&message).await;
    is_answered(&mut four, 0x50, id).await;
    four.send(&packet(0x62, &id.to_be_bytes())).await;
    is_answered(&mut four, 0x70, id).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_in_flight_than_announced_ends_the_session() {
    // [MQTT-3.3.4-7]: until the PUBCOMP, a message is in flight.
    let stage = open_stage().await;
    let mut client = connect(5, "x").open(&stage).await;
    for _ in 0..64 {
        let message = client.publish_packet(0x34, "t", &[], "x");
        client.send(&message).await;
        assert_eq!(client.packet().await.first, 0x50);
    }
    let message = client.publish_packet(0x34, "t", &[], "x");
    client.send(&message).await;
    client.is_dismissed(0x93).await;
}
