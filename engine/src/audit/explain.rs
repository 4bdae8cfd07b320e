//! Why somebody could do something at some moment, or could not: the answer of the access table as
//! of then, and the chain of events behind it.

use super::history::{Entry, History, of_payment};
use super::when::Moment;
use super::{Archive, When};
use crate::event_log::{EventLogError, describe};
use serde::Serialize;
use std::collections::BTreeSet;
use tanglegate_core::{
    Acl, Action, Denied, Event, OfferId, PaymentId, Position, Right, Rule, Source, SubscriberId,
    Timestamp, TopicFilter, TopicName,
};

/// What somebody wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// To be let in.
    Connect,
    /// To subscribe to a filter.
    Subscribe(TopicFilter),
    /// To be handed messages on a topic.
    Read(TopicName),
    /// To publish on a topic.
    Write(TopicName),
}

/// Who wanted what, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// Who; `None` is a client without a login.
    pub subject: Option<SubscriberId>,
    /// What.
    pub wanted: Wanted,
    /// When.
    pub when: When,
}

/// Yes or no.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// He could.
    Yes,
    /// He could not.
    No,
}

/// One event of the chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Link {
    /// Its place in the log.
    pub position: u64,
    /// When it was recorded.
    pub recorded_at: String,
    /// What kind of event it is.
    pub kind: String,
    /// What happened, in words.
    pub text: String,
    /// Who brought it: the operator, the ledger, or the engine.
    pub origin: String,
    /// The ledger's transaction, of a payment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transaction: Option<String>,
    /// The request of the operator's tool that brought it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
    /// Its leaf in the hash tree, in hexadecimal: what `audit prove` proves.
    pub leaf: String,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// Yes or no.
    pub verdict: Verdict,
    /// Why, in words that the client was told or could have been.
    pub why: String,
    /// The last event that had been recorded.
    pub position: u64,
    /// The instant that was asked about.
    pub at: String,
    /// Of a no: when the right had last been there, or that it never was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_there: Option<String>,
    /// The events that the answer rests on, oldest first.
    pub chain: Vec<Link>,
}

/// Answers a question. `now` is the asking machine's clock, for [`When::Now`].
///
/// # Errors
/// When the log cannot be read, or an event in it is not the one that was written.
pub async fn explain(
    archive: &mut Archive,
    question: &Question,
    now: Timestamp,
) -> Result<Explanation, EventLogError> {
    let moment = archive.moment(question.when, now).await?;
    let end = archive.last().await?;
    let history = History::read(archive, question.subject, end).await?;
    let acl = history.table(moment.position);
    let known = history.until(moment.position);
    let mut answer = Answer::new(moment, known);
    if let Some(subject) = question.subject
        && !answer.add_login(subject)
    {
        return Ok(answer.unknown(&history, subject));
    }
    answer.judge(&acl, question);
    let payments = answer.payments.clone();
    for payment in payments {
        let events = of_payment(archive, payment).await?;
        let then = |it: &&Entry| it.row.position <= moment.position.0;
        answer.chain.extend(events.iter().filter(then).map(link));
    }
    Ok(answer.finish())
}

/// An answer while it is made.
struct Answer<'a> {
    moment: Moment,
    known: &'a [Entry],
    verdict: Verdict,
    why: String,
    last_there: Option<String>,
    chain: Vec<Link>,
    payments: BTreeSet<PaymentId>,
}

impl<'a> Answer<'a> {
    fn new(moment: Moment, known: &'a [Entry]) -> Self {
        Self {
            moment,
            known,
            verdict: Verdict::No,
            why: String::new(),
            last_there: None,
            chain: Vec::new(),
            payments: BTreeSet::new(),
        }
    }

    /// The events that made the login what it is. False when there was none yet.
    fn add_login(&mut self, subject: SubscriberId) -> bool {
        let registered = self.known.iter().find(|it| {
            matches!(&it.event, Event::SubscriberRegistered { subscriber, .. } if *subscriber == subject)
        });
        self.chain.extend(registered.map(link));
        let state = self.known.iter().rev().find(|it| {
            matches!(
                it.event,
                Event::SubscriberSuspended { .. }
                    | Event::SubscriberReinstated { .. }
                    | Event::SubscriberErased { .. }
            )
        });
        self.chain.extend(state.map(link));
        registered.is_some()
    }

    fn unknown(mut self, history: &History, subject: SubscriberId) -> Explanation {
        let later = history.until(Position(u64::MAX)).iter().find(|it| {
            matches!(&it.event, Event::SubscriberRegistered { subscriber, .. } if *subscriber == subject)
        });
        self.why = match later {
            Some(entry) => format!(
                "there was no such login yet: it was registered {} (event {})",
                entry.row.recorded_at, entry.row.position
            ),
            None => "there is no such login".to_owned(),
        };
        self.last_there = Some("never before".to_owned());
        self.finish()
    }

