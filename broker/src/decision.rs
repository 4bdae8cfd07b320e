//! What the gate says to a request, before anything is done about it. Sessions ask here, and so
//! does the operator who wants to know why: both get the same answer in the same words.

use crate::access::AccessView;
use crate::correspondence::{KeyTopic, Unasked, key_topic};
use crate::limits::ClientLimits;
use crate::permit::{SubscribePermit, WritePermit};
use crate::session::needs_no_right;
use crate::shard::Interest;
use crate::wire::Reason;
use std::fmt;
use tanglegate_core::{Denied, Permit, SubscriberId, Timestamp, TopicName};

/// To whoever gives a wrong password, or a name that nobody has.
pub(crate) const WRONG_LOGIN: &str = "the user name or the password is wrong";
/// To whoever gave wrong ones too often, whatever he gives now.
pub(crate) const TOO_SOON: &str =
    "too many logins from your address were wrong; try again later, at most every ten seconds";
/// To an anonymous client that comes too often.
pub(crate) const TOO_MANY_CONNECTS: &str =
    "too many clients without a login connect from your address; try again later";
/// To an anonymous client that finds no place.
pub(crate) const NO_MORE_ANONYMOUS: &str =
    "too many clients without a login are connected; log in, or try again later";
/// To one that comes in where a login is needed.
pub(crate) const LOGIN_NEEDED: &str = "clients without a login are not let in here; log in";

/// Why a message or a subscription is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// There is no right.
    Denied(Denied),
    /// The server's own topics.
    Reserved,
    /// Answers to keys that he cannot name, or that he wants to share.
    ManyKeys,
    /// The engine does not get a request.
    Unasked(Unasked),
    /// More levels than the limit.
    TooDeep(Subject, usize),
    /// More bytes than the limit.
    TooLong(Subject, usize),
}

/// What a request is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Subject {
    Topic,
    Filter,
}

impl Refusal {
    /// How a 5.0 client is told.
    pub(crate) fn reason(&self) -> Reason {
        match self {
            Self::Denied(Denied::NotReady) => Reason::ImplementationSpecific,
            Self::Denied(_) | Self::Reserved | Self::ManyKeys => Reason::NotAuthorized,
            Self::Unasked(Unasked::Closed) => Reason::ImplementationSpecific,
            Self::Unasked(_) => Reason::QuotaExceeded,
            Self::TooDeep(subject, _) | Self::TooLong(subject, _) => match subject {
                Subject::Topic => Reason::TopicNameInvalid,
                Subject::Filter => Reason::TopicFilterInvalid,
            },
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Denied(denied) => denied.fmt(f),
            Self::Reserved => f.write_str("topics that begin with $ belong to the server"),
            Self::Unasked(unasked) => unasked.fmt(f),
            Self::ManyKeys => f.write_str(
                "no right to read answers to keys that are not named: give the 32 digits of one, 0 \
                 to 9 and a to f, in $SYS/access/keys/DIGITS/credential, without wildcards and unshared",
            ),
            Self::TooDeep(subject, most) => {
                write!(f, "a {subject} may have at most {most} levels here")
            }
            Self::TooLong(subject, most) => {
                write!(f, "a {subject} may have at most {most} bytes here")
            }
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Topic => "topic",
            Self::Filter => "filter",
        })
    }
}

/// May he publish on `topic`, by his own hand or by his will? The permit, and what of it a record
/// demands.
///
/// # Errors
/// When the topic is the server's or beyond the limits, or no running right matches it.
pub(crate) fn permit_publish(
    view: &AccessView,
    limits: &ClientLimits,
    subject: Option<SubscriberId>,
    topic: &TopicName,
    now: Timestamp,
) -> Result<(Permit, WritePermit), Refusal> {
    if topic.as_str().starts_with('$') {
        return Err(Refusal::Reserved);
    }
    check_size(Subject::Topic, topic.as_str(), limits)?;
    let permit = view.permit_publish(subject, topic, now);
    let permit = permit.map_err(Refusal::Denied)?;
    let write = WritePermit::new(&permit, topic);
    Ok((permit, write))
}

/// May he subscribe to `interest`, which he wrote as `text`? The permit of a right, and what of it
/// a shard demands. `None` stands for a filter on what every client is told about itself, or on the
/// answers to one key, which needs no right. Whoever shares a filter needs the same right as whoever reads it alone.
///
/// # Errors
/// When the filter is beyond the limits, or no running right overlaps it.
pub(crate) fn permit_subscribe(
    view: &AccessView,
    limits: &ClientLimits,
    subject: Option<SubscriberId>,
    (text, interest): (&str, Interest),
    now: Timestamp,
) -> Result<(Option<Permit>, SubscribePermit), Refusal> {
    let filter = interest.filter();
    if text.len() > limits.topic_bytes {
        return Err(Refusal::TooLong(Subject::Filter, limits.topic_bytes));
    }
    check_size(Subject::Filter, filter.as_str(), limits)?;
    let shared = matches!(interest, Interest::Shared(_));
    match key_topic(filter.as_str()) {
        KeyTopic::Nobodys => return Err(Refusal::ManyKeys),
        KeyTopic::Of(_) if shared => return Err(Refusal::ManyKeys),
        _ => {}
    }
    let permit = match needs_no_right(filter) {
        true => None,
        false => {
            let permit = view.permit_subscribe(subject, filter, now);
            Some(permit.map_err(Refusal::Denied)?)
        }
    };
    let subscribe = SubscribePermit::new(permit.as_ref(), interest);
    Ok((permit, subscribe))
}

fn check_size(subject: Subject, text: &str, limits: &ClientLimits) -> Result<(), Refusal> {
    if text.len() > limits.topic_bytes {
        return Err(Refusal::TooLong(subject, limits.topic_bytes));
    }
    if text.split('/').nth(limits.topic_levels).is_some() {
        return Err(Refusal::TooDeep(subject, limits.topic_levels));
    }
    Ok(())
}
