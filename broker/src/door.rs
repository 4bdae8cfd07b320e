//! Who may come in: places for connections, in all and of each address, and how fast new ones
//! may come.

use crate::limits::Limits;
use crate::rate::Bucket;
use crate::recent::Recent;
use crate::statistics::Counters;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Addresses whose conduct is remembered; with more of them, those that did not come for longest
/// begin anew.
const ADDRESSES: usize = 1 << 16;
/// How long an address counts as one from which people log in.
const KNOWN: Duration = Duration::from_secs(24 * 3_600);

/// Counts open connections, and how fast new ones come.
#[derive(Debug)]
pub(crate) struct Door {
    places: Mutex<Places>,
    limits: Limits,
    counters: Arc<Counters>,
}

#[derive(Debug)]
struct Places {
    all: usize,
    opening: usize,
    anonymous: usize,
    by_address: HashMap<IpAddr, Here>,
    connects: Bucket,
    /// Connections of load balancers that have not said yet whom they are from.
    unnamed: usize,
    unnamed_connects: Bucket,
    conduct: Recent<IpAddr, Conduct>,
}

/// Connections of one address.
#[derive(Debug, Default)]
struct Here {
    all: usize,
    opening: usize,
    anonymous: usize,
}

/// How one address behaved, also after its connections are gone.
#[derive(Debug, Default)]
struct Conduct {
    connects: Bucket,
    anonymous: Bucket,
    /// Requests of its anonymous clients.
    requests: Bucket,
    /// Somebody logged in from there; exclusive end of what that is good for.
    known_until: Option<Instant>,
}

/// A connection's place; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Admission {
    door: Arc<Door>,
    address: IpAddr,
    whose: Whose,
}

/// The place of a connection of a load balancer until it has said whom it is from; given back
/// when it is dropped.
#[derive(Debug)]
pub(crate) struct Unnamed(Arc<Door>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whose {
    NobodyKnows,
    Known,
    Anonymous,
}

/// Why an anonymous client is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Crowded {
    /// There is no place.
    Places,
    /// Its address sends them too fast.
    Rate,
}

impl Door {
    pub(crate) fn new(limits: Limits, counters: Arc<Counters>) -> Self {
        let places = Places {
            all: 0,
            opening: 0,
            anonymous: 0,
            by_address: HashMap::new(),
            connects: Bucket::default(),
            unnamed: 0,
            unnamed_connects: Bucket::default(),
            conduct: Recent::new(ADDRESSES),
        };
        Self {
            places: Mutex::new(places),
            limits,
            counters,
        }
    }

    /// A place for a connection that a load balancer has made for somebody: as many as there may
    /// be of which nobody knows yet whose they are, and as fast as any others.
    pub(crate) fn admit_unnamed(self: &Arc<Self>, now: Instant) -> Option<Unnamed> {
        let mut places = self.places.lock();
        if places.unnamed >= self.limits.opening
            || !places.unnamed_connects.take(self.limits.connects, 1, now)
        {
            return None;
        }
        places.unnamed += 1;
        Some(Unnamed(Arc::clone(self)))
    }

    /// A place for a connection from `address`, if there is one.
    pub(crate) fn admit(self: &Arc<Self>, address: IpAddr, now: Instant) -> Option<Admission> {
        let address = network(address);
        let admitted = self.places.lock().admit(address, &self.limits, now);
        if !admitted {
            self.counters.refused_connections.one();
            return None;
        }
        self.counters.connections.one();
        self.counters.open_connections.one();
        Some(Admission {
            door: Arc::clone(self),
            address,
            whose: Whose::NobodyKnows,
        })
    }
}

