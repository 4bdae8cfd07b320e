//! SUBSCRIBE and UNSUBSCRIBE (MQTT 5.0 §3.8, §3.10), and the identifiers and endings that a
//! client sends.

use super::frame::{take_binary, take_length};
use super::publish::take_packet_id;
use super::{Fault, PacketKind, Version};
use mqtt_protocol_core::mqtt::packet::{
    Properties, PropertiesParse, Property, SubEntry, v3_1_1, v5_0,
};
use mqtt_protocol_core::mqtt::result_code::DisconnectReasonCode;
use std::num::NonZero;

/// What a client asks to receive.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct SubscribeRequest {
    pub(crate) packet_id: u16,
    /// The identifier that messages are to carry.
    pub(crate) id: Option<NonZero<u32>>,
    /// Filters, not checked yet, and how each is to be served.
    pub(crate) entries: Vec<(String, Options)>,
}

/// How a subscription is to be served (MQTT 5.0 §3.8.3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Options {
    /// 0, 1 or 2.
    pub(crate) qos: u8,
    /// Not the client's own messages.
    pub(crate) no_local: bool,
    /// Keep the retain flag as the publisher set it.
    pub(crate) retain_as_published: bool,
    /// 0: retained messages now; 1: only when the subscription is new; 2: none.
    pub(crate) retain_handling: u8,
}

/// What a client no longer wants.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct UnsubscribeRequest {
    pub(crate) packet_id: u16,
    pub(crate) filters: Vec<String>,
}

impl SubscribeRequest {
    /// Reads the packet after its fixed header.
    pub(crate) fn read(version: Version, body: &[u8]) -> Result<Self, Fault> {
        packet_id(body)?;
        let read = match version {
            Version::V311 => Self::read_v311(body),
            Version::V5 => Self::read_v5(body),
        }?;
        check_text(read.entries.iter().map(|(filter, _)| filter))?;
        Ok(read)
    }

    fn read_v311(body: &[u8]) -> Result<Self, Fault> {
        let (packet, _) = v3_1_1::Subscribe::parse(body)?;
        let entries: Vec<_> = packet.entries().iter().map(entry).collect();
        // [MQTT-3-8.3-4] of 3.1.1: where 5.0 has its options, there is nothing yet.
        if entries
            .iter()
            .any(|(_, options)| *options != options.of_v311())
        {
            return Err(Fault::Malformed("a reserved bit of the SUBSCRIBE is set"));
        }
        Ok(Self {
            packet_id: packet.packet_id(),
            id: None,
            entries,
        })
    }

    fn read_v5(body: &[u8]) -> Result<Self, Fault> {
        // In parts, because the whole would refuse everything for the sake of one misnamed share.
        let packet_id = packet_id(body)?;
        let (properties, length) = Properties::parse(&body[2..])?;
        let mut id = None;
        for property in &properties {
            match property {
                Property::SubscriptionIdentifier(it) => {
                    let given = NonZero::new(it.val())
                        .ok_or(Fault::Protocol("the subscription identifier is 0"))?;
                    if id.replace(given).is_some() {
                        return Err(Fault::Protocol("there are two subscription identifiers"));
                    }
                }
                Property::UserProperty(_) => {}
                _ => return Err(Fault::Malformed("a property does not belong to SUBSCRIBE")),
            }
        }
        let (mut entries, mut rest) = (vec![], &body[2 + length..]);
        while !rest.is_empty() {
            let (read, length) = SubEntry::parse(rest)?;
            entries.push(entry(&read));
            rest = &rest[length..];
        }
        if entries.is_empty() {
            return Err(Fault::Protocol("the SUBSCRIBE has no filter")); // [MQTT-3.8.3-2]
        }
        // [MQTT-3.8.3-4]
        if entries
            .iter()
            .any(|(filter, options)| options.no_local && is_shared(filter))
        {
            return Err(Fault::Protocol("a shared subscription cannot be No Local"));
        }
        Ok(Self {
            packet_id,
            id,
            entries,
        })
    }
}

impl Options {
    fn of_v311(self) -> Self {
        Self {
            qos: self.qos,
            ..Self::default()
        }
    }
}

/// [MQTT-1.5.4-2]: in no text there is a null character.
fn check_text<'a>(filters: impl IntoIterator<Item = &'a String>) -> Result<(), Fault> {
    if filters.into_iter().any(|it| it.contains('\0')) {
        return Err(Fault::Malformed("a topic filter has a null character"));
    }
    Ok(())
}

