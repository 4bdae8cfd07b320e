//! Keys that are made for one client, and the answers to them.

#![expect(clippy::unwrap_used, reason = "a test that fails may say where")]

mod floods;
mod requests;
mod strangers;

use crate::client::{Client, Message, connect};
use crate::stage::{Stage, after, stored_in};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tanglegate_broker::{Asked, Correspondence, KeyNews, Limits, SealedAnswer};
use tanglegate_core::Timestamp;

const KEY: &str = "$SYS/access/me/key";
const CREDENTIAL: &str = "$SYS/access/me/credential";
/// Milliseconds for which a key is good.
const LIFE: u64 = 4_000;

fn key_id(number: u64) -> [u8; 16] {
    u128::from(number).to_be_bytes()
}

fn answers_to(number: u64) -> String {
    format!("$SYS/access/keys/{number:032x}/credential")
}

fn answer(number: u64, text: &str) -> SealedAnswer {
    SealedAnswer {
        key_id: key_id(number),
        payload: Arc::from(text.as_bytes()),
        expires: Timestamp::FOREVER,
    }
}

/// Keys numbered from 1, each of which is told as `key NUMBER`; returns how many were made.
fn serve_keys(correspondence: &Correspondence) -> Arc<AtomicU64> {
    let made = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&made);
    correspondence.serve_keys(move |now| {
        let number = count.fetch_add(1, Ordering::SeqCst) + 1;
        KeyNews {
            key_id: key_id(number),
            payload: Arc::from(format!("key {number}").as_bytes()),
            valid_until: now.plus_millis(LIFE),
        }
    });
    made
}

async fn making_keys(limits: Limits) -> (Stage, Correspondence, Arc<AtomicU64>) {
    let stage = Stage::with(limits).await;
    let correspondence = stage.gate.correspondence();
    let made = serve_keys(&correspondence);
    (stage, correspondence, made)
}

/// The next message, as topic, payload and retain flag.
async fn told(client: &mut Client) -> (String, String, bool) {
    let Message {
        topic,
        payload,
        retain,
        qos,
        ..
    } = client.message().await;
    assert_eq!(qos, 0);
    (topic, String::from_utf8(payload).unwrap(), retain)
}

