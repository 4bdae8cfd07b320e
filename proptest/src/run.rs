//! Playing a world.

use crate::broken::{ensure, ensure_same};
use crate::writer::{Answers, Submission, Writer};
use crate::{Act, Auditor, Book, Broken, Entry, Fate, Fault, Journal, Step, Wish, World, permits};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use tanglegate_core::{Command, Confirmation, IdempotencyKey, Position, Rejection, Timestamp};

/// What the wisher hears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It is recorded, from here on.
    Recorded(Position),
    /// It was recorded before.
    Before(Position),
    /// There was nothing to record.
    Nothing,
    /// It is refused.
    Rejected(Rejection),
}

/// A world that was played to its end.
#[derive(Debug)]
pub struct Run {
    /// The log as it stands at the end.
    pub journal: Journal,
    /// Every answer with the number of its wish, in order.
    pub answers: Vec<(usize, Answer)>,
    /// Refusals of the log that were met.
    pub faults: BTreeSet<Fault>,
    /// What happened, for people, where somebody wants to know.
    story: Option<String>,
    clock: Timestamp,
    writers: [Writer; 2],
    payments: Vec<Confirmation>,
    /// Every wish so far.
    wishes: Vec<Submission>,
}

/// 2025-11-22T14:05:00Z.
const BEGINNING: Timestamp = Timestamp(1_763_820_300_000);

/// The second writer's clock is so far behind the first one's.
const SKEW_MS: u64 = 7_000;

impl Run {
    /// Plays the world and looks after every step whether all promises are kept.
    ///
    /// # Errors
    /// When one is not. What is told is the first thing that was found.
    pub fn of(world: &World) -> Result<Self, Broken> {
        let mut run = Self::new(world);
        run.play(world)?;
        Ok(run)
    }

    /// Plays the world, and tells what happened also when a promise was broken.
    pub fn told(world: &World) -> (String, Result<(), Broken>) {
        let mut run = Self::new(world);
        run.story = Some(String::new());
        let outcome = run.play(world);
        (run.story.unwrap_or_default(), outcome)
    }

    fn new(world: &World) -> Self {
        let payments: Vec<Confirmation> = (0..)
            .zip(&world.payments)
            .map(|(number, it)| it.confirmation(number))
            .collect();
        Self {
            journal: Journal::new(Auditor::new(payments.iter().cloned())),
            answers: Vec::new(),
            faults: BTreeSet::new(),
            story: None,
            clock: BEGINNING,
            writers: Default::default(),
            payments,
            wishes: Vec::new(),
        }
    }

    fn play(&mut self, world: &World) -> Result<(), Broken> {
        self.check_writer(0, &[BEGINNING])?;
        for (number, step) in world.steps.iter().enumerate() {
            let played = self.step(step);
            played.map_err(|it| Broken(format!("at step {number}, {step:?}: {it}")))?;
        }
        self.finish()
            .map_err(|it| Broken(format!("at the end: {it}")))
    }

    fn step(&mut self, step: &Step) -> Result<(), Broken> {
        self.clock = Timestamp(self.clock.0.saturating_add_signed(step.after_ms));
        let writer = usize::from(step.writer) % self.writers.len();
        match &step.act {
            Act::Submit(wish) => {
                self.submit(writer, wish);
                Ok(())
            }
            Act::Decide => self.decide(writer),
            Act::Commit(fate) => self.commit(writer, *fate),
            Act::Look => self.writers[writer].catch_up(&self.journal),
            Act::Await(more) => {
                let ends = self.ends().filter(|it| self.clock < *it);
                if let Some(end) = ends.filter(|it| *it <= Timestamp::LAST).min() {
                    let its_clock = end.0.saturating_add(SKEW_MS * writer as u64);
                    self.clock = Timestamp(its_clock.saturating_add_signed(i64::from(*more)));
                }
                Ok(())
            }
            Act::Crash => {
                self.tell(format_args!("writer {writer} dies"));
                self.writers[writer] = Writer::start(&self.journal)?;
                Ok(())
            }
        }
    }

    /// What that writer's machine takes for the time.
    fn clock_of(&self, writer: usize) -> Timestamp {
        Timestamp(self.clock.0.saturating_sub(SKEW_MS * writer as u64))
    }

    fn submit(&mut self, writer: usize, wish: &Wish) {
        let number = self.wishes.len();
        let (command, key) = match wish {
            Wish::Again(earlier) => match self.wishes.get(usize::from(*earlier)) {
                Some(it) => (it.command.clone(), it.key),
                None => return,
            },
            Wish::Deliver(payment) => {
                let place = usize::from(*payment) % self.payments.len().max(1);
                let Some(paid) = self.payments.get(place) else {
                    return;
                };
                let key = IdempotencyKey::Payment(paid.payment);
                (Command::ConfirmPayment(paid.clone()), Some(key))
            }
            other => match other.command(self.clock_of(writer)) {
                Some(command) => (command, key_of(other, number)),
                None => return,
            },
        };
        self.tell(format_args!("wish {number} to writer {writer}: {wish:?}"));
        let submission = Submission {
            wish: number,
            key,
            command,
        };
        self.wishes.push(submission.clone());
        self.writers[writer].inbox.push(submission);
    }

    fn decide(&mut self, writer: usize) -> Result<(), Broken> {
        let (now, payments) = (self.clock_of(writer), self.number_of_payments());
        let answers = self.writers[writer].decide(now, payments, &self.journal)?;
        self.answer(answers)
    }

