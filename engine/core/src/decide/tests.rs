use super::*;
use crate::{
    Access, Address, Audience, ChainId, Change, Confirmation, Digest, MemoReading, Nanos, OfferId,
    Order, PasswordVerifier, PasswordWish, PaymentId, PaymentRow, PaymentState, Position, Recorded,
    RuleId, Tariff, TopicFilter, UnmatchedReason,
};

const SELLER: Address = Address([9; 32]);
const NOW: Timestamp = Timestamp(1_000_000);
const HOUR: u64 = 3_600_000;

/// A log in memory: given what was recorded, when a command comes, then these events.
#[derive(Default)]
struct Log {
    state: State,
    changes: Vec<Change>,
}

impl Log {
    fn with(commands: impl IntoIterator<Item = Command>) -> Self {
        let mut log = Self::default();
        for command in commands {
            log.record(NOW, command).expect("accepted");
        }
        log
    }

    fn record(&mut self, now: Timestamp, command: Command) -> Result<Vec<Event>, Rejection> {
        let events = decide(&self.state, now, command)?;
        for event in &events {
            let position = self.state.position().next();
            let recorded = Recorded {
                position,
                recorded_at: now,
                event,
            };
            let evolved = self.state.evolve(recorded, &mut self.changes);
            evolved.expect("decided");
        }
        self.state.settle();
        Ok(events)
    }

    fn payment_row(&self) -> PaymentRow {
        let rows = self.changes.iter().rev();
        rows.into_iter()
            .find_map(|it| {
                if let Change::Payment(row) = it {
                    Some(row.clone())
                } else {
                    None
                }
            })
            .expect("a payment was recorded")
    }
}

fn name(text: &str) -> Username {
    Username::parse(text).expect("valid")
}

fn filter(text: &str) -> TopicFilter {
    TopicFilter::parse(text).expect("valid")
}

fn verifier() -> PasswordVerifier {
    PasswordVerifier {
        memory_kib: 8,
        passes: 1,
        lanes: 1,
        salt: [1; 16],
        tag: [2; 32],
    }
}

fn plug_hour() -> Offer {
    Offer {
        id: OfferId::parse("plug-hour").expect("valid"),
        seller: SELLER,
        filter: filter("sensor/live"),
        access: Access::Read,
        tariff: Tariff::new(Nanos(500_000_000), HOUR, Nanos(1_000_000)).expect("valid"),
        valid_until: Timestamp::FOREVER,
    }
}

fn register(username: &str, id: u8) -> Command {
    let (subscriber, username) = (SubscriberId([id; 16]), name(username));
    Command::RegisterSubscriber {
        subscriber,
        username,
        verifier: verifier(),
    }
}

fn payment_id(number: u8) -> PaymentId {
    PaymentId {
        digest: Digest([number; 32]),
        index: 0,
    }
}

fn confirmation(number: u8, amount: u64) -> Confirmation {
    Confirmation {
        payment: payment_id(number),
        seller: SELLER,
        payer: Address([7; 32]),
        amount: Nanos(amount),
        checkpoint: u64::from(number),
        confirmed_at: Timestamp(5),
        memo: Vec::new(),
        reading: MemoReading::Purchase {
            offer: plug_hour().id,
            username: name("ana"),
        },
    }
}

fn pays(number: u8, amount: u64) -> Command {
    Command::ConfirmPayment(confirmation(number, amount))
}

fn market() -> Log {
    Log::with([Command::PublishOffer(plug_hour()), register("ana", 1)])
}

fn lease_end(events: &[Event]) -> Option<(bool, Timestamp, Timestamp)> {
    events.iter().find_map(|it| match it {
        Event::LeaseGranted { from, until, .. } => Some((true, *from, *until)),
        Event::LeaseExtended { from, until, .. } => Some((false, *from, *until)),
        _ => None,
    })
}

fn unmatched(events: &[Event]) -> Option<UnmatchedReason> {
    events.iter().find_map(|it| match it {
        Event::PaymentUnmatched { reason, .. } => Some(*reason),
        _ => None,
    })
}

