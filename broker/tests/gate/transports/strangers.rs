//! Who takes too long, or speaks what is not spoken here.

use super::everywhere;
use crate::client::connect;
use crate::wire::{millis, tcp};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Instant;
use tanglegate_broker::Limits;

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
