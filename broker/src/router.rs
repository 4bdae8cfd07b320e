//! The log between publishers and shards. This is the only file that knows that it is rumqttd's
//! router; `docs/adr/0001-rumqttd-carries-batch-records.md` tells why it is used like this.
//!
//! **Nothing here may reach the router but records on [`TOPIC`].** Ordinary MQTT actions can
//! end its thread for good: topics whose first character is not ASCII, links that are used
//! after a disconnection, identifiers with wildcards.

use crate::passing::Waiting;
use crate::record::{Record, set_ticket};
use crate::store::Mark;
use parking_lot::Mutex;
use rumqttd::local::{LinkError, LinkRx, LinkTx};
use rumqttd::{Broker, Config, Notification, RouterConfig};
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// The one topic of the router.
const TOPIC: &str = "records";
/// Parts that the log is kept in; it forgets a whole part at a time.
const SEGMENTS: usize = 16;
/// What the log counts for a record besides its payload.
const OVERHEAD: usize = 4 + TOPIC.len();
/// Records on their way at the same time. The router's queue takes 1,000 events and blocks the
/// thread beyond them.
const RECORDS: u32 = 512;

/// The router has stopped. The gate cannot go on without it.
#[derive(Debug, thiserror::Error)]
#[error("the message log has stopped: {0}; restart the server")]
pub(crate) struct LogStopped(String);

impl LogStopped {
    fn short_of_a_reader() -> Self {
        Self("a shard has stopped".to_owned())
    }

    /// It took a record and stopped before all shards had read it.
    pub(crate) fn behind_us() -> Self {
        Self("it was not read to its end".to_owned())
    }
}

impl From<LinkError> for LogStopped {
    fn from(error: LinkError) -> Self {
        Self(error.to_string())
    }
}

/// The publishers' side of the log.
#[derive(Clone)]
pub(crate) struct Log {
    /// One per shard: sessions of different shards do not wait for each other.
    links: Arc<[Mutex<LinkTx>]>,
    flow: Arc<Flow>,
}

/// One shard's side of the log.
pub(crate) struct LogReader {
    link: LinkRx,
    flow: Arc<Flow>,
    /// Number of the record that must come next.
    next: u64,
}

/// What is on its way: bytes that publishers were granted and some shard has not read.
struct Flow {
    granted: Semaphore,
    /// All that can be granted.
    total: u32,
    /// The least that a record counts, so that there are never more than [`RECORDS`].
    least: u32,
    readers: usize,
    tickets: Mutex<Tickets>,
}

#[derive(Default)]
struct Tickets {
    last: u64,
    open: HashMap<u64, Ticket>,
    /// A reader is gone: nothing is read by all any more.
    closed: bool,
}

/// A record on its way.
struct Ticket {
    /// What it was granted.
    share: u32,
    /// How many shards have yet to read it.
    readers: usize,
    /// Who waits for that, and what they have recorded.
    waiting: Option<Waiting>,
    mark: Mark,
}

/// Bytes of each part of a log with room for `bytes`. The log keeps at least all full parts but the
/// one it is filling.
fn segment(bytes: usize) -> usize {
    bytes.div_ceil(SEGMENTS - 1).max(64 << 10)
}

/// Bytes that a log with room for `bytes` keeps at most, what was read included.
pub(crate) fn memory(bytes: usize) -> usize {
    segment(bytes).saturating_mul(SEGMENTS)
}

/// Starts the log with room for `bytes` on their way to `shards` readers.
pub(crate) fn start(shards: usize, bytes: usize) -> Result<(Log, Vec<LogReader>), LogStopped> {
    let segment = segment(bytes);
    let total = u32::try_from(segment * (SEGMENTS - 1)).unwrap_or(u32::MAX >> 3);
    let broker = Broker::new(Config {
        router: RouterConfig {
            max_connections: shards + 1,
            max_outgoing_packet_count: 200,
            max_segment_size: segment,
            max_segment_count: SEGMENTS,
            ..RouterConfig::default()
        },
        ..Config::default()
    });
    let flow = Arc::new(Flow {
        granted: Semaphore::new(total as usize),
        total,
        least: total.div_ceil(RECORDS),
        readers: shards,
        tickets: Mutex::default(),
    });
    let (mut links, mut readers) = (vec![], vec![]);
    for shard in 0..shards {
        let (mut sender, link) = broker.link(&format!("shard-{shard}"))?;
        sender.subscribe(TOPIC)?;
        links.push(Mutex::new(sender));
        readers.push(LogReader {
            link,
            flow: Arc::clone(&flow),
            next: 0,
        });
    }
    let log = Log {
        links: links.into(),
        flow,
    };
    Ok((log, readers))
}

