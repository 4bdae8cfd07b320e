//! A gate with a hand-made access table and a clock that the test moves. For tests and fuzzers
//! alone: whatever does not work here panics, and says why.

pub mod authority;
pub mod packets;

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;
use tanglegate_broker::login::{Cost, make_verifier};
use tanglegate_broker::{
    AccessView, Clock, Gate, Limits, ListenerSettings, ManualClock, Rate, Safety, Settings,
    Statistics, StoreSettings,
};
use tanglegate_core::{
    Access, Acl, Address, Audience, Digest, Event, Nanos, Offer, OfferId, PaymentId, Position,
    Recorded, Rule, RuleId, SubscriberId, Tariff, Timestamp, TopicFilter, Username,
};

/// When a test begins.
pub const START: Timestamp = Timestamp(1_800_000_000_000);

/// Long enough for anything that has to happen, on a busy machine too.
pub const SOON: Duration = Duration::from_secs(10);
/// How long a test waits for what must not happen.
pub const NEVER: Duration = Duration::from_millis(150);

/// An instant so many milliseconds after the start.
pub fn after(millis: u64) -> Timestamp {
    START.plus_millis(millis)
}

/// A gate, and what a test moves it by.
pub struct Stage {
    /// The gate.
    pub gate: Gate,
    /// What it is told of rights.
    pub view: AccessView,
    /// Moves its clock.
    pub hand: ManualClock,
    /// The last event told.
    position: Position,
    rules: u8,
}

fn listener() -> ListenerSettings {
    ListenerSettings::new(([127, 0, 0, 1], 0).into())
}

/// A store that outlives the process.
pub fn stored_in(folder: &Path) -> StoreSettings {
    StoreSettings {
        folder: folder.join("sessions"),
        safety: Safety::System,
    }
}

impl Stage {
    /// A gate that is ready, in which nobody may do anything.
    pub async fn new() -> Self {
        Self::with(Limits::default()).await
    }

    /// The same, with other limits.
    pub async fn with(limits: Limits) -> Self {
        let stage = Self::not_ready(limits).await;
        stage.view.install(Acl::default());
        stage
    }

    /// A gate whose log was not replayed yet.
    ///
    /// The usual bounds on what comes from one address are lifted, unless the test has set them
    /// otherwise: here all clients come from the same one.
    pub async fn not_ready(limits: Limits) -> Self {
        Self::started(limits, vec![listener()], None, None).await
    }

    /// A gate that is ready and keeps what it has in a folder.
    pub async fn stored_in(folder: &Path) -> Self {
        Self::stored_with(Limits::default(), folder).await
    }

    /// The same, with other limits.
    pub async fn stored_with(limits: Limits, folder: &Path) -> Self {
        let store = Some(stored_in(folder));
        let stage = Self::started(limits, vec![listener()], None, store).await;
        stage.view.install(Acl::default());
        stage
    }

    /// A gate whose log was not replayed yet, and that publishes its statistics so often.
    pub async fn telling(limits: Limits, sys_interval: Option<Duration>) -> Self {
        Self::started(limits, vec![listener()], sys_interval, None).await
    }

    /// A gate that is ready, in which nobody may do anything, with these listeners.
    pub async fn listening(limits: Limits, listeners: Vec<ListenerSettings>) -> Self {
        let stage = Self::started(limits, listeners, None, None).await;
        stage.view.install(Acl::default());
        stage
    }

    async fn started(
        limits: Limits,
        listeners: Vec<ListenerSettings>,
        sys_interval: Option<Duration>,
        store: Option<StoreSettings>,
    ) -> Self {
        let limits = for_one_address(limits);
        let (clock, hand) = Clock::manual(START);
        let view = AccessView::new();
        let settings = Settings {
            listeners,
            limits,
            shards: 2,
            password_cost: Cost::LEAST,
            sys_interval,
            store,
        };
        let gate = Gate::start(settings, view.clone(), clock)
            .await
            .expect("a gate");
        Self {
            gate,
            view,
            hand,
            position: Position(0),
            rules: 0,
        }
    }

    /// Where it listens first.
    pub fn address(&self) -> SocketAddr {
        self.gate.local_addr()
    }

    /// What the gate has counted.
    pub fn statistics(&self) -> Statistics {
        self.gate.statistics()
    }

    /// Records an event.
    pub fn tell(&mut self, event: &Event) {
        self.position = self.position.next();
        let recorded = Recorded {
            position: self.position,
            recorded_at: START,
            event,
        };
        self.view.apply(&[recorded]);
    }

    /// Everybody may do that from now on.
    pub fn give_everyone(&mut self, text: &str, access: Access) -> RuleId {
        self.give(Audience::Everyone, text, access)
    }

