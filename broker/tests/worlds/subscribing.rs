//! Subscriptions of the clients of a world, and what is to come of them.

use crate::hearing::Heard;
use crate::line::{Broken, broken, packet, text};
use crate::step::{FILTERS, Options, Who};
use crate::table::MARK;
use crate::world::World;

impl World<'_> {
    pub(crate) fn ask_for_marks(&mut self, who: Who) -> Result<(), Broken> {
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
    pub(crate) fn ask(
        &mut self,
        who: Who,
        filter: &str,
        options: Options,
    ) -> Result<Vec<u8>, Broken> {
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

    pub(crate) fn subscribe(
        &mut self,
        who: Who,
        filter: usize,
        options: Options,
    ) -> Result<(), Broken> {
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
    pub(crate) fn expect_open(&mut self, who: Who) {
        let now = self.table.now;
        for (number, message) in (0..).zip(&self.messages) {
            if !message.accepted && message.qos > 0 {
                self.peers[who].expect(who, number, message, now);
            }
        }
    }

    pub(crate) fn expect_retained(&mut self, who: Who, filter: usize, options: Options) {
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

    pub(crate) fn unsubscribe(&mut self, who: Who, filter: usize) -> Result<(), Broken> {
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
}
