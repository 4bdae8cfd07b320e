//! Bytes that nobody would send by accident: nothing that decodes them may panic, and what is
//! read can be written again. The properties here are shared by the tests and the fuzzers.

use super::*;
use mqtt_protocol_core::mqtt::packet::v5_0;

/// A stream of packets: the first byte chooses the version, the second bounds their size.
pub(crate) fn packets(bytes: &[u8]) {
    let [first, second, rest @ ..] = bytes else {
        return;
    };
    let version = version_of(*first);
    let limit = (u32::from(*second) + 1) * 64;
    let mut rest = rest;
    while let Ok(Some(frame)) = cut(rest, limit) {
        assert!(frame.whole.len() <= limit as usize);
        assert_eq!(frame_length(frame.whole), frame.whole.len());
        packet(version, &frame);
        rest = &rest[frame.whole.len()..];
    }
}

/// One packet, read as every kind that it could be.
pub(crate) fn packet(version: Version, frame: &Frame<'_>) {
    let _ = frame.kind();
    connect(frame.body);
    if let Ok(request) = SubscribeRequest::read(version, frame.body) {
        assert_ne!(request.packet_id, 0);
        assert!(!request.entries.is_empty(), "[MQTT-3.8.3-2]");
        assert!(request.entries.iter().all(|(_, options)| options.qos < 3));
    }
    if let Ok(request) = UnsubscribeRequest::read(version, frame.body) {
        assert_ne!(request.packet_id, 0);
        assert!(!request.filters.is_empty(), "[MQTT-3.10.3-2]");
    }
    for kind in [
        PacketKind::PublishAcknowledge,
        PacketKind::PublishReceived,
        PacketKind::PublishRelease,
        PacketKind::PublishComplete,
    ] {
        let _ = Acknowledgement::read(version, kind, frame.body);
    }
    let _ = client_disconnect(version, frame.body);
    read_and_write(version, frame);
}

/// A CONNECT without its fixed header.
pub(crate) fn connect(bytes: &[u8]) {
    if let Ok(request) = ConnectRequest::read(bytes)
        && let Some(will) = &request.will
    {
        assert!(will.qos < 3, "[MQTT-3.1.2-12]");
        assert!(PublishProperties::read(&will.forwarded).is_ok());
    }
}

/// A PUBLISH without its length: the first byte is that of its fixed header. What we read,
/// another codec reads too, and sees the same in it.
pub(crate) fn publish(bytes: &[u8]) {
    let Some((first, body)) = bytes.split_first() else {
        return;
    };
    let frame = Frame {
        first: 0x30 | first & 0x0F,
        body,
        whole: &[],
    };
    read_and_write(Version::V311, &frame);
    read_and_write(Version::V5, &frame);
    let Ok(ours) = Publish::read(Version::V5, &frame) else {
        return;
    };
    let Ok(properties) = PublishProperties::read(ours.properties) else {
        return;
    };
    if properties.alias == Some(0) {
        return; // Refused where aliases are looked up ([MQTT-3.3.2-8]).
    }
    let Some(topic) = topic_that_is_one(ours.topic) else {
        return;
    };
    let theirs = v5_0::Publish::parse(frame.first & 0x0F, body.into());
    let (theirs, _) = theirs.expect("two codecs agree on what a PUBLISH is");
    assert_eq!(theirs.topic_name(), topic);
    assert_eq!(theirs.payload().as_slice(), ours.payload);
    assert_eq!(theirs.packet_id().unwrap_or(0), ours.packet_id);
    let taken_out = usize::from(properties.alias.is_some());
    let expiry = usize::from(properties.expiry.is_some());
    let forwarded = v5_0::Publish::parse(0, again(&properties.forwarded).into());
    let (forwarded, _) = forwarded.expect("forwarded properties are properties");
    assert_eq!(
        forwarded.props().len() + taken_out + expiry,
        theirs.props().len()
    );
}

/// A QoS 0 PUBLISH on `t` with these properties.
fn again(properties: &[u8]) -> Vec<u8> {
    let mut body = vec![0, 1, b't'];
    put_length(&mut body, properties.len());
    body.extend(properties);
    body
}

fn topic_that_is_one(bytes: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(bytes).ok()?;
    tanglegate_core::TopicName::parse(text).ok()?;
    Some(text)
}

fn version_of(byte: u8) -> Version {
    if byte & 1 == 0 {
        Version::V311
    } else {
        Version::V5
    }
}

/// A PUBLISH that is read can be written and read again.
pub(crate) fn read_and_write(version: Version, frame: &Frame<'_>) {
    let Ok(publish) = Publish::read(version, frame) else {
        return;
    };
    let Ok(properties) = PublishProperties::read(publish.properties) else {
        return;
    };
    let Ok(topic) = std::str::from_utf8(publish.topic) else {
        return;
    };
    let delivery = Delivery {
        version,
        qos: publish.qos,
        packet_id: publish.packet_id,
        duplicate: false,
        retain: publish.retain,
        topic,
        expiry: properties.expiry,
        ids: &[],
        forwarded: &properties.forwarded,
        payload: publish.payload,
    };
    let mut written = vec![];
    delivery.put(&mut written);
    assert_eq!(written.len(), delivery.size());
    assert_eq!(topic_of(&written), Some(topic));
    if publish.qos > 0 {
        assert_eq!(packet_id_of(&written), Some(publish.packet_id));
    }
    let frame = cut(&written, u32::MAX).expect("sound").expect("whole");
    let read = Publish::read(version, &frame).expect("what we write, we read");
    assert_eq!((read.topic, read.payload), (publish.topic, publish.payload));
    assert_eq!((read.qos, read.retain), (publish.qos, publish.retain));
    assert_eq!(read.packet_id, publish.packet_id);
    let read = PublishProperties::read(read.properties).expect("what we write, we read");
    assert_eq!(&read.forwarded, &properties.forwarded);
    assert_eq!((read.expiry, read.alias), (properties.expiry, None));
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    /// Bytes that look like packets often enough to get far.
    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            vec(any::<u8>(), 0..12),
            Just(vec![0, 4, b'M', b'Q', b'T', b'T', 5, 0xC2, 0, 9]),
            Just(vec![0, 4, b'M', b'Q', b'T', b'T', 4, 0xCE, 0, 9]),
            Just(vec![0, 1, b'a']),
            Just(vec![0, 3, b'a', b'/', b'#']),
            Just(vec![0x26, 0, 1, b'k', 0, 1, b'v']),
            Just(vec![0x0B, 0xFF, 0xFF, 0x7F]),
            Just(vec![0]),
        ];
        vec(piece, 0..8).prop_map(|it| it.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]

        #[test]
        fn no_bytes_make_a_decoder_panic(version: u8, first: u8, bytes in bytes()) {
            let mut stream = vec![version, 0xFF, first];
            put_length(&mut stream, bytes.len());
            stream.extend(&bytes);
            packets(&stream);
            packets(&bytes);
        }

        #[test]
        fn a_publish_that_is_read_can_be_written_and_read_again(first: u8, bytes in bytes()) {
            let mut packet = vec![first];
            packet.extend(&bytes);
            publish(&packet);
        }
    }
}
