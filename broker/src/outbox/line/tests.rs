use super::*;
use crate::store::{RestoredMessage, Safety, SessionRecord, StoreSettings};

fn queued(qos: u8, until: u64) -> Queued {
    Queued {
        message: StoredMessage::new("t", &[], b"x", Timestamp(100)),
        qos,
        retain: false,
        ids: None,
        permit: Some(ReadPermit::unchecked(until)),
        share: None,
    }
}

/// A line whose messages are held until they are acknowledged.
fn held(window: u16) -> Line {
    let mut line = Line::new(window, None);
    line.start_again(window, true);
    line
}

/// What is sent at `now`: identifiers, `!` for a PUBREL, `+` for a message sent again.
fn sent(line: &mut Line, now: u64) -> Vec<String> {
    let turns = std::iter::from_fn(|| line.turn(Timestamp(now), |_, _| {}));
    let shown = |turn| match turn {
        Turn::Release(id) => format!("!{id}"),
        Turn::Message { id, again, .. } => format!("{}{id}", if again { "+" } else { "" }),
    };
    turns.map(shown).collect()
}

#[test]
fn no_more_fly_than_the_receive_maximum_in_whatever_order_they_are_acknowledged() {
    // [MQTT-3.3.4-9]
    let mut line = held(2);
    for _ in 0..5 {
        line.push(queued(1, 99), None);
    }
    assert_eq!(sent(&mut line, 0), ["1", "2"]);
    assert!(!line.acknowledged(3), "not in flight yet");
    assert!(!line.acknowledged(0));
    assert!(line.acknowledged(2));
    assert!(!line.acknowledged(2), "only once");
    assert_eq!(sent(&mut line, 0), ["3"]);
    assert!(line.acknowledged(1));
    assert_eq!(sent(&mut line, 0), ["4"]);
    assert_eq!(line.len(), 3);
}

#[test]
fn a_new_connection_gets_what_was_in_flight_again_in_order_and_under_the_same_identifiers() {
    // [MQTT-4.4.0-1], [MQTT-3.3.1-1], [MQTT-4.6.0-1]
    let mut line = held(9);
    let _ = [1, 2, 2, 1].map(|qos| line.push(queued(qos, 99), None));
    line.turn(Timestamp(0), |_, _| {});
    assert_eq!(sent(&mut line, 0), ["2", "3", "4"]);
    assert!(line.received(3));
    line.push(queued(1, 99), None);
    line.start_again(9, true);
    assert_eq!(sent(&mut line, 0), ["+1", "+2", "!3", "+4", "5"]);
    assert!(line.completed(3) && !line.completed(2));
}

#[test]
fn qos_2_takes_four_steps_and_qos_1_two() {
    // [MQTT-4.3.2-3], [MQTT-4.3.3-3] to [MQTT-4.3.3-6]
    let mut line = Line::new(9, None);
    let _ = [1, 2, 2].map(|qos| line.push(queued(qos, 99), None));
    sent(&mut line, 0);
    assert_eq!(
        line.bytes(),
        3 * OVERHEAD,
        "a session that ends with its connection holds only their places"
    );
    assert!(!line.received(1) && !line.acknowledged(2) && !line.completed(2));
    assert!(line.acknowledged(1) && line.received(2) && line.received(2));
    assert!(line.refused(3), "the client does not want it");
    assert!(line.completed(2));
    assert_eq!((line.len(), line.flying), (0, 0));
}

#[test]
fn what_must_not_be_sent_is_left_out_and_holds_no_place() {
    let mut line = held(1);
    let _ = [5, 99, 99].map(|until| line.push(queued(1, until), None));
    let mut unsent = vec![];
    let turn = line.turn(Timestamp(5), |why, _| unsent.push(why));
    assert!(matches!(turn, Some(Turn::Message { id: 2, .. })));
    assert_eq!(unsent, [Unsent::Ended]);
    assert!(line.acknowledged(2));
    assert!(
        line.turn(Timestamp(100), |why, _| unsent.push(why))
            .is_none()
    );
    assert_eq!((unsent[1], line.len(), line.bytes()), (Unsent::Ended, 0, 0));
}

