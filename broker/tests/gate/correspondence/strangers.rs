//! The whole way of a stranger, over each transport and with a client that others wrote.

use super::{CREDENTIAL, KEY, answer, answers_to, making_keys};
use crate::client::{connect, packet, text};
use crate::stage::{SOON, Stage};
use crate::wire::{Way, Wire};
use std::time::Duration;
use tanglegate_broker::{Limits, ListenerSettings, Request, RequestTopic, Transport};
use tokio::sync::mpsc::Receiver;

const CLAIMS: &str = "$SYS/access/claims";
const TOPICS: [RequestTopic; 1] = [RequestTopic {
    name: "claims",
    answers_on: "answer",
}];

/// The next message as topic and payload; other packets are passed over.
fn message(wire: &mut Wire, version: u8) -> (String, Vec<u8>) {
    loop {
        let (first, body) = wire.packet().expect("a message");
        if first >> 4 != 3 {
            continue;
        }
        let length = usize::from(u16::from_be_bytes([body[0], body[1]]));
        let (topic, rest) = body[2..].split_at(length);
        let payload = if version == 5 { &rest[1..] } else { rest };
        return (String::from_utf8(topic.to_vec()).unwrap(), payload.to_vec());
    }
}

/// The next message on `topic`.
fn on(wire: &mut Wire, version: u8, topic: &str) -> String {
    loop {
        let (found, payload) = message(wire, version);
        if found == topic {
            return String::from_utf8(payload).unwrap();
        }
    }
}

fn subscribe(wire: &mut Wire, version: u8, filter: &str) {
    let properties: &[u8] = if version == 5 { &[0] } else { &[] };
    let body = [&[0, 1], properties, &text(filter), &[1]].concat();
    wire.send(&packet(0x82, &body));
}

async fn reply(requests: &mut Receiver<Request>, expected: &str) {
    let request = tokio::time::timeout(SOON, requests.recv()).await;
    let request = request.expect("soon").expect("the gate is there");
    assert_eq!(&*request.payload, expected.as_bytes());
    request.reply.send(b"heard").unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_gets_his_key_his_credential_and_his_answers_over_tcp_and_websocket() {
    let anywhere = ([127, 0, 0, 1], 0).into();
    let transports = [Transport::Tcp, Transport::WebSocket];
    let listeners = transports.map(|transport| ListenerSettings {
        transport,
        ..ListenerSettings::new(anywhere)
    });
    let stage = Stage::listening(Limits::default(), listeners.to_vec()).await;
    let engine = stage.gate.correspondence();
    super::serve_keys(&engine);
    let mut requests = engine.serve_requests(&TOPICS);
    let mut number = 0;
    for (transport, address) in transports.iter().zip(stage.gate.local_addrs()) {
        let way = Way {
            name: "a stranger's",
            address: *address,
            tls: None,
            websocket: *transport == Transport::WebSocket,
        };
        for version in [4, 5] {
            number += 1;
            let (mut wire, code) = way.greet(&connect(version, "stranger")).await;
            assert_eq!(code, 0);
            subscribe(&mut wire, version, "$SYS/access/me/#");
            assert_eq!(on(&mut wire, version, KEY), format!("key {number}"));
            let properties: &[u8] = if version == 5 { &[0] } else { &[] };
            let ask = [&text(CLAIMS)[..], &[0, 2], properties, b"mine?"].concat();
            wire.send(&packet(0x32, &ask));
            reply(&mut requests, "mine?").await;
            assert_eq!(on(&mut wire, version, "$SYS/access/me/answer"), "heard");
            engine.answer(answer(number, "sealed")).unwrap();
            assert_eq!(on(&mut wire, version, CREDENTIAL), "sealed");
            drop(wire);
            let (mut wire, _) = way.greet(&connect(version, "somebody else")).await;
            let named = answers_to(number);
            subscribe(&mut wire, version, &named);
            assert_eq!(on(&mut wire, version, &named), "sealed");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rumqttc_finds_its_credential_without_a_login() {
    use rumqttc::{AsyncClient, Event, MqttOptions, Packet, QoS};
    let (stage, engine, _) = making_keys(Limits::default()).await;
    let mut options = MqttOptions::new("stranger", "127.0.0.1", stage.address().port());
    options.set_keep_alive(Duration::from_secs(5));
    let (client, mut events) = AsyncClient::new(options, 10);
    for topic in [KEY, CREDENTIAL] {
        client.subscribe(topic, QoS::AtLeastOnce).await.unwrap();
    }
    let whole_way = async {
        let mut told = vec![];
        while told.len() < 2 {
            if let Event::Incoming(Packet::Publish(it)) = events.poll().await.unwrap() {
                let topic = it.topic.clone();
                if topic == KEY {
                    assert!(it.retain && it.payload == "key 1");
                    engine.answer(answer(1, "sealed")).unwrap();
                }
                told.push(topic);
            }
        }
        told
    };
    let told = tokio::time::timeout(SOON, whole_way).await.expect("soon");
    assert_eq!(told, [KEY, CREDENTIAL]);
}
