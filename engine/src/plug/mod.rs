//! A producer: a power meter in a socket, played from a recording of real measurements.
//!
//! It publishes the instant power in milliwatts, as decimal text, on one topic (`sensor/live`,
//! QoS 0) and the mean over the last minute on another (`sensor/1m`, QoS 1, retained), each every
//! half second. [`readings`] knows what to publish when; [`publish`] knows MQTT.

mod publish;
pub mod readings;
mod recording;
mod settings;

pub use publish::run;
pub use recording::{Between, Recording, RecordingError, Unit};
pub use settings::{Login, PlugError, Settings};
