//! What the engine announces to buyers, as the bytes under its signature (`docs/PROTOCOL.md` §3.2).
//! Each body begins with the identity that signs it; reading compares the two.
//!
//! Numbers are plain here: instants are milliseconds since 1970, money is NANOS, access is 1 to
//! read, 2 to write, 3 for both.

use crate::cbor::{LayoutError, Reader, Writer};
use crate::identity::{Identity, IdentityError, IdentityKey, Label};
use crate::sealing::KeyId;
use crate::suite::SUITE;
use zeroize::Zeroizing;

/// Longest name of an offer, in bytes.
pub(crate) const LONGEST_OFFER: usize = 32;
/// Longest username, in bytes.
pub(crate) const LONGEST_USERNAME: usize = 64;
/// Longest topic filter, in bytes: MQTT 5.0 §1.5.4.
const LONGEST_FILTER: usize = 65_535;
/// Longest name of a ledger's chain.
const LONGEST_CHAIN: usize = 64;
/// Longest name of a log, in bytes.
const LONGEST_ORIGIN: usize = 128;
/// Most bytes of everything in a body besides its longest texts.
const FIXED: usize = 512;

/// Why an announcement is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AnnouncementError {
    /// Its signature does not hold.
    #[error(transparent)]
    Signature(#[from] IdentityError),
    /// It is signed, but not laid out as this version reads it.
    #[error("the signed {what} cannot be read: {why}")]
    Layout {
        /// Which kind of announcement.
        what: &'static str,
        /// What is wrong with it.
        why: LayoutError,
    },
}

/// Something that is announced under a label of its own.
pub trait Announcement: Sized {
    /// The label of its signature.
    const LABEL: Label;

    /// The body as `identity` signs it.
    #[must_use]
    fn encode(&self, identity: &Identity) -> Vec<u8>;

    /// Reads a body that `identity` has signed.
    ///
    /// # Errors
    /// When it is anything but what [`Announcement::encode`] writes.
    fn decode(identity: &Identity, body: &[u8]) -> Result<Self, LayoutError>;
}

impl IdentityKey {
    /// The announcement as it is told: `signature[64] ‖ body`. That of a receipt may hold a
    /// password: wipe it.
    #[must_use]
    pub fn announce<A: Announcement>(&self, announcement: &A) -> Vec<u8> {
        let body = Zeroizing::new(announcement.encode(&self.identity()));
        self.sign(A::LABEL, &body)
    }
}

impl Identity {
    /// Reads what [`IdentityKey::announce`] wrote.
    ///
    /// # Errors
    /// When this identity has not signed it, or it is not laid out as it should be.
    pub fn hear<A: Announcement>(&self, signed: &[u8]) -> Result<A, AnnouncementError> {
        let body = self.open(A::LABEL, signed)?;
        A::decode(self, body).map_err(|why| AnnouncementError::Layout {
            what: A::LABEL.name(),
            why,
        })
    }
}

/// Who the engine is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdentityBody {
    /// The name of its log, as in its tree heads.
    pub origin: String,
    /// When this was signed, in milliseconds since 1970.
    pub issued_at: u64,
    /// The ledger that it takes money on, once it knows.
    pub chain: Option<String>,
}

impl IdentityBody {
    /// Reads an introduction by a stranger, under the key that it names itself. What that is
    /// worth depends on who else shows the same identity: compare it with what the seller
    /// published.
    ///
    /// # Errors
    /// When it is no introduction, or not signed by the key that it names.
    pub fn introduced(signed: &[u8]) -> Result<(Identity, Self), AnnouncementError> {
        let what = Label::Identity.name();
        let bytes = signed.len();
        let (_, body) = signed
            .split_first_chunk::<64>()
            .ok_or(IdentityError::TooShort { what, bytes })?;
        let mut reader = Reader::new(body);
        let named = head(&mut reader, 4).map_err(|why| AnnouncementError::Layout { what, why })?;
        let identity = Identity::from_bytes(&named)?;
        let body = identity.hear(signed)?;
        Ok((identity, body))
    }
}

impl Announcement for IdentityBody {
    const LABEL: Label = Label::Identity;

    fn encode(&self, identity: &Identity) -> Vec<u8> {
        Writer::new(FIXED)
            .array(4)
            .bytes(identity.as_bytes())
            .text(&self.origin)
            .number(self.issued_at)
            .maybe(self.chain.as_deref(), Writer::text)
            .finish()
    }

    fn decode(identity: &Identity, body: &[u8]) -> Result<Self, LayoutError> {
        let mut from = Reader::new(body);
        signer(&mut from, 4, identity)?;
        let this = Self {
            origin: text(&mut from, LONGEST_ORIGIN, "origin")?,
            issued_at: instant(&mut from, "issued_at")?,
            chain: from.maybe(|from| text(from, LONGEST_CHAIN, "chain"))?,
        };
        from.end(&this.encode(identity))?;
        Ok(this)
    }
}

/// What is for sale.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OffersBody {
    /// When this was signed, in milliseconds since 1970.
    pub issued_at: u64,
    /// By their names, each of which stands once.
    pub offers: Vec<OfferLine>,
}

/// One offer in an [`OffersBody`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OfferLine {
    /// Its name: 1 to 32 lower-case letters, digits and hyphens.
    pub name: String,
    /// The ledger address that has to be paid.
    pub seller: [u8; 32],
    /// Which topics.
    pub filter: String,
    /// 1 to read, 2 to write, 3 for both.
    pub access: u8,
    /// What a period costs, in NANOS.
    pub price: u64,
    /// How long that pays for, in milliseconds.
    pub period_ms: u64,
    /// The smallest amount that buys at all, in NANOS.
    pub least: u64,
    /// Exclusive end of the sale, in milliseconds since 1970, where it has one.
    pub valid_until: Option<u64>,
}

