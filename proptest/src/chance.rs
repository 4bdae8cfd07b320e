//! Worlds drawn by lot.

use crate::{Act, Fate, Memo, Payment, Step, Wish, World};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

/// What a world may bring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weather {
    /// One writer whose every commit succeeds.
    Calm,
    /// Two writers, whose processes and connections die.
    Stormy,
}

/// Worlds of up to 8 payments and some 50 steps.
pub fn worlds(weather: Weather) -> impl Strategy<Value = World> {
    let opened = prop_oneof![1 => Just(Vec::new()), 4 => Just(opening())];
    let payments = vec(payment(), 1..=8);
    let happens = prop_oneof![
        20 => step(weather).prop_map(|it| vec![it]),
        1 => at_the_end(),
        1 => rule_meets_lease(),
    ];
    (payments, opened, vec(happens, 1..50)).prop_map(|(payments, opened, more)| {
        let steps = opened.into_iter().chain(more.into_iter().flatten());
        World {
            payments,
            steps: steps.collect(),
        }
    })
}

/// The filters and accesses that the opening sells: two rights on one filter.
const SOLD: [(u8, u8); 3] = [(1, 0), (3, 0), (1, 2)];

/// A market that has opened: most of what can go wrong needs one.
fn opening() -> Vec<Step> {
    let submit = |wish| Step {
        after_ms: 0,
        writer: 0,
        act: Act::Submit(wish),
    };
    let sell = |offer, (filter, access), price, least| Wish::Publish {
        offer,
        seller: 0,
        filter,
        access,
        price,
        period_ms: 3_600_000,
        least,
        for_ms: None,
    };
    let register = |number| Wish::Register {
        subscriber: number,
        name: number,
        password: number,
    };
    vec![
        submit(register(0)),
        submit(register(1)),
        submit(sell(0, SOLD[0], 500_000_000, 1_000_000)),
        submit(sell(1, SOLD[1], 7, 0)),
        submit(sell(2, SOLD[2], 1_000, 0)),
    ]
}

fn payment() -> impl Strategy<Value = Payment> {
    let seller = prop_oneof![9 => Just(0_u8), 1 => Just(1)];
    let memo = prop_oneof![
        1 => Just(Memo::Absent),
        1 => Just(Memo::Unreadable),
        14 => (0..4_u8, prop_oneof![6 => 0..2_u8, 1 => 2..4_u8])
            .prop_map(|(offer, name)| Memo::Buys { offer, name }),
    ];
    (seller, 7..9_u8, amount(), 0..40_u64, memo).prop_map(
        |(seller, payer, amount, checkpoint, memo)| Payment {
            seller,
            payer,
            amount,
            checkpoint,
            memo,
        },
    )
}

/// NANOS: from nothing to more than there are, most of them near a price.
fn amount() -> impl Strategy<Value = u64> {
    prop_oneof![
        1 => 0..=1_u64,
        4 => 1..2_000_u64,
        2 => 999_999..=1_000_001_u64,
        6 => 500_000..2_000_000_000_u64,
        1 => any::<u64>(),
        1 => Just(u64::MAX),
    ]
}

fn period() -> impl Strategy<Value = u64> {
    prop_oneof![
        1 => 1..1_000_u64,
        4 => Just(3_600_000),
        1 => any::<u64>(),
        1 => Just(u64::MAX),
    ]
}

fn publish() -> impl Strategy<Value = Wish> {
    let terms = (
        amount(),
        period(),
        prop_oneof![2 => Just(0_u64), 1 => amount()],
    );
    let seller = prop_oneof![9 => Just(0_u8), 1 => Just(1)];
    // The last name of the pool is never sold.
    let sold = (0..3_u8, seller, right());
    let for_ms = option::weighted(0.3, 0..7_200_000_u64);
    (sold, terms, for_ms).prop_map(
        |((offer, seller, (filter, access)), (price, period_ms, least), for_ms)| Wish::Publish {
            offer,
            seller,
            filter,
            access,
            price,
            period_ms,
            least,
            for_ms,
        },
    )
}

/// A filter and an access; often a filter that the opening sells, so that rights meet.
fn right() -> impl Strategy<Value = (u8, u8)> {
    let filter = prop_oneof![3 => Just(1_u8), 2 => Just(3), 4 => 0..10_u8];
    (filter, 0..3_u8)
}