impl Log {
    /// Appends a record, once there is room for it: this is where publishers are slowed down
    /// before anything is lost. A record longer than the whole log waits until it is alone.
    ///
    /// Whoever waits is told when all shards have read the record.
    pub(crate) async fn append(
        &self,
        shard: usize,
        mut record: Vec<u8>,
        waiting: Option<Waiting>,
    ) -> Result<(), LogStopped> {
        let size = u32::try_from(record.len() + OVERHEAD).unwrap_or(u32::MAX);
        let share = size.clamp(self.flow.least, self.flow.total);
        match self.flow.granted.try_acquire_many(share) {
            Ok(granted) => granted.forget(),
            Err(_) => match self.flow.granted.acquire_many(share).await {
                Ok(granted) => granted.forget(),
                Err(_) => return Err(LogStopped::short_of_a_reader()),
            },
        }
        set_ticket(&mut record, self.flow.open_ticket(share, waiting)?);
        self.links[shard].lock().publish(TOPIC, record)?;
        Ok(())
    }
}

impl Log {
    /// Bytes that are on their way, and how many may be.
    pub(crate) fn fill(&self) -> (usize, usize) {
        let total = self.flow.total as usize;
        (
            total.saturating_sub(self.flow.granted.available_permits()),
            total,
        )
    }

    /// True when every record that was ever appended has been read by all shards.
    pub(crate) fn is_idle(&self) -> bool {
        self.flow.tickets.lock().open.is_empty()
    }
}

impl Flow {
    fn open_ticket(&self, share: u32, waiting: Option<Waiting>) -> Result<u64, LogStopped> {
        let mut tickets = self.tickets.lock();
        if tickets.closed {
            return Err(LogStopped::short_of_a_reader());
        }
        tickets.last += 1;
        let ticket = tickets.last;
        let open = Ticket {
            share,
            readers: self.readers,
            waiting,
            mark: Mark::default(),
        };
        tickets.open.insert(ticket, open);
        Ok(ticket)
    }

    /// Nothing is read by all any more: nobody waits for that, neither those who do so now.
    fn close(&self) {
        self.granted.close();
        let open = {
            let mut tickets = self.tickets.lock();
            tickets.closed = true;
            std::mem::take(&mut tickets.open)
        };
        drop(open);
    }

    fn close_ticket(&self, ticket: u64, mark: Mark) {
        let mut tickets = self.tickets.lock();
        let Some(open) = tickets.open.get_mut(&ticket) else {
            return;
        };
        open.mark = open.mark.max(mark);
        open.readers -= 1;
        if open.readers == 0 {
            let read = tickets.open.remove(&ticket);
            drop(tickets);
            if let Some(read) = read {
                let Ticket {
                    share,
                    waiting,
                    mark,
                    ..
                } = read;
                self.granted.add_permits(share as usize);
                if let Some(waiting) = waiting {
                    waiting.read_by_all(mark);
                }
            }
        }
    }
}

/// What a shard reads.
pub(crate) enum Reading {
    /// The next record.
    Record(Record),
    /// So many records were dropped before this shard read them. With the bounds kept it cannot
    /// happen; it is counted rather than trusted.
    Lost(u64, Record),
}

