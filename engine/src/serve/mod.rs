//! The engine: everything that runs while `tanglegate serve` runs, in one value.

mod buyers;
mod counter;
mod database;
mod following;
mod heads;
mod status;

pub(crate) use counter::Counter;
pub use database::{Database, data_dir};

use crate::config::Config;
use crate::control::{ControlServer, Desk, socket_path};
use crate::event_log::{self, Entropy};
use crate::heads::KeyFolder;
use crate::ledger::{Node, NodeLimits};
use crate::metrics::{MetricsServer, Sources};
use crate::snapshot::Taker;
use crate::writer::{self, News, Settings, StartError, Started};
use anyhow::Context;
use buyers::{Buyers, Post, Secrets, Telling};
use following::Following;
use heads::Signing;
use sqlx::postgres::PgConnectOptions;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tanglegate_broker::login::Cost;
use tanglegate_broker::{AccessView, Clock, Gate, MemoryBound};
use tracing::{debug, error, info};

/// How long clients get to say goodbye.
const FAREWELL: Duration = Duration::from_secs(2);

/// A running engine.
pub struct Engine {
    database: Database,
    writer: Started,
    doors: Doors,
}

impl Engine {
    /// Starts everything, in an order that opens the gate last: until the log is replayed nobody
    /// can ask anything.
    ///
    /// # Errors
    /// When any part cannot start; what had started is stopped again.
    pub async fn start(
        config: &Config,
        progress: impl Fn(&str) + Send + 'static,
    ) -> anyhow::Result<Self> {
        let data_dir = data_dir(config)?;
        let database = Database::open(config, &data_dir, progress).await?;
        match Self::start_on(config, &data_dir, &database).await {
            Ok((writer, doors)) => Ok(Self {
                database,
                writer,
                doors,
            }),
            Err(error) => {
                database.stop().await;
                Err(error)
            }
        }
    }

    async fn start_on(
        config: &Config,
        data_dir: &Path,
        database: &Database,
    ) -> anyhow::Result<(Started, Doors)> {
        let options = database.options();
        event_log::migrate(options).await?;
        let (view, clock) = (AccessView::new(), Clock::wall());
        let post = Post::default();
        let settings = Settings {
            node: config.node.clone(),
            past: KeyFolder::of(data_dir).past()?,
            ..Settings::default()
        };
        let writer = start_writer(options, settings, &view, &post, &clock).await?;
        info!(
            events = writer.replayed,
            "the event log is replayed and verified"
        );
        let telling = Telling {
            options,
            data_dir,
            post,
            view,
            clock,
        };
        match Self::open_doors(config, database, &writer, telling).await {
            Ok(doors) => Ok((writer, doors)),
            Err(error) => {
                writer.stop().await;
                Err(error)
            }
        }
    }

    async fn open_doors(
        config: &Config,
        database: &Database,
        writer: &Started,
        telling: Telling<'_>,
    ) -> anyhow::Result<Doors> {
        let (view, clock, data_dir) = (
            telling.view.clone(),
            telling.clock.clone(),
            telling.data_dir,
        );
        // Behind the writer: who may not write this log is told that, and not about its secrets.
        let (store, keyring) = telling.open_secrets().await?;
        let identity = keyring.identity();
        let node = match &config.ledger {
            Some(ledger) => Some((Node::new(&ledger.node_url, NodeLimits::default())?, ledger)),
            None => None,
        };
        let settings = config.gate.settings(data_dir);
        tell_bound(&settings.memory_bound());
        let gate = Gate::start(settings, view.clone(), clock.clone()).await?;
        let announcer = gate.announcer();
        let options = database.options();
        let signing = Signing::start(config, data_dir, options, writer, &clock, announcer).await?;
        let heads = signing.as_ref().map(Signing::heads);
        let asked = node.as_ref().map(|(node, _)| node.clone());
        let starting = Buyers::start(telling, keyring.clone(), writer, &gate, heads.clone());
        let mut buyers = starting.await?;
        let following =
            node.map(|(node, ledger)| Following::start(node, ledger, writer, keyring.clone()));
        let ledger = following.as_ref().map(|it| it.status.clone());
        if let Some(status) = &ledger {
            buyers.learn_chain(status.clone());
        }
        buyers.look_after(Secrets {
            store,
            keyring,
            gate: gate.correspondence(),
            clock: clock.clone(),
            chain: buyers.chain(),
            ledger: asked.zip(ledger.clone()),
        });
        let sources = Sources::new(
            gate.statistics_reader(),
            view.clone(),
            writer.contact.clone(),
            ledger,
            heads.clone(),
            &clock,
        );
        let metrics = open_metrics(config, sources).await?;
        let addresses = status::Addresses {
            mqtt: gate.local_addrs().to_vec(),
            metrics: metrics.as_ref().map(MetricsServer::local_addr),
        };
        let follows = following.as_ref();
        let status = status::source(&config.node, identity, addresses, &gate, view, follows);
        let seller = config.ledger.as_ref().map(|it| it.seller);
        let desk = Desk::new(
            writer.handle.clone(),
            database.options(),
            seller,
            Cost::OWASP,
            gate.inquiry(),
            heads,
            status,
        );
        let socket = socket_path(&run_folder(data_dir)?);
        let control = ControlServer::open(&socket, desk).await.with_context(|| {
            format!(
                "cannot open the control socket {}: is another engine using the data folder?",
                socket.display()
            )
        })?;
        let snapshots = match config.snapshot_events {
            0 => None,
            every => Some(Taker::start(options, every, writer.head.clone())?),
        };
        Ok(Doors {
            gate,
            buyers,
            following,
            signing,
            snapshots,
            metrics,
            control,
            socket,
        })
    }

