//! Sessions that outlive their connections: messages queued for who is away.

use super::client::Client;
use super::load::{BURST, Load};
use super::packet::{Hello, answer};
use super::scene::{READER, WRITER};
use super::server::Server;
use super::writing::Writer;
use anyhow::ensure;
use std::io::Write;
use std::time::{Duration, Instant};

/// How long a message may take to be acknowledged or delivered.
const PATIENCE: Duration = Duration::from_secs(60);
/// The client whose session is kept.
const AWAY: &str = "away";

fn reader(load: &Load) -> Hello<'_> {
    Hello {
        kept: true,
        ..Hello::new(load.version, READER, AWAY)
    }
}

/// True when the server still knows a session after its connection.
pub(super) fn keeps(server: &Server, load: &Load) -> anyhow::Result<bool> {
    drop(Client::connect(server.address, &reader(load))?);
    let resumed = Client::connect(server.address, &reader(load))?.resumed;
    forget(server, load)?;
    Ok(resumed)
}

/// Messages per second with QoS 1 that are acknowledged while the reader is away, and that it
/// gets once it is back: `count` of them.
pub(super) fn measure(server: &Server, load: &Load, count: u64) -> anyhow::Result<Vec<f64>> {
    let mut client = Client::connect(server.address, &reader(load))?;
    client.subscribe(&load.topics[..1], 1)?;
    drop(client);
    let queued = queue(server, load, count)?;
    let drained = drain(server, load, count)?;
    forget(server, load)?;
    Ok(vec![queued, drained])
}

#[expect(clippy::cast_precision_loss, reason = "a rate")]
fn rate(count: u64, since: Instant) -> f64 {
    count as f64 / since.elapsed().as_secs_f64()
}

fn queue(server: &Server, load: &Load, count: u64) -> anyhow::Result<f64> {
    let (packets, one) = load.packets()?;
    let writer = Client::connect(server.address, &Hello::new(load.version, WRITER, WRITER))?;
    let mut writer = Writer::new(writer.into_parts()?.0, load.qos, one);
    let (begun, mut scratch) = (Instant::now(), vec![0; BURST]);
    while writer.done() < count {
        let wrote = writer.write(&packets, count)?;
        writer.read_answers(&mut scratch)?;
        if wrote == 0 {
            std::thread::sleep(Duration::from_micros(20));
        }
        let (name, done) = (server.name, writer.done());
        ensure!(
            begun.elapsed() < PATIENCE,
            "{name} acknowledged {done} of {count} messages for who is away"
        );
    }
    Ok(rate(count, begun))
}

fn drain(server: &Server, load: &Load, count: u64) -> anyhow::Result<f64> {
    let begun = Instant::now();
    let mut client = Client::connect(server.address, &reader(load))?;
    ensure!(client.resumed, "{} has forgotten the session", server.name);
    let (mut got, mut answers) = (0, vec![]);
    while got < count {
        if let (3, Some(id)) = client.next(|it| Ok((it.kind(), it.id())))? {
            got += 1;
            answers.extend(answer(0x40, id));
        }
        // All that was read together is acknowledged together.
        if client.is_drained() {
            client.socket.write_all(&answers)?;
            answers.clear();
        }
    }
    client.socket.write_all(&answers)?;
    client.ping()?;
    Ok(rate(count, begun))
}

/// Ends the session, so that nothing more is queued for it.
fn forget(server: &Server, load: &Load) -> anyhow::Result<()> {
    let hello = Hello::new(load.version, READER, AWAY);
    drop(Client::connect(server.address, &hello)?);
    Ok(())
}
