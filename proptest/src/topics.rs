//! Topics by brute force: what filters match, told from the standard's sentences alone.

/// True when a message on `topic` belongs to `filter` (MQTT 5.0 §4.7).
#[must_use]
pub fn matches(filter: &str, topic: &str) -> bool {
    let filter: Vec<&str> = filter.split('/').collect();
    let topic: Vec<&str> = topic.split('/').collect();
    // [MQTT-4.7.2-1]: no wildcard in front of a name that begins with $.
    if topic[0].starts_with('$') && (filter[0] == "+" || filter[0] == "#") {
        return false;
    }
    levels_match(&filter, &topic)
}

fn levels_match(filter: &[&str], topic: &[&str]) -> bool {
    match (filter, topic) {
        // §4.7.1.2: the parent level and any number of child levels.
        (["#"], _) | ([], []) => true,
        // §4.7.1.3: exactly one level, also an empty one.
        (["+", filter @ ..], [_, topic @ ..]) => levels_match(filter, topic),
        ([one, filter @ ..], [other, topic @ ..]) => one == other && levels_match(filter, topic),
        _ => false,
    }
}

/// Every text of 1 to `depth` levels that are taken from `levels`, except the empty one.
#[must_use]
pub fn texts(levels: &[&str], depth: usize) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    let mut deepest: Vec<String> = levels.iter().map(|it| (*it).to_owned()).collect();
    for _ in 0..depth {
        all.extend(deepest.iter().filter(|it| !it.is_empty()).cloned());
        let deeper = deepest.iter().flat_map(|parent| {
            let child = move |level: &&str| format!("{parent}/{level}");
            levels.iter().map(child)
        });
        deepest = deeper.collect();
    }
    all
}
