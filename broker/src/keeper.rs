//! Ends sessions whose clients were away for too long, and publishes the wills that are due
//! meanwhile (MQTT 5.0 §3.1.2.11.2 and §3.1.3.2.2).

use crate::gate::Context;
use crate::registry::Due;
use crate::session;
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
        let (handle, will) = match due {
            Due::Will(handle, will) => (handle, Some(will)),
            Due::End(handle, will) => {
                context.counters.expired_sessions.one();
                session::end_session(context, &handle);
                (handle, will)
            }
        };
        if let Some(will) = will {
            session::publish_will(context, &handle, &will).await;
        }
    }
}
