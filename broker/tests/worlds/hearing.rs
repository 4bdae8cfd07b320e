//! What the gate says to the clients of a world, and what they answer at once.

use crate::line::{Broken, Message, broken, packet};
use crate::peer::{Incoming, Number};
use crate::step::Who;
use crate::table::{MARK, NAMES};
use crate::world::World;

/// What came, for whoever waits for something.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    Pong,
    Codes(Vec<u8>),
    Unsubscribed,
    Mark(u64),
    Other,
}

impl World<'_> {
    /// Takes the next packet in.
    pub(crate) fn hear(&mut self, who: Who) -> Result<Heard, Broken> {
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
}
