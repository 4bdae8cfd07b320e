//! Which master key is the right one, also after a change that was cut off.

use super::master::{MasterKeyError, MasterKeySource};
use super::secrets::{Lifetimes, SecretStore, SecretsError};
use crate::event_log::Entropy;
use sqlx::postgres::PgConnectOptions;
use tanglegate_crypto::MasterKey;
use zeroize::Zeroizing;

/// There is no store that can be opened.
#[derive(Debug, thiserror::Error)]
pub enum SettleError {
    /// The key.
    #[error(transparent)]
    Key(#[from] MasterKeyError),
    /// The database.
    #[error(transparent)]
    Secrets(#[from] SecretsError),
}

impl SecretStore {
    /// The store under the key of `source`. Where a change of keys was cut off, the key that the
    /// secrets are wrapped under stays, and the other one goes. A first key is made only where there
    /// is no secret yet: a database that was restored without its key does not get another one.
    ///
    /// # Errors
    /// When the key cannot be had, or the database not be read.
    pub async fn settle(
        source: &MasterKeySource,
        options: &PgConnectOptions,
        entropy: &mut Entropy,
    ) -> Result<(Self, MasterKey), SettleError> {
        let fresh = Zeroizing::new(entropy.bytes());
        let store = |key: &MasterKey| Self::new(options, key.clone(), Lifetimes::default());
        // The key does not matter for this.
        let empty = store(&MasterKey::from_bytes([0; 32])).is_empty().await?;
        let key = source.load(Some(&fresh).filter(|_| empty))?;
        let Some(next) = source.load_next()? else {
            return Ok((store(&key), key));
        };
        if store(&next).is_ours().await? && !store(&key).is_ours().await? {
            source.take_over()?;
            return Ok((store(&next), next));
        }
        source.drop_next()?;
        Ok((store(&key), key))
    }
}
