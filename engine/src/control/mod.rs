//! The operator's door: HTTP with JSON on a Unix socket that only the engine's account can open.
//! The command line is its client; `docs/OPERATIONS.md` lists the paths.

mod client;
mod server;
mod tables;
mod why;
mod wire;

pub use client::{Control, ControlError};
pub use server::{ControlServer, Desk, Status};
pub use wire::{
    AnchorRequest, EventLine, HeadAnswer, LeaseRequest, OfferRequest, Outcome, PasswordAnswer,
    RightLine, RuleRequest, Secret, SubscriberRequest, UsernameRequest, WhyAnswer, WhyRequest,
};

use std::path::{Path, PathBuf};

/// The socket's place in a data folder.
#[must_use]
pub fn socket_path(data_dir: &Path) -> PathBuf {
    data_dir.join("control.sock")
}
