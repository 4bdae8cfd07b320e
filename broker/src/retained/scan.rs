//! Finding the topics that a filter matches in their order, without looking at all others.
//!
//! Topics are kept under keys in which the separator is the least character of all (it stands for
//! `/` and no topic has it, [MQTT-1.5.4-2]). So a topic is followed by everything below it, and
//! that by its next neighbour: where a level does not match, the scan jumps to the next one that
//! may. It takes about two looks for each value of a `+`, however many topics lie below.

use std::borrow::Cow;

/// Stands for `/` in keys.
const SEPARATOR: char = '\0';
/// The least character that is greater, which closes the topics below another.
const BEHIND: char = '\u{1}';

/// The key of a topic.
pub(super) fn key(topic: &str) -> Cow<'_, str> {
    if topic.contains('/') {
        topic.replace('/', "\0").into()
    } else {
        topic.into()
    }
}

/// What a look at a key told.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// The topic matches.
    Match,
    /// It does not, and none does from there up to this key, which is greater.
    Skip(String),
    /// Neither it nor any behind it matches.
    End,
}

/// Compares a topic, by its key, with a filter.
pub(super) fn look(filter: &str, key: &str) -> Look {
    if key.starts_with('$') && filter.starts_with(['+', '#']) {
        return Look::Skip("%".to_owned()); // [MQTT-4.7.2-1]; '%' is the next character
    }
    let mut wild = false;
    // Bytes of the key before the present level.
    let mut before = 0;
    for level in filter.split('/') {
        if level == "#" {
            return Look::Match;
        }
        let Some(rest) = key.get(before..) else {
            // The topic ends above this level.
            return Look::Skip(if level == "+" {
                format!("{key}{SEPARATOR}")
            } else {
                format!("{key}{SEPARATOR}{level}")
            });
        };
        let present = rest.split(SEPARATOR).next().unwrap_or(rest);
        if level == "+" {
            wild = true;
        } else if present < level {
            return Look::Skip(format!("{}{level}", &key[..before]));
        } else if present > level {
            // Only another value of an earlier level can help.
            return match wild {
                true => Look::Skip(format!("{}{BEHIND}", &key[..before - 1])),
                false => Look::End,
            };
        }
        before += present.len() + 1;
    }
    if before > key.len() {
        return Look::Match;
    }
    // It lies below a topic that matches, and so do all up to that one's next neighbour.
    Look::Skip(format!("{}{BEHIND}", &key[..before - 1]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::{btree_set, vec};
    use proptest::prelude::*;
    use std::collections::BTreeSet;
    use tanglegate_core::TopicFilter;

    /// Topics found in their order, and how often was looked.
    fn scan(filter: &str, keys: &BTreeSet<String>) -> (BTreeSet<String>, usize) {
        let (mut found, mut from, mut looks) = (BTreeSet::new(), String::new(), 0);
        while let Some(key) = keys.range(from.clone()..).next() {
            looks += 1;
            match look(filter, key) {
                Look::Match => {
                    found.insert(key.replace(SEPARATOR, "/"));
                    from = format!("{key}\0");
                }
                Look::Skip(to) => {
                    assert!(to > *key, "{filter}: from {key:?} to {to:?}");
                    from = to;
                }
                Look::End => break,
            }
        }
        (found, looks)
    }

    fn topic() -> impl Strategy<Value = String> {
        let level = prop::sample::select(vec!["", "a", "a-", "a0", "b", "é", "$S"]);
        let levels = vec(level, 1..5).prop_map(|it| it.join("/"));
        levels.prop_filter("a topic has a character", |it| !it.is_empty())
    }

    fn filter() -> impl Strategy<Value = String> {
        let level = prop::sample::select(vec!["", "a", "a-", "b", "é", "$S", "+", "+"]);
        let levels = (vec(level, 0..4), any::<bool>()).prop_map(|(mut levels, all)| {
            if all {
                levels.push("#");
            }
            levels.join("/")
        });
        levels.prop_filter("a filter has a character", |it| !it.is_empty())
    }

    proptest! {
        #[test]
        fn a_scan_finds_exactly_what_matches(filter in filter(), topics in btree_set(topic(), 0..60)) {
            let parsed = TopicFilter::parse(&filter).unwrap();
            let expected: BTreeSet<_> =
                topics.iter().filter(|it| parsed.matches(it)).cloned().collect();
            let keys = topics.iter().map(|it| key(it).into_owned()).collect();
            prop_assert_eq!(scan(&filter, &keys).0, expected);
        }
    }

    #[test]
    fn what_lies_beside_the_filter_is_not_looked_at() {
        let mut keys = BTreeSet::new();
        for plug in 0..100 {
            for reading in 0..100 {
                keys.insert(key(&format!("plug/{plug}/reading/{reading}")).into_owned());
            }
        }
        for (filter, matching, most) in [
            ("plug/+/reading/7", 100, 301),
            ("plug/+/other", 0, 202),
            ("+/7/#", 100, 104),
            ("+/+", 0, 100),
            ("other/#", 0, 2),
            ("#", 10_000, 10_000),
        ] {
            let (found, looks) = scan(filter, &keys);
            assert_eq!(found.len(), matching, "{filter}");
            assert!(looks <= most, "{filter}: {looks} looks");
        }
    }
}
