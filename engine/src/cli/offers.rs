//! `tanglegate offers`

use super::quantity::span;
use super::table::{self, printable};
use crate::buy::{Catalogue, Gate, Line};
use serde_json::json;
use tanglegate_core::{Address, Nanos, Timestamp};
use tanglegate_crypto::{Identity, OfferLine};

#[derive(clap::Args)]
pub(super) struct Offers {
    /// The seller's gate, as HOST:PORT
    #[arg(long, value_name = "HOST:PORT")]
    broker: Gate,
    /// Who must be selling: 64 hexadecimal digits
    #[arg(long, value_name = "HEX")]
    identity: Option<Identity>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

impl Offers {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let mut line = Line::connect(&self.broker).await?;
        let catalogue = Catalogue::read(&mut line, self.identity).await?;
        let rows: Vec<serde_json::Value> = catalogue.offers.iter().map(row).collect();
        if self.json {
            let all = json!({
                "identity": catalogue.identity.to_string(),
                "log": catalogue.origin,
                "chain": catalogue.chain,
                "issued_at": catalogue.issued_at,
                "offers": rows,
            });
            println!("{}", serde_json::to_string_pretty(&all)?);
            return Ok(());
        }
        let chain = catalogue.chain.as_deref().unwrap_or("unknown yet");
        println!("identity {}", catalogue.identity);
        println!("ledger   {}", printable(chain));
        let columns = [
            "offer", "filter", "access", "price", "per", "least", "ends_at", "seller",
        ];
        table::print(&serde_json::Value::Array(rows), &columns, false)
    }
}

fn row(offer: &OfferLine) -> serde_json::Value {
    json!({
        "offer": offer.name,
        "filter": offer.filter,
        "access": access(offer.access),
        "price": Nanos(offer.price).to_string(),
        "price_nanos": offer.price,
        "per": span(offer.period_ms),
        "period_ms": offer.period_ms,
        "least": Nanos(offer.least).to_string(),
        "least_nanos": offer.least,
        "ends_at": offer.valid_until.map(|it| Timestamp(it).to_string()),
        "seller": Address(offer.seller).to_string(),
    })
}

/// As it is written on the command line.
pub(super) fn access(code: u8) -> &'static str {
    match code {
        1 => "read",
        2 => "write",
        _ => "readwrite",
    }
}