#[test]
fn a_payment_grants_a_lease_from_the_moment_it_is_recorded() {
    let events = market()
        .record(NOW, pays(1, 500_000_000))
        .expect("accepted");
    assert!(matches!(events[0], Event::PaymentConfirmed { .. }));
    assert_eq!(
        lease_end(&events),
        Some((true, NOW, Timestamp(NOW.0 + HOUR)))
    );
}

#[test]
fn a_second_payment_extends_from_the_end_of_a_running_lease() {
    let mut log = market();
    log.record(NOW, pays(1, 500_000_000)).expect("accepted");
    let events = log
        .record(Timestamp(NOW.0 + 1), pays(2, 250_000_000))
        .expect("accepted");
    let end = NOW.0 + HOUR;
    assert_eq!(
        lease_end(&events),
        Some((false, Timestamp(end), Timestamp(end + HOUR / 2)))
    );
}

#[test]
fn after_the_end_a_payment_grants_anew_from_now() {
    let mut log = market();
    log.record(NOW, pays(1, 500_000_000)).expect("accepted");
    let later = Timestamp(NOW.0 + HOUR);
    let events = log.record(later, pays(2, 500_000_000)).expect("accepted");
    assert_eq!(
        lease_end(&events),
        Some((true, later, Timestamp(later.0 + HOUR)))
    );
}

#[test]
fn too_little_stays_on_account_and_counts_next_time() {
    let mut log = market();
    let events = log.record(NOW, pays(1, 600_000)).expect("accepted");
    assert_eq!(lease_end(&events), None);
    let ana = SubscriberId([1; 16]);
    assert_eq!(
        log.state.subscriber(ana).expect("known").credit,
        Nanos(600_000)
    );
    let events = log.record(NOW, pays(2, 600_000)).expect("accepted");
    let (granted, from, until) = lease_end(&events).expect("together they are enough");
    assert!(granted);
    let tariff = plug_hour().tariff;
    let bought = tariff.buy(Nanos(1_200_000), u64::MAX);
    assert_eq!(until.millis_since(from), bought.millis);
    assert_eq!(
        log.state.subscriber(ana).expect("known").credit,
        bought.left
    );
}

#[test]
fn money_that_cannot_be_matched_waits_with_its_reason() {
    type Alter = fn(&mut Confirmation);
    let cases: [(Alter, UnmatchedReason); 6] = [
        (
            |it| it.reading = MemoReading::Absent,
            UnmatchedReason::NoMemo,
        ),
        (
            |it| it.reading = MemoReading::Unreadable,
            UnmatchedReason::UnreadableMemo,
        ),
        (
            |it| {
                let offer = OfferId::parse("moon").expect("valid");
                it.reading = MemoReading::Purchase {
                    offer,
                    username: name("ana"),
                };
            },
            UnmatchedReason::UnknownOffer,
        ),
        (
            |it| {
                let offer = plug_hour().id;
                it.reading = MemoReading::Purchase {
                    offer,
                    username: name("bob"),
                };
            },
            UnmatchedReason::UnknownSubscriber,
        ),
        (
            |it| it.seller = Address([8; 32]),
            UnmatchedReason::WrongSeller,
        ),
        (|it| it.amount = Nanos(u64::MAX), UnmatchedReason::TooMuch),
    ];
    for (alter, reason) in cases {
        let mut log = market();
        log.record(NOW, pays(1, 1_000))
            .expect("leaves something on account");
        let mut paid = confirmation(2, 500_000_000);
        alter(&mut paid);
        let events = log
            .record(NOW, Command::ConfirmPayment(paid))
            .expect("never refused");
        assert_eq!(unmatched(&events), Some(reason));
        assert_eq!(log.payment_row().state, PaymentState::Unmatched(reason));
        assert!(
            log.state.waiting(&payment_id(2)).is_some(),
            "it can still be claimed"
        );
    }
}

