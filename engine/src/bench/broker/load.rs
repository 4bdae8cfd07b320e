//! Load over real sockets.

use super::{READER, TOPIC, WRITER};
use anyhow::{Context, bail, ensure};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Bytes that are read or written at a time.
const BURST: usize = 64 << 10;
/// Messages that the publishers may be ahead of the slowest reader: the load is as fast as the
/// server can be without losing anything.
const AHEAD: u64 = 8_000;
/// How long a socket may be silent before it is given up.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long the load runs before it is counted.
const WARM_UP: Duration = Duration::from_millis(300);

/// Some publishers and some readers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Load {
    pub(super) writers: usize,
    pub(super) readers: usize,
    pub(super) qos: u8,
    pub(super) payload: usize,
    pub(super) time: Duration,
}

/// What the threads of a load share.
struct Shared {
    /// Messages that each reader has read.
    delivered: Vec<AtomicU64>,
    stop: AtomicBool,
}

impl Shared {
    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn all(&self) -> u64 {
        self.delivered
            .iter()
            .map(|it| it.load(Ordering::Relaxed))
            .sum()
    }

    fn slowest(&self) -> u64 {
        self.delivered
            .iter()
            .map(|it| it.load(Ordering::Relaxed))
            .min()
            .unwrap_or(0)
    }
}

type Running = JoinHandle<anyhow::Result<()>>;

impl Load {
    /// Messages delivered per second, with publishers as fast as the readers allow.
    pub(super) fn deliveries(self, server: SocketAddr) -> anyhow::Result<f64> {
        let shared = Arc::new(Shared {
            delivered: (0..self.readers).map(|_| AtomicU64::new(0)).collect(),
            stop: AtomicBool::new(false),
        });
        let reading = self.read_all(server, &shared)?;
        let publishing = self.publish(server, &shared)?;
        std::thread::sleep(WARM_UP);
        let (begun, before) = (Instant::now(), shared.all());
        std::thread::sleep(self.time);
        let (took, after) = (begun.elapsed(), shared.all());
        shared.stop.store(true, Ordering::Relaxed);
        join(reading)?;
        join(publishing)?;
        ensure!(after > before, "{server} delivered nothing");
        #[expect(clippy::cast_precision_loss, reason = "a rate")]
        Ok((after - before) as f64 / took.as_secs_f64())
    }

