//! A map whose newest changes can still be taken back.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;

/// Changes are staged until the commit that makes them true. So a batch can be decided command
/// by command, each on top of the one before, and dropped as a whole when its commit fails.
///
/// Never iterated where an outcome could depend on it: the order of a hash map is nobody's.
#[derive(Debug, Clone)]
pub(crate) struct StagedMap<K, V> {
    settled: HashMap<K, V>,
    /// `None`: removed.
    staged: HashMap<K, Option<V>>,
    /// Whether changes are true as they come.
    at_once: bool,
}

impl<K, V> Default for StagedMap<K, V> {
    fn default() -> Self {
        Self {
            settled: HashMap::new(),
            staged: HashMap::new(),
            at_once: false,
        }
    }
}

impl<K: Hash + Eq + Clone, V: Clone> StagedMap<K, V> {
    /// An empty one whose changes are true as they come, until the first [`StagedMap::settle`]:
    /// nobody takes back what stands in the log.
    pub(crate) fn at_once() -> Self {
        Self {
            at_once: true,
            ..Self::default()
        }
    }

    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        if self.staged.is_empty() {
            return self.settled.get(key);
        }
        match self.staged.get(key) {
            Some(changed) => changed.as_ref(),
            None => self.settled.get(key),
        }
    }

    pub(crate) fn insert(&mut self, key: K, value: V) {
        if self.at_once {
            self.settled.insert(key, value);
        } else {
            self.staged.insert(key, Some(value));
        }
    }

    pub(crate) fn remove(&mut self, key: K) {
        if self.at_once {
            self.settled.remove(&key);
        } else {
            self.staged.insert(key, None);
        }
    }

    /// The value, staged for change; `None` where there is none.
    pub(crate) fn change(&mut self, key: &K) -> Option<&mut V> {
        if self.at_once {
            return self.settled.get_mut(key);
        }
        match self.staged.entry(key.clone()) {
            Entry::Occupied(changed) => changed.into_mut().as_mut(),
            Entry::Vacant(vacant) => {
                let settled = self.settled.get(key)?.clone();
                vacant.insert(Some(settled)).as_mut()
            }
        }
    }

    /// Makes every staged change true.
    pub(crate) fn settle(&mut self) {
        self.at_once = false;
        for (key, changed) in self.staged.drain() {
            match changed {
                Some(value) => drop(self.settled.insert(key, value)),
                None => drop(self.settled.remove(&key)),
            }
        }
    }

    /// Forgets every staged change.
    pub(crate) fn forget(&mut self) {
        self.staged.clear();
    }

    /// Everything, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        let settled = self
            .settled
            .iter()
            .filter(|(key, _)| !self.staged.contains_key(key));
        let staged = self
            .staged
            .iter()
            .filter_map(|(key, value)| Some((key, value.as_ref()?)));
        settled.chain(staged)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contents(map: &StagedMap<u8, char>) -> Vec<(u8, char)> {
        let mut all: Vec<_> = map.iter().map(|(key, value)| (*key, *value)).collect();
        all.sort_unstable();
        all
    }

    #[test]
    fn staged_changes_are_seen_and_can_be_forgotten() {
        let mut map = StagedMap::default();
        map.insert(1, 'a');
        map.insert(2, 'b');
        map.settle();
        map.insert(1, 'c');
        map.remove(2);
        map.insert(3, 'd');
        assert_eq!(
            (map.get(&1), map.get(&2), map.get(&3)),
            (Some(&'c'), None, Some(&'d'))
        );
        assert_eq!(contents(&map), [(1, 'c'), (3, 'd')]);
        map.forget();
        assert_eq!(contents(&map), [(1, 'a'), (2, 'b')]);
    }

    #[test]
    fn changes_that_are_true_at_once_are_not_forgotten_and_later_ones_are() {
        let mut map = StagedMap::at_once();
        map.insert(1, 'a');
        map.insert(2, 'b');
        *map.change(&1).expect("there") = 'z';
        map.remove(2);
        map.forget();
        assert_eq!(contents(&map), [(1, 'z')]);
        map.settle();
        map.insert(1, 'y');
        assert_eq!(map.get(&1), Some(&'y'));
        map.forget();
        assert_eq!(contents(&map), [(1, 'z')]);
    }

    #[test]
    fn a_value_changed_in_place_is_staged_too() {
        let mut map = StagedMap::default();
        map.insert(1, 'a');
        map.settle();
        *map.change(&1).expect("there") = 'z';
        assert!(map.change(&9).is_none());
        map.forget();
        assert_eq!(map.get(&1), Some(&'a'));
        *map.change(&1).expect("there") = 'z';
        map.settle();
        assert_eq!(contents(&map), [(1, 'z')]);
    }
}
