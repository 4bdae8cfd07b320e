//! Accepting connections, as many as the limits allow.

use crate::door::Unnamed;
use crate::entrance::Entrance;
use crate::gate::{Context, Phase};
use crate::session;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};

/// Pause after a failed accept: the usual cause, no free file descriptors, lasts.
const AFTER_FAILURE: Duration = Duration::from_millis(50);

/// Time for a load balancer to say whom a connection is from. It says so at once, and one lost
/// packet is sent again within that time.
const HEADER_WITHIN: Duration = Duration::from_secs(3);

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
            () = reached(&mut phase, Phase::Shut) => {
                sessions.abort_all();
                // Each gives its session up first.
                while sessions.join_next().await.is_some() {}
                return;
            }
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
        let unnamed = entrance
            .trusts(from)
            .then(|| context.door.admit_unnamed(Instant::now()));
        let Some(unnamed) = unnamed.flatten() else {
            context.counters.refused_connections.one();
            return;
        };
        sessions.spawn(serve_proxied(stream, from, unnamed, entrance, context));
    } else if let Some(admission) = context.door.admit(from, Instant::now()) {
        sessions.spawn(session::serve(stream, entrance, context, admission));
    }
}

/// Serves a connection that a load balancer made for somebody.
async fn serve_proxied(
    stream: TcpStream,
    proxy: IpAddr,
    unnamed: Unnamed,
    entrance: Arc<Entrance>,
    context: Arc<Context>,
) {
    let patience = context.limits.connect_within.min(HEADER_WITHIN);
    let origin = Box::pin(entrance.origin(&stream, proxy));
    let Ok(Ok(origin)) = tokio::time::timeout(patience, origin).await else {
        context.counters.refused_connections.one();
        return;
    };
    drop(unnamed);
    if let Some(admission) = context.door.admit(origin, Instant::now()) {
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
