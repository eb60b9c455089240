//! A thread that serves connections, with what all of them share.

pub(crate) mod deadlines;
pub(crate) mod pool;
pub(crate) mod retry;

use std::cell::{Cell, RefCell, RefMut};
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use self::deadlines::Roll;
use self::pool::Pool;
use self::retry::RetryBudget;
use crate::limits::waiting::BUFFER;
use crate::state::Shared;

/// How many vectors are kept for the next who has something to write, and how large they may be. Those beyond are freed.
const SPARE: usize = 32;
const MAX_SPARE: usize = 256 * 1024;

/// What the connections of a thread share.
pub(crate) struct Worker {
    pub(crate) shared: Arc<Shared>,
    pub(crate) roll: Rc<Roll>,
    pub(crate) pool: Pool,
    /// No connection is idle from now on: each closes behind its answer.
    pub(crate) leaving: Cell<bool>,
    /// Connections on which something comes before HTTP still: they are not in the roll yet.
    pub(crate) beginning: Cell<usize>,
    pub(crate) retries: RetryBudget,
    buffer: RefCell<Box<[u8]>>,
    spare: RefCell<Vec<Vec<u8>>>,
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker").field("connections", &self.roll.len()).finish_non_exhaustive()
    }
}

impl Worker {
    pub(crate) fn new(shared: Arc<Shared>) -> Rc<Self> {
        let pool = Pool::new(Arc::clone(&shared.descriptors));
        Rc::new(Self {
            shared,
            roll: Rc::default(),
            pool,
            leaving: Cell::new(false),
            beginning: Cell::new(0),
            retries: RetryBudget::default(),
            buffer: RefCell::new(vec![0; BUFFER].into()),
            spare: RefCell::default(),
        })
    }

    /// The buffer into which all read. What is read has to be used or copied before the next await.
    pub(crate) fn buffer(&self) -> RefMut<'_, Box<[u8]>> {
        self.buffer.borrow_mut()
    }

    /// An empty vector.
    pub(crate) fn memory(&self) -> Vec<u8> {
        self.spare.borrow_mut().pop().unwrap_or_else(|| Vec::with_capacity(1024))
    }

    /// Takes a vector that is not needed any more.
    pub(crate) fn give(&self, memory: Vec<u8>) {
        let mut spare = self.spare.borrow_mut();
        if (1..=MAX_SPARE).contains(&memory.capacity()) && spare.len() < SPARE {
            spare.push(memory);
        }
    }

    /// True if it has no connections.
    pub(crate) fn is_empty(&self) -> bool {
        self.roll.len() == 0 && self.beginning.get() == 0
    }

    /// Once a second.
    pub(crate) fn tick(&self, pool_idle: Duration) {
        self.roll.tick();
        self.pool.sweep(self.roll.now(), pool_idle);
    }
}
