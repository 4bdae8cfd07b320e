//! A recording of power: one value per row, all rows equally long.

use std::time::Duration;

/// One day of a real household; `engine/data/README.md` says whose and under which licence.
const HOUSEHOLD: &str = include_str!("../../data/household-2007-02-01.csv");

/// The column of the built-in recording that holds the power.
const HOUSEHOLD_COLUMN: &str = "Global_active_power";

/// The unit in which a column is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// kW
    Kilowatt,
    /// W
    Watt,
    /// mW
    Milliwatt,
}

impl Unit {
    /// Decimal places of this unit that are whole milliwatts.
    fn places(self) -> usize {
        match self {
            Self::Kilowatt => 6,
            Self::Watt => 3,
            Self::Milliwatt => 0,
        }
    }
}

/// What the power is between the beginnings of two rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Between {
    /// The value of the row: nothing is invented.
    #[default]
    Hold,
    /// On the straight line to the next row's value: livelier to look at. Before a gap and at the
    /// end of the recording the value is held.
    Line,
}

/// A CSV file cannot be replayed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordingError {
    /// Not CSV.
    #[error("line {line}: {what}; the recording must be comma-separated text with a header")]
    Csv {
        /// Line in the file, from 1.
        line: u64,
        /// What the reader says.
        what: String,
    },
    /// No such column.
    #[error("there is no column {column:?}; the header names {header:?}")]
    Column {
        /// The column that was asked for.
        column: String,
        /// Those that exist.
        header: Vec<String>,
    },
    /// Not a number.
    #[error(
        "line {line}, column {column:?}: {text:?} is not a power such as 1.234 (a missing value is \
         left empty, or `?`)"
    )]
    Number {
        /// Line in the file, from 1.
        line: u64,
        /// The column.
        column: String,
        /// What stands there.
        text: String,
    },
    /// No row has a value.
    #[error("column {column:?} holds no value at all")]
    Empty {
        /// The column.
        column: String,
    },
    /// A row without length would have no place in time.
    #[error("a row must last longer than nothing, such as 60 s")]
    RowLength,
}

/// Power over time, repeated for ever.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recording {
    /// Milliwatts; negative where a household feeds in. None where nothing was measured.
    rows: Vec<Option<i64>>,
    row: Duration,
}

impl Recording {
    /// One day of a real household in minutes.
    pub fn household() -> Recording {
        Recording::parse(
            HOUSEHOLD,
            HOUSEHOLD_COLUMN,
            Unit::Kilowatt,
            Duration::from_secs(60),
        )
        .expect("the built-in recording is well-formed, a test reads it")
    }

    /// Reads the named column of a CSV file with a header. Each row stands for a time of length
    /// `row`, whatever its other columns say. A value finer than a milliwatt is rounded to the
    /// nearest one, halves away from zero.
    ///
    /// # Errors
    /// [`RecordingError`] with the line.
    pub fn parse(
        csv: &str,
        column: &str,
        unit: Unit,
        row: Duration,
    ) -> Result<Recording, RecordingError> {
        if row.is_zero() {
            return Err(RecordingError::RowLength);
        }
        let mut reader = csv::Reader::from_reader(csv.as_bytes());
        let header: Vec<String> = reader
            .headers()
            .map_err(broken)?
            .iter()
            .map(|name| name.trim().to_owned())
            .collect();
        let index = header
            .iter()
            .position(|name| name == column)
            .ok_or_else(|| RecordingError::Column {
                column: column.to_owned(),
                header: header.clone(),
            })?;
        let mut rows = Vec::new();
        for record in reader.records() {
            let record = record.map_err(broken)?;
            let text = record.get(index).unwrap_or_default().trim();
            rows.push(power(text, unit).ok_or_else(|| RecordingError::Number {
                line: record.position().map_or(0, csv::Position::line),
                column: column.to_owned(),
                text: text.to_owned(),
            })?);
        }
        if rows.iter().all(Option::is_none) {
            return Err(RecordingError::Empty {
                column: column.to_owned(),
            });
        }
        Ok(Recording { rows, row })
    }

    /// The power in milliwatts at `at` after the beginning. After its end the recording begins
    /// again. None where nothing was measured.
    pub fn power(&self, at: Duration, between: Between) -> Option<i64> {
        let row = self.row.as_nanos();
        let index = at.as_nanos() / row % self.rows.len() as u128;
        let index = usize::try_from(index).expect("it is below the number of rows");
        let here = self.rows[index]?;
        let next = self.rows.get(index + 1).copied().flatten();
        match (between, next) {
            (Between::Line, Some(next)) => Some(on_line(here, next, at.as_nanos() % row, row)),
            _ => Some(here),
        }
    }
}

/// The value `part / whole` of the way from one value to the other, rounded down.
fn on_line(from: i64, to: i64, part: u128, whole: u128) -> i64 {
    let signed = |value: u128| i128::try_from(value).expect("a duration in ns has 94 bits");
    let step = (i128::from(to) - i128::from(from)) * signed(part);
    let value = i128::from(from) + step.div_euclid(signed(whole));
    i64::try_from(value).expect("it lies between two values that fit")
}

