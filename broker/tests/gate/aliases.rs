//! Topic aliases that the gate sets (MQTT 5.0 §3.3.2.3.4). Those of clients are in `publishing`.

use crate::client::{Client, Message, connect, packet};
use crate::stage::Stage;
use std::collections::HashMap;
use tanglegate_broker::{ClientLimits, Limits};
use tanglegate_core::{Access, Audience};

/// CONNECT properties that allow so many aliases.
fn allowing(most: u8) -> [u8; 3] {
    [0x22, 0, most]
}

/// The alias of a message, if it has one.
fn alias_of(message: &Message) -> Option<u16> {
    let mut properties = message.properties.iter();
    let alias = properties.find_map(|it| it.strip_prefix("alias "))?;
    Some(alias.parse().expect("a number"))
}

/// The topic of a message, by the client's table.
fn resolve(table: &mut HashMap<u16, String>, message: &Message) -> String {
    match alias_of(message) {
        None => message.topic.clone(),
        Some(alias) if message.topic.is_empty() => table[&alias].clone(),
        Some(alias) => {
            table.insert(alias, message.topic.clone());
            message.topic.clone()
        }
    }
}

async fn reader(stage: &Stage, version: u8, properties: &[u8], qos: u8) -> Client {
    let ask = connect(version, "reader").properties(properties);
    let mut reader = ask.open(stage).await;
    reader.subscribe("topic/#", qos).await;
    reader
}

#[tokio::test(flavor = "multi_thread")]
async fn aliases_are_set_only_where_the_client_allows_them_and_no_more_than_it_and_the_gate_take() {
    // [MQTT-3.1.2-26], [MQTT-3.1.2-27], [MQTT-3.3.2-8], [MQTT-3.3.2-11]
    let limits = Limits {
        anonymous: ClientLimits {
            topic_aliases: 8,
            ..ClientLimits::anonymous()
        },
        ..Limits::default()
    };
    let mut stage = Stage::with(limits).await;
    stage.give_everyone("#", Access::ReadWrite);
    let mut publisher = connect(5, "publisher").open(&stage).await;
    let cases: [(u8, &[u8], u16); 5] = [
        (4, &[], 0),
        (5, &[], 0),
        (5, &allowing(0), 0),
        (5, &allowing(3), 3),
        (5, &allowing(200), 8),
    ];
    for (version, properties, most) in cases {
        for qos in [0, 1] {
            let mut reader = reader(&stage, version, properties, qos).await;
            let (mut table, mut shortened) = (HashMap::new(), 0);
            for number in 0..90 {
                // Three more topics than aliases; one comes more often than the others.
                let topic = format!("topic/{}", if number % 2 == 0 { 0 } else { number % 33 });
                publisher.publish_safely(&topic, &topic).await;
                let message = reader.message().await;
                assert!(alias_of(&message).is_none_or(|it| (1..=most).contains(&it)));
                shortened += u32::from(message.topic.is_empty());
                assert_eq!(resolve(&mut table, &message).as_bytes(), message.payload);
                if qos == 1 {
                    reader.acknowledge(&message).await;
                }
            }
            assert_eq!(table.len(), usize::from(most));
            assert_eq!(shortened >= 44, most != 0, "{shortened} of 90");
            drop(reader);
            stage.until("left", |it| it.open_sessions == 1).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_connection_of_a_session_begins_without_aliases() {
    // [MQTT-3.3.2-7], [MQTT-4.4.0-1]
    let mut stage = Stage::new().await;
    let ana = stage.register("ana");
    stage.give(Audience::Subscriber(ana), "#", Access::Read);
    stage.give_everyone("#", Access::Write);
    let mut publisher = connect(4, "publisher").open(&stage).await;
    let mut ask = connect(5, "reader").login("ana").kept(60);
    ask.properties.extend(allowing(2));
    let mut reader = ask.open(&stage).await;
    reader.subscribe("topic/#", 1).await;
    for number in ["1", "2"] {
        publisher.publish_safely("topic/a", number).await;
    }
    let (first, second) = (reader.message().await, reader.message().await);
    assert_eq!((&*first.topic, &*second.topic), ("topic/a", ""));
    assert_eq!((alias_of(&first), alias_of(&second)), (Some(1), Some(1)));
    drop(reader);
    stage.until("lost", |it| it.open_sessions == 1).await;
    // One that takes aliases, and one that takes none.
    for (properties, topics) in [
        (&ask.properties[..], ["topic/a", ""]),
        (&ask.properties[..5], ["topic/a", "topic/a"]),
    ] {
        let ask = ask.clone().properties(properties);
        let mut reader = ask.resume(&stage).await;
        for (payload, topic) in [b"1", b"2"].into_iter().zip(topics) {
            let again = reader.packet().await;
            assert_eq!(again.first, 0x3A, "sent again");
            let again = reader.read_message(&again);
            assert_eq!((&*again.topic, &*again.payload), (topic, &payload[..]));
        }
        drop(reader);
        stage.until("lost", |it| it.open_sessions == 1).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_packet_is_too_large_for_its_alias() {
    // [MQTT-3.1.2-24], [MQTT-3.1.2-25]
    let mut stage = Stage::new().await;
    stage.give_everyone("#", Access::ReadWrite);
    let mut publisher = connect(5, "publisher").open(&stage).await;
    let mut properties = allowing(2).to_vec();
    properties.extend([0x27, 0, 0, 0, 30]);
    let mut reader = reader(&stage, 5, &properties, 0).await;
    // With the whole topic 28 to 31 bytes: the last is not sent, also where an alias would make
    // it short enough.
    for length in [16, 17, 18, 19, 16, 19] {
        publisher.publish("topic/a", &"x".repeat(length)).await;
    }
    publisher.ping().await;
    let mut heard = vec![];
    for _ in 0..4 {
        let packet = reader.packet().await;
        assert!(packet.body.len() + 2 <= 30);
        let message = reader.read_message(&packet);
        heard.push((message.topic, message.payload.len()));
    }
    let whole = |length| ("topic/a".to_owned(), length);
    assert_eq!(heard, [whole(16), whole(17), whole(18), whole(16)]);
    reader.send(&packet(0xC0, &[])).await;
    assert_eq!(reader.packet().await.first, 0xD0);
    assert_eq!(stage.statistics().dropped_too_large, 2);
}
