//! Payments of the least amount whose memos nobody sealed as they should be.

use super::flood::memory_line;
use super::floor::SameRows;
use super::stranger::{OFFER, forge, payment, random};
use super::{Settings, Shop};
use crate::bench::log::{Budget, Line, grouped};
use crate::bench::mqtt::process::{processor_time, resident};
use std::time::Instant;
use tanglegate_core::Confirmation;
use tanglegate_crypto::{KeyBody, Order, PasswordWish, ReplyKey, SealedMemo};

/// Payments that are handed over together.
const TOGETHER: u32 = 500;

/// What was forged.
#[derive(Clone, Copy)]
enum Kind {
    /// Random bytes that say of themselves that they are sealed.
    Random,
    /// They name a key that is live: the engine tries to open them.
    LiveKey,
    /// They can be opened and name an offer that there is not: who sent them is answered, and
    /// never comes for it.
    Opened,
}

impl Kind {
    fn describe(self) -> &'static str {
        match self {
            Self::Random => "random bytes",
            Self::LiveKey => "random behind a live key's name",
            Self::Opened => "sealed, for an unknown offer, answered",
        }
    }

    fn forge(self, shop: &Shop) -> anyhow::Result<Confirmation> {
        let (now, payer) = (shop.counter.now(), random()?);
        let memo = match self {
            Self::Random => forge(b"TGLM\x01")?,
            Self::LiveKey => {
                let whole = seal(shop, &payer)?;
                // Up to the end of the key's name.
                forge(&whole.as_bytes()[..6 + 16])?
            }
            Self::Opened => seal(shop, &payer)?.as_bytes().to_vec(),
        };
        payment(now, payer, memo)
    }
}

fn seal(shop: &Shop, payer: &[u8; 32]) -> anyhow::Result<SealedMemo> {
    let (keyring, now) = (shop.counter.keyring(), shop.counter.now());
    let identity = keyring.identity();
    let key: KeyBody = identity.hear(&keyring.make_key(random()?, now).payload)?;
    let order = Order {
        offer: format!("no-{OFFER}"),
        username: "nobody".to_owned(),
        password: PasswordWish::Make,
        reply_key: ReplyKey::from_bytes(random()?).public(),
    };
    Ok(SealedMemo::seal(
        &random()?,
        &key,
        &identity,
        payer,
        &order,
    )?)
}

pub(super) async fn measure(shop: &Shop, settings: &Settings) -> anyhow::Result<Vec<Line>> {
    let mut lines = Vec::new();
    let mut database = SameRows::prepare(&shop.options).await?;
    for kind in [Kind::Random, Kind::LiveKey, Kind::Opened] {
        lines.extend(forged(shop, settings.forged, kind, &mut database).await?);
    }
    Ok(lines)
}

async fn forged(
    shop: &Shop,
    count: u32,
    kind: Kind,
    database: &mut SameRows,
) -> anyhow::Result<[Line; 3]> {
    let payments: anyhow::Result<Vec<_>> = (0..count).map(|_| kind.forge(shop)).collect();
    let mut payments = payments?;
    let size = (database.database_bytes().await?, database.events().await?);
    let process = std::process::id();
    let (memory, before, began) = (resident(process)?, processor_time(process)?, Instant::now());
    while !payments.is_empty() {
        let rest = payments.split_off(payments.len().min(TOGETHER as usize));
        shop.counter.take(payments).await?;
        payments = rest;
    }
    let (took, processor) = (began.elapsed(), processor_time(process)? - before);
    let after = resident(process)?;
    let bytes = database.database_bytes().await? - size.0;
    let events = database.events().await? - size.1;
    #[expect(clippy::cast_precision_loss, reason = "bytes and events of each")]
    let each = |all: i64| all as f64 / f64::from(count);
    let what = format!(
        "{} forged memos, {}",
        grouped(f64::from(count)),
        kind.describe()
    );
    let micros = processor / f64::from(count) * 1e6;
    let rate = f64::from(count) / took.as_secs_f64();
    Ok([
        Line {
            what: what.clone(),
            measured: format!("{micros:.0} µs of a processor each"),
            floor: format!("{:.0} µs passed ({}/s)", 1e6 / rate, grouped(rate)),
            ratio: micros * rate / 1e6,
            budget: Budget::None,
        },
        Line {
            what: format!("{what}: database, with indexes"),
            measured: format!("{} bytes each", grouped(each(bytes))),
            floor: format!("the memo: 256 bytes; {:.1} events", each(events)),
            ratio: each(bytes) / 256.0,
            budget: Budget::None,
        },
        memory_line(format!("{what}: memory"), memory, after),
    ])
}
