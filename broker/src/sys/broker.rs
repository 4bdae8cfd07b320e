//! The statistics on `$SYS/broker/…`, by the names that dashboards know from Mosquitto
//! (mosquitto(8)). What this server does not count has no topic, like heap sizes.

use super::load::Load;
use crate::statistics::Statistics;
use std::collections::HashMap;
use std::time::Duration;
use tanglegate_core::Timestamp;

const VERSION: &str = concat!("tanglegate version ", env!("CARGO_PKG_VERSION"));

/// What was told last, so that only what changes is told.
#[derive(Debug)]
pub(crate) struct Report {
    since: Timestamp,
    before: Option<(Timestamp, Statistics)>,
    /// Most clients that were connected at a look.
    most_connected: u64,
    loads: [Load; LOADS.len()],
    told: HashMap<String, String>,
}

/// A counter with its name.
type Named = (&'static str, fn(&Statistics) -> u64);

/// Counters whose moving averages are told, below `load/`.
const LOADS: [Named; 9] = [
    ("connections", |it| it.sessions + it.denied_connects),
    ("sockets", |it| it.connections),
    ("bytes/received", |it| it.received_bytes),
    ("bytes/sent", |it| it.sent_bytes),
    ("messages/received", packets_received),
    ("messages/sent", packets_sent),
    ("publish/received", |it| it.received_messages),
    ("publish/sent", |it| it.sent_messages),
    ("publish/dropped", dropped),
];

/// Numbers that are told as they are.
const NUMBERS: [Named; 24] = [
    ("clients/total", |it| it.open_sessions + it.away_sessions),
    ("clients/connected", |it| it.open_sessions),
    ("clients/active", |it| it.open_sessions),
    ("clients/disconnected", |it| it.away_sessions),
    ("clients/inactive", |it| it.away_sessions),
    ("clients/expired", |it| it.expired_sessions),
    ("messages/received", packets_received),
    ("messages/sent", packets_sent),
    ("messages/publish/received", |it| it.received_messages),
    ("messages/publish/sent", |it| it.sent_messages),
    ("messages/publish/dropped", dropped),
    ("publish/messages/received", |it| it.received_messages),
    ("publish/messages/sent", |it| it.sent_messages),
    ("publish/messages/dropped", dropped),
    ("messages/stored", stored),
    ("store/messages/count", stored),
    ("store/messages/bytes", |it| {
        it.retained_bytes + it.known_waiting_bytes + it.anonymous_waiting_bytes
    }),
    ("bytes/received", |it| it.received_bytes),
    ("bytes/sent", |it| it.sent_bytes),
    ("publish/bytes/received", |it| {
        it.received_bytes.saturating_sub(it.received_control_bytes)
    }),
    ("publish/bytes/sent", |it| {
        it.sent_bytes.saturating_sub(it.sent_control_bytes)
    }),
    ("subscriptions/count", |it| it.open_subscriptions),
    ("shared_subscriptions/count", |it| {
        it.open_shared_subscriptions
    }),
    ("retained messages/count", |it| it.retained_messages),
];

/// MQTT packets of all kinds.
fn packets_received(it: &Statistics) -> u64 {
    it.received_messages + it.received_controls
}

/// MQTT packets of all kinds.
fn packets_sent(it: &Statistics) -> u64 {
    it.sent_messages + it.sent_controls
}

/// Messages that are kept: retained, or queued for clients.
fn stored(it: &Statistics) -> u64 {
    it.retained_messages + it.known_waiting + it.anonymous_waiting
}

/// Messages that did not reach a reader who had a right to them.
fn dropped(it: &Statistics) -> u64 {
    it.dropped_slow + it.dropped_expired + it.dropped_too_large
}

impl Report {
    /// The report of a gate that starts at `since`.
    pub(crate) fn new(since: Timestamp) -> Self {
        Self {
            since,
            before: None,
            most_connected: 0,
            loads: [Load::default(); LOADS.len()],
            told: HashMap::new(),
        }
    }

    /// What has to be told at `now`: topics and their values, which have changed since the last
    /// call.
    pub(crate) fn news(&mut self, now: Timestamp, at: &Statistics) -> Vec<(String, String)> {
        let (then, before) = self.before.unwrap_or((self.since, Statistics::default()));
        self.before = Some((now, *at));
        self.most_connected = self.most_connected.max(at.open_sessions);
        let passed = Duration::from_millis(now.millis_since(then));
        let uptime = now.millis_since(self.since) / 1_000;
        let mut values = vec![
            ("version".to_owned(), VERSION.to_owned()),
            ("uptime".to_owned(), format!("{uptime} seconds")),
            (
                "clients/maximum".to_owned(),
                self.most_connected.to_string(),
            ),
        ];
        for (name, number) in NUMBERS {
            values.push((name.to_owned(), number(at).to_string()));
        }
        for (load, (name, count)) in self.loads.iter_mut().zip(LOADS) {
            load.look(count(at).saturating_sub(count(&before)), passed);
            for (minutes, average) in load.per_minute() {
                values.push((format!("load/{name}/{minutes}min"), format!("{average:.2}")));
            }
        }
        values.retain(|(name, value)| self.told.get(name) != Some(value));
        self.told.extend(values.iter().cloned());
        let topics = values.into_iter();
        topics
            .map(|(name, value)| (format!("$SYS/broker/{name}"), value))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value<'a>(news: &'a [(String, String)], name: &str) -> Option<&'a str> {
        let topic = format!("$SYS/broker/{name}");
        let found = news.iter().find(|it| it.0 == topic);
        found.map(|it| it.1.as_str())
    }

    #[test]
    fn everything_is_told_once_and_then_what_changes() {
        let mut report = Report::new(Timestamp(5_000));
        let mut at = Statistics {
            open_sessions: 3,
            away_sessions: 2,
            ..Statistics::default()
        };
        let first = report.news(Timestamp(5_000), &at);
        assert_eq!(first.len(), 3 + NUMBERS.len() + 3 * LOADS.len());
        assert!(value(&first, "version").unwrap().starts_with("tanglegate "));
        for (name, expected) in [
            ("uptime", "0 seconds"),
            ("clients/total", "5"),
            ("clients/connected", "3"),
            ("clients/maximum", "3"),
            ("load/publish/received/15min", "0.00"),
        ] {
            assert_eq!(value(&first, name), Some(expected), "{name}");
        }

        (at.open_sessions, at.received_messages) = (1, 100);
        let second = report.news(Timestamp(15_000), &at);
        for (name, expected) in [
            ("uptime", Some("10 seconds")),
            ("clients/connected", Some("1")),
            ("clients/total", Some("3")),
            ("clients/maximum", None),
            ("clients/disconnected", None),
            ("version", None),
            ("messages/publish/received", Some("100")),
            ("load/publish/received/1min", Some("92.11")),
            ("load/publish/sent/1min", None),
        ] {
            assert_eq!(value(&second, name), expected, "{name}");
        }
    }

    #[test]
    fn a_counter_that_a_reader_sees_torn_does_not_upset_the_averages() {
        let mut report = Report::new(Timestamp(0));
        let at = Statistics {
            sent_messages: 5,
            ..Statistics::default()
        };
        report.news(Timestamp(1_000), &at);
        let news = report.news(Timestamp(2_000), &Statistics::default());
        let average: f64 = value(&news, "load/publish/sent/1min")
            .unwrap()
            .parse()
            .unwrap();
        assert!((0.0..5.0).contains(&average));
    }
}
