//! CONNECT (MQTT 5.0 §3.1, MQTT 3.1.1 §3.1).

use super::frame::{take_text, text};
use super::{Fault, PublishProperties, Version};
use mqtt_protocol_core::mqtt::packet::{Properties, Property, v3_1_1, v5_0};
use std::num::NonZero;
use zeroize::Zeroizing;

/// What a client asks for when it connects.
#[derive(Debug)]
pub(crate) struct ConnectRequest {
    pub(crate) version: Version,
    /// May be empty: the gate gives one.
    pub(crate) client_id: String,
    /// Clean session (3.1.1) or clean start (5.0).
    pub(crate) clean: bool,
    /// Seconds; 0 is none.
    pub(crate) keep_alive: u16,
    pub(crate) login: Option<LoginRequest>,
    pub(crate) will: Option<Box<WillRequest>>,
    /// Seconds; 0 in 3.1.1.
    pub(crate) session_expiry: u32,
    /// How many QoS 1 messages the client takes at a time.
    pub(crate) receive_maximum: NonZero<u16>,
    /// The largest packet that the client takes, in bytes.
    pub(crate) packet_bytes: u32,
    /// How many topic aliases the client takes (MQTT 5.0 §3.1.2.11.5).
    pub(crate) topic_aliases: u16,
    /// False when the client does not want reason strings.
    pub(crate) problem_information: bool,
    /// True when the client wants an exchange of AUTH packets.
    pub(crate) extended_authentication: bool,
}

/// Who the client says it is.
pub(crate) struct LoginRequest {
    pub(crate) username: String,
    pub(crate) password: Zeroizing<Vec<u8>>,
}

/// Names and passwords have no place in logs.
impl std::fmt::Debug for LoginRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LoginRequest(..)")
    }
}

/// What is to be published when the client is lost.
#[derive(Debug)]
pub(crate) struct WillRequest {
    /// Not checked for wildcards yet.
    pub(crate) topic: String,
    /// 0, 1 or 2.
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    pub(crate) payload: Vec<u8>,
    /// Seconds for which the client may be away before it is published.
    pub(crate) delay: u32,
    /// Seconds for which it is worth keeping from then on.
    pub(crate) expiry: Option<u32>,
    /// Other properties for the readers, as bytes of the wire.
    pub(crate) forwarded: Vec<u8>,
}

/// A CONNECT that cannot be served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ConnectError {
    /// The client speaks another protocol: the level that it named.
    Level(u8),
    /// It breaks the protocol.
    Fault(Fault),
}

impl From<Fault> for ConnectError {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl ConnectRequest {
    /// Reads the packet after its fixed header.
    pub(crate) fn read(body: &[u8]) -> Result<Self, ConnectError> {
        let mut rest = body;
        let name = take_text(&mut rest)?;
        let [level, flags, ..] = *rest else {
            return Err(Fault::Malformed("the CONNECT ends too early").into());
        };
        match (name, level) {
            ("MQTT", 4 | 5) => {}
            ("MQTT" | "MQIsdp", level) => return Err(ConnectError::Level(level)),
            _ => return Err(Fault::Protocol("the protocol is not MQTT").into()),
        }
        check_flags(flags)?;
        let request = if level == 4 {
            Self::read_v311(body)
        } else {
            Self::read_v5(body)
        };
        Ok(request?)
    }

    fn read_v311(body: &[u8]) -> Result<Self, Fault> {
        let (packet, read) = v3_1_1::Connect::parse(body)?;
        check_end(read, body)?;
        let will = packet.will_topic().map(|topic| WillRequest {
            topic: topic.to_owned(),
            qos: packet.will_qos() as u8,
            retain: packet.will_retain(),
            payload: packet.will_payload().unwrap_or_default().to_vec(),
            delay: 0,
            expiry: None,
            forwarded: vec![],
        });
        Ok(Self {
            version: Version::V311,
            client_id: checked(packet.client_id())?,
            clean: packet.clean_session(),
            keep_alive: packet.keep_alive(),
            login: login(packet.user_name(), packet.password())?,
            will: will.map(Box::new),
            session_expiry: 0,
            receive_maximum: NonZero::<u16>::MAX,
            packet_bytes: u32::MAX,
            topic_aliases: 0,
            problem_information: false,
            extended_authentication: false,
        })
    }

    fn read_v5(body: &[u8]) -> Result<Self, Fault> {
        let (packet, read) = v5_0::Connect::parse(body)?;
        check_end(read, body)?;
        let mut request = Self {
            version: Version::V5,
            client_id: checked(packet.client_id())?,
            clean: packet.clean_start(),
            keep_alive: packet.keep_alive(),
            login: login(packet.user_name(), packet.password())?,
            will: None,
            session_expiry: 0,
            receive_maximum: NonZero::<u16>::MAX,
            packet_bytes: u32::MAX,
            topic_aliases: 0,
            problem_information: true,
            extended_authentication: false,
        };
        if let Some(topic) = packet.will_topic() {
            let payload = packet.will_payload().unwrap_or_default();
            let qos = packet.will_qos() as u8;
            let will = will_v5(
                topic,
                qos,
                packet.will_retain(),
                payload,
                packet.will_props(),
            )?;
            request.will = Some(Box::new(will));
        }
        request.read_properties(packet.props())?;
        Ok(request)
    }

