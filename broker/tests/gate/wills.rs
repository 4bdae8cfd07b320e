//! Wills.

use crate::client::{Client, Connect, connect};
use crate::stage::{SOON, Stage, after};
use std::path::Path;
use tanglegate_broker::{Outcome, Stage as At};
use tanglegate_core::{Access, Audience, Event, SubscriberId};

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

/// The same, with a login of the reader's, and a store in a folder.
async fn stored_stage_of_plug(folder: &Path) -> Stage {
    let (mut stage, _) = permit_plug(Stage::stored_in(folder).await);
    stage.register("ana");
    stage
}

fn permit_plug(mut stage: Stage) -> (Stage, SubscriberId) {
    let plug = stage.register("plug");
    stage.give(Audience::Subscriber(plug), "#", Access::Write);
    stage.give_everyone("#", Access::Read);
    (stage, plug)
}

/// A gate with a plug that may publish and readers that may read.
async fn stage_of_plug() -> (Stage, SubscriberId) {
    permit_plug(Stage::new().await)
}

/// The plug, with a will that waits for 10 s and a session that is kept for so many.
fn plug(kept: u32) -> Connect {
    let ask = connect(5, "x").login("plug").kept(kept);
    ask.delayed_will("status", "lost", 10)
}

async fn lose(stage: &Stage, client: Client) {
    drop(client);
    stage.until("away", |it| it.open_sessions == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_will_waits_for_its_delay_and_not_for_longer_than_its_session() {
    // [MQTT-3.1.3-9], MQTT 5.0 §3.1.3.2.2
    let (stage, _) = stage_of_plug().await;
    let mut reader = reader(&stage).await;
    let mut now = 0;
    for (kept, published) in [(60, 10_000), (5, 5_000), (0, 0)] {
        let client = plug(kept).open(&stage).await;
        lose(&stage, client).await;
        if published != 0 {
            stage.hand.advance_to(after(now + published - 1));
            reader.hears_nothing().await;
            stage.hand.advance_to(after(now + published));
        }
        let message = reader.message().await;
        assert_eq!((message.payload, message.qos), (b"lost".to_vec(), 1));
        reader
            .send(&[0x40, 2, 0, u8::try_from(message.id.unwrap()).unwrap()])
            .await;
        now += 100_000;
        stage.hand.advance_to(after(now));
        stage.until("gone", |it| it.away_sessions == 0).await;
        reader.hears_nothing().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_comes_back_in_time_leaves_no_will() {
    // [MQTT-3.1.3-9]
    let (stage, _) = stage_of_plug().await;
    let mut reader = reader(&stage).await;
    let first = plug(60).open(&stage).await;
    lose(&stage, first).await;
    stage.hand.advance_to(after(9_999));
    let again = connect(5, "x").login("plug").kept(60).resume(&stage).await;
    stage.hand.advance_to(after(30_000));
    // Nor is the will of the last connection that of the next one.
    lose(&stage, again).await;
    stage.hand.advance_to(after(100_000));
    stage.until("gone", |it| it.away_sessions == 0).await;
    reader.hears_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_session_in_the_place_of_the_old_one_publishes_its_will() {
    // MQTT 5.0 §3.1.3.2.2: the old session ends, be its client away or connected.
    let (stage, _) = stage_of_plug().await;
    let mut reader = reader(&stage).await;
    let first = plug(60).open(&stage).await;
    lose(&stage, first).await;
    let second = plug(60).clean().open(&stage).await;
    assert_eq!(reader.payload().await, "lost");
    let mut third = plug(60).clean().open(&stage).await;
    assert_eq!(reader.payload().await, "lost");
    drop(second);
    // Whoever goes on with it spares the will, if that waits.
    let ask = connect(5, "x").login("plug").kept(60);
    let mut fourth = ask
        .clone()
        .will("status", "at once", 0, false)
        .resume(&stage)
        .await;
    third.is_dismissed(0x8E).await;
    reader.hears_nothing().await;
    ask.resume(&stage).await;
    fourth.is_dismissed(0x8E).await;
    assert_eq!(reader.payload().await, "at once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_will_that_waits_is_checked_when_it_is_due() {
    let (mut stage, id) = stage_of_plug().await;
    let mut reader = reader(&stage).await;
    let first = plug(60).open(&stage).await;
    lose(&stage, first).await;
    stage.tell(&Event::SubscriberSuspended { subscriber: id });
    stage.hand.advance_to(after(10_000));
    stage.until("denied", |it| it.denied_wills == 1).await;
    reader.hears_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_polite_client_takes_its_will_along_also_when_its_session_is_kept() {
    // [MQTT-3.14.4-3]
    let (stage, _) = stage_of_plug().await;
    let mut reader = reader(&stage).await;
    let mut client = plug(60).open(&stage).await;
    client.send(&[0xE0, 0]).await;
    client.is_closed().await;
    stage.until("away", |it| it.away_sessions == 1).await;
    stage.hand.advance_to(after(100_000));
    stage.until("gone", |it| it.away_sessions == 0).await;
    reader.hears_nothing().await;
}

/// A reader whose session is kept.
fn ana() -> Connect {
    connect(5, "r").login("ana").kept(1_000_000)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_shuts_down_publishes_the_will_of_whoever_is_connected() {
    // [MQTT-3.1.2-8]: the network connection is closed, and the client has not said goodbye.
    for (version, kept) in [(5, 60), (5, 0), (4, 0)] {
        let folder = tempfile::TempDir::new().unwrap();
        let stage = stored_stage_of_plug(folder.path()).await;
        let mut reader = ana().open(&stage).await;
        reader.subscribe("status", 1).await;
        lose_all(&stage, reader).await;
        let ask = connect(version, "x").login("plug");
        let ask = if kept == 0 { ask } else { ask.kept(kept) };
        let _plug = ask.will("status", "lost", 1, false).open(&stage).await;
        stage.gate.shutdown(SOON).await;

        let stage = stored_stage_of_plug(folder.path()).await;
        let mut reader = ana().resume(&stage).await;
        let message = reader.message().await;
        assert_eq!(message.payload, b"lost", "{version} {kept}");
        reader.acknowledge(&message).await;
        stage.hand.advance_to(after(100_000));
        reader.hears_nothing().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_will_that_waits_survives_the_server_and_waits_on() {
    // MQTT 5.0 §3.1.2.5: publication may be put off until the restart; [MQTT-3.1.3-9]
    for comes_back in [false, true] {
        let folder = tempfile::TempDir::new().unwrap();
        let stage = stored_stage_of_plug(folder.path()).await;
        let _plug = plug(60).open(&stage).await;
        stage.gate.shutdown(SOON).await;

        let stage = stored_stage_of_plug(folder.path()).await;
        let mut reader = ana().open(&stage).await;
        reader.subscribe("#", 0).await;
        stage.hand.advance_to(after(9_999));
        reader.hears_nothing().await;
        if comes_back {
            let _again = connect(5, "x").login("plug").kept(60).resume(&stage).await;
            stage.hand.advance_to(after(50_000));
            reader.hears_nothing().await;
            continue;
        }
        stage.hand.advance_to(after(10_000));
        assert_eq!(reader.payload().await, "lost");
        stage.hand.advance_to(after(50_000));
        reader.hears_nothing().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_keeps_nothing_publishes_all_wills_before_it_is_gone() {
    // [MQTT-3.1.2-8]: with it, the sessions end.
    let (stage, _) = stage_of_plug().await;
    let away = plug(60).open(&stage).await;
    lose_all(&stage, away).await;
    let connected = connect(5, "y").login("plug").kept(60);
    let _connected = connected
        .delayed_will("status", "lost", 10)
        .open(&stage)
        .await;
    let statistics = stage.gate.statistics_reader();
    stage.gate.shutdown(SOON).await;
    let decisions = statistics.read().decisions;
    assert_eq!(decisions.count(At::Will, Outcome::Permitted), 2);
}

/// Loses the only client.
async fn lose_all(stage: &Stage, client: Client) {
    drop(client);
    stage.until("away", |it| it.open_sessions == 0).await;
}