fn broken(error: csv::Error) -> RecordingError {
    let line = error.position().map_or(1, csv::Position::line);
    RecordingError::Csv {
        line,
        what: error.to_string(),
    }
}

/// `Some(None)` where nothing was measured, None where the text is no number.
fn power(text: &str, unit: Unit) -> Option<Option<i64>> {
    if text.is_empty() || text == "?" {
        return Some(None);
    }
    milliwatts(text, unit.places()).map(Some)
}

/// Decimal text as an integer, exactly: `1.5` with three places is 1500.
fn milliwatts(text: &str, places: usize) -> Option<i64> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all = whole.bytes().chain(fraction.bytes());
    if digits.len() > 64 || whole.len() + fraction.len() == 0 || !all.clone().all(is_digit) {
        return None;
    }
    let kept = all
        .chain(std::iter::repeat(b'0'))
        .take(whole.len() + places);
    let value = kept
        .map(|digit| i64::from(digit - b'0'))
        .try_fold(0_i64, |value, digit| {
            value.checked_mul(10)?.checked_add(digit)
        })?;
    let up = fraction
        .as_bytes()
        .get(places)
        .is_some_and(|digit| *digit >= b'5');
    let value = value.checked_add(i64::from(up))?;
    Some(if negative { -value } else { value })
}

fn is_digit(byte: u8) -> bool {
    byte.is_ascii_digit()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn parsed(csv: &str) -> Result<Recording, RecordingError> {
        Recording::parse(csv, "power", Unit::Watt, SECOND)
    }

    #[test]
    fn the_built_in_day_has_every_minute() {
        let day = Recording::household();
        assert_eq!(day.rows.len(), 24 * 60);
        assert!(
            day.rows
                .iter()
                .all(|row| row.is_some_and(|power| power > 0))
        );
        assert_eq!(day.power(Duration::ZERO, Between::Hold), Some(326_000));
        let noon = Duration::from_secs(12 * 3600);
        assert_eq!(
            day.power(noon, Between::Hold),
            day.power(noon + Duration::from_secs(24 * 3600), Between::Line),
            "the day begins again"
        );
    }

    #[test]
    fn decimal_text_becomes_exact_milliwatts() {
        for (text, places, expected) in [
            ("0.326", 6, Some(326_000)),
            ("230", 3, Some(230_000)),
            ("1.0004", 3, Some(1_000)),
            ("1.0005", 3, Some(1_001)),
            ("-0.0005", 3, Some(-1)),
            (".5", 3, Some(500)),
            ("7.", 0, Some(7)),
            ("9223372036854775807", 0, Some(i64::MAX)),
            ("9223372036854775808", 0, None),
            ("1e3", 3, None),
            ("1,5", 3, None),
            (".", 3, None),
            ("--1", 3, None),
            ("1.-5", 3, None),
            ("NaN", 3, None),
        ] {
            assert_eq!(milliwatts(text, places), expected, "{text}");
        }
    }

    #[test]
    fn a_gap_is_no_value_and_not_zero() {
        let recording = parsed("power\n1\n?\n0\n").expect("parsed");
        let values = [0, 1, 2, 3].map(|row| recording.power(SECOND * row, Between::Hold));
        assert_eq!(values, [Some(1000), None, Some(0), Some(1000)]);
    }

    #[test]
    fn the_line_joins_neighbours_and_holds_before_a_gap_and_at_the_end() {
        let recording = parsed("power\n1\n3\n?\n5\n").expect("parsed");
        let at = |millis| recording.power(Duration::from_millis(millis), Between::Line);
        assert_eq!(
            [at(0), at(250), at(500), at(999)],
            [1000, 1500, 2000, 2998].map(Some)
        );
        assert_eq!([at(1000), at(1900)], [3000, 3000].map(Some));
        assert_eq!(at(2500), None);
        assert_eq!([at(3000), at(3999)], [5000, 5000].map(Some));
        let falling = parsed("power\n3\n1\n").expect("parsed");
        assert_eq!(falling.power(SECOND / 2, Between::Line), Some(2000));
    }

    #[test]
    fn an_error_names_the_line_and_what_would_do() {
        let error = parsed("time,power\n1,1.5\n2,\"much\"\n").expect_err("no number");
        assert!(
            error
                .to_string()
                .starts_with("line 3, column \"power\": \"much\""),
            "{error}"
        );
        let error = parsed("time,watts\n1,1\n")
            .expect_err("no such column")
            .to_string();
        assert!(
            error.contains("the header names [\"time\", \"watts\"]"),
            "{error}"
        );
        let error = parsed("time,power\n1,1\n2\n").expect_err("a short row");
        assert!(
            matches!(error, RecordingError::Csv { line: 3, .. }),
            "{error}"
        );
        assert!(matches!(
            parsed("power\n?\n"),
            Err(RecordingError::Empty { .. })
        ));
        assert!(matches!(parsed(""), Err(RecordingError::Column { .. })));
        let none = Recording::parse("power\n1\n", "power", Unit::Watt, Duration::ZERO);
        assert_eq!(none, Err(RecordingError::RowLength));
    }
}
