//! Property tests over the rooms of Tanglegate.
//!
//! A [`World`] is a short list of things that happen: wishes of people, payments that the
//! ledger delivers (twice, late, in any order), clocks that jump, writers that lose a race, an
//! answer or their memory. [`Run::of`] plays it with the real `decide`, `State`, `Acl` and
//! `Frontier`, and after every commit an [`Auditor`] of our own, who believes only what he reads
//! in the log, looks whether every promise was kept:
//!
//! - money is conserved to the NANO, and each confirmed payment is applied or waits, whole;
//! - prepaid time is neither lost nor shortened, and begins when it is recorded;
//! - one wish has one effect, whatever was repeated or crashed;
//! - a replay from zero decides, permits and tabulates the same;
//! - the gate's table permits exactly what the projected rows say, and nothing else.
//!
//! A world that breaks a promise is shrunk and saved in `worlds/`; the README says how to play
//! it again.

mod auditor;
mod book;
mod broken;
mod chance;
mod journal;
mod names;
mod permits;
mod property;
mod refusals;
mod run;
mod saved;
mod tables;
pub mod topics;
mod world;
mod writer;

pub use auditor::Auditor;
pub use book::Book;
pub use broken::Broken;
pub use chance::{Weather, worlds};
pub use journal::{Entry, Fault, Journal};
pub use names::legend;
pub use property::{cases, for_all, for_all_worlds};
pub use run::{Answer, Run};
pub use saved::{SaveError, read_world, save_world, saved_worlds, write_world};
pub use tables::Tables;
pub use world::{Act, Fate, Memo, Payment, Step, Wish, World};
