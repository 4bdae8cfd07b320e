//! The plug on the network: samples on a clock, and a connection that comes back.

use std::time::Duration;

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Packet, PubAckReason};
use rumqttc::v5::{AsyncClient, Event, EventLoop, MqttOptions};
use rumqttc::{NetworkOptions, Outgoing};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tracing::{info, warn};

use super::readings::RollingMean;
use super::{PlugError, Settings};

/// Window of the mean.
const WINDOW: Duration = Duration::from_secs(60);

/// Publications that may wait for the socket. What does not fit is dropped: a value that is late
/// is not live, and the next mean replaces this one.
const WAITING: usize = 16;

/// How long saying goodbye may take.
const GOODBYE: Duration = Duration::from_secs(2);

/// Publishes until `shutdown` resolves. While the gate cannot be reached it tries again, more and
/// more slowly, at least every 30 s; what happens meanwhile counts for the mean and is not
/// published.
///
/// # Errors
/// [`PlugError`] at once where the settings cannot work.
pub async fn run(settings: Settings, shutdown: impl Future<Output = ()>) -> Result<(), PlugError> {
    settings.check()?;
    let (client, events) = AsyncClient::new(options(&settings), WAITING);
    let (connected, connection) = watch::channel(false);
    let network = tokio::spawn(drive(events, connected));
    tokio::select! {
        () = tick(&settings, &client, &connection) => {}
        () = shutdown => {}
    }
    // Without a connection, or with one that is stuck, there is nobody to say goodbye to.
    let goodbye = *connection.borrow() && client.try_disconnect().is_ok();
    let stop = network.abort_handle();
    if !goodbye || timeout(GOODBYE, network).await.is_err() {
        stop.abort();
    }
    Ok(())
}

fn options(settings: &Settings) -> MqttOptions {
    let mut options = MqttOptions::new(&settings.client_id, &settings.host, settings.port);
    let mut network = NetworkOptions::new();
    network.set_tcp_nodelay(true);
    options
        .set_clean_start(true)
        .set_keep_alive(Duration::from_secs(30))
        .set_network_options(network);
    if let Some(login) = &settings.login {
        options.set_credentials(&login.username, login.password.as_str());
    }
    options
}

/// Samples on every tick, publishes while connected. A tick that was missed stays missed.
async fn tick(settings: &Settings, client: &AsyncClient, connection: &watch::Receiver<bool>) {
    let mut ticks = interval(settings.interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut mean = RollingMean::new(WINDOW);
    let start = Instant::now();
    loop {
        ticks.tick().await;
        let now = start
            .elapsed()
            .saturating_mul(settings.speed)
            .saturating_add(settings.begin);
        let live = settings.recording.power(now, settings.between);
        mean.sample(now, live);
        if !*connection.borrow() {
            continue;
        }
        if let Some(live) = live {
            publish(client, &settings.live_topic, QoS::AtMostOnce, false, live);
        }
        if let Some(mean) = mean.mean(now) {
            publish(client, &settings.mean_topic, QoS::AtLeastOnce, true, mean);
        }
    }
}

fn publish(client: &AsyncClient, topic: &str, qos: QoS, retain: bool, milliwatts: i64) {
    // It fails only when the queue is full, and then this value may be missed.
    let _ = client.try_publish(topic, qos, retain, milliwatts.to_string());
}

/// Keeps the connection, and says in the log what happens to it.
async fn drive(mut events: EventLoop, connected: watch::Sender<bool>) {
    let (mut failures, mut refused) = (0, false);
    loop {
        match events.poll().await {
            Ok(Event::Incoming(Packet::ConnAck(_))) => {
                info!("plug connected");
                failures = 0;
                connected.send_replace(true);
            }
            Ok(Event::Incoming(Packet::PubAck(ack))) => {
                let accepted = [PubAckReason::Success, PubAckReason::NoMatchingSubscribers];
                let refusal = !accepted.contains(&ack.reason);
                if refusal && !refused {
                    warn!(reason = ?ack.reason, "the gate refuses what the plug publishes");
                }
                refused = refusal;
            }
            Ok(Event::Outgoing(Outgoing::Disconnect)) => return,
            Ok(_) => {}
            Err(error) => {
                connected.send_replace(false);
                let wait = back_off(failures, random());
                warn!(%error, ?wait, "plug not connected, trying again");
                failures += 1;
                sleep(wait).await;
            }
        }
    }
}

/// Half a second, doubled with each failure up to 30 s; of that a random part between half and
/// all, so that many plugs do not come back at once.
fn back_off(failures: u32, random: u8) -> Duration {
    let longest = Duration::from_millis(500) * 2_u32.pow(failures.min(6));
    let longest = longest.min(Duration::from_secs(30));
    longest / 2 + longest / 2 * u32::from(random) / 255
}

/// Without randomness from the system they just all wait equally long.
fn random() -> u8 {
    let mut byte = [255];
    let _ = getrandom::fill(&mut byte);
    byte[0]
}

#[cfg(test)]
#[path = "publish_tests.rs"]
mod tests;
