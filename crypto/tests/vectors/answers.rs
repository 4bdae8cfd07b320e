//! Sealed answers: good ones, and one for each way in which an answer can be wrong.

use crate::announcements::Told;
use crate::memos::{engine, key, reply_key, seal};
use crate::{Hex, bytes, hex, kept};
use serde::{Deserialize, Serialize};
use tanglegate_crypto::{
    Announcement, AnnouncementError, AnswerError, Identity, IdentityKey, KeyId, Label, Outcome,
    Receipt, ReplyKey, seal_answer,
};
use zeroize::Zeroizing;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Answer {
    name: String,
    outcome: String,
    identity: Hex,
    key_id: Hex,
    reply_private: Hex,
    reply_public: Hex,
    /// What the ephemeral key is derived from, as by DeriveKeyPair.
    entropy: Hex,
    info: Hex,
    aad: Hex,
    plain: Hex,
    answer: Hex,
    #[serde(skip_serializing_if = "Option::is_none")]
    receipt: Option<Told>,
}

pub(crate) fn receipt() -> Receipt {
    Receipt {
        digest: bytes("transaction"),
        index: 0,
        seller: bytes("seller"),
        amount: 500_000_000,
        recorded_at: 1_795_395_700_000,
        position: 42,
        outcome: Outcome::TimeBought,
        reason: None,
        offer: "plug-hour".to_owned(),
        username: "ana".to_owned(),
        password: None,
        filter: Some("sensor/live".to_owned()),
        access: Some(1),
        from: Some(1_795_395_700_000),
        until: Some(1_795_399_300_000),
        credit: 0,
    }
}

fn info(identity: &Identity) -> Vec<u8> {
    [b"tanglegate/answer/v1\0".as_slice(), identity.as_bytes()].concat()
}

/// An answer with this plain text, sealed as it should be.
fn sealed(name: &str, outcome: &str, plain: Vec<u8>) -> Answer {
    let (identity, key_id) = (engine().identity(), key().key_id);
    let entropy = bytes(&format!("entropy of answer {name}"));
    let public = reply_key().public();
    let aad = key_id.as_bytes();
    let (enc, text) = seal(&entropy, &public, &info(&identity), aad, &plain);
    Answer {
        name: name.to_owned(),
        outcome: outcome.to_owned(),
        identity: hex(identity.as_bytes()),
        key_id: hex(aad),
        reply_private: hex(reply_key().expose()),
        reply_public: hex(&public),
        entropy: hex(&entropy),
        info: hex(&info(&identity)),
        aad: hex(aad),
        plain: hex(&plain),
        answer: hex(&[&[1], enc.as_slice(), &text].concat()),
        receipt: None,
    }
}

fn padded(signed: &[u8]) -> Vec<u8> {
    let length = u16::try_from(signed.len()).expect("short");
    let mut plain = [&length.to_be_bytes(), signed].concat();
    plain.resize(plain.len().next_multiple_of(512), 0);
    plain
}

/// An answer that the code under test sealed, which has to be the same.
fn good(name: &str, receipt: &Receipt) -> Answer {
    let signed = engine().announce(receipt);
    let mut vector = sealed(name, "opens", padded(&signed));
    let (identity, public) = (engine().identity(), reply_key().public());
    let entropy = vector.entropy.array();
    let answer = seal_answer(&entropy, &public, &identity, key().key_id, &signed);
    assert_eq!(hex(&answer.expect("it fits")), vector.answer, "{name}");
    vector.receipt = Some(Told::of(receipt, &identity));
    vector
}

fn good_ones() -> Vec<Answer> {
    let made = Receipt {
        password: Some(Zeroizing::new("mfrggzdfmztwq2lknnwg23tpoa".to_owned())),
        ..receipt()
    };
    let refused = Receipt {
        outcome: Outcome::Refused,
        reason: Some("username-taken: the login 'ana' belongs to another payer".to_owned()),
        filter: None,
        access: None,
        from: None,
        until: None,
        ..receipt()
    };
    let on_account = Receipt {
        outcome: Outcome::OnAccount,
        amount: 99,
        credit: 99,
        ..receipt()
    };
    let long = Receipt {
        filter: Some("f".repeat(2_048)),
        reason: Some("r".repeat(512)),
        ..made.clone()
    };
    vec![
        good("the example of the specification", &receipt()),
        good("with a password that the engine made", &made),
        good("a refusal", &refused),
        good("too little for any time", &on_account),
        good("of several blocks", &long),
    ]
}

