//! The properties of a PUBLISH (MQTT 5.0 §3.3.2.3).

use super::Fault;
use super::frame::{take_binary, take_length, take_text};
use crate::correspondence::Response;
use std::borrow::Cow;

const PAYLOAD_FORMAT: u8 = 0x01;
pub(super) const MESSAGE_EXPIRY: u8 = 0x02;
const CONTENT_TYPE: u8 = 0x03;
const RESPONSE_TOPIC: u8 = 0x08;
const CORRELATION_DATA: u8 = 0x09;
pub(super) const TOPIC_ALIAS: u8 = 0x23;
const USER_PROPERTY: u8 = 0x26;

/// What a publisher's properties say.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct PublishProperties<'a> {
    /// Stands for the topic, between this publisher and us only.
    pub(crate) alias: Option<u16>,
    /// Seconds that the message is worth keeping.
    pub(crate) expiry: Option<u32>,
    /// All others, unchanged and in their order ([MQTT-3.3.2-17]), as bytes of the wire.
    pub(crate) forwarded: Cow<'a, [u8]>,
}

impl<'a> PublishProperties<'a> {
    /// Reads properties without their length; each at most once, but user properties.
    pub(crate) fn read(bytes: &'a [u8]) -> Result<Self, Fault> {
        let mut properties = Self::default();
        let (mut rest, mut seen) = (bytes, 0_u64);
        while let Some((&id, after)) = rest.split_first() {
            let start = rest;
            rest = after;
            if id != USER_PROPERTY {
                // Identifiers of this packet are below 64.
                let bit = 1_u64.checked_shl(u32::from(id)).unwrap_or(0);
                if seen & bit != 0 {
                    return Err(Fault::Protocol("a property stands twice"));
                }
                seen |= bit;
            }
            match id {
                TOPIC_ALIAS => properties.alias = Some(u16::from_be_bytes(take(&mut rest)?)),
                MESSAGE_EXPIRY => properties.expiry = Some(u32::from_be_bytes(take(&mut rest)?)),
                _ => {
                    skip(id, &mut rest)?;
                    properties.forward(bytes, start, rest);
                }
            }
        }
        Ok(properties)
    }

    /// Where the publisher wants an answer.
    pub(crate) fn response(&self) -> Response<'_> {
        let (mut rest, mut response) = (&*self.forwarded, Response::default());
        while let Some((&id, after)) = rest.split_first() {
            let start = rest;
            rest = after;
            // They were read before.
            if skip(id, &mut rest).is_err() {
                break;
            }
            let property = &start[..start.len() - rest.len()];
            match id {
                RESPONSE_TOPIC => response.topic = std::str::from_utf8(&property[3..]).ok(),
                CORRELATION_DATA => response.correlation = property,
                _ => {}
            }
        }
        response
    }

    /// Adds the property at the start of `start`, which ends where `rest` begins.
    fn forward(&mut self, bytes: &'a [u8], start: &'a [u8], rest: &'a [u8]) {
        let property = &start[..start.len() - rest.len()];
        let from = bytes.len() - start.len();
        let end = from + property.len();
        match &mut self.forwarded {
            // As long as nothing was left out, the publisher's own bytes will do.
            Cow::Borrowed([]) => self.forwarded = Cow::Borrowed(property),
            Cow::Borrowed(sofar) if bytes[..from].ends_with(sofar) => {
                self.forwarded = Cow::Borrowed(&bytes[from - sofar.len()..end]);
            }
            others => others.to_mut().extend_from_slice(property),
        }
    }
}

