//! PUBLISH (MQTT 5.0 §3.3). The *plain* form is the 3.1.1 packet with QoS 0 and no flags: most
//! readers get exactly its bytes, and all other forms are made from it.

use super::frame::{header, length_size, take_binary, take_length};
use super::properties::{MESSAGE_EXPIRY, TOPIC_ALIAS, take_properties};
use super::{Fault, Frame, Version, frame_length, put_length};

const PLAIN: u8 = 0x30;
const RETAIN: u8 = 0x01;
const QOS: u8 = 0x06;
const DUPLICATE: u8 = 0x08;
/// Bytes of a topic alias among the properties.
const ALIAS: usize = 3;

/// A message as its publisher sent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Publish<'a> {
    /// 0, 1 or 2.
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    /// Not checked yet; empty when a topic alias stands for it.
    pub(crate) topic: &'a [u8],
    /// 0 for QoS 0.
    pub(crate) packet_id: u16,
    /// Not checked yet; MQTT 5.0 only.
    pub(crate) properties: &'a [u8],
    pub(crate) payload: &'a [u8],
}

impl<'a> Publish<'a> {
    /// Reads the parts of the packet.
    pub(crate) fn read(version: Version, frame: &Frame<'a>) -> Result<Self, Fault> {
        let (qos, retain) = ((frame.first >> 1) & 3, frame.first & RETAIN != 0);
        match qos {
            // [MQTT-3.3.1-2]
            0 if frame.first & DUPLICATE != 0 => {
                return Err(Fault::Malformed("a QoS 0 message cannot be a duplicate"));
            }
            0..=2 => {}
            // [MQTT-3.3.1-4]
            _ => return Err(Fault::Malformed("there is no QoS 3")),
        }
        let mut rest = frame.body;
        let topic = take_binary(&mut rest)?;
        let mut packet_id = 0;
        if qos != 0 {
            packet_id = take_packet_id(&mut rest)?;
        }
        let properties = match version {
            Version::V311 => &[],
            Version::V5 => take_properties(&mut rest)?,
        };
        Ok(Self {
            qos,
            retain,
            topic,
            packet_id,
            properties,
            payload: rest,
        })
    }
}

/// Takes a packet identifier, which is never 0 ([MQTT-2.2.1-3]), off the front.
pub(super) fn take_packet_id(bytes: &mut &[u8]) -> Result<u16, Fault> {
    let (id, rest) = bytes
        .split_first_chunk::<2>()
        .ok_or(Fault::Malformed("the packet ends before its identifier"))?;
    *bytes = rest;
    match u16::from_be_bytes(*id) {
        0 => Err(Fault::Malformed("a packet identifier is never 0")),
        id => Ok(id),
    }
}

/// Takes the first plain packet off, and returns its payload; `None` at the end.
pub(crate) fn take_plain<'a>(bytes: &mut &'a [u8], topic: &str) -> Option<&'a [u8]> {
    if bytes.is_empty() {
        return None;
    }
    let (frame, rest) = bytes.split_at(frame_length(bytes));
    *bytes = rest;
    let header = frame.len() - body_length(frame);
    Some(&frame[header + 2 + topic.len()..])
}

fn body_length(frame: &[u8]) -> usize {
    let header = 1 + frame[1..].iter().take_while(|it| **it & 0x80 != 0).count() + 1;
    frame.len() - header
}

/// Appends the plain packet of a message.
pub(crate) fn put_plain(out: &mut Vec<u8>, topic: &str, payload: &[u8]) {
    out.push(PLAIN);
    put_length(out, 2 + topic.len() + payload.len());
    put_topic(out, topic);
    out.extend_from_slice(payload);
}

fn put_topic(out: &mut Vec<u8>, topic: &str) {
    let length = u16::try_from(topic.len()).expect("a parsed topic has at most 65,535 bytes");
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(topic.as_bytes());
}

/// A message as one reader is to get it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Delivery<'a> {
    pub(crate) version: Version,
    /// 0, 1 or 2.
    pub(crate) qos: u8,
    /// With QoS 1 and 2; 0 with QoS 0.
    pub(crate) packet_id: u16,
    /// True when it was sent before ([MQTT-3.3.1-1]).
    pub(crate) duplicate: bool,
    pub(crate) retain: bool,
    pub(crate) topic: &'a str,
    /// Seconds that are left of the message's life.
    pub(crate) expiry: Option<u32>,
    /// Identifiers of the subscriptions that it is delivered for ([MQTT-3.3.4-3]).
    pub(crate) ids: &'a [u32],
    /// The publisher's other properties.
    pub(crate) forwarded: &'a [u8],
    pub(crate) payload: &'a [u8],
}

