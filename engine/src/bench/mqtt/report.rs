//! What was measured, as a table.

use crate::bench::log::{grouped, median};
use std::fmt::Write;

/// What a figure has to keep to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Budget {
    /// At least so many times the rival's.
    AtLeast(f64),
    /// At most so many times the rival's.
    AtMost(f64),
    /// At most so much, whatever the rival does.
    Absolute(f64),
    /// At least so many times what the same server does in the figure above it.
    AtLeastAbove(f64),
    /// Shown for comparison only.
    None,
}

/// One figure of both servers, round by round.
#[derive(Debug, Clone)]
pub(super) struct Row {
    /// What was measured.
    pub(super) what: String,
    pub(super) unit: &'static str,
    pub(super) gate: Vec<f64>,
    /// Empty when there is no rival.
    pub(super) rival: Vec<f64>,
    pub(super) budget: Budget,
    /// More about it, e.g. how busy the load was.
    pub(super) note: String,
}

impl Row {
    fn gate(&self) -> f64 {
        median(self.gate.clone()).unwrap_or(f64::NAN)
    }

    fn rival(&self) -> Option<f64> {
        median(self.rival.clone())
    }

    /// Gate by rival in each round, the lowest first.
    fn ratios(&self) -> Vec<f64> {
        let pairs = self.gate.iter().zip(&self.rival);
        let mut ratios: Vec<f64> = pairs.map(|(gate, rival)| gate / rival).collect();
        ratios.sort_by(f64::total_cmp);
        ratios
    }

    /// The budget in words, and whether it is kept; `None` when nothing can be said.
    fn verdict(&self, above: Option<&Self>) -> (String, Option<bool>) {
        let ratio = median(self.ratios());
        match self.budget {
            Budget::AtLeast(least) => (format!(">= {least}"), ratio.map(|it| it >= least)),
            Budget::AtMost(most) => (format!("<= {most}"), ratio.map(|it| it <= most)),
            Budget::Absolute(most) => (format!("<= {}", grouped(most)), Some(self.gate() <= most)),
            Budget::AtLeastAbove(least) => {
                let kept = above.map(|it| self.gate() >= least * it.gate());
                (format!(">= {least} of above"), kept)
            }
            Budget::None => (String::new(), None),
        }
    }

    fn cells(&self, above: Option<&Self>) -> [String; 8] {
        let (ratio, spread) = match *self.ratios() {
            [] => ("-".to_owned(), String::new()),
            [only] => (short(only), String::new()),
            [lowest, .., highest] => (
                median(self.ratios()).map_or("-".to_owned(), short),
                format!("{} to {}", short(lowest), short(highest)),
            ),
        };
        let (budget, kept) = self.verdict(above);
        let kept = match (self.budget, kept) {
            (Budget::None, _) => "",
            (_, Some(true)) => "kept",
            (_, Some(false)) => "MISSED",
            (_, None) => "not compared",
        };
        [
            format!("{}, {}", self.what, self.unit),
            short(self.gate()),
            self.rival().map_or("-".to_owned(), short),
            ratio,
            spread,
            budget,
            kept.to_owned(),
            self.note.clone(),
        ]
    }
}

/// The rows below a title.
pub(super) fn table(title: &str, rows: &[Row]) -> String {
    let head = [title, "gate", "Mosquitto", "ratio", "rounds", "budget", ""];
    let mut lines = vec![head.map(str::to_owned).to_vec()];
    lines[0].push(String::new());
    for (number, row) in rows.iter().enumerate() {
        let above = number.checked_sub(1).map(|it| &rows[it]);
        lines.push(row.cells(above).to_vec());
    }
    let width = |column: usize| lines.iter().map(|it| it[column].chars().count()).max();
    let widths: Vec<usize> = (0..8).filter_map(width).collect();
    let mut text = String::new();
    for cells in &lines {
        let mut line = String::new();
        for (column, (cell, width)) in cells.iter().zip(&widths).enumerate() {
            // Numbers end where the one above ends.
            let padded = match column {
                1..=3 => format!("{cell:>width$}  "),
                _ => format!("{cell:width$}  "),
            };
            line += &padded;
        }
        writeln!(text, "{}", line.trim_end()).expect("writing to a String cannot fail");
    }
    text
}

/// Three digits are enough to compare.
pub(super) fn short(number: f64) -> String {
    match number.abs() {
        100.0.. => grouped(number),
        10.0.. => format!("{number:.1}"),
        _ => format!("{number:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(gate: &[f64], rival: &[f64], budget: Budget) -> Row {
        Row {
            what: "1 -> 1".to_owned(),
            unit: "delivered/s",
            gate: gate.to_vec(),
            rival: rival.to_vec(),
            budget,
            note: String::new(),
        }
    }

    #[test]
    fn the_middle_ratio_counts_and_the_others_show_the_noise() {
        let row = row(
            &[10.0, 60.0, 30.0],
            &[10.0, 10.0, 10.0],
            Budget::AtLeast(3.0),
        );
        let text = table("throughput", &[row]);
        assert!(text.contains("3.00"), "{text}");
        assert!(text.contains("1.00 to 6.00"), "{text}");
        assert!(text.contains("kept"), "{text}");
    }

    #[test]
    fn a_missed_budget_says_so() {
        for (row, kept) in [
            (row(&[1.0], &[1.0], Budget::AtLeast(1.1)), Some(false)),
            (row(&[1.0], &[1.0], Budget::AtMost(1.0)), Some(true)),
            (
                row(&[4_097.0], &[1.0], Budget::Absolute(4_096.0)),
                Some(false),
            ),
            (row(&[1.0], &[], Budget::AtMost(1.0)), None),
        ] {
            assert_eq!(row.verdict(None).1, kept, "{row:?}");
        }
        let (above, below) = (
            row(&[10.0], &[], Budget::None),
            row(&[4.0], &[], Budget::AtLeastAbove(0.5)),
        );
        assert_eq!(below.verdict(Some(&above)).1, Some(false));
    }
}
