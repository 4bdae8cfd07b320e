//! `tanglegate offer`

use super::{Common, quantity, table};
use crate::control::{OfferRequest, Outcome};
use clap::Subcommand;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tanglegate_core::{Nanos, OfferId};

#[derive(Subcommand)]
pub(super) enum Offer {
    /// Sell access to topics, or change the terms of an offer
    Publish {
        /// Its name, e.g. plug-hour
        id: String,
        /// Which topics, e.g. sensor/live
        #[arg(long)]
        filter: String,
        /// What the buyer may do: read, write or readwrite
        #[arg(long, default_value = "read")]
        access: String,
        /// Price of one period, e.g. 0.5IOTA
        #[arg(long, value_parser = quantity::amount)]
        price: Nanos,
        /// What the price pays for
        #[arg(long, default_value = "1h", value_parser = quantity::duration)]
        period: Duration,
        /// The least purchase; smaller payments stay on the buyer's account
        #[arg(long, default_value = "0NANOS", value_parser = quantity::amount)]
        least: Nanos,
        /// Whom to pay; without it the seller of the configuration
        #[arg(long)]
        seller: Option<String>,
        /// How long it is sold; without it until it is withdrawn
        #[arg(long, value_parser = quantity::duration)]
        valid_for: Option<Duration>,
    },
    /// Stop selling; running leases keep their end
    Withdraw {
        /// Its name
        #[arg(value_parser = OfferId::parse)]
        id: OfferId,
    },
    /// Show all offers
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
}

impl Offer {
    pub(super) async fn run(self, common: &Common) -> anyhow::Result<()> {
        let control = common.control()?;
        match self {
            Self::Publish {
                id,
                filter,
                access,
                price,
                period,
                least,
                seller,
                valid_for,
            } => {
                let valid_until = valid_for.map(end_of_sale).transpose()?;
                let (price, least) = (price.0, least.0);
                let period_ms = u64::try_from(period.as_millis())?;
                let request = OfferRequest {
                    id,
                    seller,
                    filter,
                    access,
                    price,
                    period_ms,
                    least,
                    valid_until,
                };
                say(&control.post(&["v1", "offers"], &request).await?);
            }
            Self::Withdraw { id } => say(&control.delete(&["v1", "offers", id.as_str()]).await?),
            Self::List { json } => {
                let rows = control.get(&["v1", "offers"]).await?;
                let columns = [
                    "offer",
                    "filter",
                    "access",
                    "price",
                    "period_ms",
                    "least",
                    "ends_at",
                    "withdrawn",
                    "seller",
                ];
                table::print(&rows, &columns, json)?;
            }
        }
        Ok(())
    }
}

fn end_of_sale(after: Duration) -> anyhow::Result<u64> {
    let end = SystemTime::now().duration_since(UNIX_EPOCH)? + after;
    Ok(u64::try_from(end.as_millis())?)
}

/// Tells what became of a command.
pub(super) fn say(outcome: &Outcome) {
    match (outcome.position, outcome.before) {
        (Some(position), false) => print!("recorded as event {position}"),
        (Some(position), true) => print!("was recorded before, as event {position}"),
        (None, _) => print!("nothing to do: it is so already"),
    }
    match &outcome.id {
        Some(id) => println!("; its identity is {id}"),
        None => println!(),
    }
}
