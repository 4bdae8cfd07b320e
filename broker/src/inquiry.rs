//! What the gate would say, for an operator who wants to know why. Nothing is done by asking.

use crate::access::AccessView;
use crate::clock::Clock;
use crate::correspondence::{Correspondence, KeyTopic, key_topic};
use crate::decision::{
    LOGIN_NEEDED, NO_MORE_ANONYMOUS, Refusal, WRONG_LOGIN, permit_publish, permit_subscribe,
};
use crate::limits::Limits;
use crate::shard::Interest;
use crate::sys::{ME, PUBLIC};
use std::sync::Arc;
use tanglegate_core::{
    Permit, Position, Right, SubscriberId, Timestamp, TopicError, TopicFilter, TopicName,
};

/// Something a client may want.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// To be let in.
    Connect,
    /// To subscribe to a filter, alone or as `$share/GROUP/FILTER`.
    Subscribe(TopicFilter),
    /// To publish on a topic.
    Publish(TopicName),
    /// To be handed a message on a topic to which he has subscribed.
    Read(TopicName),
}

/// What the gate says at this moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// When it was asked.
    pub at: Timestamp,
    /// The last event that it rests on; `None` before there is a table.
    pub as_of: Option<Position>,
    /// The access table is not up to date: nobody is let in or gets new permits, and whoever
    /// reads, reads on by the rights of this table.
    pub stale: bool,
    /// Yes, with the right that allows it where it takes one; or no, in the words that the
    /// client is told.
    pub verdict: Result<Option<Right>, String>,
    /// What only the operator may know.
    pub note: Option<&'static str>,
}

/// Asks a gate. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Inquiry {
    pub(crate) view: AccessView,
    pub(crate) clock: Clock,
    pub(crate) limits: Arc<Limits>,
    pub(crate) correspondence: Correspondence,
    /// Some listener lets clients without a login in.
    pub(crate) anonymous: bool,
}

impl Asked {
    /// A question from its word (`connect`, `subscribe`, `write` or `read`) and a topic, as people
    /// put it; `None` when the word is another.
    ///
    /// # Errors
    /// When the topic is none, or a filter where a topic has to stand.
    pub fn parse(action: &str, topic: &str) -> Option<Result<Self, TopicError>> {
        Some(match action {
            "connect" => Ok(Self::Connect),
            "subscribe" => TopicFilter::parse(topic).map(Self::Subscribe),
            "write" => TopicName::parse(topic).map(Self::Publish),
            "read" => TopicName::parse(topic).map(Self::Read),
            _ => return None,
        })
    }
}

impl Inquiry {
    /// What would the gate say to the client with this login? `None` is an anonymous one.
    #[must_use]
    pub fn ask(&self, username: Option<&str>, asked: &Asked) -> Answer {
        let at = self.clock.now();
        let subject = username.map(|it| self.view.subscriber(it));
        let (verdict, note) = match subject {
            Some(None) if self.view.as_of().is_some() => {
                let note = "no login has this name; the gate says the same to a wrong password";
                (Err(WRONG_LOGIN.to_owned()), Some(note))
            }
            subject => (self.judge(subject.flatten(), asked, at), None),
        };
        Answer {
            at,
            as_of: self.view.as_of(),
            stale: self.view.is_stale(),
            verdict,
            note,
        }
    }

    fn judge(
        &self,
        subject: Option<SubscriberId>,
        asked: &Asked,
        now: Timestamp,
    ) -> Result<Option<Right>, String> {
        let (view, limits) = (&self.view, self.limits.of(subject));
        let permit = match asked {
            _ if subject.is_none() && !self.anonymous => {
                return Err(LOGIN_NEEDED.to_owned());
            }
            _ if subject.is_none() && self.limits.anonymous_connections == 0 => {
                return Err(NO_MORE_ANONYMOUS.to_owned());
            }
            Asked::Connect => {
                view.permit_connect(subject).map_err(|it| it.to_string())?;
                None
            }
            Asked::Subscribe(filter) => {
                let text = filter.as_str();
                let interest = Interest::parse(text).map_err(|it| it.to_string())?;
                let asked = (text, interest);
                let permit = permit_subscribe(view, limits, subject, asked, now);
                permit.map_err(|it| it.to_string())?.0
            }
            Asked::Publish(topic) if self.correspondence.way(topic.as_str()).is_some() => None,
            Asked::Publish(topic) => {
                let permit = permit_publish(view, limits, subject, topic, now);
                Some(permit.map_err(|it| it.to_string())?.0)
            }
            Asked::Read(topic) if topic.as_str().starts_with(ME) => None,
            Asked::Read(topic) if PUBLIC.contains(&topic.as_str()) => None,
            Asked::Read(topic) => match key_topic(topic.as_str()) {
                KeyTopic::Of(_) => None,
                KeyTopic::Nobodys => return Err(Refusal::ManyKeys.to_string()),
                KeyTopic::Elsewhere => {
                    let permit = view.permit_deliver(subject, topic, now);
                    Some(permit.map_err(|it| it.to_string())?)
                }
            },
        };
        Ok(permit.map(|it: Permit| it.right().clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tanglegate_core::{Access, Acl, Audience, Event, Recorded, Rule, RuleId};

    fn inquiry() -> Inquiry {
        let rule = Rule {
            id: RuleId([1; 16]),
            audience: Audience::Everyone,
            filter: TopicFilter::parse("sensor/#").unwrap(),
            access: Access::Read,
        };
        let (mut acl, view) = (Acl::default(), AccessView::new());
        acl.apply(Recorded {
            position: Position(1),
            recorded_at: Timestamp(1),
            event: &Event::RuleGiven { rule },
        });
        view.install(acl);
        let (clock, limits) = (Clock::wall(), Arc::<Limits>::default());
        Inquiry {
            correspondence: Correspondence::new(&limits, clock.clone(), Arc::default()),
            view,
            clock,
            limits,
            anonymous: true,
        }
    }

    #[test]
    fn whoever_shares_a_filter_needs_the_right_to_the_filter_itself() {
        let ask = |text: &str| {
            let asked = Asked::parse("subscribe", text).unwrap().unwrap();
            inquiry().ask(None, &asked).verdict
        };
        for text in ["sensor/live", "$share/readers/sensor/live"] {
            let right = ask(text).unwrap().unwrap();
            assert_eq!(right.filter().as_str(), "sensor/#", "{text}");
        }
        let why = ask("$share/readers/other").unwrap_err();
        assert_eq!(why, "no right to read other");
        let why = ask("$share/readers").unwrap_err();
        assert!(why.contains("for example $share/readers/sensor/#"), "{why}");
    }
}
