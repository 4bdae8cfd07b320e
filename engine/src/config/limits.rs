//! `[gate.limits]`: bounds on what clients can make the gate hold or do. Each key has the name of
//! the bound in the broker, and is checked by its kind.

use super::ConfigError;
use serde::Deserialize;
use std::time::Duration;
use tanglegate_broker::{ClientLimits, Limits, Rate};

/// A bound as it is written.
#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "a number, a rate like { per_second = 10, burst = 100 }, or \"unlimited\""
)]
enum Written {
    Number(u64),
    Rate(WrittenRate),
    Word(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenRate {
    per_second: u64,
    burst: u64,
}

/// A kind of bound.
trait Bound: Sized {
    /// A right one, as it would stand in the file.
    const EXAMPLE: &'static str;

    /// Reads what is written; `None` when it is no such bound.
    fn read(written: &Written) -> Option<Self>;
}

/// Numbers of things, and bytes.
macro_rules! numbers {
    ($($number:ty)*) => {$(
        impl Bound for $number {
            const EXAMPLE: &'static str = "1000";

            fn read(written: &Written) -> Option<Self> {
                match written {
                    Written::Number(number) => (*number).try_into().ok(),
                    _ => None,
                }
            }
        }
    )*};
}

numbers!(usize u32 u16);

/// In whole seconds.
impl Bound for Duration {
    const EXAMPLE: &'static str = "60";

    fn read(written: &Written) -> Option<Self> {
        // Beyond ten years nobody means it, and no instant is too far away to be written.
        match written {
            Written::Number(seconds @ 0..=315_360_000) => Some(Self::from_secs(*seconds)),
            _ => None,
        }
    }
}

impl Bound for Rate {
    const EXAMPLE: &'static str = "{ per_second = 10, burst = 100 }";

    fn read(written: &Written) -> Option<Self> {
        match written {
            Written::Rate(it) if it.per_second > 0 && it.burst > 0 => {
                Some(Self::new(it.per_second, it.burst))
            }
            _ => None,
        }
    }
}

/// There may be none.
impl<B: Bound> Bound for Option<B> {
    const EXAMPLE: &'static str = B::EXAMPLE;

    fn read(written: &Written) -> Option<Self> {
        match written {
            Written::Word(word) if word == "unlimited" => Some(None),
            other => B::read(other).map(Some),
        }
    }
}

impl Written {
    fn check<B: Bound>(&self, key: &'static str, may_be_zero: bool) -> Result<B, ConfigError> {
        let invalid = |fault: &str| ConfigError::Invalid {
            key,
            value: self.to_string(),
            fault: fault.to_owned(),
            example: B::EXAMPLE,
        };
        match self {
            Self::Number(0) if !may_be_zero => Err(invalid("would let nobody do anything")),
            _ => B::read(self).ok_or_else(|| invalid("is no such bound")),
        }
    }
}

impl std::fmt::Display for Written {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Rate(WrittenRate { per_second, burst }) => {
                write!(f, "{{ per_second = {per_second}, burst = {burst} }}")
            }
            Self::Word(word) => word.fmt(f),
        }
    }
}

/// A section of the file with these keys, which replaces the bounds that it names.
macro_rules! section {
    (
        $(#[$doc:meta])*
        $section:ident: $limits:ty, $place:literal;
        positive { $($positive:ident)* }
        or_none { $($or_none:ident)* }
        $(sections { $($inner:ident: $inner_section:ident)* })?
    ) => {
        $(#[$doc])*
        #[derive(Deserialize, Default)]
        #[serde(deny_unknown_fields, default)]
        pub(super) struct $section {
            $($positive: Option<Written>,)*
            $($or_none: Option<Written>,)*
            $($($inner: $inner_section,)*)?
        }

        impl $section {
            /// The bounds, with the usual ones where nothing is written.
            pub(super) fn check(&self, usual: $limits) -> Result<$limits, ConfigError> {
                let mut limits = usual;
                $(if let Some(written) = &self.$positive {
                    let key = concat!($place, ".", stringify!($positive));
                    limits.$positive = written.check(key, false)?;
                })*
                $(if let Some(written) = &self.$or_none {
                    let key = concat!($place, ".", stringify!($or_none));
                    limits.$or_none = written.check(key, true)?;
                })*
                $($(limits.$inner = self.$inner.check(limits.$inner)?;)*)?
                Ok(limits)
            }
        }
    };
}

section! {
    /// What all clients together may do.
    LimitsSection: Limits, "gate.limits";
    positive {
        connections connections_per_address connect_within connect_bytes logins_at_once
        logins_waiting logins_waiting_per_address logins_remembered_for opening opening_per_address
        connects connects_per_address anonymous_connects_per_address anonymous_per_address
        kept_sessions_per_login answers answer_bytes engine_requests_waiting
        anonymous_engine_requests_per_address log_bytes known_bytes anonymous_bytes opening_bytes
    }
    or_none { anonymous_connections logins_remembered session_expiry kept_sessions retained_messages retained_bytes }
    sections { known: KnownSection anonymous: AnonymousSection }
}

section! {
    /// What one client with a login may do.
    KnownSection: ClientLimits, "gate.limits.known";
    positive {
        packet_bytes topic_levels topic_bytes queued_bytes queued_messages stalled requests
        request_bytes engine_requests in_flight keep_alive client_id_bytes
    }
    or_none { subscriptions topic_aliases }
}

section! {
    /// What one client without a login may do.
    AnonymousSection: ClientLimits, "gate.limits.anonymous";
    positive {
        packet_bytes topic_levels topic_bytes queued_bytes queued_messages stalled requests
        request_bytes engine_requests in_flight keep_alive client_id_bytes
    }
    or_none { subscriptions topic_aliases }
}
