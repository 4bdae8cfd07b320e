//! The store as a whole, on real folders.

mod crash;
mod model;

use super::*;
use crate::message::StoredMessage;
use std::sync::mpsc;
use std::time::Duration;
use tanglegate_core::{SubscriberId, Timestamp};
use tempfile::TempDir;
use tokio::time::timeout;

/// Long enough for any disk; nothing waits so long when all is well.
const PATIENCE: Duration = Duration::from_secs(60);

fn settings(folder: &TempDir, safety: Safety) -> StoreSettings {
    StoreSettings {
        folder: folder.path().join("sessions"),
        safety,
    }
}

fn message(topic: &str, payload: &[u8]) -> StoredMessage {
    StoredMessage::new(topic, &[1, 1], payload, Timestamp::FOREVER)
}

fn record(client_id: &str) -> SessionRecord {
    SessionRecord {
        owner: SubscriberId([7; 16]),
        client_id: client_id.into(),
        expiry_seconds: 3_600,
        away_since: None,
        will: None,
    }
}

fn session(session: u64) -> Change {
    Change::Session {
        session,
        record: record("c"),
    }
}

fn queue(session: u64, sequence: u64, message: &StoredMessage) -> Change {
    Change::Queue {
        session,
        sequence,
        qos: 1,
        retain: false,
        ids: Box::default(),
        message: message.clone(),
        group: group(sequence),
    }
}

/// Every third message is one of a group's.
fn group(sequence: u64) -> Option<GroupRecord> {
    sequence.is_multiple_of(3).then(|| GroupRecord {
        filter: "$share/é/a/#".into(),
        qos: 2,
        retain: true,
    })
}

/// Waits until a mark is safe.
async fn safe(store: &Store, mark: Mark) {
    let (tell, told) = tokio::sync::oneshot::channel();
    store.when_safe(mark, move || {
        let _ = tell.send(());
    });
    timeout(PATIENCE, told).await.unwrap().unwrap();
    assert!(store.is_safe(mark));
}

#[tokio::test]
async fn everything_recorded_is_there_after_closing() {
    let folder = TempDir::new().unwrap();
    let settings = settings(&folder, Safety::Disk);
    let (store, restored) = Store::open(&settings).unwrap();
    assert_eq!(restored, Restored::default());
    let will = StoredWill {
        qos: 2,
        retain: true,
        delay_seconds: 5,
        due: Some(Timestamp(9)),
        expiry_seconds: Some(0),
        message: message("will", b"gone"),
    };
    let record = SessionRecord {
        away_since: Some(Timestamp(1)),
        will: Some(will),
        ..record("é")
    };
    store.record(Change::Session {
        session: 5,
        record: record.clone(),
    });
    let long_filter: Box<str> = "f".repeat(65_535).into();
    let options = crate::wire::Options {
        qos: 2,
        no_local: true,
        retain_as_published: true,
        retain_handling: 2,
    };
    for filter in ["$share/g/a/#", &long_filter] {
        store.record(Change::Subscribe {
            session: 5,
            filter: filter.into(),
            options,
            id: std::num::NonZero::new(9),
        });
    }
    let long_topic = "t".repeat(65_535);
    store.record(Change::Retain {
        qos: 1,
        message: message(&long_topic, b"x"),
    });
    store.record(Change::Queue {
        session: 5,
        sequence: 1,
        qos: 2,
        retain: true,
        ids: [1, 268_435_455].into(),
        message: message("a", b"1"),
        group: None,
    });
    store.record(queue(5, 2, &message("a", b"2")));
    store.record(Change::Released {
        session: 5,
        sequence: 1,
    });
    store.record(queue(5, 3, &message("a", b"3")));
    store.record(Change::Sent {
        session: 5,
        below: 3,
    });
    for packet_id in [65_535, 1] {
        store.record(Change::Received {
            session: 5,
            packet_id,
        });
    }
    store.close().await.unwrap();

    let (_store, restored) = Store::open(&settings).unwrap();
    let [found] = &restored.sessions[..] else {
        panic!("one session: {restored:?}");
    };
    assert_eq!((found.session, &found.record), (5, &record));
    let id = std::num::NonZero::new(9);
    let expected = [
        ("$share/g/a/#".into(), options, id),
        (long_filter, options, id),
    ];
    assert_eq!(found.subscriptions, expected);
    let queued: Vec<_> = found.queue.iter().map(|it| it.sequence).collect();
    assert_eq!(queued, [1, 2, 3]);
    assert_eq!((found.queue[0].qos, &found.queue[0].message), (2, &None));
    assert_eq!(found.queue[2].message, Some(message("a", b"3")));
    let groups = [&found.queue[1].group, &found.queue[2].group];
    assert_eq!(groups, [&None, &group(3)]);
    assert_eq!(
        (found.sent_below, &found.received[..]),
        (3, &[1, 65_535][..])
    );
    assert_eq!(restored.retained, [(1, message(&long_topic, b"x"))]);
}

