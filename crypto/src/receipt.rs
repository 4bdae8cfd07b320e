//! What the engine says of a payment, signed: which right it bought, or why none, and what the
//! login is. Whoever holds one can show later what was promised.

use crate::announcement::{
    Announcement, LONGEST_OFFER, LONGEST_USERNAME, access, instant, signer, text,
};
use crate::cbor::{LayoutError, Reader, Writer};
use crate::identity::{Identity, Label};
use std::fmt;
use zeroize::Zeroizing;

/// Longest filter that a receipt carries, in bytes; a longer one is left out of it.
pub const LONGEST_RECEIPT_FILTER: usize = 2_048;
/// Longest reason that a receipt carries, in bytes of UTF-8.
pub const LONGEST_REASON: usize = 512;
/// Longest password that a receipt carries, in bytes of UTF-8.
const LONGEST_PASSWORD: usize = 64;
/// No receipt has more bytes without its signature.
pub(crate) const LONGEST_RECEIPT: usize = 3_072;

/// What became of a payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It bought time.
    TimeBought,
    /// It was too little for any time and stands on the login's account.
    OnAccount,
    /// It bought nothing; the reason says why. Its money is not spent.
    Refused,
}

impl Outcome {
    fn code(self) -> u64 {
        match self {
            Self::TimeBought => 0,
            Self::OnAccount => 1,
            Self::Refused => 2,
        }
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, LayoutError> {
        let (field, expected) = ("outcome", "0, 1 or 2");
        match from.number(2, field, expected)? {
            0 => Ok(Self::TimeBought),
            1 => Ok(Self::OnAccount),
            _ => Ok(Self::Refused),
        }
    }
}

/// The receipt of one payment. Instants are milliseconds since 1970, money is NANOS.
#[derive(Clone, PartialEq, Eq)]
pub struct Receipt {
    /// Digest of the paying transaction.
    pub digest: [u8; 32],
    /// Which of its payments.
    pub index: u16,
    /// The ledger address that was paid.
    pub seller: [u8; 32],
    /// How much.
    pub amount: u64,
    /// When the engine recorded it.
    pub recorded_at: u64,
    /// Place of the payment's first event in the engine's log.
    pub position: u64,
    /// What became of it.
    pub outcome: Outcome,
    /// Why it was refused, in at most [`LONGEST_REASON`] bytes.
    pub reason: Option<String>,
    /// The offer that was asked for.
    pub offer: String,
    /// The login that was asked for. Personal data.
    pub username: String,
    /// The login's password where the engine made one. Secret.
    pub password: Option<Zeroizing<String>>,
    /// Which topics were bought; absent when none were, or the filter is longer than
    /// [`LONGEST_RECEIPT_FILTER`] bytes.
    pub filter: Option<String>,
    /// 1 to read, 2 to write, 3 for both; absent when nothing was bought.
    pub access: Option<u8>,
    /// Since when the right runs.
    pub from: Option<u64>,
    /// Its exclusive end.
    pub until: Option<u64>,
    /// What is on the login's account now.
    pub credit: u64,
}

/// Neither the name nor the password.
impl fmt::Debug for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receipt")
            .field("digest", &hex::encode(self.digest))
            .field("index", &self.index)
            .field("amount", &self.amount)
            .field("position", &self.position)
            .field("outcome", &self.outcome)
            .field("offer", &self.offer)
            .finish_non_exhaustive()
    }
}

impl Announcement for Receipt {
    const LABEL: Label = Label::Receipt;

    fn encode(&self, identity: &Identity) -> Vec<u8> {
        Writer::new(LONGEST_RECEIPT)
            .array(17)
            .bytes(identity.as_bytes())
            .bytes(&self.digest)
            .number(u64::from(self.index))
            .bytes(&self.seller)
            .number(self.amount)
            .number(self.recorded_at)
            .number(self.position)
            .number(self.outcome.code())
            .maybe(self.reason.as_deref(), Writer::text)
            .text(&self.offer)
            .text(&self.username)
            .maybe(self.password.as_ref(), |to, it| to.text(it))
            .maybe(self.filter.as_deref(), Writer::text)
            .maybe(self.access.map(u64::from), Writer::number)
            .maybe(self.from, Writer::number)
            .maybe(self.until, Writer::number)
            .number(self.credit)
            .finish()
    }

    fn decode(identity: &Identity, body: &[u8]) -> Result<Self, LayoutError> {
        let mut from = Reader::new(body);
        signer(&mut from, 17, identity)?;
        let this = Self {
            digest: from.bytes("payment's digest", "32 bytes")?,
            index: index(&mut from)?,
            seller: from.bytes("seller", "32 bytes")?,
            amount: from.number(u64::MAX, "amount", "a number of NANOS")?,
            recorded_at: instant(&mut from, "recorded_at")?,
            position: from.number(u64::MAX, "position", "a number")?,
            outcome: Outcome::read(&mut from)?,
            reason: from.maybe(|from| text(from, LONGEST_REASON, "reason"))?,
            offer: text(&mut from, LONGEST_OFFER, "offer")?,
            username: text(&mut from, LONGEST_USERNAME, "username")?,
            password: from
                .maybe(|from| text(from, LONGEST_PASSWORD, "password").map(Zeroizing::new))?,
            filter: from.maybe(|from| text(from, LONGEST_RECEIPT_FILTER, "filter"))?,
            access: from.maybe(access)?,
            from: from.maybe(|from| instant(from, "from"))?,
            until: from.maybe(|from| instant(from, "until"))?,
            credit: from.number(u64::MAX, "credit", "a number of NANOS")?,
        };
        from.end(&Zeroizing::new(this.encode(identity)))?;
        Ok(this)
    }
}

fn index(from: &mut Reader<'_>) -> Result<u16, LayoutError> {
    let (field, expected) = ("payment's index", "a number of 16 bits");
    let number = from.number(u64::from(u16::MAX), field, expected)?;
    u16::try_from(number).map_err(|_| LayoutError::Field { field, expected })
}