impl Places {
    fn admit(&mut self, address: IpAddr, limits: &Limits, now: Instant) -> bool {
        let (all, opening) = match self.by_address.get(&address) {
            Some(here) => (here.all, here.opening),
            None => (0, 0),
        };
        if self.all >= limits.connections
            || all >= limits.connections_per_address
            || self.opening >= limits.opening
            || opening >= limits.opening_per_address
        {
            return false;
        }
        let conduct = self.conduct.entry(address);
        if !conduct.connects.take(limits.connects_per_address, 1, now) {
            return false;
        }
        let reserve = match conduct.known_until {
            Some(until) if now < until => 0,
            _ => limits.connects.burst / 2,
        };
        if !self.connects.take_above(limits.connects, 1, reserve, now) {
            return false;
        }
        let here = self.by_address.entry(address).or_default();
        (here.all, here.opening) = (here.all + 1, here.opening + 1);
        (self.all, self.opening) = (self.all + 1, self.opening + 1);
        true
    }

    /// One of `address` is not opening any more.
    fn opened(&mut self, address: IpAddr) -> &mut Here {
        self.opening -= 1;
        let here = self.by_address.entry(address).or_default();
        here.opening -= 1;
        here
    }
}

impl Admission {
    /// Where the connection comes from: an address, or a network of the sixth version.
    pub(crate) fn address(&self) -> IpAddr {
        self.address
    }

    /// Somebody logged in.
    pub(crate) fn become_known(&mut self, now: Instant) {
        debug_assert_eq!(self.whose, Whose::NobodyKnows);
        let mut places = self.door.places.lock();
        places.opened(self.address);
        places.conduct.entry(self.address).known_until = Some(now + KNOWN);
        self.whose = Whose::Known;
    }

    /// Counts a request to the engine of a client without a login, if its address may make one.
    pub(crate) fn may_ask(&self, now: Instant) -> bool {
        let rate = self.door.limits.anonymous_engine_requests_per_address;
        let mut places = self.door.places.lock();
        let conduct = places.conduct.entry(self.address);
        conduct.requests.take(rate, 1, now)
    }

    /// Takes a place among the clients without a login.
    pub(crate) fn become_anonymous(&mut self, now: Instant) -> Result<(), Crowded> {
        debug_assert_eq!(self.whose, Whose::NobodyKnows);
        let limits = &self.door.limits;
        let mut places = self.door.places.lock();
        let here = places.by_address.entry(self.address).or_default().anonymous;
        if places.anonymous >= limits.anonymous_connections || here >= limits.anonymous_per_address
        {
            return Err(Crowded::Places);
        }
        let rate = limits.anonymous_connects_per_address;
        let conduct = places.conduct.entry(self.address);
        if !conduct.anonymous.take(rate, 1, now) {
            return Err(Crowded::Rate);
        }
        places.opened(self.address).anonymous += 1;
        places.anonymous += 1;
        self.whose = Whose::Anonymous;
        Ok(())
    }
}

impl Drop for Unnamed {
    fn drop(&mut self) {
        self.0.places.lock().unnamed -= 1;
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        let mut places = self.door.places.lock();
        places.all -= 1;
        match self.whose {
            Whose::NobodyKnows => drop(places.opened(self.address)),
            Whose::Known => {}
            Whose::Anonymous => places.anonymous -= 1,
        }
        if let Entry::Occupied(mut here) = places.by_address.entry(self.address) {
            let left = here.get_mut();
            left.all -= 1;
            left.anonymous -= usize::from(self.whose == Whose::Anonymous);
            if left.all == 0 {
                here.remove();
            }
        }
        self.door.counters.open_connections.one_less();
    }
}

