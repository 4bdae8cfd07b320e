//! TCP, TLS, WebSocket and the PROXY protocol.

#![expect(clippy::unwrap_used, reason = "a test that fails may say where")]

use crate::authority::Authority;
use crate::client::{connect, packet, text};
use crate::stage::{NEVER, Stage, after};
use crate::wire::{Way, Wire, millis, shown_by, tcp};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::process::Stdio;
use std::time::Instant;
use tanglegate_broker::{
    AccessView, CertificateName, Clock, Gate, Limits, ListenerSettings, Settings, Transport,
};
use tanglegate_core::{Access, Audience, Event};

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

#[tokio::test(flavor = "multi_thread")]
async fn mosquitto_clients_pass_over_tls_and_log_in_by_certificate() {
    let authority = Authority::new();
    for name in ["ana", "plug"] {
        authority.certify_client(name, &[]);
    }
    let by_certificate = ListenerSettings {
        tls: Some(authority.tls(Some((true, CertificateName::CommonName)))),
        ..ListenerSettings::new(ANYWHERE)
    };
    let listeners = vec![
        listener(Transport::Tcp, None),
        listener(Transport::Tcp, Some(&authority)),
        by_certificate,
    ];
    let mut stage = Stage::listening(Limits::default(), listeners).await;
    let (ana, plug) = (stage.register("ana"), stage.register("plug"));
    stage.lease(ana, "sensor/live", 1_000_000);
    stage.give(Audience::Subscriber(plug), "sensor/#", Access::Write);
    let run = |program: &str, login: &str, kind: usize, version: &str, more: &[&str]| {
        let mut command = tokio::process::Command::new(program);
        let port = stage.gate.local_addrs()[kind].port().to_string();
        command.args([
            "-h",
            "localhost",
            "-p",
            &port,
            "-V",
            version,
            "-t",
            "sensor/live",
        ]);
        if kind > 0 {
            command.arg("--cafile").arg(authority.path("authority.pem"));
        }
        if kind < 2 {
            command.args(["-u", login, "-P", login]);
        } else {
            command
                .arg("--cert")
                .arg(authority.path(&format!("{login}.pem")));
            command
                .arg("--key")
                .arg(authority.path(&format!("{login}.key")));
        }
        command.args(more).stdout(Stdio::piped()).kill_on_drop(true);
        command.spawn().expect("mosquitto's clients are installed")
    };
    for kind in 0..3 {
        for version in ["mqttv311", "mqttv5"] {
            let subscriptions = stage.statistics().sessions;
            let reader = run(
                "mosquitto_sub",
                "ana",
                kind,
                version,
                &["-q", "1", "-C", "1", "-W", "10"],
            );
            stage
                .until("connected", |it| it.sessions > subscriptions)
                .await;
            tokio::time::sleep(NEVER).await;
            let mut writer = run(
                "mosquitto_pub",
                "plug",
                kind,
                version,
                &["-q", "1", "-m", "17250"],
            );
            assert!(writer.wait().await.unwrap().success(), "{kind} {version}");
            let heard = reader.wait_with_output().await.unwrap();
            assert_eq!(heard.stdout, b"17250\n", "{kind} {version}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_a_login_and_nothing_may_contradict_it() {
    let authority = Authority::new();
    authority.certify_client("ana", &["bob", "someone@example.com"]);
    for name in ["nobody", "sue"] {
        authority.certify_client(name, &[]);
    }
    let clients = |required, name| ListenerSettings {
        tls: Some(authority.tls(Some((required, name)))),
        ..ListenerSettings::new(ANYWHERE)
    };
    let listeners = vec![
        clients(true, CertificateName::CommonName),
        clients(false, CertificateName::Dns),
        clients(false, CertificateName::Email),
    ];
    let mut stage = Stage::listening(Limits::default(), listeners).await;
    let _ = (stage.register("ana"), stage.register("bob"));
    let sue = stage.register("sue");
    stage.tell(&Event::SubscriberSuspended { subscriber: sue });
    let way = |kind: usize, certificate: Option<&str>| Way {
        name: "by certificate",
        address: stage.gate.local_addrs()[kind],
        tls: Some(authority.client(certificate)),
        websocket: false,
    };
    let (anonymous, ana, bob) = (
        connect(5, "c"),
        connect(5, "c").login("ana"),
        connect(5, "c").login("bob"),
    );
    for (kind, certificate, connect, code) in [
        (0, Some("ana"), &anonymous, 0),
        (0, Some("ana"), &ana, 0),
        (0, Some("ana"), &bob, 0x86),
        (0, Some("ana"), &ana.clone().password("ana", "wrong"), 0x86),
        (0, Some("ana"), &ana.clone().password("ana", ""), 0),
        (0, Some("nobody"), &anonymous, 0x86),
        (0, Some("sue"), &anonymous, 0x87),
        // bob by the name of its choice, where ana's own is not asked for.
        (1, Some("ana"), &anonymous, 0),
        (1, Some("ana"), &bob, 0),
        (1, Some("ana"), &ana, 0x86),
        (1, Some("nobody"), &anonymous, 0x87),
        (1, None, &ana, 0),
        (1, None, &anonymous, 0),
        (2, Some("ana"), &anonymous, 0x86),
    ] {
        let (_wire, answer) = way(kind, certificate).greet(connect).await;
        assert_eq!(answer, code, "{kind} {certificate:?} {connect:?}");
    }
    // Without a certificate where one is required, and with a stranger's.
    let stranger = Authority::new();
    stranger.certify_client("ana", &[]);
    let mut forged = authority.client(None).as_ref().clone();
    forged.client_auth_cert_resolver = stranger
        .client(Some("ana"))
        .client_auth_cert_resolver
        .clone();
    let forged = Way {
        tls: Some(forged.into()),
        ..way(0, None)
    };
    for way in [way(0, None), forged] {
        // In TLS 1.3 a client learns with its first read what became of its certificate.
        if let Ok(mut wire) = way.try_connect().await {
            wire.send(&anonymous.packet());
            assert_eq!(wire.packet(), None);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn new_certificates_are_shown_without_dropping_anybody() {
    let authority = Authority::new();
    let listeners = vec![listener(Transport::Tcp, Some(&authority))];
    let stage = Stage::listening(Limits::default(), listeners).await;
    let client = authority.client(None);
    let way = Way {
        name: "TLS",
        address: stage.address(),
        tls: Some(client.clone()),
        websocket: false,
    };
    let (mut early, _) = way.greet(&connect(5, "early")).await;
    let first = shown_by(stage.address(), client.clone()).await;
    authority.certify_server();
    assert_eq!(shown_by(stage.address(), client.clone()).await, first);
    assert_eq!(stage.gate.reload_certificates().unwrap(), 1);
    let second = shown_by(stage.address(), client.clone()).await;
    assert_ne!(second, first);

    let key = std::fs::read_to_string(authority.path("server.key")).unwrap();
    authority.certify_client("other", &[]);
    let other = std::fs::read_to_string(authority.path("other.key")).unwrap();
    for (broken, why) in [
        (other.as_str(), "cannot be used with the key in"),
        ("nonsense", "cannot read a private key in"),
    ] {
        authority.write("server.key", broken);
        let error = stage.gate.reload_certificates().unwrap_err().to_string();
        assert!(
            error.contains(why) && error.contains("server.key"),
            "{error}"
        );
    }
    authority.write("server.key", &key);
    authority.write("server.pem", "nonsense");
    let error = stage.gate.reload_certificates().unwrap_err().to_string();
    assert!(error.contains("server.pem holds no certificate"), "{error}");
    std::fs::remove_file(authority.path("server.pem")).unwrap();
    let error = stage.gate.reload_certificates().unwrap_err().to_string();
    assert!(error.contains("cannot read certificates in"), "{error}");

    assert_eq!(shown_by(stage.address(), client).await, second);
    early.send(&[0xC0, 0]);
    assert_eq!(early.packet(), Some((0xD0, vec![])));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gate_that_cannot_listen_says_what_is_wrong() {
    let start = async |listeners| {
        let settings = Settings {
            listeners,
            ..Settings::new(ANYWHERE)
        };
        let gate = Gate::start(settings, AccessView::new(), Clock::wall()).await;
        gate.err().expect("it cannot start").to_string()
    };
    assert!(start(vec![]).await.contains("127.0.0.1:1883"));
    let authority = Authority::new();
    authority.write("authority.pem", "");
    let mut settings = listener(Transport::Tcp, Some(&authority));
    settings.tls = Some(authority.tls(Some((true, CertificateName::Dns))));
    let why = start(vec![settings]).await;
    assert!(why.contains("authority.pem holds no certificate"), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_without_a_login_are_let_in_only_where_they_may_be() {
    let quiet = ListenerSettings {
        anonymous: false,
        ..ListenerSettings::new(ANYWHERE)
    };
    let listeners = vec![listener(Transport::Tcp, None), quiet];
    let mut stage = Stage::listening(Limits::default(), listeners).await;
    stage.register("ana");
    for (kind, connect, code) in [
        (0, connect(5, "c"), 0),
        (1, connect(5, "c"), 0x87),
        (1, connect(4, "c"), 5),
        (1, connect(5, "c").login("ana"), 0),
    ] {
        let way = Way {
            name: "TCP",
            address: stage.gate.local_addrs()[kind],
            tls: None,
            websocket: false,
        };
        assert_eq!(way.greet(&connect).await.1, code);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_a_load_balancer_speaks_for_is_counted() {
    let proxied = |trusted: &str| ListenerSettings {
        trusted_proxies: vec![trusted.parse().unwrap()],
        ..ListenerSettings::new(ANYWHERE)
    };
    let limits = Limits {
        connections_per_address: 1,
        connect_within: millis(400),
        ..Limits::default()
    };
    let listeners = vec![proxied("127.0.0.0/8"), proxied("192.0.2.0/24")];
    let stage = Stage::listening(limits, listeners).await;
    let said = async |kind: usize, header: &str| {
        let mut stream = tcp(stage.gate.local_addrs()[kind]).await;
        let connect = connect(5, "").packet();
        stream
            .write_all(&[header.as_bytes(), &connect].concat())
            .unwrap();
        let mut answer = [0; 4];
        (stream.read_exact(&mut answer).is_ok(), stream)
    };
    let from = |address: &str| format!("PROXY TCP4 {address} 10.0.0.1 4711 1883\r\n");
    let (first, _one) = said(0, &from("192.0.2.1")).await;
    let (same, _) = said(0, &from("192.0.2.1")).await;
    let (other, _two) = said(0, &from("192.0.2.2")).await;
    let (local, _three) = said(0, "PROXY UNKNOWN\r\n").await;
    assert_eq!((first, same, other, local), (true, false, true, true));
    let (missing, _) = said(0, "").await;
    let (untrusted, _) = said(1, &from("192.0.2.3")).await;
    assert_eq!((missing, untrusted), (false, false));

    // Nobody waits for a header for ever.
    let mut slow = tcp(stage.address()).await;
    slow.write_all(b"PROXY TCP4").unwrap();
    let began = Instant::now();
    assert_eq!(slow.read(&mut [0; 10]).unwrap_or(0), 0);
    assert!((300..5_000).contains(&began.elapsed().as_millis()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_has_its_own_bound() {
    let narrow = ListenerSettings {
        connections: 1,
        ..ListenerSettings::new(ANYWHERE)
    };
    let listeners = vec![narrow, listener(Transport::Tcp, None)];
    let stage = Stage::listening(Limits::default(), listeners).await;
    let mut open = vec![];
    for (kind, lets_in) in [(0, true), (0, false), (1, true), (1, true)] {
        let mut stream = tcp(stage.gate.local_addrs()[kind]).await;
        let _ = stream.write_all(&connect(5, "").packet());
        assert_eq!(stream.read_exact(&mut [0; 2]).is_ok(), lets_in, "{kind}");
        open.push(stream);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_that_takes_too_long_is_ended() {
    let limits = Limits {
        connect_within: millis(500),
        ..Limits::default()
    };
    let (_stage, _authority, ways) = everywhere(limits).await;
    // The beginning of a ClientHello, of a request, of a CONNECT: one byte at a time.
    let hello = [&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xFC, 3, 3][..], &[7; 500]].concat();
    let request = format!("GET /mqtt HTTP/1.1\r\nX-Long: {}", "x".repeat(500)).into_bytes();
    let connect = connect(5, &"c".repeat(500)).packet();
    for (way, bytes) in ways.iter().zip([&connect, &hello, &request, &hello]) {
        let mut stream = tcp(way.address).await;
        let began = Instant::now();
        for byte in bytes {
            if stream.write_all(&[*byte]).is_err() || began.elapsed() > millis(700) {
                break;
            }
            tokio::time::sleep(millis(10)).await;
        }
        assert_eq!(stream.read(&mut [0; 10]).unwrap_or(0), 0, "{}", way.name);
        assert!(began.elapsed() < millis(5_000), "{}", way.name);
    }
}

/// What comes back for bytes, until the connection ends.
async fn answer_to(address: SocketAddr, bytes: &[u8], half_open: bool) -> Vec<u8> {
    let mut stream = tcp(address).await;
    // Some of it may be refused unread.
    let _ = stream.write_all(bytes);
    if half_open {
        stream.shutdown(Shutdown::Write).unwrap();
    }
    let mut answer = vec![];
    let _ = stream.read_to_end(&mut answer);
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_spoken_here_ends_the_connection() {
    let (stage, _authority, ways) = everywhere(Limits::default()).await;
    let plain = connect(5, "c").packet();
    let web = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec();
    let long = format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(9_000)).into_bytes();
    let noise: Vec<u8> = (0..5_000_u32)
        .map(|it| it.wrapping_mul(2_654_435_761).to_be_bytes()[0])
        .collect();
    for (way, bytes) in [
        (1, &plain),
        (1, &web),
        (1, &noise),
        (2, &plain),
        (2, &web),
        (2, &long),
        (2, &noise),
        (3, &noise),
    ] {
        let answer = answer_to(ways[way].address, bytes, false).await;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert!(
            !answer.contains(" 101 ") && !answer.starts_with('\u{20}'),
            "{answer}"
        );
        if way == 2 {
            assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
        }
    }
    for way in &ways {
        assert_eq!(answer_to(way.address, b"", true).await, b"", "{}", way.name);
    }
    stage
        .until("all are gone", |it| it.open_connections == 0)
        .await;
    assert_eq!(stage.statistics().panicked_sessions, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_in_an_open_websocket_or_tls_connection_ends_it() {
    let (stage, _authority, ways) = everywhere(Limits::default()).await;
    for way in &ways[2..] {
        let (mut wire, _) = way.greet(&connect(5, "c")).await;
        wire.send(b"ping");
        assert_eq!(wire.read_some(), b"pong", "{}", way.name);
        // [MQTT-6.0.0-1]
        wire.send(b"text");
        assert_eq!(wire.packet(), None, "{}", way.name);
        let (mut wire, _) = way.greet(&connect(5, "c")).await;
        wire.send(&[0x00; 20]);
        // Not WebSocket's affair: a DISCONNECT says what is wrong.
        assert_eq!(wire.packet().map(|it| it.0), Some(0xE0), "{}", way.name);
    }
    let upgrade = "GET /mqtt HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Protocol: mqtt\r\n\r\n";
    for (garbage, code) in [
        (&[0xFF; 30][..], 1002_u16),
        (&[0x82, 3, 1, 2, 3], 1002),
        (&[0x81, 0x81, 0, 0, 0, 0, b'x'], 1003),
        (&[0x88, 0x82, 0, 0, 0, 0, 0x03, 0xE9], 1001),
    ] {
        let mut stream: TcpStream = tcp(ways[2].address).await;
        stream.write_all(upgrade.as_bytes()).unwrap();
        let mut answer = vec![];
        while !answer.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            answer.extend(byte);
        }
        assert!(answer.starts_with(b"HTTP/1.1 101 "));
        stream.write_all(garbage).unwrap();
        let mut answer = vec![];
        stream.read_to_end(&mut answer).unwrap();
        assert_eq!(answer[..2], [0x88, 2], "a close frame: {answer:?}");
        assert_eq!(answer[2..4], code.to_be_bytes());
    }
    stage
        .until("all are gone", |it| it.open_connections == 0)
        .await;
}
