//! Accepting connections, as many as the limits allow.

use crate::entrance::Entrance;
use crate::gate::{Context, Phase};
use crate::limits::Limits;
use crate::session;
use crate::statistics::Counters;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};

/// Pause after a failed accept: the usual cause, no free file descriptors, lasts.
const AFTER_FAILURE: Duration = Duration::from_millis(50);

/// Counts open connections.
#[derive(Debug)]
pub(crate) struct Door {
    places: Mutex<Places>,
    anonymous: AtomicUsize,
    limits: Limits,
    counters: Arc<Counters>,
}

#[derive(Debug, Default)]
struct Places {
    all: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// A connection's place; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Admission {
    door: Arc<Door>,
    address: IpAddr,
    anonymous: bool,
}

impl Door {
    pub(crate) fn new(limits: Limits, counters: Arc<Counters>) -> Self {
        Self {
            places: Mutex::default(),
            anonymous: AtomicUsize::new(0),
            limits,
            counters,
        }
    }

    /// A place for a connection from `address`, if there is one.
    pub(crate) fn admit(self: &Arc<Self>, address: IpAddr) -> Option<Admission> {
        let address = network(address);
        let mut places = self.places.lock();
        let here = places.by_address.get(&address).copied().unwrap_or(0);
        if places.all >= self.limits.connections || here >= self.limits.connections_per_address {
            self.counters.refused_connections.one();
            return None;
        }
        places.all += 1;
        places.by_address.insert(address, here + 1);
        self.counters.connections.one();
        self.counters.open_connections.one();
        Some(Admission {
            door: Arc::clone(self),
            address,
            anonymous: false,
        })
    }
}

impl Admission {
    /// Takes a place among the clients without a login; false when there is none.
    pub(crate) fn become_anonymous(&mut self) -> bool {
        let before = self.door.anonymous.fetch_add(1, Ordering::Relaxed);
        self.anonymous = true;
        before < self.door.limits.anonymous_connections
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        let mut places = self.door.places.lock();
        places.all -= 1;
        match places.by_address.get_mut(&self.address) {
            Some(more) if *more > 1 => *more -= 1,
            _ => drop(places.by_address.remove(&self.address)),
        }
        if self.anonymous {
            self.door.anonymous.fetch_sub(1, Ordering::Relaxed);
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

/// Serves connections until the gate closes; then waits for those that are open.
pub(crate) async fn listen(
    listener: TcpListener,
    entrance: Arc<Entrance>,
    context: Arc<Context>,
    mut phase: watch::Receiver<Phase>,
) {
    let mut sessions = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, from)) => admit(stream, from.ip(), &entrance, &context, &mut sessions),
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(AFTER_FAILURE).await;
                }
            },
            Some(ended) = sessions.join_next() => note(&ended, &context),
            () = reached(&mut phase, Phase::Closing) => break,
        }
    }
    drop(listener);
    loop {
        tokio::select! {
            ended = sessions.join_next() => match ended {
                Some(ended) => note(&ended, &context),
                None => return,
            },
            () = reached(&mut phase, Phase::Shut) => return sessions.abort_all(),
        }
    }
}

/// Returns once the gate is as far, or gone.
pub(crate) async fn reached(phase: &mut watch::Receiver<Phase>, far: Phase) {
    let _ = phase.wait_for(|it| *it >= far).await;
}

fn admit(
    stream: TcpStream,
    from: IpAddr,
    entrance: &Arc<Entrance>,
    context: &Arc<Context>,
    sessions: &mut JoinSet<()>,
) {
    // Without it, small messages wait for acknowledgements of earlier ones.
    if stream.set_nodelay(true).is_err() {
        return;
    }
    // Without a place it is closed unread: an answer would only cost more.
    if sessions.len() >= entrance.connections() {
        context.counters.refused_connections.one();
        return;
    }
    let (entrance, context) = (Arc::clone(entrance), Arc::clone(context));
    if entrance.is_proxied() {
        sessions.spawn(serve_proxied(stream, from, entrance, context));
    } else if let Some(admission) = context.door.admit(from) {
        sessions.spawn(session::serve(stream, entrance, context, admission));
    }
}

/// Serves a connection that a load balancer made for somebody.
async fn serve_proxied(
    stream: TcpStream,
    proxy: IpAddr,
    entrance: Arc<Entrance>,
    context: Arc<Context>,
) {
    let patience = context.limits.connect_within;
    let origin = Box::pin(entrance.origin(&stream, proxy));
    let Ok(Ok(origin)) = tokio::time::timeout(patience, origin).await else {
        context.counters.refused_connections.one();
        return;
    };
    if let Some(admission) = context.door.admit(origin) {
        session::serve(stream, entrance, context, admission).await;
    }
}

/// A panic ends its own session and no other.
fn note(ended: &Result<(), JoinError>, context: &Context) {
    if let Err(error) = ended
        && error.is_panic()
    {
        context.counters.panicked_sessions.one();
        tracing::error!("a session ended by a panic; this is a defect of the server");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn door(limits: Limits) -> Arc<Door> {
        Arc::new(Door::new(limits, Arc::default()))
    }

    #[test]
    fn places_are_bounded_per_address_and_given_back() {
        let door = door(Limits {
            connections: 3,
            connections_per_address: 2,
            ..Limits::default()
        });
        let (here, there) = ([192, 0, 2, 1].into(), [192, 0, 2, 2].into());
        let first = door.admit(here).unwrap();
        let _second = door.admit(here).unwrap();
        assert!(door.admit(here).is_none(), "two per address");
        let _third = door.admit(there).unwrap();
        assert!(door.admit(there).is_none(), "three in all");
        drop(first);
        assert!(door.admit(here).is_some());
        assert_eq!(door.places.lock().by_address.len(), 2);
    }

    #[test]
    fn one_network_of_the_sixth_version_counts_as_one_address() {
        let door = door(Limits {
            connections_per_address: 1,
            ..Limits::default()
        });
        let _one = door.admit("2001:db8::1".parse().unwrap()).unwrap();
        assert!(door.admit("2001:db8::2".parse().unwrap()).is_none());
        assert!(door.admit("2001:db8:0:1::2".parse().unwrap()).is_some());
        assert_eq!(
            network("::ffff:192.0.2.1".parse().unwrap()),
            IpAddr::from([192, 0, 2, 1])
        );
    }

    #[test]
    fn anonymous_places_are_bounded_too() {
        let door = door(Limits {
            anonymous_connections: 1,
            ..Limits::default()
        });
        let mut first = door.admit([192, 0, 2, 1].into()).unwrap();
        let mut second = door.admit([192, 0, 2, 1].into()).unwrap();
        assert!(first.become_anonymous());
        assert!(!second.become_anonymous());
        drop((first, second));
        assert!(
            door.admit([192, 0, 2, 1].into())
                .unwrap()
                .become_anonymous()
        );
    }
}
