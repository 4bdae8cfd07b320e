use super::*;
use crate::message::StoredMessage;
use crate::outbox::{Outbox, Room};
use crate::retained::Retained;
use crate::session::Will;
use crate::shard::Shard;
use crate::statistics::Counters;
use crate::store::{Safety, Store, StoreSettings};
use crate::wire::Version;
use std::task::Waker;

fn registry(kept: usize, kept_of_one: usize) -> Arc<Registry> {
    Registry::with_patience(kept, kept_of_one, Duration::from_millis(50))
}

fn key(login: u8, id: &str) -> Key {
    (SubscriberId([login; 16]), id.into())
}

/// A session that a connection serves.
fn session(session: u64) -> Arc<Handle> {
    kept_session(session, None)
}

/// A login's, which survives the server where there is a store.
fn kept_session(session: u64, store: Option<Store>) -> Arc<Handle> {
    let retained = Arc::new(Retained::new(1, 1, Store::memory()));
    let shard = Arc::new(Shard::new(0, retained, Arc::<Counters>::default()));
    let outbox = Arc::new(Outbox::new(Room::of(100), 1, None));
    let slot = shard.attach(session, Arc::clone(&outbox), Version::V5, 100);
    let owner = store.is_some().then_some(SubscriberId([1; 16]));
    let handle = Handle::new(session, owner, "x".into(), outbox, (shard, slot), store);
    handle.connect(None, Waker::noop().clone());
    Arc::new(handle)
}

fn away(handle: &Arc<Handle>, seconds: u32, will_at: Option<u64>) -> Away {
    let will = will_at.map(|at| {
        let will = Will {
            qos: 0,
            retain: false,
            delay_seconds: 1,
            expiry_seconds: None,
            message: StoredMessage::new("t", &[], b"", Timestamp::FOREVER),
        };
        (Timestamp(at), Box::new(will))
    });
    Away {
        handle: Arc::clone(handle),
        expiry_seconds: seconds,
        since: Timestamp(0),
        will,
    }
}

#[tokio::test]
async fn those_who_wait_get_the_session_in_turn() {
    let registry = registry(9, 9);
    let mut first = registry.claim(key(1, "x")).await.unwrap();
    assert!(first.take_found().is_none() && first.keep());
    let handle = session(1);
    first.serve(&handle);
    let mut waiting = vec![];
    for _ in 0..3 {
        waiting.push(registry.enter(&key(1, "x")).unwrap_err());
    }
    assert_eq!(handle.outbox.lock().ordered(), Some(Order::TakenOver));
    // One of them does not wait for it.
    drop(waiting.remove(1));
    first.leave(away(&handle, 9, None));
    for turn in waiting {
        let mut claim = turn.await.unwrap();
        let found = claim.take_found().unwrap();
        assert_eq!(found.handle.session, 1);
        claim.leave(found);
    }
    assert_eq!((registry.away(), registry.sessions.lock().kept), (1, 1));
    // Whoever gives up what he found without a word leaves it as it was.
    drop(registry.claim(key(1, "x")).await.unwrap());
    assert_eq!((registry.away(), registry.sessions.lock().kept), (1, 1));
    let mut claim = registry.claim(key(1, "x")).await.unwrap();
    claim.take_found();
    drop(claim);
    let sessions = registry.sessions.lock();
    assert!(sessions.entries.is_empty() && sessions.due.is_empty());
    assert!(sessions.kept == 0 && sessions.kept_of.is_empty());
}

#[tokio::test]
async fn a_connection_that_does_not_end_is_cut_off() {
    let registry = registry(9, 9);
    let stuck = registry.claim(key(1, "x")).await.unwrap();
    let handle = session(1);
    stuck.serve(&handle);
    let waiting = tokio::spawn({
        let registry = Arc::clone(&registry);
        async move { registry.claim(key(1, "x")).await.map(drop) }
    });
    while !handle.is_cut_off() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    drop(stuck);
    assert_eq!(waiting.await.unwrap(), Ok(()));
    // One that cannot even be cut off is not waited for.
    let _stuck = registry.claim(key(1, "x")).await.unwrap();
    let refused = registry.claim(key(1, "x")).await.unwrap_err();
    assert_eq!(refused, StillServed);
    // Others are not concerned.
    assert!(registry.claim(key(2, "x")).await.is_ok());
    assert!(registry.claim(key(1, "y")).await.is_ok());
}

