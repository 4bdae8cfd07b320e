//! Suite 1 of everything sealed: HPKE (RFC 9180) in base mode with DHKEM(X25519, HKDF-SHA256),
//! HKDF-SHA256 and ChaCha20-Poly1305.

use hpke::aead::{AeadTag, ChaCha20Poly1305};
use hpke::inout::InOutBuf;
use hpke::kdf::HkdfSha256;
use hpke::kem::X25519HkdfSha256;
use hpke::rand_core::{TryCryptoRng, TryRng};
use hpke::{Deserializable, Kem, OpModeR, OpModeS, Serializable};
use std::convert::Infallible;
use zeroize::Zeroizing;

/// The byte that names this suite.
pub(crate) const SUITE: u8 = 1;
/// Bytes of an encapsulated key.
pub(crate) const ENC: usize = 32;
/// Bytes that sealing adds to the plain text.
pub(crate) const TAG: usize = 16;

/// A private key. Wiped when it is dropped.
pub(crate) type Private = <X25519HkdfSha256 as Kem>::PrivateKey;

/// The key pair of `ikm` by DeriveKeyPair (RFC 9180 §7.1.3).
pub(crate) fn derive(ikm: &[u8; 32]) -> (Private, [u8; 32]) {
    let (private, public) = X25519HkdfSha256::derive_keypair(ikm);
    (private, public.to_bytes().into())
}

/// A private key by its bytes, which are clamped (RFC 7748 §5).
pub(crate) fn private(bytes: &[u8; 32]) -> Private {
    Private::from_bytes(bytes).expect("32 bytes are a private key of X25519")
}

/// The public half.
pub(crate) fn public(private: &Private) -> [u8; 32] {
    X25519HkdfSha256::sk_to_pk(private).to_bytes().into()
}

/// Seals `buffer` in place, to be opened with the same `info` and `aad`. `entropy` is random,
/// secret, and used once: the ephemeral key comes from it as by DeriveKeyPair.
///
/// `None` when `public` is a point of small order, to which nothing can be sealed.
pub(crate) fn seal(
    entropy: &[u8; 32],
    public: &[u8; 32],
    info: &[u8],
    aad: &[u8],
    buffer: &mut [u8],
) -> Option<([u8; ENC], [u8; TAG])> {
    let public = <X25519HkdfSha256 as Kem>::PublicKey::from_bytes(public)
        .expect("any 32 bytes are a public key of X25519");
    let sealed = hpke::single_shot_seal_inout_detached_with_rng::<
        ChaCha20Poly1305,
        HkdfSha256,
        X25519HkdfSha256,
    >(
        &OpModeS::Base,
        &public,
        info,
        InOutBuf::from(buffer),
        aad,
        &mut Given(Some(entropy)),
    );
    let (enc, tag) = sealed.ok()?;
    Some((enc.to_bytes().into(), tag.to_bytes().into()))
}

/// Opens `buffer` in place; what it holds afterwards means nothing when that failed.
pub(crate) fn open(
    private: &Private,
    enc: &[u8; ENC],
    info: &[u8],
    aad: &[u8],
    buffer: &mut [u8],
    tag: &[u8; TAG],
) -> Option<()> {
    let enc = <X25519HkdfSha256 as Kem>::EncappedKey::from_bytes(enc).ok()?;
    let tag = AeadTag::<ChaCha20Poly1305>::from_bytes(tag).ok()?;
    hpke::single_shot_open_inout_detached::<ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256>(
        &OpModeR::Base,
        private,
        &enc,
        info,
        InOutBuf::from(buffer),
        aad,
        &tag,
    )
    .ok()
}

/// The points of small order in Curve25519 and its twist, also as other 32 bytes say them
/// (RFC 7748 §5 reduces and ignores the highest bit): whatever the private key is, the secret
/// shared with them is zero.
const SMALL: [[u8; 32]; 7] = [
    [0; 32],
    with_low_byte([0; 32], 1),
    [
        0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f, 0xc4,
        0x6a, 0xda, 0x09, 0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49,
        0xb8, 0x00,
    ],
    [
        0x5f, 0x9c, 0x95, 0xbc, 0xa3, 0x50, 0x8c, 0x24, 0xb1, 0xd0, 0xb1, 0x55, 0x9c, 0x83, 0xef,
        0x5b, 0x04, 0x44, 0x5c, 0xc4, 0x58, 0x1c, 0x8e, 0x86, 0xd8, 0x22, 0x4e, 0xdd, 0xd0, 0x9f,
        0x11, 0x57,
    ],
    with_low_byte(PRIME, 0xec),
    PRIME,
    with_low_byte(PRIME, 0xee),
];

