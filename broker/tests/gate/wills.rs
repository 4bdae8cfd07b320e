//! Wills.

use crate::client::{Client, connect};
use crate::stage::Stage;
use tanglegate_core::{Access, Audience, Event};

async fn reader(stage: &Stage) -> Client {
    let mut reader = connect(4, "reader").open(stage).await;
    reader.subscribe("#", 1).await;
    reader
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_client_leaves_its_will_and_a_polite_one_does_not() {
    // [MQTT-3.1.2-8], [MQTT-3.1.2-10], [MQTT-3.14.4-3]
    let mut stage = Stage::new().await;
    stage.give_everyone("#", Access::ReadWrite);
    let mut reader = reader(&stage).await;
    for version in [4, 5] {
        let will = connect(version, "x").will("status", "lost", 1, true);
        drop(will.open(&stage).await);
        let message = reader.message().await;
        assert_eq!(
            (&*message.topic, message.qos, message.retain),
            ("status", 1, false)
        );
        reader.acknowledge(&message).await;
        let mut polite = will.open(&stage).await;
        polite.send(&[0xE0, 0]).await;
        polite.is_closed().await;
        let mut faulty = will.open(&stage).await;
        faulty.send(&[0x36, 0]).await;
        assert_eq!(reader.payload().await, "lost");
        reader.hears_nothing().await;
    }
    // 5.0 can ask for it.
    let mut asking = connect(5, "x")
        .will("status", "asked", 0, false)
        .open(&stage)
        .await;
    asking.send(&[0xE0, 1, 4]).await;
    assert_eq!(reader.payload().await, "asked");
    let mut late = connect(4, "late").open(&stage).await;
    late.subscribe("status", 0).await;
    assert_eq!(late.payload().await, "lost", "kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_will_is_checked_when_it_is_published() {
    let mut stage = Stage::new().await;
    let plug = stage.register("plug");
    let rule = stage.give(Audience::Subscriber(plug), "status", Access::Write);
    stage.give_everyone("#", Access::Read);
    let mut reader = reader(&stage).await;
    drop(
        connect(4, "x")
            .login("plug")
            .will("other", "1", 0, false)
            .open(&stage)
            .await,
    );
    drop(
        connect(4, "x")
            .login("plug")
            .will("$SYS/x", "2", 0, false)
            .open(&stage)
            .await,
    );
    drop(
        connect(4, "x")
            .will("status", "3", 0, false)
            .open(&stage)
            .await,
    );
    drop(
        connect(4, "x")
            .login("plug")
            .will("status", "4", 0, false)
            .open(&stage)
            .await,
    );
    assert_eq!(reader.payload().await, "4");
    stage.until("denied", |it| it.denied_wills == 3).await;
    let client = connect(4, "x")
        .login("plug")
        .will("status", "5", 0, false)
        .open(&stage)
        .await;
    stage.tell(&Event::RuleRemoved { rule });
    drop(client);
    stage.until("denied", |it| it.denied_wills == 4).await;
    reader.hears_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_cut_leaves_no_will_and_whoever_is_taken_over_does() {
    let mut stage = Stage::new().await;
    let plug = stage.register("plug");
    stage.give(Audience::Subscriber(plug), "#", Access::Write);
    stage.give_everyone("#", Access::Read);
    let mut reader = reader(&stage).await;
    let ask = connect(5, "x")
        .login("plug")
        .will("status", "will", 0, false);
    let mut first = ask.open(&stage).await;
    let mut second = ask.open(&stage).await;
    first.is_dismissed(0x8E).await;
    assert_eq!(reader.payload().await, "will");
    stage.change_password(plug, "new");
    second.is_dismissed(0x87).await;
    reader.hears_nothing().await;
}