#[test]
fn a_withdrawn_or_expired_offer_sells_nothing_more() {
    let mut log = market();
    log.record(NOW, Command::WithdrawOffer(plug_hour().id))
        .expect("accepted");
    let events = log.record(NOW, pays(1, 500_000_000)).expect("accepted");
    assert_eq!(unmatched(&events), Some(UnmatchedReason::OfferEnded));
    let until = Timestamp(NOW.0 + 10);
    let offer = Offer {
        valid_until: until,
        ..plug_hour()
    };
    log.record(NOW, Command::PublishOffer(offer))
        .expect("accepted");
    let events = log.record(until, pays(2, 500_000_000)).expect("accepted");
    assert_eq!(unmatched(&events), Some(UnmatchedReason::OfferEnded));
}

#[test]
fn a_suspended_subscriber_buys_nothing_and_loses_nothing() {
    let mut log = market();
    log.record(NOW, Command::Suspend(name("ana")))
        .expect("accepted");
    let events = log.record(NOW, pays(1, 500_000_000)).expect("accepted");
    assert_eq!(unmatched(&events), Some(UnmatchedReason::Suspended));
    assert_eq!(
        log.record(NOW, Command::Suspend(name("ana"))),
        Err(Rejection::AlreadySuspended(name("ana")))
    );
    log.record(NOW, Command::Reinstate(name("ana")))
        .expect("accepted");
    let events = log.record(NOW, pays(2, 500_000_000)).expect("accepted");
    assert!(lease_end(&events).is_some());
}

#[test]
fn every_nano_is_spent_or_on_account() {
    let mut log = market();
    let (mut paid, mut spent) = (0, 0);
    for (number, amount) in (1..).zip([1_000_001, 999_999, 3, 500_000_007, 1, 77_777_777]) {
        paid += amount;
        for event in log.record(NOW, pays(number, amount)).expect("accepted") {
            if let Event::PaymentApplied {
                spent: cost,
                credit,
                ..
            } = event
            {
                spent += cost.0;
                assert_eq!(paid, spent + credit.0, "after payment {number}");
            }
        }
    }
}

#[test]
fn an_unmatched_payment_delivered_again_adds_nothing() {
    let mut log = Log::default();
    log.record(NOW, pays(1, 5)).expect("accepted");
    assert_eq!(log.record(NOW, pays(1, 5)), Ok(Vec::new()));
}

#[test]
fn the_log_stays_with_its_ledger() {
    let (mainnet, other) = (ChainId("6364aad5".into()), ChainId("2304aa97".into()));
    let mut log = Log::with([Command::BindChain(mainnet.clone())]);
    assert_eq!(
        log.record(NOW, Command::BindChain(mainnet.clone())),
        Ok(Vec::new())
    );
    let refused = log.record(NOW, Command::BindChain(other.clone()));
    assert_eq!(
        refused,
        Err(Rejection::OtherChain {
            bound: mainnet,
            offered: other
        })
    );
}

#[test]
fn a_scan_never_goes_backwards() {
    let scan = |seller| Command::RecordScan {
        seller,
        checkpoint: 10,
    };
    let mut log = Log::with([scan(SELLER)]);
    let refused = log.record(NOW, scan(SELLER));
    assert_eq!(
        refused,
        Err(Rejection::StaleScan {
            recorded: 10,
            offered: 10
        })
    );
}

