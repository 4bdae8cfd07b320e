//! The gate as a whole: started, asked for its counters, shut down.

mod context;

pub(crate) use context::{Budgets, Context, Phase};

use crate::access::AccessView;
use crate::alarm::Alarm;
use crate::clock::Clock;
use crate::correspondence::Correspondence;
use crate::door::Door;
use crate::entrance::{self, Entrance, ListenerSettings, TlsError};
use crate::inquiry::Inquiry;
use crate::keeper;
use crate::limits::Limits;
use crate::listener::{listen, reached};
use crate::login::{Cost, CostError, LoginDesk};
use crate::message::StoredMessage;
use crate::registry::Registry;
use crate::retained::Retained;
use crate::router::{self, LogReader};
use crate::session;
use crate::shard::Shard;
use crate::statistics::{Counters, Statistics, StatisticsReader};
use crate::store::{Restored, Store, StoreError, StoreSettings};
use crate::sys;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use zeroize::Zeroizing;

/// Connections that may wait to be accepted; the system has a bound of its own
/// (`net.core.somaxconn`). What does not fit is lost without a word when many connect at once.
const BACKLOG: u32 = 4_096;
/// Milliseconds between two looks for retained messages that have expired. Nobody gets them
/// meanwhile; they only take room.
const EXPIRY_LOOK: u64 = 10_000;

/// How a gate is set up.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where it listens for MQTT, at least in one place.
    pub listeners: Vec<ListenerSettings>,
    /// Its bounds.
    pub limits: Limits,
    /// Tasks that pass messages on; one per processor is right. At least 1.
    pub shards: usize,
    /// What checking a password usually costs: unknown names take as long.
    pub password_cost: Cost,
    /// How often statistics are published on `$SYS/broker/…`; `None`: never.
    pub sys_interval: Option<Duration>,
    /// Where sessions, queued messages and retained messages are kept. Without it they end with
    /// the gate.
    pub store: Option<StoreSettings>,
}

impl Settings {
    /// The usual settings, with one listener for MQTT over TCP, port 0 being any free one, and
    /// without statistics on topics.
    #[must_use]
    pub fn new(listen: SocketAddr) -> Self {
        Self {
            listeners: vec![ListenerSettings::new(listen)],
            limits: Limits::default(),
            shards: std::thread::available_parallelism().map_or(1, usize::from),
            password_cost: Cost::OWASP,
            sys_interval: None,
            store: None,
        }
    }
}

/// A gate that cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum GateError {
    /// The address cannot be listened on.
    #[error(
        "cannot listen for MQTT on {address}: {error}; is another server running there? \
         Choose another address, for example 127.0.0.1:1883"
    )]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why not.
        error: std::io::Error,
    },
    /// There is nowhere to listen.
    #[error("the gate has no listener; give it one, for example on 127.0.0.1:1883")]
    NoListener,
    /// The files of a listener's TLS are of no use.
    #[error("the listener on {address} cannot speak TLS: {error}")]
    Tls {
        /// Where.
        address: SocketAddr,
        /// Why not.
        error: Box<TlsError>,
    },
    /// The cost of passwords is impossible.
    #[error(transparent)]
    Cost(#[from] CostError),
    /// There are no random numbers.
    #[error("the operating system gives no random numbers: {0}; is /dev/urandom there?")]
    Randomness(String),
    /// Sessions and messages cannot be kept where they are to be.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The message log does not start.
    #[error("{0}")]
    Log(String),
}

/// A running gate. Dropping it shuts it at once.
pub struct Gate {
    /// Where it listens, in the order of the settings; at least one.
    addresses: Vec<SocketAddr>,
    entrances: Vec<Arc<Entrance>>,
    context: Arc<Context>,
    listening: JoinHandle<()>,
    working: Vec<JoinHandle<()>>,
}