impl Delivery<'_> {
    fn properties_length(&self) -> usize {
        let expiry = if self.expiry.is_some() { 5 } else { 0 };
        let id_size = |id: &u32| 1 + length_size(*id as usize);
        expiry + self.ids.iter().map(id_size).sum::<usize>() + self.forwarded.len()
    }

    fn body_length(&self) -> usize {
        let properties = match self.version {
            Version::V311 => 0,
            Version::V5 => {
                let length = self.properties_length();
                length_size(length) + length
            }
        };
        let packet_id = if self.qos == 0 { 0 } else { 2 };
        2 + self.topic.len() + packet_id + properties + self.payload.len()
    }

    /// Length of the packet in bytes.
    pub(crate) fn size(&self) -> usize {
        let body = self.body_length();
        1 + length_size(body) + body
    }

    /// Appends the packet.
    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        let duplicate = u8::from(self.duplicate) * DUPLICATE;
        let flags = duplicate | (self.qos << 1) | (u8::from(self.retain) * RETAIN);
        out.push(PLAIN | flags);
        put_length(out, self.body_length());
        put_topic(out, self.topic);
        if self.qos != 0 {
            out.extend_from_slice(&self.packet_id.to_be_bytes());
        }
        if self.version == Version::V5 {
            put_length(out, self.properties_length());
            // The expiry comes first, where patch_expiry finds it.
            if let Some(seconds) = self.expiry {
                out.push(MESSAGE_EXPIRY);
                out.extend_from_slice(&seconds.to_be_bytes());
            }
            for id in self.ids {
                out.push(0x0B);
                put_length(out, *id as usize);
            }
            out.extend_from_slice(self.forwarded);
        }
        out.extend_from_slice(self.payload);
    }
}

/// The packet identifier of a PUBLISH that [`Delivery::put`] wrote with QoS 1 or 2.
pub(crate) fn packet_id_of(packet: &[u8]) -> Option<u16> {
    if packet[0] >> 4 != 3 || packet[0] & QOS == 0 {
        return None;
    }
    let frame = &packet[..frame_length(packet)];
    let at = after_topic(frame);
    Some(u16::from_be_bytes([frame[at], frame[at + 1]]))
}

/// Sets the seconds that are left in a packet that [`Delivery::put`] wrote with an expiry
/// ([MQTT-3.3.2-6]). One for a 3.1.1 client has none, and stays as it is.
pub(crate) fn patch_expiry(frame: &mut [u8], version: Version, seconds: u32) {
    if version == Version::V311 {
        return;
    }
    let packet_id = if frame[0] & QOS == 0 { 0 } else { 2 };
    let properties = after_topic(frame) + packet_id;
    let length = frame[properties..]
        .iter()
        .take_while(|it| **it & 0x80 != 0)
        .count()
        + 1;
    let at = properties + length;
    assert_eq!(frame[at], MESSAGE_EXPIRY, "the expiry comes first");
    frame[at + 1..at + 5].copy_from_slice(&seconds.to_be_bytes());
}

/// The topic of a PUBLISH that the gate wrote; `None` of any other packet.
pub(crate) fn topic_of(frame: &[u8]) -> Option<&str> {
    if frame[0] >> 4 != 3 {
        return None;
    }
    let end = after_topic(frame);
    let start = frame.len() - body_length(frame) + 2;
    std::str::from_utf8(&frame[start..end]).ok()
}

fn after_topic(frame: &[u8]) -> usize {
    let body = frame.len() - body_length(frame);
    let topic = usize::from(u16::from_be_bytes([frame[body], frame[body + 1]]));
    body + 2 + topic
}

/// Everything before the properties of a PUBLISH of 5.0 that the gate wrote. What follows it is
/// the same whether an alias stands for the topic or not.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PublishHead<'a> {
    first: u8,
    /// Length of what follows the fixed header.
    body: usize,
    topic: &'a str,
    /// The packet identifier, with QoS 1 and 2.
    packet_id: &'a [u8],
    /// Length of the properties.
    properties: usize,
    length: usize,
}

impl<'a> PublishHead<'a> {
    /// Reads the head; `None` when it is not all in `bytes`, or of another packet.
    pub(crate) fn read(bytes: &'a [u8]) -> Option<Self> {
        let first = *bytes.first().filter(|it| **it >> 4 == 3)?;
        let (fixed, body) = header(bytes).ok()??;
        let mut rest = bytes.get(fixed..)?;
        let topic = std::str::from_utf8(take_binary(&mut rest).ok()?).ok()?;
        let packet_id;
        (packet_id, rest) = rest.split_at_checked(if first & QOS == 0 { 0 } else { 2 })?;
        let properties = take_length(&mut rest).ok()?;
        Some(Self {
            first,
            body,
            topic,
            packet_id,
            properties,
            length: bytes.len() - rest.len(),
        })
    }

