//! Signed tree heads: checkpoints (c2sp.org/tlog-checkpoint) in signed notes
//! (c2sp.org/signed-note), with Ed25519. Verifiers of transparency logs read them.

use crate::merkle::Hash;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use sha2::{Digest as _, Sha256};
use std::fmt;
use std::str::FromStr;
use zeroize::Zeroizing;

/// The algorithm byte of Ed25519 (c2sp.org/signed-note, "Signatures").
const ED25519: u8 = 0x01;

/// Most bytes of a note that is read: a head has about 250 with two signatures.
pub const LONGEST_NOTE: usize = 4_096;

/// A note, a name or a key that cannot be read, or a signature that does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// Not the form of a checkpoint in a signed note.
    #[error("this is no signed tree head: {0}")]
    Form(&'static str),
    /// A key's name that no note could carry.
    #[error(
        "'{0}' cannot name a log: 1 to 128 printable characters without spaces and plus signs, \
         for example log.example.org"
    )]
    Name(String),
    /// A public key in a form that is not understood.
    #[error(
        "'{0}' is no public key of a log: its form is name+8 hexadecimal digits+base64, as \
         `tanglegate audit key` shows it"
    )]
    Key(String),
    /// A secret key in a form that is not understood.
    #[error("this is no secret key of a log: its form is PRIVATE+KEY+name+id+base64")]
    Secret,
    /// Signed by somebody else, or not at all.
    #[error("the tree head carries no signature of {0}")]
    Unsigned(String),
    /// The key's signature is not over this text.
    #[error("the signature of {0} is not over this tree head: it was changed")]
    Forged(String),
}

/// The name of a log, which is the first line of its heads and the name of its keys.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin(String);

impl Origin {
    /// Reads a name.
    ///
    /// # Errors
    /// When it is empty, longer than 128 bytes, or has spaces, plus signs or control characters
    /// (c2sp.org/signed-note: key names have neither spaces nor plus signs).
    pub fn parse(text: &str) -> Result<Self, HeadError> {
        let unfit = |it: char| it.is_whitespace() || it.is_control() || it == '+';
        if !(1..=128).contains(&text.len()) || text.chars().any(unfit) {
            return Err(HeadError::Name(text.chars().take(128).collect()));
        }
        Ok(Self(text.to_owned()))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The public key that a log's heads are verified with. Its text is
/// `name+id+base64(01 ‖ key)`, as other verifiers take it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeadVerifier {
    origin: Origin,
    key: VerifyingKey,
}

impl HeadVerifier {
    /// A key by its 32 bytes.
    ///
    /// # Errors
    /// When the bytes are no point of the curve.
    pub fn new(origin: Origin, key: &[u8; 32]) -> Result<Self, HeadError> {
        let key = VerifyingKey::from_bytes(key).map_err(|_| HeadError::Key(BASE64.encode(key)))?;
        Ok(Self { origin, key })
    }

    /// The log.
    #[must_use]
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The key itself.
    #[must_use]
    pub fn key(&self) -> &[u8; 32] {
        self.key.as_bytes()
    }

    /// The first four bytes of SHA-256(name ‖ LF ‖ 01 ‖ key): which key signed.
    fn id(&self) -> [u8; 4] {
        let mut hasher = Sha256::new();
        hasher.update(self.origin.0.as_bytes());
        hasher.update([b'\n', ED25519]);
        hasher.update(self.key.as_bytes());
        let hash: [u8; 32] = hasher.finalize().into();
        [hash[0], hash[1], hash[2], hash[3]]
    }
}

impl fmt::Display for HeadVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = u32::from_be_bytes(self.id());
        let key = [&[ED25519], self.key.as_bytes().as_slice()].concat();
        write!(f, "{}+{id:08x}+{}", self.origin, BASE64.encode(key))
    }
}

impl FromStr for HeadVerifier {
    type Err = HeadError;

