//! Actors of one thread: state that is owned by one place, reached by one call at a time, and watched when it breaks.
//!
//! Sockets, rooms and namespaces live on the worker thread of their session. There a message to an actor is a call: it is handled to
//! its end before the next, it never runs a user's code, and a panic in it takes down this actor and nothing else. Another thread
//! sends its calls to the worker's hub (an `actix` actor, see `worker.rs`), which makes them here, in order. `docs/decisions/` tells
//! what a mailbox in between would cost.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};

use thiserror::Error;

/// The actor has died, or was ended.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("the actor has ended")]
pub(crate) struct Ended;

/// Owns an actor's state and lets one call at a time at it.
#[derive(Debug)]
pub(crate) struct ActorCell<A>(RefCell<Option<A>>);

/// What a call to an actor came to.
#[derive(Debug)]
pub(crate) enum Outcome<A, R> {
    /// It was handled.
    Done(R),
    /// The actor panicked in it. Its state is handed to the one who watches over it, who must trust it no further than needed to clean up.
    Died(A),
    /// There is no actor any more.
    Ended,
}

impl<A> ActorCell<A> {
    pub(crate) fn new(actor: A) -> Self {
        Self(RefCell::new(Some(actor)))
    }

    /// Handles one message.
    ///
    /// # Panics
    ///
    /// If called by the actor itself, from within another message: actors call out only after their state is free again.
    #[inline]
    pub(crate) fn call<R>(&self, message: impl FnOnce(&mut A) -> R) -> Outcome<A, R> {
        let mut state = self.0.borrow_mut();
        let Some(actor) = state.as_mut() else { return Outcome::Ended };
        match catch_unwind(AssertUnwindSafe(|| message(actor))) {
            Ok(reply) => Outcome::Done(reply),
            Err(_) => state.take().map_or(Outcome::Ended, Outcome::Died),
        }
    }

    /// Reads from the state. `None` if there is no actor any more.
    pub(crate) fn read<R>(&self, look: impl FnOnce(&A) -> R) -> Option<R> {
        self.0.borrow().as_ref().map(look)
    }

    /// Ends the actor and gives its state back.
    pub(crate) fn end(&self) -> Result<A, Ended> {
        self.0.borrow_mut().take().ok_or(Ended)
    }

    /// Puts a new actor in the place of the one that ended.
    pub(crate) fn replace(&self, actor: A) {
        *self.0.borrow_mut() = Some(actor);
    }
}

/// Makes an actor, from what is left of the one that died if there was one.
type Factory<A> = Box<dyn Fn(Option<&A>) -> A>;

/// Keeps an actor alive: when it dies, a new one is made by a factory, and the cause is reported.
pub(crate) struct Supervised<A> {
    cell: ActorCell<A>,
    factory: Factory<A>,
    /// Told of each death, before the new actor takes over.
    report: Box<dyn Fn()>,
}

impl<A> std::fmt::Debug for Supervised<A> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Supervised").finish_non_exhaustive()
    }
}

impl<A> Supervised<A> {
    /// `factory` gets what is left of the actor that died.
    pub(crate) fn new(factory: impl Fn(Option<&A>) -> A + 'static, report: impl Fn() + 'static) -> Self {
        Self { cell: ActorCell::new(factory(None)), factory: Box::new(factory), report: Box::new(report) }
    }

    /// Handles one message. `None` if the actor died of it; a new one is in its place then.
    #[inline]
    pub(crate) fn call<R>(&self, message: impl FnOnce(&mut A) -> R) -> Option<R> {
        match self.cell.call(message) {
            Outcome::Done(reply) => Some(reply),
            Outcome::Died(remains) => {
                (self.report)();
                self.cell.replace((self.factory)(Some(&remains)));
                None
            }
            Outcome::Ended => None,
        }
    }

    /// Reads from the state.
    pub(crate) fn read<R>(&self, look: impl FnOnce(&A) -> R) -> Option<R> {
        self.cell.read(look)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::rc::Rc;

    #[test]
    fn an_actor_that_panics_ends_and_hands_over_its_state() {
        let cell = ActorCell::new(vec![1]);
        assert!(matches!(cell.call(|list| list.len()), Outcome::Done(1)));
        let died = cell.call(|list| {
            list.push(2);
            panic!("broken");
        });
        assert!(matches!(died, Outcome::Died(list) if list == [1, 2]));
        assert!(matches!(cell.call(|_| ()), Outcome::Ended));
        assert_eq!(cell.end(), Err(Ended));
    }

    #[test]
    fn a_supervised_actor_is_made_anew() {
        let deaths = Rc::new(Cell::new(0));
        let count = Rc::clone(&deaths);
        let actor = Supervised::new(|old: Option<&u32>| old.map_or(0, |n| n + 100), move || count.set(count.get() + 1));
        assert_eq!(
            actor.call(|n| {
                *n += 1;
                *n
            }),
            Some(1)
        );
        assert_eq!(actor.call(|_| panic!("broken")), None);
        assert_eq!(actor.call(|n| *n), Some(101));
        assert_eq!(deaths.get(), 1);
    }
}