#[test]
fn names_identities_and_rules_are_given_once() {
    let mut log = market();
    assert_eq!(
        log.record(NOW, register("ana", 2)),
        Err(Rejection::UsernameTaken(name("ana")))
    );
    let again = log.record(NOW, register("bob", 1));
    assert_eq!(
        again,
        Err(Rejection::SubscriberExists(SubscriberId([1; 16])))
    );
    let rule = |id: u8, audience, topics: &str| {
        let id = RuleId([id; 16]);
        Command::GiveRule(Rule {
            id,
            audience,
            filter: filter(topics),
            access: Access::Read,
        })
    };
    log.record(NOW, rule(1, Audience::Everyone, "sensor/1m"))
        .expect("accepted");
    let repeated = log.record(NOW, rule(2, Audience::Everyone, "sensor/1m"));
    assert_eq!(repeated, Err(Rejection::RuleRepeated(RuleId([1; 16]))));
    let stranger = Audience::Subscriber(SubscriberId([5; 16]));
    assert!(log.record(NOW, rule(3, stranger, "a")).is_err());
    let reserved = log.record(NOW, rule(4, Audience::Everyone, "$SYS/#"));
    assert_eq!(reserved, Err(Rejection::ReservedFilter(filter("$SYS/#"))));
    for (topics, access, given) in [
        ("$SYS/broker/#", Access::Read, true),
        ("$SYS/broker/uptime", Access::Read, true),
        ("$SYS/broker/#", Access::Write, false),
        ("$SYS/broker/#", Access::ReadWrite, false),
        ("$SYS/broker", Access::Read, false),
        ("$SYS/access/#", Access::Read, false),
        ("$SYS/+/x", Access::Read, false),
    ] {
        let number = 10 + u8::try_from(topics.len()).expect("short");
        let show = Command::GiveRule(Rule {
            id: RuleId([number; 16]),
            audience: Audience::Everyone,
            filter: filter(topics),
            access,
        });
        assert_eq!(log.record(NOW, show).is_ok(), given, "{topics} {access}");
    }
    log.record(NOW, Command::RemoveRule(RuleId([1; 16])))
        .expect("accepted");
    assert!(
        log.record(NOW, Command::RemoveRule(RuleId([1; 16])))
            .is_err()
    );
}

#[test]
fn revoking_ends_a_running_lease_now() {
    let mut log = market();
    let revoke = || Command::RevokeLease {
        username: name("ana"),
        filter: filter("sensor/live"),
        access: Access::Read,
    };
    assert!(log.record(NOW, revoke()).is_err(), "there is none yet");
    log.record(NOW, pays(1, 500_000_000)).expect("accepted");
    let soon = Timestamp(NOW.0 + 5);
    let events = log.record(soon, revoke()).expect("accepted");
    assert!(matches!(events[..], [Event::LeaseRevoked { until, .. }] if until == soon));
    assert!(log.record(soon, revoke()).is_err(), "it is over");
}

#[test]
fn a_batch_that_failed_to_commit_leaves_no_trace() {
    let mut log = market();
    let before = (
        log.state.position(),
        log.state.recorded_at(),
        log.state.checkpoint(SELLER),
    );
    let command = pays(1, 500_000_000);
    let first = decide(&log.state, NOW, command.clone()).expect("accepted");
    for event in &first {
        let position = log.state.position().next();
        let recorded = Recorded {
            position,
            recorded_at: NOW,
            event,
        };
        let evolved = log.state.evolve(recorded, &mut Vec::new());
        evolved.expect("decided");
    }
    log.state.forget();
    assert_eq!(
        before,
        (
            log.state.position(),
            log.state.recorded_at(),
            log.state.checkpoint(SELLER)
        )
    );
    assert_eq!(decide(&log.state, NOW, command), Ok(first));
}

#[test]
fn names_and_filters_with_characters_that_nobody_sees_are_refused_as_new_ones_only() {
    let mut log = market();
    let refused = log.record(Timestamp(5), register("bo\u{200B}b", 9));
    assert_eq!(refused, Err(Rejection::UnseenInUsername('\u{200B}')));
    let text = refused.unwrap_err().to_string();
    assert!(text.contains("\\u{200b}"), "{text}");
    let offer = Offer {
        filter: filter("sensor/\u{202E}live"),
        ..plug_hour()
    };
    assert_eq!(
        log.record(Timestamp(5), Command::PublishOffer(offer)),
        Err(Rejection::UnseenInFilter('\u{202E}'))
    );
    // What stands in a log is still read.
    assert!(Username::parse("bo\u{200B}b").is_ok());
}

#[test]
fn an_event_that_contradicts_the_log_is_refused() {
    let log = Log::with([]);
    let nobody = SubscriberId([9; 16]);
    let next = |event: &Event, position| {
        let recorded = Recorded {
            position: Position(position),
            recorded_at: NOW,
            event,
        };
        log.state.clone().evolve(recorded, &mut Vec::new())
    };
    let impossible = [
        Event::SubscriberSuspended { subscriber: nobody },
        Event::RuleRemoved {
            rule: RuleId([1; 16]),
        },
        Event::LeaseRevoked {
            subscriber: nobody,
            filter: TopicFilter::parse("a").expect("valid"),
            access: Access::Read,
            until: NOW,
        },
    ];
    for event in &impossible {
        let contradiction = next(event, 1).expect_err("nobody wrote it");
        assert_eq!(contradiction.position, Position(1));
        let text = contradiction.to_string();
        assert!(
            text.starts_with("event 1 contradicts those before it: no "),
            "{text}"
        );
    }
    let bound = Event::ChainBound {
        chain: ChainId("c".into()),
    };
    assert!(next(&bound, 1).is_ok() && next(&bound, 2).is_err());
}

