//! What it takes to sell to strangers: how soon they are answered, and what floods of them and
//! forged payments cost. Payments are handed over where the ledger's follower would hand them
//! over; everything behind that is the engine's own, and strangers connect over TCP.

mod answers;
mod flood;
mod floor;
mod forgery;
mod stranger;

use super::log::{Ground, Report, on_ground};
use super::mqtt::process::raise_file_limit;
use crate::serve::Counter;
use std::path::PathBuf;
use std::time::Duration;
use stranger::{OFFER, PRICE, SELLER};
use tanglegate_core::{Access, ChainId, Command, Offer, OfferId, Tariff, Timestamp, TopicFilter};

/// How much is measured.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Purchases, one after another.
    pub alone: u32,
    /// Purchases that are confirmed at once.
    pub together: u32,
    /// How often that is measured; the median counts.
    pub rounds: u32,
    /// Strangers that stay, with a key each.
    pub crowd: u32,
    /// How long strangers come and go.
    pub flood: Duration,
    /// Payments with forged memos, of each kind.
    pub forged: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            alone: 500,
            together: 1_000,
            rounds: 3,
            crowd: 5_000,
            flood: Duration::from_secs(10),
            forged: 10_000,
        }
    }
}

impl Settings {
    /// For a minute: fewer of everything.
    #[must_use]
    pub fn quick() -> Self {
        Self {
            alone: 150,
            rounds: 1,
            crowd: 1_000,
            flood: Duration::from_secs(3),
            forged: 3_000,
            ..Self::default()
        }
    }
}

/// Measures. When `ended` completes, everything is cleaned up and nothing reported.
///
/// # Errors
/// When no PostgreSQL can be started, a purchase is not answered as it should be, or `ended` was
/// first.
pub async fn run(settings: Settings, ended: impl Future<Output = ()>) -> anyhow::Result<Report> {
    raise_file_limit();
    on_ground(ended, async |ground| {
        let mut report = Report {
            notes: vec![ground.note(), NOTE.to_owned()],
            lines: Vec::new(),
        };
        let shop = Shop::open(ground).await?;
        report.lines.extend(answers::alone(&shop, &settings).await?);
        let together = answers::together(&shop, &settings).await?;
        report.lines.extend(together);
        report.lines.extend(flood::measure(&shop, &settings).await?);
        let forged = forgery::measure(&shop, &settings).await?;
        report.lines.extend(forged);
        shop.counter.close().await;
        std::fs::remove_dir_all(&shop.data_dir)?;
        Ok(report)
    })
    .await
}

const NOTE: &str = "Engine and strangers are one process; processor time is without PostgreSQL \
     and, of floods, without the thread of the strangers. Memory is with their sockets. The same \
     rows: events, keys and payments, in one statement.";

/// An engine that sells something.
struct Shop {
    counter: Counter,
    options: sqlx::postgres::PgConnectOptions,
    data_dir: PathBuf,
}

impl Shop {
    async fn open(ground: &Ground) -> anyhow::Result<Self> {
        let options = ground.database("buyers").await?;
        let data_dir = ground.folder().join("engine");
        let counter = Counter::open(&options, &data_dir).await?;
        let chain = ChainId("6364aad5".into());
        counter.submit(Command::BindChain(chain)).await?;
        let offer = Offer {
            id: OfferId::parse(OFFER)?,
            seller: SELLER,
            filter: TopicFilter::parse("site/plug/live")?,
            access: Access::Read,
            tariff: Tariff::new(PRICE, 3_600_000, PRICE)?,
            valid_until: Timestamp::FOREVER,
        };
        counter.submit(Command::PublishOffer(offer)).await?;
        Ok(Self {
            counter,
            options,
            data_dir,
        })
    }
}
