//! What the engine tells buyers while it runs: who it is, what it sells, a key for each, and what
//! became of their payments.

use crate::buyers::{Keyring, Lifetimes, MasterKeySource, SecretStore, code};
use crate::config::Config;
use crate::event_log::{Entropy, EventLog, Origin, Vault};
use crate::writer::{Started, SubmitError, WriterHandle};
use anyhow::Context;
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};
use sqlx::postgres::PgConnectOptions;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tanglegate_broker::{AccessView, Announcer, Clock, Correspondence, Gate, SealedAnswer};
use tanglegate_core::{
    Access, Audience, ChainId, Command, Event, Offer, Recorded, Rejection, Rule, RuleId, Timestamp,
    TopicFilter, VerifierKey,
};
use tanglegate_crypto::{IdentityBody, OfferLine, OffersBody};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tracing::{info, warn};
use zeroize::Zeroizing;

/// How long answers are told: older ones are not looked for.
const TOLD_FOR: u64 = 7 * 24 * 3_600_000;
/// How often secrets are looked at.
const LOOK: Duration = Duration::from_secs(60);
/// Most bytes of an announcement: what clients accept without being asked.
const ANNOUNCEMENT: usize = 64 << 10;

/// Who hands answers to the gate, from the moment there is one.
#[derive(Clone, Default)]
pub(super) struct Post {
    gate: Arc<OnceLock<Correspondence>>,
    /// The ledger that the log follows.
    chain: Arc<Mutex<Option<ChainId>>>,
    /// Something that is announced has changed.
    changed: Arc<Notify>,
}

impl Post {
    /// Hands over what these events tell buyers.
    pub(super) fn deliver(&self, events: &[Recorded<'_>]) {
        for recorded in events {
            match recorded.event {
                Event::AnswerAnnounced { .. } => {
                    if let Some(gate) = self.gate.get() {
                        answer(gate, recorded.event);
                    }
                }
                Event::OfferPublished { .. } | Event::OfferWithdrawn { .. } => {
                    self.changed.notify_one();
                }
                Event::ChainBound { chain } => {
                    *self.chain.lock() = Some(chain.clone());
                    self.changed.notify_one();
                }
                _ => {}
            }
        }
    }
}

fn answer(gate: &Correspondence, event: &Event) {
    if let Event::AnswerAnnounced {
        key_id,
        sealed,
        until,
        ..
    } = event
    {
        let told = gate.answer(SealedAnswer {
            key_id: *key_id,
            payload: Arc::clone(sealed),
            expires: *until,
        });
        if let Err(error) = told {
            warn!(%error, "a buyer is not told");
        }
    }
}

/// The engine's secrets, made at the first start.
pub(super) async fn open_secrets(
    options: &PgConnectOptions,
    data_dir: &Path,
    clock: &Clock,
) -> anyhow::Result<(SecretStore, Keyring)> {
    let mut entropy = Entropy::system();
    let fresh = Zeroizing::new(entropy.bytes());
    let master = MasterKeySource::of(data_dir).load(&fresh)?;
    let store = SecretStore::new(options, master, Lifetimes::default());
    let keyring = store
        .open(&mut entropy, clock.now())
        .await
        .context("the engine's secrets cannot be had")?;
    Ok((store, keyring))
}

/// Tells buyers things until it is stopped.
pub(super) struct Buyers {
    tasks: [JoinHandle<()>; 2],
}

/// What it takes to tell buyers anything.
pub(super) struct Telling<'a> {
    pub(super) config: &'a Config,
    pub(super) options: &'a PgConnectOptions,
    pub(super) store: SecretStore,
    pub(super) keyring: Keyring,
    pub(super) post: Post,
    pub(super) view: AccessView,
    pub(super) clock: Clock,
}

impl Buyers {
    /// Announces, serves keys, and tells again what was not picked up before the last stop.
    pub(super) async fn start(
        telling: Telling<'_>,
        writer: &Started,
        gate: &Gate,
    ) -> anyhow::Result<Self> {
        let Telling {
            config,
            options,
            store,
            keyring,
            post,
            view,
            clock,
        } = telling;
        info!(identity = %keyring.identity(), "announcements are signed with this identity");
        if config.ledger.is_some() {
            show_announcements(&keyring, &writer.handle).await?;
        }
        let correspondence = gate.correspondence();
        let (keys, entropy) = (keyring.clone(), Mutex::new(Entropy::system()));
        correspondence.serve_keys(move |now| keys.make_key(entropy.lock().bytes(), now));
        // What is recorded from here on is told at once, and what was recorded before is read.
        drop(post.gate.set(correspondence.clone()));
        tell_again(options, &correspondence, clock.now()).await?;
        if let Some(chain) = &writer.chain {
            post.chain.lock().get_or_insert(chain.clone());
        }
        let announcing = Announcing {
            log: writer.head_key.clone(),
            post,
            keyring: keyring.clone(),
            announcer: gate.announcer(),
            view,
            clock: clock.clone(),
        };
        let tasks = [
            tokio::spawn(announcing.run()),
            tokio::spawn(rotate(store, keyring, correspondence, clock)),
        ];
        Ok(Self { tasks })
    }

