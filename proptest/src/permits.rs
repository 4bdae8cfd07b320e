//! What the gate's table permits, held against the projected rows.

use crate::broken::{ensure, ensure_same};
use crate::{Auditor, Broken, Entry, Tables, names, topics};
use tanglegate_core::{
    Access, AccessRow, Acl, Action, Affected, Denied, OfferId, Permit, Position, Right,
    SubscriberId, Timestamp, TopicFilter, TopicName,
};

/// What a session of one subject lives under.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Standing {
    subject: Option<SubscriberId>,
    may_connect: bool,
    password_set_at: Option<Position>,
    rights: Vec<Right>,
}

/// Everybody there could be, the anonymous client first.
fn subjects() -> impl Iterator<Item = Option<SubscriberId>> {
    [None].into_iter().chain(names::subscribers().map(Some))
}

pub(crate) fn standings(acl: &Acl) -> Vec<Standing> {
    let standing = |subject: Option<SubscriberId>| Standing {
        subject,
        may_connect: acl.permit_connect(subject).is_ok(),
        password_set_at: subject.and_then(|it| acl.password_set_at(it)),
        rights: acl.rights(subject).iter().cloned().collect(),
    };
    subjects().map(standing).collect()
}

/// Whose standing has changed is told, and where one subscriber is told, nobody else's has.
pub(crate) fn check_affected(
    affected: Affected,
    before: &[Standing],
    after: &[Standing],
    entry: &Entry,
) -> Result<(), Broken> {
    for (before, after) in before.iter().zip(after) {
        let told = match affected {
            Affected::Nobody => false,
            Affected::Everyone => true,
            Affected::Subscriber(it) => after.subject == Some(it),
        };
        ensure!(
            told || before == after,
            "{:?} changed what {:?} may do, and told {affected:?}",
            entry.event,
            after.subject
        );
    }
    Ok(())
}

/// Asks `acl` everything at `now`, which must not be before the last event.
pub(crate) fn check(
    acl: &Acl,
    tables: &Tables,
    auditor: &Auditor,
    now: Timestamp,
) -> Result<(), Broken> {
    check_logins(acl, tables, auditor)?;
    let mut strangers = names::subscribers().filter(|it| !tables.subscribers.contains_key(it));
    let subjects = tables.subscribers.keys().copied().chain(strangers.next());
    for subject in [None].into_iter().chain(subjects.map(Some)) {
        let asked = Asked {
            acl,
            tables,
            subject,
            now,
        };
        asked.check_connect()?;
        asked.check_rights()?;
        for topic in names::topics() {
            asked.check_topic(topic)?;
        }
        for filter in names::filters() {
            asked.check_subscribe(&filter)?;
        }
    }
    Ok(())
}

fn check_logins(acl: &Acl, tables: &Tables, auditor: &Auditor) -> Result<(), Broken> {
    for username in names::usernames() {
        let row = tables
            .subscribers
            .values()
            .find(|it| it.username.as_ref() == Some(&username));
        let expected = row.and_then(|it| {
            let (verifier, position) = auditor.password(it.subscriber)?;
            Some((it.subscriber, verifier.clone(), *position))
        });
        let login = acl.login(username.as_str());
        let login = login.map(|it| (it.subscriber, it.verifier, it.password_set_at));
        ensure_same!(login, expected, "the login of '{username}'");
    }
    ensure!(acl.login("nobody").is_none(), "nobody can log in");
    Ok(())
}

/// One subject at one instant.
struct Asked<'a> {
    acl: &'a Acl,
    tables: &'a Tables,
    subject: Option<SubscriberId>,
    now: Timestamp,
}

impl<'a> Asked<'a> {
    fn is_open(&self) -> bool {
        self.subject.is_none_or(|it| self.tables.is_open(it))
    }

