//! Groups whose members may not, or no longer, read everything.

use super::{GROUPS, everything, lose, member, payloads};
use crate::client::{Client, Message, connect};
use crate::stage::{NEVER, Stage, after};
use std::collections::BTreeSet;
use tanglegate_core::{Access, Audience};
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

/// Acknowledges what comes, until nothing does for a while; what it was.
async fn take_all(mut client: Client) -> BTreeSet<u32> {
    let mut heard = BTreeSet::new();
    while let Ok(packet) = tokio::time::timeout(4 * NEVER, client.try_packet()).await {
        let packet = packet.expect("an open connection");
        let message = client.read_message(&packet);
        client.acknowledge(&message).await;
        heard.insert(number_of(&message));
    }
    heard
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_flood_nothing_is_lost_with_a_right_that_ends() {
    let mut stage = Stage::new().await;
    let ana = stage.register("ana");
    let bob = stage.register("bob");
    stage.give(Audience::Subscriber(bob), "t", Access::Read);
    stage.give_everyone("t", Access::Write);
    for round in 1..=4 {
        stage.lease(ana, "t", 1_000 * round);
        let mut plug = connect(4, "plug").open(&stage).await;
        // She takes two at a time, so that some wait while others are on their way.
        let ask = connect(5, "1").login("ana").properties(&[0x21, 0, 2]);
        let ended = member(&stage, &ask, "$share/g/t", 1).await;
        let ask = connect(5, "2").login("bob");
        let stays = member(&stage, &ask, "$share/g/t", 1).await;
        let packets =
            (0..1_000).map(|it: u32| plug.publish_packet(0x32, "t", &[], &it.to_string()));
        let flood = packets.collect::<Vec<_>>().concat();
        let (ended, stays) = (tokio::spawn(take_all(ended)), tokio::spawn(take_all(stays)));
        plug.send(&flood).await;
        for number in 0..1_000 {
            if number == 400 {
                stage.hand.advance_to(after(1_000 * round));
            }
            assert_eq!(plug.packet().await.first, 0x40);
        }
        let mut heard = ended.await.expect("a reader");
        heard.extend(stays.await.expect("a reader"));
        assert_eq!(heard.len(), 1_000);
        stage.until("left", |it| it.open_sessions == 1).await;
        drop(plug);
        stage.until("left", |it| it.open_sessions == 0).await;
    }
    assert_eq!(stage.statistics().dropped_ended, 0);
}
