//! Whether a log is the one that was written. What is read passes by once, in order; memory does
//! not grow with it.

use super::finding::Finding;
use super::ring::KeyRing;
use crate::event_log::{StoredEvent, Vault, decode};
use crate::heads::HeadSettings;
use std::collections::BTreeMap;
use tanglegate_core::{Digest, Event, Timestamp};
use tanglegate_crypto::{Frontier, Hash, HeadVerifier, SignedHead};

/// What was found whole.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Whole {
    /// Events whose bytes were checked.
    pub events: u64,
    /// Events of which only the leaf was disclosed.
    pub withheld: u64,
    /// Commits whose roots were checked.
    pub batches: u64,
    /// Tree heads whose signatures and roots were checked.
    pub heads: u64,
    /// Heads from elsewhere among them.
    pub outside_heads: u64,
    /// Tree heads on the ledger whose roots were checked.
    pub anchors: u64,
    /// The size of the last head; what follows it is protected by no signature yet.
    pub signed: u64,
    /// The root over all events, in hexadecimal.
    pub root: String,
    /// The keys that signed, in the order in which they were adopted.
    pub keys: Vec<String>,
    /// Keys that the log names and no head is signed with.
    pub unproved_keys: Vec<String>,
}

/// How much may stand behind the last head. What does is protected by no signature: heads that were
/// deleted leave nothing else behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unsigned {
    /// Number of events.
    pub events: u64,
    /// Milliseconds from the first of them to the last, by the log's clock; `None`: any.
    pub millis: Option<u64>,
}

impl Unsigned {
    /// Some intervals of an engine that signs: three of its bounds in events, six in time and at
    /// least a minute.
    #[must_use]
    pub fn of(settings: &HeadSettings) -> Self {
        let millis = u64::try_from(settings.every.as_millis()).unwrap_or(u64::MAX);
        Self {
            events: settings.every_events.saturating_mul(3),
            millis: Some(millis.saturating_mul(6).max(60_000)),
        }
    }
}

/// Checks what passes by.
pub struct Verifier {
    frontier: Frontier,
    recorded_at: Timestamp,
    /// Where the last batch ended.
    announced: u64,
    keys: KeyRing,
    trusted: Option<HeadVerifier>,
    trusted_signs: bool,
    /// How much may follow the last head; `None`: anything.
    unsigned: Option<Unsigned>,
    /// When the first event behind the last head was recorded.
    unsigned_since: Option<Timestamp>,
    /// Heads that are known from elsewhere, by size.
    outside: BTreeMap<u64, Vec<SignedHead>>,
    /// Roots that stand on the ledger, by size.
    anchors: BTreeMap<u64, Vec<(Hash, Digest)>>,
    vault: Vault,
    whole: Whole,
}

impl Verifier {
    /// Nothing seen yet. `trusted` is the key that the asking person knows to be the log's;
    /// `outside` are heads that he has from elsewhere.
    #[must_use]
    pub fn new(trusted: Option<HeadVerifier>, outside: Vec<SignedHead>) -> Self {
        let mut by_size: BTreeMap<u64, Vec<SignedHead>> = BTreeMap::new();
        for head in outside {
            by_size.entry(head.head.size).or_default().push(head);
        }
        Self {
            frontier: Frontier::default(),
            recorded_at: Timestamp(0),
            announced: 0,
            keys: KeyRing::default(),
            trusted,
            trusted_signs: false,
            unsigned: None,
            unsigned_since: None,
            outside: by_size,
            anchors: BTreeMap::new(),
            vault: Vault::default(),
            whole: Whole::default(),
        }
    }

    /// No more than this is to stand behind the last head.
    #[must_use]
    pub fn unsigned(mut self, bound: Unsigned) -> Self {
        self.unsigned = Some(bound);
        self
    }

    /// The events are to give this root, which stands on the ledger.
    #[must_use]
    pub fn anchored(mut self, (size, root, transaction): (u64, Hash, Digest)) -> Self {
        self.anchors
            .entry(size)
            .or_default()
            .push((root, transaction));
        self
    }