    fn read_properties(&mut self, properties: &Properties) -> Result<(), Fault> {
        for property in properties {
            match property {
                Property::SessionExpiryInterval(it) => self.session_expiry = it.val(),
                Property::ReceiveMaximum(it) => {
                    self.receive_maximum = NonZero::new(it.val())
                        .ok_or(Fault::Protocol("the receive maximum is 0"))?;
                }
                Property::MaximumPacketSize(it) => {
                    self.packet_bytes = it.val();
                    if self.packet_bytes == 0 {
                        return Err(Fault::Protocol("the maximum packet size is 0"));
                    }
                }
                Property::TopicAliasMaximum(it) => self.topic_aliases = it.val(),
                Property::RequestProblemInformation(it) => {
                    self.problem_information = it.val() != 0;
                }
                Property::AuthenticationMethod(_) | Property::AuthenticationData(_) => {
                    self.extended_authentication = true;
                }
                // Response information is ours to leave out.
                _ => {}
            }
        }
        Ok(())
    }
}

/// Flags that contradict each other: [MQTT-3.1.2-3], [MQTT-3.1.2-11] to [MQTT-3.1.2-15].
fn check_flags(flags: u8) -> Result<(), Fault> {
    let (will, qos, retain) = (flags & 4 != 0, (flags >> 3) & 3, flags & 0x20 != 0);
    if flags & 1 != 0 {
        return Err(Fault::Malformed("the reserved flag of the CONNECT is set"));
    }
    if qos == 3 || (!will && (qos != 0 || retain)) {
        return Err(Fault::Malformed("the will's flags contradict each other"));
    }
    Ok(())
}

fn check_end(read: usize, body: &[u8]) -> Result<(), Fault> {
    if read == body.len() {
        Ok(())
    } else {
        Err(Fault::Malformed("the CONNECT has bytes after its end"))
    }
}

fn checked(name: &str) -> Result<String, Fault> {
    text(name.as_bytes()).map(str::to_owned)
}

fn login(username: Option<&str>, password: Option<&[u8]>) -> Result<Option<LoginRequest>, Fault> {
    let Some(username) = username else {
        return Ok(None);
    };
    Ok(Some(LoginRequest {
        username: checked(username)?,
        password: Zeroizing::new(password.unwrap_or_default().to_vec()),
    }))
}

fn will_v5(
    topic: &str,
    qos: u8,
    retain: bool,
    payload: &[u8],
    properties: &Properties,
) -> Result<WillRequest, Fault> {
    let (mut delay, mut expiry, mut bytes) = (0, None, vec![]);
    for property in properties {
        match property {
            Property::WillDelayInterval(it) => delay = it.val(),
            Property::MessageExpiryInterval(it) => expiry = Some(it.val()),
            Property::PayloadFormatIndicator(it) => bytes.append(&mut it.to_continuous_buffer()),
            Property::ContentType(it) => bytes.append(&mut it.to_continuous_buffer()),
            Property::ResponseTopic(it) => bytes.append(&mut it.to_continuous_buffer()),
            Property::CorrelationData(it) => bytes.append(&mut it.to_continuous_buffer()),
            Property::UserProperty(it) => bytes.append(&mut it.to_continuous_buffer()),
            _ => {
                return Err(Fault::Protocol(
                    "a will has a property that it must not have",
                ));
            }
        }
    }
    // The same rules as for any message.
    PublishProperties::read(&bytes)?;
    Ok(WillRequest {
        topic: topic.to_owned(),
        qos,
        retain,
        payload: payload.to_vec(),
        delay,
        expiry,
        forwarded: bytes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connect(level: u8, flags: u8, rest: &[&[u8]]) -> Vec<u8> {
        let mut body = vec![0, 4, b'M', b'Q', b'T', b'T', level, flags, 0, 60];
        if level == 5 {
            body.push(0);
        }
        rest.iter().for_each(|it| body.extend_from_slice(it));
        body
    }

    #[test]
    fn a_login_is_read_and_not_shown() {
        let body = connect(
            4,
            0xC2,
            &[&[0, 1, b'x'], &[0, 3, b'a', b'n', b'a'], &[0, 2, 1, 2]],
        );
        let request = ConnectRequest::read(&body).unwrap();
        let shown = format!("{request:?}");
        let login = request.login.unwrap();
        assert_eq!(
            (&*login.username, &login.password[..]),
            ("ana", &[1, 2][..])
        );
        assert!(!shown.contains("ana"), "{shown}");
    }

    #[test]
    fn contradicting_flags_are_faults() {
        for flags in [0x01, 0x08, 0x20, 0x1C, 0x18] {
            for level in [4, 5] {
                let body = connect(level, flags, &[&[0, 1, b'x']]);
                let refused = ConnectRequest::read(&body).unwrap_err();
                assert!(
                    matches!(refused, ConnectError::Fault(Fault::Malformed(_))),
                    "{flags:#x}"
                );
            }
        }
    }

    #[test]
    fn other_levels_are_told_from_faults() {
        let old = [&[0, 6][..], b"MQIsdp", &[3, 2, 0, 60, 0, 1, b'x']].concat();
        assert_eq!(
            ConnectRequest::read(&old).unwrap_err(),
            ConnectError::Level(3)
        );
        let new = connect(6, 2, &[&[0, 1, b'x']]);
        assert_eq!(
            ConnectRequest::read(&new).unwrap_err(),
            ConnectError::Level(6)
        );
        let other = [&[0, 4][..], b"HTTP", &[4, 2, 0, 60]].concat();
        assert!(matches!(
            ConnectRequest::read(&other).unwrap_err(),
            ConnectError::Fault(_)
        ));
    }

    #[test]
    fn bytes_after_the_end_are_a_fault() {
        for level in [4, 5] {
            let body = connect(level, 2, &[&[0, 1, b'x'], &[9]]);
            assert!(ConnectRequest::read(&body).is_err());
        }
    }
}
