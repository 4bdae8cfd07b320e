//! Sealing keys from secrets, and verifiers from passwords.

use crate::{Hex, bytes, hex, kept};
use argon2::{Algorithm, Argon2, Params, Version};
use hkdf::Hkdf;
use hpke::kem::X25519HkdfSha256;
use hpke::{Kem, Serializable};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use tanglegate_crypto::{KeyId, SealingSecret};

#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Key {
    secret_id: Hex,
    secret: Hex,
    random: Hex,
    key_id: Hex,
    ikm: Hex,
    private: Hex,
    public: Hex,
}

/// The key pair as RFC 9180 and the specification have it, made without the code under test.
pub(crate) fn pair(secret: &[u8; 32], key_id: &KeyId) -> ([u8; 32], [u8; 32], [u8; 32]) {
    let mut ikm = [0; 32];
    Hkdf::<Sha256>::new(Some(b"tanglegate/sealing/v1\0"), secret)
        .expand(key_id.as_bytes(), &mut ikm)
        .expect("one block");
    let (private, public) = X25519HkdfSha256::derive_keypair(&ikm);
    (ikm, private.to_bytes().into(), public.to_bytes().into())
}

fn key(name: &str) -> Key {
    let (secret_id, secret) = (
        bytes(&format!("{name} id")),
        bytes(&format!("{name} secret")),
    );
    let random = bytes(&format!("{name} random"));
    let (key_id, public) = SealingSecret::from_bytes(secret_id, secret).make_key(random);
    let (ikm, private, _) = pair(&secret, &key_id);
    Key {
        secret_id: hex(&secret_id),
        secret: hex(&secret),
        random: hex(&random),
        key_id: hex(key_id.as_bytes()),
        ikm: hex(&ikm),
        private: hex(&private),
        public: hex(&public),
    }
}

#[test]
fn every_sealing_key_is_derived_as_specified() {
    let about = "A sealing key from a sealing secret: PROTOCOL.md, 'The key made for one client'. \
                 key_id = secret_id || random; ikm = HKDF-SHA256(salt 'tanglegate/sealing/v1\\0', \
                 secret, info key_id, 32 bytes); private, public = DeriveKeyPair(ikm), RFC 9180 7.1.3.";
    for vector in kept("keys.json", about, vec![key("first"), key("second")]) {
        let key_id = KeyId::from_bytes(vector.key_id.array());
        let (ikm, private, public) = pair(&vector.secret.array(), &key_id);
        assert_eq!((hex(&ikm), hex(&private)), (vector.ikm, vector.private));
        assert_eq!(hex(&public), vector.public);
        let secret = SealingSecret::from_bytes(vector.secret_id.array(), vector.secret.array());
        let made = secret.make_key(vector.random.array());
        assert_eq!(made, (key_id, vector.public.array()));
    }
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Password {
    password: String,
    salt: Hex,
    tag: Hex,
}

/// Argon2id as buyers use it for the passwords that they choose themselves.
pub(crate) fn verifier(password: &str, salt: &[u8; 16]) -> [u8; 32] {
    let params = Params::new(19_456, 2, 1, Some(32)).expect("parameters of RFC 9106");
    let mut tag = [0; 32];
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(password.as_bytes(), salt, &mut tag)
        .expect("a salt of 16 bytes");
    tag
}

#[test]
fn every_verifier_is_argon2id_with_the_specified_cost() {
    let about = "The verifier of a password that the buyer chose: Argon2id (RFC 9106) version \
                 0x13, 19456 KiB, 2 passes, 1 lane, 32 bytes, over the password's UTF-8.";
    let password = |password: &str| {
        let salt = bytes(&format!("salt of {password}"));
        Password {
            password: password.to_owned(),
            salt: hex(&salt),
            tag: hex(&verifier(password, &salt)),
        }
    };
    let made = vec![
        password("correct horse battery staple"),
        password("zoë’s 密码"),
    ];
    for vector in kept("passwords.json", about, made) {
        let tag = verifier(&vector.password, &vector.salt.array());
        assert_eq!(hex(&tag), vector.tag);
    }
}
