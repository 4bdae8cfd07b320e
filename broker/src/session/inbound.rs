//! What the client sends.

use super::connected::Connection;
use super::end::End;
use super::socket::read_once;
use crate::wire::{
    Acknowledgement, Answer, Fault, Frame, PacketKind, Reason, SubscribeRequest,
    UnsubscribeRequest, Version, acknowledge, bound_filters, client_disconnect, cut,
    filters_answer_length, ping_response, refuse_publish,
};
use tanglegate_core::Timestamp;

impl Connection {
    /// Reads once and handles the packets that are complete.
    pub(super) fn read(&mut self) -> Result<(), End> {
        // Permits of the last turn may be gone.
        self.review()?;
        let mut partial = std::mem::take(&mut self.partial);
        let (new, result) = read_once(
            self,
            |it| &mut it.socket,
            &mut partial,
            self.patience.sip(),
            Self::handle_packets,
        );
        self.partial = partial;
        if new > 0 {
            self.patience.heard();
            let counters = &self.attached.context.counters;
            counters.received_bytes.add(new as u64);
            counters
                .received_messages
                .add(std::mem::take(&mut self.received));
            counters
                .received_payload_bytes
                .add(std::mem::take(&mut self.received_payload));
            let (controls, bytes) = std::mem::take(&mut self.received_controls);
            counters.received_controls.add(controls);
            counters.received_control_bytes.add(bytes);
        }
        result
    }

    /// Handles the complete packets of what was read with the CONNECT.
    pub(super) fn handle_rest(&mut self) -> Result<(), End> {
        let mut rest = std::mem::take(&mut self.partial);
        let (used, result) = self.handle_packets(&rest);
        rest.drain(..used);
        self.partial = rest;
        result
    }

    /// Handles complete packets; returns how many bytes they were.
    fn handle_packets(&mut self, bytes: &[u8]) -> (usize, Result<(), End>) {
        let limit = self.limits().packet_bytes;
        let now = self.now();
        let mut used = 0;
        loop {
            let frame = match cut(&bytes[used..], limit) {
                Ok(Some(frame)) => frame,
                Ok(None) => return (used, Ok(())),
                Err(fault) => return (used, Err(fault.into())),
            };
            used += frame.whole.len();
            self.patience.charge(&frame);
            if let Err(end) = self.handle_packet(&frame, now) {
                return (used, Err(end));
            }
            if self.patience.is_paused() {
                return (used, Ok(()));
            }
        }
    }

    fn handle_packet(&mut self, frame: &Frame<'_>, now: Timestamp) -> Result<(), End> {
        let kind = frame.kind()?;
        if kind != PacketKind::Publish {
            self.received_controls.0 += 1;
            self.received_controls.1 += frame.whole.len() as u64;
        }
        match kind {
            PacketKind::Publish => {
                self.received += 1;
                self.handle_publish(frame, now)
            }
            kind @ (PacketKind::PublishAcknowledge
            | PacketKind::PublishReceived
            | PacketKind::PublishRelease
            | PacketKind::PublishComplete) => {
                let acknowledgement = Acknowledgement::read(self.version, kind, frame.body)?;
                self.handle_acknowledgement(kind, acknowledgement);
                Ok(())
            }
            PacketKind::Subscribe => {
                bound_filters(self.version, kind, frame.body, self.limits().filters())?;
                let request = SubscribeRequest::read(self.version, frame.body)?;
                self.expect_filters_answer(request.entries.len())?;
                self.handle_subscribe(request);
                Ok(())
            }
            PacketKind::Unsubscribe => {
                bound_filters(self.version, kind, frame.body, self.limits().filters())?;
                let request = UnsubscribeRequest::read(self.version, frame.body)?;
                self.expect_filters_answer(request.filters.len())?;
                self.handle_unsubscribe(&request);
                Ok(())
            }
            PacketKind::Ping if frame.body.is_empty() => {
                self.answer(ping_response);
                Ok(())
            }
            PacketKind::Ping => Err(Fault::Malformed("a PINGREQ has no contents").into()),
            PacketKind::Disconnect => {
                let goodbye = client_disconnect(self.version, frame.body)?;
                Err(self.attached.part(goodbye)?)
            }
            // [MQTT-3.1.0-2]
            PacketKind::Connect => Err(Fault::Protocol("there was a CONNECT already").into()),
            // Extended authentication was refused with the CONNECT, or never asked for.
            PacketKind::Authenticate => {
                Err(Fault::Protocol("no extended authentication was agreed on").into())
            }
        }
    }

    /// An answer that the client does not take cannot be sent ([MQTT-3.1.2-24]), and it would wait
    /// for it.
    fn expect_filters_answer(&self, filters: usize) -> Result<(), Fault> {
        let limit = self.packet_bytes;
        if filters_answer_length(filters) > limit {
            return Err(Fault::Unanswerable { limit });
        }
        Ok(())
    }

    fn handle_acknowledgement(&mut self, kind: PacketKind, it: Acknowledgement) {
        let id = it.packet_id;
        match kind {
            PacketKind::PublishReceived => {
                let (release, mark) = {
                    let mut queue = self.handle().outbox.lock();
                    (queue.received(id, it.failed), queue.mark())
                };
                if release {
                    // A server that forgot the PUBREC would send the message again.
                    self.acks.push_after(mark, Answer::Release, id, false);
                } else if !it.failed {
                    self.answer_unknown(Answer::Release, id);
                }
            }
            PacketKind::PublishRelease => self.handle_release(id),
            PacketKind::PublishComplete => drop(self.handle().outbox.lock().completed(id)),
            _ => drop(self.handle().outbox.lock().acknowledged(id)),
        }
    }

    /// The client gives the identifier of a QoS 2 message free ([MQTT-4.3.3-11]).
    fn handle_release(&mut self, id: u16) {
        if let Some(mark) = self.handle().forget_received(id) {
            self.identifiers = self.identifiers.saturating_sub(1);
            self.acks.push_after(mark, Answer::Complete, id, true);
        } else {
            self.answer_unknown(Answer::Complete, id);
        }
    }

    /// Answers with an identifier that is not in use: the client may have lost its memory, or we
    /// ours (MQTT 5.0 §4.13.1 does not make it an error). 3.1.1 has no word for it.
    fn answer_unknown(&mut self, answer: Answer, id: u16) {
        match self.version {
            Version::V311 => self.answer(|out| acknowledge(out, answer, id)),
            Version::V5 => {
                let (reason, limit) = (Reason::PacketIdNotFound, self.packet_bytes);
                self.answer(|out| refuse_publish(out, answer, id, reason, "", limit));
            }
        }
    }
}
