//! The engine's side of the operator's door.

use super::tables::Tables;
use super::why::why;
use super::wire::{
    AnchorRequest, HeadAnswer, LeaseRequest, OfferRequest, Outcome, PasswordAnswer, RuleRequest,
    Secret, SubscriberRequest, UsernameRequest,
};
use crate::event_log::Origin;
use crate::heads::{Heads, SignerError};
use crate::writer::{Recording, SubmitError, WriterHandle};
use axum::extract::rejection::JsonRejection;
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use serde::Deserialize;
use sqlx::postgres::PgConnectOptions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tanglegate_broker::Inquiry;
use tanglegate_broker::login::{Cost, make_verifier};
use tanglegate_core::{
    Access, Address, Audience, Command, Digest, IdempotencyKey, Nanos, Offer, OfferId,
    PasswordVerifier, Rule, RuleId, SubscriberId, Tariff, Timestamp, TopicFilter, Username,
};
use tokio::net::UnixListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// How long a command may wait for the database before the operator is told to try again.
const PATIENCE: Duration = Duration::from_secs(15);

/// What stands behind the door.
#[derive(Clone)]
pub struct Desk {
    writer: WriterHandle,
    tables: Tables,
    seller: Option<Address>,
    cost: Cost,
    pub(super) inquiry: Inquiry,
    heads: Option<Heads>,
    status: Status,
}

/// Makes a report of how the engine is.
pub type Status = Arc<dyn Fn() -> serde_json::Value + Send + Sync>;

impl Desk {
    /// A desk that submits to `writer`, reads with `options`, sells for `seller`, and asks
    /// the gate by `inquiry`, and knows the newest tree head.
    #[must_use]
    pub fn new(
        writer: WriterHandle,
        options: &PgConnectOptions,
        seller: Option<Address>,
        cost: Cost,
        inquiry: Inquiry,
        heads: Option<Heads>,
        status: Status,
    ) -> Self {
        Self {
            writer,
            tables: Tables::new(options),
            seller,
            cost,
            inquiry,
            heads,
            status,
        }
    }
}

