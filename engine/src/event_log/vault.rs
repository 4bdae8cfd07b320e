//! Keys under which personal data in event bodies is sealed.

use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::sync::Arc;
use tanglegate_core::{SubscriberId, Username};
use tanglegate_crypto::SubjectKey;
use zeroize::Zeroizing;

/// Random bytes that are fetched at a time.
const POOL: usize = 4_096;

/// Where fresh keys and nonces come from: the system in production, a fixed sequence in tests
/// that compare bytes.
pub struct Entropy(Box<dyn FnMut(&mut [u8]) + Send>);

impl Entropy {
    /// The operating system's.
    ///
    /// # Panics
    /// Its bytes panic when the operating system has none to give: nothing secret can be made
    /// then.
    #[must_use]
    pub fn system() -> Self {
        // Asking costs more than the bytes: they are fetched a page at a time, and a byte that
        // was given out is forgotten here.
        let mut pool = Zeroizing::new([0; POOL]);
        let mut given = POOL;
        Self(Box::new(move |bytes| {
            for byte in bytes {
                if given == POOL {
                    getrandom::fill(&mut *pool).expect("the operating system gives random bytes");
                    given = 0;
                }
                *byte = std::mem::take(&mut pool[given]);
                given += 1;
            }
        }))
    }

    /// A given source.
    #[must_use]
    pub fn from_source(source: impl FnMut(&mut [u8]) + Send + 'static) -> Self {
        Self(Box::new(source))
    }

    /// Fresh bytes.
    pub fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        (self.0)(&mut bytes);
        bytes
    }
}

/// A key that is about to be kept.
pub(crate) struct FreshKey {
    pub(crate) subject: [u8; 16],
    pub(crate) purpose: &'static str,
    pub(crate) key: SubjectKey,
    /// Whom the data under a key of its own is about: with him it is destroyed.
    pub(crate) owner: Option<Owner>,
}

/// Whom a memo is about: a subscriber, or a name that nobody had when the memo came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner(pub(crate) [u8; 16]);

impl From<SubscriberId> for Owner {
    fn from(subscriber: SubscriberId) -> Self {
        Self(subscriber.0)
    }
}

impl Owner {
    /// Whoever will have this name: half of SHA-256 over a label and the name. It is kept beside
    /// the key, so it tells no more than what the key opens.
    #[must_use]
    pub fn named(username: &Username) -> Self {
        let mut hash = Sha256::new_with_prefix(b"tanglegate v1 memo names ");
        hash.update(username.as_str());
        let hash: [u8; 32] = hash.finalize().into();
        let (half, _) = hash.split_first_chunk().expect("half of 32 bytes");
        Self(*half)
    }
}

/// The keys of the subscribers, and those made for a batch that is not committed yet. Keys of
/// memos are not held in memory: nobody needs them but a claimant.
#[derive(Default)]
pub struct Vault {
    keys: Arc<HashMap<[u8; 16], SubjectKey>>,
    fresh: Vec<FreshKey>,
    /// How many of the fresh ones are on their way to the database.
    taken: usize,
    /// Whose keys are destroyed by the same batch, and how many of those are on their way.
    erased: Vec<Owner>,
    erased_taken: usize,
}

impl Vault {
    /// The vault as it was kept.
    #[must_use]
    pub fn from_keys(keys: impl IntoIterator<Item = ([u8; 16], SubjectKey)>) -> Self {
        Self {
            keys: Arc::new(keys.into_iter().collect()),
            ..Self::default()
        }
    }

    /// The keys that are kept, for a thread that reads with them: they are the same ones.
    pub(crate) fn reading(&self) -> Self {
        Self {
            keys: Arc::clone(&self.keys),
            ..Self::default()
        }
    }

    /// The key of a subject; `None` when it was never made, is not held, or was destroyed.
    #[must_use]
    pub fn key(&self, subject: &[u8; 16]) -> Option<&SubjectKey> {
        let fresh = || {
            self.fresh
                .iter()
                .find(|it| it.subject == *subject)
                .map(|it| &it.key)
        };
        self.keys.get(subject).or_else(fresh)
    }

    pub(crate) fn for_subscriber(
        &mut self,
        subscriber: SubscriberId,
        entropy: &mut Entropy,
    ) -> SubjectKey {
        match self.key(&subscriber.0) {
            Some(key) => key.clone(),
            None => self.make(subscriber.0, "subscriber", None, entropy),
        }
    }

    pub(crate) fn make(
        &mut self,
        subject: [u8; 16],
        purpose: &'static str,
        owner: Option<Owner>,
        entropy: &mut Entropy,
    ) -> SubjectKey {
        let key = SubjectKey::from_bytes(entropy.bytes());
        self.fresh.push(FreshKey {
            subject,
            purpose,
            key: key.clone(),
            owner,
        });
        key
    }

    /// The keys made since the last call, which have to be written.
    pub(crate) fn take_fresh(&mut self) -> &[FreshKey] {
        let first = std::mem::replace(&mut self.taken, self.fresh.len());
        &self.fresh[first..]
    }

    /// Gives up every key of a person. Those that no transaction has written yet are never kept.
    pub(crate) fn erase(&mut self, person: Owner) {
        let owned = |it: &FreshKey| it.subject == person.0 || it.owner == Some(person);
        let mut unwritten = self.fresh.split_off(self.taken);
        unwritten.retain(|it| !owned(it));
        self.fresh.append(&mut unwritten);
        self.erased.push(person);
    }

    /// Whose keys were given up since the last call: they have to be destroyed.
    pub(crate) fn take_erased(&mut self) -> &[Owner] {
        let first = std::mem::replace(&mut self.erased_taken, self.erased.len());
        &self.erased[first..]
    }

    /// Forgets the key of a person whom another engine has erased.
    pub(crate) fn unlearn(&mut self, subscriber: SubscriberId) {
        Arc::make_mut(&mut self.keys).remove(&subscriber.0);
    }

    pub(crate) fn learn(&mut self, subject: [u8; 16], key: SubjectKey) {
        Arc::make_mut(&mut self.keys).insert(subject, key);
    }

    /// The fresh keys are kept now.
    pub(crate) fn settle(&mut self) {
        self.taken = 0;
        let subscribers = self.fresh.drain(..).filter(|it| it.purpose == "subscriber");
        Arc::make_mut(&mut self.keys).extend(subscribers.map(|it| (it.subject, it.key)));
        self.erased_taken = 0;
        for person in self.erased.drain(..) {
            Arc::make_mut(&mut self.keys).remove(&person.0);
        }
    }

    /// The fresh keys were not kept.
    pub(crate) fn forget(&mut self) {
        self.taken = 0;
        self.fresh.clear();
        self.erased_taken = 0;
        self.erased.clear();
    }
}
