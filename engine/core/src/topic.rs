//! Topic names and topic filters (MQTT 5.0 §4.7, the same in 3.1.1).

use std::fmt;
use std::sync::Arc;

/// A text that is no topic name or no topic filter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TopicError {
    /// MQTT 5.0 [MQTT-4.7.3-1].
    #[error("a topic must have at least one character")]
    Empty,
    /// MQTT 5.0 [MQTT-4.7.3-3].
    #[error("a topic has at most 65,535 bytes, this one has {0}")]
    TooLong(usize),
    /// MQTT 5.0 [MQTT-4.7.3-2].
    #[error("a topic must not contain the null character")]
    Null,
    /// MQTT 5.0 [MQTT-3.3.2-2]: names carry no wildcard.
    #[error("'{0}' is a filter: the name of a topic has neither + nor #")]
    Wildcard(String),
    /// MQTT 5.0 [MQTT-4.7.1-1] and [MQTT-4.7.1-2].
    #[error("in '{0}' a wildcard stands in the wrong place: + fills a whole level, # the last")]
    MisplacedWildcard(String),
}

/// The name of one topic.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicName(Arc<str>);

/// A topic name or a pattern of names with the wildcards `+` and `#`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicFilter(Arc<str>);

impl TopicName {
    /// Reads a name.
    ///
    /// # Errors
    /// When it is empty, too long, or has a wildcard or a null character.
    pub fn parse(text: &str) -> Result<Self, TopicError> {
        check_length(text)?;
        if text.contains(['+', '#']) {
            return Err(TopicError::Wildcard(text.chars().take(100).collect()));
        }
        Ok(Self(text.into()))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TopicFilter {
    /// Reads a filter.
    ///
    /// # Errors
    /// When it is empty, too long, has a null character or a misplaced wildcard.
    pub fn parse(text: &str) -> Result<Self, TopicError> {
        check_length(text)?;
        let mut levels = text.split('/').peekable();
        while let Some(level) = levels.next() {
            let right = match level {
                "+" => true,
                "#" => levels.peek().is_none(),
                _ => !level.contains(['+', '#']),
            };
            if !right {
                return Err(TopicError::MisplacedWildcard(
                    text.chars().take(100).collect(),
                ));
            }
        }
        Ok(Self(text.into()))
    }

    /// The filter as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The same filter, sharing the text of `other` where they are equal.
    #[must_use]
    pub fn sharing(self, other: &Self) -> Self {
        if self == *other { other.clone() } else { self }
    }

    /// True when there is no wildcard, so that it matches one topic only.
    #[must_use]
    pub fn is_exact(&self) -> bool {
        !self.0.contains(['+', '#'])
    }

    /// True when a message on `topic` belongs to this filter (MQTT 5.0 §4.7.1). Names that start
    /// with `$` are not matched by a wildcard in the first place ([MQTT-4.7.2-1]).
    #[must_use]
    pub fn matches(&self, topic: &str) -> bool {
        if topic.starts_with('$') && self.0.starts_with(['+', '#']) {
            return false;
        }
        let (mut pattern, mut name) = (self.0.as_bytes(), topic.as_bytes());
        // What is alike is passed over in one go, whatever levels it has: wildcards fill theirs, so
        // both texts stand at the beginning of a level when the filter comes to one.
        loop {
            let differs = |(one, other): (&u8, &u8)| one != other;
            let most = pattern.len().min(name.len());
            let same = pattern.iter().zip(name).position(differs).unwrap_or(most);
            match (&pattern[same..], &name[same..]) {
                ([], []) | ([b'/', b'#'], []) | ([b'#'], _) => return true,
                ([b'+', rest @ ..], present) => {
                    let end = present.iter().position(|it| *it == b'/');
                    (pattern, name) = (rest, &present[end.unwrap_or(present.len())..]);
                }
                _ => return false,
            }
        }
    }

    /// True when every topic that `other` matches is matched by this filter.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        if other.0.starts_with('$') && self.0.starts_with(['+', '#']) {
            return false;
        }
        let (mut mine, mut theirs) = (self.levels(), other.levels());
        loop {
            match (mine.next(), theirs.next()) {
                (Some("#"), _) | (None, None) => return true,
                (Some("+"), Some(level)) if level != "#" => {}
                (Some(level), Some(other)) if level == other => {}
                _ => return false,
            }
        }
    }

    /// True when at least one topic is matched by both filters.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        let wild = |it: &Self| it.0.starts_with(['+', '#']);
        let system = |it: &Self| it.0.starts_with('$');
        if (wild(self) && system(other)) || (wild(other) && system(self)) {
            return false;
        }
        let (mut mine, mut theirs) = (self.levels(), other.levels());
        loop {
            match (mine.next(), theirs.next()) {
                (Some("#"), _) | (_, Some("#")) | (None, None) => return true,
                (Some("+"), Some(_)) | (Some(_), Some("+")) => {}
                (Some(level), Some(other)) if level == other => {}
                _ => return false,
            }
        }
    }

    /// The levels, to be compared with another filter's. A topic has at least one character, so
    /// `#` and `/#` match nothing that lacks the level before `#`: it is spelled out, or filters
    /// that match the same topics would seem to differ.
    fn levels(&self) -> std::str::Split<'_, char> {
        let text = match &*self.0 {
            "#" => "+/#",
            "/#" => "/+/#",
            other => other,
        };
        text.split('/')
    }
}

