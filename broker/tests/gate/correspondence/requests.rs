//! What clients ask the engine for, and who is awaited.

use super::{KEY, key_id, making_keys, stop, told};
use crate::client::{Client, Message, connect, packet, text};
use crate::stage::{NEVER, SOON, Stage};
use std::time::Duration;
use tanglegate_broker::{Asked, ClientLimits, Limits, Rate, Request, RequestTopic};
use tanglegate_core::Access;
use tokio::sync::mpsc::Receiver;

const CLAIMS: &str = "$SYS/access/claims";
const ANSWER: &str = "$SYS/access/me/answer";
const TOPICS: [RequestTopic; 2] = [
    RequestTopic {
        name: "claims",
        answers_on: "answer",
    },
    RequestTopic {
        name: "channels/open",
        answers_on: "channel",
    },
];

async fn taking(limits: Limits) -> (Stage, Receiver<Request>) {
    let stage = Stage::with(limits).await;
    let requests = stage.gate.correspondence().serve_requests(&TOPICS);
    (stage, requests)
}

async fn next(requests: &mut Receiver<Request>) -> Request {
    let next = tokio::time::timeout(SOON, requests.recv()).await;
    next.expect("soon").expect("the gate is there")
}

async fn nothing_more(requests: &mut Receiver<Request>) {
    assert!(tokio::time::timeout(NEVER, requests.recv()).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_reaches_the_engine_alone_and_its_answer_the_client_alone() {
    for version in [4, 5] {
        let (mut stage, mut requests) = taking(Limits::default()).await;
        let ana = stage.register("ana");
        stage.give_everyone("#", Access::ReadWrite);
        stage.give_everyone("$SYS/#", Access::ReadWrite);
        let mut curious = connect(version, "curious").open(&stage).await;
        curious.subscribe(CLAIMS, 0).await;
        curious.subscribe(ANSWER, 0).await;
        for (login, subject) in [(false, None), (true, Some(ana))] {
            let mut asking = connect(version, "asks");
            if login {
                asking = asking.login("ana");
            }
            let mut client = asking.open(&stage).await;
            client.subscribe(ANSWER, 1).await;
            client.subscribe("$SYS/access/me/channel", 0).await;
            // Retained as well: it is not kept.
            let ask = client.publish_packet(0x31, CLAIMS, &[], "at most once");
            client.send(&ask).await;
            let request = next(&mut requests).await;
            assert_eq!((request.topic, request.subject), ("claims", subject));
            assert_eq!(
                (&*request.payload, request.key_id),
                (&b"at most once"[..], None)
            );
            request.reply.send(b"first").unwrap();
            assert_eq!(told(&mut client).await, super::news(ANSWER, "first", false));

            let (code, _) = client.publish_safely(CLAIMS, "at least once").await;
            assert_eq!(code, 0);
            let request = next(&mut requests).await;
            request.reply.send(b"second").unwrap();
            assert_eq!(told(&mut client).await.1, "second");

            let opening = "$SYS/access/channels/open";
            let ask = client.publish_packet(0x34, opening, &[], "exactly once");
            client.send(&ask).await;
            client.send(&ask).await;
            let id = client.last_id().to_be_bytes();
            for _ in 0..2 {
                let answer = client.packet().await;
                assert_eq!((answer.first, &answer.body[..2]), (0x50, &id[..]));
            }
            client.send(&packet(0x62, &id)).await;
            assert_eq!(client.packet().await.first, 0x70);
            let request = next(&mut requests).await;
            assert_eq!(request.topic, "channels/open");
            request.reply.send(b"third").unwrap();
            let third = super::news("$SYS/access/me/channel", "third", false);
            assert_eq!(told(&mut client).await, third);
            nothing_more(&mut requests).await;
        }
        curious.hears_nothing().await;
        assert_eq!(stage.statistics().retained_messages, 0);
        let asked = |topic| Asked::parse("write", topic).unwrap().unwrap();
        let ask = |topic| stage.gate.inquiry().ask(None, &asked(topic)).verdict;
        assert_eq!(ask(CLAIMS), Ok(None));
        assert!(ask("$SYS/access/claims/x").is_err() && ask("$SYS/access/offers").is_err());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_goes_where_the_client_wants_it_among_its_own_topics() {
    // MQTT 5.0 §4.10: the response topic, with the correlation data of the request.
    let (stage, mut requests) = taking(Limits::default()).await;
    let mut client = connect(5, "asks").open(&stage).await;
    client.subscribe("$SYS/access/me/mine/1", 0).await;
    client.subscribe(ANSWER, 0).await;
    for (wanted, expected) in [
        ("$SYS/access/me/mine/1", "$SYS/access/me/mine/1"),
        ("elsewhere", ANSWER),
        ("$SYS/access/identity", ANSWER),
    ] {
        let mut properties = [&[0x08][..], &text(wanted)].concat();
        properties.extend([0x09, 0, 3, 1, 2, 0xFF]);
        let ask = client.publish_packet(0x30, CLAIMS, &properties, "?");
        client.send(&ask).await;
        next(&mut requests).await.reply.send(b"!").unwrap();
        let Message {
            topic, properties, ..
        } = client.message().await;
        assert_eq!(
            (&*topic, &*properties),
            (expected, &["correlation [1, 2, 255]".to_owned()][..])
        );
    }
    stop(5, &mut client, ANSWER).await;
    client.publish(CLAIMS, "?").await;
    next(&mut requests).await.reply.send(b"to nobody").unwrap();
    client.hears_nothing().await;
    let reply = {
        client.publish(CLAIMS, "?").await;
        next(&mut requests).await.reply
    };
    assert_eq!(reply.send(&[0; 5_121]).unwrap_err().0, 5_121);
    client.publish(CLAIMS, "?").await;
    let reply = next(&mut requests).await.reply;
    drop(client);
    stage.until("gone", |it| it.open_sessions == 0).await;
    reply.send(b"too late").unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_engine_is_told_which_key_the_client_was_given_last() {
    let (stage, engine, _) = making_keys(Limits::default()).await;
    let mut requests = engine.serve_requests(&TOPICS);
    let mut client = connect(4, "asks").open(&stage).await;
    client.subscribe(KEY, 0).await;
    told(&mut client).await;
    client.publish(CLAIMS, "?").await;
    assert_eq!(next(&mut requests).await.key_id, Some(key_id(1)));
}

/// What a QoS 1 request is answered with.
async fn ask(client: &mut Client, payload: &str) -> (u8, String) {
    client.publish_safely(CLAIMS, payload).await
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_beyond_a_bound_are_refused_with_a_reason_and_counted() {
    let limits = Limits {
        engine_requests_waiting: 10,
        anonymous: ClientLimits {
            engine_requests: Rate::new(1, 6),
            ..ClientLimits::anonymous()
        },
        ..Limits::default()
    };
    let (stage, mut requests) = taking(limits).await;
    let mut client = connect(5, "asks").open(&stage).await;
    let (code, why) = ask(&mut client, &"x".repeat(4_097)).await;
    assert_eq!(
        (code, &*why),
        (0x97, "a request may have at most 4096 bytes")
    );
    let correlation = [&[0x09, 1, 0][..], &[7; 256]].concat();
    let mut body = text(CLAIMS);
    body.extend([0, 77, 0x83, 2]);
    body.extend(&correlation);
    client.send(&packet(0x32, &body)).await;
    let answer = client.packet().await;
    assert_eq!(
        (answer.first, &answer.body[..3]),
        (0x40, &[0, 77, 0x97][..])
    );
    for _ in 0..6 {
        assert_eq!(ask(&mut client, "?").await.0, 0);
    }
    let (code, why) = ask(&mut client, "?").await;
    assert_eq!(code, 0x97);
    assert!(why.contains("too many requests from this client"), "{why}");
    // The next one finds the place of the engine filled.
    let mut next_one = connect(5, "next").open(&stage).await;
    let codes = [ask(&mut next_one, "?").await, ask(&mut next_one, "?").await];
    assert_eq!(codes.map(|it| it.0), [0, 0]);
    let mut third = connect(5, "third").open(&stage).await;
    for _ in 0..2 {
        assert_eq!(ask(&mut third, "?").await.0, 0);
    }
    let (code, why) = ask(&mut third, "?").await;
    assert!(
        code == 0x97 && why.contains("more requests wait"),
        "{code} {why}"
    );
    let before = stage.statistics().denied_publishes;
    third.publish(CLAIMS, "lost").await;
    third.ping().await;
    assert_eq!(stage.statistics().denied_publishes, before + 1);
    for _ in 0..10 {
        drop(next(&mut requests).await);
    }
    nothing_more(&mut requests).await;
    drop(requests);
    let (code, why) = ask(&mut third, "?").await;
    assert!(
        code == 0x83 && why.contains("takes no requests now"),
        "{code} {why}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_has_eight_open_requests_and_then_waits_for_an_answer() {
    let (stage, mut requests) = taking(Limits::default()).await;
    // 3.1.1 has no word for a refusal but this topic.
    let mut client = connect(4, "asks").open(&stage).await;
    client.subscribe(ANSWER, 0).await;
    client.subscribe("$SYS/access/me/denied", 0).await;
    let mut open = vec![];
    for _ in 0..8 {
        client.publish(CLAIMS, "?").await;
        open.push(next(&mut requests).await);
    }
    client.publish(CLAIMS, "?").await;
    let (topic, why, _) = told(&mut client).await;
    assert_eq!(topic, "$SYS/access/me/denied");
    assert!(why.contains("8 requests of this client are open"), "{why}");
    nothing_more(&mut requests).await;
    drop(open.pop());
    client.publish(CLAIMS, "?").await;
    open.push(next(&mut requests).await);
    for request in open.drain(..) {
        request.reply.send(b"!").unwrap();
    }
    for _ in 0..8 {
        assert_eq!(told(&mut client).await.0, ANSWER);
    }
    client.publish(CLAIMS, "?").await;
    next(&mut requests).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_from_one_address_stays_within_its_rate_and_known_clients_are_heard() {
    let limits = Limits {
        anonymous_engine_requests_per_address: Rate::new(1, 30),
        ..Limits::default()
    };
    let (mut stage, mut requests) = taking(limits).await;
    stage.register("ana");
    let begun = std::time::Instant::now();
    let taken = tokio::spawn(async move {
        let (mut anonymous, mut known) = (0_u64, 0);
        while let Ok(Some(it)) = tokio::time::timeout(Duration::from_secs(1), requests.recv()).await
        {
            *if it.subject.is_some() {
                &mut known
            } else {
                &mut anonymous
            } += 1;
            let _ = it.reply.send(b"!");
        }
        (anonymous, known)
    });
    let mut crowd = vec![];
    for number in 0..20 {
        let mut client = connect(5, &number.to_string()).open(&stage).await;
        let mut flood = vec![];
        for _ in 0..200 {
            flood.extend(client.publish_packet(0x30, CLAIMS, &[], "?"));
        }
        client.send(&flood).await;
        crowd.push(client);
    }
    let mut ana = connect(5, "ana").login("ana").open(&stage).await;
    ana.subscribe(ANSWER, 0).await;
    for _ in 0..20 {
        ana.publish(CLAIMS, "?").await;
        assert_eq!(told(&mut ana).await.1, "!");
    }
    let (anonymous, known) = taken.await.unwrap();
    let most = 30 + begun.elapsed().as_secs() + 1;
    assert!((30..=most).contains(&anonymous), "{anonymous} were taken");
    assert_eq!(known, 20);
    assert_eq!(stage.statistics().denied_publishes, 20 * 200 - anonymous);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_engine_hears_once_when_somebody_it_awaits_is_let_in() {
    let folder = tempfile::tempdir().unwrap();
    let mut stage = Stage::stored_in(folder.path()).await;
    let (ana, bob) = (stage.register("ana"), stage.register("bob"));
    let mut arrivals = stage.view.arrivals();
    let kept = connect(5, "kept").login("ana").kept(1_000);
    let client = kept.open(&stage).await;
    assert!(arrivals.try_recv().is_err(), "nobody is awaited");
    drop(client);
    stage.until("away", |it| it.away_sessions == 1).await;
    for subject in [ana, ana, bob] {
        stage.view.expect(subject);
    }
    let wrong = connect(5, "kept").password("ana", "wrong").kept(1_000);
    assert_ne!(wrong.try_open(&stage).await.1.body[1], 0);
    assert!(arrivals.try_recv().is_err(), "he was not let in");
    // Also whoever goes on with a session that was there.
    let _client = kept.resume(&stage).await;
    assert_eq!(arrivals.recv().await, Some(ana));
    for version in [4, 5] {
        let _again = connect(version, "b").login("bob").open(&stage).await;
    }
    assert_eq!(arrivals.recv().await, Some(bob));
    stage.view.expect(bob);
    stage.view.expect_no_more(bob);
    let _again = connect(4, "c").login("bob").open(&stage).await;
    assert!(arrivals.try_recv().is_err());
}