    pub(super) fn stop(self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// Everybody may read the announcements of a log that sells, until the operator takes that back:
/// the rule's identity follows from the engine's, and an identity is used once.
async fn show_announcements(keyring: &Keyring, writer: &WriterHandle) -> anyhow::Result<()> {
    let mut hash = Sha256::new_with_prefix(b"tanglegate announcements rule");
    hash.update(keyring.identity().as_bytes());
    let hash: [u8; 32] = hash.finalize().into();
    let mut id = [0; 16];
    id.copy_from_slice(&hash[..16]);
    let rule = Rule {
        id: RuleId(id),
        audience: Audience::Everyone,
        filter: TopicFilter::parse("$SYS/access/+").expect("a valid filter"),
        access: Access::Read,
    };
    match writer
        .submit(Origin::Engine, None, Command::GiveRule(rule))
        .await
    {
        Ok(_)
        | Err(SubmitError::Rejected(Rejection::RuleExists(_) | Rejection::RuleRepeated(_))) => {
            Ok(())
        }
        Err(error) => Err(error).context("the right to read announcements cannot be given"),
    }
}

/// Gives the gate what is still to be told.
async fn tell_again(
    options: &PgConnectOptions,
    gate: &Correspondence,
    now: Timestamp,
) -> anyhow::Result<()> {
    let mut log = EventLog::open_to_read(options).await?;
    let since = Timestamp(now.0.saturating_sub(TOLD_FOR));
    let answers = log.answers_since(since).await;
    log.close().await;
    let vault = Vault::default();
    for told in answers? {
        answer(gate, &told.decode(&vault)?);
    }
    Ok(())
}

/// Announces who the engine is and what it sells.
struct Announcing {
    /// The key of the log, which carries its name.
    log: watch::Receiver<Option<VerifierKey>>,
    post: Post,
    keyring: Keyring,
    announcer: Announcer,
    view: AccessView,
    clock: Clock,
}

impl Announcing {
    async fn run(self) {
        loop {
            self.announce_identity().await;
            self.announce_offers().await;
            self.post.changed.notified().await;
        }
    }

    async fn announce_identity(&self) {
        let chain = self.post.chain.lock().as_ref().map(ToString::to_string);
        let origin = {
            let key = self.log.borrow();
            key.as_ref().map_or("", |it| it.origin()).to_owned()
        };
        let signed = self.keyring.announce(&IdentityBody {
            origin,
            issued_at: self.clock.now().0,
            chain,
        });
        self.announcer.announce("identity", &signed).await;
    }

    async fn announce_offers(&self) {
        let now = self.clock.now();
        let sold = self.view.offers().into_iter();
        let mut body = OffersBody {
            issued_at: now.0,
            offers: sold.filter(|it| now < it.valid_until).map(line).collect(),
        };
        let mut signed = self.keyring.announce(&body);
        while signed.len() > ANNOUNCEMENT {
            let fewer = body.offers.len() / 2;
            warn!(
                offers = body.offers.len(),
                told = fewer,
                "too many offers for one announcement"
            );
            body.offers.truncate(fewer);
            signed = self.keyring.announce(&body);
        }
        self.announcer.announce("offers", &signed).await;
    }
}

fn line(offer: Offer) -> OfferLine {
    OfferLine {
        name: offer.id.as_str().to_owned(),
        seller: offer.seller.0,
        filter: offer.filter.as_str().to_owned(),
        access: code(offer.access),
        price: offer.tariff.price().0,
        period_ms: offer.tariff.period_ms(),
        least: offer.tariff.least().0,
        valid_until: (offer.valid_until < Timestamp::FOREVER).then_some(offer.valid_until.0),
    }
}

/// Replaces the sealing secret when its time is over.
async fn rotate(store: SecretStore, keyring: Keyring, gate: Correspondence, clock: Clock) {
    let mut entropy = Entropy::system();
    loop {
        tokio::time::sleep(LOOK).await;
        match store.rotate(&keyring, &mut entropy, clock.now()).await {
            Ok(true) => {
                info!("keys for buyers are made from a new secret");
                gate.replace_keys();
            }
            Ok(false) => {}
            Err(error) => warn!(%error, "the sealing secrets could not be looked at"),
        }
    }
}
