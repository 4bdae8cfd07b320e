//! From commands to one batch of events: decided one after another, each on top of the one
//! before, numbered and hashed.

use super::handle::{Recording, Submission, SubmitError};
use crate::event_log::{Entropy, NewEvents, StoredEvent, Vault, encode};
use crate::projections::Changes;
use std::collections::HashMap;
use std::ops::Range;
use tanglegate_core::{Event, IdempotencyKey, Position, Recorded, State, Timestamp, decide};
use tanglegate_crypto::Frontier;

/// What a commit will make true.
pub(super) struct Batch {
    pub(super) recorded_at: Timestamp,
    pub(super) previous: Position,
    pub(super) events: Vec<Event>,
    /// Empty once they were taken to be written.
    pub(super) stored: NewEvents,
    pub(super) frontier: Frontier,
    pub(super) changes: Changes,
    /// For each submission, what became of it.
    outcomes: Vec<Result<Outcome, SubmitError>>,
}

enum Outcome {
    /// These of the batch's events.
    Events(Range<usize>),
    /// The same command stands earlier in the batch, with its first event here.
    Same(usize),
}

impl Batch {
    /// Decides `submissions` in order. The changes of `state` and `vault` are staged.
    pub(super) fn decide(
        submissions: &[Submission],
        now: Timestamp,
        state: &mut State,
        frontier: &Frontier,
        vault: &mut Vault,
        entropy: &mut Entropy,
    ) -> Self {
        let mut batch = Self {
            recorded_at: now.max(state.recorded_at()),
            previous: state.position(),
            events: Vec::new(),
            stored: NewEvents::default(),
            frontier: frontier.clone(),
            changes: Changes::default(),
            outcomes: Vec::with_capacity(submissions.len()),
        };
        let mut scratch = Vec::new();
        let mut keys: HashMap<IdempotencyKey, usize> = HashMap::new();
        for submission in submissions {
            if let Some(first) = submission.key.and_then(|it| keys.get(&it)) {
                batch.outcomes.push(Ok(Outcome::Same(*first)));
                continue;
            }
            let outcome = match decide(state, batch.recorded_at, submission.command.clone()) {
                Ok(events) => {
                    let first = batch.events.len();
                    for event in events {
                        batch.add(
                            event,
                            first,
                            submission,
                            state,
                            vault,
                            entropy,
                            &mut scratch,
                        );
                    }
                    if let Some(key) = submission.key.filter(|_| batch.events.len() > first) {
                        keys.insert(key, first);
                    }
                    Ok(Outcome::Events(first..batch.events.len()))
                }
                Err(rejection) => Err(SubmitError::Rejected(rejection)),
            };
            batch.outcomes.push(outcome);
        }
        batch
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "one event meets all that a batch is made of"
    )]
    fn add(
        &mut self,
        event: Event,
        first: usize,
        submission: &Submission,
        state: &mut State,
        vault: &mut Vault,
        entropy: &mut Entropy,
        scratch: &mut Vec<tanglegate_core::Change>,
    ) {
        let is_first = self.events.len() == first;
        let stream = event.stream();
        let body = encode(&event, vault, entropy);
        let key = submission
            .key
            .filter(|_| is_first)
            .map(IdempotencyKey::to_bytes);
        let (position, recorded_at) = (state.position().next(), self.recorded_at);
        let stored = StoredEvent {
            position: position.0,
            stream: &stream.to_string(),
            version: state.next_version(&stream),
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
        self.stored.add(&stored, &leaf);
        self.frontier.push(leaf);
        state.evolve(
            Recorded {
                position,
                recorded_at,
                event: &event,
            },
            scratch,
        );
        self.changes.extend(scratch.drain(..));
        self.events.push(event);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.events.is_empty()
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
