//! Shared subscriptions (MQTT 5.0 §4.8.2). The gate has two shards, and neighbouring sessions
//! live on different ones.

mod members;
mod rights;
mod sessions;

use crate::client::{Client, Connect, Message, connect, packet, text};
use crate::stage::{NEVER, Stage};
use std::collections::BTreeSet;
use tanglegate_broker::{ClientLimits, Limits};
use tanglegate_core::{Access, Audience, SubscriberId};

/// Names of groups: some are at home on one shard, some on the other.
const GROUPS: [&str; 4] = ["a", "b", "c", "d"];

/// A gate in which everybody may do everything, and a client to publish with.
async fn open_stage() -> (Stage, Client) {
    let mut stage = Stage::new().await;
    stage.give_everyone("#", Access::ReadWrite);
    let publisher = connect(4, "publisher").open(&stage).await;
    (stage, publisher)
}

/// Logins that own their sessions; `readers` may read everything, `writer` write.
async fn stage_of(readers: &[&str]) -> (Stage, Client, Vec<SubscriberId>) {
    let mut stage = Stage::new().await;
    let ids: Vec<_> = readers.iter().map(|it| stage.register(it)).collect();
    for id in &ids {
        stage.give(Audience::Subscriber(*id), "#", Access::Read);
    }
    stage.give_everyone("#", Access::Write);
    let writer = connect(4, "writer").open(&stage).await;
    (stage, writer, ids)
}

async fn member(stage: &Stage, ask: &Connect, filter: &str, qos: u8) -> Client {
    let mut member = ask.open(stage).await;
    member.subscribe(filter, qos).await;
    member
}

/// Drops the connection, and waits until the gate has noticed.
async fn lose(stage: &Stage, client: Client) {
    let open = stage.statistics().open_sessions;
    drop(client);
    stage.until("lost", |it| it.open_sessions < open).await;
}

/// Every message that is on its way, acknowledged.
async fn everything(client: &mut Client) -> Vec<Message> {
    let mut heard = vec![];
    client.send(&[0xC0, 0]).await;
    let mut answered = false;
    loop {
        let next = tokio::time::timeout(NEVER, client.try_packet()).await;
        let packet = match next {
            Ok(packet) => packet.expect("an open connection"),
            Err(_) if answered => return heard,
            Err(_) => continue,
        };
        if packet.first == 0xD0 {
            answered = true;
            continue;
        }
        let message = client.read_message(&packet);
        if message.qos == 1 {
            client.acknowledge(&message).await;
        }
        heard.push(message);
    }
}

async fn payloads(client: &mut Client) -> Vec<String> {
    let heard = everything(client).await.into_iter();
    heard
        .map(|it| String::from_utf8(it.payload).expect("text"))
        .collect()
}

