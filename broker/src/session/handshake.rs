//! From the connection to the CONNACK.

use super::attached::{Attached, Guest, Taken, will_due};
use super::connected::{Connection, Terms};
use super::end::NoRoom;
use super::identity::{Shown, identify};
use super::kept::safe;
use crate::budget::Share;
use crate::decision::{LOGIN_NEEDED, NO_MORE_ANONYMOUS, TOO_MANY_CONNECTS};
use crate::door::{Admission, Crowded};
use crate::entrance::Entrance;
use crate::gate::{Context, Phase};
use crate::limits::{ClientLimits, Limits};
use crate::listener::reached;
use crate::registry::Claim;
use crate::socket::Socket;
use crate::statistics::{Outcome, Stage};
use crate::wire::{
    Accepted, ConnectError, ConnectRequest, Fault, PacketKind, Reason, Version, accept_connect,
    cut, refuse_connect, refuse_level,
};
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};
use tanglegate_core::{Denied, SubscriberId, TopicName};
use tokio::net::TcpStream;

/// Time for a refusal to reach the client, and for its last bytes to be thrown away.
const HANG_UP: Duration = Duration::from_secs(1);
/// Bytes that are thrown away at most.
const THROWN_AWAY: usize = 256 << 10;

/// Why a client is not let in.
pub(super) struct Refusal {
    reason: Reason,
    why: String,
}

impl Refusal {
    pub(super) fn new(reason: Reason, why: impl Into<String>) -> Self {
        Self {
            reason,
            why: why.into(),
        }
    }

    fn crowded(crowded: Crowded) -> Self {
        match crowded {
            Crowded::Places => Self::new(Reason::QuotaExceeded, NO_MORE_ANONYMOUS),
            Crowded::Rate => Self::new(Reason::ConnectionRateExceeded, TOO_MANY_CONNECTS),
        }
    }

    pub(super) fn denied(denied: &Denied) -> Self {
        let reason = match denied {
            Denied::NotReady => Reason::ServerUnavailable,
            _ => Reason::NotAuthorized,
        };
        Self::new(reason, denied.to_string())
    }
}

/// What is known of a client that has sent its CONNECT.
struct Arrived {
    request: ConnectRequest,
    /// What was read behind it.
    rest: Vec<u8>,
    /// The user name in its certificate.
    certified: Option<String>,
}

/// Lets a client in, or tells it why not.
pub(super) async fn shake(
    stream: TcpStream,
    entrance: Arc<Entrance>,
    context: Arc<Context>,
    admission: Admission,
) -> Option<Connection> {
    let mut socket = match entrance.socket(stream) {
        Ok(socket) => socket,
        Err(error) => {
            tracing::warn!(%error, "TLS cannot be spoken with a client");
            return None;
        }
    };
    let mut phase = context.phase.subscribe();
    // Given back when the client is in, or away.
    let mut share = Share::new(&context.budgets.opening);
    let shaken = {
        let connect = async {
            let opened = entrance.open(&mut socket).await;
            opened
                .inspect_err(|error| entrance.note_failure(error))
                .ok()?;
            read_connect(&mut socket, &entrance, &context, &mut share).await
        };
        let connect = tokio::time::timeout(context.limits.connect_within, connect);
        tokio::select! {
            connect = connect => connect.ok().flatten(),
            () = reached(&mut phase, Phase::Closing) => None,
        }
    };
    let (request, rest) = shaken?;
    let (version, limit) = (request.version, request.packet_bytes as usize);
    let admitted = match entrance.client_name(&socket) {
        Ok(certified) => {
            let guest = Arrived {
                request,
                rest,
                certified,
            };
            admit(guest, &entrance, &context, admission).await
        }
        Err(error) => Err(Refusal::new(Reason::NotAuthorized, error.to_string())),
    };
    match admitted {
        Ok((attached, terms, connack)) => {
            if *phase.borrow() != Phase::Open {
                attached.handle.outbox.order(super::Order::ShuttingDown);
            }
            let mut session = Connection::new(socket, attached, terms);
            session.answer(|out| out.extend_from_slice(&connack));
            Some(session)
        }
        Err(Refusal { reason, why }) => {
            let outcome = Outcome::of_connect(reason, &why);
            context.counters.decided(Stage::Connect, outcome);
            let mut answer = vec![];
            refuse_connect(&mut answer, version, reason, &why, limit);
            say(&mut socket, &answer).await;
            None
        }
    }
}

