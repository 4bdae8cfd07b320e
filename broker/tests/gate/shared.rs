//! Shared subscriptions (MQTT 5.0 §4.8.2). The gate has two shards, and neighbouring sessions
//! live on different ones.

use crate::client::{Client, Connect, Message, connect, packet, text};
use crate::stage::{NEVER, Stage, after};
use std::collections::BTreeSet;
use std::time::Duration;
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
async fn a_share_needs_a_right_to_what_is_shared() {
    let mut stage = Stage::new().await;
    stage.give_everyone("free/#", Access::ReadWrite);
    stage.offer("plug-hour", "sensor/live");
    let mut client = connect(5, "x").open(&stage).await;
    let filters = [("$share/g/sensor/live", 0), ("$share/g/free/+", 0)];
    let (codes, why) = client.subscribe_with(&[], &filters).await;
    assert_eq!(codes, [0x87, 0]);
    assert_eq!(
        why,
        "no right to read sensor/live; offer plug-hour sells it"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_leaves_gets_no_more_and_the_others_get_all() {
    let (stage, mut publisher) = open_stage().await;
    for version in [4, 5] {
        for group in GROUPS {
            let share = format!("$share/{group}/t");
            let mut first = member(&stage, &connect(version, "1"), &share, 0).await;
            let mut second = member(&stage, &connect(version, "2"), &share, 0).await;
            let codes = unsubscribe(&mut first, version, &share).await;
            assert_eq!(codes, if version == 5 { vec![0] } else { vec![] });
            let codes = unsubscribe(&mut first, version, &share).await;
            assert_eq!(codes, if version == 5 { vec![0x11] } else { vec![] });
            for number in 0..4 {
                publisher.publish("t", &number.to_string()).await;
            }
            assert_eq!(payloads(&mut second).await, ["0", "1", "2", "3"]);
            assert!(payloads(&mut first).await.is_empty());
            // The last one ends the group, and another one begins.
            lose(&stage, second).await;
            first.subscribe(&share, 0).await;
            publisher.publish("t", "new").await;
            assert_eq!(payloads(&mut first).await, ["new"]);
            lose(&stage, first).await;
        }
    }
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
async fn a_member_that_stalls_keeps_nothing_from_the_others() {
    let (stage, mut publisher) = open_stage().await;
    for group in GROUPS {
        let share = format!("$share/{group}/t");
        // Takes three at a time, and acknowledges none.
        let stalled = connect(5, "stalled").properties(&[0x21, 0, 3]);
        let mut stalled = member(&stage, &stalled, &share, 1).await;
        let mut quick = member(&stage, &connect(4, "quick"), &share, 1).await;
        for number in 0..50 {
            publisher.publish_safely("t", &number.to_string()).await;
        }
        let heard = payloads(&mut quick).await;
        assert_eq!(heard.len(), 47);
        let mut left = vec![];
        for _ in 0..3 {
            left.push(stalled.payload().await);
        }
        stalled.hears_nothing().await;
        // What it has not acknowledged goes to the other one when its session ends.
        lose(&stage, stalled).await;
        assert_eq!(payloads(&mut quick).await, left);
        lose(&stage, quick).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_whose_socket_takes_nothing_costs_the_group_nothing() {
    let mut stage = Stage::with(Limits {
        known: ClientLimits {
            queued_bytes: 64 << 20,
            ..ClientLimits::known()
        },
        ..Limits::default()
    })
    .await;
    let ana = stage.register("ana");
    stage.give(Audience::Subscriber(ana), "#", Access::ReadWrite);
    let ask = |id| connect(4, id).login("ana");
    let mut publisher = ask("p").open(&stage).await;
    let stalled = member(&stage, &ask("s"), "$share/a/t", 1).await;
    let mut quick = member(&stage, &ask("q"), "$share/a/t", 1).await;
    // More than the buffers of a socket take.
    let payload = "x".repeat(64 << 10);
    let publishing = tokio::spawn(async move {
        for _ in 0..400 {
            publisher.publish_safely("t", &payload).await;
        }
    });
    for _ in 0..200 {
        let message = quick.message().await;
        quick.acknowledge(&message).await;
    }
    publishing.await.expect("published");
    drop(stalled);
    // All that the other one left is there too.
    for _ in 200..400 {
        let message = quick.message().await;
        quick.acknowledge(&message).await;
    }
    quick.ping().await;
    assert_eq!(stage.statistics().dropped_slow, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_are_shared_out_evenly_in_a_flood() {
    let (stage, mut publisher, _) = stage_of(&["ana"]).await;
    for qos in [0, 1] {
        let mut members = vec![];
        for id in ["1", "2", "3"] {
            let ask = connect(4, id).login("ana");
            members.push(member(&stage, &ask, "$share/a/t", qos).await);
        }
        let before = stage.statistics().sent_messages;
        let reading = members.into_iter().map(|mut member| {
            tokio::spawn(async move {
                let mut heard = 0_u32;
                while let Ok(Some(packet)) =
                    tokio::time::timeout(Duration::from_secs(2), member.try_packet()).await
                {
                    let message = member.read_message(&packet);
                    heard += 1;
                    if qos == 1 {
                        member.acknowledge(&message).await;
                    }
                }
                heard
            })
        });
        let reading: Vec<_> = reading.collect();
        let mut flood = vec![];
        for number in 0..9_000 {
            let first = 0x30 | qos << 1;
            flood.extend(publisher.publish_packet(first, "t", &[], &number.to_string()));
        }
        publisher.send(&flood).await;
        stage
            .until("sent", |it| it.sent_messages - before >= 9_000)
            .await;
        if qos == 1 {
            for _ in 0..9_000 {
                assert_eq!(publisher.packet().await.first, 0x40);
            }
        }
        for heard in reading {
            let heard = heard.await.expect("a reader");
            assert!((1_500..=4_500).contains(&heard), "{heard} of 9,000");
        }
        stage.until("left", |it| it.open_sessions == 1).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_no_right_any_more_is_passed_over() {
    let mut stage = Stage::new().await;
    let ana = stage.register("ana");
    let bob = stage.register("bob");
    stage.lease(ana, "sensor/live", 1_000);
    stage.give(Audience::Subscriber(bob), "sensor/#", Access::Read);
    stage.give_everyone("#", Access::Write);
    let mut plug = connect(4, "plug").open(&stage).await;
    for group in GROUPS {
        let share = format!("$share/{group}/sensor/+");
        let mut ana = member(&stage, &connect(5, "a").login("ana"), &share, 1).await;
        let mut bob = member(&stage, &connect(4, "b").login("bob"), &share, 0).await;
        // She may not read this one, and is not chosen for it.
        for number in 0..4 {
            plug.publish("sensor/1m", &number.to_string()).await;
        }
        assert_eq!(payloads(&mut bob).await, ["0", "1", "2", "3"]);
        assert!(payloads(&mut ana).await.is_empty());
        lose(&stage, ana).await;
        lose(&stage, bob).await;
    }
    assert_eq!(stage.statistics().withheld_messages, 0);
    let mut reader = member(
        &stage,
        &connect(5, "a").login("ana"),
        "$share/a/sensor/live",
        1,
    )
    .await;
    let mut other = member(
        &stage,
        &connect(4, "b").login("bob"),
        "$share/a/sensor/live",
        0,
    )
    .await;
    for number in 0..4 {
        plug.publish_safely("sensor/live", &number.to_string())
            .await;
    }
    assert_eq!(everything(&mut reader).await.len(), 2);
    assert_eq!(everything(&mut other).await.len(), 2);
    stage.hand.advance_to(after(1_000));
    for number in 0..4 {
        plug.publish_safely("sensor/live", &number.to_string())
            .await;
    }
    assert!(payloads(&mut reader).await.is_empty());
    assert_eq!(payloads(&mut other).await, ["0", "1", "2", "3"]);
    // Paid again, without a new SUBSCRIBE.
    stage.extend(ana, "sensor/live", 5_000);
    for number in 0..4 {
        plug.publish_safely("sensor/live", &number.to_string())
            .await;
    }
    assert_eq!(everything(&mut reader).await.len(), 2);
    // Where nobody is left that may read, it is counted.
    drop(other);
    stage.until("left", |it| it.open_sessions == 2).await;
    stage.hand.advance_to(after(5_000));
    plug.publish_safely("sensor/live", "x").await;
    assert!(payloads(&mut reader).await.is_empty());
    assert_eq!(stage.statistics().withheld_ended, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_when_a_right_ends_goes_to_another_member() {
    let mut stage = Stage::new().await;
    let ana = stage.register("ana");
    let bob = stage.register("bob");
    stage.lease(ana, "t", 1_000_000);
    stage.give(Audience::Subscriber(bob), "t", Access::Read);
    stage.give_everyone("t", Access::Write);
    let mut plug = connect(4, "plug").open(&stage).await;
    let ask = connect(5, "a").login("ana").properties(&[0x21, 0, 1]);
    let mut reader = member(&stage, &ask, "$share/g/t", 1).await;
    for number in 0..4 {
        plug.publish_safely("t", &number.to_string()).await;
    }
    let first = reader.message().await;
    let mut other = member(&stage, &connect(5, "b").login("bob"), "$share/g/t", 1).await;
    stage.revoke(ana, "t");
    assert_eq!(payloads(&mut other).await, ["1", "2", "3"]);
    reader.acknowledge(&first).await;
    reader.hears_nothing().await;
    assert_eq!(stage.statistics().dropped_ended, 0);
}

fn number_of(message: &Message) -> u32 {
    let payload = std::str::from_utf8(&message.payload).expect("text");
    payload.parse().expect("a number")
}

#[tokio::test(flavor = "multi_thread")]
async fn not_one_message_after_the_end_of_a_right_in_a_flood() {
    for version in [4, 5] {
        for qos in [0, 1] {
            let mut stage = Stage::new().await;
            let ana = stage.register("ana");
            let bob = stage.register("bob");
            stage.lease(ana, "t", 1_000);
            stage.give(Audience::Subscriber(bob), "t", Access::Read);
            stage.give_everyone("t", Access::Write);
            let mut plug = connect(4, "plug").open(&stage).await;
            let mut ended = vec![];
            for id in ["1", "2", "3"] {
                let ask = connect(version, id).login("ana");
                ended.push(member(&stage, &ask, "$share/g/t", qos).await);
            }
            let ask = connect(version, "4").login("bob");
            let mut stays = member(&stage, &ask, "$share/g/t", qos).await;
            let mut flood = |numbers: std::ops::Range<u32>| {
                let packets = numbers
                    .map(|it| plug.publish_packet(0x30 | qos << 1, "t", &[], &it.to_string()));
                packets.collect::<Vec<_>>().concat()
            };
            let (before, behind) = (flood(0..2_000), flood(2_000..4_000));
            plug.send(&before).await;
            ended[0].message().await;
            stage.hand.advance_to(after(1_000));
            // The clock has struck. What was being handed over at that instant has its time.
            tokio::time::sleep(NEVER).await;
            let late = stage.statistics().late_messages;
            plug.send(&behind).await;
            let mut after_the_end = 0;
            while after_the_end < 2_000 {
                let message = stays.message().await;
                after_the_end += u32::from(number_of(&message) >= 2_000);
                if qos == 1 {
                    stays.acknowledge(&message).await;
                }
            }
            for reader in &mut ended {
                let heard = everything(reader).await;
                let behind = heard.iter().filter(|it| number_of(it) >= 2_000);
                assert_eq!(behind.count(), 0, "not one after the end");
            }
            let statistics = stage.statistics();
            assert_eq!(
                (statistics.late_messages, statistics.lost_records),
                (late, 0)
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_away_gets_what_nobody_else_is_there_for() {
    let (stage, mut writer, _) = stage_of(&["ana"]).await;
    for version in [4, 5] {
        for group in GROUPS {
            let share = format!("$share/{group}/t");
            let ask = connect(version, "away").login("ana").kept(60);
            let away = member(&stage, &ask, &share, 1).await;
            let there = connect(5, "there").login("ana");
            let mut there = member(&stage, &there, &share, 1).await;
            lose(&stage, away).await;
            for number in 0..4 {
                writer.publish_safely("t", &number.to_string()).await;
            }
            assert_eq!(payloads(&mut there).await, ["0", "1", "2", "3"]);
            lose(&stage, there).await;
            writer.publish("t", "not kept").await;
            writer.publish_safely("t", "kept").await;
            // The session is in its group again, also in the other version.
            let back = Connect {
                version: 9 - version,
                ..connect(9 - version, "away").login("ana").kept(60)
            };
            let mut back = back.resume(&stage).await;
            assert_eq!(payloads(&mut back).await, ["kept"]);
            writer.publish_safely("t", "again").await;
            assert_eq!(payloads(&mut back).await, ["again"]);
            lose(&stage, back).await;
            connect(version, "away").login("ana").open(&stage).await;
            stage.until("gone", |it| it.open_subscriptions == 0).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unfinished_qos_2_message_is_nobody_elses_and_a_refused_one_neither() {
    // [MQTT-4.8.2-4], [MQTT-4.8.2-5], [MQTT-4.8.2-6]
    let (stage, mut writer, _) = stage_of(&["ana"]).await;
    let ask = connect(5, "1").login("ana").properties(&[
        0x21, 0, 1, 0x11, 0, 0, 0, 60, // one at a time; kept for a minute
    ]);
    let mut first = ask.open(&stage).await;
    first.subscribe("$share/g/t", 2).await;
    for payload in ["seen", "waits"] {
        let message = writer.publish_packet(0x34, "t", &[], payload);
        let id = writer.last_id().to_be_bytes();
        writer.send(&message).await;
        assert_eq!(writer.packet().await.first, 0x50);
        writer.send(&packet(0x62, &id)).await;
        assert_eq!(writer.packet().await.first, 0x70);
    }
    assert_eq!(first.payload().await, "seen");
    lose(&stage, first).await;
    let mut second = connect(5, "2").login("ana").open(&stage).await;
    second.subscribe("$share/g/t", 2).await;
    // It comes back, and gets its message to the end.
    let back = Connect {
        clean: false,
        ..ask.clone()
    };
    let mut first = back.resume(&stage).await;
    let again = first.packet().await;
    assert_eq!(again.first, 0x3C, "sent again, QoS 2");
    assert_eq!(first.read_message(&again).payload, b"seen");
    second.hears_nothing().await;
    // Its session ends: what it has never seen goes to the other one, and only that.
    lose(&stage, first).await;
    connect(5, "1").login("ana").open(&stage).await;
    assert_eq!(second.payload().await, "waits");
    second.hears_nothing().await;
    // Refused.
    let mut third = member(&stage, &connect(5, "3").login("ana"), "$share/h/u", 1).await;
    writer.publish_safely("u", "unwanted").await;
    let message = third.message().await;
    let id = message.id.expect("QoS 1").to_be_bytes();
    third.send(&packet(0x40, &[id[0], id[1], 0x83])).await;
    third.ping().await;
    let mut fourth = member(&stage, &connect(5, "4").login("ana"), "$share/h/u", 1).await;
    lose(&stage, third).await;
    fourth.hears_nothing().await;
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
