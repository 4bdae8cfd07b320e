//! The store against a simple model of it.

use super::*;
use crate::wire::Options;
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZero;

/// What should be there.
#[derive(Debug, Default)]
struct Model {
    sessions: BTreeMap<u64, ModelSession>,
    retained: BTreeMap<String, (u8, StoredMessage)>,
    last_session: u64,
}

#[derive(Debug)]
struct ModelSession {
    record: SessionRecord,
    subscriptions: BTreeMap<Box<str>, (Options, Option<NonZero<u32>>)>,
    queue: BTreeMap<u64, Option<StoredMessage>>,
    sent_below: u64,
    received: BTreeSet<u16>,
    last_sequence: u64,
}

/// Numbers that choose a change.
type Choice = (u8, u8, u8);

impl Model {
    /// Applies what `choice` means here, and says it as changes.
    fn choose(&mut self, (kind, which, detail): Choice) -> Vec<Change> {
        let topic = ["a", "b/c", "é"][usize::from(detail % 3)];
        // Small ones and such as are worth sharing.
        let message = message(topic, &vec![detail; usize::from(detail) * 4]);
        match kind % 16 {
            0 => return vec![self.begin(which, detail)],
            1 => {
                let qos = detail % 3;
                self.retained
                    .insert(topic.to_owned(), (qos, message.clone()));
                return vec![Change::Retain { qos, message }];
            }
            2 => {
                self.retained.remove(topic);
                return vec![Change::Unretain {
                    topic: topic.into(),
                }];
            }
            3 => return self.queue_for_all(&message),
            4 if detail.is_multiple_of(2) => {
                let Some(session) = self.pick(which) else {
                    return vec![];
                };
                self.sessions.remove(&session);
                return vec![Change::EndSession { session }];
            }
            _ => {}
        }
        let Some(session) = self.pick(which) else {
            return vec![];
        };
        let known = self.sessions.get_mut(&session).expect("picked");
        known.choose(session, kind, detail, topic, message)
    }

    fn begin(&mut self, which: u8, detail: u8) -> Change {
        let mut record = record(&"c".repeat(usize::from(which)));
        record.away_since = (detail.is_multiple_of(2)).then_some(Timestamp(u64::from(detail)));
        record.will = (detail.is_multiple_of(5)).then(|| StoredWill {
            qos: detail % 3,
            retain: detail.is_multiple_of(2),
            delay_seconds: 3,
            due: None,
            expiry_seconds: None,
            message: message("w", b"will"),
        });
        self.last_session += 1;
        let begun = ModelSession {
            record: record.clone(),
            subscriptions: BTreeMap::new(),
            queue: BTreeMap::new(),
            sent_below: 0,
            received: BTreeSet::new(),
            last_sequence: 0,
        };
        self.sessions.insert(self.last_session, begun);
        Change::Session {
            session: self.last_session,
            record,
        }
    }

    fn queue_for_all(&mut self, message: &StoredMessage) -> Vec<Change> {
        let queue = |(session, known): (&u64, &mut ModelSession)| {
            known.last_sequence += 1;
            known
                .queue
                .insert(known.last_sequence, Some(message.clone()));
            queue(*session, known.last_sequence, message)
        };
        self.sessions.iter_mut().map(queue).collect()
    }

    fn pick(&self, which: u8) -> Option<u64> {
        let at = usize::from(which) % self.sessions.len().max(1);
        self.sessions.keys().nth(at).copied()
    }

    fn expected(&self) -> Restored {
        let session = |(number, it): (&u64, &ModelSession)| RestoredSession {
            session: *number,
            record: it.record.clone(),
            subscriptions: it
                .subscriptions
                .iter()
                .map(|(filter, (options, id))| (filter.clone(), *options, *id))
                .collect(),
            queue: it
                .queue
                .iter()
                .map(|(sequence, message)| RestoredMessage {
                    sequence: *sequence,
                    qos: if message.is_some() { 1 } else { 2 },
                    retain: false,
                    ids: Box::default(),
                    message: message.clone(),
                    group: group(*sequence).filter(|_| message.is_some()),
                })
                .collect(),
            sent_below: it.sent_below,
            received: it.received.iter().copied().collect(),
        };
        Restored {
            sessions: self.sessions.iter().map(session).collect(),
            retained: self.retained.values().cloned().collect(),
        }
    }
}

impl ModelSession {
    fn choose(
        &mut self,
        session: u64,
        kind: u8,
        detail: u8,
        topic: &str,
        message: StoredMessage,
    ) -> Vec<Change> {
        let queued = self.queue.keys().nth(usize::from(detail % 4)).copied();
        let packet_id = u16::from(detail % 3);
        vec![match (kind % 16, queued) {
            (5, _) => {
                self.record.away_since = Some(Timestamp(u64::from(detail)));
                Change::Session {
                    session,
                    record: self.record.clone(),
                }
            }
            (6, _) => {
                let options = Options {
                    qos: detail % 3,
                    no_local: detail.is_multiple_of(2),
                    ..Options::default()
                };
                let id = NonZero::new(u32::from(detail % 7));
                self.subscriptions.insert(topic.into(), (options, id));
                Change::Subscribe {
                    session,
                    filter: topic.into(),
                    options,
                    id,
                }
            }
            (7, _) => {
                self.subscriptions.remove(topic);
                Change::Unsubscribe {
                    session,
                    filter: topic.into(),
                }
            }
            (8, _) => {
                self.sent_below = u64::from(detail);
                Change::Sent {
                    session,
                    below: self.sent_below,
                }
            }
            (9, Some(sequence)) => {
                self.queue.insert(sequence, None);
                Change::Released { session, sequence }
            }
            (10..=12, Some(sequence)) => {
                self.queue.remove(&sequence);
                Change::Done { session, sequence }
            }
            (13, _) => {
                self.received.insert(packet_id);
                Change::Received { session, packet_id }
            }
            (14, _) => {
                self.received.remove(&packet_id);
                Change::ForgetReceived { session, packet_id }
            }
            _ => {
                self.last_sequence += 1;
                self.queue.insert(self.last_sequence, Some(message.clone()));
                queue(session, self.last_sequence, &message)
            }
        }]
    }
}

/// A run: changes, and after each of them what comes next.
fn choices() -> impl Strategy<Value = Vec<(Choice, u8)>> {
    vec((any::<Choice>(), any::<u8>()), 1..120)
}

async fn run(choices: Vec<(Choice, u8)>) {
    let folder = TempDir::new().unwrap();
    let settings = settings(&folder, Safety::System);
    let mut model = Model::default();
    let (mut store, _) = Store::open(&settings).unwrap();
    for (choice, next) in choices {
        let changes = model.choose(choice);
        let mark = changes.into_iter().map(|it| store.record(it)).max();
        match next % 64 {
            0 => {
                store.close().await.unwrap();
                let (again, restored) = Store::open(&settings).unwrap();
                assert_eq!(restored, model.expected());
                store = again;
            }
            1..=8 => safe(&store, mark.unwrap_or_default()).await,
            _ => {}
        }
    }
    store.close().await.unwrap();
    let (_, restored) = Store::open(&settings).unwrap();
    assert_eq!(restored, model.expected());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn what_is_restored_is_what_was_recorded(choices in choices()) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(run(choices));
    }
}
