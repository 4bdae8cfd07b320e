//! A client that shows every packet, written on another codec than the gate's own.

use crate::stage::{NEVER, SOON, Stage};
use mqtt_protocol_core::mqtt::packet::{Properties, Property, v3_1_1, v5_0};
use std::sync::Arc;
use tanglegate_stage::packets::cut;
pub(crate) use tanglegate_stage::packets::{Packet, packet, text};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    buffer: Vec<u8>,
    version: u8,
    next_id: u16,
}

/// A PUBLISH.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) topic: String,
    pub(crate) payload: Vec<u8>,
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    pub(crate) id: Option<u16>,
    pub(crate) properties: Vec<String>,
}

/// What a CONNECT says.
#[derive(Debug, Clone)]
pub(crate) struct Connect {
    pub(crate) version: u8,
    pub(crate) id: String,
    pub(crate) login: Option<(String, String)>,
    pub(crate) keep_alive: u16,
    pub(crate) clean: bool,
    /// 5.0 properties, as bytes of the wire.
    pub(crate) properties: Vec<u8>,
    /// Topic, payload, QoS, retain.
    pub(crate) will: Option<(String, String, u8, bool)>,
    /// Seconds; 5.0 only.
    pub(crate) will_delay: Option<u32>,
}

pub(crate) fn connect(version: u8, id: &str) -> Connect {
    Connect {
        version,
        id: id.to_owned(),
        login: None,
        keep_alive: 0,
        clean: true,
        properties: vec![],
        will: None,
        will_delay: None,
    }
}

impl Connect {
    /// With the login whose password is its name.
    pub(crate) fn login(self, name: &str) -> Self {
        self.password(name, name)
    }

    pub(crate) fn password(self, name: &str, password: &str) -> Self {
        Self {
            login: Some((name.to_owned(), password.to_owned())),
            ..self
        }
    }

    pub(crate) fn keep_alive(self, keep_alive: u16) -> Self {
        Self { keep_alive, ..self }
    }

    pub(crate) fn properties(self, properties: &[u8]) -> Self {
        Self {
            properties: properties.to_vec(),
            ..self
        }
    }

    /// Goes on with the session that was left, if there is one, and wants it kept for so many
    /// seconds; 3.1.1 for as long as possible.
    pub(crate) fn kept(self, seconds: u32) -> Self {
        let expiry = [&[0x11][..], &seconds.to_be_bytes()].concat();
        Self {
            clean: false,
            properties: if self.version == 5 { expiry } else { vec![] },
            ..self
        }
    }

    /// Wants no session but a new one.
    pub(crate) fn clean(self) -> Self {
        Self {
            clean: true,
            ..self
        }
    }

    /// 5.0: with a will that waits for so many seconds.
    pub(crate) fn delayed_will(self, topic: &str, payload: &str, seconds: u32) -> Self {
        Self {
            will_delay: Some(seconds),
            ..self.will(topic, payload, 1, false)
        }
    }

    pub(crate) fn will(self, topic: &str, payload: &str, qos: u8, retain: bool) -> Self {
        Self {
            will: Some((topic.to_owned(), payload.to_owned(), qos, retain)),
            ..self
        }
    }

    pub(crate) fn packet(&self) -> Vec<u8> {
        let mut flags = u8::from(self.clean) << 1;
        let mut payload = text(&self.id);
        if let Some((topic, message, qos, retain)) = &self.will {
            flags |= 0x04 | qos << 3 | u8::from(*retain) << 5;
            if self.version == 5 {
                let delay = self.will_delay.map(u32::to_be_bytes);
                payload.push(if delay.is_some() { 5 } else { 0 });
                payload.extend(delay.iter().flat_map(|it| [&[0x18][..], it].concat()));
            }
            payload.extend(text(topic));
            payload.extend(text(message));
        }
        if let Some((name, password)) = &self.login {
            flags |= 0xC0;
            payload.extend(text(name));
            payload.extend(text(password));
        }
        let mut body = text("MQTT");
        body.extend([self.version, flags]);
        body.extend(self.keep_alive.to_be_bytes());
        if self.version == 5 {
            body.push(u8::try_from(self.properties.len()).expect("few"));
            body.extend(&self.properties);
        }
        body.extend(payload);
        packet(0x10, &body)
    }

    /// Connects; the answer must be the acceptance, without a session.
    pub(crate) async fn open(&self, stage: &Stage) -> Client {
        let (client, answer) = self.try_open(stage).await;
        assert_eq!(answer.body[..2], [0, 0], "accepted anew: {answer:?}");
        client
    }

