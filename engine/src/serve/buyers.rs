//! What the engine tells buyers while it runs: who it is, what it sells, a key for each, and what
//! became of their payments.

use crate::buyers::{Keyring, MasterKeySource, Recent, SecretStore, claim_answer, code};
use crate::event_log::{Entropy, EventLog, Origin, Vault};
use crate::heads::Heads;
use crate::ledger::{FollowState, FollowStatus, Node};
use crate::proof::ProofDesk;
use crate::writer::{Started, SubmitError, WriterHandle};
use anyhow::Context;
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};
use sqlx::postgres::PgConnectOptions;
use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tanglegate_broker::{
    AccessView, Announcer, Clock, Correspondence, Gate, Request, RequestTopic, SealedAnswer,
};
use tanglegate_core::{
    ChainId, Event, IdempotencyKey, Offer, Recorded, SubscriberId, Timestamp, VerifierKey,
};
use tanglegate_crypto::{IdentityBody, OfferLine, OffersBody};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinHandle;
use tracing::{info, warn};

/// How long answers are told: older ones are not looked for.
const TOLD_FOR: u64 = 7 * 24 * 3_600_000;
/// Most buyers whose first login is awaited, and most answers that a start looks for.
const AWAITED: usize = 65_536;
/// Checkpoints below the watermark in which payments are still looked for.
const STILL_LOOKED_FOR: u64 = 64;
/// How often secrets are looked at.
const LOOK: Duration = Duration::from_secs(60);
/// Where payments that wait are claimed.
const CLAIMS: RequestTopic = RequestTopic {
    name: "claims",
    answers_on: "claim",
};
/// Where payments are proved.
const PROOFS: RequestTopic = RequestTopic {
    name: "proofs",
    answers_on: "proof",
};
/// Requests of one kind that wait for those before them; the gate keeps more.
const AT_A_DESK: usize = 16;
/// Where owners change their logins.
const LOGINS: RequestTopic = RequestTopic {
    name: "logins",
    answers_on: "login",
};
/// Most bytes of an announcement: what clients accept without being asked.
const ANNOUNCEMENT: usize = 64 << 10;

/// Buyers who have not logged in since they were told how, with the keys of their answers.
#[derive(Clone, Default)]
struct Awaited(Arc<Mutex<HashMap<SubscriberId, Vec<[u8; 16]>>>>);

/// Who hands answers to the gate, from the moment there is one.
#[derive(Clone, Default)]
pub(super) struct Post {
    gate: Arc<OnceLock<Correspondence>>,
    /// Who tells that somebody has logged in.
    view: Arc<OnceLock<AccessView>>,
    awaited: Awaited,
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
                        self.answer(gate, recorded.event);
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

    fn answer(&self, gate: &Correspondence, event: &Event) {
        let Event::AnswerAnnounced {
            subscriber,
            key_id,
            sealed,
            until,
            ..
        } = event
        else {
            return;
        };
        let told = gate.answer(SealedAnswer {
            key_id: *key_id,
            payload: Arc::clone(sealed),
            expires: *until,
        });
        if let Err(error) = told {
            warn!(%error, "a buyer is not told");
        }
        if let (Some(subscriber), Some(view)) = (subscriber, self.view.get()) {
            let mut awaited = self.awaited.0.lock();
            if awaited.len() >= AWAITED && !awaited.contains_key(subscriber) {
                // His answer is told until it expires.
                return;
            }
            let keys = awaited.entry(*subscriber).or_default();
            if !keys.contains(key_id) {
                keys.push(*key_id);
            }
            view.expect(*subscriber);
        }
    }
}

/// Tells buyers things until it is stopped.
pub(super) struct Buyers {
    tasks: Vec<JoinHandle<()>>,
    post: Post,
}

/// What it takes to tell buyers anything.
pub(super) struct Telling<'a> {
    pub(super) options: &'a PgConnectOptions,
    pub(super) data_dir: &'a Path,
    pub(super) post: Post,
    pub(super) view: AccessView,
    pub(super) clock: Clock,
}

impl Telling<'_> {
    /// The engine's secrets, made at the first start.
    pub(super) async fn open_secrets(&self) -> anyhow::Result<(SecretStore, Keyring)> {
        let mut entropy = Entropy::system();
        let source = MasterKeySource::of(self.data_dir);
        let failed = "the engine's secrets cannot be had";
        let settled = SecretStore::settle(&source, self.options, &mut entropy).await;
        let (store, _) = settled.context(failed)?;
        let keyring = store.open(&mut entropy, self.clock.now()).await;
        Ok((store, keyring.context(failed)?))
    }
}

