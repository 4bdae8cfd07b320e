//! A purchase from the key to the receipt, as engine and buyer see it, and everything that must
//! not open on the way.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use tanglegate_crypto::{
    AnswerError, Identity, IdentityBody, IdentityKey, KeyBody, KeyId, MemoError, OfferLine,
    OffersBody, OpenError, Order, Outcome, PasswordWish, Receipt, ReplyKey, SEALED_MEMO,
    SealedMemo, SealingError, SealingSecret, seal_answer,
};
use zeroize::Zeroizing;

const PAYER: [u8; 32] = [0x70; 32];

fn engine() -> (IdentityKey, SealingSecret) {
    let key = IdentityKey::from_bytes(&[1; 32]);
    (key, SealingSecret::from_bytes([2; 4], [3; 32]))
}

fn identity() -> Identity {
    engine().0.identity()
}

fn key() -> KeyBody {
    let (key_id, public) = engine().1.make_key([4; 12]);
    KeyBody {
        key_id,
        public,
        issued_at: 1_000,
        valid_until: 2_000,
    }
}

fn reply_key() -> ReplyKey {
    ReplyKey::from_bytes([5; 32])
}

fn order() -> Order {
    Order {
        offer: "plug-hour".to_owned(),
        username: "zoë".to_owned(),
        password: PasswordWish::Make,
        reply_key: reply_key().public(),
    }
}

fn memo() -> SealedMemo {
    SealedMemo::seal(&[6; 32], &key(), &identity(), &PAYER, &order()).expect("a good order")
}

fn receipt() -> Receipt {
    Receipt {
        digest: [7; 32],
        index: 0,
        seller: [8; 32],
        amount: 500_000_000,
        recorded_at: 1_500,
        position: 42,
        outcome: Outcome::TimeBought,
        reason: None,
        offer: "plug-hour".to_owned(),
        username: "zoë".to_owned(),
        password: Some(Zeroizing::new("correct horse".to_owned())),
        filter: Some("sensor/live".to_owned()),
        access: Some(1),
        from: Some(1_500),
        until: Some(3_601_500),
        credit: 0,
    }
}

fn answer() -> Vec<u8> {
    let signed = engine().0.announce(&receipt());
    let to = reply_key().public();
    seal_answer(&[9; 32], &to, &identity(), key().key_id, &signed).expect("it fits")
}

#[test]
fn what_is_ordered_is_read_and_what_is_answered_is_received() {
    let announced = engine().0.announce(&key());
    let heard: KeyBody = identity().hear(&announced).expect("signed by the engine");
    assert_eq!(heard, key());

    let memo = SealedMemo::parse(memo().as_bytes()).expect("a sealed memo");
    assert_eq!(memo.key_id(), key().key_id);
    let read = engine().1.open_memo(&memo, &identity(), &PAYER);
    assert_eq!(read, Ok(order()));

    let received = reply_key().open_answer(&answer(), &identity(), key().key_id);
    assert_eq!(received, Ok(receipt()));
}

#[test]
fn no_byte_of_a_memo_can_be_changed() {
    let good = *memo().as_bytes();
    for at in 0..SEALED_MEMO {
        for bit in 0..8 {
            let mut changed = good;
            changed[at] ^= 1 << bit;
            let Ok(memo) = SealedMemo::parse(&changed) else {
                assert!(
                    at < 6,
                    "only magic, form and suite are looked at: byte {at}"
                );
                continue;
            };
            let read = engine().1.open_memo(&memo, &identity(), &PAYER);
            match at {
                6..10 => assert!(matches!(read, Err(OpenError::OtherSecret { .. }))),
                // RFC 7748 §5: the highest bit of a point is ignored, but it is hashed as it came.
                _ => assert_eq!(read, Err(OpenError::DoesNotOpen), "byte {at}, bit {bit}"),
            }
        }
    }
}

