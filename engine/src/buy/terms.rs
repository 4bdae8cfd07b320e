//! What is bought, what it costs, and whether that is allowed.

use std::time::Duration;
use tanglegate_core::Nanos;
use tanglegate_crypto::OfferLine;

/// How much is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Price {
    /// So much money, for what it buys.
    Amount(Nanos),
    /// So much time, for what it costs.
    Time(Duration),
}

/// Beyond these nothing is signed. Gas is not counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Caps {
    /// The most that one purchase may cost.
    pub each: Option<Nanos>,
    /// The most that all purchases in a book may cost together.
    pub total: Option<Nanos>,
}

/// Why nothing was ordered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TermsError {
    /// Not for sale.
    #[error("there is no offer {wanted} here, but {there}")]
    NoOffer {
        /// What was wanted.
        wanted: String,
        /// The offers' names.
        there: String,
    },
    /// The seller says what it costs, and nobody has said how much may be paid.
    #[error(
        "{offer} would cost {cost}: say --cap {nanos}NANOS to agree, or --amount instead of --for",
        nanos = cost.0
    )]
    NoCap {
        /// The offer.
        offer: String,
        /// What it would cost.
        cost: Nanos,
    },
    /// More than one purchase may cost.
    #[error("{cost} is more than --cap {cap}: nothing was signed")]
    BeyondCap {
        /// What it would cost.
        cost: Nanos,
        /// The most.
        cap: Nanos,
    },
    /// More than all purchases may cost.
    #[error("{spent} were spent before; with {cost} it would be more than --cap-total {cap}")]
    BeyondTotal {
        /// What it would cost.
        cost: Nanos,
        /// What the book says was spent.
        spent: Nanos,
        /// The most.
        cap: Nanos,
    },
    /// Too little to buy time.
    #[error("{cost} buy nothing of {offer}: the least purchase is {least}")]
    TooLittle {
        /// The offer.
        offer: String,
        /// What was wanted.
        cost: Nanos,
        /// The least.
        least: Nanos,
    },
    /// The sale is over, by the seller's clock.
    #[error("the offer {offer} is no longer sold")]
    Ended {
        /// The offer.
        offer: String,
    },
    /// More than there is.
    #[error("so much time of {offer} costs more than 64 bits of NANOS can say")]
    Absurd {
        /// The offer.
        offer: String,
    },
}

/// What a purchase is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// The offer as the seller announced it.
    pub offer: OfferLine,
    /// What is paid.
    pub cost: Nanos,
    /// What that buys by the offer's price, in milliseconds.
    pub time_ms: u64,
}

impl Terms {
    /// What `price` means for the offer named `wanted`.
    ///
    /// # Errors
    /// When it is not for sale, or the amount buys nothing.
    pub fn of(offers: &[OfferLine], wanted: &str, price: Price) -> Result<Self, TermsError> {
        let Some(offer) = offers.iter().find(|it| it.name == wanted) else {
            let names: Vec<&str> = offers.iter().map(|it| it.name.as_str()).collect();
            let there = match names.as_slice() {
                [] => "nothing is for sale".to_owned(),
                _ => names.join(", "),
            };
            let wanted = wanted.to_owned();
            return Err(TermsError::NoOffer { wanted, there });
        };
        let name = || offer.name.clone();
        let cost = match price {
            Price::Amount(amount) => amount,
            Price::Time(time) => {
                Nanos(cost(offer, time).ok_or_else(|| TermsError::Absurd { offer: name() })?)
            }
        };
        let time_ms = time(offer, cost);
        if cost.0 < offer.least || time_ms == 0 {
            let one = offer.price.div_ceil(offer.period_ms.max(1));
            return Err(TermsError::TooLittle {
                offer: name(),
                cost,
                least: Nanos(offer.least.max(one)),
            });
        }
        let offer = offer.clone();
        Ok(Self {
            offer,
            cost,
            time_ms,
        })
    }

    /// Refuses an offer whose sale is over at `now`, in milliseconds since 1970 by the seller's
    /// clock.
    ///
    /// # Errors
    /// When it is.
    pub fn sold_at(&self, now: u64) -> Result<(), TermsError> {
        match self.offer.valid_until.is_some_and(|end| end <= now) {
            true => Err(TermsError::Ended {
                offer: self.offer.name.clone(),
            }),
            false => Ok(()),
        }
    }

