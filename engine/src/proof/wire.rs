//! Question and answer as bytes.

use crate::event_log::{OwnedEvent, StoredEvent};
use minicbor::bytes::{ByteArray, ByteVec};
use minicbor::{Decode, Encode};
use tanglegate_core::{Digest, PaymentId, Timestamp};
use tanglegate_crypto::Hash;

/// Longest answer, in bytes: what the gate tells one client.
pub const LONGEST_ANSWER: usize = 5 << 10;
/// Most hashes of a path: a log has less than 2⁶⁴ events.
const LONGEST_PATH: usize = 64;
/// Longest columns, in bytes, as the table bounds them.
const LONGEST: [(&str, usize); 3] = [("stream", 255), ("kind", 63), ("idempotency key", 64)];

/// Why there is no proof: what the buyer is told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unproved {
    /// Not the bytes of a question.
    #[error(
        "unreadable: ask with a CBOR array of the transaction's digest and the payment's index"
    )]
    Unreadable,
    /// The log has no such payment.
    #[error("unknown-payment: the log holds no such payment; has the ledger confirmed it?")]
    Unknown,
    /// No head is over it yet.
    #[error("not-yet: no signed tree head covers this payment; the next one will: ask again")]
    NotYet,
    /// Nobody signs here.
    #[error("no-heads: this engine signs no tree heads")]
    NoHeads,
    /// The log cannot be read.
    #[error("unavailable: the log cannot be read just now; ask again later")]
    Unavailable,
    /// It cannot be told.
    #[error(
        "too-long: the proof is longer than an answer may be; the seller can prove it otherwise"
    )]
    TooLong,
}

impl Unproved {
    /// Whether such an answer says that asking again in a moment helps.
    #[must_use]
    pub fn will_pass(reason: &str) -> bool {
        reason.starts_with("not-yet:") || reason.starts_with("unavailable:")
    }
}

/// A question: which payment.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Ask {
    #[cbor(n(0), with = "minicbor::bytes")]
    digest: [u8; 32],
    #[n(1)]
    index: u16,
}

impl Ask {
    /// About this payment.
    #[must_use]
    pub fn about(payment: PaymentId) -> Self {
        Self {
            digest: payment.digest.0,
            index: payment.index,
        }
    }

    /// Its bytes.
    ///
    /// # Panics
    /// Never: a vector takes every byte.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        minicbor::to_vec(self).expect("a vector takes every byte")
    }

    /// Which payment is asked about.
    ///
    /// # Errors
    /// When these are no such bytes.
    pub fn read(bytes: &[u8]) -> Result<PaymentId, Unproved> {
        let ask: Self = minicbor::decode(bytes).map_err(|_| Unproved::Unreadable)?;
        if ask.to_bytes() != bytes {
            return Err(Unproved::Unreadable);
        }
        Ok(PaymentId {
            digest: Digest(ask.digest),
            index: ask.index,
        })
    }
}

/// What proves that the log of a head holds an event. Nothing of it is checked yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PaymentProof {
    /// The signed head.
    pub head: String,
    /// The event; its leaf is that of its columns.
    pub event: OwnedEvent,
    /// The hashes from the leaf's neighbour up to the root.
    pub path: Vec<Hash>,
}

#[derive(Encode, Decode)]
struct WireProof {
    #[n(0)]
    head: String,
    #[n(1)]
    event: WireEvent,
    #[n(2)]
    path: Vec<ByteArray<32>>,
}

#[derive(Encode, Decode)]
struct WireEvent {
    #[n(0)]
    position: u64,
    #[n(1)]
    stream: String,
    #[n(2)]
    version: u64,
    #[n(3)]
    kind: String,
    #[n(4)]
    schema_version: i16,
    #[n(5)]
    idempotency_key: ByteVec,
    #[n(6)]
    recorded_at: u64,
    #[n(7)]
    correlation: Option<ByteArray<16>>,
    #[n(8)]
    causation: Option<u64>,
    #[n(9)]
    meta: ByteVec,
    #[n(10)]
    body: ByteVec,
}

impl WireEvent {
    fn of(event: OwnedEvent) -> Self {
        Self {
            position: event.position,
            stream: event.stream,
            version: event.version,
            kind: event.kind,
            schema_version: event.schema_version,
            idempotency_key: event.idempotency_key.unwrap_or_default().into(),
            recorded_at: event.recorded_at.0,
            correlation: event.correlation.map(Into::into),
            causation: event.causation,
            meta: event.meta.into(),
            body: event.body.into(),
        }
    }

    fn into_event(self) -> Result<OwnedEvent, &'static str> {
        let key: Vec<u8> = self.idempotency_key.into();
        let lengths = [self.stream.len(), self.kind.len(), key.len()];
        for ((column, longest), length) in LONGEST.into_iter().zip(lengths) {
            if length > longest {
                return Err(column);
            }
        }
        let mut event = OwnedEvent {
            position: self.position,
            stream: self.stream,
            version: self.version,
            kind: self.kind,
            schema_version: self.schema_version,
            // Without one and with an empty one, the leaf is the same.
            idempotency_key: (!key.is_empty()).then_some(key),
            recorded_at: Timestamp(self.recorded_at),
            correlation: self.correlation.map(Into::into),
            causation: self.causation,
            meta: self.meta.into(),
            body: self.body.into(),
            leaf: [0; 32],
        };
        event.leaf = event.stored().leaf();
        Ok(event)
    }
}

type WireAnswer = (Option<String>, Option<WireProof>);