impl LogReader {
    /// The next record; [`LogReader::done`] must follow.
    pub(crate) async fn next(&mut self) -> Result<Reading, LogStopped> {
        loop {
            match self.link.next().await? {
                Some(Notification::Forward(forward)) => {
                    // Only a retained message has no cursor, and none is published here.
                    let Some((_, number)) = forward.cursor else {
                        continue;
                    };
                    let record = Record::new(forward.publish.payload, number);
                    let lost = number.saturating_sub(self.next);
                    self.next = number + 1;
                    return Ok(match lost {
                        0 => Reading::Record(record),
                        lost => Reading::Lost(lost, record),
                    });
                }
                // The router has put this link to sleep because it was far behind.
                Some(Notification::Unschedule) => self.link.wake().await?,
                Some(_) | None => {}
            }
        }
    }

    /// Tells that the record was read: its share of the log is free again once all have.
    /// `mark` is what was recorded of it.
    pub(crate) fn done(&self, record: &Record, mark: Mark) {
        self.flow.close_ticket(record.ticket(), mark);
    }
}

impl Drop for LogReader {
    /// Without this reader nothing would ever be given back: publishers must not wait for it.
    fn drop(&mut self) {
        self.flow.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::permit::WritePermit;
    use crate::record::{Message, RecordWriter, runs};
    use tanglegate_core::Timestamp;

    fn record(payload: &[u8]) -> Vec<u8> {
        let mut writer = RecordWriter::default();
        let message = Message {
            qos: 0,
            retain: false,
            expiry: None,
            properties: &[],
            payload,
        };
        writer.push(&WritePermit::unchecked("t"), &message, Timestamp(0));
        writer.finish(1)
    }

    async fn read(reader: &mut LogReader) -> Record {
        match reader.next().await.unwrap() {
            Reading::Record(record) => record,
            Reading::Lost(lost, _) => panic!("{lost} records are lost"),
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_shard_that_lags_slows_publishers_down_and_loses_nothing() {
        let (log, mut readers) = start(2, 1 << 20).unwrap();
        let mut lagging = readers.pop().unwrap();
        let mut quick = readers.pop().unwrap();
        let publishing = tokio::spawn(async move {
            for number in 0_u32..3_000 {
                let payload = [&number.to_le_bytes()[..], &[0; 4_000]].concat();
                log.append(0, record(&payload), None).await.unwrap();
            }
        });
        let reading = tokio::spawn(async move {
            for _ in 0..3_000 {
                let record = read(&mut quick).await;
                quick.done(&record, Mark::default());
            }
        });
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        assert!(!publishing.is_finished(), "12 MB do not fit a log of 1 MB");
        for number in 0_u32..3_000 {
            let record = read(&mut lagging).await;
            let payload = runs(record.bytes())
                .next()
                .unwrap()
                .payloads()
                .next()
                .unwrap();
            assert_eq!(payload[..4], number.to_le_bytes());
            lagging.done(&record, Mark::default());
        }
        publishing.await.unwrap();
        reading.await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_record_larger_than_the_log_passes_alone() {
        let (log, mut readers) = start(1, 1 << 20).unwrap();
        let mut reader = readers.pop().unwrap();
        let publishing = tokio::spawn(async move {
            for _ in 0..3 {
                log.append(0, record(&vec![1; 3 << 20]), None)
                    .await
                    .unwrap();
            }
        });
        for _ in 0..3 {
            let record = read(&mut reader).await;
            assert_eq!(runs(record.bytes()).map(|it| it.count).sum::<u32>(), 1);
            reader.done(&record, Mark::default());
        }
        publishing.await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn publishers_do_not_wait_for_a_shard_that_is_gone() {
        let (log, readers) = start(1, 1 << 20).unwrap();
        drop(readers);
        assert!(log.append(0, record(b"x"), None).await.is_err());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn who_waits_for_a_shard_that_goes_is_told() {
        let (log, readers) = start(2, 1 << 20).unwrap();
        let (word, read) = tokio::sync::oneshot::channel();
        let waiting = Some(Waiting::Word(word));
        log.append(0, record(b"x"), waiting).await.unwrap();
        assert!(!log.is_idle());
        drop(readers);
        let told = tokio::time::timeout(std::time::Duration::from_secs(9), read).await;
        assert!(matches!(told, Ok(Err(_))), "{told:?}");
        assert!(log.is_idle(), "nothing is on its way");
        assert!(log.flow.open_ticket(1, None).is_err());
    }
}
