//! Which subscriptions match a topic: exact filters by hash, the others in a trie of levels, so
//! that the number of filters does not slow matching down.

use std::collections::HashMap;
use tanglegate_core::TopicFilter;

/// A subscription of a client on this shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Entry {
    /// Whose.
    pub(super) slot: u32,
    /// Which of his.
    pub(super) subscription: u32,
}

/// Filters, and what each of them is there for.
#[derive(Debug)]
pub(super) struct Index<E> {
    exact: HashMap<Box<str>, Vec<E>>,
    wild: Node<E>,
}

#[derive(Debug)]
struct Node<E> {
    /// One level further, by its text.
    levels: HashMap<Box<str>, Node<E>>,
    /// One level further, whatever it is (`+`).
    any: Option<Box<Node<E>>>,
    /// Filters that end here.
    here: Vec<E>,
    /// Filters that end here with `#`.
    rest: Vec<E>,
}

impl<E> Default for Index<E> {
    fn default() -> Self {
        Self {
            exact: HashMap::new(),
            wild: Node::default(),
        }
    }
}

impl<E> Default for Node<E> {
    fn default() -> Self {
        Self {
            levels: HashMap::new(),
            any: None,
            here: vec![],
            rest: vec![],
        }
    }
}

impl<E: Copy + PartialEq> Index<E> {
    /// Adds a filter.
    pub(super) fn insert(&mut self, filter: &TopicFilter, entry: E) {
        if filter.is_exact() {
            let entries = self.exact.entry(filter.as_str().into()).or_default();
            return entries.push(entry);
        }
        let mut node = &mut self.wild;
        for level in filter.as_str().split('/') {
            node = match level {
                "#" => return node.rest.push(entry),
                "+" => node.any.get_or_insert_default(),
                text => node.levels.entry(text.into()).or_default(),
            };
        }
        node.here.push(entry);
    }

    /// Removes one, and what it alone needed.
    pub(super) fn remove(&mut self, filter: &TopicFilter, entry: E) {
        if !filter.is_exact() {
            return self.wild.remove(filter.as_str().split('/'), entry);
        }
        if let Some(entries) = self.exact.get_mut(filter.as_str()) {
            entries.retain(|it| *it != entry);
            if entries.is_empty() {
                self.exact.remove(filter.as_str());
            }
        }
    }

    /// Visits every filter that matches `topic` (MQTT 5.0 §4.7).
    pub(super) fn matching(&self, topic: &str, mut visit: impl FnMut(E)) {
        let exact = self.exact.get(topic).into_iter().flatten();
        exact.copied().for_each(&mut visit);
        if topic.starts_with('$') {
            // [MQTT-4.7.2-1]: a wildcard in front does not match it.
            let (first, rest) = topic
                .split_once('/')
                .map_or((topic, None), |(first, rest)| (first, Some(rest)));
            if let Some(node) = self.wild.levels.get(first) {
                node.matching(rest, &mut visit);
            }
        } else {
            self.wild.matching(Some(topic), &mut visit);
        }
    }
}

impl<E: Copy + PartialEq> Node<E> {
    fn is_empty(&self) -> bool {
        self.levels.is_empty() && self.any.is_none() && self.here.is_empty() && self.rest.is_empty()
    }

    /// Goes at most as deep as the longest filter.
    fn matching(&self, topic: Option<&str>, visit: &mut impl FnMut(E)) {
        self.rest.iter().copied().for_each(&mut *visit);
        let Some(topic) = topic else {
            return self.here.iter().copied().for_each(visit);
        };
        let (level, after) = match topic.split_once('/') {
            Some((level, after)) => (level, Some(after)),
            None => (topic, None),
        };
        if let Some(node) = self.levels.get(level) {
            node.matching(after, visit);
        }
        if let Some(node) = &self.any {
            node.matching(after, visit);
        }
    }

    fn remove<'a>(&mut self, mut levels: impl Iterator<Item = &'a str>, entry: E) {
        match levels.next() {
            None => self.here.retain(|it| *it != entry),
            Some("#") => self.rest.retain(|it| *it != entry),
            Some("+") => {
                if let Some(node) = &mut self.any {
                    // The iterator's type must not grow with the recursion.
                    node.remove(&mut levels as &mut dyn Iterator<Item = &str>, entry);
                    if node.is_empty() {
                        self.any = None;
                    }
                }
            }
            Some(text) => {
                if let Some(node) = self.levels.get_mut(text) {
                    node.remove(&mut levels as &mut dyn Iterator<Item = &str>, entry);
                    if node.is_empty() {
                        self.levels.remove(text);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn level() -> impl Strategy<Value = String> {
        prop::sample::select(vec!["a", "b", "é", "", "$S", "+"]).prop_map(str::to_owned)
    }

    fn filters() -> impl Strategy<Value = Vec<TopicFilter>> {
        let one = (prop::collection::vec(level(), 1..5), any::<bool>()).prop_filter_map(
            "empty",
            |(mut levels, all)| {
                if all {
                    levels.push("#".to_owned());
                }
                TopicFilter::parse(&levels.join("/")).ok()
            },
        );
        prop::collection::vec(one, 0..30)
    }

    fn topics() -> impl Strategy<Value = Vec<String>> {
        let one =
            prop::collection::vec(level(), 1..6).prop_map(|it| it.join("/").replace('+', "c"));
        prop::collection::vec(one, 1..30)
    }

    fn found(index: &Index<Entry>, topic: &str) -> Vec<u32> {
        let mut found = vec![];
        index.matching(topic, |entry| found.push(entry.slot));
        found.sort_unstable();
        found
    }

    fn entry(slot: usize) -> Entry {
        Entry {
            slot: u32::try_from(slot).unwrap(),
            subscription: 0,
        }
    }

    proptest! {
        #[test]
        fn the_index_agrees_with_the_filters(filters in filters(), topics in topics(), gone in 0..30_usize) {
            let mut index = Index::default();
            for (slot, filter) in filters.iter().enumerate() {
                index.insert(filter, entry(slot));
            }
            let gone = gone.min(filters.len());
            for (slot, filter) in filters.iter().enumerate().take(gone) {
                index.remove(filter, entry(slot));
            }
            for topic in topics.iter().filter(|it| !it.is_empty()) {
                let expected: Vec<_> = (gone..filters.len())
                    .filter(|slot| filters[*slot].matches(topic))
                    .map(|slot| entry(slot).slot)
                    .collect();
                prop_assert_eq!(found(&index, topic), expected, "{}", topic);
            }
            for (slot, filter) in filters.iter().enumerate().skip(gone) {
                index.remove(filter, entry(slot));
            }
            prop_assert!(index.exact.is_empty() && index.wild.is_empty(), "nothing is left behind");
        }
    }

    #[test]
    fn twenty_thousand_filters_do_not_slow_a_topic_down() {
        let mut index = Index::default();
        for number in 0..20_000 {
            let filter = TopicFilter::parse(&format!("plug/{number}/+")).unwrap();
            index.insert(&filter, entry(number));
        }
        // Counted, not timed: only the two levels on the way may be looked at.
        assert_eq!(found(&index, "plug/777/power"), [777]);
        assert_eq!(index.wild.levels["plug"].levels.len(), 20_000);
    }
}
