//! Clients that ask for all they can, and answers that nobody picks up.

use super::{KEY, answer, answers_to, key_id, making_keys, news, told};
use crate::client::connect;
use crate::stage::after;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tanglegate_broker::{ClientLimits, KeyNews, Limits, SealedAnswer};
use tanglegate_core::Timestamp;

#[tokio::test(flavor = "multi_thread")]
async fn a_client_names_eight_keys_and_no_more_until_it_gives_one_up() {
    for version in [4, 5] {
        let (stage, engine, _) = making_keys(Limits::default()).await;
        let mut client = connect(version, "greedy").open(&stage).await;
        for number in 1..=8 {
            client.subscribe(&answers_to(number), 0).await;
        }
        let (codes, why) = client.subscribe_with(&[], &[(&answers_to(9), 0)]).await;
        assert_eq!(codes, [if version == 5 { 0x97 } else { 0x80 }]);
        assert!(version == 4 || why.contains("at most 8 keys"), "{why}");
        client.subscribe(&answers_to(8), 0).await;
        super::stop(version, &mut client, &answers_to(8)).await;
        client.subscribe(&answers_to(9), 0).await;
        for number in [8, 9] {
            engine.answer(answer(number, "sealed")).unwrap();
        }
        let ninth = news(&answers_to(9), "sealed", false);
        assert_eq!(told(&mut client).await, ninth);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_has_few_keys_made_however_often_it_asks() {
    let (stage, engine, made) = making_keys(Limits::default()).await;
    // Keys that are never good for another moment.
    let count = Arc::clone(&made);
    engine.serve_keys(move |now| {
        let number = count.fetch_add(1, Ordering::SeqCst) + 1;
        KeyNews {
            key_id: key_id(number),
            payload: Arc::from(*b"key"),
            valid_until: now.plus_millis(4),
        }
    });
    let begun = std::time::Instant::now();
    let mut client = connect(5, "impatient").open(&stage).await;
    for number in 0..500 {
        stage.hand.advance_to(after(number * 4));
        client
            .send(&crate::client::packet(
                0x82,
                &[&[1, 1, 0], &crate::client::text(KEY)[..], &[0]].concat(),
            ))
            .await;
        while client.packet().await.first != 0x90 {}
    }
    let most = 4 + begun.elapsed().as_secs() + 1;
    let made = made.load(Ordering::SeqCst);
    assert!((4..=most).contains(&made), "{made} keys");
    assert_eq!(stage.statistics().keys, made);
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_nobody_picks_up_give_way_to_newer_ones_and_are_counted() {
    let limits = Limits {
        answers: 1_000,
        answer_bytes: 1 << 20,
        ..Limits::default()
    };
    let (stage, engine, _) = making_keys(limits).await;
    let flood = |size: usize, numbers: std::ops::Range<u64>| {
        for number in numbers {
            let mut payload = vec![b'x'; size];
            payload[..8].copy_from_slice(&number.to_be_bytes());
            engine
                .answer(SealedAnswer {
                    key_id: key_id(number),
                    payload: payload.into(),
                    expires: Timestamp::FOREVER,
                })
                .unwrap();
        }
    };
    flood(100, 0..10_000);
    let it = stage.statistics();
    assert_eq!((it.answers, it.dropped_answers), (1_000, 9_000));
    flood(5_120, 10_000..20_000);
    let it = stage.statistics();
    assert!(it.answer_bytes <= 1 << 20 && it.answers > 150, "{it:?}");
    assert_eq!(it.answers + it.dropped_answers, 20_000);
    let mut client = connect(4, "newest").open(&stage).await;
    client.subscribe(&answers_to(19_999), 0).await;
    assert_eq!(client.message().await.payload.len(), 5_120);
    client.subscribe(&answers_to(1), 0).await;
    client.hears_nothing().await;
    let mut long = answer(1, "");
    long.payload = vec![0; 5_121].into();
    let error = engine.answer(long).unwrap_err();
    assert_eq!(error.0, 5_121);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_listening_costs_is_in_what_anonymous_clients_may_hold() {
    let (stage, engine, _) = making_keys(Limits {
        anonymous_bytes: 100_000,
        anonymous: ClientLimits {
            subscriptions: 100,
            ..ClientLimits::anonymous()
        },
        ..Limits::default()
    })
    .await;
    let mut crowd = vec![];
    for number in 0..300_u64 {
        let mut client = connect(5, &number.to_string()).open(&stage).await;
        let filters: Vec<String> = (0..8).map(|it| answers_to(number * 8 + it)).collect();
        let mut asked = vec![(KEY, 0)];
        asked.extend(filters.iter().map(|it| (it.as_str(), 0)));
        // The key may come before the answer does.
        let mut body = vec![0, 1, 0];
        for (filter, qos) in asked {
            body.extend(crate::client::text(filter));
            body.push(qos);
        }
        client.send(&crate::client::packet(0x82, &body)).await;
        crowd.push(client);
    }
    stage
        .until("refused or told", |it| {
            it.cut_for_room_sessions + it.keys + it.denied_subscribes >= 300
        })
        .await;
    let it = stage.statistics();
    assert!(it.anonymous_bytes <= 100_000, "{it:?}");
    assert!(
        it.cut_for_room_sessions + it.denied_subscribes > 0,
        "{it:?}"
    );
    drop(crowd);
    stage.until("gone", |it| it.open_sessions == 0).await;
    engine.replace_keys();
    let mut after_them = connect(5, "after").open(&stage).await;
    after_them.subscribe(KEY, 0).await;
    assert_eq!(told(&mut after_them).await.0, KEY);
}