/// The bytes of an answer, at most [`LONGEST_ANSWER`].
pub(super) fn answer(outcome: Result<PaymentProof, Unproved>) -> Vec<u8> {
    let refusal = |why: Unproved| written(&(Some(why.to_string()), None));
    match outcome {
        Ok(PaymentProof { head, event, path }) => {
            let event = WireEvent::of(event);
            let path = path.into_iter().map(Into::into).collect();
            let proved = written(&(None, Some(WireProof { head, event, path })));
            match proved.len() <= LONGEST_ANSWER {
                true => proved,
                false => refusal(Unproved::TooLong),
            }
        }
        Err(why) => refusal(why),
    }
}

fn written(answer: &WireAnswer) -> Vec<u8> {
    minicbor::to_vec(answer).expect("a vector takes every byte")
}

/// Reads an answer: a proof, or the reason why there is none.
///
/// # Errors
/// Says what is wrong with bytes that are no answer.
pub fn read_answer(bytes: &[u8]) -> Result<Result<PaymentProof, String>, &'static str> {
    if bytes.len() > LONGEST_ANSWER {
        return Err("it is longer than 5 KiB");
    }
    let read: WireAnswer =
        minicbor::decode(bytes).map_err(|_| "its CBOR is not laid out as an answer")?;
    if written(&read) != bytes {
        return Err("its CBOR is not deterministic, or goes on");
    }
    match read {
        (Some(reason), None) => Ok(Err(reason)),
        (None, Some(WireProof { head, event, path })) => {
            if path.len() > LONGEST_PATH {
                return Err("its path is longer than any can be");
            }
            Ok(Ok(PaymentProof {
                head,
                event: event.into_event()?,
                path: path.into_iter().map(Into::into).collect(),
            }))
        }
        _ => Err("it has neither a reason nor a proof, or both"),
    }
}

impl PaymentProof {
    /// The event's columns.
    #[must_use]
    pub fn stored(&self) -> StoredEvent<'_> {
        self.event.stored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proof() -> PaymentProof {
        let wire = WireEvent {
            position: 7,
            stream: "payment/x:0".to_owned(),
            version: 1,
            kind: "payment_confirmed".to_owned(),
            schema_version: 1,
            idempotency_key: vec![1; 35].into(),
            recorded_at: 9,
            correlation: None,
            causation: None,
            meta: vec![1].into(),
            body: vec![2; 300].into(),
        };
        PaymentProof {
            head: "a head".to_owned(),
            event: wire.into_event().expect("its columns fit"),
            path: vec![[3; 32]; 22],
        }
    }

    #[test]
    fn what_is_written_is_read_back_and_a_proof_of_millions_fits() {
        let bytes = answer(Ok(proof()));
        assert_eq!(read_answer(&bytes), Ok(Ok(proof())));
        assert!(bytes.len() < 1_500, "{} bytes", bytes.len());
        for why in [Unproved::NotYet, Unproved::Unavailable, Unproved::Unknown] {
            let told = read_answer(&answer(Err(why.clone()))).expect("an answer");
            assert_eq!(told, Err(why.to_string()));
            assert_eq!(
                Unproved::will_pass(&why.to_string()),
                why != Unproved::Unknown
            );
        }
    }

    #[test]
    fn columns_that_no_log_can_hold_are_refused_and_not_hashed() {
        type Change = fn(&mut OwnedEvent);
        let changes: [(&str, Change); 3] = [
            ("stream", |it| it.stream = "s".repeat(256)),
            ("kind", |it| it.kind = "k".repeat(64)),
            ("idempotency key", |it| {
                it.idempotency_key = Some(vec![1; 65]);
            }),
        ];
        for (column, change) in changes {
            let mut proof = proof();
            change(&mut proof.event);
            assert_eq!(read_answer(&answer(Ok(proof))), Err(column));
        }
        let mut long = proof();
        long.path = vec![[3; 32]; LONGEST_PATH + 1];
        assert!(read_answer(&answer(Ok(long))).is_err());
    }

    #[test]
    fn a_proof_that_cannot_be_told_is_refused_in_words() {
        let mut long = proof();
        long.event.body = vec![2; LONGEST_ANSWER];
        let told = read_answer(&answer(Ok(long))).expect("an answer");
        assert_eq!(told, Err(Unproved::TooLong.to_string()));
    }

    #[test]
    fn neither_or_both_is_no_answer() {
        let both = |reason: Option<String>, it: Option<PaymentProof>| {
            let wire = it.map(|it| WireProof {
                head: it.head,
                event: WireEvent::of(it.event),
                path: Vec::new(),
            });
            read_answer(&written(&(reason, wire)))
        };
        assert!(both(None, None).is_err());
        assert!(both(Some("not-yet: ".to_owned()), Some(proof())).is_err());
        assert!(read_answer(&[0x80]).is_err() && read_answer(&[0; 6_000]).is_err());
    }

    #[test]
    fn questions_are_read_in_one_form_only() {
        let payment = PaymentId {
            digest: Digest([4; 32]),
            index: 300,
        };
        let bytes = Ask::about(payment).to_bytes();
        assert_eq!(Ask::read(&bytes), Ok(payment));
        // 0 in two bytes; a byte behind the end.
        let loose = [&bytes[..35], &[0x18, 0x00]].concat();
        for wrong in [loose, [&bytes[..], &[0]].concat(), Vec::new()] {
            assert_eq!(Ask::read(&wrong), Err(Unproved::Unreadable));
        }
    }
}
