//! Plays a world against a real gate, and holds what the two clients see against the model.

use crate::line::{Broken, Hello, Line, Message, broken, packet, text};
use crate::peer::{Incoming, Number, Outgoing, Peer, Published};
use crate::step::{FILTERS, Options, PAID, Step, TOPICS, Who};
use std::collections::BTreeMap;
use tanglegate_core::{Access, Audience, SubscriberId};
use tanglegate_stage::{Stage, after};

const NAMES: [&str; 2] = ["ana", "bob"];
/// The topic of marks: whoever has received a mark has received everything before it.
const MARK: &str = "mark";
/// Messages of its own that a client has in flight at most.
const OUTGOING: usize = 20;
const FOREVER: u32 = u32::MAX;

/// A gate on which worlds are played, one after the other.
pub(crate) struct Table {
    /// The gate runs on it.
    _runtime: tokio::runtime::Runtime,
    stage: Stage,
    subscribers: [SubscriberId; 2],
    /// Publishes marks.
    control: Line,
    /// The best QoS that the gate announces.
    most_qos: u8,
    /// True when sessions may outlive their connection.
    keeps: bool,
    lines: u64,
    marks: u64,
    now: u64,
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
    fn mark(&mut self) -> Result<u64, Broken> {
        self.marks += 1;
        self.publish(MARK, &self.marks.to_string(), false)?;
        Ok(self.marks)
    }

    fn publish(&mut self, topic: &str, payload: &str, retain: bool) -> Result<(), Broken> {
        let body = [&text(topic)[..], &[0], payload.as_bytes()].concat();
        self.control.send(&packet(0x30 | u8::from(retain), &body))
    }

    fn advance(&mut self, millis: u64) {
        self.now += millis;
        self.stage.hand.advance_to(after(self.now));
    }

    /// No session has panicked and no record was lost.
    fn is_sound(&self) -> Result<(), Broken> {
        let statistics = self.stage.statistics();
        if statistics.panicked_sessions > 0 || statistics.lost_records > 0 {
            return Err(broken!("a defect was counted: {statistics:#?}"));
        }
        Ok(())
    }
}

/// Two clients, what they did, and what they are promised.
pub(crate) struct World<'a> {
    table: &'a mut Table,
    peers: [Peer; 2],
    messages: Vec<Published>,
    /// QoS 0 messages and retained ones that the gate may not have read yet.
    unsettled: Vec<Number>,
    /// Which message each topic may have kept.
    retained: BTreeMap<usize, Vec<Number>>,
}

/// What came, for whoever waits for something.
#[derive(Debug, PartialEq, Eq)]
enum Heard {
    Pong,
    Codes(Vec<u8>),
    Unsubscribed,
    Mark(u64),
    Other,
}

/// Plays a whole world, and cleans up behind it.
pub(crate) fn play(table: &mut Table, steps: &[(Step, Vec<u8>)]) -> Result<(), Broken> {
    let mut world = World {
        table,
        peers: Default::default(),
        messages: vec![],
        unsettled: vec![],
        retained: BTreeMap::new(),
    };
    for (at, (step, noise)) in steps.iter().enumerate() {
        let done = world.step(*step, noise);
        done.map_err(|Broken(words)| broken!("step {at}, {step:?}: {words}"))?;
    }
    let done = world.finish();
    done.map_err(|Broken(words)| broken!("at the end: {words}"))
}

