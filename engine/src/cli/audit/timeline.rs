//! `tanglegate audit timeline`

use super::now;
use super::who::Who;
use crate::audit::{Archive, Span, When, timeline};
use anyhow::{Context, bail};
use clap::Args;
use std::path::PathBuf;

#[derive(Args)]
pub(in crate::cli) struct Timeline {
    /// The login
    #[arg(long, value_name = "NAME", required_unless_present = "subscriber")]
    user: Option<String>,
    /// The login by its opaque identity, as the log shows it: all that is left of an erased one
    #[arg(long, value_name = "ID", conflicts_with = "user")]
    subscriber: Option<String>,
    /// Where to draw it: one file that any browser shows and prints
    #[arg(long, value_name = "FILE")]
    html: PathBuf,
    /// Where the picture begins: a position, an instant, or now; otherwise with the first event
    #[arg(long, value_name = "WHEN")]
    from: Option<When>,
    /// Where it ends; otherwise with the last event or lease
    #[arg(long, value_name = "WHEN")]
    to: Option<When>,
}

impl Timeline {
    /// Yes when it is drawn.
    pub(super) async fn answer(self, archive: &mut Archive) -> anyhow::Result<bool> {
        let who = Who::of(self.user.clone(), self.subscriber.clone());
        let subject = who.find(archive).await?.context("name somebody's login")?;
        let span = Span {
            subject,
            called: match &self.user {
                Some(name) => name.clone(),
                None => format!("subscriber {subject}"),
            },
            from: self.from,
            to: self.to,
        };
        let Some(drawn) = timeline(archive, &span, now()).await? else {
            bail!("the log knows no {}", who.shown(Some(subject)));
        };
        std::fs::write(&self.html, drawn.page())
            .with_context(|| format!("cannot write {}", self.html.display()))?;
        println!("{} events in {}", drawn.events(), self.html.display());
        Ok(true)
    }
}
