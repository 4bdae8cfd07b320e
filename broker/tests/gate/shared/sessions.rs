//! Members of a group whose sessions outlive their connections.

use super::{GROUPS, lose, member, payloads, stage_of};
use crate::client::{Client, Connect, connect, packet};
use crate::stage::{SOON, Stage};
use std::path::Path;
use tanglegate_core::{Access, SubscriberId};
use tempfile::TempDir;
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

/// A gate that keeps its sessions in `folder`, in which both may read everything.
async fn stored_stage(folder: &Path) -> (Stage, Client, [SubscriberId; 2]) {
    let mut stage = Stage::stored_in(folder).await;
    let readers = ["ana", "bob"].map(|it| stage.register(it));
    for id in readers {
        stage.lease(id, "t", 1_000_000);
    }
    stage.give_everyone("t", Access::Write);
    let writer = connect(4, "writer").open(&stage).await;
    (stage, writer, readers)
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_restart_members_are_in_their_groups_and_leave_what_they_cannot_have() {
    for group in GROUPS {
        let folder = TempDir::new().unwrap();
        let share = format!("$share/{group}/t");
        let ask = |name: &str| connect(5, name).login(name).kept(60);
        let (stage, mut writer, _) = stored_stage(folder.path()).await;
        let ana = member(&stage, &ask("ana"), &share, 1).await;
        lose(&stage, ana).await;
        for payload in ["1", "2"] {
            let retained = writer.publish_packet(0x35, "t", &[], payload);
            let id = writer.last_id().to_be_bytes();
            writer.send(&retained).await;
            assert_eq!(writer.packet().await.first, 0x50);
            writer.send(&packet(0x62, &id)).await;
            assert_eq!(writer.packet().await.first, 0x70);
        }
        stage.gate.shutdown(SOON).await;

        let (mut stage, mut writer, [ana, _]) = stored_stage(folder.path()).await;
        assert_eq!(stage.statistics().open_shared_subscriptions, 1);
        let mut bob = ask("bob").open(&stage).await;
        // He asks for more than she did: QoS 2, and the flag as it was published.
        bob.subscribe_with(&[], &[(&share, 0b0000_1010)]).await;
        bob.hears_nothing().await;
        // She comes back without a right: what waited for her is his.
        stage.revoke(ana, "t");
        let mut gone = ask("ana").resume(&stage).await;
        let messages = [bob.message().await, bob.message().await];
        for (message, payload) in messages.iter().zip([b"1", b"2"]) {
            assert_eq!(message.payload, payload);
            let as_published = (message.qos, message.retain);
            assert_eq!(as_published, (2, true));
            let id = message.id.expect("QoS 2").to_be_bytes();
            bob.send(&packet(0x50, &id)).await;
            assert_eq!(bob.packet().await.first, 0x62);
            bob.send(&packet(0x70, &id)).await;
        }
        gone.hears_nothing().await;
        // The group serves him on.
        writer.publish_safely("t", "3").await;
        assert_eq!(bob.payload().await, "3");
        let statistics = stage.statistics();
        assert_eq!(
            (statistics.dropped_ended, statistics.withheld_ended),
            (0, 0)
        );
        stage.gate.shutdown(SOON).await;
    }
}
