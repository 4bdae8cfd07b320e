//! A small development ledger that speaks the wire formats of IOTA Rebased.