    fn from_str(text: &str) -> Result<Self, HeadError> {
        let unfit = || HeadError::Key(text.chars().take(256).collect());
        let mut parts = text.splitn(3, '+');
        let (Some(name), Some(_), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(unfit());
        };
        let origin = Origin::parse(name).map_err(|_| unfit())?;
        let bytes = BASE64.decode(key).map_err(|_| unfit())?;
        let key: [u8; 32] = match bytes.split_first() {
            Some((&ED25519, key)) => key.try_into().map_err(|_| unfit())?,
            _ => return Err(unfit()),
        };
        let verifier = Self::new(origin, &key).map_err(|_| unfit())?;
        if verifier.to_string() == text {
            Ok(verifier)
        } else {
            Err(unfit())
        }
    }
}

/// The secret key that signs a log's heads. Wiped when it is dropped.
pub struct HeadKey {
    origin: Origin,
    key: SigningKey,
}

impl HeadKey {
    /// A key from 32 random bytes, or as it was kept.
    #[must_use]
    pub fn from_seed(origin: Origin, seed: &[u8; 32]) -> Self {
        let key = SigningKey::from_bytes(seed);
        Self { origin, key }
    }

    /// A key as it was kept: `PRIVATE+KEY+name+id+base64(01 ‖ seed)`, the form that the `note`
    /// package of Go writes and reads.
    ///
    /// # Errors
    /// When it is not of that form. The message does not repeat it.
    pub fn from_text(text: &str) -> Result<Self, HeadError> {
        let unfit = || HeadError::Secret;
        let kept = text.strip_prefix("PRIVATE+KEY+").ok_or_else(unfit)?;
        let mut parts = kept.splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(unfit());
        };
        let origin = Origin::parse(name).map_err(|_| unfit())?;
        let bytes = Zeroizing::new(BASE64.decode(key).map_err(|_| unfit())?);
        let Some((&ED25519, seed)) = bytes.split_first() else {
            return Err(unfit());
        };
        let key = Self::from_seed(origin, seed.try_into().map_err(|_| unfit())?);
        let same = id == format!("{:08x}", u32::from_be_bytes(key.verifier().id()));
        same.then_some(key).ok_or_else(unfit)
    }

    /// The key, to be kept.
    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        let id = u32::from_be_bytes(self.verifier().id());
        let bytes = Zeroizing::new([&[ED25519], self.key.as_bytes().as_slice()].concat());
        let secret = Zeroizing::new(BASE64.encode(&*bytes));
        Zeroizing::new(format!("PRIVATE+KEY+{}+{id:08x}+{}", self.origin, &*secret))
    }

    /// The public half.
    #[must_use]
    pub fn verifier(&self) -> HeadVerifier {
        HeadVerifier {
            origin: self.origin.clone(),
            key: self.key.verifying_key(),
        }
    }
}

impl fmt::Debug for HeadKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HeadKey({})", self.verifier())
    }
}

/// The root of a log's tree at some size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeHead {
    /// Which log.
    pub origin: Origin,
    /// Number of leaves.
    pub size: u64,
    /// The root over them.
    pub root: Hash,
}

impl TreeHead {
    /// The signed text: origin, size and root, a line each (c2sp.org/tlog-checkpoint).
    fn text(&self) -> String {
        let root = BASE64.encode(self.root);
        format!("{}\n{}\n{root}\n", self.origin, self.size)
    }

    /// The head as a note with a signature of each key. Keys carry the head's origin.
    #[must_use]
    pub fn sign(&self, keys: &[&HeadKey]) -> String {
        let text = self.text();
        let mut note = text.clone();
        for key in keys {
            let signature = key.key.sign(text.as_bytes()).to_bytes();
            let line = [key.verifier().id().as_slice(), &signature].concat();
            note.push_str(&format!(
                "\n\u{2014} {} {}",
                key.origin,
                BASE64.encode(line)
            ));
        }
        note.push('\n');
        note
    }
}