fn news(topic: &str, payload: &str, retain: bool) -> (String, String, bool) {
    (topic.to_owned(), payload.to_owned(), retain)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_client_is_told_a_key_of_its_own_and_the_same_while_it_is_good() {
    let (stage, _, made) = making_keys(Limits::default()).await;
    let mut number = 0;
    for version in [4, 5] {
        for filter in [KEY, "$SYS/access/me/#", "$SYS/access/+/key", "$SYS/#"] {
            number += 1;
            let mut client = connect(version, "stranger").open(&stage).await;
            client.subscribe(filter, 0).await;
            let own = format!("key {number}");
            loop {
                // `me/#` tells of the lease as well.
                let (topic, payload, retain) = told(&mut client).await;
                assert!(retain, "{topic}");
                if topic == KEY {
                    assert_eq!(payload, own);
                    break;
                }
            }
            client.subscribe(KEY, 0).await;
            assert_eq!(told(&mut client).await, news(KEY, &own, true));
            client.hears_nothing().await;
        }
    }
    assert_eq!(made.load(Ordering::SeqCst), number);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_nearly_over_is_replaced_when_the_client_asks_again() {
    let (stage, _, _) = making_keys(Limits::default()).await;
    let mut client = connect(5, "stranger").open(&stage).await;
    client.subscribe(KEY, 0).await;
    assert_eq!(told(&mut client).await, news(KEY, "key 1", true));
    stage.hand.advance_to(after(LIFE * 3 / 4 - 1));
    client.subscribe(KEY, 0).await;
    assert_eq!(told(&mut client).await, news(KEY, "key 1", true));
    stage.hand.advance_to(after(LIFE * 3 / 4));
    client.subscribe(KEY, 0).await;
    assert_eq!(told(&mut client).await, news(KEY, "key 2", true));
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_told_a_key_before_the_engine_makes_any_and_then_whoever_waits() {
    let stage = Stage::with(Limits::default()).await;
    let mut client = connect(4, "early").open(&stage).await;
    client.subscribe(KEY, 0).await;
    client.hears_nothing().await;
    serve_keys(&stage.gate.correspondence());
    assert_eq!(told(&mut client).await, news(KEY, "key 1", false));
}

#[tokio::test(flavor = "multi_thread")]
async fn when_keys_are_replaced_who_listens_is_told_and_the_old_ones_are_still_answered() {
    let (stage, engine, made) = making_keys(Limits::default()).await;
    let mut client = connect(5, "listens").open(&stage).await;
    client.subscribe("$SYS/access/me/+", 0).await;
    let mut gone = connect(5, "does not").open(&stage).await;
    gone.subscribe(KEY, 0).await;
    let mut first = vec![told(&mut client).await.0, told(&mut client).await.0];
    first.sort();
    assert_eq!(first, [KEY, "$SYS/access/me/lease"]);
    told(&mut gone).await;
    let own = made.load(Ordering::SeqCst) - 1;
    stop(5, &mut gone, KEY).await;
    for _ in 0..4 {
        engine.replace_keys();
        let (topic, _, retain) = told(&mut client).await;
        assert_eq!((&*topic, retain), (KEY, false));
    }
    assert_eq!(made.load(Ordering::SeqCst), 6, "for who listens only");
    // It was given five keys, and is told the answers to the last four.
    engine.answer(answer(own, "forgotten")).unwrap();
    engine.answer(answer(3, "first")).unwrap();
    assert_eq!(told(&mut client).await, news(CREDENTIAL, "first", false));
    engine.answer(answer(6, "last")).unwrap();
    assert_eq!(told(&mut client).await, news(CREDENTIAL, "last", false));
    gone.hears_nothing().await;
}

async fn stop(version: u8, client: &mut Client, filter: &str) {
    let properties: &[u8] = if version == 5 { &[0] } else { &[] };
    let mut body = [&[0, 99], properties].concat();
    body.extend(crate::client::text(filter));
    client.send(&crate::client::packet(0xA2, &body)).await;
    assert_eq!(client.packet().await.first, 0xB0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_reaches_the_connection_that_was_given_the_key_and_nobody_else() {
    for version in [4, 5] {
        let (stage, engine, _) = making_keys(Limits::default()).await;
        let mut clients = vec![];
        for number in 1..=3 {
            let mut client = connect(version, &number.to_string()).open(&stage).await;
            client.subscribe(KEY, 0).await;
            assert_eq!(told(&mut client).await.1, format!("key {number}"));
            clients.push(client);
        }
        clients[0].subscribe(CREDENTIAL, 0).await;
        clients[2].subscribe("$SYS/access/me/#", 0).await;
        while told(&mut clients[2]).await.0 != KEY {}
        engine.answer(answer(1, "sealed")).unwrap();
        let at_once = news(CREDENTIAL, "sealed", false);
        assert_eq!(told(&mut clients[0]).await, at_once);
        // The same again, as when the log is read: it was told.
        engine.answer(answer(1, "sealed")).unwrap();
        engine.answer(answer(1, "another")).unwrap();
        assert_eq!(told(&mut clients[0]).await.1, "another");
        // Whoever subscribes later finds both.
        clients[0].subscribe(CREDENTIAL, 0).await;
        let kept = news(CREDENTIAL, "sealed", true);
        assert_eq!(told(&mut clients[0]).await, kept);
        assert_eq!(told(&mut clients[0]).await.1, "another");
        for client in &mut clients[1..] {
            client.hears_nothing().await;
        }
        engine.forget(&key_id(1));
        clients[0].subscribe(CREDENTIAL, 0).await;
        clients[0].hears_nothing().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_names_the_key_finds_the_answer_after_a_reconnect_under_another_name() {
    for version in [4, 5] {
        let (stage, engine, _) = making_keys(Limits::default()).await;
        let mut client = connect(version, "before").open(&stage).await;
        client.subscribe(KEY, 0).await;
        told(&mut client).await;
        drop(client);
        let topic = answers_to(1);
        let mut early = connect(version, "early").open(&stage).await;
        early.subscribe(&topic, 1).await;
        let mut expiring = answer(1, "sealed");
        expiring.expires = after(1_000);
        engine.answer(expiring).unwrap();
        assert_eq!(told(&mut early).await, news(&topic, "sealed", false));
        let mut late = connect(version, "after").open(&stage).await;
        late.subscribe(&topic, 0).await;
        assert_eq!(told(&mut late).await, news(&topic, "sealed", true));
        stop(version, &mut early, &topic).await;
        engine.answer(answer(1, "next")).unwrap();
        assert_eq!(told(&mut late).await, news(&topic, "next", false));
        early.hears_nothing().await;
        engine.forget(&key_id(1));
        late.subscribe(&topic, 0).await;
        late.hears_nothing().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_told_until_its_end_and_takes_no_room_after() {
    let (stage, engine, _) = making_keys(Limits::default()).await;
    let mut expiring = answer(7, "sealed");
    expiring.expires = after(1_000);
    engine.answer(expiring.clone()).unwrap();
    let topic = answers_to(7);
    let mut client = connect(5, "c").open(&stage).await;
    stage.hand.advance_to(after(999));
    client.subscribe(&topic, 0).await;
    assert_eq!(told(&mut client).await.1, "sealed");
    stage.hand.advance_to(after(1_000));
    client.subscribe(&topic, 0).await;
    client.hears_nothing().await;
    engine.answer(expiring).unwrap();
    client.hears_nothing().await;
    stage.hand.advance_to(after(30_000));
    stage.until("forgotten", |it| it.answers == 0).await;
    assert_eq!(stage.statistics().answer_bytes, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_asks_for_answers_to_keys_that_he_cannot_name() {
    let (mut stage, engine, _) = making_keys(Limits::default()).await;
    let operator = stage.register("operator");
    let everything = tanglegate_core::Audience::Subscriber(operator);
    for filter in ["$SYS/#", "#"] {
        stage.give(everything, filter, tanglegate_core::Access::ReadWrite);
    }
    for (version, login) in [(4, None), (5, None), (5, Some("operator"))] {
        let mut connecting = connect(version, "curious");
        if let Some(login) = login {
            connecting = connecting.login(login);
        }
        let mut client = connecting.open(&stage).await;
        for filter in [
            "$SYS/access/keys/#".to_owned(),
            "$SYS/access/keys/+/credential".to_owned(),
            format!("$share/all/{}", answers_to(1)),
            answers_to(10)
                .to_uppercase()
                .replace("$SYS/ACCESS/KEYS", "$SYS/access/keys"),
        ] {
            let (codes, why) = client.subscribe_with(&[], &[(&filter, 0)]).await;
            assert_eq!(codes, [if version == 5 { 0x87 } else { 0x80 }], "{filter}");
            assert!(version == 4 || why.contains("without wildcards"), "{why}");
        }
        // Nobody but the engine says anything there.
        let (code, why) = client.publish_safely(&answers_to(1), "forged").await;
        assert!(version == 4 || (code == 0x87 && why.contains("belong to the server")));
        // These are granted, for other topics.
        let mut asked = if version == 5 {
            vec![0, 9, 0]
        } else {
            vec![0, 9]
        };
        for filter in ["$SYS/#", "$SYS/access/+/+/credential", "$SYS/+/#"] {
            asked.extend(crate::client::text(filter));
            asked.push(0);
        }
        client.send(&crate::client::packet(0x82, &asked)).await;
        while client.packet().await.first != 0x90 {}
        let sealed = answer(777, &format!("{version} {login:?}"));
        engine.answer(sealed).unwrap();
        let mut heard = vec![];
        client.send(&[0xC0, 0]).await;
        loop {
            let packet = client.packet().await;
            if packet.first == 0xD0 {
                break;
            }
            heard.extend((packet.first >> 4 == 3).then(|| client.read_message(&packet).topic));
        }
        assert!(
            heard.iter().all(|it| !it.contains("credential")),
            "{heard:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_reads_who_the_engine_is_and_what_it_sells_and_nothing_else() {
    let (mut stage, ..) = making_keys(Limits::default()).await;
    let announcer = stage.gate.announcer();
    for topic in ["identity", "offers", "log/head"] {
        announcer.announce(topic, topic.as_bytes()).await;
    }
    stage.until("told", |it| it.retained_messages == 3).await;
    stage.register("ana");
    for (version, login) in [(4, false), (5, false), (5, true)] {
        for filter in ["$SYS/access/identity", "$SYS/access/+", "$SYS/#"] {
            let mut connecting = connect(version, "reader");
            if login {
                connecting = connecting.login("ana");
            }
            let mut client = connecting.open(&stage).await;
            client.subscribe(filter, 1).await;
            let mut expected = vec!["$SYS/access/identity"];
            if filter != "$SYS/access/identity" {
                expected.push("$SYS/access/offers");
            }
            let mut heard = vec![];
            while heard.len() < expected.len() {
                let message = client.message().await;
                if !message.topic.contains("/me/") {
                    assert!(message.retain && message.qos == 1);
                    client.acknowledge(&message).await;
                    heard.push(message.topic);
                }
            }
            heard.sort();
            assert_eq!(heard, expected, "{filter}");
            announcer.announce("offers", b"offers").await;
            if filter != "$SYS/access/identity" {
                let live = client.message().await;
                assert_eq!((&*live.topic, live.retain), ("$SYS/access/offers", false));
                client.acknowledge(&live).await;
            }
            client.hears_nothing().await;
            let (code, _) = client.publish_safely("$SYS/access/offers", "forged").await;
            assert_eq!(code, if version == 5 { 0x87 } else { 0 });
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_is_told_the_same_as_clients() {
    let (stage, ..) = making_keys(Limits::default()).await;
    let named = answers_to(1);
    for (action, topic, yes) in [
        ("subscribe", KEY, true),
        ("read", KEY, true),
        ("write", KEY, false),
        ("subscribe", CREDENTIAL, true),
        ("subscribe", &named, true),
        ("read", &named, true),
        ("write", &named, false),
        ("subscribe", "$SYS/access/keys/+/credential", false),
        ("read", "$SYS/access/keys/x/credential", false),
        ("subscribe", "$SYS/access/+", true),
        ("read", "$SYS/access/offers", true),
        ("write", "$SYS/access/offers", false),
        ("read", "$SYS/access/log/head", false),
    ] {
        let asked = Asked::parse(action, topic).unwrap().unwrap();
        let verdict = stage.gate.inquiry().ask(None, &asked).verdict;
        assert_eq!(verdict.is_ok(), yes, "{action} {topic}: {verdict:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_kept_goes_on_listening_for_the_keys_it_named() {
    let folder = tempfile::tempdir().unwrap();
    let (topic, ana) = (answers_to(1), connect(5, "a").login("ana").kept(1_000));
    let mut stage = Stage::stored_in(folder.path()).await;
    stage.register("ana");
    let mut client = ana.open(&stage).await;
    client.subscribe(&topic, 0).await;
    drop(client);
    stage.until("away", |it| it.away_sessions == 1).await;
    let engine = stage.gate.correspondence();
    engine.answer(answer(1, "meanwhile")).unwrap();
    let mut client = ana.resume(&stage).await;
    assert_eq!(told(&mut client).await, news(&topic, "meanwhile", false));
    engine.answer(answer(1, "now")).unwrap();
    assert_eq!(told(&mut client).await, news(&topic, "now", false));
    drop(client);
    stage.until("away", |it| it.away_sessions == 1).await;
    drop(engine);
    stage.gate.shutdown(crate::stage::SOON).await;

    let mut stage = Stage::stored_in(folder.path()).await;
    assert!(stored_in(folder.path()).folder.exists());
    stage.register("ana");
    let mut client = ana.resume(&stage).await;
    let engine = stage.gate.correspondence();
    engine.answer(answer(1, "after a restart")).unwrap();
    assert_eq!(told(&mut client).await.1, "after a restart");
}
