//! The gate's view of the access table, and who has to hear of its changes.

use crate::session::{Handle, Order};
use parking_lot::{Mutex, RwLock};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tanglegate_core::{
    Acl, Affected, Denied, Login, Offer, Permit, Position, Recorded, Rights, SubscriberId,
    Timestamp, TopicFilter, TopicName,
};
use tokio::sync::{mpsc, watch};

/// The access table as the gate asks it. Clones share one table.
///
/// It starts without a table and denies everything with [`Denied::NotReady`] until
/// [`AccessView::install`].
#[derive(Debug, Clone, Default)]
pub struct AccessView(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    table: RwLock<Table>,
    watching: Mutex<Watching>,
    /// Somebody is awaited: whoever comes back to a session has to be looked for.
    any_awaited: AtomicBool,
    /// True once there is a table.
    installed: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct Table {
    acl: Option<Acl>,
    /// The table is too old to give new permits from.
    stale: bool,
}

/// The sessions, those of clients who are away too.
#[derive(Debug, Default)]
struct Watching {
    known: HashMap<SubscriberId, Vec<Arc<Handle>>>,
    anonymous: HashMap<u64, Arc<Handle>>,
    /// Logins whose next arrival is told.
    awaited: HashSet<SubscriberId>,
    arrivals: Option<mpsc::UnboundedSender<SubscriberId>>,
}

impl Watching {
    /// He was let in.
    fn arrived(&mut self, subject: SubscriberId) {
        if self.awaited.remove(&subject)
            && let Some(arrivals) = &self.arrivals
        {
            // Whoever asked may have stopped listening.
            let _ = arrivals.send(subject);
        }
    }
}

impl AccessView {
    /// A view without a table: everything is denied.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the table, e.g. after the log was replayed, in the place of any other. It counts as
    /// fresh once every session has its rights from it; nothing is permitted before, so that no
    /// message passes by a session that may read it.
    pub fn install(&self, acl: Acl) {
        {
            let mut table = self.0.table.write();
            table.acl = Some(acl);
            table.stale = true;
        }
        self.tell([Affected::Everyone]);
        self.mark_fresh();
        self.0.installed.send_replace(true);
    }

    /// Returns once there is a table.
    pub(crate) async fn installed(&self) {
        let mut installed = self.0.installed.subscribe();
        // Cannot fail: the sender is here.
        let _ = installed.wait_for(|it| *it).await;
    }

    /// Folds new events into the table, then makes the sessions that they affect review what
    /// they may do, or end. When it returns, nothing is granted under the old table any more.
    /// Before [`AccessView::install`] it does nothing.
    ///
    /// # Panics
    /// When the events do not follow the table's position without a gap.
    pub fn apply(&self, events: &[Recorded<'_>]) {
        let affected: Vec<Affected> = {
            let mut table = self.0.table.write();
            let Some(acl) = &mut table.acl else {
                return;
            };
            events.iter().map(|it| acl.apply(*it)).collect()
        };
        self.tell(affected);
    }

    /// Where the arrivals of those come out whom somebody awaits, one for each time he does. Asked
    /// again, they come out of the newest place only.
    #[must_use = "arrivals that nobody takes are not told"]
    pub fn arrivals(&self) -> mpsc::UnboundedReceiver<SubscriberId> {
        let (arrivals, told) = mpsc::unbounded_channel();
        self.0.watching.lock().arrivals = Some(arrivals);
        told
    }

    /// Has the next CONNECT told with which he is let in, once, however often it is awaited. It
    /// costs 16 bytes and their place until then, or until [`AccessView::expect_no_more`].
    pub fn expect(&self, subject: SubscriberId) {
        let mut watching = self.0.watching.lock();
        watching.awaited.insert(subject);
        self.0.any_awaited.store(true, Ordering::Release);
    }

    /// Nobody awaits him any more.
    pub fn expect_no_more(&self, subject: SubscriberId) {
        let mut watching = self.0.watching.lock();
        watching.awaited.remove(&subject);
        let any = !watching.awaited.is_empty();
        self.0.any_awaited.store(any, Ordering::Release);
    }

    /// The table is too old to be trusted, e.g. because the database cannot be reached: nobody
    /// can connect, subscribe, or publish on a topic he has not published on in this connection.
    /// What runs, runs on to its own end.
    pub fn mark_stale(&self) {
        self.0.table.write().stale = true;
    }

    /// The table is up to date again.
    pub fn mark_fresh(&self) {
        self.0.table.write().stale = false;
    }

    /// The last event in the table; `None` without a table.
    #[must_use]
    pub fn as_of(&self) -> Option<Position> {
        self.0.table.read().acl.as_ref().map(Acl::as_of)
    }

    /// What it takes to check a login; `None` when there is none of that name.
    ///
    /// # Errors
    /// [`Denied::NotReady`] without a fresh table.
    pub(crate) fn login(&self, username: &str) -> Result<Option<Login>, Denied> {
        self.ask(|acl| Ok(acl.login(username)))
    }

    /// May the client be connected?
    pub(crate) fn permit_connect(&self, subject: Option<SubscriberId>) -> Result<(), Denied> {
        self.ask(|acl| acl.permit_connect(subject))
    }

    /// May he subscribe?
    pub(crate) fn permit_subscribe(
        &self,
        subject: Option<SubscriberId>,
        filter: &TopicFilter,
        now: Timestamp,
    ) -> Result<Permit, Denied> {
        self.ask(|acl| acl.permit_subscribe(subject, filter, now))
    }

    /// May he publish?
    pub(crate) fn permit_publish(
        &self,
        subject: Option<SubscriberId>,
        topic: &TopicName,
        now: Timestamp,
    ) -> Result<Permit, Denied> {
        self.ask(|acl| acl.permit_publish(subject, topic, now))
    }

    /// May a message on `topic` be handed to him? Also from a stale table, as it is done when
    /// messages are handed over.
    pub(crate) fn permit_deliver(
        &self,
        subject: Option<SubscriberId>,
        topic: &TopicName,
        now: Timestamp,
    ) -> Result<Permit, Denied> {
        let table = self.0.table.read();
        let acl = table.acl.as_ref().ok_or(Denied::NotReady)?;
        acl.permit_deliver(subject, topic, now)
    }

    /// Whose login it is, also from a stale table; `None` without one of that name.
    pub(crate) fn subscriber(&self, username: &str) -> Option<SubscriberId> {
        let table = self.0.table.read();
        let login = table.acl.as_ref()?.login(username);
        login.map(|it| it.subscriber)
    }

    /// What is sold, by name; some of it may have ended. Nothing without a table.
    #[must_use]
    pub fn offers(&self) -> Vec<Offer> {
        let table = self.0.table.read();
        let offers = table.acl.iter().flat_map(Acl::offers);
        offers.cloned().collect()
    }

    /// True while there is no table that is up to date.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        let table = self.0.table.read();
        table.stale || table.acl.is_none()
    }

    /// All his rights, also from a stale table: they carry their own ends.
    pub(crate) fn rights(&self, subject: Option<SubscriberId>) -> Rights {
        let table = self.0.table.read();
        match &table.acl {
            Some(acl) => acl.rights(subject),
            None => Rights::none(),
        }
    }

    fn ask<T>(&self, question: impl FnOnce(&Acl) -> Result<T, Denied>) -> Result<T, Denied> {
        let table = self.0.table.read();
        match &table.acl {
            Some(acl) if !table.stale => question(acl),
            _ => Err(Denied::NotReady),
        }
    }

    /// From now on the session hears of changes. It is brought up to date at once, so that
    /// nothing is missed that happened since it was permitted.
    pub(crate) fn watch(&self, handle: &Arc<Handle>) {
        self.enter(handle);
    }

    /// The same of a session whose client is let in.
    pub(crate) fn let_in(&self, handle: &Arc<Handle>) {
        if self.enter(handle) {
            self.arrived(handle.subject);
        }
    }

    /// The client has come back to a session that was watched all the time. That is brought up to
    /// date: the table may have changed since the login was checked.
    pub(crate) fn came_back(&self, handle: &Handle) {
        if self.review(handle) {
            self.arrived(handle.subject);
        }
    }

    /// True when its connection goes on.
    fn enter(&self, handle: &Arc<Handle>) -> bool {
        {
            let mut watching = self.0.watching.lock();
            let handle = Arc::clone(handle);
            match handle.subject {
                Some(subject) => watching.known.entry(subject).or_default().push(handle),
                None => drop(watching.anonymous.insert(handle.session, handle)),
            }
        }
        self.review(handle)
    }

    /// He was let in, and the table as it is now lets him stay: a login that was checked against
    /// a password which has changed meanwhile is no arrival.
    fn arrived(&self, subject: Option<SubscriberId>) {
        if let Some(subject) = subject
            && self.0.any_awaited.load(Ordering::Acquire)
        {
            self.0.watching.lock().arrived(subject);
        }
    }

    /// The session is over.
    pub(crate) fn unwatch(&self, handle: &Handle) {
        let mut watching = self.0.watching.lock();
        let Some(subject) = handle.subject else {
            watching.anonymous.remove(&handle.session);
            return;
        };
        if let Some(handles) = watching.known.get_mut(&subject) {
            handles.retain(|it| it.session != handle.session);
            if handles.is_empty() {
                watching.known.remove(&subject);
            }
        }
    }

    fn tell(&self, affected: impl IntoIterator<Item = Affected>) {
        let mut subjects = BTreeSet::new();
        let mut everyone = false;
        for affected in affected {
            match affected {
                Affected::Nobody => {}
                Affected::Subscriber(subject) => drop(subjects.insert(subject)),
                Affected::Everyone => everyone = true,
            }
        }
        let handles = if everyone {
            self.sessions()
        } else {
            let watching = self.0.watching.lock();
            let affected = subjects.iter().filter_map(|it| watching.known.get(it));
            affected.flatten().cloned().collect()
        };
        for handle in handles {
            self.review(&handle);
        }
    }

    /// Gives a session its present rights, and ends a connection that must not serve it. The
    /// table stays locked meanwhile, so that a session never falls back to rights that were read
    /// before the last change. True when the connection goes on.
    fn review(&self, handle: &Handle) -> bool {
        let table = self.0.table.read();
        let Some(acl) = &table.acl else {
            return handle.set_rights(Rights::none(), |_| None);
        };
        if acl.permit_connect(handle.subject).is_err() {
            return handle.set_rights(Rights::none(), |_| Some(Order::Suspended));
        }
        // With another password its owner may come back to the session.
        let password_set_at = handle.subject.map(|it| acl.password_set_at(it));
        let verdict = |login: Option<Position>| match password_set_at {
            Some(position) if position != login => Some(Order::PasswordChanged),
            _ => None,
        };
        handle.set_rights(acl.rights(handle.subject), verdict)
    }

    /// All sessions.
    pub(crate) fn sessions(&self) -> Vec<Arc<Handle>> {
        let watching = self.0.watching.lock();
        let known = watching.known.values().flatten();
        known.chain(watching.anonymous.values()).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_login_with_the_password_of_now_is_an_arrival() {
        use tanglegate_core::Event;
        let ana = SubscriberId([1; 16]);
        let events = [
            Event::SubscriberRegistered {
                subscriber: ana,
                username: None,
                verifier: None,
                owner: None,
            },
            Event::PasswordChanged {
                subscriber: ana,
                verifier: None,
            },
        ];
        let view = AccessView::new();
        view.install(Acl::default());
        for (event, position) in events.iter().zip(1..) {
            view.apply(&[Recorded {
                position: Position(position),
                recorded_at: Timestamp(1),
                event,
            }]);
        }
        let mut arrivals = view.arrivals();
        view.expect(ana);
        let logged_in = |session, password_set_at| {
            let mut handle = Handle::numbered(session);
            handle.subject = Some(ana);
            let task = std::task::Waker::noop().clone();
            handle.connect(Some(Position(password_set_at)), task);
            Arc::new(handle)
        };
        let old = logged_in(1, 1);
        view.let_in(&old);
        view.came_back(&old);
        assert!(arrivals.try_recv().is_err(), "the password had changed");
        let new = logged_in(2, 2);
        view.let_in(&new);
        assert_eq!(arrivals.try_recv(), Ok(ana));
        view.expect(ana);
        view.came_back(&new);
        assert_eq!(arrivals.try_recv(), Ok(ana));
    }

    #[test]
    fn nothing_is_permitted_before_every_session_has_its_rights() {
        let view = AccessView::new();
        let handles: Vec<_> = (0..2_000)
            .map(|it| Arc::new(Handle::numbered(it)))
            .collect();
        handles.iter().for_each(|it| view.watch(it));
        let version = |it: &Arc<Handle>| it.outbox.rights_version();
        let before: Vec<u64> = handles.iter().map(version).collect();
        std::thread::scope(|scope| {
            scope.spawn(|| view.install(Acl::default()));
            while view.permit_connect(None) == Err(Denied::NotReady) {
                std::hint::spin_loop();
            }
            let untold = handles.iter().zip(&before);
            let untold = untold.filter(|(it, before)| version(it) == **before);
            assert_eq!(untold.count(), 0);
        });
    }
}
