//! Version 2: a login has an owner, the address that bought it.
//!
//! What stands here is for ever: a changed body gets a version of its own.

use super::BodyError;
use super::v1::{Reader, USERNAME, VERIFIER, bytes, wire_verifier};
use crate::event_log::vault::{Entropy, Vault};
use minicbor::{Decode, Encode};
use std::borrow::Cow;
use tanglegate_core::{Address, Event, PasswordVerifier, SubscriberId, Username};

#[derive(Encode, Decode)]
struct SubscriberRegistered<'a> {
    #[cbor(n(0), with = "minicbor::bytes")]
    subscriber: [u8; 16],
    #[cbor(b(1), with = "minicbor::bytes")]
    sealed_username: Cow<'a, [u8]>,
    #[cbor(b(2), with = "minicbor::bytes")]
    sealed_verifier: Cow<'a, [u8]>,
    /// Absent: the operator registered it.
    #[cbor(n(3), with = "minicbor::bytes")]
    owner: Option<[u8; 32]>,
}

pub(super) fn subscriber_registered(
    subscriber: SubscriberId,
    (username, verifier): (&Username, &PasswordVerifier),
    owner: Option<Address>,
    vault: &mut Vault,
    entropy: &mut Entropy,
) -> Vec<u8> {
    let key = vault.for_subscriber(subscriber, entropy);
    let sealed_username = key.seal(entropy.bytes(), USERNAME, username.as_str().as_bytes());
    let sealed_verifier = key.seal(entropy.bytes(), VERIFIER, &wire_verifier(verifier));
    bytes(SubscriberRegistered {
        subscriber: subscriber.0,
        sealed_username: sealed_username.into_bytes().into(),
        sealed_verifier: sealed_verifier.into_bytes().into(),
        owner: owner.map(|it| it.0),
    })
}

pub(super) fn decode(kind: &str, body: &[u8], vault: &Vault) -> Result<Event, BodyError> {
    if kind != "subscriber_registered" {
        return Err(BodyError::UnknownKind {
            kind: kind.to_owned(),
            schema_version: 2,
        });
    }
    let reader = Reader { kind, body, vault };
    let wire: SubscriberRegistered<'_> = reader.wire()?;
    Ok(Event::SubscriberRegistered {
        subscriber: SubscriberId(wire.subscriber),
        username: reader.username(&wire.subscriber, &wire.sealed_username)?,
        verifier: reader.verifier(&wire.subscriber, &wire.sealed_verifier)?,
        owner: wire.owner.map(Address),
    })
}
