//! One client's connection, from its first byte to its last.

mod acks;
mod asking;
mod attached;
mod connected;
mod conversation;
mod end;
mod handle;
mod handshake;
mod holding;
mod identity;
mod inbound;
mod kept;
mod me;
mod patience;
mod publishing;
mod replay;
mod socket;
mod subscribing;
mod wait;
mod will;

pub(crate) use acks::Receipt;
pub(crate) use end::Order;
pub(crate) use handle::Handle;
pub(crate) use kept::restore;
pub use me::needs_no_right;
pub(crate) use will::{LastWord, Then, Will};

use crate::door::Admission;
use crate::entrance::Entrance;
use crate::gate::Context;
use crate::store::Change;
use end::End;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use tokio::net::TcpStream;

/// Serves a connection until it is over.
pub(crate) fn serve(
    stream: TcpStream,
    entrance: Arc<Entrance>,
    context: Arc<Context>,
    admission: Admission,
) -> impl Future<Output = ()> + Send {
    // Greeting and farewell have their futures apart, so that no idle session keeps room for
    // them.
    let shake = Box::pin(handshake::shake(stream, entrance, context, admission));
    async {
        let Some(mut session) = shake.await else {
            return;
        };
        let end = {
            let handle = Arc::clone(session.handle());
            let mut run = pin!(session.run());
            poll_fn(|cx| match handle.is_cut_off() {
                true => Poll::Ready(End::Ordered(Order::TakenOver)),
                false => run.as_mut().poll(cx),
            })
            .await
        };
        Box::pin(session.finish(end)).await;
    }
}

/// Ends a session that no connection serves any more.
pub(crate) fn end_session(context: &Context, handle: &Handle) {
    context.view.unwatch(handle);
    handle.detach();
    let left = handle.outbox.lock().leave_shared();
    context.share_again(left);
    handle.record(|session| Change::EndSession { session });
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Size of the future that `serve` returns.
    fn future_size<F>(_: fn(TcpStream, Arc<Entrance>, Arc<Context>, Admission) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn a_session_at_rest_takes_little_memory() {
        let taken = future_size(serve);
        assert!(taken <= 1_300, "{taken} bytes for every connection");
    }
}