    /// Refuses what is beyond the caps. `spent` was spent before.
    ///
    /// # Errors
    /// When it is, and when the seller would name an amount that nobody has bounded.
    pub fn allowed(&self, price: Price, caps: Caps, spent: Nanos) -> Result<(), TermsError> {
        let cost = self.cost;
        if caps == Caps::default() && matches!(price, Price::Time(_)) {
            let offer = self.offer.name.clone();
            return Err(TermsError::NoCap { offer, cost });
        }
        if let Some(cap) = caps.each.filter(|cap| cost > *cap) {
            return Err(TermsError::BeyondCap { cost, cap });
        }
        let sum = spent.0.saturating_add(cost.0);
        match caps.total.filter(|cap| sum > cap.0) {
            Some(cap) => Err(TermsError::BeyondTotal { cost, spent, cap }),
            None => Ok(()),
        }
    }
}

/// What `time` costs, in NANOS, rounded up.
fn cost(offer: &OfferLine, time: Duration) -> Option<u64> {
    let product = time.as_millis().checked_mul(u128::from(offer.price))?;
    u64::try_from(product.div_ceil(u128::from(offer.period_ms.max(1)))).ok()
}

/// What `cost` buys, in milliseconds, rounded down.
fn time(offer: &OfferLine, cost: Nanos) -> u64 {
    let product = u128::from(cost.0) * u128::from(offer.period_ms);
    match product.checked_div(u128::from(offer.price)) {
        Some(time) => u64::try_from(time).unwrap_or(u64::MAX),
        None => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);

    fn offers() -> Vec<OfferLine> {
        vec![OfferLine {
            name: "plug-hour".to_owned(),
            seller: [1; 32],
            filter: "sensor/live".to_owned(),
            access: 1,
            price: 500_000_000,
            period_ms: 3_600_000,
            least: 1_000_000,
            valid_until: None,
        }]
    }

    fn terms(price: Price) -> Result<Terms, TermsError> {
        Terms::of(&offers(), "plug-hour", price)
    }

    #[test]
    fn time_costs_what_the_engine_will_count_and_never_less() {
        for minutes in [1, 7, 59, 60, 61] {
            let wanted = Duration::from_secs(60 * minutes);
            let terms = terms(Price::Time(wanted)).expect("it can be bought");
            assert!(u128::from(terms.time_ms) >= wanted.as_millis(), "{terms:?}");
        }
        let hour = terms(Price::Time(HOUR)).expect("it can be bought");
        assert_eq!((hour.cost, hour.time_ms), (Nanos(500_000_000), 3_600_000));
        let half = terms(Price::Amount(Nanos(250_000_000))).expect("it can be bought");
        assert_eq!(half.time_ms, 1_800_000);
    }

    #[test]
    fn too_little_and_too_much_and_what_is_not_there_are_refused() {
        let little = terms(Price::Amount(Nanos(999_999)));
        assert!(matches!(little, Err(TermsError::TooLittle { .. })));
        let much = terms(Price::Time(Duration::MAX));
        assert!(matches!(much, Err(TermsError::Absurd { .. })));
        let other = Terms::of(&offers(), "plug-day", Price::Amount(Nanos::IOTA));
        let error = other.expect_err("it is not there").to_string();
        assert!(error.contains("plug-hour"), "{error}");
    }

    #[test]
    fn a_sale_ends_before_its_end() {
        let mut terms = terms(Price::Amount(Nanos::IOTA)).expect("it can be bought");
        assert_eq!(terms.sold_at(u64::MAX), Ok(()));
        terms.offer.valid_until = Some(5);
        assert_eq!(terms.sold_at(4), Ok(()));
        assert!(matches!(terms.sold_at(5), Err(TermsError::Ended { .. })));
    }

    #[test]
    fn nothing_goes_beyond_a_cap() {
        let price = Price::Time(HOUR);
        let terms = terms(price).expect("it can be bought");
        let cost = terms.cost;
        let caps = |each, total| Caps { each, total };
        let allowed = |caps, spent| terms.allowed(price, caps, Nanos(spent));
        let unbounded = allowed(Caps::default(), 0).expect_err("the seller names the amount");
        assert!(unbounded.to_string().contains("--cap 500000000NANOS"));
        assert_eq!(allowed(caps(Some(cost), None), u64::MAX), Ok(()));
        let less = Nanos(cost.0 - 1);
        assert!(allowed(caps(Some(less), None), 0).is_err());
        let total = caps(None, Some(Nanos(2 * cost.0)));
        assert_eq!(allowed(total, cost.0), Ok(()));
        assert!(allowed(total, cost.0 + 1).is_err());
        assert!(allowed(total, u64::MAX).is_err());
        let named = Price::Amount(cost);
        assert_eq!(terms.allowed(named, Caps::default(), Nanos(0)), Ok(()));
    }
}
