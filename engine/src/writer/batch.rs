//! From commands to events: decided one after another, each on top of the one before, numbered and
//! hashed.

use super::handle::{Recording, Submission, SubmitError};
use crate::event_log::{Entropy, NewBatch, NewEvents, NewKeys, Owner, StoredEvent, Vault, encode};
use crate::projections::Changes;
use std::collections::HashMap;
use std::ops::Range;
use tanglegate_core::{
    Change, Command, Event, IdempotencyKey, MemoReading, Position, Recorded, State, Stream,
    Timestamp, decide,
};
use tanglegate_crypto::{Frontier, Hash};

/// What commands are decided with. What deciding changes in it is staged.
pub(super) struct Mind<'a> {
    pub(super) state: &'a mut State,
    pub(super) vault: &'a mut Vault,
    pub(super) entropy: &'a mut Entropy,
}

/// Whom a memo is about.
fn named_in(reading: &MemoReading, state: &State) -> Option<Owner> {
    let username = match reading {
        MemoReading::Purchase { username, .. } => username,
        MemoReading::Order(order) => &order.username,
        // What nobody could open names nobody.
        MemoReading::Absent
        | MemoReading::Unreadable
        | MemoReading::Sealed
        | MemoReading::Refused(_) => return None,
    };
    Some(match state.named(username) {
        Some(subscriber) => subscriber.into(),
        None => Owner::named(username),
    })
}

/// What a commit will make true.
pub(super) struct Batch {
    recorded_at: Timestamp,
    previous: Position,
    events: Vec<Event>,
    pub(super) frontier: Frontier,
    /// Roots of large subtrees that these events complete.
    pub(super) complete: Vec<Hash>,
    /// For each submission, what became of it.
    outcomes: Vec<Result<Outcome, SubmitError>>,
    /// First events of the commands that have a key.
    keys: HashMap<IdempotencyKey, usize>,
    part: Part,
}

/// The events since the last part was taken.
struct Part {
    previous: Position,
    events: NewEvents,
    changes: Changes,
    /// What an event changed, and the name of its stream; kept for the next event.
    changed: Vec<Change>,
    stream: Option<(Stream, String)>,
}

impl Part {
    fn after(previous: Position) -> Self {
        Self {
            previous,
            events: NewEvents::default(),
            changes: Changes::default(),
            changed: Vec::new(),
            stream: None,
        }
    }
}

enum Outcome {
    /// These of the batch's events.
    Events(Range<usize>),
    /// The same command stands earlier in the batch, with its first event here.
    Same(usize),
}

impl Batch {
    /// Nothing yet, after what the state knows.
    pub(super) fn new(now: Timestamp, state: &State, frontier: &Frontier) -> Self {
        Self {
            recorded_at: now.max(state.recorded_at()),
            previous: state.position(),
            events: Vec::new(),
            frontier: frontier.clone(),
            complete: Vec::new(),
            outcomes: Vec::new(),
            keys: HashMap::new(),
            part: Part::after(state.position()),
        }
    }

    /// Decides `submissions` in order, after those before.
    pub(super) fn decide(&mut self, submissions: &[Submission], mind: &mut Mind<'_>) {
        for submission in submissions {
            let outcome = self.decide_one(submission, mind);
            self.outcomes.push(outcome);
        }
    }

    fn decide_one(
        &mut self,
        submission: &Submission,
        mind: &mut Mind<'_>,
    ) -> Result<Outcome, SubmitError> {
        if let Some(first) = submission.key.and_then(|it| self.keys.get(&it)) {
            return Ok(Outcome::Same(*first));
        }
        let claimed = match &submission.command {
            Command::ClaimPayment { payment, .. } => mind.state.waiting(payment),
            _ => None,
        };
        let claimed = claimed.map(|it| (it.seller, it.amount));
        let mut events = decide(mind.state, self.recorded_at, submission.command.clone())?;
        let first = self.events.len();
        if let Some(reply) = submission.reply.as_ref().filter(|_| !events.is_empty()) {
            let position = mind.state.position().next();
            let told = reply.announce(&events, claimed, position, self.recorded_at, mind.entropy);
            events.extend(told);
        }
        for event in events {
            self.add(event, first, submission, mind);
        }
        let last = self.events.len();
        if let Some(key) = submission.key.filter(|_| last > first) {
            self.keys.insert(key, first);
        }
        Ok(Outcome::Events(first..last))
    }

