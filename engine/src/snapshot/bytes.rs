//! Numbers and names as a snapshot holds them. A number is LEB128: seven bits a byte, the least
//! first, the top bit set on all but the last. A name that comes for the first time is a 0, its
//! length and its bytes; afterwards it is its number, from 1.

use std::collections::HashMap;
use tanglegate_core::{OfferId, TopicFilter};

/// Bytes that are no snapshot of this form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("it cannot be read: {0}")]
pub struct FormError(pub(super) &'static str);

const CUT: FormError = FormError("it is cut short");

/// Bytes that are being written.
#[derive(Default)]
pub(super) struct Writing {
    bytes: Vec<u8>,
    names: HashMap<Box<[u8]>, u64>,
}

impl Writing {
    pub(super) fn number(&mut self, mut number: u64) {
        loop {
            let low = u8::try_from(number & 0x7f).expect("seven bits");
            number >>= 7;
            if number == 0 {
                self.bytes.push(low);
                return;
            }
            self.bytes.push(low | 0x80);
        }
    }

    /// Bytes of a length that the reader knows.
    pub(super) fn raw(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    pub(super) fn name(&mut self, name: &[u8]) {
        if let Some(known) = self.names.get(name) {
            return self.number(*known);
        }
        let next = self.names.len() as u64 + 1;
        self.names.insert(name.into(), next);
        self.number(0);
        self.number(name.len() as u64);
        self.raw(name);
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.bytes
    }
}

/// Bytes that are being read.
pub(super) struct Reading<'a> {
    rest: &'a [u8],
    names: Vec<Name<'a>>,
}

/// A name, and what it was read as: those who read it again share that.
struct Name<'a> {
    bytes: &'a [u8],
    offer: Option<OfferId>,
    filter: Option<TopicFilter>,
}

impl<'a> Name<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            offer: None,
            filter: None,
        }
    }

    fn text(&self) -> Result<&'a str, FormError> {
        std::str::from_utf8(self.bytes).map_err(|_| FormError("a text is not UTF-8"))
    }
}

impl<'a> Reading<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self {
            rest: bytes,
            names: Vec::new(),
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.rest.is_empty()
    }

    pub(super) fn number(&mut self) -> Result<u64, FormError> {
        let (mut number, mut shift) = (0, 0);
        loop {
            let (byte, rest) = self.rest.split_first().ok_or(CUT)?;
            self.rest = rest;
            let bits = u64::from(byte & 0x7f);
            if shift > 63 || (shift == 63 && bits > 1) {
                return Err(FormError("a number is too long"));
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
            shift += 7;
        }
    }

    pub(super) fn raw<const N: usize>(&mut self) -> Result<[u8; N], FormError> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(CUT)?;
        self.rest = rest;
        Ok(*taken)
    }

    fn name(&mut self) -> Result<&mut Name<'a>, FormError> {
        let number = usize::try_from(self.number()?).map_err(|_| CUT)?;
        let at = match number.checked_sub(1) {
            Some(known) => known,
            None => {
                let length = usize::try_from(self.number()?).map_err(|_| CUT)?;
                let (bytes, rest) = self.rest.split_at_checked(length).ok_or(CUT)?;
                self.rest = rest;
                self.names.push(Name::new(bytes));
                self.names.len() - 1
            }
        };
        let unknown = FormError("a name has a number that none was given");
        self.names.get_mut(at).ok_or(unknown)
    }

    /// A name of so many bytes.
    pub(super) fn bytes<const N: usize>(&mut self) -> Result<[u8; N], FormError> {
        let wrong = FormError("a name has another length");
        self.name()?.bytes.try_into().map_err(|_| wrong)
    }

    /// A name that is a text.
    pub(super) fn text(&mut self) -> Result<&'a str, FormError> {
        self.name()?.text()
    }

    /// A name that is an offer's.
    pub(super) fn offer(&mut self) -> Result<OfferId, FormError> {
        let name = self.name()?;
        if let Some(offer) = &name.offer {
            return Ok(offer.clone());
        }
        let offer =
            OfferId::parse(name.text()?).map_err(|_| FormError("an offer's name is none"))?;
        name.offer = Some(offer.clone());
        Ok(offer)
    }

    /// A name that is a filter.
    pub(super) fn filter(&mut self) -> Result<TopicFilter, FormError> {
        let name = self.name()?;
        if let Some(filter) = &name.filter {
            return Ok(filter.clone());
        }
        let filter = TopicFilter::parse(name.text()?).map_err(|_| FormError("a filter is none"))?;
        name.filter = Some(filter.clone());
        Ok(filter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_names_are_written_once() {
        let numbers = [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX];
        let mut writing = Writing::default();
        for number in numbers {
            writing.number(number);
            writing.name(b"plug-hour");
            writing.raw(&[7; 3]);
        }
        let bytes = writing.finish();
        assert_eq!(bytes.windows(9).filter(|it| it == b"plug-hour").count(), 1);
        let mut reading = Reading::new(&bytes);
        for number in numbers {
            assert_eq!(reading.number(), Ok(number));
            assert_eq!(reading.text(), Ok("plug-hour"));
            assert_eq!(reading.raw(), Ok([7; 3]));
        }
        assert!(reading.is_over());
    }

    #[test]
    fn what_was_never_written_is_refused() {
        assert_eq!(Reading::new(&[]).number(), Err(CUT));
        assert_eq!(Reading::new(&[0x80]).number(), Err(CUT));
        assert!(Reading::new(&[0xff; 11]).number().is_err());
        let past_64_bits = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2];
        assert!(Reading::new(&past_64_bits).number().is_err());
        assert!(
            Reading::new(&[1]).text().is_err(),
            "no name has a number yet"
        );
        assert_eq!(Reading::new(&[0, 5, 1]).text(), Err(CUT));
        assert!(Reading::new(&[0, 1, 0xff]).text().is_err());
        assert!(Reading::new(&[0, 1, b'a']).bytes::<2>().is_err());
    }
}
