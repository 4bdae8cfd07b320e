//! Why somebody may do something, or may not: what the gate would say.

use super::server::{Desk, Fault, bad};
use super::wire::{RightLine, WhyAnswer, WhyRequest};
use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use tanglegate_broker::{Answer, Asked};
use tanglegate_core::{Right, Source, Timestamp};

/// Longest topic that is asked about; MQTT knows no longer one.
const TOPIC_BYTES: usize = 65_535;

pub(super) async fn why(
    State(desk): State<Desk>,
    asked: Result<Json<WhyRequest>, JsonRejection>,
) -> Result<Json<WhyAnswer>, Fault> {
    let Json(request) = asked?;
    let topic = request.topic.as_deref().unwrap_or_default();
    let asked = Asked::parse(&request.action, topic);
    let asked = asked.ok_or_else(|| {
        let word = &request.action;
        bad(format!(
            "'{word}' is nothing a client does: say read, write, subscribe or connect"
        ))
    })?;
    let asked = asked.map_err(|error| bad(advice(&request.action, topic, &error.to_string())))?;
    let answer = desk.inquiry.ask(request.username.as_deref(), &asked);
    Ok(Json(line(answer, &asked)))
}

fn advice(action: &str, topic: &str, fault: &str) -> String {
    match topic {
        "" => format!("to {action} needs a topic: name one with --topic, for example sensor/live"),
        _ if topic.len() <= TOPIC_BYTES && topic.contains(['+', '#']) && action != "subscribe" => {
            format!("{fault}; whether a filter may be subscribed to is asked with subscribe")
        }
        _ => fault.to_owned(),
    }
}

fn line(answer: Answer, asked: &Asked) -> WhyAnswer {
    let (allowed, why, right) = match &answer.verdict {
        Ok(Some(right)) => (true, because(right), Some(describe(right))),
        Ok(None) if *asked == Asked::Connect => (true, "nothing stands against it".into(), None),
        Ok(None) => (
            true,
            "every client may read what is told about it".into(),
            None,
        ),
        Err(why) => (false, why.clone(), None),
    };
    WhyAnswer {
        allowed,
        why,
        right,
        note: answer.note.map(str::to_owned),
        at_ms: answer.at.0,
        as_of: answer.as_of.map(|it| it.0),
        stale: answer.stale,
    }
}

fn because(right: &Right) -> String {
    let (filter, access, until) = (right.filter(), right.access(), right.until());
    match right.source() {
        Source::Lease(offer) => {
            format!("lease on {filter} ({access}), bought as {offer}, ends {until}")
        }
        Source::Rule(rule) => format!("rule {rule} gives {access} on {filter}, without end"),
    }
}

fn describe(right: &Right) -> RightLine {
    let (offer, rule) = match right.source() {
        Source::Lease(offer) => (Some(offer.to_string()), None),
        Source::Rule(rule) => (None, Some(rule.to_string())),
    };
    let ends = Some(right.until()).filter(|it| *it <= Timestamp::LAST);
    RightLine {
        filter: right.filter().to_string(),
        access: right.access().to_string(),
        until: ends.map(|it| it.to_string()),
        until_ms: ends.map(|it| it.0),
        offer,
        rule,
    }
}
