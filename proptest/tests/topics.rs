//! Filters against brute force: every topic of a small alphabet is tried.

use tanglegate_core::{TopicFilter, TopicName};
use tanglegate_proptest::topics::{matches, texts};

/// `z` stands in no filter: it is any other level.
const TOPIC_LEVELS: [&str; 5] = ["", "a", "b", "$S", "z"];
const FILTER_LEVELS: [&str; 6] = ["", "a", "b", "$S", "+", "#"];

/// Filters of up to three levels, and all topics of up to four, one deeper than any filter:
/// what holds for these holds for all.
struct Small {
    filters: Vec<TopicFilter>,
    topics: Vec<String>,
    /// For each filter, which topics it matches.
    matched: Vec<Vec<bool>>,
}

impl Small {
    fn new() -> Self {
        let filters: Vec<TopicFilter> = texts(&FILTER_LEVELS, 3)
            .iter()
            .filter_map(|it| TopicFilter::parse(it).ok())
            .collect();
        let topics = texts(&TOPIC_LEVELS, 4);
        let row = |filter: &TopicFilter| {
            let topics = topics.iter();
            topics.map(|it| matches(filter.as_str(), it)).collect()
        };
        let matched = filters.iter().map(row).collect();
        Self {
            filters,
            topics,
            matched,
        }
    }
}

#[test]
fn exactly_the_texts_that_the_standard_allows_are_filters() {
    // MQTT 5.0 [MQTT-4.7.1-1]: # alone in the last level.
    let allowed = texts(&FILTER_LEVELS, 3)
        .into_iter()
        .filter(|it| !it.contains('#') || it == "#" || it.strip_suffix("/#").is_some_and(no_hash));
    let allowed: Vec<String> = allowed.collect();
    let small = Small::new();
    let found: Vec<&str> = small.filters.iter().map(TopicFilter::as_str).collect();
    assert_eq!(found, allowed);
    for text in ["a+", "+a", "a/b+", "a#", "#a", "a/#b"] {
        assert!(TopicFilter::parse(text).is_err(), "{text}");
        assert!(TopicName::parse(text).is_err(), "{text}");
    }
}

fn no_hash(text: &str) -> bool {
    !text.contains('#')
}

#[test]
fn a_filter_matches_what_the_standard_says() {
    let small = Small::new();
    for (filter, matched) in small.filters.iter().zip(&small.matched) {
        for (topic, expected) in small.topics.iter().zip(matched) {
            assert_eq!(filter.matches(topic), *expected, "{filter} on {topic}");
        }
    }
}

#[test]
fn filters_overlap_exactly_when_some_topic_is_matched_by_both() {
    let small = Small::new();
    for (one, ones) in small.filters.iter().zip(&small.matched) {
        for (other, others) in small.filters.iter().zip(&small.matched) {
            let shared = ones.iter().zip(others).any(|(one, other)| *one && *other);
            assert_eq!(one.overlaps(other), shared, "{one} and {other}");
        }
    }
}

#[test]
fn a_filter_covers_another_exactly_when_no_topic_of_it_escapes() {
    let small = Small::new();
    for (one, ones) in small.filters.iter().zip(&small.matched) {
        for (other, others) in small.filters.iter().zip(&small.matched) {
            let escapes = ones.iter().zip(others).any(|(one, other)| *other && !*one);
            assert_eq!(one.covers(other), !escapes, "{one} over {other}");
        }
    }
}
