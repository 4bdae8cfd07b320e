//! `tanglegate receipt`

use super::table::printable;
use super::{complain, quantity};
use crate::buy::{Catalogue, Gate, Line, ProofFile, fetch_proof, signed_receipt};
use crate::proof::{CheckError, Proved, check};
use anyhow::Context;
use clap::{Args, Subcommand};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use tanglegate_core::{Address, Digest, Nanos, PaymentId};
use tanglegate_crypto::HeadVerifier;

/// The exit code is 0 when the seller's log holds the payment, 1 when that is not proved, and 2
/// when there is no answer.
#[derive(Subcommand)]
pub(super) enum Receipt {
    /// Ask the seller to prove that his log holds the payment, check it, and keep the proof
    Prove(Prove),
    /// Check a proof that was kept, without asking anybody
    Check(Check),
}

#[derive(Args)]
pub(super) struct Prove {
    /// The file with login and receipt that `buy` or `claim` wrote
    file: PathBuf,
    /// The seller's gate, as HOST:PORT; without it the one that it was bought at
    #[arg(long, value_name = "HOST:PORT")]
    broker: Option<Gate>,
    /// The public key of the seller's log, name+id+base64, if you have it. Without it the one that
    /// the gate shows is believed
    #[arg(long, value_name = "KEY")]
    key: Option<HeadVerifier>,
    /// Where the proof is written; without it beside the receipt
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// How long it may take until a tree head covers the payment
    #[arg(long, default_value = "30s", value_parser = quantity::duration)]
    deadline: Duration,
    /// The answer as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(super) struct Check {
    /// The file with login and receipt that `buy` or `claim` wrote
    file: PathBuf,
    /// The proof; without it the one beside the receipt
    #[arg(long, value_name = "FILE")]
    proof: Option<PathBuf>,
    /// The public key of the seller's log, name+id+base64. Without it the one that was believed
    /// when the proof was fetched
    #[arg(long, value_name = "KEY")]
    key: Option<HeadVerifier>,
    /// The answer as JSON
    #[arg(long)]
    json: bool,
}

impl Receipt {
    pub(super) async fn run(self) -> ExitCode {
        let answer = match self {
            Self::Prove(prove) => prove.answer().await,
            Self::Check(check) => check.answer(),
        };
        match answer {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::from(1),
            Err(error) => {
                complain(&error);
                ExitCode::from(2)
            }
        }
    }
}

impl Prove {
    async fn answer(self) -> anyhow::Result<bool> {
        let (gate, identity, receipt) = signed_receipt(&self.file)?;
        let gate = match self.broker {
            Some(gate) => gate,
            None => gate.parse().map_err(anyhow::Error::msg)?,
        };
        let mut line = Line::connect(&gate).await?;
        let catalogue = Catalogue::read(&mut line, Some(identity)).await?;
        let key = match &self.key {
            Some(key) => key.clone(),
            None => shown(&line.head_key().await?)?,
        };
        let payment = PaymentId {
            digest: Digest(receipt.digest),
            index: receipt.index,
        };
        let answer = fetch_proof(&mut line, payment, self.deadline).await?;
        let keys = std::slice::from_ref(&key);
        let checked = check(&answer, &receipt, keys).and_then(|it| it.of_log(&catalogue.origin));
        if checked.is_ok() {
            let path = self.out.unwrap_or_else(|| beside(&self.file));
            let kept = ProofFile {
                log: catalogue.origin,
                key: key.to_string(),
                answer: hex::encode(&answer),
            };
            kept.save(&path)?;
        }
        tell(&receipt, &checked, &key, self.key.is_some(), self.json)
    }
}

impl Check {
    fn answer(self) -> anyhow::Result<bool> {
        let (_, _, receipt) = signed_receipt(&self.file)?;
        let path = self.proof.unwrap_or_else(|| beside(&self.file));
        let kept = ProofFile::load(&path)?;
        let key = match &self.key {
            Some(key) => key.clone(),
            None => shown(&kept.key)?,
        };
        let answer = kept.answer(&path)?;
        let keys = std::slice::from_ref(&key);
        let checked = check(&answer, &receipt, keys).and_then(|it| it.of_log(&kept.log));
        tell(&receipt, &checked, &key, self.key.is_some(), self.json)
    }
}

fn shown(key: &str) -> anyhow::Result<HeadVerifier> {
    let key = key.trim_end().parse();
    key.context("the key of the seller's log cannot be read: give the right one with --key")
}

/// Where a proof is kept unless somebody says otherwise.
fn beside(file: &Path) -> PathBuf {
    let mut path = file.as_os_str().to_owned();
    path.push(".proof");
    PathBuf::from(path)
}

fn tell(
    receipt: &tanglegate_crypto::Receipt,
    checked: &Result<Proved, CheckError>,
    key: &HeadVerifier,
    known: bool,
    json: bool,
) -> anyhow::Result<bool> {
    let payment = PaymentId {
        digest: Digest(receipt.digest),
        index: receipt.index,
    };
    if json {
        let why = checked.as_ref().err().map(ToString::to_string);
        let proved = checked.as_ref().ok().map(|it| {
            json!({
                "position": it.position,
                "recorded_at": it.recorded_at.0,
                "payer": it.payer.to_string(),
                "checkpoint": it.checkpoint,
                "claimed": it.claimed,
                "log": it.head.origin.as_str(),
                "head_size": it.head.size,
                "head_root": hex::encode(it.head.root),
            })
        });
        let told = json!({
            "holds": checked.is_ok(), "payment": payment.to_string(), "amount": receipt.amount,
            "key": key.to_string(), "proved": proved, "why_not": why,
        });
        println!("{}", serde_json::to_string_pretty(&told)?);
        return Ok(checked.is_ok());
    }
    let (amount, seller) = (Nanos(receipt.amount), Address(receipt.seller));
    println!("receipt  {amount} to {seller} with {payment}");
    match checked {
        Ok(proved) => {
            let Proved { position, head, .. } = proved;
            println!(
                "proved   paid by {}, final in checkpoint {}",
                proved.payer, proved.checkpoint
            );
            println!(
                "log      event {position} of {}, recorded {}, under the tree head of {} events",
                head.origin, proved.recorded_at, head.size
            );
            if proved.claimed {
                println!(
                    "         the payment was claimed later: event {}",
                    receipt.position
                );
            }
            println!("key      {key}");
            if !known {
                println!(
                    "         which the gate showed: compare it with what the seller published, or \
                     give it with --key"
                );
            }
        }
        // The engine's own words may be in it.
        Err(error) => println!("NOT PROVED: {}", printable(&error.to_string())),
    }
    Ok(checked.is_ok())
}
