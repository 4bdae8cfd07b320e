//! What happened, as stretches and instants on lanes.

use super::Told;
use crate::event_log::describe;
use std::collections::BTreeMap;
use tanglegate_core::{Access, Audience, Event, Nanos, PaymentId, RuleId, Timestamp, TopicFilter};

/// Why a stretch ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// Its time was over.
    Natural,
    /// It was taken away before.
    Cut,
    /// It has none.
    Open,
}

/// A right, from an instant to an exclusive end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stretch {
    pub(super) from: Timestamp,
    pub(super) until: Timestamp,
    pub(super) end: End,
    /// A payment made a running right longer.
    pub(super) extends: bool,
    /// What stands on it.
    pub(super) label: String,
    /// The event that began it, and the one that cut it.
    pub(super) event: u64,
    pub(super) cut_by: Option<u64>,
}

/// The rights on one filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Lane {
    pub(super) filter: TopicFilter,
    pub(super) access: Access,
    /// Rules give; leases are bought.
    pub(super) by_rule: bool,
    pub(super) stretches: Vec<Stretch>,
}

/// Something at an instant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Point {
    pub(super) at: Timestamp,
    pub(super) event: u64,
    /// A few letters beside it; may be left out where there is no room.
    pub(super) label: String,
    /// All of it.
    pub(super) title: String,
    /// Booked, of a payment.
    pub(super) well: bool,
}

/// Everything, sorted by what it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Lanes {
    pub(super) registered: Option<Timestamp>,
    pub(super) erased: Option<(Timestamp, u64)>,
    /// While nothing was allowed: from, exclusive end, and the event that began it.
    pub(super) suspended: Vec<(Timestamp, Timestamp, u64)>,
    pub(super) passwords: Vec<Point>,
    pub(super) payments: Vec<Point>,
    /// What he was told about them, sealed.
    pub(super) announced: Vec<Point>,
    pub(super) paid: u128,
    pub(super) rights: Vec<Lane>,
}