/// A head as it was read, with signatures that nobody has checked yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedHead {
    /// What was signed.
    pub head: TreeHead,
    text: String,
    signatures: Vec<NoteSignature>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct NoteSignature {
    name: String,
    id: [u8; 4],
    bytes: Vec<u8>,
}

impl SignedHead {
    /// Reads a note. Further lines of the checkpoint and signatures of unknown algorithms are
    /// let pass, as the specification asks.
    ///
    /// # Errors
    /// When it is not a checkpoint in a signed note of at most [`LONGEST_NOTE`] bytes.
    pub fn parse(note: &str) -> Result<Self, HeadError> {
        let form = |what| HeadError::Form(what);
        if note.len() > LONGEST_NOTE {
            return Err(form("it is longer than 4,096 bytes"));
        }
        let end = note
            .rfind("\n\n")
            .ok_or(form("it has no empty line before its signatures"))?;
        let (text, signatures) = (&note[..=end], &note[end + 2..]);
        let mut lines = text.lines();
        let origin = lines.next().ok_or(form("it has no name of a log"))?;
        let origin =
            Origin::parse(origin).map_err(|_| form("its first line is no name of a log"))?;
        let size = lines.next().ok_or(form("it has no size"))?;
        let canonical = size == "0" || !size.starts_with(['0', '+']);
        let size = Some(size)
            .filter(|_| canonical)
            .and_then(|it| it.parse().ok())
            .ok_or(form("its second line is no size"))?;
        let root = lines.next().and_then(|it| BASE64.decode(it).ok());
        let root = root
            .and_then(|it| it.try_into().ok())
            .ok_or(form("its third line is no root of 32 bytes in base64"))?;
        let signatures = signatures
            .strip_suffix('\n')
            .ok_or(form("it does not end with the end of a line"))?
            .split('\n')
            .map(NoteSignature::parse)
            .collect::<Option<Vec<_>>>()
            .ok_or(form("a line of its signatures is none"))?;
        Ok(Self {
            head: TreeHead { origin, size, root },
            text: text.to_owned(),
            signatures,
        })
    }

    /// Checks the signature of one key; others are not looked at.
    ///
    /// # Errors
    /// When the head is of another log, the key has not signed it, or has signed another text.
    pub fn verify(&self, verifier: &HeadVerifier) -> Result<&TreeHead, HeadError> {
        let (name, id) = (verifier.origin.as_str(), verifier.id());
        let by_key = |it: &&NoteSignature| it.name == name && it.id == id;
        let unsigned = || HeadError::Unsigned(verifier.to_string());
        if self.head.origin != verifier.origin {
            return Err(unsigned());
        }
        let signature = self.signatures.iter().find(by_key).ok_or_else(unsigned)?;
        let forged = || HeadError::Forged(verifier.to_string());
        let signature = Signature::from_slice(&signature.bytes).map_err(|_| forged())?;
        verifier
            .key
            .verify_strict(self.text.as_bytes(), &signature)
            .map_err(|_| forged())?;
        Ok(&self.head)
    }
}

