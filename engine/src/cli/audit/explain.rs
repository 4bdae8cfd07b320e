//! `tanglegate audit explain`

use super::super::table::printable;
use super::who::Who;
use super::{now, show};
use crate::audit::{Archive, Explanation, Link, Question, Verdict, Wanted, When, explain};
use anyhow::Context;
use clap::{Args, ValueEnum};
use std::fmt::Write;
use tanglegate_core::{TopicFilter, TopicName};

#[derive(Args)]
pub(in crate::cli) struct Explain {
    #[command(flatten)]
    who: Who,
    /// The topic, or for `subscribe` the filter; `connect` needs none
    #[arg(long)]
    topic: Option<String>,
    /// What it wanted: to read messages of a topic, write on it, subscribe to a filter, or connect
    #[arg(long, value_enum, default_value_t = Action::Read)]
    action: Action,
    /// When: a position in the log, an instant such as 2025-11-22T14:05:00Z, or now
    #[arg(long, default_value = "now", value_name = "WHEN")]
    at: When,
    /// The answer as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Action {
    Read,
    Write,
    Subscribe,
    Connect,
}

impl Explain {
    pub(super) async fn answer(self, archive: &mut Archive) -> anyhow::Result<bool> {
        let question = Question {
            wanted: self.wanted()?,
            subject: self.who.find(archive).await?,
            when: self.at,
        };
        let answer = explain(archive, &question, now()).await?;
        let who = self.who.shown(question.subject);
        show(&answer, self.json, || words(&answer, &who))?;
        Ok(answer.verdict == Verdict::Yes)
    }

    fn wanted(&self) -> anyhow::Result<Wanted> {
        let topic = || {
            self.topic
                .as_deref()
                .context("which topic? Name one with --topic, for example --topic sensor/live")
        };
        Ok(match self.action {
            Action::Connect => Wanted::Connect,
            Action::Subscribe => {
                let filter = topic()?;
                let plain = filter
                    .strip_prefix("$share/")
                    .and_then(|it| it.split_once('/'));
                Wanted::Subscribe(TopicFilter::parse(plain.map_or(filter, |it| it.1))?)
            }
            Action::Read => Wanted::Read(TopicName::parse(topic()?)?),
            Action::Write => Wanted::Write(TopicName::parse(topic()?)?),
        })
    }
}

fn words(answer: &Explanation, who: &str) -> String {
    let verdict = match answer.verdict {
        Verdict::Yes => "yes",
        Verdict::No => "no",
    };
    let mut text = format!("{verdict}: {}\n", answer.why);
    let _ = writeln!(
        text,
        "  asked about {who} at {}, after event {}",
        answer.at, answer.position
    );
    if answer.ahead {
        text.push_str("  that instant lies ahead: this is what the rights of now come to\n");
    }
    if let Some(last) = &answer.last_there {
        let _ = writeln!(text, "  last allowed: {last}");
    }
    if !answer.chain.is_empty() {
        text.push_str("  this rests on:\n");
    }
    answer.chain.iter().for_each(|it| text.push_str(&line(it)));
    // A name may hold anything; line ends are ours.
    text.split_inclusive('\n')
        .map(|it| printable(it) + "\n")
        .collect()
}

/// One event of a chain, for people.
pub(super) fn line(link: &Link) -> String {
    let Link {
        position,
        recorded_at,
        text,
        origin,
        transaction,
        request,
        ..
    } = link;
    let mut line = format!("  {position:>8}  {recorded_at}  {text}  [{origin}]\n");
    if let Some(transaction) = transaction {
        let _ = writeln!(line, "{:>12}ledger transaction {transaction}", "");
    }
    if let Some(request) = request {
        let _ = writeln!(line, "{:>12}request {request}", "");
    }
    line
}