#[test]
fn a_memo_opens_for_its_engine_and_its_payer_only() {
    let (_, secret) = engine();
    let stranger = IdentityKey::from_bytes(&[99; 32]).identity();
    let for_other_engine = secret.open_memo(&memo(), &stranger, &PAYER);
    assert_eq!(for_other_engine, Err(OpenError::DoesNotOpen));
    let mut other_payer = PAYER;
    other_payer[31] ^= 1;
    let copied = secret.open_memo(&memo(), &identity(), &other_payer);
    assert_eq!(copied, Err(OpenError::DoesNotOpen));
    let same_name = SealingSecret::from_bytes([2; 4], [98; 32]);
    let wrong_secret = same_name.open_memo(&memo(), &identity(), &PAYER);
    assert_eq!(wrong_secret, Err(OpenError::DoesNotOpen));
    let rotated = SealingSecret::from_bytes([97; 4], [3; 32]);
    let destroyed = rotated.open_memo(&memo(), &identity(), &PAYER);
    assert!(matches!(destroyed, Err(OpenError::OtherSecret { .. })));
}

#[test]
fn what_is_no_sealed_memo_is_refused_with_what_is_wrong() {
    let good = *memo().as_bytes();
    let with = |at: usize, byte| {
        let mut memo = good.to_vec();
        memo[at] = byte;
        memo
    };
    let cases = [
        (Vec::new(), MemoError::NotOurs),
        (with(0, b't'), MemoError::NotOurs),
        (with(4, 0), MemoError::Form(0)),
        (with(5, 2), MemoError::Suite(2)),
        (good[..4].to_vec(), MemoError::Length(4)),
        (good[..255].to_vec(), MemoError::Length(255)),
        ([&good[..], &[0]].concat(), MemoError::Length(257)),
    ];
    for (bytes, error) in cases {
        assert_eq!(SealedMemo::parse(&bytes), Err(error));
    }
}

#[test]
fn the_longest_order_fits_and_a_longer_one_is_refused() {
    let longest = Order {
        offer: "o".repeat(32),
        username: "u".repeat(64),
        password: PasswordWish::Verifier {
            salt: [1; 16],
            tag: [2; 32],
        },
        reply_key: reply_key().public(),
    };
    let seal = |order: &Order| SealedMemo::seal(&[6; 32], &key(), &identity(), &PAYER, order);
    let memo = seal(&longest).expect("it fits");
    let read = engine().1.open_memo(&memo, &identity(), &PAYER);
    assert_eq!(read, Ok(longest.clone()));
    for length in [0, 33] {
        let offer = "o".repeat(length);
        let refused = seal(&Order { offer, ..order() });
        assert_eq!(refused, Err(SealingError::Offer(length)));
    }
    for length in [0, 65] {
        let username = "u".repeat(length);
        let refused = seal(&Order {
            username,
            ..order()
        });
        assert_eq!(refused, Err(SealingError::Username(length)));
    }
}

#[test]
fn keys_to_which_nothing_can_be_sealed_are_refused() {
    let nothing = Order {
        reply_key: [0; 32],
        ..order()
    };
    let refused = SealedMemo::seal(&[6; 32], &key(), &identity(), &PAYER, &nothing);
    assert_eq!(refused, Err(SealingError::ReplyKey));
    let nothing = KeyBody {
        public: [0; 32],
        ..key()
    };
    let refused = SealedMemo::seal(&[6; 32], &nothing, &identity(), &PAYER, &order());
    assert_eq!(refused, Err(SealingError::PublicKey));
    let refused = seal_answer(&[9; 32], &[0; 32], &identity(), key().key_id, b"receipt");
    assert_eq!(refused, Err(SealingError::ReplyKey));
}

