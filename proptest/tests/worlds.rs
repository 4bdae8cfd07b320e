//! Whatever happens, every promise is kept.

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use std::collections::BTreeSet;
use tanglegate_core::{Address, Event, Nanos, Position, Recorded, State, Tariff, Timestamp};
use tanglegate_proptest::{
    Answer, Broken, Fault, Run, Weather, World, for_all, for_all_worlds, read_world, saved_worlds,
    worlds, write_world,
};

fn plays_well(world: &World) -> Result<(), Broken> {
    Run::of(world).map(drop)
}

#[test]
fn one_writer_keeps_every_promise_in_any_calm_world() {
    for_all_worlds(120, Weather::Calm, plays_well);
}

#[test]
fn two_writers_keep_every_promise_whatever_crashes_or_races() {
    for_all_worlds(150, Weather::Stormy, plays_well);
}

#[test]
fn every_saved_world_keeps_every_promise() {
    let worlds = saved_worlds().expect("the folder of saved worlds is there");
    assert!(!worlds.is_empty(), "the folder of saved worlds is empty");
    for (path, world) in worlds {
        if let Err(broken) = plays_well(&world) {
            panic!("{}: {broken}", path.display());
        }
    }
}

#[test]
fn a_world_is_read_back_from_what_is_written_of_it() {
    for_all(50, worlds(Weather::Stormy), |world| {
        let text = write_world(world, "why\nit was saved");
        match read_world(&text) {
            Ok(read) if read == *world => Ok(()),
            other => Err(Broken(format!("{text} is read as {other:?}"))),
        }
    });
    let error = read_world("# fine\n{\"step\":{}}\n").expect_err("no step");
    assert!(error.to_string().starts_with("line 2 is no"), "{error}");
}

/// The first word of what a value shows of itself: the name of its variant.
fn variant(value: &impl std::fmt::Debug) -> String {
    let shown = format!("{value:?}");
    let name = shown.split(|it: char| !it.is_alphanumeric()).next();
    name.unwrap_or_default().to_owned()
}

/// A property that no world ever touches would hold in vain.
#[test]
fn the_worlds_reach_every_event_reason_refusal_and_fault() {
    let mut runner = TestRunner::deterministic();
    let (mut events, mut reasons) = (BTreeSet::new(), BTreeSet::new());
    let (mut refusals, mut faults) = (BTreeSet::new(), BTreeSet::new());
    for number in 0..200 {
        let weather = [Weather::Calm, Weather::Stormy][number % 2];
        let world = worlds(weather).new_tree(&mut runner).expect("no filters");
        let run = match Run::of(&world.current()) {
            Ok(run) => run,
            Err(broken) => panic!("{broken}"),
        };
        for entry in run.journal.entries() {
            events.insert(variant(&entry.event));
            if let Event::PaymentUnmatched { reason, .. } = entry.event {
                reasons.insert(variant(&reason));
            }
        }
        for (_, answer) in &run.answers {
            refusals.insert(match answer {
                Answer::Rejected(rejection) => variant(rejection),
                other => variant(other),
            });
        }
        faults.extend(run.faults);
    }
    let all = |names: &str| names.split_whitespace().map(str::to_owned).collect();
    let expected: BTreeSet<String> = all(
        "ChainBound LedgerScanned OfferPublished OfferWithdrawn RuleGiven RuleRemoved \
         SubscriberRegistered PasswordChanged SubscriberSuspended SubscriberReinstated \
         SubscriberErased HeadKeyAdopted HeadAnchored \
         PaymentConfirmed PaymentApplied PaymentUnmatched LeaseGranted LeaseExtended LeaseRevoked",
    );
    assert_eq!(events, expected);
    let expected: BTreeSet<String> = all(
        "NoMemo UnreadableMemo UnknownOffer OfferEnded WrongSeller UnknownSubscriber Suspended \
         TooMuch",
    );
    assert_eq!(reasons, expected);
    let expected: BTreeSet<String> = all(
        "Recorded Before Nothing OtherChain StaleScan UnknownOffer OfferOver ReservedFilter \
         RuleExists RuleRepeated UnknownRule UnknownSubscriber UsernameTaken UnknownUsername \
         SubscriberExists AlreadySuspended NotSuspended NoRunningLease OtherOrigin",
    );
    assert_eq!(refusals, expected);
    assert_eq!(faults, BTreeSet::from([Fault::StaleHead, Fault::KnownKey]));
}

#[test]
fn a_tariff_neither_loses_nor_invents_a_nano_nor_a_millisecond() {
    let number = || {
        use proptest::prelude::*;
        prop_oneof![
            1..20_u64,
            1..5_000_000_000_u64,
            any::<u64>(),
            Just(u64::MAX)
        ]
    };
    let drawn = (number(), number(), number(), number(), number());
    for_all(4_000, drawn, |&(price, period, least, amount, room)| {
        let broken = |what: &str| Err(Broken(what.to_owned()));
        let tariff = match Tariff::new(Nanos(price.max(1)), period.max(1), Nanos(least)) {
            Ok(tariff) => tariff,
            Err(error) => return broken(&error.to_string()),
        };
        let bought = tariff.buy(Nanos(amount), room);
        if u128::from(bought.spent.0) + u128::from(bought.left.0) != u128::from(amount) {
            return broken("money is lost or made");
        }
        if bought.millis > room {
            return broken("more time than there is room for");
        }
        if amount < least && bought.millis != 0 {
            return broken("time below the least purchase");
        }
        let more = tariff.buy(Nanos(amount.saturating_add(1)), room);
        if more.millis < bought.millis {
            return broken("more money buys less time");
        }
        let again = tariff.buy(bought.spent, u64::MAX);
        if bought.spent.0 >= least && again.millis < bought.millis {
            return broken("the price of the time does not buy the time");
        }
        Ok(())
    });
}

#[test]
fn two_purchases_never_buy_more_than_one_of_both() {
    let drawn = (1..100_u64, 1..100_u64, 0..10_000_u64, 0..10_000_u64);
    for_all(4_000, drawn, |&(price, period, first, second)| {
        let tariff = Tariff::new(Nanos(price), period, Nanos::ZERO)
            .map_err(|error| Broken(error.to_string()))?;
        let one = tariff.buy(Nanos(first), u64::MAX);
        let two = tariff.buy(Nanos(one.left.0 + second), u64::MAX);
        let both = tariff.buy(Nanos(first + second), u64::MAX);
        if one.millis + two.millis > both.millis {
            return Err(Broken(format!("{one:?} and {two:?}, at once {both:?}")));
        }
        Ok(())
    });
}

fn fold(position: u64, at: u64) -> State {
    let mut state = State::default();
    let event = Event::LedgerScanned {
        seller: Address([0; 32]),
        checkpoint: 1,
    };
    for (position, at) in [(1, 10), (position, at)] {
        let recorded = Recorded {
            position: Position(position),
            recorded_at: Timestamp(at),
            event: &event,
        };
        state.evolve(recorded, &mut Vec::new()).expect("decided");
    }
    state
}

#[test]
#[should_panic(expected = "its position is not the next one")]
fn an_event_after_a_gap_is_not_folded() {
    fold(3, 10);
}

#[test]
#[should_panic(expected = "its position is not the next one")]
fn an_event_is_not_folded_twice() {
    fold(1, 10);
}

#[test]
#[should_panic(expected = "the log's clock runs backwards")]
fn an_event_of_an_earlier_time_is_not_folded() {
    fold(2, 9);
}
