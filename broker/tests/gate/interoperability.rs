//! A client library that others wrote and use, in both versions.

use crate::stage::{SOON, Stage};
use std::time::Duration;
use tanglegate_core::{Access, Audience};

#[tokio::test(flavor = "multi_thread")]
async fn rumqttc_publishes_and_subscribes_in_3_1_1() {
    use rumqttc::{AsyncClient, Event, MqttOptions, Packet, QoS};
    let mut stage = Stage::new().await;
    let (ana, plug) = (stage.register("ana"), stage.register("plug"));
    stage.lease(ana, "sensor/live", 1_000_000);
    stage.give(Audience::Subscriber(plug), "sensor/#", Access::Write);
    let options = |name: &str| {
        let mut options = MqttOptions::new(name, "127.0.0.1", stage.address().port());
        options
            .set_credentials(name, name)
            .set_keep_alive(Duration::from_secs(5));
        options
    };
    let (reader, mut reading) = AsyncClient::new(options("ana"), 10);
    let (writer, mut writing) = AsyncClient::new(options("plug"), 10);
    reader
        .subscribe("sensor/live", QoS::AtLeastOnce)
        .await
        .unwrap();
    loop {
        if let Event::Incoming(Packet::SubAck(_)) = reading.poll().await.unwrap() {
            break;
        }
    }
    tokio::spawn(async move { while writing.poll().await.is_ok() {} });
    for number in 0..100 {
        let payload = format!("{number}");
        writer
            .publish("sensor/live", QoS::AtLeastOnce, false, payload)
            .await
            .unwrap();
    }
    let mut received = vec![];
    let receiving = async {
        while received.len() < 100 {
            if let Event::Incoming(Packet::Publish(it)) = reading.poll().await.unwrap() {
                received.push(String::from_utf8(it.payload.to_vec()).unwrap());
            }
        }
    };
    tokio::time::timeout(SOON, receiving)
        .await
        .expect("all arrive");
    assert!(received.into_iter().eq((0..100).map(|it| it.to_string())));
}

#[tokio::test(flavor = "multi_thread")]
async fn rumqttc_is_told_why_in_5_0() {
    use rumqttc::v5::mqttbytes::QoS;
    use rumqttc::v5::mqttbytes::v5::{Packet, SubscribeReasonCode};
    use rumqttc::v5::{AsyncClient, Event, MqttOptions};
    let mut stage = Stage::new().await;
    let ana = stage.register("ana");
    stage.offer("plug-hour", "sensor/live");
    stage.give(Audience::Subscriber(ana), "free", Access::ReadWrite);
    let mut options = MqttOptions::new("ana", "127.0.0.1", stage.address().port());
    options
        .set_credentials("ana", "ana")
        .set_keep_alive(Duration::from_secs(5));
    let (client, mut events) = AsyncClient::new(options, 10);
    client
        .subscribe("sensor/live", QoS::AtMostOnce)
        .await
        .unwrap();
    client.subscribe("free", QoS::AtMostOnce).await.unwrap();
    client
        .publish("free", QoS::AtLeastOnce, false, "x")
        .await
        .unwrap();
    let (mut codes, mut why, mut message) = (vec![], None, None);
    let receiving = async {
        while codes.len() < 2 || message.is_none() {
            match events.poll().await.unwrap() {
                Event::Incoming(Packet::SubAck(it)) => {
                    codes.extend(it.return_codes);
                    why = why.take().or(it.properties.and_then(|it| it.reason_string));
                }
                Event::Incoming(Packet::Publish(it)) => message = Some(it.payload),
                _ => {}
            }
        }
    };
    tokio::time::timeout(SOON, receiving)
        .await
        .expect("answers");
    assert_eq!(codes[0], SubscribeReasonCode::NotAuthorized);
    assert_eq!(codes[1], SubscribeReasonCode::Success(QoS::AtMostOnce));
    assert_eq!(
        why.as_deref(),
        Some("no right to read sensor/live; offer plug-hour sells it")
    );
    assert_eq!(message.as_deref(), Some(&b"x"[..]));
}
