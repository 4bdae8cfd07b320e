//! What a transaction costs.
//!
//! The figures follow IOTA's protocol configuration for plain coin transfers. A transaction
//! costs one computation bucket, burnt, and every object locks a deposit for its bytes in the
//! storage fund, which is given back in full when the object is deleted or rewritten.

use iota_sdk_types::GasCostSummary;

/// NANOS per unit of computation; a transaction must offer at least this (`reference gas price`).
pub const REFERENCE_GAS_PRICE: u64 = 1_000;

/// The highest price per unit of computation that is accepted, in NANOS.
pub(crate) const MAX_GAS_PRICE: u64 = 100_000;

/// Units of the smallest computation bucket, into which every coin transfer falls.
pub(crate) const COMPUTATION_UNITS: u64 = 1_000;

/// The highest budget that a transaction may declare, in NANOS.
pub(crate) const MAX_GAS_BUDGET: u64 = 50_000_000_000;

/// Bytes for which a coin object is charged: 40 of contents, 1 of type, 8 of version and 80 of
/// owner, previous transaction and rebate.
const COIN_METERED_BYTES: u64 = 129;

/// Storage units per byte times NANOS per storage unit.
const STORAGE_PRICE_PER_BYTE: u64 = 100 * 76;

/// NANOS that a coin object locks in the storage fund while it lives.
pub const COIN_DEPOSIT: u64 = COIN_METERED_BYTES * STORAGE_PRICE_PER_BYTE;

/// The least budget at `price`: the smallest computation bucket.
pub(crate) fn least_budget(price: u64) -> u64 {
    COMPUTATION_UNITS.saturating_mul(price)
}

/// Charges for a transaction that wrote `written` coins and freed `rebate` NANOS of deposits.
///
/// `price` is at most [`MAX_GAS_PRICE`] and a transaction writes at most a few thousand coins,
/// so that no product overflows.
pub(crate) fn summary(price: u64, written: usize, rebate: u64) -> GasCostSummary {
    let written = u64::try_from(written).expect("a count of objects fits in 64 bits");
    GasCostSummary {
        computation_cost: COMPUTATION_UNITS * price,
        computation_cost_burned: COMPUTATION_UNITS * REFERENCE_GAS_PRICE,
        storage_cost: COIN_DEPOSIT * written,
        storage_rebate: rebate,
        non_refundable_storage_fee: 0,
    }
}

/// What the gas coin pays, in NANOS; negative when more deposits were freed than charged.
pub(crate) fn net(summary: &GasCostSummary) -> i128 {
    i128::from(summary.computation_cost) + i128::from(summary.storage_cost)
        - i128::from(summary.storage_rebate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_transfer_burns_a_million_and_a_new_coin_locks_980_400() {
        // The gas coin is rewritten and one coin is created.
        let summary = summary(REFERENCE_GAS_PRICE, 2, COIN_DEPOSIT);
        assert_eq!(COIN_DEPOSIT, 980_400);
        assert_eq!(summary.computation_cost_burned, 1_000_000);
        assert_eq!(net(&summary), 1_980_400);
    }
}
