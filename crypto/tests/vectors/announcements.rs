//! Signed announcements: good ones, and one for each way in which one can be wrong.

use crate::answers::receipt;
use crate::memos::{engine, key};
use crate::{Hex, bytes, hex, kept};
use serde::{Deserialize, Serialize};
use tanglegate_crypto::{
    Announcement, AnnouncementError, Identity, IdentityBody, IdentityKey, KeyBody, Label,
    OfferLine, OffersBody, Receipt,
};

/// The fields of a body in their order: bytes as hexadecimal digits, the rest as it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Told(serde_json::Value);

impl Told {
    pub(crate) fn of<A: Announcement>(body: &A, identity: &Identity) -> Self {
        let encoded = body.encode(identity);
        let mut decoder = minicbor::Decoder::new(&encoded);
        let value = told(&mut decoder);
        assert_eq!(decoder.position(), encoded.len());
        Self(value)
    }
}

fn told(from: &mut minicbor::Decoder<'_>) -> serde_json::Value {
    use minicbor::data::Type;
    match from.datatype().expect("written by us") {
        Type::Array => {
            let length = from.array().expect("an array").expect("of definite length");
            (0..length).map(|_| told(from)).collect()
        }
        Type::Bytes => hex::encode(from.bytes().expect("bytes")).into(),
        Type::String => from.str().expect("text").into(),
        Type::Null => from.null().map(|()| serde_json::Value::Null).expect("null"),
        _ => from.u64().expect("a number").into(),
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Signed {
    name: String,
    outcome: String,
    /// identity, offers, key or receipt.
    kind: String,
    identity: Hex,
    /// Ed25519's secret seed of the key that signed.
    seed: Hex,
    label: Hex,
    body: Hex,
    signed: Hex,
    #[serde(skip_serializing_if = "Option::is_none")]
    fields: Option<Told>,
}

fn kind(label: Label) -> &'static str {
    match label {
        Label::Identity => "identity",
        Label::Offers => "offers",
        Label::Key => "key",
        Label::Receipt => "receipt",
    }
}

fn signed(name: &str, outcome: &str, label: Label, body: &[u8]) -> Signed {
    Signed {
        name: name.to_owned(),
        outcome: outcome.to_owned(),
        kind: kind(label).to_owned(),
        identity: hex(engine().identity().as_bytes()),
        seed: hex(engine().expose()),
        label: hex(label.as_bytes()),
        body: hex(body),
        signed: hex(&engine().sign(label, body)),
        fields: None,
    }
}

fn good<A: Announcement>(name: &str, body: &A) -> Signed {
    let identity = engine().identity();
    let mut vector = signed(name, "holds", A::LABEL, &body.encode(&identity));
    vector.fields = Some(Told::of(body, &identity));
    vector
}

fn introduction() -> IdentityBody {
    IdentityBody {
        origin: "log.example.org".to_owned(),
        issued_at: 1_795_395_600_000,
        chain: Some("2304aa97".to_owned()),
    }
}

fn offer(name: &str, valid_until: Option<u64>) -> OfferLine {
    OfferLine {
        name: name.to_owned(),
        seller: bytes("seller"),
        filter: "sensor/live".to_owned(),
        access: 1,
        price: 500_000_000,
        period_ms: 3_600_000,
        least: 1_000_000,
        valid_until,
    }
}

fn offers(offers: Vec<OfferLine>) -> OffersBody {
    let issued_at = 1_795_395_600_000;
    OffersBody { issued_at, offers }
}

fn good_ones() -> Vec<Signed> {
    let nowhere = IdentityBody {
        chain: None,
        ..introduction()
    };
    let two = vec![
        offer("plug-day", Some(1_800_000_000_000)),
        offer("plug-hour", None),
    ];
    vec![
        good("an engine", &introduction()),
        good("an engine that knows no chain yet", &nowhere),
        good("two offers", &offers(two)),
        good("nothing for sale", &offers(Vec::new())),
        good("a key for one client", &key()),
        good("a receipt", &receipt()),
    ]
}

fn forged_ones() -> Vec<Signed> {
    let identity = engine().identity();
    let body = key().encode(&identity);
    let changed = |name: &str, change: &dyn Fn(&mut Vec<u8>)| {
        let mut vector = signed(name, "signature", Label::Key, &body);
        change(&mut vector.signed.0);
        vector
    };
    let mut other_key = changed("signed by another key", &|_| ());
    let stranger = IdentityKey::from_bytes(&bytes("another identity"));
    other_key.seed = hex(stranger.expose());
    other_key.signed = hex(&stranger.sign(Label::Key, &body));
    let mut other_label = changed("signed as offers", &|_| ());
    other_label.signed = hex(&engine().sign(Label::Offers, &body));
    vec![
        other_key,
        other_label,
        changed("the signature changed", &|it| it[0] ^= 1),
        changed("the body changed", &|it| {
            *it.last_mut().expect("a body") ^= 1;
        }),
        changed("a byte was added", &|it| it.push(0)),
        changed("shorter than a signature", &|it| it.truncate(63)),
        changed("the signature's number is not the smallest", &|it| {
            add_order(&mut it[32..64]);
        }),
    ]
}

/// Adds the order of the group to the number s of a signature (RFC 8032 §5.1.7 refuses that).
fn add_order(s: &mut [u8]) {
    let order = "edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010";
    let mut carry = 0;
    for (digit, more) in s.iter_mut().zip(hex::decode(order).expect("digits")) {
        let sum = u16::from(*digit) + u16::from(more) + carry;
        [*digit, _] = sum.to_le_bytes();
        carry = sum >> 8;
    }
    assert_eq!(carry, 0, "both are below 2^255");
}

fn misread_ones() -> Vec<Signed> {
    let identity = engine().identity();
    let wrong = |name: &str, label, body: &[u8]| signed(name, "layout", label, body);
    let stranger = IdentityKey::from_bytes(&bytes("another identity")).identity();
    let key_body = key().encode(&identity);
    let mut other_suite = key_body.clone();
    other_suite[1 + 34 + 17] = 2;
    let loose = [&[0x98, 6], &key_body[1..]].concat();
    let unsorted = offers(vec![offer("plug-hour", None), offer("plug-day", None)]);
    let twice = offers(vec![offer("plug-hour", None), offer("plug-hour", None)]);
    let no_access = offers(vec![OfferLine {
        access: 0,
        ..offer("plug-hour", None)
    }]);
    let more_access = offers(vec![OfferLine {
        access: 4,
        ..offer("plug-hour", None)
    }]);
    let no_name = IdentityBody {
        origin: String::new(),
        ..introduction()
    };
    vec![
        wrong(
            "it names another engine",
            Label::Key,
            &key().encode(&stranger),
        ),
        wrong("another suite", Label::Key, &other_suite),
        wrong("the array's length in two bytes", Label::Key, &loose),
        wrong(
            "a byte behind the end",
            Label::Key,
            &[&key_body[..], &[0]].concat(),
        ),
        wrong(
            "a byte too few",
            Label::Key,
            &key_body[..key_body.len() - 1],
        ),
        wrong("nothing in it", Label::Key, &[]),
        wrong(
            "offers in another order",
            Label::Offers,
            &unsorted.encode(&identity),
        ),
        wrong(
            "an offer that stands twice",
            Label::Offers,
            &twice.encode(&identity),
        ),
        wrong(
            "an offer of no access",
            Label::Offers,
            &no_access.encode(&identity),
        ),
        wrong(
            "an offer of an unknown access",
            Label::Offers,
            &more_access.encode(&identity),
        ),
        wrong(
            "a log without a name",
            Label::Identity,
            &no_name.encode(&identity),
        ),
    ]
}

fn outcome(vector: &Signed) -> Result<Told, &'static str> {
    let identity = Identity::from_bytes(&vector.identity.array()).expect("an identity");
    let told = match vector.kind.as_str() {
        "identity" => heard::<IdentityBody>(&identity, vector),
        "offers" => heard::<OffersBody>(&identity, vector),
        "key" => heard::<KeyBody>(&identity, vector),
        _ => heard::<Receipt>(&identity, vector),
    };
    told.map_err(|error| match error {
        AnnouncementError::Signature(_) => "signature",
        AnnouncementError::Layout { .. } => "layout",
    })
}

fn heard<A: Announcement>(identity: &Identity, vector: &Signed) -> Result<Told, AnnouncementError> {
    let body: A = identity.hear(&vector.signed.0)?;
    Ok(Told::of(&body, identity))
}

#[test]
fn every_announcement_has_the_outcome_that_it_states() {
    let about = "Signed announcements: PROTOCOL.md, 'Announcements'. signed = signature over label \
                 || body, then body; who reads it expects one of this kind by identity. outcome is \
                 'holds' (then fields is what it says) or why it is not believed.";
    let made = [good_ones(), forged_ones(), misread_ones()].concat();
    for vector in kept("announcements.json", about, made) {
        let read = outcome(&vector);
        match &vector.fields {
            Some(fields) => assert_eq!(read.as_ref(), Ok(fields), "{}", vector.name),
            None => assert_eq!(read, Err(vector.outcome.as_str()), "{}", vector.name),
        }
    }
}
