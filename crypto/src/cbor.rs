//! The little of CBOR that announcements and orders use, written and read in one way only:
//! arrays of fixed length, shortest forms (RFC 8949 §4.2.1), and nothing behind the end.

use minicbor::data::Type;
use minicbor::{Decoder, Encoder};
use std::convert::Infallible;

/// Why bytes are not laid out as they should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// Another type, another length, or the bytes end inside it.
    #[error("its {field} is not {expected}")]
    Field {
        /// Which field.
        field: &'static str,
        /// What stands there in a right one.
        expected: &'static str,
    },
    /// Something follows the last field.
    #[error("{0} bytes follow its end")]
    Trailing(usize),
    /// The same content has a shorter encoding.
    #[error("its CBOR is not in the shortest form (RFC 8949 §4.2.1)")]
    Loose,
    /// It names another signer than the one whose signature it carries.
    #[error("it names another identity than the one that signed it")]
    Identity,
}

/// Writes fields one after another into memory, which cannot fail.
pub(crate) struct Writer(Encoder<Vec<u8>>);

impl Writer {
    /// `capacity` is the most that will be written, so that no copy of it stays behind.
    pub(crate) fn new(capacity: usize) -> Self {
        Self(Encoder::new(Vec::with_capacity(capacity)))
    }

    pub(crate) fn array(mut self, length: usize) -> Self {
        let length = u64::try_from(length).expect("a length in memory has at most 64 bits");
        written(self.0.array(length));
        self
    }

    pub(crate) fn bytes(mut self, bytes: &[u8]) -> Self {
        written(self.0.bytes(bytes));
        self
    }

    pub(crate) fn text(mut self, text: &str) -> Self {
        written(self.0.str(text));
        self
    }

    pub(crate) fn number(mut self, number: u64) -> Self {
        written(self.0.u64(number));
        self
    }

    pub(crate) fn yes(mut self) -> Self {
        written(self.0.bool(true));
        self
    }

    pub(crate) fn null(mut self) -> Self {
        written(self.0.null());
        self
    }

    /// The value, or null.
    pub(crate) fn maybe<T>(self, value: Option<T>, write: impl FnOnce(Self, T) -> Self) -> Self {
        match value {
            Some(value) => write(self, value),
            None => self.null(),
        }
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        self.0.into_writer()
    }
}

fn written<T>(outcome: Result<T, minicbor::encode::Error<Infallible>>) {
    assert!(outcome.is_ok(), "a vector takes whatever is written");
}

/// Reads fields one after another. Whether the form was the shortest shows when what was read is
/// written again: [`Reader::end`] compares.
pub(crate) struct Reader<'a> {
    all: &'a [u8],
    decoder: Decoder<'a>,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(all: &'a [u8]) -> Self {
        let decoder = Decoder::new(all);
        Self { all, decoder }
    }

    /// The head of an array of exactly `length` fields.
    pub(crate) fn array(
        &mut self,
        length: u64,
        field: &'static str,
        expected: &'static str,
    ) -> Result<(), LayoutError> {
        let found = self.decoder.array().ok().flatten();
        let fits = found == Some(length);
        fits.then_some(())
            .ok_or(LayoutError::Field { field, expected })
    }

    /// The head of an array of any definite length. Nothing is set aside for what it claims.
    pub(crate) fn list(
        &mut self,
        field: &'static str,
        expected: &'static str,
    ) -> Result<u64, LayoutError> {
        let found = self.decoder.array().ok().flatten();
        found.ok_or(LayoutError::Field { field, expected })
    }

    pub(crate) fn bytes<const N: usize>(
        &mut self,
        field: &'static str,
        expected: &'static str,
    ) -> Result<[u8; N], LayoutError> {
        let found = self.decoder.bytes().ok();
        found
            .and_then(|it| it.try_into().ok())
            .ok_or(LayoutError::Field { field, expected })
    }

    /// Text of `least` to `most` bytes.
    pub(crate) fn text(
        &mut self,
        least: usize,
        most: usize,
        field: &'static str,
        expected: &'static str,
    ) -> Result<&'a str, LayoutError> {
        let found = self.decoder.str().ok();
        found
            .filter(|it| (least..=most).contains(&it.len()))
            .ok_or(LayoutError::Field { field, expected })
    }

    /// A number of at most `most`.
    pub(crate) fn number(
        &mut self,
        most: u64,
        field: &'static str,
        expected: &'static str,
    ) -> Result<u64, LayoutError> {
        let found = self.decoder.u64().ok();
        found
            .filter(|it| *it <= most)
            .ok_or(LayoutError::Field { field, expected })
    }

    /// Whether null stands here; it is passed over.
    pub(crate) fn null(&mut self) -> bool {
        let null = matches!(self.decoder.datatype(), Ok(Type::Null));
        null && self.decoder.null().is_ok()
    }

    /// Whether `true` stands here; it is passed over.
    pub(crate) fn yes(&mut self) -> bool {
        let true_ = matches!(self.decoder.probe().bool(), Ok(true));
        true_ && self.decoder.skip().is_ok()
    }

    /// What `read` reads, or nothing where null stands.
    pub(crate) fn maybe<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, LayoutError>,
    ) -> Result<Option<T>, LayoutError> {
        if self.null() {
            return Ok(None);
        }
        read(self).map(Some)
    }

    /// How many bytes were read.
    pub(crate) fn position(&self) -> usize {
        self.decoder.position()
    }

    /// Nothing may follow, and `again`, what was read as we write it, has to be the same bytes.
    pub(crate) fn end(&self, again: &[u8]) -> Result<(), LayoutError> {
        match self.all.len() - self.position() {
            0 if again == self.all => Ok(()),
            0 => Err(LayoutError::Loose),
            more => Err(LayoutError::Trailing(more)),
        }
    }
}
