//! What clients ask the engine for, on topics that it has named, and its answers.

use super::inbox::Inbox;
use super::{LETTER, TooLong};
use std::fmt;
use std::sync::{Arc, Weak};
use tanglegate_core::SubscriberId;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

/// Longest request in bytes.
const REQUEST_BYTES: usize = 4 << 10;
/// Longest correlation data, and longest response topic, in bytes.
const RESPONSE_BYTES: usize = 256;
/// Requests of one connection that may wait for the engine, or whose answers for the client.
const OPEN: usize = 8;
/// What a request takes at most until its answer is with the client, the answer included.
pub(crate) const REQUEST: usize = REQUEST_BYTES + LETTER + 2 * RESPONSE_BYTES + 512;

/// What all topics of requests begin with.
const REQUESTS: &str = "$SYS/access/";

/// A topic on which the engine takes requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestTopic {
    /// Its name below `$SYS/access/`, e.g. `claims`.
    pub name: &'static str,
    /// Where answers go when the client says nothing else: a name below `$SYS/access/me/`, e.g.
    /// `answer`.
    pub answers_on: &'static str,
}

/// What a client asks.
#[derive(Debug)]
pub struct Request {
    /// The [`RequestTopic`]'s name.
    pub topic: &'static str,
    /// What it says, at most 4 KiB. Nothing of it was checked.
    pub payload: Box<[u8]>,
    /// The last key that this connection was given.
    pub key_id: Option<[u8; 16]>,
    /// Who asks; `None` is an anonymous client.
    pub subject: Option<SubscriberId>,
    /// How to answer. Dropped, there is no answer.
    pub reply: Reply,
}

/// Answers one request.
pub struct Reply {
    inbox: Weak<Inbox>,
    letter: Letter,
}

/// An answer on its way to its client.
#[derive(Debug)]
pub(crate) struct Letter {
    pub(crate) topic: Box<str>,
    /// The correlation data, as bytes of the wire.
    pub(crate) correlation: Box<[u8]>,
    pub(crate) payload: Box<[u8]>,
    _place: Place,
}

/// One of the requests that a connection may have open; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Place(Weak<Inbox>);

/// Where a client wants its answer (MQTT 5.0 §4.10).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Response<'a> {
    pub(crate) topic: Option<&'a str>,
    /// The whole property, as bytes of the wire.
    pub(crate) correlation: &'a [u8],
}

/// Why the engine does not get a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unasked {
    #[error("a request may have at most {REQUEST_BYTES} bytes")]
    TooLong,
    #[error("the response topic and the correlation data may have at most {RESPONSE_BYTES} bytes")]
    Response,
    #[error("too many requests from this client; ask again later")]
    TooOften,
    #[error("too many requests of clients without a login from your address; ask again later")]
    Crowded,
    #[error("{OPEN} requests of this client are open; wait for an answer")]
    TooMany,
    #[error("more requests wait than the server can answer now; ask again later")]
    Full,
    #[error("the server takes no requests now; ask again later")]
    Closed,
}

/// The topics, and the way to the engine.
pub(super) struct Requests {
    topics: Vec<RequestTopic>,
    waiting: mpsc::Sender<Request>,
}

/// A topic on which the engine takes requests, with the way there.
#[derive(Clone)]
pub(crate) struct Way {
    topic: RequestTopic,
    waiting: mpsc::Sender<Request>,
}

impl Requests {
    /// So many requests may wait.
    pub(super) fn new(topics: &[RequestTopic], most: usize) -> (Self, mpsc::Receiver<Request>) {
        let (waiting, taken) = mpsc::channel(most.max(1));
        let topics = topics.to_vec();
        (Self { topics, waiting }, taken)
    }

    /// The way from a topic; `None` when it is none of these.
    pub(super) fn way(&self, topic: &str) -> Option<Way> {
        let name = topic.strip_prefix(REQUESTS)?;
        let topic = *self.topics.iter().find(|it| it.name == name)?;
        let waiting = self.waiting.clone();
        Some(Way { topic, waiting })
    }
}

/// True when the topic may be one of requests: all others need not be looked up.
pub(crate) fn may_be_request(topic: &str) -> bool {
    topic.starts_with(REQUESTS)
}

/// Checks what does not depend on who asks.
pub(crate) fn check_size(payload: &[u8], response: &Response<'_>) -> Result<(), Unasked> {
    let topic = response.topic.map_or(0, str::len);
    if payload.len() > REQUEST_BYTES {
        return Err(Unasked::TooLong);
    }
    if topic.max(response.correlation.len()) > RESPONSE_BYTES {
        return Err(Unasked::Response);
    }
    Ok(())
}

impl Way {
    /// Hands a request to the engine.
    pub(crate) fn ask(
        &self,
        place: Place,
        payload: &[u8],
        response: &Response<'_>,
        (subject, key_id): (Option<SubscriberId>, Option<[u8; 16]>),
    ) -> Result<(), Unasked> {
        let inbox = Weak::clone(&place.0);
        // Only on the client's own topics: elsewhere it could speak in the engine's name.
        let own = response.topic.filter(|it| it.starts_with(crate::sys::ME));
        let topic = match own {
            Some(topic) => topic.into(),
            None => format!("{}{}", crate::sys::ME, self.topic.answers_on).into(),
        };
        let letter = Letter {
            topic,
            correlation: response.correlation.into(),
            payload: Box::default(),
            _place: place,
        };
        let request = Request {
            topic: self.topic.name,
            payload: payload.into(),
            key_id,
            subject,
            reply: Reply { inbox, letter },
        };
        self.waiting.try_send(request).map_err(|error| match error {
            TrySendError::Full(_) => Unasked::Full,
            TrySendError::Closed(_) => Unasked::Closed,
        })
    }
}

impl Place {
    /// A place for one more request, if there is one.
    pub(crate) fn take(inbox: &Arc<Inbox>) -> Result<Self, Unasked> {
        match inbox.open_one(OPEN) {
            true => Ok(Self(Arc::downgrade(inbox))),
            false => Err(Unasked::TooMany),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(inbox) = self.0.upgrade() {
            inbox.close_one();
        }
    }
}

impl Reply {
    /// Answers, on the topic that the client wants. One that is gone, or has not subscribed to it,
    /// hears nothing.
    ///
    /// # Errors
    /// When the answer has more than 5 KiB.
    pub fn send(self, payload: &[u8]) -> Result<(), TooLong> {
        let Self { inbox, mut letter } = self;
        if payload.len() > LETTER {
            return Err(TooLong(payload.len()));
        }
        letter.payload = payload.into();
        if let Some(inbox) = inbox.upgrade() {
            inbox.put(letter);
        }
        Ok(())
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reply({})", self.letter.topic)
    }
}