#[tokio::test]
async fn wills_and_ends_come_when_they_are_due() {
    let registry = registry(9, 9);
    for (number, id, seconds, will_at) in [
        (1, "a", 5, Some(2_000)),
        (2, "b", 3, Some(9_000)),
        (3, "c", u32::MAX, None),
    ] {
        registry.restore(key(1, id), away(&session(number), seconds, will_at));
    }
    assert_eq!(registry.next_due(), Some(Timestamp(2_000)));
    assert!(registry.take_due(Timestamp(1_999)).is_none());
    let mut seen = vec![];
    for now in [2_000, 4_000, 6_000] {
        while let Some(due) = registry.take_due(Timestamp(now)) {
            seen.push(match due {
                Due::Will(last) => (now, last.handle.session, "will"),
                Due::End(handle, Some(_)) => (now, handle.session, "end and will"),
                Due::End(handle, None) => (now, handle.session, "end"),
            });
        }
    }
    let expected = [
        (2_000, 1, "will"),
        (4_000, 2, "end and will"),
        (6_000, 1, "end"),
    ];
    assert_eq!(seen, expected);
    assert_eq!(registry.next_due(), None, "the third is kept for ever");
    assert_eq!((registry.away(), registry.sessions.lock().kept), (1, 1));
}

#[tokio::test]
async fn places_are_bounded_in_all_and_for_each_login() {
    let registry = registry(3, 2);
    let mut claims = vec![];
    for (login, id, kept) in [
        (1, "a", true),
        (1, "b", true),
        (1, "c", false),
        (2, "a", true),
        (3, "a", false),
    ] {
        let mut claim = registry.claim(key(login, id)).await.unwrap();
        assert_eq!(claim.keep(), kept, "{login} {id}");
        claims.push(claim);
    }
    claims[0].keep_no_more();
    claims[0].keep_no_more();
    assert!(claims[4].keep());
    drop(claims);
    let sessions = registry.sessions.lock();
    assert!(sessions.kept == 0 && sessions.kept_of.is_empty());
}

#[tokio::test]
async fn the_store_forgets_a_will_only_behind_its_publication() {
    // [MQTT-3.1.2-8]: a server that dies in between publishes it after its next start.
    for published in [false, true] {
        let folder = tempfile::TempDir::new().unwrap();
        let settings = StoreSettings {
            folder: folder.path().join("sessions"),
            safety: Safety::System,
        };
        let (store, _) = Store::open(&settings).unwrap();
        let registry = registry(9, 9);
        let handle = kept_session(1, Some(store.clone()));
        let left = away(&handle, 60, Some(1_000));
        handle.record_away(&left);
        registry.restore(key(1, "x"), left);
        let Some(Due::Will(last)) = registry.take_due(Timestamp(1_000)) else {
            panic!("the will is due");
        };
        assert!(registry.take_due(Timestamp(59_999)).is_none(), "only once");
        let Then::Forget(since) = last.then else {
            panic!("the session is kept");
        };
        if published {
            // Of an earlier absence, or of another session, nothing is forgotten.
            registry.forget_will(&kept_session(2, Some(store.clone())), since);
            registry.forget_will(&handle, Timestamp(since.0 + 1));
            registry.forget_will(&last.handle, since);
        }
        store.close().await.unwrap();
        let (store, restored) = Store::open(&settings).unwrap();
        let stored = &restored.sessions[0].record;
        assert_eq!(stored.will.is_none(), published);
        store.close().await.unwrap();
    }
}

#[tokio::test]
async fn of_two_sessions_under_one_key_the_later_one_goes_on_and_the_other_ends() {
    // The server may end after the key was free for the next one, and before the end of the one
    // before was recorded.
    for order in [[1, 2], [2, 1]] {
        let registry = registry(9, 9);
        for number in order {
            let will_at = (number == 1).then_some(2_000);
            registry.restore(key(1, "x"), away(&session(number), 5, will_at));
        }
        assert_eq!((registry.away(), registry.sessions.lock().kept), (1, 1));
        assert_eq!(registry.next_due(), Some(Timestamp(0)));
        let Some(Due::End(handle, Some(_))) = registry.take_due(Timestamp(0)) else {
            panic!("the other one ends, after its will");
        };
        assert_eq!(handle.session, 1);
        assert_eq!(registry.next_due(), Some(Timestamp(5_000)));
        let mut claim = registry.claim(key(1, "x")).await.unwrap();
        assert_eq!(claim.take_found().unwrap().handle.session, 2);
        drop(claim);
        assert!(registry.take_due(Timestamp(9_000)).is_none());
        assert_eq!((registry.away(), registry.sessions.lock().kept), (0, 0));
    }
}

#[tokio::test]
async fn of_a_session_that_is_there_no_more_nothing_is_due() {
    let registry = registry(9, 9);
    registry.restore(key(1, "x"), away(&session(2), 5, None));
    {
        let mut sessions = registry.sessions.lock();
        sessions.due.insert((Timestamp(1), 1), key(1, "x"));
        sessions.due.insert((Timestamp(2), 3), key(1, "gone"));
    }
    let Some(Due::End(handle, None)) = registry.take_due(Timestamp(5_000)) else {
        panic!("one is due");
    };
    assert_eq!(handle.session, 2);
    assert!(registry.take_due(Timestamp(5_000)).is_none());
}
