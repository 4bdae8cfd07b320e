//! The readers of a load.

use super::client::Client;
use super::load::{BURST, Shared};
use super::packet::{answer, cut};
use anyhow::bail;
use std::cell::RefCell;
use std::io::ErrorKind;
use std::net::TcpStream;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::task::{JoinSet, LocalSet};

/// A reader that has subscribed.
pub(super) struct Sink {
    socket: TcpStream,
    /// What was read and not yet looked at.
    partial: Vec<u8>,
}

impl Sink {
    pub(super) fn new(client: Client) -> std::io::Result<Self> {
        let (socket, partial) = client.into_parts()?;
        Ok(Self { socket, partial })
    }
}

/// Reads, counts and acknowledges on this thread until the load stops.
pub(super) fn run(sinks: Vec<Sink>, shared: &Arc<Shared>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    LocalSet::new().block_on(&runtime, async {
        let buffer = Rc::new(RefCell::new(vec![0; BURST]));
        let mut readers = JoinSet::new();
        for (number, sink) in sinks.into_iter().enumerate() {
            readers.spawn_local(read(sink, Rc::clone(&buffer), number, Arc::clone(shared)));
        }
        while !shared.stopped() {
            tokio::select! {
                () = tokio::time::sleep(Duration::from_millis(10)) => {}
                Some(ended) = readers.join_next() => ended??,
            }
        }
        Ok(())
    })
}

/// Reads messages, and acknowledges those that ask for it. All readers of a thread take turns
/// with one buffer: what a reader keeps is the beginning of its next packet.
async fn read(
    sink: Sink,
    buffer: Rc<RefCell<Vec<u8>>>,
    number: usize,
    shared: Arc<Shared>,
) -> anyhow::Result<()> {
    let socket = tokio::net::TcpStream::from_std(sink.socket)?;
    let (mut partial, mut answers) = (sink.partial, vec![]);
    loop {
        socket.readable().await?;
        {
            let mut buffer = buffer.borrow_mut();
            let held = partial.len();
            buffer[..held].copy_from_slice(&partial);
            let read = match socket.try_read(&mut buffer[held..]) {
                Ok(0) => bail!("the server closed a reader's connection"),
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
                Err(error) => return Err(error.into()),
            };
            let bytes = &buffer[..held + read];
            let (messages, at) = look(bytes, &mut answers)?;
            shared.delivered[number].fetch_add(messages, Ordering::Relaxed);
            partial.clear();
            partial.extend_from_slice(&bytes[at..]);
        }
        write_all(&socket, &answers).await?;
        answers.clear();
    }
}

/// Counts the messages and makes their acknowledgements; returns also where the first packet
/// begins that is not whole.
fn look(bytes: &[u8], answers: &mut Vec<u8>) -> anyhow::Result<(u64, usize)> {
    let (mut messages, mut at) = (0, 0);
    while let Some((packet, length)) = cut(&bytes[at..]) {
        at += length;
        match (packet.kind(), packet.qos()) {
            (3, 0) => messages += 1,
            (3, qos) => {
                messages += 1;
                if let Some(id) = packet.id() {
                    answers.extend(answer(if qos == 1 { 0x40 } else { 0x50 }, id));
                }
            }
            // PUBREL
            (6, _) => {
                if let Some(id) = packet.id() {
                    answers.extend(answer(0x70, id));
                }
            }
            _ => bail!("the server tells a reader {packet:?}"),
        }
    }
    Ok((messages, at))
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
