//! What happens before MQTT is spoken, and how the operator sees it.

use crate::authority::Authority;
use crate::client::connect;
use crate::stage::{SOON, Stage};
use crate::wire::Way;
use std::net::SocketAddr;
use tanglegate_broker::{
    CertificateName, ClientCertificates, Limits, ListenerSettings, Rate, TlsSettings, Transport,
};
use tanglegate_core::Timestamp;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

fn listener() -> ListenerSettings {
    ListenerSettings::new(([127, 0, 0, 1], 0).into())
}

/// Sends `bytes`, and waits for the end of the connection.
async fn say(address: SocketAddr, bytes: &[u8]) {
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    let _ = stream.write_all(bytes).await;
    let mut answer = vec![];
    let end = tokio::time::timeout(SOON, stream.read_to_end(&mut answer)).await;
    let _ = end.expect("the connection ends");
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_handshakes_are_counted_by_listener_and_layer() {
    let authority = Authority::new();
    let plain = ListenerSettings {
        anonymous: true,
        ..listener()
    };
    let tls = ListenerSettings {
        tls: Some(authority.tls(None)),
        ..listener()
    };
    let web = ListenerSettings {
        transport: Transport::WebSocket,
        ..listener()
    };
    let stage = Stage::listening(Limits::default(), vec![plain, tls, web]).await;
    let &[plain, tls, web] = stage.gate.local_addrs() else {
        panic!("three listeners");
    };
    let get = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";
    say(plain, get).await;
    say(tls, get).await;
    say(web, b"\x16\x03\x01\x00\x05hello\r\n\r\n").await;
    say(web, get).await;
    // Whoever only knocks has not failed at anything.
    for address in [plain, tls, web] {
        drop(TcpStream::connect(address).await.expect("it listens"));
    }
    let told = stage.gate.statistics_reader().listeners();
    let counts: Vec<_> = told
        .iter()
        .map(|it| (it.failed_tls, it.failed_websocket))
        .collect();
    assert_eq!(counts, [(None, None), (Some(1), None), (None, Some(2))]);
    let addresses: Vec<_> = told.iter().map(|it| it.address).collect();
    assert_eq!(addresses, [plain, tls, web]);
    let ends: Vec<_> = told.iter().map(|it| it.certificate_expires).collect();
    assert!(
        matches!(ends[..], [None, Some(end), None] if end > Timestamp(0)),
        "{ends:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_certificate_is_known_and_follows_a_new_one() {
    let authority = Authority::new();
    authority.certify_server_until(2_030, 5, 7);
    let tls = ListenerSettings {
        tls: Some(authority.tls(None)),
        ..listener()
    };
    let stage = Stage::listening(Limits::default(), vec![tls]).await;
    let expires = || {
        let told = stage.gate.statistics_reader().listeners();
        told[0]
            .certificate_expires
            .expect("a certificate")
            .to_string()
    };
    assert_eq!(expires(), "2030-05-07T00:00:01Z");
    authority.certify_server_until(2_031, 1, 1);
    stage.gate.reload_certificates().expect("a certificate");
    assert_eq!(expires(), "2031-01-01T00:00:01Z");
}

#[tokio::test(flavor = "multi_thread")]
async fn packets_of_all_kinds_are_counted_and_what_waits_is_known() {
    let mut stage = Stage::new().await;
    stage.give_everyone("#", tanglegate_core::Access::ReadWrite);
    stage.register("ana");
    let mut reader = connect(5, "r").login("ana").kept(100).open(&stage).await;
    reader.subscribe("t", 1).await;
    drop(reader);
    stage.until("away", |it| it.away_sessions == 1).await;
    let mut publisher = connect(4, "p").open(&stage).await;
    for _ in 0..3 {
        publisher.publish_safely("t", "waits").await;
    }
    publisher.ping().await;
    stage.until("queued", |it| it.known_waiting == 3).await;
    let now = stage.statistics();
    assert!(now.known_waiting_bytes > 3 * 5 && now.anonymous_waiting == 0);
    // CONNECT twice, SUBSCRIBE, PINGREQ; CONNACK twice, SUBACK, three PUBACK, PINGRESP.
    assert_eq!((now.received_messages, now.received_controls), (3, 4));
    assert_eq!((now.sent_messages, now.sent_controls), (0, 7));
    let published = now.received_bytes - now.received_control_bytes;
    assert_eq!(published, 3 * (2 + 3 + 2 + 5));
    assert_eq!(now.sent_bytes, now.sent_control_bytes);
    let mut reader = connect(5, "r").login("ana").kept(100).resume(&stage).await;
    for _ in 0..3 {
        let message = reader.message().await;
        reader.acknowledge(&message).await;
    }
    stage.until("handed over", |it| it.known_waiting == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn revoked_certificates_open_nothing_and_the_list_is_read_again() {
    let authority = Authority::new();
    let names = ["ana", "bob"];
    for name in names {
        authority.certify_client(name, &[]);
    }
    authority.revoke(&["bob"], 2_100);
    let tls = authority.tls(Some((true, CertificateName::CommonName)));
    let clients = tls.clients.clone().expect("certificates");
    let clients = ClientCertificates {
        crl: Some(authority.path("crl.pem")),
        ..clients
    };
    let tls = ListenerSettings {
        tls: Some(TlsSettings {
            clients: Some(clients),
            ..tls
        }),
        ..listener()
    };
    let mut stage = Stage::listening(Limits::default(), vec![tls]).await;
    for name in names {
        stage.register(name);
    }
    let enters = async |name: &'static str| {
        let way = Way {
            name: "by certificate",
            address: stage.address(),
            tls: Some(authority.client(Some(name))),
            websocket: false,
        };
        let Ok(mut wire) = way.try_connect().await else {
            return false;
        };
        // In TLS 1.3 a client learns with its first read what became of its certificate.
        let _ = wire.try_send(&connect(5, name).packet());
        wire.packet()
            .is_some_and(|(first, body)| (first, body[1]) == (0x20, 0))
    };
    assert!(enters("ana").await && !enters("bob").await);
    // Read again: from now on the other one is revoked.
    authority.revoke(&["ana"], 2_100);
    assert!(enters("ana").await, "not read yet");
    stage.gate.reload_certificates().expect("a list");
    assert!(!enters("ana").await && enters("bob").await);
    let due = || stage.gate.statistics_reader().listeners()[0].revocation_list_due;
    let told = due().expect("a list").to_string();
    assert_eq!(told, "2100-01-01T00:00:00Z");
    // A list that is overdue says nothing any more, and then nobody is let in.
    authority.revoke(&[], 2_021);
    stage.gate.reload_certificates().expect("a list");
    assert!(!enters("ana").await && !enters("bob").await);
    // What is no list leaves everything as it was.
    authority.write("crl.pem", "nothing");
    let error = stage.gate.reload_certificates().expect_err("no list");
    let error = error.to_string();
    assert!(
        error.contains("crl.pem holds no list of revoked certificates"),
        "{error}"
    );
    assert!(!enters("bob").await);
    let failed = stage.gate.statistics_reader().listeners()[0].failed_tls;
    assert!(failed >= Some(4), "{failed:?}");
}

/// A listener behind a load balancer on this machine.
fn proxied() -> ListenerSettings {
    ListenerSettings {
        trusted_proxies: vec!["127.0.0.1/32".parse().expect("a network")],
        ..listener()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_do_not_say_whom_they_are_from_are_bounded() {
    let limits = Limits {
        opening: 5,
        opening_per_address: 5,
        connect_within: std::time::Duration::from_millis(500),
        ..Limits::default()
    };
    let stage = Stage::listening(limits, vec![proxied()]).await;
    let mut open = vec![];
    for _ in 0..20 {
        open.push(
            TcpStream::connect(stage.address())
                .await
                .expect("it listens"),
        );
    }
    stage
        .until("refused", |it| it.refused_connections == 15)
        .await;
    // Their time is short, and then there is room again.
    stage
        .until("closed", |it| it.refused_connections == 20)
        .await;
    let mut stream = TcpStream::connect(stage.address())
        .await
        .expect("it listens");
    let hello = [
        b"PROXY TCP4 192.0.2.7 10.0.0.1 1 2\r\n",
        &connect(4, "x").packet()[..],
    ];
    stream.write_all(&hello.concat()).await.expect("open");
    let mut answer = [0; 4];
    stream.read_exact(&mut answer).await.expect("a CONNACK");
    assert_eq!(answer, [0x20, 2, 0, 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_balancer_is_not_let_in_faster_than_anybody_else_and_strangers_cost_it_nothing() {
    let limits = Limits {
        connects: Rate::new(1, 10),
        ..Limits::default()
    };
    let stage = Stage::listening(limits, vec![proxied()]).await;
    let mut open = vec![];
    for _ in 0..30 {
        let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
        socket
            .bind(([127, 0, 0, 3], 0).into())
            .expect("this machine");
        open.push(socket.connect(stage.address()).await.expect("it listens"));
    }
    stage
        .until("strangers", |it| it.refused_connections == 30)
        .await;
    for _ in 0..30 {
        open.push(
            TcpStream::connect(stage.address())
                .await
                .expect("it listens"),
        );
    }
    // Ten at once, and one more each second.
    stage
        .until("too fast", |it| it.refused_connections >= 30 + 15)
        .await;
    assert!(stage.statistics().refused_connections <= 30 + 20);
}
