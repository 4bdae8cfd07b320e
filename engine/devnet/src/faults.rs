//! Faults that a test asks for while the ledger runs: the node lies, stalls or breaks, the
//! ledger behind it stays sound.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

/// How the node behaves. The default is a healthy node.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Faults {
    /// Calls that are answered wrongly.
    pub misbehaviour: Option<Misbehaviour>,
    /// Told instead of the true chain identifier.
    pub chain_identifier: Option<String>,
    /// Executed transactions wait for their checkpoint until this is taken back.
    pub hold_checkpoints: bool,
    /// Query pages follow another local order than that of execution: within windows of eight
    /// transactions the order is that of their digests.
    pub scrambled_order: bool,
    /// Each page after the first begins with this many entries of the page before.
    pub page_overlap: usize,
    /// Told instead of the transactions' signed bytes.
    pub raw_input: Option<RawInput>,
}

/// What a node may tell instead of the signed bytes of a transaction.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RawInput {
    /// Bytes that cannot be decoded, as if the transaction were of a newer form.
    Unknown,
    /// Other bytes than those that were signed: a byte of the first input is changed.
    Forged,
}

/// A wrong answer to some calls.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Misbehaviour {
    /// What the caller gets.
    pub answer: Answer,
    /// Only this method is concerned; `None` stands for all.
    pub method: Option<&'static str>,
    /// So many of these calls go well first, counting down.
    pub after: u32,
    /// How many calls are concerned then, counting down; `u32::MAX` stands for all.
    pub calls: u32,
}

impl Misbehaviour {
    /// Every call is answered like this until the fault is taken back.
    pub fn always(answer: Answer) -> Self {
        Self {
            answer,
            method: None,
            after: 0,
            calls: u32::MAX,
        }
    }
}

/// A wrong answer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Answer {
    /// HTTP 429, with `Retry-After` where given (whole seconds).
    RateLimited {
        /// How long the caller is asked to stay away.
        retry_after: Option<Duration>,
    },
    /// No answer while the connection stays open.
    Hang,
    /// HTTP 500 with a page of text.
    ServerError,
    /// HTTP 200 with a page of text.
    NotJson,
    /// HTTP 200 with the first half of the right answer.
    Truncated,
    /// The call is carried out, but the caller gets HTTP 502.
    Lost,
}

impl Faults {
    /// The wrong answer that a call of `method` gets now, counted down.
    pub(crate) fn take(&mut self, method: &str) -> Option<Answer> {
        let misbehaviour = self.misbehaviour.as_mut()?;
        if misbehaviour.calls == 0 || misbehaviour.method.is_some_and(|only| only != method) {
            return None;
        }
        if misbehaviour.after > 0 {
            misbehaviour.after -= 1;
            return None;
        }
        if misbehaviour.calls != u32::MAX {
            misbehaviour.calls -= 1;
        }
        Some(misbehaviour.answer.clone())
    }
}

/// In `01 000000 ‖ version ‖ kind ‖ count ‖ input ‖ length ‖ bytes`, the first of the bytes.
const FIRST_INPUT_BYTE: usize = 9;

impl RawInput {
    /// Replaces every `rawTransaction` in an answer.
    pub(crate) fn distort(self, answer: &mut Value) {
        match answer {
            Value::Array(values) => values.iter_mut().for_each(|value| self.distort(value)),
            Value::Object(fields) => {
                for (key, value) in fields {
                    match value {
                        Value::String(raw) if key == "rawTransaction" => *raw = self.replace(raw),
                        other => self.distort(other),
                    }
                }
            }
            _ => {}
        }
    }

    fn replace(self, raw: &str) -> String {
        let mut bytes = STANDARD.decode(raw).unwrap_or_default();
        match self {
            Self::Unknown => bytes.truncate(FIRST_INPUT_BYTE),
            Self::Forged => bytes
                .iter_mut()
                .skip(FIRST_INPUT_BYTE)
                .take(1)
                .for_each(|b| *b ^= 1),
        }
        STANDARD.encode(bytes)
    }
}
