//! The gate against Mosquitto, and permits among a million leases.
//!
//! Both servers enforce the same rights: the publisher may write one topic and the readers may
//! read it, Mosquitto by its ACL file, the gate by a rule and by leases. The load comes over
//! real sockets from threads of their own and is encoded before the clock starts.

mod load;
mod permits;
mod rival;

use load::Load;
use rival::Mosquitto;
use std::fmt::Write;
use std::net::SocketAddr;
use std::time::Duration;
use tanglegate_broker::login::{Cost, make_verifier};
use tanglegate_broker::{AccessView, Clock, Gate, Limits};
use tanglegate_core::{
    Access, Acl, Audience, Digest, Event, Nanos, OfferId, PaymentId, Position, Recorded, Rule,
    RuleId, SubscriberId, Tariff, Timestamp, TopicFilter, Username,
};

/// The one topic of all loads.
const TOPIC: &str = "bench/live";
/// Who publishes. The password is the name.
const WRITER: &str = "writer";
/// Who reads.
const READER: &str = "reader";

/// What to measure.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How long each load runs on each server, each time.
    pub load: Duration,
    /// How often the servers take turns; the median counts.
    pub rounds: usize,
    /// Bytes of each message.
    pub payload: usize,
    /// Leases to ask for permits among.
    pub leases: usize,
    /// Idle connections to weigh.
    pub idle: usize,
    /// Measure only what has this in its name, e.g. `latency` or `QoS 1`.
    pub only: Option<String>,
}

impl Settings {
    fn wants(&self, what: &str) -> bool {
        self.only.as_ref().is_none_or(|it| what.contains(&**it))
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            load: Duration::from_secs(3),
            rounds: 3,
            payload: 100,
            leases: 1_000_000,
            idle: 2_000,
            only: None,
        }
    }
}

/// Measures everything; returns a text with the tables.
///
/// # Errors
/// When a server cannot be started or does not answer.
pub async fn run(settings: Settings) -> anyhow::Result<String> {
    let (leases, wanted) = (settings.leases, settings.wants("permit"));
    let permits = tokio::task::spawn_blocking(move || {
        if wanted {
            permits::measure(leases)
        } else {
            Ok(String::new())
        }
    });
    let permits = permits.await??;
    let mut text = String::new();
    let rival = Mosquitto::start().await?;
    if rival.is_none() {
        text += "Mosquitto is not installed: no comparison. With Debian: apt install mosquitto\n";
    }
    let (gate, _view) = start_gate().await?;
    let gate = gate.local_addr();
    let found = rival.as_ref().map(|it| (it.address(), it.process()));
    let compare = move || compare(&settings, gate, found);
    let rows = tokio::task::spawn_blocking(compare).await??;
    text += &table(&rows);
    text += &permits;
    Ok(text)
}

/// A gate with a writer and readers whose lease ends tomorrow.
async fn start_gate() -> anyhow::Result<(Gate, AccessView)> {
    let (view, clock) = (AccessView::new(), Clock::wall());
    let mut settings = tanglegate_broker::Settings::new(([127, 0, 0, 1], 0).into());
    settings.limits = Limits {
        logins_waiting: 100_000,
        ..Limits::default()
    };
    settings.password_cost = Cost::LEAST;
    let gate = Gate::start(settings, view.clone(), clock.clone()).await?;
    view.install(Acl::default());
    let topic = TopicFilter::parse(TOPIC)?;
    let (writer, reader) = (SubscriberId([1; 16]), SubscriberId([2; 16]));
    let rule = Rule {
        id: RuleId([1; 16]),
        audience: Audience::Subscriber(writer),
        filter: topic.clone(),
        access: Access::Write,
    };
    let now = clock.now();
    let events = [
        registered(writer, WRITER)?,
        registered(reader, READER)?,
        Event::RuleGiven { rule },
        Event::LeaseGranted {
            subscriber: reader,
            filter: topic,
            access: Access::Read,
            from: now,
            until: now.plus_millis(86_400_000),
            offer: OfferId::parse("bench")?,
            tariff: Tariff::new(Nanos(1), 1, Nanos(1))?,
            payment: PaymentId {
                digest: Digest([0; 32]),
                index: 0,
            },
        },
    ];
    for (number, event) in (1..).zip(&events) {
        let position = Position(number);
        view.apply(&[Recorded {
            position,
            recorded_at: now,
            event,
        }]);
    }
    Ok((gate, view))
}

fn registered(subscriber: SubscriberId, name: &str) -> anyhow::Result<Event> {
    Ok(Event::SubscriberRegistered {
        subscriber,
        username: Username::parse(name)?,
        verifier: make_verifier(name.as_bytes(), subscriber.0, Cost::LEAST)?,
    })
}