    fn judge(&mut self, acl: &Acl, question: &Question) {
        let (subject, at) = (question.subject, self.moment.at);
        match &question.wanted {
            Wanted::Connect => match acl.permit_connect(subject) {
                Ok(()) => self.yes("nothing stood against it".to_owned()),
                Err(denied) => self.no(&denied),
            },
            Wanted::Subscribe(filter) => match acl.permit_subscribe(subject, filter, at) {
                Ok(permit) => {
                    let same = |it: &&Right| {
                        it.filter() == permit.filter()
                            && it.access() == permit.access()
                            && it.until() == permit.until()
                    };
                    let rights = acl.rights(subject);
                    self.by_right(rights.iter().find(same));
                }
                Err(denied) => self.no(&denied),
            },
            Wanted::Read(topic) => match acl.permit_deliver(subject, topic, at) {
                Ok(_) => {
                    let rights = acl.rights(subject);
                    self.by_right(rights.find(Action::Read, topic.as_str(), at));
                }
                Err(denied) => self.no(&denied),
            },
            Wanted::Write(topic) => match acl.permit_publish(subject, topic, at) {
                Ok(_) => {
                    let rights = acl.rights(subject);
                    self.by_right(rights.find(Action::Write, topic.as_str(), at));
                }
                Err(denied) => self.no(&denied),
            },
        }
    }

    fn yes(&mut self, why: String) {
        (self.verdict, self.why) = (Verdict::Yes, why);
    }

    fn by_right(&mut self, right: Option<&Right>) {
        let Some(right) = right else {
            return self.yes("a right that overlaps".to_owned());
        };
        let (filter, access) = (right.filter(), right.access());
        match right.source() {
            Source::Lease(offer) => {
                self.yes(format!(
                    "a lease of {offer} gave {access} on {filter} until {}",
                    right.until()
                ));
                self.add_lease(filter, Some(offer));
            }
            Source::Rule(rule) => {
                self.yes(format!(
                    "rule {rule} gave {access} on {filter}, without end"
                ));
                let given = self.known.iter().find(|it| {
                    matches!(&it.event, Event::RuleGiven { rule: Rule { id, .. } } if id == rule)
                });
                self.chain.extend(given.map(link));
            }
        }
    }

    fn no(&mut self, denied: &Denied) {
        self.why = denied.to_string();
        self.last_there = Some(match denied {
            Denied::Ended { filter, at, .. } => {
                self.add_lease(filter, None);
                format!("until {at}")
            }
            Denied::NoRight { .. } => match self.last_rule() {
                Some(removed) => format!("until {removed}, by a rule that was removed"),
                None => "never before".to_owned(),
            },
            Denied::Suspended => match self.chain.last() {
                Some(closed) => {
                    if closed.kind == "subscriber_erased" {
                        "this login was erased, and its rights with it".clone_into(&mut self.why);
                    }
                    format!("until {}", closed.recorded_at)
                }
                None => "never before".to_owned(),
            },
            Denied::NotReady => "unknown".to_owned(),
        });
    }

    /// The last rule that was taken away from the subject, into the chain.
    fn last_rule(&mut self) -> Option<Timestamp> {
        let removed = self.known.iter().rev();
        let removed = removed
            .into_iter()
            .find(|it| matches!(it.event, Event::RuleRemoved { .. }))?;
        let Event::RuleRemoved { rule } = &removed.event else {
            return None;
        };
        let given = self.known.iter().find(
            |it| matches!(&it.event, Event::RuleGiven { rule: Rule { id, .. } } if id == rule),
        );
        self.chain.extend(given.map(link));
        self.chain.push(link(removed));
        Some(removed.row.recorded_at)
    }

    /// The lease's events since it was last granted anew, the terms it was bought on, and the
    /// payments.
    fn add_lease(&mut self, filter: &TopicFilter, offer: Option<&OfferId>) {
        let his = self
            .known
            .iter()
            .filter(|it| lease(&it.event) == Some(filter));
        let his: Vec<&Entry> = his.collect();
        let granted = his
            .iter()
            .rposition(|it| matches!(it.event, Event::LeaseGranted { .. }));
        let his = &his[granted.unwrap_or(0)..];
        let mut bought = offer.cloned();
        for entry in his {
            if let Event::LeaseGranted { payment, offer, .. }
            | Event::LeaseExtended { payment, offer, .. } = &entry.event
            {
                self.payments.insert(*payment);
                bought.get_or_insert(offer.clone());
            }
        }
        let before = his.first().map_or(0, |it| it.row.position);
        let terms = self.known.iter().rev().find(|it| {
            it.row.position < before
                && matches!(&it.event, Event::OfferPublished { offer } if Some(&offer.id) == bought.as_ref())
        });
        self.chain.extend(terms.map(link));
        self.chain.extend(his.iter().map(|it| link(it)));
    }

    fn finish(mut self) -> Explanation {
        self.chain.sort_by_key(|it| it.position);
        self.chain.dedup();
        Explanation {
            verdict: self.verdict,
            why: self.why,
            position: self.moment.position.0,
            at: self.moment.at.to_string(),
            last_there: self.last_there,
            chain: self.chain,
        }
    }
}

/// Where the lease is that an event is about.
fn lease(event: &Event) -> Option<&TopicFilter> {
    match event {
        Event::LeaseGranted { filter, .. }
        | Event::LeaseExtended { filter, .. }
        | Event::LeaseRevoked { filter, .. } => Some(filter),
        _ => None,
    }
}

pub(super) fn link(entry: &Entry) -> Link {
    let Entry { row, event } = entry;
    let transaction = match event {
        Event::PaymentConfirmed { confirmation } => Some(confirmation.payment.digest),
        Event::HeadAnchored { transaction, .. } => Some(*transaction),
        _ => None,
    };
    Link {
        position: row.position,
        recorded_at: row.recorded_at.to_string(),
        kind: row.kind.clone(),
        text: describe(event),
        origin: row.origin().to_owned(),
        transaction: transaction.map(|it| it.to_string()),
        request: row
            .correlation
            .map(|it| uuid::Uuid::from_bytes(it).to_string()),
        leaf: hex::encode(row.leaf),
    }
}
