//! The running of handlers: their futures are polled at once, and become tasks only if they wait. A panic ends its handler alone.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use sociable_engine::Session;

/// The memory of a waiting handler besides its event, in bytes.
pub(crate) const HANDLER_COST: usize = 1024;

/// The state of a future after its first poll.
pub(crate) enum Started<T> {
    /// The future has ended.
    Ended(T),
    /// The future waits.
    Waits(LocalBoxFuture<'static, T>),
    Panicked,
}

/// Polls a new future once. Most handlers end here, and cost no task.
///
/// The first poll has a waker that does nothing. A future that waits has to be polled again with a real one.
pub(crate) fn poll_once<T>(session: &Session, make: impl FnOnce() -> LocalBoxFuture<'static, T>) -> Started<T> {
    let begun = catch_unwind(AssertUnwindSafe(|| {
        let mut future = make();
        match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(value) => Started::Ended(value),
            Poll::Pending => Started::Waits(future),
        }
    }));
    begun.unwrap_or_else(|_| {
        session.handler_panicked();
        Started::Panicked
    })
}

/// Runs the rest of a future as a task of this thread. Until its end it counts as running work of `cost` bytes.
pub(crate) fn spawn_rest<T: 'static>(
    session: &Rc<Session>,
    cost: usize,
    future: LocalBoxFuture<'static, T>,
    then: impl FnOnce(Option<T>) + 'static,
) {
    let running = session.begin_work(cost);
    let session = Rc::clone(session);
    actix_rt::spawn(async move {
        let ended = AssertUnwindSafe(future).catch_unwind().await;
        if ended.is_err() {
            session.handler_panicked();
        }
        drop(running);
        then(ended.ok());
        session.work_ended();
    });
}

/// Starts a future and lets it end by itself. `then` gets the result, unless the future panicked.
pub(crate) fn run<T: 'static>(session: &Rc<Session>, make: impl FnOnce() -> LocalBoxFuture<'static, T>, then: impl FnOnce(T) + 'static) {
    match poll_once(session, make) {
        Started::Ended(value) => then(value),
        Started::Waits(future) => spawn_rest(session, HANDLER_COST, future, |value| {
            if let Some(value) = value {
                then(value);
            }
        }),
        Started::Panicked => {}
    }
}

/// Calls a listener. A panic ends it and nothing else.
#[inline]
pub(crate) fn notify(session: &Session, listener: impl FnOnce()) {
    if catch_unwind(AssertUnwindSafe(listener)).is_err() {
        session.handler_panicked();
    }
}
