//! A bounded memory of who came lately: those who did not come for longest are forgotten first.

use std::collections::HashMap;
use std::hash::Hash;

/// Remembers something of at most so many keys.
///
/// It keeps two generations. The younger one takes what is asked for; when it has its half of
/// the places, it becomes the older one, and what was not asked for since is forgotten. So
/// remembering costs the same however many there are, and takes no list beside the map.
#[derive(Debug)]
pub(crate) struct Recent<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
    most: usize,
}

impl<K: Eq + Hash, V> Recent<K, V> {
    /// A memory of `most` keys; of two at least.
    pub(crate) fn new(most: usize) -> Self {
        Self {
            young: HashMap::new(),
            old: HashMap::new(),
            most: most.max(2),
        }
    }

    /// What is remembered of `key`.
    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        self.young.get(key).or_else(|| self.old.get(key))
    }

    /// Forgets `key`.
    pub(crate) fn forget(&mut self, key: &K) {
        self.young.remove(key);
        self.old.remove(key);
    }

    /// What is remembered of `key`, or else a new entry.
    pub(crate) fn entry(&mut self, key: K) -> &mut V
    where
        V: Default,
    {
        let old = self.old.remove(&key);
        if !self.young.contains_key(&key) && self.young.len() >= self.most / 2 {
            self.old = std::mem::take(&mut self.young);
        }
        self.young
            .entry(key)
            .or_insert_with(|| old.unwrap_or_default())
    }

    /// Keys that something is remembered of.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_stays_below_its_bound_and_forgets_the_longest_absent() {
        let mut recent = Recent::<u32, u32>::new(100);
        for number in 0..10_000 {
            *recent.entry(number) = number;
            *recent.entry(7) += 1;
            assert!(recent.len() <= 100);
        }
        assert!(
            recent.get(&7).is_some_and(|it| *it > 9_000),
            "it came often"
        );
        assert_eq!(recent.get(&9_999), Some(&9_999));
        assert_eq!(recent.get(&9_000), None);
        recent.forget(&7);
        assert_eq!(recent.get(&7), None);
    }
}
