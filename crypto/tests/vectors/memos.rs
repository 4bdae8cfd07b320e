//! Sealed memos: good ones, and one for each way in which a memo can be wrong.

use crate::keys::{pair, verifier};
use crate::{Hex, bytes, hex, kept};
use hpke::aead::ChaCha20Poly1305;
use hpke::kdf::HkdfSha256;
use hpke::kem::X25519HkdfSha256;
use hpke::rand_core::{TryCryptoRng, TryRng};
use hpke::{Deserializable, Kem, OpModeS, Serializable};
use serde::{Deserialize, Serialize};
use std::convert::Infallible;
use std::sync::OnceLock;
use tanglegate_crypto::{
    Identity, IdentityKey, KeyBody, KeyId, MemoError, OpenError, Order, PasswordWish, ReplyKey,
    SealedMemo, SealingSecret,
};

/// `plain`, `order` and `outcome` belong together: what opens has an order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Memo {
    name: String,
    outcome: String,
    identity: Hex,
    secret_id: Hex,
    secret: Hex,
    key_id: Hex,
    private: Hex,
    public: Hex,
    payer: Hex,
    /// What the ephemeral key is derived from, as by DeriveKeyPair.
    entropy: Hex,
    info: Hex,
    aad: Hex,
    plain: Hex,
    memo: Hex,
    #[serde(skip_serializing_if = "Option::is_none")]
    order: Option<Ordered>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Ordered {
    offer: String,
    username: String,
    /// Salt and tag, "make" or "keep".
    password: String,
    reply_key: Hex,
}

impl From<Order> for Ordered {
    fn from(order: Order) -> Self {
        Self {
            password: match order.password {
                PasswordWish::Verifier { salt, tag } => {
                    hex::encode([salt.as_slice(), &tag].concat())
                }
                PasswordWish::Make => "make".to_owned(),
                PasswordWish::Keep => "keep".to_owned(),
            },
            offer: order.offer,
            username: order.username,
            reply_key: hex(&order.reply_key),
        }
    }
}

/// The 32 bytes of a vector where HPKE asks for random ones.
pub(crate) struct Entropy(pub(crate) [u8; 32]);

impl TryRng for Entropy {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        unreachable!("X25519 asks for whole keys")
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        unreachable!("X25519 asks for whole keys")
    }

    fn try_fill_bytes(&mut self, to: &mut [u8]) -> Result<(), Infallible> {
        to.copy_from_slice(&self.0);
        Ok(())
    }
}

impl TryCryptoRng for Entropy {}

/// Seals anything, also what the code under test would refuse to seal: enc and text.
pub(crate) fn seal(
    entropy: &[u8; 32],
    public: &[u8; 32],
    info: &[u8],
    aad: &[u8],
    plain: &[u8],
) -> (Vec<u8>, Vec<u8>) {
    let public = <X25519HkdfSha256 as Kem>::PublicKey::from_bytes(public).expect("32 bytes");
    let mut text = plain.to_vec();
    let (enc, tag) = hpke::single_shot_seal_inout_detached_with_rng::<
        ChaCha20Poly1305,
        HkdfSha256,
        X25519HkdfSha256,
    >(
        &OpModeS::Base,
        &public,
        info,
        text.as_mut_slice().into(),
        aad,
        &mut Entropy(*entropy),
    )
    .expect("no point of small order");
    text.extend_from_slice(&tag.to_bytes());
    (enc.to_bytes().to_vec(), text)
}

pub(crate) fn engine() -> IdentityKey {
    IdentityKey::from_bytes(&bytes("identity"))
}

pub(crate) fn reply_key() -> ReplyKey {
    ReplyKey::from_bytes(bytes("reply key"))
}

pub(crate) fn key() -> KeyBody {
    let secret = SealingSecret::from_bytes(bytes("sealing id"), bytes("sealing secret"));
    let (key_id, public) = secret.make_key(bytes("sealing random"));
    KeyBody {
        key_id,
        public,
        issued_at: 1_795_395_600_000,
        valid_until: 1_795_399_200_000,
    }
}

