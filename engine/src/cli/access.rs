//! `tanglegate access`

use super::{Common, complain, table};
use crate::control::{WhyAnswer, WhyRequest};
use clap::{Args, Subcommand, ValueEnum};
use std::process::ExitCode;

#[derive(Subcommand)]
pub(super) enum Access {
    /// Why somebody may do something now, or may not: what the gate would say.
    /// The exit code is 0 for yes, 1 for no, and 2 when there is no answer
    Why(Why),
}

#[derive(Args)]
pub(super) struct Why {
    #[command(flatten)]
    who: Who,
    /// The topic, or for `subscribe` the filter; `connect` needs none
    #[arg(long)]
    topic: Option<String>,
    /// What it wants: to read messages of a topic, write on it, subscribe to a filter, or connect
    #[arg(long, value_enum, default_value_t = Action::Read)]
    action: Action,
    /// The answer as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
#[group(required = true, multiple = false)]
struct Who {
    /// The login that wants it
    #[arg(long, alias = "username", value_name = "NAME")]
    user: Option<String>,
    /// A client without a login wants it
    #[arg(long)]
    anonymous: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Action {
    Read,
    Write,
    Subscribe,
    Connect,
}

impl Action {
    fn word(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Subscribe => "subscribe",
            Self::Connect => "connect",
        }
    }
}

impl Access {
    /// An answer is told by the exit code too, so that scripts can ask.
    pub(super) async fn run(self, common: &Common) -> ExitCode {
        let Self::Why(why) = self;
        match why.ask(common).await {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::from(1),
            Err(error) => {
                complain(&error);
                ExitCode::from(2)
            }
        }
    }
}

impl Why {
    async fn ask(self, common: &Common) -> anyhow::Result<bool> {
        let request = WhyRequest {
            username: self.who.user,
            action: self.action.word().to_owned(),
            topic: self.topic,
        };
        let path = ["v1", "access", "why"];
        let answer: WhyAnswer = common.control()?.post(&path, &request).await?;
        if self.json {
            println!("{}", serde_json::to_string_pretty(&answer)?);
        } else {
            print!("{}", in_words(&answer));
        }
        Ok(answer.allowed)
    }
}

fn in_words(answer: &WhyAnswer) -> String {
    let verdict = if answer.allowed { "yes" } else { "no" };
    let mut lines = vec![format!("{verdict}: {}", answer.why)];
    lines.extend(answer.note.as_ref().map(|it| format!("note: {it}")));
    if answer.stale {
        let as_of = answer.as_of.map_or_else(
            || "there is no access table yet".to_owned(),
            |it| format!("the access table stands at event {it} and is not up to date"),
        );
        lines.push(format!(
            "note: {as_of}; whoever is connected reads on by it, and nothing new is permitted"
        ));
    }
    lines.iter().map(|it| table::printable(it) + "\n").collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_from_a_stale_table_says_so() {
        let answer = WhyAnswer {
            allowed: true,
            why: "rule 7 gives read on a\u{7}".to_owned(),
            right: None,
            note: None,
            at_ms: 0,
            as_of: Some(12),
            stale: true,
        };
        let words = in_words(&answer);
        assert!(
            words.starts_with("yes: rule 7 gives read on a\nnote: "),
            "{words:?}"
        );
        assert!(words.contains("event 12") && words.contains("not up to date"));
    }
}
