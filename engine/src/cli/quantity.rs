//! Amounts and durations as people write them.

use std::time::Duration;
use tanglegate_core::Nanos;

/// Reads `0.5IOTA`, `0.5 iota` or `500000000 NANOS`; the unit must be there.
pub(crate) fn amount(text: &str) -> Result<Nanos, String> {
    let wrong = || {
        format!("'{text}' is no amount: write a number and its unit, e.g. 0.5IOTA or 1000000NANOS")
    };
    let lower = text.to_ascii_lowercase();
    if let Some(number) = lower.strip_suffix("nanos") {
        return number.trim().parse().map(Nanos).map_err(|_| wrong());
    }
    let number = lower.strip_suffix("iota").ok_or_else(wrong)?.trim();
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    let digits = |it: &str| it.bytes().all(|it| it.is_ascii_digit());
    if part.len() > 9 || whole.is_empty() || !digits(whole) || !digits(part) {
        return Err(wrong());
    }
    let whole: u64 = whole.parse().map_err(|_| wrong())?;
    let part: u64 = format!("{part:0<9}").parse().map_err(|_| wrong())?;
    let nanos = whole
        .checked_mul(Nanos::IOTA.0)
        .and_then(|it| it.checked_add(part));
    nanos.map(Nanos).ok_or_else(wrong)
}

/// Reads `250ms`, `30s`, `15m`, `1h` or `7d`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("'{text}' is no duration: write e.g. 250ms, 30s, 15m, 1h or 7d");
    let units = [
        ("ms", 1),
        ("s", 1_000),
        ("m", 60_000),
        ("h", 3_600_000),
        ("d", 86_400_000),
    ];
    let (number, millis) = units
        .iter()
        .find_map(|(unit, millis)| Some((text.strip_suffix(unit)?, millis)))
        .ok_or_else(wrong)?;
    let number: u64 = number.trim().parse().map_err(|_| wrong())?;
    number
        .checked_mul(*millis)
        .map(Duration::from_millis)
        .ok_or_else(wrong)
}

/// A duration in the largest unit that says it exactly, as durations are written on the command
/// line.
pub(crate) fn span(millis: u64) -> String {
    let units = [
        ("d", 86_400_000),
        ("h", 3_600_000),
        ("m", 60_000),
        ("s", 1_000),
    ];
    let whole = units
        .iter()
        .find(|(_, unit)| millis >= *unit && millis.is_multiple_of(*unit));
    match whole {
        Some((name, unit)) => format!("{}{name}", millis / unit),
        None => format!("{millis}ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_need_a_unit_and_keep_every_nano() {
        assert_eq!(amount("0.5IOTA"), Ok(Nanos(500_000_000)));
        assert_eq!(amount("1.000000001 iota"), Ok(Nanos(1_000_000_001)));
        assert_eq!(amount("42nanos"), Ok(Nanos(42)));
        for text in [
            "",
            "1",
            "IOTA",
            ".5IOTA",
            "1.0000000001IOTA",
            "-1IOTA",
            "1e3IOTA",
            "99999999999IOTA",
        ] {
            assert!(amount(text).is_err(), "{text}");
        }
    }

    #[test]
    fn durations_need_a_unit() {
        assert_eq!(duration("1h"), Ok(Duration::from_secs(3_600)));
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("15m"), Ok(Duration::from_secs(900)));
        for text in ["", "5", "h", "-1s", "1.5h", "99999999999999999999d"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn durations_read_as_they_are_written() {
        for (millis, text) in [
            (0, "0ms"),
            (250, "250ms"),
            (1_500, "1500ms"),
            (90_000, "90s"),
            (3_600_000, "1h"),
            (86_400_000, "1d"),
        ] {
            assert_eq!(span(millis), text);
        }
    }
}
