//! `tanglegate audit verify`

use super::anchor::digest;
use super::show;
use crate::audit::{
    Archive, FileError, Finding, KeptAnchor, Unsigned, Verifier, VerifyError, Whole,
    anchors_of_file, look_up, verify_file,
};
use crate::heads::KeyFolder;
use crate::ledger::{Anchored, Node, NodeLimits};
use crate::serve::data_dir;
use anyhow::{Context, bail};
use clap::Args;
use std::fmt::Write;
use std::path::PathBuf;
use tanglegate_core::Digest;
use tanglegate_crypto::{HeadVerifier, Origin, SignedHead};

#[derive(Args)]
pub(in crate::cli) struct Verify {
    /// An exported file; without one, the log in the database
    file: Option<PathBuf>,
    /// The log's public key, if you know it from elsewhere: name+id+base64. Without it, the keys that
    /// the log itself has adopted are believed
    #[arg(long)]
    key: Option<HeadVerifier>,
    /// A tree head that you have from elsewhere (a file with the signed note): the log has to
    /// continue it. May be given several times
    #[arg(long = "head", value_name = "FILE")]
    heads: Vec<PathBuf>,
    /// Look the log's anchors up on the ledger, through this node of it
    #[arg(long, value_name = "URL")]
    node: Option<String>,
    /// A transaction on the ledger that carries a tree head of this log, if you know one from
    /// elsewhere. May be given several times
    #[arg(long = "anchor", value_name = "DIGEST", requires = "node", value_parser = digest)]
    anchors: Vec<Digest>,
    /// How many events may stand behind the last tree head. Without it, as many as an engine
    /// records in a few intervals of signing
    #[arg(long, value_name = "EVENTS")]
    max_unsigned: Option<u64>,
    /// The answer as JSON
    #[arg(long)]
    json: bool,
}

impl Verify {
    /// Yes when everything fits.
    pub(super) async fn answer(self, common: &super::Common) -> anyhow::Result<bool> {
        let mut outside = Vec::new();
        for path in &self.heads {
            let note = std::fs::read_to_string(path)
                .with_context(|| format!("cannot read the tree head {}", path.display()))?;
            // What clients print ends with an empty line.
            let note = note.trim_end_matches('\n').to_owned() + "\n";
            let head = SignedHead::parse(&note)
                .with_context(|| format!("{} cannot be used", path.display()))?;
            outside.push(head);
        }
        let found = self.check(common, outside).await?;
        self.tell(&found)?;
        Ok(found.is_ok())
    }

    async fn check(
        &self,
        common: &super::Common,
        mut outside: Vec<SignedHead>,
    ) -> anyhow::Result<Result<Whole, Finding>> {
        let node = self.node.as_ref();
        let node = node.map(|it| Node::new(it, NodeLimits::default()));
        let node = node.transpose()?;
        let config = common.config()?;
        let unsigned = match self.max_unsigned {
            Some(events) => Unsigned {
                events,
                millis: None,
            },
            None => Unsigned::of(&config.heads),
        };
        if let Some(path) = &self.file {
            let verifier = Verifier::new(self.key.clone(), outside).unsigned(unsigned);
            let kept = match &node {
                Some(_) => anchors_of_file(path)?,
                None => Vec::new(),
            };
            let verifier = match self.anchored(verifier, &kept, node.as_ref()).await {
                Ok(verifier) => verifier,
                Err(error) => return finding(error),
            };
            return match verify_file(path, verifier, |at| super::progress(at, u64::MAX)) {
                Ok(whole) => Ok(Ok(whole)),
                Err(FileError::Finding(finding)) => Ok(Err(finding)),
                Err(error) => Err(error.into()),
            };
        }
        // What this machine's engine signed last stands in no database.
        let folder = data_dir(&config)?;
        let here = KeyFolder::of(&folder).head()?;
        let mut archive = Archive::open(&config).await?;
        if let Some(other) = other_log(&mut archive, here.as_ref()).await {
            archive.close().await;
            let here = here.map(|it| it.head.origin.to_string());
            bail!(
                "the database holds log {other}, and the engine of {} signed log {}: name the data \
                 folder of the right one with --data-dir, or an empty one",
                folder.display(),
                here.unwrap_or_default()
            );
        }
        outside.extend(here);
        let verifier = Verifier::new(self.key.clone(), outside).unsigned(unsigned);
        let found = self.of_log(&mut archive, verifier, node.as_ref()).await;
        archive.close().await;
        found.map_or_else(finding, |whole| Ok(Ok(whole)))
    }

