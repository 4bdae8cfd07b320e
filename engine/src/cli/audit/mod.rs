//! `tanglegate audit`

mod anchor;
mod explain;
mod file;
mod money;
mod payment;
mod state;
mod timeline;
mod verify;
mod who;

use super::{Common, complain};
use crate::audit::Archive;
use clap::Subcommand;
use std::process::ExitCode;
use tanglegate_core::Timestamp;

/// Answers from the log alone. The exit code is 0 for yes or whole, 1 for no or damaged, and 2
/// when there is no answer.
#[derive(Subcommand)]
pub(super) enum Audit {
    /// Why somebody could do something at some moment, or could not: down to the payment on the
    /// ledger and the operator's command
    Explain(explain::Explain),
    /// The life of one payment
    Payment(payment::Payment),
    /// Draw one login's payments, leases and denials on a time axis, as a page for a browser
    Timeline(timeline::Timeline),
    /// Every NANO that came in, and where it went; the sums have to close
    Money(money::Money),
    /// Rebuild every table from the first event on, and compare it with the one in the database
    Replay(state::Replay),
    /// Rebuild the tables in the database from the first event on, also while the engine runs:
    /// readers read on, and only what differs is written. Needs the rights of the database's owner
    Rebuild,
    /// Show the tables as they were at any moment
    State(state::State),
    /// Check every event, commit and tree head of the log, or of an exported file; the first thing
    /// that does not fit is named
    Verify(Box<verify::Verify>),
    /// Write the log into a portable file that anybody can check
    Export(file::Export),
    /// Make a proof that an event stands in the log, or that the log only grew
    Prove(file::Prove),
    /// Check such a proof with nothing but the log's public key
    Check(file::Check),
    /// Show the newest signed tree heads
    Heads(file::Heads),
    /// Write the newest tree head into the ledger, where nobody can take it back
    Anchor(anchor::Anchor),
    /// Show the tree heads that stand on the ledger
    Anchors(anchor::Anchors),
    /// Show the public key that signs tree heads now
    Key,
    /// Sign with a new key from now on; the last one signs it in, and is destroyed
    RotateKey,
}

impl Audit {
    /// An answer is told by the exit code too, so that scripts can ask.
    pub(super) async fn run(self, common: &Common) -> ExitCode {
        match self.answer(common).await {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::from(1),
            Err(error) => {
                complain(&error);
                ExitCode::from(2)
            }
        }
    }

    async fn answer(self, common: &Common) -> anyhow::Result<bool> {
        let question = match self {
            Self::Verify(verify) => return verify.answer(common).await,
            Self::Check(check) => return check.answer(),
            Self::Anchor(anchor) => return anchor.run(common).await,
            Self::RotateKey => return file::rotate_key(common).await,
            question => question,
        };
        let mut archive = Archive::open(&common.config()?).await?;
        let answer = match question {
            Self::Explain(explain) => explain.answer(&mut archive).await,
            Self::Payment(payment) => payment.answer(&mut archive).await,
            Self::Timeline(timeline) => timeline.answer(&mut archive).await,
            Self::Money(money) => money.answer(&mut archive).await,
            Self::Replay(replay) => replay.answer(&mut archive).await,
            Self::Rebuild => state::rebuild(&archive).await,
            Self::State(state) => state.answer(&mut archive).await,
            Self::Export(export) => export.answer(&mut archive).await,
            Self::Prove(prove) => prove.answer(&mut archive).await,
            Self::Anchors(anchors) => anchors.answer(&mut archive).await,
            Self::Heads(heads) => heads.answer(&mut archive).await,
            Self::Key => file::key(&mut archive).await,
            Self::Verify(_) | Self::Check(_) | Self::Anchor(_) | Self::RotateKey => {
                unreachable!("answered without the log")
            }
        };
        archive.close().await;
        answer
    }
}

/// Tells on standard error how far something is, where a person looks on.
#[expect(clippy::print_stderr, reason = "progress for a person who waits")]
fn progress(at: u64, of: u64) {
    use std::io::IsTerminal;
    if std::io::stderr().is_terminal() {
        let end = if at >= of {
            "\r                                        \r"
        } else {
            ""
        };
        eprint!("\r{at} of {of} events{end}");
    }
}

/// Tells on standard error what a person should know beside the answer.
#[expect(clippy::print_stderr, reason = "standard output is for the answer")]
fn warn(what: &impl std::fmt::Display) {
    eprintln!("warning: {what}");
}

/// This machine's clock.
fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let millis = since.map_or(0, |it| it.as_millis());
    Timestamp(u64::try_from(millis).unwrap_or(u64::MAX))
}

/// Prints an answer as JSON, or in words.
fn show(
    answer: &impl serde::Serialize,
    json: bool,
    words: impl FnOnce() -> String,
) -> anyhow::Result<()> {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    if json {
        writeln!(out, "{}", serde_json::to_string_pretty(answer)?)?;
    } else {
        write!(out, "{}", words())?;
    }
    Ok(())
}