#[tokio::test]
async fn memory_keeps_nothing_and_is_always_safe() {
    let store = Store::memory();
    let mark = store.record(session(1));
    assert!(store.is_safe(mark) && !store.is_durable());
    let (tell, told) = mpsc::channel();
    store.when_safe(mark, move || tell.send(()).unwrap());
    told.try_recv().unwrap();
    store.room().await;
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_folder_in_use_is_refused_and_free_after_closing() {
    let folder = TempDir::new().unwrap();
    let settings = settings(&folder, Safety::System);
    let (store, _) = Store::open(&settings).unwrap();
    let refused = Store::open(&settings).unwrap_err();
    assert!(matches!(refused, StoreError::InUse { .. }), "{refused}");
    assert!(refused.to_string().contains("sessions"), "{refused}");
    store.close().await.unwrap();
    Store::open(&settings).unwrap();
}

#[tokio::test]
async fn other_versions_and_other_folders_are_refused_and_left_as_they_are() {
    let folder = TempDir::new().unwrap();
    let settings = settings(&folder, Safety::System);
    std::fs::create_dir(&settings.folder).unwrap();
    let contents = |path: &std::path::Path| {
        let mut names: Vec<_> = std::fs::read_dir(path)
            .unwrap()
            .map(|it| it.unwrap().file_name())
            .collect();
        names.sort();
        names
    };
    std::fs::write(settings.folder.join("photo.jpg"), "").unwrap();
    let refused = Store::open(&settings).unwrap_err();
    assert!(matches!(refused, StoreError::Foreign { .. }), "{refused}");
    assert_eq!(contents(&settings.folder), ["photo.jpg"]);
    std::fs::write(settings.folder.join("format"), "tanglegate store 9\n").unwrap();
    let refused = Store::open(&settings).unwrap_err();
    let StoreError::Version { found, .. } = &refused else {
        panic!("{refused}");
    };
    assert_eq!(found, "tanglegate store 9");
    assert_eq!(contents(&settings.folder), ["format", "photo.jpg"]);
}

#[tokio::test]
async fn a_damaged_entry_is_named_and_nothing_starts() {
    let folder = TempDir::new().unwrap();
    let settings = settings(&folder, Safety::System);
    let (store, _) = Store::open(&settings).unwrap();
    store.close().await.unwrap();
    {
        let database = fjall::Database::builder(settings.folder.join("entries"))
            .open()
            .unwrap();
        let entries = database.keyspace("entries", Default::default).unwrap();
        entries.insert("m\0a", [9, 9, 9]).unwrap();
    }
    let refused = Store::open(&settings).unwrap_err();
    assert!(matches!(refused, StoreError::Damaged { .. }), "{refused}");
    let text = refused.to_string();
    assert!(
        text.contains("move it away") && text.contains("sessions"),
        "{text}"
    );
}

#[tokio::test]
async fn the_store_is_closed_to_other_users() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = TempDir::new().unwrap();
    let settings = settings(&folder, Safety::System);
    let (_store, _) = Store::open(&settings).unwrap();
    for (name, mode) in [
        ("", 0o700),
        ("entries", 0o700),
        ("lock", 0o600),
        ("format", 0o600),
    ] {
        let found = std::fs::metadata(settings.folder.join(name)).unwrap();
        assert_eq!(found.permissions().mode() & 0o777, mode, "{name:?}");
    }
}

