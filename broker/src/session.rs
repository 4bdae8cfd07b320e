//! One client's connection, from its first byte to its last.

mod attached;
mod connected;
mod end;
mod handle;
mod handshake;
mod inbound;
mod me;
mod publishing;
mod replay;
mod socket;
mod subscribing;
mod wait;
mod will;

pub(crate) use end::Order;
pub(crate) use handle::Handle;

use crate::gate::Context;
use crate::listener::Admission;
use std::sync::Arc;
use tokio::net::TcpStream;

/// Serves a connection until it is over.
pub(crate) async fn serve(stream: TcpStream, context: Arc<Context>, admission: Admission) {
    // Without it, small messages wait for acknowledgements of earlier ones.
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let Some(session) = Box::pin(handshake::shake(stream, context, admission)).await else {
        return;
    };
    session.run().await;
}