    /// How many events have passed by.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.frontier.size()
    }

    /// Where the last batch ended.
    #[must_use]
    pub fn announced(&self) -> u64 {
        self.announced
    }

    /// The next event, and the leaf that is recorded with it, if one is.
    ///
    /// # Errors
    /// When it does not follow, is not what was written, or cannot be read.
    pub fn event(&mut self, event: &StoredEvent<'_>, leaf: Option<Hash>) -> Result<(), Finding> {
        let position = event.position;
        self.follows(position)?;
        let made = event.leaf();
        if leaf.is_some_and(|it| it != made) {
            return Err(Finding::EventChanged(position));
        }
        if event.recorded_at < self.recorded_at {
            let (at, before) = (event.recorded_at, self.recorded_at);
            return Err(Finding::Backwards {
                position,
                at,
                before,
            });
        }
        if let Some(cause) = event.causation.filter(|it| *it >= position) {
            return Err(Finding::CausedLater { position, cause });
        }
        let read = decode(event.kind, event.schema_version, event.body, &self.vault);
        let unreadable = |source| Finding::Unreadable { position, source };
        if let Event::HeadKeyAdopted { key } = read.map_err(unreadable)? {
            self.adopt(position, &key.0)?;
        }
        self.recorded_at = event.recorded_at;
        self.unsigned_since.get_or_insert(event.recorded_at);
        self.whole.events += 1;
        self.push(made)
    }

    fn adopt(&mut self, position: u64, key: &str) -> Result<(), Finding> {
        let key: HeadVerifier = key.parse().map_err(|source| Finding::HeadForged {
            size: position,
            source,
        })?;
        self.keys.adopt(key);
        Ok(())
    }

    /// The next event, of which only the leaf is disclosed.
    ///
    /// # Errors
    /// When it does not follow.
    pub fn withheld(&mut self, position: u64, leaf: Hash) -> Result<(), Finding> {
        self.follows(position)?;
        self.whole.withheld += 1;
        self.push(leaf)
    }

    fn follows(&self, found: u64) -> Result<(), Finding> {
        let after = self.frontier.size();
        if found == after + 1 {
            Ok(())
        } else {
            Err(Finding::EventMissing { after, found })
        }
    }

    fn push(&mut self, leaf: Hash) -> Result<(), Finding> {
        self.frontier.push(leaf);
        let known = self.outside.remove(&self.frontier.size());
        for head in known.into_iter().flatten() {
            self.check(&head)?;
            self.whole.outside_heads += 1;
        }
        let size = self.frontier.size();
        let anchored = self.anchors.remove(&size);
        for (root, transaction) in anchored.into_iter().flatten() {
            if self.frontier.root() != root {
                return Err(Finding::AnchorRoot { size, transaction });
            }
            self.whole.anchors += 1;
        }
        Ok(())
    }

    /// The commit that ends with the last event.
    ///
    /// # Errors
    /// When it does not follow the one before, or its root is another.
    pub fn batch(&mut self, previous: u64, size: u64, root: &Hash) -> Result<(), Finding> {
        if previous != self.announced || size <= previous {
            return Err(Finding::BatchChain {
                size,
                claimed: previous,
                before: self.announced,
            });
        }
        self.announced = size;
        if size != self.frontier.size() {
            let events = self.frontier.size();
            let announced = size;
            return Err(Finding::Length { events, announced });
        }
        if self.frontier.root() != *root {
            let from = previous + 1;
            return Err(Finding::BatchRoot { from, size });
        }
        self.whole.batches += 1;
        Ok(())
    }

    /// The head that is kept for the events that have passed by.
    ///
    /// # Errors
    /// When it is not of these events, or the log's key has not signed it.
    pub fn head(&mut self, kept: u64, note: &str) -> Result<(), Finding> {
        let forged = |source| Finding::HeadForged { size: kept, source };
        let head = SignedHead::parse(note).map_err(forged)?;
        let (size, events) = (head.head.size, self.frontier.size());
        if size != kept {
            return Err(Finding::HeadMoved { kept, size });
        }
        if size > events {
            return Err(Finding::Truncated { size, events });
        }
        self.check(&head)
    }

    fn check(&mut self, head: &SignedHead) -> Result<(), Finding> {
        self.keys.check(head)?;
        let size = head.head.size;
        if size != self.frontier.size() || head.head.root != self.frontier.root() {
            let fits = self.whole.signed;
            return Err(Finding::HeadRoot { size, fits });
        }
        if let Some(trusted) = &self.trusted {
            self.trusted_signs |= self.keys.trusts(trusted, head);
        }
        self.whole.heads += 1;
        self.whole.signed = size;
        self.unsigned_since = None;
        Ok(())
    }

    /// Everything has passed by.
    ///
    /// # Errors
    /// When something is known that should have passed by and has not.
    pub fn finish(self) -> Result<Whole, Finding> {
        let events = self.frontier.size();
        if let Some((size, heads)) = self.outside.iter().next() {
            for head in heads {
                self.keys.signed_by_any(head, self.trusted.as_ref())?;
            }
            let size = *size;
            return Err(Finding::Truncated { size, events });
        }
        if let Some((size, anchors)) = self.anchors.iter().next()
            && let Some((_, transaction)) = anchors.first()
        {
            let (size, transaction) = (*size, *transaction);
            return Err(Finding::AnchorTruncated {
                size,
                events,
                transaction,
            });
        }
        if let Some(trusted) = &self.trusted
            && !self.trusted_signs
        {
            return Err(Finding::Untrusted(trusted.to_string()));
        }
        self.check_unsigned()?;
        Ok(Whole {
            root: hex::encode(self.frontier.root()),
            keys: self.keys.listed(true),
            unproved_keys: self.keys.listed(false),
            ..self.whole
        })
    }

    fn check_unsigned(&self) -> Result<(), Finding> {
        let events = self.frontier.size() - self.whole.signed;
        let since = self.unsigned_since.unwrap_or(self.recorded_at);
        let millis = self.recorded_at.0 - since.0;
        let long = |it: Unsigned| events > it.events || it.millis.is_some_and(|it| millis > it);
        match self.unsigned {
            Some(bound) if long(bound) => Err(Finding::Unsigned { events, millis }),
            _ => Ok(()),
        }
    }
}