fn check_length(text: &str) -> Result<(), TopicError> {
    match text.len() {
        0 => Err(TopicError::Empty),
        65_536.. => Err(TopicError::TooLong(text.len())),
        _ if text.contains('\0') => Err(TopicError::Null),
        _ => Ok(()),
    }
}

impl fmt::Display for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for TopicFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(text: &str) -> TopicFilter {
        TopicFilter::parse(text).expect("a valid filter")
    }

    #[test]
    fn filters_match_as_the_standard_says() {
        // MQTT 5.0 §4.7.1.2, §4.7.1.3 and §4.7.2, its own examples among them.
        let yes = [
            ("sport/tennis/player1/#", "sport/tennis/player1"),
            (
                "sport/tennis/player1/#",
                "sport/tennis/player1/score/wimbledon",
            ),
            ("sport/#", "sport"),
            ("#", "a/b"),
            ("sport/tennis/+", "sport/tennis/player1"),
            ("sport/+", "sport/"),
            ("+/+", "/finance"),
            ("/+", "/finance"),
            ("$SYS/#", "$SYS/broker/uptime"),
            ("$SYS/monitor/+", "$SYS/monitor/Clients"),
        ];
        let no = [
            ("sport/tennis/+", "sport/tennis/player1/ranking"),
            ("sport/+", "sport"),
            ("+", "/finance"),
            ("#", "$SYS/broker/uptime"),
            ("+/monitor/Clients", "$SYS/monitor/Clients"),
            ("sport", "Sport"),
            ("sport", "sport/"),
        ];
        for (pattern, topic) in yes {
            assert!(
                filter(pattern).matches(topic),
                "{pattern} should match {topic}"
            );
        }
        for (pattern, topic) in no {
            assert!(
                !filter(pattern).matches(topic),
                "{pattern} should not match {topic}"
            );
        }
    }

    #[test]
    fn matching_compares_level_by_level() {
        let level_by_level = |pattern: &str, topic: &str| {
            let (mut pattern, mut name) = (pattern.split('/'), topic.split('/'));
            loop {
                match (pattern.next(), name.next()) {
                    (Some("#"), _) | (None, None) => return true,
                    (Some("+"), Some(_)) => {}
                    (Some(level), Some(other)) if level == other => {}
                    _ => return false,
                }
            }
        };
        let texts = |letters: &[char], most: u32| -> Vec<String> {
            let count = letters.len();
            let text = |length: u32| {
                (0..count.pow(length)).map(move |number| {
                    let letter = |at: u32| letters[number / count.pow(at) % count];
                    (0..length).map(letter).collect::<String>()
                })
            };
            (1..=most).flat_map(text).collect()
        };
        let topics = texts(&['a', 'b', '/'], 5);
        for text in texts(&['a', '/', '+', '#'], 5) {
            let Ok(filter) = TopicFilter::parse(&text) else {
                continue;
            };
            for topic in &topics {
                let expected = level_by_level(&text, topic);
                assert_eq!(filter.matches(topic), expected, "{text} {topic}");
            }
        }
    }

    #[test]
    fn misplaced_wildcards_and_other_faults_are_refused() {
        for text in [
            "",
            "sport/#/ranking",
            "sport#",
            "sport+",
            "+sport",
            "a\0b",
            "a/#b",
        ] {
            assert!(TopicFilter::parse(text).is_err(), "{text:?}");
        }
        for text in ["", "a/+", "#", "a\0"] {
            assert!(TopicName::parse(text).is_err(), "{text:?}");
        }
        assert!(TopicName::parse(&"a".repeat(65_535)).is_ok());
        assert!(TopicName::parse(&"a".repeat(65_536)).is_err());
    }

    #[test]
    fn covering_and_overlapping_agree_with_matching() {
        let filters = [
            "#", "+", "+/+", "+/#", "a", "a/#", "a/+", "a/b", "$S/#", "$S/+", "+/b", "/",
        ];
        let topics = [
            "a", "b", "a/b", "a/c", "b/b", "a/b/c", "$S", "$S/b", "$S/b/c", "/", "",
        ];
        for one in filters.map(filter) {
            for other in filters.map(filter) {
                let both = |it: &&str| one.matches(it) && other.matches(it);
                let escapes = |it: &&str| other.matches(it) && !one.matches(it);
                if topics.iter().any(both) {
                    assert!(one.overlaps(&other), "{one} overlaps {other}");
                }
                if one.covers(&other) {
                    assert!(!topics.iter().any(escapes), "{one} covers {other}");
                    assert!(one.overlaps(&other));
                }
                assert_eq!(one.overlaps(&other), other.overlaps(&one));
            }
            assert!(one.covers(&one));
        }
        assert!(filter("a/#").covers(&filter("a")));
        assert!(!filter("a/+").covers(&filter("a/#")));
        assert!(!filter("#").covers(&filter("$S/#")));
        assert!(!filter("+/b").overlaps(&filter("a/c")));
    }

    #[test]
    fn the_topic_without_a_character_tells_no_filters_apart() {
        for (one, other) in [("#", "+/#"), ("/#", "/+/#")] {
            assert!(filter(one).covers(&filter(other)));
            assert!(filter(other).covers(&filter(one)));
        }
        assert!(filter("+/+/#").covers(&filter("/#")));
        assert!(!filter("+/+/#").covers(&filter("#")));
        assert!(!filter("+").overlaps(&filter("/#")));
    }
}
