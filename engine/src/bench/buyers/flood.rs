//! Strangers who want a key and pay nothing: a crowd that stays, and floods that come and go.

use super::stranger::{KEY, Line as Wire, address, random};
use super::{Settings, Shop};
use crate::bench::log::{Budget, Line, grouped};
use crate::bench::mqtt::process::{Busy, processor_time, resident, taken};
use anyhow::Context;
use std::hint::black_box;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

/// Strangers of a flood that are connected at a time.
const AT_ONCE: u32 = 64;
/// Addresses that they come from.
const ADDRESSES: u32 = 200;
/// Keys that are made in a row to see what one takes.
const KEYS: u32 = 2_000;

pub(super) async fn measure(shop: &Shop, settings: &Settings) -> anyhow::Result<Vec<Line>> {
    let mut lines = vec![crowd(shop, settings.crowd).await?];
    let key = one_key(shop)?;
    for (addresses, from) in [(ADDRESSES, "200 addresses"), (1, "one address")] {
        let process = std::process::id();
        let (memory, refused) = (resident(process)?, shop.counter.statistics());
        let before = processor_time(process)?;
        let flood = flood(shop.counter.address(), settings.flood, addresses).await?;
        let ours = (processor_time(process)? - before - flood.processor).max(0.0);
        let after = resident(process)?;
        let closed = shop.counter.statistics().refused_connections - refused.refused_connections;
        let seconds = flood.took.as_secs_f64();
        let rate = |it: u32| grouped(f64::from(it) / seconds);
        let each = ours / f64::from((flood.keys + flood.refused).max(1)) * 1e6;
        lines.push(Line {
            what: format!(
                "a flood from {from}: {} keys/s, {} refused/s ({} unread)",
                rate(flood.keys),
                rate(flood.refused),
                grouped(u32::try_from(closed).map_or(f64::INFINITY, f64::from))
            ),
            measured: format!("{each:.0} µs of a processor each"),
            floor: format!("a key made and signed: {:.0} µs", key * 1e6),
            ratio: each / (key * 1e6),
            budget: Budget::None,
        });
        lines.push(memory_line(
            format!("memory, the flood from {from}"),
            memory,
            after,
        ));
    }
    Ok(lines)
}

/// Strangers that have a key and stay.
async fn crowd(shop: &Shop, size: u32) -> anyhow::Result<Line> {
    let before = resident(std::process::id())?;
    let mut crowd = Vec::new();
    for number in 0..size {
        let mut line = Wire::connect(shop.counter.address(), address(number)).await?;
        line.ask(&[KEY]).await?;
        line.hear(KEY).await?;
        crowd.push(line);
    }
    let after = resident(std::process::id())?;
    let size = grouped(f64::from(size));
    let what = format!("memory, {size} strangers with a key each");
    Ok(memory_line(what, before, after))
}

pub(super) fn memory_line(what: String, before: u64, after: u64) -> Line {
    #[expect(clippy::cast_precision_loss, reason = "megabytes")]
    let megabytes = |bytes: u64| bytes as f64 / 1e6;
    Line {
        what,
        measured: format!("{:.1} MB", megabytes(after)),
        floor: format!("before: {:.1} MB", megabytes(before)),
        ratio: megabytes(after) / megabytes(before),
        budget: Budget::None,
    }
}

/// Seconds that a key takes in one thread with nothing around it.
fn one_key(shop: &Shop) -> anyhow::Result<f64> {
    let (random, now) = (random()?, shop.counter.now());
    let began = Instant::now();
    for _ in 0..KEYS {
        black_box(shop.counter.keyring().make_key(black_box(random), now));
    }
    Ok(began.elapsed().as_secs_f64() / f64::from(KEYS))
}

/// What became of a flood.
struct Flood {
    keys: u32,
    refused: u32,
    took: Duration,
    /// Seconds of processor time that the strangers themselves took.
    processor: f64,
}

/// Strangers connect, take a key and go, as fast as a thread of their own can.
async fn flood(server: SocketAddr, time: Duration, addresses: u32) -> anyhow::Result<Flood> {
    let flooding = tokio::task::spawn_blocking(move || {
        let stat = Busy::this_thread()?;
        let before = taken(&stat)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let began = Instant::now();
        let (keys, refused) = runtime.block_on(come_and_go(server, began + time, addresses));
        Ok(Flood {
            keys,
            refused,
            took: began.elapsed(),
            processor: taken(&stat)? - before,
        })
    });
    flooding.await.context("the flood broke off")?
}

/// Keys that were given, and strangers that were refused.
async fn come_and_go(server: SocketAddr, until: Instant, addresses: u32) -> (u32, u32) {
    let mut strangers = tokio::task::JoinSet::new();
    for number in 0..AT_ONCE {
        strangers.spawn(async move {
            let (mut keys, mut refused) = (0, 0);
            let mut turn = number;
            while Instant::now() < until {
                turn = turn.wrapping_add(AT_ONCE);
                let last = u8::try_from(turn % addresses + 1).unwrap_or(1);
                match take_key(server, Ipv4Addr::new(127, 0, 1, last)).await {
                    Ok(()) => keys += 1,
                    Err(_) => refused += 1,
                }
            }
            (keys, refused)
        });
    }
    let all = strangers.join_all().await;
    let add = |(keys, refused): (u32, u32), it: &(u32, u32)| (keys + it.0, refused + it.1);
    all.iter().fold((0, 0), add)
}

async fn take_key(server: SocketAddr, from: Ipv4Addr) -> anyhow::Result<()> {
    let mut line = Wire::connect(server, from).await?;
    line.ask(&[KEY]).await?;
    line.hear(KEY).await?;
    Ok(())
}