impl Announcement for OffersBody {
    const LABEL: Label = Label::Offers;

    fn encode(&self, identity: &Identity) -> Vec<u8> {
        let capacity = FIXED + self.offers.iter().map(OfferLine::capacity).sum::<usize>();
        let head = Writer::new(capacity)
            .array(3)
            .bytes(identity.as_bytes())
            .number(self.issued_at)
            .array(self.offers.len());
        let lines = self.offers.iter();
        lines.fold(head, |to, line| line.write(to)).finish()
    }

    fn decode(identity: &Identity, body: &[u8]) -> Result<Self, LayoutError> {
        let mut from = Reader::new(body);
        signer(&mut from, 3, identity)?;
        let issued_at = instant(&mut from, "issued_at")?;
        let mut offers: Vec<OfferLine> = Vec::new();
        for _ in 0..from.list("offers", "an array")? {
            let line = OfferLine::read(&mut from)?;
            if offers.last().is_some_and(|last| last.name >= line.name) {
                return Err(LayoutError::Field {
                    field: "offers",
                    expected: "in the order of their names, each once",
                });
            }
            offers.push(line);
        }
        let this = Self { issued_at, offers };
        from.end(&this.encode(identity))?;
        Ok(this)
    }
}

impl OfferLine {
    fn capacity(&self) -> usize {
        128 + self.name.len() + self.filter.len()
    }

    fn write(&self, to: Writer) -> Writer {
        to.array(8)
            .text(&self.name)
            .bytes(&self.seller)
            .text(&self.filter)
            .number(u64::from(self.access))
            .number(self.price)
            .number(self.period_ms)
            .number(self.least)
            .maybe(self.valid_until, Writer::number)
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, LayoutError> {
        from.array(8, "offer", "an array of 8 fields")?;
        Ok(Self {
            name: text(from, LONGEST_OFFER, "offer's name")?,
            seller: from.bytes("seller", "32 bytes")?,
            filter: text(from, LONGEST_FILTER, "filter")?,
            access: access(from)?,
            price: from.number(u64::MAX, "price", "a number of NANOS")?,
            period_ms: from.number(u64::MAX, "period", "a number of milliseconds")?,
            least: from.number(u64::MAX, "least purchase", "a number of NANOS")?,
            valid_until: from.maybe(|from| instant(from, "valid_until"))?,
        })
    }
}

/// A public key made for one client, to which it seals its order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyBody {
    /// Which key.
    pub key_id: KeyId,
    /// The X25519 public key.
    pub public: [u8; 32],
    /// When this was signed, in milliseconds since 1970.
    pub issued_at: u64,
    /// Exclusive end of the time in which a payment sealed to it should be made.
    pub valid_until: u64,
}

impl Announcement for KeyBody {
    const LABEL: Label = Label::Key;

    fn encode(&self, identity: &Identity) -> Vec<u8> {
        Writer::new(FIXED)
            .array(6)
            .bytes(identity.as_bytes())
            .bytes(self.key_id.as_bytes())
            .number(u64::from(SUITE))
            .bytes(&self.public)
            .number(self.issued_at)
            .number(self.valid_until)
            .finish()
    }

    fn decode(identity: &Identity, body: &[u8]) -> Result<Self, LayoutError> {
        let mut from = Reader::new(body);
        signer(&mut from, 6, identity)?;
        let key_id = KeyId::from_bytes(from.bytes("key id", "16 bytes")?);
        let suite = from.number(u64::from(SUITE), "suite", "1")?;
        let this = Self {
            key_id,
            public: from.bytes("public key", "32 bytes")?,
            issued_at: instant(&mut from, "issued_at")?,
            valid_until: instant(&mut from, "valid_until")?,
        };
        if suite != u64::from(SUITE) {
            let (field, expected) = ("suite", "1");
            return Err(LayoutError::Field { field, expected });
        }
        from.end(&this.encode(identity))?;
        Ok(this)
    }
}

/// The identity at the beginning of a body of `fields` fields.
fn head(from: &mut Reader<'_>, fields: u64) -> Result<[u8; 32], LayoutError> {
    from.array(fields, "body", "an array with the fields of its kind")?;
    from.bytes("identity", "32 bytes")
}

/// The beginning of a body, which has to name the one who signed it.
pub(crate) fn signer(
    from: &mut Reader<'_>,
    fields: u64,
    identity: &Identity,
) -> Result<(), LayoutError> {
    let named = head(from, fields)?;
    (&named == identity.as_bytes())
        .then_some(())
        .ok_or(LayoutError::Identity)
}

pub(crate) fn text(
    from: &mut Reader<'_>,
    most: usize,
    field: &'static str,
) -> Result<String, LayoutError> {
    let text = from.text(1, most, field, "a text of a length that it may have")?;
    Ok(text.to_owned())
}

pub(crate) fn instant(from: &mut Reader<'_>, field: &'static str) -> Result<u64, LayoutError> {
    from.number(u64::MAX, field, "a number of milliseconds since 1970")
}

pub(crate) fn access(from: &mut Reader<'_>) -> Result<u8, LayoutError> {
    let (field, expected) = ("access", "1, 2 or 3");
    let number = from.number(3, field, expected)?;
    u8::try_from(number)
        .ok()
        .filter(|it| *it > 0)
        .ok_or(LayoutError::Field { field, expected })
}
