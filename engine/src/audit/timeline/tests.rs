use super::*;
use tanglegate_core::{
    Access, Address, Audience, Confirmation, Digest, MemoReading, Nanos, OfferId, Rule, RuleId,
    Tariff, TopicFilter,
};

const ANA: SubscriberId = SubscriberId([1; 16]);
/// 2026-03-01T14:00:00Z.
const START: u64 = 1_772_373_600_000;
const MINUTE: u64 = 60_000;

fn at(minute: u64) -> Timestamp {
    Timestamp(START + minute * MINUTE)
}

fn filter(text: &str) -> TopicFilter {
    TopicFilter::parse(text).expect("valid")
}

fn payment(number: u8) -> PaymentId {
    PaymentId {
        digest: Digest([number; 32]),
        index: 0,
    }
}

/// Events in the order of their minutes.
fn story(called: &str, events: Vec<(u64, Event)>, now: u64) -> Timeline {
    let tell = |(number, (minute, event)): (usize, (u64, Event))| {
        let (position, at) = (number as u64 + 1, at(minute));
        let transaction = match &event {
            Event::PaymentConfirmed { confirmation } => Some(confirmation.payment.digest),
            _ => None,
        };
        let link = Link {
            position,
            recorded_at: at.to_string(),
            kind: "event".to_owned(),
            text: crate::event_log::describe(&event),
            origin: "operator".to_owned(),
            transaction: transaction.map(|it| it.to_string()),
            request: None,
            leaf: hex::encode([u8::try_from(number % 256).expect("small"); 32]),
        };
        Told { at, event, link }
    };
    let told: Vec<Told> = events.into_iter().enumerate().map(tell).collect();
    let now = at(now);
    let (from, to) = lanes::extent(&told, now);
    Timeline {
        called: called.to_owned(),
        subject: ANA,
        from,
        to,
        now,
        position: Position(told.len() as u64),
        told,
    }
}

fn registered() -> Event {
    Event::SubscriberRegistered {
        subscriber: ANA,
        username: None,
        verifier: None,
        owner: None,
    }
}

fn confirmed(number: u8, amount: u64) -> Event {
    Event::PaymentConfirmed {
        confirmation: Confirmation {
            payment: payment(number),
            seller: Address([9; 32]),
            payer: Address([8; 32]),
            amount: Nanos(amount),
            checkpoint: 7,
            confirmed_at: at(0),
            memo: Vec::new(),
            reading: MemoReading::Absent,
        },
    }
}

fn applied(number: u8, spent: u64) -> Event {
    Event::PaymentApplied {
        payment: payment(number),
        subscriber: ANA,
        offer: OfferId::parse("plug-hour").expect("valid"),
        spent: Nanos(spent),
        credit: Nanos(0),
    }
}

fn lease(filter_text: &str, from: u64, until: u64, extends: bool) -> Event {
    let (subscriber, filter, access) = (ANA, filter(filter_text), Access::Read);
    let (from, until, payment) = (at(from), at(until), payment(1));
    let offer = OfferId::parse("plug-hour").expect("valid");
    let tariff = Tariff::new(Nanos(1), 1, Nanos(1)).expect("valid");
    if extends {
        Event::LeaseExtended {
            subscriber,
            filter,
            access,
            from,
            until,
            offer,
            tariff,
            payment,
        }
    } else {
        Event::LeaseGranted {
            subscriber,
            filter,
            access,
            from,
            until,
            offer,
            tariff,
            payment,
        }
    }
}

fn revoked(filter_text: &str, until: u64) -> Event {
    Event::LeaseRevoked {
        subscriber: ANA,
        filter: filter(filter_text),
        access: Access::Read,
        until: at(until),
    }
}

fn rule(number: u8, audience: Audience, filter_text: &str) -> Event {
    Event::RuleGiven {
        rule: Rule {
            id: RuleId([number; 16]),
            audience,
            filter: filter(filter_text),
            access: Access::Read,
        },
    }
}

fn eventful() -> Vec<(u64, Event)> {
    vec![
        (0, registered()),
        (5, confirmed(1, 500_000_000)),
        (5, applied(1, 500_000_000)),
        (5, lease("sensor/live", 5, 20, false)),
        (15, confirmed(2, 250_000_000)),
        (15, applied(2, 250_000_000)),
        (15, lease("sensor/live", 20, 30, true)),
        (
            18,
            Event::PasswordChanged {
                subscriber: ANA,
                verifier: None,
            },
        ),
        (25, revoked("sensor/live", 25)),
        (32, Event::SubscriberSuspended { subscriber: ANA }),
        (38, Event::SubscriberReinstated { subscriber: ANA }),
        (40, rule(3, Audience::Subscriber(ANA), "alarm/#")),
        (
            50,
            Event::RuleRemoved {
                rule: RuleId([3; 16]),
            },
        ),
        (52, lease("sensor/live", 52, 60, false)),
    ]
}