    pub(crate) fn topic(&self) -> &'a str {
        self.topic
    }

    /// Bytes of the head.
    pub(crate) fn length(&self) -> usize {
        self.length
    }

    /// Length of the whole packet in bytes when it sets an alias.
    pub(crate) fn size_with_alias(&self) -> usize {
        let body = self.body_with_alias(true);
        1 + length_size(body) + body
    }

    fn body_with_alias(&self, named: bool) -> usize {
        let longer = length_size(self.properties + ALIAS) - length_size(self.properties);
        let shorter = if named { 0 } else { self.topic.len() };
        self.body + ALIAS + longer - shorter
    }

    /// Appends the head with an alias: with the topic as well, which sets it, or in its place.
    pub(crate) fn put_with_alias(&self, out: &mut Vec<u8>, alias: u16, named: bool) {
        out.push(self.first);
        put_length(out, self.body_with_alias(named));
        put_topic(out, if named { self.topic } else { "" });
        out.extend_from_slice(self.packet_id);
        put_length(out, self.properties + ALIAS);
        out.push(TOPIC_ALIAS);
        out.extend_from_slice(&alias.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{PublishProperties, cut};

    fn delivery(version: Version, qos: u8) -> Delivery<'static> {
        Delivery {
            version,
            qos,
            packet_id: if qos == 0 { 0 } else { 513 },
            duplicate: qos == 2,
            retain: true,
            topic: "sensor/live",
            expiry: Some(60),
            ids: &[1, 300],
            forwarded: &[0x01, 1],
            payload: b"1170",
        }
    }

    fn written(delivery: &Delivery<'_>) -> Vec<u8> {
        let mut out = vec![];
        delivery.put(&mut out);
        assert_eq!(out.len(), delivery.size());
        out
    }

    fn read(version: Version, bytes: &[u8]) -> Result<Publish<'_>, Fault> {
        Publish::read(version, &cut(bytes, u32::MAX).unwrap().unwrap())
    }

    #[test]
    fn a_message_is_read_back_as_it_was_written() {
        for (version, qos) in [
            (Version::V311, 0),
            (Version::V311, 1),
            (Version::V5, 0),
            (Version::V5, 1),
            (Version::V311, 2),
            (Version::V5, 2),
        ] {
            let bytes = written(&delivery(version, qos));
            assert_eq!(bytes[0] & DUPLICATE != 0, qos == 2);
            let publish = read(version, &bytes).unwrap();
            assert_eq!((publish.qos, publish.retain), (qos, true));
            assert_eq!(
                (publish.topic, publish.payload),
                (&b"sensor/live"[..], &b"1170"[..])
            );
            assert_eq!(publish.packet_id, u16::from(qos != 0) * 513);
            assert_eq!(packet_id_of(&bytes), (qos != 0).then_some(513));
            assert_eq!(topic_of(&bytes), Some("sensor/live"));
        }
    }

    #[test]
    fn the_expiry_can_be_set_when_the_packet_leaves() {
        for qos in [0, 1, 2] {
            let delivery = Delivery {
                ids: &[],
                ..delivery(Version::V5, qos)
            };
            let mut bytes = written(&delivery);
            patch_expiry(&mut bytes, Version::V5, 7);
            let properties = read(Version::V5, &bytes).unwrap().properties;
            let properties = PublishProperties::read(properties).unwrap();
            assert_eq!(
                (properties.expiry, &properties.forwarded[..]),
                (Some(7), &[0x01, 1][..])
            );
        }
    }

    #[test]
    fn plain_packets_are_cut_from_a_run_of_them() {
        let mut run = vec![];
        let payloads = [vec![], vec![7; 130], vec![8; 20_000]];
        for payload in &payloads {
            put_plain(&mut run, "é/t", payload);
        }
        let mut rest = &run[..];
        let cut = std::iter::from_fn(|| take_plain(&mut rest, "é/t"));
        assert!(cut.map(<[u8]>::to_vec).eq(payloads));
    }

    #[test]
    fn forbidden_publishes_are_faults() {
        let cases: [(&[u8], Fault); 3] = [
            (
                &[0x32, 5, 0, 1, b'a', 0, 0],
                Fault::Malformed("a packet identifier is never 0"),
            ),
            (
                &[0x36, 5, 0, 1, b'a', 0, 1],
                Fault::Malformed("there is no QoS 3"),
            ),
            (
                &[0x38, 3, 0, 1, b'a'],
                Fault::Malformed("a QoS 0 message cannot be a duplicate"),
            ),
        ];
        for (bytes, fault) in cases {
            assert_eq!(read(Version::V311, bytes), Err(fault));
        }
        assert!(
            read(Version::V5, &[0x30, 3, 0, 1, b'a']).is_err(),
            "no properties"
        );
        assert!(
            read(Version::V311, &[0x30, 3, 0, 9, b'a']).is_err(),
            "the topic is cut short"
        );
    }
}
