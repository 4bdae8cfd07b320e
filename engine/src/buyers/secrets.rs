//! The identity key and the sealing secrets in the database, wrapped under the master key.
//!
//! Every engine on one log has the same ones. A sealing secret is offered for some time, then only
//! kept to open what was sealed by then, and then destroyed: what was sealed to it can never be
//! opened again, by whoever comes into whatever else.

use super::keyring::{Keyring, Live};
use crate::event_log::Entropy;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{Executor, Row};
use std::time::Duration;
use tanglegate_core::Timestamp;
use tanglegate_crypto::{IdentityKey, MasterError, MasterKey, SealingSecret};
use zeroize::Zeroizing;

const IDENTITY: &str = "identity";
const SEALING: &str = "sealing/";

/// Secrets that cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum SecretsError {
    /// The database says no, or nothing.
    #[error("the engine's secrets cannot be read: {0}")]
    Database(#[from] sqlx::Error),
    /// Another master key is needed, or somebody changed the table.
    #[error(transparent)]
    Master(#[from] MasterError),
    /// What was wrapped is no such secret.
    #[error("the secret '{0}' in the table vault.engine_secret has another length")]
    Length(String),
}

/// How long a sealing secret serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetimes {
    /// Keys are made from it for so long.
    pub offered: Duration,
    /// Whoever was given the last of them has so long to pay.
    pub pay_within: Duration,
}

impl Default for Lifetimes {
    fn default() -> Self {
        let day = Duration::from_secs(24 * 3_600);
        Self {
            offered: day,
            pay_within: day,
        }
    }
}

/// The table of secrets.
pub struct SecretStore {
    pool: PgPool,
    master: MasterKey,
    lifetimes: Lifetimes,
}

impl SecretStore {
    /// Nothing is read yet.
    #[must_use]
    pub fn new(options: &PgConnectOptions, master: MasterKey, lifetimes: Lifetimes) -> Self {
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .acquire_timeout(Duration::from_secs(5))
            .idle_timeout(Duration::from_secs(60))
            .after_connect(|connection, _| {
                Box::pin(async move {
                    connection.execute("set role tanglegate_writer").await?;
                    Ok(())
                })
            })
            .connect_lazy_with(options.clone());
        Self {
            pool,
            master,
            lifetimes,
        }
    }

    /// The secrets; what is missing is made.
    ///
    /// # Errors
    /// When the database cannot be read or written, or another master key wrapped them.
    pub async fn open(
        &self,
        entropy: &mut Entropy,
        now: Timestamp,
    ) -> Result<Keyring, SecretsError> {
        let identity = self.identity(entropy).await?;
        let mut live = self.sealing().await?;
        if live.last().is_none_or(|it| it.offered_until <= now) {
            self.make(entropy, now).await?;
            live = self.sealing().await?;
        }
        Ok(Keyring::new(identity, live))
    }

    /// Makes a new secret when the newest is no longer offered, or takes one that another engine
    /// made. True when keys have to be made from another one now.
    ///
    /// # Errors
    /// As for [`SecretStore::open`].
    pub async fn rotate(
        &self,
        keyring: &Keyring,
        entropy: &mut Entropy,
        now: Timestamp,
    ) -> Result<bool, SecretsError> {
        let newest = |live: &[Live]| live.last().map(|it| it.secret.id());
        let before = newest(&keyring.live());
        let mut live = self.sealing().await?;
        if live.last().is_none_or(|it| it.offered_until <= now) {
            self.make(entropy, now).await?;
            live = self.sealing().await?;
        }
        let changed = newest(&live) != before;
        keyring.replace(live);
        Ok(changed)
    }

    /// Destroys the secrets that nothing can be waiting for any more: every payment that the
    /// ledger confirmed before `settled` is recorded. Tells how many.
    ///
    /// # Errors
    /// As for [`SecretStore::open`].
    pub async fn destroy(
        &self,
        keyring: &Keyring,
        settled: Timestamp,
    ) -> Result<u64, SecretsError> {
        let mut live = keyring.live();
        let drained: Vec<[u8; 4]> = live
            .iter()
            .filter(|it| it.valid_until <= settled)
            .map(|it| it.secret.id())
            .collect();
        let mut destroyed = 0;
        for id in drained {
            // The newest is never drained: it is still offered.
            if live.last().is_some_and(|it| it.secret.id() == id) {
                continue;
            }
            let gone = sqlx::query("delete from vault.engine_secret where name = $1")
                .bind(name(id))
                .execute(&self.pool)
                .await?;
            live.retain(|it| it.secret.id() != id);
            keyring.replace(live.clone());
            destroyed += gone.rows_affected();
        }
        Ok(destroyed)
    }

