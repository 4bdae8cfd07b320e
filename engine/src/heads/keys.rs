//! The keys of an engine that signs: brought together with the log, made, and changed.

use super::{HeadSettings, KeyFolder, SignerError};
use crate::event_log::Origin as Who;
use crate::writer::{SubmitError, WriterHandle};
use tanglegate_core::{
    Access, Audience, Command, Rejection, Rule, RuleId, TopicFilter, VerifierKey,
};
use tanglegate_crypto::{HeadKey, Origin, SignedHead};

/// The key that signs, and the one before until its last head.
pub(super) struct Keys {
    pub(super) current: HeadKey,
    pub(super) before: Option<HeadKey>,
}

impl Keys {
    /// Brings the folder and the log together. `newest` is the last head that is kept.
    pub(super) async fn settle(
        folder: &KeyFolder,
        settings: &HeadSettings,
        writer: &WriterHandle,
        adopted: Option<&VerifierKey>,
        newest: Option<&SignedHead>,
    ) -> Result<Self, SignerError> {
        let (key, next) = (folder.key()?, folder.next_key()?);
        let is_adopted = |it: &HeadKey| adopted == Some(&public(it));
        let alone = |current| Self {
            current,
            before: None,
        };
        match (key, next) {
            // A change of keys that was adopted and not finished.
            (before, Some(next)) if is_adopted(&next) => Ok(Self {
                current: next,
                before,
            }),
            (Some(key), _) if is_adopted(&key) => {
                folder.drop_next_key()?;
                Ok(alone(key))
            }
            (key, _) => match (adopted, key) {
                // Nobody has signed with what the log names: this is still the one that signs, if
                // an operator has it change its key.
                (Some(adopted), Some(key)) if is_last(&key, adopted, newest) => Ok(alone(key)),
                (Some(adopted), key) => Err(other_key(adopted, key.as_ref())),
                (None, key) => {
                    let key = match key {
                        Some(key) => key,
                        None => first_key(folder, settings)?,
                    };
                    // Before the key: who is cut off in between does it again.
                    show_heads(writer).await?;
                    adopt(writer, &key).await?;
                    Ok(alone(key))
                }
            },
        }
    }
}

/// Whether the last head that is kept is signed with this key, and not with the one that the log
/// names.
pub(super) fn is_last(key: &HeadKey, adopted: &VerifierKey, newest: Option<&SignedHead>) -> bool {
    newest.is_some_and(|it| {
        let theirs = adopted.0.parse().is_ok_and(|key| it.verify(&key).is_ok());
        it.verify(&key.verifier()).is_ok() && !theirs
    })
}

pub(super) fn other_key(adopted: &VerifierKey, key: Option<&HeadKey>) -> SignerError {
    SignerError::OtherKey {
        adopted: adopted.clone(),
        folder: key.map_or_else(|| "none".to_owned(), |it| public(it).to_string()),
    }
}

fn first_key(folder: &KeyFolder, settings: &HeadSettings) -> Result<HeadKey, SignerError> {
    let origin = match &settings.origin {
        Some(origin) => origin.clone(),
        None => Origin::parse(&format!("tanglegate-{}", hex::encode(random::<4>())))?,
    };
    Ok(folder.make_key(origin, &random())?)
}

pub(super) async fn adopt(writer: &WriterHandle, key: &HeadKey) -> Result<(), SubmitError> {
    let command = Command::AdoptHeadKey(public(key));
    writer.submit(Who::Engine, None, command).await?;
    Ok(())
}

/// Everybody may read the heads of a fresh log, until the operator takes that back.
async fn show_heads(writer: &WriterHandle) -> Result<(), SignerError> {
    let rule = Rule {
        id: RuleId(random()),
        audience: Audience::Everyone,
        filter: TopicFilter::parse("$SYS/access/log/#").expect("a valid filter"),
        access: Access::Read,
    };
    let given = Command::GiveRule(rule);
    match writer.submit(Who::Engine, None, given).await {
        Ok(_) | Err(SubmitError::Rejected(Rejection::RuleRepeated(_))) => Ok(()),
        Err(error) => Err(SignerError::NotShown(error)),
    }
}

pub(super) fn public(key: &HeadKey) -> VerifierKey {
    VerifierKey(key.verifier().to_string().into())
}

pub(super) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
    bytes
}
