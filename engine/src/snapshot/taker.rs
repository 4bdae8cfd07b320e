//! Takes snapshots while the engine runs, in a thread that gives way to all others.

use super::take::{Next, Taken, take_next};
use crate::event_log::{EventLog, EventLogError, Head};
use sqlx::postgres::PgConnectOptions;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use tanglegate_core::Position;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tracing::{debug, error, info, warn};

/// How much this thread gives way: of two that want the processor, it gets a seventieth.
const NICE: i32 = 19;
/// Pause after something went wrong.
const PAUSE: Duration = Duration::from_secs(60);
/// How long a stop waits for the events that are being folded.
const PATIENCE: Duration = Duration::from_secs(5);

/// Pauses in which a stop is looked for.
const LOOK: Duration = Duration::from_millis(200);

/// Takes them, in a thread of its own.
pub struct Taker {
    stopping: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Taker {
    /// Takes one behind every `every` events, those first that the log has already. Nobody waits
    /// for it: it reads through a connection of its own.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(
        options: &PgConnectOptions,
        every: u64,
        head: watch::Receiver<Head>,
    ) -> io::Result<Self> {
        let stopping = Arc::new(AtomicBool::new(false));
        let mut taking = Taking {
            options: options.clone(),
            every,
            head,
            stopping: Arc::clone(&stopping),
        };
        let thread = std::thread::Builder::new().name("snapshots".to_owned());
        let thread = thread.spawn(move || {
            // On Linux this is of the thread, and of those that it starts.
            if let Err(error) = rustix::process::nice(NICE) {
                debug!(%error, "snapshots are taken no more gently than all else");
            }
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            match runtime {
                Ok(runtime) => runtime.block_on(taking.run()),
                Err(error) => warn!(%error, "no snapshots are taken"),
            }
        })?;
        Ok(Self { stopping, thread })
    }

    /// Stops soon; a snapshot that is not finished is taken another time.
    pub async fn stop(self) {
        self.stopping.store(true, Ordering::Relaxed);
        let ended = tokio::task::spawn_blocking(move || self.thread.join());
        match timeout(PATIENCE, ended).await {
            Ok(Ok(Ok(()))) => {}
            Ok(_) => error!("the taking of snapshots failed"),
            Err(_) => debug!("a snapshot was under way when the engine stopped"),
        }
    }
}

struct Taking {
    options: PgConnectOptions,
    every: u64,
    head: watch::Receiver<Head>,
    stopping: Arc<AtomicBool>,
}

impl Taking {
    async fn run(&mut self) {
        // Events of the log at which the next snapshot is due; not known at first.
        let mut due = Position(0);
        while !self.stopping() {
            if Position(self.head.borrow().size) >= due {
                match self.take().await {
                    Ok(Next::Later(at)) => due = at,
                    Ok(Next::Taken(_) | Next::Stopped) => {}
                    Ok(Next::Elsewhere) => self.wait(PAUSE).await,
                    Err(error) => {
                        warn!(%error, "no snapshot is taken; trying again in a minute");
                        self.wait(PAUSE).await;
                    }
                }
            }
            self.wait(LOOK).await;
        }
    }

    async fn take(&self) -> Result<Next, EventLogError> {
        let mut log = EventLog::open(&self.options).await?;
        loop {
            let begun = Instant::now();
            let next = take_next(&mut log, self.every, || !self.stopping()).await?;
            let Next::Taken(Taken { position, bytes }) = next else {
                log.close().await;
                return Ok(next);
            };
            let ms = begun.elapsed().as_millis();
            info!(%position, bytes, ms, "a snapshot of the log is taken");
        }
    }

    fn stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// Waits, but for a stop not long.
    async fn wait(&self, pause: Duration) {
        let until = Instant::now() + pause;
        while !self.stopping() && Instant::now() < until {
            tokio::time::sleep(LOOK.min(pause)).await;
        }
    }
}
