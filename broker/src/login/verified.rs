//! Logins that were right lately, so that thousands of devices that come back at once need not
//! all pay for Argon2id again.
//!
//! What is remembered is no password and nothing that a password can be guessed from without
//! the key, which is random, made for this process alone and never written anywhere: a BLAKE2s
//! MAC over the verifier, salt and tag included, and the password. Whoever can read the memory
//! of the process has the key too, and can guess at the speed of BLAKE2s what he otherwise would
//! guess at that of Argon2id; but he could as well wait for the passwords themselves.

use crate::recent::Recent;
use blake2::Blake2sMac256;
use blake2::digest::{KeyInit, Mac};
use parking_lot::Mutex;
use std::time::{Duration, Instant};
use tanglegate_core::{PasswordVerifier, SubscriberId};
use zeroize::Zeroizing;

/// The logins.
pub(super) struct Verified {
    key: Zeroizing<[u8; 32]>,
    lifetime: Duration,
    proofs: Mutex<Recent<SubscriberId, Option<Proof>>>,
}

/// That a password was right.
pub(super) struct Proof {
    mac: Mark,
    /// Exclusive end.
    until: Instant,
}

/// What a password and a verifier give together under the key.
pub(super) type Mark = Zeroizing<[u8; 32]>;

impl Verified {
    /// Remembers `most` logins for `lifetime` each, counted from the last full check. `key` must
    /// be random and secret.
    pub(super) fn new(key: Zeroizing<[u8; 32]>, most: usize, lifetime: Duration) -> Self {
        let lifetime = if most == 0 { Duration::ZERO } else { lifetime };
        Self {
            key,
            lifetime,
            proofs: Mutex::new(Recent::new(most)),
        }
    }

    /// What the password gives with this verifier; another one with any other verifier.
    pub(super) fn mark(&self, verifier: &PasswordVerifier, password: &[u8]) -> Mark {
        let mut mac = Blake2sMac256::new_from_slice(&*self.key).expect("a key of 32 bytes");
        for cost in [verifier.memory_kib, verifier.passes, verifier.lanes] {
            mac.update(&cost.to_be_bytes());
        }
        mac.update(&verifier.salt);
        mac.update(&verifier.tag);
        mac.update(password);
        Zeroizing::new(mac.finalize().into_bytes().into())
    }

    /// True when this is the mark of a login that was right not long ago.
    pub(super) fn knows(&self, subscriber: SubscriberId, mark: &Mark, now: Instant) -> bool {
        let proofs = self.proofs.lock();
        match proofs.get(&subscriber) {
            Some(Some(proof)) => super::same(&proof.mac, mark) && now < proof.until,
            _ => false,
        }
    }

    /// The login with this mark was checked in full, and right.
    pub(super) fn remember(&self, subscriber: SubscriberId, mark: Mark, now: Instant) {
        if let Some(until) = now.checked_add(self.lifetime).filter(|it| *it > now) {
            *self.proofs.lock().entry(subscriber) = Some(Proof { mac: mark, until });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verifier(salt: u8) -> PasswordVerifier {
        PasswordVerifier {
            memory_kib: 8,
            passes: 1,
            lanes: 1,
            salt: [salt; 16],
            tag: [2; 32],
        }
    }

    const ANA: SubscriberId = SubscriberId([1; 16]);
    const BOB: SubscriberId = SubscriberId([2; 16]);
    const HOUR: Duration = Duration::from_secs(3_600);

    #[test]
    fn only_the_same_login_with_the_same_password_and_verifier_is_known() {
        let verified = Verified::new(Zeroizing::new([7; 32]), 10, HOUR);
        let now = Instant::now();
        let mark = verified.mark(&verifier(1), b"secret");
        assert!(!verified.knows(ANA, &mark, now));
        verified.remember(ANA, mark.clone(), now);
        assert!(verified.knows(ANA, &mark, now));
        assert!(!verified.knows(BOB, &mark, now));
        let wrong = verified.mark(&verifier(1), b"Secret");
        assert!(!verified.knows(ANA, &wrong, now));
        let changed = verified.mark(&verifier(3), b"secret");
        assert!(!verified.knows(ANA, &changed, now), "a new verifier misses");
        let other = Verified::new(Zeroizing::new([8; 32]), 10, HOUR);
        assert_ne!(other.mark(&verifier(1), b"secret"), mark, "the key counts");
    }

    #[test]
    fn it_is_forgotten_in_time_and_can_be_switched_off() {
        let verified = Verified::new(Zeroizing::new([7; 32]), 10, HOUR);
        let now = Instant::now();
        let mark = verified.mark(&verifier(1), b"secret");
        verified.remember(ANA, mark.clone(), now);
        assert!(!verified.knows(ANA, &mark, now + HOUR));
        for off in [
            Verified::new(Zeroizing::new([7; 32]), 0, HOUR),
            Verified::new(Zeroizing::new([7; 32]), 10, Duration::ZERO),
        ] {
            off.remember(ANA, mark.clone(), now);
            assert!(!off.knows(ANA, &mark, now));
        }
    }
}
