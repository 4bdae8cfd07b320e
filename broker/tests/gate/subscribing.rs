//! SUBSCRIBE and UNSUBSCRIBE, and what they lead to.

use crate::client::{Client, connect, packet, text};
use crate::stage::{Stage, after};
use tanglegate_broker::{ClientLimits, Limits};
use tanglegate_core::Access;

async fn open_stage() -> (Stage, Client) {
    let mut stage = Stage::new().await;
    stage.give_everyone("#", Access::ReadWrite);
    let publisher = connect(4, "publisher").open(&stage).await;
    (stage, publisher)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_without_a_right_is_refused_with_advice() {
    let mut stage = Stage::new().await;
    let ana = stage.register("ana");
    stage.offer("plug-hour", "sensor/live");
    stage.lease(ana, "sensor/live", 300_000);
    stage.give_everyone("free/#", Access::Read);
    stage.hand.advance_to(after(300_000));
    let filters = [("sensor/live", 1), ("free/x", 1), ("sensor/1m", 0)];
    let mut five = connect(5, "five").login("ana").open(&stage).await;
    let (codes, why) = five.subscribe_with(&[], &filters).await;
    assert_eq!(codes, [0x87, 1, 0x87]);
    assert_eq!(
        why,
        "lease on sensor/live ended 2027-01-15T08:05:00Z; offer plug-hour sells it; \
         no right to read sensor/1m"
    );
    let mut four = connect(4, "four").login("ana").open(&stage).await;
    assert_eq!(four.subscribe_with(&[], &filters).await.0, [0x80, 1, 0x80]);
    assert_eq!(stage.statistics().denied_subscribes, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_anonymous_client_reads_what_is_free_and_is_told_about_the_rest() {
    let mut stage = Stage::new().await;
    stage.give_everyone("free/#", Access::Read);
    stage.give_everyone("in/#", Access::Write);
    stage.offer("plug-hour", "sensor/live");
    let mut client = connect(4, "x").open(&stage).await;
    let filters = [
        ("$SYS/access/me/denied", 0),
        ("sensor/live", 0),
        ("free/+", 0),
    ];
    assert_eq!(client.subscribe_with(&[], &filters).await.0, [0, 0x80, 0]);
    assert_eq!(
        client.payload().await,
        "{\"filter\":\"sensor/live\",\
         \"reason\":\"no right to read sensor/live; offer plug-hour sells it\"}"
    );
    client.hears_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_servers_topics_are_not_in_a_wildcard_and_not_for_sale_by_one() {
    // [MQTT-4.7.2-1]
    let (mut stage, _) = open_stage().await;
    let mut client = connect(5, "x").open(&stage).await;
    client.subscribe("#", 0).await;
    client.subscribe("+/access/me/lease", 0).await;
    stage.give_everyone("a", Access::Read);
    client.hears_nothing().await;
    let (codes, _) = client
        .subscribe_with(&[], &[("$SYS/broker/#", 0), ("$SYS/#", 0)])
        .await;
    assert_eq!(codes, [0x87, 0], "the second holds the client's own view");
    assert!(client.message().await.topic.ends_with("/lease"));
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_filters_are_refused_one_by_one() {
    let (stage, _) = open_stage().await;
    let mut client = connect(5, "x").open(&stage).await;
    let filters = [
        ("a/#/b", 0),
        ("a+", 0),
        ("", 0),
        ("$share/g", 0),
        ("a", 2),
        ("b", 1),
    ];
    let (codes, why) = client.subscribe_with(&[], &filters).await;
    // [MQTT-3.8.4-6], [MQTT-3.8.4-7]
    assert_eq!(codes, [0x8F, 0x8F, 0x8F, 0x8F, 2, 1], "{why}");
    let mut four = connect(4, "y").open(&stage).await;
    let filters = [("a/#/b", 0), ("$share/g", 0), ("a", 2)];
    assert_eq!(four.subscribe_with(&[], &filters).await.0, [0x80, 0x80, 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_come_with_the_lesser_quality_of_service() {
    // [MQTT-3.8.4-8]
    let (stage, mut publisher) = open_stage().await;
    for version in [4, 5] {
        let mut none = connect(version, "none").open(&stage).await;
        let mut once = connect(version, "once").open(&stage).await;
        none.subscribe("t", 0).await;
        once.subscribe("t", 1).await;
        publisher.publish("t", "0").await;
        publisher.publish_safely("t", "1").await;
        for (reader, second) in [(&mut none, 0), (&mut once, 1)] {
            assert_eq!(reader.message().await.qos, 0);
            let message = reader.message().await;
            assert_eq!((message.qos, &message.payload[..]), (second, &b"1"[..]));
            assert_eq!(message.id, (second == 1).then_some(1));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn overlapping_subscriptions_deliver_once_with_all_identifiers() {
    // [MQTT-3.3.4-2], [MQTT-3.3.4-3]
    let (stage, mut publisher) = open_stage().await;
    let mut reader = connect(5, "x").open(&stage).await;
    reader.subscribe_with(&[0x0B, 7], &[("t/#", 0)]).await;
    reader.subscribe_with(&[0x0B, 0xAC, 2], &[("t/+", 1)]).await;
    reader.subscribe_with(&[], &[("#", 0)]).await;
    publisher.publish_safely("t/x", "1").await;
    let message = reader.message().await;
    assert_eq!(
        (message.qos, message.properties),
        (1, vec!["id 7".to_owned(), "id 300".to_owned()])
    );
    reader.hears_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_local_leaves_the_clients_own_messages_out() {
    // [MQTT-3.8.3-3]
    let (stage, mut publisher) = open_stage().await;
    let mut client = connect(5, "x").open(&stage).await;
    let (codes, _) = client.subscribe_with(&[], &[("t", 0b100)]).await;
    assert_eq!(codes, [0]);
    client.publish("t", "mine").await;
    client.ping().await;
    publisher.publish("t", "theirs").await;
    assert_eq!(client.payload().await, "theirs");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_that_leaves_own_messages_out_does_not_colour_them() {
    // [MQTT-3.8.3-3], [MQTT-3.8.4-8]: how an own message comes is up to the other subscriptions.
    let (stage, mut writer) = open_stage().await;
    let mut reader = connect(5, "reader").open(&stage).await;
    reader.subscribe_with(&[0x0B, 7], &[("a/b", 0b101)]).await;
    reader.subscribe_with(&[0x0B, 8], &[("a/+", 0)]).await;
    reader.publish("a/b", "own").await;
    let own = reader.message().await;
    assert_eq!(
        (own.qos, &own.properties[..]),
        (0, &["id 8".to_owned()][..])
    );
    writer.publish_safely("a/b", "other").await;
    let other = reader.message().await;
    assert_eq!((other.qos, other.properties.len()), (1, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_is_replaced_and_removed() {
    // [MQTT-3.8.4-3], [MQTT-3.10.4-1], [MQTT-3.11.3-1]
    let (stage, mut publisher) = open_stage().await;
    for version in [4, 5] {
        let mut reader = connect(version, "x").open(&stage).await;
        reader.subscribe("t/+", 0).await;
        reader.subscribe("t/+", 1).await;
        publisher.publish_safely("t/a", "1").await;
        assert_eq!(reader.message().await.qos, 1);
        reader.hears_nothing().await;
        let mut body = vec![0, 99];
        if version == 5 {
            body.push(0);
        }
        body.extend([text("t/+"), text("other")].concat());
        reader.send(&packet(0xA2, &body)).await;
        let answer = reader.packet().await;
        let expected: &[u8] = if version == 5 {
            &[0, 99, 0, 0, 0x11]
        } else {
            &[0, 99]
        };
        assert_eq!((answer.first, &answer.body[..]), (0xB0, expected));
        publisher.publish_safely("t/a", "2").await;
        reader.hears_nothing().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn subscriptions_and_levels_are_bounded() {
    let limits = Limits {
        anonymous: ClientLimits {
            subscriptions: 2,
            topic_levels: 3,
            ..ClientLimits::anonymous()
        },
        ..Limits::default()
    };
    let mut stage = Stage::with(limits).await;
    stage.give_everyone("#", Access::ReadWrite);
    let mut client = connect(5, "x").open(&stage).await;
    let filters = [("a", 0), ("a/b/c/d", 0), ("b", 0), ("c", 0), ("a", 1)];
    let (codes, why) = client.subscribe_with(&[], &filters).await;
    assert_eq!(codes, [0, 0x8F, 0, 0x97, 1], "{why}");
    let (code, why) = client.publish_safely("a/b/c/d", "x").await;
    assert_eq!(code, 0x90, "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_in_any_script_arrive() {
    let (stage, mut publisher) = open_stage().await;
    for version in [4, 5] {
        let mut reader = connect(version, "x").open(&stage).await;
        reader.subscribe("датчик/+", 0).await;
        publisher.publish("датчик/живой", "1170").await;
        let message = reader.message().await;
        assert_eq!(
            (&*message.topic, &message.payload[..]),
            ("датчик/живой", &b"1170"[..])
        );
    }
}