    async fn of_log(
        &self,
        archive: &mut Archive,
        verifier: Verifier,
        node: Option<&Node>,
    ) -> Result<Whole, VerifyError> {
        let kept = archive.anchors().await?;
        let verifier = self.anchored(verifier, &kept, node).await?;
        archive.verify(verifier, super::progress).await
    }

    /// The verifier holds the log to what it says of the ledger, and to what the ledger says.
    async fn anchored(
        &self,
        mut verifier: Verifier,
        kept: &[KeptAnchor],
        node: Option<&Node>,
    ) -> Result<Verifier, VerifyError> {
        for anchor in kept {
            if let Some(node) = node {
                anchor.confirm(node).await?;
            }
            verifier = verifier.anchored(anchor.says());
        }
        for transaction in &self.anchors {
            if let Some(node) = node {
                let Anchored { anchor, .. } = look_up(node, *transaction).await?;
                verifier = verifier.anchored((anchor.size, anchor.root, *transaction));
            }
        }
        Ok(verifier)
    }

    fn tell(&self, found: &Result<Whole, Finding>) -> anyhow::Result<()> {
        match found {
            Ok(whole) => show(
                &serde_json::json!({"whole": true, "found": whole}),
                self.json,
                || words(whole, self.key.is_some(), self.node.is_some()),
            ),
            Err(finding) => {
                let finding = finding.to_string();
                let answer = serde_json::json!({"whole": false, "finding": finding});
                show(&answer, self.json, || format!("NOT WHOLE: {finding}\n"))
            }
        }
    }
}

/// The name of the log, when it is another one than that of the head. What cannot be read is for
/// the verification to find.
async fn other_log(archive: &mut Archive, head: Option<&SignedHead>) -> Option<Origin> {
    let key = archive.head_key().await.ok()??;
    (head?.head.origin != *key.origin()).then(|| key.origin().clone())
}

/// A finding is an answer; everything else is none.
fn finding(error: VerifyError) -> anyhow::Result<Result<Whole, Finding>> {
    match error {
        VerifyError::Finding(finding) => Ok(Err(finding)),
        error => Err(error.into()),
    }
}

fn counted(number: u64, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {what}{plural}")
}

fn words(whole: &Whole, trusted: bool, looked_up: bool) -> String {
    let looked_up = match looked_up {
        true => ", as they stand on the ledger",
        false => "; --node looks them up on the ledger",
    };
    let total = whole.events + whole.withheld;
    let mut text = format!("whole: {}", counted(total, "event"));
    if whole.withheld > 0 {
        let _ = write!(text, " ({} of them withheld)", whole.withheld);
    }
    let outside = match whole.outside_heads {
        0 => String::new(),
        heads => format!(" ({heads} of them from outside of it)"),
    };
    let _ = writeln!(
        text,
        " in {} fit {}{}\n  root {}",
        counted(whole.batches, "commit"),
        counted(whole.heads, "tree head"),
        outside,
        whole.root
    );
    if whole.anchors > 0 {
        let anchors = counted(whole.anchors, "anchored tree head");
        let fit = if whole.anchors == 1 { "fits" } else { "fit" };
        let _ = writeln!(text, "  {anchors} {fit}{looked_up}");
    }
    match total - whole.signed {
        0 => {}
        1 => text.push_str("  the last event is under no tree head yet\n"),
        last => {
            let _ = writeln!(text, "  the last {last} events are under no tree head yet");
        }
    }
    for key in &whole.keys {
        let _ = writeln!(text, "  signed with {key}");
    }
    for key in &whole.unproved_keys {
        let _ = writeln!(text, "  named, and nothing is signed with it: {key}");
    }
    if !trusted && !whole.keys.is_empty() {
        text.push_str(
            "  the key is the log's own word: give --key when you know it from elsewhere\n",
        );
    }
    text
}