fn skip(id: u8, rest: &mut &[u8]) -> Result<(), Fault> {
    match id {
        PAYLOAD_FORMAT => {
            let (&format, after) = rest
                .split_first()
                .ok_or(Fault::Malformed("a property ends too early"))?;
            *rest = after;
            if format > 1 {
                return Err(Fault::Protocol("the payload format is neither 0 nor 1"));
            }
        }
        CONTENT_TYPE => drop(take_text(rest)?),
        RESPONSE_TOPIC => {
            // [MQTT-3.3.2-14]
            if take_text(rest)?.contains(['+', '#']) {
                return Err(Fault::Protocol("the response topic has a wildcard"));
            }
        }
        CORRELATION_DATA => drop(take_binary(rest)?),
        USER_PROPERTY => {
            take_text(rest)?;
            take_text(rest)?;
        }
        // Also the subscription identifier, which only a server sends ([MQTT-3.3.4-6]).
        _ => {
            return Err(Fault::Protocol(
                "a PUBLISH has a property that it must not have",
            ));
        }
    }
    Ok(())
}

/// Takes the properties with their length off the front of a packet.
pub(super) fn take_properties<'a>(bytes: &mut &'a [u8]) -> Result<&'a [u8], Fault> {
    let length = take_length(bytes)?;
    let (properties, rest) = bytes.split_at_checked(length).ok_or(Fault::Malformed(
        "the properties are longer than the packet",
    ))?;
    *bytes = rest;
    Ok(properties)
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Result<[u8; N], Fault> {
    let (number, rest) = bytes
        .split_first_chunk::<N>()
        .ok_or(Fault::Malformed("a property ends too early"))?;
    *bytes = rest;
    Ok(*number)
}

#[cfg(test)]
mod tests {
    use super::*;

    const USER: [u8; 7] = [USER_PROPERTY, 0, 1, b'k', 0, 1, b'v'];

    fn joined(parts: &[&[u8]]) -> Vec<u8> {
        parts.concat()
    }

    #[test]
    fn alias_and_expiry_are_taken_out_and_the_rest_keeps_its_order() {
        let bytes = joined(&[
            &[TOPIC_ALIAS, 0, 7],
            &USER,
            &[PAYLOAD_FORMAT, 1],
            &[MESSAGE_EXPIRY, 0, 0, 1, 0],
            &[CONTENT_TYPE, 0, 2, b'm', b'W'],
            &USER,
        ]);
        let read = PublishProperties::read(&bytes).unwrap();
        assert_eq!((read.alias, read.expiry), (Some(7), Some(256)));
        let expected = joined(&[
            &USER,
            &[PAYLOAD_FORMAT, 1],
            &[CONTENT_TYPE, 0, 2, b'm', b'W'],
            &USER,
        ]);
        assert_eq!(read.forwarded, expected);
    }

    #[test]
    fn where_an_answer_is_wanted_is_found_among_the_others() {
        let correlation = [CORRELATION_DATA, 0, 2, 0xFF, 0];
        let bytes = joined(&[
            &USER,
            &correlation,
            &[MESSAGE_EXPIRY, 0, 0, 1, 0],
            &[RESPONSE_TOPIC, 0, 3, b'a', b'/', b'b'],
        ]);
        let read = PublishProperties::read(&bytes).unwrap();
        let response = Response {
            topic: Some("a/b"),
            correlation: &correlation,
        };
        assert_eq!(read.response(), response);
        let none = PublishProperties::read(&USER).unwrap();
        assert_eq!(none.response(), Response::default());
    }

    #[test]
    fn properties_that_a_publisher_must_not_send_are_faults() {
        let faulty: [&[u8]; 9] = [
            &[0x0B, 1],                              // subscription identifier
            &[0x11, 0, 0, 0, 0],                     // session expiry
            &[TOPIC_ALIAS, 0, 1, TOPIC_ALIAS, 0, 1], // twice
            &[PAYLOAD_FORMAT, 2],                    // neither bytes nor text
            &[RESPONSE_TOPIC, 0, 1, b'#'],           // a wildcard
            &[CONTENT_TYPE, 0, 1, 0xFF],             // not UTF-8
            &[CONTENT_TYPE, 0, 1, 0],                // a null character
            &[MESSAGE_EXPIRY, 0, 0],                 // cut short
            &[0xFE],                                 // no such property
        ];
        for bytes in faulty {
            assert!(PublishProperties::read(bytes).is_err(), "{bytes:?}");
        }
    }
}
