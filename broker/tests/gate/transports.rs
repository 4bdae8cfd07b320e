//! TCP, TLS, WebSocket and the PROXY protocol.

#![expect(clippy::unwrap_used, reason = "a test that fails may say where")]

mod certificates;
mod listeners;
mod strangers;

use crate::authority::Authority;
use crate::client::{connect, packet, text};
use crate::stage::{NEVER, Stage, after};
use crate::wire::{Way, Wire, millis};
use std::net::SocketAddr;
use std::time::Instant;
use tanglegate_broker::{Limits, ListenerSettings, Transport};
use tanglegate_core::{Access, Audience};

const ANYWHERE: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

fn listener(transport: Transport, authority: Option<&Authority>) -> ListenerSettings {
    ListenerSettings {
        transport,
        tls: authority.map(|it| it.tls(None)),
        ..ListenerSettings::new(ANYWHERE)
    }
}

/// A stage with a listener of each kind, and the ways to them.
async fn everywhere(limits: Limits) -> (Stage, Authority, Vec<Way>) {
    let authority = Authority::new();
    let kinds = [
        ("TCP", Transport::Tcp, false),
        ("TLS", Transport::Tcp, true),
        ("WebSocket", Transport::WebSocket, false),
        ("WebSocket over TLS", Transport::WebSocket, true),
    ];
    let listeners = kinds.map(|(_, transport, tls)| listener(transport, tls.then_some(&authority)));
    let stage = Stage::listening(limits, listeners.to_vec()).await;
    let addresses = stage.gate.local_addrs().iter();
    let ways = kinds
        .iter()
        .zip(addresses)
        .map(|((name, transport, tls), address)| Way {
            name,
            address: *address,
            tls: tls.then(|| authority.client(None)),
            websocket: *transport == Transport::WebSocket,
        });
    let ways = ways.collect();
    (stage, authority, ways)
}

fn subscribe(version: u8, filter: &str) -> Vec<u8> {
    let properties: &[u8] = if version == 5 { &[0] } else { &[] };
    packet(0x82, &[&[0, 1], properties, &text(filter), &[0]].concat())
}

fn publish(version: u8, topic: &str, payload: &[u8]) -> Vec<u8> {
    let properties: &[u8] = if version == 5 { &[0] } else { &[] };
    packet(0x30, &[&text(topic), properties, payload].concat())
}

fn subscribed(wire: &mut Wire, version: u8, filter: &str) {
    wire.send(&subscribe(version, filter));
    let (first, body) = wire.packet().expect("a SUBACK");
    assert_eq!((first, body.last()), (0x90, Some(&0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_of_any_size_pass_over_every_transport_in_both_versions() {
    let (mut stage, _authority, ways) = everywhere(Limits::default()).await;
    let ana = stage.register("ana");
    stage.give(Audience::Subscriber(ana), "#", Access::ReadWrite);
    for way in &ways {
        for version in [4, 5] {
            let (mut wire, code) = way.greet(&connect(version, "a").login("ana")).await;
            assert_eq!(code, 0, "{}", way.name);
            // A shard may be behind: what was sent to others must not be taken for what comes.
            let topic = &format!("{} {version}", way.name);
            subscribed(&mut wire, version, topic);
            for size in [0, 1, 100, 125, 126, 16_370, 16_380, 16_384, 65_536, 500_000] {
                let payload: Vec<u8> = (0..size).map(|it: u32| it.to_le_bytes()[0]).collect();
                wire.send(&publish(version, topic, &payload));
                let (first, body) = wire.packet().expect("the message");
                assert_eq!(first, 0x30, "{} {size}", way.name);
                assert!(body.ends_with(&payload), "{} {size}", way.name);
            }
            // Packets and what carries them end in different places ([MQTT-6.0.0-2]).
            let ping = [0xC0, 0];
            let three = [&ping[..], &ping, &ping[..1]].concat();
            wire.send(&three);
            wire.send(&ping[1..]);
            for _ in 0..3 {
                assert_eq!(wire.packet(), Some((0xD0, vec![])), "{}", way.name);
            }
            wire.send(&[0xE0, 0]);
            assert_eq!(wire.packet(), None, "{}", way.name);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stalled_reader_gets_nothing_after_the_end_on_any_transport() {
    for revoked in [false, true] {
        for size in [500, 60_000] {
            let (mut stage, _authority, ways) = everywhere(Limits::default()).await;
            let ana = stage.register("ana");
            let plug = stage.register("plug");
            stage.give(Audience::Subscriber(plug), "#", Access::Write);
            stage.lease(ana, "sensor/live", 1_000);
            let mut readers = vec![];
            for way in &ways {
                let (mut wire, _) = way.greet(&connect(5, way.name).login("ana")).await;
                subscribed(&mut wire, 5, "sensor/live");
                readers.push((way, wire));
            }
            // Until no queue has any room: then no socket takes anything, either.
            let (mut writer, _) = ways[0].greet(&connect(5, "w").login("plug")).await;
            let flood = publish(5, "sensor/live", &vec![b'x'; size]);
            let flood = flood.repeat(200_000 / size + 1);
            let full = Instant::now();
            let mut before = stage.statistics();
            loop {
                writer.send(&flood);
                tokio::time::sleep(millis(5)).await;
                let now = stage.statistics();
                let all = now.dropped_slow - before.dropped_slow;
                if now.sent_messages == before.sent_messages && all > 0 {
                    break;
                }
                before = now;
                assert!(full.elapsed().as_secs() < 60, "never full: {now:#?}");
            }
            writer.send(&[0xC0, 0]);
            assert_eq!(writer.packet(), Some((0xD0, vec![])));
            tokio::time::sleep(NEVER).await;
            let sent = stage.statistics().sent_messages;
            if revoked {
                stage.revoke(ana, "sensor/live");
            } else {
                stage.hand.advance_to(after(1_000));
            }
            tokio::time::sleep(NEVER).await;
            let mut received = 0;
            for (way, mut wire) in readers {
                let reading = move || {
                    let mut received = 0_u64;
                    while let Some((first, body)) = wire.packet() {
                        if first == 0xE0 {
                            break;
                        }
                        received += u64::from(first == 0x30 && body.len() > size);
                    }
                    received
                };
                let here = tokio::task::spawn_blocking(reading).await.unwrap();
                assert!(here > 0, "{}", way.name);
                received += here;
            }
            assert_eq!(
                stage.statistics().sent_messages,
                sent,
                "not one after the end"
            );
            assert_eq!(received, sent, "what had left has arrived");
            let cut = stage.statistics().cut_slow_sessions;
            assert!(cut >= 3, "a sealed piece is not completed: {cut}");
        }
    }
}