impl Gate {
    /// Starts a gate that asks `view` what clients may do.
    ///
    /// # Errors
    /// When it cannot listen, or settings are impossible.
    pub async fn start(
        settings: Settings,
        view: AccessView,
        clock: Clock,
    ) -> Result<Self, GateError> {
        let Settings {
            listeners,
            limits,
            shards,
            password_cost,
            sys_interval,
            store,
        } = settings;
        let mut key = Zeroizing::new([0; 32]);
        getrandom::fill(&mut *key).map_err(|error| GateError::Randomness(error.to_string()))?;
        let logins = LoginDesk::new(&limits, password_cost, key)?;
        let opened = open_listeners(listeners)?;
        let (store, restored) = open_store(store).await?;
        let highest = restored.sessions.iter().map(|it| it.session).max();
        let highest = highest.unwrap_or(0);
        let (log, readers) = router::start(shards.max(1), limits.log_bytes)
            .map_err(|stopped| GateError::Log(stopped.to_string()))?;
        let counters = Arc::<Counters>::default();
        let retained = restore_retained(&limits, &store, restored.retained);
        let shards = (0..readers.len())
            .map(|it| Arc::new(Shard::new(it, Arc::clone(&retained), Arc::clone(&counters))))
            .collect();
        let correspondence = Correspondence::new(&limits, clock.clone(), Arc::clone(&counters));
        let context = Arc::new(Context {
            view,
            clock,
            log,
            shards,
            retained,
            registry: Registry::new(limits.kept_sessions, limits.kept_sessions_per_login),
            store,
            alarm: Alarm::default(),
            logins,
            door: Arc::new(Door::new(limits.clone(), Arc::clone(&counters))),
            budgets: Budgets::new(&limits),
            correspondence,
            limits: Arc::new(limits),
            counters,
            phase: watch::Sender::new(Phase::Open),
            sessions: AtomicU64::new(highest),
        });
        for session in restored.sessions {
            session::restore(&context, session);
        }
        let mut working = serve_shards(&context, readers);
        let alarm = Arc::clone(&context);
        working.push(tokio::spawn(
            async move { alarm.alarm.ring(&alarm.clock).await },
        ));
        let keeper = Arc::clone(&context);
        working.push(tokio::spawn(async move { keeper::keep(&keeper).await }));
        if let Some(interval) = sys_interval {
            let (context, statistics) = (Arc::clone(&context), context.statistics_reader());
            working.push(tokio::spawn(async move {
                sys::tell(&context, statistics, interval).await;
            }));
        }
        working.extend(care_for_messages(&context));
        let shown = opened.iter().map(|it| Arc::clone(&it.2)).collect();
        working.push(tokio::spawn(entrance::watch_certificates(
            shown,
            context.clock.clone(),
        )));
        let phase = context.phase.subscribe();
        let (mut addresses, mut entrances, mut listening) = (vec![], vec![], JoinSet::new());
        for (listener, address, entrance) in opened {
            addresses.push(address);
            entrances.push(Arc::clone(&entrance));
            let (context, phase) = (Arc::clone(&context), phase.clone());
            listening.spawn(listen(listener, entrance, context, phase));
        }
        Ok(Self {
            addresses,
            entrances,
            context,
            listening: tokio::spawn(async move { drop(listening.join_all().await) }),
            working,
        })
    }

    /// Where its first listener is.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.addresses[0]
    }

    /// Where its listeners are, in the order of the settings.
    #[must_use]
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Reads the files of TLS again. Connections that begin from now on see what is in them;
    /// those that are open go on. Returns how many listeners speak TLS.
    ///
    /// # Errors
    /// When a file of any listener is of no use; then all go on with what they had.
    pub fn reload_certificates(&self) -> Result<usize, GateError> {
        let mut prepared = vec![];
        for (entrance, address) in self.entrances.iter().zip(&self.addresses) {
            let address = *address;
            let tls = entrance.prepare();
            let tls = tls.map_err(|error| unusable(address, error))?;
            prepared.extend(tls.map(|it| (entrance, it)));
        }
        let count = prepared.len();
        for (entrance, tls) in prepared {
            entrance.take_over(tls);
        }
        Ok(count)
    }

    /// What the engine announces by.
    #[must_use]
    pub fn announcer(&self) -> sys::Announcer {
        sys::Announcer::new(Arc::clone(&self.context))
    }

    /// What the engine and single clients tell each other by.
    #[must_use]
    pub fn correspondence(&self) -> Correspondence {
        self.context.correspondence.clone()
    }

    /// What the gate did, for whoever wants to look at any time.
    #[must_use]
    pub fn statistics_reader(&self) -> StatisticsReader {
        let addresses = self.addresses.iter().copied();
        StatisticsReader {
            entrances: addresses.zip(self.entrances.iter().cloned()).collect(),
            ..self.context.statistics_reader()
        }
    }

    /// Says what the gate would say, for an operator who wants to know why.
    #[must_use]
    pub fn inquiry(&self) -> Inquiry {
        let Context {
            view,
            clock,
            limits,
            correspondence,
            ..
        } = &*self.context;
        let anonymous = self.entrances.iter().any(|it| it.lets_anonymous_in());
        Inquiry {
            view: view.clone(),
            clock: clock.clone(),
            limits: Arc::clone(limits),
            correspondence: correspondence.clone(),
            anonymous,
        }
    }

    /// What it did so far.
    #[must_use]
    pub fn statistics(&self) -> Statistics {
        self.statistics_reader().read()
    }

    /// Returns once the gate lets nobody in any more, be it that it was shut down or that its
    /// message log or its store has stopped, which only a restart mends.
    pub async fn closed(&self) {
        reached(&mut self.context.phase.subscribe(), Phase::Closing).await;
    }

    /// Takes leave of every client (MQTT 5.0: DISCONNECT 0x8B); whoever is not gone within
    /// `patience` is cut off.
    pub async fn shutdown(mut self, patience: Duration) {
        self.context.close();
        if tokio::time::timeout(patience, &mut self.listening)
            .await
            .is_err()
        {
            self.context.phase.send_replace(Phase::Shut);
            let _ = (&mut self.listening).await;
        }
        if !self.context.store.is_durable() {
            let ended = keeper::end_all(&self.context);
            let _ = tokio::time::timeout(patience, ended).await;
        }
        // What shards have yet to record belongs into the store, too.
        let drained = async {
            while !self.context.log.is_idle() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let _ = tokio::time::timeout(patience, drained).await;
        if let Err(error) = self.context.store.clone().close().await {
            tracing::error!(%error, "the last changes of sessions are not stored");
        }
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.context.phase.send_replace(Phase::Shut);
        self.listening.abort();
        self.working.iter().for_each(JoinHandle::abort);
    }
}