/// An open door.
pub struct ControlServer {
    path: PathBuf,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl ControlServer {
    /// Opens the door at `path`, for the engine's own account only.
    ///
    /// # Errors
    /// When the socket cannot be made there.
    pub async fn open(path: &FilePath, desk: Desk) -> std::io::Result<Self> {
        // A socket that nobody listens on any more is in the way; a live one would answer.
        if tokio::net::UnixStream::connect(path).await.is_err() {
            match std::fs::remove_file(path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        let listener = UnixListener::bind(path)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = axum::serve(listener, router(desk)).with_graceful_shutdown(async {
            // Dropped or fired: either way it is time to go.
            let _ = stopped.await;
        });
        let task = tokio::spawn(async move {
            if let Err(error) = serving.await {
                tracing::error!(%error, "the control socket failed");
            }
        });
        Ok(Self {
            path: path.to_owned(),
            stop,
            task,
        })
    }

    /// Answers what is under way, then closes the door.
    pub async fn close(self) {
        let _ = self.stop.send(());
        if tokio::time::timeout(Duration::from_secs(2), self.task)
            .await
            .is_err()
        {
            tracing::warn!("an operator's request was cut off by the shutdown");
        }
        drop(std::fs::remove_file(&self.path));
    }
}

fn router(desk: Desk) -> Router {
    Router::new()
        .route("/v1/status", get(status))
        .route("/v1/offers", get(offers).post(publish_offer))
        .route("/v1/offers/{id}", delete(withdraw_offer))
        .route("/v1/rules", get(rules).post(give_rule))
        .route("/v1/rules/{id}", delete(remove_rule))
        .route("/v1/subscribers", get(subscribers).post(register))
        .route("/v1/subscribers/password", post(change_password))
        .route("/v1/subscribers/suspend", post(suspend))
        .route("/v1/subscribers/reinstate", post(reinstate))
        .route("/v1/subscribers/erase", post(erase))
        .route("/v1/leases", get(leases))
        .route("/v1/leases/revoke", post(revoke))
        .route("/v1/payments", get(payments))
        .route("/v1/access/why", post(why))
        .route("/v1/events", get(events))
        .route("/v1/log/head", get(head))
        .route("/v1/log/key", post(rotate_key))
        .route("/v1/log/anchors", post(record_anchor))
        .layer(DefaultBodyLimit::max(16 << 10))
        .with_state(desk)
}

/// Why a request was not carried out.
pub(super) struct Fault(StatusCode, String);

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        (self.0, Json(serde_json::json!({ "error": self.1 }))).into_response()
    }
}

impl From<JsonRejection> for Fault {
    fn from(rejection: JsonRejection) -> Self {
        Self(rejection.status(), rejection.body_text())
    }
}

impl From<sqlx::Error> for Fault {
    fn from(error: sqlx::Error) -> Self {
        let text = format!("the database cannot be read: {error}; try again");
        Self(StatusCode::SERVICE_UNAVAILABLE, text)
    }
}

impl From<SubmitError> for Fault {
    fn from(error: SubmitError) -> Self {
        let status = match error {
            SubmitError::Rejected(_) => StatusCode::CONFLICT,
            SubmitError::Stopped => StatusCode::SERVICE_UNAVAILABLE,
            SubmitError::Refused(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self(status, error.to_string())
    }
}

pub(super) fn bad(what: impl std::fmt::Display) -> Fault {
    Fault(StatusCode::BAD_REQUEST, what.to_string())
}

impl Desk {
    async fn submit(&self, headers: &HeaderMap, command: Command) -> Result<Outcome, Fault> {
        let key = match headers.get("idempotency-key") {
            None => uuid::Uuid::new_v4(),
            Some(key) => key
                .to_str()
                .ok()
                .and_then(|it| uuid::Uuid::parse_str(it).ok())
                .ok_or_else(|| {
                    bad(
                        "the Idempotency-Key is not a UUID: send a fresh one with each request, \
                         and the same one when it is repeated",
                    )
                })?,
        };
        let key = IdempotencyKey::Person(key.into_bytes());
        Ok(told(self.submit_once(key, command).await?))
    }

    async fn submit_once(&self, key: IdempotencyKey, command: Command) -> Result<Recording, Fault> {
        let submitted = self.writer.submit(Origin::Operator, Some(key), command);
        let recording = tokio::time::timeout(PATIENCE, submitted).await.map_err(|_| {
            let text = "the database is away, so this is not recorded yet, but it may still be: \
                        repeat it with the same Idempotency-Key";
            Fault(StatusCode::SERVICE_UNAVAILABLE, text.to_owned())
        });
        Ok(recording??)
    }

    /// A verifier for the given password, or for a fresh one that comes back with it.
    async fn verifier(
        &self,
        given: Option<Secret>,
    ) -> Result<(PasswordVerifier, Option<Secret>), Fault> {
        let (password, made) = match given {
            Some(password) if password.expose().is_empty() => {
                return Err(bad(
                    "the password is empty: give one, or let the engine make one",
                ));
            }
            Some(password) => (password, None),
            None => {
                let made = fresh_password();
                (made.clone(), Some(made))
            }
        };
        let (salt, cost) = (random::<16>(), self.cost);
        let hashing = move || make_verifier(password.expose().as_bytes(), salt, cost);
        let verifier = tokio::task::spawn_blocking(hashing)
            .await
            .map_err(|it| Fault(StatusCode::INTERNAL_SERVER_ERROR, it.to_string()))?
            .map_err(bad)?;
        Ok((verifier, made))
    }
}

fn told(recording: Recording) -> Outcome {
    match recording {
        Recording::Recorded { first, .. } => Outcome::at(Some(first), false),
        Recording::Before { first } => Outcome::at(Some(first), true),
        Recording::Nothing => Outcome::at(None, true),
    }
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
    bytes
}

/// 26 letters and digits that nobody confuses: 130 bits.
fn fresh_password() -> Secret {
    const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let letters = random::<26>().map(|it| char::from(ALPHABET[usize::from(it % 32)]));
    Secret::new(letters.iter().collect())
}

type Answered<T> = Result<Json<T>, Fault>;
type Asked<T> = Result<Json<T>, JsonRejection>;

async fn status(State(desk): State<Desk>) -> Json<serde_json::Value> {
    Json((desk.status)())
}

async fn publish_offer(
    State(desk): State<Desk>,
    headers: HeaderMap,
    asked: Asked<OfferRequest>,
) -> Answered<Outcome> {
    let Json(asked) = asked?;
    let seller = match &asked.seller {
        Some(address) => Address::parse(address).map_err(bad)?,
        None => desk.seller.ok_or_else(|| {
            bad("no seller: name one with the offer, or set ledger.seller in the configuration")
        })?,
    };
    let offer = Offer {
        id: OfferId::parse(&asked.id).map_err(bad)?,
        seller,
        filter: TopicFilter::parse(&asked.filter).map_err(bad)?,
        access: parse_access(&asked.access)?,
        tariff: Tariff::new(Nanos(asked.price), asked.period_ms, Nanos(asked.least))
            .map_err(bad)?,
        // An end beyond the calendar is the end of the calendar: the database knows no later one.
        valid_until: asked
            .valid_until
            .map_or(Timestamp::FOREVER, |it| Timestamp(it).min(Timestamp::LAST)),
    };
    desk.submit(&headers, Command::PublishOffer(offer))
        .await
        .map(Json)
}

async fn withdraw_offer(
    State(desk): State<Desk>,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Answered<Outcome> {
    let offer = OfferId::parse(&id).map_err(bad)?;
    desk.submit(&headers, Command::WithdrawOffer(offer))
        .await
        .map(Json)
}

async fn give_rule(
    State(desk): State<Desk>,
    headers: HeaderMap,
    asked: Asked<RuleRequest>,
) -> Answered<Outcome> {
    let Json(asked) = asked?;
    let audience = match asked.username {
        None => Audience::Everyone,
        Some(name) => Audience::Subscriber(desk.subscriber(&name).await?),
    };
    let id = RuleId(random());
    let filter = TopicFilter::parse(&asked.filter).map_err(bad)?;
    let access = parse_access(&asked.access)?;
    let command = Command::GiveRule(Rule {
        id,
        audience,
        filter,
        access,
    });
    let outcome = desk.submit(&headers, command).await?;
    Ok(Json(Outcome {
        id: Some(id.to_string()).filter(|_| !outcome.before),
        ..outcome
    }))
}

async fn remove_rule(
    State(desk): State<Desk>,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Answered<Outcome> {
    let rule = RuleId::parse(&id).map_err(bad)?;
    desk.submit(&headers, Command::RemoveRule(rule))
        .await
        .map(Json)
}

async fn register(
    State(desk): State<Desk>,
    headers: HeaderMap,
    asked: Asked<SubscriberRequest>,
) -> Answered<PasswordAnswer> {
    let Json(asked) = asked?;
    let username = Username::parse(&asked.username).map_err(bad)?;
    let (verifier, made) = desk.verifier(asked.password).await?;
    let subscriber = SubscriberId(random());
    let command = Command::RegisterSubscriber {
        subscriber,
        username,
        verifier,
    };
    answer_password(desk.submit(&headers, command).await?, made)
}

async fn change_password(
    State(desk): State<Desk>,
    headers: HeaderMap,
    asked: Asked<SubscriberRequest>,
) -> Answered<PasswordAnswer> {
    let Json(asked) = asked?;
    let username = Username::parse(&asked.username).map_err(bad)?;
    let (verifier, made) = desk.verifier(asked.password).await?;
    let command = Command::ChangePassword { username, verifier };
    answer_password(desk.submit(&headers, command).await?, made)
}

/// A password that the engine made is told only when it is the recorded one: of a command that
/// was recorded by an earlier try, the password of that try counts, and it is not kept.
fn answer_password(outcome: Outcome, made: Option<Secret>) -> Answered<PasswordAnswer> {
    if outcome.before && made.is_some() {
        return Err(Fault(
            StatusCode::CONFLICT,
            "this was recorded by an earlier try, whose password is kept nowhere: \
             set a new one with `tanglegate subscriber password`"
                .to_owned(),
        ));
    }
    Ok(Json(PasswordAnswer {
        outcome,
        password: made,
    }))
}

async fn suspend(
    State(desk): State<Desk>,
    headers: HeaderMap,
    asked: Asked<UsernameRequest>,
) -> Answered<Outcome> {
    let Json(asked) = asked?;
    let username = Username::parse(&asked.username).map_err(bad)?;
    desk.submit(&headers, Command::Suspend(username))
        .await
        .map(Json)
}

async fn reinstate(
    State(desk): State<Desk>,
    headers: HeaderMap,
    asked: Asked<UsernameRequest>,
) -> Answered<Outcome> {
    let Json(asked) = asked?;
    let username = Username::parse(&asked.username).map_err(bad)?;
    desk.submit(&headers, Command::Reinstate(username))
        .await
        .map(Json)
}

async fn erase(
    State(desk): State<Desk>,
    headers: HeaderMap,
    asked: Asked<UsernameRequest>,
) -> Answered<Outcome> {
    let Json(asked) = asked?;
    let username = Username::parse(&asked.username).map_err(bad)?;
    desk.submit(&headers, Command::Erase(username))
        .await
        .map(Json)
}

async fn revoke(
    State(desk): State<Desk>,
    headers: HeaderMap,
    asked: Asked<LeaseRequest>,
) -> Answered<Outcome> {
    let Json(asked) = asked?;
    let username = Username::parse(&asked.username).map_err(bad)?;
    let filter = TopicFilter::parse(&asked.filter).map_err(bad)?;
    let access = parse_access(&asked.access)?;
    desk.submit(
        &headers,
        Command::RevokeLease {
            username,
            filter,
            access,
        },
    )
    .await
    .map(Json)
}

fn parse_access(word: &str) -> Result<Access, Fault> {
    Access::parse(word).ok_or_else(|| {
        bad(format!(
            "'{word}' is no access: say read, write or readwrite"
        ))
    })
}

impl Desk {
    async fn subscriber(&self, name: &str) -> Result<SubscriberId, Fault> {
        let username = Username::parse(name).map_err(bad)?;
        self.tables
            .subscriber(username.as_str())
            .await?
            .ok_or_else(|| {
                let text = format!("there is no subscriber named '{name}'; register it first");
                Fault(StatusCode::CONFLICT, text)
            })
    }
}

/// The newest tree head and the key that signs; `null` where there is none.
async fn head(State(desk): State<Desk>) -> Json<HeadAnswer> {
    let heads = desk.heads.as_ref();
    Json(HeadAnswer {
        note: heads.and_then(Heads::latest),
        key: heads.map(|it| it.key().to_string()),
    })
}

async fn rotate_key(State(desk): State<Desk>) -> Answered<HeadAnswer> {
    let heads = desk.heads.as_ref().ok_or(SignerError::Silent);
    let away = |it: SignerError| Fault(StatusCode::SERVICE_UNAVAILABLE, it.to_string());
    let heads = heads.map_err(away)?;
    let rotated = tokio::time::timeout(PATIENCE, heads.rotate()).await;
    let key = rotated.unwrap_or(Err(SignerError::Unanswered));
    let key = key.map_err(away)?;
    Ok(Json(HeadAnswer {
        note: heads.latest(),
        key: Some(key.to_string()),
    }))
}

/// A transaction is recorded once, whoever tells of it: its digest is the idempotency key. What it
/// carries cannot become something else by being told again.
async fn record_anchor(State(desk): State<Desk>, asked: Asked<AnchorRequest>) -> Answered<Outcome> {
    let Json(AnchorRequest {
        size,
        root,
        transaction,
    }) = asked?;
    let transaction = Digest::parse(&transaction).map_err(bad)?;
    let known = desk.tables.signed_root(size).await?;
    let root = known.filter(|it| hex::encode(it) == root).ok_or_else(|| {
        bad(format!(
            "this log has signed no tree head of {size} events with root {root}: is the anchor \
             that of another log?"
        ))
    })?;
    let command = Command::RecordAnchor {
        size,
        root,
        transaction,
    };
    let key = IdempotencyKey::Anchor(transaction);
    let recording = desk.submit_once(key, command).await?;
    if let Recording::Before { first } = recording
        && desk.tables.anchor_at(first).await? != Some((size, root))
    {
        let text = format!(
            "event {} records this transaction as the anchor of another tree head: a transaction \
             carries one; `tanglegate audit verify --node` compares it with the ledger",
            first.0
        );
        return Err(Fault(StatusCode::CONFLICT, text));
    }
    Ok(Json(told(recording)))
}

fn json_text(text: String) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], text).into_response()
}

async fn offers(State(desk): State<Desk>) -> Result<Response, Fault> {
    Ok(json_text(desk.tables.offers().await?))
}

async fn rules(State(desk): State<Desk>) -> Result<Response, Fault> {
    Ok(json_text(desk.tables.rules().await?))
}

async fn subscribers(State(desk): State<Desk>) -> Result<Response, Fault> {
    Ok(json_text(desk.tables.subscribers().await?))
}

async fn leases(State(desk): State<Desk>) -> Result<Response, Fault> {
    Ok(json_text(desk.tables.leases().await?))
}

async fn payments(State(desk): State<Desk>) -> Result<Response, Fault> {
    Ok(json_text(desk.tables.payments().await?))
}

#[derive(Deserialize)]
struct EventsQuery {
    /// Events after this position; absent: the newest ones.
    after: Option<i64>,
    most: Option<i64>,
}

async fn events(
    State(desk): State<Desk>,
    Query(asked): Query<EventsQuery>,
) -> Result<Response, Fault> {
    let most = asked.most.unwrap_or(100).max(1);
    let after = match asked.after {
        Some(after) => after,
        None => desk.tables.head().await?.saturating_sub(most),
    };
    Ok(Json(desk.tables.events(after, most).await?).into_response())
}
