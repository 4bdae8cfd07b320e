//! The newest answers, until they are picked up or expire. The event log has all of them: what
//! finds no room here can be announced again from there.

use super::KeyId;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use tanglegate_core::Timestamp;

/// Answers to one key. With more of them the oldest is dropped.
const OF_ONE_KEY: usize = 8;
/// What keeping an answer costs besides its bytes: its places in the four tables, which may have
/// as many places to spare.
const ANSWER: usize = 384;

/// Answers by the key that they are for, in the order in which they came.
#[derive(Debug)]
pub(super) struct Answers {
    kept: BTreeMap<u64, Kept>,
    of_key: HashMap<KeyId, Vec<u64>>,
    ends: BTreeSet<(Timestamp, u64)>,
    /// Number of the last one; from 1.
    last: u64,
    bytes: usize,
    most: usize,
    most_bytes: usize,
}

#[derive(Debug)]
struct Kept {
    key: KeyId,
    payload: Arc<[u8]>,
    /// Exclusive.
    expires: Timestamp,
}

impl Answers {
    /// Room for so many answers, and so many bytes of them.
    pub(super) fn new(most: usize, most_bytes: usize) -> Self {
        Self {
            kept: BTreeMap::new(),
            of_key: HashMap::new(),
            ends: BTreeSet::new(),
            last: 0,
            bytes: 0,
            most,
            most_bytes,
        }
    }

    /// Keeps an answer, unless it is here already. Returns how many others were dropped for it;
    /// `None` when it is here or has no room at all.
    pub(super) fn add(
        &mut self,
        key: KeyId,
        payload: Arc<[u8]>,
        expires: Timestamp,
    ) -> Option<u64> {
        let known = self.of_key.get(&key).map_or(&[][..], Vec::as_slice);
        if known.iter().any(|it| self.kept[it].payload == payload) {
            return None;
        }
        let oldest = (known.len() >= OF_ONE_KEY).then(|| known[0]);
        let cost = cost(&payload);
        if cost > self.most_bytes || self.most == 0 {
            return None;
        }
        let mut dropped = 0;
        if let Some(oldest) = oldest {
            dropped += u64::from(self.remove(oldest));
        }
        while self.kept.len() >= self.most || self.bytes + cost > self.most_bytes {
            let Some((&oldest, _)) = self.kept.first_key_value() else {
                break;
            };
            dropped += u64::from(self.remove(oldest));
        }
        self.last += 1;
        self.bytes += cost;
        self.of_key.entry(key).or_default().push(self.last);
        self.ends.insert((expires, self.last));
        let kept = Kept {
            key,
            payload,
            expires,
        };
        self.kept.insert(self.last, kept);
        Some(dropped)
    }

    /// The answers to a key that came after number `told`, with their numbers.
    pub(super) fn after(&self, key: &KeyId, told: u64, now: Timestamp) -> Vec<(u64, Arc<[u8]>)> {
        let numbers = self.of_key.get(key).map_or(&[][..], Vec::as_slice);
        let numbers = numbers.iter().filter(|it| **it > told);
        let answers = numbers.map(|it| (*it, &self.kept[it]));
        let current = answers.filter(|(_, it)| now < it.expires);
        current
            .map(|(number, it)| (number, Arc::clone(&it.payload)))
            .collect()
    }

    /// Number of the last answer that came.
    pub(super) fn last(&self) -> u64 {
        self.last
    }

    /// Forgets all answers to a key.
    pub(super) fn forget(&mut self, key: &KeyId) {
        let numbers = self.of_key.get(key).cloned().unwrap_or_default();
        for number in numbers {
            self.remove(number);
        }
    }

    /// Forgets what has expired by `now`.
    pub(super) fn expire(&mut self, now: Timestamp) {
        while let Some(&(end, number)) = self.ends.first()
            && end <= now
        {
            self.remove(number);
        }
    }

    /// How many there are, and their bytes with what keeping them costs.
    pub(super) fn size(&self) -> (usize, usize) {
        (self.kept.len(), self.bytes)
    }

