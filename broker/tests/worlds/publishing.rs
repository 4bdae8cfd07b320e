//! Messages that the clients of a world publish, and how they answer those they get.

use crate::line::{Broken, packet, text};
use crate::peer::{Incoming, Number, Outgoing, Published};
use crate::step::{TOPICS, Who};
use crate::world::World;

/// Messages of its own that a client has in flight at most.
const OUTGOING: usize = 20;

impl World<'_> {
    /// Sends again what was not answered ([MQTT-4.4.0-1]).
    pub(crate) fn repeat(&mut self, who: Who) -> Result<(), Broken> {
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

    pub(crate) fn publish(
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

    pub(crate) fn encode(&self, who: Who, it: &Outgoing, flags: u8) -> Vec<u8> {
        self.with_payload(who, it, flags, it.number.to_string())
    }

    /// The same message, and longer than one segment.
    pub(crate) fn pad(&self, who: Who, it: &Outgoing) -> Vec<u8> {
        self.with_payload(who, it, 0, format!("{:5000}", it.number))
    }

    pub(crate) fn with_payload(
        &self,
        who: Who,
        it: &Outgoing,
        flags: u8,
        payload: String,
    ) -> Vec<u8> {
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

    pub(crate) fn acknowledge(&mut self, who: Who, count: usize) -> Result<(), Broken> {
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

    pub(crate) fn release(&mut self, who: Who) -> Result<(), Broken> {
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
}
