//! Messages on their way from one client to others.

use crate::client::{Client, connect};
use crate::stage::{Stage, after};
use tanglegate_broker::Limits;
use tanglegate_core::Access;

async fn open_stage() -> Stage {
    let mut stage = Stage::new().await;
    stage.give_everyone("#", Access::ReadWrite);
    stage
}

async fn reader(stage: &Stage, version: u8, qos: u8) -> Client {
    let mut reader = connect(version, "reader").open(stage).await;
    reader.subscribe("#", qos).await;
    reader
}

#[tokio::test(flavor = "multi_thread")]
async fn properties_reach_readers_of_5_0_unchanged() {
    // [MQTT-3.3.2-4], [MQTT-3.3.2-15] to [MQTT-3.3.2-20]
    let stage = open_stage().await;
    let (mut five, mut four) = (reader(&stage, 5, 1).await, reader(&stage, 4, 1).await);
    let mut publisher = connect(5, "p").open(&stage).await;
    let properties = [
        &[0x26, 0, 1, b'k', 0, 1, b'1'][..], // user property
        &[0x01, 1],                          // payload format
        &[0x23, 0, 3],                       // topic alias, ours alone
        &[0x08, 0, 1, b'r'],                 // response topic
        &[0x26, 0, 1, b'k', 0, 1, b'2'],
        &[0x09, 0, 2, 1, 2],  // correlation data
        &[0x03, 0, 1, b'c'],  // content type
        &[0x02, 0, 0, 0, 60], // message expiry
    ]
    .concat();
    let expected = [
        "expiry 60",
        "k=1",
        "format",
        "respond r",
        "k=2",
        "correlation [1, 2]",
        "type c",
    ];
    for first in [0x30, 0x32] {
        let packet = publisher.publish_packet(first, "t", &properties, "x");
        publisher.send(&packet).await;
        let message = five.message().await;
        assert_eq!(message.properties, expected);
        assert_eq!(message.qos, (first >> 1) & 1);
        assert_eq!(four.payload().await, "x");
    }
    // The alias was set by the first message.
    let packet = publisher.publish_packet(0x30, "", &[0x23, 0, 3], "y");
    publisher.send(&packet).await;
    let message = five.message().await;
    assert_eq!((&*message.topic, message.properties.len()), ("t", 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alias_does_not_carry_a_message_past_the_rights() {
    let mut stage = Stage::new().await;
    stage.give_everyone("free", Access::ReadWrite);
    let mut publisher = connect(5, "p").open(&stage).await;
    let packet = publisher.publish_packet(0x32, "secret", &[0x23, 0, 1], "x");
    publisher.send(&packet).await;
    let answer = publisher.packet().await;
    assert_eq!(publisher.read_acknowledgement(&answer).0, 0x87);
    let packet = publisher.publish_packet(0x32, "", &[0x23, 0, 1], "x");
    publisher.send(&packet).await;
    let answer = publisher.packet().await;
    assert_eq!(publisher.read_acknowledgement(&answer).0, 0x87);
}

#[tokio::test(flavor = "multi_thread")]
async fn order_is_kept_through_every_mixture_of_topics() {
    // [MQTT-4.6.0-5], [MQTT-4.6.0-6]
    let stage = open_stage().await;
    for (version, qos) in [(4, 0), (5, 0), (4, 1), (5, 1)] {
        let mut reader = reader(&stage, version, qos).await;
        let mut publisher = connect(4, "p").open(&stage).await;
        let mut all = vec![];
        for number in 0..3_000 {
            let topic = ["a", "b", "c/d"][number / 7 % 3];
            all.extend(publisher.publish_packet(0x30 | qos << 1, topic, &[], &number.to_string()));
        }
        publisher.send(&all).await;
        // A publisher of 3.1.1 is told of no receive maximum, and may send as it likes.
        for number in 0..3_000 {
            let message = reader.message().await;
            assert_eq!(
                String::from_utf8_lossy(&message.payload),
                number.to_string()
            );
            if qos == 1 {
                reader.acknowledge(&message).await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn large_and_small_packets_arrive_whole() {
    let stage = open_stage().await;
    let mut reader = reader(&stage, 4, 0).await;
    let mut publisher = connect(5, "p").open(&stage).await;
    let sizes = [
        0, 1, 100, 127, 128, 16_300, 16_400, 40_000, 65_000, 3, 65_000, 33_000,
    ];
    let mut all = vec![];
    for size in sizes {
        all.extend(publisher.publish_packet(0x30, "t", &[], &"x".repeat(size)));
    }
    // In pieces that end anywhere.
    for piece in all.chunks(9_973) {
        publisher.send(piece).await;
        tokio::task::yield_now().await;
    }
    for size in sizes {
        assert_eq!(reader.message().await.payload.len(), size);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_gets_no_more_in_flight_than_it_takes() {
    // [MQTT-3.3.4-9]
    let stage = open_stage().await;
    let mut publisher = connect(4, "p").open(&stage).await;
    let mut reader = connect(5, "r").properties(&[0x21, 0, 2]).open(&stage).await;
    reader.subscribe("#", 1).await;
    for number in 0..6 {
        publisher.publish_safely("t", &number.to_string()).await;
    }
    let mut flying = vec![reader.message().await, reader.message().await];
    reader.hears_nothing().await;
    for number in 2..6 {
        let done = flying.remove(0);
        reader.acknowledge(&done).await;
        let next = reader.message().await;
        assert_eq!(next.payload, number.to_string().into_bytes());
        flying.push(next);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publisher_beyond_its_receive_maximum_is_dismissed() {
    // [MQTT-3.3.4-7]
    let mut stage = Stage::with(Limits {
        anonymous: tanglegate_broker::ClientLimits {
            in_flight: 2,
            ..tanglegate_broker::ClientLimits::anonymous()
        },
        ..Limits::default()
    })
    .await;
    stage.give_everyone("#", Access::ReadWrite);
    let mut publisher = connect(5, "p").open(&stage).await;
    for number in 0..100 {
        assert_eq!(
            publisher.publish_safely("t", &number.to_string()).await.0,
            0
        );
    }
    let mut three = vec![];
    for _ in 0..3 {
        three.extend(publisher.publish_packet(0x32, "t", &[], "x"));
    }
    publisher.send(&three).await;
    publisher.is_dismissed(0x93).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_larger_than_the_reader_takes_is_left_out() {
    // [MQTT-3.1.2-24], [MQTT-3.1.2-25]
    let stage = open_stage().await;
    let mut reader = connect(5, "r")
        .properties(&[0x27, 0, 0, 0, 50])
        .open(&stage)
        .await;
    reader.subscribe("#", 1).await;
    let mut publisher = connect(4, "p").open(&stage).await;
    for size in [42, 43, 10] {
        publisher.publish("t", &"x".repeat(size)).await;
    }
    // 1 + 1 + 2 + 1 + 1 + 44 = 50 bytes: exactly what it takes.
    publisher.publish("t", &"y".repeat(44)).await;
    publisher.publish("t", &"z".repeat(45)).await;
    publisher.publish_safely("t", &"y".repeat(42)).await;
    publisher.publish_safely("t", &"z".repeat(43)).await;
    publisher.publish_safely("t", "end").await;
    for size in [42, 43, 10, 44, 42, 3] {
        assert_eq!(reader.message().await.payload.len(), size);
    }
    assert_eq!(stage.statistics().dropped_too_large, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expiring_message_waits_no_longer_than_it_lives() {
    // [MQTT-3.3.2-5], [MQTT-3.3.2-6]
    let stage = open_stage().await;
    let mut reader = connect(5, "r").properties(&[0x21, 0, 1]).open(&stage).await;
    reader.subscribe("#", 1).await;
    let mut publisher = connect(5, "p").open(&stage).await;
    for (payload, expiry) in [("1", 60), ("brief", 5), ("3", 60)] {
        let packet = publisher.publish_packet(0x32, "t", &[0x02, 0, 0, 0, expiry], payload);
        publisher.send(&packet).await;
        publisher.packet().await;
    }
    let first = reader.message().await;
    assert_eq!(first.properties, ["expiry 60"]);
    stage.hand.advance_to(after(7_400));
    reader.acknowledge(&first).await;
    let next = reader.message().await;
    assert_eq!(
        (&next.payload[..], &next.properties[0][..]),
        (&b"3"[..], "expiry 53")
    );
    assert_eq!(stage.statistics().dropped_expired, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_duplicate_is_acknowledged_like_any_other() {
    let stage = open_stage().await;
    let mut publisher = connect(5, "p").open(&stage).await;
    let packet = publisher.publish_packet(0x3A, "t", &[], "x");
    publisher.send(&packet).await;
    let answer = publisher.packet().await;
    assert_eq!(publisher.read_acknowledgement(&answer).0, 0);
}