fn changed(name: &str, outcome: &str, change: impl FnOnce(&mut Answer)) -> Answer {
    let mut vector = sealed(name, outcome, padded(&engine().announce(&receipt())));
    change(&mut vector);
    vector
}

fn bad_ones() -> Vec<Answer> {
    let none = "does-not-open";
    let stranger = IdentityKey::from_bytes(&bytes("another identity"));
    let mine = engine().announce(&receipt());
    let body = receipt().encode(&engine().identity());
    let with = |outcome, name: &str, signed: &[u8]| sealed(name, outcome, padded(signed));
    let mut no_zeros = padded(&mine);
    *no_zeros.last_mut().expect("a block") = 1;
    let mut beyond = padded(&mine);
    beyond[..2].copy_from_slice(&511u16.to_be_bytes());
    let longer = [padded(&mine), vec![0; 512]].concat();
    vec![
        changed("another suite", "suite", |it| it.answer.0[0] = 2),
        changed("nothing at all", "length", |it| it.answer.0.clear()),
        changed("a byte too few", "length", |it| it.answer.0.truncate(560)),
        changed("a byte too many", "length", |it| it.answer.0.push(0)),
        changed("no block", "length", |it| it.answer.0.truncate(49)),
        changed("nine blocks", "length", |it| {
            it.answer.0.resize(49 + 9 * 512, 0);
        }),
        changed("enc changed", none, |it| it.answer.0[1] ^= 1),
        changed("enc is the point 0", none, |it| it.answer.0[1..33].fill(0)),
        changed("the text changed", none, |it| it.answer.0[33] ^= 1),
        changed("for another reply key", none, |it| {
            let key = ReplyKey::from_bytes(bytes("another reply key"));
            (it.reply_private, it.reply_public) = (hex(key.expose()), hex(&key.public()));
        }),
        changed("for another key id", none, |it| {
            it.key_id = hex(&bytes::<16>("another key id"));
            it.aad = it.key_id.clone();
        }),
        changed("of another engine", none, |it| {
            it.identity = hex(stranger.identity().as_bytes());
            it.info = hex(&info(&stranger.identity()));
        }),
        sealed("something in the padding", "padding", no_zeros),
        sealed("a length beyond the block", "padding", beyond),
        sealed("a block of padding too many", "padding", longer),
        with("signature", "shorter than a signature", &mine[..63]),
        with(
            "signature",
            "signed by another key",
            &stranger.announce(&receipt()),
        ),
        with(
            "signature",
            "signed as a key",
            &engine().sign(Label::Key, &body),
        ),
        with("layout", "something behind the receipt", &{
            engine().sign(Label::Receipt, &[body.as_slice(), &[0]].concat())
        }),
        with("layout", "naming another engine", &{
            engine().sign(Label::Receipt, &receipt().encode(&stranger.identity()))
        }),
    ]
}

fn outcome(vector: &Answer) -> Result<Receipt, &'static str> {
    let key = ReplyKey::from_bytes(vector.reply_private.array());
    assert_eq!(hex(&key.public()), vector.reply_public, "{}", vector.name);
    let identity = Identity::from_bytes(&vector.identity.array()).expect("an identity");
    let id = KeyId::from_bytes(vector.key_id.array());
    let read = key.open_answer(&vector.answer.0, &identity, id);
    read.map_err(|error| match error {
        AnswerError::Length(_) => "length",
        AnswerError::Suite(_) => "suite",
        AnswerError::DoesNotOpen => "does-not-open",
        AnswerError::Padding => "padding",
        AnswerError::Receipt(AnnouncementError::Signature(_)) => "signature",
        AnswerError::Receipt(AnnouncementError::Layout { .. }) => "layout",
    })
}

#[test]
fn every_answer_has_the_outcome_that_it_states() {
    let about = "Sealed answers: PROTOCOL.md, 'The answer'. The buyer has reply_private, sealed his \
                 memo to key_id of the engine with identity, and receives answer. outcome is 'opens' \
                 (then receipt is what it says) or why it is not believed.";
    for vector in kept("answers.json", about, [good_ones(), bad_ones()].concat()) {
        let identity = Identity::from_bytes(&vector.identity.array()).expect("an identity");
        let read = outcome(&vector).map(|it| Told::of(&it, &identity));
        match &vector.receipt {
            Some(receipt) => assert_eq!(read.as_ref(), Ok(receipt), "{}", vector.name),
            None => assert_eq!(read, Err(vector.outcome.as_str()), "{}", vector.name),
        }
    }
}
