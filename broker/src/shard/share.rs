//! What a subscription is for: a filter that a client reads alone, or one that it shares with
//! the other members of a group (MQTT 5.0 §4.8.2).

use super::Shard;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use tanglegate_core::{TopicError, TopicFilter};

/// What every shared subscription begins with.
const PREFIX: &str = "$share/";

/// What a client asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Interest {
    /// All messages that the filter matches.
    All(TopicFilter),
    /// One message goes to one of all who have the same share.
    Shared(Arc<Share>),
}

/// A group of clients that share what a filter matches. The same name with another filter is
/// another group.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Share {
    name: Box<str>,
    filter: TopicFilter,
}

/// A text that nobody can subscribe to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InterestError {
    /// [MQTT-4.8.2-1], [MQTT-4.8.2-2].
    #[error(
        "a shared subscription is $share/, the name of the group without + and #, / and a \
         filter, for example $share/readers/sensor/#"
    )]
    Share,
    #[error(transparent)]
    Filter(#[from] TopicError),
}

impl Interest {
    /// Reads what stands in a SUBSCRIBE. It is the same for 3.1.1, whose clients know shared
    /// subscriptions from other brokers.
    ///
    /// # Errors
    /// When it is neither a filter nor a shared subscription of one.
    pub(crate) fn parse(text: &str) -> Result<Self, InterestError> {
        let Some(shared) = text.strip_prefix(PREFIX) else {
            return Ok(Self::All(TopicFilter::parse(text)?));
        };
        let (name, filter) = shared.split_once('/').ok_or(InterestError::Share)?;
        if name.is_empty() || name.contains(['+', '#', '\0']) || filter.is_empty() {
            return Err(InterestError::Share);
        }
        Ok(Self::Shared(Arc::new(Share {
            name: name.into(),
            filter: TopicFilter::parse(filter)?,
        })))
    }

    /// Which topics it is about. Rights are asked for this filter.
    pub(crate) fn filter(&self) -> &TopicFilter {
        match self {
            Self::All(filter) => filter,
            Self::Shared(share) => share.filter(),
        }
    }
}

impl Share {
    /// Reads what [`Share::to_string`] wrote; `None` when it is anything else.
    pub(crate) fn parse(text: &str) -> Option<Arc<Self>> {
        match Interest::parse(text) {
            Ok(Interest::Shared(share)) => Some(share),
            _ => None,
        }
    }

    /// Which topics the members share.
    pub(crate) fn filter(&self) -> &TopicFilter {
        &self.filter
    }

    /// The shard that alone picks the member who gets a message, whichever shards the members
    /// live on.
    pub(crate) fn home<'a>(&self, shards: &'a [Arc<Shard>]) -> &'a Arc<Shard> {
        let mut hasher = DefaultHasher::new();
        self.hash(&mut hasher);
        let number = hasher.finish() % shards.len() as u64;
        &shards[usize::try_from(number).expect("below the number of shards")]
    }
}

/// As clients write it.
impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}/{}", self.name, self.filter.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_has_a_name_and_a_filter() {
        // [MQTT-4.8.2-1], [MQTT-4.8.2-2]
        let Ok(Interest::Shared(share)) = Interest::parse("$share/consumers/sport/+/#") else {
            panic!("a shared subscription");
        };
        assert_eq!(
            (&*share.name, share.filter.as_str()),
            ("consumers", "sport/+/#")
        );
        // The filter may begin with the separator, as any other.
        let Ok(Interest::Shared(share)) = Interest::parse("$share/g//finance") else {
            panic!("a shared subscription");
        };
        assert_eq!(Share::parse(&share.to_string()), Some(Arc::clone(&share)));
        assert_eq!(share.filter.as_str(), "/finance");
        for text in [
            "$share/",
            "$share/g",
            "$share/g/",
            "$share//a",
            "$share/+/a",
            "$share/#",
            "$share/a#/b",
            "$share/a\0/b",
        ] {
            assert_eq!(Interest::parse(text), Err(InterestError::Share), "{text:?}");
        }
        for text in ["$share/g/a#", "$share/g/a/#/b", "", "a+"] {
            assert!(
                matches!(Interest::parse(text), Err(InterestError::Filter(_))),
                "{text:?}"
            );
        }
        assert!(matches!(Interest::parse("$shared/a"), Ok(Interest::All(_))));
    }
}
