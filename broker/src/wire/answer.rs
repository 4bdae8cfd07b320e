//! What the gate answers: CONNACK, SUBACK, UNSUBACK, PUBACK, PINGRESP and DISCONNECT.

use super::frame::length_size;
use super::{Reason, Version, put_length, put_text};
use std::time::Duration;

/// What the gate announces to a client that it accepts.
#[derive(Debug, Default)]
pub(crate) struct Accepted<'a> {
    /// The identifier that the gate gave.
    pub(crate) assigned_id: Option<&'a str>,
    /// True when the client goes on with the session that it left ([MQTT-3.2.2-2]).
    pub(crate) session_present: bool,
    /// Seconds for which the session is kept, where it is not as the client asked.
    pub(crate) session_expiry: Option<u32>,
    /// How many QoS 1 messages the client may have in flight.
    pub(crate) receive_maximum: u16,
    /// Largest packet that the gate takes.
    pub(crate) packet_bytes: u32,
    /// Topic aliases that the client may set.
    pub(crate) topic_aliases: u16,
    /// The keep-alive to use instead of the one asked for.
    pub(crate) keep_alive: Option<Duration>,
}

/// Appends the CONNACK that accepts a client.
pub(crate) fn accept_connect(out: &mut Vec<u8>, version: Version, accepted: &Accepted<'_>) {
    if version == Version::V311 {
        return out.extend_from_slice(&[0x20, 2, u8::from(accepted.session_present), 0]);
    }
    let mut properties = vec![];
    if let Some(seconds) = accepted.session_expiry {
        properties.push(0x11);
        properties.extend_from_slice(&seconds.to_be_bytes());
    }
    properties.push(0x21);
    properties.extend_from_slice(&accepted.receive_maximum.to_be_bytes());
    properties.push(0x27);
    properties.extend_from_slice(&accepted.packet_bytes.to_be_bytes());
    if let Some(id) = accepted.assigned_id {
        properties.push(0x12);
        put_text(&mut properties, id);
    }
    if accepted.topic_aliases != 0 {
        properties.push(0x22);
        properties.extend_from_slice(&accepted.topic_aliases.to_be_bytes());
    }
    if let Some(keep_alive) = accepted.keep_alive {
        let seconds = u16::try_from(keep_alive.as_secs()).unwrap_or(u16::MAX);
        properties.push(0x13);
        properties.extend_from_slice(&seconds.to_be_bytes());
    }
    put_packet(
        out,
        0x20,
        &[u8::from(accepted.session_present), Reason::Success.code()],
        Some(&properties),
        &[],
    );
}

/// Appends the CONNACK that refuses a client; nothing where 3.1.1 has no word for the reason.
/// `why` is left out when the packet would get longer than `limit` bytes ([MQTT-3.2.2-19]).
pub(crate) fn refuse_connect(
    out: &mut Vec<u8>,
    version: Version,
    reason: Reason,
    why: &str,
    limit: usize,
) {
    match version {
        Version::V311 => {
            if let Some(code) = reason.connect_return_code() {
                out.extend_from_slice(&[0x20, 2, 0, code]);
            }
        }
        // The client's wish for no reason strings does not bind a CONNACK (§3.1.2.11.7).
        Version::V5 => {
            let properties = reason_string(why, limit.saturating_sub(16));
            put_packet(out, 0x20, &[0, reason.code()], Some(&properties), &[]);
        }
    }
}

/// Appends the CONNACK for a protocol level that the gate does not speak, in the form that the
/// level's clients understand ([MQTT-3.1.2-2]).
pub(crate) fn refuse_level(out: &mut Vec<u8>, level: u8) {
    let version = if level < 5 {
        Version::V311
    } else {
        Version::V5
    };
    let why = "this server speaks MQTT 3.1.1 and 5.0";
    // What such a client takes at most is not known.
    refuse_connect(out, version, Reason::UnsupportedVersion, why, usize::MAX);
}

/// Appends a SUBACK with one reason per filter. `why` explains the refusals; it is left out
/// when empty, or when the packet would get longer than `limit` bytes ([MQTT-3.9.2-1]).
pub(crate) fn subscribe_answer(
    out: &mut Vec<u8>,
    version: Version,
    packet_id: u16,
    reasons: &[Reason],
    why: &str,
    limit: usize,
) {
    let id = packet_id.to_be_bytes();
    if version == Version::V311 {
        let codes: Vec<u8> = reasons
            .iter()
            .map(|it| it.subscribe_return_code())
            .collect();
        return put_packet(out, 0x90, &id, None, &codes);
    }
    let codes: Vec<u8> = reasons.iter().map(|it| it.code()).collect();
    let properties = reason_string(why, limit.saturating_sub(16 + codes.len()));
    put_packet(out, 0x90, &id, Some(&properties), &codes);
}

