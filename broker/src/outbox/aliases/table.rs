//! Which alias stands for which topic.

use std::collections::HashMap;
use std::sync::Arc;

/// Bytes of an alias among the properties: a topic that is no longer is not worth one.
const ALIAS: usize = 3;
/// Bytes of the longest topic that is given an alias. It bounds what one client makes the gate
/// remember.
const LONGEST: usize = 1_024;

/// Bytes that an alias takes besides its topic: a place, an entry by topic, what counts the users
/// of the text.
const PLACE: usize = 96;

/// The aliases of one connection, from 1 on.
///
/// When all are given away, a new topic looks at one of them, in turn: where its topic was used
/// since somebody last looked, it stays, and the new topic goes without; else the new topic gets
/// it. So topics that come again and again keep their aliases, however many others come once,
/// and a message costs one look whatever the number of aliases.
#[derive(Debug)]
pub(super) struct Table {
    most: u16,
    places: Vec<Place>,
    aliases: HashMap<Arc<str>, u16>,
    /// Bytes of the topics.
    bytes: usize,
    /// Place of the alias that a new topic looks at.
    hand: usize,
    /// Place of the alias that was used last.
    last: usize,
}

/// An alias that is given away.
#[derive(Debug)]
struct Place {
    topic: Arc<str>,
    /// Its topic came again since a new one looked at it.
    used: bool,
}

/// What takes an alias back that was set.
#[derive(Debug)]
pub(super) struct Undo {
    alias: u16,
    before: Option<Place>,
}

impl Table {
    /// For aliases up to `most`, at least 1. Takes no memory until the first is set.
    pub(super) fn new(most: u16) -> Self {
        Self {
            most,
            places: vec![],
            aliases: HashMap::new(),
            bytes: 0,
            hand: 0,
            last: 0,
        }
    }

    /// The alias of a topic.
    pub(super) fn find(&mut self, topic: &str) -> Option<u16> {
        let is_last = |it: &Place| *it.topic == *topic;
        if !self.places.get(self.last).is_some_and(is_last) {
            self.last = place(*self.aliases.get(topic)?);
        }
        self.places[self.last].used = true;
        Some(alias(self.last))
    }

    /// Sets an alias for a topic that has none; `None` when it goes without.
    pub(super) fn set(&mut self, topic: &str) -> Option<(u16, Undo)> {
        if !(ALIAS + 1..=LONGEST).contains(&topic.len()) {
            return None;
        }
        let new = Place {
            topic: topic.into(),
            used: false,
        };
        let topic = Arc::clone(&new.topic);
        if self.places.len() < usize::from(self.most) {
            self.last = self.places.len();
            self.places.push(new);
            return Some(self.given(topic, None));
        }
        let looked_at = self.hand;
        self.hand = (looked_at + 1) % self.places.len();
        let place = &mut self.places[looked_at];
        if std::mem::take(&mut place.used) {
            return None;
        }
        self.last = looked_at;
        let before = std::mem::replace(place, new);
        self.aliases.remove(&before.topic);
        self.bytes -= before.topic.len();
        Some(self.given(topic, Some(before)))
    }

    /// The place that was used last is the topic's now.
    fn given(&mut self, topic: Arc<str>, before: Option<Place>) -> (u16, Undo) {
        let alias = alias(self.last);
        self.bytes += topic.len();
        self.aliases.insert(topic, alias);
        (alias, Undo { alias, before })
    }

    /// As if the alias had not been set. The last one that was set has to be taken back first.
    pub(super) fn take_back(&mut self, undo: Undo) {
        let Undo { alias, before } = undo;
        let at = place(alias);
        let topic = &self.places[at].topic;
        self.bytes -= topic.len();
        self.aliases.remove(topic);
        match before {
            Some(before) => {
                self.bytes += before.topic.len();
                self.aliases.insert(Arc::clone(&before.topic), alias);
                self.places[at] = before;
            }
            None => {
                debug_assert_eq!(
                    at + 1,
                    self.places.len(),
                    "aliases are given in their order"
                );
                self.places.truncate(at);
            }
        }
    }

    /// Bytes of memory that it takes: the topics, and a place and an entry for each.
    pub(super) fn cost(&self) -> usize {
        self.bytes + self.places.capacity() * PLACE
    }

    /// Alias and topic of each.
    #[cfg(test)]
    pub(super) fn topics(&self) -> HashMap<u16, String> {
        let topics = self.places.iter().map(|it| it.topic.to_string());
        (1..).zip(topics).collect()
    }
}

fn place(alias: u16) -> usize {
    usize::from(alias - 1)
}

fn alias(place: usize) -> u16 {
    u16::try_from(place + 1).expect("there are at most 65,535")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_alias_is_0_or_above_the_maximum() {
        // [MQTT-3.3.2-8], [MQTT-3.3.2-11], [MQTT-3.1.2-26]
        let mut table = Table::new(3);
        for number in 0..100 {
            let topic = format!("topic/{number}");
            if let Some((alias, _)) = table.set(&topic) {
                assert!((1..=3).contains(&alias));
                assert_eq!(table.find(&topic), Some(alias));
            }
        }
        assert_eq!((table.places.len(), table.aliases.len()), (3, 3));
        let bytes: usize = table.places.iter().map(|it| it.topic.len()).sum();
        assert_eq!(table.bytes, bytes);
    }

    #[test]
    fn topics_that_come_again_keep_their_aliases_and_others_make_room() {
        let mut table = Table::new(2);
        assert!(table.set("often").is_some() && table.set("once").is_some());
        for number in 0..50 {
            assert_eq!(table.find("often"), Some(1));
            table.set(&format!("topic/{number}"));
        }
        assert_eq!(table.find("often"), Some(1));
        assert_eq!(table.find("once"), None);
        // What is popular no more goes in the end.
        for number in 50..54 {
            table.set(&format!("topic/{number}"));
        }
        assert_eq!(table.find("often"), None);
    }

    #[test]
    fn topics_that_are_too_short_or_too_long_go_without() {
        let mut table = Table::new(2);
        assert!(table.set("abc").is_none() && table.set(&"x".repeat(1_025)).is_none());
        assert!(table.set("abcd").is_some() && table.set(&"x".repeat(1_024)).is_some());
    }

    #[test]
    fn what_is_taken_back_was_never_set() {
        let mut table = Table::new(2);
        let (_, first) = table.set("first").unwrap();
        table.set("second").unwrap();
        let before = table.topics();
        let (alias, third) = table.set("third").unwrap();
        let (_, fourth) = table.set("fourth").unwrap();
        assert_eq!(table.find("third"), Some(alias));
        table.take_back(fourth);
        table.take_back(third);
        assert_eq!(table.topics(), before);
        assert_eq!(table.find("first"), Some(first.alias));
        assert_eq!((table.find("third"), table.find("fourth")), (None, None));
    }
}
