//! `tanglegate audit export`, `prove`, `check`, `heads` and `key`

use super::super::table;
use super::show;
use super::who::Who;
use crate::audit::{Archive, Proof};
use crate::control::HeadAnswer;
use anyhow::Context;
use clap::Args;
use std::path::PathBuf;
use tanglegate_crypto::HeadVerifier;

#[derive(Args)]
pub(in crate::cli) struct Export {
    /// Where to write it
    file: PathBuf,
    /// Continue a file that was cut off, or that the log has outgrown
    #[arg(long)]
    resume: bool,
    /// Disclose what is about this login, and of the others' events the hashes only
    #[arg(long, value_name = "NAME", conflicts_with = "subscriber")]
    user: Option<String>,
    /// The same, by the login's opaque identity
    #[arg(long, value_name = "ID")]
    subscriber: Option<String>,
    /// The answer as JSON
    #[arg(long)]
    json: bool,
}

impl Export {
    pub(super) async fn answer(self, archive: &mut Archive) -> anyhow::Result<bool> {
        let subject = match (&self.user, &self.subscriber) {
            (None, None) => None,
            _ => {
                let who = Who::of(self.user.clone(), self.subscriber.clone());
                who.find(archive).await?
            }
        };
        let exported = archive
            .export(&self.file, subject, self.resume, super::progress)
            .await?;
        show(&exported, self.json, || {
            let (file, all) = (self.file.display(), exported.events);
            let added = match exported.added {
                added if added == all => String::new(),
                added => format!(", {added} of them added now"),
            };
            format!(
                "{all} events in {file}{added}; check it anywhere with `tanglegate audit verify \
                 {file}`\n"
            )
        })?;
        Ok(true)
    }
}

#[derive(Args)]
pub(in crate::cli) struct Prove {
    /// Prove that the event at this position stands in the log
    #[arg(long, value_name = "POSITION", required_unless_present = "since")]
    event: Option<u64>,
    /// Prove that the log only grew since the tree head of this many events
    #[arg(long, value_name = "EVENTS", conflicts_with = "event")]
    since: Option<u64>,
    /// Against the tree head of this many events; usually the newest
    #[arg(long, value_name = "EVENTS")]
    head: Option<u64>,
}

impl Prove {
    /// The proof is JSON, to be kept.
    pub(super) async fn answer(self, archive: &mut Archive) -> anyhow::Result<bool> {
        let proof = match (self.event, self.since) {
            (Some(position), _) => archive.prove_inclusion(position, self.head).await?,
            (None, since) => {
                let since = since.context("name --event or --since")?;
                archive.prove_consistency(since, self.head).await?
            }
        };
        println!("{}", serde_json::to_string_pretty(&proof)?);
        Ok(true)
    }
}

#[derive(Args)]
pub(in crate::cli) struct Check {
    /// The proof, as `tanglegate audit prove` wrote it
    file: PathBuf,
    /// The log's public key: name+id+base64. A proof that the log only grew has two tree heads: where
    /// the key was changed between them, give both keys (`tanglegate audit verify` lists them)
    #[arg(long = "key", value_name = "KEY", required = true)]
    keys: Vec<HeadVerifier>,
    /// The answer as JSON
    #[arg(long)]
    json: bool,
}

impl Check {
    pub(super) fn answer(&self) -> anyhow::Result<bool> {
        let text = std::fs::read_to_string(&self.file)
            .with_context(|| format!("cannot read {}", self.file.display()))?;
        let proof: Proof = serde_json::from_str(&text)
            .with_context(|| format!("{} is not a proof", self.file.display()))?;
        let checked = proof.check(&self.keys);
        let why = checked.as_ref().err().map(ToString::to_string);
        let proved = checked.is_ok().then(|| proved(&proof));
        let answer =
            serde_json::json!({"holds": checked.is_ok(), "proved": proved, "why_not": why});
        show(&answer, self.json, || match &checked {
            Ok(()) => {
                let proved = proved.as_deref().unwrap_or_default();
                let keys: Vec<String> = self.keys.iter().map(ToString::to_string).collect();
                format!("it holds: {proved}, as signed with {}\n", keys.join(" or "))
            }
            Err(error) => format!("NOT PROVED: {error}\n"),
        })?;
        Ok(checked.is_ok())
    }
}

/// What a proof says, in words.
fn proved(proof: &Proof) -> String {
    match proof {
        Proof::Inclusion { position, leaf, .. } => {
            format!("event {position}, with the leaf {leaf}, stands in the log")
        }
        Proof::Consistency { smaller, size, .. } => {
            format!("the log of {size} events begins with that of {smaller}")
        }
    }
}

#[derive(Args)]
pub(in crate::cli) struct Heads {
    /// How many of the newest
    #[arg(long, short = 'n', default_value_t = 20)]
    lines: u32,
    /// As JSON, with the signed notes
    #[arg(long)]
    json: bool,
}

impl Heads {
    pub(super) async fn answer(self, archive: &mut Archive) -> anyhow::Result<bool> {
        let heads = archive.heads(self.lines).await?;
        let rows = serde_json::to_value(&heads)?;
        table::print(&rows, &["size", "signed_at", "root"], self.json)?;
        Ok(true)
    }
}

/// What `tanglegate audit key` prints: the public key that signs now, as heads prove it.
pub(super) async fn key(archive: &mut Archive) -> anyhow::Result<bool> {
    let key = archive.head_key().await?;
    println!(
        "{}",
        key.context("no tree head of this log is signed yet: its key is proved by the first")?
    );
    Ok(true)
}

/// Has the running engine make a new key.
pub(super) async fn rotate_key(common: &super::Common) -> anyhow::Result<bool> {
    let answer: HeadAnswer = common.control()?.post(&["v1", "log", "key"], &()).await?;
    println!("{}", answer.key.unwrap_or_default());
    Ok(true)
}
