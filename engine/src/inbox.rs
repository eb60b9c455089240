//! The inbox of a worker thread: the calls of other threads, in order.

use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::Mutex;

/// The limit of packet bytes in the inbox of one worker. An overloaded worker refuses more, and the emitter gets an error.
const MAX_BYTES: usize = 64 << 20;

/// A call for the thread of a `W`.
pub(crate) type Call<W> = Box<dyn FnOnce(&Rc<W>) + Send>;

/// The calls that wait for the thread of a `W`.
pub(crate) struct Inbox<W> {
    calls: Mutex<Vec<Call<W>>>,
    /// True while calls wait. This is read far more often than it is set.
    waiting: AtomicBool,
    /// The bytes of the waiting calls.
    bytes: AtomicUsize,
}

impl<W> Default for Inbox<W> {
    fn default() -> Self {
        Self { calls: Mutex::default(), waiting: AtomicBool::new(false), bytes: AtomicUsize::new(0) }
    }
}

impl<W> Inbox<W> {
    /// Adds a call that carries so many bytes. Returns true if it is the first, so that the thread has to be woken.
    pub(crate) fn push(&self, bytes: usize, call: Call<W>) -> bool {
        let mut calls = self.calls.lock();
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        calls.push(call);
        !self.waiting.swap(true, Ordering::AcqRel)
    }

    /// Removes all calls.
    pub(crate) fn drain(&self) -> Vec<Call<W>> {
        let mut calls = self.calls.lock();
        self.waiting.store(false, Ordering::Release);
        self.bytes.store(0, Ordering::Relaxed);
        std::mem::take(&mut *calls)
    }

    /// Returns whether calls wait.
    #[inline]
    pub(crate) fn is_waiting(&self) -> bool {
        self.waiting.load(Ordering::Acquire)
    }

    /// Returns whether the limit is exceeded.
    pub(crate) fn is_full(&self) -> bool {
        self.bytes.load(Ordering::Relaxed) > MAX_BYTES
    }
}
