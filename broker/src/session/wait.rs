//! Sleeping until there is something to do. One sleep watches the socket, the outbox and the
//! keep-alive without a future of its own for each.

use super::connected::Connection;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};

/// Why the session woke up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Woken {
    /// There is something to read, or the connection is over.
    pub(super) readable: bool,
    /// A deadline of the client may have passed.
    pub(super) timer: bool,
    /// The outbox, the rights or the socket's room for writing have changed.
    other: bool,
}

impl Connection {
    /// Sleeps until there is something to do; with `more` to write, it only looks around.
    pub(super) async fn wait(&mut self, more: bool) -> Woken {
        poll_fn(|cx| match self.poll_woken(cx) {
            Poll::Pending if more => Poll::Ready(Woken::default()),
            poll => poll,
        })
        .await
    }

    fn poll_woken(&mut self, cx: &mut Context<'_>) -> Poll<Woken> {
        let mut woken = Woken::default();
        let blocked = !self.writing.is_empty();
        let waits_for = {
            let mut queue = self.handle().outbox.lock();
            queue.set_waker(cx.waker(), blocked);
            woken.other = !blocked && queue.is_ready();
            queue.begins_to_wait_for()
        };
        if let Some(mark) = waits_for {
            let outbox = Arc::clone(&self.handle().outbox);
            let store = &self.attached.context.store;
            store.when_safe(mark, move || outbox.wake());
        }
        woken.other |= self.rights_changed() || (!blocked && self.acks.is_ready());
        let news = self.conversation.as_ref().is_some_and(|it| it.has_news());
        woken.other |= !blocked && news;
        if let Some(given) = self.starved
            && !blocked
        {
            let (context, handle) = (&self.attached.context, self.handle());
            let budget = context.budget(handle.subject);
            budget.wake_when_given(handle.session, cx.waker());
            woken.other |= budget.given() != given;
        }
        if blocked {
            woken.other |= self.socket.poll_writable(cx).is_ready();
        }
        // A client that does not take its answers gets no more questions answered.
        if self.answers_are_taken() && !self.patience.is_paused() {
            woken.readable = self.socket.poll_readable(cx).is_ready();
        }
        woken.timer = self.patience.poll(cx).is_ready();
        if woken == Woken::default() {
            self.rest();
            Poll::Pending
        } else {
            Poll::Ready(woken)
        }
    }
}