impl NoteSignature {
    fn parse(line: &str) -> Option<Self> {
        let (name, bytes) = line.strip_prefix("\u{2014} ")?.split_once(' ')?;
        let bytes = BASE64.decode(bytes).ok()?;
        let (id, bytes) = bytes.split_first_chunk::<4>()?;
        let (name, bytes) = (name.to_owned(), bytes.to_vec());
        Some(Self {
            name,
            id: *id,
            bytes,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(seed: u8) -> HeadKey {
        let origin = Origin::parse("log.example.org").expect("valid");
        HeadKey::from_seed(origin, &[seed; 32])
    }

    fn head() -> TreeHead {
        TreeHead {
            origin: Origin::parse("log.example.org").expect("valid"),
            size: 42,
            root: [9; 32],
        }
    }

    #[test]
    fn a_head_verifies_under_each_key_that_signed_it() {
        let note = head().sign(&[&key(1), &key(2)]);
        let signed = SignedHead::parse(&note).expect("as it was written");
        assert_eq!(signed.verify(&key(1).verifier()), Ok(&head()));
        assert_eq!(signed.verify(&key(2).verifier()), Ok(&head()));
        let other = signed.verify(&key(3).verifier());
        assert!(matches!(other, Err(HeadError::Unsigned(_))), "{other:?}");
    }

    #[test]
    fn no_byte_of_a_note_can_be_changed() {
        let note = head().sign(&[&key(1)]);
        for at in 0..note.len() {
            let mut changed = note.clone().into_bytes();
            changed[at] ^= 1;
            let Ok(changed) = String::from_utf8(changed) else {
                continue;
            };
            let read = SignedHead::parse(&changed);
            let verified = read.and_then(|it| it.verify(&key(1).verifier()).cloned());
            assert!(verified.is_err(), "byte {at}: {changed}");
        }
    }

    #[test]
    fn a_public_key_is_read_back_from_its_text() {
        let verifier = key(1).verifier();
        assert_eq!(verifier.to_string().parse(), Ok(verifier.clone()));
        let text = verifier.to_string();
        for wrong in [
            "",
            "a+b",
            &text[1..],
            &text[..text.len() - 4],
            &format!("{text}AAAA"),
        ] {
            assert!(wrong.parse::<HeadVerifier>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_secret_key_is_kept_as_text_and_shown_nowhere() {
        let text = key(1).to_text();
        let kept = HeadKey::from_text(&text).expect("as it was written");
        assert_eq!(kept.verifier(), key(1).verifier());
        let secret = text.rsplit('+').next().expect("its last part");
        assert!(!format!("{kept:?}").contains(secret));
        for wrong in [
            "",
            "PRIVATE+KEY+a+b",
            &text[..text.len() - 1],
            &text.replace("log", "lag"),
        ] {
            let refused = HeadKey::from_text(wrong).map(|it| it.verifier());
            assert_eq!(refused, Err(HeadError::Secret), "{wrong}");
        }
    }

    #[test]
    fn the_example_of_the_specification_verifies() {
        // c2sp.org/signed-note: a verifier key and a note that the Go implementation's tests use.
        let verifier = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
        let parsed: HeadVerifier = verifier.parse().expect("a key of Go's note package");
        assert_eq!(parsed.to_string(), verifier);
        let note = "If you think cryptography is the answer to your problem,\n\
            then you don't know what your problem is.\n\n\
            \u{2014} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";
        let (text, signature) = note.split_once("\n\n").expect("one empty line");
        let signature = NoteSignature::parse(signature.trim_end()).expect("a signature line");
        let signed = SignedHead {
            head: TreeHead {
                origin: parsed.origin.clone(),
                size: 0,
                root: [0; 32],
            },
            text: format!("{text}\n"),
            signatures: vec![signature],
        };
        assert!(signed.verify(&parsed).is_ok());
    }

    #[test]
    fn names_that_no_note_can_carry_are_refused() {
        for name in ["", "a b", "a+b", "a\nb", &"x".repeat(129)] {
            assert!(Origin::parse(name).is_err(), "{name:?}");
        }
    }

    #[test]
    fn what_is_not_a_head_is_refused_with_what_is_wrong() {
        let good = head().sign(&[&key(1)]);
        let cases = [
            ("", "empty line"),
            ("a\n1\nx\n\n\u{2014} a AAAA\n", "root"),
            (&good.replacen("42", "042", 1), "size"),
            (&good.replacen("42", "-1", 1), "size"),
            (good.trim_end(), "end of a line"),
            (&"x".repeat(5_000), "longer"),
        ];
        for (note, what) in cases {
            let error = SignedHead::parse(note).expect_err(what).to_string();
            assert!(error.contains(what), "{error} instead of {what}");
        }
    }
}
