//! Permits among very many leases: time and memory.

use std::time::Instant;
use tanglegate_core::{
    Access, Acl, Address, Digest, Event, Nanos, Offer, OfferId, PasswordVerifier, PaymentId,
    Position, Recorded, SubscriberId, Tariff, Timestamp, TopicFilter, TopicName, Username,
};

/// An instant for events that no clock has to see.
const LONG_AGO: Timestamp = Timestamp(1);
/// Permits that are asked for at most.
const ASKED: usize = 2_000_000;
/// Offers that the leases are of.
const OFFERS: usize = 100;

/// Fills a table with `leases` leases, one for each of as many subscribers, and asks it.
pub(super) fn measure(leases: usize) -> anyhow::Result<String> {
    let mut table = Table::default();
    let empty = resident();
    table.register(leases)?;
    let registered = resident();
    table.lease(leases)?;
    let leased = resident();
    let topics: Vec<_> = (0..OFFERS)
        .map(|it| TopicName::parse(&format!("plug/{it}/power")))
        .collect::<Result<_, _>>()?;
    let asked = leases.saturating_mul(10).clamp(1, ASKED);
    let (mut number, mut permitted, begun) = (1_usize, 0_usize, Instant::now());
    for _ in 0..asked {
        // Far apart in memory, as buyers are.
        number = number
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let who = (number >> 20) % leases.max(1);
        let topic = &topics[who % OFFERS];
        let permit = table
            .acl
            .permit_deliver(Some(subscriber(who)), topic, LONG_AGO);
        permitted += usize::from(permit.is_ok());
    }
    let nanos = begun.elapsed().as_nanos() / asked as u128;
    anyhow::ensure!(
        permitted == asked,
        "{permitted} of {asked} permits were given"
    );
    let each = |from: Option<u64>, to: Option<u64>| match (from, to) {
        (Some(from), Some(to)) => (to.saturating_sub(from) / leases.max(1) as u64).to_string(),
        _ => "unknown".to_owned(),
    };
    Ok(format!(
        "{leases} leases: {nanos} ns per permit (budget 250), {} bytes per lease (budget 300), \
         {} per login\n",
        each(registered, leased),
        each(empty, registered),
    ))
}

/// A table that is being filled.
#[derive(Default)]
struct Table {
    acl: Acl,
    position: Position,
    offers: Vec<Offer>,
}

impl Table {
    fn tell(&mut self, event: &Event) {
        self.position = self.position.next();
        self.acl.apply(Recorded {
            position: self.position,
            recorded_at: LONG_AGO,
            event,
        });
    }

    /// Puts offers up and registers `count` subscribers.
    fn register(&mut self, count: usize) -> anyhow::Result<()> {
        for number in 0..OFFERS {
            let offer = Offer {
                id: OfferId::parse(&format!("plug-{number}"))?,
                seller: Address([0; 32]),
                filter: TopicFilter::parse(&format!("plug/{number}/#"))?,
                access: Access::Read,
                tariff: Tariff::new(Nanos(1), 1, Nanos(1))?,
                valid_until: Timestamp::FOREVER,
            };
            self.tell(&Event::OfferPublished {
                offer: offer.clone(),
            });
            self.offers.push(offer);
        }
        for number in 0..count {
            self.tell(&Event::SubscriberRegistered {
                subscriber: subscriber(number),
                username: Some(Username::parse(&format!("buyer-{number}"))?),
                verifier: Some(PasswordVerifier {
                    memory_kib: 8,
                    passes: 1,
                    lanes: 1,
                    salt: [0; 16],
                    tag: [0; 32],
                }),
                owner: None,
            });
        }
        Ok(())
    }

    /// Leases each of them something. The texts are new ones, as they come from a log.
    fn lease(&mut self, count: usize) -> anyhow::Result<()> {
        for number in 0..count {
            let offer = &self.offers[number % OFFERS];
            let event = Event::LeaseGranted {
                subscriber: subscriber(number),
                filter: TopicFilter::parse(offer.filter.as_str())?,
                access: Access::Read,
                from: LONG_AGO,
                until: Timestamp(2 + number as u64),
                offer: OfferId::parse(offer.id.as_str())?,
                tariff: offer.tariff,
                payment: PaymentId {
                    digest: Digest([0; 32]),
                    index: 0,
                },
            };
            self.tell(&event);
        }
        Ok(())
    }
}

fn subscriber(number: usize) -> SubscriberId {
    let mut id = [0; 16];
    id[..8].copy_from_slice(
        &(number as u64)
            .wrapping_mul(0x9E37_79B9_7F4A_7C15)
            .to_le_bytes(),
    );
    SubscriberId(id)
}

/// Resident memory of this process in bytes, where the system tells.
fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|it| it.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib * 1_024)
}
