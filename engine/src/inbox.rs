//! The inbox of a worker thread: calls of other threads, in their order.

use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::Mutex;

/// How many bytes of packets may be under way to one worker. A worker that is so far behind refuses more, and the emitter gets an error.
const MAX_BYTES: usize = 64 << 20;

/// A call for the thread of a `W`.
pub(crate) type Call<W> = Box<dyn FnOnce(&Rc<W>) + Send>;

/// The calls that wait for the thread of a `W`.
pub(crate) struct Inbox<W> {
    calls: Mutex<Vec<Call<W>>>,
    /// Some are waiting. Read far more often than there are any.
    waiting: AtomicBool,
    /// The bytes that they carry.
    bytes: AtomicUsize,
}

impl<W> Default for Inbox<W> {
    fn default() -> Self {
        Self { calls: Mutex::default(), waiting: AtomicBool::new(false), bytes: AtomicUsize::new(0) }
    }
}

impl<W> Inbox<W> {
    /// Adds a call that carries so many bytes. Returns true if it is the first, for which the thread has to be woken.
    pub(crate) fn push(&self, bytes: usize, call: Call<W>) -> bool {
        let mut calls = self.calls.lock();
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        calls.push(call);
        !self.waiting.swap(true, Ordering::AcqRel)
    }

    /// Takes out all calls.
    pub(crate) fn drain(&self) -> Vec<Call<W>> {
        let mut calls = self.calls.lock();
        self.waiting.store(false, Ordering::Release);
        self.bytes.store(0, Ordering::Relaxed);
        std::mem::take(&mut *calls)
    }

    /// Returns true if calls wait.
    #[inline]
    pub(crate) fn is_waiting(&self) -> bool {
        self.waiting.load(Ordering::Acquire)
    }

    /// Returns true if no more packets may be added.
    pub(crate) fn is_full(&self) -> bool {
        self.bytes.load(Ordering::Relaxed) > MAX_BYTES
    }
}
