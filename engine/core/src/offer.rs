//! What is for sale, and how much time an amount of money buys.

use crate::{Access, Address, Nanos, OfferId, Timestamp, TopicFilter};

/// A price list of nonsense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TariffError {
    /// For nothing there are rules.
    #[error("the price is 0: give the topic free with a rule, or ask at least 1 NANO")]
    NoPrice,
    /// Nothing to buy.
    #[error("the period is 0 ms: name how long the price pays for, for example 3600000")]
    NoPeriod,
}

/// Price of time: `price` pays for `period_ms`; other amounts buy in proportion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tariff {
    price: Nanos,
    period_ms: u64,
    least: Nanos,
}

/// What an amount buys. `spent` and `left` make up the amount to the NANO.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bought {
    /// How long, in milliseconds.
    pub millis: u64,
    /// What that costs: the least amount that buys so long.
    pub spent: Nanos,
    /// The rest, too little for one more millisecond, or beyond the calendar.
    pub left: Nanos,
}

impl Tariff {
    /// A tariff; `least` is the smallest amount that buys at all (less stays on account).
    ///
    /// # Errors
    /// When price or period is zero.
    pub fn new(price: Nanos, period_ms: u64, least: Nanos) -> Result<Self, TariffError> {
        if price == Nanos::ZERO {
            return Err(TariffError::NoPrice);
        }
        if period_ms == 0 {
            return Err(TariffError::NoPeriod);
        }
        Ok(Self {
            price,
            period_ms,
            least,
        })
    }

    /// What one period costs.
    #[must_use]
    pub fn price(&self) -> Nanos {
        self.price
    }

    /// How long the price pays for, in milliseconds.
    #[must_use]
    pub fn period_ms(&self) -> u64 {
        self.period_ms
    }

    /// The least purchase.
    #[must_use]
    pub fn least(&self) -> Nanos {
        self.least
    }

    /// The time that `amount` buys: amount × period / price, down to the millisecond; nothing
    /// below the least purchase, and at most `room_ms`.
    #[must_use]
    pub fn buy(&self, amount: Nanos, room_ms: u64) -> Bought {
        let nothing = Bought {
            millis: 0,
            spent: Nanos::ZERO,
            left: amount,
        };
        if amount < self.least {
            return nothing;
        }
        let (price, period) = (u128::from(self.price.0), u128::from(self.period_ms));
        let affordable = u128::from(amount.0) * period / price;
        let millis = u64::try_from(affordable).unwrap_or(u64::MAX).min(room_ms);
        let cost = (u128::from(millis) * price).div_ceil(period);
        let spent = u64::try_from(cost).expect("at most the amount, by the rounding above");
        assert!(
            spent <= amount.0,
            "time never costs more than was paid for it"
        );
        Bought {
            millis,
            spent: Nanos(spent),
            left: Nanos(amount.0 - spent),
        }
    }
}

/// Something for sale.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// Its name.
    pub id: OfferId,
    /// Which ledger address has to be paid.
    pub seller: Address,
    /// Which topics.
    pub filter: TopicFilter,
    /// What the buyer may do there.
    pub access: Access,
    /// Price of time.
    pub tariff: Tariff,
    /// Exclusive end of the sale; [`Timestamp::FOREVER`] without one.
    pub valid_until: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn half_iota_an_hour() -> Tariff {
        Tariff::new(Nanos(500_000_000), 3_600_000, Nanos(1_000_000)).expect("valid")
    }

    #[test]
    fn the_price_of_a_period_buys_the_period() {
        let bought = half_iota_an_hour().buy(Nanos(500_000_000), u64::MAX);
        let hour = Bought {
            millis: 3_600_000,
            spent: Nanos(500_000_000),
            left: Nanos::ZERO,
        };
        assert_eq!(bought, hour);
    }

    #[test]
    fn other_amounts_buy_in_proportion_and_the_rest_is_kept() {
        // One millisecond costs 138.89 NANOS.
        let bought = half_iota_an_hour().buy(Nanos(1_000_100), u64::MAX);
        assert_eq!(bought.millis, 7_200);
        assert_eq!(bought.spent, Nanos(1_000_000));
        assert_eq!(bought.left, Nanos(100));
    }

    #[test]
    fn below_the_least_purchase_nothing_is_spent() {
        let bought = half_iota_an_hour().buy(Nanos(999_999), u64::MAX);
        assert_eq!((bought.millis, bought.left), (0, Nanos(999_999)));
    }

    #[test]
    fn no_amount_overflows_and_no_nano_is_lost() {
        let tariff = Tariff::new(Nanos(1), u64::MAX, Nanos::ZERO).expect("valid");
        for amount in [0, 1, 2, u64::MAX] {
            let bought = tariff.buy(Nanos(amount), 1_000_000);
            assert!(bought.millis <= 1_000_000);
            assert_eq!(bought.spent.0 + bought.left.0, amount);
        }
    }

    #[test]
    fn a_tariff_without_price_or_period_is_refused() {
        assert_eq!(
            Tariff::new(Nanos(0), 1, Nanos(0)),
            Err(TariffError::NoPrice)
        );
        assert_eq!(
            Tariff::new(Nanos(1), 0, Nanos(0)),
            Err(TariffError::NoPeriod)
        );
    }
}