fn info(identity: &Identity) -> Vec<u8> {
    [b"tanglegate/memo/v1\0".as_slice(), identity.as_bytes()].concat()
}

/// A memo with this plain text, sealed as it should be.
fn sealed(name: &str, outcome: &str, plain: &[u8]) -> Memo {
    let (identity, key, payer) = (engine().identity(), key(), bytes::<32>("payer"));
    let secret: [u8; 32] = bytes("sealing secret");
    let (_, private, public) = pair(&secret, &key.key_id);
    let entropy = bytes(&format!("entropy of memo {name}"));
    let mut padded = [0; 186];
    padded[..plain.len()].copy_from_slice(plain);
    let head = [b"TGLM\x01\x01".as_slice(), key.key_id.as_bytes()].concat();
    let aad = [head.as_slice(), &payer].concat();
    let (enc, text) = seal(&entropy, &public, &info(&identity), &aad, &padded);
    Memo {
        name: name.to_owned(),
        outcome: outcome.to_owned(),
        identity: hex(identity.as_bytes()),
        secret_id: hex(&key.key_id.secret()),
        secret: hex(&secret),
        key_id: hex(key.key_id.as_bytes()),
        private: hex(&private),
        public: hex(&public),
        payer: hex(&payer),
        entropy: hex(&entropy),
        info: hex(&info(&identity)),
        aad: hex(&aad),
        plain: hex(&padded),
        memo: hex(&[head, enc, text].concat()),
        order: None,
    }
}

/// A memo that the code under test sealed, which has to be the same.
fn good(name: &str, order: Order) -> Memo {
    let plain = Plain::of(&order).end();
    let mut vector = sealed(name, "opens", &plain);
    let (identity, payer) = (engine().identity(), vector.payer.array());
    let memo = SealedMemo::seal(&vector.entropy.array(), &key(), &identity, &payer, &order);
    assert_eq!(
        hex(memo.expect("a good order").as_bytes()),
        vector.memo,
        "{name}"
    );
    vector.order = Some(order.into());
    vector
}

/// CBOR by hand, so that it can be wrong.
struct Plain(Vec<u8>);

impl Plain {
    fn new(head: &[u8]) -> Self {
        Self(head.to_vec())
    }

    fn with(mut self, head: &[u8], content: &[u8]) -> Self {
        self.0.extend_from_slice(head);
        self.0.extend_from_slice(content);
        self
    }

    /// A string of bytes or text in the shortest form: major type 2 or 3.
    fn string(self, major: u8, content: &[u8]) -> Self {
        let length = u8::try_from(content.len()).expect("short strings only");
        match length {
            0..24 => self.with(&[major << 5 | length], content),
            _ => self.with(&[major << 5 | 24, length], content),
        }
    }

    fn text(self, text: &str) -> Self {
        self.string(3, text.as_bytes())
    }

    fn of(order: &Order) -> Self {
        let start = Self::new(&[0x84]).text(&order.offer).text(&order.username);
        let with_password = match order.password {
            PasswordWish::Verifier { salt, tag } => start.string(2, &[&salt[..], &tag].concat()),
            PasswordWish::Make => start.with(&[0xf5], &[]),
            PasswordWish::Keep => start.with(&[0xf6], &[]),
        };
        with_password.string(2, &order.reply_key)
    }

    fn end(self) -> Vec<u8> {
        self.0
    }
}

/// The verifier of the example, which takes longer than all the rest.
static TAG: OnceLock<[u8; 32]> = OnceLock::new();

fn example() -> Order {
    let salt: [u8; 16] = bytes("salt of correct horse battery staple");
    let tag = *TAG.get_or_init(|| verifier("correct horse battery staple", &salt));
    Order {
        offer: "plug-hour".to_owned(),
        username: "ana".to_owned(),
        password: PasswordWish::Verifier { salt, tag },
        reply_key: reply_key().public(),
    }
}