    /// Whether the secrets are wrapped under this store's key; true where there are none.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn is_ours(&self) -> Result<bool, SecretsError> {
        match self.kept_identity().await? {
            Some(kept) => Ok(self.unwrap(IDENTITY, &kept).is_ok()),
            None => Ok(true),
        }
    }

    /// Whether there is no secret yet.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn is_empty(&self) -> Result<bool, SecretsError> {
        Ok(self.kept_identity().await?.is_none())
    }

    async fn kept_identity(&self) -> Result<Option<Vec<u8>>, SecretsError> {
        let query = "select wrapped from vault.engine_secret where name = $1";
        let kept = sqlx::query_scalar(query).bind(IDENTITY);
        Ok(kept.fetch_optional(&self.pool).await?)
    }

    /// Wraps every secret under another master key, all in one transaction. Tells how many. No
    /// engine may be running: it would go on writing under the old key.
    ///
    /// # Errors
    /// As for [`SecretStore::open`]; then all of them are as they were, but for a commit whose answer
    /// was lost: [`SecretStore::settle`] finds out.
    pub async fn rewrap(
        &self,
        new: &MasterKey,
        entropy: &mut Entropy,
    ) -> Result<usize, SecretsError> {
        let mut transaction = self.pool.begin().await?;
        let query = "delete from vault.engine_secret \
             returning name, wrapped, extract(epoch from offered_until)::float8, \
             extract(epoch from valid_until)::float8";
        let rows = sqlx::query(query).fetch_all(&mut *transaction).await?;
        for row in &rows {
            let (name, wrapped): (String, Vec<u8>) = (row.try_get(0)?, row.try_get(1)?);
            let secret = self.unwrap(&name, &wrapped)?;
            let again = new.wrap(entropy.bytes(), &name, &*secret);
            // The instants go back as they came.
            let insert = "insert into vault.engine_secret \
                 (name, wrapped, offered_until, valid_until) \
                 select $1, $2, to_timestamp($3), to_timestamp($4)";
            let (offered, valid) = (seconds(row, 2)?, seconds(row, 3)?);
            sqlx::query(insert)
                .bind(&name)
                .bind(&again)
                .bind(offered)
                .bind(valid)
                .execute(&mut *transaction)
                .await?;
        }
        transaction.commit().await?;
        Ok(rows.len())
    }

    async fn identity(&self, entropy: &mut Entropy) -> Result<IdentityKey, SecretsError> {
        let seed: Zeroizing<[u8; 32]> = Zeroizing::new(entropy.bytes());
        let wrapped = self.master.wrap(entropy.bytes(), IDENTITY, &*seed);
        self.keep(IDENTITY, &wrapped, None).await?;
        let kept: Vec<u8> =
            sqlx::query_scalar("select wrapped from vault.engine_secret where name = $1")
                .bind(IDENTITY)
                .fetch_one(&self.pool)
                .await?;
        let secret = self.unwrap(IDENTITY, &kept)?;
        Ok(IdentityKey::from_bytes(&secret))
    }

    /// All of them, the one that is offered longest last.
    async fn sealing(&self) -> Result<Vec<Live>, SecretsError> {
        let query = "select name, wrapped, (extract(epoch from offered_until) * 1000)::bigint, \
             (extract(epoch from valid_until) * 1000)::bigint from vault.engine_secret \
             where name like 'sealing/%' order by offered_until, name";
        let rows = sqlx::query(query).fetch_all(&self.pool).await?;
        let mut all = Vec::with_capacity(rows.len());
        for row in rows {
            let (name, wrapped): (String, Vec<u8>) = (row.try_get(0)?, row.try_get(1)?);
            let (offered, valid): (i64, i64) = (row.try_get(2)?, row.try_get(3)?);
            let mut id = [0; 4];
            hex::decode_to_slice(name.trim_start_matches(SEALING), &mut id)
                .map_err(|_| SecretsError::Length(name.clone()))?;
            let secret = self.unwrap(&name, &wrapped)?;
            all.push(Live {
                secret: SealingSecret::from_bytes(id, *secret),
                offered_until: Timestamp(offered.unsigned_abs()),
                valid_until: Timestamp(valid.unsigned_abs()),
            });
        }
        Ok(all)
    }

    async fn make(&self, entropy: &mut Entropy, now: Timestamp) -> Result<(), SecretsError> {
        let millis = |it: Duration| u64::try_from(it.as_millis()).unwrap_or(u64::MAX);
        let offered_until = now.plus_millis(millis(self.lifetimes.offered));
        let valid_until = offered_until.plus_millis(millis(self.lifetimes.pay_within));
        let secret: Zeroizing<[u8; 32]> = Zeroizing::new(entropy.bytes());
        let name = name(entropy.bytes());
        let wrapped = self.master.wrap(entropy.bytes(), &name, &*secret);
        self.keep(&name, &wrapped, Some((offered_until, valid_until)))
            .await
    }

    /// Writes a secret where there is none of that name: of two engines that start together one
    /// is first.
    async fn keep(
        &self,
        name: &str,
        wrapped: &[u8],
        ends: Option<(Timestamp, Timestamp)>,
    ) -> Result<(), SecretsError> {
        let instant = |it: Timestamp| i64::try_from(it.0).unwrap_or(i64::MAX);
        sqlx::query(
            "insert into vault.engine_secret (name, wrapped, offered_until, valid_until) \
             values ($1, $2, to_timestamp($3 / 1000.0), to_timestamp($4 / 1000.0)) \
             on conflict (name) do nothing",
        )
        .bind(name)
        .bind(wrapped)
        .bind(ends.map(|it| instant(it.0)))
        .bind(ends.map(|it| instant(it.1)))
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    fn unwrap(&self, name: &str, wrapped: &[u8]) -> Result<Zeroizing<[u8; 32]>, SecretsError> {
        let secret = self.master.unwrap(name, wrapped)?;
        let secret: [u8; 32] = secret
            .as_slice()
            .try_into()
            .map_err(|_| SecretsError::Length(name.to_owned()))?;
        Ok(Zeroizing::new(secret))
    }
}

fn seconds(row: &sqlx::postgres::PgRow, column: usize) -> Result<Option<f64>, sqlx::Error> {
    row.try_get(column)
}

fn name(id: [u8; 4]) -> String {
    format!("{SEALING}{}", hex::encode(id))
}
