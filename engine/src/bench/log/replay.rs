//! Reading the whole log, beside draining it.

use super::ROUNDS;
use super::append::submit_all;
use super::floor::drain;
use super::ground::{self, Ground, owner};
use super::load::{Load, Shape};
use super::report::{Budget, Line, grouped, median, per_second};
use crate::event_log::{EventLog, decode};
use crate::projections;
use crate::writer::Memory;
use sqlx::Executor;
use sqlx::postgres::PgConnectOptions;
use std::path::Path;
use std::time::{Duration, Instant};
use tanglegate_core::{Position, Recorded};
use tanglegate_crypto::Frontier;

/// Commands that are handed over at a time while the log is filled.
const CHUNK: u64 = 20_000;

/// A way to read the log: what it is called, and what it should reach of draining.
#[derive(Clone, Copy)]
enum Reading {
    Verified,
    Folded,
    Both,
    Rebuilt,
}

impl Reading {
    const ALL: [Self; 4] = [Self::Verified, Self::Folded, Self::Both, Self::Rebuilt];

    fn describe(self) -> (&'static str, Budget) {
        match self {
            Self::Verified => ("replay, decoded and verified", Budget::AtLeast(0.65)),
            Self::Folded => (
                "replay, decoded and folded into memory",
                Budget::AtLeast(0.80),
            ),
            Self::Both => ("replay, decoded, verified and folded", Budget::None),
            Self::Rebuilt => ("projections rebuilt in PostgreSQL", Budget::AtLeast(0.40)),
        }
    }

    async fn run(self, log: &mut Log) -> anyhow::Result<Duration> {
        let started = Instant::now();
        match self {
            Self::Verified => log.verify().await?,
            Self::Folded => log.fold().await?,
            Self::Both => log.verify_and_fold().await?,
            Self::Rebuilt => log.rebuild().await?,
        }
        Ok(started.elapsed())
    }
}

/// A filled log.
pub(super) struct Log {
    pub(super) options: PgConnectOptions,
    pub(super) events: u64,
    /// How long appending them took.
    pub(super) appended: Duration,
}

impl Log {
    /// A log of at least so many events; with a data folder, its heads are signed as usual.
    pub(super) async fn filled(
        ground: &Ground,
        name: &'static str,
        shape: Shape,
        events: u64,
        data_dir: Option<&Path>,
    ) -> anyhow::Result<Self> {
        let options = ground.database(name).await?;
        let writer = ground::writer(&options).await?;
        let signer = match data_dir {
            Some(folder) => Some(ground::signer(&options, &writer, folder).await?),
            None => None,
        };
        let mut load = Load::new(shape);
        submit_all(&writer.handle, load.prepare()).await?;
        let mut log = Self {
            options,
            events: 0,
            appended: Duration::ZERO,
        };
        while log.events < events {
            log.appended += submit_all(&writer.handle, load.take(CHUNK)).await?;
            log.events = EventLog::open(&log.options).await?.head().await?.size;
        }
        if let Some(signer) = signer {
            signer.stop().await;
        }
        writer.stop().await;
        let mut owner = owner(&log.options).await?;
        owner.execute("vacuum analyze").await?;
        owner.execute("checkpoint").await?;
        Ok(log)
    }

    pub(super) async fn drain(&self) -> anyhow::Result<Duration> {
        let mut connection = owner(&self.options).await?;
        Ok(drain(&mut connection).await?.1)
    }

    async fn verify(&self) -> anyhow::Result<()> {
        let mut log = EventLog::open(&self.options).await?;
        let vault = log.vault().await?;
        log.replay(&mut Frontier::default(), &vault, |_| Ok(()))
            .await?;
        Ok(())
    }

