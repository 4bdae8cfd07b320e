//! Nothing of its own: the tests beside it read our signed heads and proofs with a verifier that
//! others wrote, and let ours read theirs.