#[tokio::test]
async fn what_cancels_out_never_touches_the_disk() {
    let mut batch = batch::Batch::new(1);
    let shared = message("a", &[0; 1_000]);
    batch.add(Change::Session {
        session: 1,
        record: record("c"),
    });
    let rest = batch.bytes();
    for sequence in 1..=100 {
        batch.add(queue(1, sequence, &shared));
        batch.add(Change::Released {
            session: 1,
            sequence,
        });
        batch.add(Change::Done {
            session: 1,
            sequence,
        });
    }
    assert_eq!((batch.bytes(), batch.writes().count()), (rest, 1));
    assert!(batch.must_last());
    batch.add(Change::Subscribe {
        session: 1,
        filter: "a".into(),
        options: crate::wire::Options::default(),
        id: None,
    });
    batch.add(Change::EndSession { session: 1 });
    let left: Vec<_> = batch.writes().map(|(key, _)| key.clone()).collect();
    assert_eq!(left, [form::Key::Ended(1)]);

    let mut batch = batch::Batch::new(2);
    for payload in [&b"1"[..], b"2", b"3"] {
        batch.add(Change::Retain {
            qos: 1,
            message: message("a", payload),
        });
    }
    assert_eq!(batch.writes().count(), 1, "the last one wins");
    let mut batch = batch::Batch::new(3);
    for sequence in 1..=3 {
        batch.add(Change::Done {
            session: 1,
            sequence,
        });
    }
    assert_eq!(batch.writes().count(), 3, "they may be on the disk");
    assert!(!batch.must_last());
}

#[tokio::test]
async fn a_message_in_many_queues_is_on_the_disk_once_and_goes_with_the_last() {
    let folder = TempDir::new().unwrap();
    let settings = settings(&folder, Safety::System);
    let entries = |count: usize| {
        let database = fjall::Database::builder(settings.folder.join("entries"))
            .open()
            .unwrap();
        let entries = database.keyspace("entries", Default::default).unwrap();
        assert_eq!(entries.prefix("p").count(), count, "shared messages");
    };
    let large = message("a", &[3; 10_000]);
    let (mut disk, _) = Disk::open(&settings).unwrap();
    let mut batch = batch::Batch::new(1);
    for number in 1..=50 {
        batch.add(session(number));
        batch.add(queue(number, 1, &large));
    }
    disk.write(&batch).unwrap();
    disk.close().unwrap();
    entries(1);

    let (store, restored) = Store::open(&settings).unwrap();
    for session in &restored.sessions {
        assert_eq!(session.queue[0].message.as_ref(), Some(&large));
    }
    for number in 1..=49 {
        store.record(match number % 3 {
            0 => Change::Done {
                session: number,
                sequence: 1,
            },
            1 => Change::EndSession { session: number },
            _ => Change::Released {
                session: number,
                sequence: 1,
            },
        });
    }
    store.close().await.unwrap();
    let (store, restored) = Store::open(&settings).unwrap();
    let last = restored.sessions.last().unwrap();
    assert_eq!(last.queue[0].message.as_ref(), Some(&large));
    store.record(Change::EndSession { session: 50 });
    store.close().await.unwrap();
    let (store, _) = Store::open(&settings).unwrap();
    store.close().await.unwrap();
    entries(0);
}

#[test]
fn an_ended_session_is_removed_bit_by_bit_and_a_restart_does_not_see_it() {
    let folder = TempDir::new().unwrap();
    let settings = settings(&folder, Safety::System);
    let (mut disk, _) = Disk::open(&settings).unwrap();
    let text = message("a", b"x");
    let mut batch = batch::Batch::new(1);
    batch.add(session(1));
    (1..=10_000).for_each(|it| batch.add(queue(1, it, &text)));
    disk.write(&batch).unwrap();
    let mut batch = batch::Batch::new(2);
    batch.add(Change::EndSession { session: 1 });
    disk.write(&batch).unwrap();
    for number in 3..8 {
        assert!(disk.has_work());
        disk.write(&batch::Batch::new(number)).unwrap();
    }
    assert!(disk.has_work(), "five batches remove 5,000 entries");
    disk.close().unwrap();

    let (disk, restored) = Disk::open(&settings).unwrap();
    assert_eq!(restored, Restored::default());
    assert!(!disk.has_work());
    disk.close().unwrap();
    let database = fjall::Database::builder(settings.folder.join("entries"))
        .open()
        .unwrap();
    let entries = database.keyspace("entries", Default::default).unwrap();
    assert_eq!(entries.iter().count(), 0, "nothing is left of it");
}

