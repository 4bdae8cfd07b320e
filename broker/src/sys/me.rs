//! What a client is told about itself on `$SYS/access/me/…`, as JSON.

use std::fmt::Write;
use tanglegate_core::{Right, Rights, Source, Timestamp};

/// Everything below it is each client's own view, which nobody else can read.
pub(crate) const ME: &str = "$SYS/access/me/";
/// The client's rights; sent when it subscribes and whenever they change.
pub(crate) const LEASE: &str = "$SYS/access/me/lease";
/// Why a SUBSCRIBE was refused: 3.1.1 has no other way to say it.
pub(crate) const DENIED: &str = "$SYS/access/me/denied";

/// The rights of a client as of `now`.
///
/// ```json
/// {"at":1795000000000,"rights":[{"filter":"sensor/live","access":"read","state":"running",
///  "until":"2026-11-22T14:05:00Z","until_ms":1795356300000,"offer":"plug-hour"}]}
/// ```
/// Without an end, `until` and `until_ms` are null. `offer` stands only with bought rights.
pub(crate) fn lease(rights: &Rights, now: Timestamp) -> String {
    let mut json = format!("{{\"at\":{},\"rights\":[", now.0);
    for (number, right) in rights.iter().enumerate() {
        if number > 0 {
            json.push(',');
        }
        put_right(&mut json, right, now);
    }
    json.push_str("]}");
    json
}

fn put_right(json: &mut String, right: &Right, now: Timestamp) {
    json.push_str("{\"filter\":");
    put_text(json, right.filter().as_str());
    let state = if now < right.until() {
        "running"
    } else {
        "ended"
    };
    put(
        json,
        format_args!(",\"access\":\"{}\",\"state\":\"{state}\"", right.access()),
    );
    if right.until() > Timestamp::LAST {
        json.push_str(",\"until\":null,\"until_ms\":null");
    } else {
        let (text, millis) = (right.until(), right.until().0);
        put(
            json,
            format_args!(",\"until\":\"{text}\",\"until_ms\":{millis}"),
        );
    }
    if let Source::Lease(offer) = right.source() {
        json.push_str(",\"offer\":");
        put_text(json, offer.as_str());
    }
    json.push('}');
}

/// Why a filter was refused.
///
/// ```json
/// {"filter":"sensor/live","reason":"no right to read sensor/live; offer plug-hour sells it"}
/// ```
pub(crate) fn denied(filter: &str, reason: &str) -> String {
    let mut json = "{\"filter\":".to_owned();
    put_text(&mut json, filter);
    json.push_str(",\"reason\":");
    put_text(&mut json, reason);
    json.push('}');
    json
}

fn put(json: &mut String, text: std::fmt::Arguments<'_>) {
    json.write_fmt(text)
        .expect("writing to a String cannot fail");
}

/// A JSON string (RFC 8259 §7).
fn put_text(json: &mut String, text: &str) {
    json.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => json.extend(['\\', character]),
            '\0'..='\x1F' => put(json, format_args!("\\u{:04x}", u32::from(character))),
            other => json.push(other),
        }
    }
    json.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_escaped_for_json() {
        let json = denied("a\"b\\c\u{1}é", "no");
        assert_eq!(
            json,
            "{\"filter\":\"a\\\"b\\\\c\\u0001é\",\"reason\":\"no\"}"
        );
    }
}
