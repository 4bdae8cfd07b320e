//! What was measured, as a table.

use std::fmt;
use std::time::Duration;

/// What a ratio has to keep to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Budget {
    /// A rate: at least this share of its floor.
    AtLeast(f64),
    /// A time: at most this multiple of its floor.
    AtMost(f64),
    /// Shown for comparison only.
    None,
}

/// One figure beside its floor.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// What was measured.
    pub what: String,
    /// It, with its unit.
    pub measured: String,
    /// The floor, with its unit.
    pub floor: String,
    /// The one divided by the other; of several rounds the middle one.
    pub ratio: f64,
    /// What it should be.
    pub budget: Budget,
}

/// All figures of one run.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Report {
    /// What the figures hold for, a sentence each.
    pub notes: Vec<String>,
    /// The figures.
    pub lines: Vec<Line>,
}

impl Line {
    /// True unless a budget is missed.
    #[must_use]
    pub fn is_met(&self) -> bool {
        match self.budget {
            Budget::AtLeast(least) => self.ratio >= least,
            Budget::AtMost(most) => self.ratio <= most,
            Budget::None => true,
        }
    }

    fn cells(&self) -> [String; 6] {
        let budget = match self.budget {
            Budget::AtLeast(least) => format!("≥ {least:.2}"),
            Budget::AtMost(most) => format!("≤ {most:.2}"),
            Budget::None => String::new(),
        };
        let met = match (self.budget, self.is_met()) {
            (Budget::None, _) => "",
            (_, true) => "met",
            (_, false) => "MISSED",
        };
        let ratio = format!("{:.2}", self.ratio);
        let (what, measured, floor) =
            (self.what.clone(), self.measured.clone(), self.floor.clone());
        [what, measured, floor, ratio, budget, met.to_owned()]
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let title = ["WHAT", "MEASURED", "FLOOR", "RATIO", "BUDGET", ""].map(str::to_owned);
        let mut rows = vec![title];
        rows.extend(self.lines.iter().map(Line::cells));
        let width = |column: usize| rows.iter().map(|it| it[column].chars().count()).max();
        let widths: Vec<usize> = (0..6).filter_map(width).collect();
        for row in &rows {
            let padded = row
                .iter()
                .zip(&widths)
                .map(|(cell, width)| format!("{cell:width$}"));
            writeln!(f, "{}", padded.collect::<Vec<_>>().join("  ").trim_end())?;
        }
        for note in &self.notes {
            writeln!(f, "{note}")?;
        }
        Ok(())
    }
}

/// A rate with its unit, in groups of three digits.
pub(super) fn per_second(count: f64, time: Duration, unit: &str) -> String {
    format!("{} {unit}/s", grouped(count / time.as_secs_f64()))
}

/// A short time in microseconds.
pub(in crate::bench) fn micros(time: Duration) -> String {
    format!("{:.0} µs", time.as_secs_f64() * 1e6)
}

/// A number without fraction in groups of three digits.
pub(in crate::bench) fn grouped(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The middle of some figures, which no outlier moves; the upper of two middles.
pub(in crate::bench) fn median<T: PartialOrd + Copy>(mut figures: Vec<T>) -> Option<T> {
    figures.sort_by(|a, b| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal));
    figures.get(figures.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(ratio: f64, budget: Budget) -> Line {
        let (measured, floor) = ("1,000 events/s".to_owned(), "2,000 rows/s".to_owned());
        Line {
            what: "append".to_owned(),
            measured,
            floor,
            ratio,
            budget,
        }
    }

    #[test]
    fn a_budget_is_met_from_its_bound_on() {
        assert!(line(0.6, Budget::AtLeast(0.6)).is_met());
        assert!(!line(0.59, Budget::AtLeast(0.6)).is_met());
        assert!(line(1.2, Budget::AtMost(1.2)).is_met());
        assert!(!line(1.21, Budget::AtMost(1.2)).is_met());
    }

    #[test]
    fn columns_are_aligned_and_notes_follow() {
        let lines = vec![line(0.5, Budget::AtLeast(0.6)), line(0.5, Budget::None)];
        let report = Report {
            notes: vec!["on this machine".to_owned()],
            lines,
        };
        let text = report.to_string();
        let rows: Vec<&str> = text.lines().collect();
        assert_eq!(
            rows[1],
            "append  1,000 events/s  2,000 rows/s  0.50   ≥ 0.60  MISSED"
        );
        assert_eq!(rows[2], "append  1,000 events/s  2,000 rows/s  0.50");
        assert_eq!(rows[3], "on this machine");
    }

    #[test]
    fn numbers_are_grouped_from_the_right() {
        for (number, text) in [
            (0.0, "0"),
            (999.0, "999"),
            (1e3, "1,000"),
            (1_234_567.4, "1,234,567"),
        ] {
            assert_eq!(grouped(number), text);
        }
    }

    #[test]
    fn the_median_is_the_middle_one() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(Vec::<f64>::new()), None);
    }
}
