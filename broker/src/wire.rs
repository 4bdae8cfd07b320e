//! Packets as bytes. CONNECT, SUBSCRIBE and the other rare packets are decoded by
//! `mqtt-protocol-core`; PUBLISH and its acknowledgement, where the time goes, by hand, and in a
//! shape that lets one encoding serve many readers.

mod answer;
mod connect;
mod fault;
mod frame;
#[cfg(any(test, fuzzing))]
pub(crate) mod hostile;
mod properties;
mod publish;
mod reason;
mod subscribe;

pub(crate) use answer::{
    Accepted, Answer, accept_connect, acknowledge, disconnect, filters_answer_length,
    ping_response, refuse_connect, refuse_level, refuse_publish, subscribe_answer,
    unsubscribe_answer,
};
pub(crate) use connect::{ConnectError, ConnectRequest, LoginRequest, WillRequest};
pub(crate) use fault::Fault;
pub(crate) use frame::{Frame, PacketKind, cut, frame_length, packet_length, put_length, put_text};
pub(crate) use properties::PublishProperties;
pub(crate) use publish::{
    Delivery, Publish, PublishHead, packet_id_of, patch_expiry, put_plain, take_plain, topic_of,
};
pub(crate) use reason::Reason;
pub(crate) use subscribe::{
    Acknowledgement, Goodbye, Options, SubscribeRequest, UnsubscribeRequest, bound_filters,
    client_disconnect,
};

/// The protocol that a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    /// MQTT 3.1.1.
    V311,
    /// MQTT 5.0.
    V5,
}