fn good_ones() -> Vec<Memo> {
    let (offer, username) = ("o".repeat(32), "u".repeat(64));
    let made = Order {
        password: PasswordWish::Make,
        ..example()
    };
    let kept = Order {
        password: PasswordWish::Keep,
        ..example()
    };
    let other = Order {
        username: "zoë 密".to_owned(),
        ..made.clone()
    };
    vec![
        good("the example of the specification", example()),
        good("a password is to be made", made),
        good("the password is kept", kept),
        good(
            "the longest names",
            Order {
                offer,
                username,
                ..example()
            },
        ),
        good("a username beyond ASCII", other),
    ]
}

/// Changes bytes of the sealed memo.
fn changed(name: &str, outcome: &str, change: impl FnOnce(&mut Vec<u8>)) -> Memo {
    let mut vector = sealed(name, outcome, &Plain::of(&example()).end());
    change(&mut vector.memo.0);
    vector
}

fn unreadable() -> Vec<Memo> {
    vec![
        changed("another magic", "not-ours", |it| it[3] = b'm'),
        changed("form 0", "form", |it| it[4] = 0),
        changed("an unknown form", "form", |it| it[4] = 9),
        changed("an unknown suite", "suite", |it| it[5] = 2),
        changed("a byte too few", "length", |it| it.truncate(255)),
        changed("a byte too many", "length", |it| it.push(0)),
        changed("nothing behind the form", "length", |it| it.truncate(5)),
    ]
}

fn unopened() -> Vec<Memo> {
    let none = "does-not-open";
    let mut all = vec![
        changed("a key of another secret", "other-secret", |it| it[6] ^= 1),
        changed("another key id", none, |it| it[21] ^= 1),
        changed("enc changed", none, |it| it[22] ^= 1),
        changed("the highest bit of enc changed", none, |it| it[53] ^= 0x80),
        changed("enc is the point 0", none, |it| it[22..54].fill(0)),
        changed("the text changed", none, |it| it[54] ^= 1),
        changed("the tag changed", none, |it| it[255] ^= 1),
    ];
    let mut other = |name: &str, change: &dyn Fn(&mut Memo)| {
        let mut vector = changed(name, none, |_| ());
        change(&mut vector);
        all.push(vector);
    };
    let stranger = IdentityKey::from_bytes(&bytes("another identity")).identity();
    other("paid by another address", &|it| {
        it.payer = hex(&bytes::<32>("another payer"));
        it.aad = hex(&[&it.memo.0[..22], &it.payer.0].concat());
    });
    other("sealed for another engine", &|it| {
        it.identity = hex(stranger.as_bytes());
        it.info = hex(&info(&stranger));
    });
    other("another secret of the same id", &|it| {
        let secret = bytes("another sealing secret");
        let (_, private, public) = pair(&secret, &KeyId::from_bytes(it.key_id.array()));
        it.secret = hex(&secret);
        (it.private, it.public) = (hex(&private), hex(&public));
    });
    all
}

