//! Members of a group that come, go, and keep up or do not.

use super::{GROUPS, lose, member, open_stage, payloads, stage_of, unsubscribe};
use crate::client::connect;
use crate::stage::Stage;
use std::time::Duration;
use tanglegate_broker::{ClientLimits, Limits};
use tanglegate_core::{Access, Audience};
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
