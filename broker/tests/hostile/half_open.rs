//! Connections that are opened and not used, or only begun.

use std::net::SocketAddr;
use std::time::Duration;
use tanglegate_broker::Limits;
use tanglegate_core::Access;
use tanglegate_stage::Stage;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// Fewer than the file descriptors that a process usually may have, for both ends.
const MOST: u64 = 2_000;

/// What was said on connections before the line went dead.
const BEGINNINGS: [&[u8]; 5] = [
    b"",
    b"\x10",
    b"\x10\xFF\xFF\x03\x00\x04MQTT",
    b"\x10\x0C\x00\x04MQTT\x04\x02\x00\x00\x00",
    // Whole, and then a message without its end.
    b"\x10\x0C\x00\x04MQTT\x04\x02\x00\x00\x00\x00\x30\xFF\x03\x00\x06wild/a",
];

async fn open(address: SocketAddr, number: u64) -> (u64, TcpStream) {
    let mut stream = TcpStream::connect(address).await.expect("the gate listens");
    let said = usize::try_from(number).expect("few") % BEGINNINGS.len();
    stream.write_all(BEGINNINGS[said]).await.expect("open");
    (number, stream)
}

/// As many connections as this process may have open, with both ends.
fn most() -> u64 {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits.lines().find(|it| it.starts_with("Max open files"));
    let files: u64 = line
        .and_then(|it| it.split_whitespace().nth(3)?.parse().ok())
        .unwrap_or(1_024);
    (files / 2 - 100).min(MOST)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_are_only_begun_are_ended_and_cost_others_nothing() {
    let mut stage = Stage::with(Limits {
        connect_within: Duration::from_secs(3),
        anonymous_connections: 10_000,
        ..Limits::default()
    })
    .await;
    stage.give_everyone("wild/#", Access::ReadWrite);
    let (address, count) = (stage.address(), most());
    let mut opening = JoinSet::new();
    for number in 0..count {
        opening.spawn(open(address, number));
    }
    let mut open = opening.join_all().await;
    open.sort_by_key(|(number, _)| *number);
    // Meanwhile a good client is let in and hears itself.
    is_served(address).await;
    // Whoever has not said who he is has to go; the others only broke off in mid-message.
    let in_session = count / BEGINNINGS.len() as u64;
    stage
        .until("only sessions are left", |it| {
            it.open_connections == in_session
        })
        .await;
    assert_eq!(stage.statistics().open_sessions, in_session);
    for (_, stream) in open.iter_mut().take(BEGINNINGS.len() - 1) {
        let mut rest = vec![];
        // Closed, with an answer or without.
        let _ = stream.read_to_end(&mut rest).await;
    }
    drop(open);
    stage
        .until("everything is given back", |it| it.open_connections == 0)
        .await;
    assert_eq!(stage.statistics().panicked_sessions, 0);
    is_served(address).await;
}

async fn is_served(address: SocketAddr) {
    let mut stream = TcpStream::connect(address).await.expect("the gate listens");
    let said = b"\x10\x0C\x00\x04MQTT\x04\x02\x00\x00\x00\x00\
        \x82\x0B\x00\x01\x00\x06wild/a\x00\x30\x09\x00\x06wild/ax";
    stream.write_all(said).await.expect("open");
    let mut heard = [0; 4 + 5 + 11];
    let reading = tokio::time::timeout(Duration::from_secs(10), stream.read_exact(&mut heard));
    reading.await.expect("answers in time").expect("answers");
    assert_eq!(&heard[9..], b"\x30\x09\x00\x06wild/ax");
}
