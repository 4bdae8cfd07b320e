//! Commands as a busy engine gets them, the same in every run.

use sha2::{Digest as _, Sha256};
use tanglegate_core::{
    Access, Address, ChainId, Command, Confirmation, Digest, IdempotencyKey, MemoReading, Nanos,
    Offer, OfferId, PasswordVerifier, PaymentId, SubscriberId, Tariff, Timestamp, TopicFilter,
    Username,
};

/// A command with what makes it recorded once.
pub(super) type Wish = (Option<IdempotencyKey>, Command);

/// What kind of load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// An offer's terms change: one event of about 110 bytes, and one row for all of a commit.
    Terms,
    /// Payments with a memo: three events, a sealed memo with its key, and three rows each.
    Payments,
    /// Nine payments to one registration, and a change of terms in every hundred.
    Mixed,
}

impl Shape {
    /// What stands in the report.
    pub(super) fn describe(self) -> &'static str {
        match self {
            Self::Terms => "terms, 1 event each",
            Self::Payments => "payments, 3 events and 3 rows each",
            Self::Mixed => "payments, registrations, offers",
        }
    }

    /// Events of one command; of the mixed ones, of most.
    pub(super) fn events(self) -> u64 {
        match self {
            Self::Terms => 1,
            Self::Payments | Self::Mixed => 3,
        }
    }
}

const SELLER: Address = Address([9; 32]);
const OFFERS: u64 = 8;
/// Subscribers that are registered before anything is measured.
const REGISTERED: u64 = 2_000;
/// One period of every offer, whatever its price.
const AMOUNT: Nanos = Nanos(500_000_000);

/// Makes commands; none is made twice.
pub(super) struct Load {
    shape: Shape,
    number: u64,
    registered: u64,
}

impl Load {
    pub(super) fn new(shape: Shape) -> Self {
        Self {
            shape,
            number: 0,
            registered: 0,
        }
    }

    /// What has to be in the log before the first command.
    pub(super) fn prepare(&mut self) -> Vec<Wish> {
        let mut wishes = vec![(None, Command::BindChain(ChainId("6364aad5".into())))];
        wishes.extend((0..OFFERS).map(|it| (None, Command::PublishOffer(offer(it, 0)))));
        wishes.extend((0..REGISTERED).map(|_| self.register()));
        wishes
    }

    /// The next commands.
    pub(super) fn take(&mut self, commands: u64) -> Vec<Wish> {
        (0..commands).map(|_| self.next()).collect()
    }

    fn next(&mut self) -> Wish {
        self.number += 1;
        let number = self.number;
        match self.shape {
            Shape::Terms => (None, Command::PublishOffer(offer(number % OFFERS, number))),
            Shape::Payments => self.pay(),
            Shape::Mixed if number.is_multiple_of(100) => {
                (None, Command::PublishOffer(offer(number % OFFERS, number)))
            }
            Shape::Mixed if number.is_multiple_of(10) => self.register(),
            Shape::Mixed => self.pay(),
        }
    }

    fn register(&mut self) -> Wish {
        self.registered += 1;
        let command = Command::RegisterSubscriber {
            subscriber: SubscriberId(scatter(b"subscriber", self.registered)),
            username: username(self.registered),
            verifier: PasswordVerifier {
                memory_kib: 19_456,
                passes: 2,
                lanes: 1,
                salt: scatter(b"salt", self.registered),
                tag: scatter(b"tag", self.registered),
            },
        };
        (None, command)
    }

    fn pay(&mut self) -> Wish {
        let number = self.number;
        let digest = Digest(scatter(b"transaction", number));
        let payment = PaymentId { digest, index: 0 };
        let buyer = username(number.wrapping_mul(7_919) % self.registered + 1);
        let offer = offer_id(number % OFFERS);
        let memo =
            format!("TGLM\u{1}{{\"offer\":\"{offer}\",\"for\":\"{buyer}\",\"n\":{number:032}}}");
        let confirmation = Confirmation {
            payment,
            seller: SELLER,
            payer: Address(scatter(b"payer", number % 1_000)),
            amount: AMOUNT,
            checkpoint: number / 10 + 1,
            confirmed_at: Timestamp(1_763_820_300_000 + number * 25),
            memo: memo.into_bytes(),
            reading: MemoReading::Purchase {
                offer,
                username: buyer,
            },
        };
        (
            Some(IdempotencyKey::Payment(payment)),
            Command::ConfirmPayment(confirmation),
        )
    }
}

fn username(number: u64) -> Username {
    Username::parse(&format!("buyer-{number:08}")).expect("letters and digits")
}

fn offer_id(number: u64) -> OfferId {
    OfferId::parse(&format!("plug-{number}-hour")).expect("letters, digits and hyphens")
}

/// One of the offers, with terms of its own for every change.
fn offer(number: u64, change: u64) -> Offer {
    let filter = format!("site/{number}/sensor/live");
    Offer {
        id: offer_id(number),
        seller: SELLER,
        filter: TopicFilter::parse(&filter).expect("no wildcard"),
        access: Access::Read,
        tariff: Tariff::new(AMOUNT, 3_600_000, Nanos(1_000_000 + change)).expect("not for nothing"),
        valid_until: Timestamp::FOREVER,
    }
}

/// Bytes that look random and are the same in every run.
fn scatter<const N: usize>(what: &[u8], number: u64) -> [u8; N] {
    let hash = Sha256::new()
        .chain_update(what)
        .chain_update(number.to_be_bytes())
        .finalize();
    std::array::from_fn(|at| hash[at])
}

#[cfg(test)]
mod tests {
    use super::*;
    use tanglegate_core::{Change, Event, Position, Recorded, State, decide};

    /// Every command of every shape is accepted and does what its shape promises.
    #[test]
    fn every_command_is_accepted_and_payments_buy_time() {
        for (shape, least, most) in [
            (Shape::Terms, 1, 1),
            (Shape::Payments, 3, 3),
            (Shape::Mixed, 1, 3),
        ] {
            let (mut state, mut rows) = (State::default(), Vec::<Change>::new());
            let mut load = Load::new(shape);
            let mut fold = |wish: Wish| {
                let now = Timestamp(1_000 + state.position().0);
                let events: Vec<Event> = decide(&state, now, wish.1).expect("accepted");
                for event in &events {
                    let position = Position(state.position().0 + 1);
                    let recorded = Recorded {
                        position,
                        recorded_at: now,
                        event,
                    };
                    state.evolve(recorded, &mut rows).expect("decided");
                    state.settle();
                }
                events
            };
            load.prepare().into_iter().for_each(|it| drop(fold(it)));
            for wish in load.take(500) {
                let events = fold(wish);
                assert!(
                    (least..=most).contains(&events.len()),
                    "{shape:?}: {events:?}"
                );
                let unmatched = |it: &Event| matches!(it, Event::PaymentUnmatched { .. });
                assert!(!events.iter().any(unmatched), "{shape:?}: {events:?}");
            }
        }
    }
}