    /// The readers, all on one thread: they must not be the bottleneck, nor take all processors.
    fn read_all(self, server: SocketAddr, shared: &Arc<Shared>) -> anyhow::Result<Running> {
        let mut sockets = vec![];
        for number in 0..self.readers {
            let mut socket = connect(server, READER, &format!("reader-{number}"))?;
            subscribe(&mut socket, self.qos)?;
            socket.set_nonblocking(true)?;
            sockets.push(socket);
        }
        let shared = Arc::clone(shared);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let length = self.packet(0).len();
        Ok(std::thread::spawn(move || {
            runtime.block_on(async {
                let mut readers = tokio::task::JoinSet::new();
                for (number, socket) in sockets.into_iter().enumerate() {
                    let socket = tokio::net::TcpStream::from_std(socket)?;
                    readers.spawn(read(socket, length, self.qos, number, Arc::clone(&shared)));
                }
                while !shared.stopped() {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                readers.abort_all();
                while let Some(ended) = readers.join_next().await {
                    match ended {
                        Ok(result) => result?,
                        Err(aborted) if aborted.is_cancelled() => {}
                        Err(panicked) => bail!("a reader failed: {panicked}"),
                    }
                }
                Ok(())
            })
        }))
    }

    /// The publishers, all on one thread too.
    fn publish(self, server: SocketAddr, shared: &Arc<Shared>) -> anyhow::Result<Running> {
        // With QoS 1, all identifiers once.
        let one = self.packet(0).len();
        let count = if self.qos == 0 { BURST / one } else { 65_535 };
        let packets: Vec<u8> = (0..count).flat_map(|it| self.packet(it)).collect();
        let mut writers = vec![];
        for number in 0..self.writers {
            let socket = connect(server, WRITER, &format!("writer-{number}"))?;
            socket.set_nonblocking(true)?;
            writers.push(Writer { socket, sent: 0 });
        }
        let (shared, count) = (Arc::clone(shared), self.writers as u64);
        Ok(std::thread::spawn(move || {
            let mut scratch = vec![0; BURST];
            while !shared.stopped() {
                // Each has its share of what may be on its way.
                let allowed = (shared.slowest() + AHEAD) / count * one as u64;
                let mut wrote = 0;
                for writer in &mut writers {
                    wrote += writer.write(&packets, allowed)?;
                    writer.skip_acknowledgements(&mut scratch)?;
                }
                if wrote < BURST / 4 {
                    std::thread::sleep(Duration::from_micros(20));
                }
            }
            Ok(())
        }))
    }

    /// A PUBLISH; with QoS 1 its identifier is `number` + 1.
    fn packet(self, number: usize) -> Vec<u8> {
        let mut body = text(TOPIC);
        if self.qos == 1 {
            let id = u16::try_from(number + 1).unwrap_or(1);
            body.extend(id.to_be_bytes());
        }
        body.resize(body.len() + self.payload, b'x');
        packet(0x30 | self.qos << 1, &body)
    }

    /// The median time from writing a message to reading it, in microseconds.
    pub(super) fn latency(self, server: SocketAddr, rate: u32) -> anyhow::Result<f64> {
        let mut reader = connect(server, READER, "reader")?;
        subscribe(&mut reader, 0)?;
        let mut writer = connect(server, WRITER, "writer")?;
        let (begun, count) = (Instant::now(), self.time.as_secs_f64() * f64::from(rate));
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a count"
        )]
        let count = count as u32;
        let length = 16 + text(TOPIC).len() - 6;
        let writing = std::thread::spawn(move || -> anyhow::Result<()> {
            for number in 0..count {
                let due = Duration::from_secs(1) * number / rate;
                if let Some(early) = due.checked_sub(begun.elapsed()) {
                    std::thread::sleep(early);
                }
                let mut body = text(TOPIC);
                let sent = u64::try_from(begun.elapsed().as_nanos())?;
                body.extend(sent.to_be_bytes());
                writer.write_all(&packet(0x30, &body))?;
            }
            Ok(())
        });
        let mut times = Vec::with_capacity(count as usize);
        let mut message = vec![0; length];
        for _ in 0..count {
            reader
                .read_exact(&mut message)
                .context("a message did not arrive")?;
            let sent = message
                .last_chunk::<8>()
                .map_or(0, |it| u64::from_be_bytes(*it));
            times.push(u64::try_from(begun.elapsed().as_nanos())? - sent);
        }
        join(writing)?;
        times.sort_unstable();
        #[expect(clippy::cast_precision_loss, reason = "a time")]
        Ok(times[times.len() / 2] as f64 / 1_000.0)
    }
}

/// One publisher.
struct Writer {
    socket: TcpStream,
    /// Bytes so far.
    sent: u64,
}

