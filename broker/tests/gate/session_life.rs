//! Sessions that outlive their connections.

use crate::client::{Client, Connect, connect, described};
use crate::stage::{SOON, Stage, after};
use mqtt_protocol_core::mqtt::packet::v5_0;
use std::collections::HashSet;
use std::time::Duration;
use tanglegate_broker::Limits;
use tanglegate_core::{Access, Audience, Event};

/// A gate with a login that may do everything.
async fn stage_of_ana(limits: Limits) -> Stage {
    let mut stage = Stage::with(limits).await;
    let ana = stage.register("ana");
    stage.give(Audience::Subscriber(ana), "#", Access::ReadWrite);
    stage
}

fn ana(version: u8) -> Connect {
    connect(version, "x").login("ana")
}

/// Drops the connection, and waits until the gate has noticed.
async fn lose(stage: &Stage, client: Client) {
    let open = stage.statistics().open_sessions;
    drop(client);
    stage.until("lost", |it| it.open_sessions < open).await;
}

/// The session expiry that a CONNACK announces.
async fn announced_expiry(stage: &Stage, ask: &Connect) -> Option<u32> {
    let (_client, answer) = ask.try_open(stage).await;
    assert_eq!(answer.body[1], 0, "{answer:?}");
    let (answer, _) = v5_0::Connack::parse(&answer.body).expect("a CONNACK");
    let expiry = described(answer.props());
    let expiry = expiry
        .iter()
        .find_map(|it| it.strip_prefix("session expiry "));
    expiry.map(|it| it.parse().expect("a number"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_kept_goes_on_where_it_was_left() {
    // [MQTT-3.1.2-4], [MQTT-3.1.2-5], [MQTT-3.2.2-2]; MQTT 3.1.1 [MQTT-3.1.2-4]
    let stage = stage_of_ana(Limits::default()).await;
    let mut writer = connect(4, "writer").login("ana").open(&stage).await;
    for version in [4, 5] {
        let mut client = ana(version).kept(60).open(&stage).await;
        client.subscribe("topic", 0).await;
        lose(&stage, client).await;
        assert_eq!(stage.statistics().away_sessions, 1);
        let mut client = ana(version).kept(60).resume(&stage).await;
        assert_eq!(stage.statistics().away_sessions, 0);
        writer.publish("topic", "still subscribed").await;
        assert_eq!(client.payload().await, "still subscribed");
        // In the other version too.
        drop(client);
        let mut client = ana(9 - version).kept(60).resume(&stage).await;
        writer.publish("topic", "either way").await;
        assert_eq!(client.payload().await, "either way");
        // A new one is new.
        drop(client);
        let mut client = ana(version).clean().open(&stage).await;
        writer.publish("topic", "not for it").await;
        client.hears_nothing().await;
        drop(client);
        ana(version).kept(60).open(&stage).await;
        ana(version).clean().open(&stage).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_nobody_asked_to_keep_ends_with_its_connection() {
    // [MQTT-3.1.2-6], MQTT 5.0 §3.1.2.11.2
    let stage = stage_of_ana(Limits::default()).await;
    for version in [4, 5] {
        drop(ana(version).open(&stage).await);
        drop(ana(version).kept(0).open(&stage).await);
        ana(version).clean().try_open(&stage).await;
        stage.until("left", |it| it.open_sessions == 0).await;
    }
    // 3.1.1 asked to keep the second one, and then for a new one.
    assert_eq!(stage.statistics().away_sessions, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_ends_when_its_client_was_away_for_too_long() {
    // [MQTT-3.1.2-23], MQTT 5.0 §3.1.2.11.2
    let stage = stage_of_ana(Limits::default()).await;
    let client = ana(5).kept(60).open(&stage).await;
    // As long as it is connected, time does not count.
    stage.hand.advance_to(after(100_000));
    lose(&stage, client).await;
    stage.hand.advance_to(after(159_999));
    let client = ana(5).kept(60).resume(&stage).await;
    lose(&stage, client).await;
    stage.hand.advance_to(after(219_999));
    // Also before the gate has tidied up.
    let client = ana(5).kept(60).open(&stage).await;
    lose(&stage, client).await;
    stage.hand.advance_to(after(300_000));
    stage.until("gone", |it| it.away_sessions == 0).await;
    ana(5).kept(60).open(&stage).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expiry_that_is_not_granted_is_announced() {
    // [MQTT-3.2.2-21] and MQTT 5.0 §3.2.2.3.2
    let limits = Limits {
        session_expiry: Duration::from_secs(100),
        kept_sessions: 3,
        kept_sessions_per_login: 2,
        ..Limits::default()
    };
    let mut stage = stage_of_ana(limits).await;
    stage.register("bob");
    assert_eq!(announced_expiry(&stage, &ana(5).kept(99)).await, None);
    assert_eq!(announced_expiry(&stage, &ana(5).kept(101)).await, Some(100));
    let for_ever = connect(5, "y").login("ana").kept(u32::MAX);
    assert_eq!(announced_expiry(&stage, &for_ever).await, Some(100));
    // Each login has its share; what is kept can be had again.
    let third = connect(5, "z").login("ana").kept(9);
    assert_eq!(announced_expiry(&stage, &third).await, Some(0));
    let (_, refused) = connect(4, "z").login("ana").kept(9).try_open(&stage).await;
    assert_eq!(refused.body, [0, 3], "3.1.1 has no other word");
    connect(4, "z").login("ana").open(&stage).await;
    assert_eq!(announced_expiry(&stage, &for_ever).await, Some(100));
    // And all together.
    for (id, announced) in [("1", None), ("2", Some(0))] {
        let ask = connect(5, id).login("bob").kept(9);
        assert_eq!(announced_expiry(&stage, &ask).await, announced);
    }
    // A place is free again when its session ends.
    for_ever.clean().kept(0).resume(&stage).await;
    stage.until("left", |it| it.open_sessions == 0).await;
    assert_eq!(announced_expiry(&stage, &third).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_login_there_is_no_session_to_come_back_to() {
    let mut stage = Stage::new().await;
    stage.give_everyone("#", Access::ReadWrite);
    assert_eq!(
        announced_expiry(&stage, &connect(5, "x").kept(60)).await,
        Some(0)
    );
    for version in [4, 5] {
        drop(connect(version, "x").kept(60).open(&stage).await);
    }
    stage.until("gone", |it| it.open_sessions == 0).await;
    assert_eq!(stage.statistics().away_sessions, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disconnect_may_change_the_expiry_but_not_from_nothing() {
    // MQTT 5.0 §3.14.2.2.2
    let stage = stage_of_ana(Limits::default()).await;
    let goodbye = |seconds: u8| [0xE0, 7, 0, 5, 0x11, 0, 0, 0, seconds];
    let mut client = ana(5).kept(60).open(&stage).await;
    client.send(&goodbye(5)).await;
    client.is_closed().await;
    stage.until("away", |it| it.away_sessions == 1).await;
    stage.hand.advance_to(after(5_000));
    stage.until("gone", |it| it.away_sessions == 0).await;
    let mut client = ana(5).kept(60).open(&stage).await;
    client.send(&goodbye(0)).await;
    client.is_closed().await;
    let mut client = ana(5).kept(0).open(&stage).await;
    client.send(&goodbye(1)).await;
    client.is_dismissed(0x82).await;
    ana(5).kept(0).open(&stage).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_takeover_hands_the_session_on() {
    // [MQTT-3.1.4-3]
    let stage = stage_of_ana(Limits::default()).await;
    let mut writer = connect(4, "writer").login("ana").open(&stage).await;
    let mut first = ana(5).kept(60).open(&stage).await;
    first.subscribe("topic", 0).await;
    let mut second = ana(4).kept(60).resume(&stage).await;
    first.is_dismissed(0x8E).await;
    writer.publish("topic", "for the second").await;
    assert_eq!(second.payload().await, "for the second");
    let mut third = ana(5).clean().open(&stage).await;
    second.is_closed().await;
    writer.publish("topic", "for nobody").await;
    writer.ping().await;
    third.hears_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn however_many_race_for_a_session_one_has_it_and_nothing_is_lost() {
    // [MQTT-3.1.4-3]: all are let in, one after the other, and all but one are dismissed.
    let stage = stage_of_ana(Limits::default()).await;
    let mut writer = connect(4, "writer").login("ana").open(&stage).await;
    let mut first = ana(5).kept(60).open(&stage).await;
    first.subscribe("topic", 0).await;
    drop(first);
    for _ in 0..5 {
        let asks = (0..40).map(|it| ana(4 + it % 2).kept(60));
        let racing = asks.map(async |ask| ask.resume(&stage).await);
        let clients = futures_of(racing).await;
        stage.until("two left", |it| it.open_sessions == 2).await;
        writer.publish("topic", "once").await;
        let heard = clients.into_iter().map(async |mut client| {
            let mut messages = 0;
            while let Ok(Some(packet)) =
                tokio::time::timeout(Duration::from_millis(500), client.try_packet()).await
            {
                messages += usize::from(packet.first >> 4 == 3);
            }
            messages
        });
        let heard = futures_of(heard).await;
        assert_eq!(heard.iter().sum::<usize>(), 1, "{heard:?}");
        stage.until("left", |it| it.open_sessions == 1).await;
        assert_eq!(stage.statistics().away_sessions, 1);
    }
    // Those who want a new session and those who do not, those who keep it and those who do not.
    let asks = (0..60).map(|it: u8| match it % 3 {
        0 => ana(4 + it % 2).clean(),
        1 => ana(5).kept(0),
        _ => ana(4 + it % 2).kept(60),
    });
    let racing = asks.map(async |ask| ask.try_open(&stage).await.1.body[1]);
    let answers: HashSet<u8> = futures_of(racing).await.into_iter().collect();
    assert_eq!(answers, HashSet::from([0]));
    stage.until("left", |it| it.open_sessions == 1).await;
    let left = stage.statistics().away_sessions;
    assert!(left <= 1, "{left}");
    ana(5).clean().open(&stage).await.ping().await;
}

/// Waits for all, which run at the same time.
async fn futures_of<T>(futures: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut futures: Vec<_> = futures.map(|it| (Box::pin(it), None)).collect();
    let all = std::future::poll_fn(|cx| {
        let mut pending = false;
        for (future, result) in &mut futures {
            if result.is_none() {
                match future.as_mut().poll(cx) {
                    std::task::Poll::Ready(it) => *result = Some(it),
                    std::task::Poll::Pending => pending = true,
                }
            }
        }
        if pending {
            std::task::Poll::Pending
        } else {
            std::task::Poll::Ready(())
        }
    });
    tokio::time::timeout(2 * SOON, all).await.expect("all");
    futures.into_iter().filter_map(|(_, it)| it).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn rights_that_change_while_the_client_is_away_count_when_it_comes_back() {
    let mut stage = Stage::new().await;
    let ana_id = stage.register("ana");
    let read = stage.give(Audience::Subscriber(ana_id), "topic", Access::Read);
    stage.give_everyone("#", Access::Write);
    let mut writer = connect(4, "writer").open(&stage).await;
    let mut client = ana(5).kept(60).open(&stage).await;
    client.subscribe("topic", 0).await;
    lose(&stage, client).await;
    stage.tell(&Event::RuleRemoved { rule: read });
    let mut client = ana(5).kept(60).resume(&stage).await;
    writer.publish("topic", "not any more").await;
    client.hears_nothing().await;
    lose(&stage, client).await;
    stage.give(Audience::Subscriber(ana_id), "topic", Access::Read);
    let mut client = ana(5).kept(60).resume(&stage).await;
    writer.publish("topic", "again").await;
    assert_eq!(client.payload().await, "again");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_cut_finds_his_session_again_when_he_may_come_back() {
    let mut stage = Stage::new().await;
    let ana_id = stage.register("ana");
    stage.give(Audience::Subscriber(ana_id), "topic", Access::Read);
    stage.give_everyone("#", Access::Write);
    let mut writer = connect(4, "writer").open(&stage).await;
    let mut client = ana(5).kept(60).open(&stage).await;
    client.subscribe("topic", 0).await;
    stage.change_password(ana_id, "new");
    client.is_dismissed(0x87).await;
    assert_eq!(ana(5).kept(60).try_open(&stage).await.1.body[1], 0x86);
    let with_new = connect(5, "x").password("ana", "new").kept(60);
    let mut client = with_new.resume(&stage).await;
    stage.tell(&Event::SubscriberSuspended { subscriber: ana_id });
    client.is_dismissed(0x98).await;
    assert_eq!(with_new.try_open(&stage).await.1.body[1], 0x87);
    stage.tell(&Event::SubscriberReinstated { subscriber: ana_id });
    // The order to end was for the connection and not for the session.
    let mut client = with_new.resume(&stage).await;
    writer.publish("topic", "welcome back").await;
    assert_eq!(client.payload().await, "welcome back");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_identifier_that_is_given_is_nobody_elses() {
    // [MQTT-3.1.3-7]
    let stage = stage_of_ana(Limits::default()).await;
    let guess = connect(5, "given-0000000000000003").login("ana").kept(60);
    drop(guess.open(&stage).await);
    for _ in 0..4 {
        let (mut client, answer) = connect(5, "").login("ana").kept(60).try_open(&stage).await;
        assert_eq!(answer.body[..2], [0, 0]);
        client.ping().await;
    }
}
