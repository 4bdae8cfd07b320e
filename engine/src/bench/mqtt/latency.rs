//! The time of a message at a moderate rate, and what it costs the server.

use super::client::Client;
use super::load::{join, start};
use super::packet::{Hello, Version, publish};
use super::scene::{READER, WRITER};
use super::server::Server;
use anyhow::Context;
use std::io::{Read, Write};
use std::time::{Duration, Instant};

const TOPIC: &str = "bench/live";

/// From writing a message to reading it: the middle, the 99th of a hundred, both in microseconds;
/// and seconds of the server's processor time per million messages.
pub(super) fn measure(
    server: &Server,
    rate: u32,
    payload: usize,
    time: Duration,
) -> anyhow::Result<Vec<f64>> {
    let mut reader = Client::connect(server.address, &Hello::new(Version::V311, READER, "reader"))?;
    reader.subscribe(&[TOPIC], 0)?;
    let writer = Client::connect(server.address, &Hello::new(Version::V311, WRITER, "writer"))?;
    let (count, begun) = (time.as_millis() * u128::from(rate) / 1_000, Instant::now());
    let count = usize::try_from(count.max(1))?;
    let mut packet = publish(
        Version::V311,
        TOPIC,
        (0, 0),
        false,
        &vec![0; payload.max(8)],
    );
    let (length, stamp) = (packet.len(), packet.len() - 8);
    let mut socket = writer.socket;
    let before = server.processor_time()?;
    let (writing, _) = start(move || {
        for number in 0..count {
            let due = Duration::from_secs(1) * u32::try_from(number)? / rate;
            if let Some(early) = due.checked_sub(begun.elapsed()) {
                std::thread::sleep(early);
            }
            let sent = u64::try_from(begun.elapsed().as_nanos())?;
            packet[stamp..].copy_from_slice(&sent.to_be_bytes());
            socket.write_all(&packet)?;
        }
        Ok(())
    })?;
    let mut times = Vec::with_capacity(count);
    let mut message = vec![0; length];
    for _ in 0..count {
        reader
            .socket
            .read_exact(&mut message)
            .context("a message did not arrive")?;
        let sent = message
            .last_chunk::<8>()
            .map_or(0, |it| u64::from_be_bytes(*it));
        times.push(u64::try_from(begun.elapsed().as_nanos())?.saturating_sub(sent));
    }
    join(writing)?;
    let taken = server.processor_time()? - before;
    times.sort_unstable();
    #[expect(clippy::cast_precision_loss, reason = "times and an average")]
    Ok(vec![
        times[count / 2] as f64 / 1_000.0,
        times[count - 1 - count / 100] as f64 / 1_000.0,
        taken / count as f64 * 1e6,
    ])
}
