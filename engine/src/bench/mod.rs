//! Measurements against the things that people would use otherwise, alternating in one run:
//! ratios can be trusted where absolute figures cannot.

pub mod buyers;
pub mod log;
pub mod mqtt;