impl Writer {
    /// Writes what the socket takes, up to `allowed` bytes in all; returns how much that was.
    fn write(&mut self, packets: &[u8], allowed: u64) -> anyhow::Result<usize> {
        let room = usize::try_from(allowed.saturating_sub(self.sent))?;
        let at = usize::try_from(self.sent % packets.len() as u64)?;
        let end = (at + room.min(BURST)).min(packets.len());
        if at == end {
            return Ok(0);
        }
        match self.socket.write(&packets[at..end]) {
            Ok(written) => {
                self.sent += written as u64;
                Ok(written)
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
            Err(error) => Err(error.into()),
        }
    }

    fn skip_acknowledgements(&mut self, scratch: &mut [u8]) -> anyhow::Result<()> {
        match self.socket.read(scratch) {
            Ok(0) => bail!("the server closed a publisher's connection"),
            Ok(_) => Ok(()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// Reads messages of a known length, and acknowledges those with QoS 1.
async fn read(
    socket: tokio::net::TcpStream,
    length: usize,
    qos: u8,
    number: usize,
    shared: Arc<Shared>,
) -> anyhow::Result<()> {
    let (mut buffer, mut held, mut answers) = (vec![0; BURST], 0, vec![]);
    loop {
        socket.readable().await?;
        let read = match socket.try_read(&mut buffer[held..]) {
            Ok(0) => bail!("the server closed a reader's connection"),
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
            Err(error) => return Err(error.into()),
        };
        held += read;
        let whole = held / length;
        shared.delivered[number].fetch_add(whole as u64, Ordering::Relaxed);
        if qos == 1 {
            answers.clear();
            for packet in buffer[..whole * length].chunks_exact(length) {
                let id = 2 + text(TOPIC).len() + usize::from(length > 129);
                answers.extend([0x40, 2, packet[id], packet[id + 1]]);
            }
            write_all(&socket, &answers).await?;
        }
        buffer.copy_within(whole * length..held, 0);
        held -= whole * length;
    }
}

async fn write_all(socket: &tokio::net::TcpStream, mut bytes: &[u8]) -> anyhow::Result<()> {
    while !bytes.is_empty() {
        match socket.try_write(bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == ErrorKind::WouldBlock => socket.writable().await?,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Bytes of memory that the server takes for each of `count` idle connections.
pub(super) fn weigh_idle(server: SocketAddr, process: u32, count: usize) -> anyhow::Result<f64> {
    let before = resident(process)?;
    let mut idle = Vec::with_capacity(count);
    for number in 0..count {
        idle.push(connect(server, READER, &format!("idle-{number}"))?);
    }
    std::thread::sleep(Duration::from_millis(500));
    let after = resident(process)?;
    #[expect(clippy::cast_precision_loss, reason = "an average")]
    Ok(after.saturating_sub(before) as f64 / count as f64)
}

/// Resident memory of a process in bytes.
fn resident(process: u32) -> anyhow::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))
        .context("memory can be weighed on Linux only")?;
    let line = status.lines().find_map(|it| it.strip_prefix("VmRSS:"));
    let kib = line
        .and_then(|it| it.split_whitespace().next())
        .context("no VmRSS")?;
    Ok(kib.parse::<u64>()? * 1_024)
}

fn connect(server: SocketAddr, name: &str, id: &str) -> anyhow::Result<TcpStream> {
    let mut socket = TcpStream::connect(server)?;
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.set_write_timeout(Some(PATIENCE))?;
    let mut body = text("MQTT");
    body.extend([4, 0xC2, 0, 0]);
    for part in [id, name, name] {
        body.extend(text(part));
    }
    socket.write_all(&packet(0x10, &body))?;
    let mut answer = [0; 4];
    socket.read_exact(&mut answer)?;
    ensure!(
        answer == [0x20, 2, 0, 0],
        "{server} refuses {name}: {answer:?}"
    );
    Ok(socket)
}

fn subscribe(socket: &mut TcpStream, qos: u8) -> anyhow::Result<()> {
    let mut body = vec![0, 1];
    body.extend(text(TOPIC));
    body.push(qos);
    socket.write_all(&packet(0x82, &body))?;
    let mut answer = [0; 5];
    socket.read_exact(&mut answer)?;
    ensure!(answer[4] == qos, "the subscription is refused: {answer:?}");
    Ok(())
}

fn join(thread: JoinHandle<anyhow::Result<()>>) -> anyhow::Result<()> {
    match thread.join() {
        Ok(result) => result,
        Err(_) => bail!("a thread of the load panicked"),
    }
}

fn text(text: &str) -> Vec<u8> {
    let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
    [&length.to_be_bytes()[..], text.as_bytes()].concat()
}

fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![first];
    let mut length = body.len();
    loop {
        let more = if length > 0x7F { 0x80 } else { 0 };
        packet.push(u8::try_from(length & 0x7F).unwrap_or(0) | more);
        length >>= 7;
        if length == 0 {
            break;
        }
    }
    packet.extend(body);
    packet
}
