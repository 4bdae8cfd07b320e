//! Answers from the log alone: what was so at any past instant, why, and the proof of it. Nothing
//! here writes; the reader's role is enough, against a running engine's database, a copy or a
//! standby.

mod anchors;
mod archive;
mod explain;
mod file;
mod finding;
mod fold;
mod heads;
mod history;
mod money;
mod payment;
mod prove;
mod ring;
mod state;
mod timeline;
mod verify;
mod walk;
mod when;

pub use anchors::{KeptAnchor, look_up};
pub use archive::{Archive, ArchiveError};
pub use explain::{Explanation, Link, Question, Verdict, Wanted, explain};
pub use file::{Exported, FileError, anchors_of_file, verify_file};
pub use finding::Finding;
pub use fold::{Compared, Comparison, Folded};
pub use heads::KeptHead;
pub use money::{Account, MoneyReport, money};
pub use payment::{Life, life_of};
pub use prove::{CheckError, Proof, ProveError};
pub use state::{OfferThen, PaymentThen, RightThen, StateThen, SubscriberThen};
pub use timeline::{Span, Timeline, timeline};
pub use verify::{Unsigned, Verifier, Whole};
pub use walk::VerifyError;
pub use when::{Moment, When, WhenError};
