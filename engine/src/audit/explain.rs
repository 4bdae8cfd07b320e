//! Why somebody could do something at some moment, or could not: the answer of the access table as
//! of then, and the chain of events behind it.

use super::history::{Entry, History, of_payment};
use super::when::Moment;
use super::{Archive, When};
use crate::event_log::{EventLogError, describe};
use serde::Serialize;
use std::collections::BTreeSet;
use tanglegate_broker::needs_no_right;
use tanglegate_core::{
    Access, Acl, Action, Contradiction, Denied, Event, PaymentId, Position, Right, Rule, RuleId,
    Source, SubscriberId, Timestamp, TopicFilter, TopicName,
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

impl Wanted {
    /// True when a right to `access` on `filter` allows it, while it runs.
    fn fits(&self, filter: &TopicFilter, access: Access) -> bool {
        match self {
            Self::Connect => false,
            Self::Subscribe(wanted) => access.allows(Action::Read) && filter.overlaps(wanted),
            Self::Read(topic) => access.allows(Action::Read) && filter.matches(topic.as_str()),
            Self::Write(topic) => access.allows(Action::Write) && filter.matches(topic.as_str()),
        }
    }

    /// True for what the gate tells every client about itself, and for answers to a key that he
    /// names, which take no right.
    fn concerns_the_asker(&self) -> bool {
        match self {
            Self::Connect | Self::Write(_) => false,
            Self::Subscribe(filter) => needs_no_right(filter),
            Self::Read(topic) => {
                TopicFilter::parse(topic.as_str()).is_ok_and(|it| needs_no_right(&it))
            }
        }
    }
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
    /// True when that instant lies ahead: then the answer rests on the rights of now, and what is
    /// recorded until then may change it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub ahead: bool,
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
    let acl = history.table(moment.position)?;
    let known = history.until(moment.position);
    let mut answer = Answer::new(moment, now, known);
    if let Some(subject) = question.subject
        && !answer.add_login(subject)
    {
        return Ok(answer.unknown(&history, subject));
    }
    answer.judge(&history, &acl, question)?;
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
    now: Timestamp,
    known: &'a [Entry],
    verdict: Verdict,
    why: String,
    last_there: Option<String>,
    chain: Vec<Link>,
    payments: BTreeSet<PaymentId>,
}

impl<'a> Answer<'a> {
    fn new(moment: Moment, now: Timestamp, known: &'a [Entry]) -> Self {
        Self {
            moment,
            now,
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

    fn judge(
        &mut self,
        history: &History,
        acl: &Acl,
        question: &Question,
    ) -> Result<(), Contradiction> {
        let (subject, at) = (question.subject, self.moment.at);
        let permit = match &question.wanted {
            wanted if wanted.concerns_the_asker() => {
                self.yes("every client may read what the server tells it there".to_owned());
                return Ok(());
            }
            Wanted::Connect => match acl.permit_connect(subject) {
                Ok(()) => {
                    self.yes("nothing stood against it".to_owned());
                    return Ok(());
                }
                Err(denied) => Err(denied),
            },
            Wanted::Subscribe(filter) => acl.permit_subscribe(subject, filter, at),
            Wanted::Read(topic) => acl.permit_deliver(subject, topic, at),
            Wanted::Write(topic) => acl.permit_publish(subject, topic, at),
        };
        match permit {
            Ok(permit) => self.by_right(permit.right()),
            Err(denied) => self.no(&denied, history, acl, question)?,
        }
        Ok(())
    }

    fn yes(&mut self, why: String) {
        (self.verdict, self.why) = (Verdict::Yes, why);
    }

    fn by_right(&mut self, right: &Right) {
        let (filter, access) = (right.filter(), right.access());
        self.yes(match right.source() {
            Source::Lease(offer) => format!(
                "a lease of {offer} gave {access} on {filter} until {}",
                right.until()
            ),
            Source::Rule(rule) => format!("rule {rule} gave {access} on {filter}, without end"),
        });
        self.add_source(right);
    }

    /// The events that a right comes from.
    fn add_source(&mut self, right: &Right) {
        match right.source() {
            Source::Lease(_) => self.add_lease(right.filter(), right.access()),
            Source::Rule(rule) => self.chain.extend(self.given(*rule).map(link)),
        }
    }

    fn given(&self, rule: RuleId) -> Option<&'a Entry> {
        let given = |it: &&Entry| matches!(&it.event, Event::RuleGiven { rule: Rule { id, .. } } if *id == rule);
        self.known.iter().find(given)
    }

    fn no(
        &mut self,
        denied: &Denied,
        history: &History,
        acl: &Acl,
        question: &Question,
    ) -> Result<(), Contradiction> {
        self.why = denied.to_string();
        let closed = self.known.iter().rev().find(|it| {
            let closes = matches!(
                it.event,
                Event::SubscriberSuspended { .. } | Event::SubscriberErased { .. }
            );
            closes && *denied == Denied::Suspended
        });
        if closed.is_some_and(|it| matches!(it.event, Event::SubscriberErased { .. })) {
            "this login was erased, and its rights with it".clone_into(&mut self.why);
        }
        let last = match (&question.wanted, closed) {
            (Wanted::Connect, Some(closed)) => Some((closed.row.recorded_at, "")),
            // What it could do until it was closed.
            (wanted, Some(closed)) => {
                let open = history.table(Position(closed.row.position - 1))?;
                self.last_allowed(&open, question.subject, wanted, closed.row.recorded_at)
            }
            (wanted, None) => self.last_allowed(acl, question.subject, wanted, Timestamp::FOREVER),
        };
        self.last_there = Some(last.map_or_else(
            || "never before".to_owned(),
            |(at, how)| format!("until {at}{how}"),
        ));
        Ok(())
    }

    /// The latest instant up to which a right allowed it: the end of a lease, the removal of a
    /// rule, or `closed`, when the login was closed. What that right came from joins the chain.
    fn last_allowed(
        &mut self,
        acl: &Acl,
        subject: Option<SubscriberId>,
        wanted: &Wanted,
        closed: Timestamp,
    ) -> Option<(Timestamp, &'static str)> {
        let rights = acl.rights(subject);
        let fitting = rights
            .iter()
            .filter(|it| wanted.fits(it.filter(), it.access()));
        let held = fitting.max_by_key(|it| it.until());
        let removals = self.known.iter().rev().filter_map(|removed| {
            let Event::RuleRemoved { rule } = &removed.event else {
                return None;
            };
            let given = self.given(*rule)?;
            let Event::RuleGiven { rule } = &given.event else {
                return None;
            };
            wanted
                .fits(&rule.filter, rule.access)
                .then_some((given, removed))
        });
        let removed = removals.max_by_key(|it| it.1.row.recorded_at.min(closed));
        let until = held.map(|it| it.until().min(closed));
        match removed {
            Some((given, removed)) if until.is_none_or(|it| it < removed.row.recorded_at) => {
                self.chain.extend([link(given), link(removed)]);
                Some((removed.row.recorded_at, ", by a rule that was removed"))
            }
            _ => {
                self.add_source(held?);
                Some((until?, ""))
            }
        }
    }

    /// The lease's events since it was last granted anew, the terms of each purchase, and the
    /// payments.
    fn add_lease(&mut self, filter: &TopicFilter, access: Access) {
        let his = self
            .known
            .iter()
            .filter(|it| lease(&it.event) == Some((filter, access)));
        let his: Vec<&Entry> = his.collect();
        let granted = his
            .iter()
            .rposition(|it| matches!(it.event, Event::LeaseGranted { .. }));
        let his = &his[granted.unwrap_or(0)..];
        for entry in his {
            if let Event::LeaseGranted { payment, offer, .. }
            | Event::LeaseExtended { payment, offer, .. } = &entry.event
            {
                self.payments.insert(*payment);
                let terms = self.known.iter().rev().find(|it| {
                    let published = matches!(&it.event, Event::OfferPublished { offer: terms } if terms.id == *offer);
                    published && it.row.position < entry.row.position
                });
                self.chain.extend(terms.map(link));
            }
        }
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
            ahead: self.now < self.moment.at,
            last_there: self.last_there,
            chain: self.chain,
        }
    }
}

/// Where the lease is that an event is about, and what it allows.
fn lease(event: &Event) -> Option<(&TopicFilter, Access)> {
    match event {
        Event::LeaseGranted { filter, access, .. }
        | Event::LeaseExtended { filter, access, .. }
        | Event::LeaseRevoked { filter, access, .. } => Some((filter, *access)),
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
