//! What the client wants to receive.

use super::connected::Connection;
use super::conversation::WATCHED;
use super::me::Me;
use super::replay::Replay;
use crate::correspondence::{KeyTopic, key_topic};
use crate::decision;
use crate::outbox::subscription_cost;
use crate::permit::SubscribePermit;
use crate::shard::{Interest, Subscribed};
use crate::statistics::{Outcome, Stage};
use crate::store::Change;
use crate::wire::{
    Options, Reason, SubscribeRequest, UnsubscribeRequest, subscribe_answer, unsubscribe_answer,
};
use std::num::NonZero;

/// Bytes of explanations in one SUBACK.
const EXPLANATIONS: usize = 4_096;

/// Why a filter is refused.
struct Refusal {
    reason: Reason,
    why: String,
}

impl Connection {
    /// Grants each filter that a right overlaps.
    pub(super) fn handle_subscribe(&mut self, request: SubscribeRequest) {
        let (mut reasons, mut explanation) = (vec![], String::new());
        for (filter, options) in request.entries {
            let granted = self.subscribe(&filter, options, request.id);
            reasons.push(match granted {
                Ok(reason) => reason,
                Err(Refusal { reason, why }) => {
                    self.note_denied(&filter, &why);
                    if explanation.len() + why.len() < EXPLANATIONS {
                        let separator = if explanation.is_empty() { "" } else { "; " };
                        explanation += separator;
                        explanation += &why;
                    }
                    reason
                }
            });
        }
        if !self.explains {
            explanation.clear();
        }
        let (version, id, limit) = (self.version, request.packet_id, self.packet_bytes);
        self.answer_kept(|out| subscribe_answer(out, version, id, &reasons, &explanation, limit));
    }

    /// Answers what changed the subscriptions: where they survive the server, once they are safe.
    fn answer_kept(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        if self.handle().store.is_some() {
            self.acks.push_with(false, write);
        } else {
            self.answer(write);
        }
    }

    fn subscribe(
        &mut self,
        text: &str,
        options: Options,
        id: Option<NonZero<u32>>,
    ) -> Result<Reason, Refusal> {
        let permit = self.check_interest(text)?;
        let key = key_topic(text);
        if let KeyTopic::Of(key) = &key
            && !self.may_watch(key)
        {
            let why = format!("a client may ask for the answers to at most {WATCHED} keys");
            return Err(self.no_place(why));
        }
        let cost = subscription_cost(text);
        if !self.hold_subscription(|held| held + cost) {
            return Err(self.no_place(self.no_room().to_string()));
        }
        let most = self.limits().subscriptions;
        let shards = &self.attached.context.shards;
        let handle = self.handle();
        let subscribed = handle.subscribe(shards, &permit, options, id, most);
        if subscribed != Subscribed::New {
            self.hold_subscription(|held| held.saturating_sub(cost));
        }
        if subscribed == Subscribed::TooMany {
            let why = format!("a client may have at most {most} subscriptions here");
            return Err(self.no_place(why));
        }
        let (is_new, handle) = (subscribed == Subscribed::New, self.handle());
        let mark = handle.record(|session| Change::Subscribe {
            session,
            filter: text.into(),
            options,
            id,
        });
        self.acks.rest_on(mark);
        let retained = options.retain_handling == 0 || (options.retain_handling == 1 && is_new);
        if let KeyTopic::Of(key) = key {
            self.watch(key, retained);
        }
        // Who shares gets no retained messages (MQTT 5.0 §4.8.2).
        if let Interest::All(filter) = permit.interest()
            && retained
        {
            self.ask_for_letters(filter);
            if Me::concerns_lease(filter) {
                self.me.tell_lease_retained();
            }
            self.replays.retain(|it| it.filter != *filter);
            let replay = Replay::new(filter.clone(), options, id);
            self.replays.push_back(replay);
        }
        Ok(match options.qos {
            0 => Reason::Success,
            1 => Reason::GrantedQos1,
            _ => Reason::GrantedQos2,
        })
    }

    /// Counts bytes of subscriptions; false when there is no room for more.
    fn hold_subscription(&self, change: impl FnOnce(usize) -> usize) -> bool {
        let mut queue = self.handle().outbox.lock();
        queue.hold(|held| held.subscriptions = change(held.subscriptions))
    }

    fn no_place(&self, why: String) -> Refusal {
        let counters = &self.attached.context.counters;
        counters.decided(Stage::Subscribe, Outcome::Limit);
        Refusal {
            reason: Reason::QuotaExceeded,
            why,
        }
    }

    fn check_interest(&self, text: &str) -> Result<SubscribePermit, Refusal> {
        let interest = Interest::parse(text).map_err(|error| Refusal {
            reason: Reason::TopicFilterInvalid,
            why: error.to_string(),
        })?;
        let (context, subject) = (&self.attached.context, self.handle().subject);
        let (view, limits, asked) = (&context.view, self.limits(), (text, interest));
        match decision::permit_subscribe(view, limits, subject, asked, self.now()) {
            Ok((_, permit)) => {
                let counters = &context.counters;
                counters.decided(Stage::Subscribe, Outcome::Permitted);
                Ok(permit)
            }
            Err(refusal) => {
                context.counters.decided(Stage::Subscribe, &refusal);
                Err(Refusal {
                    reason: refusal.reason(),
                    why: refusal.to_string(),
                })
            }
        }
    }

    /// Removes subscriptions; what is queued under them is still delivered ([MQTT-3.10.4-2] and
    /// [MQTT-3.10.4-3]).
    pub(super) fn handle_unsubscribe(&mut self, request: &UnsubscribeRequest) {
        let (mut reasons, handle) = (vec![], self.handle().clone());
        for filter in &request.filters {
            let known = handle.unsubscribe(&self.attached.context.shards, filter);
            if known {
                let cost = subscription_cost(filter);
                self.hold_subscription(|held| held.saturating_sub(cost));
                let filter = filter.as_str().into();
                let mark = handle.record(|session| Change::Unsubscribe { session, filter });
                self.acks.rest_on(mark);
            }
            self.replays.retain(|it| it.filter.as_str() != filter);
            if let KeyTopic::Of(key) = key_topic(filter) {
                self.unwatch(&key);
            }
            reasons.push(if known {
                Reason::Success
            } else {
                Reason::NoSubscriptionExisted
            });
        }
        let (version, id) = (self.version, request.packet_id);
        self.answer_kept(|out| unsubscribe_answer(out, version, id, &reasons));
    }
}
