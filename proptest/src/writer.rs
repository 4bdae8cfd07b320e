//! A writer: the engine's way of deciding, committing and recovering, without its database.

use crate::broken::ensure_same;
use crate::journal::{Batch, Group};
use crate::run::Answer;
use crate::{Book, Broken, Entry, Fate, Fault, Journal, permits, refusals};
use std::collections::BTreeMap;
use tanglegate_core::{Acl, Command, Event, IdempotencyKey, Position, State, Timestamp, decide};
use tanglegate_crypto::Frontier;

/// A wish on its way.
#[derive(Debug, Clone)]
pub(crate) struct Submission {
    /// Its number in the world; an answer belongs to it.
    pub(crate) wish: usize,
    pub(crate) key: Option<IdempotencyKey>,
    pub(crate) command: Command,
}

/// A batch that is decided and not yet written.
#[derive(Debug, Clone)]
struct Ready {
    batch: Batch,
    submissions: Vec<Submission>,
    answers: Vec<Answer>,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Writer {
    pub(crate) state: State,
    pub(crate) acl: Acl,
    pub(crate) frontier: Frontier,
    pub(crate) inbox: Vec<Submission>,
    ready: Option<Ready>,
}

pub(crate) type Answers = Vec<(usize, Answer)>;

impl Writer {
    /// A process that has just started: it knows the log and nothing else.
    pub(crate) fn start(journal: &Journal) -> Result<Self, Broken> {
        let mut writer = Self::default();
        writer.catch_up(journal)?;
        Ok(writer)
    }

    /// Decides what waits, unless a batch is ready.
    ///
    /// Decided again after forgetting, and again by a state that was replayed from zero, it has
    /// to come out the same.
    pub(crate) fn decide(
        &mut self,
        clock: Timestamp,
        payments: u8,
        journal: &Journal,
    ) -> Result<Answers, Broken> {
        if self.ready.is_some() || self.inbox.is_empty() {
            return Ok(Vec::new());
        }
        let waiting = std::mem::take(&mut self.inbox);
        let is_person = |it: &Submission| matches!(it.key, Some(IdempotencyKey::Person(_)));
        let (known, submissions) = sort_out(waiting, journal, is_person);
        let now = clock.max(self.state.recorded_at());
        let first = decide_all(&submissions, now, &mut self.state, &self.frontier)?;
        self.state.forget();
        let (mut twin, _) = journal.replay(self.state.position())?;
        ensure_same!(
            Book::of(&self.state, payments),
            Book::of(&twin, payments),
            "after forgetting a batch, the state and its replay from zero"
        );
        let replayed = decide_all(&submissions, now, &mut twin, &self.frontier)?;
        ensure_same!(replayed, first, "the batch, decided after a replay");
        let again = decide_all(&submissions, now, &mut self.state, &self.frontier)?;
        ensure_same!(again, first, "the batch, decided again");
        let (batch, answers) = again;
        self.ready = Some(Ready {
            batch,
            submissions,
            answers,
        });
        Ok(known)
    }

    /// Tries to write the batch that is ready, and answers what is settled by it.
    pub(crate) fn commit(
        &mut self,
        fate: Fate,
        journal: &mut Journal,
        note: &mut impl FnMut(Fault),
    ) -> Result<Answers, Broken> {
        let Some(ready) = self.ready.take() else {
            return Ok(Vec::new());
        };
        let mut append = || {
            let written = journal.append(&ready.batch)?;
            if let Err(fault) = written {
                note(fault);
            }
            Ok::<_, Broken>(written)
        };
        let is_empty = ready.batch.is_empty();
        let settled = match fate {
            Fate::Answered => is_empty || append()?.is_ok(),
            Fate::Lost | Fate::DiesBefore => false,
            Fate::AnswerLost | Fate::DiesAfter => {
                if !is_empty {
                    // Written or refused: the answer is what gets lost.
                    append()?.ok();
                }
                false
            }
        };
        if matches!(fate, Fate::DiesBefore | Fate::DiesAfter) {
            *self = Self::start(journal)?;
            return Ok(Vec::new());
        }
        if !settled {
            self.state.forget();
            self.catch_up(journal)?;
            let (known, mut rest) = sort_out(ready.submissions, journal, |_| true);
            rest.append(&mut self.inbox);
            self.inbox = rest;
            return Ok(known);
        }
        self.state.settle();
        self.frontier = ready.batch.frontier.clone();
        for entry in ready.batch.entries() {
            self.permit(entry)?;
        }
        let numbers = ready.submissions.iter().map(|it| it.wish);
        Ok(numbers.zip(ready.answers).collect())
    }