fn entry(entry: &SubEntry) -> (String, Options) {
    let options = entry.sub_opts();
    let read = Options {
        qos: options.qos() as u8,
        no_local: options.nl(),
        retain_as_published: options.rap(),
        retain_handling: options.rh() as u8,
    };
    (entry.topic_filter().to_owned(), read)
}

/// Refuses a SUBSCRIBE or UNSUBSCRIBE that names more than `most` filters, before anything is made
/// of them: short ones take much less in the packet than here.
///
/// # Errors
/// When there are more, or the body is malformed up to there.
pub(crate) fn bound_filters(
    version: Version,
    kind: PacketKind,
    body: &[u8],
    most: usize,
) -> Result<(), Fault> {
    const ENDS: Fault = Fault::Malformed("the packet ends too early");
    let mut rest = body.get(2..).ok_or(ENDS)?;
    if version == Version::V5 {
        let properties = take_length(&mut rest)?;
        rest = rest.get(properties..).ok_or(ENDS)?;
    }
    let options = usize::from(kind == PacketKind::Subscribe);
    let mut filters = 0;
    while !rest.is_empty() {
        filters += 1;
        if filters > most {
            return Err(Fault::TooManyFilters { most });
        }
        take_binary(&mut rest)?;
        rest = rest.get(options..).ok_or(ENDS)?;
    }
    Ok(())
}

/// True of a shared subscription's filter (MQTT 5.0 §4.8.2).
fn is_shared(filter: &str) -> bool {
    filter.starts_with("$share/")
}

impl UnsubscribeRequest {
    /// Reads the packet after its fixed header.
    pub(crate) fn read(version: Version, body: &[u8]) -> Result<Self, Fault> {
        let packet_id = packet_id(body)?;
        let filters: Vec<String> = match version {
            Version::V311 => {
                let (packet, _) = v3_1_1::Unsubscribe::parse(body)?;
                packet
                    .entries()
                    .iter()
                    .map(|it| it.as_str().to_owned())
                    .collect()
            }
            Version::V5 => {
                let (packet, _) = v5_0::Unsubscribe::parse(body)?;
                packet
                    .entries()
                    .iter()
                    .map(|it| it.as_str().to_owned())
                    .collect()
            }
        };
        check_text(&filters)?;
        Ok(Self { packet_id, filters })
    }
}

/// The packet identifier that a body begins with.
pub(crate) fn packet_id(body: &[u8]) -> Result<u16, Fault> {
    let mut rest = body;
    take_packet_id(&mut rest)
}

/// What a PUBACK, PUBREC, PUBREL or PUBCOMP says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Acknowledgement {
    pub(crate) packet_id: u16,
    /// True when its reason is that something failed (5.0 only).
    pub(crate) failed: bool,
}

impl Acknowledgement {
    /// Reads the packet after its fixed header.
    pub(crate) fn read(version: Version, kind: PacketKind, body: &[u8]) -> Result<Self, Fault> {
        let packet_id = packet_id(body)?;
        if body.len() == 2 {
            let failed = false;
            return Ok(Self { packet_id, failed });
        }
        if version == Version::V311 {
            return Err(Fault::Malformed(
                "an acknowledgement has bytes after its end",
            ));
        }
        let read = match kind {
            PacketKind::PublishReceived => v5_0::Pubrec::parse(body)?.1,
            PacketKind::PublishRelease => v5_0::Pubrel::parse(body)?.1,
            PacketKind::PublishComplete => v5_0::Pubcomp::parse(body)?.1,
            _ => v5_0::Puback::parse(body)?.1,
        };
        if read != body.len() {
            return Err(Fault::Malformed(
                "an acknowledgement has bytes after its end",
            ));
        }
        let failed = body[2] >= 0x80;
        Ok(Self { packet_id, failed })
    }
}

/// How a client takes leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Goodbye {
    /// The will is to be published nonetheless.
    pub(crate) with_will: bool,
    /// Seconds for which the session is to be kept from now on, where that changes.
    pub(crate) session_expiry: Option<u32>,
}

