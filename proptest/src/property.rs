//! Looking for a case that breaks a promise.

use crate::{Broken, Weather, World, save_world, worlds, write_world};
use proptest::strategy::Strategy;
use proptest::test_runner::{Config, RngSeed, TestCaseError, TestError, TestRunner};
use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};

/// A case that broke a promise, shrunk, and the seed that leads to it again.
struct Found<T> {
    seed: u64,
    reason: String,
    case: T,
}

/// How many cases a property is tried with: `PROPTEST_CASES`, or `default`.
#[must_use]
pub fn cases(default: u32) -> u32 {
    let asked = std::env::var("PROPTEST_CASES").ok();
    asked.and_then(|it| it.parse().ok()).unwrap_or(default)
}

/// Tries `check` on cases of `strategy`.
///
/// # Panics
/// When one breaks its promise, with the shrunk case and the seed.
pub fn for_all<S: Strategy>(
    default_cases: u32,
    strategy: S,
    check: impl Fn(&S::Value) -> Result<(), Broken>,
) where
    S::Value: fmt::Debug,
{
    if let Err(found) = search(default_cases, &strategy, check) {
        let Found { seed, reason, case } = found;
        panic!("{reason}\n\ncase: {case:?}\nPROPTEST_RNG_SEED={seed} finds it again");
    }
}

/// Tries `check` on worlds, and saves one that breaks its promise.
///
/// # Panics
/// When one does, with the place where it was saved.
pub fn for_all_worlds(
    default_cases: u32,
    weather: Weather,
    check: impl Fn(&World) -> Result<(), Broken>,
) {
    if let Err(found) = search(default_cases, &worlds(weather), check) {
        let Found { seed, reason, case } = found;
        let text = write_world(&case, &reason);
        let saved = match save_world(&case, &reason) {
            Ok(path) => format!("saved as {}", path.display()),
            Err(error) => format!("not saved ({error})"),
        };
        panic!("{reason}\n\n{text}\n{saved}; PROPTEST_RNG_SEED={seed} finds it again");
    }
}

fn search<S: Strategy>(
    default_cases: u32,
    strategy: &S,
    check: impl Fn(&S::Value) -> Result<(), Broken>,
) -> Result<(), Found<S::Value>>
where
    S::Value: fmt::Debug,
{
    let read = Config::default();
    let seed = match read.rng_seed {
        RngSeed::Fixed(seed) => seed,
        RngSeed::Random => RandomState::new().build_hasher().finish(),
    };
    let config = Config {
        cases: cases(default_cases),
        rng_seed: RngSeed::Fixed(seed),
        // Cases are saved by us: a seed is worth nothing once the strategy has changed.
        failure_persistence: None,
        max_shrink_iters: 5_000,
        ..read
    };
    let outcome = TestRunner::new(config).run(strategy, |case| {
        check(&case).map_err(|it| TestCaseError::fail(it.to_string()))
    });
    match outcome {
        Ok(()) => Ok(()),
        Err(TestError::Abort(reason)) => panic!("the search was given up: {reason}"),
        Err(TestError::Fail(reason, case)) => Err(Found {
            seed,
            reason: reason.to_string(),
            case,
        }),
    }
}
