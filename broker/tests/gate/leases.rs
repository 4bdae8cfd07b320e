//! What was paid for, to the message.

use crate::client::{Client, connect};
use crate::stage::{NEVER, Stage, after};
use tanglegate_core::{Access, Audience, Event};

/// A publisher who may write everything and a stage on which it is so.
async fn plug(stage: &mut Stage) -> Client {
    let plug = stage.register("plug");
    stage.give(Audience::Subscriber(plug), "#", Access::Write);
    connect(4, "plug").login("plug").open(stage).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_stops_at_the_message_and_resumes_with_the_next_payment() {
    for version in [4, 5] {
        for qos in [0, 1] {
            let mut stage = Stage::new().await;
            let ana = stage.register("ana");
            stage.lease(ana, "sensor/live", 1_000);
            let mut plug = plug(&mut stage).await;
            let mut reader = connect(version, "r").login("ana").open(&stage).await;
            reader.subscribe("sensor/live", qos).await;

            // As fast as it goes, before and after the end.
            let mut flood = vec![];
            for number in 0..5_000 {
                let first = 0x30 | qos << 1;
                flood.extend(plug.publish_packet(first, "sensor/live", &[], &number.to_string()));
            }
            let half = flood.len() / 2;
            plug.send(&flood[..half]).await;
            assert_eq!(reader.payload().await, "0");
            stage.hand.advance_to(after(1_000));
            // The clock has struck. What was being handed over at that instant has its time.
            tokio::time::sleep(NEVER).await;
            let sent = stage.statistics().sent_messages;
            plug.send(&flood[half..]).await;
            stage
                .until("published", |it| it.received_messages == 5_000)
                .await;
            plug.send(&[0xC0, 0]).await;
            while plug.packet().await.first != 0xD0 {}
            tokio::time::sleep(NEVER).await;
            assert_eq!(
                stage.statistics().sent_messages,
                sent,
                "not one after the end"
            );
            reader.send(&[0xC0, 0]).await;
            loop {
                let packet = reader.packet().await;
                if packet.first == 0xD0 {
                    break;
                }
                let message = reader.read_message(&packet);
                if qos == 1 {
                    reader.acknowledge(&message).await;
                }
            }

            stage.extend(ana, "sensor/live", 2_000);
            plug.publish("sensor/live", "paid").await;
            assert_eq!(reader.payload().await, "paid", "without a new SUBSCRIBE");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wildcard_is_served_where_a_right_covers_it() {
    let mut stage = Stage::new().await;
    let ana = stage.register("ana");
    stage.lease(ana, "sensor/live", 1_000);
    stage.lease(ana, "room/+/heat", 2_000);
    let mut plug = plug(&mut stage).await;
    let mut reader = connect(5, "r").login("ana").open(&stage).await;
    reader.subscribe("#", 0).await;
    for topic in [
        "sensor/1m",
        "sensor/live",
        "room/1/heat",
        "room/1/light",
        "room/2/heat",
    ] {
        plug.publish(topic, topic).await;
    }
    for expected in ["sensor/live", "room/1/heat", "room/2/heat"] {
        assert_eq!(reader.payload().await, expected);
    }
    stage.hand.advance_to(after(1_000));
    for topic in ["sensor/live", "room/3/heat", "sensor/live"] {
        plug.publish(topic, topic).await;
    }
    assert_eq!(reader.payload().await, "room/3/heat");
    reader.hears_nothing().await;
    reader.ping().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_queued_when_a_lease_ends_is_dropped() {
    let mut stage = Stage::new().await;
    let ana = stage.register("ana");
    stage.lease(ana, "sensor/live", 1_000);
    stage.give_everyone("free/#", Access::Read);
    let mut plug = plug(&mut stage).await;
    // One message at a time: the others wait for the acknowledgement.
    let mut reader = connect(5, "r")
        .login("ana")
        .properties(&[0x21, 0, 1])
        .open(&stage)
        .await;
    reader.subscribe("#", 1).await;
    for (topic, payload) in [("sensor/live", "1"), ("sensor/live", "2"), ("free/x", "3")] {
        plug.publish_safely(topic, payload).await;
    }
    let first = reader.message().await;
    assert_eq!(first.payload, b"1");
    reader.hears_nothing().await;
    stage.hand.advance_to(after(1_000));
    reader.acknowledge(&first).await;
    assert_eq!(
        reader.payload().await,
        "3",
        "the free one, not the paid one"
    );
    assert_eq!(stage.statistics().dropped_ended, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_lease_takes_its_queued_messages_along() {
    let mut stage = Stage::new().await;
    let ana = stage.register("ana");
    stage.lease(ana, "sensor/live", 1_000_000);
    let mut plug = plug(&mut stage).await;
    let mut reader = connect(5, "r")
        .login("ana")
        .properties(&[0x21, 0, 1])
        .open(&stage)
        .await;
    reader.subscribe("sensor/live", 1).await;
    plug.publish_safely("sensor/live", "1").await;
    plug.publish_safely("sensor/live", "2").await;
    let first = reader.message().await;
    stage.revoke(ana, "sensor/live");
    reader.acknowledge(&first).await;
    plug.publish_safely("sensor/live", "3").await;
    reader.hears_nothing().await;
    reader.ping().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_prolonged_while_messages_wait_keeps_them() {
    let mut stage = Stage::new().await;
    let ana = stage.register("ana");
    stage.lease(ana, "sensor/live", 1_000);
    let mut plug = plug(&mut stage).await;
    let mut reader = connect(5, "r")
        .login("ana")
        .properties(&[0x21, 0, 1])
        .open(&stage)
        .await;
    reader.subscribe("sensor/live", 1).await;
    plug.publish_safely("sensor/live", "1").await;
    plug.publish_safely("sensor/live", "2").await;
    let first = reader.message().await;
    stage.extend(ana, "sensor/live", 5_000);
    stage.hand.advance_to(after(1_000));
    reader.acknowledge(&first).await;
    assert_eq!(reader.payload().await, "2");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_password_cuts_the_sessions_of_the_old_one() {
    let mut stage = Stage::new().await;
    let ana = stage.register("ana");
    stage.register("bob");
    let mut five = connect(5, "five").login("ana").open(&stage).await;
    let mut four = connect(4, "four").login("ana").open(&stage).await;
    let mut bob = connect(5, "five").login("bob").open(&stage).await;
    stage.change_password(ana, "new");
    assert!(
        five.is_dismissed(0x87)
            .await
            .contains("password was changed")
    );
    four.is_closed().await;
    bob.ping().await;
    assert_eq!(stage.statistics().cut_sessions, 2);
    let (_, refused) = connect(4, "x").login("ana").try_open(&stage).await;
    assert_eq!(refused.body[1], 4, "the old password");
    let mut new = connect(4, "x").password("ana", "new").open(&stage).await;
    new.ping().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspended_login_is_cut_at_once_and_comes_back_when_reinstated() {
    let mut stage = Stage::new().await;
    let ana = stage.register("ana");
    stage.lease(ana, "sensor/live", 1_000_000);
    let mut plug = plug(&mut stage).await;
    let mut reader = connect(5, "r")
        .login("ana")
        .properties(&[0x21, 0, 1])
        .open(&stage)
        .await;
    reader.subscribe("sensor/live", 1).await;
    plug.publish_safely("sensor/live", "1").await;
    plug.publish_safely("sensor/live", "2").await;
    assert_eq!(reader.payload().await, "1");
    stage.tell(&Event::SubscriberSuspended { subscriber: ana });
    assert!(reader.is_dismissed(0x98).await.contains("suspended"));
    let (mut refused, answer) = connect(5, "r").login("ana").try_open(&stage).await;
    assert_eq!(answer.body[1], 0x87);
    refused.is_closed().await;
    stage.tell(&Event::SubscriberReinstated { subscriber: ana });
    let mut reader = connect(4, "r").login("ana").open(&stage).await;
    reader.subscribe("sensor/live", 0).await;
    plug.publish("sensor/live", "3").await;
    assert_eq!(reader.payload().await, "3");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_sees_its_own_leases_and_their_ends() {
    let mut stage = Stage::new().await;
    let ana = stage.register("ana");
    stage.lease(ana, "sensor/live", 300_500);
    stage.give_everyone("free", Access::Read);
    let mut reader = connect(4, "r").login("ana").open(&stage).await;
    reader.subscribe("$SYS/access/me/lease", 1).await;
    let state = reader.message().await;
    assert!(state.retain, "like a retained message");
    let json = String::from_utf8(state.payload).unwrap();
    assert_eq!(
        json,
        "{\"at\":1800000000000,\"rights\":[{\"filter\":\"sensor/live\",\"access\":\"read\",\
         \"state\":\"running\",\"until\":\"2027-01-15T08:05:00.500Z\",\"until_ms\":1800000300500,\
         \"offer\":\"plug-hour\"},{\"filter\":\"free\",\"access\":\"read\",\"state\":\"running\",\
         \"until\":null,\"until_ms\":null}]}"
    );
    stage.hand.advance_to(after(300_500));
    let ended = reader.message().await;
    assert!(!ended.retain && String::from_utf8(ended.payload).unwrap().contains("ended"));
    stage.extend(ana, "sensor/live", 400_000);
    assert!(
        reader
            .payload()
            .await
            .contains("\"until_ms\":1800000400000")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_reads_or_writes_the_view_of_another() {
    let mut stage = Stage::new().await;
    let ana = stage.register("ana");
    stage.register("bob");
    stage.give(Audience::Everyone, "#", Access::ReadWrite);
    let mut bob = connect(5, "b").login("bob").open(&stage).await;
    bob.subscribe("$SYS/access/me/#", 0).await;
    bob.message().await;
    let mut forger = connect(5, "f").open(&stage).await;
    let (code, why) = forger.publish_safely("$SYS/access/me/lease", "{}").await;
    assert_eq!(code, 0x87);
    assert!(why.contains('$'), "{why}");
    stage.lease(ana, "sensor/live", 1_000);
    bob.hears_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publisher_may_write_until_his_right_is_taken() {
    let mut stage = Stage::new().await;
    let plug = stage.register("plug");
    let rule = stage.give(Audience::Subscriber(plug), "sensor/live", Access::Write);
    stage.give_everyone("#", Access::Read);
    let mut reader = connect(4, "r").open(&stage).await;
    reader.subscribe("#", 1).await;
    let mut four = connect(4, "four").login("plug").open(&stage).await;
    let mut five = connect(5, "five").login("plug").open(&stage).await;
    assert_eq!(four.publish_safely("sensor/live", "1").await.0, 0);
    assert_eq!(five.publish_safely("sensor/live", "2").await.0, 0);
    stage.tell(&Event::RuleRemoved { rule });
    four.publish("sensor/live", "3").await;
    assert_eq!(
        four.publish_safely("sensor/live", "4").await.0,
        0,
        "3.1.1 knows no other answer"
    );
    let (code, why) = five.publish_safely("sensor/live", "5").await;
    assert_eq!(code, 0x87);
    assert_eq!(why, "no right to publish on sensor/live");
    assert_eq!(reader.payload().await, "1");
    assert_eq!(reader.payload().await, "2");
    reader.hears_nothing().await;
    assert_eq!(stage.statistics().denied_publishes, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_to_publish_ends_at_the_message_too() {
    let mut stage = Stage::new().await;
    let ana = stage.register("ana");
    stage.lease_of(Access::Write, ana, "wall", 1_000);
    stage.give_everyone("#", Access::Read);
    let mut reader = connect(4, "r").open(&stage).await;
    reader.subscribe("wall", 0).await;
    let mut writer = connect(5, "w").login("ana").open(&stage).await;
    for (at, code) in [(0, 0), (999, 0), (1_000, 0x87), (1_001, 0x87)] {
        stage.hand.advance_to(after(at));
        writer.publish("wall", &at.to_string()).await;
        assert_eq!(writer.publish_safely("wall", &at.to_string()).await.0, code);
    }
    for expected in ["0", "0", "999", "999"] {
        assert_eq!(reader.payload().await, expected);
    }
    reader.hears_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_stale_table_only_what_runs_runs_on() {
    let mut stage = Stage::new().await;
    let ana = stage.register("ana");
    stage.lease(ana, "sensor/live", 1_000);
    let mut plug = plug(&mut stage).await;
    let mut reader = connect(5, "r").login("ana").open(&stage).await;
    reader.subscribe("sensor/live", 0).await;
    plug.publish_safely("sensor/live", "1").await;
    assert_eq!(reader.payload().await, "1");
    stage.view.mark_stale();
    plug.publish("sensor/live", "2").await;
    assert_eq!(reader.payload().await, "2");
    let (codes, why) = reader.subscribe_with(&[], &[("sensor/1m", 0)]).await;
    assert_eq!(codes, [0x83]);
    assert!(why.contains("try again"), "{why}");
    let (_, refused) = connect(5, "x").try_open(&stage).await;
    assert_eq!(refused.body[1], 0x88);
    plug.publish("other", "3").await;
    plug.ping().await;
    assert_eq!(stage.statistics().denied_publishes, 1);
    stage.view.mark_fresh();
    connect(5, "x").open(&stage).await;
}
