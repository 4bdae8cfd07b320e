//! What wrong logins cost those who send them: a pause that doubles, for the address they come
//! from and, much shorter, for the name they try.
//!
//! Neither locks anybody out. The pauses of an address are its own; those of a name are short,
//! because strangers can cause them. Nothing here depends on whether a name exists.

use crate::recent::Recent;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Wrong logins that cost nothing: people mistype.
const FORGIVEN: u32 = 3;
/// The first pause; each further wrong login doubles it.
const FIRST: Duration = Duration::from_millis(100);
/// The longest pause between two logins of an address.
const LONGEST: Duration = Duration::from_secs(10);
/// The longest pause before a login of a name.
const LONGEST_OF_NAME: Duration = Duration::from_secs(1);
/// Wrong logins are forgotten after so much time without another.
const FORGOTTEN: Duration = Duration::from_secs(600);
/// Addresses and names that are remembered, each.
const REMEMBERED: usize = 1 << 16;

/// Who sent wrong logins.
pub(super) struct Failures {
    addresses: Recent<IpAddr, Record>,
    /// By a keyed hash. Who shares one by chance shares its pause, which is short.
    names: Recent<u64, Record>,
    hasher: RandomState,
}

/// Of one address or name.
#[derive(Debug, Default)]
struct Record {
    count: u32,
    last: Option<Instant>,
    /// Before that no login of the address is checked.
    next: Option<Instant>,
}

/// When and how a login may be checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slot {
    /// Not before.
    pub(super) at: Instant,
    /// Others go first: there were wrong logins from the address or of the name.
    pub(super) doubtful: bool,
}

impl Failures {
    pub(super) fn new() -> Self {
        Self {
            addresses: Recent::new(REMEMBERED),
            names: Recent::new(REMEMBERED),
            hasher: RandomState::new(),
        }
    }

    /// When a login of `name` from `address` may be checked; `None` when so many of the address
    /// wait already that it has to try again later.
    pub(super) fn slot(&mut self, address: IpAddr, name: &str, now: Instant) -> Option<Slot> {
        let name = self.hasher.hash_one(name);
        let of_name = self.names.get(&name).map_or(0, |it| it.count_at(now));
        let mut at = now + pause(of_name).min(LONGEST_OF_NAME);
        let mut doubtful = of_name > FORGIVEN;
        if self.addresses.get(&address).is_some() {
            let record = self.addresses.entry(address);
            let count = record.count_at(now);
            let next = record.next.filter(|_| count > FORGIVEN);
            if let Some(next) = next {
                let turn = next.max(now);
                if turn - now > LONGEST {
                    return None;
                }
                record.next = Some(turn + pause(count));
                at = at.max(turn);
            }
            doubtful |= count > 0;
        }
        Some(Slot { at, doubtful })
    }

    /// A login was wrong.
    pub(super) fn note(&mut self, address: IpAddr, name: &str, now: Instant) {
        let name = self.hasher.hash_one(name);
        self.addresses.entry(address).note(now);
        self.names.entry(name).note(now);
    }

    /// A login was right: the name is not under suspicion any more. The address still is:
    /// otherwise whoever has one login could guess at all others in between.
    pub(super) fn forgive(&mut self, name: &str) {
        let name = self.hasher.hash_one(name);
        self.names.forget(&name);
    }
}

impl Record {
    fn count_at(&self, now: Instant) -> u32 {
        let forgotten = self.last.is_none_or(|it| now >= it + FORGOTTEN);
        if forgotten { 0 } else { self.count }
    }

    fn note(&mut self, now: Instant) {
        self.count = self.count_at(now).saturating_add(1);
        self.last = Some(now);
        let next = now + pause(self.count);
        self.next = Some(self.next.map_or(next, |it| it.max(next)));
    }
}

/// The pause after `count` wrong logins.
fn pause(count: u32) -> Duration {
    match count.checked_sub(FORGIVEN + 1) {
        None => Duration::ZERO,
        Some(doublings) => FIRST.saturating_mul(1 << doublings.min(16)).min(LONGEST),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const THERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

    #[test]
    fn pauses_double_up_to_a_bound() {
        let pauses: Vec<u128> = (0..14).map(|it| pause(it).as_millis()).collect();
        assert_eq!(
            pauses,
            [
                0, 0, 0, 0, 100, 200, 400, 800, 1_600, 3_200, 6_400, 10_000, 10_000, 10_000
            ]
        );
        assert_eq!(pause(u32::MAX), LONGEST);
    }

    #[test]
    fn an_address_that_guesses_gets_fewer_and_fewer_turns_and_is_then_sent_away() {
        let (mut failures, start) = (Failures::new(), Instant::now());
        let (mut now, mut checked) = (start, 0);
        while now < start + Duration::from_secs(60) {
            // It asks a thousand times a second.
            match failures.slot(HERE, "ana", now) {
                Some(slot) => {
                    now = slot.at;
                    failures.note(HERE, "ana", now);
                    checked += 1;
                }
                None => now += Duration::from_millis(1),
            }
        }
        assert!((5..20).contains(&checked), "{checked} guesses in a minute");
    }

    #[test]
    fn strangers_guesses_delay_an_honest_login_by_little_and_never_forbid_it() {
        let (mut failures, now) = (Failures::new(), Instant::now());
        for number in 0..10_000_u32 {
            failures.note(IpAddr::from(number.to_be_bytes()), "ana", now);
        }
        let slot = failures.slot(THERE, "ana", now).unwrap();
        assert!(slot.at <= now + LONGEST_OF_NAME && slot.doubtful);
        let other = failures.slot(THERE, "bob", now).unwrap();
        assert_eq!((other.at, other.doubtful), (now, false));
        failures.forgive("ana");
        assert_eq!(failures.slot(THERE, "ana", now).unwrap().at, now);
    }

    #[test]
    fn who_waits_is_forgiven_and_a_right_login_does_not_clear_its_address() {
        let (mut failures, now) = (Failures::new(), Instant::now());
        for _ in 0..10 {
            failures.note(HERE, "ana", now);
        }
        failures.forgive("ana");
        assert!(failures.slot(HERE, "bob", now).unwrap().at > now);
        let later = now + FORGOTTEN;
        let slot = failures.slot(HERE, "ana", later).unwrap();
        assert_eq!((slot.at, slot.doubtful), (later, false));
    }
}