fn made() -> PasswordVerifier {
    PasswordVerifier {
        salt: [77; 16],
        ..verifier()
    }
}

/// A payment by address 7 with an order for `username`.
fn ordered(number: u8, amount: u64, username: &str, password: PasswordWish) -> Confirmation {
    let order = Order {
        offer: OfferId::parse("plug-hour").expect("valid"),
        username: name(username),
        password,
        subscriber: SubscriberId([number; 16]),
        made: made(),
    };
    Confirmation {
        reading: MemoReading::Order(Box::new(order)),
        ..confirmation(number, amount)
    }
}

fn kept(events: &[Event]) -> Option<&PasswordVerifier> {
    events.iter().find_map(|it| match it {
        Event::SubscriberRegistered { verifier, .. } | Event::PasswordChanged { verifier, .. } => {
            verifier.as_ref()
        }
        _ => None,
    })
}

fn grants(events: &[Event]) -> bool {
    let granted =
        |it: &Event| matches!(it, Event::LeaseGranted { .. } | Event::LeaseExtended { .. });
    events.iter().any(granted)
}

#[test]
fn a_name_that_nobody_has_becomes_the_payers() {
    let mut log = Log::with([Command::PublishOffer(plug_hour())]);
    let first = ordered(1, 500_000_000, "zoe", PasswordWish::Set(verifier()));
    let payer = first.payer;
    let events = log
        .record(NOW, Command::ConfirmPayment(first))
        .expect("recorded");
    assert!(matches!(events[0], Event::PaymentConfirmed { .. }));
    assert!(
        matches!(&events[1], Event::SubscriberRegistered { owner, .. } if *owner == Some(payer))
    );
    assert_eq!(kept(&events), Some(&verifier()));
    assert!(grants(&events) && unmatched(&events).is_none());

    let keep = ordered(2, 500_000_000, "zoe", PasswordWish::Keep);
    let events = log
        .record(NOW, Command::ConfirmPayment(keep))
        .expect("recorded");
    assert!(
        kept(&events).is_none() && grants(&events),
        "extended, and the password stays"
    );

    let make = ordered(3, 500_000_000, "zoe", PasswordWish::Make);
    let events = log
        .record(NOW, Command::ConfirmPayment(make))
        .expect("recorded");
    assert_eq!(kept(&events), Some(&made()));
}

#[test]
fn a_name_is_not_sold_twice_nor_for_nothing() {
    let mut log = Log::with([Command::PublishOffer(plug_hour()), register("ana", 9)]);
    let bought = ordered(1, 500_000_000, "zoe", PasswordWish::Make);
    log.record(NOW, Command::ConfirmPayment(bought))
        .expect("recorded");
    let stranger = Confirmation {
        payer: Address([8; 32]),
        ..ordered(2, 500_000_000, "zoe", PasswordWish::Make)
    };
    let cases = [
        (stranger, UnmatchedReason::UsernameTaken),
        (
            ordered(3, 500_000_000, "ana", PasswordWish::Make),
            UnmatchedReason::UsernameTaken,
        ),
        (
            ordered(4, 999_999, "eve", PasswordWish::Make),
            UnmatchedReason::TooLittle,
        ),
        (
            ordered(9, 999_999, "ana", PasswordWish::Make),
            UnmatchedReason::TooLittle,
        ),
        (
            ordered(5, 500_000_000, "e\u{200B}ve", PasswordWish::Make),
            UnmatchedReason::UnfitOrder,
        ),
        (
            Confirmation {
                reading: MemoReading::Sealed,
                ..confirmation(6, 500_000_000)
            },
            UnmatchedReason::DoesNotOpen,
        ),
        (
            Confirmation {
                reading: MemoReading::Refused(UnmatchedReason::KeyExpired),
                ..confirmation(7, 500_000_000)
            },
            UnmatchedReason::KeyExpired,
        ),
    ];
    for (payment, reason) in cases {
        let events = log
            .record(NOW, Command::ConfirmPayment(payment))
            .expect("recorded");
        assert_eq!(unmatched(&events), Some(reason));
        assert!(kept(&events).is_none() && !grants(&events));
    }
    // What the owner pays too little is on his account.
    let little = ordered(8, 999_999, "zoe", PasswordWish::Keep);
    let events = log
        .record(NOW, Command::ConfirmPayment(little))
        .expect("recorded");
    assert!(unmatched(&events).is_none() && !grants(&events));
}

