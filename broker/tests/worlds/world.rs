//! Plays a world against a real gate, and holds what the two clients see against the model.

use crate::hearing::Heard;
use crate::line::{Broken, Hello, Line, broken};
use crate::peer::{Number, Peer, Published};
use crate::step::{PAID, Step, TOPICS, Who};
use crate::table::{FOREVER, NAMES, Table};
use std::collections::BTreeMap;

/// Two clients, what they did, and what they are promised.
pub(crate) struct World<'a> {
    pub(crate) table: &'a mut Table,
    pub(crate) peers: [Peer; 2],
    pub(crate) messages: Vec<Published>,
    /// QoS 0 messages and retained ones that the gate may not have read yet.
    pub(crate) unsettled: Vec<Number>,
    /// Which message each topic may have kept.
    pub(crate) retained: BTreeMap<usize, Vec<Number>>,
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
    pub(crate) fn step(&mut self, step: Step, noise: &[u8]) -> Result<(), Broken> {
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

    pub(crate) fn connect(
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

    pub(crate) fn break_off(&mut self, who: Who, settled: bool) -> Result<(), Broken> {
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
    pub(crate) fn nothing_is_certain(&mut self) {
        self.unsettled.clear();
        for peer in &mut self.peers {
            peer.doubt(&self.messages, false);
        }
    }

    pub(crate) fn leave(&mut self, who: Who) -> Result<(), Broken> {
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

    pub(crate) fn lease(&mut self, who: Who, millis: u64) -> Result<(), Broken> {
        self.settle()?;
        let until = self.table.now + millis;
        let subscriber = self.table.subscribers[who];
        self.table.stage.lease(subscriber, TOPICS[PAID], until);
        self.peers[who].paid_until = until;
        self.expect_open(who);
        self.rights_changed()
    }

    pub(crate) fn revoke(&mut self, who: Who) -> Result<(), Broken> {
        self.settle()?;
        let subscriber = self.table.subscribers[who];
        self.table.stage.revoke(subscriber, TOPICS[PAID]);
        self.peers[who].paid_until = 0;
        self.rights_changed()
    }

    /// What was written before the change may still arrive, and nothing else.
    pub(crate) fn rights_changed(&mut self) -> Result<(), Broken> {
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

    pub(crate) fn noise(&mut self, version: u8, noise: &[u8]) -> Result<(), Broken> {
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
    pub(crate) fn settle(&mut self) -> Result<(), Broken> {
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
    pub(crate) fn ping(&mut self, who: Who) -> Result<(), Broken> {
        if self.peers[who].line.is_some() {
            self.send(who, &[0xC0, 0])?;
            while self.hear(who)? != Heard::Pong {}
        }
        Ok(())
    }

    pub(crate) fn accepted(&mut self, number: Number) {
        let message = &mut self.messages[number as usize];
        message.accepted = true;
        for peer in &mut self.peers {
            peer.accepted(number, message, self.table.now);
        }
    }

    pub(crate) fn send(&mut self, who: Who, bytes: &[u8]) -> Result<(), Broken> {
        let line = self.peers[who].line.as_mut();
        line.map_or(Ok(()), |line| line.send(bytes))
    }

    /// Something that was not answered is to come again, to somebody who is there.
    pub(crate) fn owes(&self) -> bool {
        let mut here = self.peers.iter().filter(|it| it.line.is_some());
        let owes = here.any(|it| it.not_repeated(&self.messages));
        if owes {
            // It may be on its way.
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        owes
    }

    /// Everybody comes back, answers everything, and nothing is missing. Then nothing is left.
    pub(crate) fn finish(mut self) -> Result<(), Broken> {
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
