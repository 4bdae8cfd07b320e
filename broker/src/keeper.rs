//! Ends sessions whose clients were away for too long, and publishes the wills that are due
//! meanwhile (MQTT 5.0 §3.1.2.11.2 and §3.1.3.2.2).

use crate::gate::Context;
use crate::registry::Due;
use crate::session::{self, Handle, LastWord, Then, Will};
use std::sync::Arc;
use tanglegate_core::Timestamp;

/// Keeps sessions for ever.
pub(crate) async fn keep(context: &Context) {
    // Without a table nobody may publish a will yet, and none is lost for that.
    context.view.installed().await;
    loop {
        let next = context.registry.next_due();
        let reached = async {
            match next {
                Some(due) => context.clock.reached(due).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = reached => serve(context, context.clock.now()).await,
            () = context.registry.earlier() => {}
        }
    }
}

/// Does everything that is due at `now`.
async fn serve(context: &Context, now: Timestamp) {
    while let Some(due) = context.registry.take_due(now) {
        match due {
            Due::Will(last) => last.publish(context).await,
            Due::End(handle, will) => {
                context.counters.expired_sessions.one();
                end(context, handle, will).await;
            }
        }
    }
}

/// Ends the sessions of clients who are away because nothing keeps them over the end of the
/// server: their wills are due ([MQTT-3.1.2-8]).
pub(crate) async fn end_all(context: &Context) {
    while let Some(due) = context.registry.take_due(Timestamp::FOREVER) {
        match due {
            Due::Will(last) => last.publish(context).await,
            Due::End(handle, will) => end(context, handle, will).await,
        }
    }
}

async fn end(context: &Context, handle: Arc<Handle>, will: Option<Box<Will>>) {
    let Some(will) = will else {
        return session::end_session(context, &handle);
    };
    let then = Then::End;
    LastWord { handle, will, then }.publish(context).await;
}