/// Reads the CONNECT, and what was read behind it. `None` when there is none: the client is gone,
/// or has been told.
async fn read_connect(
    socket: &mut Socket,
    entrance: &Entrance,
    context: &Context,
    share: &mut Share,
) -> Option<(ConnectRequest, Vec<u8>)> {
    let limit = u32::try_from(context.limits.connect_bytes).unwrap_or(u32::MAX);
    let mut bytes = Vec::new();
    loop {
        let mut chunk = [0; 1_024];
        let read = socket.read(&mut chunk).await;
        let read = read.inspect_err(|error| entrance.note_failure(error));
        let new = read.ok().filter(|it| *it > 0)?;
        bytes.extend_from_slice(&chunk[..new]);
        let counters = &context.counters;
        counters.received_bytes.add(new as u64);
        counters.received_control_bytes.add(new as u64);
        if !share.hold(bytes.capacity()) {
            let (version, why) = (guess_version(&bytes), NoRoom::OPENING.to_string());
            context.counters.decided(Stage::Connect, Outcome::Limit);
            let mut answer = vec![];
            // What it takes at most was not read yet.
            refuse_connect(
                &mut answer,
                version,
                Reason::QuotaExceeded,
                &why,
                usize::MAX,
            );
            say(socket, &answer).await;
            return None;
        }
        // Anything but a CONNECT first is closed without an answer ([MQTT-3.1.0-1]).
        let frame = match cut(&bytes, limit) {
            Ok(None) if bytes[0] == 0x10 => continue,
            Ok(Some(frame)) if frame.kind() == Ok(PacketKind::Connect) => frame,
            Err(fault @ Fault::TooLarge { .. }) if bytes[0] == 0x10 => {
                turn_away(socket, context, guess_version(&bytes), fault).await;
                return None;
            }
            _ => {
                context.counters.faulty_sessions.one();
                return None;
            }
        };
        let (read, length) = (ConnectRequest::read(frame.body), frame.whole.len());
        return match read {
            Ok(request) => {
                let rest = bytes.split_off(length);
                context.counters.received_controls.one();
                // Those are counted when they are looked at.
                let counter = &context.counters.received_control_bytes;
                counter.less(rest.len() as u64);
                // It may hold a password.
                zeroize::Zeroize::zeroize(&mut bytes);
                Some((request, rest))
            }
            Err(ConnectError::Level(level)) => {
                let counters = &context.counters;
                counters.decided(Stage::Connect, Outcome::Unsupported);
                let mut answer = vec![];
                refuse_level(&mut answer, level);
                say(socket, &answer).await;
                None
            }
            Err(ConnectError::Fault(fault)) => {
                turn_away(socket, context, guess_version(&bytes), fault).await;
                None
            }
        };
    }
}

/// The version of a CONNECT that cannot be read; where it does not say so, 3.1.1, in which such a
/// client gets no answer.
fn guess_version(bytes: &[u8]) -> Version {
    let start = &bytes[..bytes.len().min(12)];
    let name = start.windows(4).position(|it| it == b"MQTT");
    match name.and_then(|at| start.get(at + 4)) {
        Some(5) => Version::V5,
        _ => Version::V311,
    }
}

async fn turn_away(socket: &mut Socket, context: &Context, version: Version, fault: Fault) {
    context.counters.faulty_sessions.one();
    let mut answer = vec![];
    // What it takes at most was not understood.
    let (reason, why) = (fault.reason(), fault.to_string());
    refuse_connect(&mut answer, version, reason, &why, usize::MAX);
    say(socket, &answer).await;
}

