//! The whole idea in a quarter of a minute: a seller, a buyer, a ledger, and the end of the money.
//!
//! Everything is real but the money: the engine with its gate and event log, a private PostgreSQL,
//! a development ledger behind HTTP, a wallet that signs, and MQTT clients over TCP.

mod reader;
mod stage;

use reader::{Reader, Seen};
use stage::Stage;
use std::time::Duration;
use tanglegate_core::{Nanos, Timestamp};
use tokio::time::{Instant, timeout};

/// What the demo sells: 0.5 IOTA per hour, at least 1,000,000 NANOS (7.2 s), so that one can
/// watch the end.
pub(crate) const PRICE: Nanos = Nanos(500_000_000);
pub(crate) const PERIOD_MS: u64 = 3_600_000;
pub(crate) const LEAST: Nanos = Nanos(1_000_000);

/// How long the silence after the end is watched.
const SILENCE: Duration = Duration::from_secs(4);

/// What the demo shows.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How much time the buyer pays for.
    pub paid: Duration,
    /// Whether everything stays running at the end.
    pub stay: bool,
}

/// Whether the promise was kept in front of the audience.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Data came while it was paid, and none after.
    Kept,
    /// It was not so.
    Broken,
}

fn say(line: &str) {
    println!("{line}");
}

fn heading(number: u8, text: &str) {
    println!("\n{number}. {text}");
}

/// Plays the demo.
///
/// # Errors
/// When a part cannot start or does not do what it should.
pub async fn run(settings: Settings) -> anyhow::Result<Verdict> {
    say("Tanglegate sells access to MQTT topics and enforces exactly what was paid for.");
    let stage = Stage::set().await?;
    let played = play(&stage, settings.paid).await;
    let verdict = match played {
        Ok(verdict) => verdict,
        Err(error) => {
            stage.strike().await;
            return Err(error);
        }
    };
    if settings.stay {
        stage.invite();
        super::cli::asked_to_end().await?;
    }
    stage.strike().await;
    Ok(verdict)
}

async fn play(stage: &Stage, paid: Duration) -> anyhow::Result<Verdict> {
    free_data(stage).await?;
    let mut buyer = refusal(stage).await?;
    let until = purchase(stage, paid).await?;
    let count = live_data(&mut buyer, until).await?;
    let verdict = the_end(&mut buyer, count, until).await?;
    buyer.leave().await;
    heading(6, "What the event log says about it (tanglegate log tail)");
    for event in stage.events().await? {
        say(&format!(
            "   {:>3}  {:<22} {}",
            event.position, event.kind, event.text
        ));
    }
    Ok(verdict)
}

async fn free_data(stage: &Stage) -> anyhow::Result<()> {
    heading(
        1,
        "Anybody reads the one-minute average on sensor/1m for free",
    );
    let mut stranger = Reader::connect(stage.gate(), "stranger", None).await?;
    stranger.subscribe("sensor/1m").await?;
    for _ in 0..3 {
        if let Seen::Message { topic, text } = expect(&mut stranger, "the free average").await? {
            say(&format!("   stranger  {topic:<12} {text} mW"));
        }
    }
    stranger.leave().await;
    Ok(())
}

async fn refusal(stage: &Stage) -> anyhow::Result<Reader> {
    heading(
        2,
        "The live readings are for sale: without payment they are refused, with the reason",
    );
    let mut buyer = Reader::connect(stage.gate(), "ana", Some(stage.password("ana")?)).await?;
    buyer.subscribe("sensor/live").await?;
    match expect(&mut buyer, "an answer to the subscription").await? {
        Seen::Refused { reason } => say(&format!("   ana       sensor/live  refused: {reason}")),
        other => anyhow::bail!("the live topic was not refused: {other:?}"),
    }
    Ok(buyer)
}

async fn purchase(stage: &Stage, paid: Duration) -> anyhow::Result<Timestamp> {
    let amount = price_of(paid);
    heading(
        3,
        &format!("Ana pays {amount} on the ledger, for {} s", paid.as_secs()),
    );
    let started = Instant::now();
    let receipt = stage
        .pay(amount, |what| say(&format!("   wallet    {what}")))
        .await?;
    let (recorded, until) = stage.lease(receipt.checkpoint).await?;
    say(&format!(
        "   engine    checkpoint {} confirms it; ana may read sensor/live until {until}",
        receipt.checkpoint
    ));
    say(&format!(
        "   engine    {} ms from signing to the lease (event {recorded})",
        started.elapsed().as_millis()
    ));
    Ok(until)
}

async fn live_data(buyer: &mut Reader, until: Timestamp) -> anyhow::Result<u32> {
    heading(
        4,
        "She reads the live data, twice a second, on the connection she already has",
    );
    buyer.subscribe("sensor/live").await?;
    buyer.subscribe("$SYS/access/me/lease").await?;
    let mut count = 0;
    while now() < until {
        let left = Duration::from_millis(until.millis_since(now()));
        match timeout(left, buyer.next()).await {
            Ok(seen) => {
                if let Seen::Message { topic, text } = seen?
                    && topic == "sensor/live"
                {
                    count += 1;
                    let left = until.millis_since(now());
                    let left = format!("{}.{} s left", left / 1_000, left % 1_000 / 100);
                    say(&format!("   ana       {topic:<12} {text:>8} mW   {left}"));
                }
            }
            Err(_) => break,
        }
    }
    anyhow::ensure!(count > 0, "nothing was delivered although it was paid for");
    Ok(count)
}

async fn the_end(buyer: &mut Reader, before: u32, until: Timestamp) -> anyhow::Result<Verdict> {
    heading(
        5,
        &format!("At {until} the money ends, and so does the data"),
    );
    let silence = Instant::now() + SILENCE;
    let mut after = 0;
    while let Ok(seen) = tokio::time::timeout_at(silence, buyer.next()).await {
        match seen? {
            Seen::Message { topic, .. } if topic == "sensor/live" => after += 1,
            Seen::Message { topic, text } => say(&format!("   ana       {topic}  {text}")),
            Seen::Granted | Seen::Refused { .. } => {}
        }
    }
    say(&format!(
        "   messages while paid: {before}; messages after the end: {after}"
    ));
    Ok(if after == 0 {
        Verdict::Kept
    } else {
        Verdict::Broken
    })
}

async fn expect(reader: &mut Reader, what: &str) -> anyhow::Result<Seen> {
    loop {
        let seen = timeout(Duration::from_secs(10), reader.next())
            .await
            .map_err(|_| anyhow::anyhow!("{what} did not come within ten seconds"))??;
        if !matches!(seen, Seen::Granted) {
            return Ok(seen);
        }
    }
}

/// The least amount that buys so long.
fn price_of(time: Duration) -> Nanos {
    let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let nanos = (u128::from(millis) * u128::from(PRICE.0)).div_ceil(u128::from(PERIOD_MS));
    Nanos(u64::try_from(nanos).unwrap_or(u64::MAX).max(LEAST.0))
}

fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    Timestamp(since.map_or(0, |it| u64::try_from(it.as_millis()).unwrap_or(u64::MAX)))
}
