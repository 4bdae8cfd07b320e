//! Rows as `COPY … (FORMAT binary)` sends and takes them (PostgreSQL 15, "COPY", Binary Format):
//! the cheapest way to drain a table, and to fill one.

use super::{EventLogError, StoredEvent};
use tanglegate_core::Timestamp;
use tanglegate_crypto::Hash;

/// The columns that [`read_row`] expects, in its order.
pub(super) const COLUMNS: &str = "position, stream, version, kind, schema_version, \
     idempotency_key, recorded_at, correlation, causation, meta, body, leaf";

const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0";
/// The signature, four bytes of flags, and the length of an extension that is always empty.
pub(super) const HEADER: usize = SIGNATURE.len() + 8;
/// Microseconds from 1970 to 2000, where PostgreSQL's clock starts.
const EPOCH_MICROS: i64 = 946_684_800_000_000;

/// What stands before the first row.
pub(super) fn header() -> Vec<u8> {
    [SIGNATURE, &[0; HEADER - SIGNATURE.len()]].concat()
}

/// What stands after the last row.
pub(super) fn end(bytes: &mut Vec<u8>) {
    bytes.extend_from_slice(&(-1_i16).to_be_bytes());
}

/// An instant as a field holds it: microseconds since 2000. Beyond the calendar: its last.
pub(super) fn micros(instant: Timestamp) -> i64 {
    let millis = instant.min(Timestamp::LAST).0;
    i64::try_from(millis).expect("the calendar ends far below 2⁶³") * 1_000 - EPOCH_MICROS
}

/// A message of COPY without the header before the first row and the end mark after the last.
pub(crate) fn without_frame(message: &[u8]) -> &[u8] {
    let rows = match message.strip_prefix(SIGNATURE) {
        Some(_) => message.get(HEADER..).unwrap_or_default(),
        None => message,
    };
    rows.strip_suffix(&(-1_i16).to_be_bytes())
        .filter(|it| it.is_empty())
        .unwrap_or(rows)
}

/// Takes bytes from the front of a row.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], EventLogError> {
        let (taken, rest) = self
            .0
            .split_first_chunk()
            .ok_or(EventLogError::Copy("a row is cut short"))?;
        self.0 = rest;
        Ok(*taken)
    }

    /// The next field; `None` is SQL's null.
    fn field(&mut self) -> Result<Option<&'a [u8]>, EventLogError> {
        let length = i32::from_be_bytes(self.take()?);
        let Ok(length) = usize::try_from(length) else {
            return Ok(None);
        };
        if self.0.len() < length {
            return Err(EventLogError::Copy("a field is cut short"));
        }
        let (field, rest) = self.0.split_at(length);
        self.0 = rest;
        Ok(Some(field))
    }

    fn bytes(&mut self) -> Result<&'a [u8], EventLogError> {
        self.field()?.ok_or(EventLogError::Copy("a field is null"))
    }

    fn text(&mut self) -> Result<&'a str, EventLogError> {
        std::str::from_utf8(self.bytes()?).map_err(|_| EventLogError::Copy("a text is not UTF-8"))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], EventLogError> {
        fixed(self.bytes()?)
    }

    fn number(&mut self) -> Result<u64, EventLogError> {
        unsigned(i64::from_be_bytes(self.array()?))
    }
}

fn fixed<const N: usize>(field: &[u8]) -> Result<[u8; N], EventLogError> {
    field
        .try_into()
        .map_err(|_| EventLogError::Copy("a field has another length"))
}

fn unsigned(number: i64) -> Result<u64, EventLogError> {
    u64::try_from(number).map_err(|_| EventLogError::Copy("a number is negative"))
}

/// Gives every row of one message to `row`: usually one, with the header before the first and the
/// end mark after the last.
pub(super) fn each_row(
    message: &[u8],
    row: impl FnMut(StoredEvent<'_>, Hash) -> Result<(), EventLogError>,
) -> Result<(), EventLogError> {
    each_row_or(message, row)
}

/// The same for who has errors of his own.
pub(crate) fn each_row_or<E: From<EventLogError>>(
    message: &[u8],
    mut row: impl FnMut(StoredEvent<'_>, Hash) -> Result<(), E>,
) -> Result<(), E> {
    each(message, 12, |fields| {
        let (event, leaf) = read_row(fields)?;
        row(event, leaf)
    })
}

/// The same for rows that are a leaf and nothing else.
pub(super) fn each_leaf(message: &[u8], mut row: impl FnMut(Hash)) -> Result<(), EventLogError> {
    each(message, 1, |fields| {
        row(fields.array()?);
        Ok::<_, EventLogError>(())
    })
}

fn each<'a, E: From<EventLogError>>(
    message: &'a [u8],
    columns: i16,
    mut row: impl FnMut(&mut Fields<'a>) -> Result<(), E>,
) -> Result<(), E> {
    let mut fields = Fields(message);
    if message.starts_with(SIGNATURE) {
        fields.0 = message
            .get(HEADER..)
            .ok_or(EventLogError::Copy("the header is cut short"))?;
    }
    while !fields.0.is_empty() {
        match i16::from_be_bytes(fields.take()?) {
            -1 => break,
            found if found == columns => row(&mut fields)?,
            _ => return Err(EventLogError::Copy("a row has another number of columns").into()),
        }
    }
    Ok(())
}

fn read_row<'a>(fields: &mut Fields<'a>) -> Result<(StoredEvent<'a>, Hash), EventLogError> {
    let event = StoredEvent {
        position: fields.number()?,
        stream: fields.text()?,
        version: fields.number()?,
        kind: fields.text()?,
        schema_version: i16::from_be_bytes(fields.array()?),
        idempotency_key: fields.field()?,
        recorded_at: instant(i64::from_be_bytes(fields.array()?))?,
        correlation: fields.field()?.map(fixed).transpose()?,
        causation: match fields.field()? {
            Some(field) => Some(unsigned(i64::from_be_bytes(fixed(field)?))?),
            None => None,
        },
        meta: fields.bytes()?,
        body: fields.bytes()?,
    };
    Ok((event, fields.array()?))
}

fn instant(micros_since_2000: i64) -> Result<Timestamp, EventLogError> {
    let micros = micros_since_2000.checked_add(EPOCH_MICROS);
    let micros = micros.ok_or(EventLogError::Copy("an instant is out of range"))?;
    Ok(Timestamp(unsigned(micros)? / 1_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_table_is_a_header_and_an_end_mark() {
        let mut message = header();
        end(&mut message);
        each_row(&message, |_, _| panic!("there is no row")).expect("well formed");
    }

    #[test]
    fn instants_are_written_as_they_are_read() {
        for millis in [0, 946_684_800_000, 1_763_820_300_250, Timestamp::LAST.0] {
            let at = Timestamp(millis);
            assert_eq!(instant(micros(at)).expect("in range"), at);
        }
        assert_eq!(micros(Timestamp::FOREVER), micros(Timestamp::LAST));
    }

    #[test]
    fn cut_or_foreign_messages_are_refused_not_misread() {
        let cases: [&[u8]; 4] = [&[0], &[0, 3], SIGNATURE, &[0, 12, 0, 0, 0, 8, 1]];
        for message in cases {
            assert!(each_row(message, |_, _| Ok(())).is_err(), "{message:?}");
        }
    }
}
