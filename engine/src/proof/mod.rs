//! That the log holds a payment, for whoever paid it: he asks on `$SYS/access/proofs` and checks
//! the answer against his receipt (`docs/PROTOCOL.md` §6.1).
//!
//! ```text
//! ask    = [digest bytes32, index]                                    deterministic CBOR
//! answer = [reason or null, proof or null]
//! proof  = [head text, event, array of bytes32]
//! event  = [position, stream, version, kind, schema version, key bytes, recorded at,
//!           correlation bytes16 or null, causation or null, meta bytes, body bytes]
//! ```
//! The event is the payment's first. It says what the ledger shows to everybody, and when that was
//! recorded; the memo in it stays sealed.

mod check;
mod desk;
mod wire;

pub use check::{CheckError, Proved, check};
pub use desk::ProofDesk;
pub use wire::{Ask, LONGEST_ANSWER, PaymentProof, Unproved, read_answer};