#[test]
fn a_qos_2_message_that_the_client_may_have_is_released_when_its_right_has_ended() {
    let mut line = held(9);
    line.push(queued(2, 5), None);
    assert_eq!(sent(&mut line, 0), ["1"]);
    line.start_again(9, true);
    assert_eq!(sent(&mut line, 5), ["!1"]);
    assert!(line.completed(1) && line.len() == 0);
    // Or when it ends on its way to the socket.
    line.push(queued(2, 9), None);
    sent(&mut line, 0);
    line.start_again(9, true);
    assert_eq!(sent(&mut line, 0), ["+2"]);
    assert!(matches!(line.dropped(2, true), GivenUp::Release));
    assert!(line.completed(2));
    line.push(queued(2, 9), None);
    sent(&mut line, 0);
    let dropped = line.dropped(3, true);
    assert!(
        matches!(dropped, GivenUp::Done),
        "the client has never seen it"
    );
    assert_eq!((line.len(), line.flying), (0, 0));
}

#[test]
fn a_qos_2_message_that_was_sent_expires_no_more() {
    // [MQTT-4.3.3-7], [MQTT-4.3.3-13]
    let mut line = held(9);
    line.push(queued(2, 300), None);
    line.push(queued(1, 300), None);
    assert_eq!(sent(&mut line, 99), ["1", "2"]);
    line.push(queued(2, 300), None);
    line.start_again(9, true);
    assert_eq!(sent(&mut line, 100), ["+1"]);
    assert!(line.received(1) && line.completed(1));
    assert_eq!(line.len(), 0);
}

#[test]
fn identifiers_go_round_without_zero_and_without_two_in_flight() {
    let mut line = held(u16::MAX);
    for _ in 0..70_000 {
        line.push(queued(1, 99), None);
    }
    let ids = sent(&mut line, 0);
    assert_eq!(ids.len(), 65_535);
    assert!(!ids.contains(&"0".to_owned()));
    let (first, second) = (ids[0].parse().unwrap(), ids[1].parse().unwrap());
    assert!(line.acknowledged(second));
    assert!(
        sent(&mut line, 0).is_empty(),
        "the next one still has the first one's"
    );
    assert!(line.acknowledged(first));
    assert_eq!(sent(&mut line, 0), ["1", "2"]);
}

#[test]
fn what_was_kept_goes_on_where_it_stopped() {
    let kept = |sequence, qos, message: bool| RestoredMessage {
        sequence,
        qos,
        retain: false,
        ids: Box::default(),
        group: None,
        message: message.then(|| queued(qos, 1).message),
    };
    let mut line = held(9);
    let messages = vec![kept(3, 1, true), kept(5, 2, false), kept(6, 2, true)];
    line.restore(messages, 6);
    line.start_again(9, true);
    line.review(|_| ReadRight::unchecked(9), Timestamp(0));
    assert_eq!(sent(&mut line, 0), ["+3", "!5", "6"]);
    assert!(line.acknowledged(3) && line.completed(5) && line.received(6));
    line.push(queued(1, 99), None);
    assert_eq!(sent(&mut line, 0), ["7"]);
    // What was done before the end is not begun again.
    let mut done = held(9);
    done.restore(vec![kept(3, 1, true)], 10);
    done.start_again(9, true);
    done.review(|_| ReadRight::unchecked(9), Timestamp(0));
    done.push(queued(1, 99), None);
    assert_eq!(sent(&mut done, 0), ["+3", "10"]);
    let mut empty = held(9);
    empty.restore(vec![], 70_000);
    empty.push(queued(1, 99), None);
    assert_eq!(sent(&mut empty, 0), [(70_000 % 65_535).to_string()]);
}

/// A message that one of a group gets.
fn of_group(qos: u8, until: u64) -> Queued {
    let share = crate::shard::Share::parse("$share/g/t").expect("a group");
    Queued {
        share: Some(Box::new(Portion {
            share,
            qos: 2,
            retain: true,
        })),
        ..queued(qos, until)
    }
}

#[test]
fn a_message_of_a_group_whose_right_ends_in_its_turn_is_left_to_the_others() {
    for qos in [1, 2] {
        let mut line = held(9);
        line.push(of_group(qos, 5), None);
        line.push(queued(qos, 5), None);
        let (mut left, mut ended) = (vec![], 0);
        let turn = line.turn(Timestamp(5), |why, it| {
            assert_eq!(why, Unsent::Ended);
            ended += u64::from(it.is_none());
            left.extend(it);
        });
        assert!(turn.is_none());
        assert_eq!((left.len(), ended, line.len(), line.bytes()), (1, 1, 0, 0));
        // What has expired is nobody's.
        line.push(of_group(qos, 900), None);
        let turn = line.turn(Timestamp(100), |why, it| {
            assert!(why == Unsent::Expired && it.is_none());
        });
        assert!(turn.is_none() && line.len() == 0);
    }
}