impl World<'_> {
    fn step(&mut self, step: Step, noise: &[u8]) -> Result<(), Broken> {
        match step {
            Step::Connect {
                who,
                version,
                clean,
                keep,
                receive_maximum,
            } => self.connect(who, version, clean, keep, receive_maximum),
            Step::Break { who, settled } => self.break_off(who, settled),
            Step::Leave { who } => self.leave(who),
            Step::Subscribe {
                who,
                filter,
                options,
            } => self.subscribe(who, filter, options),
            Step::Unsubscribe { who, filter } => self.unsubscribe(who, filter),
            Step::Publish {
                who,
                topic,
                qos,
                retain,
                large,
                hold,
            } => {
                self.peers[who].holding |= hold && qos == 2;
                self.publish(who, topic, qos, retain, large)
            }
            Step::Acknowledge { who, count } => self.acknowledge(who, count),
            Step::Release { who } => self.release(who),
            Step::Settle => self.settle(),
            Step::Advance { millis } => {
                self.settle()?;
                self.table.advance(millis);
                self.rights_changed()
            }
            Step::Lease { who, millis } => self.lease(who, millis),
            Step::Revoke { who } => self.revoke(who),
            Step::Noise { version, .. } => self.noise(version, noise),
        }
    }

    fn connect(
        &mut self,
        who: Who,
        version: u8,
        clean: bool,
        keep: bool,
        receive_maximum: u16,
    ) -> Result<(), Broken> {
        self.settle()?;
        let table = &mut *self.table;
        table.lines += 1;
        // 3.1.1 has one word for both.
        let keep = if version == 4 { !clean } else { keep };
        let hello = Hello {
            version,
            id: NAMES[who],
            login: Some(NAMES[who]),
            clean,
            expiry: if keep { FOREVER } else { 0 },
            receive_maximum,
        };
        let (line, answer) = Line::open(table.stage.address(), table.lines, &hello)?;
        let peer = &mut self.peers[who];
        // Both came with the same rebuilding of the queues.
        peer.redelivers = table.most_qos == 2;
        let kept = peer.keep;
        peer.disconnected(true);
        let resumes = !clean && kept;
        if (answer[0] == 1) != resumes {
            let words = "[MQTT-3.2.2-2], [MQTT-3.2.2-3]";
            return Err(broken!("{words} resumes {resumes}, but {answer:?}"));
        }
        if !resumes {
            peer.forget();
        }
        peer.line = Some(line);
        (peer.version, peer.keep) = (version, keep && table.keeps);
        peer.receive_maximum = if version == 5 {
            receive_maximum
        } else {
            u16::MAX
        };
        self.repeat(who)?;
        self.ask_for_marks(who)
    }

    /// Sends again what was not answered ([MQTT-4.4.0-1]).
    fn repeat(&mut self, who: Who) -> Result<(), Broken> {
        let open = std::mem::take(&mut self.peers[who].outgoing);
        for mut it in open {
            if it.recorded {
                it.released = !self.peers[who].holding;
                if it.released {
                    self.send(who, &packet(0x62, &it.id.to_be_bytes()))?;
                }
            } else {
                let message = &mut self.messages[it.number as usize];
                message.copies += 1;
                if message.retain {
                    let kept = self.retained.entry(message.topic).or_default();
                    kept.push(it.number);
                }
                let bytes = self.encode(who, &it, 8);
                self.send(who, &bytes)?;
            }
            self.peers[who].outgoing.push(it);
        }
        Ok(())
    }

    fn ask_for_marks(&mut self, who: Who) -> Result<(), Broken> {
        let options = Options::default();
        let codes = self.ask(who, MARK, options)?;
        if codes == [0] {
            Ok(())
        } else {
            Err(broken!(
                "the subscription to marks was answered by {codes:?}"
            ))
        }
    }

    /// Subscribes; returns the codes.
    fn ask(&mut self, who: Who, filter: &str, options: Options) -> Result<Vec<u8>, Broken> {
        let mut byte = options.qos;
        let mut body = 65_000_u16.to_be_bytes().to_vec();
        if self.peers[who].version == 5 {
            byte |= u8::from(options.no_local) << 2
                | u8::from(options.retain_as_published) << 3
                | options.retain_handling << 4;
            body.push(0);
        }
        body.extend(text(filter));
        body.push(byte);
        self.send(who, &packet(0x82, &body))?;
        loop {
            if let Heard::Codes(codes) = self.hear(who)? {
                return Ok(codes);
            }
        }
    }

    fn break_off(&mut self, who: Who, settled: bool) -> Result<(), Broken> {
        if settled {
            self.settle()?;
        }
        if self.peers[who].line.is_none() {
            return Ok(());
        }
        if !settled {
            self.nothing_is_certain();
        }
        self.peers[who].disconnected(settled);
        Ok(())
    }

    /// What was sent may be lost.
    fn nothing_is_certain(&mut self) {
        self.unsettled.clear();
        for peer in &mut self.peers {
            peer.doubt(&self.messages, false);
        }
    }

    fn leave(&mut self, who: Who) -> Result<(), Broken> {
        self.settle()?;
        if self.peers[who].line.is_some() {
            self.send(who, &[0xE0, 0])?;
            let peer = &mut self.peers[who];
            let line = peer.line.take().expect("connected");
            peer.disconnected(true);
            line.end()?;
        }
        Ok(())
    }

    fn subscribe(&mut self, who: Who, filter: usize, options: Options) -> Result<(), Broken> {
        self.settle()?;
        let now = self.table.now;
        let peer = &mut self.peers[who];
        if peer.line.is_none() {
            return Ok(());
        }
        let options = Options {
            qos: options.qos,
            ..if peer.version == 5 {
                options
            } else {
                Options::default()
            }
        };
        let new = !peer.subscriptions.contains_key(&filter);
        let (name, topics) = FILTERS[filter];
        let readable = topics.iter().any(|it| peer.may_read(*it, now));
        let granted = Options {
            qos: options.qos.min(self.table.most_qos),
            ..options
        };
        if readable {
            // From here on: the answer may come behind the first messages.
            peer.subscriptions.insert(filter, granted);
            self.expect_open(who);
            // A QoS 2 message that is not complete may have been passed on before.
            self.peers[who].doubt(&self.messages, false);
            if options.retain_handling == 0 || options.retain_handling == 1 && new {
                self.expect_retained(who, filter, granted);
            }
        }
        let codes = self.ask(who, name, options)?;
        let expected = if readable {
            vec![granted.qos]
        } else {
            vec![if self.peers[who].version == 5 {
                0x87
            } else {
                0x80
            }]
        };
        if codes != expected {
            return Err(broken!(
                "[MQTT-3.8.4-7] readable {readable}, but the answer is {codes:?}"
            ));
        }
        self.settle()
    }

    /// Messages whose handshake is not over may be passed on to new subscriptions too.
    fn expect_open(&mut self, who: Who) {
        let now = self.table.now;
        for (number, message) in (0..).zip(&self.messages) {
            if !message.accepted && message.qos > 0 {
                self.peers[who].expect(who, number, message, now);
            }
        }
    }

    fn expect_retained(&mut self, who: Who, filter: usize, options: Options) {
        let now = self.table.now;
        for topic in FILTERS[filter].1 {
            let kept = self.retained.get(topic).map_or(&[][..], Vec::as_slice);
            let peer = &mut self.peers[who];
            if !peer.may_read(*topic, now) {
                continue;
            }
            for number in kept {
                let message = &self.messages[*number as usize];
                // Whether a client's own message is kept from it later too is left open.
                let own = options.no_local && message.publisher == who;
                let qos = message.qos.min(options.qos);
                peer.expect_retained(*number, qos, kept.len() == 1 && !own);
            }
        }
    }

    fn unsubscribe(&mut self, who: Who, filter: usize) -> Result<(), Broken> {
        self.settle()?;
        let peer = &mut self.peers[who];
        if peer.line.is_none() {
            return Ok(());
        }
        let mut body = 65_001_u16.to_be_bytes().to_vec();
        if peer.version == 5 {
            body.push(0);
        }
        body.extend(text(FILTERS[filter].0));
        self.send(who, &packet(0xA2, &body))?;
        while self.hear(who)? != Heard::Unsubscribed {}
        let peer = &mut self.peers[who];
        peer.subscriptions.remove(&filter);
        peer.doubt(&self.messages, false);
        Ok(())
    }

    fn publish(
        &mut self,
        who: Who,
        topic: usize,
        qos: u8,
        retain: bool,
        large: bool,
    ) -> Result<(), Broken> {
        if self.peers[who].line.is_none() || self.peers[who].outgoing.len() >= OUTGOING {
            return Ok(());
        }
        if retain {
            self.settle()?;
        }
        let number = Number::try_from(self.messages.len()).expect("worlds are small");
        let message = Published {
            topic,
            qos: qos.min(self.table.most_qos),
            publisher: who,
            retain,
            copies: 1,
            accepted: false,
        };
        for (me, peer) in self.peers.iter_mut().enumerate() {
            peer.expect(me, number, &message, self.table.now);
        }
        let qos = message.qos;
        self.messages.push(message);
        let mut it = Outgoing {
            id: 0,
            number,
            qos,
            recorded: false,
            released: false,
        };
        if qos > 0 {
            it.id = self.peers[who].next_id();
        } else {
            self.unsettled.push(number);
        }
        let mut bytes = self.encode(who, &it, 0);
        if large {
            bytes = self.pad(who, &it);
        }
        if qos > 0 {
            self.peers[who].outgoing.push(it);
        }
        self.send(who, &bytes)?;
        if retain {
            self.retained.entry(topic).or_default().push(number);
            self.settle()?;
            // Only now is it certain that it is the last.
            if self.messages[number as usize].accepted {
                self.retained.insert(topic, vec![number]);
            }
        }
        Ok(())
    }

    fn encode(&self, who: Who, it: &Outgoing, flags: u8) -> Vec<u8> {
        self.with_payload(who, it, flags, it.number.to_string())
    }

    /// The same message, and longer than one segment.
    fn pad(&self, who: Who, it: &Outgoing) -> Vec<u8> {
        self.with_payload(who, it, 0, format!("{:5000}", it.number))
    }

    fn with_payload(&self, who: Who, it: &Outgoing, flags: u8, payload: String) -> Vec<u8> {
        let message = &self.messages[it.number as usize];
        let mut body = text(TOPICS[message.topic]);
        if it.qos > 0 {
            body.extend(it.id.to_be_bytes());
        }
        if self.peers[who].version == 5 {
            body.push(0);
        }
        body.extend(payload.into_bytes());
        packet(0x30 | flags | it.qos << 1 | u8::from(message.retain), &body)
    }

    fn acknowledge(&mut self, who: Who, count: usize) -> Result<(), Broken> {
        if self.peers[who].line.is_none() {
            return Ok(());
        }
        for _ in 0..count {
            let peer = &mut self.peers[who];
            let Some(at) = peer.unanswered() else {
                return Ok(());
            };
            let Incoming { id, qos, .. } = peer.incoming[at];
            if qos == 1 {
                peer.answered(at);
                self.send(who, &packet(0x40, &id.to_be_bytes()))?;
            } else {
                peer.incoming[at].recorded = true;
                self.send(who, &packet(0x50, &id.to_be_bytes()))?;
            }
        }
        Ok(())
    }

    fn release(&mut self, who: Who) -> Result<(), Broken> {
        self.peers[who].holding = false;
        if self.peers[who].line.is_none() {
            return Ok(());
        }
        let held = |it: &&mut Outgoing| it.recorded && !it.released;
        let held: Vec<u16> = self.peers[who]
            .outgoing
            .iter_mut()
            .filter(held)
            .map(|it| {
                it.released = true;
                it.id
            })
            .collect();
        for id in held {
            self.send(who, &packet(0x62, &id.to_be_bytes()))?;
        }
        Ok(())
    }

    fn lease(&mut self, who: Who, millis: u64) -> Result<(), Broken> {
        self.settle()?;
        let until = self.table.now + millis;
        let subscriber = self.table.subscribers[who];
        self.table.stage.lease(subscriber, TOPICS[PAID], until);
        self.peers[who].paid_until = until;
        self.expect_open(who);
        self.rights_changed()
    }

    fn revoke(&mut self, who: Who) -> Result<(), Broken> {
        self.settle()?;
        let subscriber = self.table.subscribers[who];
        self.table.stage.revoke(subscriber, TOPICS[PAID]);
        self.peers[who].paid_until = 0;
        self.rights_changed()
    }

    /// What was written before the change may still arrive, and nothing else.
    fn rights_changed(&mut self) -> Result<(), Broken> {
        let now = self.table.now;
        for peer in &mut self.peers {
            let ended = !peer.may_read(PAID, now);
            peer.doubt(&self.messages, ended);
            peer.grace = ended;
        }
        for who in 0..2 {
            self.ping(who)?;
            self.peers[who].grace = false;
        }
        Ok(())
    }

    fn noise(&mut self, version: u8, noise: &[u8]) -> Result<(), Broken> {
        let hello = Hello {
            version,
            id: "somebody",
            login: None,
            clean: true,
            expiry: 0,
            receive_maximum: 1,
        };
        let (mut line, _) = Line::open(self.table.stage.address(), 0, &hello)?;
        // The gate may have heard enough before its end.
        let _ = line.send(noise);
        line.end()?;
        self.table.is_sound()
    }

    /// Waits until everything that was sent has arrived, and nothing is missing.
    fn settle(&mut self) -> Result<(), Broken> {
        for _ in 0..2 {
            for who in 0..2 {
                self.ping(who)?;
            }
        }
        for number in std::mem::take(&mut self.unsettled) {
            self.accepted(number);
        }
        let mut missing = None;
        for _ in 0..60 {
            let mark = self.table.mark()?;
            for who in 0..2 {
                while self.peers[who].line.is_some() && self.hear(who)? != Heard::Mark(mark) {}
            }
            let late = |peer: &Peer| peer.line.as_ref().and(peer.missing());
            missing = self.peers.iter().find_map(late);
            if missing.is_none() {
                self.peers.iter_mut().for_each(Peer::certain);
                return Ok(());
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        Err(broken!("{missing:?} never comes"))
    }

    /// Everything that this client sent before was handled, and every answer has come.
    fn ping(&mut self, who: Who) -> Result<(), Broken> {
        if self.peers[who].line.is_some() {
            self.send(who, &[0xC0, 0])?;
            while self.hear(who)? != Heard::Pong {}
        }
        Ok(())
    }

    fn accepted(&mut self, number: Number) {
        let message = &mut self.messages[number as usize];
        message.accepted = true;
        for peer in &mut self.peers {
            peer.accepted(number, message, self.table.now);
        }
    }

    fn send(&mut self, who: Who, bytes: &[u8]) -> Result<(), Broken> {
        let line = self.peers[who].line.as_mut();
        line.map_or(Ok(()), |line| line.send(bytes))
    }

    /// Takes the next packet in.
    fn hear(&mut self, who: Who) -> Result<Heard, Broken> {
        let peer = &mut self.peers[who];
        let Some(line) = &mut peer.line else {
            return Ok(Heard::Other);
        };
        let it = line.next()?;
        let id = || it.id().ok_or(broken!("no packet: {it:?}"));
        match it.first {
            0x30..=0x3F => {
                let message = Message::read(&it, line.version);
                let message = message.ok_or(broken!("no message: {it:?}"))?;
                return self.receive(who, &message);
            }
            0x40 => self.taken_over(who, id()?, 1, it.body.get(2))?,
            0x50 => self.recorded(who, id()?, it.body.get(2))?,
            0x62 => self.released(who, id()?)?,
            0x70 => self.taken_over(who, id()?, 2, it.body.get(2))?,
            0x90 => {
                let codes = if line.version == 5 {
                    2 + 1 + usize::from(it.body[2])
                } else {
                    2
                };
                return Ok(Heard::Codes(it.body[codes..].to_vec()));
            }
            0xB0 => return Ok(Heard::Unsubscribed),
            0xD0 => return Ok(Heard::Pong),
            _ => return Err(broken!("{} gets {it:?}", NAMES[who])),
        }
        Ok(Heard::Other)
    }

    fn receive(&mut self, who: Who, it: &Message) -> Result<Heard, Broken> {
        let payload = String::from_utf8_lossy(&it.payload);
        let number = payload.trim().parse::<u64>();
        let number = number.map_err(|_| broken!("somebody else's: {it:?}"))?;
        if it.topic == MARK {
            return Ok(Heard::Mark(number));
        }
        let number = Number::try_from(number).unwrap_or(Number::MAX);
        let message = self.messages.get(number as usize);
        let message = message.ok_or(broken!("of another world: {it:?}"))?;
        let received = self.peers[who].receive(it, number, message, self.table.now);
        received.map_err(|Broken(words)| broken!("{}: {words}", NAMES[who]))?;
        Ok(Heard::Other)
    }

    /// PUBACK or PUBCOMP.
    fn taken_over(&mut self, who: Who, id: u16, qos: u8, code: Option<&u8>) -> Result<(), Broken> {
        let outgoing = &mut self.peers[who].outgoing;
        let place = outgoing.iter().position(|it| it.id == id && it.qos == qos);
        let place = place.ok_or(broken!("[MQTT-4.3.3-8] nobody sent {id} with QoS {qos}"))?;
        let it = outgoing.remove(place);
        // A PUBREL that comes again may find its identifier free already (MQTT 5.0 §3.7.2.1).
        let is_refusal = |code: &u8| *code >= 0x80 && (*code, qos) != (0x92, 2);
        if code.is_some_and(is_refusal) || it.released != (qos == 2) {
            return Err(broken!("message {} was answered by {code:?}", it.number));
        }
        self.accepted(it.number);
        Ok(())
    }

    /// PUBREC.
    fn recorded(&mut self, who: Who, id: u16, code: Option<&u8>) -> Result<(), Broken> {
        let peer = &mut self.peers[who];
        let it = peer
            .outgoing
            .iter_mut()
            .find(|it| it.id == id && it.qos == 2);
        let it = it.ok_or(broken!("[MQTT-4.3.3-8] nobody sent {id} with QoS 2"))?;
        if code.is_some_and(|code| *code >= 0x80) {
            return Err(broken!("message {} was answered by {code:?}", it.number));
        }
        it.recorded = true;
        if peer.holding || it.released {
            return Ok(());
        }
        it.released = true;
        self.send(who, &packet(0x62, &id.to_be_bytes()))
    }

    /// PUBREL.
    fn released(&mut self, who: Who, id: u16) -> Result<(), Broken> {
        let now = self.table.now;
        let peer = &mut self.peers[who];
        let place = peer
            .incoming
            .iter()
            .position(|it| it.id == id && it.qos == 2);
        // A message that must not be sent again is released instead: its identifier gets free.
        let is_over = |it: &Incoming| {
            let message = &self.messages[it.number as usize];
            !peer.may_read(message.topic, now)
        };
        match place {
            Some(place) if peer.incoming[place].recorded || is_over(&peer.incoming[place]) => {
                peer.answered(place);
            }
            None if peer.may_be_released_again(id) => {}
            _ => return Err(broken!("[MQTT-4.3.3-4] PUBREL {id} without PUBREC")),
        }
        self.send(who, &packet(0x70, &id.to_be_bytes()))
    }

    /// Something that was not answered is to come again, to somebody who is there.
    fn owes(&self) -> bool {
        let mut here = self.peers.iter().filter(|it| it.line.is_some());
        let owes = here.any(|it| it.not_repeated(&self.messages));
        if owes {
            // It may be on its way.
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        owes
    }

    /// Everybody comes back, answers everything, and nothing is missing. Then nothing is left.
    fn finish(mut self) -> Result<(), Broken> {
        for who in 0..2 {
            self.peers[who].holding = false;
            if self.peers[who].line.is_none() && self.peers[who].keep {
                let version = self.peers[who].version;
                self.connect(who, version, false, true, u16::MAX)?;
            }
            self.release(who)?;
        }
        self.settle()?;
        let mut rounds = 0;
        while self
            .peers
            .iter()
            .any(|it| it.line.is_some() && it.is_busy())
            || self.owes()
        {
            for who in 0..2 {
                self.acknowledge(who, usize::MAX)?;
            }
            self.settle()?;
            rounds += 1;
            if rounds > self.messages.len() + 10 {
                let words = "[MQTT-4.3.2-1], [MQTT-4.4.0-1]";
                return Err(broken!("{words} some handshake never ends"));
            }
        }
        for who in 0..2 {
            self.connect(who, 5, true, false, u16::MAX)?;
            self.leave(who)?;
            self.revoke(who)?;
        }
        for topic in TOPICS {
            self.table.publish(topic, "", true)?;
        }
        self.table.is_sound()
    }
}