#[test]
fn an_answer_opens_for_its_buyer_and_his_key_only() {
    let open = |key: &ReplyKey, identity: &Identity, id| key.open_answer(&answer(), identity, id);
    let stranger = IdentityKey::from_bytes(&[99; 32]).identity();
    let (mine, id) = (reply_key(), key().key_id);
    let other_id = KeyId::from_bytes([96; 16]);
    let not_mine = ReplyKey::from_bytes([95; 32]);
    for read in [
        open(&not_mine, &identity(), id),
        open(&mine, &stranger, id),
        open(&mine, &identity(), other_id),
    ] {
        assert_eq!(read, Err(AnswerError::DoesNotOpen));
    }
}

#[test]
fn no_byte_of_an_answer_can_be_changed_and_none_left_out() {
    let good = answer();
    assert_eq!(good.len(), 1 + 32 + 512 + 16);
    for at in 0..good.len() {
        let mut changed = good.clone();
        changed[at] ^= 1;
        let read = reply_key().open_answer(&changed, &identity(), key().key_id);
        let error = match at {
            0 => AnswerError::Suite(0),
            _ => AnswerError::DoesNotOpen,
        };
        assert_eq!(read, Err(error), "byte {at}");
        let cut = reply_key().open_answer(&good[..at], &identity(), key().key_id);
        assert_eq!(cut, Err(AnswerError::Length(at)), "{at} bytes");
    }
}

#[test]
fn what_another_key_signed_is_no_receipt() {
    let forged = IdentityKey::from_bytes(&[99; 32]).announce(&receipt());
    let to = reply_key().public();
    let id = key().key_id;
    let answer = seal_answer(&[9; 32], &to, &identity(), id, &forged).expect("it fits");
    let read = reply_key().open_answer(&answer, &identity(), id);
    assert!(matches!(read, Err(AnswerError::Receipt(_))), "{read:?}");
    let endless = vec![0; 4_095];
    let refused = seal_answer(&[9; 32], &to, &identity(), id, &endless);
    assert_eq!(refused, Err(SealingError::Receipt(4_095)));
    assert!(seal_answer(&[9; 32], &to, &identity(), id, &endless[1..]).is_ok());
}

#[test]
fn a_stranger_introduces_himself_under_his_own_key_only() {
    let body = IdentityBody {
        origin: "log.example.org".to_owned(),
        issued_at: 1_000,
        chain: Some("2304aa97".to_owned()),
    };
    let signed = engine().0.announce(&body);
    let introduced = IdentityBody::introduced(&signed);
    assert_eq!(introduced, Ok((identity(), body.clone())));
    // The body names the engine, the signature is somebody else's.
    let other = IdentityKey::from_bytes(&[99; 32]).announce(&body);
    let mixed = [&other[..64], &signed[64..]].concat();
    assert!(IdentityBody::introduced(&mixed).is_err());
}

#[test]
fn neither_names_nor_passwords_are_shown() {
    let shown = format!("{:?} {:?} {:?}", order(), receipt(), reply_key());
    for secret in ["zoë", "correct horse", "5, 5"] {
        assert!(!shown.contains(secret), "{shown}");
    }
}

fn wishes() -> impl Strategy<Value = PasswordWish> {
    prop_oneof![
        Just(PasswordWish::Make),
        Just(PasswordWish::Keep),
        any::<([u8; 16], [u8; 32])>().prop_map(|(salt, tag)| PasswordWish::Verifier { salt, tag }),
    ]
}

fn orders() -> impl Strategy<Value = Order> {
    let names = ("[a-z0-9-]{1,32}", "\\PC{1,16}");
    (names, wishes(), any::<[u8; 32]>()).prop_map(|((offer, username), password, seed)| Order {
        offer,
        username,
        password,
        reply_key: ReplyKey::from_bytes(seed).public(),
    })
}

