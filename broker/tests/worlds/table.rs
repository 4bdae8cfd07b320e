//! A gate on which worlds are played.

use crate::line::{Broken, Hello, Line, broken, packet, text};
use tanglegate_core::{Access, Audience, SubscriberId};
use tanglegate_stage::{Stage, after};

pub(crate) const NAMES: [&str; 2] = ["ana", "bob"];
/// The topic of marks: whoever has received a mark has received everything before it.
pub(crate) const MARK: &str = "mark";
/// Seconds that a session is kept which is kept for good.
pub(crate) const FOREVER: u32 = u32::MAX;

/// A gate on which worlds are played, one after the other.
pub(crate) struct Table {
    /// The gate runs on it.
    _runtime: tokio::runtime::Runtime,
    pub(crate) stage: Stage,
    pub(crate) subscribers: [SubscriberId; 2],
    /// Publishes marks.
    pub(crate) control: Line,
    /// The best QoS that the gate announces.
    pub(crate) most_qos: u8,
    /// True when sessions may outlive their connection.
    pub(crate) keeps: bool,
    pub(crate) lines: u64,
    pub(crate) marks: u64,
    pub(crate) now: u64,
}

impl Table {
    pub(crate) fn new() -> Result<Self, Broken> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .map_err(|error| broken!("no runtime: {error}"))?;
        let mut stage = runtime.block_on(Stage::new());
        let subscribers = NAMES.map(|name| stage.register(name));
        let control = stage.register("control");
        stage.give(Audience::Subscriber(control), "#", Access::ReadWrite);
        stage.give_everyone("wild/#", Access::ReadWrite);
        for subscriber in subscribers {
            stage.give(
                Audience::Subscriber(subscriber),
                "free/#",
                Access::ReadWrite,
            );
            stage.give(Audience::Subscriber(subscriber), "paid/#", Access::Write);
            stage.give(Audience::Subscriber(subscriber), MARK, Access::Read);
        }
        let hello = Hello {
            version: 5,
            id: "control",
            login: Some("control"),
            clean: true,
            expiry: FOREVER,
            receive_maximum: u16::MAX,
        };
        let (control, answer) = Line::open(stage.address(), 0, &hello)?;
        // Only properties of a CONNACK without texts before them are looked for.
        let has = |property: &[u8]| answer.windows(property.len()).any(|it| it == property);
        let table = Self {
            _runtime: runtime,
            stage,
            subscribers,
            control,
            most_qos: if has(&[0x24, 1]) { 1 } else { 2 },
            keeps: !has(&[0x11, 0, 0, 0, 0]),
            lines: 0,
            marks: 0,
            now: 0,
        };
        Ok(table)
    }

    /// Publishes a mark; everything that was taken over before comes before it.
    pub(crate) fn mark(&mut self) -> Result<u64, Broken> {
        self.marks += 1;
        self.publish(MARK, &self.marks.to_string(), false)?;
        Ok(self.marks)
    }

    pub(crate) fn publish(
        &mut self,
        topic: &str,
        payload: &str,
        retain: bool,
    ) -> Result<(), Broken> {
        let body = [&text(topic)[..], &[0], payload.as_bytes()].concat();
        self.control.send(&packet(0x30 | u8::from(retain), &body))
    }

    pub(crate) fn advance(&mut self, millis: u64) {
        self.now += millis;
        self.stage.hand.advance_to(after(self.now));
    }

    /// No session has panicked and no record was lost.
    pub(crate) fn is_sound(&self) -> Result<(), Broken> {
        let statistics = self.stage.statistics();
        if statistics.panicked_sessions > 0 || statistics.lost_records > 0 {
            return Err(broken!("a defect was counted: {statistics:#?}"));
        }
        Ok(())
    }
}