/// Checks who it is and what he asks for, and takes the session's places.
async fn admit(
    arrived: Arrived,
    entrance: &Entrance,
    context: &Arc<Context>,
    mut admission: Admission,
) -> Result<(Attached, Terms, Vec<u8>), Refusal> {
    let Arrived {
        mut request,
        rest,
        certified,
    } = arrived;
    check_request(&request)?;
    let login = request.login.take();
    let who = identify(admission.address(), Shown { certified, login }, context).await?;
    if who.is_none() && !entrance.lets_anonymous_in() {
        return Err(Refusal::new(Reason::NotAuthorized, LOGIN_NEEDED));
    }
    let subject = who.map(|(subject, _)| subject);
    context
        .view
        .permit_connect(subject)
        .map_err(|it| Refusal::denied(&it))?;
    match subject {
        Some(_) => admission.become_known(Instant::now()),
        None => admission
            .become_anonymous(Instant::now())
            .map_err(Refusal::crowded)?,
    }
    let limits = context.limits.of(subject);
    let most = limits.client_id_bytes;
    if request.client_id.len() > most {
        let why = format!("a client identifier may have at most {most} bytes here");
        return Err(Refusal::new(Reason::ClientIdNotValid, why));
    }
    let (asked, keep_alive) = keep_alive(&request, limits);
    let assigned = request.client_id.is_empty();
    let mut claim = claim_session(&mut request, subject, context).await?;
    let asked_expiry = asked_expiry(&request, &context.limits);
    let expiry_seconds = granted_expiry(asked_expiry, claim.as_mut(), request.version, context)?;
    let guest = Guest {
        subject,
        password_set_at: who.map(|(_, position)| position),
        client_id: request.client_id.as_str().into(),
        clean: request.clean,
        expiry_seconds,
        asked_for_none: asked_expiry == 0,
        will: request.will.as_deref().map(|it| Box::new(it.into())),
        version: request.version,
        packet_bytes: request.packet_bytes,
        in_flight: request.receive_maximum.get(),
        task: poll_fn(|cx| Poll::Ready(cx.waker().clone())).await,
    };
    // The instant at which it is decided whether the session goes on, for its will and for itself.
    let now = context.clock.now();
    if let Some(claim) = &mut claim
        && let Some(last) = will_due(claim, request.clean, now)
    {
        // Before anything takes its place in the store.
        last.publish(context).await;
        claim.forget_will();
    }
    let Taken {
        attached,
        is_resumed,
        mark,
    } = Attached::take(Arc::clone(context), guest, claim, admission, now)
        .map_err(|it| Refusal::new(Reason::QuotaExceeded, it.to_string()))?;
    if !safe(&context.store, mark).await {
        let why = "the server cannot keep sessions at the moment; connect again later";
        return Err(Refusal::new(Reason::ServerUnavailable, why));
    }
    let mut connack = vec![];
    let accepted = Accepted {
        assigned_id: assigned.then_some(&request.client_id),
        session_present: is_resumed,
        session_expiry: (expiry_seconds != request.session_expiry).then_some(expiry_seconds),
        receive_maximum: limits.in_flight,
        packet_bytes: limits.packet_bytes,
        topic_aliases: limits.topic_aliases,
        keep_alive: keep_alive.filter(|it| Some(*it) != asked),
    };
    accept_connect(&mut connack, request.version, &accepted);
    let terms = Terms {
        version: request.version,
        packet_bytes: request.packet_bytes,
        topic_aliases: request.topic_aliases.min(limits.topic_aliases),
        explains: request.problem_information,
        keep_alive,
        rest,
    };
    Ok((attached, terms, connack))
}

/// Gets the session that the client asks for, after the connection that serves it has ended
/// ([MQTT-3.1.4-3]). A client without an identifier is given one that its login does not use.
/// `None` for anonymous clients.
async fn claim_session(
    request: &mut ConnectRequest,
    subject: Option<SubscriberId>,
    context: &Context,
) -> Result<Option<Claim>, Refusal> {
    while request.client_id.is_empty() {
        let id = format!("given-{:016x}", context.next_session());
        let used = subject.is_some_and(|it| context.registry.knows(&(it, id.as_str().into())));
        if !used {
            request.client_id = id;
        }
    }
    let Some(subject) = subject else {
        return Ok(None);
    };
    let key = (subject, request.client_id.as_str().into());
    match context.registry.claim(key).await {
        Ok(claim) => Ok(Some(claim)),
        Err(served) => Err(Refusal::new(Reason::ServerBusy, served.to_string())),
    }
}