#[tokio::test]
async fn the_end_of_a_long_queue_does_not_hold_others_up() {
    let folder = TempDir::new().unwrap();
    let settings = settings(&folder, Safety::System);
    let (store, _) = Store::open(&settings).unwrap();
    store.record(session(1));
    let text = message("a", b"x");
    for sequence in 1..=100_000 {
        store.record(queue(1, sequence, &text));
        if sequence % 1_000 == 0 {
            store.room().await;
        }
    }
    let queued = store.record(session(2));
    safe(&store, queued).await;
    let ended = store.record(Change::EndSession { session: 1 });
    safe(&store, ended).await;
    let mut rounds = 0;
    for sequence in 1..=20 {
        let mark = store.record(queue(2, sequence, &text));
        safe(&store, mark).await;
        rounds += 1;
    }
    // The sweep needs a hundred batches: these were written between.
    assert_eq!(rounds, 20);
    drop(store);
    let restored = reopen(&settings).await;
    let [found] = &restored.sessions[..] else {
        panic!("the ended session is back");
    };
    assert_eq!((found.session, found.queue.len()), (2, 20));
}

/// Opens a folder that a dropped store may still be writing to.
async fn reopen(settings: &StoreSettings) -> Restored {
    let opening = async {
        loop {
            match Store::open(settings) {
                Ok((_, restored)) => return restored,
                Err(StoreError::InUse { .. }) => {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                Err(error) => panic!("{error}"),
            }
        }
    };
    timeout(PATIENCE, opening).await.unwrap()
}

#[tokio::test]
async fn who_brings_messages_waits_until_there_is_room() {
    let intake = Intake::new();
    let large = message("a", &vec![0; 1 << 20]);
    let room = || timeout(Duration::from_millis(20), intake.room());
    for sequence in 1..=7 {
        intake.record(queue(1, sequence, &large));
    }
    room().await.expect("seven of eight MB");
    intake.record(queue(1, 8, &large));
    assert!(room().await.is_err(), "full");
    // What cancels out makes room.
    let waiting = intake.room();
    let freeing = async {
        tokio::task::yield_now().await;
        intake.record(Change::Done {
            session: 1,
            sequence: 8,
        });
    };
    timeout(PATIENCE, async { tokio::join!(waiting, freeing) })
        .await
        .unwrap();
    // So does what is written, not what is being written.
    intake.record(queue(1, 9, &large));
    let batch = intake.next(false).unwrap();
    assert!(room().await.is_err(), "being written");
    intake.written(batch.number);
    room().await.expect("written");
}

#[test]
fn marks_are_safe_in_order_and_what_waits_is_called_once() {
    let intake = Intake::new();
    let calls = Arc::new(std::sync::Mutex::new(vec![]));
    let call = |name: &'static str| {
        let calls = Arc::clone(&calls);
        Box::new(move || calls.lock().unwrap().push(name)) as intake::Then
    };
    let first = intake.record(session(1));
    intake.when_safe(first, call("first"));
    let batch = intake.next(false).unwrap();
    intake.when_safe(first, call("while it is written"));
    let second = intake.record(session(2));
    intake.when_safe(second, call("second"));
    assert!(second > first && !intake.is_safe(first));
    intake.when_safe(first, Box::new(|| panic!("it harms nobody")));
    intake.written(batch.number);
    assert!(intake.is_safe(first) && !intake.is_safe(second));
    assert_eq!(*calls.lock().unwrap(), ["first", "while it is written"]);
    intake.when_safe(first, call("at once"));
    assert_eq!(calls.lock().unwrap().len(), 3);
    intake.stop(Life::Closed);
    assert_eq!(calls.lock().unwrap().len(), 3, "never safe, never called");
    assert!(!intake.is_safe(second) && !intake.is_safe(intake.record(session(3))));
}