    /// So many may do that from now on.
    pub fn give(&mut self, audience: Audience, text: &str, access: Access) -> RuleId {
        self.rules += 1;
        let id = RuleId([self.rules; 16]);
        let rule = Rule {
            id,
            audience,
            filter: filter(text),
            access,
        };
        self.tell(&Event::RuleGiven { rule });
        id
    }

    /// A login whose password is its name.
    pub fn register(&mut self, name: &str) -> SubscriberId {
        let mut id = [0; 16];
        id[..name.len()].copy_from_slice(name.as_bytes());
        let subscriber = SubscriberId(id);
        self.tell(&Event::SubscriberRegistered {
            subscriber,
            username: Username::parse(name).ok(),
            verifier: make_verifier(name.as_bytes(), id, Cost::LEAST).ok(),
            owner: None,
        });
        subscriber
    }

    /// Another password for a login.
    pub fn change_password(&mut self, subscriber: SubscriberId, password: &str) {
        let verifier = make_verifier(password.as_bytes(), [9; 16], Cost::LEAST);
        self.tell(&Event::PasswordChanged {
            subscriber,
            verifier: verifier.ok(),
        });
    }

    /// An offer of that filter.
    pub fn offer(&mut self, id: &str, text: &str) {
        let offer = Offer {
            id: OfferId::parse(id).expect("a name"),
            seller: Address([7; 32]),
            filter: filter(text),
            access: Access::Read,
            tariff: tariff(),
            valid_until: Timestamp::FOREVER,
        };
        self.tell(&Event::OfferPublished { offer });
    }

    /// A lease to read until so many milliseconds after the start.
    pub fn lease(&mut self, subscriber: SubscriberId, text: &str, millis: u64) {
        self.lease_of(Access::Read, subscriber, text, millis);
    }

    /// The same for any access.
    pub fn lease_of(&mut self, access: Access, subscriber: SubscriberId, text: &str, millis: u64) {
        self.tell(&Event::LeaseGranted {
            subscriber,
            filter: filter(text),
            access,
            from: START,
            until: after(millis),
            offer: OfferId::parse("plug-hour").expect("a name"),
            tariff: tariff(),
            payment: payment(),
        });
    }

    /// The same lease until later.
    pub fn extend(&mut self, subscriber: SubscriberId, text: &str, millis: u64) {
        self.tell(&Event::LeaseExtended {
            subscriber,
            filter: filter(text),
            access: Access::Read,
            from: START,
            until: after(millis),
            offer: OfferId::parse("plug-hour").expect("a name"),
            tariff: tariff(),
            payment: payment(),
        });
    }

    /// The lease is over at once.
    pub fn revoke(&mut self, subscriber: SubscriberId, text: &str) {
        self.tell(&Event::LeaseRevoked {
            subscriber,
            filter: filter(text),
            access: Access::Read,
            until: START,
        });
    }

    /// Waits until the counters are as they should be.
    pub async fn until(&self, what: &str, holds: impl Fn(&Statistics) -> bool) {
        let waiting = async {
            while !holds(&self.statistics()) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        if tokio::time::timeout(SOON, waiting).await.is_err() {
            panic!("never {what}: {:#?}", self.statistics());
        }
    }
}

fn for_one_address(mut limits: Limits) -> Limits {
    fn lift<T: PartialEq>(limit: &mut T, usual: T, lifted: T) {
        if *limit == usual {
            *limit = lifted;
        }
    }
    let (usual, any) = (Limits::default(), Rate::new(1_000_000, 1_000_000));
    lift(&mut limits.connects, usual.connects, any);
    lift(
        &mut limits.connects_per_address,
        usual.connects_per_address,
        any,
    );
    lift(
        &mut limits.anonymous_connects_per_address,
        usual.anonymous_connects_per_address,
        any,
    );
    let (all, here) = (limits.opening, usual.opening_per_address);
    lift(&mut limits.opening_per_address, here, all);
    let (all, here) = (limits.anonymous_connections, usual.anonymous_per_address);
    lift(&mut limits.anonymous_per_address, here, all);
    let anonymous = &mut limits.anonymous;
    lift(&mut anonymous.requests, usual.anonymous.requests, None);
    lift(
        &mut anonymous.request_bytes,
        usual.anonymous.request_bytes,
        None,
    );
    limits
}

/// A filter that is well-formed.
pub fn filter(text: &str) -> TopicFilter {
    TopicFilter::parse(text).expect("a filter")
}

fn tariff() -> Tariff {
    Tariff::new(Nanos(1), 3_600_000, Nanos(1)).expect("a tariff")
}

fn payment() -> PaymentId {
    PaymentId {
        digest: Digest([1; 32]),
        index: 0,
    }
}
