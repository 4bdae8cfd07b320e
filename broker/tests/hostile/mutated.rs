//! Valid sessions with mistakes in them. Whatever they say, the gate answers or closes, no
//! session panics, and everybody else is served as before.

use crate::valid::sessions;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};
use tanglegate_core::Access;
use tanglegate_stage::Stage;

/// Clients at a time.
const CLIENTS: u64 = 4;
/// So many sessions altogether, or as many as there is time for.
const SESSIONS: u64 = 100_000;
const TIME: Duration = Duration::from_secs(15);

/// Numbers by lot, the same for the same seed (splitmix64).
struct Lot(u64);

impl Lot {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut it = self.0;
        it = (it ^ (it >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        it = (it ^ (it >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        it ^= it >> 31;
        usize::try_from(it % bound as u64).expect("below the bound")
    }

    fn byte(&mut self) -> u8 {
        u8::try_from(self.below(256)).expect("a byte")
    }
}

/// A session with one to four mistakes, as the bytes of its packets.
fn mistaken(lot: &mut Lot, sessions: &[Vec<Vec<u8>>]) -> Vec<u8> {
    let mut packets = sessions[lot.below(sessions.len())].clone();
    // The CONNECT mostly stays as it is, or few would get any further.
    let first = usize::from(lot.below(8) > 0);
    for _ in 0..=lot.below(4) {
        let at = first + lot.below(packets.len() - first);
        match lot.below(9) {
            0 => drop(packets.remove(at)),
            1 => packets.insert(at, packets[at].clone()),
            2 => {
                let other = &sessions[lot.below(sessions.len())];
                packets.insert(at, other[lot.below(other.len())].clone());
            }
            3 => {
                let other = first + lot.below(packets.len() - first);
                packets.swap(at, other);
            }
            _ => change(lot, &mut packets[at]),
        }
        if packets.len() <= first {
            break;
        }
    }
    packets.concat()
}

fn change(lot: &mut Lot, packet: &mut Vec<u8>) {
    if packet.is_empty() {
        return;
    }
    let at = lot.below(packet.len());
    match lot.below(6) {
        0 => packet[at] = lot.byte(),
        1 => packet[at] ^= 1 << lot.below(8),
        2 => packet[at] = [0, 1, 0x7F, 0x80, 0xFF][lot.below(5)],
        3 => packet.truncate(at),
        4 => packet.insert(at, lot.byte()),
        // A longer or shorter packet than it says.
        _ => packet[1.min(at)] = packet[1.min(at)].wrapping_add(lot.byte() & 3),
    }
}

/// Says everything in up to three pieces, and waits for the gate to close.
fn say(address: SocketAddr, lot: &mut Lot, bytes: &[u8]) {
    let mut stream = TcpStream::connect(address).expect("the gate listens");
    stream.set_nodelay(true).expect("an open socket");
    let patience = Some(Duration::from_secs(20));
    stream.set_read_timeout(patience).expect("an open socket");
    let cut = lot.below(bytes.len() * 4 + 1).min(bytes.len());
    for piece in [&bytes[..cut], &bytes[cut..]] {
        // The gate may have heard enough.
        let _ = stream.write_all(piece);
    }
    let _ = stream.shutdown(Shutdown::Write);
    let mut chunk = [0; 4_096];
    loop {
        match stream.read(&mut chunk) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                panic!("the gate does not close after {bytes:02x?}")
            }
            Err(_) => return,
        }
    }
}

/// Up to `most` sessions of one client until `end`, from the seed on.
fn client(address: SocketAddr, seed: u64, most: u64, end: Instant) -> u64 {
    let sessions = sessions();
    let mut count = 0;
    while count < most && Instant::now() < end {
        let mut lot = Lot(seed << 32 | count);
        let bytes = mistaken(&mut lot, &sessions);
        say(address, &mut lot, &bytes);
        count += 1;
    }
    count
}

/// How many for each client, and how long: `TANGLEGATE_HOSTILE_SECONDS` gives other seconds, and
/// no bound on the number.
fn bounds() -> (u64, Duration) {
    let wish = std::env::var("TANGLEGATE_HOSTILE_SECONDS").ok();
    match wish.and_then(|it| it.parse().ok()) {
        Some(seconds) => (u64::MAX, Duration::from_secs(seconds)),
        None => (SESSIONS / CLIENTS, TIME),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_with_mistakes_harm_nobody_but_themselves() {
    let mut stage = Stage::new().await;
    stage.give_everyone("wild/#", Access::ReadWrite);
    let (most, time) = bounds();
    let (address, end) = (stage.address(), Instant::now() + time);
    let clients = (1..=CLIENTS)
        .map(|seed| tokio::task::spawn_blocking(move || client(address, seed, most, end)));
    let mut count = 0;
    for client in clients.collect::<Vec<_>>() {
        count += client.await.expect("every connection is closed");
    }
    let statistics = stage.statistics();
    println!("{count} sessions with mistakes: {statistics:#?}");
    assert_eq!(statistics.panicked_sessions, 0);
    assert_eq!(statistics.lost_records, 0);
    assert!(count > 500, "only {count} sessions were tried");
    let sound = statistics.sessions - statistics.faulty_sessions;
    assert!(
        statistics.faulty_sessions > count / 10,
        "mistakes are noticed"
    );
    assert!(sound > count / 100, "some get far");
    // Everybody else is served as before.
    stage
        .until("all are gone", |it| {
            it.open_connections == 0 && it.open_sessions == 0
        })
        .await;
    tokio::task::spawn_blocking(move || is_served(address))
        .await
        .expect("the gate still works");
}

/// A message goes through every shard.
fn is_served(address: SocketAddr) {
    for _ in 0..4 {
        let mut stream = TcpStream::connect(address).expect("the gate listens");
        let patience = Some(Duration::from_secs(10));
        stream.set_read_timeout(patience).expect("an open socket");
        let session = &sessions()[0];
        stream.write_all(&session[..3].concat()).expect("open");
        // CONNACK, SUBACK with two codes, the message.
        let mut heard = [0; 4 + 6];
        stream.read_exact(&mut heard).expect("answers");
        assert_eq!(heard, [0x20, 2, 0, 0, 0x90, 4, 0, 1, 1, 0]);
        let mut heard = vec![];
        while !heard.ends_with(b"\x00\x06wild/aone") {
            let mut byte = [0];
            stream.read_exact(&mut byte).expect("the message");
            heard.push(byte[0]);
        }
    }
}
