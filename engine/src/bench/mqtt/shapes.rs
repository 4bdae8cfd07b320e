//! The loads that are measured: who publishes on what, and who reads it by which filter.

use super::load::Load;
use super::packet::Version;
use super::report::Budget;
use super::{Section, Settings};

/// A load with its name and budget.
pub(super) type Shape = (String, Load, Budget);

/// The loads of a section; of those that are no mere loads, none.
pub(super) fn of(section: Section, settings: &Settings) -> Vec<Shape> {
    match section {
        Section::Throughput => throughput(settings),
        Section::FanOut => fan_out(settings),
        Section::Topics => topics(settings),
        Section::Filters => filters(settings),
        Section::Wildcards => wildcards(settings),
        _ => vec![],
    }
}

fn throughput(settings: &Settings) -> Vec<Shape> {
    let (old, new) = (Version::V311, Version::V5);
    let shapes = [
        (old, 1, 1, 0, Budget::AtLeast(10.0)),
        (old, 1, 100, 0, Budget::AtLeast(15.0)),
        (old, 100, 1, 0, Budget::AtLeast(5.0)),
        (old, 1, 1, 1, Budget::AtLeast(8.0)),
        (old, 1, 100, 1, Budget::AtLeast(10.0)),
        (old, 100, 1, 1, Budget::AtLeast(5.0)),
        (old, 1, 1, 2, Budget::None),
        (old, 1, 100, 2, Budget::None),
        (old, 100, 1, 2, Budget::None),
        (new, 1, 1, 0, Budget::AtLeast(10.0)),
        (new, 1, 100, 0, Budget::AtLeast(15.0)),
        (new, 1, 1, 1, Budget::AtLeast(8.0)),
        (new, 1, 100, 1, Budget::AtLeast(10.0)),
    ];
    let shape = |(version, writers, readers, qos, budget): (Version, usize, usize, u8, Budget)| {
        let load = Load {
            version,
            ..Load::simple(writers, readers, qos, settings.payload)
        };
        let what = format!("{writers} -> {readers}, QoS {qos}, MQTT {}", version.name());
        (what, load, budget)
    };
    shapes.into_iter().map(shape).collect()
}

fn fan_out(settings: &Settings) -> Vec<Shape> {
    let readers = settings.fan_out;
    let shape = |qos| {
        let load = Load::simple(1, readers, qos, settings.payload);
        (format!("1 -> {readers}, QoS {qos}"), load, Budget::None)
    };
    [0, 1].map(shape).into()
}

/// Many topics below one filter, beside one topic below the same filter.
fn topics(settings: &Settings) -> Vec<Shape> {
    let shape = |count: usize| Load {
        topics: (0..count).map(|it| format!("bench/t/{it:06}")).collect(),
        readers: vec![vec!["bench/t/#".to_owned()]],
        ..Load::simple(1, 1, 0, settings.payload)
    };
    let many = settings.topics;
    vec![
        ("1 -> 1, 1 topic".to_owned(), shape(1), Budget::None),
        (
            format!("1 -> 1, {many} topics in turn"),
            shape(many),
            Budget::None,
        ),
    ]
}

/// The same messages for the same readers, two for each, by few filters and by many: exact ones
/// for half of the readers, with a `+` for the other half.
fn filters(settings: &Settings) -> Vec<Shape> {
    const HALF: usize = 10;
    let each = (settings.filters / HALF).max(1);
    let topic = |number: usize| {
        let (reader, nth) = (number % HALF, number / HALF);
        format!("bench/f/{reader}/{nth:05}")
    };
    let load = |readers: Vec<Vec<String>>| Load {
        topics: (0..HALF * each).map(topic).collect(),
        readers,
        share: HALF as u64,
        ..Load::simple(1, 1, 0, settings.payload)
    };
    let few = |reader: usize| match reader {
        exact @ ..HALF => vec![format!("bench/f/{exact}/#")],
        wild => vec![format!("bench/+/{}/#", wild - HALF)],
    };
    let many = |reader: usize| {
        let filter = |nth| match reader {
            exact @ ..HALF => format!("bench/f/{exact}/{nth:05}"),
            wild => format!("bench/+/{}/{nth:05}", wild - HALF),
        };
        (0..each).map(filter).collect()
    };
    let half = HALF * each;
    vec![
        (
            format!("{} filters", 2 * HALF),
            load((0..2 * HALF).map(few).collect()),
            Budget::None,
        ),
        (
            format!("{half} exact filters and {half} with +"),
            load((0..2 * HALF).map(many).collect()),
            Budget::AtLeastAbove(0.5),
        ),
    ]
}

/// A hundred readers of a hundred topics by one wildcard each.
fn wildcards(settings: &Settings) -> Vec<Shape> {
    let shape = |filter: &str| {
        let load = Load {
            topics: (0..100).map(|it| format!("bench/{it:02}/power")).collect(),
            readers: vec![vec![filter.to_owned()]; 100],
            ..Load::simple(1, 1, 0, settings.payload)
        };
        (format!("1 -> 100, {filter}"), load, Budget::None)
    };
    ["bench/+/power", "bench/#", "+/+/power", "#"]
        .map(shape)
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_filters_as_were_asked_for_meet_as_many_topics() {
        let shapes = filters(&Settings::default());
        let (what, load, _) = &shapes[1];
        assert_eq!(what, "20000 exact filters and 20000 with +");
        assert_eq!(load.topics.len(), 20_000);
        assert_eq!(load.readers.iter().map(Vec::len).sum::<usize>(), 40_000);
        assert!(load.readers[0].contains(&load.topics[10]));
        assert_eq!(load.topics[10], "bench/f/0/00001");
        assert!(load.readers[10].contains(&"bench/+/0/00001".to_owned()));
    }
}