/// Bytes of a SUBACK or UNSUBACK of 5.0 for so many filters, without explanations. It cannot be
/// shorter: each filter has its code.
pub(crate) fn filters_answer_length(filters: usize) -> usize {
    let body = 2 + 1 + filters;
    1 + length_size(body) + body
}

/// Appends an UNSUBACK; 3.1.1's has no reasons.
pub(crate) fn unsubscribe_answer(
    out: &mut Vec<u8>,
    version: Version,
    packet_id: u16,
    reasons: &[Reason],
) {
    let id = packet_id.to_be_bytes();
    match version {
        Version::V311 => put_packet(out, 0xB0, &id, None, &[]),
        Version::V5 => {
            let codes: Vec<u8> = reasons.iter().map(|it| it.code()).collect();
            put_packet(out, 0xB0, &id, Some(&[]), &codes);
        }
    }
}

/// Packets that answer a PUBLISH, or one another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Answer {
    /// PUBACK: a QoS 1 message has been taken.
    Acknowledged = 0x40,
    /// PUBREC: a QoS 2 message has been taken.
    Received = 0x50,
    /// PUBREL: its identifier is no longer needed.
    Release = 0x62,
    /// PUBCOMP: nor by the other side.
    Complete = 0x70,
}

/// Appends an answer; also to a message that was dropped, where 3.1.1 has no other word.
pub(crate) fn acknowledge(out: &mut Vec<u8>, answer: Answer, packet_id: u16) {
    let [high, low] = packet_id.to_be_bytes();
    out.extend_from_slice(&[answer as u8, 2, high, low]);
}

/// Appends an answer with another reason than success (MQTT 5.0 only), with `why` where there
/// is room for it in `limit` bytes ([MQTT-3.4.2-2], [MQTT-3.5.2-2]).
pub(crate) fn refuse_publish(
    out: &mut Vec<u8>,
    answer: Answer,
    packet_id: u16,
    reason: Reason,
    why: &str,
    limit: usize,
) {
    let [high, low] = packet_id.to_be_bytes();
    let properties = reason_string(why, limit.saturating_sub(16));
    put_packet(
        out,
        answer as u8,
        &[high, low, reason.code()],
        Some(&properties),
        &[],
    );
}

/// Appends a PINGRESP.
pub(crate) fn ping_response(out: &mut Vec<u8>) {
    out.extend_from_slice(&[0xD0, 0]);
}

/// Appends a DISCONNECT; 3.1.1 has none for servers.
pub(crate) fn disconnect(
    out: &mut Vec<u8>,
    version: Version,
    reason: Reason,
    why: &str,
    limit: usize,
) {
    if version == Version::V5 {
        let properties = reason_string(why, limit.saturating_sub(16));
        put_packet(out, 0xE0, &[reason.code()], Some(&properties), &[]);
    }
}

/// The property, or nothing when it is empty or takes more than `limit` bytes.
fn reason_string(why: &str, limit: usize) -> Vec<u8> {
    let mut property = vec![];
    if !why.is_empty() && why.len() + 3 <= limit {
        property.push(0x1F);
        put_text(&mut property, why);
    }
    property
}