/// One line of the table.
struct Row {
    what: String,
    unit: &'static str,
    gate: f64,
    rival: Option<f64>,
    /// The budget for gate / rival: at least, or at most.
    budget: Budget,
}

#[derive(Clone, Copy)]
enum Budget {
    AtLeast(f64),
    AtMost(f64),
    /// At most so much, whatever the rival does.
    Absolute(f64),
}

fn compare(
    settings: &Settings,
    gate: SocketAddr,
    found: Option<(SocketAddr, u32)>,
) -> anyhow::Result<Vec<Row>> {
    let rival = found.map(|(address, _)| address);
    let one_to_one = Load {
        writers: 1,
        readers: 1,
        qos: 0,
        payload: settings.payload,
        time: settings.load,
    };
    let mut rows = vec![];
    let what = format!("memory of {} idle connections", settings.idle);
    if settings.wants(&what) {
        // First: what a server has used once, it keeps.
        let weigh = |it, process| load::weigh_idle(it, process, settings.idle);
        let theirs = found
            .map(|(address, process)| weigh(address, process))
            .transpose()?;
        rows.push(Row {
            what,
            unit: "bytes each",
            gate: weigh(gate, std::process::id())?,
            rival: theirs,
            budget: Budget::Absolute(4_096.0),
        });
    }
    let loads = [
        (1, 1, 0, 10.0),
        (1, 100, 0, 15.0),
        (100, 1, 0, 5.0),
        (1, 1, 1, 8.0),
        (1, 100, 1, 10.0),
        (100, 1, 1, 5.0),
    ];
    for (writers, readers, qos, budget) in loads {
        let what = format!("{writers} -> {readers}, QoS {qos}");
        if settings.wants(&what) {
            let load = Load {
                writers,
                readers,
                qos,
                ..one_to_one
            };
            let (gate, rival) = alternate(settings, gate, rival, |it| load.deliveries(it))?;
            let budget = Budget::AtLeast(budget);
            rows.push(Row {
                what,
                unit: "delivered/s",
                gate,
                rival,
                budget,
            });
        }
    }
    let what = "latency 1 -> 1 at 5,000/s, p50".to_owned();
    if settings.wants(&what) {
        let (gate, rival) = alternate(settings, gate, rival, |it| one_to_one.latency(it, 5_000))?;
        rows.push(Row {
            what,
            unit: "us",
            gate,
            rival,
            budget: Budget::AtMost(1.2),
        });
    }
    Ok(rows)
}

/// Measures in turns; the medians.
fn alternate(
    settings: &Settings,
    gate: SocketAddr,
    rival: Option<SocketAddr>,
    mut measure: impl FnMut(SocketAddr) -> anyhow::Result<f64>,
) -> anyhow::Result<(f64, Option<f64>)> {
    let (mut ours, mut theirs) = (vec![], vec![]);
    for _ in 0..settings.rounds.max(1) {
        ours.push(measure(gate)?);
        if let Some(rival) = rival {
            theirs.push(measure(rival)?);
        }
    }
    Ok((median(ours).unwrap_or(0.0), median(theirs)))
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

fn table(rows: &[Row]) -> String {
    let mut text = format!(
        "{:<36}{:>14}{:>14}{:>9}  {:<12}\n",
        "", "gate", "Mosquitto", "ratio", "budget"
    );
    for row in rows {
        let ratio = row.rival.map(|it| row.gate / it);
        let (budget, kept) = match row.budget {
            Budget::AtLeast(least) => (format!(">= {least}"), ratio.map(|it| it >= least)),
            Budget::AtMost(most) => (format!("<= {most}"), ratio.map(|it| it <= most)),
            Budget::Absolute(most) => (format!("<= {most} B"), Some(row.gate <= most)),
        };
        let what = format!("{}, {}", row.what, row.unit);
        let verdict = match kept {
            Some(true) => "kept",
            Some(false) => "MISSED",
            None => "not compared",
        };
        let rival = row.rival.map_or("-".to_owned(), |it| format!("{it:.0}"));
        let ratio = ratio.map_or("-".to_owned(), |it| format!("{it:.2}"));
        writeln!(
            text,
            "{what:<36}{:>14.0}{rival:>14}{ratio:>9}  {budget:<10}{verdict}",
            row.gate
        )
        .expect("writing to a String cannot fail");
    }
    text
}

/// An instant for events that no clock has to see.
const LONG_AGO: Timestamp = Timestamp(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn a_short_run_measures_everything() {
        let settings = Settings {
            load: Duration::from_millis(100),
            rounds: 1,
            payload: 20,
            leases: 1_000,
            idle: 20,
            only: None,
        };
        let text = run(settings).await.expect("it runs");
        assert!(text.contains("1 -> 100, QoS 1"), "{text}");
        assert!(text.contains("ns per permit"), "{text}");
    }
}
