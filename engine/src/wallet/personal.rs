//! Personal messages: what a wallet signs to prove that an address is its own, and no transaction.
//!
//! The signature is over BLAKE2b-256 of `03 00 00 ‖ BCS(message)`, so it can never pass for that
//! of a transaction (IOTA's intent scope 3).

use super::key::Key;
use ed25519_dalek::{Signature, VerifyingKey};
use iota_sdk_types::{Ed25519PublicKey, PersonalMessage};
use std::borrow::Cow;
use tanglegate_core::Address;

/// Bytes of a signature on the wire: `00 ‖ signature[64] ‖ public key[32]`.
pub const PERSONAL_SIGNATURE: usize = 97;

/// A signature that proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// Another signature scheme, or no signature at all.
    #[error(
        "the proof is no Ed25519 signature of an IOTA wallet: it has 97 bytes and begins with 00"
    )]
    Scheme,
    /// It is not over this message.
    #[error("the signature is not over this message by the key that comes with it")]
    Wrong,
}

fn digest(message: &[u8]) -> [u8; 32] {
    PersonalMessage(Cow::Borrowed(message)).signing_digest()
}

impl Key {
    /// Signs a message that is no transaction.
    #[must_use]
    pub fn sign_personal(&self, message: &[u8]) -> [u8; PERSONAL_SIGNATURE] {
        let mut wire = [0; PERSONAL_SIGNATURE];
        wire[1..65].copy_from_slice(&self.sign_digest(&digest(message)));
        wire[65..].copy_from_slice(&self.verifying_bytes());
        wire
    }
}

/// Whose address signed this message.
///
/// # Errors
/// When the signature is of another scheme, or not over the message.
pub fn signer_of_personal(message: &[u8], signature: &[u8]) -> Result<Address, ProofError> {
    let wire: &[u8; PERSONAL_SIGNATURE] = signature.try_into().map_err(|_| ProofError::Scheme)?;
    let (flag, rest) = wire.split_first().expect("97 bytes");
    let (signature, key) = rest.split_first_chunk::<64>().expect("96 bytes");
    let key: [u8; 32] = key.try_into().expect("32 bytes");
    if *flag != 0 {
        return Err(ProofError::Scheme);
    }
    let verifier = VerifyingKey::from_bytes(&key).map_err(|_| ProofError::Wrong)?;
    verifier
        .verify_strict(&digest(message), &Signature::from_bytes(signature))
        .map_err(|_| ProofError::Wrong)?;
    let address = Ed25519PublicKey::new(key).derive_address();
    Ok(Address(address.into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    /// Made with the official TypeScript SDK.
    fn vector() -> (Key, Vec<u8>, Vec<u8>, Address) {
        let text = include_str!("../../tests/fixtures/personal_message_vector.json");
        let vector: serde_json::Value = serde_json::from_str(text).unwrap();
        let field = |name: &str| vector[name].as_str().unwrap().to_owned();
        let mut seed = [0; 32];
        hex::decode_to_slice(field("seed_hex"), &mut seed).unwrap();
        (
            Key::from_seed(&seed),
            field("message_utf8").into_bytes(),
            STANDARD.decode(field("signature_b64")).unwrap(),
            Address::parse(&field("address")).unwrap(),
        )
    }

    #[test]
    fn we_sign_and_verify_as_the_typescript_sdk_does() {
        let (key, message, signature, address) = vector();
        assert_eq!(key.sign_personal(&message).as_slice(), signature);
        assert_eq!(signer_of_personal(&message, &signature), Ok(address));
    }

    #[test]
    fn other_messages_keys_and_schemes_prove_nothing() {
        let (_, message, signature, _) = vector();
        assert_eq!(
            signer_of_personal(b"another", &signature),
            Err(ProofError::Wrong)
        );
        for at in 1..signature.len() {
            let mut changed = signature.clone();
            changed[at] ^= 1;
            assert!(signer_of_personal(&message, &changed).is_err(), "byte {at}");
        }
        let mut scheme = signature.clone();
        scheme[0] = 1;
        assert_eq!(
            signer_of_personal(&message, &scheme),
            Err(ProofError::Scheme)
        );
        let short = &signature[..96];
        assert_eq!(signer_of_personal(&message, short), Err(ProofError::Scheme));
    }
}
