//! Memos: what a buyer writes into the payment to say what it is for.
//!
//! A memo lies inside the signed bytes of the paying transaction, as a pure input. It is
//! recognised by its first four bytes wherever it stands among the inputs, and it is public for
//! ever.
//!
//! ```text
//! memo   = "TGLM" form
//! form 0 = 0x00 ‖ n u8 ‖ offer[n] ‖ m u8 ‖ username[m]
//! ```
//! Form 0 is in clear: the offer's name (1 to 32 lower-case letters, digits and hyphens) and the
//! username of the subscriber who gets the time (1 to 64 bytes of UTF-8). Nothing may follow.
//! A memo of any form has at most 256 bytes. What stands in a sealed one (form 1) is read by
//! whoever has the key to it.

use tanglegate_core::{MemoReading, OfferId, Username};

/// The first bytes of every memo.
pub const MAGIC: [u8; 4] = *b"TGLM";

/// The largest memo of any form, in bytes.
pub const MAX_BYTES: usize = 256;

/// The form that [`encode`] writes.
const CLEAR: u8 = 0;
/// The form of orders that only the engine can open: see [`tanglegate_crypto::SealedMemo`].
const SEALED: u8 = 1;

/// Why bytes are not a memo that we can read.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum MemoError {
    /// Not ours at all.
    #[error("the bytes do not begin with TGLM")]
    NotOurs,
    /// Longer than any memo may be.
    #[error("the memo has {0} bytes, at most 256 are read")]
    TooLong(usize),
    /// Another form.
    #[error("the memo is of form {0}, in clear this version reads form 0")]
    UnknownForm(u8),
    /// The bytes end inside a field.
    #[error("the memo ends inside its {0}")]
    Truncated(&'static str),
    /// Something follows the last field.
    #[error("{0} bytes follow the end of the memo")]
    Trailing(usize),
    /// The first field cannot name an offer.
    #[error("the memo names no offer: {0}")]
    Offer(String),
    /// The second field cannot be a username. It is not repeated here: it may name a person.
    #[error("the memo's username cannot be one: {0}")]
    Username(String),
}

/// The memo that buys `offer` for `username`.
pub fn encode(offer: &OfferId, username: &Username) -> Vec<u8> {
    let mut memo = MAGIC.to_vec();
    memo.push(CLEAR);
    for field in [offer.as_str(), username.as_str()] {
        memo.push(u8::try_from(field.len()).expect("names have at most 64 bytes"));
        memo.extend_from_slice(field.as_bytes());
    }
    memo
}

/// What `memo` asks for.
///
/// # Errors
/// See [`MemoError`].
pub fn decode(memo: &[u8]) -> Result<(OfferId, Username), MemoError> {
    let rest = memo.strip_prefix(&MAGIC).ok_or(MemoError::NotOurs)?;
    if memo.len() > MAX_BYTES {
        return Err(MemoError::TooLong(memo.len()));
    }
    let (form, rest) = rest.split_first().ok_or(MemoError::Truncated("form"))?;
    if *form != CLEAR {
        return Err(MemoError::UnknownForm(*form));
    }
    let (offer, rest) = field(rest, "offer")?;
    let (username, rest) = field(rest, "username")?;
    if !rest.is_empty() {
        return Err(MemoError::Trailing(rest.len()));
    }
    let offer = std::str::from_utf8(offer).map_err(|_| MemoError::Offer("not UTF-8".to_owned()))?;
    let username =
        std::str::from_utf8(username).map_err(|_| MemoError::Username("not UTF-8".to_owned()))?;
    let offer = OfferId::parse(offer).map_err(|error| MemoError::Offer(error.to_string()))?;
    let username =
        Username::parse(username).map_err(|error| MemoError::Username(error.to_string()))?;
    Ok((offer, username))
}

/// A field with its length before it.
fn field<'a>(bytes: &'a [u8], name: &'static str) -> Result<(&'a [u8], &'a [u8]), MemoError> {
    let (length, rest) = bytes.split_first().ok_or(MemoError::Truncated(name))?;
    rest.split_at_checked(usize::from(*length))
        .ok_or(MemoError::Truncated(name))
}

/// The memo among a transaction's pure inputs: the first that begins with [`MAGIC`], as it
/// stands or inside a BCS `vector<u8>`, and what it says.
pub(super) fn find<'a>(inputs: impl IntoIterator<Item = &'a [u8]>) -> (Vec<u8>, MemoReading) {
    for input in inputs {
        let inner = vector_of_bytes(input);
        let candidate = [Some(input), inner]
            .into_iter()
            .flatten()
            .find(|b| b.starts_with(&MAGIC));
        if let Some(memo) = candidate {
            let reading = match decode(memo) {
                Ok((offer, username)) => MemoReading::Purchase { offer, username },
                Err(MemoError::UnknownForm(SEALED)) => MemoReading::Sealed,
                Err(_) => MemoReading::Unreadable,
            };
            return (memo[..memo.len().min(MAX_BYTES)].to_vec(), reading);
        }
    }
    (Vec::new(), MemoReading::Absent)
}

