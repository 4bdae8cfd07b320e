//! `tanglegate audit money`

use super::{now, show};
use crate::audit::{Archive, MoneyReport, When, money};
use clap::Args;
use std::fmt::Write;
use tanglegate_core::SubscriberId;

#[derive(Args)]
pub(in crate::cli) struct Money {
    /// As of when: a position in the log, an instant, or now
    #[arg(long, default_value = "now", value_name = "WHEN")]
    at: When,
    /// The account of every subscriber too
    #[arg(long)]
    accounts: bool,
    /// The answer as JSON
    #[arg(long)]
    json: bool,
}

impl Money {
    /// Yes when the sums close.
    pub(super) async fn answer(self, archive: &mut Archive) -> anyhow::Result<bool> {
        let report = money(archive, self.at, now()).await?;
        let names = if self.accounts && !self.json {
            names(archive, &report).await?
        } else {
            Vec::new()
        };
        show(&report, self.json, || words(&report, &names))?;
        Ok(report.closes)
    }
}

/// The names of those with an account, in the order of their identities.
async fn names(archive: &mut Archive, report: &MoneyReport) -> anyhow::Result<Vec<String>> {
    let mut names = Vec::with_capacity(report.by_subscriber.len());
    for id in report.by_subscriber.keys() {
        let name = match SubscriberId::parse(id) {
            Ok(id) => archive.name_of(id).await?,
            Err(_) => None,
        };
        names.push(name.unwrap_or_else(|| id.clone()));
    }
    Ok(names)
}

fn words(report: &MoneyReport, names: &[String]) -> String {
    let mut text = String::new();
    let mut row = |what: &str, nanos: u128| {
        let _ = writeln!(text, "{what:<44} {:>28}", iota(nanos));
    };
    row(
        &format!("came in, with {}", payments(report.payments)),
        report.came_in,
    );
    row("  bought time", report.spent);
    row("  on account", report.credit);
    let waits = payments(report.unmatched_payments);
    row(&format!("  waits to be claimed, {waits}"), report.unmatched);
    for (offer, spent) in &report.by_offer {
        row(&format!("sold as {offer}"), *spent);
    }
    for (seller, received) in &report.by_seller {
        row(&format!("received by {}", shortened(seller)), *received);
    }
    for (name, account) in names.iter().zip(report.by_subscriber.values()) {
        let name = super::super::table::printable(name);
        row(&format!("paid by {name}"), account.paid);
        row("  on account", u128::from(account.credit));
    }
    let verdict = if report.closes {
        "the sums close"
    } else {
        "THE SUMS DO NOT CLOSE: money is missing or made up"
    };
    let _ = writeln!(text, "{verdict}, as of event {}", report.position);
    text
}

fn payments(number: u64) -> String {
    match number {
        1 => "1 payment".to_owned(),
        _ => format!("{number} payments"),
    }
}

fn shortened(address: &str) -> String {
    let chars = address.chars().count();
    if chars <= 20 {
        return address.to_owned();
    }
    let head: String = address.chars().take(10).collect();
    let tail: String = address.chars().skip(chars - 8).collect();
    format!("{head}…{tail}")
}

/// NANOS as IOTA, to the last digit.
fn iota(nanos: u128) -> String {
    format!(
        "{}.{:09} IOTA",
        nanos / 1_000_000_000,
        nanos % 1_000_000_000
    )
}
