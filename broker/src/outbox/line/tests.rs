use super::*;
use crate::store::RestoredMessage;

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
    let turns = std::iter::from_fn(|| line.turn(Timestamp(now), |_| {}));
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
        line.push(queued(1, 99));
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
    let _ = [1, 2, 2, 1].map(|qos| line.push(queued(qos, 99)));
    line.turn(Timestamp(0), |_| {});
    assert_eq!(sent(&mut line, 0), ["2", "3", "4"]);
    assert!(line.received(3));
    line.push(queued(1, 99));
    line.start_again(9, true);
    assert_eq!(sent(&mut line, 0), ["+1", "+2", "!3", "+4", "5"]);
    assert!(line.completed(3) && !line.completed(2));
}

#[test]
fn qos_2_takes_four_steps_and_qos_1_two() {
    // [MQTT-4.3.2-3], [MQTT-4.3.3-3] to [MQTT-4.3.3-6]
    let mut line = Line::new(9, None);
    let _ = [1, 2, 2].map(|qos| line.push(queued(qos, 99)));
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
    let _ = [5, 99, 99].map(|until| line.push(queued(1, until)));
    let mut unsent = vec![];
    let turn = line.turn(Timestamp(5), |why| unsent.push(why));
    assert!(matches!(turn, Some(Turn::Message { id: 2, .. })));
    assert_eq!(unsent, [Unsent::Ended]);
    assert!(line.acknowledged(2));
    assert!(line.turn(Timestamp(100), |why| unsent.push(why)).is_none());
    assert_eq!((unsent[1], line.len(), line.bytes()), (Unsent::Ended, 0, 0));
}

#[test]
fn a_qos_2_message_that_the_client_may_have_is_released_when_its_right_has_ended() {
    let mut line = held(9);
    line.push(queued(2, 5));
    assert_eq!(sent(&mut line, 0), ["1"]);
    line.start_again(9, true);
    assert_eq!(sent(&mut line, 5), ["!1"]);
    assert!(line.completed(1) && line.len() == 0);
    // Or when it ends on its way to the socket.
    line.push(queued(2, 9));
    sent(&mut line, 0);
    line.start_again(9, true);
    assert_eq!(sent(&mut line, 0), ["+2"]);
    assert!(line.dropped(2) && line.completed(2));
    line.push(queued(2, 9));
    sent(&mut line, 0);
    assert!(!line.dropped(3), "the client has never seen it");
    assert_eq!((line.len(), line.flying), (0, 0));
}

#[test]
fn a_qos_2_message_that_was_sent_expires_no_more() {
    // [MQTT-4.3.3-7], [MQTT-4.3.3-13]
    let mut line = held(9);
    line.push(queued(2, 300));
    line.push(queued(1, 300));
    assert_eq!(sent(&mut line, 99), ["1", "2"]);
    line.push(queued(2, 300));
    line.start_again(9, true);
    assert_eq!(sent(&mut line, 100), ["+1"]);
    assert!(line.received(1) && line.completed(1));
    assert_eq!(line.len(), 0);
}

#[test]
fn identifiers_go_round_without_zero_and_without_two_in_flight() {
    let mut line = held(u16::MAX);
    for _ in 0..70_000 {
        line.push(queued(1, 99));
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
        message: message.then(|| queued(qos, 1).message),
    };
    let mut line = held(9);
    let messages = vec![kept(3, 1, true), kept(5, 2, false), kept(6, 2, true)];
    line.restore(messages, 6);
    line.start_again(9, true);
    line.review(|_| ReadRight::unchecked(9), Timestamp(0));
    assert_eq!(sent(&mut line, 0), ["+3", "!5", "6"]);
    assert!(line.acknowledged(3) && line.completed(5) && line.received(6));
    line.push(queued(1, 99));
    assert_eq!(sent(&mut line, 0), ["7"]);
    // What was done before the end is not begun again.
    let mut done = held(9);
    done.restore(vec![kept(3, 1, true)], 10);
    done.start_again(9, true);
    done.review(|_| ReadRight::unchecked(9), Timestamp(0));
    done.push(queued(1, 99));
    assert_eq!(sent(&mut done, 0), ["+3", "10"]);
    let mut empty = held(9);
    empty.restore(vec![], 70_000);
    empty.push(queued(1, 99));
    assert_eq!(sent(&mut empty, 0), [(70_000 % 65_535).to_string()]);
}