    async fn fold(&self) -> anyhow::Result<()> {
        let mut log = EventLog::open(&self.options).await?;
        let vault = log.vault().await?;
        let mut memory = Memory::default();
        log.read(1, self.events, |stored, _| {
            let position = stored.position;
            let event = decode(stored.kind, stored.schema_version, stored.body, &vault)
                .map_err(|source| crate::event_log::EventLogError::Body { position, source })?;
            let (position, recorded_at) = (Position(position), stored.recorded_at);
            Ok(memory.fold(Recorded {
                position,
                recorded_at,
                event: &event,
            })?)
        })
        .await?;
        Ok(())
    }

    async fn verify_and_fold(&self) -> anyhow::Result<()> {
        let mut log = EventLog::open(&self.options).await?;
        let vault = log.vault().await?;
        let mut memory = Memory::default();
        log.replay(&mut Frontier::default(), &vault, |replayed| {
            Ok(memory.fold(replayed.recorded())?)
        })
        .await?;
        Ok(())
    }

    async fn rebuild(&self) -> anyhow::Result<()> {
        let mut log = EventLog::open(&self.options).await?;
        let mut connection = owner(&self.options).await?;
        projections::rebuild(&mut log, &mut connection).await?;
        Ok(())
    }
}

pub(super) async fn measure(
    ground: &Ground,
    shape: Shape,
    events: u64,
) -> anyhow::Result<Vec<Line>> {
    let name = if shape == Shape::Terms {
        "replay_terms"
    } else {
        "replay_mixed"
    };
    let mut log = Log::filled(ground, name, shape, events, None).await?;
    log.drain().await?;
    let mut lines = Vec::new();
    for reading in Reading::ALL {
        let (what, budget) = reading.describe();
        let mut figures = Figures::default();
        for _ in 0..ROUNDS {
            figures.add(reading.run(&mut log).await?, log.drain().await?);
        }
        lines.push(figures.rates(format!("{what}, {}", shape.describe()), log.events, budget));
    }
    Ok(lines)
}

pub(super) async fn start(ground: &Ground, shape: Shape, events: u64) -> anyhow::Result<Line> {
    let log = Log::filled(ground, "start", shape, events, None).await?;
    log.drain().await?;
    let mut figures = Figures::default();
    for _ in 0..ROUNDS {
        let began = Instant::now();
        let writer = ground::writer(&log.options).await?;
        let took = began.elapsed();
        writer.stop().await;
        figures.add(took, log.drain().await?);
    }
    let (took, drained) = (figures.took(), figures.drained());
    #[expect(clippy::cast_precision_loss, reason = "for people")]
    Ok(Line {
        what: format!("start with {} events", grouped(log.events as f64)),
        measured: format!("{:.2} s", took.as_secs_f64()),
        floor: format!("draining: {:.2} s", drained.as_secs_f64()),
        ratio: 1.0 / figures.ratio(),
        budget: Budget::AtMost(2.0),
    })
}

/// Times of alternating rounds.
#[derive(Default)]
struct Figures(Vec<(Duration, Duration)>);

impl Figures {
    fn add(&mut self, took: Duration, drained: Duration) {
        self.0.push((took, drained));
    }

    fn took(&self) -> Duration {
        median(self.0.iter().map(|it| it.0).collect()).unwrap_or_default()
    }

    fn drained(&self) -> Duration {
        median(self.0.iter().map(|it| it.1).collect()).unwrap_or_default()
    }

    /// The rate as a share of draining's.
    fn ratio(&self) -> f64 {
        let ratios = self
            .0
            .iter()
            .map(|it| it.1.as_secs_f64() / it.0.as_secs_f64());
        median(ratios.collect()).unwrap_or_default()
    }

    fn rates(&self, what: String, events: u64, budget: Budget) -> Line {
        #[expect(clippy::cast_precision_loss, reason = "a rate")]
        let events = events as f64;
        Line {
            what,
            measured: per_second(events, self.took(), "events"),
            floor: format!("draining: {}", per_second(events, self.drained(), "events")),
            ratio: self.ratio(),
            budget,
        }
    }
}
