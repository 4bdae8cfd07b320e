//! How sessions end.

use crate::wire::{Fault, Reason};
use std::fmt;
use tanglegate_core::SubscriberId;

/// Why the gate wants a session to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// The same login connected with the same client identifier ([MQTT-3.1.4-3]).
    TakenOver,
    /// The login was suspended.
    Suspended,
    /// The session logged in with a password that is no longer the one.
    PasswordChanged,
    /// Too much QoS 1 and 2 piled up.
    TooSlow,
    /// The server stops.
    ShuttingDown,
}

impl Order {
    /// The reason of the DISCONNECT.
    pub(super) fn reason(self) -> Reason {
        match self {
            Self::TakenOver => Reason::SessionTakenOver,
            Self::Suspended => Reason::AdministrativeAction,
            Self::PasswordChanged => Reason::NotAuthorized,
            Self::TooSlow => Reason::QuotaExceeded,
            Self::ShuttingDown => Reason::ServerShuttingDown,
        }
    }

    /// True when the client lost the right to be here: its will is not published either.
    pub(super) fn is_cut(self) -> bool {
        matches!(self, Self::Suspended | Self::PasswordChanged)
    }
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TakenOver => "this login connected again with the same client identifier",
            Self::Suspended => "this login is suspended; ask the operator",
            Self::PasswordChanged => "the password was changed; log in with the new one",
            Self::TooSlow => "too many messages wait for this client; read faster",
            Self::ShuttingDown => "the server is shutting down; connect again later",
        })
    }
}

/// How a session ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The client said goodbye.
    Goodbye,
    /// The client said goodbye, and wants its will published.
    GoodbyeWithWill,
    /// The connection broke.
    Lost,
    /// A right ended in the middle of a packet that the socket did not take whole.
    HalfSent,
    /// Nothing was heard for too long ([MQTT-3.1.2-22]).
    Silent,
    /// The socket took nothing for too long, though there was something for the client.
    Stalled,
    /// The client broke the protocol.
    Fault(Fault),
    /// The gate ended it.
    Ordered(Order),
    /// There is no room for what the client makes the gate hold.
    NoRoom(NoRoom),
    /// The message log has stopped.
    LogStopped,
}

/// What all clients of a kind may make the gate hold is used up, but for what is left for others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "what such clients may make the server hold is used up (gate.limits.{limit}): send and \
     subscribe to less at a time, or try again later"
)]
pub(super) struct NoRoom {
    /// The key of the bound.
    pub(super) limit: &'static str,
}

impl NoRoom {
    /// For a client of which nobody knows yet who it is.
    pub(super) const OPENING: Self = Self {
        limit: "opening_bytes",
    };

    /// For a client with this login; `None` is an anonymous one.
    pub(super) fn of(subject: Option<SubscriberId>) -> Self {
        Self {
            limit: match subject {
                Some(_) => "known_bytes",
                None => "anonymous_bytes",
            },
        }
    }
}

impl End {
    /// What to tell a 5.0 client, where there is somebody to tell.
    pub(super) fn farewell(self) -> Option<(Reason, String)> {
        match self {
            Self::Goodbye
            | Self::GoodbyeWithWill
            | Self::Lost
            | Self::HalfSent
            // What waits already would have to be taken first.
            | Self::Stalled => None,
            Self::Silent => {
                let why = "nothing was heard for one and a half times the keep-alive";
                Some((Reason::KeepAliveTimeout, why.to_owned()))
            }
            Self::Fault(fault) => Some((fault.reason(), fault.to_string())),
            Self::Ordered(order) => Some((order.reason(), order.to_string())),
            Self::NoRoom(why) => Some((Reason::QuotaExceeded, why.to_string())),
            Self::LogStopped => {
                let why = "the server cannot pass messages on; connect again later";
                Some((Reason::ServerShuttingDown, why.to_owned()))
            }
        }
    }

    /// True when the will is published ([MQTT-3.1.2-8], [MQTT-3.14.4-3]).
    pub(super) fn publishes_will(self) -> bool {
        match self {
            Self::Goodbye => false,
            // The client has not said goodbye to a server that goes, either.
            Self::Ordered(order) => !order.is_cut(),
            _ => true,
        }
    }
}

impl From<Fault> for End {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}