fn wish() -> impl Strategy<Value = Wish> {
    // What the opening sells can be bought most often, so it is worth revoking most often.
    let leased = prop_oneof![3 => prop::sample::select(SOLD.to_vec()), 1 => right()];
    prop_oneof![
        1 => (0..2_u8).prop_map(Wish::Bind),
        1 => (0..50_u64).prop_map(Wish::Scan),
        16 => (0..8_u8).prop_map(Wish::Deliver),
        4 => publish(),
        1 => (0..4_u8).prop_map(Wish::Withdraw),
        3 => (0..5_u8, option::of(0..6_u8), right()).prop_map(|(rule, to, (filter, access))| {
            Wish::Give { rule, to, filter, access }
        }),
        1 => (0..5_u8).prop_map(Wish::Remove),
        3 => (0..6_u8, 0..4_u8, 0..9_u8).prop_map(|(subscriber, name, password)| {
            Wish::Register { subscriber, name, password }
        }),
        1 => (0..4_u8, 0..9_u8).prop_map(|(name, password)| {
            Wish::ChangePassword { name, password }
        }),
        2 => (0..4_u8).prop_map(Wish::Suspend),
        2 => (0..4_u8).prop_map(Wish::Reinstate),
        1 => (0..4_u8).prop_map(Wish::Erase),
        1 => (0..4_u8).prop_map(Wish::AdoptHeadKey),
        1 => (0..40_u64).prop_map(Wish::Anchor),
        2 => (0..2_u8, leased).prop_map(|(name, (filter, access))| {
            Wish::Revoke { name, filter, access }
        }),
        2 => (0..40_u8).prop_map(Wish::Again),
    ]
}

/// How far the clock moves between steps, in milliseconds.
fn clock() -> impl Strategy<Value = i64> {
    prop_oneof![
        80 => Just(0_i64),
        60 => 1..5_000_i64,
        40 => 0..7_200_000_i64,
        20 => -3_600_000..0_i64,
        10 => 0..400_000_000_000_i64,
        // Close to the end of the calendar; twice, past it.
        1 => Just(251_000_000_000_000_i64),
    ]
}

/// Acts of one writer, one right after the other.
fn at_once(acts: impl IntoIterator<Item = Act>) -> Vec<Step> {
    let step = |act| Step {
        after_ms: 0,
        writer: 0,
        act,
    };
    acts.into_iter().map(step).collect()
}

/// Money arrives in the millisecond in which something ends, or in one beside it.
fn at_the_end() -> impl Strategy<Value = Vec<Step>> {
    (await_end(), 0..8_u8).prop_map(|(end, payment)| {
        let deliver = Act::Submit(Wish::Deliver(payment));
        let commit = Act::Commit(Fate::Answered);
        at_once([commit.clone(), end, deliver, commit])
    })
}

/// The operator gives what is also sold.
fn rule_meets_lease() -> impl Strategy<Value = Vec<Step>> {
    let sold = prop::sample::select(SOLD.to_vec());
    (0..5_u8, 0..2_u8, sold, 0..8_u8).prop_map(|(rule, to, (filter, access), payment)| {
        let to = Some(to);
        let give = Wish::Give {
            rule,
            to,
            filter,
            access,
        };
        at_once([Act::Submit(give), Act::Submit(Wish::Deliver(payment))])
    })
}

fn await_end() -> impl Strategy<Value = Act> {
    prop_oneof![2 => Just(0_i8), 1 => -1..=1_i8].prop_map(Act::Await)
}

fn step(weather: Weather) -> BoxedStrategy<Step> {
    let submit = wish().prop_map(Act::Submit);
    match weather {
        Weather::Calm => {
            let act = prop_oneof![
                12 => submit,
                8 => Just(Act::Commit(Fate::Answered)),
                1 => await_end(),
            ];
            let step = |(after_ms, act)| Step {
                after_ms,
                writer: 0,
                act,
            };
            (clock(), act).prop_map(step).boxed()
        }
        Weather::Stormy => {
            let fate = prop_oneof![
                4 => Just(Fate::Answered),
                1 => Just(Fate::Lost),
                1 => Just(Fate::AnswerLost),
                1 => Just(Fate::DiesBefore),
                1 => Just(Fate::DiesAfter),
            ];
            let act = prop_oneof![
                8 => submit,
                3 => Just(Act::Decide),
                4 => fate.prop_map(Act::Commit),
                1 => Just(Act::Look),
                1 => Just(Act::Crash),
                1 => await_end(),
            ];
            let step = |(after_ms, writer, act)| Step {
                after_ms,
                writer,
                act,
            };
            (clock(), 0..2_u8, act).prop_map(step).boxed()
        }
    }
}