fn misread() -> Vec<Memo> {
    let (reply, layout) = (reply_key().public(), "layout");
    let start = |head: &[u8]| Plain::new(head).text("plug-hour").text("ana");
    let named = |offer: &str, username: &str| {
        let names = Plain::new(&[0x84]).text(offer).text(username);
        names.with(&[0xf5], &[]).string(2, &reply).end()
    };
    let wish = |wish: &[u8]| start(&[0x84]).with(wish, &[]).string(2, &reply).end();
    let not_text = Plain::new(&[0x84])
        .text("plug-hour")
        .string(3, &[0xff, 0xfe]);
    let not_text = not_text.with(&[0xf5], &[]).string(2, &reply);
    let long_length = Plain::new(&[0x84])
        .with(&[0x78, 9], b"plug-hour")
        .text("ana");
    let long_length = long_length.with(&[0xf5], &[]).string(2, &reply);
    let pieces = Plain::new(&[0x84]).with(&[0x7f, 0x69], b"plug-hour");
    let pieces = pieces.with(&[0xff], &[]).text("ana").with(&[0xf5], &[]);
    let whole = |head: &[u8]| start(head).with(&[0xf5], &[]).string(2, &reply);
    let short_key = start(&[0x84]).with(&[0xf5], &[]).string(2, &reply[..31]);
    let padding = whole(&[0x84]).with(&[0, 0, 1], &[]);
    vec![
        sealed("nothing but zeros", layout, &[]),
        sealed(
            "three fields",
            layout,
            &start(&[0x83]).string(2, &reply).end(),
        ),
        sealed(
            "five fields",
            layout,
            &whole(&[0x85]).with(&[0xf6], &[]).end(),
        ),
        sealed(
            "an array without its length",
            layout,
            &whole(&[0x9f]).with(&[0xff], &[]).end(),
        ),
        sealed(
            "an array's length in two bytes",
            layout,
            &whole(&[0x98, 4]).end(),
        ),
        sealed("a text's length in two bytes", layout, &long_length.end()),
        sealed("a text in pieces", layout, &pieces.string(2, &reply).end()),
        sealed("an offer without a name", layout, &named("", "ana")),
        sealed(
            "an offer's name of 33 bytes",
            layout,
            &named(&"o".repeat(33), "ana"),
        ),
        sealed("no username", layout, &named("plug-hour", "")),
        sealed(
            "a username of 65 bytes",
            layout,
            &named("plug-hour", &"u".repeat(65)),
        ),
        sealed("a username that is no UTF-8", layout, &not_text.end()),
        sealed("the password is false", layout, &wish(&[0xf4])),
        sealed("the password is undefined", layout, &wish(&[0xf7])),
        sealed(
            "a verifier of 47 bytes",
            layout,
            &wish(&[&[0x58, 47][..], &[1; 47]].concat()),
        ),
        sealed("a reply key of 31 bytes", layout, &short_key.end()),
        sealed("something in the padding", "padding", &padding.end()),
    ]
}

/// The points of small order and their other spellings (RFC 7748 §6.1, cr.yp.to/ecdh.html).
fn small_points() -> Vec<Memo> {
    let points = [
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "0000000000000000000000000000000000000000000000000000000000000080",
    ];
    let vector = |point: &str| {
        let reply_key = hex::decode(point).expect("digits");
        let reply_key = reply_key.try_into().expect("32 bytes");
        let plain = Plain::of(&Order {
            reply_key,
            ..example()
        })
        .end();
        let name = format!(
            "the reply key is of small order: {}…{}",
            &point[..2],
            &point[62..]
        );
        sealed(&name, "reply-key", &plain)
    };
    points.into_iter().map(vector).collect()
}

fn outcome(vector: &Memo) -> Result<Order, &'static str> {
    let memo = SealedMemo::parse(&vector.memo.0).map_err(|error| match error {
        MemoError::NotOurs => "not-ours",
        MemoError::Form(_) => "form",
        MemoError::Length(_) => "length",
        MemoError::Suite(_) => "suite",
    })?;
    let secret = SealingSecret::from_bytes(vector.secret_id.array(), vector.secret.array());
    let identity = Identity::from_bytes(&vector.identity.array()).expect("an identity");
    let read = secret.open_memo(&memo, &identity, &vector.payer.array());
    read.map_err(|error| match error {
        OpenError::OtherSecret { .. } => "other-secret",
        OpenError::DoesNotOpen => "does-not-open",
        OpenError::Layout(_) => "layout",
        OpenError::Padding => "padding",
        OpenError::ReplyKey => "reply-key",
    })
}

#[test]
fn every_memo_has_the_outcome_that_it_states() {
    let about = "Sealed memos: PROTOCOL.md, 'Memo, form 1'. The engine has identity, secret_id and \
                 secret, and reads memo in a payment by payer. outcome is 'opens' (then order is \
                 what it says) or the reason of the refusal. The ephemeral key is \
                 DeriveKeyPair(entropy).";
    let made = [
        good_ones(),
        unreadable(),
        unopened(),
        misread(),
        small_points(),
    ]
    .concat();
    for vector in kept("memos.json", about, made) {
        let read = outcome(&vector).map(Ordered::from);
        match &vector.order {
            Some(order) => assert_eq!(read.as_ref(), Ok(order), "{}", vector.name),
            None => assert_eq!(read, Err(vector.outcome.as_str()), "{}", vector.name),
        }
    }
}
