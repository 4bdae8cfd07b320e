//! What the gate does not do, and how it says so.

use crate::client::{Heart, Reader, told, unbroken};
use crate::process::eventually;
use crate::raw::{CONNACK, DISCONNECT, PUBACK, Packet, Raw, SUBACK, V5, V311, field};
use crate::shop::Shop;

#[test]
fn wrong_passwords_and_unknown_users_are_refused_alike_and_right_ones_let_in() {
    let (shop, ana, _) = Shop::open();
    let port = shop.port();
    let refused = |version, name, password| Raw::connect(port, version, Some((name, password))).1;
    for version in [V5, V311] {
        let wrong = refused(version, "ana", "guess");
        let unknown = refused(version, "nobody", "guess");
        let empty = refused(version, "ana", "");
        assert_eq!(
            (&wrong, &wrong),
            (&unknown, &empty),
            "nobody learns which names exist"
        );
        let code = if version == V5 { 0x86 } else { 4 };
        assert_eq!((wrong.first, wrong.body[1]), (CONNACK, code));
    }
    assert!(
        refused(V5, "ana", "guess").says("password"),
        "5.0 clients get the reason"
    );

    shop.say(&["subscriber", "suspend", "ana"]);
    let suspended = refused(V5, "ana", &ana);
    assert_eq!(suspended.body[1], 0x87);
    assert!(suspended.says("suspended"), "{suspended:?}");
    assert_eq!(
        refused(V5, "ana", "guess").body[1],
        0x86,
        "only she learns of it"
    );
    shop.say(&["subscriber", "reinstate", "ana"]);
    Raw::enter(port, V5, Some(("ana", &ana)));

    let changed = shop.say(&["subscriber", "password", "ana"]);
    assert!(changed.contains("password: "), "{changed}");
    assert_eq!(
        refused(V5, "ana", &ana).body[1],
        0x86,
        "the old password is no longer one"
    );
    let shown = told(
        "mosquitto_sub",
        port,
        "311",
        Some(("ana", &ana)),
        &["-t", "sensor/1m"],
    );
    assert!(shown.contains("bad user name or password"), "{shown}");
    assert_eq!(shop.status()["gate"]["denied_connects"], 11);
}

#[test]
fn forbidden_topics_are_neither_read_nor_written_and_the_session_lives_on() {
    let (shop, ana, plug) = Shop::open();
    let (port, login) = (shop.port(), Some(("ana", ana.as_str())));
    let mut witness = Raw::enter(port, V311, Some(("plug", &plug)));
    assert_eq!(witness.subscribe("sensor/1m").body[2..], [0]);

    let mut client = Raw::enter(port, V5, login);
    for (topic, reason) in [
        ("sensor/1m", "no right to publish on sensor/1m"),
        ("elsewhere", "no right to publish on elsewhere"),
        ("$SYS/access/offers", "belong to the server"),
        ("$elsewhere", "belong to the server"),
    ] {
        let answer = client.publish(topic, "forged");
        assert_eq!((answer.first, answer.body[2]), (PUBACK, 0x87), "{topic}");
        assert!(answer.says(reason), "{topic}: {answer:?}");
    }
    for filter in [
        "sensor/live",
        "elsewhere/#",
        "$SYS/access/keys/+/credential",
    ] {
        let answer = client.subscribe(filter);
        assert_eq!(answer.body.last(), Some(&0x87), "{filter}");
        assert!(answer.says("no right"), "{answer:?}");
    }
    assert!(
        client
            .subscribe("sensor/live")
            .says("offer plug-hour sells it")
    );
    assert_eq!(
        client.subscribe("sensor/1m").body.last(),
        Some(&0),
        "the session lives on"
    );

    let mut old = Raw::enter(port, V311, login);
    assert_eq!(
        old.publish("sensor/1m", "forged").body,
        [0, 9],
        "3.1.1 knows no refusal"
    );
    assert_eq!(old.subscribe("sensor/live").body, [0, 7, 0x80]);
    assert_eq!(old.subscribe("#").body, [0, 7, 0], "a part of it is free");

    // The one message that may be written is the first that comes.
    let said = told(
        "mosquitto_pub",
        port,
        "5",
        Some(("plug", &plug)),
        &["-t", "sensor/1m", "-m", "true"],
    );
    assert!(said.contains("exit status: 0"), "{said}");
    for reader in [&mut witness, &mut client, &mut old] {
        let message = reader.expect(crate::raw::PUBLISH);
        assert!(
            message.says("true") && !message.says("forged"),
            "{message:?}"
        );
    }
    let gate = &shop.status()["gate"];
    assert_eq!(
        (&gate["denied_publishes"], &gate["denied_subscribes"]),
        (&5.into(), &5.into())
    );
}