fn lines() -> impl Strategy<Value = OfferLine> {
    let numbers = (1..=3u8, any::<[u64; 3]>(), option::of(any::<u64>()));
    ("[a-z0-9-]{1,32}", any::<[u8; 32]>(), "\\PC{1,200}", numbers).prop_map(
        |(name, seller, filter, (access, [price, period_ms, least], valid_until))| OfferLine {
            name,
            seller,
            filter,
            access,
            price,
            period_ms,
            least,
            valid_until,
        },
    )
}

fn receipts() -> impl Strategy<Value = Receipt> {
    let payment = any::<([u8; 32], u16, [u8; 32], [u64; 4])>();
    let outcomes = [Outcome::TimeBought, Outcome::OnAccount, Outcome::Refused];
    let texts = (
        option::of("\\PC{1,100}"),
        "[a-z0-9-]{1,32}",
        "\\PC{1,16}",
        option::of("[a-z2-7]{26}"),
        option::of("\\PC{1,500}"),
    );
    let ends = (option::of(1..=3u8), any::<[Option<u64>; 2]>());
    (
        payment,
        prop::sample::select(outcomes.to_vec()),
        texts,
        ends,
    )
        .prop_map(
            |(
                (digest, index, seller, [amount, recorded_at, position, credit]),
                outcome,
                (reason, offer, username, password, filter),
                (access, [from, until]),
            )| Receipt {
                digest,
                index,
                seller,
                amount,
                recorded_at,
                position,
                outcome,
                reason,
                offer,
                username,
                password: password.map(Zeroizing::new),
                filter,
                access,
                from,
                until,
                credit,
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..Default::default() })]

    #[test]
    fn any_order_that_is_sealed_is_read_as_it_was(
        order in orders(),
        entropy in any::<[u8; 32]>(),
        random in any::<[u8; 12]>(),
        payer in any::<[u8; 32]>(),
    ) {
        let (identity_key, secret) = engine();
        let identity = identity_key.identity();
        let (key_id, public) = secret.make_key(random);
        let key = KeyBody { key_id, public, ..key() };
        let memo = SealedMemo::seal(&entropy, &key, &identity, &payer, &order);
        let memo = memo.expect("names of lengths that they may have");
        let parsed = SealedMemo::parse(memo.as_bytes()).expect("as it was sealed");
        prop_assert_eq!(secret.open_memo(&parsed, &identity, &payer), Ok(order));
    }

    #[test]
    fn any_receipt_reaches_its_buyer(receipt in receipts(), entropy in any::<[u8; 32]>()) {
        let signed = engine().0.announce(&receipt);
        let id = key().key_id;
        let answer = seal_answer(&entropy, &reply_key().public(), &identity(), id, &signed);
        let answer = answer.expect("it fits");
        prop_assert_eq!((answer.len() - 49) % 512, 0);
        prop_assert_eq!(reply_key().open_answer(&answer, &identity(), id), Ok(receipt));
    }

    #[test]
    fn any_list_of_offers_is_heard_as_it_was_told(mut offers in vec(lines(), 0..20)) {
        offers.sort_by(|a, b| a.name.cmp(&b.name));
        offers.dedup_by(|a, b| a.name == b.name);
        let body = OffersBody { issued_at: 1_000, offers };
        let signed = engine().0.announce(&body);
        prop_assert_eq!(identity().hear(&signed), Ok(body));
    }

    #[test]
    fn bytes_by_lot_are_no_memo_and_break_nothing(bytes in vec(any::<u8>(), 0..600)) {
        prop_assert!(SealedMemo::parse(&bytes).is_err());
        prop_assert!(IdentityBody::introduced(&bytes).is_err());
        prop_assert!(reply_key().open_answer(&bytes, &identity(), key().key_id).is_err());
        let sealed: Vec<u8> = memo().as_bytes()[..22].iter().chain(&bytes).copied().collect();
        if let Ok(memo) = SealedMemo::parse(&sealed) {
            let read = engine().1.open_memo(&memo, &identity(), &PAYER);
            prop_assert_eq!(read, Err(OpenError::DoesNotOpen));
        }
    }
}