    /// Connects; the session that was left must be there ([MQTT-3.2.2-2]).
    pub(crate) async fn resume(&self, stage: &Stage) -> Client {
        let (client, answer) = self.try_open(stage).await;
        assert_eq!(answer.body[..2], [1, 0], "resumed: {answer:?}");
        client
    }

    /// Connects; returns the CONNACK.
    pub(crate) async fn try_open(&self, stage: &Stage) -> (Client, Packet) {
        let mut client = Client::raw(stage, self.version).await;
        client.send(&self.packet()).await;
        let answer = client.packet().await;
        assert_eq!(answer.first, 0x20, "a CONNACK first [MQTT-3.2.0-1]");
        (client, answer)
    }
}

impl Client {
    /// A connection on which nothing was said.
    pub(crate) async fn raw(stage: &Stage, version: u8) -> Self {
        let stream = TcpStream::connect(stage.address())
            .await
            .expect("the gate listens");
        stream.set_nodelay(true).expect("an open socket");
        Self {
            stream,
            buffer: vec![],
            version,
            next_id: 0,
        }
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.expect("the gate reads");
    }

    fn id(&mut self) -> [u8; 2] {
        self.next_id += 1;
        self.next_id.to_be_bytes()
    }

    /// The next packet; `None` when the connection ends instead.
    pub(crate) async fn try_packet(&mut self) -> Option<Packet> {
        loop {
            if let Some(packet) = cut(&mut self.buffer) {
                return Some(packet);
            }
            let mut chunk = [0; 4_096];
            let read = self.stream.read(&mut chunk);
            let read = tokio::time::timeout(SOON, read)
                .await
                .expect("nothing came");
            match read {
                Ok(0) | Err(_) => return None,
                Ok(read) => self.buffer.extend(&chunk[..read]),
            }
        }
    }

    pub(crate) async fn packet(&mut self) -> Packet {
        self.try_packet()
            .await
            .expect("a packet, not the end of the connection")
    }

    /// The next packet has to be a message.
    pub(crate) async fn message(&mut self) -> Message {
        let packet = self.packet().await;
        self.read_message(&packet)
    }

    pub(crate) fn read_message(&self, packet: &Packet) -> Message {
        assert_eq!(packet.first >> 4, 3, "a PUBLISH: {packet:?}");
        let (flags, body) = (packet.first & 0xF, Arc::from(&packet.body[..]));
        if self.version == 5 {
            let (it, _) = v5_0::Publish::parse(flags, body).expect("a PUBLISH");
            return Message {
                topic: it.topic_name().to_owned(),
                payload: it.payload().as_slice().to_vec(),
                qos: it.qos() as u8,
                retain: it.retain(),
                id: it.packet_id(),
                properties: described(it.props()),
            };
        }
        let (it, _) = v3_1_1::Publish::parse(flags, body).expect("a PUBLISH");
        Message {
            topic: it.topic_name().to_owned(),
            payload: it.payload().as_slice().to_vec(),
            qos: it.qos() as u8,
            retain: it.retain(),
            id: it.packet_id(),
            properties: vec![],
        }
    }

    /// The payload of the next message, as text.
    pub(crate) async fn payload(&mut self) -> String {
        String::from_utf8(self.message().await.payload).expect("text")
    }

    /// Nothing comes for a while.
    pub(crate) async fn hears_nothing(&mut self) {
        let packet = tokio::time::timeout(NEVER, self.try_packet()).await;
        assert!(packet.is_err(), "nothing must come: {packet:?}");
    }

    /// The connection ends without another packet.
    pub(crate) async fn is_closed(&mut self) {
        assert_eq!(self.try_packet().await, None);
    }

    /// The gate takes leave with this reason; returns what it says.
    pub(crate) async fn is_dismissed(&mut self, reason: u8) -> String {
        let packet = self.packet().await;
        assert_eq!((packet.first, packet.body[0]), (0xE0, reason), "{packet:?}");
        let (packet, _) = v5_0::Disconnect::parse(&packet.body).expect("a DISCONNECT");
        let why = packet.props().as_ref().map(reason_of).unwrap_or_default();
        self.is_closed().await;
        why
    }

    /// Subscribes; returns the codes of the SUBACK and its reason string.
    pub(crate) async fn subscribe_with(
        &mut self,
        properties: &[u8],
        filters: &[(&str, u8)],
    ) -> (Vec<u8>, String) {
        let id = self.id();
        let mut body = id.to_vec();
        if self.version == 5 {
            body.push(u8::try_from(properties.len()).expect("few"));
            body.extend(properties);
        }
        for (filter, options) in filters {
            body.extend(text(filter));
            body.push(*options);
        }
        self.send(&packet(0x82, &body)).await;
        let answer = self.packet().await;
        assert_eq!(
            (answer.first, &answer.body[..2]),
            (0x90, &id[..]),
            "{answer:?}"
        );
        if self.version == 4 {
            return (answer.body[2..].to_vec(), String::new());
        }
        let (answer, _) = v5_0::Suback::parse(&answer.body).expect("a SUBACK");
        let codes = answer.reason_codes().iter().map(|it| *it as u8).collect();
        (codes, reason_of(answer.props()))
    }