/// Bytes that are no MQTT, or MQTT that breaks a rule, sent after a good CONNECT.
fn malformed() -> Vec<(&'static str, Vec<u8>)> {
    let packet =
        |first: u8, body: &[u8]| [&[first, u8::try_from(body.len()).unwrap()], body].concat();
    let topic = field("sensor/1m");
    let publish = |flags: u8, rest: &[u8]| packet(0x30 | flags, &[&topic, rest].concat());
    vec![
        ("a reserved packet type", packet(0, &[])),
        (
            "a second CONNECT",
            packet(0x10, &[&field("MQTT")[..], &[4, 2, 0, 0, 0, 0]].concat()),
        ),
        (
            "a length of five bytes",
            vec![0x30, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F],
        ),
        ("a SUBSCRIBE with wrong flags", packet(0x80, &[0, 1, 0, 0])),
        ("a SUBSCRIBE without a filter", packet(0x82, &[0, 1])),
        ("a PUBLISH with QoS 3", publish(6, &[0, 1])),
        ("a PUBLISH with packet id 0", publish(2, &[0, 0, 0])),
        ("a PUBLISH to a wildcard", packet(0x30, &field("sensor/+"))),
        (
            "a topic that is not UTF-8",
            packet(0x30, &[0, 2, 0xC3, 0x28]),
        ),
        (
            "a topic longer than its packet",
            packet(0x30, &[0xFF, 0xFF, b'a']),
        ),
        ("a packet of the server's", packet(0x20, &[0, 0])),
        (
            "a packet of a gigabyte",
            vec![0x32, 0x80, 0x80, 0x80, 0x80 >> 1, 0, 1],
        ),
    ]
}

#[test]
fn malformed_packets_end_their_own_connection_and_no_other() {
    let (shop, ana, plug) = Shop::open();
    let port = shop.port();
    let _heart = Heart::start(port, "5", Some(("plug", &plug)), "sensor/1m");
    let reader = Reader::start(port, "5", Some(("ana", &ana)), &["sensor/1m"]);
    reader.goes_on("sensor/1m", 5);

    let mut faults = 0;
    for (what, bytes) in malformed() {
        for version in [V311, V5] {
            let mut client = Raw::enter(port, version, Some(("plug", &plug)));
            client.say(&bytes);
            match (version, client.packet()) {
                (V311, None) => {}
                (
                    V5,
                    Some(Packet {
                        first: DISCONNECT,
                        body,
                    }),
                ) => {
                    assert!(body[0] >= 0x80, "{what}: {body:?}");
                    assert_eq!(client.packet(), None, "{what}");
                }
                (version, answer) => panic!("{what}, version {version}: {answer:?}"),
            }
            faults += 1;
        }
    }
    // Before the CONNECT there is nobody to whom anything could be said.
    for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0x82, 0], &[0xFF; 64]] {
        let mut client = Raw::dial(port, V5);
        client.say(bytes);
        assert_eq!(client.packet(), None);
        faults += 1;
    }

    reader.goes_on("sensor/1m", 20);
    assert!(unbroken(&reader.beats("sensor/1m")), "nobody else noticed");
    eventually("every fault is counted", || {
        let gate = &shop.status()["gate"];
        assert_eq!(gate["panicked_sessions"], 0);
        (gate["faulty_sessions"] == faults).then_some(())
    });
    let mut client = Raw::enter(port, V5, Some(("ana", &ana)));
    assert_eq!(client.subscribe("sensor/1m").first, SUBACK);
}