impl Buyers {
    /// Announces, serves keys, and tells again what was not picked up before the last stop.
    pub(super) async fn start(
        telling: Telling<'_>,
        keyring: Keyring,
        writer: &Started,
        gate: &Gate,
        heads: Option<Heads>,
    ) -> anyhow::Result<Self> {
        let Telling {
            options,
            post,
            view,
            clock,
            ..
        } = telling;
        info!(identity = %keyring.identity(), "announcements are signed with this identity");
        let correspondence = gate.correspondence();
        let (keys, entropy) = (keyring.clone(), Mutex::new(Entropy::system()));
        correspondence.serve_keys(move |now| keys.make_key(entropy.lock().bytes(), now));
        // What is recorded from here on is told at once, and what was recorded before is read.
        let arrivals = view.arrivals();
        drop(post.view.set(view.clone()));
        drop(post.gate.set(correspondence.clone()));
        tell_again(options, &post, clock.now()).await?;
        if let Some(chain) = &writer.chain {
            post.chain.lock().get_or_insert(chain.clone());
        }
        let announcing = Announcing {
            log: writer.head_key.clone(),
            post: post.clone(),
            keyring: keyring.clone(),
            announcer: gate.announcer(),
            view,
            clock: clock.clone(),
        };
        let requests = correspondence.serve_requests(&[CLAIMS, LOGINS, PROOFS]);
        let (to_claims, claims) = mpsc::channel(AT_A_DESK);
        let (to_proofs, proofs) = mpsc::channel(AT_A_DESK);
        let prover = ProofDesk::new(options, Arc::clone(&writer.subtrees), heads);
        let desk = ClaimDesk {
            keyring: keyring.clone(),
            writer: writer.handle.clone(),
            clock: clock.clone(),
            recent: Recent::default(),
        };
        let tasks = vec![
            tokio::spawn(announcing.run()),
            tokio::spawn(hand_out(requests, to_claims, to_proofs)),
            tokio::spawn(desk.run(claims)),
            tokio::spawn(prove(prover, proofs)),
            tokio::spawn(forget_picked_up(
                arrivals,
                post.awaited.clone(),
                correspondence.clone(),
            )),
        ];
        Ok(Self { tasks, post })
    }

    /// The ledger that the follower has found is announced before the log is bound to it, which
    /// the first payment does.
    pub(super) fn learn_chain(&mut self, mut status: watch::Receiver<FollowStatus>) {
        let post = self.post.clone();
        self.tasks.push(tokio::spawn(async move {
            let known =
                |it: &FollowStatus| it.chain.is_some() && it.state == FollowState::Following;
            if let Ok(status) = status.wait_for(known).await {
                let mut chain = post.chain.lock();
                if chain.is_none() {
                    chain.clone_from(&status.chain);
                    post.changed.notify_one();
                }
            }
        }));
    }

    /// The ledger that the log follows, once that is known.
    pub(super) fn chain(&self) -> Arc<Mutex<Option<ChainId>>> {
        Arc::clone(&self.post.chain)
    }

    /// Replaces the sealing secret when its time is over, and destroys those that nothing can be
    /// waiting for, from now on.
    pub(super) fn look_after(&mut self, secrets: Secrets) {
        self.tasks.push(tokio::spawn(secrets.look_after()));
    }