async fn unsubscribe(client: &mut Client, version: u8, filter: &str) -> Vec<u8> {
    let mut body = vec![0, 99];
    if version == 5 {
        body.push(0);
    }
    body.extend(text(filter));
    client.send(&packet(0xA2, &body)).await;
    let answer = client.packet().await;
    assert_eq!(answer.first, 0xB0);
    answer.body.get(3..).unwrap_or_default().to_vec()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_message_goes_to_one_member_wherever_the_members_live() {
    let (stage, mut publisher) = open_stage().await;
    for version in [4, 5] {
        for (group, qos) in GROUPS.iter().zip([0, 1, 0, 1]) {
            let share = format!("$share/{group}/t/+");
            let mut members = vec![];
            for id in ["1", "2", "3", "4"] {
                members.push(member(&stage, &connect(version, id), &share, qos).await);
            }
            assert_eq!(stage.statistics().open_shared_subscriptions, 4);
            for number in 0..20 {
                publisher.publish_safely("t/x", &number.to_string()).await;
            }
            let mut all = BTreeSet::new();
            for member in &mut members {
                let heard = everything(member).await;
                assert_eq!(heard.len(), 5, "they take turns");
                assert!(heard.iter().all(|it| it.qos == qos), "[MQTT-4.8.2-3]");
                all.extend(heard.into_iter().map(|it| it.payload));
            }
            assert_eq!(all.len(), 20, "nobody gets what another one got");
            drop(members);
            stage
                .until("all left", |it| it.open_subscriptions == 0)
                .await;
            assert_eq!(stage.statistics().open_shared_subscriptions, 0);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_is_a_name_and_a_filter() {
    let (stage, mut publisher) = open_stage().await;
    let one = connect(5, "1");
    let mut clients = vec![
        member(&stage, &one, "$share/a/t/x", 0).await,
        member(&stage, &connect(4, "2"), "$share/b/t/x", 0).await,
        member(&stage, &connect(5, "3"), "$share/a/t/+", 0).await,
        member(&stage, &connect(4, "4"), "t/x", 0).await,
    ];
    for number in 0..3 {
        publisher.publish("t/x", &number.to_string()).await;
    }
    for client in &mut clients {
        assert_eq!(payloads(client).await, ["0", "1", "2"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_shares_are_refused() {
    // [MQTT-4.8.2-1], [MQTT-4.8.2-2], [MQTT-3.8.3-4]
    let (stage, _) = open_stage().await;
    let filters = [
        ("$share/g", 0),
        ("$share//a", 0),
        ("$share/+/a", 0),
        ("$share/g#/a", 0),
        ("$share/g/", 0),
        ("$share/g/a#", 0),
        ("$share/g/a/#", 1),
    ];
    let mut five = connect(5, "five").open(&stage).await;
    let (codes, why) = five.subscribe_with(&[], &filters).await;
    assert_eq!(codes, [0x8F, 0x8F, 0x8F, 0x8F, 0x8F, 0x8F, 1], "{why}");
    assert!(why.contains("$share/readers/sensor/#"), "{why}");
    let mut four = connect(4, "four").open(&stage).await;
    let (codes, _) = four.subscribe_with(&[], &filters).await;
    assert_eq!(codes, [0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 1]);
    five.send(&packet(
        0x82,
        &[&[0, 9, 0][..], &text("$share/g/a"), &[4]].concat(),
    ))
    .await;
    five.is_dismissed(0x82).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_shares_gets_no_retained_messages() {
    // MQTT 5.0 §4.8.2: "no Retained Messages are sent to the Session when it first subscribes".
    let (stage, mut publisher) = open_stage().await;
    let retained = publisher.publish_packet(0x33, "t", &[], "kept");
    publisher.send(&retained).await;
    publisher.packet().await;
    for version in [4, 5] {
        let mut reader = member(&stage, &connect(version, "x"), "$share/g/t", 1).await;
        assert!(everything(&mut reader).await.is_empty());
        // A new one comes with its flag where that is asked for.
        publisher.send(&retained).await;
        publisher.packet().await;
        let heard = everything(&mut reader).await;
        assert_eq!((heard.len(), heard[0].retain), (1, false));
        lose(&stage, reader).await;
    }
    let mut reader = connect(5, "x").open(&stage).await;
    reader
        .subscribe_with(&[], &[("$share/g/t", 0b0000_1001)])
        .await;
    publisher.send(&retained).await;
    publisher.packet().await;
    assert!(reader.message().await.retain);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_share_stands_beside_the_clients_other_subscriptions() {
    let (stage, mut publisher) = open_stage().await;
    let mut reader = connect(5, "x").open(&stage).await;
    reader.subscribe_with(&[0x0B, 1], &[("t/#", 0)]).await;
    reader
        .subscribe_with(&[0x0B, 2], &[("$share/a/t/x", 1)])
        .await;
    reader
        .subscribe_with(&[0x0B, 3], &[("$share/b/t/+", 1)])
        .await;
    // Replaced [MQTT-3.8.4-3].
    reader
        .subscribe_with(&[0x0B, 4], &[("$share/b/t/+", 0)])
        .await;
    assert_eq!(stage.statistics().open_subscriptions, 3);
    publisher.publish_safely("t/x", "1").await;
    let heard = everything(&mut reader).await.into_iter();
    let mut heard: Vec<_> = heard.map(|it| (it.properties, it.qos)).collect();
    heard.sort();
    let of = |id: &str, qos| (vec![format!("id {id}")], qos);
    assert_eq!(heard, [of("1", 0), of("2", 1), of("4", 0)]);
    // Its own messages come too: No Local is not for shares.
    reader.publish("t/x", "own").await;
    assert_eq!(everything(&mut reader).await.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn shares_count_among_the_subscriptions() {
    let limits = Limits {
        anonymous: ClientLimits {
            subscriptions: 4,
            ..ClientLimits::anonymous()
        },
        ..Limits::default()
    };
    let mut stage = Stage::with(limits).await;
    stage.give_everyone("#", Access::ReadWrite);
    let mut client = connect(5, "x").open(&stage).await;
    let filters = [
        ("$share/a/t", 0),
        ("$share/b/t", 0),
        ("$share/c/t", 0),
        ("t", 0),
        ("$share/d/t", 0),
        ("$share/e/t", 0),
        ("$share/f/t", 0),
        ("u", 0),
        ("$share/a/t", 1),
    ];
    let (codes, why) = client.subscribe_with(&[], &filters).await;
    assert_eq!(codes, [0, 0, 0, 0, 0x97, 0x97, 0x97, 0x97, 1], "{why}");
    unsubscribe(&mut client, 5, "$share/b/t").await;
    let (codes, _) = client
        .subscribe_with(&[], &[("$share/f/t", 0), ("u", 0)])
        .await;
    assert_eq!(codes, [0, 0x97]);
}
