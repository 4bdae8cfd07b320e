//! QoS 2, both ways (MQTT 5.0 §4.3.3).

use crate::client::{Client, Connect, connect, packet};
use crate::stage::{Stage, after};
use tanglegate_core::{Access, Audience};

/// A stage on which everybody may do everything.
async fn open_stage() -> Stage {
    let mut stage = Stage::new().await;
    stage.give_everyone("#", Access::ReadWrite);
    stage
}

/// A reader of `t` whose session is kept, with how to come back, and who publishes there.
async fn kept_reader() -> (Stage, Connect, Client, Client) {
    let mut stage = Stage::new().await;
    let ana = stage.register("ana");
    stage.give(Audience::Subscriber(ana), "t", Access::ReadWrite);
    let ask = connect(5, "r").login("ana").kept(600);
    let mut reader = ask.open(&stage).await;
    reader.subscribe("t", 2).await;
    let publisher = connect(5, "p").login("ana").open(&stage).await;
    (stage, ask, reader, publisher)
}

/// PUBREC and its like.
fn packet_of(first: u8, id: u16) -> Vec<u8> {
    packet(first, &id.to_be_bytes())
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
async fn what_has_expired_in_the_middle_of_its_handshake_is_sent_again_all_the_same() {
    // [MQTT-4.3.3-7], [MQTT-4.3.3-13]; with QoS 1 it is over (MQTT 5.0 §3.3.2.3.3).
    let (stage, ask, mut reader, mut publisher) = kept_reader().await;
    for (first, payload) in [(0x34, "begun"), (0x32, "once more"), (0x34, "begun too")] {
        let message = publisher.publish_packet(first, "t", &[0x02, 0, 0, 0, 60], payload);
        publisher.send(&message).await;
        publisher.packet().await;
        assert_eq!(reader.payload().await, payload);
    }
    drop(reader);
    stage.until("lost", |it| it.open_sessions == 1).await;
    let message = publisher.publish_packet(0x34, "t", &[0x02, 0, 0, 0, 60], "never sent");
    publisher.send(&message).await;
    publisher.packet().await;
    stage.hand.advance_to(after(60_000));
    let mut reader = ask.resume(&stage).await;
    let mut open = vec![];
    for payload in ["begun", "begun too"] {
        let packet = reader.packet().await;
        assert_eq!(packet.first, 0x3C, "QoS 2 and DUP: {packet:?}");
        let message = reader.read_message(&packet);
        assert_eq!(message.payload, payload.as_bytes());
        assert_eq!(message.properties, ["expiry 0"]);
        open.push(message.id.unwrap());
    }
    for id in open {
        reader.send(&packet_of(0x50, id)).await;
        is_answered(&mut reader, 0x62, id).await;
        reader.send(&packet_of(0x70, id)).await;
    }
    reader.ping().await;
    reader.hears_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_its_reader_refuses_is_not_sent_again() {
    // [MQTT-4.4.0-2], [MQTT-4.3.3-4]
    let (stage, ask, mut reader, mut publisher) = kept_reader().await;
    for (publish, refuse) in [(0x32, 0x40), (0x34, 0x50)] {
        let message = publisher.publish_packet(publish, "t", &[], "x");
        publisher.send(&message).await;
        publisher.packet().await;
        let id = reader.message().await.id.unwrap().to_be_bytes();
        // Unspecified error, and quota exceeded: of no use here, whatever it says.
        let code = if refuse == 0x40 { 0x80 } else { 0x97 };
        reader.send(&packet(refuse, &[id[0], id[1], code])).await;
    }
    // No PUBREL follows.
    reader.ping().await;
    drop(reader);
    stage.until("lost", |it| it.open_sessions == 1).await;
    let mut reader = ask.resume(&stage).await;
    reader.ping().await;
    reader.hears_nothing().await;
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
