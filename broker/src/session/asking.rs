//! Messages from the client that are for the engine alone.

use super::connected::Connection;
use super::conversation::Conversation;
use crate::correspondence::{Letter, Place, Unasked, Way, check_size, may_be_request};
use crate::decision::Refusal;
use crate::statistics::{Outcome, Stage};
use crate::wire::{Publish, PublishProperties};
use std::time::Instant;
use tanglegate_core::TopicName;

impl Connection {
    /// The way to the engine, where the topic is one of requests.
    pub(super) fn way_to_engine(&self, topic: &TopicName) -> Option<Way> {
        let topic = topic.as_str();
        let correspondence = &self.attached.context.correspondence;
        may_be_request(topic).then(|| correspondence.way(topic))?
    }

    /// Hands a request to the engine. It is acknowledged when the engine has it, passes by no
    /// shard, and is never retained.
    pub(super) fn request(
        &mut self,
        publish: &Publish<'_>,
        properties: &PublishProperties<'_>,
        (topic, way): (&TopicName, &Way),
    ) {
        match self.ask(publish, properties, way) {
            Ok(()) => {
                let counters = &self.attached.context.counters;
                counters.decided(Stage::Publish, Outcome::Permitted);
                self.accept(publish);
            }
            Err(unasked) => {
                self.note_denied(topic.as_str(), &unasked.to_string());
                self.refuse(publish, &Refusal::Unasked(unasked));
            }
        }
    }

    fn ask(
        &mut self,
        publish: &Publish<'_>,
        properties: &PublishProperties<'_>,
        way: &Way,
    ) -> Result<(), Unasked> {
        let response = properties.response();
        check_size(publish.payload, &response)?;
        let (now, rate) = (Instant::now(), self.limits().engine_requests);
        let subject = self.handle().subject;
        if !self.conversation().may_ask(rate, now) {
            return Err(Unasked::TooOften);
        }
        let place = Place::take(self.conversation().inbox())?;
        // Last: who is refused for what he does himself takes nothing from his neighbours.
        if subject.is_none() && !self.attached.admission.may_ask(now) {
            return Err(Unasked::Crowded);
        }
        let who = (subject, self.conversation().key_id());
        way.ask(place, publish.payload, &response, who)
    }

    /// Tells the client the engine's answers to its requests.
    pub(super) fn tell_replies(&mut self, conversation: &Conversation) {
        for letter in conversation.inbox().take() {
            let Letter {
                topic,
                correlation,
                payload,
                ..
            } = &letter;
            if let Some(ids) = self.listens(topic) {
                self.push_letter(topic, payload, correlation, &ids);
            }
        }
    }
}
