//! The golden corpus: the bytes of every kind in every version ever written. They are never
//! edited; a new version gets a file of its own, and old files are read for ever.

use super::*;
use crate::event_log::Vault;
use tanglegate_core::{
    Access, Address, Audience, ChainId, Confirmation, Digest, MemoReading, Nanos, Offer, OfferId,
    PasswordVerifier, PaymentId, Rule, RuleId, SubscriberId, Tariff, Timestamp, TopicFilter,
    UnmatchedReason, Username, VerifierKey,
};
use tanglegate_crypto::{HeadKey, Origin, SubjectKey};

/// What was written before logins had owners.
const V1: &str = include_str!("golden_v1.txt");
/// What is written since: the kinds and values that version 1 has not.
const V2: &str = include_str!("golden_v2.txt");

fn counting() -> Entropy {
    let mut next = 0_u8;
    Entropy::from_source(move |bytes| {
        for byte in bytes {
            *byte = next;
            next = next.wrapping_add(1);
        }
    })
}

fn vault() -> Vault {
    Vault::from_keys([([1; 16], SubjectKey::from_bytes([42; 32]))])
}

fn head_key() -> VerifierKey {
    let origin = Origin::parse("log.example.org").expect("valid");
    let key = HeadKey::from_seed(origin, &[12; 32]);
    VerifierKey(key.verifier().to_string().into())
}

/// One event of each kind; of kinds with variants, each variant.
fn every_event() -> Vec<Event> {
    let subscriber = SubscriberId([1; 16]);
    let payment = PaymentId {
        digest: Digest([2; 32]),
        index: 3,
    };
    let offer = OfferId::parse("plug-hour").expect("valid");
    let filter = TopicFilter::parse("sensor/live").expect("valid");
    let tariff = Tariff::new(Nanos(500_000_000), 3_600_000, Nanos(1_000_000)).expect("valid");
    let verifier = PasswordVerifier {
        memory_kib: 19_456,
        passes: 2,
        lanes: 1,
        salt: [4; 16],
        tag: [5; 32],
    };
    let (access, from, until) = (Access::Read, Timestamp(1_000), Timestamp(2_000));
    let confirmation = Confirmation {
        payment,
        seller: Address([6; 32]),
        payer: Address([7; 32]),
        amount: Nanos(u64::MAX),
        checkpoint: 8,
        confirmed_at: Timestamp(9),
        memo: Vec::new(),
        reading: MemoReading::Absent,
    };
    let rule = |audience, access| Event::RuleGiven {
        rule: Rule {
            id: RuleId([10; 16]),
            audience,
            filter: filter.clone(),
            access,
        },
    };
    let mut events = vec![
        Event::ChainBound {
            chain: ChainId("6364aad5".into()),
        },
        Event::LedgerScanned {
            seller: Address([6; 32]),
            checkpoint: 300,
        },
        Event::OfferPublished {
            offer: Offer {
                id: offer.clone(),
                seller: Address([6; 32]),
                filter: filter.clone(),
                access,
                tariff,
                valid_until: Timestamp::FOREVER,
            },
        },
        Event::OfferWithdrawn {
            offer: offer.clone(),
        },
        rule(Audience::Everyone, Access::Read),
        rule(Audience::Subscriber(subscriber), Access::Write),
        rule(Audience::Subscriber(subscriber), Access::ReadWrite),
        Event::RuleRemoved {
            rule: RuleId([10; 16]),
        },
        Event::SubscriberRegistered {
            subscriber,
            username: Username::parse("ana").ok(),
            verifier: Some(verifier.clone()),
            owner: None,
        },
        Event::PasswordChanged {
            subscriber,
            verifier: Some(verifier),
        },
        Event::SubscriberSuspended { subscriber },
        Event::SubscriberReinstated { subscriber },
        Event::PaymentConfirmed {
            confirmation: confirmation.clone(),
        },
        Event::PaymentConfirmed {
            confirmation: Confirmation {
                memo: b"a memo".to_vec(),
                ..confirmation
            },
        },
        Event::PaymentApplied {
            payment,
            subscriber,
            offer: offer.clone(),
            spent: Nanos(11),
            credit: Nanos(12),
        },
        Event::LeaseGranted {
            subscriber,
            filter: filter.clone(),
            access,
            from,
            until,
            offer: offer.clone(),
            tariff,
            payment,
        },
        Event::LeaseExtended {
            subscriber,
            filter: filter.clone(),
            access,
            from,
            until,
            offer,
            tariff,
            payment,
        },
        Event::LeaseRevoked {
            subscriber,
            filter,
            access,
            until,
        },
    ];
    let reasons = UnmatchedReason::ALL.into_iter().take(8);
    events.extend(reasons.map(|reason| Event::PaymentUnmatched { payment, reason }));
    events.extend([
        Event::SubscriberErased { subscriber },
        Event::HeadKeyAdopted { key: head_key() },
        Event::HeadAnchored {
            size: 300,
            root: [13; 32],
            transaction: Digest([14; 32]),
        },
    ]);
    events
}