/// The content of a BCS `vector<u8>`: a ULEB128 length and exactly so many bytes.
fn vector_of_bytes(bytes: &[u8]) -> Option<&[u8]> {
    let mut length = 0usize;
    for (place, byte) in bytes.iter().enumerate().take(4) {
        length |= usize::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            return bytes
                .get(place + 1..)
                .filter(|content| content.len() == length);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> (OfferId, Username) {
        (
            OfferId::parse("plug-hour").unwrap(),
            Username::parse("zoë").unwrap(),
        )
    }

    #[test]
    fn the_bytes_of_form_0_are_as_documented() {
        let (offer, username) = names();
        let expected = b"TGLM\x00\x09plug-hour\x04zo\xc3\xab";
        assert_eq!(encode(&offer, &username), expected);
        assert_eq!(decode(expected), Ok((offer, username)));
    }

    #[test]
    fn the_longest_names_fit() {
        let offer = OfferId::parse(&"o".repeat(32)).unwrap();
        let username = Username::parse(&"u".repeat(64)).unwrap();
        let memo = encode(&offer, &username);
        assert!(memo.len() <= MAX_BYTES);
        assert_eq!(decode(&memo), Ok((offer, username)));
    }

    #[test]
    fn each_defect_is_named() {
        let cases: [(&[u8], MemoError); 9] = [
            (b"GLMT\x00", MemoError::NotOurs),
            (b"TGLM", MemoError::Truncated("form")),
            (b"TGLM\x01", MemoError::UnknownForm(1)),
            (b"TGLM\x00", MemoError::Truncated("offer")),
            (b"TGLM\x00\x05plug", MemoError::Truncated("offer")),
            (b"TGLM\x00\x04plug", MemoError::Truncated("username")),
            (b"TGLM\x00\x04plug\x03me", MemoError::Truncated("username")),
            (b"TGLM\x00\x04plug\x02me!", MemoError::Trailing(1)),
            (
                b"TGLM\x00\x04plug\x02\xff\xfe",
                MemoError::Username("not UTF-8".to_owned()),
            ),
        ];
        for (bytes, error) in cases {
            assert_eq!(decode(bytes), Err(error));
        }
        assert!(matches!(
            decode(b"TGLM\x00\x04Plug\x02me"),
            Err(MemoError::Offer(_))
        ));
        assert!(matches!(
            decode(b"TGLM\x00\x04plug\x00"),
            Err(MemoError::Username(_))
        ));
        let long = [&MAGIC[..], &[0; 300]].concat();
        assert_eq!(decode(&long), Err(MemoError::TooLong(304)));
    }

    #[test]
    fn a_memo_is_found_wherever_and_however_it_stands() {
        let (offer, username) = names();
        let memo = encode(&offer, &username);
        let wrapped = bcs::to_bytes(&memo).unwrap();
        let noise: &[u8] = &500u64.to_le_bytes();
        let purchase = MemoReading::Purchase { offer, username };
        for input in [&memo, &wrapped] {
            let found = find([noise, input, noise]);
            assert_eq!(found, (memo.clone(), purchase.clone()));
        }
        assert_eq!(find([noise]), (Vec::new(), MemoReading::Absent));
    }

    #[test]
    fn a_memo_that_cannot_be_read_is_kept_up_to_the_limit() {
        let long = [&MAGIC[..], &[7; 1000]].concat();
        let wrapped = bcs::to_bytes(&long).unwrap();
        let (kept, reading) = find([&wrapped[..]]);
        assert_eq!(kept, long[..MAX_BYTES]);
        assert_eq!(reading, MemoReading::Unreadable);
    }

    #[test]
    fn a_sealed_memo_is_left_closed() {
        let sealed = [&MAGIC[..], &[1], &[7; 251]].concat();
        assert_eq!(find([&sealed[..]]), (sealed.clone(), MemoReading::Sealed));
        let long = [&sealed[..], &[0]].concat();
        assert_eq!(find([&long[..]]), (sealed, MemoReading::Unreadable));
    }

    #[test]
    fn a_vector_with_a_wrong_length_is_no_vector() {
        assert_eq!(vector_of_bytes(b"\x02ab"), Some(&b"ab"[..]));
        assert_eq!(vector_of_bytes(b"\x03ab"), None);
        assert_eq!(vector_of_bytes(b"\x80\x80\x80\x80\x01"), None);
        assert_eq!(vector_of_bytes(b""), None);
    }
}