/// For how many seconds the client wants its session to be kept, at most as long as the gate
/// keeps any. 3.1.1 knows two wishes only: not at all, or as long as possible.
fn asked_expiry(request: &ConnectRequest, limits: &Limits) -> u32 {
    let asked = match (request.version, request.clean) {
        (Version::V311, false) => u32::MAX,
        _ => request.session_expiry,
    };
    asked.min(limits.session_expiry_seconds())
}

/// For how many seconds it is kept.
fn granted_expiry(
    asked: u32,
    claim: Option<&mut Claim>,
    version: Version,
    context: &Context,
) -> Result<u32, Refusal> {
    // Whoever has no login owns no session: anybody could come back to it.
    let Some(claim) = claim else {
        return Ok(0);
    };
    if asked == 0 {
        return Ok(0);
    }
    match (claim.keep(), version) {
        (true, _) => Ok(asked),
        (false, Version::V5) => Ok(0),
        // It would rely on messages being kept for it, and find out too late.
        (false, Version::V311) => {
            let Limits {
                kept_sessions_per_login: most,
                ..
            } = *context.limits;
            let why = format!(
                "no more sessions can be kept, {most} for each login; connect with a clean \
                 session, or end sessions that are not used any more"
            );
            Err(Refusal::new(Reason::QuotaExceeded, why))
        }
    }
}

/// What can be said without knowing who it is.
fn check_request(request: &ConnectRequest) -> Result<(), Refusal> {
    if request.extended_authentication {
        let why = "extended authentication is not supported; send a user name and a password";
        return Err(Refusal::new(Reason::BadAuthenticationMethod, why));
    }
    if request.client_id.is_empty() && !request.clean && request.version == Version::V311 {
        // MQTT 3.1.1 [MQTT-3.1.3-8].
        return Err(Refusal::new(
            Reason::ClientIdNotValid,
            "an empty identifier needs a clean session",
        ));
    }
    let Some(will) = &request.will else {
        return Ok(());
    };
    if TopicName::parse(&will.topic).is_err() {
        return Err(Refusal::new(
            Reason::TopicNameInvalid,
            "the will's topic is not a topic",
        ));
    }
    Ok(())
}

/// The keep-alive that the client asked for, and the one that counts.
fn keep_alive(
    request: &ConnectRequest,
    limits: &ClientLimits,
) -> (Option<Duration>, Option<Duration>) {
    let asked =
        (request.keep_alive != 0).then(|| Duration::from_secs(u64::from(request.keep_alive)));
    let counts = match (asked, limits.keep_alive, request.version) {
        (Some(asked), Some(most), Version::V5) => Some(asked.min(most)),
        (None, most, _) => most,
        (asked, _, _) => asked,
    };
    (asked, counts)
}

/// Answers and hangs up.
async fn say(socket: &mut Socket, answer: &[u8]) {
    if answer.is_empty() {
        return;
    }
    // However that goes, the connection is over.
    let _ = tokio::time::timeout(HANG_UP, socket.write_all(answer)).await;
    hang_up(socket).await;
}

/// Closes a connection so that the client gets to read the last words: what it sent meanwhile is
/// thrown away, because bytes left unread would reset the connection.
pub(super) async fn hang_up(socket: &mut Socket) {
    let throw_away = async {
        let (mut chunk, mut thrown) = ([0; 1_024], 0);
        if socket.shutdown().await.is_err() {
            return;
        }
        while let Ok(count @ 1..) = socket.read(&mut chunk).await {
            thrown += count;
            if thrown > THROWN_AWAY {
                return;
            }
        }
    };
    let _ = tokio::time::timeout(HANG_UP, throw_away).await;
}