/// Whose address it is: one for IPv4, the /64 that one subscriber usually has for IPv6.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let network = u128::from(address) >> 64 << 64;
            IpAddr::V6(Ipv6Addr::from(network))
        }
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rate::Rate;

    fn door(limits: Limits) -> Arc<Door> {
        Arc::new(Door::new(limits, Arc::default()))
    }

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const THERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

    #[test]
    fn places_are_bounded_per_address_and_given_back() {
        let now = Instant::now();
        let door = door(Limits {
            connections: 3,
            connections_per_address: 2,
            ..Limits::default()
        });
        let first = door.admit(HERE, now).unwrap();
        let _second = door.admit(HERE, now).unwrap();
        assert!(door.admit(HERE, now).is_none(), "two per address");
        let _third = door.admit(THERE, now).unwrap();
        assert!(door.admit(THERE, now).is_none(), "three in all");
        drop(first);
        assert!(door.admit(HERE, now).is_some());
        assert_eq!(door.places.lock().by_address.len(), 2);
    }

    #[test]
    fn one_network_of_the_sixth_version_counts_as_one_address() {
        let now = Instant::now();
        let door = door(Limits {
            connections_per_address: 1,
            ..Limits::default()
        });
        let _one = door.admit("2001:db8::1".parse().unwrap(), now).unwrap();
        assert!(door.admit("2001:db8::2".parse().unwrap(), now).is_none());
        assert!(
            door.admit("2001:db8:0:1::2".parse().unwrap(), now)
                .is_some()
        );
        assert_eq!(
            network("::ffff:192.0.2.1".parse().unwrap()),
            IpAddr::from([192, 0, 2, 1])
        );
    }

    #[test]
    fn anonymous_places_are_bounded_in_all_and_per_address() {
        let now = Instant::now();
        let door = door(Limits {
            anonymous_connections: 2,
            anonymous_per_address: 1,
            ..Limits::default()
        });
        let admit = |address| {
            let mut admission = door.admit(address, now).unwrap();
            let become_anonymous = admission.become_anonymous(now);
            become_anonymous.map(|()| admission)
        };
        let first = admit(HERE).unwrap();
        assert_eq!(admit(HERE).unwrap_err(), Crowded::Places);
        let _second = admit(THERE).unwrap();
        assert_eq!(
            admit([192, 0, 2, 3].into()).unwrap_err(),
            Crowded::Places,
            "two in all"
        );
        drop(first);
        admit(HERE).unwrap();
    }

    #[test]
    fn half_open_connections_have_places_of_their_own() {
        let now = Instant::now();
        let door = door(Limits {
            opening: 3,
            opening_per_address: 2,
            ..Limits::default()
        });
        let mut first = door.admit(HERE, now).unwrap();
        let _second = door.admit(HERE, now).unwrap();
        assert!(door.admit(HERE, now).is_none());
        let _third = door.admit(THERE, now).unwrap();
        assert!(door.admit(THERE, now).is_none());
        first.become_known(now);
        let _fourth = door.admit(HERE, now).unwrap();
        assert!(door.admit(THERE, now).is_none());
        drop((first, _second));
        assert!(door.admit(THERE, now).is_some());
    }

    #[test]
    fn an_address_that_connects_too_fast_is_slowed_and_others_are_not() {
        let now = Instant::now();
        let door = door(Limits {
            connects_per_address: Rate::new(10, 5),
            connects: Rate::new(1_000, 100),
            ..Limits::default()
        });
        let admitted = |address, now| {
            let admit = |_: &i32| door.admit(address, now).is_some();
            (0..100).filter(admit).count()
        };
        assert_eq!(admitted(HERE, now), 5);
        assert_eq!(admitted(THERE, now), 5);
        assert_eq!(admitted(HERE, now + Duration::from_millis(200)), 2);
    }

    #[test]
    fn strangers_leave_room_for_addresses_that_people_log_in_from() {
        let now = Instant::now();
        let door = door(Limits {
            connects: Rate::new(1, 10),
            ..Limits::default()
        });
        door.admit(HERE, now).unwrap().become_known(now);
        let stranger = |it: &u8| door.admit([198, 51, 100, *it].into(), now).is_some();
        assert_eq!((0..100).filter(stranger).count(), 4);
        let known = |_: &u8| door.admit(HERE, now).is_some();
        assert_eq!((0..100).filter(known).count(), 5);
    }

    #[test]
    fn addresses_without_number_take_a_bounded_memory() {
        let door = door(Limits {
            connects: Rate::new(u64::MAX, u64::MAX),
            ..Limits::default()
        });
        let now = Instant::now();
        for number in 0..200_000_u32 {
            drop(door.admit(IpAddr::from(number.to_be_bytes()), now).unwrap());
        }
        let places = door.places.lock();
        assert!(places.by_address.is_empty() && places.conduct.len() <= ADDRESSES);
    }
}