/// 2²⁵⁵ − 19, little-endian.
const PRIME: [u8; 32] = {
    let mut bytes = [0xff; 32];
    bytes[0] = 0xed;
    bytes[31] = 0x7f;
    bytes
};

const fn with_low_byte(mut bytes: [u8; 32], low: u8) -> [u8; 32] {
    bytes[0] = low;
    bytes
}

/// Whether nothing can be sealed to this public key.
pub(crate) fn is_small(public: &[u8; 32]) -> bool {
    let mut reduced = *public;
    reduced[31] &= 0x7f;
    SMALL.contains(&reduced)
}

/// The 32 bytes that were given, once, where HPKE asks for random ones.
struct Given<'a>(Option<&'a [u8; 32]>);

impl TryRng for Given<'_> {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        unreachable!("X25519 asks for whole keys")
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        unreachable!("X25519 asks for whole keys")
    }

    fn try_fill_bytes(&mut self, to: &mut [u8]) -> Result<(), Infallible> {
        let given = self.0.take().expect("one ephemeral key is made");
        to.copy_from_slice(given);
        Ok(())
    }
}

impl TryCryptoRng for Given<'_> {}

/// Memory for a plain text, wiped when it is dropped.
pub(crate) fn zeroed(length: usize) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(vec![0; length])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unhex<const N: usize>(text: &str) -> [u8; N] {
        let bytes = hex::decode(text).expect("hexadecimal digits");
        bytes.try_into().expect("as many as asked for")
    }

    /// RFC 9180 A.2.1: DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, ChaCha20Poly1305, base mode.
    #[test]
    fn the_example_of_the_rfc_comes_out() {
        let ikm_e = unhex("909a9b35d3dc4713a5e72a4da274b55d3d3821a37e5d099e74a647db583a904b");
        let ikm_r = unhex("1ac01f181fdf9f352797655161c58b75c656a6cc2716dcb66372da835542e1df");
        let info: [u8; 20] = unhex("4f6465206f6e2061204772656369616e2055726e");
        let aad: [u8; 7] = unhex("436f756e742d30");
        let plain: [u8; 29] = unhex("4265617574792069732074727574682c20747275746820626561757479");
        let (private, public) = derive(&ikm_r);
        let expected = "4310ee97d88cc1f088a5576c77ab0cf5c3ac797f3d95139c6c84b5429c59662a";
        assert_eq!(public, unhex(expected));

        let mut buffer = plain;
        let (enc, tag) = seal(&ikm_e, &public, &info, &aad, &mut buffer).expect("a good key");
        let expected = "1afa08d3dec047a643885163f1180476fa7ddb54c6a8029ea33f95796bf2ac4a";
        assert_eq!(enc, unhex(expected));
        let sealed = [buffer.as_slice(), &tag].concat();
        let expected = "1c5250d8034ec2b784ba2cfd69dbdb8af406cfe3ff938e131f0def8c8b60b4db\
                        21993c62ce81883d2dd1b51a28";
        assert_eq!(hex::encode(sealed), expected);
        open(&private, &enc, &info, &aad, &mut buffer, &tag).expect("as it was sealed");
        assert_eq!(buffer, plain);
    }

    #[test]
    fn nothing_is_sealed_to_or_opened_from_a_point_of_small_order() {
        let (private, _) = derive(&[1; 32]);
        for point in SMALL {
            for high in [0, 0x80] {
                let mut point = point;
                point[31] |= high;
                assert!(is_small(&point));
                let sealed = seal(&[2; 32], &point, b"", b"", &mut [0; 4]);
                assert_eq!(sealed, None, "{}", hex::encode(point));
                let opened = open(&private, &point, b"", b"", &mut [0; 4], &[0; TAG]);
                assert_eq!(opened, None);
            }
        }
        let (_, good) = derive(&[1; 32]);
        assert!(!is_small(&good));
        assert!(seal(&[2; 32], &good, b"", b"", &mut [0; 4]).is_some());
    }
}
