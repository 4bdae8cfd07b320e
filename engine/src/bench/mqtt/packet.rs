//! As much of MQTT as a load needs: packets are made here, and what comes back is cut apart.

/// The version of the protocol that a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::bench) enum Version {
    V311,
    V5,
}

impl Version {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::V311 => "3.1.1",
            Self::V5 => "5.0",
        }
    }
}

/// Properties without any; 3.1.1 has no place for them.
fn no_properties(version: Version) -> &'static [u8] {
    match version {
        Version::V311 => &[],
        Version::V5 => &[0],
    }
}

/// Who connects, and how.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hello<'a> {
    pub(super) version: Version,
    pub(super) name: &'a str,
    pub(super) password: &'a str,
    pub(super) client_id: &'a str,
    /// The session outlives its connection, and is resumed.
    pub(super) kept: bool,
    /// Topic and payload, with QoS 0.
    pub(super) will: Option<(&'a str, &'a [u8])>,
}

impl<'a> Hello<'a> {
    /// A client whose password is its name and whose session ends with its connection.
    pub(super) fn new(version: Version, name: &'a str, client_id: &'a str) -> Self {
        Self {
            version,
            name,
            password: name,
            client_id,
            kept: false,
            will: None,
        }
    }

    /// The CONNECT, with a keep-alive of 0.
    pub(super) fn packet(&self) -> Vec<u8> {
        let mut flags = 0xC0;
        if !self.kept {
            flags |= 0x02;
        }
        if self.will.is_some() {
            flags |= 0x04;
        }
        let mut body = text("MQTT");
        match self.version {
            Version::V311 => body.extend([4, flags, 0, 0]),
            Version::V5 if self.kept => {
                // Session expiry interval: an hour.
                body.extend([5, flags, 0, 0, 5, 0x11, 0, 0, 0x0E, 0x10]);
            }
            Version::V5 => body.extend([5, flags, 0, 0, 0]),
        }
        body.extend(text(self.client_id));
        if let Some((topic, payload)) = self.will {
            body.extend(no_properties(self.version));
            body.extend(text(topic));
            body.extend(u16::try_from(payload.len()).unwrap_or(0).to_be_bytes());
            body.extend(payload);
        }
        body.extend(text(self.name));
        body.extend(text(self.password));
        packet(0x10, &body)
    }
}

/// The CONNECT of a 5.0 client without a login, with a keep-alive of 0.
pub(in crate::bench) fn anonymous(client_id: &str) -> Vec<u8> {
    let mut body = text("MQTT");
    body.extend([5, 0x02, 0, 0, 0]);
    body.extend(text(client_id));
    packet(0x10, &body)
}

/// A SUBSCRIBE with identifier 1.
pub(in crate::bench) fn subscribe<T: AsRef<str>>(
    version: Version,
    filters: &[T],
    qos: u8,
) -> Vec<u8> {
    let mut body = vec![0, 1];
    body.extend(no_properties(version));
    for filter in filters {
        body.extend(text(filter.as_ref()));
        body.push(qos);
    }
    packet(0x82, &body)
}

/// A PUBLISH; `id` counts only with a QoS above 0.
pub(super) fn publish(
    version: Version,
    topic: &str,
    (qos, id): (u8, u16),
    retain: bool,
    payload: &[u8],
) -> Vec<u8> {
    let mut body = text(topic);
    if qos > 0 {
        body.extend(id.to_be_bytes());
    }
    body.extend(no_properties(version));
    body.extend(payload);
    packet(0x30 | qos << 1 | u8::from(retain), &body)
}

/// A packet that consists of a first byte and a packet identifier: PUBACK and its like.
pub(super) fn answer(first: u8, id: [u8; 2]) -> [u8; 4] {
    [first, 2, id[0], id[1]]
}

/// A packet that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::bench) struct Packet<'a> {
    /// Kind and flags.
    pub(super) first: u8,
    pub(in crate::bench) body: &'a [u8],
}

impl Packet<'_> {
    pub(in crate::bench) fn kind(&self) -> u8 {
        self.first >> 4
    }

    /// The QoS of a PUBLISH.
    pub(super) fn qos(&self) -> u8 {
        self.first >> 1 & 3
    }

    /// The packet identifier of a PUBLISH with a QoS above 0, or of anything that is not one.
    pub(super) fn id(&self) -> Option<[u8; 2]> {
        let at = match self.kind() {
            3 => 2 + usize::from(u16::from_be_bytes(*self.body.first_chunk()?)),
            _ => 0,
        };
        self.body.get(at..)?.first_chunk().copied()
    }
}

/// The first packet of `bytes` and its length in bytes, once it is whole.
pub(in crate::bench) fn cut(bytes: &[u8]) -> Option<(Packet<'_>, usize)> {
    let (mut length, mut at) = (0, 1);
    loop {
        let byte = *bytes.get(at)?;
        length |= usize::from(byte & 0x7F) << (7 * (at - 1));
        at += 1;
        if byte < 0x80 || at > 4 {
            break;
        }
    }
    let body = bytes.get(at..at + length)?;
    let first = bytes[0];
    Some((Packet { first, body }, at + length))
}

fn text(text: &str) -> Vec<u8> {
    let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
    [&length.to_be_bytes()[..], text.as_bytes()].concat()
}

fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![first];
    let mut length = body.len();
    loop {
        let more = if length > 0x7F { 0x80 } else { 0 };
        packet.push(u8::try_from(length & 0x7F).unwrap_or(0) | more);
        length >>= 7;
        if length == 0 {
            break;
        }
    }
    packet.extend(body);
    packet
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_made_here_is_cut_apart_again() {
        for (version, payload) in [(Version::V311, 3), (Version::V5, 300)] {
            let bytes = publish(version, "a/b", (1, 258), false, &vec![7; payload]);
            for short in 0..bytes.len() {
                assert_eq!(cut(&bytes[..short]), None);
            }
            let (packet, length) = cut(&bytes).unwrap();
            assert_eq!(length, bytes.len());
            assert_eq!((packet.kind(), packet.qos()), (3, 1));
            assert_eq!(packet.id(), Some([1, 2]));
        }
    }

    #[test]
    fn an_answer_names_the_packet_that_it_answers() {
        let bytes = answer(0x40, [1, 2]);
        let (packet, length) = cut(&bytes).unwrap();
        assert_eq!((packet.kind(), packet.id(), length), (4, Some([1, 2]), 4));
    }
}
