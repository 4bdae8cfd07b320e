//! From the first byte to the CONNACK, and the end of connections.

use crate::client::{Client, connect, described, packet, text};
use crate::stage::{SOON, Stage};
use mqtt_protocol_core::mqtt::packet::v5_0;
use std::time::Duration;
use tanglegate_broker::{ClientLimits, Limits};

#[tokio::test(flavor = "multi_thread")]
async fn before_the_log_is_replayed_nobody_is_let_in() {
    let stage = Stage::not_ready(Limits::default()).await;
    let (mut five, answer) = connect(5, "x").try_open(&stage).await;
    assert_eq!(answer.body[1], 0x88);
    five.is_closed().await;
    let (mut four, answer) = connect(4, "x").login("ana").try_open(&stage).await;
    assert_eq!(answer.body[1], 3);
    four.is_closed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_gate_can_do_is_announced() {
    let stage = Stage::new().await;
    // Session expiry 60 s, keep-alive 0.
    let ask = connect(5, "").properties(&[0x11, 0, 0, 0, 60]);
    let (_, answer) = ask.try_open(&stage).await;
    let (answer, _) = v5_0::Connack::parse(&answer.body).unwrap();
    let announced = described(answer.props());
    let expected = [
        "session expiry 0",
        "receive maximum 64",
        "maximum packet 65536",
        "assigned given-0000000000000001",
        "aliases 16",
        "keep-alive 600",
    ];
    assert_eq!(announced, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_names_and_wrong_passwords_get_the_same_answer() {
    let mut stage = Stage::new().await;
    stage.register("ana");
    for (name, password) in [
        ("ana", "x"),
        ("ana", ""),
        ("bob", "ana"),
        ("", ""),
        ("a\u{1}", "x"),
    ] {
        let (_, five) = connect(5, "x")
            .password(name, password)
            .try_open(&stage)
            .await;
        let (_, four) = connect(4, "x")
            .password(name, password)
            .try_open(&stage)
            .await;
        assert_eq!(
            (five.body[1], four.body[1]),
            (0x86, 4),
            "{name:?} {password:?}"
        );
    }
    assert_eq!(stage.statistics().denied_connects, 10);
    connect(5, "x").login("ana").open(&stage).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_takes_its_own_session_over_and_no_other() {
    let mut stage = Stage::new().await;
    stage.register("ana");
    stage.register("bob");
    let mut bob = connect(5, "same").login("bob").open(&stage).await;
    let mut anonymous = connect(5, "same").open(&stage).await;
    let mut first = connect(5, "same").login("ana").open(&stage).await;
    let mut second = connect(4, "same").login("ana").open(&stage).await;
    assert!(first.is_dismissed(0x8E).await.contains("connected again"));
    let mut third = connect(5, "same").login("ana").open(&stage).await;
    second.is_closed().await;
    let mut other = connect(5, "same").open(&stage).await;
    for client in [&mut bob, &mut anonymous, &mut third, &mut other] {
        client.ping().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn any_text_is_a_client_identifier() {
    let mut stage = Stage::new().await;
    stage.register("ana");
    for id in [
        "+",
        "#",
        "a/b",
        "$SYS/x",
        "用户 é",
        "shard-0",
        &"x".repeat(256),
    ] {
        for version in [4, 5] {
            connect(version, id).open(&stage).await.ping().await;
            connect(version, id)
                .login("ana")
                .open(&stage)
                .await
                .ping()
                .await;
        }
    }
    let (_, refused) = connect(5, &"x".repeat(257)).try_open(&stage).await;
    assert_eq!(
        refused.body[1], 0x85,
        "too long for an anonymous client here"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_identifier_needs_a_clean_session_in_3_1_1() {
    // MQTT 3.1.1 [MQTT-3.1.3-8]
    let stage = Stage::new().await;
    let unclean = crate::client::Connect {
        clean: false,
        ..connect(4, "")
    };
    let (mut client, answer) = unclean.try_open(&stage).await;
    assert_eq!(answer.body[1], 2);
    client.is_closed().await;
    connect(4, "").open(&stage).await;
    // Kept or not, there is nothing to come back to.
    crate::client::Connect {
        clean: false,
        ..connect(4, "x")
    }
    .open(&stage)
    .await
    .ping()
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_protocols_are_turned_away_in_their_own_words() {
    // [MQTT-3.1.2-2]
    let stage = Stage::new().await;
    let mut old = Client::raw(&stage, 4).await;
    let body = [text("MQIsdp"), vec![3, 2, 0, 0], text("x")].concat();
    old.send(&packet(0x10, &body)).await;
    assert_eq!(old.packet().await.body, [0, 1]);
    old.is_closed().await;
    let mut new = Client::raw(&stage, 5).await;
    let body = [text("MQTT"), vec![6, 2, 0, 0, 0], text("x")].concat();
    new.send(&packet(0x10, &body)).await;
    assert_eq!(new.packet().await.body[1], 0x84);
    new.is_closed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_connect_is_closed_and_counted() {
    let stage = Stage::new().await;
    let faulty: [&[u8]; 6] = [
        b"GET / HTTP/1.1\r\n\r\n",
        &[0xC0, 0],                         // [MQTT-3.1.0-1]
        &[0x10, 0xFF, 0xFF, 0xFF, 0xFF, 1], // an endless length
        &[0x10, 0],                         // nothing in it
        &[
            0x10, 13, 0, 4, b'M', b'Q', b'T', b'T', 4, 3, 0, 0, 0, 1, b'x',
        ], // [MQTT-3.1.2-3]
        &[0x16, 2, 0, 0],                   // flags
    ];
    for bytes in faulty {
        let mut client = Client::raw(&stage, 4).await;
        client.send(bytes).await;
        client.is_closed().await;
    }
    stage.until("counted", |it| it.faulty_sessions == 6).await;
    stage.until("closed", |it| it.open_connections == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn faulty_connects_of_5_0_are_told_why() {
    let stage = Stage::new().await;
    let head = [text("MQTT"), vec![5, 3, 0, 0, 0], text("x")].concat();
    let cases = [
        (packet(0x10, &head), 0x81), // the reserved flag
        (connect(5, "x").properties(&[0x21, 0, 0]).packet(), 0x82), // receive maximum 0
        (
            connect(5, "x").properties(&[0x15, 0, 1, b'K']).packet(),
            0x8C,
        ),
        (connect(5, "x").will("a/+", "", 0, false).packet(), 0x90),
    ];
    for (bytes, reason) in cases {
        let mut client = Client::raw(&stage, 5).await;
        client.send(&bytes).await;
        let answer = client.packet().await;
        assert_eq!((answer.first, answer.body[1]), (0x20, reason), "{bytes:?}");
        client.is_closed().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_takes_only_short_packets_is_answered_without_reasons() {
    // [MQTT-3.2.2-19], [MQTT-3.1.2-24]
    let stage = Stage::new().await;
    for (takes, is_told) in [(40, false), (1_000, true)] {
        let connect =
            connect(5, "x").properties(&[&[0x27, 0, 0][..], &u16::to_be_bytes(takes)].concat());
        let (_, answer) = connect.password("nobody", "x").try_open(&stage).await;
        assert_eq!(answer.body[1], 0x86);
        assert_eq!(answer.body.len() > 3, is_told, "{answer:?}");
    }
    // As many codes as there are filters cannot be left out.
    let mut client = connect(5, "x")
        .properties(&[0x27, 0, 0, 0, 50])
        .open(&stage)
        .await;
    let filters = [text("f"), vec![0]].concat().repeat(60);
    client
        .send(&packet(0x82, &[&[0, 1, 0][..], &filters].concat()))
        .await;
    let why = client.is_dismissed(0x95).await;
    assert!(why.is_empty(), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_connect_is_not_waited_for() {
    let limits = Limits {
        connect_within: Duration::from_millis(200),
        ..Limits::default()
    };
    let stage = Stage::with(limits).await;
    let mut silent = Client::raw(&stage, 4).await;
    let mut slow = Client::raw(&stage, 4).await;
    slow.send(&connect(4, "x").packet()[..9]).await;
    silent.is_closed().await;
    slow.is_closed().await;
    stage.until("closed", |it| it.open_connections == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_huge_connect_is_refused_from_its_header_on() {
    let limits = Limits {
        connect_bytes: 1_000,
        ..Limits::default()
    };
    let stage = Stage::with(limits).await;
    let mut huge = Client::raw(&stage, 5).await;
    let packet = connect(5, &"x".repeat(2_000)).packet();
    huge.send(&packet[..20]).await;
    let answer = huge.packet().await;
    assert_eq!((answer.first, answer.body[1]), (0x20, 0x95));
    huge.is_closed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn packets_sent_behind_the_connect_are_not_lost() {
    // [MQTT-3.1.4-5]
    let stage = Stage::new().await;
    let mut client = Client::raw(&stage, 4).await;
    let eager = [connect(4, "x").packet(), vec![0xC0, 0, 0xC0, 0, 0xC0]].concat();
    client.send(&eager).await;
    assert_eq!(client.packet().await.first, 0x20);
    assert_eq!(client.packet().await.first, 0xD0);
    assert_eq!(client.packet().await.first, 0xD0);
    client.send(&[0]).await;
    assert_eq!(client.packet().await.first, 0xD0);
}

#[tokio::test(flavor = "multi_thread")]
async fn silence_ends_a_connection_after_one_and_a_half_keep_alives() {
    // [MQTT-3.1.2-22]
    let stage = Stage::new().await;
    let begun = std::time::Instant::now();
    let mut five = connect(5, "five").keep_alive(1).open(&stage).await;
    let mut four = connect(4, "four").keep_alive(1).open(&stage).await;
    let mut lively = connect(4, "lively").keep_alive(1).open(&stage).await;
    let mut patient = connect(4, "patient").open(&stage).await;
    let pinging = tokio::spawn(async move {
        for _ in 0..4 {
            tokio::time::sleep(Duration::from_millis(700)).await;
            lively.ping().await;
        }
    });
    five.is_dismissed(0x8D).await;
    four.is_closed().await;
    let waited = begun.elapsed();
    assert!(
        waited >= Duration::from_millis(1_450) && waited < SOON,
        "{waited:?}"
    );
    pinging.await.unwrap();
    patient.ping().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_limits_the_keep_alive_says_so_and_holds_it() {
    let limits = Limits {
        anonymous: ClientLimits {
            keep_alive: Some(Duration::from_secs(1)),
            ..ClientLimits::anonymous()
        },
        ..Limits::default()
    };
    let stage = Stage::with(limits).await;
    let mut five = connect(5, "five").keep_alive(3_600).open(&stage).await;
    let mut four = connect(4, "four").open(&stage).await;
    five.is_dismissed(0x8D).await;
    four.is_closed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_after_the_connect_end_the_session_with_a_reason() {
    let stage = Stage::new().await;
    let cases: [(&[u8], u8); 13] = [
        (&connect(5, "x").packet(), 0x82),                 // [MQTT-3.1.0-2]
        (&[0x32, 6, 0, 1, b'a', 0, 0, 0], 0x81),           // packet identifier 0
        (&[0x36, 6, 0, 1, b'a', 0, 1, 0], 0x81),           // [MQTT-3.3.1-4]
        (&[0x30, 4, 0, 1, b'#', 0], 0x90),                 // [MQTT-3.3.2-2]
        (&[0x30, 7, 0, 0, 3, 0x23, 0, 1, 0], 0x94),        // an alias that was not set
        (&[0x30, 8, 0, 1, b'a', 3, 0x23, 0, 17, 0], 0x94), // [MQTT-3.3.2-9]
        (&[0x30, 4, 0, 0, 0, 0], 0x82),                    // neither topic nor alias
        (&[0x80, 6, 0, 1, 0, 0, 1, b'a'], 0x81),           // [MQTT-3.8.1-1]
        (&[0x82, 3, 0, 1, 0], 0x82),                       // [MQTT-3.8.3-2]
        (&[0x82, 8, 0, 1, 0, 0, 2, b'a', 0, 0], 0x81),     // [MQTT-1.5.4-2]
        (&[0xA2, 7, 0, 1, 0, 0, 2, b'a', 0], 0x81),        // [MQTT-1.5.4-2]
        (&[0xF0, 0], 0x82),                                // AUTH without being asked
        (&[0x30, 0xFF, 0xFF, 0xFF, 0x7F], 0x95),           // [MQTT-3.2.2-15]
    ];
    for (bytes, reason) in cases {
        let mut five = connect(5, "x").open(&stage).await;
        five.send(bytes).await;
        five.is_dismissed(reason).await;
        let mut four = connect(4, "x").open(&stage).await;
        let fault_of_both: &[u8] = if bytes[0] >> 4 == 3 {
            &[0x36, 0]
        } else {
            bytes
        };
        four.send(fault_of_both).await;
        four.is_closed().await;
    }
    stage.until("closed", |it| it.open_sessions == 0).await;
    assert_eq!(stage.statistics().panicked_sessions, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_wants_no_reasons_gets_none() {
    let stage = Stage::new().await;
    let mut client = connect(5, "x").properties(&[0x17, 0]).open(&stage).await;
    let (codes, why) = client.subscribe_with(&[], &[("a", 0)]).await;
    assert_eq!((&codes[..], &*why), (&[0x87][..], ""));
    let (code, why) = client.publish_safely("a", "x").await;
    assert_eq!((code, &*why), (0x87, ""));
    client.send(&[0xF0, 0]).await;
    assert_eq!(client.is_dismissed(0x82).await, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gate_that_shuts_down_takes_leave() {
    let stage = Stage::new().await;
    let mut five = connect(5, "five").open(&stage).await;
    let mut four = connect(4, "four").open(&stage).await;
    let mut raw = Client::raw(&stage, 4).await;
    let address = stage.address();
    let leave = tokio::spawn(stage.gate.shutdown(SOON));
    five.is_dismissed(0x8B).await;
    four.is_closed().await;
    raw.is_closed().await;
    tokio::time::timeout(SOON, leave).await.unwrap().unwrap();
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_is_an_error_that_says_what_to_do() {
    let stage = Stage::new().await;
    let settings = tanglegate_broker::Settings::new(stage.address());
    let (clock, _hand) = tanglegate_broker::Clock::manual(crate::stage::START);
    let started = tanglegate_broker::Gate::start(settings, stage.view.clone(), clock).await;
    let Err(error) = started else {
        panic!("the port is taken");
    };
    let text = error.to_string();
    assert!(text.contains(&stage.address().to_string()), "{text}");
    assert!(text.contains("Choose another address"), "{text}");
}