/// What came with logins that are bought.
fn newer_events() -> Vec<Event> {
    let subscriber = SubscriberId([1; 16]);
    let payment = PaymentId {
        digest: Digest([2; 32]),
        index: 3,
    };
    let registered = |owner| Event::SubscriberRegistered {
        subscriber,
        username: Username::parse("ana").ok(),
        verifier: Some(PasswordVerifier {
            memory_kib: 19_456,
            passes: 2,
            lanes: 1,
            salt: [4; 16],
            tag: [5; 32],
        }),
        owner,
    };
    let answered = |subscriber| Event::AnswerAnnounced {
        payment,
        subscriber,
        key_id: [15; 16],
        sealed: [16; 20].into(),
        until: Timestamp(3_000),
    };
    let mut events = vec![
        registered(None),
        registered(Some(Address([7; 32]))),
        answered(Some(subscriber)),
        answered(None),
    ];
    let reasons = UnmatchedReason::ALL.into_iter().skip(8);
    events.extend(reasons.map(|reason| Event::PaymentUnmatched { payment, reason }));
    events.push(Event::UsernameChanged {
        subscriber,
        username: Username::parse("ana").ok(),
    });
    events
}

/// What replay gives back: everything but the memo.
fn without_memo(mut event: Event) -> Event {
    if let Event::PaymentConfirmed { confirmation } = &mut event {
        confirmation.memo.clear();
    }
    event
}

fn written(events: &[Event]) -> Vec<String> {
    let (mut vault, mut entropy) = (vault(), counting());
    let line = |event| {
        let body = encode(event, None, &mut vault, &mut entropy);
        let bytes = hex::encode(body.bytes);
        format!("{} {} {bytes}", body.kind, body.schema_version)
    };
    events.iter().map(line).collect()
}

fn read(line: &str) -> Event {
    let fields: Vec<&str> = line.split(' ').collect();
    let [kind, version, body] = fields[..] else {
        panic!("three fields: {line}")
    };
    let body = hex::decode(body).expect("hexadecimal");
    let version = version.parse().expect("a number");
    decode(kind, version, &body, &vault()).expect("an old event stays readable")
}

#[test]
fn what_is_written_stays_what_it_was() {
    let changed = "bodies in existing logs would no longer be what we write";
    let golden: Vec<&str> = V2.lines().collect();
    assert_eq!(written(&newer_events()), golden, "{changed}");
    // A registration is written in version 2 since; its secrets take as much randomness.
    let written = written(&every_event());
    for (written, golden) in written.iter().zip(V1.lines()) {
        if !golden.starts_with("subscriber_registered") {
            assert_eq!(written, golden, "{changed}");
        }
    }
    assert_eq!(written.len(), V1.lines().count());
}

#[test]
fn every_version_ever_written_is_read() {
    let old: Vec<Event> = V1.lines().map(read).collect();
    let expected: Vec<Event> = every_event().into_iter().map(without_memo).collect();
    assert_eq!(old, expected);
    let newer: Vec<Event> = V2.lines().map(read).collect();
    assert_eq!(newer, newer_events());
}

#[test]
fn names_verifiers_and_memos_stand_in_no_body() {
    let (mut vault, mut entropy) = (vault(), counting());
    for event in every_event().into_iter().chain(newer_events()) {
        let body = encode(&event, None, &mut vault, &mut entropy).bytes;
        for secret in [b"ana".as_slice(), &[4; 16], &[5; 32], b"a memo"] {
            let found = body.windows(secret.len()).any(|it| it == secret);
            assert!(!found, "{event:?} shows {secret:?}");
        }
    }
}

#[test]
fn what_cannot_be_read_is_named() {
    let vault = Vault::default();
    let unknown = decode("moon_landed", 1, &[], &vault).expect_err("no such kind");
    assert!(unknown.to_string().contains("'moon_landed'"), "{unknown}");
    let newer = decode("chain_bound", 2, &[], &vault).expect_err("no such version");
    assert!(newer.to_string().contains("version 2"), "{newer}");
    let line = V1
        .lines()
        .find(|it| it.starts_with("subscriber_registered"))
        .expect("there");
    let body = hex::decode(line.split(' ').nth(2).expect("three fields")).expect("hexadecimal");
    let erased = decode("subscriber_registered", 1, &body, &vault).expect("readable without");
    let nameless = Event::SubscriberRegistered {
        subscriber: SubscriberId([1; 16]),
        username: None,
        verifier: None,
        owner: None,
    };
    assert_eq!(erased, nameless);
}

#[test]
fn damaged_bodies_are_refused_and_never_panic() {
    let vault = vault();
    for line in V1.lines().chain(V2.lines()) {
        let fields: Vec<&str> = line.split(' ').collect();
        let (kind, version) = (fields[0], fields[1].parse().expect("a number"));
        let body = hex::decode(fields[2]).expect("hexadecimal");
        for cut in 0..body.len() {
            assert!(
                decode(kind, version, &body[..cut], &vault).is_err(),
                "{line} cut at {cut}"
            );
        }
        for at in 0..body.len() {
            let mut flipped = body.clone();
            flipped[at] ^= 0xff;
            drop(decode(kind, version, &flipped, &vault));
        }
    }
}
