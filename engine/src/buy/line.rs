//! The connection to a gate: anonymous, MQTT 5.0 over TCP. Nothing secret goes over it, and what
//! comes is signed.

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Packet, PubAckReason, SubAck, SubscribeReasonCode};
use rumqttc::v5::{AsyncClient, ConnectionError, Event, EventLoop, MqttOptions};
use std::collections::VecDeque;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};

/// How long the gate may take to let us in, or to answer.
const PATIENCE: Duration = Duration::from_secs(15);
/// Packets that wait to be looked at; behind them the gate waits.
const WAITING: usize = 64;
/// Messages that may come while the gate's answer to a request is awaited.
const HELD: usize = 64;
/// Longest packet that we take, in bytes.
const LONGEST_PACKET: u32 = 256 << 10;

/// Where a gate is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gate {
    /// Host name or address.
    pub host: String,
    /// The port for MQTT without TLS.
    pub port: u16,
}

impl Gate {
    /// The host as it stands before a port: an IPv6 address has brackets.
    fn bracketed(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]", self.host),
            false => self.host.clone(),
        }
    }
}

impl fmt::Display for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.bracketed(), self.port)
    }
}

impl FromStr for Gate {
    type Err = String;

    /// `HOST:PORT`, `[::1]:PORT`, or `HOST` for port 1883.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("'{text}' is no address of a gate: write e.g. example.org:1883");
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (host, port) = rest.split_once(']').ok_or_else(wrong)?;
                (host, port.strip_prefix(':').unwrap_or("1883"))
            }
            None => text.rsplit_once(':').unwrap_or((text, "1883")),
        };
        let port = port.parse().map_err(|_| wrong())?;
        if host.is_empty() || host.contains(['/', '@', ' ']) {
            return Err(wrong());
        }
        let host = host.to_owned();
        Ok(Self { host, port })
    }
}

/// Why the gate cannot be listened to.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    /// It did not let us in, or was lost.
    #[error("the gate {gate} cannot be reached: {reason}")]
    Lost {
        /// Which.
        gate: String,
        /// What happened.
        reason: String,
    },
    /// No right to read a topic.
    #[error("the gate does not let anybody subscribe to {topic}: {reason}")]
    Refused {
        /// The topic.
        topic: String,
        /// Its words.
        reason: String,
    },
    /// The engine does not take a request.
    #[error("the engine takes nothing on {topic} now: {reason}; try again later")]
    NotTaken {
        /// The topic.
        topic: String,
        /// The gate's words.
        reason: String,
    },
    /// Nothing came.
    #[error("the gate says nothing on {topic} within {} s: does it sell to strangers?", PATIENCE.as_secs())]
    Silent {
        /// The topic.
        topic: String,
    },
}

/// A message.
#[derive(Debug, Clone)]
pub(super) struct Message {
    pub(super) topic: String,
    pub(super) payload: Vec<u8>,
}

type Heard = Result<Packet, ConnectionError>;

/// An open connection. It is kept alive while nobody looks, and ends with this value.
pub struct Line {
    gate: String,
    client: AsyncClient,
    heard: mpsc::Receiver<Heard>,
    /// Came while something else was waited for.
    messages: VecDeque<Message>,
    driver: JoinHandle<()>,
}

impl Line {
    /// Connects without a login.
    ///
    /// # Errors
    /// When the gate cannot be reached or lets nobody in.
    pub async fn connect(gate: &Gate) -> Result<Self, LineError> {
        let mut id = [0; 8];
        // Only has to differ from other clients' on this gate.
        let _ = getrandom::fill(&mut id);
        let id = format!("buyer-{}", hex::encode(id));
        let mut options = MqttOptions::new(id, gate.bracketed(), gate.port);
        options
            .set_clean_start(true)
            .set_keep_alive(Duration::from_secs(30))
            .set_max_packet_size(Some(LONGEST_PACKET));
        let (client, events) = AsyncClient::new(options, WAITING);
        let (hear, heard) = mpsc::channel(WAITING);
        let mut this = Self {
            gate: gate.to_string(),
            client,
            heard,
            messages: VecDeque::new(),
            driver: tokio::spawn(drive(events, hear)),
        };
        let until = Instant::now() + PATIENCE;
        loop {
            if let Packet::ConnAck(_) = this.packet(until).await? {
                return Ok(this);
            }
        }
    }

    /// Subscribes to one topic, and waits until that is granted.
    ///
    /// # Errors
    /// When it is refused or the connection is lost.
    pub(super) async fn subscribe(&mut self, topic: &str) -> Result<(), LineError> {
        let asked = self.client.subscribe(topic, QoS::AtMostOnce).await;
        asked.map_err(|error| self.lost(error))?;
        let until = Instant::now() + PATIENCE;
        loop {
            match self.packet(until).await? {
                Packet::SubAck(answer) => return granted(topic, answer),
                Packet::Publish(it) => self.hold(message(&it.topic, &it.payload))?,
                _ => {}
            }
        }
    }

    /// Subscribes to one topic and waits for a message on it.
    ///
    /// # Errors
    /// When it is refused, nothing comes, or the connection is lost.
    pub(super) async fn ask(&mut self, topic: &str) -> Result<Vec<u8>, LineError> {
        self.subscribe(topic).await?;
        let answer = async {
            loop {
                let message = self.next().await?;
                if message.topic == topic {
                    return Ok(message.payload);
                }
            }
        };
        let silent = |_| LineError::Silent {
            topic: topic.to_owned(),
        };
        timeout(PATIENCE, answer).await.map_err(silent)?
    }

