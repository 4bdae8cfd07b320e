//! Bytes that nobody would send by accident: nothing that decodes them may panic, and what is
//! read can be written again.

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

fn version() -> impl Strategy<Value = Version> {
    prop_oneof![Just(Version::V311), Just(Version::V5)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn no_bytes_make_a_decoder_panic(version in version(), first: u8, bytes in bytes()) {
        let mut packet = vec![first];
        put_length(&mut packet, bytes.len());
        packet.extend(&bytes);
        let frame = cut(&packet, u32::MAX).unwrap().unwrap();
        prop_assert_eq!(frame.body, &bytes[..]);
        let _ = frame.kind();
        let _ = cut(&bytes, 50);
        let _ = ConnectRequest::read(&bytes);
        let _ = SubscribeRequest::read(version, &bytes);
        let _ = UnsubscribeRequest::read(version, &bytes);
        let _ = acknowledged(version, &bytes);
        let _ = client_disconnect(version, &bytes);
        if let Ok(publish) = Publish::read(version, &frame) {
            let _ = PublishProperties::read(publish.properties);
        }
    }

    #[test]
    fn a_publish_that_is_read_can_be_written_and_read_again(first: u8, bytes in bytes()) {
        let frame = Frame { first: 0x30 | first & 0x0F, body: &bytes, whole: &[] };
        let Ok(publish) = Publish::read(Version::V5, &frame) else {
            return Ok(());
        };
        let Ok(properties) = PublishProperties::read(publish.properties) else {
            return Ok(());
        };
        let Ok(topic) = std::str::from_utf8(publish.topic) else {
            return Ok(());
        };
        let delivery = Delivery {
            version: Version::V5,
            qos: publish.qos,
            retain: publish.retain,
            topic,
            expiry: properties.expiry,
            ids: &[],
            forwarded: &properties.forwarded,
            payload: publish.payload,
        };
        let mut written = vec![];
        delivery.put(&mut written);
        if publish.qos == 1 {
            set_packet_id(&mut written, publish.packet_id);
        }
        let again = cut(&written, u32::MAX).unwrap().unwrap();
        let again = Publish::read(Version::V5, &again).unwrap();
        prop_assert_eq!((again.topic, again.payload), (publish.topic, publish.payload));
        prop_assert_eq!((again.qos, again.retain), (publish.qos, publish.retain));
        prop_assert_eq!(again.packet_id, publish.packet_id);
        let again = PublishProperties::read(again.properties).unwrap();
        prop_assert_eq!(&again.forwarded, &properties.forwarded);
        prop_assert_eq!((again.expiry, again.alias), (properties.expiry, None));
    }
}
