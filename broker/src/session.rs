//! One client's connection, from its first byte to its last.

mod attached;
mod connected;
mod end;
mod handle;
mod handshake;
mod inbound;
mod me;
mod patience;
mod publishing;
mod replay;
mod socket;
mod subscribing;
mod wait;
mod will;

pub(crate) use end::Order;
pub(crate) use handle::Handle;
pub(crate) use me::concerns_me;

use crate::gate::Context;
use crate::listener::Admission;
use crate::socket::Socket;
use std::sync::Arc;

/// Serves a connection until it is over.
pub(crate) async fn serve(socket: Socket, context: Arc<Context>, admission: Admission) {
    // Greeting and farewell have their futures apart, so that no idle session keeps room for
    // them.
    let Some(mut session) = Box::pin(handshake::shake(socket, context, admission)).await else {
        return;
    };
    let end = session.run().await;
    Box::pin(session.finish(end)).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Size of the future that `serve` returns.
    fn future_size<F>(_: fn(Socket, Arc<Context>, Admission) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn a_session_at_rest_takes_little_memory() {
        let taken = future_size(serve);
        assert!(taken <= 1_100, "{taken} bytes for every connection");
    }
}