    /// Subscribes to one filter, which has to be granted.
    pub(crate) async fn subscribe(&mut self, filter: &str, qos: u8) {
        let (codes, why) = self.subscribe_with(&[], &[(filter, qos)]).await;
        assert_eq!(codes, [qos], "{why}");
    }

    /// Publishes with QoS 0.
    pub(crate) async fn publish(&mut self, topic: &str, payload: &str) {
        let message = self.publish_packet(0x30, topic, &[], payload);
        self.send(&message).await;
    }

    /// Publishes with QoS 1; returns the code of the PUBACK and its reason string.
    pub(crate) async fn publish_safely(&mut self, topic: &str, payload: &str) -> (u8, String) {
        let message = self.publish_packet(0x32, topic, &[], payload);
        self.send(&message).await;
        let answer = self.packet().await;
        self.read_acknowledgement(&answer)
    }

    pub(crate) fn read_acknowledgement(&self, answer: &Packet) -> (u8, String) {
        assert_eq!(answer.first, 0x40, "{answer:?}");
        assert_eq!(answer.body[..2], self.next_id.to_be_bytes());
        if answer.body.len() == 2 {
            return (0, String::new());
        }
        let (answer, _) = v5_0::Puback::parse(&answer.body).expect("a PUBACK");
        let why = answer.props().as_ref().map(reason_of).unwrap_or_default();
        (answer.reason_code().expect("a reason") as u8, why)
    }

    pub(crate) fn publish_packet(
        &mut self,
        first: u8,
        topic: &str,
        properties: &[u8],
        payload: &str,
    ) -> Vec<u8> {
        let mut body = text(topic);
        if first & 0x06 != 0 {
            body.extend(self.id());
        }
        if self.version == 5 {
            body.push(u8::try_from(properties.len()).expect("few"));
            body.extend(properties);
        }
        body.extend(payload.as_bytes());
        packet(first, &body)
    }

    /// The packet identifier that was used last.
    pub(crate) fn last_id(&self) -> u16 {
        self.next_id
    }

    pub(crate) async fn acknowledge(&mut self, message: &Message) {
        let id = message.id.expect("QoS 1").to_be_bytes();
        self.send(&packet(0x40, &id)).await;
    }

    /// Asks for a sign of life: everything sent before it was handled.
    pub(crate) async fn ping(&mut self) {
        self.send(&[0xC0, 0]).await;
        let packet = self.packet().await;
        assert_eq!((packet.first, &packet.body[..]), (0xD0, &[][..]));
    }
}

pub(crate) fn reason_of(properties: &Properties) -> String {
    let reason = |it: &Property| match it {
        Property::ReasonString(it) => Some(it.val().to_owned()),
        _ => None,
    };
    properties.iter().find_map(reason).unwrap_or_default()
}

/// Properties as short texts.
pub(crate) fn described(properties: &Properties) -> Vec<String> {
    let one = |it: &Property| match it {
        Property::MessageExpiryInterval(it) => format!("expiry {}", it.val()),
        Property::SubscriptionIdentifier(it) => format!("id {}", it.val()),
        Property::ContentType(it) => format!("type {}", it.val()),
        Property::ResponseTopic(it) => format!("respond {}", it.val()),
        Property::CorrelationData(it) => format!("correlation {:?}", it.val()),
        Property::PayloadFormatIndicator(_) => "format".to_owned(),
        Property::UserProperty(it) => format!("{}={}", it.key(), it.val()),
        Property::SessionExpiryInterval(it) => format!("session expiry {}", it.val()),
        Property::ReceiveMaximum(it) => format!("receive maximum {}", it.val()),
        Property::MaximumQos(it) => format!("maximum QoS {}", it.val()),
        Property::MaximumPacketSize(it) => format!("maximum packet {}", it.val()),
        Property::AssignedClientIdentifier(it) => format!("assigned {}", it.val()),
        Property::TopicAlias(it) => format!("alias {}", it.val()),
        Property::TopicAliasMaximum(it) => format!("aliases {}", it.val()),
        Property::SharedSubscriptionAvailable(it) => format!("shared {}", it.val()),
        Property::ServerKeepAlive(it) => format!("keep-alive {}", it.val()),
        other => format!("{:?}", other.id()),
    };
    properties.iter().map(one).collect()
}
