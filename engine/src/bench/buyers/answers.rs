//! From a payment that the ledger confirmed to the sealed answer in the stranger's hands.

use super::floor::SameRows;
use super::stranger::Stranger;
use super::{Settings, Shop};
use crate::bench::log::{Budget, Line, grouped, median, micros};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// What an answer may take longer than a commit of its rows.
const ALONE: Duration = Duration::from_millis(2);
/// What the last of many may take longer than their commit.
const TOGETHER: Duration = Duration::from_secs(1);

/// One purchase after another, each beside a commit of the same rows.
pub(super) async fn alone(shop: &Shop, settings: &Settings) -> anyhow::Result<Vec<Line>> {
    let mut floor = SameRows::prepare(&shop.options).await?;
    let (mut told, mut recorded) = (Vec::new(), Vec::new());
    let (mut commits, mut rows) = (Vec::new(), 0);
    for number in 0..settings.alone {
        let bought = buy(shop, number..number + 1).await?;
        let (written, commit) = floor.commit().await?;
        rows = written;
        told.push(bought.told);
        recorded.push(bought.recorded);
        commits.push(commit);
    }
    let line = |name: &str, times: &[Duration], percent: usize, budget| {
        let (time, commit) = (quantile(times, percent), quantile(&commits, percent));
        Line {
            what: format!("a sealed purchase alone, {name}, p{percent}"),
            measured: micros(time),
            floor: format!("a commit of its {rows} rows: {} + 2 ms", micros(commit)),
            ratio: time.as_secs_f64() / (commit + ALONE).as_secs_f64(),
            budget,
        }
    };
    Ok(vec![
        line("told", &told, 50, Budget::AtMost(1.0)),
        line("told", &told, 99, Budget::None),
        line("recorded", &recorded, 50, Budget::None),
    ])
}

/// Many that are confirmed in the same checkpoint.
pub(super) async fn together(shop: &Shop, settings: &Settings) -> anyhow::Result<Vec<Line>> {
    let mut floor = SameRows::prepare(&shop.options).await?;
    let (mut all, mut commits, mut rows) = (Vec::new(), Vec::new(), 0);
    for round in 1..=settings.rounds {
        let first = 1_000_000 * round;
        all.push(buy(shop, first..first + settings.together).await?);
        let (written, commit) = floor.commit().await?;
        rows = written;
        commits.push(commit);
    }
    let middle = |times: Vec<Duration>| median(times).unwrap_or_default();
    let told = middle(all.iter().map(|it| it.told).collect());
    let recorded = middle(all.iter().map(|it| it.recorded).collect());
    let commit = middle(commits);
    let what = format!("{} at once", grouped(f64::from(settings.together)));
    Ok(vec![
        Line {
            what: format!("{what}, the last one told"),
            measured: millis(told),
            floor: format!("all recorded: {} + 1 s", millis(recorded)),
            ratio: told.as_secs_f64() / (recorded + TOGETHER).as_secs_f64(),
            budget: Budget::AtMost(1.0),
        },
        Line {
            what: format!("{what}, all recorded"),
            measured: millis(recorded),
            floor: format!("a commit of their {rows} rows: {}", millis(commit)),
            ratio: recorded.as_secs_f64() / commit.as_secs_f64(),
            budget: Budget::None,
        },
    ])
}

/// From the moment when the payments were handed over.
struct Bought {
    /// Until the writer had answered for the last of them.
    recorded: Duration,
    /// Until the last stranger had his answer.
    told: Duration,
}

/// Strangers with these numbers come, and their payments are handed over together.
async fn buy(shop: &Shop, numbers: std::ops::Range<u32>) -> anyhow::Result<Bought> {
    let (server, identity) = (shop.counter.address(), shop.counter.keyring().identity());
    let (mut waiting, mut payments) = (JoinSet::new(), Vec::new());
    for number in numbers {
        let mut stranger = Stranger::come(server, identity, number).await?;
        payments.push(stranger.pay(shop.counter.now())?);
        waiting.spawn(async move {
            let answer = stranger.wait().await?;
            anyhow::Ok((Instant::now(), stranger, answer))
        });
    }
    // Everybody is waiting before the clock starts.
    tokio::time::sleep(Duration::from_millis(5)).await;
    let began = Instant::now();
    shop.counter.take(payments).await?;
    let recorded = began.elapsed();
    let mut last = began;
    for answered in waiting.join_all().await {
        let (heard, stranger, answer) = answered?;
        stranger.check(&answer)?;
        last = last.max(heard);
    }
    let told = last - began;
    Ok(Bought { recorded, told })
}

/// The time that so many hundredths do not exceed.
fn quantile(times: &[Duration], percent: usize) -> Duration {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    let at = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
    sorted.get(at).copied().unwrap_or_default()
}

fn millis(time: Duration) -> String {
    format!("{:.0} ms", time.as_secs_f64() * 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_one_of_the_times() {
        let times: Vec<Duration> = (1..=100).rev().map(Duration::from_millis).collect();
        assert_eq!(quantile(&times, 50), Duration::from_millis(51));
        assert_eq!(quantile(&times, 99), Duration::from_millis(100));
        assert_eq!(quantile(&times[..1], 99), Duration::from_millis(100));
        assert_eq!(quantile(&[], 50), Duration::ZERO);
    }
}
