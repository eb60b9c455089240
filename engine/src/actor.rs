//! Actors of one thread: state with one owner, one message at a time, and a supervisor.
//!
//! A message to an actor of the same thread is a call. An actor handles one message to its end before the next. The actor returns its effects and the
//! caller performs them, so that no handler runs while the state is borrowed. A panic ends that actor and nothing else. Another thread sends its
//! calls through the inbox of the worker. `docs/decisions/0001-actors-without-a-mailbox.md` has the cost of a mailbox in between.

use std::any::Any;
use std::cell::RefCell;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use thiserror::Error;

/// A kind of actor, as named in logs, metrics and the report on actors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ActorKind(&'static str);

impl ActorKind {
    /// The inbox of a worker thread.
    pub const WORKER: Self = Self("worker");
    /// A session.
    pub const SESSION: Self = Self("session");

    /// Returns the kind of this name.
    pub const fn new(name: &'static str) -> Self {
        Self(name)
    }

    /// Returns the name.
    pub fn name(self) -> &'static str {
        self.0
    }
}

impl fmt::Display for ActorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// A state that handles one message at a time, on the thread that owns it.
pub trait Actor: Sized {
    /// The kind of the actor.
    const KIND: ActorKind;
}

/// An actor that handles messages of the type `M`.
///
/// ```
/// use sociable_engine::actor::{Actor, ActorCell, ActorKind, Handle, Outcome};
///
/// struct Counter(u32);
/// struct Add(u32);
///
/// impl Actor for Counter {
///     const KIND: ActorKind = ActorKind::new("counter");
/// }
///
/// impl Handle<Add> for Counter {
///     type Effect = u32;
///
///     fn handle(&mut self, Add(more): Add) -> u32 {
///         self.0 += more;
///         self.0
///     }
/// }
///
/// let counter = ActorCell::new(Counter(1));
/// assert!(matches!(counter.send(Add(2)), Outcome::Done(3)));
/// ```
pub trait Handle<M>: Actor {
    /// The result of a message; the caller performs it once the state is free again.
    type Effect;

    /// Handles a message.
    fn handle(&mut self, message: M) -> Self::Effect;
}

/// The error that an actor has died or was ended.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("actor has ended")]
pub struct Ended;

/// The owner of an actor, which passes one message at a time to it.
#[derive(Debug)]
pub struct ActorCell<A>(RefCell<Option<A>>);

/// The outcome of a message.
#[derive(Debug)]
pub enum Outcome<A, E> {
    /// The message was handled.
    Done(E),
    /// The actor panicked while it handled the message.
    Died(Death<A>),
    /// The cell has no actor any more.
    Ended,
}

/// The death of an actor.
#[derive(Debug)]
pub struct Death<A> {
    /// The state at the panic. A supervisor may only use it to clean up.
    pub remains: A,
    /// The text of the panic.
    pub cause: String,
}

impl<A: Actor> ActorCell<A> {
    /// Returns the cell of a new actor.
    pub fn new(actor: A) -> Self {
        Self(RefCell::new(Some(actor)))
    }

    /// Handles one message.
    ///
    /// # Panics
    ///
    /// The actor sends the message to itself while it handles another one.
    #[inline]
    pub fn send<M>(&self, message: M) -> Outcome<A, A::Effect>
    where
        A: Handle<M>,
    {
        let mut state = self.0.borrow_mut();
        let Some(actor) = state.as_mut() else { return Outcome::Ended };
        match catch_unwind(AssertUnwindSafe(|| actor.handle(message))) {
            Ok(effect) => Outcome::Done(effect),
            Err(panic) => {
                let cause = panic_text(&*panic);
                state.take().map_or(Outcome::Ended, |remains| Outcome::Died(Death { remains, cause }))
            }
        }
    }

    /// Reads from the state. Returns `None` if the cell has no actor any more.
    #[inline]
    pub fn read<R>(&self, look: impl FnOnce(&A) -> R) -> Option<R> {
        self.0.borrow().as_ref().map(look)
    }

    /// Ends the actor and returns its state.
    ///
    /// # Errors
    ///
    /// The cell has no actor any more.
    pub fn end(&self) -> Result<A, Ended> {
        self.0.borrow_mut().take().ok_or(Ended)
    }

    /// Replaces the actor that ended by a new one.
    pub fn replace(&self, actor: A) {
        // Dropping the old actor may run users' code.
        drop(self.0.replace(Some(actor)));
    }
}

/// The longest text of a panic that is recorded, in bytes.
const MAX_CAUSE: usize = 256;

/// Returns the text of a panic, cut to 256 bytes.
pub fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    let text = text.unwrap_or("panic without text");
    text[..text.floor_char_boundary(MAX_CAUSE)].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct List(Vec<u32>);
    struct Push(u32);
    struct Break(&'static str);

    impl Actor for List {
        const KIND: ActorKind = ActorKind::new("list");
    }

    impl Handle<Push> for List {
        type Effect = usize;

        fn handle(&mut self, Push(item): Push) -> usize {
            self.0.push(item);
            self.0.len()
        }
    }

    impl Handle<Break> for List {
        type Effect = ();

        fn handle(&mut self, Break(cause): Break) {
            self.0.push(0);
            panic!("{cause}");
        }
    }

    #[test]
    fn actor_that_panics_ends_with_its_state_and_cause() {
        let cell = ActorCell::new(List(vec![]));
        assert!(matches!(cell.send(Push(1)), Outcome::Done(1)));
        let Outcome::Died(Death { remains, cause }) = cell.send(Break("broken")) else { panic!("the actor is alive") };
        assert_eq!((remains.0, cause.as_str()), (vec![1, 0], "broken"));
        assert!(matches!(cell.send(Push(2)), Outcome::Ended));
        assert!(cell.end().is_err());
        cell.replace(List(vec![7]));
        assert_eq!(cell.read(|list| list.0.len()), Some(1));
    }

    #[test]
    fn cause_is_cut_between_characters() {
        let panic = catch_unwind(|| panic!("{}", "ä".repeat(MAX_CAUSE))).unwrap_err();
        assert_eq!(panic_text(&*panic), "ä".repeat(MAX_CAUSE / 2));
        let strange = catch_unwind(|| std::panic::panic_any(7)).unwrap_err();
        assert_eq!(panic_text(&*strange), "panic without text");
    }
}