    /// Folds what stands in the log and not yet in memory. Does nothing while a batch is ready.
    pub(crate) fn catch_up(&mut self, journal: &Journal) -> Result<(), Broken> {
        if self.ready.is_some() {
            return Ok(());
        }
        let mut rows = Vec::new();
        let last = self.state.position();
        for entry in journal.entries.iter().skip_while(|it| it.position <= last) {
            self.state.evolve(entry.recorded(), &mut rows)?;
            self.frontier.push(entry.leaf());
            self.permit(entry)?;
        }
        self.state.settle();
        Ok(())
    }

    /// Folds an event into the gate's table. Whom it says to be affected has to be right, or a
    /// session would go on under rights that it no longer has.
    fn permit(&mut self, entry: &Entry) -> Result<(), Broken> {
        let before = permits::standings(&self.acl);
        let affected = self.acl.apply(entry.recorded());
        let after = permits::standings(&self.acl);
        permits::check_affected(affected, &before, &after, entry)
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.ready.is_some()
    }

    pub(crate) fn is_up_to_date(&self, journal: &Journal) -> bool {
        self.ready.is_none() && self.state.position() == journal.head()
    }
}

/// Parts submissions that stand in the log already, and answers them, from the rest.
fn sort_out(
    submissions: Vec<Submission>,
    journal: &Journal,
    looked_up: impl Fn(&Submission) -> bool,
) -> (Answers, Vec<Submission>) {
    let (mut answers, mut rest) = (Vec::new(), Vec::new());
    for submission in submissions {
        let key = submission.key.filter(|_| looked_up(&submission));
        match key.and_then(|it| journal.known(&it.to_bytes())) {
            Some(first) => answers.push((submission.wish, Answer::Before(first))),
            None => rest.push(submission),
        }
    }
    (answers, rest)
}

/// Decides submissions in order, each on top of the one before.
fn decide_all(
    submissions: &[Submission],
    now: Timestamp,
    state: &mut State,
    frontier: &Frontier,
) -> Result<(Batch, Vec<Answer>), Broken> {
    let mut batch = Batch {
        previous: state.position(),
        groups: Vec::new(),
        changes: Vec::new(),
        frontier: frontier.clone(),
    };
    let mut answers = Vec::new();
    let mut firsts: BTreeMap<IdempotencyKey, Position> = BTreeMap::new();
    for submission in submissions {
        if let Some(first) = submission.key.and_then(|it| firsts.get(&it)) {
            answers.push(Answer::Before(*first));
            continue;
        }
        let events = match decide(state, now, submission.command.clone()) {
            Err(rejection) => {
                refusals::check(&rejection, &submission.command, state, now)?;
                answers.push(Answer::Rejected(rejection));
                continue;
            }
            Ok(events) => events,
        };
        if events.is_empty() {
            refusals::check_idle(&submission.command, state)?;
            answers.push(Answer::Nothing);
            continue;
        }
        refusals::check_news(&submission.command, state)?;
        let first = state.position().next();
        if let Some(key) = submission.key {
            firsts.insert(key, first);
        }
        answers.push(Answer::Recorded(first));
        batch.fold(submission, events, now, state);
    }
    Ok((batch, answers))
}

impl Batch {
    fn fold(
        &mut self,
        submission: &Submission,
        events: Vec<Event>,
        recorded_at: Timestamp,
        state: &mut State,
    ) {
        let mut entries: Vec<Entry> = Vec::new();
        for event in events {
            let stream = event.stream();
            let key = submission.key.filter(|_| entries.is_empty());
            let entry = Entry {
                position: state.position().next(),
                recorded_at,
                version: state.next_version(&stream),
                stream,
                key: key.map(IdempotencyKey::to_bytes),
                event,
            };
            let evolved = state.evolve(entry.recorded(), &mut self.changes);
            evolved.expect("what was decided follows from the state");
            self.frontier.push(entry.leaf());
            entries.push(entry);
        }
        self.groups.push(Group {
            wish: submission.wish,
            command: submission.command.clone(),
            entries,
        });
    }
}