#[test]
fn a_message_of_a_group_that_is_dropped_on_its_way_to_the_socket_is_left_to_the_others() {
    // [MQTT-4.8.2-4], [MQTT-4.8.2-5]
    for (qos, holds) in [(1, true), (2, true), (1, false), (2, false)] {
        let mut line = Line::new(9, None);
        line.start_again(9, holds);
        line.push(of_group(qos, 9), None);
        assert_eq!(sent(&mut line, 0), ["1"]);
        let GivenUp::Left(left) = line.dropped(1, true) else {
            panic!("QoS {qos} was never seen");
        };
        assert_eq!(left.queued.qos, qos);
        assert_eq!((line.len(), line.bytes(), line.flying), (0, 0, 0));
        if holds && qos == 2 {
            // Who may have seen a QoS 2 message alone gets it to its end.
            line.push(of_group(qos, 9), None);
            assert_eq!(sent(&mut line, 0), ["2"]);
            line.start_again(9, true);
            assert_eq!(sent(&mut line, 0), ["+2"]);
            assert!(matches!(line.dropped(2, true), GivenUp::Release));
        }
    }
}

#[tokio::test]
async fn a_message_of_a_group_is_kept_in_one_place_whenever_the_server_ends() {
    let folder = tempfile::TempDir::new().unwrap();
    let settings = StoreSettings {
        folder: folder.path().join("sessions"),
        safety: Safety::System,
    };
    let record = |name: &str| SessionRecord {
        owner: tanglegate_core::SubscriberId([7; 16]),
        client_id: name.into(),
        expiry_seconds: 60,
        away_since: None,
        will: None,
    };
    // Nobody has taken it yet; somebody has; nobody ever will.
    for (end, places) in [(0, [1, 0]), (1, [0, 1]), (2, [0, 0])] {
        let (store, _) = Store::open(&settings).unwrap();
        let [mut one, mut other] = [1, 2].map(|number| {
            let session = 10 * end + number;
            let record = record(&session.to_string());
            store.record(Change::Session { session, record });
            let store = store.clone();
            Line::new(9, Some(Keep { store, session }))
        });
        one.push(of_group(1, 5), None);
        let mut ended = one.review(|_| ReadRight::NONE, Timestamp(0));
        let Left { queued, place } = ended.shared.pop().expect("one of a group");
        match end {
            0 => {
                store.clone().close().await.unwrap();
                drop(place);
            }
            1 => {
                other.push(queued, place);
            }
            _ => drop(place),
        }
        drop((one, other));
        store.close().await.unwrap();
        let (store, restored) = Store::open(&settings).unwrap();
        let found = restored.sessions.iter().filter(|it| it.session / 10 == end);
        let found: Vec<_> = found.collect();
        let kept: Vec<_> = found.iter().map(|it| it.queue.len()).collect();
        assert_eq!(kept, places, "end {end}");
        if let Some(message) = found.iter().find_map(|it| it.queue.first()) {
            let mut line = held(9);
            line.restore(vec![message.clone()], 1);
            let left = line.leave_shared();
            let portion = left[0].queued.share.as_ref().expect("it has its group");
            assert_eq!(portion.share.to_string(), "$share/g/t");
            assert_eq!((portion.qos, portion.retain), (2, true));
        }
        store.close().await.unwrap();
    }
}

#[test]
fn a_qos_2_message_of_a_group_that_was_taken_and_never_begun_is_left_to_the_others() {
    // [MQTT-4.8.2-4]: completed with whom it was begun; this was begun with nobody.
    let mut line = held(9);
    for _ in 0..3 {
        line.push(of_group(2, 9), None);
    }
    assert_eq!(sent(&mut line, 0), ["1", "2", "3"]);
    for id in [2, 3] {
        line.recall(id);
    }
    // One of them is sent by the next connection after all, for the first time.
    line.start_again(2, true);
    assert_eq!(sent(&mut line, 0), ["+1", "2"]);
    line.recall(1);
    let left = line.leave_shared();
    assert_eq!(left.len(), 1, "the first two may have been seen");
}
