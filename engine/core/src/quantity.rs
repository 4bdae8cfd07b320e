//! Quantities with their units: money and instants.

use std::fmt;

/// Money in NANOS, the ledger's smallest unit: 1 IOTA = 1,000,000,000 NANOS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Nanos(pub u64);

impl Nanos {
    /// No money.
    pub const ZERO: Self = Self(0);
    /// One IOTA.
    pub const IOTA: Self = Self(1_000_000_000);

    /// The sum; `None` where it does not fit 64 bits (more than the ledger's whole supply).
    #[must_use]
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self)
    }
}

impl fmt::Display for Nanos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, part) = (self.0 / Self::IOTA.0, self.0 % Self::IOTA.0);
        if part == 0 {
            return write!(f, "{whole} IOTA");
        }
        let digits = format!("{part:09}");
        write!(f, "{whole}.{} IOTA", digits.trim_end_matches('0'))
    }
}

/// An instant: milliseconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// The end of a right that has none.
    pub const FOREVER: Self = Self(u64::MAX);
    /// The last instant that a lease may end at: 9999-12-31T23:59:59.999Z. Later ones have no
    /// place in a four-digit calendar, nor in every database.
    pub const LAST: Self = Self(253_402_300_799_999);

    /// This instant moved by `millis`, at most [`Timestamp::LAST`].
    #[must_use]
    pub fn plus_millis(self, millis: u64) -> Self {
        Self(self.0.saturating_add(millis).min(Self::LAST.0))
    }

    /// Milliseconds from `earlier` to this instant; 0 when `earlier` is later.
    #[must_use]
    pub fn millis_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// RFC 3339 in UTC, e.g. `2026-11-22T14:05:00Z`, with milliseconds only where there are some.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self > Self::LAST {
            return f.write_str("for ever");
        }
        let (days, millis) = (self.0 / 86_400_000, self.0 % 86_400_000);
        let (year, month, day) = civil_date(days);
        let (hour, minute) = (millis / 3_600_000, millis / 60_000 % 60);
        let (second, rest) = (millis / 1_000 % 60, millis % 1_000);
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}"
        )?;
        if rest != 0 {
            write!(f, ".{rest:03}")?;
        }
        f.write_str("Z")
    }
}

/// Gregorian date of a day counted from 1970-01-01, by walking whole 400-year eras that start
/// on 1 March, so that the leap day is the last day of its year.
fn civil_date(days_since_1970: u64) -> (u64, u64, u64) {
    const DAYS_PER_ERA: u64 = 146_097;
    const DAYS_FROM_0000_03_01: u64 = 719_468;
    let days = days_since_1970 + DAYS_FROM_0000_03_01;
    let (era, day_of_era) = (days / DAYS_PER_ERA, days % DAYS_PER_ERA);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_written_as_rfc_3339() {
        let cases = [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400_000, "2000-02-29T00:00:00Z"),
            (1_763_820_300_250, "2025-11-22T14:05:00.250Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00Z"),
            (Timestamp::LAST.0, "9999-12-31T23:59:59.999Z"),
        ];
        for (millis, text) in cases {
            assert_eq!(Timestamp(millis).to_string(), text);
        }
        assert_eq!(Timestamp::FOREVER.to_string(), "for ever");
    }

    #[test]
    fn money_is_written_in_iota_without_idle_zeros() {
        assert_eq!(Nanos(500_000_000).to_string(), "0.5 IOTA");
        assert_eq!(Nanos(3_000_000_000).to_string(), "3 IOTA");
        assert_eq!(Nanos(1).to_string(), "0.000000001 IOTA");
    }

    #[test]
    fn an_instant_never_runs_past_the_calendar() {
        assert_eq!(Timestamp(5).plus_millis(u64::MAX), Timestamp::LAST);
    }
}
