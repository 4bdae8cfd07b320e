use super::*;
use crate::permit::WritePermit;
use crate::record::{Message, RecordWriter, runs};

const NOW: Timestamp = Timestamp(0);

fn in_memory(messages: usize, bytes: usize) -> Retained {
    Retained::new(messages, bytes, Store::memory())
}

fn offer(retained: &Retained, topic: &str, payload: &[u8], place: Place) -> bool {
    let mut writer = RecordWriter::default();
    let message = Message {
        qos: 1,
        retain: true,
        expiry: (payload == b"brief").then_some(1),
        properties: &[],
        payload,
    };
    writer.push(&WritePermit::unchecked(topic), &message, NOW);
    let record = writer.finish(1);
    let run = runs(&record).next().unwrap();
    retained.offer(&run, 1, Some(place)).fits
}

fn found(retained: &Retained, filter: &str, now: Timestamp) -> Vec<(String, Vec<u8>)> {
    let filter = TopicFilter::parse(filter).unwrap();
    let (mut all, mut from) = (vec![], Cursor::start());
    loop {
        let (found, next) = retained.matching(&filter, &from, 2, now);
        let plain = found
            .iter()
            .map(|it| (it.topic().to_owned(), it.message.payload().to_vec()));
        all.extend(plain);
        match next {
            Some(next) => from = next,
            None => return all,
        }
    }
}

#[test]
fn a_lagging_shard_does_not_bring_an_old_message_back() {
    let retained = in_memory(10, 10_000);
    offer(&retained, "a", b"1", (1, 0));
    offer(&retained, "a", b"2", (1, 1));
    offer(&retained, "a", b"", (2, 0));
    for (payload, place) in [(&b"1"[..], (1, 0)), (b"2", (1, 1)), (b"", (2, 0))] {
        offer(&retained, "a", payload, place);
        assert_eq!(found(&retained, "a", NOW), []);
    }
}

#[test]
fn replays_page_through_exactly_what_matches() {
    let retained = in_memory(100, 100_000);
    let topics = ["a", "a/b", "a/b/c", "a0", "b", "é/x", "$SYS/x"];
    for (number, topic) in topics.iter().enumerate() {
        offer(&retained, topic, b"x", (number as u64, 0));
    }
    for filter in [
        "#", "a/#", "a/+", "+", "+/b/#", "é/+", "$SYS/#", "a/b", "z/#",
    ] {
        let parsed = TopicFilter::parse(filter).unwrap();
        let mut expected: Vec<_> = topics.iter().filter(|it| parsed.matches(it)).collect();
        expected.sort_by_key(|it| scan::key(it).into_owned());
        let found = found(&retained, filter, NOW);
        assert!(found.iter().map(|it| &it.0).eq(expected), "{filter}");
    }
}

#[test]
fn expired_messages_are_not_replayed() {
    let retained = in_memory(10, 10_000);
    offer(&retained, "a", b"brief", (1, 0));
    assert_eq!(found(&retained, "+", Timestamp(999)).len(), 1);
    assert_eq!(found(&retained, "+", Timestamp(1_000)).len(), 0);
}

#[test]
fn a_message_without_room_leaves_no_stale_one_behind() {
    let retained = in_memory(2, 1_000);
    assert!(offer(&retained, "a", b"1", (1, 0)));
    assert!(offer(&retained, "b", b"1", (2, 0)));
    assert!(!offer(&retained, "c", b"1", (3, 0)), "two messages");
    assert!(!offer(&retained, "a", &[0; 900], (4, 0)), "1,000 bytes");
    assert_eq!(
        found(&retained, "#", NOW),
        [("b".to_owned(), b"1".to_vec())]
    );
}

#[test]
fn expired_messages_make_room() {
    let retained = in_memory(2, 10_000);
    assert!(offer(&retained, "a", b"brief", (1, 0)));
    assert!(offer(&retained, "b", b"brief", (2, 0)));
    assert_eq!(retained.expire(Timestamp(999)), Some(Timestamp(1_000)));
    assert!(offer(&retained, "b", b"lasting", (3, 0)));
    assert_eq!(retained.expire(Timestamp(1_000)), None);
    assert_eq!(found(&retained, "#", NOW).len(), 1);
    assert!(offer(&retained, "c", b"x", (4, 0)));
}

#[tokio::test]
async fn what_is_retained_survives_a_restart_and_sys_topics_do_not() {
    let folder = tempfile::TempDir::new().unwrap();
    let settings = crate::store::StoreSettings {
        folder: folder.path().join("sessions"),
        safety: crate::store::Safety::System,
    };
    let (store, _) = Store::open(&settings).unwrap();
    let retained = Retained::new(10, 10_000, store.clone());
    let topics = ["a", "b", "c", "$SYS/x", "brief"];
    for (number, topic) in (1..).zip(topics) {
        let payload: &[u8] = if topic == "brief" { b"brief" } else { b"1" };
        offer(&retained, topic, payload, (number, 0));
    }
    offer(&retained, "a", b"2", (6, 0));
    offer(&retained, "b", b"", (7, 0));
    retained.expire(Timestamp(1_000));
    store.close().await.unwrap();

    let (store, restored) = Store::open(&settings).unwrap();
    let retained = Retained::new(1, 10_000, store.clone());
    assert_eq!(retained.restore(restored.retained), 1, "room for one only");
    let all = [("a".to_owned(), b"2".to_vec())];
    assert_eq!(found(&retained, "#", NOW), all);
    assert_eq!(found(&retained, "$SYS/#", NOW), []);
    store.close().await.unwrap();
    let (_, restored) = Store::open(&settings).unwrap();
    assert_eq!(restored.retained.len(), 1, "what has no room is forgotten");
}

#[test]
fn the_lock_is_held_for_a_bounded_number_of_looks_whatever_the_filter() {
    let retained = in_memory(usize::MAX, usize::MAX);
    let count = 10_000;
    for (place, number) in (0..).zip(0..count) {
        offer(&retained, &format!("{number}/x"), b"x", (place, 0));
    }
    for (filter, looks) in [("+/none", 2 * count), ("#", count), ("+/x", 2 * count)] {
        let filter = TopicFilter::parse(filter).unwrap();
        let (mut from, mut locks) = (Cursor::start(), 0);
        while let (_, Some(next)) = retained.matching(&filter, &from, usize::MAX, NOW) {
            (from, locks) = (next, locks + 1);
        }
        let least = count / ONE_LOOK - 1;
        let most = looks / ONE_LOOK + 1;
        assert!((least..=most).contains(&locks), "{filter}: {locks} times");
    }
}
