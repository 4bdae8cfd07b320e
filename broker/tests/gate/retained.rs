//! Retained messages.

use crate::client::{connect, packet, text};
use crate::stage::{NEVER, SOON, Stage, after};
use std::time::Instant;
use tanglegate_broker::{ClientLimits, Limits};
use tanglegate_core::{Access, Audience};

#[tokio::test(flavor = "multi_thread")]
async fn the_last_message_waits_for_those_who_subscribe_later() {
    // [MQTT-3.3.1-5] to [MQTT-3.3.1-8]
    let mut stage = Stage::new().await;
    stage.give_everyone("#", Access::ReadWrite);
    let mut publisher = connect(4, "p").open(&stage).await;
    let mut early = connect(4, "early").open(&stage).await;
    early.subscribe("#", 0).await;
    for (first, payload) in [(0x31, "1"), (0x33, "2"), (0x30, "3")] {
        let packet = publisher.publish_packet(first, "t", &[], payload);
        publisher.send(&packet).await;
        let message = early.message().await;
        assert_eq!(
            (message.retain, &message.payload[..]),
            (false, payload.as_bytes())
        );
    }
    for version in [4, 5] {
        let mut late = connect(version, "late").open(&stage).await;
        late.subscribe("+", 1).await;
        let message = late.message().await;
        assert_eq!(
            (message.retain, message.qos, &message.payload[..]),
            (true, 1, &b"2"[..])
        );
    }
    let packet = publisher.publish_packet(0x31, "t", &[], "");
    publisher.send(&packet).await;
    assert_eq!(
        early.payload().await,
        "",
        "emptying is a message like any other"
    );
    let mut later = connect(4, "later").open(&stage).await;
    later.subscribe("t", 0).await;
    later.hears_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_choose_when_to_get_them_and_how_they_look() {
    // [MQTT-3.3.1-9] to [MQTT-3.3.1-13]
    let mut stage = Stage::new().await;
    stage.give_everyone("#", Access::ReadWrite);
    let mut publisher = connect(4, "p").open(&stage).await;
    let kept = publisher.publish_packet(0x31, "t", &[], "kept");
    publisher.send(&kept).await;
    stage.until("kept", |it| it.retained_messages == 1).await;
    let mut reader = connect(5, "r").open(&stage).await;
    let never = 0b0010_0000;
    let when_new = 0b0001_0000;
    let as_published = 0b1000;
    reader.subscribe_with(&[], &[("t", never)]).await;
    reader.subscribe_with(&[], &[("t", when_new)]).await;
    reader.hears_nothing().await;
    reader.subscribe_with(&[], &[("+", when_new)]).await;
    assert_eq!(reader.payload().await, "kept");
    reader.subscribe_with(&[], &[("t", as_published)]).await;
    assert_eq!(reader.payload().await, "kept", "asked for again");
    let live = publisher.publish_packet(0x31, "t", &[], "live");
    publisher.send(&live).await;
    let message = reader.message().await;
    assert_eq!((message.retain, &message.payload[..]), (true, &b"live"[..]));
    reader.hears_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retained_message_is_no_way_around_a_lease() {
    let mut stage = Stage::new().await;
    let (ana, plug) = (stage.register("ana"), stage.register("plug"));
    stage.give(Audience::Subscriber(plug), "#", Access::Write);
    stage.give_everyone("free", Access::Read);
    let mut publisher = connect(4, "p").login("plug").open(&stage).await;
    for topic in ["free", "sensor/live"] {
        let packet = publisher.publish_packet(0x31, topic, &[], topic);
        publisher.send(&packet).await;
    }
    stage.until("kept", |it| it.retained_messages == 2).await;
    let mut reader = connect(4, "r").login("ana").open(&stage).await;
    reader.subscribe("#", 0).await;
    assert_eq!(reader.payload().await, "free");
    reader.hears_nothing().await;
    stage.lease(ana, "sensor/live", 1_000);
    reader.subscribe("sensor/live", 0).await;
    assert_eq!(reader.payload().await, "sensor/live");
    stage.hand.advance_to(after(1_000));
    reader.subscribe("#", 0).await;
    assert_eq!(reader.payload().await, "free");
    reader.hears_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn expired_messages_are_not_kept_and_others_tell_what_is_left() {
    let mut stage = Stage::new().await;
    stage.give_everyone("#", Access::ReadWrite);
    let mut publisher = connect(5, "p").open(&stage).await;
    for (topic, expiry) in [("brief", 5), ("long", 60)] {
        let packet = publisher.publish_packet(0x31, topic, &[0x02, 0, 0, 0, expiry], topic);
        publisher.send(&packet).await;
    }
    stage.until("kept", |it| it.retained_messages == 2).await;
    stage.hand.advance_to(after(5_000));
    let mut reader = connect(5, "r").open(&stage).await;
    reader.subscribe("#", 0).await;
    let message = reader.message().await;
    assert_eq!(
        (&*message.topic, &*message.properties[0]),
        ("long", "expiry 55")
    );
    reader.hears_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_retained_messages_than_a_queue_holds_all_arrive() {
    let limits = Limits {
        anonymous: ClientLimits {
            queued_bytes: 2_000,
            ..ClientLimits::anonymous()
        },
        ..Limits::default()
    };
    let mut stage = Stage::with(limits).await;
    stage.give_everyone("#", Access::ReadWrite);
    let mut publisher = connect(4, "p").open(&stage).await;
    let mut all = vec![];
    for number in 0..2_000 {
        all.extend(publisher.publish_packet(0x33, &format!("t/{number}"), &[], "kept"));
    }
    publisher.send(&all).await;
    stage
        .until("kept", |it| it.retained_messages == 2_000)
        .await;
    for qos in [0, 1] {
        let mut reader = connect(5, "r").open(&stage).await;
        reader.subscribe("t/+", qos).await;
        let mut topics = std::collections::BTreeSet::new();
        for _ in 0..2_000 {
            let message = reader.message().await;
            if qos == 1 {
                reader.acknowledge(&message).await;
            }
            topics.insert(message.topic);
        }
        assert_eq!(topics.len(), 2_000);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_store_drops_and_says_so() {
    let limits = Limits {
        retained_messages: 1,
        ..Limits::default()
    };
    let mut stage = Stage::with(limits).await;
    stage.give_everyone("#", Access::ReadWrite);
    let mut publisher = connect(4, "p").open(&stage).await;
    for topic in ["a", "b"] {
        let packet = publisher.publish_packet(0x31, topic, &[], topic);
        publisher.send(&packet).await;
    }
    stage.until("dropped", |it| it.dropped_retained == 1).await;
    let mut reader = connect(4, "r").open(&stage).await;
    reader.subscribe("#", 0).await;
    assert_eq!(reader.payload().await, "a");
    reader.hears_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_asks_for_all_of_them_again_and_again_holds_no_publisher_back() {
    const KEPT: u64 = 20_000;
    let mut stage = Stage::new().await;
    stage.give_everyone("#", Access::ReadWrite);
    let mut publisher = connect(4, "p").open(&stage).await;
    let mut all = vec![];
    for number in 0..KEPT {
        all.extend(publisher.publish_packet(0x31, &format!("{number}/x"), &[], "kept"));
    }
    publisher.send(&all).await;
    stage.until("kept", |it| it.retained_messages == KEPT).await;
    let mut greedy = connect(4, "g").open(&stage).await;
    let subscribing = tokio::spawn(async move {
        loop {
            // Nothing is found by the first, and everything by the second.
            for filter in ["+/none/#", "+/x"] {
                let body = [&[0, 1][..], &text(filter), &[0]].concat();
                greedy.send(&packet(0x82, &body)).await;
            }
            let begun = Instant::now();
            while begun.elapsed() < NEVER {
                greedy.packet().await;
            }
        }
    });
    let publishing = async {
        for number in 0..200 {
            let message = publisher.publish_packet(0x33, &format!("{number}/x"), &[], "new");
            publisher.send(&message).await;
            let answer = publisher.packet().await;
            assert_eq!(publisher.read_acknowledgement(&answer).0, 0);
        }
    };
    let published = tokio::time::timeout(SOON, publishing).await;
    published.expect("200 messages are taken while others read all there are");
    assert!(!subscribing.is_finished());
    subscribing.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_that_finds_no_room_goes_on_when_others_give_some_back() {
    let limits = Limits {
        anonymous_bytes: 200_000,
        anonymous: ClientLimits {
            queued_bytes: 200_000,
            ..ClientLimits::anonymous()
        },
        ..Limits::default()
    };
    let mut stage = Stage::with(limits).await;
    let plug = stage.register("plug");
    stage.give(Audience::Subscriber(plug), "#", Access::Write);
    stage.give_everyone("#", Access::Read);
    let mut publisher = connect(4, "p").login("plug").open(&stage).await;
    let big = publisher.publish_packet(0x31, "big", &[], &"x".repeat(50_000));
    publisher.send(&big).await;
    stage.until("kept", |it| it.retained_messages == 1).await;
    // Messages that nobody acknowledges: of each client the first is on its way, the others wait.
    let mut hogs = vec![];
    for (topic, count) in [("a", 5), ("b", 3), ("c", 2)] {
        let mut hog = connect(5, topic)
            .properties(&[0x21, 0, 1])
            .open(&stage)
            .await;
        hog.subscribe(topic, 1).await;
        for _ in 0..count {
            publisher.publish_safely(topic, &"x".repeat(20_000)).await;
        }
        hogs.push(hog);
    }
    let mut reader = connect(4, "r").open(&stage).await;
    reader.subscribe("big", 0).await;
    reader.hears_nothing().await;
    drop(hogs);
    assert_eq!(reader.message().await.payload.len(), 50_000);
}