/// Reads a DISCONNECT.
pub(crate) fn client_disconnect(version: Version, body: &[u8]) -> Result<Goodbye, Fault> {
    if version == Version::V311 {
        return if body.is_empty() {
            Ok(Goodbye::default())
        } else {
            Err(Fault::Malformed("a 3.1.1 DISCONNECT has no contents"))
        };
    }
    let (packet, read) = v5_0::Disconnect::parse(body)?;
    if read != body.len() {
        return Err(Fault::Malformed("the DISCONNECT has bytes after its end"));
    }
    let mut session_expiry = None;
    for property in packet.props().iter().flatten() {
        match property {
            Property::SessionExpiryInterval(it) => session_expiry = Some(it.val()),
            Property::ServerReference(_) => {
                return Err(Fault::Protocol("a client names no other server"));
            }
            _ => {}
        }
    }
    let normal = matches!(
        packet.reason_code(),
        None | Some(DisconnectReasonCode::NormalDisconnection)
    );
    Ok(Goodbye {
        with_will: !normal,
        session_expiry,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_and_reserved_bits_refused() {
        let body = [0, 9, 2, 0x0B, 5, 0, 1, b'a', 0b0010_1101];
        let request = SubscribeRequest::read(Version::V5, &body).unwrap();
        assert_eq!((request.packet_id, request.id), (9, NonZero::new(5)));
        let options = Options {
            qos: 1,
            no_local: true,
            retain_as_published: true,
            retain_handling: 2,
        };
        assert_eq!(request.entries, [("a".to_owned(), options)]);
        // [MQTT-3.8.3-5]
        for bits in [0b1000_0000, 0b0011_0000, 0b0000_0011] {
            assert!(SubscribeRequest::read(Version::V5, &[0, 9, 0, 0, 1, b'a', bits]).is_err());
        }
        for bits in [0b0000_0100, 0b0000_1000, 0b0001_0000, 3] {
            assert!(SubscribeRequest::read(Version::V311, &[0, 9, 0, 1, b'a', bits]).is_err());
        }
    }

    #[test]
    fn filters_are_counted_before_they_are_read() {
        let (subscribe, unsubscribe) = (PacketKind::Subscribe, PacketKind::Unsubscribe);
        for (version, kind, filter) in [
            (Version::V311, subscribe, &[0, 1, b'a', 0][..]),
            (Version::V5, subscribe, &[0, 1, b'a', 0]),
            (Version::V311, unsubscribe, &[0, 1, b'a']),
            (Version::V5, unsubscribe, &[0, 1, b'a']),
        ] {
            let start: &[u8] = match version {
                Version::V311 => &[0, 9],
                Version::V5 => &[0, 9, 2, 0x0B, 5],
            };
            let body = |count| [start, &filter.repeat(count)].concat();
            let bound = |body: &[u8]| bound_filters(version, kind, body, 3);
            assert_eq!(bound(&body(3)), Ok(()));
            let refused = Err(Fault::TooManyFilters { most: 3 });
            assert_eq!(bound(&body(4)), refused);
            assert_eq!(bound(&body(200_000)), refused);
            assert!(bound(&body(3)[..body(3).len() - 1]).is_err());
        }
    }

    #[test]
    fn empty_or_unnumbered_requests_are_faults() {
        // [MQTT-3.8.3-2], [MQTT-3.10.3-2], [MQTT-2.2.1-3]
        assert!(SubscribeRequest::read(Version::V311, &[0, 9]).is_err());
        assert!(SubscribeRequest::read(Version::V5, &[0, 9, 0]).is_err());
        assert!(SubscribeRequest::read(Version::V311, &[0, 0, 0, 1, b'a', 0]).is_err());
        assert!(UnsubscribeRequest::read(Version::V311, &[0, 9]).is_err());
        assert!(UnsubscribeRequest::read(Version::V5, &[0, 0, 0, 0, 1, b'a']).is_err());
        assert!(SubscribeRequest::read(Version::V5, &[0, 9, 2, 0x0B, 0, 0, 1, b'a', 0]).is_err());
    }

    #[test]
    fn a_disconnect_tells_whether_the_will_is_wanted() {
        let read = |version, body| client_disconnect(version, body).unwrap();
        assert!(!read(Version::V311, &[]).with_will);
        assert!(!read(Version::V5, &[]).with_will);
        assert!(!read(Version::V5, &[0]).with_will);
        assert!(read(Version::V5, &[4]).with_will);
        let brief = read(Version::V5, &[0, 5, 0x11, 0, 0, 0, 9]);
        assert_eq!(brief.session_expiry, Some(9));
    }
}
