//! A message that is kept for later: queued for a session with QoS 1 or 2, retained, or a will.
//! All who wait for it share its bytes, and the same bytes are what is written to disk.
//!
//! ```text
//! message = form: u8 (1), topic length: u16, properties: u32, expires: u64,
//!           topic, properties, payload          (numbers little-endian)
//! ```

use std::fmt;
use std::sync::Arc;
use tanglegate_core::{Timestamp, TopicName};

/// The form of the bytes. Bytes on disk of another form are not read.
const FORM: u8 = 1;
const HEAD: usize = 15;

/// A message as its publisher sent it, whatever version of MQTT its readers speak.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct StoredMessage(Arc<[u8]>);

/// Bytes that are no stored message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the bytes of a stored message are damaged, or were written by another version")]
pub(crate) struct DamagedMessage;

impl StoredMessage {
    /// A message on `topic` that expires at `expires` ([`Timestamp::FOREVER`]: never).
    /// `properties` are those that are forwarded, as bytes of the wire.
    ///
    /// # Panics
    /// When the topic is longer than a packet can say.
    pub(crate) fn new(topic: &str, properties: &[u8], payload: &[u8], expires: Timestamp) -> Self {
        let topic_length = u16::try_from(topic.len()).expect("topics have at most 65,535 bytes");
        let in_properties = u32::try_from(properties.len()).expect("packets are bounded to 256 MB");
        let mut bytes = Vec::with_capacity(HEAD + topic.len() + properties.len() + payload.len());
        bytes.push(FORM);
        bytes.extend_from_slice(&topic_length.to_le_bytes());
        bytes.extend_from_slice(&in_properties.to_le_bytes());
        bytes.extend_from_slice(&expires.0.to_le_bytes());
        bytes.extend_from_slice(topic.as_bytes());
        bytes.extend_from_slice(properties);
        bytes.extend_from_slice(payload);
        Self(bytes.into())
    }

    /// Reads what [`StoredMessage::bytes`] gave.
    ///
    /// # Errors
    /// When it is anything else.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, DamagedMessage> {
        let message = Self(bytes.into());
        let sound = bytes.len() >= HEAD
            && bytes[0] == FORM
            && bytes.len() >= message.payload_start()
            && std::str::from_utf8(&bytes[HEAD..HEAD + message.topic_length()])
                .is_ok_and(|topic| TopicName::parse(topic).is_ok());
        if sound {
            Ok(message)
        } else {
            Err(DamagedMessage)
        }
    }

    /// Its bytes, for the disk.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Where it was published.
    pub(crate) fn topic(&self) -> &str {
        let topic = &self.0[HEAD..HEAD + self.topic_length()];
        std::str::from_utf8(topic).expect("checked when it was read")
    }

    /// Properties for the readers, as bytes of the wire.
    pub(crate) fn properties(&self) -> &[u8] {
        &self.0[HEAD + self.topic_length()..self.payload_start()]
    }

    /// What it says.
    pub(crate) fn payload(&self) -> &[u8] {
        &self.0[self.payload_start()..]
    }

    /// When it expires; [`Timestamp::FOREVER`] when it does not.
    pub(crate) fn expires(&self) -> Timestamp {
        Timestamp(u64::from_le_bytes(
            self.0[7..HEAD].try_into().expect("eight bytes"),
        ))
    }

    /// Seconds left of its life as of `now`, at least 0; `None` without an end.
    pub(crate) fn seconds_left(&self, now: Timestamp) -> Option<u32> {
        let expires = self.expires();
        let left = expires.millis_since(now).div_ceil(1_000);
        (expires != Timestamp::FOREVER).then(|| u32::try_from(left).unwrap_or(u32::MAX))
    }

    /// Bytes that it takes.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    fn topic_length(&self) -> usize {
        usize::from(u16::from_le_bytes([self.0[1], self.0[2]]))
    }

    fn payload_start(&self) -> usize {
        let properties = u32::from_le_bytes(self.0[3..7].try_into().expect("four bytes"));
        HEAD + self.topic_length() + properties as usize
    }
}

/// Payloads have no place in logs.
impl fmt::Debug for StoredMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "StoredMessage({} bytes on {:?})",
            self.len(),
            self.topic()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_read_back_as_it_was() {
        let message = StoredMessage::new("é/x", &[1, 1], b"payload", Timestamp(5_000));
        let again = StoredMessage::read(message.bytes()).unwrap();
        assert_eq!(again, message);
        assert_eq!(again.topic(), "é/x");
        assert_eq!(
            (again.properties(), again.payload()),
            (&[1, 1][..], &b"payload"[..])
        );
        assert_eq!(again.seconds_left(Timestamp(3_001)), Some(2));
        let forever = StoredMessage::new("t", &[], b"", Timestamp::FOREVER);
        assert_eq!(forever.seconds_left(Timestamp(0)), None);
    }

    #[test]
    fn damaged_bytes_are_no_message() {
        let message = StoredMessage::new("topic", &[1, 1], b"", Timestamp(5));
        for length in 0..message.len() {
            assert_eq!(
                StoredMessage::read(&message.bytes()[..length]),
                Err(DamagedMessage)
            );
        }
        for (at, byte) in [(0, 9), (1, 200), (6, 1), (HEAD, 0xFF), (HEAD, b'#')] {
            let mut bytes = message.bytes().to_vec();
            bytes[at] = byte;
            assert_eq!(StoredMessage::read(&bytes), Err(DamagedMessage), "{at}");
        }
    }
}