#[test]
fn a_payment_that_waits_is_claimed_by_its_payer_once() {
    let mut log = Log::with([Command::PublishOffer(plug_hour())]);
    let lost = Confirmation {
        reading: MemoReading::Absent,
        ..confirmation(1, 500_000_000)
    };
    let (payment, payer) = (lost.payment, lost.payer);
    log.record(NOW, Command::ConfirmPayment(lost))
        .expect("recorded");
    let MemoReading::Order(order) = ordered(2, 0, "zoe", PasswordWish::Make).reading else {
        panic!("an order")
    };
    let claim = |payer| Command::ClaimPayment {
        payment,
        payer,
        order: order.clone(),
    };
    assert_eq!(
        log.record(NOW, claim(Address([8; 32]))),
        Err(Rejection::NothingToClaim(payment))
    );
    let events = log.record(NOW, claim(payer)).expect("his money");
    assert!(grants(&events));
    assert!(matches!(
        log.payment_row().state,
        PaymentState::Applied { .. }
    ));
    assert_eq!(
        log.record(NOW, claim(payer)),
        Err(Rejection::NothingToClaim(payment))
    );
}

#[test]
fn an_owner_changes_his_login_and_nobody_elses() {
    let mut log = Log::with([Command::PublishOffer(plug_hour()), register("ana", 9)]);
    let bought = ordered(1, 500_000_000, "zoe", PasswordWish::Make);
    let owner = bought.payer;
    log.record(NOW, Command::ConfirmPayment(bought))
        .expect("recorded");
    let change = |owner, username, renamed: Option<&str>| Command::ChangeOwned {
        owner,
        username: name(username),
        verifier: Some(verifier()),
        renamed: renamed.map(name),
    };
    let stranger = Address([8; 32]);
    for (claimant, username) in [(stranger, "zoe"), (owner, "ana"), (owner, "nobody")] {
        assert_eq!(
            log.record(NOW, change(claimant, username, None)),
            Err(Rejection::NotTheOwner(claimant))
        );
    }
    assert_eq!(
        log.record(NOW, change(owner, "zoe", Some("ana"))),
        Err(Rejection::UsernameTaken(name("ana")))
    );
    for (command, expected) in [
        (Command::Suspend(name("zoe")), true),
        (change(owner, "zoe", None), false),
        (Command::Reinstate(name("zoe")), true),
    ] {
        assert_eq!(
            log.record(NOW, command).is_ok(),
            expected,
            "closed is closed"
        );
    }
    let subscriber = log.state.named(&name("zoe"));
    let events = log
        .record(NOW, change(owner, "zoe", Some("zoë")))
        .expect("his own");
    assert_eq!(kept(&events), Some(&verifier()));
    assert!(matches!(events[1], Event::UsernameChanged { .. }));
    assert_eq!(log.state.named(&name("zoë")), subscriber);
    assert_eq!(log.state.named(&name("zoe")), None, "the old name is free");
    // The time went with it.
    let more = ordered(2, 500_000_000, "zoë", PasswordWish::Keep);
    let events = log
        .record(NOW, Command::ConfirmPayment(more))
        .expect("recorded");
    assert!(
        events
            .iter()
            .any(|it| matches!(it, Event::LeaseExtended { .. }))
    );
}