    fn add(&mut self, event: Event, first: usize, submission: &Submission, mind: &mut Mind<'_>) {
        let Part {
            events,
            changes,
            changed,
            stream: name,
            ..
        } = &mut self.part;
        let is_first = self.events.len() == first;
        let stream = event.stream();
        let version = mind.state.next_version(&stream);
        if name.as_ref().is_none_or(|(last, _)| *last != stream) {
            let text = stream.to_string();
            *name = Some((stream, text));
        }
        let owner = match &event {
            Event::PaymentConfirmed { confirmation } => named_in(&confirmation.reading, mind.state),
            _ => None,
        };
        let body = encode(&event, owner, mind.vault, mind.entropy);
        if let Event::SubscriberErased { subscriber } = event {
            let name = mind
                .state
                .subscriber(subscriber)
                .and_then(|it| it.username.as_ref());
            mind.vault.erase(subscriber.into());
            name.into_iter()
                .for_each(|it| mind.vault.erase(Owner::named(it)));
        }
        let key = submission
            .key
            .filter(|_| is_first)
            .map(IdempotencyKey::to_bytes);
        let (position, recorded_at) = (mind.state.position().next(), self.recorded_at);
        let stored = StoredEvent {
            position: position.0,
            stream: name.as_ref().map_or("", |(_, text)| text),
            version,
            kind: body.kind,
            schema_version: body.schema_version,
            idempotency_key: key.as_deref(),
            recorded_at,
            correlation: submission.correlation,
            causation: (!is_first).then(|| self.previous.0 + first as u64 + 1),
            meta: submission.origin.to_meta(),
            body: &body.bytes,
        };
        let leaf = stored.leaf();
        events.add(&stored, &leaf);
        self.frontier.push_noting(leaf, &mut self.complete);
        let recorded = Recorded {
            position,
            recorded_at,
            event: &event,
        };
        let evolved = mind.state.evolve(recorded, changed);
        evolved.expect("what was decided follows from the state");
        changes.extend(changed.drain(..));
        self.events.push(event);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// What was decided since the last part was taken, to be appended; `None` without events.
    pub(super) fn take_part<'a>(
        &mut self,
        node: &'a str,
        mind: &mut Mind<'_>,
    ) -> Option<NewBatch<'a>> {
        let last = mind.state.position();
        if last == self.part.previous {
            return None;
        }
        let part = std::mem::replace(&mut self.part, Part::after(last));
        Some(NewBatch {
            previous: part.previous,
            root: self.frontier.root(),
            node,
            recorded_at: self.recorded_at,
            events: part.events,
            keys: NewKeys::take(mind.vault),
            changes: part.changes.to_rows(last),
        })
    }

    /// The events with their places.
    pub(super) fn recorded(&self) -> impl Iterator<Item = Recorded<'_>> {
        let (previous, recorded_at) = (self.previous.0, self.recorded_at);
        (previous + 1..)
            .zip(&self.events)
            .map(move |(at, event)| Recorded {
                position: Position(at),
                recorded_at,
                event,
            })
    }

    /// Answers everyone, now that the batch is true.
    pub(super) fn answer(self, submissions: Vec<Submission>) {
        let mut events = self.events.into_iter();
        for (submission, outcome) in submissions.into_iter().zip(self.outcomes) {
            let position = |index: usize| Position(self.previous.0 + index as u64 + 1);
            let answer = outcome.map(|it| match it {
                Outcome::Events(range) if range.is_empty() => Recording::Nothing,
                Outcome::Events(range) => Recording::Recorded {
                    first: position(range.start),
                    // Outcomes stand in the order of their events, and each event in one.
                    events: events.by_ref().take(range.len()).collect(),
                },
                Outcome::Same(first) => Recording::Before {
                    first: position(first),
                },
            });
            // Who no longer waits for the answer does not need it.
            drop(submission.answer.send(answer));
        }
    }
}