    fn commit(&mut self, writer: usize, fate: Fate) -> Result<(), Broken> {
        self.decide(writer)?;
        if !self.writers[writer].is_ready() {
            return Ok(());
        }
        let (before, faults) = (self.journal.entries().len(), &mut self.faults);
        let answers = self.writers[writer].commit(fate, &mut self.journal, &mut |it| {
            faults.insert(it);
        })?;
        let written: Vec<Entry> = self.journal.entries()[before..].to_vec();
        self.tell(format_args!(
            "writer {writer} commits: {fate:?}, {} events",
            written.len()
        ));
        for entry in written {
            self.tell(format_args!(
                "  {} at {} in {} v{}: {:?}",
                entry.position, entry.recorded_at, entry.stream, entry.version, entry.event
            ));
        }
        self.answer(answers)?;
        self.check_writer(writer, &[self.journal.auditor.book().recorded_at])
    }

    /// An answer has to be true at once: who heard it may act on it.
    fn answer(&mut self, answers: Answers) -> Result<(), Broken> {
        for (number, answer) in answers {
            self.tell(format_args!("  answer to wish {number}: {answer:?}"));
            let key = self.wishes[number].key.map(IdempotencyKey::to_bytes);
            if let (Answer::Recorded(first) | Answer::Before(first), Some(key)) = (&answer, key) {
                let stands = self.journal.known(&key);
                ensure_same!(stands, Some(*first), "where wish {number} stands");
            }
            self.answers.push((number, answer));
        }
        Ok(())
    }

    /// A writer who has read the whole log knows what it says, and permits what the rows say.
    fn check_writer(&self, writer: usize, instants: &[Timestamp]) -> Result<(), Broken> {
        let known = &self.writers[writer];
        if !known.is_up_to_date(&self.journal) {
            return Ok(());
        }
        let book = self.journal.auditor.book();
        ensure_same!(
            Book::of(&known.state, self.number_of_payments()),
            *book,
            "what writer {writer} knows"
        );
        ensure_same!(known.acl.as_of(), book.position, "the gate's table");
        ensure_same!(known.frontier, self.journal.frontier, "the tree");
        for now in instants {
            permits::check(
                &known.acl,
                &self.journal.tables,
                &self.journal.auditor,
                *now,
            )?;
        }
        Ok(())
    }

    /// Everybody gets an answer, the ledger delivers everything once more, twice; then the log
    /// is looked at as a whole.
    fn finish(&mut self) -> Result<(), Broken> {
        self.tell(format_args!("the storm is over"));
        let payments = self.number_of_payments();
        for number in (0..payments).chain((0..payments).rev()) {
            for writer in 0..self.writers.len() {
                self.submit(writer, &Wish::Deliver(number));
            }
        }
        // A batch that loses the race, or has a known command in it, is decided again: two
        // rounds for what was ready before, two for what waited behind it.
        for _ in 0..4 {
            for writer in 0..self.writers.len() {
                self.commit(writer, Fate::Answered)?;
            }
        }
        for writer in 0..self.writers.len() {
            let inbox = &self.writers[writer].inbox;
            ensure!(inbox.is_empty(), "writer {writer} answers no more");
            self.writers[writer].catch_up(&self.journal)?;
        }
        self.journal.auditor.misses_no_payment()?;
        self.check_replay()?;
        for writer in 0..self.writers.len() {
            self.check_writer(writer, &[])?;
        }
        self.check_writer(0, &self.instants())
    }

    /// A replay from zero gives the same state, the same rows and the same rights.
    fn check_replay(&self) -> Result<(), Broken> {
        let (state, tables) = self.journal.replay(self.journal.head())?;
        ensure_same!(
            Book::of(&state, self.number_of_payments()),
            *self.journal.auditor.book(),
            "the state, replayed from zero"
        );
        ensure_same!(tables, self.journal.tables, "the rows, replayed from zero");
        let fresh = Writer::start(&self.journal)?;
        let live = permits::standings(&self.writers[0].acl);
        ensure_same!(
            permits::standings(&fresh.acl),
            live,
            "the rights, replayed from zero"
        );
        Ok(())
    }

    /// Every end of a right or a sale.
    fn ends(&self) -> impl Iterator<Item = Timestamp> {
        let tables = &self.journal.tables;
        let sales = tables.offers.values().map(|it| it.valid_until);
        tables.access().map(|it| it.until).chain(sales)
    }

    /// From the last event on, around every end.
    fn instants(&self) -> Vec<Timestamp> {
        let last = self.journal.auditor.book().recorded_at;
        let around = self.ends().flat_map(|it| [it.0.saturating_sub(1), it.0]);
        let instants: BTreeSet<u64> = around.chain([last.0, u64::MAX]).collect();
        let instants = instants.into_iter().map(Timestamp);
        instants.filter(|it| last <= *it).collect()
    }

    fn number_of_payments(&self) -> u8 {
        u8::try_from(self.payments.len()).unwrap_or(u8::MAX)
    }

    fn tell(&mut self, what: std::fmt::Arguments<'_>) {
        if let Some(story) = &mut self.story {
            let line = writeln!(story, "{} {what}", self.clock);
            line.expect("a text in memory takes every line");
        }
    }
}

/// People's wishes are numbered by the tool that carries them; the follower's notes are not.
fn key_of(wish: &Wish, number: usize) -> Option<IdempotencyKey> {
    if matches!(wish, Wish::Bind(_) | Wish::Scan(_)) {
        return None;
    }
    let mut uuid = [0; 16];
    uuid[..8].copy_from_slice(&(number as u64).to_be_bytes());
    Some(IdempotencyKey::Person(uuid))
}