    /// Publishes a request for the engine, and waits until the gate has it.
    ///
    /// # Errors
    /// When it is refused or the connection is lost.
    pub(super) async fn publish(&mut self, topic: &str, payload: Vec<u8>) -> Result<(), LineError> {
        let sent = self.client.publish(topic, QoS::AtLeastOnce, false, payload);
        sent.await.map_err(|error| self.lost(error))?;
        let until = Instant::now() + PATIENCE;
        loop {
            match self.packet(until).await? {
                Packet::PubAck(answer) if answer.reason == PubAckReason::Success => return Ok(()),
                Packet::PubAck(answer) => {
                    let told = answer.properties.and_then(|it| it.reason_string);
                    return Err(LineError::NotTaken {
                        topic: topic.to_owned(),
                        reason: told.unwrap_or_else(|| format!("{:?}", answer.reason)),
                    });
                }
                Packet::Publish(it) => self.hold(message(&it.topic, &it.payload))?,
                _ => {}
            }
        }
    }

    /// The next message, however long it takes.
    ///
    /// # Errors
    /// When the connection is lost.
    pub(super) async fn next(&mut self) -> Result<Message, LineError> {
        loop {
            if let Some(message) = self.messages.pop_front() {
                return Ok(message);
            }
            let heard = self.heard.recv().await;
            match self.unpack(heard)? {
                Packet::Publish(it) => return Ok(message(&it.topic, &it.payload)),
                _ => continue,
            }
        }
    }

    /// Keeps what came while something else was waited for. None is dropped for another: the
    /// oldest may be the answer.
    fn hold(&mut self, message: Message) -> Result<(), LineError> {
        if self.messages.len() >= HELD {
            return Err(self.lost(format!("it sends more than {HELD} messages and no answer")));
        }
        self.messages.push_back(message);
        Ok(())
    }

    async fn packet(&mut self, until: Instant) -> Result<Packet, LineError> {
        let heard = timeout_at(until, self.heard.recv()).await;
        let heard = heard.map_err(|_| self.lost("it does not answer"))?;
        self.unpack(heard)
    }

    fn unpack(&self, heard: Option<Heard>) -> Result<Packet, LineError> {
        match heard {
            Some(heard) => heard.map_err(|error| self.lost(error)),
            None => Err(self.lost("the connection ended")),
        }
    }

    fn lost(&self, reason: impl ToString) -> LineError {
        LineError::Lost {
            gate: self.gate.clone(),
            reason: reason.to_string(),
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        // The gate is told where that costs no time; it sees the socket close anyway.
        let _ = self.client.try_disconnect();
        self.driver.abort();
    }
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Line({})", self.gate)
    }
}

/// Moves packets until the connection is lost: a new one would have another key.
async fn drive(mut events: EventLoop, hear: mpsc::Sender<Heard>) {
    loop {
        let heard = match events.poll().await {
            Ok(Event::Incoming(packet)) => Ok(packet),
            Ok(Event::Outgoing(_)) => continue,
            Err(error) => Err(error),
        };
        let over = heard.is_err();
        if hear.send(heard).await.is_err() || over {
            return;
        }
    }
}

fn granted(topic: &str, answer: SubAck) -> Result<(), LineError> {
    let granted = |it: &SubscribeReasonCode| matches!(it, SubscribeReasonCode::Success(_));
    if answer.return_codes.iter().all(granted) {
        return Ok(());
    }
    let told = answer.properties.and_then(|it| it.reason_string);
    Err(LineError::Refused {
        topic: topic.to_owned(),
        reason: told.unwrap_or_else(|| format!("{:?}", answer.return_codes)),
    })
}

fn message(topic: &[u8], payload: &[u8]) -> Message {
    Message {
        topic: String::from_utf8_lossy(topic).into_owned(),
        payload: payload.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buy::fake_gate::FakeGate;

    #[tokio::test]
    async fn a_gate_that_only_talks_is_left() {
        let said = vec![("other".to_owned(), vec![7; 16]); HELD];
        let gate = FakeGate::start(vec![said.clone()]);
        let mut line = Line::connect(&gate).await.expect("it lets us in");
        line.subscribe("topic").await.expect("so much may be held");
        let more = [said, vec![("other".to_owned(), vec![7; 16])]].concat();
        let gate = FakeGate::start(vec![more]);
        let mut line = Line::connect(&gate).await.expect("it lets us in");
        let error = line.subscribe("topic").await.expect_err("too much");
        assert!(matches!(error, LineError::Lost { .. }), "{error}");
        assert_eq!(line.messages.len(), HELD);
    }

    #[test]
    fn gates_are_named_by_host_and_port() {
        for (text, host, port) in [
            ("example.org:2883", "example.org", 2883),
            ("example.org", "example.org", 1883),
            ("[::1]:1884", "::1", 1884),
            ("[::1]", "::1", 1883),
        ] {
            let gate: Gate = text.parse().expect("it names a gate");
            assert_eq!((gate.host.as_str(), gate.port), (host, port), "{text}");
            assert_eq!(gate.to_string().parse(), Ok(gate), "{text}");
        }
        for text in ["", ":1883", "a:b", "a:70000", "mqtt://a:1883", "[::1"] {
            assert!(text.parse::<Gate>().is_err(), "{text}");
        }
    }
}