fn unusable(address: SocketAddr, error: TlsError) -> GateError {
    let error = Box::new(error);
    GateError::Tls { address, error }
}

fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // The port of a server that has just stopped is free, though its connections linger.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Opens all listeners, or none.
fn open_listeners(
    listeners: Vec<ListenerSettings>,
) -> Result<Vec<(TcpListener, SocketAddr, Arc<Entrance>)>, GateError> {
    if listeners.is_empty() {
        return Err(GateError::NoListener);
    }
    let mut opened = vec![];
    for settings in listeners {
        let address = settings.address;
        let unopened = |error| GateError::Listen { address, error };
        let entrance = Entrance::new(settings).map_err(|error| unusable(address, error))?;
        let listener = bind(address).map_err(unopened)?;
        let address = listener.local_addr().map_err(unopened)?;
        opened.push((listener, address, Arc::new(entrance)));
    }
    Ok(opened)
}

/// Closes the gate when it is dropped.
struct Closing(Arc<Context>);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.close();
    }
}

fn serve_shards(context: &Arc<Context>, readers: Vec<LogReader>) -> Vec<JoinHandle<()>> {
    let serve = |(shard, reader): (&Arc<Shard>, LogReader)| {
        let (shard, context) = (Arc::clone(shard), Arc::clone(context));
        tokio::spawn(async move {
            // Also when it panics: without one of its shards the gate must not stay open.
            let closing = Closing(context);
            let stopped = shard.serve(reader, closing.0.clock.clone()).await;
            tracing::error!(shard = shard.number, %stopped, "the gate closes");
        })
    };
    context.shards.iter().zip(readers).map(serve).collect()
}

/// Opens the store, which reads everything in it.
async fn open_store(settings: Option<StoreSettings>) -> Result<(Store, Restored), StoreError> {
    let Some(settings) = settings else {
        return Ok((Store::memory(), Restored::default()));
    };
    tokio::task::spawn_blocking(move || Store::open(&settings))
        .await
        .unwrap_or_else(|ended| std::panic::resume_unwind(ended.into_panic()))
}

fn restore_retained(
    limits: &Limits,
    store: &Store,
    messages: Vec<(u8, StoredMessage)>,
) -> Arc<Retained> {
    let (count, bytes) = (limits.retained_messages, limits.retained_bytes);
    let retained = Retained::new(count, bytes, store.clone());
    let left_out = retained.restore(messages);
    if left_out > 0 {
        tracing::warn!(left_out, "retained messages have no room and are forgotten");
    }
    Arc::new(retained)
}

/// Removes retained messages and answers that have expired, and closes the gate when the store fails: what
/// it acknowledged then would not be safe.
fn care_for_messages(context: &Arc<Context>) -> [JoinHandle<()>; 2] {
    let (expiring, watching) = (Arc::clone(context), Arc::clone(context));
    let expire = async move {
        loop {
            let now = expiring.clock.now();
            while expiring.retained.expire(now).is_some_and(|it| it <= now) {
                tokio::task::yield_now().await;
            }
            expiring.correspondence.expire(now);
            expiring.clock.reached(now.plus_millis(EXPIRY_LOOK)).await;
        }
    };
    let watch = async move {
        let error = watching.store.failed().await;
        tracing::error!(%error, "the gate closes");
        watching.close();
    };
    [tokio::spawn(expire), tokio::spawn(watch)]
}
