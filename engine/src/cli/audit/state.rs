//! `tanglegate audit replay` and `state`

use super::super::table;
use super::{now, show, warn};
use crate::audit::{Archive, Comparison, When};
use crate::event_log::EventLog;
use crate::projections;
use clap::{Args, ValueEnum};
use serde_json::Value;
use sqlx::{Connection, PgConnection};
use std::collections::BTreeMap;
use std::fmt::Write;

#[derive(Args)]
pub(in crate::cli) struct Replay {
    /// The answer as JSON
    #[arg(long)]
    json: bool,
}

impl Replay {
    /// Yes when every table is what the log makes of it.
    pub(super) async fn answer(self, archive: &mut Archive) -> anyhow::Result<bool> {
        let begun = std::time::Instant::now();
        let compared = archive.compare(super::progress).await?;
        let seconds = begun.elapsed().as_secs_f64();
        show(&compared, self.json, || words(&compared, seconds))?;
        Ok(compared.same)
    }
}

fn words(compared: &Comparison, seconds: f64) -> String {
    let mut text = String::new();
    for it in &compared.tables {
        let verdict = if it.same { "the same" } else { "DIFFERS" };
        let _ = writeln!(
            text,
            "{:<14} {:>9} rows  {}  {verdict}",
            it.live.table,
            it.live.rows,
            &it.live.sha256[..16]
        );
    }
    if compared.nameless > 0 {
        let _ = writeln!(text, "{} logins have LOST THEIR NAMES", compared.nameless);
    }
    let verdict = if compared.same {
        "every table is what the log makes of it"
    } else {
        "A TABLE IS NOT WHAT THE LOG MAKES OF IT: `tanglegate audit rebuild` mends it"
    };
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    let rate = compared.position as f64 / seconds.max(0.001);
    let _ = writeln!(
        text,
        "{verdict}, as of event {} ({seconds:.1} s, {rate:.0} events/s)",
        compared.position
    );
    text
}

/// Makes every table what the log makes of it.
pub(super) async fn rebuild(archive: &Archive) -> anyhow::Result<bool> {
    let begun = std::time::Instant::now();
    let mut log = EventLog::open(archive.options()).await?;
    let mut connection = PgConnection::connect_with(archive.options()).await?;
    let position = projections::rebuild(&mut log, &mut connection).await?;
    connection.close().await?;
    log.close().await;
    let seconds = begun.elapsed().as_secs_f64();
    println!("every table was rebuilt, as of event {position} ({seconds:.1} s)");
    Ok(true)
}

#[derive(Args)]
pub(in crate::cli) struct State {
    /// As of when: a position in the log, an instant such as 2025-11-22T14:05:00Z, or now
    #[arg(long, default_value = "now", value_name = "WHEN")]
    at: When,
    /// Which table
    #[arg(long, value_enum, default_value_t = Which::Access)]
    table: Which,
    /// All of them, as JSON
    #[arg(long)]
    json: bool,
    /// Fold from the first event on, and believe no snapshot
    #[arg(long)]
    no_snapshot: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Which {
    Access,
    Subscribers,
    Payments,
    Offers,
}

impl State {
    pub(super) async fn answer(self, archive: &mut Archive) -> anyhow::Result<bool> {
        let moment = archive.moment(self.at, now()).await?;
        let folded = if self.no_snapshot {
            archive.fold(moment.position, super::progress).await?
        } else {
            archive.fold_on(moment.position, super::progress).await?
        };
        for refused in &folded.refused {
            warn(refused);
        }
        if self.json {
            show(&folded.state(moment.at), true, String::new)?;
            return Ok(true);
        }
        let (mut rows, columns): (_, &[&str]) = match self.table {
            Which::Access => (
                serde_json::to_value(folded.access(moment.at))?,
                &[
                    "who", "filter", "access", "source", "from", "until", "in_force",
                ],
            ),
            Which::Subscribers => (
                serde_json::to_value(folded.subscribers())?,
                &["subscriber", "suspended", "erased", "credit"],
            ),
            Which::Payments => (
                serde_json::to_value(folded.payments())?,
                &["payment", "amount", "state", "detail"],
            ),
            Which::Offers => (
                serde_json::to_value(folded.offers(moment.at))?,
                &["offer", "filter", "price", "period_ms", "on_sale"],
            ),
        };
        call_by_name(&mut rows, &archive.names().await?);
        println!("as of {}, after event {}", moment.at, folded.position);
        table::print(&rows, columns, false)?;
        Ok(true)
    }
}

/// People know each other by the names that they have now; who has none keeps his identity.
fn call_by_name(rows: &mut Value, names: &BTreeMap<String, String>) {
    let cells = rows.as_array_mut().into_iter().flatten();
    for row in cells.filter_map(Value::as_object_mut) {
        for column in ["who", "subscriber", "detail"] {
            let name = row.get(column).and_then(Value::as_str);
            if let Some(name) = name.and_then(|it| names.get(it)) {
                row.insert(column.to_owned(), Value::from(name.as_str()));
            }
        }
    }
}