    /// The rows that give the subject anything.
    fn rows(&self) -> impl Iterator<Item = &'a AccessRow> {
        let (subject, is_open) = (self.subject, self.is_open());
        let holds = move |it: &&AccessRow| it.holder.is_none() || it.holder == subject;
        self.tables.access().filter(move |it| is_open && holds(it))
    }

    fn check_connect(&self) -> Result<(), Broken> {
        let expected = if self.is_open() {
            Ok(())
        } else {
            Err(Denied::Suspended)
        };
        let subject = self.subject;
        ensure_same!(
            self.acl.permit_connect(subject),
            expected,
            "may {subject:?} connect"
        );
        Ok(())
    }

    fn check_rights(&self) -> Result<(), Broken> {
        let (subject, now) = (self.subject, self.now);
        let rights = self.acl.rights(subject);
        let ends = self.rows().map(|it| it.until);
        let next = ends
            .filter(|it| now < *it && *it < Timestamp::FOREVER)
            .min();
        ensure_same!(rights.next_end(now), next, "the next end for {subject:?}");
        ensure_same!(
            rights.iter().count(),
            self.rows().count(),
            "the number of rights of {subject:?}"
        );
        Ok(())
    }

    fn check_topic(&self, topic: &TopicName) -> Result<(), Broken> {
        let (acl, subject, now) = (self.acl, self.subject, self.now);
        let matches = |it: &TopicFilter| topics::matches(it.as_str(), topic.as_str());
        let delivered = acl.permit_deliver(subject, topic, now);
        let published = acl.permit_publish(subject, topic, now);
        let rights = acl.rights(subject);
        for (action, answer) in [(Action::Read, &delivered), (Action::Write, &published)] {
            self.check_answer(action, topic.as_str(), answer, &matches)?;
            let found = rights.find(action, topic.as_str(), now);
            ensure_same!(
                found.map(|it| it.until()),
                answer.as_ref().ok().map(Permit::until),
                "the right of {subject:?} to {action:?} {} at {now}",
                topic.as_str()
            );
        }
        let ends = self
            .rows()
            .filter(|it| allows(it, Action::Read) && matches(&it.filter));
        ensure_same!(
            rights.read_until(topic.as_str()),
            ends.map(|it| it.until).max(),
            "how long {subject:?} reads {}",
            topic.as_str()
        );
        Ok(())
    }

    fn check_subscribe(&self, filter: &TopicFilter) -> Result<(), Broken> {
        let answer = self.acl.permit_subscribe(self.subject, filter, self.now);
        // What overlapping means is held against an oracle of its own in tests/topics.rs.
        let overlaps = |it: &TopicFilter| it.overlaps(filter);
        self.check_answer(Action::Read, filter.as_str(), &answer, &overlaps)
    }

    fn check_answer(
        &self,
        action: Action,
        wanted: &str,
        answer: &Result<Permit, Denied>,
        fits: &impl Fn(&TopicFilter) -> bool,
    ) -> Result<(), Broken> {
        let (subject, now) = (self.subject, self.now);
        let rows = || {
            let rows = self.rows();
            rows.filter(|it| allows(it, action) && fits(&it.filter))
        };
        let longest = rows().map(|it| it.until).max();
        let what = || format!("may {subject:?} {action:?} {wanted} at {now}");
        match answer {
            Ok(permit) => {
                ensure_same!(Some(permit.until()), longest, "{}: until", what());
                ensure!(
                    now < permit.until(),
                    "{}: yes, by a right that is over",
                    what()
                );
                ensure_same!(permit.subject(), subject, "{}: who", what());
                let by = |it: &AccessRow| {
                    it.until == permit.until()
                        && it.filter == *permit.filter()
                        && it.access == permit.access()
                };
                ensure!(rows().any(by), "{}: yes, by {permit:?}, of no row", what());
            }
            Err(denied) => {
                let over = longest.is_none_or(|it| it <= now);
                ensure!(
                    over,
                    "{}: no, {denied}; but a row lasts to {longest:?}",
                    what()
                );
                self.check_denied(action, wanted, denied, longest, fits)?;
            }
        }
        Ok(())
    }

    /// The reason is the true one, and the advice names exactly what is on sale.
    fn check_denied(
        &self,
        action: Action,
        wanted: &str,
        denied: &Denied,
        longest: Option<Timestamp>,
        fits: &impl Fn(&TopicFilter) -> bool,
    ) -> Result<(), Broken> {
        let what = || format!("why not {action:?} {wanted} for {:?}", self.subject);
        let offers = self.tables.offers.values();
        let on_sale = offers.filter(|it| {
            let right = suffices(it.access, action) && fits(&it.filter);
            right && !it.withdrawn && self.now < it.valid_until
        });
        let on_sale: Vec<OfferId> = on_sale.map(|it| it.offer.clone()).collect();
        if !self.is_open() {
            ensure_same!(*denied, Denied::Suspended, "{}", what());
            return Ok(());
        }
        let expected = match (denied, longest) {
            (Denied::Ended { filter, .. }, Some(at)) => {
                let ended = |it: &AccessRow| it.until == at && it.filter == *filter;
                ensure!(self.rows().any(ended), "{}: {denied}", what());
                Denied::Ended {
                    action,
                    filter: filter.clone(),
                    at,
                    offers: on_sale,
                }
            }
            _ => Denied::NoRight {
                action,
                topic: wanted.to_owned(),
                offers: on_sale,
            },
        };
        ensure_same!(*denied, expected, "{}", what());
        ensure_same!(
            longest.is_none(),
            matches!(denied, Denied::NoRight { .. }),
            "{}: was there a right",
            what()
        );
        Ok(())
    }
}

fn allows(row: &AccessRow, action: Action) -> bool {
    suffices(row.access, action)
}

/// Said here once more, so that the table is not asked about itself.
fn suffices(access: Access, action: Action) -> bool {
    match action {
        Action::Read => access != Access::Write,
        Action::Write => access != Access::Read,
    }
}