/// A lane: rights by payment, or by rule.
type Place = (bool, String, &'static str);

#[derive(Default)]
struct Sorting {
    lanes: Lanes,
    rights: BTreeMap<Place, Lane>,
    /// Where a rule is drawn, and the event that gave it.
    rules: BTreeMap<RuleId, (Place, u64)>,
    payments: BTreeMap<PaymentId, usize>,
}

/// Sorts events, oldest first.
pub(super) fn lanes(told: &[Told]) -> Lanes {
    let mut sorting = Sorting::default();
    for it in told {
        sorting.add(it);
    }
    sorting.lanes.rights = sorting.rights.into_values().collect();
    sorting.lanes
}

impl Sorting {
    fn add(&mut self, told: &Told) {
        let (at, position) = (told.at, told.link.position);
        match &told.event {
            Event::SubscriberRegistered { .. } => self.lanes.registered = Some(at),
            Event::PasswordChanged { .. } => self.lanes.passwords.push(Point {
                at,
                event: position,
                label: "password".to_owned(),
                title: "new password".to_owned(),
                well: true,
            }),
            Event::UsernameChanged { .. } => self.lanes.passwords.push(Point {
                at,
                event: position,
                label: "name".to_owned(),
                title: "another name".to_owned(),
                well: true,
            }),
            Event::SubscriberSuspended { .. } => {
                self.lanes
                    .suspended
                    .push((at, Timestamp::FOREVER, position));
            }
            Event::SubscriberReinstated { .. } => self.end_suspension(at),
            Event::SubscriberErased { .. } => {
                self.end_suspension(at);
                self.lanes.erased = Some((at, position));
                self.cut_all(at, position);
            }
            Event::LeaseGranted { .. }
            | Event::LeaseExtended { .. }
            | Event::LeaseRevoked { .. }
            | Event::RuleGiven { .. }
            | Event::RuleRemoved { .. } => self.right(told),
            Event::AnswerAnnounced { .. } => self.lanes.announced.push(Point {
                at,
                event: position,
                label: String::new(),
                title: describe(&told.event),
                well: true,
            }),
            _ => self.payment(told),
        }
    }

    fn end_suspension(&mut self, at: Timestamp) {
        if let Some(last) = self.lanes.suspended.last_mut() {
            last.1 = last.1.min(at);
        }
    }

    fn right(&mut self, told: &Told) {
        let (at, event) = (told.at, told.link.position);
        match &told.event {
            Event::LeaseGranted {
                filter,
                access,
                from,
                until,
                offer,
                ..
            }
            | Event::LeaseExtended {
                filter,
                access,
                from,
                until,
                offer,
                ..
            } => {
                let extends = matches!(told.event, Event::LeaseExtended { .. });
                self.lane(filter, *access, false).stretches.push(Stretch {
                    from: *from,
                    until: *until,
                    end: End::Natural,
                    extends,
                    label: offer.to_string(),
                    event,
                    cut_by: None,
                });
            }
            Event::LeaseRevoked {
                filter,
                access,
                until,
                ..
            } => cut(self.lane(filter, *access, false), *until, event, |_| true),
            Event::RuleGiven { rule } => {
                let place = place(&rule.filter, rule.access, true);
                self.rules.insert(rule.id, (place, event));
                let label = match rule.audience {
                    Audience::Everyone => "rule for everyone",
                    Audience::Subscriber(_) => "rule",
                };
                let lane = self.lane(&rule.filter, rule.access, true);
                lane.stretches.push(Stretch {
                    from: at,
                    until: Timestamp::FOREVER,
                    end: End::Open,
                    extends: false,
                    label: label.to_owned(),
                    event,
                    cut_by: None,
                });
            }
            Event::RuleRemoved { rule } => {
                let Some((place, given)) = self.rules.get(rule) else {
                    return;
                };
                if let Some(lane) = self.rights.get_mut(place) {
                    cut(lane, at, event, |it| it.event == *given);
                }
            }
            _ => {}
        }
    }

    fn lane(&mut self, filter: &TopicFilter, access: Access, by_rule: bool) -> &mut Lane {
        let fresh = || Lane {
            filter: filter.clone(),
            access,
            by_rule,
            stretches: Vec::new(),
        };
        let place = place(filter, access, by_rule);
        self.rights.entry(place).or_insert_with(fresh)
    }

    fn cut_all(&mut self, at: Timestamp, event: u64) {
        self.rights
            .values_mut()
            .for_each(|lane| cut(lane, at, event, |_| true));
    }

    fn payment(&mut self, told: &Told) {
        let event = told.link.position;
        match &told.event {
            Event::PaymentConfirmed { confirmation } => {
                let Nanos(amount) = confirmation.amount;
                self.lanes.paid += u128::from(amount);
                let number = self.lanes.payments.len();
                self.payments.insert(confirmation.payment, number);
                self.lanes.payments.push(Point {
                    at: told.at,
                    event,
                    label: confirmation.amount.to_string(),
                    title: format!(
                        "{}\nledger transaction {}",
                        describe(&told.event),
                        confirmation.payment.digest
                    ),
                    well: false,
                });
            }
            Event::PaymentApplied { payment, .. } | Event::PaymentUnmatched { payment, .. } => {
                let applied = matches!(told.event, Event::PaymentApplied { .. });
                if let Some(number) = self.payments.get(payment) {
                    let point = &mut self.lanes.payments[*number];
                    point.well = applied;
                    point.title.push('\n');
                    point.title.push_str(&describe(&told.event));
                }
            }
            _ => {}
        }
    }
}

fn place(filter: &TopicFilter, access: Access, by_rule: bool) -> Place {
    (by_rule, filter.to_string(), access.as_str())
}

/// Takes away what is left of some of a lane's rights after `at`.
fn cut(lane: &mut Lane, at: Timestamp, event: u64, which: impl Fn(&Stretch) -> bool) {
    lane.stretches.retain(|it| it.from < at || !which(it));
    let ours = lane.stretches.iter_mut().filter(|it| which(it));
    for stretch in ours.filter(|it| it.until > at) {
        (stretch.until, stretch.end, stretch.cut_by) = (at, End::Cut, Some(event));
    }
}

/// From the first event to the last, or to the end of the last lease, with a little room; what is
/// without end counts as far as now.
pub(super) fn extent(told: &[Told], now: Timestamp) -> (Timestamp, Timestamp) {
    let lanes = lanes(told);
    // Rules for everyone may be much older than he is.
    let born = lanes.registered.or(told.first().map(|it| it.at));
    let from = born.unwrap_or(now);
    let leases = lanes.rights.iter().filter(|it| !it.by_rule);
    let ends = leases.flat_map(|it| it.stretches.iter().map(|it| it.until));
    let last = told.iter().map(|it| it.at).chain(ends).max().unwrap_or(now);
    let suspended = lanes.suspended.iter().any(|it| it.1 == Timestamp::FOREVER);
    let last = if suspended { last.max(now) } else { last };
    let room = (last.millis_since(from) / 20).max(1_000);
    let from = Timestamp(from.0.saturating_sub(room));
    (from, last.plus_millis(room))
}

/// While a lane gave no right, between two instants.
pub(super) fn gaps(lane: &Lane, from: Timestamp, to: Timestamp) -> Vec<(Timestamp, Timestamp)> {
    let mut gaps = Vec::new();
    let mut had = from;
    for stretch in &lane.stretches {
        if stretch.from > had {
            gaps.push((had, stretch.from.min(to)));
        }
        had = had.max(stretch.until);
    }
    gaps.push((had, to));
    gaps.retain(|(start, end)| start < end);
    gaps
}
