//! What the server tells about itself on `$SYS/broker/…`.

use crate::client::connect;
use crate::stage::{Stage, after};
use std::collections::BTreeMap;
use std::time::Duration;
use tanglegate_broker::Limits;
use tanglegate_core::{Access, Acl, Event};

async fn telling() -> Stage {
    let often = Some(Duration::from_millis(50));
    let stage = Stage::telling(Limits::default(), often).await;
    stage.view.install(Acl::default());
    stage
}

#[tokio::test(flavor = "multi_thread")]
async fn statistics_are_retained_under_the_names_that_dashboards_know() {
    let mut stage = telling().await;
    stage.give_everyone("$SYS/broker/#", Access::Read);
    stage.until("told", |it| it.retained_messages > 30).await;
    for version in [4, 5] {
        let mut reader = connect(version, "dashboard").open(&stage).await;
        reader.subscribe("$SYS/broker/#", 0).await;
        let mut told = BTreeMap::new();
        while !told.contains_key("$SYS/broker/version") || told.len() < 30 {
            let message = reader.message().await;
            let value = String::from_utf8(message.payload.to_vec()).unwrap();
            told.insert(message.topic.clone(), value);
        }
        assert!(told["$SYS/broker/uptime"].ends_with(" seconds"));
        for name in ["clients/connected", "bytes/sent", "load/sockets/5min"] {
            let value: f64 = told[&format!("$SYS/broker/{name}")].parse().unwrap();
            assert!(value >= 0.0, "{name}");
        }
    }
    // Live: the next client is seen by the first.
    let mut reader = connect(5, "watcher").open(&stage).await;
    reader.subscribe("$SYS/broker/clients/total", 0).await;
    let mut clients = reader.payload().await;
    let _more = connect(5, "more").open(&stage).await;
    while clients != "2" {
        clients = reader.payload().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn statistics_take_a_right_like_any_other_topic() {
    // [MQTT-4.7.2-1]: a filter that begins with a wildcard matches no topic that begins with $.
    let mut stage = telling().await;
    stage.give_everyone("#", Access::ReadWrite);
    stage.until("told", |it| it.retained_messages > 30).await;
    let mut client = connect(5, "curious").open(&stage).await;
    let (codes, why) = client.subscribe_with(&[], &[("$SYS/broker/#", 0)]).await;
    assert_eq!(codes, [0x87]);
    assert!(why.contains("no right to read $SYS/broker/#"), "{why}");
    client.subscribe("#", 0).await;
    client.hears_nothing().await;

    let rule = stage.give_everyone("$SYS/broker/uptime", Access::Read);
    client.subscribe("$SYS/broker/#", 0).await;
    let message = client.message().await;
    assert_eq!(message.topic, "$SYS/broker/uptime", "only the covered part");
    stage.tell(&Event::RuleRemoved { rule });
    stage.until("withheld", |it| it.withheld_messages > 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_writes_below_sys() {
    let mut stage = telling().await;
    for filter in ["#", "$SYS/#", "$SYS/broker/#", "+/+/+"] {
        stage.give_everyone(filter, Access::ReadWrite);
    }
    let mut reader = connect(5, "reader").open(&stage).await;
    reader.subscribe("$SYS/broker/uptime", 0).await;
    for version in [4, 5] {
        let forger = connect(version, "forger").will("$SYS/broker/uptime", "forged", 0, true);
        let mut client = forger.open(&stage).await;
        for topic in [
            "$SYS/broker/uptime",
            "$SYS",
            "$SYS/",
            "$SYS/access/me/lease",
        ] {
            let (code, why) = client.publish_safely(topic, "forged").await;
            if version == 5 {
                assert_eq!(code, 0x87, "{topic}");
                assert!(why.contains("belong to the server"), "{topic}: {why}");
            }
        }
        let retained = client.publish_packet(0x31, "$SYS/broker/uptime", &[], "forged");
        client.send(&retained).await;
        client.ping().await;
    }
    stage.until("refused", |it| it.denied_wills == 2).await;
    assert_eq!(stage.statistics().denied_publishes, 10);
    assert_eq!(reader.payload().await, "0 seconds");
    stage.hand.advance_to(after(7_000));
    // One that is published while the client subscribes may come twice: kept, and live.
    let mut next = reader.payload().await;
    if next == "0 seconds" {
        next = reader.payload().await;
    }
    assert_eq!(next, "7 seconds");
}