    /// Where MQTT clients connect: the first listener.
    #[must_use]
    pub fn mqtt_address(&self) -> SocketAddr {
        self.doors.gate.local_addr()
    }

    /// Where all listeners are, in the order of the configuration.
    #[must_use]
    pub fn mqtt_addresses(&self) -> &[SocketAddr] {
        self.doors.gate.local_addrs()
    }

    /// Reads the certificates again, and tells what came of it. Connections that are open go on
    /// either way.
    pub fn reload_certificates(&self) {
        match self.doors.gate.reload_certificates() {
            Ok(0) => info!("no listener speaks TLS: there is nothing to read again"),
            Ok(listeners) => info!(listeners, "the certificates are read again"),
            Err(error) => error!(%error, "the certificates stay as they were"),
        }
    }

    /// The operator's door.
    #[must_use]
    pub fn control_socket(&self) -> &Path {
        &self.doors.socket
    }

    /// Completes when a part on which everything rests has ended by itself; says which.
    pub async fn failed(&mut self) -> String {
        tokio::select! {
            why = self.database.failed() => why,
            () = self.doors.gate.closed() => "the gate closed by itself; its log says why".to_owned(),
        }
    }

    /// Stops everything in order: nobody is let in, clients are told, what was submitted is
    /// committed, the database is closed.
    pub async fn stop(self) {
        self.doors.buyers.stop();
        self.doors.gate.shutdown(FAREWELL).await;
        if let Some(following) = self.doors.following {
            following.stop(&self.writer.handle).await;
        }
        self.doors.control.close().await;
        drop(self.doors.metrics);
        if let Some(signing) = self.doors.signing {
            signing.stop().await;
        }
        if let Some(snapshots) = self.doors.snapshots {
            snapshots.stop().await;
        }
        self.writer.stop().await;
        self.database.stop().await;
        info!("stopped");
    }
}

/// Starts the writer: what it records, the gate enforces and the buyers are told.
async fn start_writer(
    options: &PgConnectOptions,
    settings: Settings,
    view: &AccessView,
    post: &Post,
    clock: &Clock,
) -> Result<Started, StartError> {
    let (installed, told, delivered) = (view.clone(), view.clone(), post.clone());
    let clock = clock.clone();
    writer::start(
        options,
        settings,
        Entropy::system(),
        move || clock.now(),
        move |acl| installed.install(acl),
        move |news| match news {
            News::Recorded(events) => {
                told.apply(events);
                delivered.deliver(events);
            }
            News::Stale => told.mark_stale(),
            News::Fresh => told.mark_fresh(),
        },
    )
    .await
}

/// Says how much memory clients can make the engine use.
fn tell_bound(bound: &MemoryBound) {
    let mebibytes = bound.bytes() / (1 << 20);
    info!(
        mebibytes,
        "clients can make the gate use so much memory and no more"
    );
    debug!(%bound, "what that is for");
}

/// What people and machines come in by.
struct Doors {
    gate: Gate,
    buyers: Buyers,
    following: Option<Following>,
    signing: Option<Signing>,
    snapshots: Option<Taker>,
    metrics: Option<MetricsServer>,
    control: ControlServer,
    socket: PathBuf,
}

async fn open_metrics(config: &Config, sources: Sources) -> anyhow::Result<Option<MetricsServer>> {
    let Some(address) = config.metrics else {
        return Ok(None);
    };
    let opened = MetricsServer::open(address, sources).await;
    let server = opened.with_context(|| {
        format!(
            "cannot listen for metrics on {address}: choose another address, for example \
             metrics.listen = \"127.0.0.1:9464\""
        )
    })?;
    info!(address = %server.local_addr(), "metrics are told to whoever asks here");
    Ok(Some(server))
}

/// The folder of the control socket, which nobody but this account may enter.
fn run_folder(data_dir: &Path) -> anyhow::Result<PathBuf> {
    let folder = data_dir.join("run");
    match std::fs::DirBuilder::new().mode(0o700).create(&folder) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            Err(error).with_context(|| format!("cannot make the folder {}", folder.display()))
        }
        _ => Ok(folder),
    }
}

/// The control socket of the engine that uses this configuration.
///
/// # Errors
/// When no data folder is known.
pub fn control_socket(config: &Config) -> anyhow::Result<PathBuf> {
    Ok(socket_path(&data_dir(config)?.join("run")))
}