    fn remove(&mut self, number: u64) -> bool {
        let Some(gone) = self.kept.remove(&number) else {
            return false;
        };
        self.bytes -= cost(&gone.payload);
        self.ends.remove(&(gone.expires, number));
        if let Some(numbers) = self.of_key.get_mut(&gone.key) {
            numbers.retain(|it| *it != number);
            if numbers.is_empty() {
                self.of_key.remove(&gone.key);
            }
        }
        true
    }
}

fn cost(payload: &[u8]) -> usize {
    payload.len() + ANSWER
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NEVER: Timestamp = Timestamp::FOREVER;

    fn key(number: u8) -> KeyId {
        [number; 16]
    }

    fn payloads(answers: &Answers, number: u8, told: u64, now: u64) -> Vec<Vec<u8>> {
        let found = answers.after(&key(number), told, Timestamp(now));
        found.iter().map(|it| it.1.to_vec()).collect()
    }

    #[test]
    fn answers_to_a_key_are_told_in_their_order_and_once() {
        let mut answers = Answers::new(10, 1 << 20);
        assert_eq!(answers.add(key(1), Arc::from(*b"one"), NEVER), Some(0));
        assert_eq!(answers.add(key(2), Arc::from(*b"other"), NEVER), Some(0));
        assert_eq!(answers.add(key(1), Arc::from(*b"two"), NEVER), Some(0));
        assert_eq!(answers.add(key(1), Arc::from(*b"one"), NEVER), None);
        assert_eq!(payloads(&answers, 1, 0, 0), [b"one", b"two"]);
        assert_eq!(payloads(&answers, 1, 1, 0), [b"two"]);
        answers.forget(&key(1));
        assert!(payloads(&answers, 1, 0, 0).is_empty());
        assert_eq!(payloads(&answers, 2, 0, 0), [b"other"]);
    }

    #[test]
    fn an_answer_is_told_until_it_expires_and_then_takes_no_room() {
        let mut answers = Answers::new(10, 1 << 20);
        answers.add(key(1), Arc::from(*b"soon over"), Timestamp(10));
        assert_eq!(payloads(&answers, 1, 0, 9).len(), 1);
        assert!(payloads(&answers, 1, 0, 10).is_empty());
        answers.expire(Timestamp(9));
        assert_eq!(answers.size().0, 1);
        answers.expire(Timestamp(10));
        assert_eq!(answers.size(), (0, 0));
    }

    #[test]
    fn one_key_does_not_take_the_places_of_all_others() {
        let mut answers = Answers::new(100, 1 << 20);
        answers.add(key(2), Arc::from(*b"other"), NEVER);
        for number in 0..100_u8 {
            answers.add(key(1), Arc::from([number]), NEVER);
        }
        assert_eq!(payloads(&answers, 2, 0, 0).len(), 1);
        let left = payloads(&answers, 1, 0, 0);
        assert_eq!((left.len(), left[0][0]), (OF_ONE_KEY, 92));
    }

    proptest! {
        #[test]
        fn whatever_comes_the_bounds_hold_and_the_newest_is_there(
            steps in prop::collection::vec((0u8..6, 0usize..2_000, 1u64..50), 1..200)
        ) {
            let mut answers = Answers::new(20, 20_000);
            for (number, (who, length, expires)) in steps.into_iter().enumerate() {
                let now = number as u64 / 10;
                let mut payload = vec![0; length.max(8)];
                payload[..8].copy_from_slice(&number.to_be_bytes());
                answers.expire(Timestamp(now));
                let end = Timestamp(now + expires);
                prop_assert!(answers.add(key(who), payload.clone().into(), end).is_some());
                let told = payloads(&answers, who, 0, now);
                prop_assert_eq!(told.last(), Some(&payload));
                let (count, bytes) = answers.size();
                prop_assert!(count <= 20 && bytes <= 20_000);
                prop_assert_eq!(answers.ends.len(), count);
                let listed: usize = answers.of_key.values().map(Vec::len).sum();
                prop_assert_eq!(listed, count);
            }
            answers.expire(NEVER);
            prop_assert_eq!(answers.size(), (0, 0));
            prop_assert!(answers.of_key.is_empty());
        }
    }
}
