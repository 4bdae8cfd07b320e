//! The keys that sign heads, as the log adopts them and as heads prove them.

use super::finding::Finding;
use tanglegate_crypto::{HeadVerifier, SignedHead};

/// Keys that a log names. **Naming a key proves nothing**: whoever can write into the database can
/// append an event. A key is the log's once a head that the key before has signed is signed with it.
#[derive(Default)]
pub(super) struct KeyRing {
    current: Option<HeadVerifier>,
    /// The key before: it has to sign the head that first covers its successor's adoption.
    handing_over: Option<HeadVerifier>,
    /// Every key so far, and whether a head has proved it.
    known: Vec<(HeadVerifier, bool)>,
}

impl KeyRing {
    pub(super) fn adopt(&mut self, key: HeadVerifier) {
        self.note(&key, false);
        let before = self.current.replace(key);
        self.handing_over = self.handing_over.take().or(before);
    }

    fn note(&mut self, key: &HeadVerifier, proved: bool) {
        match self.known.iter_mut().find(|it| it.0 == *key) {
            Some(known) => known.1 |= proved,
            None => self.known.push((key.clone(), proved)),
        }
    }

    /// Whether the keys that have to have signed a head did.
    pub(super) fn check(&mut self, head: &SignedHead) -> Result<(), Finding> {
        let size = head.head.size;
        let Some(current) = self.current.clone() else {
            return Err(Finding::NoKey { size });
        };
        let signers = self.handing_over.iter().chain([&current]);
        for key in signers {
            let forged = |source| Finding::HeadForged { size, source };
            head.verify(key).map_err(forged)?;
        }
        if let Some(before) = self.handing_over.take() {
            self.note(&before, true);
        }
        self.note(&current, true);
        Ok(())
    }

    /// Whether a head that fits is signed with the key that is trusted. One whose adoption was
    /// withheld takes over there: the key before signs nothing from then on.
    pub(super) fn trusts(&mut self, trusted: &HeadVerifier, head: &SignedHead) -> bool {
        let signed = head.verify(trusted).is_ok();
        if signed && self.known.iter().all(|it| it.0 != *trusted) {
            self.note(trusted, true);
            self.current = Some(trusted.clone());
        }
        signed
    }

    /// Whether any key of the log, or the one that is trusted, has signed a head.
    pub(super) fn signed_by_any(
        &self,
        head: &SignedHead,
        trusted: Option<&HeadVerifier>,
    ) -> Result<(), Finding> {
        let size = head.head.size;
        let known = self.known.iter().map(|it| &it.0).rev();
        let mut first = None;
        for key in trusted.into_iter().chain(known) {
            match head.verify(key) {
                Ok(_) => return Ok(()),
                Err(source) => drop(first.get_or_insert(source)),
            }
        }
        Err(match first {
            Some(source) => Finding::HeadForged { size, source },
            None => Finding::NoKey { size },
        })
    }

    /// The keys that heads prove, or those that are only named, in the order in which they came.
    pub(super) fn listed(&self, proved: bool) -> Vec<String> {
        let listed = self.known.iter().filter(|it| it.1 == proved);
        listed.map(|it| it.0.to_string()).collect()
    }
}
