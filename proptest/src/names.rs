//! The few names that worlds are made of: few, so that wishes collide.

use std::sync::LazyLock;
use tanglegate_core::{
    Access, Address, ChainId, Digest, OfferId, PasswordVerifier, PaymentId, RuleId, SubscriberId,
    TopicFilter, TopicName, Username, VerifierKey,
};

const USERNAMES: [&str; 4] = ["ana", "bob", "cem", "dua"];
const OFFERS: [&str; 4] = ["plug-hour", "plug-day", "all", "pen"];
const FILTERS: [&str; 10] = [
    "a", "a/b", "a/+", "a/#", "+/b", "+", "#", "$S/#", "$SYS/x", "b",
];
const TOPICS: [&str; 8] = ["a", "b", "a/b", "b/b", "a/b/c", "$S/b", "$S", "$SYS/x"];
const CHAINS: [&str; 2] = ["6364aad5", "2304aa97"];
const ACCESSES: [Access; 3] = [Access::Read, Access::Write, Access::ReadWrite];

/// How many identities of subscribers there are: more than usernames, so that a name can be
/// wished for twice under different ones.
const SUBSCRIBERS: u8 = 6;
const RULES: u8 = 5;

fn pick<T: Copy>(pool: &[T], number: u8) -> T {
    pool[usize::from(number) % pool.len()]
}

pub(crate) fn username(number: u8) -> Username {
    Username::parse(pick(&USERNAMES, number)).expect("a name of the pool is valid")
}

pub(crate) fn offer(number: u8) -> OfferId {
    OfferId::parse(pick(&OFFERS, number)).expect("a name of the pool is valid")
}

/// Parsed once: they are asked for all the time.
static PARSED: LazyLock<(Vec<TopicFilter>, Vec<TopicName>)> = LazyLock::new(|| {
    let filter = |it: &&str| TopicFilter::parse(it).expect("a filter of the pool is valid");
    let topic = |it: &&str| TopicName::parse(it).expect("a topic of the pool is valid");
    let filters = FILTERS.iter().map(filter).collect();
    (filters, TOPICS.iter().map(topic).collect())
});

pub(crate) fn filter(number: u8) -> TopicFilter {
    let filters = &PARSED.0;
    filters[usize::from(number) % filters.len()].clone()
}

pub(crate) fn access(number: u8) -> Access {
    pick(&ACCESSES, number)
}

pub(crate) fn chain(number: u8) -> ChainId {
    ChainId(pick(&CHAINS, number).into())
}

/// Keys of two logs, two of each.
pub(crate) fn head_key(number: u8) -> VerifierKey {
    let (log, key) = (number % 4 / 2, number % 2);
    VerifierKey(format!("log-{log}.example.org+0000000{key}+AQ==").into())
}

pub(crate) fn address(number: u8) -> Address {
    Address([number; 32])
}

pub(crate) fn subscriber(number: u8) -> SubscriberId {
    SubscriberId([number % SUBSCRIBERS; 16])
}

pub(crate) fn rule(number: u8) -> RuleId {
    RuleId([number % RULES; 16])
}

/// Two payments share a transaction.
pub(crate) fn payment(number: u8) -> PaymentId {
    PaymentId {
        digest: Digest([number / 2; 32]),
        index: u16::from(number % 2),
    }
}

pub(crate) fn verifier(number: u8) -> PasswordVerifier {
    PasswordVerifier {
        memory_kib: 8,
        passes: 1,
        lanes: 1,
        salt: [number; 16],
        tag: [number; 32],
    }
}

fn count<T>(pool: &[T]) -> u8 {
    u8::try_from(pool.len()).expect("pools are small")
}

pub(crate) fn usernames() -> impl Iterator<Item = Username> {
    (0..count(&USERNAMES)).map(username)
}

pub(crate) fn offers() -> impl Iterator<Item = OfferId> {
    (0..count(&OFFERS)).map(offer)
}

pub(crate) fn filters() -> impl Iterator<Item = TopicFilter> + Clone {
    PARSED.0.iter().cloned()
}

pub(crate) fn topics() -> impl Iterator<Item = &'static TopicName> {
    PARSED.1.iter()
}

pub(crate) fn accesses() -> [Access; 3] {
    ACCESSES
}

pub(crate) fn subscribers() -> impl Iterator<Item = SubscriberId> + Clone {
    (0..SUBSCRIBERS).map(subscriber)
}

pub(crate) fn rules() -> impl Iterator<Item = RuleId> {
    (0..RULES).map(rule)
}

/// What the numbers in a saved world stand for, for people.
#[must_use]
pub fn legend() -> String {
    let pool = |names: &[&str]| {
        let numbered = names.iter().enumerate();
        let numbered: Vec<String> = numbered.map(|(at, it)| format!("{at} {it}")).collect();
        numbered.join(", ")
    };
    let accesses = ACCESSES.map(Access::as_str);
    format!(
        "names: {}\noffers: {}\nfilters: {}\naccess: {}\nchains: {}",
        pool(&USERNAMES),
        pool(&OFFERS),
        pool(&FILTERS),
        pool(&accesses),
        pool(&CHAINS)
    )
}
