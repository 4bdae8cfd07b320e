//! The gate's side of a measurement: a process with nothing but a gate and an access table.

use super::scene::{COSTLY_PASSWORD, Login, Right, Scene};
use super::server::announce;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tanglegate_broker::login::{Cost, make_verifier};
use tanglegate_broker::{
    AccessView, ClientLimits, Clock, Gate, Limits, Rate, Safety, Settings, StoreSettings,
};
use tanglegate_core::{
    Acl, Audience, Digest, Event, Nanos, OfferId, PasswordVerifier, PaymentId, Position, Recorded,
    Rule, RuleId, SubscriberId, Tariff, Timestamp, TopicFilter, Username,
};

/// Time for clients to go when the gate ends.
const PATIENCE: Duration = Duration::from_secs(2);

/// Serves a gate with the logins and rights of a file, on a free port of this machine, which it
/// prints. With a `store` it keeps sessions and messages there, so safely. Ends when its standard input does, so that it never outlives who started it.
///
/// # Errors
/// When the file cannot be read, or the gate not started.
pub async fn serve(scene: &Path, store: Option<(PathBuf, Safety)>) -> anyhow::Result<()> {
    let scene = Scene::parse(&std::fs::read_to_string(scene)?)?;
    let (view, clock) = (AccessView::new(), Clock::wall());
    let gate = Gate::start(settings(store), view.clone(), clock.clone()).await?;
    view.install(table(&scene, clock.now())?);
    announce(gate.local_addr())?;
    let (end, ended) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let mut ignored = [0; 16];
        while let Ok(1..) = std::io::stdin().read(&mut ignored) {}
        // Nobody waits for it when the gate has ended by itself.
        let _ = end.send(());
    });
    tokio::select! {
        _ = ended => {}
        () = gate.closed() => anyhow::bail!("the gate has closed by itself"),
    }
    gate.shutdown(PATIENCE).await;
    Ok(())
}

/// The usual bounds, but for those that keep one person from opening ten thousand connections.
fn settings(store: Option<(PathBuf, Safety)>) -> Settings {
    let mut settings = Settings::new(([127, 0, 0, 1], 0).into());
    settings.limits = Limits {
        connections_per_address: 100_000,
        opening: 100_000,
        opening_per_address: 100_000,
        connects: Rate::new(1_000_000, 1_000_000),
        connects_per_address: Rate::new(1_000_000, 1_000_000),
        logins_waiting: 100_000,
        logins_waiting_per_address: 100_000,
        known: ClientLimits {
            subscriptions: 10_000,
            ..ClientLimits::known()
        },
        ..Limits::default()
    };
    settings.store = store.map(|(folder, safety)| StoreSettings { folder, safety });
    settings
}

/// The access table of a scene.
fn table(scene: &Scene, now: Timestamp) -> anyhow::Result<Acl> {
    let mut acl = Acl::default();
    let costly = make_verifier(COSTLY_PASSWORD.as_bytes(), [0; 16], Cost::OWASP)?;
    let mut position = Position::default();
    for (number, login) in (1_u64..).zip(&scene.logins) {
        for event in events(number, login, &costly, now)? {
            position = position.next();
            acl.apply(Recorded {
                position,
                recorded_at: now,
                event: &event,
            });
        }
    }
    Ok(acl)
}

/// A login and its rights.
fn events(
    number: u64,
    login: &Login,
    costly: &PasswordVerifier,
    now: Timestamp,
) -> anyhow::Result<Vec<Event>> {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&number.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_le_bytes());
    let subscriber = SubscriberId(id);
    let verifier = if login.costly {
        costly.clone()
    } else {
        make_verifier(login.password().as_bytes(), id, Cost::LEAST)?
    };
    let mut events = vec![Event::SubscriberRegistered {
        subscriber,
        username: Some(Username::parse(&login.name)?),
        verifier: Some(verifier),
        owner: None,
    }];
    for (which, right) in (0_u64..).zip(&login.rights) {
        let mut rule = [0; 16];
        rule[..8].copy_from_slice(&number.to_le_bytes());
        rule[8..].copy_from_slice(&which.to_le_bytes());
        events.push(grant(subscriber, right, RuleId(rule), now)?);
    }
    Ok(events)
}

/// A rule, or a lease when the right has an end.
fn grant(
    subscriber: SubscriberId,
    right: &Right,
    id: RuleId,
    now: Timestamp,
) -> anyhow::Result<Event> {
    let (filter, access) = (TopicFilter::parse(&right.filter)?, right.access);
    let Some(until) = right.until else {
        let rule = Rule {
            id,
            audience: Audience::Subscriber(subscriber),
            filter,
            access,
        };
        return Ok(Event::RuleGiven { rule });
    };
    Ok(Event::LeaseGranted {
        subscriber,
        filter,
        access,
        from: now,
        until,
        offer: OfferId::parse("bench")?,
        tariff: Tariff::new(Nanos(1), 1, Nanos(1))?,
        payment: PaymentId {
            digest: Digest([0; 32]),
            index: 0,
        },
    })
}
