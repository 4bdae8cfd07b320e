//! Readers that are there when their leases end.

use super::super::client::Client;
use super::super::load::BURST;
use super::super::packet::{Hello, Version, answer, cut, subscribe};
use super::{Holder, Path, Tally, WATCHER, now};
use anyhow::bail;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::{JoinSet, LocalSet};

/// What a reader counted, and on which path.
pub(super) type Task = (Path, Tally);

/// Pause between two SUBSCRIBEs for a retained message.
const AGAIN: Duration = Duration::from_millis(20);

/// A connected reader.
pub(super) struct Reader {
    socket: TcpStream,
    partial: Vec<u8>,
    role: Role,
}

/// What a reader watches for.
enum Role {
    /// Messages that carry its end or a later instant.
    Holder(Holder),
    /// Wills, each of which carries the number of its client: this one has the right.
    Watcher { control: u64 },
}

impl Reader {
    /// Connects and subscribes who is there when the lease ends.
    pub(super) fn prepare(server: SocketAddr, holder: &Holder) -> anyhow::Result<Option<Self>> {
        if matches!(holder.path, Path::Queued | Path::Will) {
            return Ok(None);
        }
        let mut client = Client::connect(server, &holder.hello())?;
        if holder.path != Path::Retained {
            client.subscribe(&[holder.filter()], holder.path.qos())?;
        }
        let (socket, partial) = client.into_parts()?;
        let role = Role::Holder(holder.clone());
        Ok(Some(Self {
            socket,
            partial,
            role,
        }))
    }

    /// Connects who sees all wills.
    pub(super) fn watcher(server: SocketAddr, holders: &[Holder]) -> anyhow::Result<Self> {
        let mut client = Client::connect(server, &Hello::new(Version::V311, WATCHER, WATCHER))?;
        client.subscribe(&["ends/will/#"], 0)?;
        let (socket, partial) = client.into_parts()?;
        let control = holders
            .iter()
            .find(|it| it.path == Path::Will && it.end.is_none())
            .map_or(0, |it| it.number as u64);
        let role = Role::Watcher { control };
        Ok(Self {
            socket,
            partial,
            role,
        })
    }
}

/// Reads on this thread until all leases have ended (`ended`) and `afterwards` has passed, both
/// in milliseconds.
pub(super) fn run(readers: Vec<Reader>, ended: u64, afterwards: u64) -> anyhow::Result<Vec<Task>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    LocalSet::new().block_on(&runtime, async {
        let mut tasks = JoinSet::new();
        for Reader {
            socket,
            partial,
            role,
        } in readers
        {
            let mut watch = Watch {
                socket: tokio::net::TcpStream::from_std(socket)?,
                partial,
                buffer: vec![0; BURST / 8],
                tally: Tally::default(),
                role,
                asked: (0, 0),
                ended,
            };
            tasks.spawn_local(async move {
                watch.until(ended + afterwards).await?;
                anyhow::Ok(watch.counted())
            });
        }
        let mut counted = vec![];
        while let Some(task) = tasks.join_next().await {
            counted.push(task??);
        }
        Ok(counted)
    })
}

/// A reader at work.
struct Watch {
    socket: tokio::net::TcpStream,
    partial: Vec<u8>,
    buffer: Vec<u8>,
    tally: Tally,
    role: Role,
    /// SUBSCRIBEs for a retained message: before the end, and all.
    asked: (u64, u64),
    /// When all leases have ended.
    ended: u64,
}

impl Watch {
    async fn until(&mut self, instant: u64) -> anyhow::Result<()> {
        let asks = matches!(&self.role, Role::Holder(it) if it.path == Path::Retained);
        loop {
            let left = Duration::from_millis(instant.saturating_sub(now()));
            if left.is_zero() {
                return Ok(());
            }
            if asks {
                self.ask().await?;
            }
            let pause = if asks { AGAIN } else { left };
            if let Ok(read) = tokio::time::timeout(pause, self.read()).await {
                read?;
            }
        }
    }

    /// Subscribes again, which brings the retained message again.
    async fn ask(&mut self) -> anyhow::Result<()> {
        let Role::Holder(holder) = &self.role else {
            return Ok(());
        };
        let packet = subscribe(holder.version(), &[holder.filter()], 0);
        let rightful = holder.end.is_none_or(|it| now() < it);
        self.socket.write_all(&packet).await?;
        self.asked.0 += u64::from(rightful);
        self.asked.1 += 1;
        Ok(())
    }

    async fn read(&mut self) -> anyhow::Result<()> {
        let read = self.socket.read(&mut self.buffer).await?;
        if read == 0 {
            bail!("the gate closed a reader's connection");
        }
        let mut bytes = std::mem::take(&mut self.partial);
        bytes.extend_from_slice(&self.buffer[..read]);
        let (mut at, mut answers) = (0, vec![]);
        while let Some((packet, length)) = cut(&bytes[at..]) {
            at += length;
            match (packet.kind(), packet.qos(), packet.id()) {
                (3, 0, _) => self.note(packet.body),
                (3, _, Some(id)) => {
                    self.note(packet.body);
                    answers.extend(answer(0x40, id));
                }
                // SUBACK
                (9, ..) => {}
                _ => bail!("the gate tells a reader {packet:?}"),
            }
        }
        self.socket.write_all(&answers).await?;
        bytes.drain(..at);
        self.partial = bytes;
        Ok(())
    }

    /// Counts a message.
    fn note(&mut self, message: &[u8]) {
        let stamp = message.last_chunk().map_or(0, |it| u64::from_be_bytes(*it));
        let tally = &mut self.tally;
        match &self.role {
            Role::Watcher { control } if stamp == *control => tally.control += 1,
            Role::Watcher { .. } => tally.late += 1,
            Role::Holder(Holder { end: None, .. }) => {
                tally.control += u64::from(now() > self.ended);
            }
            // What it carries is older than all ends: the count tells.
            Role::Holder(it) if it.path == Path::Retained => tally.rightful += 1,
            Role::Holder(it) if it.end.is_some_and(|it| it <= stamp) => tally.late += 1,
            Role::Holder(_) => tally.rightful += 1,
        }
    }

    fn counted(mut self) -> Task {
        match self.role {
            Role::Watcher { .. } => (Path::Will, self.tally),
            Role::Holder(holder) => {
                self.tally.leases = u64::from(holder.end.is_some());
                if holder.path == Path::Retained {
                    let late = self.tally.rightful.saturating_sub(self.asked.0);
                    self.tally.rightful -= late;
                    self.tally.late += late;
                }
                (holder.path, self.tally)
            }
        }
    }
}
