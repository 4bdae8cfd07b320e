//! A subscriber's MQTT client (version 5, which tells reasons).

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{ConnectReturnCode, Packet, SubscribeReasonCode};
use rumqttc::v5::{AsyncClient, Event, EventLoop, MqttOptions};
use std::net::SocketAddr;
use std::time::Duration;
use zeroize::Zeroizing;

/// What a subscriber sees.
#[derive(Debug)]
pub(super) enum Seen {
    Granted,
    Refused { reason: String },
    Message { topic: String, text: String },
}

pub(super) struct Reader {
    client: AsyncClient,
    events: EventLoop,
}

impl Reader {
    pub(super) async fn connect(
        gate: SocketAddr,
        name: &str,
        password: Option<Zeroizing<String>>,
    ) -> anyhow::Result<Self> {
        let mut options = MqttOptions::new(name, gate.ip().to_string(), gate.port());
        options.set_keep_alive(Duration::from_secs(30));
        if let Some(password) = password {
            options.set_credentials(name, password.as_str());
        }
        let (client, mut events) = AsyncClient::new(options, 16);
        loop {
            if let Event::Incoming(Packet::ConnAck(answer)) = events.poll().await? {
                let accepted = answer.code == ConnectReturnCode::Success;
                anyhow::ensure!(accepted, "{name} was not let in: {:?}", answer.code);
                return Ok(Self { client, events });
            }
        }
    }

    pub(super) async fn subscribe(&self, filter: &str) -> anyhow::Result<()> {
        Ok(self.client.subscribe(filter, QoS::AtMostOnce).await?)
    }

    pub(super) async fn next(&mut self) -> anyhow::Result<Seen> {
        loop {
            match self.events.poll().await? {
                Event::Incoming(Packet::SubAck(answer)) => {
                    let granted =
                        |it: &SubscribeReasonCode| matches!(it, SubscribeReasonCode::Success(_));
                    if answer.return_codes.iter().all(granted) {
                        return Ok(Seen::Granted);
                    }
                    let told = answer.properties.and_then(|it| it.reason_string);
                    let reason = told.unwrap_or_else(|| format!("{:?}", answer.return_codes));
                    return Ok(Seen::Refused { reason });
                }
                Event::Incoming(Packet::Publish(message)) => {
                    let topic = String::from_utf8_lossy(&message.topic).into_owned();
                    let text = String::from_utf8_lossy(&message.payload).into_owned();
                    return Ok(Seen::Message { topic, text });
                }
                _ => {}
            }
        }
    }

    pub(super) async fn leave(mut self) {
        if self.client.disconnect().await.is_ok() {
            while self.events.poll().await.is_ok() {}
        }
    }
}
