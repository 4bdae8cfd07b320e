//! `tanglegate audit verify`

use super::show;
use crate::audit::{Archive, FileError, Finding, Verifier, VerifyError, Whole, verify_file};
use crate::heads::KeyFolder;
use crate::serve::data_dir;
use anyhow::{Context, bail};
use clap::Args;
use std::fmt::Write;
use std::path::PathBuf;
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
        let found = match &self.file {
            Some(path) => {
                let verifier = Verifier::new(self.key.clone(), outside);
                match verify_file(path, verifier, |at| super::progress(at, u64::MAX)) {
                    Ok(whole) => Ok(whole),
                    Err(FileError::Finding(finding)) => Err(finding),
                    Err(error) => return Err(error.into()),
                }
            }
            None => {
                let config = common.config()?;
                // What this machine's engine signed last stands in no database.
                let folder = data_dir(&config)?;
                let here = KeyFolder::of(&folder).head()?;
                let mut archive = Archive::open(&config).await?;
                if let Some(other) = other_log(&mut archive, here.as_ref()).await {
                    let here = here.map(|it| it.head.origin.to_string());
                    bail!(
                        "the database holds log {other}, and the engine of {} signed log {}: name \
                         the data folder of the right one with --data-dir, or an empty one",
                        folder.display(),
                        here.unwrap_or_default()
                    );
                }
                outside.extend(here);
                let verifier = Verifier::new(self.key.clone(), outside);
                let found = archive.verify(verifier, super::progress).await;
                archive.close().await;
                match found {
                    Ok(whole) => Ok(whole),
                    Err(VerifyError::Finding(finding)) => Err(finding),
                    Err(error) => return Err(error.into()),
                }
            }
        };
        self.tell(&found)?;
        Ok(found.is_ok())
    }

    fn tell(&self, found: &Result<Whole, Finding>) -> anyhow::Result<()> {
        match found {
            Ok(whole) => show(
                &serde_json::json!({"whole": true, "found": whole}),
                self.json,
                || words(whole, self.key.is_some()),
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
    let key: HeadVerifier = key.0.parse().ok()?;
    (head?.head.origin != *key.origin()).then(|| key.origin().clone())
}

fn words(whole: &Whole, trusted: bool) -> String {
    let mut text = format!("whole: {} events", whole.events + whole.withheld);
    if whole.withheld > 0 {
        let _ = write!(text, " ({} of them withheld)", whole.withheld);
    }
    let outside = match whole.outside_heads {
        0 => String::new(),
        heads => format!(" ({heads} of them from outside of it)"),
    };
    let _ = writeln!(
        text,
        " in {} commits fit {} tree heads{}\n  root {}",
        whole.batches, whole.heads, outside, whole.root
    );
    let total = whole.events + whole.withheld;
    if whole.signed < total {
        let _ = writeln!(
            text,
            "  the last {} events are under no tree head yet",
            total - whole.signed
        );
    }
    for key in &whole.keys {
        let _ = writeln!(text, "  signed with {key}");
    }
    if !trusted && !whole.keys.is_empty() {
        text.push_str(
            "  the key is the log's own word: give --key when you know it from elsewhere\n",
        );
    }
    text
}
