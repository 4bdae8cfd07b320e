//! The time axis: instants that people like to read, as many as fit.

use tanglegate_core::Timestamp;
use time::{Date, Month, OffsetDateTime};

const SECOND: u64 = 1_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// Between two marks of the axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Millis(u64),
    Months(u32),
}

/// From the finest to the coarsest. Days that do not divide a month are left out.
const STEPS: [Step; 28] = [
    Step::Millis(1),
    Step::Millis(10),
    Step::Millis(100),
    Step::Millis(SECOND),
    Step::Millis(5 * SECOND),
    Step::Millis(15 * SECOND),
    Step::Millis(30 * SECOND),
    Step::Millis(MINUTE),
    Step::Millis(5 * MINUTE),
    Step::Millis(10 * MINUTE),
    Step::Millis(30 * MINUTE),
    Step::Millis(HOUR),
    Step::Millis(3 * HOUR),
    Step::Millis(6 * HOUR),
    Step::Millis(12 * HOUR),
    Step::Millis(DAY),
    Step::Millis(2 * DAY),
    Step::Millis(7 * DAY),
    Step::Months(1),
    Step::Months(2),
    Step::Months(3),
    Step::Months(6),
    Step::Months(12),
    Step::Months(24),
    Step::Months(60),
    Step::Months(120),
    Step::Months(1_200),
    Step::Months(12_000),
];

/// The most marks on one axis.
const MOST: u64 = 10;

/// A mark of the axis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tick {
    pub(super) at: Timestamp,
    /// What changes from mark to mark.
    pub(super) fine: String,
    /// The day, month or year, where it begins or at the first mark.
    pub(super) coarse: Option<String>,
}

/// The marks between two instants, at most ten.
pub(super) fn ticks(from: Timestamp, to: Timestamp) -> Vec<Tick> {
    let span = to.millis_since(from);
    let fits = |it: &&Step| match it {
        Step::Millis(step) => span / step < MOST,
        Step::Months(months) => span / (u64::from(*months) * 30 * DAY) < MOST,
    };
    let step = *STEPS.iter().find(fits).unwrap_or(&STEPS[STEPS.len() - 1]);
    let mut ticks: Vec<Tick> = Vec::new();
    let mut at = first(from, step);
    while let Some(instant) = at.filter(|it| *it <= to) {
        let Some(date) = date(instant) else { break };
        let (fine, coarse) = words(date, step);
        let said = ticks.iter().rev().find_map(|it| it.coarse.as_ref());
        let coarse = Some(coarse).filter(|it| !it.is_empty() && said != Some(it));
        ticks.push(Tick {
            at: instant,
            fine,
            coarse,
        });
        at = next(instant, step);
    }
    ticks
}

fn date(at: Timestamp) -> Option<OffsetDateTime> {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(at.0) * 1_000_000).ok()
}

/// The first mark at `from` or later.
fn first(from: Timestamp, step: Step) -> Option<Timestamp> {
    match step {
        Step::Millis(step) => Some(Timestamp(from.0.div_ceil(step) * step)),
        Step::Months(months) => {
            let date = date(from)?;
            let month =
                u32::try_from(date.year()).ok()? * 12 + u32::from(u8::from(date.month())) - 1;
            let whole = month / months * months;
            [whole, whole + months]
                .into_iter()
                .filter_map(beginning)
                .find(|it| *it >= from)
        }
    }
}

fn next(at: Timestamp, step: Step) -> Option<Timestamp> {
    match step {
        Step::Millis(step) => Some(Timestamp(at.0.checked_add(step)?)),
        Step::Months(_) => first(Timestamp(at.0 + 1), step),
    }
}

/// When a month begins, counted from the year 0.
fn beginning(month: u32) -> Option<Timestamp> {
    let (year, month) = (i32::try_from(month / 12).ok()?, month % 12 + 1);
    let month = Month::try_from(u8::try_from(month).ok()?).ok()?;
    let date = Date::from_calendar_date(year, month, 1).ok()?;
    let seconds = date.midnight().assume_utc().unix_timestamp();
    Some(Timestamp(u64::try_from(seconds).ok()? * SECOND))
}

fn words(at: OffsetDateTime, step: Step) -> (String, String) {
    let (hour, minute, second) = at.to_hms();
    let day = format!("{} {} {}", at.day(), short(at.month()), at.year());
    match step {
        Step::Millis(step) if step < SECOND => {
            let millis = at.millisecond();
            (
                format!("{hour:02}:{minute:02}:{second:02}.{millis:03}"),
                day,
            )
        }
        Step::Millis(step) if step < MINUTE => (format!("{hour:02}:{minute:02}:{second:02}"), day),
        Step::Millis(step) if step < DAY => (format!("{hour:02}:{minute:02}"), day),
        Step::Millis(_) => (
            format!("{} {}", at.day(), short(at.month())),
            at.year().to_string(),
        ),
        Step::Months(months) if months < 12 => {
            (short(at.month()).to_owned(), at.year().to_string())
        }
        Step::Months(_) => (at.year().to_string(), String::new()),
    }
}

fn short(month: Month) -> &'static str {
    const NAMES: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    NAMES[usize::from(u8::from(month)) - 1]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-03-01T00:00:00Z.
    const MARCH: u64 = 1_772_323_200_000;

    fn shown(from: u64, to: u64) -> Vec<String> {
        let all = ticks(Timestamp(from), Timestamp(to));
        let word = |it: Tick| match it.coarse {
            Some(coarse) => format!("{} / {coarse}", it.fine),
            None => it.fine,
        };
        all.into_iter().map(word).collect()
    }

    #[test]
    fn an_hour_is_marked_in_minutes_and_tells_its_day_once() {
        let marks = shown(MARCH + 14 * HOUR + MINUTE, MARCH + 15 * HOUR + MINUTE);
        let expected = [
            "14:10 / 1 Mar 2026",
            "14:20",
            "14:30",
            "14:40",
            "14:50",
            "15:00",
        ];
        assert_eq!(marks, expected);
    }

    #[test]
    fn a_new_day_is_told_where_it_begins() {
        let marks = shown(MARCH - 7 * HOUR, MARCH + 7 * HOUR);
        assert_eq!(
            marks,
            [
                "18:00 / 28 Feb 2026",
                "21:00",
                "00:00 / 1 Mar 2026",
                "03:00",
                "06:00"
            ]
        );
    }

    #[test]
    fn a_year_is_marked_where_its_months_begin() {
        let marks = shown(MARCH + DAY, MARCH + 366 * DAY);
        let expected = ["May / 2026", "Jul", "Sep", "Nov", "Jan / 2027", "Mar"];
        assert_eq!(marks, expected);
    }

    #[test]
    fn any_span_has_few_marks_in_order() {
        let spans = [
            1,
            7,
            400,
            59 * SECOND,
            3 * DAY,
            20 * DAY,
            100 * DAY,
            900 * DAY,
        ];
        for span in spans.into_iter().chain([Timestamp::LAST.0 - MARCH]) {
            let marks = ticks(Timestamp(MARCH), Timestamp(MARCH + span));
            assert!(!marks.is_empty() && marks.len() <= 12, "{span}: {marks:?}");
            assert!(marks.is_sorted_by(|one, other| one.at < other.at), "{span}");
            assert!(marks.iter().all(|it| it.at.0 <= MARCH + span), "{span}");
        }
    }
}