#[test]
fn a_lease_is_drawn_as_long_as_it_really_was() {
    let lanes = lanes::lanes(&story("ana", eventful(), 55).told);
    assert_eq!(lanes.paid, 750_000_000);
    let live = lanes
        .rights
        .iter()
        .find(|it| it.filter.as_str() == "sensor/live");
    let live = live.expect("drawn");
    let bars: Vec<_> = live
        .stretches
        .iter()
        .map(|it| (it.from, it.until, it.end, it.extends))
        .collect();
    let expected = [
        (at(5), at(20), lanes::End::Natural, false),
        (at(20), at(25), lanes::End::Cut, true),
        (at(52), at(60), lanes::End::Natural, false),
    ];
    assert_eq!(bars, expected);
    assert_eq!(
        lanes::gaps(live, at(0), at(55)),
        [(at(0), at(5)), (at(25), at(52))]
    );
    assert_eq!(lanes.suspended, [(at(32), at(38), 10)]);
    assert!(
        lanes
            .payments
            .iter()
            .all(|it| it.well && it.title.contains("ledger transaction"))
    );
}

#[test]
fn only_the_rule_that_is_removed_ends() {
    let events = vec![
        (0, registered()),
        (1, rule(3, Audience::Everyone, "alarm/#")),
        (2, rule(4, Audience::Subscriber(ANA), "alarm/#")),
        (
            3,
            Event::RuleRemoved {
                rule: RuleId([3; 16]),
            },
        ),
    ];
    let lanes = lanes::lanes(&story("ana", events, 10).told);
    let ends: Vec<_> = lanes.rights[0]
        .stretches
        .iter()
        .map(|it| it.until)
        .collect();
    assert_eq!(ends, [at(3), Timestamp::FOREVER]);
}

#[test]
fn erasure_ends_every_right() {
    let events = vec![
        (0, registered()),
        (1, lease("sensor/live", 1, 90, false)),
        (2, rule(4, Audience::Everyone, "alarm/#")),
        (3, Event::SubscriberErased { subscriber: ANA }),
    ];
    let lanes = lanes::lanes(&story("ana", events, 10).told);
    assert!(lanes.rights.iter().all(|it| it.stretches[0].until == at(3)));
    assert_eq!(lanes.erased, Some((at(3), 4)));
}

#[test]
fn nothing_from_outside_becomes_markup() {
    let evil = "</text><script>alert(\"1\")</script>'\u{202e}\u{7}";
    let filter_text = "a/<img src=x onerror='b'>/\"&/\u{2067}c";
    let events = vec![
        (0, registered()),
        (1, lease(filter_text, 1, 30, false)),
        (2, rule(4, Audience::Everyone, "<script>/#")),
    ];
    let page = story(evil, events, 5).page();
    assert!(
        !page.contains("<script") && !page.contains("<img"),
        "{page}"
    );
    assert!(page.contains("&lt;script&gt;alert(&quot;1&quot;)"));
    assert!(page.contains("onerror=&#39;b&#39;&gt;/&quot;&amp;/\u{fffd}c"));
    assert!(!page.contains(['\u{202e}', '\u{2067}', '\u{7}']));
}

#[test]
fn every_event_stands_in_the_table_and_marks_lead_to_it() {
    let timeline = story("ana", eventful(), 55);
    let page = timeline.page();
    for (number, told) in timeline.told.iter().enumerate() {
        let row = format!("<tr id=\"e{0}\"><td>{0}</td>", number + 1);
        assert_eq!(page.matches(&row).count(), 1, "{row}");
        assert!(page.contains(&told.link.leaf));
    }
    let marks = page.split("href=\"#e").skip(1);
    for mark in marks {
        let number = mark.split('"').next().expect("quoted");
        assert!(page.contains(&format!("<tr id=\"e{number}\">")), "{number}");
    }
    assert!(page.contains(&Digest([1; 32]).to_string()));
}

#[test]
fn a_page_needs_nothing_from_elsewhere() {
    let page = story("ana", eventful(), 55).page();
    for from_elsewhere in ["http:", "https:", "src=", "@import", "<link", "<script"] {
        assert!(!page.contains(from_elsewhere), "{from_elsewhere}");
    }
}

#[test]
fn a_thousand_filters_and_payments_leave_a_page_that_can_be_read() {
    let mut events = vec![(0, registered())];
    for number in 0..1_000 {
        events.push((
            number,
            lease(&format!("room/{number}"), number, number + 60, false),
        ));
        events.push((
            number,
            confirmed(u8::try_from(number % 250).expect("small"), 1),
        ));
    }
    let page = story("ana", events, 1_000).page();
    assert!(page.contains("880 more filters are not drawn"));
}

#[test]
fn what_the_buyer_was_told_is_drawn_where_there_is_any() {
    let mut events = eventful();
    let without = story("ana", eventful(), 55).page();
    assert!(!without.contains(">Announcements<"));
    let told = Event::AnswerAnnounced {
        payment: payment(2),
        subscriber: Some(ANA),
        key_id: [5; 16],
        sealed: [6; 561].into(),
        until: at(900),
    };
    events.insert(7, (15, told));
    let page = story("ana", events, 55).page();
    assert!(page.contains(">Announcements<") && page.contains("class=\"announced\""));
    let mark = format!(
        "href=\"#e8\"><title>{}\nthe buyer is told, in 561 sealed bytes",
        at(15)
    );
    assert!(page.contains(&mark));
}