    pub(super) fn stop(self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// Whoever logs in has his answer: it need not be told any more, unless somebody else was told
/// under the same key and has not come yet.
async fn forget_picked_up(
    mut arrivals: mpsc::UnboundedReceiver<SubscriberId>,
    awaited: Awaited,
    gate: Correspondence,
) {
    while let Some(subscriber) = arrivals.recv().await {
        let mut awaited = awaited.0.lock();
        let mut keys = awaited.remove(&subscriber).unwrap_or_default();
        keys.retain(|key| !awaited.values().any(|it| it.contains(key)));
        drop(awaited);
        keys.iter().for_each(|it| gate.forget(it));
    }
}

/// Each request goes to its desk. Where one has too many, all wait: the gate then refuses more.
async fn hand_out(
    mut requests: mpsc::Receiver<Request>,
    claims: mpsc::Sender<Request>,
    proofs: mpsc::Sender<Request>,
) {
    while let Some(request) = requests.recv().await {
        let desk = match request.topic == PROOFS.name {
            true => &proofs,
            false => &claims,
        };
        if desk.send(request).await.is_err() {
            return;
        }
    }
}

/// Proves payments, one after another: each costs the database three look-ups.
async fn prove(mut desk: ProofDesk, mut questions: mpsc::Receiver<Request>) {
    while let Some(question) = questions.recv().await {
        let answer = desk.answer(&question.payload).await;
        drop(question.reply.send(&answer));
    }
}

/// What makes a buyer's request the same however often it comes, also when the writer has to look
/// whether its commit has happened. It is signed, so that nobody else can send it.
fn request_key(request: &[u8]) -> IdempotencyKey {
    let hash: [u8; 32] = Sha256::digest(request).into();
    let (half, _) = hash.split_first_chunk().expect("half of 32 bytes");
    IdempotencyKey::Person(*half)
}

/// Takes claims and changes of logins, one after another: each costs a signature check and a key agreement.
struct ClaimDesk {
    keyring: Keyring,
    writer: WriterHandle,
    clock: Clock,
    recent: Recent,
}

impl ClaimDesk {
    async fn run(mut self, mut claims: mpsc::Receiver<Request>) {
        while let Some(claim) = claims.recv().await {
            let outcome = match claim.topic == LOGINS.name {
                true => self.change(&claim.payload).await,
                false => self.take(&claim.payload).await,
            };
            drop(claim.reply.send(&claim_answer(outcome)));
        }
    }

    async fn change(&mut self, change: &[u8]) -> Result<(), String> {
        let now = self.clock.now();
        let opened = self
            .keyring
            .open_change(change, now, &mut Entropy::system());
        let command = opened.map_err(|it| it.to_string())?;
        self.recent.take(&command, now)?;
        let key = Some(request_key(change));
        let changed = self.writer.submit(Origin::Buyer, key, command).await;
        changed.map(|_| ()).map_err(|it| it.to_string())
    }

    async fn take(&mut self, claim: &[u8]) -> Result<(), String> {
        let now = self.clock.now();
        let opened = self.keyring.open_claim(claim, now, &mut Entropy::system());
        let (command, reply) = opened.map_err(|it| it.to_string())?;
        self.recent.take(&command, now)?;
        let submitted = self
            .writer
            .enqueue(
                Origin::Buyer,
                Some(request_key(claim)),
                command,
                Some(reply),
            )
            .await;
        let answer = submitted.map_err(|it| it.to_string())?.await;
        let answer = answer.map_err(|_| SubmitError::Stopped.to_string())?;
        answer.map(|_| ()).map_err(|it| it.to_string())
    }
}

/// Gives the gate what is still to be told.
async fn tell_again(options: &PgConnectOptions, post: &Post, now: Timestamp) -> anyhow::Result<()> {
    let mut log = EventLog::open_to_read(options).await?;
    let since = Timestamp(now.0.saturating_sub(TOLD_FOR));
    let answers = log.answers_since(since, AWAITED).await;
    log.close().await;
    let vault = Vault::default();
    let gate = post.gate.get().expect("the gate is there");
    for told in answers? {
        post.answer(gate, &told.decode(&vault)?);
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

/// The sealing secrets while the engine runs.
pub(super) struct Secrets {
    pub(super) store: SecretStore,
    pub(super) keyring: Keyring,
    pub(super) gate: Correspondence,
    pub(super) clock: Clock,
    /// The ledger that the log follows.
    pub(super) chain: Arc<Mutex<Option<ChainId>>>,
    /// The node and how far its ledger is recorded.
    pub(super) ledger: Option<(Node, watch::Receiver<FollowStatus>)>,
}

impl Secrets {
    async fn look_after(self) {
        let mut entropy = Entropy::system();
        loop {
            if let Err(error) = self.look(&mut entropy).await {
                warn!(%error, "the sealing secrets could not be looked after");
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn look(&self, entropy: &mut Entropy) -> anyhow::Result<()> {
        let now = self.clock.now();
        if self.store.rotate(&self.keyring, entropy, now).await? {
            info!("keys for buyers are made from a new secret");
            self.gate.replace_keys();
        }
        if self.keyring.has_expired(now) {
            let Some(settled) = self.settled().await? else {
                return Ok(());
            };
            let destroyed = self.store.destroy(&self.keyring, settled).await?;
            if destroyed > 0 {
                info!(
                    destroyed,
                    "what was sealed to old secrets can never be opened again"
                );
            }
        }
        Ok(())
    }

    /// Every payment that the ledger confirmed before this instant, by its own clock, is recorded;
    /// `None` while that cannot be said. The node's word counts for nothing before the follower has
    /// found it on the log's own ledger, and payments are still looked for below the watermark.
    async fn settled(&self) -> anyhow::Result<Option<Timestamp>> {
        let Some((node, status)) = &self.ledger else {
            return Ok(None);
        };
        let status = status.borrow().clone();
        let known = status.chain.is_some() && status.chain == *self.chain.lock();
        let scanned = status.watermark.checked_sub(1 + STILL_LOOKED_FOR);
        match scanned.filter(|_| known && status.state == FollowState::Following) {
            Some(scanned) => Ok(Some(node.checkpoint_time(scanned).await?)),
            None => Ok(None),
        }
    }
}