fn put_packet(out: &mut Vec<u8>, first: u8, head: &[u8], properties: Option<&[u8]>, tail: &[u8]) {
    let in_properties = properties.map_or(0, |it| length_size(it.len()) + it.len());
    out.push(first);
    put_length(out, head.len() + in_properties + tail.len());
    out.extend_from_slice(head);
    if let Some(properties) = properties {
        put_length(out, properties.len());
        out.extend_from_slice(properties);
    }
    out.extend_from_slice(tail);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::cut;
    use mqtt_protocol_core::mqtt::packet::v5_0;

    fn body(out: &[u8]) -> &[u8] {
        let frame = cut(out, u32::MAX).unwrap().unwrap();
        assert_eq!(frame.whole.len(), out.len(), "one whole packet");
        frame.body
    }

    #[test]
    fn answers_are_what_another_codec_reads() {
        let mut out = vec![];
        let accepted = Accepted {
            assigned_id: Some("given"),
            session_present: true,
            session_expiry: Some(60),
            receive_maximum: 9,
            packet_bytes: 1_000,
            topic_aliases: 16,
            keep_alive: Some(Duration::from_secs(60)),
        };
        accept_connect(&mut out, Version::V5, &accepted);
        let (packet, _) = v5_0::Connack::parse(body(&out)).unwrap();
        assert_eq!(packet.props().len(), 6);

        out.clear();
        let reasons = [Reason::GrantedQos1, Reason::NotAuthorized];
        subscribe_answer(&mut out, Version::V5, 7, &reasons, "no lease", 1_000);
        let (packet, _) = v5_0::Suback::parse(body(&out)).unwrap();
        assert_eq!((packet.packet_id(), packet.reason_codes().len()), (7, 2));
        assert_eq!(packet.props().len(), 1);

        out.clear();
        refuse_publish(
            &mut out,
            Answer::Acknowledged,
            8,
            Reason::NotAuthorized,
            "no right",
            1_000,
        );
        assert!(v5_0::Puback::parse(body(&out)).is_ok());

        out.clear();
        disconnect(&mut out, Version::V5, Reason::SessionTakenOver, "", 1_000);
        assert!(v5_0::Disconnect::parse(body(&out)).is_ok());

        out.clear();
        unsubscribe_answer(&mut out, Version::V5, 3, &[Reason::NoSubscriptionExisted]);
        assert!(v5_0::Unsuback::parse(body(&out)).is_ok());
    }

    #[test]
    fn a_reason_string_that_does_not_fit_is_left_out() {
        // [MQTT-3.9.2-1], [MQTT-3.14.2-3]
        let (mut long, mut short) = (vec![], vec![]);
        disconnect(
            &mut long,
            Version::V5,
            Reason::NotAuthorized,
            &"x".repeat(100),
            200,
        );
        disconnect(
            &mut short,
            Version::V5,
            Reason::NotAuthorized,
            &"x".repeat(100),
            100,
        );
        assert!(long.len() > 100);
        assert_eq!(short, [0xE0, 2, 0x87, 0]);
    }

    #[test]
    fn a_refusal_is_no_longer_than_the_client_takes() {
        use Answer::{Acknowledged, Complete, Received, Release};
        // [MQTT-3.2.2-19], [MQTT-3.4.2-2], [MQTT-3.5.2-2], [MQTT-3.6.2-2], [MQTT-3.7.2-2],
        // [MQTT-3.9.2-1], [MQTT-3.14.2-3]
        let (reason, v5) = (Reason::NotAuthorized, Version::V5);
        for length in [1, 40, 100, 127, 128, 200, 20_000] {
            let why = "x".repeat(length);
            for limit in (16..300).chain([20_000, 20_020]) {
                let written = |write: &dyn Fn(&mut Vec<u8>)| {
                    let mut out = vec![];
                    write(&mut out);
                    assert!(out.len() <= limit, "{length} {limit} {out:?}");
                    out.len()
                };
                let refusal = written(&|out| refuse_connect(out, v5, reason, &why, limit));
                assert!(
                    refusal > length || limit < length + 19,
                    "it is told where it fits"
                );
                written(&|out| disconnect(out, v5, reason, &why, limit));
                written(&|out| subscribe_answer(out, v5, 1, &[reason], &why, limit));
                for answer in [Acknowledged, Received, Release, Complete] {
                    written(&|out| refuse_publish(out, answer, 1, reason, &why, limit));
                }
            }
        }
        for filters in [1, 124, 125, 16_380, 16_381] {
            let mut out = vec![];
            unsubscribe_answer(&mut out, v5, 1, &vec![reason; filters]);
            assert_eq!(out.len(), filters_answer_length(filters));
        }
    }

    #[test]
    fn older_clients_get_their_own_codes_or_silence() {
        let mut out = vec![];
        refuse_connect(&mut out, Version::V311, Reason::BadLogin, "wrong", 100);
        assert_eq!(out, [0x20, 2, 0, 4]);
        out.clear();
        refuse_connect(
            &mut out,
            Version::V311,
            Reason::MalformedPacket,
            "wrong",
            100,
        );
        disconnect(&mut out, Version::V311, Reason::NotAuthorized, "wrong", 100);
        assert!(out.is_empty());
        subscribe_answer(
            &mut out,
            Version::V311,
            1,
            &[Reason::NotAuthorized],
            "why",
            100,
        );
        assert_eq!(out, [0x90, 3, 0, 1, 0x80]);
    }
}
